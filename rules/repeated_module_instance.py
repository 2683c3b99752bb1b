"""`[layer] * n` puts one layer into a container n times.

## What it finds
`nn.ModuleList([nn.Linear(8, 8)] * 3)`, `nn.Sequential(*[block] * depth)`, and a comprehension that gives the same
layer in each round (`[layer for _ in range(3)]`), where the layer has parameters. The finding stands at the
list.

## Why it hurts
Multiplying a list copies references, not objects: all entries are one layer. The network looks n layers deep and
has the parameters of one; each of its gradients is the sum over all places where it is used, and every place
computes with the same weights.

## Example
Wrong:

```python
from torch import nn

blocks = nn.Sequential(*[nn.Linear(8, 8)] * 3)
```

Right:

```python
from torch import nn

blocks = nn.Sequential(*[nn.Linear(8, 8) for _ in range(3)])
```

## Fix and its safety
Where the list holds one constructor call: a comprehension that makes a new layer each time. Unsafe: the model
gets more parameters, and checkpoints of the old one hold the same values several times. Other forms have no fix.

## Known limits
Sharing weights between layers is legitimate: quiet where the name of the layer, of what the list is assigned to
or of the function says so (`shared`, `tied`, `same`, `recurrent`). Not seen: a layer that is appended to a list
again and again, and layers made elsewhere and passed in. Layers without parameters may well be one object.

## Proof
In a real run, the entries of a container that are one and the same layer with parameters are counted; healthy is
one.

## References
- torch.nn.ModuleList: https://docs.pytorch.org/docs/stable/generated/torch.nn.ModuleList.html
- torch.nn.Sequential: https://docs.pytorch.org/docs/stable/generated/torch.nn.Sequential.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Evidence, Module, Repeated, Repetition
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"ModuleList", "Sequential"}, {"nn", "torch"}]
fixable = "sometimes"

_MEANT = ("shared", "share", "tied", "tie", "same", "recur", "reuse", "albert", "universal", "looped", "weight_tying")


def check(facts: Facts) -> Iterator[Finding]:
    for root in [*facts.roots, *(root for _, root in facts.constructions)]:
        for event in root.of(Repeated):
            part, repetition = event.part, event.repetition
            if repetition is None or not isinstance(part, Module) or part.evidence is not Evidence.MADE:
                continue
            if part.site is None or not facts.has_parameters(part) or _meant(facts, event):
                continue
            yield Finding(
                repetition.site,
                f"`{facts.text(repetition.site)}` is one layer several times, not several layers",
                "All entries share one set of parameters: the network is as deep as it looks, and learns as little as "
                "a single layer.",
                fix=_fix(facts, part, repetition),
            )


def _meant(facts: Facts, event: Repeated) -> bool:
    """True when a name says that the weights are to be shared."""
    function = event.site.function
    owner = function.owner.name if function is not None and function.owner is not None else ""
    names = [event.part.name, event.container.name, function.name if function is not None else "", owner]
    if event.repetition is not None:
        names.append(facts.text(event.repetition.site))
    return any(word in name.lower() for name in names for word in _MEANT)


def _fix(facts: Facts, part: Module, repetition: Repetition) -> Fix | None:
    listed, times = repetition.listed, repetition.times
    if listed is None or times is None or part.site is None:
        return None
    layer, text = facts.text(part.site), facts.text(listed)
    if text != f"[{layer}]" or "#" in text:
        return None
    made = f"[{layer} for _ in range({facts.text(times)})]"
    return Fix("Make a layer for each entry", Safety.UNSAFE, (Replace(repetition.site, made),))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "entries of a container that are one layer", "entries"
    repeated = list(trace.of(events.EntryRepeated))
    for one in repeated:
        message = f"one {one.name} with {one.parameters} parameters is {one.entries} entries of a {one.kind}"
        yield Measurement(what, one.entries, 1, unit, True, one.place, message)
    if not repeated:
        for ran in trace.of(events.LayersRan):
            yield Measurement(what, 1, 1, unit, False, ran.place, "no container has a layer with parameters twice")
