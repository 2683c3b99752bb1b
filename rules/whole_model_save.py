"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Collection, Evidence, Mapping, Module, Saved, Value
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
            module = _module(saved.value)
            if module is None:
                continue
            direct = all(isinstance(o, Module) for o in saved.value.options())
            fix = None
            if direct and saved.argument is not None:
                fix = Fix(
                    "Save its `state_dict()`; loading then needs `load_state_dict`",
                    Safety.UNSAFE,
                    (Around(saved.argument, after=".state_dict()"),),
                )
            name = module.name or "a model"
            yield Finding(
                saved.site,
                f"the whole module `{name}` is pickled"
                if direct
                else f"the saved dictionary holds the whole module `{name}`",
                "A default `torch.load` refuses the file, and it breaks when the class is moved or renamed.",
                fix=fix,
            )


def _module(value: Value) -> Module | None:
    """The module that certainly is what is saved, or is in what is saved."""
    found: Module | None = None
    for one in value.options():
        inner = [one]
        match one:
            case Mapping(entries=entries):
                inner = list(entries.values())
            case Collection(items=items):
                inner = items
        modules = [o for i in inner if all(isinstance(p, Module) for p in i.options()) for o in i.options()]
        sure = [m for m in modules if isinstance(m, Module) and m.evidence > Evidence.NAME]
        if not sure:
            return None
        found = found or sure[0]
    return found


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "files that a default torch.load refuses", "files"
    for saved in trace.of(events.Saved):
        if saved.refusal is None:
            continue
        harmed = saved.module and bool(saved.refusal)
        message = f"torch.load reads the saved {saved.kind} back"
        if harmed:
            names = ", ".join(saved.needs)
            message = f"torch.load refuses the file: {saved.refusal}" + (f"; it hangs on {names}" if names else "")
        yield Measurement(what, int(harmed), 0, unit, harmed, saved.place, message)
