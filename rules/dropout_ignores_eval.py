"""Functional dropout in a model that goes on dropping in evaluation mode.

## What it finds
`F.dropout(x)`, `F.dropout(x, self.p)` or `F.dropout2d(...)` without `training=`, and
`F.scaled_dot_product_attention(..., dropout_p=self.p)`, in the `forward` of a module or in what it calls. The
finding stands at the call.

## Why it hurts
`nn.Dropout` knows the mode of the model; the functions do not. `F.dropout` drops unless `training=False` is
given, and attention drops whatever `dropout_p` says. After `model.eval()` the network still throws away a
part of its activations: predictions are random and worse than they need be, and validation measures a
crippled model.

## Example
Wrong:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = F.dropout(x, 0.5)
        return self.fc(x)
```

Right:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = F.dropout(x, 0.5, training=self.training)
        return self.fc(x)
```

## Fix and its safety
Gives `training=self.training`, or `dropout_p=... if self.training else 0.0`. Unsafe: where dropout at
prediction is meant, predictions become deterministic. A call in a function that has no `self` gets no fix.

## Known limits
Quiet where a test of the mode decides about the call, where the rate may be 0 on some path or is handed in by
a caller that cannot be seen, and where `training=True` is written out: that is said on purpose. A name or a
comment that speaks of Monte Carlo, Bayesian or always active dropout keeps it quiet as well. Dropout in
a named function that is handed to a library is not seen.

## Proof
One batch goes through the model twice in evaluation mode. The largest difference between the two answers is
measured, at each line that drew random numbers for functional dropout; healthy is 0.

## References
- torch.nn.functional.dropout: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.dropout.html
- torch.nn.functional.scaled_dot_product_attention: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Dropped, Literal, Unknown
from torchlint.rule import Around, Change, Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"dropout", "scaled_dot_product_attention"}, {"forward"}, {"functional", "torch"}]
fixable = "sometimes"

_MEANT = ("monte", "mc_", "mc ", "mcd", "bayes", "always", "uncertain", "prenet", "test time", "inference", "ensembl")


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.forwards:
        for event in root.of(Dropped):
            if event.tied or event.open or not _drops(event) or _meant(facts, event, cls.name):
                continue
            name = facts.text(event.site).partition("(")[0]
            attention = name.endswith("attention")
            yield Finding(
                event.site,
                f"`{name}` in `{cls.name}` drops in evaluation mode too"
                + (": its `dropout_p` does not follow the mode" if attention else ": it is not given `training`"),
                "After `eval()` the model still drops activations at random: predictions are noisy and worse.",
                fix=_fix(facts, event, attention),
            )


def _drops(event: Dropped) -> bool:
    """True when the call certainly drops, in whichever mode the module is."""
    if event.rate is not None:
        for one in event.rate.options():
            match one:
                case Literal(value=constant) if not constant:
                    return False
                case Literal():
                    continue
                case Unknown(origin="attribute" | "item"):
                    if event.function.endswith("attention") and not event.own_rate:
                        return False
                case _ if not event.own_rate:
                    return False
    if event.function.endswith("attention"):
        return event.rate is not None
    return event.training is None and not event.function.startswith("torch.dropout")


def _meant(facts: Facts, event: Dropped, owner: str) -> bool:
    names = [owner, *(frame.name for frame in event.frame.stack())]
    said = " ".join(names).lower() + " " + facts.remarks(event.site)
    return any(word in said for word in _MEANT)


def _fix(facts: Facts, event: Dropped, attention: bool) -> Fix | None:
    function = event.site.function
    itself = function.parameters[0] if function is not None and function.owner is not None else ""
    if itself != "self" or event.last_argument is None:
        return None
    change: Change
    if attention:
        if event.rate_site is None:
            return None
        change = Replace(event.rate_site, f"{facts.text(event.rate_site)} if self.training else 0.0")
    else:
        change = Around(event.last_argument, after=", training=self.training")
    return Fix("Let dropout follow the mode of the module", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "two passes in evaluation mode differ by", "difference"
    for forward in trace.of(events.Forward):
        if forward.trains or forward.training or forward.difference is None:
            continue
        differs = forward.difference > 1e-6 * forward.scale
        for place in forward.dropped if differs else ():
            yield Measurement(
                what,
                forward.difference,
                0,
                unit,
                True,
                place,
                f"{forward.kind} in evaluation mode gave two answers, {forward.difference:.3g} apart, to one batch",
            )
        if not differs:
            yield Measurement(
                what, 0, 0, unit, False, forward.place, f"{forward.kind} answers the same batch the same way twice"
            )
