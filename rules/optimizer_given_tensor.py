"""An optimizer is given a tensor, a module or a list of generators, where an iterable of parameters belongs.

## What it finds
`SGD(model)`, `SGD(w)` for a tensor or an `nn.Parameter` `w`, `SGD(model.parameters)` without the call, and the
same inside a list: `SGD([encoder, decoder])`, `SGD([encoder.parameters(), decoder.parameters()])`, or a
group `{"params": model}`. The finding stands at the call that builds the optimizer.

## Why it hurts
An optimizer takes an iterable of tensors, or of groups that hold such iterables. With anything else torch
raises a `TypeError` when the optimizer is built, and nothing is trained. In a branch that is rarely taken, or
behind a long download, that comes late.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model, lr=0.1)
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
```

## Fix and its safety
`.parameters()` after the module, `[...]` around the tensor, `()` after the method, `*` before each generator
in a list. Safe: the program raises without it. Where the argument is not written out in the call, there is
no fix.

## Known limits
Only optimizers of torch.optim are judged: others may take modules. Quiet about containers of tensors
(`nn.ParameterList`), about classes that define `__iter__`, about single tensors in a group (which torch
takes), and where the argument is not certainly a tensor or a module.

## Proof
In a real run torch refuses to build the optimizer: the number of such refusals is counted; healthy is 0.

## References
- torch.optim: Constructing it: https://docs.pytorch.org/docs/stable/optim.html#constructing-it
- torch.optim.Optimizer: https://docs.pytorch.org/docs/stable/optim.html#torch.optim.Optimizer
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import iterates_tensors
from torchlint.facts import Evidence, Given, Module, Optimizer, OptimizerBuilt, Parameters, Tensor, Unknown, only
from torchlint.rule import Around, Change, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"optim", "Adam", "AdamW", "SGD", "RMSprop", "Adagrad"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for built in root.of(OptimizerBuilt):
            wrong = [given for given in built.given if _kind(given)]
            if not wrong or not _of_torch(built):
                continue
            name = f"`{built.optimizer.name}`" if built.optimizer.name else "an optimizer"
            named = [f"`{facts.text(site)}` is {_kind(one)}" for one in wrong if (site := one.site or built.argument)]
            yield Finding(
                built.site,
                f"{' and '.join(dict.fromkeys(named))}, given to {name} in place of parameters",
                "torch raises a TypeError when this optimizer is built: it takes an iterable of tensors.",
                fix=_fix(wrong),
            )


def _of_torch(built: OptimizerBuilt) -> bool:
    one = only(built.optimizer)
    return isinstance(one, Optimizer) and one.api.startswith("torch.optim.")


def _kind(given: Given) -> str:
    """What the thing is, where it certainly cannot stand for parameters; "" otherwise."""
    match only(given.value):
        case Tensor(certain=True) as one if not given.grouped and not given.listed:
            return "one tensor" if one.parameter or one.factory else ""
        case Module(evidence=Evidence.MADE) as module if not iterates_tensors(module):
            return "a module"
        case Parameters(generator=True, open=False) if given.listed and not given.grouped:
            return "a generator in a list"
        case Unknown(origin="method"):
            return "a method that is not called"
    return ""


def _fix(wrong: list[Given]) -> Fix | None:
    changes: list[Change] = []
    for given in wrong:
        if given.site is None:
            return None
        match only(given.value):
            case Module():
                changes.append(Around(given.site, before="*" if _bare(given) else "", after=".parameters()"))
            case Tensor():
                changes.append(Around(given.site, before="[", after="]"))
            case Unknown():
                changes.append(Around(given.site, before="*" if _bare(given) else "", after="()"))
            case _:
                changes.append(Around(given.site, before="*"))
    return Fix("Give it the parameters", Safety.SAFE, tuple(changes))


def _bare(given: Given) -> bool:
    """True for an item of a list that is no group."""
    return given.listed and not given.grouped


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "optimizers that torch refuses to build", "optimizers"
    for built in trace.of(events.OptimizerBuilt):
        message = f"{built.kind} holds {built.parameters} parameters"
        yield Measurement(what, 0, 0, unit, False, built.place, message)
    for refused in trace.of(events.OptimizerRefused):
        if "iterable" in refused.message or "Tensors" in refused.message:
            message = f"{refused.kind} was given a {refused.given}: {refused.message}"
            yield Measurement(what, 1, 0, unit, True, refused.place, message)
