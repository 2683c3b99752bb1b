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

from torchlint.effects import mode_after, related
from torchlint.facts import (
    Backward,
    Event,
    Forward,
    Grad,
    GradientUsed,
    Iterated,
    Literal,
    Module,
    Root,
    certainly,
    walk,
)
from torchlint.rule import Decorate, Facts, Finding, Fix, Group, Safety, Wrap

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"eval"}, {"torch"}]
fixable = "unsafe"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        if not root.complete:
            continue
        seen: set[tuple[object, object]] = set()
        for forward in _evaluations(root):
            key = (forward.frame.function, forward.module)
            if key in seen or not _records(root, forward):
                continue
            seen.add(key)
            model = forward.spelling or "the model"
            yield Finding(
                forward.site,
                f"`{model}` is evaluated while autograd records",
                "Every batch builds a graph that nothing uses: more memory and time, and all of it kept where outputs are kept.",
                fix=_fix(facts, root, forward),
            )


def _evaluations(root: Root) -> Iterator[Forward]:
    """Calls of a module in a loop over data, in evaluation mode on every path."""
    for forward in root.of(Forward):
        if forward.grad is not Grad.DEFAULT or not certainly(forward.module, Module) or not _over_data(forward):
            continue

        def after(mode: str, event: Event, forward: Forward = forward) -> str:
            return mode_after(mode, event, forward.module)

        if walk([root.entry], "unset", after).get(forward) == {"eval"}:
            yield forward


def _over_data(forward: Forward) -> bool:
    """True when a loop of the same function hands the module something that it iterates over."""
    loops = [loop for loop in forward.loops if loop.frame is forward.frame and loop.over is not None]
    return bool(loops) and any(not isinstance(a, Literal) for a in [*forward.arguments, *forward.keywords.values()])


def _records(root: Root, forward: Forward) -> bool:
    """True when nothing that could come after makes use of gradients."""
    for event in root.of(Backward, GradientUsed):
        if event.frame.function is forward.frame.function:
            return False
        if isinstance(event, Backward) and forward.loops and event.inside(forward.loops[-1]):
            return False
    return True


def _fix(facts: Facts, root: Root, forward: Forward) -> Fix | None:
    no_grad = facts.spell("torch.no_grad")
    if no_grad is None:
        return None
    function = forward.frame.function
    if function is not None:
        return Fix(
            f"Decorate `{function.name}` with `@{no_grad}()`",
            Safety.UNSAFE,
            (Decorate(function.site, f"@{no_grad}()"),),
        )
    outermost = next(loop for loop in forward.loops if loop.over is not None)
    return Fix(f"Run the loop under `{no_grad}()`", Safety.UNSAFE, (Wrap(outermost.site, f"with {no_grad}():"),))


_ = (related, Iterated)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm.probe import Measurement

    what, unit = "kept for a backward pass that never comes", "bytes a batch"
    for forward in trace.inference():
        if not forward.tracked:
            message = f"the output of {forward.kind} has no grad_fn and keeps nothing alive"
            yield Measurement(what, 0, 0, unit, False, forward.place, message)
        elif forward.saved_bytes is not None:
            message = (
                f"the output of {forward.kind} has a grad_fn and kept {forward.saved_bytes} bytes for a backward pass "
                "that never came"
            )
            yield Measurement(what, forward.saved_bytes, 0, unit, forward.saved_bytes > 0, forward.place, message)
