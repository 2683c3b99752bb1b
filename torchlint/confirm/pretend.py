"""An accelerator where there is none: tensors that say `cuda:0` and compute on the CPU.

A `TorchFunctionMode` sees every call into torch. What is moved to or made on `cuda` gets a storage of its own that is
remembered as the accelerator's; what is computed from such tensors is the accelerator's too; a tensor's `.device`
answers by its storage, and tensors of different devices that meet raise the error that CUDA raises. The device belongs
to the storage, as it does in torch, so views, `.data`, parameters and optimizer state need no bookkeeping, and
autograd, which works below this layer, runs as on any CPU.

It cannot imitate: more than one GPU, streams and graphs, memory limits, half-precision kernels and their rounding, the
CUDA random generator (numbers are those of the CPU), kernels of extensions, `with torch.device("cuda"):`, the inside of
scripted functions, or checks between devices inside a backward pass. `torch.compile` compiles nothing.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torchlint.confirm.storages import Storages, storage_key

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions that take tensors of different devices, or none of whose tensors meet in a kernel.
_TOLERANT = _words(
    """
    copy_ set_ new_tensor type_as expand_as view_as reshape_as zeros_like ones_like empty_like full_like rand_like
    randn_like randint_like is_same_size is_set_to result_type can_cast broadcast_shapes broadcast_tensors
    _has_compatible_shallow_copy_type backward grad register_hook __deepcopy__ __reduce_ex__ is_tensor is_storage
    atleast_1d atleast_2d _parse_to as_subclass _make_subclass save _set_grad_enabled _record_function_enter_new
    """
)
_PASSIVE = _words(
    """
    size dim ndimension stride numel nelement is_floating_point is_complex is_contiguous storage_offset
    _set_grad_enabled
    """
)
_FACTORIES = _words(
    """
    empty zeros ones full rand randn randint randperm arange linspace logspace eye tensor as_tensor normal
    """
)
_MOVES = frozenset({"to", "cuda", "cpu", "type", "type_as"})
_TO_NUMPY = frozenset({"numpy", "__array__"})
_PACKING = frozenset({"_pack_padded_sequence", "_pad_packed_sequence"})
_RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_CONVOLUTIONS = frozenset(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))

Report = Callable[[str], None]
# The classes of torch.cuda that make tensors of one kind.
TENSOR_TYPES = tuple(
    f"{kind}Tensor" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
)


def _is_cuda(device: Any) -> bool:
    match device:
        case torch.device():
            return device.type == "cuda"
        case str():
            return device == "cuda" or device.startswith("cuda:")
        case bool():
            return False
        case int():
            return True  # a bare number is an index of an accelerator
        case _:
            return False


def _is_device(value: Any) -> bool:
    if isinstance(value, (torch.device, int)):
        return not isinstance(value, bool)
    if not isinstance(value, str):
        return False
    try:
        torch.device(value)
    except RuntimeError:
        return False
    return True


class PretendedAccelerator(TorchFunctionMode):
    """While active, the program has a GPU. `report` is told the message of each device error it is given."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report
        self._storages: Storages[bool] = Storages()
        self._default: torch.device | None = None

    # --------------------------------------------------------------------------------------------- whose tensor is it

    def holds(self, tensor: torch.Tensor) -> bool:
        """True when the tensor is the accelerator's."""
        return self._storages.get(tensor) is not None

    def device(self, tensor: torch.Tensor) -> torch.device:
        """The device that the program is told."""
        return CUDA if self.holds(tensor) else tensor.device

    def _take(self, tensor: torch.Tensor) -> None:
        if tensor.device.type == "cpu":
            self._storages.put(tensor, True)

    # ----------------------------------------------------------------------------------------------------- every call

    def __torch_function__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _PASSIVE:
            return func(*args, **kwargs)
        if name in ("__get__", "__set__"):
            return self._property(name, func, args, kwargs)
        tensors = list(_tensors((args, kwargs) if name != "__deepcopy__" else args[:1]))
        if name in _MOVES and tensors and tensors[0] is args[0]:
            return self._move(name, func, args, dict(kwargs))
        if name in ("is_pinned", "pin_memory", "get_device") and tensors:
            return {"is_pinned": False, "pin_memory": args[0], "get_device": 0 if self.holds(args[0]) else -1}[name]
        if name in _TO_NUMPY and self.holds(args[0]):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        self._check(name, args, tensors)
        held = any(self.holds(tensor) for tensor in tensors)
        device = kwargs.get("device") or (self._default if _is_factory(func, tensors) else None)
        if _is_cuda(device):
            kwargs, held = {**kwargs, "device": CPU}, True
        elif device is not None:
            held = False
        result = func(*args, **kwargs)
        if held:
            # The sizes of packed sequences stay on the CPU, on a GPU too.
            self._claim(result[0] if name in _PACKING else result, tensors)
        return result

    def _claim(self, result: Any, inputs: list[torch.Tensor]) -> None:
        known = {storage_key(tensor) for tensor in inputs}
        for tensor in _tensors(result):
            if storage_key(tensor) not in known:
                self._take(tensor)

    def _property(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        tensor = args[0]
        if name == "__set__" or not isinstance(tensor, torch.Tensor):
            if attribute == "grad" and isinstance(args[1], torch.Tensor) and self.holds(args[1]) != self.holds(tensor):
                raise RuntimeError("assigned grad has data located on a different device")
            return func(*args, **kwargs)
        match attribute:
            case "device":
                return self.device(tensor)
            case "is_cuda":
                return self.holds(tensor)
            case "is_cpu":
                return tensor.is_cpu and not self.holds(tensor)
        result = func(*args, **kwargs)
        if attribute in ("grad", "_grad", "real", "imag") and isinstance(result, torch.Tensor) and self.holds(tensor):
            self._take(result)  # autograd made it below this layer
        return result

    def _move(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor, rest = args[0], list(args[1:])
        target = self.device(tensor)
        match name:
            case "cuda" | "cpu":
                target, rest, kwargs = (CUDA if name == "cuda" else CPU), [], {}
            case "type":
                wanted = rest[0] if rest else kwargs.get("dtype")
                if wanted is None:
                    spelled: str = func(tensor)
                    return spelled.replace("torch.", "torch.cuda.", 1) if self.holds(tensor) else spelled
                if isinstance(wanted, type):
                    wanted = f"{wanted.__module__}.{wanted.__name__}"  # a build for the CPU refuses the class
                if isinstance(wanted, str):
                    target = CUDA if wanted.startswith("torch.cuda.") else CPU
                    wanted = wanted.replace("torch.cuda.", "torch.", 1)
                rest, kwargs = [func(tensor, wanted).dtype], {}
            case _:
                other = rest[0] if rest else kwargs.pop("other", None)
                if isinstance(other, torch.Tensor):
                    target, rest = self.device(other), [other.dtype, *rest[1:]]
                elif rest and (rest[0] is None or _is_device(rest[0])):
                    target = target if rest[0] is None else torch.device(rest[0])
                    rest[0] = CPU if target.type == "cuda" else target
                given = kwargs.pop("device", None)
                target = target if given is None else torch.device(given)
        if target.type not in ("cuda", "cpu"):
            return func(*args, **kwargs)
        result = torch.Tensor.to(tensor, *rest, **kwargs) if rest or kwargs else tensor
        to_cuda = target.type == "cuda"
        if to_cuda != self.holds(tensor) and storage_key(result) == storage_key(tensor):
            result = torch.Tensor.clone(result)
        if to_cuda and not self.holds(result):
            self._take(result)
        return result

    # ---------------------------------------------------------------------------------------------- what CUDA refuses

    def _check(self, name: str, args: tuple[Any, ...], tensors: list[torch.Tensor]) -> None:
        if len(tensors) < 2 or name in _TOLERANT or name.startswith(("_foreach", "_fused", "_amp", "_group")):
            return
        held = [self.holds(tensor) for tensor in tensors]
        if name in _RECURRENT and isinstance(args[1], torch.Tensor) and not args[1].is_floating_point():
            del held[1], tensors[1]  # the sizes of a packed sequence
        if name == "_pack_padded_sequence":
            if held[1]:
                self._refuse("'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0 Long tensor")
            return
        if all(held) or not any(held) or name == "_pad_packed_sequence":
            return
        if name in ("__getitem__", "__setitem__"):
            indices = list(_tensors(args[1]))
            if not self.holds(args[0]) and any(self.holds(index) for index in indices):
                self._refuse("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            value = args[2] if name == "__setitem__" else None
            if indices and isinstance(value, torch.Tensor) and value.dim() and self.holds(value) != self.holds(args[0]):
                self._mixed(self.holds(args[0]))
            return
        if all(there or not tensor.dim() for there, tensor in zip(held, tensors, strict=True)):
            return  # a single number on the CPU may meet anything
        if name in _CONVOLUTIONS and held[0] != held[1]:
            kinds = [f"torch.{'cuda.' if there else ''}{_type_name(t)}" for there, t in zip(held, tensors, strict=True)]
            self._refuse(f"Input type ({kinds[0]}) and weight type ({kinds[1]}) should be the same")
        self._mixed(held[0])

    def _mixed(self, cuda_first: bool) -> None:
        first, second = ("cuda:0", "cpu") if cuda_first else ("cpu", "cuda:0")
        self._refuse(
            f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}!"
        )

    def _refuse(self, message: str) -> None:
        self._report(message)
        raise RuntimeError(message)

    # --------------------------------------------------------------------------------- what the program asks of torch

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Switches the mode on and lets torch answer as if a GPU were there."""
        with contextlib.ExitStack() as undo:
            for owner, name, value in self._answers():
                undo.callback(_restore, owner, name, owner.__dict__.get(name, _ABSENT))
                setattr(owner, name, value)
            undo.enter_context(self)
            yield

    def _answers(self) -> Iterable[tuple[Any, str, Any]]:
        import torch._dynamo  # optimizers import it, and it must not find these in place of the real functions

        cuda: Any = torch.cuda
        loader, load = torch.utils.data.DataLoader, torch.load
        make_loader = loader.__init__
        make_generator: Any = torch.Generator
        properties = types.SimpleNamespace(
            name="pretended accelerator", total_memory=16 << 30, major=8, minor=0, multi_processor_count=1
        )

        stream = types.SimpleNamespace(
            is_capturing=lambda: False, synchronize=lambda: None, wait_stream=lambda _other: None
        )

        def build_loader(this: Any, *args: Any, **kwargs: Any) -> None:
            make_loader(this, *args, **kwargs)
            object.__setattr__(this, "pin_memory", False)  # there is no memory to pin it for

        def load_here(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
            wanted = _is_cuda(map_location)
            loaded = load(f, CPU if wanted else map_location, *args, **kwargs)
            if wanted:
                whole = [loaded] if isinstance(loaded, torch.nn.Module) else []
                self._claim([loaded, *([*m.parameters(), *m.buffers()] for m in whole)], [])
            return loaded

        class Generator(make_generator):  # type: ignore[misc]
            def __new__(cls, device: Any = None) -> Any:
                return make_generator.__new__(make_generator, CPU if _is_cuda(device) else device or CPU)

        def scatter(_this: Any, inputs: Any, kwargs: Any, _devices: Any) -> Any:
            return [_on_cuda(inputs)], [_on_cuda(kwargs)]

        def compile_nothing(model: Any = None, **_options: Any) -> Any:
            return model if model is not None else lambda function: function

        def set_default(device: Any) -> None:
            self._default = torch.device(device) if device is not None else None

        zero: Callable[..., int] = lambda *_, **__: 0  # noqa: E731
        nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
        yield from (
            (cuda, "is_available", lambda: True),
            (cuda, "device_count", lambda: 1),
            (cuda, "current_device", lambda: 0),
            (cuda, "get_device_name", lambda _device=None: properties.name),
            (cuda, "get_device_capability", lambda _device=None: (8, 0)),
            (cuda, "get_device_properties", lambda _device=None: properties),
            (cuda, "mem_get_info", lambda _device=None: (properties.total_memory, properties.total_memory)),
            (cuda, "is_bf16_supported", lambda *_, **__: True),
            (cuda, "current_stream", lambda _device=None: stream),
            (cuda, "is_current_stream_capturing", lambda: False),
            (torch.backends.cudnn, "is_acceptable", lambda _tensor: False),
            (loader, "__init__", build_loader),
            (torch, "load", load_here),
            (torch.nn.DataParallel, "scatter", scatter),
            (torch, "compile", compile_nothing),
            (torch.nn.Module, "compile", nothing),
            (torch, "Generator", Generator),
            (torch, "set_default_device", set_default),
        )
        for name in TENSOR_TYPES:
            yield cuda, name, self._tensor_type(name)
        yield torch, "set_default_tensor_type", self._set_default_type(torch.set_default_tensor_type)
        for name in ("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats", "init", "ipc_collect"):
            yield cuda, name, nothing
        for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
            yield cuda, name, zero
        if hasattr(torch, "accelerator"):
            yield from (
                (torch.accelerator, "is_available", lambda: True),
                (torch.accelerator, "current_accelerator", lambda *_, **__: torch.device("cuda")),
                (torch.accelerator, "device_count", lambda: 1),
                (torch.accelerator, "current_device_index", lambda: 0),
                (torch.accelerator, "current_stream", lambda _device=None: stream),
                (torch.accelerator, "synchronize", nothing),
            )

    def _tensor_type(self, name: str) -> type:
        """A class that makes tensors of the accelerator, and that they say they are of."""
        pretended, make = self, getattr(torch, name)

        class Kind(type):
            def __instancecheck__(cls, value: object) -> bool:
                return isinstance(value, torch.Tensor) and value.type() == f"torch.cuda.{name}"

        class Made(metaclass=Kind):
            def __new__(cls, *args: Any, **_device: Any) -> Any:
                made = make(*args)
                if not pretended.holds(made):
                    made = torch.Tensor.clone(made) if any(isinstance(one, torch.Tensor) for one in args) else made
                    pretended._take(made)
                return made

        Made.__name__, Made.__qualname__, Made.__module__ = name, name, "torch.cuda"
        return Made

    def _set_default_type(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        def set_default(kind: Any) -> None:
            named = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
            self._default = CUDA if named.startswith("torch.cuda.") else None
            original(named.replace("torch.cuda.", "torch.", 1))

        return set_default


_ABSENT = object()


def _restore(owner: Any, name: str, value: Any) -> None:
    if value is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    match value:
        case torch.Tensor():
            yield value
        case dict():
            for one in value.values():
                yield from _tensors(one)
        case list() | tuple() | set():
            for one in value:
                yield from _tensors(one)
        case slice():
            yield from _tensors((value.start, value.stop, value.step))


def _on_cuda(value: Any) -> Any:
    match value:
        case torch.Tensor():
            return value.to(CUDA)
        case dict():
            return {key: _on_cuda(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(_on_cuda(one) for one in value)
        case _:
            return value


def _is_factory(func: Any, tensors: list[torch.Tensor]) -> bool:
    return not tensors and getattr(func, "__name__", "") in _FACTORIES


def _type_name(tensor: torch.Tensor) -> str:
    return tensor.type().rsplit(".", 1)[-1]
