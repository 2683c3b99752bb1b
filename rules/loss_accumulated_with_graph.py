"""A running total or a list keeps each iteration's loss together with its graph.

## What it finds
`total += loss`, `total = total + loss * n`, `losses.append(loss)`, `stats["loss"] += loss`, `self.total += loss` and
meters such as `meter.update(loss)` whose class is in the file, in a loop that also calls `backward()` on that loss,
where the total outlives the iteration. The finding stands at the line that adds; a second location shows the
backward pass.

## Why it hurts
The loss is a tensor that holds on to the graph it was computed by, and the total holds on to the loss. Every
iteration leaves its chain of autograd nodes behind until the total is dropped. Memory grows with each step, on the
GPU too, and long runs end with an out-of-memory error far from the line that caused it.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
total = 0.0
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    total += loss
```

Right:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
total = 0.0
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    total += loss.detach()
```

`loss.item()` gives a plain number, but waits for the GPU each time.

## Fix and its safety
`.detach()` is put behind what is added. Safe: the number is the same, and no backward pass goes through the total.
There is no fix where the value is added inside of a function that others call too, nor for tuples.

## Known limits
Right, and not reported: a total that is itself the loss of a backward pass, totals put back in the same iteration or
every few iterations, sums over the micro-batches of one step, sums under `no_grad`, lists that are stacked and
backpropagated, lists of a fixed length. Quiet about losses whose `backward()` is not called in the same loop (an
evaluation that records is inference-without-no-grad's), and about what callers in other files keep.

## Proof
In a real run each forward pass marks its node in the graph. When a training step comes that was repeated several
times, the marks of earlier steps that are still alive are counted, after a garbage collection; healthy is 0 or 1, the
pitfall shows one for each step.

## References
- Memory in PyTorch, "My model reports cuda runtime error(2): out of memory": https://docs.pytorch.org/docs/stable/notes/faq.html
- torch.Tensor.detach: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html
- torch.Tensor.item: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.item.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import trained_with
from torchlint.facts import (
    Accumulated,
    Backward,
    Collection,
    Frame,
    Grad,
    OptimizerStep,
    Root,
    Site,
    Value,
    computed_from,
    only,
)
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"backward"}, {"torch", "Tensor"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        found = [(one, backward) for one in root.of(Accumulated) if (backward := _kept(root, one)) is not None]
        totals = {total for one, _ in found for total in one.total.options()}
        for one, backward in found:
            if not totals.isdisjoint(computed_from(one.value)):
                continue  # an average of a total that was found itself
            frame = _common(one, backward)
            here = frame is one.frame
            site = one.site if here else _call_in(frame, one)
            loss = f"`{facts.text(one.argument)}`" if here and one.argument is not None else "the loss"
            total = f"`{one.spelling}`" if here else f"`{one.spelling}` of what is called"
            yield Finding(
                site,
                f"{loss} is kept in {total} with its graph",
                "The graph of every iteration stays in memory, which grows with each step.",
                related=(("its backward pass", backward.site),),
                fix=_fix(one) if here else None,
            )


def _kept(root: Root, one: Accumulated) -> Backward | None:
    """The backward pass of what is added, where it certainly has a graph and the total is for looking at only."""
    if not one.kept or one.loop is None or (one.summed and one.grad not in (Grad.DEFAULT, Grad.ON)):
        return None
    steps = list(root.of(OptimizerStep))
    if steps and not any(step.inside(one.loop) for step in steps):
        return None  # the micro-batches of one step
    totals = set(one.total.options())
    if any(not totals.isdisjoint(computed_from(b.loss)) for b in root.of(Backward)):
        return None
    return next((b for b in root.of(Backward) if b.inside(one.loop) and _trained_with(b, one.value)), None)


def _trained_with(backward: Backward, value: Value) -> bool:
    """True when what is added has a graph that the backward pass went through, or something in it has."""
    whole = only(value)
    parts = whole.items if isinstance(whole, Collection) else [value]
    return any(trained_with(backward, part) for part in parts)


def _common(one: Accumulated, backward: Backward) -> Frame:
    """The innermost function run that leads both to the addition and to the backward pass."""
    around = set(backward.frame.stack())
    return next((frame for frame in one.frame.stack() if frame in around), one.frame)


def _call_in(frame: Frame, one: Accumulated) -> Site:
    """The call in `frame` that leads to the addition."""
    inner = next((f for f in one.frame.stack() if f.parent is frame), None)
    return inner.call if inner is not None and inner.call is not None else one.site


def _fix(one: Accumulated) -> Fix | None:
    if one.argument is None or isinstance(only(one.value), Collection):
        return None
    change = Around(one.argument, after=".detach()") if one.atom else Around(one.argument, "(", ").detach()")
    return Fix("Detach what is added from its graph", Safety.SAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "graphs of earlier steps kept alive", "graphs"
    for one in sorted(trace.of(events.GraphsKept), key=lambda event: -event.kept):
        harmed = one.kept > 2 and one.kept >= one.steps // 2
        message = f"{one.kept} of the {one.steps - 1} graphs before this step's are still in memory"
        yield Measurement(what, one.kept, 1, unit, harmed, one.place, message)
