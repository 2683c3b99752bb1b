"""A tensor that `forward` computes with is a plain attribute of the module, neither parameter nor buffer.

## What it finds
`self.mask = torch.ones(...)` in a constructor, or in a method that it calls: a tensor with dimensions, made on
the CPU, that `forward` (or a method it calls) combines with its input, a parameter or a layer's output. The
finding stands at the assignment; a second location shows where the tensor is used.

## Why it hurts
`.to(device)` moves parameters and buffers and leaves a plain attribute where it is: the model runs on the CPU
and fails with `Expected all tensors to be on the same device` on a GPU. `state_dict()` does not save it either:
random values differ after the checkpoint is loaded.

## Example
Wrong:

```python
import torch
from torch import nn

class Smooth(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.kernel = torch.ones(channels, 1, 3) / 3

    def forward(self, x):
        return nn.functional.conv1d(x, self.kernel, padding=1, groups=x.shape[1])
```

Right:

```python
import torch
from torch import nn

class Smooth(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.register_buffer("kernel", torch.ones(channels, 1, 3) / 3, persistent=False)

    def forward(self, x):
        return nn.functional.conv1d(x, self.kernel, padding=1, groups=x.shape[1])
```

## Fix and its safety
`self.register_buffer("kernel", ..., persistent=False)`. Safe: the values, the parameters and the state dict stay
what they are, and the tensor follows the module. A tensor of random numbers is registered as persistent, since
no constructor can make it again: unsafe, because older checkpoints lack its key. No fix where the attribute is
set twice or the statement does not fit on a line.

## Known limits
Quiet about single numbers (`torch.tensor(0.5)` mixes with any device), about tensors that only select
(`x[self.index]`), that are moved where they are used (`self.mask.to(x.device)`), made with `device=`, or set
again by another method, and about classes that override `to()` or `_apply()`. Not seen: what is used by a
method that `forward` does not call, and tensors made by functions of another file.

## Proof
In a real run a copy of the module is moved to torch's `meta` device and given the same input there. The pitfall
shows a tensor that stayed behind and met others that moved, as it would on a GPU; healthy is none.

## References
- torch.nn.Module.register_buffer: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer
- torch.nn.parameter.Buffer: https://docs.pytorch.org/docs/stable/generated/torch.nn.parameter.Buffer.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, ClassInfo, Combined, Literal, Root, Site, SuperInit, Tensor, Unknown, Value
from torchlint.registration import own_books
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"__init__"}, {"nn", "Module"}, {"forward"}]
fixable = "sometimes"

_LINE = 120
_RANDOM = frozenset({"torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.empty"})


def check(facts: Facts) -> Iterator[Finding]:
    built = dict(facts.constructions)
    for cls, run in facts.forwards:
        root = next((built[one] for one in cls.lineage() if isinstance(one, ClassInfo) and one in built), None)
        if root is None or not root.complete or own_books(cls):
            continue
        met = _met(run)
        registered = {one.attribute for one in root.of(AttributeSet) if one.registers}
        for event in root.of(AttributeSet):
            if event.attribute in registered:
                continue  # what is assigned to the name of a buffer is that buffer
            use = _use(event, met)
            if use is None or event.owner is not root.receiver or not _only_there(facts, cls, root, event):
                continue
            name = event.spelling or event.attribute
            yield Finding(
                event.site,
                f"`{name}` is a plain tensor, neither a parameter nor a buffer of `{cls.name}`",
                "`.to(device)` leaves it on the CPU, so `forward` fails on a GPU, and `state_dict()` does not save it.",
                related=(("it is used here", use),),
                fix=_fix(facts, root, event),
            )


def _met(run: Root) -> list[tuple[Tensor, Site]]:
    """The tensors made on the CPU that `forward` computes with, and where they meet one of another origin."""
    return [
        (one, event.site)
        for event in run.of(Combined)
        if event.operation != "item" and any(_comes_from_outside(one) for one in event.operands)
        for operand in event.operands
        if (one := _made_here(operand)) is not None
    ]


def _comes_from_outside(value: Value) -> bool:
    """True for an input, a parameter or what is computed from them: it is where the model or its caller put it."""
    for one in value.options():
        match one:
            case Tensor(fresh=None, device=device) if device is None or device.kind != "cpu":
                continue
            case Unknown(origin="parameter" | "operation" | "tensor" | "item"):
                continue
        return False
    return True


def _made_here(value: Value) -> Tensor | None:
    """The tensor with dimensions that a value certainly is, if it is anything, and that certainly lies on the CPU."""
    options = [one for one in value.options() if not (isinstance(one, Literal) and one.value is None)]
    one = options[0] if len(options) == 1 else None
    return one if isinstance(one, Tensor) and _stays(one) else None


def _use(event: AttributeSet, met: list[tuple[Tensor, Site]]) -> Site | None:
    value = _made_here(event.value)
    if event.registers or not event.attribute or value is None or value.fresh is None:
        return None
    for one, site in met:
        if one is value or (one.rank and one.fresh is not None and one.fresh.node is value.fresh.node):
            return site
    return None


def _stays(tensor: Tensor) -> bool:
    if tensor.parameter or tensor.fresh is None or tensor.device is None or tensor.device.kind != "cpu":
        return False
    return tensor.rank != 0 and not (tensor.rank is None and tensor.factory == "torch.tensor")


def _only_there(facts: Facts, cls: ClassInfo, root: Root, event: AttributeSet) -> bool:
    """True when nothing but the constructor, and what it calls, sets the attribute."""
    inside = {one.site.function for one in root.of(AttributeSet)}
    return all(setter is not None and setter in inside for setter in facts.setters(cls, event.attribute))


def _fix(facts: Facts, root: Root, event: AttributeSet) -> Fix | None:
    owner, _, attribute = event.spelling.rpartition(".")
    times = [one for one in root.of(AttributeSet) if one.attribute == event.attribute]
    events = root.events
    ready = any(isinstance(one, SuperInit) for one in events[: events.index(event)])
    if event.assigned is None or not owner or len(times) != 1 or not ready:
        return None
    made = _made_here(event.value)
    constant = made is not None and made.factory not in _RANDOM
    text = facts.text(event.assigned)
    call = f'{owner}.register_buffer("{attribute}", {text}{", persistent=False" if constant else ""})'
    if "#" in text or len(call) > _LINE - 8:
        return None
    safety = Safety.SAFE if constant else Safety.UNSAFE
    return Fix(f"Register `{attribute}` as a buffer", safety, (Replace(event.site, call),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "tensors that do not follow the module", "tensors"
    for one in trace.of(events.LeftBehind):
        message = f"all that {one.kind} computes with follows it to another device"
        if one.name:
            message = f"{one.name} stays behind when {one.kind} is moved, and meets what moved in `{one.operation}`"
            message += "" if one.saved else "; its state_dict() does not have it"
        yield Measurement(what, int(bool(one.name)), 0, unit, bool(one.name), one.place, message, one.also)
