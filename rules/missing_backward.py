"""A training loop computes a loss and steps its optimizer, and nothing computes gradients.

## What it finds
A loop in which a model is called and the optimizer over its parameters steps, with `zero_grad()` in the same loop, and
with no `backward()` that could reach the model: not in the loop, not in anything that is called from it. The finding
stands at the `step()`; a second location shows the call of the model.

## Why it hurts
Optimizers pass over parameters without a gradient. The loop runs, faster than it should, and no parameter ever moves.

## Example
Wrong:

```python
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    optimizer.step()
```

Right:

```python
for x, y in batches:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
```

## Fix and its safety
No fix: which of the tensors is the loss is for the author to say.

## Known limits
Quiet wherever code out of sight could compute the gradients: it is handed the model, the optimizer or something that
was computed with the model and is not plainly a loss or a metric. Quiet where `.grad` is read or assigned.

## Proof
The parameters that have a gradient are counted at every step. Healthy is some; the pitfall shows 0 at each, while the
model was called in between and no backward pass ever went through it.

## References
- torch.Tensor.backward: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html
- Optimization loop: https://docs.pytorch.org/tutorials/beginner/basics/optimization_tutorial.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import clears, holdings, may_add_gradients, may_feed, related
from torchlint.facts import (
    Backward,
    Event,
    Forward,
    Grad,
    Module,
    Optimizer,
    OptimizerStep,
    Root,
    Uncalled,
    UnknownCall,
    Value,
    certainly,
)
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"step"}, {"zero_grad"}]
FOR_VALUES = ("loss", "criterion", "accuracy", "metric", "score", "print", "log", "append", "update", "item")


def check(facts: Facts) -> Iterator[Finding]:
    told: set[object] = set()
    for root in facts.roots:
        for step in root.of(OptimizerStep):
            if not root.complete or step.closure or step.site.node in told:
                continue
            if not certainly(step.optimizer, Optimizer) or any(
                isinstance(o, Optimizer) and o.clear_escapes for o in step.optimizer.options()
            ):
                continue
            forward = _untrained(facts, root, step)
            if forward is None:
                continue
            told.add(step.site.node)
            name, model = step.optimizer.name or "the optimizer", forward.spelling or "the model"
            yield Finding(
                step.site,
                f"`{name}` steps, but nothing computes gradients for it: there is no `backward()`",
                "Parameters without gradients are passed over: none of them ever moves.",
                related=((f"`{model}` is called here", forward.site),),
            )


def _untrained(facts: Facts, root: Root, step: OptimizerStep) -> Forward | None:
    """A call of the model whose parameters the optimizer holds, from which no gradients can come."""
    loop = next((one for one in reversed(step.loops) if not one.once), None)
    if loop is None:
        return None
    inside = [event for event in root.events if event.inside(loop)]
    if not any(clears(e, step.optimizer) for e in inside) or any(_may_give(e, step.optimizer) for e in inside):
        return None
    held = holdings(step.optimizer)
    if held is None and len({id(o) for s in root.of(OptimizerStep) for o in s.optimizer.options()}) > 1:
        return None
    for forward in inside:
        if isinstance(forward, Forward) and forward.grad is Grad.DEFAULT and _is_trained(facts, forward, held):
            return forward
    return None


def _may_give(event: Event, optimizer: Value) -> bool:
    """True when gradients for the step can come from the event."""
    match event:
        case Backward():
            return may_feed(event, optimizer)
        case Uncalled(method=method):
            return method == "backward"  # another rule's
        case UnknownCall():
            last = event.callee.rpartition(".")[2].lower()
            values = bool(event.graph) and not any(word in last for word in FOR_VALUES)
            return values or (last != "zero_grad" and event.touches(optimizer, *(holdings(optimizer) or ())))
    return may_add_gradients(event, holdings(optimizer))


def _is_trained(facts: Facts, forward: Forward, held: list[Value] | None) -> bool:
    for one in forward.module.options():
        if not isinstance(one, Module) or (held is not None and not any(related(one, h) for h in held)):
            return False
        if one.cls is not None and ("backward" in one.cls.words or not one.cls.closed):
            return False
        if one.cls is None and not one.api and facts.elsewhere("backward"):
            return False
    return True


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters with a gradient at the step", "parameters"
    used = trace.used_for_gradients()
    trained = {forward.module for forward in trace.of(events.Forward) if forward.number in used}
    ever = {step.optimizer for step in trace.of(events.OptimizerStep) if step.gradients}
    called = False
    counts: dict[int, int] = {}
    for event in trace.events:
        match event:
            case events.Forward() if event.tracked and event.parameters and event.module not in trained:
                called = True
            case events.OptimizerStep() if event.optimizer in ever:
                yield Measurement(what, 1, 1, unit, False, event.place, "the step had gradients to use")
            case events.OptimizerStep() if called:
                counts[event.optimizer] = counts.get(event.optimizer, 0) + 1
                if counts[event.optimizer] == 2:
                    yield Measurement(
                        what, 0, 1, unit, True, event.place,
                        "the model was called and the optimizer stepped twice, and no parameter ever had a gradient",
                    )  # fmt: skip
