"""Tensors that a module keeps and does not take along: what happens to them when the module is moved?

A copy of the module is moved to torch's `meta` device, which holds no data, and is given the same inputs there. A
tensor that is a plain attribute stays on the CPU; where it meets one that moved, a real device would refuse. Meanwhile
nothing of the program's own is touched.
"""

from __future__ import annotations

import contextlib
import copy
import io
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from torchlint.confirm import events
from torchlint.confirm.events import Place
from torchlint.confirm.frames import speaks_of_devices, user_place
from torchlint.confirm.layers import inits
from torchlint.confirm.storages import storage_key
from torchlint.confirm.twin import LARGEST, same_generators, tensors, without_hooks

# What takes a tensor of another device and is right to: the one is only asked, or is copied over.
_ALLOWED = frozenset(
    """
    to type_as copy_ __setitem__ index_put_ index_put expand_as view_as reshape_as size dim __get__ new_tensor
    new_zeros new_ones new_full new_empty is_same_size set_ __len__ __repr__ item tolist zeros_like ones_like
    empty_like rand_like randn_like full_like
    """.split()
)
_NEVER = ("torch.nn.parallel", "torch.distributed", "torch._dynamo", "torch.jit")


class Kept:
    """Looks at each module once; `emit` and `identity` are the recorder's."""

    def __init__(self, emit: Callable[..., int], identity: Callable[[Any], int]) -> None:
        self._emit, self._identity = emit, identity
        self._seen: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._places: dict[tuple[int, str], Place] = {}
        self._placed: set[tuple[int, str]] = set()  # where the code around may have said on which device

    def given(self, module: nn.Module, name: str) -> None:
        """A module was given a tensor outside of any pass."""
        key = self._identity(module), name
        if key not in self._places:
            self._places[key] = user_place()
            if speaks_of_devices():
                self._placed.add(key)

    def look(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the first pass of a module: do all of its tensors come along?"""
        if module in self._seen:
            return
        self._seen.add(module)
        number, kind = self._identity(module), type(module).__name__
        plain = {
            f"{path}.{name}" if path else name: tensor
            for path, name, tensor in _plain(module)
            if (self._identity(module.get_submodule(path)), name) not in self._placed
        }
        if not plain:
            self._emit(events.LeftBehind, place, module=number, kind=kind)
            return
        size = sum(one.numel() for one in (*module.parameters(), *module.buffers(), *plain.values()))
        if size > LARGEST or any(type(layer).__module__.startswith(_NEVER) for layer in module.modules()):
            return
        met = _run_elsewhere(module, set(plain), args, kwargs)
        if met is None:
            return
        saved = set(module.state_dict())
        for path, operation in met.items():
            prefix, _, name = path.rpartition(".")
            owner = module.get_submodule(prefix)
            built = tuple(inits(owner))
            where = self._places.get((self._identity(owner), name)) or next(iter(built), place)
            self._emit(
                events.LeftBehind,
                where,
                module=number,
                kind=kind,
                name=f"{type(owner).__name__}.{name}",
                operation=operation,
                saved=path in saved,
                also=(*built, place),
            )
        if not met:
            self._emit(events.LeftBehind, place, module=number, kind=kind)


def _plain(module: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """The tensors with dimensions that are plain attributes of a module or of its parts."""
    for path, one in module.named_modules():
        for name, value in vars(one).items():
            if isinstance(value, torch.Tensor) and value.dim() and value.device.type == "cpu":
                yield path, name, value


def _run_elsewhere(
    module: nn.Module, watched: set[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str] | None:
    """Path of each tensor that stayed behind -> the operation where it met others; None when that cannot be told."""
    with same_generators(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        try:
            moved = without_hooks(copy.deepcopy(module)).to("meta")
            inputs, names = _to_meta(args), _to_meta(kwargs)
        except Exception:  # what cannot be copied or moved is not measured
            return None
        named = ((f"{path}.{name}" if path else name, tensor) for path, name, tensor in _plain(moved))
        watch = _Watch({path: tensor for path, tensor in named if path in watched})
        try:
            with watch:
                moved(*inputs, **names)
        except Exception:  # user code without data: what was met until then still was
            if not watch.met:
                return None
    return watch.met


class _Watch(TorchFunctionMode):
    """Follows the tensors that stayed behind, and what is computed from them alone, into operations with others."""

    def __init__(self, plain: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._names = {key: path for path, one in plain.items() if (key := storage_key(one)) is not None}
        self._alive: list[torch.Tensor] = []
        self.met: dict[str, str] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [*tensors(list(args)), *tensors(kwargs or {})]
        stayed = [one for one in given if one.device.type == "cpu" and self._name(one)]
        if stayed and any(one.dim() for one in stayed):
            operation = getattr(function, "__name__", "")
            moved = [one for one in given if one.device.type == "meta" and one.dim()]
            if moved and operation not in _ALLOWED and not (operation == "__getitem__" and given[0] is moved[0]):
                for one in stayed:
                    if one.dim():
                        self.met.setdefault(self._name(one), operation)
                args, kwargs = _to_meta(args), _to_meta(kwargs or {})  # and go on, as if it had come along
        result = function(*args, **(kwargs or {}))
        if stayed:
            for made in tensors(result):
                key = storage_key(made)
                if made.device.type == "cpu" and key is not None and key not in self._names:
                    self._names[key] = self._name(stayed[0])
                    self._alive.append(made)  # so that its storage's name is not given to another
        return result

    def _name(self, tensor: torch.Tensor) -> str:
        key = storage_key(tensor)
        return self._names.get(key, "") if key is not None else ""


def _to_meta(value: Any) -> Any:
    match value:
        case torch.Tensor():
            return value if value.device.type == "meta" else value.detach().to("meta")
        case dict():
            return type(value)((key, _to_meta(one)) for key, one in value.items())
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(_to_meta(one) for one in value))
        case list() | tuple():
            return type(value)(_to_meta(one) for one in value)
    return value
