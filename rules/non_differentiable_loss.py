"""A step between the model and the loss has no gradient: argmax, rounding, a comparison, a cast to whole numbers.

## What it finds
`backward()` on a loss that was computed from `logits.argmax(1)`, `(p > 0.5).float()`, `out.round()`, `out.long()`
and the like, where nothing else in it can have a gradient. The finding stands at that step; a second location shows
the backward pass.

## Why it hurts
These functions jump or are flat: how the output would have to change cannot be told from them. What they give has no
graph, so `backward()` raises a RuntimeError; after rounding it runs, and every gradient is zero.

## Example
Wrong:

```python
import torch

net = torch.nn.Linear(4, 3)
labels = torch.tensor([0, 2])
guess = net(torch.ones(2, 4)).argmax(dim=1)
loss = (guess != labels).float().mean()
loss.backward()
```

Right:

```python
import torch

net = torch.nn.Linear(4, 3)
labels = torch.tensor([0, 2])
scores = net(torch.ones(2, 4))
loss = torch.nn.functional.cross_entropy(scores, labels)
loss.backward()
```

## Fix and its safety
No fix: the loss has to be another one. For classes it is cross entropy on the scores, for rounding the distance before
it, or an estimator that lets gradients pass (`x + (x.round() - x).detach()`).

## Known limits
Quiet where another part of the loss may have a graph, which is how straight-through estimators and rewards in
reinforcement learning are written.

## Proof
In a real run torch's refusal is counted, and backward passes after which every gradient is missing; healthy is 0.

## References
- torch.argmax: https://docs.pytorch.org/docs/stable/generated/torch.argmax.html
- torch.nn.CrossEntropyLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
- Autograd mechanics: Gradients for non-differentiable functions: https://docs.pytorch.org/docs/stable/notes/autograd.html#gradients-for-non-differentiable-functions
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import lost_graphs
from torchlint.methods import NON_DIFFERENTIABLE
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward"}, {"torch"}]


def check(facts: Facts) -> Iterator[Finding]:
    for _, backward, cut in lost_graphs(facts.roots):
        if cut.how not in NON_DIFFERENTIABLE:
            continue
        yield Finding(
            cut.site,
            f"`{facts.text(cut.site)}` has no gradient, and `{facts.text(backward.site)}` needs one",
            "No gradient gets to the model: the backward pass raises, or leaves nothing but zeros.",
            related=(("the backward pass through it", backward.site),),
        )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "backward passes that torch refused", "passes"
    for event in trace.events:
        match event:
            case events.Backward(accumulates=True, forwards=forwards) if forwards:
                yield Measurement(what, 0, 0, unit, False, event.place, "the pass went through a model")
            case events.Raised() if events.without_graph(event):
                yield Measurement(what, 1, 0, unit, True, event.place, event.message.splitlines()[0])
