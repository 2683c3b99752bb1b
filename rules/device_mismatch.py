"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Combined, Device, Event, Forward, Module, Site, Tensor, Unknown, Value
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"cuda", "device", "to"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if facts.words & {"set_default_device", "set_default_tensor_type"}:
        return
    for root in facts.roots:
        seen: set[tuple[object, object]] = set()
        for event in root.of(Forward, Combined):
            found = _forward(event) if isinstance(event, Forward) else _combined(event)
            if found is None or not root.complete or (event.frame.function, found[0]) in seen:
                continue
            seen.add((event.frame.function, found[0]))
            stray, device, message, site = found
            yield Finding(
                event.site,
                message,
                "With an accelerator this line raises RuntimeError: expected all tensors to be on the same device.",
                fix=_fix(facts, event, stray, device, site),
            )


_Found = tuple[Value, Device, str, Site | None]


def _forward(event: Forward) -> _Found | None:
    """A module on one device, given a tensor that certainly is on another."""
    if event.device is None:
        return None
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


def _fix(facts: Facts, event: Event, stray: Value, device: Device, site: Site | None) -> Fix | None:
    if site is None or not device.name.isidentifier():
        return None
    function = event.frame.function
    if function is not None and device.name not in function.words:
        return None
    return Fix(f"Move it with `.to({device.name})`", Safety.SAFE, (Around(site, after=f".to({device.name})"),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "operations on tensors of two devices", "errors"
    errors = [error for error in trace.of(events.DeviceError) if not error.made_inside]
    for error in errors:
        yield Measurement(what, 1, 0, unit, True, error.place, f"RuntimeError: {error.message}")
    if not errors:
        for forward in trace.of(events.Forward):
            if forward.device.startswith("cuda"):
                message = f"{forward.kind} and all it was given were on {forward.device}"
                yield Measurement(what, 0, 0, unit, False, forward.place, message)
