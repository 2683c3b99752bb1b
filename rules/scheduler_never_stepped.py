"""A learning rate scheduler is made and never used, so the learning rate stays what it is.

## What it finds
`scheduler = StepLR(optimizer, ...)` where the name is read nowhere, in a program that steps the optimizer: made in the
training function, at module level, in the constructor of a trainer (`self.scheduler`, which nothing in the file
reads), or returned by a helper to a name that nobody reads. And one that a LightningModule with manual optimization
returns from `configure_optimizers`, in a file that never asks for `lr_schedulers()`. The finding stands at the call
that makes the scheduler; a second location shows a step of its optimizer.

## Why it hurts
A scheduler changes the learning rate only when it is stepped. Without a step the training runs at the first learning
rate to its end, or, with a warm-up, at the small one that it was to begin with.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
for epoch in range(10):
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
for epoch in range(10):
    optimizer.zero_grad()
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    optimizer.step()
    scheduler.step()
```

## Fix and its safety
No fix: whether it is to be stepped after each batch or each epoch is for the author to say.

## Known limits
Quiet where the scheduler goes into a list or a dictionary, is handed on or returned to code out of sight, where the
file reads its name or attribute anywhere, where the project's own files that this one imports use an attribute of that
name, and where no step of its optimizer is in sight.

## Proof
In a real run that comes to its end, the schedulers are counted that were never stepped while their optimizer was, at
one learning rate; healthy is 0.

## References
- torch.optim: How to adjust learning rate: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
- torch.optim.lr_scheduler.LRScheduler: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LRScheduler.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import OptimizerStep, Root, Scheduler, SchedulerBuilt, SchedulerStep, may_be_same, only
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [
    {"lr_scheduler", "get_linear_schedule_with_warmup", "get_cosine_schedule_with_warmup", "get_scheduler"},
    {"step"},
    {"backward", "manual_backward"},
]


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for built in root.of(SchedulerBuilt):
            scheduler = only(built.scheduler)
            if not isinstance(scheduler, Scheduler) or scheduler.nested or not scheduler.names or not root.complete:
                continue
            maker = built.site.function
            if maker is not None and maker.file and scheduler.names[-1][1].startswith("."):
                continue  # an attribute of a class of another file
            step = _step_of_its_optimizer(root, scheduler)
            if step is None or _stepped(root, scheduler) or not (scheduler.idle or _never_read(facts, scheduler)):
                continue
            name = scheduler.names[-1][1]
            yield Finding(
                built.site,
                f"the scheduler `{scheduler.name or name.lstrip('.')}` is never stepped",
                "The learning rate stays what it is from the first step to the last.",
                related=(("its optimizer is stepped here", step.site),),
            )


def _step_of_its_optimizer(root: Root, scheduler: Scheduler) -> OptimizerStep | None:
    optimizer = scheduler.optimizer
    if optimizer is None:
        return None
    return next((e for e in root.of(OptimizerStep) if may_be_same(e.optimizer, optimizer) and e.loops), None)


def _stepped(root: Root, scheduler: Scheduler) -> bool:
    return any(may_be_same(event.scheduler, scheduler) for event in root.of(SchedulerStep))


def _never_read(facts: Facts, scheduler: Scheduler) -> bool:
    """True when the last name that it is bound to is read nowhere, and the earlier ones only hand it back."""
    for function, name in scheduler.names[:-1]:
        found, handed = facts.reads(function, name)
        if found or not handed:
            return False
    function, name = scheduler.names[-1]
    if name.startswith("_") or (name.startswith(".") and facts.elsewhere(name[1:])):
        return False
    return facts.reads(function, name) == (0, 0)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "schedulers never stepped", "schedulers"
    stepped = {step.scheduler for step in trace.of(events.SchedulerStep)}
    parts = {part for built in trace.of(events.SchedulerBuilt) for part in built.parts}
    end = trace.end
    over = end is not None and end.status == 0 and not end.stopped
    for built in trace.of(events.SchedulerBuilt):
        rates = [s.rate for s in trace.of(events.OptimizerStep) if s.optimizer == built.optimizer]
        if built.scheduler in stepped:
            yield Measurement(what, 0, 0, unit, False, built.place, f"the {built.kind} was stepped")
        elif built.scheduler not in parts and over and len(rates) > 1 and len(set(rates)) == 1:
            message = (
                f"the {built.kind} was never stepped: all {len(rates)} steps of its optimizer had rate {rates[0]:g}"
            )
            yield Measurement(what, 1, 0, unit, True, built.place, message)
