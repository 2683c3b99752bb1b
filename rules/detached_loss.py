"""A loss is cut from its graph before `backward()`: no gradient gets to the model.

## What it finds
`backward()` on what went through `.item()`, `.detach()`, `.data`, `float(...)`, `torch.tensor(loss)` or NumPy, where
nothing else in the loss can have a gradient. The finding stands where the graph ends; a second location shows the
backward pass.

## Why it hurts
Without its graph a loss is a number: `backward()` raises a RuntimeError, or an AttributeError where it really is a
float. With `requires_grad=True` set on it, which silences the error, the pass ends at the loss itself: no
parameter gets a gradient, the optimizer steps on nothing, and the training is quietly without effect.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y).detach()
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
```

## Fix and its safety
What stands inside of the call, without it. Unsafe: where the same value is kept or printed too, that now has a graph.
No fix for graphs that end in `.data`, in NumPy, or where a number goes into a new tensor.

## Known limits
Quiet where a part of the loss may have a graph of its own that cannot be seen: a parameter of the function, the
result of unknown code. Quiet about backward passes that are expected to raise, and about
losses that are made to require grad where no optimizer steps.

## Proof
In a real run torch's refusal is counted, and backward passes after which an optimizer steps with no gradient at all;
healthy is 0.

## References
- torch.Tensor.detach: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html
- torch.Tensor.item: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.item.html
- torch.tensor: https://docs.pytorch.org/docs/stable/generated/torch.tensor.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import lost_graphs
from torchlint.facts import Backward, Cut, GradientUsed, OptimizerStep, Root, Tensor, computed_from
from torchlint.methods import NON_DIFFERENTIABLE
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward"}, {"item", "detach", "data", "numpy", "float", "tensor", "Tensor", "tolist"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root, backward, cut in lost_graphs(facts.roots):
        if cut.how == "no_grad" or cut.how in NON_DIFFERENTIABLE or not _meant(root, backward):
            continue
        passing = "the trainer's backward pass" if backward.by_trainer else f"`{facts.text(backward.site)}`"
        yield Finding(
            cut.site,
            f"`{facts.text(cut.site)}` cuts the loss from its graph before {passing}",
            "No gradient gets to the model: the backward pass raises, or ends at the loss itself.",
            related=(("the backward pass of it" if not backward.by_trainer else "what it returns", backward.site),),
            fix=_fix(facts, cut, backward),
        )


def _meant(root: Root, backward: Backward) -> bool:
    """True when gradients of a model are wanted: no error is silenced, or an optimizer steps."""
    flagged = any(isinstance(o, Tensor) and o.leaf for o in backward.loss.options()) if backward.loss else False
    flagged = flagged or any(
        e.target is not None and backward.loss is not None and e.target in backward.loss.options()
        for e in root.of(GradientUsed)
    )
    return not flagged or any(root.of(OptimizerStep))


def _fix(facts: Facts, cut: Cut, backward: Backward) -> Fix | None:
    if cut.inner is None or cut.how not in ("item", "detach", "float", "torch.tensor"):
        return None
    into_new = cut.how == "torch.tensor"
    for one in backward.loss.options() if backward.loss is not None else ():
        if not (into_new and getattr(one, "cut", None) is cut) and cut.of not in computed_from(one):
            return None  # on the way it went into a new tensor, which would have to go too
    inner = facts.text(cut.inner)
    return Fix(f"Keep the graph: `{inner}`", Safety.UNSAFE, (Replace(cut.site, inner),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "backward passes that reached no model", "passes"
    lonely: events.Backward | None = None
    modelled = False
    for event in trace.events:
        match event:
            case events.Forward(parameters=count) if count:
                modelled = True
            case events.Backward(accumulates=True):
                lonely = event if modelled and not event.forwards else None
                if event.forwards:
                    yield Measurement(what, 0, 0, unit, False, event.place, "the pass went through a model")
            case events.OptimizerStep(gradients=0) if lonely is not None:
                message = "the pass went through no model, and the optimizer stepped without a gradient"
                yield Measurement(what, 1, 0, unit, True, lonely.place, message)
            case events.Raised() if events.without_graph(event):
                yield Measurement(what, 1, 0, unit, True, event.place, event.message.splitlines()[0])
