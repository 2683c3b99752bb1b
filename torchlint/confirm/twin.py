"""A second pass of the same batch: does the module answer the same thing twice?

The module is copied before the pass that the program asked for, and the copy is run after it on a copy of the input.
Random generators, buffers and whatever the module keeps in itself are then as if that had never happened.
"""

from __future__ import annotations

import contextlib
import copy
import io
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from torchlint.confirm.events import Place
from torchlint.confirm.frames import is_users, user_place

# Second calls of these would talk to other processes, or compile once more.
_NEVER = ("torch.nn.parallel.distributed", "torch.distributed", "torch._dynamo", "torch.jit")

LARGEST = 100_000_000  # elements; a copy of more than that could cost the program its memory


@dataclass(slots=True)
class Measured:
    """What the second pass showed; None where it could not be run."""

    difference: float | None = None
    moved: float | None = None
    saved_bytes: int | None = None
    scale: float = 1.0
    dropped: tuple[Place, ...] = ()  # where the program's own lines drew functional dropout


class _Draws(TorchFunctionMode):
    """Notes which of the user's lines call a functional dropout that changes the state of the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[Place, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in _DROPOUTS:
            return func(*args, **kwargs)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.endswith(("overrides.py", "nn/functional.py")):
            frame = frame.f_back
        before = torch.get_rng_state()
        result = func(*args, **kwargs)
        if frame is not None and is_users(frame.f_code.co_filename) and not torch.equal(before, torch.get_rng_state()):
            self.places[user_place(frame)] = None
        return result


_DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d", "scaled_dot_product_attention"})


class Twin:
    """Prepared before the program's own pass, asked after it."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._module = module
        self._statistics = [(buffer, buffer.detach().clone()) for buffer in _statistics(module)]
        self._copy: nn.Module | None = None
        if any(type(layer).__module__.startswith(_NEVER) for layer in module.modules()):
            return
        with same_generators(), contextlib.suppress(Exception):  # user code: what cannot be copied is not measured
            self._inputs = _clone((args, kwargs))
            self._copy = without_hooks(copy.deepcopy(module))

    def measure(self, output: Any, tracked: bool) -> Measured:
        """Compares the program's `output` with that of the copy; `tracked` also counts what backward would need."""
        measured = Measured(moved=self._moved())
        if self._copy is None:
            return measured
        kept: dict[int, int] = {}
        own = {_address(tensor) for tensor in (*self._copy.parameters(), *self._copy.buffers())}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if _address(tensor) not in own:
                kept[_address(tensor)] = tensor.untyped_storage().nbytes() if tensor.layout is torch.strided else 0
            return tensor

        args, kwargs = self._inputs
        draws = _Draws()
        saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        try:
            with same_generators(), contextlib.redirect_stdout(io.StringIO()), saving, draws:
                second = self._copy(*args, **kwargs)
        except Exception:  # user code, run at a time it did not expect: no measurement then, and no harm
            return measured
        measured.difference, measured.scale = _difference(output, second)
        measured.dropped = tuple(draws.places)
        if tracked:
            measured.saved_bytes = sum(kept.values())
        return measured

    def _moved(self) -> float:
        moved = [float((now.detach() - before).abs().max()) for now, before in self._statistics if before.numel()]
        return max(moved, default=0.0)


def _statistics(module: nn.Module) -> Iterator[torch.Tensor]:
    for layer in module.modules():
        if layer.training:
            for name, buffer in layer.named_buffers(recurse=False):
                if name in ("running_mean", "running_var"):
                    yield buffer


def without_hooks(module: nn.Module) -> nn.Module:
    """Takes off the hooks that are the program's own: they may count, log or store."""
    for layer in module.modules():
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if not _is_torchs(hook)]:
                del hooks[key]
    return module


def _is_torchs(hook: Any) -> bool:
    return str(getattr(hook, "__module__", None) or type(hook).__module__).startswith("torch.")


@contextlib.contextmanager
def same_generators() -> Iterator[None]:
    """Puts every random generator back at the end."""
    numpy = sys.modules.get("numpy")
    python, arrays = random.getstate(), numpy.random.get_state() if numpy else None
    cuda: Any = torch.cuda
    devices = [cuda.current_device()] if cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            if numpy:
                numpy.random.set_state(arrays)


def _clone(value: Any) -> Any:
    match value:
        case torch.Tensor():
            return value.detach().clone().requires_grad_(value.requires_grad)
        case dict():
            return type(value)((key, _clone(one)) for key, one in value.items())
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(_clone(one) for one in value))
        case list() | tuple():
            return type(value)(_clone(one) for one in value)
        case _:
            return value


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    found: list[torch.Tensor] = []
    _gather(value, found)
    return iter(found)


def _gather(value: Any, found: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, (list, tuple, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            _gather(one, found)


def _difference(first: Any, second: Any) -> tuple[float, float]:
    """The largest difference between two outputs, and the magnitude to compare it with."""
    ones, others = list(tensors(first)), list(tensors(second))
    if len(ones) != len(others):
        return float("inf"), 1.0
    largest, scale = 0.0, 0.0
    for one, other in zip(ones, others, strict=True):
        if one.shape != other.shape:
            return float("inf"), 1.0
        if not one.numel() or one.is_complex():
            continue
        here, there = one.detach().double(), other.detach().double()
        gap = (here - there).abs()
        gap[here.isnan() & there.isnan() | (here == there)] = 0.0
        largest = max(largest, float(gap.nan_to_num(nan=float("inf")).max()))
        scale = max(scale, float(here.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    return largest, scale or 1.0


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else id(tensor)
