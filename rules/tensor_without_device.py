"""A module's `forward` makes a tensor on the CPU and combines it with an input that may be elsewhere.

## What it finds
In `forward` of a module, or in a method that it calls: a factory such as `torch.zeros`, `torch.randn` or
`torch.arange` without `device=`, whose result has dimensions, is not moved on any path, and meets an argument
or a parameter in arithmetic, in `torch.cat` and the like, or as the input of a submodule. Likewise in another function
that gives one tensor of its own a device and forgets it for the next. The finding stands at the factory; a second
location shows where the two meet.

## Why it hurts
The module works until it is moved. `model.to("cuda")` moves parameters and buffers, but cannot reach a tensor
that `forward` makes anew each time: the line raises `RuntimeError: Expected all tensors to be on the same
device`.

## Example
Wrong:

```python
import torch
from torch import nn

class AddNoise(nn.Module):
    def forward(self, x):
        noise = torch.randn(x.shape)
        return x + noise
```

Right:

```python
import torch
from torch import nn

class AddNoise(nn.Module):
    def forward(self, x):
        noise = torch.randn(x.shape, device=x.device)
        return x + noise
```

`torch.randn_like(x)` and `x.new_zeros(...)` are right too. A constant belongs in a buffer.

## Fix and its safety
Adds `device=x.device`, with the name of what the tensor meets, to the factory. Unsafe: a program that is used
with another kind of `x` than torchlint assumes would break, and random numbers drawn on a GPU differ from
those of the CPU. No fix is offered where what the tensor meets has no plain name.

## Known limits
Quiet about tensors without dimensions, which may meet any device; about indices; about numbers for decisions
or lengths that only Python reads; about `*_like` and `new_*`; when the file sets a default device; under
`with torch.device(...)`; when the result goes through a function out of sight; and when the other operand is
not certainly a tensor from outside.

## Proof
The program is run on a GPU, or, where there is none, on a pretended one that raises the error that CUDA
raises when devices meet. The pitfall raises it in `forward`, with a tensor that `forward` itself has made;
healthy is no error.

## References
- CUDA semantics: Device-agnostic code: https://docs.pytorch.org/docs/stable/notes/cuda.html#device-agnostic-code
- torch.Tensor.device: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.device.html
- torch.nn.Module.register_buffer: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torchlint.facts import ClassInfo, Combined, Derives, Forward, FunctionInfo, Module, Site, Tensor, Value
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"forward"}, {"nn", "Module"}, {"torch"}]
fixable = "sometimes"
accelerator = True  # its proof needs one, or the pretence of one


_QUIET = {"set_default_device", "set_default_tensor_type"}


def check(facts: Facts) -> Iterator[Finding]:
    if facts.words & _QUIET:
        return
    seen: set[object] = set()
    for root in facts.roots:
        for event in root.of(Combined, Forward):
            stray, other = _meeting(facts, event)
            if stray is None or stray.fresh is None or other is None or stray.fresh.node in seen:
                continue
            if _lengths(facts, event):
                continue
            if root.frame.name == "__init__" or not _runs_anywhere(stray.fresh.function):
                continue
            seen.add(stray.fresh.node)
            what = f"`{other.name}`" if other.name else "the input"
            made = facts.text(stray.fresh)
            yield Finding(
                stray.fresh,
                f"`{made if len(made) <= 60 else made[:57] + '...'}` is made on the CPU, whatever device {what} is on",
                "Once the module is moved to an accelerator, bringing the two together raises RuntimeError.",
                related=((f"it meets {what} here", event.site),),
                fix=_fix(facts, stray.fresh, other),
            )


def _lengths(facts: Facts, event: Combined | Forward) -> bool:
    """True for positions compared with the lengths of sequences, which stay on the CPU to be packed with them."""
    return isinstance(event, Combined) and event.operation == "compare" and "pack_padded_sequence" in facts.words


def _runs_anywhere(maker: FunctionInfo | None) -> bool:
    """True for code that is meant for any device.

    A method of a module that its constructor does not call: by then the module can be anywhere. Or a function that
    gives another tensor of its own a device, and forgets it here.
    """
    if maker is None or maker.name == "__init__":
        return False
    owner = maker.owner
    if owner is None or owner.module is Derives.NO:
        return maker.places_tensors
    if owner.module is Derives.UNKNOWN and not (owner.words & {"Parameter"} or maker.places_tensors):
        return False
    init = owner.method("__init__")
    return init is None or (maker.name not in init.words and not _only_constructs(maker, init, owner))


def _only_constructs(maker: FunctionInfo, init: FunctionInfo, owner: ClassInfo) -> bool:
    """True for a method that the constructor needs, by way of others that it calls, and that nothing else names."""
    reached = {init}
    todo = [init]
    while todo:
        for word in sorted(todo.pop().words):
            method = owner.method(word)
            if method is not None and method not in reached:
                reached.add(method)
                todo.append(method)
    rest = [method for method in owner.methods.values() if method not in reached]
    return maker in reached and not any(maker.name in method.words for method in rest)


def _meeting(facts: Facts, event: Combined | Forward) -> tuple[Tensor | None, Value | None]:
    """A tensor that a factory made on the CPU by default, and what of open device it is brought together with."""
    match event:
        case Combined(operands=operands, operation=operation) if operation not in ("item", "ctc_loss"):
            whole = [o for o in operands if isinstance(o, Tensor)]  # not what is made in some other round of a loop
            return _stray(whole), next((o for o in whole if _open(o)), None)
        case Forward(module=Module() as module, device=None) if module.api and facts.has_parameters(module):
            return _stray([*event.arguments, *event.keywords.values()]), module
    return None, None


def _stray(values: Iterable[Value]) -> Tensor | None:
    for value in values:
        for one in value.options():
            if not isinstance(one, Tensor) or one.fresh is None or one.rank in (0, None):
                continue
            if one.device is not None and one.device.kind == "cpu":
                return one
    return None


def _open(value: Value) -> bool:
    """True for what is certainly a tensor and came in from outside, so that it can be on any device."""
    return isinstance(value, Tensor) and value.device is None and value.fresh is None and value.certain


def _fix(facts: Facts, factory: Site, other: Value) -> Fix | None:
    text = facts.text(factory)
    if (
        not isinstance(other, Tensor)
        or not facts.binds(factory.function, other.name)
        or not text.endswith(")")
        or "Tensor(" in text
    ):
        return None
    body = text[:-1].rstrip().removesuffix(",")
    joint = "" if body.endswith("(") else ", "
    return Fix(
        f"Make it where `{other.name}` is",
        Safety.UNSAFE,
        (Replace(factory, f"{body}{joint}device={other.name}.device)"),),
    )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "operations on two devices", "errors"
    errors = [error for error in trace.of(events.DeviceError) if error.made_inside]
    for error in errors:
        yield Measurement(what, 1, 0, unit, True, error.inner, f"RuntimeError: {error.message}")
    if not errors:
        for forward in trace.of(events.Forward):
            if forward.device.startswith("cuda"):
                message = f"{forward.kind} and all it was given were on {forward.device}"
                yield Measurement(what, 0, 0, unit, False, forward.place, message)
