"""A model and its input, or two operands, are certainly on different devices.

## What it finds
A model that was moved (`model.to(device)`, `.cuda()`) and is called with a tensor that was made or loaded on
the CPU and not moved on any path; the opposite, moved batches and a model left behind; and an operation or a
loss whose operands were not both moved. A device counts as an accelerator when it is one, or can be one
(`"cuda" if torch.cuda.is_available() else "cpu"`). The finding stands where the devices meet. A tensor that a
module makes in its own `forward` is the business of `tensor-without-device`, and a move whose result is
thrown away that of `tensor-move-discarded`.

## Why it hurts
On a machine without a GPU the program runs. On one with a GPU the line raises `RuntimeError: Expected all
tensors to be on the same device`, perhaps only in the validation after the first epoch.

## Example
Wrong:

```python
import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Linear(4, 2).to(device)
x = torch.randn(8, 4)
print(model(x))
```

Right:

```python
import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = nn.Linear(4, 2).to(device)
x = torch.randn(8, 4)
print(model(x.to(device)))
```

## Fix and its safety
Writes `.to(device)` behind the argument that was left on the CPU, where the program has a name for the device
in that place; a batch is moved with its targets at the top of the loop that yields it. Safe: a tensor that is there
already is not copied. Other forms get no fix: which side is to move is the author's choice.

## Known limits
Only what is certain is reported. Quiet about function parameters, batches from loaders with a `collate_fn` or
data sets of other files that could move them, tensors without dimensions, indices, output of unknown
functions, wrappers that distribute batches by themselves (`DataParallel`, Accelerate), modules that move
their own input, and files that set a default device. Two different GPUs are not told apart.

## Proof
The program is run on a GPU, or, where there is none, on a pretended one: tensors that say `cuda:0`, compute
on the CPU and raise the error that CUDA raises when devices meet. The pitfall raises it in the program's own
line; healthy is no error.

## References
- CUDA semantics: https://docs.pytorch.org/docs/stable/notes/cuda.html
- torch.nn.Module.to: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.to
- torch.Tensor.to: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.to.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Combined, Device, Discarded, Event, Forward, Module, Root, Site, Tensor, Unknown, Value
from torchlint.rule import Around, Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"cuda", "device", ".to("}, {"torch"}]
fixable = "sometimes"
accelerator = True  # its proof needs one, or the pretence of one


def check(facts: Facts) -> Iterator[Finding]:
    if facts.words & {"set_default_device", "set_default_tensor_type"}:
        return
    for root in facts.roots:
        seen: set[tuple[object, object]] = set()
        thrown_away = [event.receiver for event in root.of(Discarded)]  # another rule's finding, of which this follows
        well = {(one.site.node, one.frame) for one in root.of(Combined) if _combined(one) is None}
        for event in root.of(Forward, Combined):
            found = _forward(facts, event) if isinstance(event, Forward) else _combined(event)
            if (
                found is None
                or not root.complete
                or (event.site.node, event.frame) in well  # with another of the things that it may be called on
                or (event.frame.function, found[0]) in seen
                or found[0] in thrown_away
            ):
                continue
            seen.add((event.frame.function, found[0]))
            stray, device, message, site = found
            yield Finding(
                event.site,
                message,
                "With an accelerator this line raises RuntimeError: expected all tensors to be on the same device.",
                fix=_fix(facts, root, event, stray, device, site),
            )


_Found = tuple[Value, Device, str, Site | None]


def _forward(facts: Facts, event: Forward) -> _Found | None:
    """A module on one device, given a tensor that certainly is on another."""
    if event.device is None or not facts.has_parameters(event.module):
        return None  # without parameters it runs wherever its input is
    model = event.spelling or "the model"
    for index, argument in enumerate(event.arguments):
        device = _certain(argument)
        if device is None:
            continue
        name = f"`{argument.name}`" if argument.name else "its input"
        site = event.argument_sites[index] if index < len(event.argument_sites) else None
        if event.device.accelerator and device.kind == "cpu":
            return (
                argument,
                event.device,
                f"`{model}` was moved to {_where(event.device)}, but {name} is on the CPU",
                site,
            )
        if event.device.kind == "cpu" and device.accelerator and _never_moved(event):
            return argument, device, f"{name} was moved to {_where(device)}, but `{model}` is on the CPU", None
    return None


def _combined(event: Combined) -> _Found | None:
    """Operands of one operation that certainly are on different devices."""
    if event.operation == "item":
        return None
    certain = [
        (o, d) for o, d in zip(event.operands, event.devices, strict=True) if d is not None and _certain(o) is not None
    ]
    moved = next(((o, d) for o, d in certain if d.accelerator), None)
    left = next(((o, d) for o, d in certain if d.kind == "cpu"), None)
    if moved is None or left is None:
        return None
    one = f"`{moved[0].name}`" if moved[0].name else "one operand"
    other = f"`{left[0].name}`" if left[0].name else "the other"
    return left[0], moved[1], f"{one} is on {_where(moved[1])}, but {other} is on the CPU", None


def _certain(value: Value) -> Device | None:
    """The device of what is certainly a tensor with dimensions: a CPU tensor of none may meet any device."""
    found: Device | None = None
    for one in value.options():
        match one:
            case Tensor(device=Device() as device, rank=rank) if rank != 0 and (
                rank is not None or device.accelerator or one.fresh is None
            ):
                found = device
            case Unknown(device=Device() as device):
                found = device
            case _:
                return None
        if len(value.options()) > 1 and found.kind != "cpu":
            return None
    return found


def _never_moved(event: Forward) -> bool:
    return all(isinstance(o, Module) and o.fresh for o in event.module.options())


def _where(device: Device) -> str:
    return (
        f"`{device.name}`"
        if device.name and device.kind == "open"
        else f"{device.kind!r}"
        if device.kind != "open"
        else "the device"
    )


def _fix(facts: Facts, root: Root, event: Event, stray: Value, device: Device, site: Site | None) -> Fix | None:
    """The stray tensor moved; a batch with all of its parts that are used, at the top of the loop that yields it."""
    if site is None or not device.name.isidentifier() or not facts.binds(event.frame.function, device.name):
        return None
    loop = event.loops[-1] if event.loops and event.loops[-1].frame is event.frame else None
    if loop is not None and _of_a_batch(stray):
        names = [stray.name]
        for other in root.of(Combined):
            if other.frame is event.frame and other.inside(loop):
                names.extend(o.name for o in other.operands if _of_a_batch(o) and o.name not in names)
        lines = tuple(f"{name} = {name}.to({device.name})" for name in names)
        return Fix(f"Move the batch to `{device.name}`", Safety.SAFE, (InsertFirst(loop.site, lines),))
    return Fix(f"Move it with `.to({device.name})`", Safety.SAFE, (Around(site, after=f".to({device.name})"),))


def _of_a_batch(value: Value) -> bool:
    return isinstance(value, Tensor) and value.made_by == "batch" and value.name.isidentifier()


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "operations on two devices", "errors"
    errors = [error for error in trace.of(events.DeviceError) if not error.made_inside]
    for error in errors:
        yield Measurement(what, 1, 0, unit, True, error.place, f"RuntimeError: {error.message}", (error.inner,))
    if not errors:
        for forward in trace.of(events.Forward):
            if forward.device.startswith("cuda"):
                message = f"{forward.kind} and all it was given were on {forward.device}"
                yield Measurement(what, 0, 0, unit, False, forward.place, message)
