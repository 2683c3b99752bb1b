"""`requires_grad` is misspelled: the attribute that is set means nothing.

## What it finds
`p.require_grad = False`, `weight.requires_grads = True` and other names that are all but `requires_grad`, assigned to
what certainly is a tensor, a parameter or a module; and such names as keywords of a call into torch. The finding
stands at the assignment or the call.

## Why it hurts
Tensors and modules take any attribute without complaint. The flag stays as it was: parameters that were to be frozen
are trained, a leaf that was to get a gradient gets none. As a keyword it raises a TypeError.

## Example
Wrong:

```python
import torch

net = torch.nn.Linear(4, 2)
for p in net.parameters():
    p.require_grad = False
print(net.weight.requires_grad)
```

Right:

```python
import torch

net = torch.nn.Linear(4, 2)
for p in net.parameters():
    p.requires_grad = False
print(net.weight.requires_grad)
```

## Fix and its safety
The right name. Unsafe: from then on the flag really is set, and what was trained before is frozen. There is no fix
where the owner is a module: there `requires_grad` would be as meaningless.

## Known limits
Quiet about owners that are not certainly torch's, such as options and objects of the file's own classes, and about
classes that use the other name themselves.

## Proof
In a real run the flag is compared with what was assigned under the other name: tensors that differ are counted;
healthy is 0.

## References
- torch.Tensor.requires_grad: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.requires_grad.html
- Autograd mechanics: Setting requires_grad: https://docs.pytorch.org/docs/stable/notes/autograd.html#setting-requires-grad
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import FlagAssigned, Module
from torchlint.methods import like_requires_grad
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {
        *("require_grad", "requires_grads", "require_grads", "required_grad", "requires_gradient", "requires_gard"),
        *("requires_grd", "requires_gra", "requires_garad", "reqires_grad", "requies_grad", "requres_grad"),
        *("requiers_grad", "requried_grad", "require_gradient", "requires_gradients", "requiresgrad"),
        *("requieres_grad", "requires_grade", "requires_graad", "require_gard", "required_grads"),
    },
]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in [*facts.roots, *(root for _, root in facts.constructions)]:
        for event in root.of(FlagAssigned):
            if event.module or event.name_site is None:
                continue
            written = f"{event.spelling}({event.name}=...)" if event.keyword else f"{event.spelling}.{event.name}"
            effect = "sets an attribute that nothing reads: `requires_grad` stays as it was."
            fix = Fix("Write `requires_grad`", Safety.UNSAFE, (Replace(event.name_site, "requires_grad"),))
            module = any(isinstance(o, Module) for o in event.owner.options())
            yield Finding(
                event.site,
                f"`{written}` is a misspelling of `requires_grad`",
                "The call raises a TypeError." if event.keyword else f"This {effect}",
                fix=None if module else fix,
            )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "tensors whose flag is not as assigned", "tensors"
    for event in trace.events:
        match event:
            case events.FlagSet():
                wrong = event.deaf if like_requires_grad(event.name) else 0
                message = f"{event.name} = {event.wish} on a {event.kind}: {wrong} tensors have requires_grad otherwise"
                yield Measurement(what, wrong, 0, unit, wrong > 0, event.place, message)
            case events.Raised(kind="TypeError") if any(map(like_requires_grad, event.message.split("'"))):
                yield Measurement(what, 1, 0, unit, True, event.place, event.message.splitlines()[0])
