"""Layers and parameters that take part in a module's pass and are no part of the module.

In the first passes of a module, the layers that it calls are compared with `module.modules()`. What is found outside is
watched until an optimizer has stepped: did its parameters get a gradient, and does any optimizer have them?
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from torchlint.confirm import events
from torchlint.confirm.events import Place
from torchlint.confirm.frames import user_place
from torchlint.confirm.layers import depends_on_mode, inits
from torchlint.confirm.parallel import local

PASSES = 3  # of one module in one mode that are looked at
MOST = 32  # strays of one module that are told of
DEPTH = 20  # operations between an attribute and the parameter that it was computed from


@dataclass(slots=True)
class _Watched:
    """A stray, and what its parameters have got since."""

    module: int
    kind: str
    name: str
    why: str
    place: Place
    also: tuple[Place, ...]
    parameters: list[int] = field(default_factory=list)  # ids of those that got a gradient
    gradient: float = 0.0
    told: bool = False
    handles: list[Any] = field(default_factory=list)  # of the hooks on its parameters

    def got(self, parameter: torch.Tensor) -> None:
        if parameter.grad is not None and len(self.parameters) < MOST:
            self.gradient = max(self.gradient, float(local(parameter.grad).detach().double().norm()))
            self.parameters.append(id(parameter))


class Strays:
    """Keeps the books; `emit` and `identity` are the recorder's."""

    def __init__(self, emit: Callable[..., int], identity: Callable[[Any], int]) -> None:
        self._emit, self._identity = emit, identity
        self._births: dict[int, tuple[weakref.ref[nn.Module], int, Place]] = {}
        self._born = 0
        self._passes: dict[tuple[int, bool], int] = {}
        self._known: set[tuple[int, str, Place, bool]] = set()
        self._watched: list[_Watched] = []
        self._start = 0
        self.ran: list[nn.Module] | None = None  # the layers called in the pass that is looked at, None for no pass

    def born(self, module: nn.Module) -> None:
        """A module is made."""
        self._born += 1
        self._births[id(module)] = weakref.ref(module), self._born, user_place()

    def begin(self, module: nn.Module) -> None:
        """A pass of `module` begins."""
        key = self._identity(module), module.training
        count = self._passes.get(key, 0)
        if count < PASSES and not any(_compiled(one) for one in module.modules()):
            self._passes[key] = count + 1
            self.ran, self._start = [], self._born

    def end(self, module: nn.Module, place: Place) -> None:
        """The pass has ended: what ran in it that is no part of `module`?"""
        ran, self.ran = self.ran, None
        if ran is None:
            return
        own = {id(one) for one in module.modules()}
        outside = list({id(one): one for one in ran if id(one) not in own}.values())
        number, kind = self._identity(module), type(module).__name__
        self._emit(events.LayersRan, place, module=number, kind=kind, layers=len(ran), outside=len(outside))
        inside = {id(part) for one in outside for part in one.modules() if part is not one}
        for layer in outside:
            if id(layer) not in inside and len(self._watched) < MOST:
                self._meet(module, layer, place)

    def _meet(self, module: nn.Module, layer: nn.Module, called: Place) -> None:
        parameters = [p for p in layer.parameters() if p.requires_grad]
        deaf = not module.training and any(one.training and depends_on_mode(one) for one in layer.modules())
        if not parameters and not deaf:
            return
        reference, birth, place = self._births.get(id(layer), (None, 0, Place()))
        if reference is None or reference() is not layer:
            birth, place = 0, Place()
        built = tuple(inits(module))
        if not place.file and built:
            place = built[0]
        why = "made in forward" if birth > self._start else "layer"
        number, kind, name = self._identity(module), type(module).__name__, type(layer).__name__
        if (key := (number, name, place, deaf)) in self._known and why != "layer":
            return
        self._known.add(key)
        if deaf:
            self._emit(
                events.Stray, place, module=number, kind=kind, name=name, why=why, deaf=True, also=(*built, called)
            )
        elif not any(one.name == name and one.place == place and one.module == number for one in self._watched):
            self._watch(_Watched(number, kind, name, why, place, (*built, called)), parameters)

    def _watch(self, watched: _Watched, parameters: Iterable[torch.Tensor]) -> None:
        self._watched.append(watched)
        for parameter in parameters:
            hooked: Any = parameter
            watched.handles.append(hooked.register_post_accumulate_grad_hook(watched.got))

    def computed(self, module: nn.Module, name: str, value: torch.Tensor) -> None:
        """A tensor with a history became an attribute of `module`: were parameters in it that no module has?"""
        number, kind = self._identity(module), type(module).__name__
        leaves = [leaf for leaf in _leaves(value) if isinstance(leaf, nn.Parameter)]
        own = {id(parameter) for parameter in module.parameters()}
        lost = [leaf for leaf in leaves if id(leaf) not in own]
        if lost and len(self._watched) < MOST:
            self._watch(_Watched(number, kind, f"{kind}.{name}", "attribute", user_place(), ()), lost)

    def step(self, held: set[int]) -> None:
        """An optimizer steps; `held` are the ids of the parameters that optimizers have."""
        for one in self._watched:
            if one.parameters and not one.told:
                one.told = True
                for handle in one.handles:
                    handle.remove()
                self._emit(
                    events.Stray,
                    one.place,
                    module=one.module,
                    kind=one.kind,
                    name=one.name,
                    why=one.why,
                    gradient=one.gradient,
                    held=held.issuperset(one.parameters),
                    also=one.also,
                )

    @property
    def waiting(self) -> bool:
        """Whether the next step has something to tell."""
        return any(one.parameters and not one.told for one in self._watched)


def _compiled(module: nn.Module) -> bool:
    """Whether calls inside a module may be traced by a compiler, which must not meet our books."""
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or type(module).__module__.startswith(("torch._dynamo", "torch.jit"))


def _leaves(value: torch.Tensor) -> Iterator[torch.Tensor]:
    todo, seen = [(value.grad_fn, 0)], set[Any]()
    while todo:
        node, depth = todo.pop()
        if node is None or node in seen or depth > DEPTH:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor):
            yield variable
        todo.extend((one, depth + 1) for one, _ in node.next_functions)
