"""In each round of the loop the optimizer steps first, and the gradients that it should use are computed after.

## What it finds
A training loop in which `step()` comes before the `backward()` of the same round: the model has been called, the
optimizer steps, and only then are gradients computed, to be cleared before the next step or used one batch late. The
finding stands at the `step()`; a second location shows the `backward()`.

## Why it hurts
The first step finds no gradients. Where `zero_grad()` begins the round no later step finds any either, and nothing is
ever learned. Where it stands between the two, each step moves the weights between a batch's forward and its backward
pass: the gradients belong to weights that are gone, or torch refuses the backward pass.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    optimizer.step()
    loss.backward()
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
Moves the `step()` to right after the backward pass, where both stand in one block and nothing is clipped or scaled.
Safe: the first step used nothing, and what the others used was meant for this place. No fix elsewhere.

## Known limits
Quiet where a backward pass, or code out of sight, could come before the first step on some path, and about a loop that
calls the model after the step: it begins its rounds with the step that belongs to the last one, and learns.

## Proof
The gradients at an optimizer's first step, where the model was called before it and differentiated only after it.
Healthy is some; the pitfall shows none.

## References
- Taking an optimization step: https://docs.pytorch.org/docs/stable/optim.html#taking-an-optimization-step
- Optimization loop: https://docs.pytorch.org/tutorials/beginner/basics/optimization_tutorial.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import holdings, may_add_gradients, may_feed, related, shared_loop, wasted
from torchlint.facts import Backward, Event, Forward, GradientsClipped, Optimizer, OptimizerStep, Root, certainly, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward", "manual_backward"}, {"step"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    told: set[object] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or step.closure or step.site.node in told:
                continue
            if not certainly(step.optimizer, Optimizer):
                continue
            backward = _late(root, step)
            if backward is None:
                continue
            told.add(step.site.node)
            name = step.optimizer.name or "the optimizer"
            yield Finding(
                step.site,
                f"`{name}` steps before the `backward()` whose gradients it should use",
                "The first step finds no gradients, and later ones none either or those of the batch before.",
                related=(("the gradients come only here", backward.site),),
                fix=_fix(facts, root, step, backward),
            )


def _late(root: Root, step: OptimizerStep) -> Backward | None:
    """The backward pass of the step's own round, where it comes after the step and none can come before."""
    order = {event: place for place, event in enumerate(root.events)}
    feeds = [
        b
        for b in root.of(Backward)
        if b.roots is not None and may_feed(b, step.optimizer) and shared_loop(step, b) and order[b] > order[step]
    ]
    if not feeds or _may_have_gradients(root, step):
        return None
    found = wasted(root, step)
    if found is not None and not found[1]:
        return feeds[-1]
    held = holdings(step.optimizer)
    loop = shared_loop(step, feeds[0])
    calls = [
        order[f]
        for f in root.of(Forward)
        if loop and f.inside(loop) and held and any(related(f.module, h) for h in held)
    ]
    before, between = [c for c in calls if c < order[step]], [c for c in calls if order[step] < c < order[feeds[0]]]
    return feeds[-1] if before and not between else None


def _may_have_gradients(root: Root, step: OptimizerStep) -> bool:
    """True when on some way from the start to the first time that `step` runs it can find gradients."""
    held = holdings(step.optimizer)

    def after(state: str, event: Event) -> str | None:
        if event is step:
            return None
        given = isinstance(event, Backward) or may_add_gradients(event, held)  # if for another: then by mistake
        return "some" if given else state

    return walk([root.entry], "none", after).get(step, {"some"}) != {"none"}


def _fix(facts: Facts, root: Root, step: OptimizerStep, backward: Backward) -> Fix | None:
    if step.scaled or step.frame is not backward.frame or not step.site.same_suite(backward.site):
        return None
    if any(root.of(GradientsClipped)):
        return None
    text = facts.text(step.site)
    changes = (Remove(step.site), InsertAfter(backward.site, (text,)))
    return Fix(f"Move `{text}` after the backward pass", Safety.SAFE, changes)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients at the first step", "steps with gradients"
    backwards = [one for one in trace.of(events.Backward) if one.accumulates]
    counts: dict[int, int] = {}
    for step in trace.of(events.OptimizerStep):
        counts[step.optimizer] = max(counts.get(step.optimizer, 0), step.step)
    for step in trace.of(events.OptimizerStep):
        if step.step > 1 or counts[step.optimizer] < 2:
            continue
        if not step.blank:
            yield Measurement(what, 1, 1, unit, False, step.place, "the first step had gradients")
        elif any(one.number > step.number and any(f < step.number for f in one.forwards) for one in backwards):
            yield Measurement(
                what, 0, 1, unit, True, step.place,
                "the model was called, the optimizer stepped without gradients, and only then came the backward pass",
            )  # fmt: skip
