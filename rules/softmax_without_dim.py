"""A softmax is not told its dimension, and torch chooses one by how many there are.

## What it finds
`nn.Softmax()`, `nn.LogSoftmax()`, `F.softmax(x)`, `F.log_softmax(x)` and `softmin` without `dim`, anywhere in the file.

## Why it hurts
Without `dim` torch takes dimension 0 of a tensor with one or three dimensions and dimension 1 of every other, and
warns. Scores of shape (batch, classes) come out right. Of shape (batch, length, classes) the numbers of *different
samples* are normalised against each other: what the model says of one sentence then hangs on which others are in
the batch. The form is deprecated, and the warning is shown once only.

## Example
Wrong:

```python
import torch.nn.functional as F

weights = F.softmax(scores)
```

Right:

```python
import torch.nn.functional as F

weights = F.softmax(scores, dim=-1)
```

## Fix and its safety
Says `dim=1`, which is what torch takes of two and of four dimensions. Unsafe: with three it changes what is
computed (mostly for the better; weights of an attention want `dim=-1`), and one dimension is refused.

## Known limits
Arguments that are unpacked (`F.softmax(*args)`) may hold the dimension. The functions and classes must be torch's by
the imports at the top of the file.

## Proof
In a real run each softmax is asked whether it was told its dimension. Where it was not, torch's warning is
counted, and the report says which dimension it took of how many; healthy is 0.

## References
- torch.nn.Softmax: https://docs.pytorch.org/docs/stable/generated/torch.nn.Softmax.html
- torch.nn.functional.softmax: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Softmax
from torchlint.rule import Around, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"softmax", "log_softmax", "softmin", "Softmax", "LogSoftmax", "Softmin"}, {"torch"}]
fixable = "unsafe"


def check(facts: Facts) -> Iterator[Finding]:
    for one in facts.softmaxes():
        yield Finding(
            one.site,
            f"`{one.spelling}` is not told its dimension",
            "Torch takes dimension 0 of one or three dimensions, which mixes the samples of a batch, and 1 of others.",
            fix=_fix(one),
        )


def _fix(one: Softmax) -> Fix:
    if one.last is None:
        change: Around | Replace = Replace(one.site, f"{one.spelling}(dim=1)")
    else:
        change = Around(one.last, after=", dim=1")
    return Fix("Say dim=1, the classes (dim=-1 where they come last)", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "warnings of torch that it chose the dimension", "in a call"
    for one in trace.of(events.Normalised):
        message = f"{one.function} was told its dimension"
        if not one.told:
            message = f"{one.function} was not told its dimension: torch took {one.dimension} of {one.dimensions}"
            message += ", that of the batch" if one.dimensions == 3 else ""
        yield Measurement(what, int(not one.told), 0, unit, not one.told, one.place, message)
