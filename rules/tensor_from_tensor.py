"""`torch.tensor(...)` is called with what is a tensor already.

## What it finds
`torch.tensor(x)` where `x` is certainly a tensor: an output of a model, a parameter, a result of torch's own
functions. The finding stands at the call.

## Why it hurts
`torch.tensor` makes a tensor from data. Of a tensor it makes a detached copy: the graph is lost, so a loss that is put
through it trains nothing, and torch warns at each such line. What is meant is said by `x.detach().clone()`, or by
`x` itself.

## Example
Wrong:

```python
import torch

x = torch.randn(8, 4)
y = torch.tensor(x)
```

Right:

```python
import torch

x = torch.randn(8, 4)
y = x.detach().clone()
```

## Fix and its safety
Writes `x.detach().clone()`, which torch's documentation calls equal. Safe: the same values, without a graph as
before. With `dtype=`, `device=` or `requires_grad=` there is no fix.

## Known limits
Quiet about parameters of functions and other names that could hold an array or a number. Nothing is said of
`torch.as_tensor`, which takes a tensor as it is.

## Proof
In a real run the call is made once more beside the program, and torch's own warnings about copies of tensors are
counted; healthy is 0.

## References
- torch.tensor: https://docs.pytorch.org/docs/stable/generated/torch.tensor.html
- torch.Tensor.detach: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Tensor, TensorCopied
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"tensor"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in [*facts.roots, *(one for _, one in facts.forwards), *(one for _, one in facts.constructions)]:
        for event in root.of(TensorCopied):
            if event.argument is None:
                continue
            text = facts.text(event.argument)
            graph = any(isinstance(one, Tensor) and one.graph for one in event.source.options())
            lost = " Its graph is lost: no gradient gets back through it." if graph else ""
            yield Finding(
                event.site,
                f"`{text}` is a tensor already: `torch.tensor` copies it",
                f"torch warns, and makes a detached copy.{lost}",
                fix=_fix(event, text),
            )


def _fix(event: TensorCopied, text: str) -> Fix | None:
    if not event.plain or "#" in text:
        return None
    source = text if text.replace(".", "").isidentifier() else f"({text})"
    return Fix("Copy it as a tensor", Safety.SAFE, (Replace(event.site, f"{source}.detach().clone()"),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "warnings of torch about copied tensors", "warnings"
    for one in trace.of(events.TensorMade):
        message = "the call makes a tensor from data"
        if one.warned:
            message = "torch warns: to copy a tensor, use detach().clone()" + (", and its graph is lost" * one.graph)
        yield Measurement(what, one.warned, 0, unit, one.warned > 0, one.place, message)
