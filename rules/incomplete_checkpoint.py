"""A run is resumed with the weights of its checkpoint, and with an optimizer that has forgotten everything.

## What it finds
Code that takes the model's state and a counter (`epoch`, `step`) out of a file, loads the one into the model and goes
on stepping an optimizer with a memory over that model, without ever loading a state into the optimizer. The finding
stands where the model's state is loaded.

## Why it hurts
Adam and its kin, and SGD with momentum, keep running averages of the gradients, and Adam counts its steps. Begun
anew in the middle of a run they take steps of the wrong size: the loss jumps when training resumes, and the run is
not the one that was interrupted.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters())
checkpoint = torch.load("last.pt", weights_only=True)
model.load_state_dict(checkpoint["model"])
for epoch in range(checkpoint["epoch"] + 1, 100):
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters())
checkpoint = torch.load("last.pt", weights_only=True)
model.load_state_dict(checkpoint["model"])
optimizer.load_state_dict(checkpoint["optimizer"])
for epoch in range(checkpoint["epoch"] + 1, 100):
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
```

with `"optimizer": optimizer.state_dict()` in what was saved.

## Fix and its safety
Loads the optimizer's state as well, where the file's own `torch.save` puts it beside the model's. Unsafe: files
that were saved before may not have it. No fix where no such save is in sight.

## Known limits
Quiet for SGD without momentum, which has nothing to remember; where no counter is read, as in fine-tuning; where the
checkpoint or the optimizer goes through code of another file on the way. Schedulers and scalers are not looked at.

## Proof
In a real run the first step of an optimizer is looked at that follows the loading of a model from a file whose
counter the program reads. The pitfall is an optimizer with a memory that begins empty; healthy is none.

## References
- Saving and loading a general checkpoint: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training
- torch.optim.Optimizer.load_state_dict: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.load_state_dict.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import may_update
from torchlint.facts import (
    Event,
    Literal,
    Loaded,
    LoadedFile,
    Mapping,
    Module,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    Root,
    Saved,
    StateDict,
    Unknown,
    UnknownCall,
    Value,
    may_be_same,
    only,
    walk,
)
from torchlint.rule import Facts, Finding, Fix, Group, InsertAfter, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"load_state_dict"}, {"load"}, {"step"}]
fixable = "sometimes"

_COUNTERS = frozenset({"epoch", "step", "iter", "iteration", "global_step", "start_epoch", "epochs", "it", "n_iter"})


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        if not root.complete:
            continue
        for loaded in root.of(Loaded):
            model, file = only(loaded.target), _file(loaded.state)
            if not isinstance(model, Module) or file is None or "handed on" in file.uses:
                continue
            counter = next((key for key in file.reads if key.lower() in _COUNTERS), None)
            if counter is None or any("optim" in key.lower() or key.lower() == "opt" for key in file.reads):
                continue
            built = _forgetful(root, loaded, model)
            if built is None:
                continue
            name, optimizer = loaded.spelling or model.name, built.optimizer.name or "the optimizer"
            yield Finding(
                loaded.site,
                f"`{name}` is resumed at `{facts.text(file.reads[counter])}`, and `{optimizer}` starts from nothing",
                "Its running averages and its count of steps are lost: the first steps have the wrong size.",
                related=((f"`{optimizer}` is built here", built.site),),
                fix=_fix(root, loaded, file, built),
            )


def _file(state: Value | None) -> LoadedFile | None:
    one = only(state)
    if isinstance(one, Unknown) and one.origin == "entry":
        return next((h for h in one.holders if isinstance(h, LoadedFile)), None)
    return None


def _forgetful(root: Root, loaded: Loaded, model: Module) -> OptimizerBuilt | None:
    """The optimizer with a memory that steps over the model afterwards, and whose state is loaded nowhere."""
    for built in root.of(OptimizerBuilt):
        optimizer = only(built.optimizer)
        if (
            not isinstance(optimizer, Optimizer)
            or not _remembers(optimizer, built)
            or not may_update(root, built, model)
        ):
            continue
        if any(may_be_same(other.target, optimizer) for other in root.of(Loaded)):
            continue

        def step(state: str, event: Event, optimizer: Optimizer = optimizer) -> str | None:
            restores = isinstance(event, UnknownCall) and event.touches(optimizer)
            return None if restores else state

        met = walk(loaded.next, "resumed", step)
        if any(isinstance(e, OptimizerStep) and may_be_same(e.optimizer, optimizer) for e in met):
            return built
    return None


def _remembers(optimizer: Optimizer, built: OptimizerBuilt) -> bool:
    """True when it certainly keeps averages or counts from step to step."""
    if optimizer.api != "torch.optim.SGD":
        return optimizer.api.startswith("torch.optim.")
    momentum = only(built.settings.get("momentum", built.settings.get("2")))
    return isinstance(momentum, Literal) and bool(momentum.value)


def _fix(root: Root, loaded: Loaded, file: LoadedFile, built: OptimizerBuilt) -> Fix | None:
    name = built.optimizer.name
    here = built.frame is loaded.frame and file.site is not None and file.site.function is loaded.site.function
    if not here or not name.isidentifier() or not file.name.isidentifier():
        return None
    if loaded not in walk(built.next, "", lambda state, event: state):
        return None  # it is built later
    for saved in root.of(Saved):
        for one in saved.value.options():
            for key, entry in one.entries.items() if isinstance(one, Mapping) else ():
                state = only(entry)
                if isinstance(state, StateDict) and may_be_same(state.of, built.optimizer):
                    line = f'{name}.load_state_dict({file.name}["{key}"])'
                    return Fix("Load the optimizer's state too", Safety.UNSAFE, (InsertAfter(loaded.site, (line,)),))
    return None


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "optimizers that begin a resumed run without memory", "optimizers"
    files = {read.number: read for read in trace.of(events.FileRead)}
    steps = list(trace.of(events.OptimizerStep))
    modules = {forward.number: forward.module for forward in trace.of(events.Forward)}
    trained = [(b.number, {modules.get(n) for n in b.forwards}) for b in trace.of(events.Backward)]
    loads = list(trace.of(events.StateLoaded))
    for loaded in loads:
        file = files.get(loaded.file)
        if loaded.optimizer or file is None or not any(key.lower() in _COUNTERS for key in file.asked):
            continue
        first = next((step for step in steps if step.number > loaded.number), None)
        if first is None or (first.step == 1 and not first.remembers):
            continue
        if not any(loaded.number < n < first.number and loaded.target in reached for n, reached in trained):
            continue
        restored = any(one.optimizer and file.number < one.number < first.number for one in loads)
        harmed = first.step == 1 and not restored
        message = "the optimizer goes on with what it remembers"
        if harmed:
            message = f"the {first.kind} takes its first step as if nothing had been before, the {loaded.kind} does not"
        yield Measurement(what, int(harmed), 0, unit, harmed, loaded.place, message)
