"""A training loop steps its optimizer on gradients that an earlier step has already used.

## What it finds
A loop in which an optimizer steps, the gradients it stepped on stay in `.grad`, the next `backward()` adds to
them, and the optimizer steps on the sum, on every path through the loop. The finding stands at the
`backward()`; a second location shows the `step()`.

It does not matter how the loop is written: at module level, in a function, spread over helpers and methods of
a class, with a `GradScaler`, in a closure, or with several optimizers of which one is forgotten. Nor does it
matter where gradients are cleared: at the head of the loop, before the backward pass, after the step, through
the model, in a helper or by `p.grad = None`. All of these are right.

## Why it hurts
`backward()` adds into `.grad`; it never replaces. Without clearing, step k uses the sum of the gradients of
all k batches so far, most of them taken at weights that the model no longer has: `w <- w - lr * dL/dw` no
longer holds. Nothing fails. At a small learning rate the loss even falls for a while, as under a strong and
stale momentum, and the model ends worse than it could, or diverges late.

## Example
Wrong:

```python
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
```

Right:

```python
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in batches:
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
```

## Fix and its safety
Writes `optimizer.zero_grad()`, with the program's own name for the optimizer, right before the backward pass, in
a closure as well; where backward and step do not stand in one block (gradient accumulation, a helper), right after
the step. Safe: on every path the gradients that it clears have been used by a step already. No fix is offered
where the optimizer has no name that can be written at that place.

## Known limits
Quiet wherever something out of sight could clear the gradients: the optimizer, the model or an object that
holds them is handed to code of another file, to a callback that cannot be resolved or to a framework
(Lightning, Accelerate, DeepSpeed and others). Quiet about a function without a loop, and about a loop that
runs at most once. Gradients that are cleared on some paths only are not reported.

## Proof
At each `optimizer.step()` of a real run, what is in `.grad` is compared with what the backward passes since
the last step delivered. Healthy is 1 step's worth. The pitfall shows 2 at the second step and k at the k-th,
at any learning rate; the loss curve is not looked at.

## References
- torch.optim.Optimizer.zero_grad: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
- torch.Tensor.backward: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html
- Zeroing out gradients in PyTorch: https://docs.pytorch.org/tutorials/recipes/recipes/zeroing_out_gradients.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_clear, may_feed
from torchlint.facts import (
    Backward,
    Collection,
    Duty,
    Event,
    Loop,
    Module,
    Optimizer,
    OptimizerStep,
    Root,
    Value,
    certainly,
    may_be_same,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, InsertBefore, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward"}, {"step"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    if facts.relieved(Duty.ZERO_GRAD):
        return  # a hook may clear
    seen: set[tuple[object, object]] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or not certainly(step.optimizer, Optimizer):
                continue
            if any(isinstance(o, Optimizer) and o.clear_escapes for o in step.optimizer.options()):
                continue
            backward = _stale(root, step)
            if backward is None or (backward.site.node, step.optimizer) in seen:
                continue
            if _unseen_model(backward) and facts.elsewhere("zero_grad"):
                continue  # a forward in another file may clear them
            seen.add((backward.site.node, step.optimizer))
            name = _written(facts, step) or step.optimizer.name
            optimizer = f"`{name}`" if name else "the optimizer"
            yield Finding(
                backward.site,
                f"gradients of {optimizer} are never cleared in this loop",
                "Each backward adds to the gradients of all earlier iterations, so every step uses their sum.",
                related=((f"{optimizer} steps on the accumulated gradients here", step.site),),
                fix=_fix(facts, step, backward),
            )


def _unseen_model(backward: Backward) -> bool:
    """True when the loss comes, or may come, from a model whose class is not in this file."""
    return not backward.roots or any(isinstance(r, Module) and not r.cls and not r.api for r in backward.roots)


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
    states = met.get(step, set())
    # "used" again: a round without a backward, such as the next optimizer of a list
    return _first_for(root, step, loop, backwards) if "stale" in states and states <= {"stale", "used"} else None


def _first_for(root: Root, step: OptimizerStep, loop: Loop, backwards: list[Backward]) -> Backward:
    """The backward that begins the step's own gradients: what other optimizers have stepped on before is theirs."""
    order = {event: place for place, event in enumerate(root.events)}
    others = [
        order[s]
        for s in root.of(OptimizerStep)
        if s.inside(loop) and order[s] < order[step] and not may_be_same(s.optimizer, step.optimizer)
    ]
    own = [b for b in backwards if max(others, default=-1) < order[b] < order[step]]
    return own[0] if own else backwards[0]


def _hands_out(over: Value | None, optimizer: Value) -> bool:
    """True when a loop runs over optimizers: each round has another one."""
    todo = list(over.options()) if over is not None else []
    for one in todo:
        if isinstance(one, Collection):
            if any(may_be_same(i, optimizer) for i in one.items):
                return True
            todo.extend(o for i in one.items if isinstance(i, Collection) for o in i.options())
    return False


def _loop(root: Root, step: OptimizerStep) -> tuple[Loop | None, list[Backward]]:
    """The innermost loop that repeats `step` together with a backward for it."""
    for loop in reversed(step.loops):
        if not loop.once and not _hands_out(loop.over, step.optimizer):
            backwards = [b for b in root.of(Backward) if b.inside(loop) and may_feed(b, step.optimizer)]
            if backwards:
                return loop, backwards
    return None, []


def _written(facts: Facts, step: OptimizerStep) -> str:
    """How the optimizer is written where it steps, if it can be written again without calling anything."""
    text = step.spelling or (facts.text(step.receiver) if step.receiver is not None else "")
    return "" if "(" in text else text


def _fix(facts: Facts, step: OptimizerStep, backward: Backward) -> Fix | None:
    optimizer = _written(facts, step)
    if not optimizer or step.frame.name == "<lambda>":
        return None
    clear = (f"{optimizer}.zero_grad()",)
    message = f"Clear the gradients with `{clear[0]}`"
    if step.closure:  # called many times in one step, and each call needs gradients of its own
        closure = backward.frame.function
        if closure is None or closure.outer is not step.frame.function:
            return None
        return Fix(message, Safety.SAFE, (InsertBefore(backward.site, clear),))
    if backward.frame is step.frame and backward.site.same_suite(step.site):
        return Fix(message, Safety.SAFE, (InsertBefore(backward.site, clear),))
    return Fix(message, Safety.SAFE, (InsertAfter(step.site, clear),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "steps' gradients in .grad", "steps' worth"
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
