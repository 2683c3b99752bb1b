"""A model is trained in float16 by autocast, and no GradScaler keeps its gradients from becoming zero.

## What it finds
A training loop with a forward pass under `torch.autocast` in float16 (named, or CUDA's default) whose loss is
differentiated as it is, in a file without any GradScaler or loss scaling. The finding stands at the `backward()`; a
second location shows the call of the model.

With bfloat16, which has the range of float32, no scaler is needed.

## Why it hurts
float16 has no number between 0 and 6e-8. Gradients are often smaller, the more so the better a model fits and the
larger its batches are: they become zero, and the layers behind them stop learning. Nothing fails, and the loss may
look right for a long time.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    with torch.autocast("cuda", dtype=torch.float16):
        loss = criterion(model(x), y)
    loss.backward()
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
    with torch.autocast("cuda", dtype=torch.float16):
        loss = criterion(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
```

## Fix and its safety
No fix: a scaler is made once and used in three places. Where the device has bfloat16, `dtype=torch.bfloat16` is the
smaller change.

## Known limits
Quiet where the dtype is chosen at run time, in files that name a framework which scales by itself (Accelerate, Fabric,
Lightning, DeepSpeed, apex), and about a loss that is multiplied by hand out of sight. A model whose gradients are all
large is not hurt: a run tells.

## Proof
The numbers of the gradient that are not zero on their way from float32 into float16, and how many of them are zero
there. Healthy is none, or next to none; the pitfall shows the share that is lost.

## References
- Gradient scaling: https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling
- torch.autocast: https://docs.pytorch.org/docs/stable/amp.html#torch.autocast
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_feed, shared_loop
from torchlint.facts import Backward, Duty, Forward, Grad, OptimizerStep, Root
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"autocast"}, {"backward"}, {"step"}]
SETTERS = frozenset({"set_autocast_gpu_dtype", "set_autocast_dtype"})
SHARE = 0.01  # of the gradient's numbers: less is lost with a scaler, too


def check(facts: Facts) -> Iterator[Finding]:
    if facts.relieved(Duty.SCALING) or facts.words & SETTERS or any("scaler" in word.lower() for word in facts.words):
        return
    if facts.elsewhere("GradScaler"):
        return
    told: set[object] = set()
    for root in facts.roots:
        for backward in root.of(Backward):
            forward = _in_half(root, backward)
            if not root.complete or forward is None or backward.site.node in told:
                continue
            told.add(backward.site.node)
            model = forward.spelling or "the model"
            yield Finding(
                backward.site,
                f"`{model}` is trained in float16 without a GradScaler",
                "Gradients below 6e-8 become zero in float16, and what depends on them stops learning.",
                related=((f"`{model}` is called under autocast here", forward.site),),
            )


def _in_half(root: Root, backward: Backward) -> Forward | None:
    """A forward pass in float16 that the backward pass goes through, in a loop with a step for it."""
    if backward.roots is None or backward.scaler is not None:
        return None
    steps = [s for s in root.of(OptimizerStep) if may_feed(backward, s.optimizer) and shared_loop(backward, s)]
    for forward in root.of(Forward) if steps and not any(s.scaled for s in steps) else ():
        region = forward.autocast
        if region is None or region.dtype != "float16" or region.enabled is False or not shared_loop(forward, backward):
            continue
        if forward.grad in (Grad.OFF, Grad.UNKNOWN):
            continue  # an evaluation
        if any(one in backward.roots for one in forward.module.options()):
            return forward
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients that became zero in float16", "of 100"
    for backward in trace.of(events.Backward):
        if not backward.halved:
            continue
        share = backward.flushed / backward.halved
        harmed = share > SHARE and backward.scale == 1
        yield Measurement(
            what, round(100 * share, 2), 0, unit, harmed, backward.place,
            f"{backward.flushed} of {backward.halved} numbers of the gradient became zero on their way into float16",
        )  # fmt: skip
