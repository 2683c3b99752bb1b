"""A loss is given the target first and the model's output second.

## What it finds
A loss of torch that is not symmetric (cross entropy in all its forms, negative log likelihood, the margin losses)
whose second argument is certainly computed by a model, while the first is no model's doing and is a target by its
name (`y`, `labels`, `target`, `gt`, ...), or was made by a factory (`torch.ones(...)`). For binary cross entropy the
model's own input (`x`, `images`) counts as well: the loss of an autoencoder. The finding stands at the loss.

## Why it hurts
The first argument is what is judged, the second what it is judged by. Swapped, `CrossEntropyLoss` ends with an error
about types or shapes, at best. Binary cross entropy goes on: of the logits form the gradient no longer hangs on how
wrong the score is, and the loss has no lower bound; of the other form the logarithms of 0 and 1 are taken, which torch
cuts off at -100, and the loss is a hundred times an average.

## Example
Wrong:

```python
from torch import nn

model = nn.Linear(20, 1)
criterion = nn.BCEWithLogitsLoss()
for x, y in batches:
    loss = criterion(y, model(x))
```

Right:

```python
from torch import nn

model = nn.Linear(20, 1)
criterion = nn.BCEWithLogitsLoss()
for x, y in batches:
    loss = criterion(model(x), y)
```

## Fix and its safety
Swaps the two. Unsafe: the loss is another one then, which is the point of it. No fix where a
comment stands in one of them.

## Known limits
Quiet about losses that give the same both ways round (`MSELoss`, `L1Loss`, `SmoothL1Loss`, `HuberLoss`) and about
`KLDivLoss`, of which both directions have their uses. Quiet where the output has no gradient (in evaluation), and where
the first argument is neither named as a target nor made in sight.

## Proof
In a real run autograd is asked which of the two has a gradient: a loss that only its target can be improved by has
its arguments the wrong way round.

## References
- torch.nn.BCEWithLogitsLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
- torch.nn.CrossEntropyLoss: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Loss, Tensor, Value
from torchlint.losses import computed, losses, title, untouched
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

_KINDS = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "poisson_nll_loss",
    "hinge_embedding_loss",
    "soft_margin_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
)
_TARGETS = frozenset("y yb gt label labels lbl lbls target targets tgt truth ground_truth y_true true_y".split())
_ENDINGS = ("_label", "_labels", "_target", "_targets", "_gt", "_y")
_INPUTS = frozenset("x data image images img imgs inputs real real_imgs".split())

group = Group.CORRECTNESS
words = [
    {*_KINDS, "CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss", "PoissonNLLLoss", "HingeEmbeddingLoss"}
    | {"SoftMarginLoss", "MultiMarginLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss"},
    {"torch", "nn", "functional"},
]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    seen: set[object] = set()
    for kind in _KINDS:
        for loss in losses(facts, kind):
            if loss.starred or loss.site.node in seen or loss.output_site is None or loss.target_site is None:
                continue
            if not computed(loss.target) or not untouched(loss.output) or not _is_target(facts, loss):
                continue
            seen.add(loss.site.node)
            first, second = facts.text(loss.output_site), facts.text(loss.target_site)
            change = (Replace(loss.output_site, second), Replace(loss.target_site, first))
            yield Finding(
                loss.site,
                f"{title(loss)} is given the target `{first}` first and the output `{second}` second",
                "What is judged comes first: this way the loss says nothing about how wrong the model is.",
                fix=Fix("Swap them", Safety.UNSAFE, change) if "#" not in first + second else None,
            )


def _is_target(facts: Facts, loss: Loss) -> bool:
    """True when the first argument is made here, or named as only a target is."""
    known = loss.output.options() if loss.output is not None else ()
    binary = loss.kind.startswith("binary")
    return all((isinstance(one, Tensor) and one.fresh is not None) or _named(one, binary) for one in known)


def _named(value: Value, binary: bool) -> bool:
    name = value.name.rpartition(".")[2].lower()
    return name in _TARGETS or name.endswith(_ENDINGS) or (binary and name in _INPUTS)


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "arguments that can be improved and stand second", "of one"
    for loss in trace.of(events.LossComputed):
        if loss.loss not in _KINDS or not (loss.output_tracked or loss.target_tracked):
            continue
        harmed = loss.target_tracked and not loss.output_tracked
        message = "the gradient goes into the first argument"
        if harmed:
            message = "only the second argument has a gradient: the target is judged by the output"
            message += f"; torch says: {loss.error[:90]}" if loss.error else ""
        yield Measurement(what, int(harmed), 0, unit, harmed, loss.place, message)
