"""Gradients are clipped when there are none to clip: before the backward pass, or after the step.

## What it finds
`torch.nn.utils.clip_grad_norm_(...)` or `clip_grad_value_(...)` in a training loop where no gradients of a backward
pass can be waiting for a step on any path: they have just been cleared, or an optimizer has used them already. The
finding stands at the clipping; a second location shows the step that goes unclipped.

Right is the place between `backward()` and `step()`. Clipping with an infinite limit only measures the norm, and may
stand anywhere.

## Why it hurts
The step takes gradients of any size: the clipping that was meant to keep training stable does nothing. Nothing fails
until a bad batch throws the weights off.

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
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    loss.backward()
    optimizer.step()
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
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
```

## Fix and its safety
Moves the clipping to right before the step, where both stand in one block, the result of the clipping is not used and
no GradScaler is at work. Unsafe: training goes another way once its gradients are really clipped.
No fix elsewhere.

## Known limits
Quiet about clipping by a framework (`accelerator.clip_grad_norm_`, `fabric.clip_gradients`, DeepSpeed), about a loop
whose backward pass is in code out of sight, and where gradients are waiting on some paths only.

## Proof
At each step of a real run, the norm of the gradients that were clipped since the last step is measured again. Healthy
is at most the limit; the pitfall shows the norm that the backward pass delivered.

## References
- torch.nn.utils.clip_grad_norm_: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
- torch.nn.utils.clip_grad_value_: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import covers, may_add_gradients, shared_loop
from torchlint.facts import Backward, Event, GradientsClipped, OptimizerStep, Root, Value, ZeroGrad, same, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertBefore, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {"clip_grad_norm_", "clip_grad_norm", "clip_grad_value_", "clip_grads_with_norm_"},
    {"backward", "manual_backward"},
    {"step"},
]
fixable = "sometimes"
MEASURES = 1e4  # a limit from here on is there to be told the norm


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for clip in root.of(GradientsClipped):
            if not root.complete or clip.site.node in seen or (clip.limit or 0) >= MEASURES:
                continue
            step = _unclipped(root, clip)
            if step is None:
                continue
            seen.add(clip.site.node)
            order = root.events.index(clip) > root.events.index(step)
            where = "comes after the step that it is meant for" if order else "comes before the backward pass"
            yield Finding(
                clip.site,
                f"`{facts.text(clip.site)}` {where}",
                "There is nothing to clip here: every step uses gradients of any size.",
                related=(("the step that uses them unclipped", step.site),),
                fix=_fix(facts, clip, step),
            )


def _unclipped(root: Root, clip: GradientsClipped) -> OptimizerStep | None:
    """The step that uses gradients unclipped, where on no path any are waiting for it when they are clipped."""
    held = clip.parameters.of if clip.parameters is not None and not clip.parameters.open else None
    loops = [shared_loop(clip, b) for b in root.of(Backward) if may_add_gradients(b, held)]
    optimizers = {id(o) for s in root.of(OptimizerStep) for o in s.optimizer.options()}
    steps = [
        s
        for s in root.of(OptimizerStep)
        if any(loop and s.inside(loop) for loop in loops) and (len(optimizers) == 1 or covers(s.optimizer, held))
    ]
    if not steps:
        return None

    def concerned(value: Value) -> bool:
        return any(same(value, step.optimizer) for step in steps) or covers(value, held)

    def after(state: str, event: Event) -> str | None:
        if isinstance(event, OptimizerStep):
            return "done" if concerned(event.optimizer) else state
        if isinstance(event, ZeroGrad) and concerned(event.target):
            return "done"
        return "waiting" if may_add_gradients(event, held) else state

    states = walk([root.entry], "none", after).get(clip, set())
    return steps[0] if "done" in states and "waiting" not in states else None


def _fix(facts: Facts, clip: GradientsClipped, step: OptimizerStep) -> Fix | None:
    if not clip.alone or step.scaled or step.closure or clip.frame is not step.frame:
        return None
    if not clip.site.same_suite(step.site):
        return None
    text = facts.text(clip.site)
    return Fix("Clip right before the step", Safety.UNSAFE, (InsertBefore(step.site, (text,)), Remove(clip.site)))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "norm of the gradients at the step, by its limit", "times the limit"
    for clip in trace.of(events.ClipOutcome):
        times = clip.found / clip.limit if clip.limit else 1.0
        if not clip.fresh and times > 1.001:
            yield Measurement(
                what, times, 1, unit, True, clip.place,
                f"step {clip.step} used gradients of norm {clip.found:.3g} although they are clipped to "
                f"{clip.limit:g}: there was nothing to clip yet, or no longer",
                (clip.step_place,),
            )  # fmt: skip
        elif clip.fresh:
            yield Measurement(what, min(times, 1.0), 1, unit, False, clip.place, "clipped between backward and step")
