"""An Accelerator prepares the model and not the optimizer that steps it, or prepares both for nothing.

## What it finds
`model = accelerator.prepare(model)` where the optimizer over that model goes on to step and is never prepared, in a
program that tells the Accelerator to accumulate gradients or to train in float16; and `accelerator.prepare(model,
optimizer)` as a statement, whose result nobody takes. The finding stands at the `prepare`; a second location shows the
step.

## Why it hurts
The prepared optimizer is what steps and clears only when enough batches have added up, and what divides by the factor
of the GradScaler. The plain one steps with each batch, on a gradient that `accelerator.backward` has divided for a step
with all of them: nothing accumulates, and each step is too short. In float16 it steps on gradients that are tens of
thousands of times too large. Where the result is thrown away nothing is prepared at all: with several processes each
trains a model of its own.

## Example
Wrong:

```python
import torch
from accelerate import Accelerator

accelerator = Accelerator(gradient_accumulation_steps=4)
model, criterion = torch.nn.Linear(4, 1), torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, loader = accelerator.prepare(model, loader)
for x, y in loader:
    with accelerator.accumulate(model):
        accelerator.backward(criterion(model(x), y))
        optimizer.step()
        optimizer.zero_grad()
```

Right:

```python
import torch
from accelerate import Accelerator

accelerator = Accelerator(gradient_accumulation_steps=4)
model, criterion = torch.nn.Linear(4, 1), torch.nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for x, y in loader:
    with accelerator.accumulate(model):
        accelerator.backward(criterion(model(x), y))
        optimizer.step()
        optimizer.zero_grad()
```

## Fix and its safety
Takes the result where it is thrown away and all that was prepared has a name. Unsafe: the program then trains as its
settings say, which it did not before. Elsewhere there is no fix.

## Known limits
Quiet where the optimizer, or something that holds it, is handed to code out of sight, where it holds parameters of
other models too, where a test decides whether it steps, and where nothing in sight says that the Accelerator has
something to do at the step.

## Proof
How many steps an optimizer takes while the Accelerator waits for more batches. Healthy is 0.

## References
- Accelerator.prepare: https://huggingface.co/docs/accelerate/package_reference/accelerator
- Accelerate, performing gradient accumulation: https://huggingface.co/docs/accelerate/usage_guides/gradient_accumulation
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_feed, shared_loop
from torchlint.facts import (
    Backward,
    Engine,
    Event,
    Evidence,
    Join,
    Module,
    Optimizer,
    OptimizerStep,
    Prepared,
    Root,
    UnknownCall,
    only,
    same,
    walk,
)
from torchlint.prepared import accumulates, scales
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"Accelerator"}, {"prepare", "prepare_model"}, {"step"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    calls = [event for event in facts.everything if isinstance(event, Prepared)]
    for root in facts.roots:
        for step in root.of(OptimizerStep) if root.complete else ():
            found = _thrown_away(facts, step, calls) or _left_out(facts, root, step, calls)
            if found is not None and found.site.node not in seen:
                seen.add(found.site.node)
                yield found


def _thrown_away(facts: Facts, step: OptimizerStep, calls: list[Prepared]) -> Finding | None:
    """A finding where the stepped optimizer was prepared, and what came of it thrown away each time."""
    of_it = [call for call in calls if any(same(given, step.optimizer) for given in call.given)]
    if not of_it or not all(call.discarded and not call.open for call in of_it):
        return None
    engine = of_it[0].engine.name or "the Accelerator"
    return Finding(
        of_it[0].site,
        f"what `{engine}` has prepared is thrown away",
        "`prepare` changes nothing of what it is given: the program goes on with what is not prepared.",
        related=((f"`{step.optimizer.name or 'the optimizer'}` steps here", step.site),),
        fix=_fix(facts, of_it[0]),
    )


def _fix(facts: Facts, call: Prepared) -> Fix | None:
    names = [facts.text(site) for site in call.sites]
    if not names or not all(name.replace(".", "_").isidentifier() for name in names):
        return None
    return Fix("Take what it gives back", Safety.UNSAFE, (Around(call.site, before=f"{', '.join(names)} = "),))


def _left_out(facts: Facts, root: Root, step: OptimizerStep, calls: list[Prepared]) -> Finding | None:
    """A finding where all models of the stepped optimizer are prepared, and itself certainly never is."""
    one = only(step.optimizer)
    held = one.parameters if isinstance(one, Optimizer) and one.evidence is Evidence.MADE else None
    if held is None or held.open or not held.of or not all(isinstance(only(part), Module) for part in held.of):
        return None
    passes = [b for b in root.of(Backward) if may_feed(b, step.optimizer)]
    engine = only(passes[0].through) if passes else None
    if not isinstance(engine, Engine) or any(only(b.through) is not engine for b in passes):
        return None
    if (not scales(engine) and not accumulates(facts, engine)) or not all(_steps_after(b, step) for b in passes):
        return None
    mine = [call for call in calls if only(call.engine) is engine]
    if any(call.open for call in mine) or any(step.optimizer.reached_from(call.given) for call in calls):
        return None
    if any(isinstance(event, UnknownCall) and event.touches(step.optimizer) for event in facts.everything):
        return None
    found = [next((c for c in mine if any(same(part, g) for g in c.given)), None) for part in held.of]
    call = found[0]
    if call is None or None in found:
        return None
    name = step.optimizer.name or "the optimizer"
    return Finding(
        call.site,
        f"`{name}`, which steps `{held.of[0].name or 'the model'}`, is not prepared with it",
        "It steps with each batch, whatever is still to add up, and on gradients that are scaled for another."
        if accumulates(facts, engine)
        else "It steps on gradients that are scaled, tens of thousands of times too large.",
        related=((f"`{name}` steps here", step.site),),
    )


def _steps_after(backward: Backward, step: OptimizerStep) -> bool:
    """True when the optimizer steps after this backward pass, whatever the program asks in between."""
    loop = shared_loop(backward, step)

    def after(state: str, event: Event) -> str | None:
        return None if isinstance(event, OptimizerStep) and same(event.optimizer, step.optimizer) else state

    if loop is None:
        return False
    met = walk(backward.next, "", after, lambda event: event.inside(loop))
    return not any(isinstance(event, Join) and event.label == "loop" and event.loops[-1] is loop for event in met)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "steps while more batches are to add up", "steps"
    accumulating = any(backward.shared > 1 for backward in trace.of(events.Backward))
    for step in trace.of(events.OptimizerStep) if accumulating else ():
        message = f"step {step.step} came when enough batches had added up"
        if step.early:
            message = f"step {step.step} came while the Accelerator waited for more batches"
        yield Measurement(what, int(step.early), 0, unit, step.early, step.place, message)
