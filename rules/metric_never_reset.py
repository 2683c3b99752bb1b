"""A metric is computed at the end of each epoch and never reset: it is the value of all epochs together.

## What it finds
A metric of torchmetrics that is made before a loop, updated over the batches of each of its rounds and computed after
them, with nothing in the round that resets it or makes it anew. The finding stands at the `compute()`; a second
location shows the update.

## Why it hurts
A metric adds up what it is given. Without `reset()` the second epoch's accuracy is that of both epochs, the tenth's
that of all ten: it trails behind the model, smooth and wrong. Early stopping, the best checkpoint and the plot all
follow that number. Metrics that keep their samples (`AUROC`, `PearsonCorrCoef` and others) also fill the memory.

## Example
Wrong:

```python
import torch
import torchmetrics

model = torch.nn.Linear(4, 3)
metric = torchmetrics.Accuracy(task="multiclass", num_classes=3)
for epoch in range(10):
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            metric.update(model(x), y)
    print(metric.compute())
```

Right:

```python
import torch
import torchmetrics

model = torch.nn.Linear(4, 3)
metric = torchmetrics.Accuracy(task="multiclass", num_classes=3)
for epoch in range(10):
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            metric.update(model(x), y)
    print(metric.compute())
    metric.reset()
```

## Fix and its safety
Resets the metric at the beginning of each round, or of the function that updates and computes it. Unsafe: the numbers
become others, and with them what was tuned to them. No fix is offered where the metric has no name in reach there.

## Known limits
Quiet where a metric is handed to code out of sight, to Lightning's `self.log`, which resets it, or kept in a
`MetricTracker`; where it is computed in the loop over the batches, as a running value; and where the loop does not
train or change the mode of a model, so that its rounds may be parts of one evaluation.

## Proof
How many updates are in a metric when it is computed, against those since it was last computed, the mode of a model
having been changed in between. Healthy is 1; the pitfall shows 2 in the second epoch, 3 in the third.

## References
- torchmetrics, metrics and epochs: https://lightning.ai/docs/torchmetrics/stable/pages/overview.html
- torchmetrics.Metric.reset: https://lightning.ai/docs/torchmetrics/stable/references/metric.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import (
    Backward,
    Event,
    Loop,
    Metric,
    MetricComputed,
    MetricReset,
    MetricUpdated,
    ModeSet,
    OptimizerStep,
    Root,
    UnknownCall,
    certainly,
    may_be_same,
    same,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"torchmetrics"}, {"compute"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for computed in root.of(MetricComputed) if root.complete else ():
            if computed.site.node in seen or not certainly(computed.metric, Metric):
                continue
            for loop in computed.loops:
                update = _adds_up(root, computed, loop)
                if update is not None:
                    seen.add(computed.site.node)
                    name = computed.spelling or computed.metric.name or "the metric"
                    yield Finding(
                        computed.site,
                        f"`{name}` is computed in each round and never reset",
                        "Its value is that of all epochs so far, and trails behind the model.",
                        related=(("it goes on adding up here", update.site),),
                        fix=_fix(facts, computed, update, loop),
                    )
                    break


def _adds_up(root: Root, computed: MetricComputed, loop: Loop) -> MetricUpdated | None:
    """Where the metric is updated in each round, between two computations in none of which it has begun anew."""
    metric = computed.metric
    updates = [u for u in root.of(MetricUpdated) if same(u.metric, metric) and u.inside(loop)]
    deeper = [u for u in updates if any(one not in computed.loops for one in u.loops)]
    if loop.once or not deeper or not any(_of_training(e) and e.inside(loop) for e in root.events):
        return None

    def after(state: str, event: Event) -> str | None:
        match event:
            case MetricReset(metric=other):
                return "new" if may_be_same(other, metric) else state
            case UnknownCall():
                return "new" if event.touches(metric) else state
        return None if event is computed else state

    met = walk(computed.next, "old", after, lambda event: event.inside(loop))
    if met.get(computed) != {"old"}:
        return None
    return next((u for u in deeper if met.get(u) == {"old"}), None)


def _of_training(event: Event) -> bool:
    return isinstance(event, (Backward, OptimizerStep, ModeSet))


def _fix(facts: Facts, computed: MetricComputed, update: MetricUpdated, loop: Loop) -> Fix | None:
    name, function = computed.spelling, computed.frame.function
    if not name or update.frame is not computed.frame:
        return None
    if loop.frame is computed.frame and loop.site.function is computed.site.function:
        if not facts.binds(function, name.partition(".")[0]):
            return None
        place = loop.site
    elif function is not None and (name.partition(".")[0] in function.parameters or facts.binds(None, name)):
        place = function.site
    else:
        return None
    line = f"{name}.reset()"
    return Fix(f"Begin with `{line}`", Safety.UNSAFE, (InsertFirst(place, (line,)),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "updates in a metric, by those since it was last computed", "times"
    changed: set[int] = set()  # metrics that were computed before the mode was last set
    computed: set[int] = set()
    for event in trace.events:
        match event:
            case events.ModeSet():
                changed |= computed
            case events.MetricComputed() if event.fresh > 0:
                again, harmed = event.metric in changed, event.updates > event.fresh and not event.resets
                computed.add(event.metric)
                changed.discard(event.metric)
                if again:
                    ratio = event.updates / event.fresh
                    yield Measurement(
                        what, ratio if harmed else 1, 1, unit, harmed, event.place,
                        f"{event.updates} updates were in {event.kind}, {event.fresh} of them since the last compute"
                        if harmed else f"{event.kind} held the {event.fresh} updates since the last compute",
                    )  # fmt: skip
