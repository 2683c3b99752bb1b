"""The gradients of several batches add up for one step, and the loss of each counts in full.

## What it finds
A loop that calls `backward()` in every round and steps only in every n-th, under a test of a remainder such as
`if (i + 1) % n == 0`, with a loss that is the mean over its batch and is never divided by n. The finding stands at the
`backward()`; a second location shows the step.

It is told for optimizers whose steps are as long as their gradients: SGD and its like.

## Why it hurts
The step uses the sum of n means instead of the mean over all n batches: a gradient n times too long. It is as if the
learning rate had been multiplied by n, and it changes again with every other n. Often the first sign is a loss that
goes up, or a smaller learning rate that seems to help.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y)
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
```

Right:

```python
import torch

model = torch.nn.Linear(4, 1)
criterion = torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y) / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
```

## Fix and its safety
Divides the loss where `backward()` is called, by what the remainder is taken of, where that can be written there.
Unsafe: a learning rate that was chosen for the long gradients is too small for the right ones.
No fix where that number has no name there.

## Known limits
Quiet about optimizers that do not care for the length of a gradient (Adam and its kin) or that are not seen to be
made, about a loss that is no certain mean (a sum, a weighted term, the result of code out of sight), where the
learning rate is divided instead, and where gradients are read or changed by hand. Who means the sum can say so in an
ignore comment.

## Proof
How much each batch's mean counts in the gradient of a step, summed over the backward passes that the step uses. Healthy
is 1 in all; the pitfall shows n.

## References
- Gradient accumulation: https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-accumulation
- torch.nn.CrossEntropyLoss, its reduction: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_clear, may_feed, shared_loop
from torchlint.facts import (
    Backward,
    Event,
    Evidence,
    GradientUsed,
    Loop,
    Optimizer,
    OptimizerStep,
    Root,
    Site,
    Tensor,
    may_be_same,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"backward", "manual_backward"}, {"step"}, {"SGD", "ASGD", "Rprop", "LBFGS"}]
fixable = "sometimes"
LENGTH_COUNTS = frozenset({"SGD", "ASGD"})


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or not step.site.periods or not _as_long_as_gradients(facts, step):
                continue
            for backward in root.of(Backward):
                loop = shared_loop(backward, step)
                if loop is None or backward.site.node in seen or not _adds_up(root, step, backward, loop):
                    continue
                seen.add(backward.site.node)
                name = step.optimizer.name or "the optimizer"
                yield Finding(
                    backward.site,
                    f"the loss is never divided by the number of batches that add up for `{name}`",
                    "Each step uses the sum of their gradients instead of the mean, and is that many times too long.",
                    related=(("the step that uses the sum", step.site),),
                    fix=_fix(facts, step, backward),
                )


def _as_long_as_gradients(facts: Facts, step: OptimizerStep) -> bool:
    for one in step.optimizer.options():
        if not isinstance(one, Optimizer) or one.evidence is not Evidence.MADE or one.site is None:
            return False
        if one.api.rpartition(".")[2] not in LENGTH_COUNTS or "/" in facts.text(one.site):
            return False
    return True


def _adds_up(root: Root, step: OptimizerStep, backward: Backward, loop: Loop) -> bool:
    """True when the backward pass of another round adds to what this one leaves for the step."""
    if not may_feed(backward, step.optimizer) or set(backward.site.periods) & set(step.site.periods):
        return False
    loss = backward.loss
    if loss is None or not all(isinstance(o, Tensor) and o.mean for o in loss.options()):
        return False
    if any(isinstance(e, GradientUsed) and e.inside(loop) for e in root.events):
        return False

    def after(state: str, event: Event) -> str | None:
        if event is backward or (isinstance(event, OptimizerStep) and may_be_same(event.optimizer, step.optimizer)):
            return None
        return "cleared" if may_clear(event, step.optimizer) else state

    states = walk(backward.next, "kept", after, lambda event: event.inside(loop)).get(backward, set())
    return "kept" in states


def _fix(facts: Facts, step: OptimizerStep, backward: Backward) -> Fix | None:
    test = step.site.periods[-1]
    found = re.search(r"% ?([A-Za-z_][\w.]*|\d+) ?[=!]= ?\d+", facts.text(Site(test, step.site.statement, None)))
    written = re.fullmatch(r"([\w.]+|[\w.]+\.scale\([\w.]+\))\.backward\((.*)\)", facts.text(backward.site))
    if found is None or written is None:
        return None
    count = found[1]
    if not count.isdigit() and not facts.binds(backward.site.function, count.partition(".")[0]):
        return None
    if backward.frame is not step.frame and not count.isdigit():
        return None
    text = f"({written[1]} / {count}).backward({written[2]})"
    return Fix(f"Divide the loss by `{count}`", Safety.UNSAFE, (Replace(backward.site, text),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "how much the batches' means count in a step", "means"
    modules = {forward.number: forward.module for forward in trace.of(events.Forward)}
    passes: list[events.Backward] = []
    for event in trace.events:
        match event:
            case events.Backward() if event.accumulates:
                passes.append(event)
            case events.ZeroGrad() if event.unused:
                passes = []
            case events.OptimizerStep():
                same = [one for one in passes if one.place == passes[-1].place]
                passes = []
                weights = [one.weight for one in same if one.weight is not None]
                alike = len({tuple(sorted({modules.get(n, -1) for n in one.forwards})) for one in same}) == 1
                if len(same) < 2 or len(weights) < len(same) or not alike or event.kind not in LENGTH_COUNTS:
                    continue
                total, harmed = sum(weights), min(weights) > 0.99
                yield Measurement(
                    what, total, 1, unit, harmed, same[-1].place,
                    f"step {event.step} used the sum of {len(same)} batches' gradients: {total:g} times a mean"
                    if harmed else f"{len(same)} batches counted {total:g} in all",
                )  # fmt: skip
