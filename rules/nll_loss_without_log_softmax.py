"""Negative log likelihood is given scores or probabilities, not logarithms of probabilities.

## What it finds
`nn.NLLLoss` or `F.nll_loss` whose first argument is certainly the result of a layer (`nn.Linear`, a convolution),
an activation, a softmax or a sigmoid: written in the call, assigned before, or at the end of the `forward` of a
model of the file (through `nn.Sequential`, helper methods, tuples and dicts, with the flags that the constructor
was given). A classifier of torchvision ends in a linear layer. The finding stands at the loss.

## Why it hurts
`nll_loss` takes no logarithm, in spite of its name: it picks the number of the right class and turns its sign. Of
scores it becomes a loss without a lower bound: the model learns to make one score ever larger, the loss falls
below zero, and nothing pushes the other classes down. Of probabilities it lies between -1 and 0, and the gradient
vanishes where the model is most wrong.

## Example
Wrong:

```python
from torch import nn

model = nn.Linear(20, 10)
criterion = nn.NLLLoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

Right:

```python
from torch import nn

model = nn.Sequential(nn.Linear(20, 10), nn.LogSoftmax(dim=1))
criterion = nn.NLLLoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

Right, and shorter: scores, and `nn.CrossEntropyLoss()`.

## Fix and its safety
Takes the logarithm in the call: `torch.log_softmax(..., dim=1)` of scores, `torch.log(...)` of the output of a
softmax. Unsafe: the loss is another one then, which is the point of it. No fix where the file has no name for
torch, or where scores come on one path and probabilities on another.

## Known limits
Quiet unless every path ends in such an operation; arithmetic on the output (`x - x.logsumexp(1, keepdim=True)`) and
`torch.log` of anything are taken for what they should be. A model of another file is looked into only where its
import can be followed. Libraries that take the logarithm themselves (skorch's `criterion=nn.NLLLoss`) make no call
that is seen here.

## Proof
In a real run the exponentials of what the loss is given are summed over the classes, and autograd is asked what made
it. Log-probabilities sum to 1; the pitfall shows another sum in most rows, of what came straight from a layer.

## References
- torch.nn.NLLLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html
- torch.nn.functional.nll_loss: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.nll_loss.html
- torch.nn.LogSoftmax: https://docs.pytorch.org/docs/stable/generated/torch.nn.LogSoftmax.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Loss, Made
from torchlint.losses import SCORES, certain, given, operation_at, title
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

# Nodes of autograd; arithmetic is none of them: log-probabilities times a reward are a policy's loss.
_NO_LOGARITHMS = frozenset(
    """
    Addmm Mm Bmm Baddbmm Convolution ConvolutionOverrideable Softmax Sigmoid Relu LeakyRelu Elu Gelu Silu Tanh Softplus
    """.split()
)

group = Group.CORRECTNESS
words = [{"nll_loss", "NLLLoss", "NLLLoss2d"}, {"nn", "torch", "functional"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for loss, makes in certain(facts, "nll_loss", SCORES | {"softmax", "sigmoid"}):
        probabilities = all(made.by in ("softmax", "sigmoid") for made in makes)
        what = "probabilities" if probabilities else "raw scores"
        yield Finding(
            loss.site,
            f"{given(facts, loss)} holds {what}: {title(loss)} takes logarithms of probabilities",
            "The loss lies between -1 and 0, and its gradient vanishes where the model is wrong."
            if probabilities
            else "The loss has no lower bound: one score grows, and nothing pushes the others down.",
            related=operation_at(facts, loss, makes),
            fix=_fix(facts, loss, makes),
        )


def _fix(facts: Facts, loss: Loss, makes: list[Made]) -> Fix | None:
    kinds = {"softmax" if made.by == "softmax" else "sigmoid" if made.by == "sigmoid" else "scores" for made in makes}
    form = {"softmax": ("torch.log", ")"), "scores": ("torch.log_softmax", ", dim=1)")}.get(kinds.pop())
    if kinds or form is None or loss.output_site is None:
        return None
    function = facts.spell(form[0])
    if function is None:
        return None
    return Fix("Take the logarithm", Safety.UNSAFE, (Around(loss.output_site, f"{function}(", form[1]),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "likelihoods of all classes together", "of a row, in the middle"
    for loss in trace.of(events.LossComputed):
        if loss.loss != "nll_loss" or loss.classes < 2 or not loss.node:
            continue
        harmed = loss.evidence > 0.05 and loss.node in _NO_LOGARITHMS
        total = math.exp(min(loss.evidence, 50.0)) if harmed else 1.0
        message = "what the loss is given are logarithms of probabilities"
        if harmed:
            message = (
                f"what the loss is given runs from {loss.lowest:.3g} to {loss.highest:.3g}: as logarithms of "
                f"probabilities these sum to {total:.3g} or its inverse in a row, not to 1"
            )
        yield Measurement(what, round(total, 4), 1, unit, harmed, loss.place, message)
