"""An optimizer is built before FSDP wraps the model, and holds parameters that the model no longer has.

## What it finds
`optimizer = Adam(model.parameters())` with `FullyShardedDataParallel(model)` or `fully_shard(model)` after it, when
that optimizer goes on to step and has been built anew by nobody. The finding stands at the optimizer; a second location
shows the wrapping.

## Why it hurts
FSDP gives the model parameters of its own: one flat parameter for each wrapped module, or `DTensor`s with
`fully_shard`. The optimizer holds the parameters from before. They get no gradient any more, and each step does
nothing: the model keeps its first values, and the loss stays where it was.

## Example
Wrong:

```python
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

model = nn.Linear(784, 10)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
model = FullyShardedDataParallel(model)
for x, y in loader:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
```

Right:

```python
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

model = nn.Linear(784, 10)
model = FullyShardedDataParallel(model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for x, y in loader:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
```

## Fix and its safety
Exchanges the two, where the wrapping follows the optimizer at once. Unsafe: the model then really trains. Elsewhere
there is no fix: what stands in between (a scheduler, a restored state) has to move along.

## Known limits
Right, and not reported: DDP, which leaves the parameters alone, `FullyShardedDataParallel(..., use_orig_params=True)`,
an optimizer that is built again or given the new parameters. Quiet where the setting of `use_orig_params` is not known,
where the optimizer was built from something other than `parameters()` of a model in sight, and where it is handed to
code of another file in between.

## Proof
In a real run, at the first steps of each optimizer, its parameters are looked for in the sharded models that are
trained. The pitfall shows an optimizer none of whose parameters any of them has; healthy is 0.

## References
- torch.distributed.fsdp.FullyShardedDataParallel: https://docs.pytorch.org/docs/stable/fsdp.html
- torch.distributed.fsdp.fully_shard: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_mend
from torchlint.facts import (
    Event,
    ModelWrapped,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    Root,
    may_be_same,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertBefore, Remove, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"FullyShardedDataParallel", "fully_shard", "FSDP"}, {"optim", "Adam", "AdamW", "SGD"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        if not root.complete:
            continue
        for built in root.of(OptimizerBuilt):
            wrap = _wrapped_later(root, built)
            if wrap is not None:
                name = f"`{built.optimizer.name}`" if built.optimizer.name else "the optimizer"
                model = f"`{wrap.module.name or facts.text(wrap.site)[:40]}`"
                yield Finding(
                    built.site,
                    f"{name} is built before FSDP wraps {model}",
                    "It holds parameters that the model no longer has: its steps change nothing.",
                    related=((f"{model} is wrapped here", wrap.site),),
                    fix=_fix(facts, built, wrap),
                )


def _wrapped_later(root: Root, built: OptimizerBuilt) -> ModelWrapped | None:
    """Where a model is wrapped all of whose parameters this optimizer, which goes on to step, has taken before."""
    one = built.optimizer
    parameters = one.parameters if isinstance(one, Optimizer) else None
    if parameters is None or parameters.open or not parameters.whole or not parameters.of:
        return None

    def step(state: str, event: Event) -> str | None:
        if event is built:
            return "built"
        if state != "none" and may_mend(event, one):
            return None
        return state

    met = walk([root.entry], "none", step)
    for wrap in root.of(ModelWrapped):
        if wrap.kind != "fsdp" or met.get(wrap) != {"built"} or any(o is not wrap.module for o in parameters.of):
            continue
        after = walk(wrap.next, "stale", lambda state, event: None if may_mend(event, one) else state)
        if any(isinstance(e, OptimizerStep) and may_be_same(e.optimizer, one) for e in after):
            return wrap
    return None


def _fix(facts: Facts, built: OptimizerBuilt, wrap: ModelWrapped) -> Fix | None:
    if (
        not _next_statement(built, wrap)
        or not built.site.same_suite(wrap.site)
        or not wrap.kept
        or wrap.argument is None
    ):
        return None
    wrapped = facts.text(wrap.site)
    names = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*(?!\w*\s*=)", wrapped))
    inside = built.frame.function is not None
    if wrap.kept != facts.text(wrap.argument) or "#" in wrapped:
        return None  # the optimizer would go on to take the parameters of another name
    if not all(name in built.bound or (inside and facts.binds(None, name)) for name in names - {"True", "False"}):
        return None
    line = f"{wrap.kept} = {wrapped}"
    return Fix("Wrap the model first", Safety.UNSAFE, (InsertBefore(built.site, (line,)), Remove(wrap.site)))


def _next_statement(built: OptimizerBuilt, wrap: ModelWrapped) -> bool:
    """True when nothing happens between the two that is part of neither."""
    now: Event = built
    while len(now.next) == 1 and now.next[0] is not wrap:
        now = now.next[0]
        if now.site.statement is not built.site.statement and now.site.statement is not wrap.site.statement:
            return False
    return now.next == [wrap]


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters of optimizers that FSDP has replaced", "parameters"
    places = {one.optimizer: one.place for one in trace.of(events.OptimizerBuilt)}
    told: set[int] = set()
    for step in trace.of(events.ShardedStep):
        if step.optimizer in told:
            continue
        told.add(step.optimizer)
        harmed = step.elsewhere > 0 and not step.held and step.unheld > 0
        message = f"{step.held} of its parameters are those of a sharded model"
        if harmed:
            message = (
                f"the {step.elsewhere} parameters of this optimizer are in no model that is trained, and {step.unheld} "
                "of the sharded model that have a gradient are in no optimizer"
            )
        place = places.get(step.optimizer, step.place)
        yield Measurement(what, step.elsewhere if harmed else 0, 0, unit, harmed, place, message)
