"""A model with dropout or batch normalisation is evaluated in training mode.

## What it finds
A call of a model to evaluate or predict, that is, under `no_grad` or `inference_mode`, or after its weights
were loaded, with Dropout or a batch norm in its reach, while no path has called `model.eval()`. The finding
stands at the first such call of the evaluation. When encoder and decoder are used and only one is in
evaluation mode, the other is reported.

## Why it hurts
A module starts in training mode. Dropout then goes on dropping, so the same input gives another answer each
time; batch norm uses the statistics of the test batch instead of those it has learned, and moves its own
running statistics towards the test data. The measured accuracy is wrong, and the saved model may be too.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
model.load_state_dict(torch.load("weights.pt", weights_only=True))
with torch.no_grad():
    for x in batches:
        print(model(x).argmax(dim=1))
```

Right:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
model.load_state_dict(torch.load("weights.pt", weights_only=True))
model.eval()
with torch.no_grad():
    for x in batches:
        print(model(x).argmax(dim=1))
```

## Fix and its safety
Writes `model.eval()`, with the program's own name for the model, before the evaluation. Where training goes
on after the evaluation, `model.train()` is written at its head too; where there is no place for that, no fix
is offered, nor where autograd records as well and both want to be mended. Unsafe: it changes what the program
prints, and what it trains if an evaluation stands between two epochs.

## Known limits
Quiet about a model in which nothing depends on the mode, about one whose layers are not in sight, about
methods of the model itself (their caller sets the mode), about networks that draw samples for a GAN, about a
pass over zeros that asks for a shape, and when `train()` was called on purpose (Monte Carlo dropout,
gathering batch statistics). Quiet when the model was handed to code of another file, or comes from a hub,
where it is in evaluation mode already.

## Proof
In a real run each batch of an evaluation is passed twice. Answers that differ, or running statistics that
move, confirm the finding, with the largest difference as the number; two equal answers say *harmless here*.

## References
- torch.nn.Module.eval: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval
- torch.nn.Dropout: https://docs.pytorch.org/docs/stable/generated/torch.nn.Dropout.html
- torch.nn.BatchNorm1d: https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html
- Autograd mechanics: Evaluation Mode: https://docs.pytorch.org/docs/stable/notes/autograd.html#evaluation-mode-nn-module-eval
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import governs, mode_after, related, shared_loop, training_forwards
from torchlint.facts import (
    Backward,
    Derives,
    Event,
    Forward,
    Grad,
    GradientUsed,
    Loaded,
    Loop,
    ModeSet,
    Module,
    NumberRead,
    OptimizerBuilt,
    Root,
    Tensor,
    Unknown,
    Value,
    computed_from,
    may_be_same,
    only,
    walk,
)
from torchlint.mends import train_first
from torchlint.rule import Change, Facts, Finding, Fix, Group, InsertBefore, InsertFirst, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"no_grad", "inference_mode", "set_grad_enabled", "load_state_dict", "item", "tolist"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        seen: set[tuple[object, object]] = set()
        for forward in root.of(Forward):
            module = only(forward.module)
            if not isinstance(module, Module) or not root.complete or not _inference(root, forward):
                continue
            key = (forward.frame.function, module)
            if key in seen or not _never_evaluated(facts, root, forward, module):
                continue
            seen.add(key)
            model = forward.spelling or "the model"
            yield Finding(
                forward.site,
                f"`{model}` predicts in training mode: nothing here puts it in evaluation mode",
                "Dropout stays active and batch normalisation uses, and updates, the statistics of each batch it sees.",
                fix=_fix(root, forward),
            )


def _inference(root: Root, forward: Forward) -> bool:
    """True when the call is meant to predict.

    Gradients are off, trained weights were loaded and nothing trains, or a loop of its own only measures.
    """
    if _noise(forward) and (len(list(root.of(OptimizerBuilt))) != 1):
        return False  # a probe of the shape, or a GAN, whose samples are drawn in training mode on purpose
    if forward.grad is Grad.OFF:
        return not any(
            b.frame is forward.frame and b.loops[-1:] == forward.loops[-1:] and b.loops for b in root.of(Backward)
        )
    if forward.grad is not Grad.DEFAULT:
        return False
    if any(root.of(Backward)):
        return _measures(root, forward)

    def after(state: str, event: Event) -> str:
        return "loaded" if isinstance(event, Loaded) and may_be_same(event.target, forward.module) else state

    return walk([root.entry], "new", after).get(forward) == {"loaded"}


def _measures(root: Root, forward: Forward) -> bool:
    """True for a pass over data whose answers become numbers and train nothing, in a program that trains elsewhere.

    In a function of its own: it is not left to what the loop does with its other batches.
    """
    frame, model = forward.frame, forward.module
    loop = forward.loops[-1] if forward.loops and forward.loops[-1].frame is frame else None
    passes = list(root.of(Backward))
    if frame.function is None or loop is None or not _goes_over_data(loop):
        return False
    if any(b.inside(loop) or frame in b.frame.stack() for b in passes) or any(root.of(GradientUsed)):
        return False
    if not any(related(one, model) for b in passes for one in b.roots or ()) or _trains(passes, forward.output):
        return False
    return any(e.frame is frame and e.inside(loop) for e in root.of(NumberRead))


def _goes_over_data(loop: Loop) -> bool:
    over = only(loop.over)
    return over is not None and not (isinstance(over, Unknown) and over.origin == "number")


def _trains(passes: list[Backward], output: Value | None) -> bool:
    outputs = set(output.options()) if output is not None else set()
    return any(b.roots is None or outputs & computed_from(b.loss).keys() for b in passes)


def _noise(forward: Forward) -> bool:
    first = only(forward.arguments[0]) if forward.arguments else None
    return isinstance(first, Tensor) and first.factory.rpartition(".")[2] in (
        "rand",
        "randn",
        "randint",
        "zeros",
        "ones",
        "empty",
    )


def _never_evaluated(facts: Facts, root: Root, forward: Forward, module: Module) -> bool:
    """True when the module is random in training mode and no path, here or in what we cannot see, can have left it."""
    function, start = forward.frame.function, root.frame.function
    if not module.fresh or facts.depends_on_mode(module) is not True:
        return False
    if any(
        f.owner is not None and (f.owner.module is Derives.YES or not f.owner.closed) for f in (function, start) if f
    ):
        return False  # a model's own method, or a framework's: its caller sets the mode
    if start is not None and start.owner is not None and "eval" in start.owner.words:
        return False

    here = set(root.events)
    if any(
        isinstance(e, ModeSet) and e.training is not True and e not in here and governs(e.module, module)
        for e in facts.everything
    ):
        return False  # made at module level, say, or by a factory: code that runs before this has set its mode

    trains = any(b.frame is forward.frame for b in root.of(Backward))

    def after(mode: str, event: Event) -> str:
        if isinstance(event, Backward) and mode == "meant":
            return "train"
        new = mode_after(mode, event, module)
        if isinstance(event, ModeSet) and event.frame is forward.frame:
            if not trains:
                return "unknown"  # set right here: training mode is meant, for its randomness or its statistics
            if new == "train" and governs(event.module, module):
                return "meant"  # so it is where nothing trains between this and the prediction
        return new

    modes = walk([root.entry], "train", after).get(forward, set())
    return "train" in modes and modes <= {"train", "meant"}


def _fix(root: Root, forward: Forward) -> Fix | None:
    """`model.eval()` before the prediction, and `model.train()` where training goes on after it."""
    function = forward.frame.function
    trains_here = any(b.frame is forward.frame for b in root.of(Backward))
    if forward.grad is not Grad.OFF and any(root.of(Backward)):
        return None  # autograd should be switched off as well
    if not forward.spelling or (forward.loops and forward.loops[-1].body is None):
        return None  # no name, or one that means something in a comprehension only
    line = (f"{forward.spelling}.eval()",)
    change: Change
    if function is not None and forward.spelling.partition(".")[0] in function.parameters and not trains_here:
        change = InsertFirst(function.site, line)
    else:
        within = [loop for loop in forward.loops if loop.frame is forward.frame]
        calm = [loop for loop in within if not any(b.inside(loop) for b in root.of(Backward))]
        change = InsertBefore(calm[0].site if calm else forward.site, line)
    changes: list[Change] = [change]
    for training in training_forwards(root, forward.module):
        loop = shared_loop(forward, training)
        if loop is not None:
            restore = train_first(training, loop)
            if restore is None:
                return None
            changes.append(restore)
            break
    return Fix(f"Set evaluation mode with `{line[0]}`", Safety.UNSAFE, tuple(changes))


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm.probe import Measurement

    what, unit = "two passes differ by", "difference"
    for forward in trace.inference():
        if forward.difference is None or forward.moved is None:
            continue
        differs = forward.difference > 1e-6 * forward.scale
        message = f"{forward.kind} answers the same batch the same way twice"
        if differs:
            message = f"{forward.kind} in training mode gave two answers, {forward.difference:.3g} apart, to one batch"
        elif forward.moved:
            message = f"predicting moved the running statistics of {forward.kind} by {forward.moved:.3g}"
        value = forward.difference if differs else forward.moved
        yield Measurement(what, value, 0, unit, differs or forward.moved > 0, forward.place, message)
