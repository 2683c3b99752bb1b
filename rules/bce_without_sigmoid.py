"""Binary cross entropy of probabilities is given raw scores.

## What it finds
`nn.BCELoss` or `F.binary_cross_entropy` whose first argument is certainly the result of a layer (`nn.Linear`, a
convolution) or of an activation that leaves [0, 1]: written in the call, assigned before, or at the end of the
`forward` of a model of the file (through `nn.Sequential`, helper methods, tuples and dicts, with the flags that the
constructor was given). The finding stands at the loss.

## Why it hurts
`BCELoss` takes probabilities. The first score outside of [0, 1] ends the program: `RuntimeError: all elements of
input should be between 0 and 1` on the CPU, a device-side assertion on a GPU that names another line. With small
first weights that can be after many steps; until then the loss pushes scores as if they were probabilities.

## Example
Wrong:

```python
from torch import nn

model = nn.Linear(20, 1)
criterion = nn.BCELoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(20, 1)
criterion = nn.BCELoss()
for x, y in batches:
    loss = criterion(torch.sigmoid(model(x)), y)
```

Better: scores, and `nn.BCEWithLogitsLoss()`, which stays exact where the model is very sure.

## Fix and its safety
Applies the sigmoid in the call. Unsafe: predictions that are made elsewhere need it too. No fix where the file has
no name for torch.

## Known limits
Quiet unless every path ends in such an operation: `clamp`, a softmax and arithmetic on the output are taken for what
they should be. A model of another file is looked into where its import can be followed; a criterion that is
handed over as an argument is not known.

## Proof
In a real run the numbers that the loss is given are compared with [0, 1]; the pitfall shows numbers outside of it,
and torch's own error.

## References
- torch.nn.BCELoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
- torch.nn.BCEWithLogitsLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.losses import SCORES, certain, given, operation_at, title
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"binary_cross_entropy", "BCELoss"}, {"nn", "torch", "functional"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    sigmoid = facts.spell("torch.sigmoid")
    for loss, makes in certain(facts, "binary_cross_entropy", SCORES | {"log_softmax", "log_sigmoid"}):
        around = Around(loss.output_site, f"{sigmoid}(", ")") if loss.output_site is not None and sigmoid else None
        yield Finding(
            loss.site,
            f"{given(facts, loss)} holds raw scores: {title(loss)} takes probabilities",
            "The first score outside of [0, 1] ends the training with an error, on a GPU without saying where.",
            related=operation_at(facts, loss, makes),
            fix=Fix("Apply the sigmoid", Safety.UNSAFE, (around,))
            if around is not None and all(made.by in SCORES for made in makes)
            else None,
        )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "furthest from being a probability", "beyond [0, 1]"
    for loss in trace.of(events.LossComputed):
        if loss.loss != "binary_cross_entropy":
            continue
        beyond = max(-loss.lowest, loss.highest - 1, 0.0)
        harmed = beyond > 1e-6
        message = "every number that the loss is given is a probability"
        if harmed:
            message = f"the loss is given numbers from {loss.lowest:.3g} to {loss.highest:.3g}: {loss.error[:90]}"
        yield Measurement(what, round(beyond, 6), 0, unit, harmed, loss.place, message)
