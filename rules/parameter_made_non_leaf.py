"""What is computed from a new parameter is kept, and not the parameter.

## What it finds
`self.w = nn.Parameter(...).to(device)`, `.cuda()`, `.view(...)`, `self.w = nn.Parameter(...) * 0.1` and the like in the
constructor of a module, where the parameter itself is kept nowhere. The finding stands at the assignment.

## Why it hurts
The result of an operation on a parameter is an ordinary tensor with a history. Assigned to a module it is a plain
attribute: `parameters()` does not list it, `state_dict()` does not save it, no optimizer moves it, and backward
passes send gradients to a parameter that nothing holds. Where the operation keeps what it computed, the second
backward pass raises `Trying to backward through the graph a second time`. `.to(device)` does this only where it
moves: the model is right on the CPU and wrong on a GPU.

## Example
Wrong:

```python
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width)) * 0.1

    def forward(self, x):
        return x * self.weight
```

Right:

```python
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width) * 0.1)

    def forward(self, x):
        return x * self.weight
```

## Fix and its safety
Puts the operation inside: `nn.Parameter(torch.randn(width) * 0.1)`. Safe for `.to(device)` and `.cuda()`, which
change nothing where nothing moves. Else unsafe: the parameter is trained from then on, and older checkpoints
lack its key. No fix where the parameter was made in another statement.

## Known limits
Quiet when the parameter is also an attribute or handed on, when the result is detached, and about conversions
that may change nothing (`.float()`, `.to(dtype)`).

## Proof
In a real run, the parameters behind such an attribute are watched: the pitfall shows one that got a gradient and
is in no optimizer; healthy is none.

## References
- torch.nn.parameter.Parameter: https://docs.pytorch.org/docs/stable/generated/torch.nn.parameter.Parameter.html
- torch.Tensor.is_leaf: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.is_leaf.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, Device, Root, Tensor, UnknownCall, Value
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"__init__"}, {"Parameter"}, {"nn", "Module"}]
fixable = "sometimes"

_ATOM = re.compile(r"[\w.]+(\([^()]*\))?")
_UNCERTAIN = frozenset({"float", "half", "double", "bfloat16", "type", "type_as", "contiguous", "cpu"})


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.constructions:
        for event in root.of(AttributeSet):
            parameter = _lost(event.value) if event.owner is root.receiver and not event.registers else None
            if parameter is None or not root.complete or _kept(root, parameter):
                continue
            name = event.spelling or event.attribute
            yield Finding(
                event.site,
                f"`{name}` is computed from a new parameter and is not one itself: `{cls.name}` does not have it",
                "`parameters()` and `state_dict()` do not list it, so no optimizer trains it.",
                fix=_fix(facts, event, parameter),
            )


def _lost(value: Value) -> Tensor | None:
    """The new parameter that a plain tensor was computed from, where it is the only thing in its graph."""
    options = value.options()
    one = options[0] if len(options) == 1 else None
    if not isinstance(one, Tensor) or one.parameter or len(one.graph) != 1 or one.made_by in _UNCERTAIN:
        return None
    if one.made_by == "to" and not isinstance(one.device, Device):
        return None  # to a dtype, or to nobody knows what
    (source,) = one.graph
    made_here = isinstance(source, Tensor) and source.parameter and source.data is not None
    return source if made_here and isinstance(source, Tensor) and source.site is not None else None


def _kept(root: Root, parameter: Tensor) -> bool:
    """True when the parameter is an attribute, lies in a container, or was handed to code out of sight."""
    if any(option is parameter for event in root.of(AttributeSet) for option in event.value.options()):
        return True
    return bool(parameter.holders) or any(event.touches(parameter) for event in root.of(UnknownCall))


def _fix(facts: Facts, event: AttributeSet, parameter: Tensor) -> Fix | None:
    if event.assigned is None or parameter.site is None or parameter.data is None:
        return None
    whole, made, data = facts.text(event.assigned), facts.text(parameter.site), facts.text(parameter.data)
    if not whole.startswith(made) or made.count(data) != 1 or "#" in whole:
        return None
    rest = whole[len(made) :]
    inner = data if _ATOM.fullmatch(data) else f"({data})"
    moves = re.fullmatch(r"\.(to|cuda)\([^()]*\)", rest) is not None
    safety = Safety.SAFE if moves else Safety.UNSAFE
    return Fix("Make the parameter of the result", safety, (Replace(event.assigned, made.replace(data, inner + rest)),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters that nothing holds", "parameters"
    strays = [one for one in trace.of(events.Stray) if one.why == "attribute"]
    for one in strays:
        message = f"the parameter behind {one.name} is in an optimizer"
        if one.untrained:
            message = f"the parameter behind {one.name} got a gradient of norm {one.gradient:.3g}, no optimizer has it"
        yield Measurement(what, int(one.untrained), 0, unit, one.untrained, one.place, message)
    if not strays:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, f"the parameters of {ran.kind} are its own")
