"""What DistributedDataParallel hears: whether the gradients of the models it wraps reach it.

DDP listens at the autograd node of each parameter that it found when it was built, and only for backward passes through
its own forward. A parameter that is converted gets another node; a model that is called past its wrapper has gradients
that no process shares.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

REMEMBERED = 256  # forwards of wrapped models whose backward may still come


@dataclass(slots=True)
class Heard:
    """What one backward pass was to one wrapper."""

    wrapper: nn.Module
    through: int  # forwards of the wrapper that it went through
    around: list[int]  # numbers of those of the model inside
    parameters: int
    deaf: int  # parameters at whose node the wrapper does not listen
    local: bool  # in `no_sync()`


class Listeners:
    """The living DDP wrappers of a program."""

    def __init__(self) -> None:
        self._nodes: weakref.WeakKeyDictionary[nn.Module, list[Any]] = weakref.WeakKeyDictionary()
        self._forwards: OrderedDict[int, tuple[weakref.ref[nn.Module], bool]] = OrderedDict()
        self._any = False  # ever: asked several times in each step

    def __bool__(self) -> bool:
        return self._any and bool(self._nodes)

    def add(self, wrapper: nn.Module) -> None:
        """A model was wrapped just now."""
        self._any = True
        self._nodes[wrapper] = [_node(parameter) for parameter in _trainable(wrapper)]

    def around(self, module: nn.Module) -> list[nn.Module]:
        """The wrappers that a change of all parameters of `module` concerns."""
        parts = {id(part) for part in module.modules()}
        return [one for one in self._nodes if id(one) in parts or any(part is module for part in one.modules())]

    def called(self, number: int, module: nn.Module) -> None:
        """A module was called in the forward of this number."""
        for wrapper in self._nodes:
            if module is wrapper or module is getattr(wrapper, "module", None):
                self._forwards[number] = weakref.ref(wrapper), module is wrapper
        while len(self._forwards) > REMEMBERED:
            self._forwards.popitem(last=False)

    def heard(self, forwards: Iterable[int]) -> Iterator[Heard]:
        """What a backward pass through these forwards was to each wrapper whose model it reached."""
        reached: dict[int, tuple[nn.Module, list[int], list[int]]] = {}
        for number in forwards:
            reference, through = self._forwards.get(number, (None, False))
            wrapper = reference() if reference is not None else None
            if wrapper is not None:
                _, through_it, past_it = reached.setdefault(id(wrapper), (wrapper, [], []))
                (through_it if through else past_it).append(number)
        for wrapper, through_it, past_it in reached.values():
            known = {id(node) for node in self._nodes[wrapper]}
            now = [_node(parameter) for parameter in _trainable(wrapper)]
            deaf = sum(id(node) not in known for node in now)
            local = not getattr(wrapper, "require_backward_grad_sync", True)
            yield Heard(wrapper, len(through_it), past_it, len(now), deaf, local)


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP is around a module, or around a part of it."""
    names = ("FullyShardedDataParallel", "FSDPModule")
    return any(kind.__name__ in names for part in module.modules() for kind in type(part).__mro__)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What of a tensor lies in this process: to compute with the whole of a `DTensor` would talk to the others."""
    mine = getattr(tensor, "_local_tensor", tensor)
    return mine if isinstance(mine, torch.Tensor) else tensor


def _trainable(wrapper: nn.Module) -> Iterator[torch.Tensor]:
    return (parameter for parameter in wrapper.parameters() if parameter.requires_grad)


def _node(parameter: torch.Tensor) -> Any:
    """Where autograd hands over the gradient of a parameter."""
    with torch.enable_grad():
        view: Any = parameter.view_as(parameter)
    return view.grad_fn.next_functions[0][0]
