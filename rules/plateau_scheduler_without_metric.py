"""`ReduceLROnPlateau.step()` is called without the number that it watches.

## What it finds
`scheduler.step()` without an argument where `scheduler` certainly is a
`torch.optim.lr_scheduler.ReduceLROnPlateau`. The finding stands at the call; a second location shows where
the scheduler was made. And one that `configure_optimizers` of a LightningModule returns without a `monitor`, the
metric that the trainer tells it: there the finding stands where the scheduler is made.

## Why it hurts
Other schedulers count their steps. This one compares a number, usually the validation loss, with the best one
so far, and has to be told it. Without it the call raises a `TypeError`: after a whole epoch of training. Lightning
raises a `MisconfigurationException` when the training begins.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
for inputs, targets in batches:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
    scheduler.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
for inputs, targets in batches:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
    scheduler.step(loss.item())
```

## Fix and its safety
No fix: which number to watch is for the author to say.

## Known limits
Quiet where the scheduler can be another one on some path, where it comes from code of another file, and where
its class is one of the file that derives from it.

## Proof
In a real run torch refuses the step, or Lightning the scheduler: such refusals are counted; healthy is 0.

## References
- torch.optim.lr_scheduler.ReduceLROnPlateau: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html
- torch.optim: How to adjust learning rate: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Scheduler, SchedulerStep, Value
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"ReduceLROnPlateau"}, {"step"}]  # of `training_step` too


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        steps = list(root.of(SchedulerStep))
        other = {step.site.node for step in steps if not _always_watches(step.scheduler)}
        for step in steps:
            if step.arguments != 0 or step.site.node in other:
                continue
            name = f"`{step.spelling}`" if step.spelling else "it"
            yield Finding(
                step.site,
                "a `ReduceLROnPlateau` is handed to the trainer without a `monitor`"
                if step.by_trainer
                else f"{name} is a `ReduceLROnPlateau`, and is stepped without the number that it watches",
                "The trainer refuses it before the first epoch."
                if step.by_trainer
                else "torch raises a TypeError here, once the first epoch is done.",
                related=tuple(
                    ("the scheduler is made here", o.site)
                    for o in step.scheduler.options()
                    if o.site and not step.by_trainer
                ),
            )


def _always_watches(scheduler: Value) -> bool:
    return all(isinstance(one, Scheduler) and one.api == _PLATEAU for one in scheduler.options())


_PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "steps that the scheduler refuses", "steps"
    for step in trace.of(events.SchedulerStep):
        if step.kind == "ReduceLROnPlateau":
            refused = "metrics" in step.refusal
            message = step.refusal if refused else f"it was told a number; the learning rate is {step.after:g}"
            yield Measurement(what, int(refused), 0, unit, refused, step.place, message)
    for raised in trace.of(events.Raised):
        if raised.kind == "MisconfigurationException" and "must include a monitor" in raised.message:
            yield Measurement(what, 1, 0, unit, True, raised.place, raised.message)
