"""`forward` makes one vector of a whole batch, and gives it to a linear layer.

## What it finds
`torch.flatten(x)`, `x.flatten()`, `x.view(-1)`, `x.reshape(-1)` or `x.ravel()` in the `forward` of a module, whose
result certainly goes into an `nn.Linear`, with no more than activations and dropout in between. There must be a
sign that batches come in: a convolution, pooling or normalisation layer before, or a call of the module in a loop
over a `DataLoader`. The finding stands at the call that flattens.

## Why it hurts
The first dimension is the batch. Without a start dimension it is flattened with the others, and the samples lie
behind each other in one vector. A layer for one sample then refuses it (`mat1 and mat2 shapes cannot be
multiplied`); one that was sized for the whole batch, or `nn.LazyLinear`, makes one answer of all samples together,
which a loss may broadcast without a word.

## Example
Wrong:

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 28 * 28, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.fc(torch.flatten(x))
```

Right:

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 28 * 28, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.fc(torch.flatten(x, 1))
```

## Fix and its safety
Flattens from dimension 1 on. Unsafe: a module that is given one sample at a time gives another shape then. No fix for
other ways of writing it than `flatten`, `view(-1)`, `reshape(-1)` and `ravel`.

## Known limits
Quiet where nothing shows that batches come in, where `forward` adds a dimension itself (`unsqueeze`), and where the
flattened vector goes into anything but a linear layer.

## Proof
In a real run each linear layer is asked what it is given. The pitfall shows one vector in which the samples of a
batch of pictures (four dimensions or more) lie behind each other; healthy is a row for each sample. Of fewer
dimensions a run cannot tell whether they are a batch or one sample.

## References
- torch.flatten: https://docs.pytorch.org/docs/stable/generated/torch.flatten.html
- torch.nn.Flatten: https://docs.pytorch.org/docs/stable/generated/torch.nn.Flatten.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import ClassInfo, Forward, Loader, Module, Root, Site, Tensor, Unknown, certainly, only
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"flatten", "view", "reshape", "ravel", "Flatten"}, {"Linear", "LazyLinear"}, {"forward"}]
fixable = "sometimes"

_LINEAR = ("torch.nn.Linear", "torch.nn.LazyLinear")
_OF_BATCHES = frozenset(
    """
    Conv1d Conv2d Conv3d LazyConv2d BatchNorm1d BatchNorm2d BatchNorm3d MaxPool1d MaxPool2d MaxPool3d AvgPool2d
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool2d
    """.split()
)


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for cls, root in facts.forwards:
        batches = False
        for event in root.of(Forward):
            batches = batches or _takes_batches(event)
            flat = _flat_input(event)
            if flat is None or flat.node in seen or "unsqueeze" in cls.words:
                continue
            if batches or _fed_by_loader(facts, cls):
                seen.add(flat.node)
                yield Finding(
                    flat,
                    f"the batch is flattened with everything else before `{event.spelling or 'a linear layer'}`",
                    "The samples of a batch become one vector: the layer refuses it, or gives one answer for all.",
                    related=(("it goes into the linear layer here", event.site),),
                    fix=_fix(facts, flat),
                )


def _flat_input(event: Forward) -> Site | None:
    module, given = only(event.module), only(event.arguments[0]) if event.arguments else None
    linear = isinstance(module, Module) and module.api in _LINEAR
    return given.flat if linear and isinstance(given, (Tensor, Unknown)) else None


def _takes_batches(event: Forward) -> bool:
    """True for a layer, or a chain of them, that is made for batches."""
    todo = list(event.module.options())
    while todo:
        one = todo.pop()
        if isinstance(one, Module):
            if one.api.rpartition(".")[2] in _OF_BATCHES:
                return True
            todo.extend(o for inner in one.inner for o in inner.options())
    return False


def _fed_by_loader(facts: Facts, cls: ClassInfo) -> bool:
    return any(_in_loader_loop(root, cls) for root in facts.roots)


def _in_loader_loop(root: Root, cls: ClassInfo) -> bool:
    for event in root.of(Forward):
        own = all(isinstance(o, Module) and o.cls is cls for o in event.module.options())
        if own and any(certainly(loop.over, Loader) for loop in event.loops):
            return True
    return False


def _fix(facts: Facts, flat: Site) -> Fix | None:
    text = facts.text(flat)
    mended = ""
    for ending in (".flatten()", ".view(-1)", ".reshape(-1)", ".ravel()", ".flatten(0)"):
        if text.endswith(ending):
            mended = text.removesuffix(ending) + ".flatten(1)"
    torch = facts.spell("torch.flatten")
    if not mended and torch is not None and text.startswith(f"{torch}(") and text.endswith(")"):
        mended = text.removesuffix(")") + ", 1)"
    if not mended or "#" in text or ", 0" in mended:
        return None
    return Fix("Flatten from dimension 1 on", Safety.UNSAFE, (Replace(flat, mended),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "samples in one vector", "samples"
    for one in trace.of(events.LinearApplied):
        harmed = one.merged > 1
        message = f"the layer is given {one.dimensions} dimensions, the samples apart"
        if harmed:
            message = f"the layer is given one vector, in which {one.merged} samples lie behind each other"
        yield Measurement(what, one.merged, 1, unit, harmed, one.place, message)
