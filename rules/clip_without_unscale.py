"""Gradients are clipped while a GradScaler's factor is still in them.

## What it finds
`scaler.scale(loss).backward()`, then `clip_grad_norm_(...)` or `clip_grad_value_(...)` of those gradients with no
`scaler.unscale_(optimizer)` in between, and a `scaler.step(optimizer)` after it. The finding stands at the clipping.

## Why it hurts
A GradScaler multiplies the loss, 65536 times to begin with, and with it all gradients, until `unscale_` or `step`
divides them again. The limit is compared with the large numbers, so nearly every gradient is cut down to it; divided
afterwards, what is left is some ten thousand times smaller than the limit says. Training crawls, and how much depends
on the factor of the moment. Nothing fails.

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
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
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
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
```

## Fix and its safety
Writes `scaler.unscale_(optimizer)` right before the clipping, with the program's own names, where the clipping stands
in the same block as the step. Safe: `step` divides only where `unscale_` has not done so already, and a disabled
scaler does neither. No fix where the clipping stands in another block.

## Known limits
Quiet where some path unscales or the gradients, the optimizer or the scaler are handed to code out of sight in
between, about a scaler that is certainly disabled, and about an infinite limit, which only measures.

## Proof
The norm that clipping left, against the norm of the same gradients when the optimizer steps. Healthy is 1; the pitfall
shows the scaler's factor.

## References
- Working with unscaled gradients: https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping
- torch.amp.GradScaler: https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_add_gradients, may_feed
from torchlint.facts import Backward, Event, GradientsClipped, OptimizerStep, Root, UnknownCall, Unscaled, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertBefore, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {"clip_grad_norm_", "clip_grad_norm", "clip_grad_value_", "clip_grads_with_norm_"},
    {"scale"},
    {"step"},
]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for clip in root.of(GradientsClipped):
            if not root.complete or clip.site.node in seen or clip.limit == math.inf:
                continue
            backward = _scaled(root, clip)
            steps = [] if backward is None else _steps_after(clip, backward)
            if not steps or backward is None:
                continue
            seen.add(clip.site.node)
            scaler = f"`{steps[0].scaler.name}`" if steps[0].scaler and steps[0].scaler.name else "the GradScaler"
            yield Finding(
                clip.site,
                f"`{facts.text(clip.site)}` clips gradients that {scaler} has scaled",
                "The limit is compared with gradients thousands of times too large: next to nothing is left of them.",
                related=(("scaled here", backward.site), ("and divided only here", steps[0].site)),
                fix=_fix(facts, clip, steps[0]),
            )


def _scaled(root: Root, clip: GradientsClipped) -> Backward | None:
    """The backward pass of a scaled loss whose gradients are clipped as they are, on every path where one scales."""
    held = clip.parameters.of if clip.parameters is not None and not clip.parameters.open else None
    backwards = [b for b in root.of(Backward) if b.scaler is not None and may_add_gradients(b, held)]

    def after(state: str, event: Event) -> str | None:
        match event:
            case Unscaled():
                return "unscaled"
            case OptimizerStep():
                return "none" if event.scaled else state
            case Backward():
                if not may_add_gradients(event, held):
                    return state
                return "plain" if event.scaler is None else "scaled"
            case GradientsClipped() if state == "scaled" and event is not clip:
                return "clipped"  # the first of several is told
            case UnknownCall():
                known = [one for b in backwards if (one := b.scaler) is not None]
                return "unknown" if event.touches(*known) or may_add_gradients(event, held) else state
        return "unknown" if may_add_gradients(event, held) else state

    states = walk([root.entry], "none", after).get(clip, set()) if backwards else set()
    if "scaled" not in states or not states <= {"scaled", "plain"}:
        return None
    if "plain" in states and any(root.of(Unscaled)):
        return None  # `if use_amp:` is asked more than once, and always with the same answer
    return backwards[0]


def _steps_after(clip: GradientsClipped, backward: Backward) -> list[OptimizerStep]:
    """The next steps on each path, if a GradScaler does them and they use what is clipped."""

    def after(state: str, event: Event) -> str | None:
        return None if isinstance(event, (OptimizerStep, Backward, Unscaled, UnknownCall)) else state

    met = [event for event in walk(clip.next, "", after) if isinstance(event, OptimizerStep)]
    good = all(step.scaled and step.scaler is not None and may_feed(backward, step.optimizer) for step in met)
    return met if good else []


def _fix(facts: Facts, clip: GradientsClipped, step: OptimizerStep) -> Fix | None:
    scaler = facts.text(step.receiver) if step.receiver is not None else ""
    place = clip.site if clip.frame is step.frame else clip.frame.call if clip.frame.parent is step.frame else None
    if not step.spelling or not scaler or "(" in scaler or place is None or not place.same_suite(step.site):
        return None
    line = f"{scaler}.unscale_({step.spelling})"
    return Fix(f"Divide the gradients first with `{line}`", Safety.SAFE, (InsertBefore(place, (line,)),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients that clipping left, by those that the step found", "times"
    for clip in trace.of(events.ClipOutcome):
        if not clip.fresh or clip.scale <= 1 or not clip.found or not math.isfinite(clip.after):
            continue
        times = clip.after / clip.found
        harmed = times > 1.5 and abs(times / clip.scale - 1) < 0.02
        message = "what was clipped is what the step used"
        if harmed:
            message = (
                f"at step {clip.step} gradients were clipped to {clip.limit:g} while scaled by {clip.scale:g}: "
                f"the step found a norm of {clip.found:.2g}"
            )
        yield Measurement(what, times if harmed else 1, 1, unit, harmed, clip.place, message, (clip.step_place,))
