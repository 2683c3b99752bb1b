"""`torch.save` pickles a whole module instead of its `state_dict()`.

## What it finds
`torch.save(model, ...)`, or a dictionary or list with the module in it, where the value is certainly a
module. The finding stands at the call.

## Why it hurts
The file holds no code, only the place of the class: module path and name. It cannot be read once the class is
renamed or moved, or where the project is not importable. Since torch 2.6 `torch.load` reads only plain data
by default and refuses such a file; with `weights_only=False` it runs whatever the file says.

## Example
Wrong:

```python
import torch
from torch import nn

model = nn.Linear(4, 2)
torch.save(model, "model.pt")
```

Right:

```python
import torch
from torch import nn

model = nn.Linear(4, 2)
torch.save(model.state_dict(), "model.pt")

restored = nn.Linear(4, 2)
restored.load_state_dict(torch.load("model.pt", weights_only=True))
```

## Fix and its safety
Writes `.state_dict()` behind the module. Unsafe: whoever loads the file must build the model and call
`load_state_dict`. A module inside a dictionary gets no fix.

## Known limits
Quiet unless the value is certainly a module: a function parameter called `model`, a dictionary called
`model`, the result of an unknown function could be its state already. Scripted and exported programs
(`torch.jit.save`, `torch.export.save`) are meant to be saved whole and are not reported; neither is
`pickle.dump`.

## Proof
In a real run each saved file is read back by a default `torch.load`. The pitfall is a file that is refused;
healthy is 0.

## References
- Saving and Loading Models: https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html
- torch.load: https://docs.pytorch.org/docs/stable/generated/torch.load.html
- Serialization semantics: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.effects import holdings, related
from torchlint.facts import (
    Collection,
    Evidence,
    Literal,
    LoadedFile,
    Mapping,
    Module,
    OptimizerBuilt,
    Root,
    Saved,
    Value,
    only,
)
from torchlint.rule import Around, Facts, Finding, Fix, Group, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.PORTABILITY
words = [{"save"}, {"torch"}]
fixable = "sometimes"


def check(facts: Facts) -> Iterator[Finding]:
    for root in facts.roots:
        for saved in root.of(Saved):
            module = _module(root, saved.value)
            function = saved.frame.function
            if module is None or (saved.passing and function is not None and "load" in function.words):  # a copy
                continue
            direct = all(map(_is_module, saved.value.options()))
            fix = None
            if direct and saved.argument is not None:
                fix = Fix(
                    "Save its `state_dict()`; loading then needs `load_state_dict`",
                    Safety.UNSAFE,
                    (Around(saved.argument, after=".state_dict()"),),
                )
            name = facts.text(saved.argument) if direct and saved.argument is not None else module.name or "a model"
            yield Finding(
                saved.site,
                f"the whole module `{name}` is pickled" if direct else f"what is saved holds the whole module `{name}`",
                "A default `torch.load` refuses the file, and it breaks when the class is moved or renamed.",
                fix=fix,
            )


def _module(root: Root, value: Value) -> Module | None:
    """The module that certainly is what is saved, or is in what is saved."""
    found: Module | None = None
    for one in value.options():
        if isinstance(one, Literal) and one.value is None:
            continue  # not yet set
        if isinstance(one, LoadedFile) and _is_module(one):
            continue  # a module too, where it was read; the others say that it is a model
        modules = [o for i in _inside(one) if all(map(_is_module, i.options())) for o in i.options()]
        sure = [m for m in modules if isinstance(m, Module) and _is_model(root, m)]
        if not sure:
            return None
        found = found or sure[0]
    return found


def _inside(value: Value, depth: int = 0) -> list[Value]:
    """What is in a dictionary or a list, those in it as well; the value itself where it is neither."""
    found: list[Value] = []
    match only(value):
        case Mapping(entries=entries) if depth < 4:
            found.extend(part for entry in entries.values() for part in _inside(entry, depth + 1))
        case Collection(items=items) if depth < 4:
            found.extend(part for item in items for part in _inside(item, depth + 1))
        case _:
            found.append(value)
    return found


def _is_module(value: Value) -> bool:
    """True for a module, and for what was read from a file and is then used as one, whatever it may be."""
    if isinstance(value, LoadedFile):
        return "module" in value.uses and not value.uses.keys() & {"asked", "entries"}
    return isinstance(value, Module)


def _is_model(root: Root, module: Module) -> bool:
    """True when more than its name says that it is a model, or an optimizer was given its parameters."""
    if module.api.endswith("Loss"):
        return False
    return module.evidence > Evidence.NAME or any(
        related(module, held) for built in root.of(OptimizerBuilt) for held in holdings(built.optimizer) or ()
    )


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "files torch.load refuses", "files"
    for saved in trace.of(events.Saved):
        if saved.refusal is None:
            continue
        harmed = saved.module and bool(saved.refusal)
        message = f"torch.load reads the saved {saved.kind} back"
        if harmed:
            names = ", ".join(saved.needs)
            message = f"torch.load refuses the file: {saved.refusal}" + (f"; it hangs on {names}" if names else "")
        yield Measurement(what, int(harmed), 0, unit, harmed, saved.place, message)
