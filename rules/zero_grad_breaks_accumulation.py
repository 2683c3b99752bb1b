"""Gradients are meant to add up over several batches, and are cleared for each one.

## What it finds
A loop that calls `backward()` in every round, steps only in every n-th (under a test of a remainder, such as
`if (i + 1) % n == 0`, also through a flag or as `continue`), and clears the gradients in every round as well. The
finding stands at the `zero_grad()`; a second location shows the step.

Right is to clear where the step is, after it.

## Why it hurts
Each step uses the gradient of the last batch alone. The other n - 1 batches are computed and thrown away, and where the
loss is divided by n the step is n times too small as well. The batch size that was to be simulated is not.

## Example
Wrong:

```python
for i, (x, y) in enumerate(loader):
    optimizer.zero_grad()
    loss = criterion(model(x), y) / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
```

Right:

```python
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y) / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
```

## Fix and its safety
Moves the `zero_grad()` to right after the step. Safe: what it no longer clears has not been used by any step. No fix
where the two are not in one function.

## Known limits
Quiet where the step's own backward pass stands under the same test (an update that is made in every n-th round only),
where another optimizer steps or the gradients are read in between, where a framework accumulates (Accelerate), and
about counters that are compared and set back instead of a remainder.

## Proof
The backward passes whose gradients a step really uses are counted, against those that were made for it. Healthy is
that they are equal; the pitfall shows 1 of n.

## References
- Gradient accumulation: https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-accumulation
- torch.optim.Optimizer.zero_grad: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import clears, may_feed, shared_loop
from torchlint.facts import (
    Backward,
    Duty,
    Event,
    GradientUsed,
    Loop,
    Optimizer,
    OptimizerStep,
    Root,
    UnknownCall,
    certainly,
    may_be_same,
    same,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward", "manual_backward"}, {"step"}, {"zero_grad"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if facts.relieved(Duty.ACCUMULATION):
        return  # its optimizers clear only where a step is due
    seen: set[object] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or not step.site.periods or not certainly(step.optimizer, Optimizer):
                continue
            clear = _breaks(root, step)
            if clear is None or clear.site.node in seen:
                continue
            seen.add(clear.site.node)
            text = facts.text(clear.site)
            fix = None
            if clear.frame is step.frame and "(" not in text.partition(".zero_grad(")[0]:
                changes = (Remove(clear.site), InsertAfter(step.site, (text,)))
                fix = Fix(f"Move `{text}` after the step", Safety.SAFE, changes)
            yield Finding(
                clear.site,
                f"`{text}` runs for every batch, but the step only for every n-th",
                "The step uses the gradient of the last batch alone; the others are thrown away.",
                related=(("the step", step.site),),
                fix=fix,
            )


def _breaks(root: Root, step: OptimizerStep) -> Event | None:
    """What clears the gradients of every batch that is not followed by the step."""
    feeds = [b for b in root.of(Backward) if may_feed(b, step.optimizer)]
    if any(set(b.site.periods) & set(step.site.periods) for b in feeds):
        return None  # it has a backward pass of its own
    for feed in feeds:
        loop = shared_loop(feed, step)
        if loop is not None:
            clear = _cleared_each_round(step, feed, loop)
            if clear is not None:
                return clear
    return None


def _cleared_each_round(step: OptimizerStep, feed: Backward, loop: Loop) -> Event | None:
    culprits: dict[Event, None] = {}

    def after(state: str, event: Event) -> str | None:
        if event is feed or (isinstance(event, OptimizerStep) and may_be_same(event.optimizer, step.optimizer)):
            return None
        if clears(event, step.optimizer):
            if set(event.site.periods) - set(feed.site.periods):
                return None  # where a step is due
            if state == "kept":
                culprits[event] = None
                return "cleared"
            return state
        if state == "used" and isinstance(event, Backward) and may_feed(event, step.optimizer):
            return None  # what comes from here on are other gradients
        if state == "kept" and isinstance(event, (OptimizerStep, GradientUsed)):
            return "used"
        if state == "kept" and isinstance(event, UnknownCall):  # who is handed the optimizer itself may step it
            return "used" if any(same(one, step.optimizer) for one in event.arguments) else state
        return state

    states = walk(feed.next, "kept", after, lambda event: event.inside(loop)).get(feed, set())
    return next(iter(culprits)) if states == {"cleared"} else None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "backward passes that a step uses", "passes"
    fresh: list[events.Backward] = []
    lost: list[events.Backward] = []
    cleared: list[events.ZeroGrad] = []
    steps: dict[int, int] = {}
    broken: dict[tuple[int, events.Place], list[tuple[int, int]]] = {}
    whole: dict[events.Place, int] = {}
    for event in trace.events:
        match event:
            case events.Backward() if event.accumulates:
                fresh.append(event)
            case events.ZeroGrad():
                cleared.append(event)
                if event.unused:
                    lost += fresh
                    fresh = []
            case events.OptimizerStep():
                steps[event.optimizer] = steps.get(event.optimizer, 0) + 1
                used = [one for one in fresh if one.place in {two.place for two in fresh[-1:]}]
                same = [one for one in lost if used and one.place == used[0].place]
                guilty = [one for one in cleared if one.unused]
                if same and guilty:
                    counts = broken.setdefault((event.optimizer, guilty[-1].place), [])
                    counts.append((len(used), len(used) + len(same)))
                elif len(used) > 1:
                    whole |= {one.place: len(used) for one in cleared}
                fresh, lost, cleared = [], [], []
    for (optimizer, place), counts in broken.items():
        if 2 * len(counts) >= steps[optimizer]:
            used_, made = counts[-1]
            yield Measurement(
                what, used_, made, unit, True, place,
                f"of the {made} backward passes made for a step, the gradients of {made - used_} were cleared here",
            )  # fmt: skip
    for place, count in whole.items():
        yield Measurement(what, count, count, unit, False, place, f"each step used all of its {count} backward passes")
