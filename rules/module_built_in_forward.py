"""A layer is constructed anew in every call of `forward`.

## What it finds
`nn.Linear(...)`, `nn.Conv2d(...)`, `nn.LSTM(...)` and other layers with random weights, batch normalisation, dropout,
and classes of the file with parameters, made and called in `forward` or in a method that it calls, and kept
nowhere. The finding stands at the call of the layer.

## Why it hurts
Each call of `forward` draws new weights, uses them once and throws them away: the layer never learns, the same
input gives another output each time, and `parameters()` and `state_dict()` know nothing of it. A new layer is in
training mode: dropout made here drops in evaluation too, and batch normalisation never uses its statistics.

## Example
Wrong:

```python
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 16)

    def forward(self, x):
        return nn.Linear(16, 2)(self.body(x))
```

Right:

```python
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.body(x))
```

## Fix and its safety
There is no fix: the layer belongs into the constructor, where its sizes must be known.

## Known limits
Quiet when the layer is stored (made once, in the first call), when its weights are set or loaded by hand, when its
mode is set, when `forward` asks for `self.training`, and about layers whose parameters start as ones and zeros
(`nn.LayerNorm`, `nn.GroupNorm`), which compute the same each time.

## Proof
In a real run, layers that are born during a forward pass are watched: the pitfall shows parameters that got a
gradient and are in no optimizer, or a layer in training mode inside a model in evaluation mode; healthy is none.

## References
- torch.nn.Module: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
- Build the Neural Network: https://docs.pytorch.org/tutorials/beginner/basics/buildmodel_tutorial.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import AttributeSet, Evidence, Forward, ModeSet, Module, Root, UnknownCall
from torchlint.rule import Facts, Finding, Group

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [{"forward"}, {"nn", "Module"}]

_RANDOM = (
    *("Linear", "Conv", "LazyConv", "LazyLinear", "Bilinear", "Embedding", "LSTM", "GRU", "RNN"),
    *("MultiheadAttention", "Transformer"),
)
_BY_HAND = frozenset({"weight", "weights", "load_state_dict", "training", "state_dict", "_parameters", "data"})


def check(facts: Facts) -> Iterator[Finding]:
    for cls, root in facts.forwards:
        for event in root.of(Forward):
            options = event.module.options()
            one = options[0] if len(options) == 1 else None
            if not isinstance(one, Module) or not _made_here(one, event) or _stored(root, one):
                continue
            what = _harm(facts, one)
            if not what:
                continue
            name = facts.text(one.site) if one.site is not None else "a layer"
            yield Finding(
                event.site,
                f"`{name}` is made anew in each call of `{cls.name}.forward`",
                what,
            )


def _made_here(module: Module, event: Forward) -> bool:
    """True when the pass itself made the layer, and the function where it did leaves it as it was made."""
    maker = module.site.function if module.site is not None else None
    if module.evidence is not Evidence.MADE or maker is None or maker.name in ("__init__", "<lambda>"):
        return False
    within = [frame.function for frame in event.frame.stack() if frame.function is not None]
    return maker in within and not maker.words & _BY_HAND and not any(one.remembers for one in within)


def _stored(root: Root, module: Module) -> bool:
    if module.holders:
        return True
    for event in root.of(AttributeSet):
        if event.owner is module or any(option is module for option in event.value.options()):
            return True
    if any(option is module for event in root.of(ModeSet) for option in event.module.options()):
        return True
    return any(event.touches(module) for event in root.of(UnknownCall))


def _harm(facts: Facts, module: Module) -> str:
    """What is lost with the layer, "" where nothing is."""
    last = module.api.rsplit(".", 1)[-1]
    if "Dropout" in last:
        if facts.depends_on_mode(module) is False:
            return ""
        return "A new layer is in training mode: it goes on dropping after `eval()`."
    if last.startswith(("BatchNorm", "SyncBatchNorm")):
        return "Its statistics are thrown away, and it normalises by the batch even after `eval()`."
    if last.startswith(_RANDOM) or (not module.api and facts.has_parameters(module)):
        return "Its weights are drawn anew each time and never trained: `parameters()` does not list them."
    return ""


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "layers made during a forward pass", "layers"
    strays = [one for one in trace.of(events.Stray) if one.why == "made in forward"]
    for one in strays:
        message = f"a {one.name} is made during the pass of {one.kind}, and an optimizer has its parameters"
        if one.untrained:
            message = f"a {one.name} made during the pass of {one.kind} got a gradient, and no optimizer has it"
        elif one.deaf:
            message = f"a {one.name} made during the pass is in training mode while {one.kind} is in evaluation mode"
        yield Measurement(what, int(one.harmed), 0, unit, one.harmed, one.place, message, one.also)
    if not strays:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 0, 0, unit, False, ran.place, f"all layers of {ran.kind} were made before")
