"""A learning rate scheduler is stepped before the optimizer, so the first learning rate is never used.

## What it finds
`scheduler.step()` at the top of a training loop, before the first `optimizer.step()` of the round, where both
are seen to be made and no step of that optimizer comes before. The steps may stand in functions of the file
that the loop calls. The finding stands at the call; a second location shows the optimizer's step.

## Why it hurts
The scheduler sets the learning rate of its first step when it is made. Stepped once before the optimizer, it
moves on: the first value is never used, and the whole schedule runs one round early. torch warns of it:
"Detected call of `lr_scheduler.step()` before `optimizer.step()`". Before torch 1.1 this was the order that
was asked for.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
for inputs, targets in batches:
    scheduler.step()
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
for inputs, targets in batches:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
    scheduler.step()
```

## Fix and its safety
The statement is moved to the end of the loop's body, where it stands directly in that body and nothing in it
goes on to the next round early; elsewhere there is no fix. Unsafe: the learning rates of a run change, which
is the point, and what else reads them in the round reads other values.

## Known limits
Quiet where the scheduler's step depends on a condition, where something in between may step the optimizer out
of sight, where the loop never steps the optimizer (a resumed run that catches up), about `ReduceLROnPlateau`,
which has no value to skip, and about calls with an argument: `scheduler.step(epoch)` sets the value of that
epoch.

## Proof
In a real run the optimizer's steps are counted at the scheduler's first step; healthy is at least one.

## References
- torch.optim: How to adjust learning rate: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
- torch.optim.lr_scheduler.LRScheduler: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LRScheduler.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import always_in
from torchlint.facts import (
    Event,
    Loop,
    Optimizer,
    OptimizerStep,
    Root,
    Scheduler,
    SchedulerStep,
    UnknownCall,
    Value,
    certainly,
    may_be_same,
    only,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"step"}, {"scheduler", "sched", "lr_scheduler", "StepLR", "CosineAnnealingLR", "LambdaLR", "OneCycleLR"}]
since = "1.1"
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for step in root.of(SchedulerStep):
            optimizer = _optimizer_of(step)
            if optimizer is None or not root.complete:
                continue
            follower = _first_in_its_loop(root, step, optimizer)
            if follower is None:
                continue
            loop, later = follower
            name = f"`{step.spelling}`" if step.spelling else "the scheduler"
            other = f"`{optimizer.name}`" if optimizer.name else "the optimizer"
            yield Finding(
                step.site,
                f"{name} is stepped before {other} in each round",
                "The first learning rate of the schedule is never used, and the rest comes one round early.",
                related=((f"{other} is stepped here", later.site),),
                fix=_fix(step, loop),
            )


def _optimizer_of(step: SchedulerStep) -> Value | None:
    """The optimizer of a scheduler that is seen to be made, where it is certainly one that is seen to be made."""
    scheduler = only(step.scheduler)
    if not isinstance(scheduler, Scheduler) or scheduler.site is None or step.arguments != 0 or scheduler.nested:
        return None
    if scheduler.api.endswith(".ReduceLROnPlateau") or scheduler.optimizer is None:
        return None
    optimizer = only(scheduler.optimizer)
    return optimizer if certainly(optimizer, Optimizer) and optimizer is not None and optimizer.site else None


def _first_in_its_loop(root: Root, step: SchedulerStep, optimizer: Value) -> tuple[Loop, OptimizerStep] | None:
    """The loop that repeats both with the scheduler first, and the optimizer's step in it; None when it is not so."""
    if not _never_after(root, step, optimizer):
        return None
    for loop in reversed(step.loops):
        later = [e for e in root.of(OptimizerStep) if loop in e.loops and may_be_same(e.optimizer, optimizer)]
        if loop.once or not later:
            continue
        return (loop, later[0]) if always_in(root, loop, step, later) else None
    return None


def _never_after(root: Root, step: SchedulerStep, optimizer: Value) -> bool:
    """True when on every way to the scheduler's first step the optimizer certainly has not stepped."""

    def follow(state: str, event: Event) -> str | None:
        if isinstance(event, OptimizerStep) and may_be_same(event.optimizer, optimizer):
            return "stepped"
        if isinstance(event, UnknownCall) and event.touches(optimizer):
            return "stepped"  # perhaps
        return None if event is step else state

    return walk([root.entry], "new", follow).get(step) == {"new"}


def _fix(step: SchedulerStep, loop: Loop) -> Fix | None:
    if step.site.suite is not loop.body or loop.skips or loop.last is None or not step.spelling:
        return None
    moved = (Remove(step.site), InsertAfter(loop.last, (f"{step.spelling}.step()",)))
    return Fix("Step it at the end of the round", Safety.UNSAFE, moved)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "optimizer steps before the scheduler's first", "steps"
    trained = {one.optimizer for one in trace.of(events.OptimizerStep)}
    seen: set[int] = set()
    for step in trace.of(events.SchedulerStep):
        if step.scheduler in seen or step.kind == "ReduceLROnPlateau" or step.optimizer not in trained:
            continue
        seen.add(step.scheduler)
        early = step.steps == 0
        message = f"the optimizer had taken {step.steps} steps"
        if early:
            message = (
                f"the learning rate {step.before:g} was replaced by {step.after:g} before any step was taken with it"
            )
        yield Measurement(what, step.steps, 1, unit, early, step.place, message)
