"""The logits form of binary cross entropy is given the output of a sigmoid, and applies a second one.

## What it finds
`nn.BCEWithLogitsLoss` or `F.binary_cross_entropy_with_logits` whose first argument is certainly the result of a
sigmoid: written in the call, assigned before, or at the end of the `forward` of a model of the file (through
`nn.Sequential`, helper methods, tuples and dicts, with the flags that the constructor was given). The finding
stands at the loss.

## Why it hurts
The logits form applies the sigmoid itself. Of a number between 0 and 1 the second sigmoid makes one between 0.5
and 0.73: the model can say "yes" at best with probability 0.73 and can never say "no". The loss of a positive
sample cannot fall below ln(1 + 1/e) = 0.3133, that of a negative one not below ln 2 = 0.6931. A threshold of 0.5
on what the model gives out still works somewhat, which is why it goes unseen.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(20, 1)
criterion = nn.BCEWithLogitsLoss()
for x, y in batches:
    loss = criterion(torch.sigmoid(model(x)), y)
```

Right:

```python
from torch import nn

model = nn.Linear(20, 1)
criterion = nn.BCEWithLogitsLoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

`nn.BCELoss` of the sigmoid is right too, but less exact where the model is very sure.

## Fix and its safety
Takes the sigmoid out: of the call, or by giving the loss what the sigmoid was applied to, or at the end of
`forward`. Unsafe: what else reads the output sees scores then, where 0 stands for a probability of one half.
No fix where several sigmoid calls can come before the loss.

## Known limits
Quiet unless every path ends in a sigmoid: `return logits if self.training else torch.sigmoid(logits)` is right. A
model of another file of the project is looked into where its import can be followed; a criterion that is handed over
as an argument is not known. Soft targets (a
sigmoid as the second argument) are right.

## Proof
In a real run what the loss is given is measured, and autograd asked what made it. Numbers that a sigmoid has
brought into [0, 1] leave no loss below 0.3133 within reach; with scores the lowest is 0.

## References
- torch.nn.BCEWithLogitsLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
- torch.nn.BCELoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.losses import certain, given, operation_at, title, without
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"binary_cross_entropy_with_logits", "BCEWithLogitsLoss"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for loss, makes in certain(facts, "binary_cross_entropy_with_logits", frozenset({"sigmoid"})):
        yield Finding(
            loss.site,
            f"{given(facts, loss)} comes from a sigmoid already: {title(loss)} applies one itself",
            "The loss of a positive sample cannot fall below 0.3133, that of a negative one not below 0.6931.",
            related=operation_at(facts, loss, makes),
            fix=without(facts, loss, makes),
        )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "lowest loss of a positive sample within reach", "nats"
    for loss in trace.of(events.LossComputed):
        if loss.loss != "binary_cross_entropy_with_logits" or not loss.node:
            continue
        harmed = loss.node == "Sigmoid" and loss.lowest >= 0 and loss.highest <= 1
        floor = math.log(1 + math.exp(-1)) if harmed else 0.0
        message = f"the loss is given what {loss.node} made, from {loss.lowest:.3g} to {loss.highest:.3g}"
        if harmed:
            message += f": a second sigmoid leaves no loss below {floor:.4f} within reach"
        yield Measurement(what, round(floor, 4), 0, unit, harmed, loss.place, message)
