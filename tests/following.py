"""Programs and what the semantic layer makes of them, in a notation short enough for tables.

`save("a")` in a program is an event that stands for itself, so that the tests of paths need nothing of torch. `paths`
gives the order relation as text, `told` the events in the order they were met.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from torchlint.facts import (
    AttributeSet,
    Backward,
    Combined,
    Discarded,
    Event,
    Forward,
    GradientUsed,
    GradSwitched,
    Literal,
    Loaded,
    ModeSet,
    Module,
    Moved,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    ParamGroupAdded,
    Root,
    Saved,
    SchedulerStep,
    SuperInit,
    UnknownCall,
    Value,
    ZeroGrad,
)
from torchlint.semantics.build import FileFacts, build
from torchlint.source import Source

HEADER = """
import torch
from torch import nn, optim, save
"""
NETS = """
A, B = nn.Linear(1, 1), nn.Linear(2, 2)
opt_a, opt_b = optim.SGD(A.parameters()), optim.Adam(B.parameters())
"""


def follow(program: str, header: str = HEADER) -> FileFacts:
    """A program, indented as the test is, after `header`."""
    return build(Source("program.py", (header + textwrap.dedent(program)).encode()))


def root(facts: FileFacts, name: str = "") -> Root:
    """The run that starts at the module body, or at the function `name`."""
    found = [r for r in facts.roots if r.frame.name == name]
    assert len(found) == 1, f"{name or 'the module body'} is followed {len(found)} times"
    return found[0]


def name(value: Value | None) -> str:
    """A value as the tables write it: alternatives with `|`, what is unknown and has no name as `?`."""
    if value is None:
        return "-"
    options = value.options()
    if len(options) > 1:
        return "|".join(sorted(name(one) for one in options))
    one = options[0] if options else value
    if isinstance(one, Literal):
        return repr(one.value)
    return one.name or (one.api.rpartition(".")[2] + "()" if isinstance(one, (Module, Optimizer)) and one.api else "?")


def label(event: Event) -> str:
    """An event as the tables write it; "" for one that only joins paths."""
    match event:
        case Saved(value=Literal(value=str() as text)):
            return text
        case Saved(value=value):
            return f"save {name(value)}"
        case Forward(module=module, direct=direct):
            return f"{name(module)}.forward" if direct else f"{name(module)}()"
        case Backward(roots=roots):
            return f"backward {'+'.join(sorted(map(name, roots))) if roots else '?'}"
        case OptimizerBuilt(optimizer=optimizer):
            return f"built {name(optimizer)}"
        case OptimizerStep(optimizer=optimizer):
            return f"step {name(optimizer)}"
        case ParamGroupAdded(optimizer=optimizer):
            return f"group {name(optimizer)}"
        case ZeroGrad(target=target):
            return f"zero {name(target)}"
        case ModeSet(module=module, training=training):
            return f"{ {True: 'train', False: 'eval', None: 'mode'}[training] } {name(module)}"
        case GradSwitched(mode=mode):
            return f"grad {mode.value}"
        case AttributeSet(spelling=spelling, owner=owner, attribute=attribute):
            return f"set {spelling or name(owner) + '.' + attribute}"
        case SuperInit():
            return "super"
        case Moved(target=target, device=device):
            return f"move {name(target)} {device.kind if device else '?'}"
        case Combined(operation=operation):
            return f"combine {operation}"
        case Discarded(receiver=receiver, method=method):
            return f"discard {name(receiver)}.{method}"
        case Loaded(target=target):
            return f"load {name(target)}"
        case SchedulerStep(scheduler=scheduler):
            return f"schedule {name(scheduler)}"
        case GradientUsed(target=target):
            return f"gradient {name(target)}"
        case UnknownCall(callee=callee, arguments=arguments):
            return f"{callee}({', '.join(map(name, arguments))})"
    return ""


def told(program: str, start: str = "", header: str = HEADER + NETS) -> list[str]:
    """The events of a program in the order they were met, without those of `header`."""
    facts = follow(program, header)
    events = [label(e) for e in root(facts, start).events if label(e)]
    if start:
        return events
    before = len([e for e in root(follow("", header)).events if label(e)])
    return events[before:]


def paths(program: str, start: str = "", header: str = HEADER) -> str:
    """What can come right after what, joins left out: `start: a b | a: c | b: c | c: end`, in order of meeting.

    The module body ends with "end" of itself; a function that is followed alone says where it ends.
    """
    facts = follow(textwrap.dedent(program) + ("" if start else "\nsave('end')\n"), header)
    events = root(facts, start).events
    shown = [events[0], *(e for e in events if label(e))]
    found = []
    for event in shown:
        followers = _next(event, lambda e: bool(label(e)))
        if followers:
            found.append(f"{label(event) or 'start'}: {' '.join(sorted({label(e) for e in followers}))}")
    return " | ".join(found)


def _next(event: Event, shown: Callable[[Event], bool]) -> list[Event]:
    found: list[Event] = []
    seen: set[int] = set()
    todo = list(event.next)
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if shown(one):
            found.append(one)
        else:
            todo.extend(one.next)
    return found
