"""Gradients are cleared after the backward pass and before the step that should use them.

## What it finds
A `zero_grad()` between `backward()` and `step()`, on every path from the one to the other: of the optimizer that
steps, or of a model that holds all of its parameters. The finding stands at the `zero_grad()`; a second location
shows the `step()`.

Clearing at the head of the loop, before the backward pass or after the step is right, and so is clearing another
optimizer's gradients in between.

## Why it hurts
The step finds no gradients at all. Optimizers pass over parameters without one, so nothing fails and nothing is
ever learned: the loss stays where it began.

## Example
Wrong:

```python
loss = criterion(model(x), y)
loss.backward()
optimizer.zero_grad()
optimizer.step()
```

Right:

```python
optimizer.zero_grad()
loss = criterion(model(x), y)
loss.backward()
optimizer.step()
```

## Fix and its safety
Moves the `zero_grad()` to right before the first backward pass, or where that stands in another block to right after
the step. Safe: a program whose gradients are all thrown away computes nothing with them that could change. No fix
where neither place can be reached by moving one statement.

## Known limits
Quiet wherever gradients could come back in between: `.grad` is read or assigned, or the model or the optimizer is
handed to code out of sight. Where the backward pass comes after the step in each round of the loop, the finding is
that of `step-before-backward`.

## Proof
At each step of a real run, whether any parameter has a gradient other than zeros, and whether a clearing since the
last step threw away gradients that no step had used. Healthy is that the step finds what backward delivered.

## References
- torch.optim.Optimizer.zero_grad: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
- Optimization step: https://docs.pytorch.org/docs/stable/optim.html#taking-an-optimization-step
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_feed, wasted
from torchlint.facts import Backward, Event, Optimizer, OptimizerStep, Root, certainly
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, InsertBefore, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward", "manual_backward"}, {"step"}, {"zero_grad"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or not certainly(step.optimizer, Optimizer):
                continue
            found = wasted(root, step)
            if found is None or not found[1]:
                continue
            clear = found[0][0]
            if clear.site.node in seen:
                continue
            seen.add(clear.site.node)
            name = step.optimizer.name
            yield Finding(
                clear.site,
                f"`{facts.text(clear.site)}` throws the gradients away before the step",
                f"{f'`{name}`' if name else 'The optimizer'} steps without gradients, so nothing is learned.",
                related=(("the step that finds none", step.site),),
                fix=_fix(facts, root, step, clear),
            )


def _fix(facts: Facts, root: Root, step: OptimizerStep, clear: Event) -> Fix | None:
    order = {event: place for place, event in enumerate(root.events)}
    before = [b for b in root.of(Backward) if may_feed(b, step.optimizer) and order[b] < order[clear]]
    text = facts.text(clear.site)
    if before and all(b.frame is clear.frame and b.site.same_suite(clear.site) for b in before):
        changes = (InsertBefore(before[0].site, (text,)), Remove(clear.site))
        return Fix(f"Move `{text}` before the backward pass", Safety.SAFE, changes)
    if step.frame is clear.frame and step.site.same_suite(clear.site):
        return Fix(f"Move `{text}` after the step", Safety.SAFE, (Remove(clear.site), InsertAfter(step.site, (text,))))
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients left for the step", "steps with gradients"
    waiting: list[events.ZeroGrad] = []
    thrown: events.ZeroGrad | None = None
    for event in trace.events:
        match event:
            case events.Backward():
                thrown = None
            case events.Forward() if event.tracked and event.parameters:
                thrown = None  # a new round: its backward pass is still to come, and comes too late
            case events.ZeroGrad():
                waiting.append(event)
                thrown = event if event.unused else thrown
            case events.OptimizerStep():
                if event.blank and thrown is not None:
                    yield Measurement(
                        what, 0, 1, unit, True, thrown.place,
                        f"step {event.step} found no gradients: they were cleared here after the backward pass",
                    )  # fmt: skip
                elif not event.blank:
                    for place in dict.fromkeys(one.place for one in waiting):
                        yield Measurement(what, 1, 1, unit, False, place, "the next step still had its gradients")
                waiting, thrown = [], None
