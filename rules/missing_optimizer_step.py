"""A training loop clears gradients and computes them, and its optimizer never steps.

## What it finds
A loop that calls `optimizer.zero_grad()` and a `backward()` for the parameters that the optimizer holds, where nothing
in the file ever steps that optimizer. The finding stands at the `backward()`; a second location shows where the
optimizer is made. In a pair of networks it is often one `step()` of two that was forgotten, or written for the wrong
optimizer.

## Why it hurts
No parameter moves. The loss is computed, reported and even differentiated, and stays where it began; whatever falls is
chance, or what normalisation layers do by themselves.

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
Writes `optimizer.step()` after the backward pass, or after the clipping that follows it, where all of them stand in one
block. Unsafe: who wanted the gradients alone gets a trained model. No fix
elsewhere.

## Known limits
Quiet wherever something out of sight could take the step: the optimizer, or an object that holds it, is handed on,
returned, or made elsewhere. Quiet too where `.grad` is read, since then the gradients serve something else.

## Proof
The steps of each optimizer are counted, against the times that its gradients were cleared for another round. Healthy is
a step in at least one of them; the pitfall shows 0, and parameters that never moved.

## References
- Taking an optimization step: https://docs.pytorch.org/docs/stable/optim.html#taking-an-optimization-step
- torch.optim.Optimizer.step: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.step.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_feed, shared_loop
from torchlint.facts import (
    Backward,
    Duty,
    Event,
    Evidence,
    GradientsClipped,
    GradientUsed,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    Root,
    Uncalled,
    UnknownCall,
    ZeroGrad,
    certainly,
    may_be_same,
    same,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward", "manual_backward"}, {"zero_grad"}, {"optim", "Optimizer", "optimizer", "Adam", "SGD", "AdamW"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if facts.relieved(Duty.STEP) or _unseen_step(facts):
        return
    told: set[object] = set()
    for root in facts.roots:
        for built in root.of(OptimizerBuilt):
            optimizer = built.optimizer
            if not isinstance(optimizer, Optimizer) or optimizer.evidence is not Evidence.MADE:
                continue
            if built.site.node in told or any(_may_step(facts, other, optimizer) for other in facts.roots):
                continue
            found = _trained(root, optimizer)
            if found is None or not optimizer.name or set(found[0].loops) & set(built.loops):
                continue  # a new one each time, as a property makes it
            told.add(built.site.node)
            clear, backward = found
            name = optimizer.name or "optimizer"
            yield Finding(
                backward.site,
                f"`{name}` never steps: its gradients are computed, cleared, and not used",
                "No parameter moves, so nothing is learned.",
                related=((f"`{name}` is made here", built.site),),
                fix=_fix(facts, root, clear, backward),
            )


def _unseen_step(facts: Facts) -> bool:
    """True when a function that has the word `step` was not followed: it may be what steps."""
    seen = {event.frame.function for root in facts.roots for event in root.events}
    return any("step" in f.words and f not in seen and not f.outer for f in facts.functions)


def _may_step(facts: Facts, root: Root, optimizer: Optimizer) -> bool:
    """True when something in this run could step the optimizer, or take it out of sight."""
    if not root.complete:
        return True
    if root.returned is not None and (
        may_be_same(root.returned, optimizer) or optimizer.reached_from(root.returned.options())
    ):
        return True
    for event in root.events:
        match event:
            case OptimizerStep(optimizer=stepped):
                if may_be_same(stepped, optimizer) or not certainly(stepped, Optimizer):
                    return True
            case Uncalled(method="step"):  # another rule's
                return True
            case UnknownCall():
                if event.touches(optimizer):
                    return True
    return False


def _trained(root: Root, optimizer: Optimizer) -> tuple[Event, Backward] | None:
    """A clearing of the optimizer's gradients, and the last backward pass for it in the same loop."""
    for clear in root.of(ZeroGrad):
        if not same(clear.target, optimizer):
            continue
        feeds = [
            b
            for b in root.of(Backward)
            if b.roots is not None and may_feed(b, optimizer) and shared_loop(clear, b) is not None
        ]
        if feeds:
            loop = shared_loop(clear, feeds[-1])
            if loop and not any(isinstance(e, GradientUsed) and e.inside(loop) for e in root.events):
                return clear, feeds[-1]
    return None


def _fix(facts: Facts, root: Root, clear: Event, backward: Backward) -> Fix | None:
    written = re.fullmatch(r"([\w.]+)\.zero_grad\(.*\)", facts.text(clear.site))
    if written is None or clear.frame is not backward.frame or backward.scaler is not None:
        return None
    after: Event = backward
    order = {event: place for place, event in enumerate(root.events)}
    for clip in root.of(GradientsClipped):
        if order[clip] > order[backward]:
            if not clip.site.same_suite(backward.site):
                return None
            after = clip
    line = f"{written[1]}.step()"
    return Fix(f"Add `{line}`", Safety.UNSAFE, (InsertAfter(after.site, (line,)),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "steps of the optimizer", "steps"
    end = trace.end
    if end is None or end.status or end.stopped:
        return  # the step may have been still to come
    optimizers = {built.optimizer for built in trace.of(events.OptimizerBuilt)}
    steps = {step.optimizer for step in trace.of(events.OptimizerStep)}
    rounds: dict[int, int] = {}
    places: dict[int, events.Place] = {}
    still: dict[int, bool] = {}
    for event in trace.events:
        match event:
            case events.ZeroGrad() if event.target in optimizers:
                rounds[event.target] = rounds.get(event.target, 0) + 1
                still[event.target] = event.still
            case events.Backward() if event.accumulates:
                for one in still:
                    places[one] = event.place
    for optimizer, place in places.items():
        never = optimizer not in steps and rounds[optimizer] > 1
        if never and still[optimizer]:
            yield Measurement(
                what, 0, rounds[optimizer], unit, True, place,
                f"the gradients were cleared and computed {rounds[optimizer]} times, and no step was ever taken",
            )  # fmt: skip
        elif optimizer in steps:
            yield Measurement(what, 1, 1, unit, False, place, "the optimizer steps")
