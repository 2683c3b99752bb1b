"""`module.requires_grad = False` sets a plain attribute: no parameter is frozen.

## What it finds
An assignment to `requires_grad` of what certainly is a module: a layer, a model, `self.encoder`, a network made by
`torchvision.models`. The finding stands at the assignment.

## Why it hurts
`requires_grad` is a property of tensors. A module takes any attribute, and this one has no meaning: its parameters
go on getting gradients and being trained. The backbone that was to stay as it was pretrained drifts, and memory and
time go into gradients that were meant to be saved.

## Example
Wrong:

```python
import torch

net = torch.nn.Linear(4, 2)
net.requires_grad = False
print(net.weight.requires_grad)
```

Right:

```python
import torch

net = torch.nn.Linear(4, 2)
net.requires_grad_(False)
print(net.weight.requires_grad)
```

## Fix and its safety
`module.requires_grad_(...)`, which sets the flag of every parameter. Unsafe: from then on the module really is frozen,
and an optimizer that holds its parameters leaves them as they are. No fix
where the assignment is not one plain target and value.

## Known limits
Quiet about modules whose class has a `requires_grad` of its own, and about values that are not certainly modules: a
name like `encoder` alone proves nothing.

## Proof
In a real run, after such an assignment, the parameters of the module are counted that do not have the flag; healthy
is 0.

## References
- torch.nn.Module.requires_grad_: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.requires_grad_
- Autograd mechanics: Setting requires_grad: https://docs.pytorch.org/docs/stable/notes/autograd.html#setting-requires-grad
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Evidence, FlagAssigned, Literal, Module, only
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"requires_grad"}, {"torch", "timm"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in [*facts.roots, *(root for _, root in facts.constructions)]:
        for event in root.of(FlagAssigned):
            if not event.module or not all(
                isinstance(o, Module) and o.evidence is not Evidence.NAME for o in event.owner.options()
            ):
                continue
            wish = only(event.value)
            frozen = "frozen" if isinstance(wish, Literal) and not wish.value else "changed"
            yield Finding(
                event.site,
                f"`{event.spelling}.requires_grad` is assigned, but `{event.spelling}` is a module",
                f"This sets an attribute that nothing reads: no parameter is {frozen}.",
                fix=_fix(facts, event),
            )


def _fix(facts: Facts, event: FlagAssigned) -> Fix | None:
    if event.value_site is None:
        return None
    text = f"{event.spelling}.requires_grad_({facts.text(event.value_site)})"
    return Fix("Set the flag of each parameter", Safety.UNSAFE, (Replace(event.site, text),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters that the assignment did not reach", "parameters"
    for event in trace.of(events.FlagSet):
        if event.name == "requires_grad":
            message = f"requires_grad = {event.wish} on a {event.kind}: {event.deaf} parameters do not have it so"
            harmed = event.module and not event.method and event.deaf > 0
            yield Measurement(what, event.deaf, 0, unit, harmed, event.place, message)
