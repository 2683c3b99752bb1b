"""Cross entropy is given the output of a softmax, and applies a second one.

## What it finds
`nn.CrossEntropyLoss` or `F.cross_entropy` whose first argument is certainly the result of a softmax: written in the
call, assigned before, or at the end of the `forward` of a model of the file (through `nn.Sequential`, helper
methods, tuples and dicts, with the flags that the constructor was given). The finding stands at the loss.

## Why it hurts
Cross entropy takes scores and applies the softmax itself. Of probabilities, which lie between 0 and 1, the second
softmax makes almost the same number for every class: with K classes the loss cannot fall below
ln(e + K - 1) - 1, which is 1.46 for ten classes, however right the model is. The gradients are several times too
small, and smallest where the model is wrong with certainty. Training goes on, slower and to a worse end.

## Example
Wrong:

```python
from torch import nn

model = nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))
criterion = nn.CrossEntropyLoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

Right:

```python
from torch import nn

model = nn.Sequential(nn.Linear(20, 10))
criterion = nn.CrossEntropyLoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

Where probabilities are wanted, take `model(x).softmax(dim=1)` when predicting.

## Fix and its safety
Takes the softmax out: of the call, or by giving the loss what the softmax was applied to, or at the end of
`forward`. Unsafe: what else reads the output sees scores then, and a learning rate that was found for the small
gradients may be too large. No fix where several softmax calls can come before the loss.

## Known limits
Quiet unless every path ends in a softmax: `return logits if self.training else softmax(logits)` is right. A model
of another file of the project is looked into where its import can be followed; a criterion that is handed over as an
argument is not known. `log_softmax` before cross
entropy changes nothing but the time it takes, and is not reported. Soft targets (a softmax as the second argument)
are right.

## Proof
In a real run every row of what the loss is given is measured. Where all sum to 1 and lie in [0, 1], no loss below
ln(e + K - 1) - 1 can be reached; with scores the lowest is 0.

## References
- torch.nn.CrossEntropyLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
- torch.nn.functional.cross_entropy: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
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
words = [{"cross_entropy", "CrossEntropyLoss"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for loss, makes in certain(facts, "cross_entropy", frozenset({"softmax"})):
        yield Finding(
            loss.site,
            f"{given(facts, loss)} comes from a softmax already: {title(loss)} applies one itself",
            "The loss cannot fall below ln(e + K - 1) - 1, 1.46 for ten classes, and the gradients are too small.",
            related=operation_at(facts, loss, makes),
            fix=without(facts, loss, makes),
        )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "lowest cross entropy within reach", "nats"
    for loss in trace.of(events.LossComputed):
        if loss.loss != "cross_entropy" or loss.classes < 2:
            continue
        harmed = loss.lowest >= 0 and loss.highest <= 1 + 1e-6 and loss.mass < 1e-3 and loss.highest > loss.lowest
        floor = math.log(math.e + loss.classes - 1) - 1 if harmed else 0.0
        message = "the loss is given scores, and can come down to 0"
        if harmed:
            message = (
                f"every row that the loss is given sums to 1: of {loss.classes} classes it cannot fall below "
                f"{floor:.4f}, were the model always right"
            )
        yield Measurement(what, round(floor, 4), 0, unit, harmed, loss.place, message)
