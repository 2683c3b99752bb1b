"""An optimizer holds the parameters of the wrong one of two models, so one has two optimizers and the other has none.

## What it finds
Two optimizers over the parameters of one model, beside a second model that is trained in the same program and
that no optimizer holds, where the name of one of the optimizers is the second model's (`optimizer_d`,
`discriminator`). The finding stands at the call that builds that optimizer; a second location shows the other.

## Why it hurts
One model is moved by two optimizers, with two learning rates and two sets of moments. The other never moves: its
gradients are computed and nobody uses them. In a GAN the discriminator stays at its random start, and the generator
learns to please it; the losses look as lively as ever.

## Example
Wrong:

```python
import torch
from torch import nn

generator, discriminator = nn.Linear(2, 8), nn.Linear(8, 1)
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3)
optimizer_d = torch.optim.Adam(generator.parameters(), lr=1e-3)
for real in batches:
    optimizer_d.zero_grad()
    loss_d = discriminator(generator(torch.randn(8, 2)).detach()).mean() - discriminator(real).mean()
    loss_d.backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    loss_g = -discriminator(generator(torch.randn(8, 2))).mean()
    loss_g.backward()
    optimizer_g.step()
```

Right:

```python
import torch
from torch import nn

generator, discriminator = nn.Linear(2, 8), nn.Linear(8, 1)
optimizer_g = torch.optim.Adam(generator.parameters(), lr=1e-3)
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
for real in batches:
    optimizer_d.zero_grad()
    loss_d = discriminator(generator(torch.randn(8, 2)).detach()).mean() - discriminator(real).mean()
    loss_d.backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    loss_g = -discriminator(generator(torch.randn(8, 2))).mean()
    loss_g.backward()
    optimizer_g.step()
```

## Fix and its safety
The other model's `parameters()` in place of the argument, where that is written out as `model.parameters()`. Unsafe: it
trains another model than before. There is no fix for other forms of the argument.

## Known limits
Quiet where names say nothing (`opt1`, `opt2`), where an optimizer holds more than one model, and where the second
model is frozen, loaded, in evaluation mode, handed to code out of sight, or its parameters are used in some other way.

## Proof
In a real run the parameters are counted that two stepping optimizers share, where other parameters of models in
training have a gradient and no optimizer; healthy is 0.

## References
- torch.optim: How to use an optimizer: https://docs.pytorch.org/docs/stable/optim.html
- torch.nn.Module.parameters: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.parameters
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import doubly_held, left_out
from torchlint.facts import Module, OptimizerBuilt
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"optim", "Adam", "AdamW", "SGD", "RMSprop", "Adagrad"}, {"backward"}, {"step"}]
fixable = "sometimes"

_GENERIC = {"optimizer", "optimizers", "optim", "opt", "solver", "model", "net", "network", "self", "module"}


def check(facts: Facts) -> Iterator[Finding]:
    everything = facts.everything
    pairs = list(doubly_held(everything))
    if not pairs or not all(root.complete for root in facts.roots):
        return
    orphans = {module for root in facts.roots for module, _ in left_out(facts.has_parameters, everything, root)}
    told: set[object] = set()
    for built, other, held in pairs:
        meant = [one for one in orphans if _alike(built.optimizer.name, one.name)]
        if len(meant) != 1 or _alike(built.optimizer.name, held.name) or built.site.node in told:
            continue
        told.add(built.site.node)
        name, model, wanted = built.optimizer.name, held.name, meant[0].name
        yield Finding(
            built.site,
            f"`{name}` holds the parameters of `{model}`, which another optimizer holds too; none holds `{wanted}`",
            f"`{model}` is moved by two optimizers, and `{wanted}` stays as it was made.",
            related=((f"`{model}` has this optimizer already", other.site),),
            fix=_fix(facts, built, held, meant[0]),
        )


def _alike(optimizer: str, model: str) -> bool:
    """True when both names have a part in common: `opt_d` and `netD`, `gen_optimizer` and `generator`."""
    ours, theirs = _parts(optimizer), _parts(model)
    return any(a.startswith(b) or b.startswith(a) for a in ours for b in theirs)


def _parts(name: str) -> set[str]:
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name.rsplit(".", 1)[-1])
    parts = set()
    for part in (one.lower() for one in found):
        for word in sorted(_GENERIC, key=len, reverse=True):  # `optd`, `dnet`
            part = part.removeprefix(word) or part
        parts.add(part)
    return parts - _GENERIC


def _fix(facts: Facts, built: OptimizerBuilt, held: Module, wanted: Module) -> Fix | None:
    if built.argument is None or facts.text(built.argument) != f"{held.name}.parameters()":
        return None
    if held.name.rpartition(".")[0] != wanted.name.rpartition(".")[0]:
        return None
    if "." not in wanted.name and not facts.binds(built.site.function, wanted.name):
        return None
    change = Replace(built.argument, f"{wanted.name}.parameters()")
    return Fix(f"Give it the parameters of `{wanted.name}`", Safety.UNSAFE, (change,))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "parameters that two optimizers move, while others have none", "parameters"
    last: dict[int, events.Holdings] = {}
    for one in trace.of(events.Holdings):
        last[one.optimizer] = one
    lost = max((one.left_out for one in last.values()), default=0)
    for one in last.values():
        harmed = one.shared > 0 and lost > 0
        message = f"{one.kind} shares {one.shared} parameters with another optimizer"
        if harmed:
            orphan = next(o for o in last.values() if o.left_out)
            message += f"; {orphan.left_out} of {orphan.of} have a gradient of norm {orphan.norm:.3g} and no optimizer"
        yield Measurement(what, one.shared if harmed else 0, 0, unit, harmed, one.place, message)
