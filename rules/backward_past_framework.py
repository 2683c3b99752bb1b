"""`loss.backward()` goes past the framework that is to accumulate or scale gradients.

## What it finds
`loss.backward()` of a model whose optimizer an `Accelerator` has prepared, where that Accelerator is told to accumulate
gradients (`gradient_accumulation_steps`, with `accumulate`) or to train in float16, and a `Fabric` that is told the
latter. The finding stands at the backward pass; a second location shows where the optimizer was prepared.

## Why it hurts
`accelerator.backward(loss)` divides the loss by the number of batches that add up for a step, and multiplies it by the
factor of the GradScaler that the prepared optimizer divides by. Past it, each step uses the sum of the batches'
gradients where their mean is meant: clipping to a norm cuts off most of it, and with SGD the learning rate is as many
times too large. In float16 torch stops at the first step.

## Example
Wrong:

```python
import torch
from accelerate import Accelerator

accelerator = Accelerator(gradient_accumulation_steps=4)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for x, y in loader:
    with accelerator.accumulate(model):
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
```

Right:

```python
import torch
from accelerate import Accelerator

accelerator = Accelerator(gradient_accumulation_steps=4)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for x, y in loader:
    with accelerator.accumulate(model):
        loss = torch.nn.functional.mse_loss(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
```

## Fix and its safety
Calls `backward` of the framework with the loss. Unsafe: the gradients become smaller, and a learning rate that was
chosen for the large ones fits them no more. No fix is offered where the framework has no name in reach.

## Known limits
Quiet where nothing in sight says that the framework has something to do in the backward pass (settings may come from
its launcher), where the loss is divided by hand before, where the optimizer is not certainly a prepared one, and about
DeepSpeed, whose engines notice a `loss.backward()` themselves.

## Proof
How much each batch's mean counts in the gradient of a step, summed over the backward passes that the step uses, while
an Accelerator of the program accumulates over several. Healthy is 1; the pitfall shows their number.

## References
- Accelerate, performing gradient accumulation: https://huggingface.co/docs/accelerate/usage_guides/gradient_accumulation
- Accelerator.backward: https://huggingface.co/docs/accelerate/package_reference/accelerator
- Fabric.backward: https://lightning.ai/docs/fabric/stable/api/fabric_methods.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_feed
from torchlint.facts import (
    Backward,
    Engine,
    Event,
    Optimizer,
    OptimizerStep,
    Prepared,
    Root,
    Tensor,
    Unknown,
    computed_from,
    only,
    walk,
)
from torchlint.prepared import accumulates, scales
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"backward"}, {"Accelerator", "Fabric"}, {"prepare", "prepare_optimizer", "setup", "setup_optimizers"}]
fixable = "sometimes"
DIVIDES = "divides the loss by the number of batches that add up"


def check(facts: Facts) -> Iterator[Finding]:
    passes: dict[object, list[Finding | None]] = {}
    for root in facts.roots:
        for backward in root.of(Backward):
            if backward.through is None and backward.written is not None:
                passes.setdefault(backward.site.node, []).append(_past(facts, root, backward))
    for found in passes.values():  # however it is reached
        if found[0] is not None and None not in found:
            yield found[0]


def _past(facts: Facts, root: Root, backward: Backward) -> Finding | None:
    prepared = _prepared_before(root, backward)
    engine = only(prepared.engine) if prepared is not None else None
    if prepared is None or not isinstance(engine, Engine):
        return None
    if scales(engine):
        why = "scales the loss for float16"
    elif accumulates(facts, engine) and not _divided(facts, backward):
        why = DIVIDES
    else:
        return None
    return Finding(
        backward.site,
        f"`{facts.text(backward.site)}` goes past `{engine.name or 'the framework'}`, which {why}",
        "What it would have done to the loss is left out, and the gradients are that many times too large."
        if why == DIVIDES
        else "The prepared optimizer divides gradients that nobody has multiplied: torch refuses its step.",
        related=(("the optimizer is prepared here", prepared.site),),
        fix=_fix(facts, backward, engine),
    )


def _prepared_before(root: Root, backward: Backward) -> Prepared | None:
    """Where the optimizer that steps on these gradients was certainly prepared, and the model with it."""
    if not backward.roots or not any(isinstance(step, OptimizerStep) for step in root.events):
        return None
    for prepared in root.of(Prepared):
        optimizers = [o for given in prepared.given for o in given.options() if isinstance(o, Optimizer)]
        models = {o for given in prepared.given for o in given.options()}
        if not any(may_feed(backward, one) for one in optimizers) or not models & backward.roots:
            continue
        steps = [s for s in root.of(OptimizerStep) if s.optimizer.options()[0] in optimizers]

        def after(state: str, event: Event, prepared: Prepared = prepared) -> str:
            return "prepared" if event is prepared else state

        if steps and walk([root.entry], "", after).get(backward) == {"prepared"}:
            return prepared
    return None


def _divided(facts: Facts, backward: Backward) -> bool:
    """True when the program may divide the loss itself."""
    made = (one.site for one in computed_from(backward.loss) if isinstance(one, (Tensor, Unknown)))
    texts = [facts.text(site) for site in made if site is not None]
    return any("/" in text or "div" in text for text in texts)


def _fix(facts: Facts, backward: Backward, engine: Engine) -> Fix | None:
    known = engine.name and facts.binds(backward.site.function, engine.name.partition(".")[0])
    if backward.written is None or not known:
        return None
    text = f"{engine.name}.backward({facts.text(backward.written)})"
    return Fix(f"Call `{engine.name}.backward`", Safety.UNSAFE, (Replace(backward.site, text),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "how much the batches' means count in a step", "means"
    passes: list[events.Backward] = []
    for event in trace.events:
        match event:
            case events.Backward() if event.accumulates:
                passes.append(event)
            case events.OptimizerStep():
                weights = [one.weight for one in passes if one.shared > 1 and one.weight is not None]
                whole, last, passes = len(weights) == len(passes) > 1, passes[-1:], []
                if whole:
                    total, harmed = sum(weights), min(weights) > 0.99
                    yield Measurement(
                        what, total, 1, unit, harmed, last[0].place,
                        f"step {event.step} used the sum of {len(weights)} batches' gradients: {total:g} times a mean"
                        if harmed else f"{len(weights)} batches counted {total:g} in all",
                    )  # fmt: skip
            case events.Raised(kind="AssertionError") if "_scale is None" in event.message:
                yield Measurement("losses that were scaled", 0, 1, "losses", True, event.place, event.message)
