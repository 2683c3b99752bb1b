"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_clear, may_feed
from torchlint.facts import Backward, Event, Loop, Optimizer, OptimizerStep, Root, certainly, walk
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, InsertBefore, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward"}, {"step"}]
fixable = "safe"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[tuple[object, object]] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or not certainly(step.optimizer, Optimizer):
                continue
            backward = _stale(root, step)
            if backward is None or (backward.site.node, step.optimizer) in seen:
                continue
            seen.add((backward.site.node, step.optimizer))
            optimizer = step.spelling or step.optimizer.name or "the optimizer"
            yield Finding(
                backward.site,
                f"gradients of `{optimizer}` are never cleared in this loop",
                "Each backward adds to the gradients of all earlier iterations, so every step uses their sum.",
                related=((f"`{optimizer}` steps on the accumulated gradients here", step.site),),
                fix=_fix(step, backward),
            )


def _stale(root: Root, step: OptimizerStep) -> Backward | None:
    """The backward that adds to gradients which `step` has used already, if on every way back to `step` one does."""
    loop, backwards = _loop(root, step)
    if loop is None:
        return None

    def after(state: str, event: Event) -> str | None:
        if event is step:
            return None
        if may_clear(event, step.optimizer):
            return "clear"
        if isinstance(event, Backward) and may_feed(event, step.optimizer):
            return "stale" if state in ("used", "stale") else "fresh"
        return state

    met = walk(step.next, "used", after, lambda event: event.inside(loop))
    return backwards[0] if met.get(step) == {"stale"} else None


def _loop(root: Root, step: OptimizerStep) -> tuple[Loop | None, list[Backward]]:
    """The innermost loop that repeats `step` together with a backward for it."""
    for loop in reversed(step.loops):
        if not loop.once:
            backwards = [b for b in root.of(Backward) if b.inside(loop) and may_feed(b, step.optimizer)]
            if backwards:
                return loop, backwards
    return None, []


def _fix(step: OptimizerStep, backward: Backward) -> Fix | None:
    if not step.spelling:
        return None
    clear = (f"{step.spelling}.zero_grad()",)
    message = f"Clear the gradients with `{clear[0]}`"
    if backward.frame is step.frame and backward.site.same_suite(step.site):
        return Fix(message, Safety.SAFE, (InsertBefore(backward.site, clear),))
    return Fix(message, Safety.SAFE, (InsertAfter(step.site, clear),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "gradients in .grad when the optimizer steps", "steps' worth"
    places = {backward.number: backward.place for backward in trace.of(events.Backward) if backward.accumulates}
    stale: dict[events.Place, list[events.OptimizerStep]] = {}
    for step in trace.of(events.OptimizerStep):
        if step.stale:
            stale.setdefault(places[step.backward], []).append(step)
    for place, steps in stale.items():
        first, worst = steps[0], max(steps, key=lambda step: step.worth)
        yield Measurement(
            what, first.worth, 1, unit, True, place,
            f"at step {first.step} .grad held the gradients of {first.worth} steps, {first.ratio:.2f} times what its "
            f"backward delivered, and those of {worst.worth} by step {worst.step}",
        )  # fmt: skip
    if any(step.gradients for step in trace.of(events.OptimizerStep)):
        for place in dict.fromkeys(places.values()):
            if place not in stale:
                yield Measurement(
                    what, 1, 1, unit, False, place, "every step used the gradients of its own backward only"
                )
