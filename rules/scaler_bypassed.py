"""A GradScaler does only half of its work: it scales and does not divide, divides what was not scaled, or never adapts.

## What it finds
Three ways to leave a GradScaler out of one of its three places in a step. `optimizer.step()` after
`scaler.scale(loss).backward()`; `loss.backward()` before `scaler.step(optimizer)`; and a loop with
`scaler.step(optimizer)` in which nothing ever calls `scaler.update()`.

## Why it hurts
`scale` multiplies the gradients, 65536 times to begin with, and `scaler.step` divides them by the same factor and
leaves out the step where some are infinite. With `optimizer.step()` the weights move by the scaled gradients. With a
loss that was not scaled they hardly move at all, or torch stops with an AssertionError. Without `update()` torch stops
at the second step.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cuda")
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    scaler.scale(loss).backward()
    optimizer.step()
```

Right:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cuda")
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
```

## Fix and its safety
Writes the call that is missing, with the program's own names: `scaler.step(optimizer)` for `optimizer.step()`,
`scaler.scale(loss)` for the loss, `scaler.update()` after the last step. Safe: a scaler that is disabled passes
everything through. No fix is offered where gradients are clipped too, since they would have to be unscaled first.

## Known limits
Quiet where gradients are unscaled or changed by hand, where only some paths leave the scaler out (`if use_amp:` is
often asked twice), about a scaler that is certainly disabled, and about a loss that code out of sight may have scaled.

## Proof
The norm of the gradients at each step against what the backward pass left, its loss unscaled. Healthy is 1, or less
where gradients are clipped; the pitfall shows the scaler's factor or its inverse, or torch's own refusal.

## References
- torch.amp.GradScaler: https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling
- Typical mixed precision training: https://docs.pytorch.org/docs/stable/notes/amp_examples.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_add_gradients, may_feed
from torchlint.facts import (
    Backward,
    Event,
    Evidence,
    GradientsClipped,
    Optimizer,
    OptimizerStep,
    Root,
    Scaler,
    ScalerUpdated,
    Site,
    Tensor,
    UnknownCall,
    Unscaled,
    Value,
    certainly,
    may_be_same,
    walk,
)
from torchlint.rule import Change, Facts, Finding, Fix, Group, InsertAfter, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"GradScaler", "scale"}, {"scaler", "GradScaler"}, {"step"}, {"backward"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        steps = [s for s in root.of(OptimizerStep) if root.complete and certainly(s.optimizer, Optimizer)]
        for step in steps:
            found = _unadapted(facts, root, step, steps) if step.scaled else _too_large(facts, root, step)
            found = found or (_too_small(facts, root, step) if step.scaled else None)
            if found is not None and found.site.node not in seen:
                seen.add(found.site.node)
                yield found


def _before(root: Root, step: OptimizerStep) -> dict[str, Backward | None]:
    """What the gradients that `step` finds are, over all paths: "scaled", "plain", ...; each with its backward pass."""
    last: dict[str, Backward | None] = {}

    def after(state: str, event: Event) -> str | None:
        match event:
            case Backward():
                if not may_feed(event, step.optimizer):
                    return state
                now = "scaled" if event.scaler is not None else "plain" if _unscaled_for_sure(event) else "unknown"
                last[now] = event
                return now
            case Unscaled():
                return "unscaled"
            case OptimizerStep():
                return "none" if may_be_same(event.optimizer, step.optimizer) else state
            case UnknownCall():
                return "unknown" if event.touches(step.optimizer, *_scalers(root)) else state
        return "unknown" if may_add_gradients(event, None) else state

    states = walk([root.entry], "none", after).get(step, set())
    return {state: last.get(state) for state in states if state != "none"}


def _scalers(root: Root) -> list[Value]:
    return [one for b in root.of(Backward) if (one := b.scaler) is not None]


def _unscaled_for_sure(event: Backward) -> bool:
    return event.loss is not None and all(isinstance(o, Tensor) and o.scaler is None for o in event.loss.options())


def _too_large(facts: Facts, root: Root, step: OptimizerStep) -> Finding | None:
    found = _before(root, step)
    backward = found.get("scaled")
    scaler = backward.scaler if backward is not None else None
    if backward is None or len(found) > 1 or not isinstance(scaler, Scaler):
        return None
    made = [one.evidence is Evidence.MADE for one in (scaler, *step.optimizer.options()) if hasattr(one, "evidence")]
    if not any(made):
        return None  # both come from code out of sight: this optimizer may divide by itself
    name, fix = scaler.name or "the GradScaler", None
    if step.spelling and not step.closure and _names(facts, scaler, step.site) and not any(root.of(GradientsClipped)):
        changes: list[Change] = [Replace(step.site, f"{scaler.name}.step({step.spelling})")]
        if not any(may_be_same(u.scaler, scaler) for u in root.of(ScalerUpdated)):
            changes.append(InsertAfter(step.site, (f"{scaler.name}.update()",)))
        fix = Fix(f"Step through `{scaler.name}`", Safety.SAFE, tuple(changes))
    return Finding(
        step.site,
        f"`{step.optimizer.name or 'optimizer'}` steps on gradients that `{name}` has scaled",
        "They are thousands of times too large, and so is what they do to the weights.",
        related=(("scaled here", backward.site),),
        fix=fix,
    )


def _too_small(facts: Facts, root: Root, step: OptimizerStep) -> Finding | None:
    found = _before(root, step)
    backward, scaler = found.get("plain"), step.scaler
    if backward is None or len(found) > 1 or not isinstance(scaler, Scaler) or scaler.enabled is False:
        return None
    fix = None
    written = re.fullmatch(r"([\w.]+)\.backward\((.*)\)", facts.text(backward.site))
    if written and _names(facts, scaler, backward.site) and not any(root.of(GradientsClipped)):
        text = f"{scaler.name}.scale({written[1]}).backward({written[2]})"
        fix = Fix(f"Scale the loss with `{scaler.name}`", Safety.SAFE, (Replace(backward.site, text),))
    return Finding(
        backward.site,
        f"the loss is not scaled, but `{scaler.name or 'scaler'}.step()` divides its gradients",
        "What is left of them is thousands of times too small, or torch stops with an AssertionError.",
        related=(("divided here", step.site),),
        fix=fix,
    )


def _unadapted(facts: Facts, root: Root, step: OptimizerStep, steps: list[OptimizerStep]) -> Finding | None:
    """A finding for the last step in a loop in which nothing updates the scaler."""
    scaler = step.scaler
    trained = list(root.of(Backward))  # a loop over optimizers alone leaves the update to what is around it
    loop = next((one for one in reversed(step.loops) if not one.once and any(b.inside(one) for b in trained)), None)
    if loop is None or not isinstance(scaler, Scaler) or scaler.enabled is False or "update" in _methods(facts):
        return None
    inside = [e for e in root.events if e.inside(loop)]
    if any(isinstance(e, ScalerUpdated) for e in inside):
        return None
    if any(isinstance(e, UnknownCall) and e.touches(scaler) for e in inside):
        return None
    if step is not [s for s in steps if s.inside(loop) and s.scaled][-1]:
        return None
    fix = None
    if scaler.name and step.receiver is not None and facts.text(step.receiver) == scaler.name:
        line = f"{scaler.name}.update()"
        fix = Fix(f"Add `{line}`", Safety.SAFE, (InsertAfter(step.site, (line,)),))
    return Finding(
        step.site,
        f"`{scaler.name or 'scaler'}.update()` is never called in this loop",
        "torch refuses the second step, and the factor would stay what it was.",
        fix=fix,
    )


def _methods(facts: Facts) -> set[str]:
    """Functions of the file that are named as the scaler's own methods: they may be what is meant."""
    return {function.name for function in facts.functions}


def _names(facts: Facts, scaler: Scaler, site: Site) -> bool:
    return bool(scaler.name) and facts.binds(site.function, scaler.name.partition(".")[0])


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients at the step, by those of the loss", "times"
    backward: events.Backward | None = None
    for event in trace.events:
        match event:
            case events.Backward():
                backward = event
            case events.OptimizerStep(excess=float() as excess, through=None) if event.scale > 1:
                harmed = excess > 0.99 * event.scale
                yield Measurement(
                    what, excess if harmed else 1, 1, unit, harmed, event.place,
                    f"step {event.step} used gradients {excess:g} times those of the loss"
                    if harmed else "the gradients were divided before the step",
                )  # fmt: skip
            case events.OptimizerStep(excess=float() as excess, through=float() as factor) if factor > 1:
                harmed = event.scale == 1 and excess < 1.01 / factor
                place = backward.place if harmed and backward is not None else event.place
                yield Measurement(
                    what, excess if harmed else 1, 1, unit, harmed, place,
                    f"step {event.step} divided gradients of a loss that was not scaled by {factor:g}"
                    if harmed else "scaled, divided, and stepped on",
                )  # fmt: skip
            case events.Raised() if "since the last update()" in event.message:
                yield Measurement("steps of a scaler for one update", 2, 1, "steps", True, event.place, event.message)
            case events.Raised(kind="AssertionError") if "_scale is None" in event.message:
                place = backward.place if backward is not None else event.place
                yield Measurement(what, 0, 1, unit, True, place, event.message)
