"""A method is named but not called: the parentheses are missing.

## What it finds
`model.eval`, `model.train`, `optimizer.step`, `optimizer.zero_grad`, `loss.backward` and the like as a statement of
their own; `torch.save(model.state_dict, path)`, also inside of a dictionary; `load_state_dict(other.state_dict)`;
and `loss.item` where a number belongs: added to a total, put into a list, printed, or given to `float`.

## Why it hurts
Naming a method does nothing. The model stays in the mode it was in, so that dropout goes on during evaluation; no
gradient is computed or cleared; no parameter moves. None of it raises. A file that was saved so holds a method in
place of the weights, and with it the whole model object. A total of methods raises at the first addition.

## Example
Wrong:

```python
import torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout())
net.eval
with torch.no_grad():
    print(net(torch.ones(1, 4)))
```

Right:

```python
import torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout())
net.eval()
with torch.no_grad():
    print(net(torch.ones(1, 4)))
```

## Fix and its safety
The parentheses. Safe: as it is the statement has no effect, or stops the program, and what follows was written as if
the call were there.

## Known limits
Quiet about methods that are handed on to be called later (`callback(model.eval)`, `step = optimizer.step`), about
methods that a class of the file defines itself, and about names of unknown objects other than `backward` and
`zero_grad`. `SGD(model.parameters)` is optimizer-given-tensor's.

## Proof
In a real run it is noted when a method of a model, an optimizer or a loss is taken and thrown away without a call,
when a saved file holds one, and when Python or torch refuses one; healthy is 0.

## References
- torch.nn.Module.eval: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval
- torch.Tensor.item: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.item.html
- Saving and loading a state_dict: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Loaded, Mapping, Saved, Site, Uncalled, Unknown, Value
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.CORRECTNESS
words = [
    {"eval", "train", "step", "zero_grad", "backward", "cuda", "cpu", "half", "float", "double", "state_dict", "item"},
    {"torch"},
]
fixable = "safe"

_EFFECTS = {
    "eval": "The model stays in training mode: dropout and batch normalisation go on as in training.",
    "train": "The model stays in the mode that it was in.",
    "step": "Nothing is updated.",
    "zero_grad": "The gradients of earlier steps stay, and new ones are added to them.",
    "backward": "No gradient is computed.",
}
_USES = {
    "added": "Adding a method to a number raises a TypeError.",
    "kept": "The list fills with methods, each of which keeps its tensor alive.",
    "number": "A method is no number: this raises a TypeError.",
    "printed": "What is shown is a method, not its value.",
}


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for event in root.of(Uncalled):
            effect = _USES.get(event.use) or _EFFECTS.get(event.method, "Nothing happens.")
            yield _finding(event.site, event.spelling, effect)
        for saved in root.of(Saved):
            for method in _methods(saved.value):
                yield _finding(method, facts.text(method), "The file holds a method in place of the weights.")
        for loaded in root.of(Loaded):
            for method in _methods(loaded.state) if loaded.state is not None else ():
                yield _finding(method, facts.text(method), "A method is no state: this raises a TypeError.")


def _finding(site: Site, spelling: str, effect: str) -> Finding:
    fix = Fix("Call the method", Safety.SAFE, (Around(site, after="()"),))
    return Finding(site, f"`{spelling}` is named, but not called", effect, fix=fix)


def _methods(value: Value) -> Iterator[Site]:
    """Where methods were named that went into a value as they are."""
    seen: set[Value] = set()  # a dictionary may lie in itself
    todo = [*value.options()]
    while todo:
        one = todo.pop(0)
        match one:
            case Unknown(origin="method", site=site) if site is not None:
                yield site
            case Mapping(entries=entries) if one not in seen:
                seen.add(one)
                todo[:0] = [option for inner in entries.values() for option in inner.options()]


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "methods that were named and not called", "methods"
    for event in trace.events:
        match event:
            case events.Fetched():
                message = f"{event.method} of a {event.kind} was taken and thrown away"
                yield Measurement(what, 1, 0, unit, True, event.place, message)
            case events.Saved():
                message = f"the file holds {event.methods} methods of models and optimizers"
                yield Measurement(what, event.methods, 0, unit, event.methods > 0, event.place, message)
            case events.Raised() if event.kind == "TypeError" and "method'" in event.message:
                yield Measurement(what, 1, 0, unit, True, event.place, event.message.splitlines()[0])
            case events.ModeSet() | events.OptimizerStep() | events.Backward() | events.ZeroGrad():
                yield Measurement(what, 0, 0, unit, False, event.place, "the method was called")
