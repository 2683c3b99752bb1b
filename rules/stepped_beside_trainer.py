"""A hook of a LightningModule steps the optimizer, or runs the backward pass, that the trainer runs itself.

## What it finds
`step()` of an optimizer that `configure_optimizers` returns, or `backward()` of the loss that `training_step` returns,
in a hook of a LightningModule whose optimization is automatic. The finding stands at the call.

## Why it hurts
With automatic optimization the trainer clears the gradients, runs the backward pass of the returned loss, and steps,
for each batch. A step in a hook moves the weights a second time, by gradients that are used already: with SGD the
learning rate is twice what was set, Adam counts each gradient twice. A backward pass of the returned loss leaves no
graph for the trainer's own, which ends in an error.

## Example
Wrong:

```python
import torch
from lightning.pytorch import LightningModule


class Regression(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layer(inputs), targets)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.optimizers().step()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
```

Right:

```python
import torch
from lightning.pytorch import LightningModule


class Regression(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layer(inputs), targets)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
```

## Fix and its safety
Takes the step out, where the hooks run no backward pass of their own. Unsafe: a learning rate that was found by trying
fits the double steps. Where they do, manual optimization may be what is meant (`self.automatic_optimization = False` in
the constructor), and no fix is offered.

## Known limits
Quiet where something sets `automatic_optimization`, where the module overrides a hook around the step, such as
`optimizer_step`, where it derives from a class out of sight, where `training_step` can return no loss, and about an
optimizer that `configure_optimizers` does not certainly return.

## Proof
The steps of one optimizer on the gradients of one forward pass, where the trainer's step and that of a hook are told
apart by the lines that led to them; healthy is 1. A second pass through a graph is counted where torch refuses it.

## References
- Lightning, optimization: https://lightning.ai/docs/pytorch/stable/common/optimization.html
- LightningModule, hooks: https://lightning.ai/docs/pytorch/stable/common/lightning_module.html#hooks
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Backward, Event, OptimizerStep, same
from torchlint.rule import Facts, Finding, Fix, Group, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"training_step"}, {"step", "backward"}, {"configure_optimizers"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        trainers = next((step for step in root.of(OptimizerStep) if step.by_trainer), None)
        losses = next((backward for backward in root.of(Backward) if backward.by_trainer), None)
        if trainers is None or losses is None or not root.complete:
            continue
        own = [b for b in root.of(Backward) if not b.by_trainer]
        told: set[object] = set()
        for step in root.of(OptimizerStep):
            if step.by_trainer or step.site.node in told or not step.inside(trainers.loops[-1]):
                continue
            if same(step.optimizer, trainers.optimizer):
                told.add(step.site.node)
                yield _finding(facts, step, trainers, [] if own else [Remove(step.site)])
        for backward in own:
            if not told and _of_returned(backward, losses):
                told.add(backward.site.node)
                yield _finding(facts, backward, losses, [])


def _of_returned(backward: Backward, by_trainer: Backward) -> bool:
    """True when the trainer runs a backward pass of the very same loss."""
    return same(backward.loss, by_trainer.loss) and backward.inside(by_trainer.loops[-1])


def _finding(facts: Facts, event: Event, trainers: Event, changes: list[Remove]) -> Finding:
    stepping = isinstance(event, OptimizerStep)
    return Finding(
        event.site,
        f"`{facts.text(event.site)}` {'steps' if stepping else 'runs the backward pass'}, and so does the trainer: "
        "optimization is automatic here",
        "Each batch moves the weights twice, or the trainer finds no graph for its own backward pass."
        if stepping
        else "The trainer finds no graph for its own backward pass.",
        related=(("the trainer works on what this returns", trainers.site),),
        fix=Fix("Leave the step to the trainer", Safety.UNSAFE, tuple(changes)) if changes else None,
    )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "steps on the gradients of one forward pass", "steps"
    forwards: tuple[int, ...] = ()
    passes: list[events.Backward] = []
    last: dict[int, tuple[tuple[int, ...], list[events.OptimizerStep]]] = {}
    worst: dict[events.Place, tuple[int, bool]] = {}
    for event in trace.events:
        match event:
            case events.Backward(accumulates=True):
                forwards = event.forwards
                passes.append(event)
            case events.OptimizerStep(blank=False) if forwards:
                before, steps = last.get(event.optimizer, ((), []))
                steps = [*steps, event] if before == forwards else [event]
                last[event.optimizer] = (forwards, steps)
                inner = [one for one in steps if any(_led_to(other.place, one.place) for other in steps)]
                count = len(steps) if inner else 1
                place = inner[0].place if inner else event.place
                if count > worst.get(place, (0, False))[0]:
                    worst[place] = (count, bool(inner))
            case events.Raised() if "backward through the graph a second time" in event.message:
                hooked = [one for one in passes if _led_to(event.place, one.place)]
                if hooked:
                    message = "the trainer found no graph left: a hook had run the backward pass"
                    yield Measurement(
                        "backward passes through one graph", 2, 1, "passes", True, hooked[-1].place, message
                    )
    for place, (count, harmed) in worst.items():
        message = "every step had gradients of its own"
        if harmed:
            message = f"{count} steps moved the weights by the gradients of one batch, one of them the trainer's own"
        yield Measurement(what, count, 1, unit, harmed, place, message)


def _led_to(outer: events.Place, inner: events.Place) -> bool:
    """True when the line `outer` was being run when `inner` was: the call of a trainer, and a hook."""
    return (outer.file, outer.line) in inner.callers
