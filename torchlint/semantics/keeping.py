"""What outlives a round of a loop: sums that grow (`total += loss`) and lists that are appended to.

A total is kept over the rounds of the innermost loop that does not begin with putting it back; whether some path of the
round puts it back later is known when the loop has been followed to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import libcst as cst

from torchlint.facts import (
    Accumulated,
    Choice,
    Collection,
    Frame,
    LeafReplaced,
    Literal,
    Loop,
    Mapping,
    Tensor,
    Unknown,
    Value,
    only,
)
from torchlint.semantics.machine import Heap, Machine, graph_of
from torchlint.semantics.walk import children


@dataclass(slots=True, eq=False)
class Round:
    """A loop's body in progress, and what names and attributes held when it began."""

    loop: Loop
    carried: dict[str, Choice]
    heap: Heap
    pending: list[_Pending] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Pending:
    """Something was added. `place`: the name, the owner and attribute, or neither."""

    event: Accumulated | LeafReplaced
    place: tuple[Value | Frame, str] | None
    text: str
    before: tuple[Value, ...]


def added(m: Machine, node: Any, target: Any, argument: Any, left: Value, value: Value, result: Value) -> None:
    """`target += argument`, or the same written out."""
    if not m.loops or not _concerns(m, value) or not _sums(left):
        return
    place: tuple[Value | Frame, str] | None = None
    found: Round | None = None
    match target:
        case cst.Name(value=name):
            place = (m.active.frame, name)
            found = _outlived(
                m, lambda r: r.loop.frame is m.active.frame and _unchanged(r, place, left, r.carried.get(name))
            )
        case cst.Attribute(value=owner_node, attr=attr):
            with m.detached():
                from torchlint.semantics.expressions import ev

                owner = only(ev(m, owner_node))
            if owner is None:
                return
            key = (owner, attr.value)
            place = key
            now = m.heap.get(key)
            found = _outlived(m, lambda r: now is r.heap.get(key) or _unchanged(r, place, now, r.heap.get(key)))
        case cst.Subscript(value=owner_node):
            with m.detached():
                from torchlint.semantics.expressions import ev

                owner = only(ev(m, owner_node))
            if isinstance(owner, (Mapping, Collection)):
                loops = owner.loops
                found = _outlived(m, lambda r: r.loop not in loops)
    if found is not None:
        _tell(m, node, found, place, target, argument, value, result, left.options())


def put_into(m: Machine, node: cst.Call, into: Collection, receiver: Any, argument: Any, value: Value) -> None:
    """`into.append(argument)`."""
    if m.loops and into.kind == "list" and _concerns(m, value):
        found = _outlived(m, lambda r: r.loop not in into.loops)
        if found is None:
            return
        place = (m.active.frame, receiver.value) if isinstance(receiver, cst.Name) else None
        _tell(m, node, found, place, receiver, argument, value, into, (into,))


def _tell(
    m: Machine,
    node: Any,
    found: Round,
    place: tuple[Value | Frame, str] | None,
    target: Any,
    argument: Any,
    value: Value,
    total: Value,
    before: tuple[Value, ...],
) -> None:
    text = " ".join(m.tree.code_for_node(target).split())
    event = Accumulated(
        *m.at(node),
        value=value,
        total=total,
        spelling=text,
        argument=m.site(argument),
        atom=isinstance(argument, (cst.Name, cst.Attribute, cst.Call, cst.Subscript)) or bool(argument.lpar),
        loop=found.loop,
        summed=not isinstance(total, Collection),
    )
    m.emit(event)
    found.pending.append(_Pending(event, place, text, before))


def _concerns(m: Machine, value: Value) -> bool:
    """True for what may be a tensor with a graph, in a file that trains."""
    if graph_of(value):
        return True
    return "backward" in m.outline.words and any(
        isinstance(o, Unknown) and o.cut is None and o.origin in ("call", "operation", "attribute", "item", "tensor")
        for o in value.options()
    )


def _sums(left: Value) -> bool:
    """True when adding to `left` gives a tensor: it is a number or a tensor, and nothing that may convert."""
    for one in left.options():
        match one:
            case Literal(value=bool() | int() | float()) | Tensor():
                continue
            case Unknown(origin="number" | "operation" | "call" | "unset"):
                continue
        return False
    return True


def _outlived(m: Machine, holds: Any) -> Round | None:
    """The innermost loop, if the total is as its round found it."""
    for loop in reversed(m.loops):
        if not loop.once:
            one = m.rounds.get(loop)
            return one if one is not None and holds(one) else None
    return None


def _unchanged(one: Round, place: Any, now: Value | None, before: Value | None) -> bool:
    """True when what is there now was there when the round began, or is what was added to it since."""
    if now is None or before is None:
        return False
    known = {id(o) for o in before.options()} | {id(before)}
    for pending in one.pending:
        if pending.place == place:
            known.update(id(o) for o in pending.event.total.options())
    return now is before or all(id(o) in known for o in now.options())


def put_in_place(m: Machine, event: LeafReplaced, name: str, before: Value) -> None:
    """A name has got something else than the leaf it held: is that what the next round begins with?"""
    found = _outlived(m, lambda r: r.loop.frame is m.active.frame and r.carried.get(name) is before)
    if found is not None:
        found.pending.append(_Pending(event, (m.active.frame, name), event.spelling, before.options()))


def settle(m: Machine, one: Round) -> None:
    """The round is over: decides what has been kept, on every path through it."""
    if not m.tail:
        return
    for pending in one.pending:
        pending.event.kept = _kept(m, one, pending)


def _kept(m: Machine, one: Round, pending: _Pending) -> bool:
    total = pending.event.total
    if isinstance(total, Collection) and total.shrinks:
        return False
    allowed = {id(o) for p in one.pending if p.place == pending.place for o in p.event.total.options()}
    allowed.update(id(o) for o in pending.before)
    now: Value | None = None
    match pending.place:
        case (Frame() as frame, str() as name):
            if frame is one.loop.frame:
                now = m.active.locals.get(name)
        case (Value() as owner, str() as name):
            now = m.heap.get((owner, name))
    if now is not None and not all(id(o) in allowed for o in now.options()):
        return False
    return not _put_back(m, one.loop.body, pending.text)


def _put_back(m: Machine, body: Any, text: str) -> bool:
    """True when the body assigns anew to what is written so, or takes something out of it."""
    stack = [body]
    while stack:
        node = stack.pop()
        match node:
            case cst.FunctionDef() | cst.ClassDef() | None:
                continue
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    parts = target.target.elements if isinstance(target.target, cst.Tuple) else [None]
                    for part in parts:
                        written = _text(m, target.target if part is None else part.value)
                        if written in (text, f"{text}[:]") and text not in _text(m, value):
                            return True
            case cst.Del(target=target) if _text(m, target).startswith(text):
                return True
            case cst.Call(func=cst.Attribute(value=owner, attr=cst.Name(value="clear" | "pop" | "popleft" | "zero_"))):
                if _text(m, owner) == text:
                    return True
        stack.extend(children(node))
    return False


def _text(m: Machine, node: Any) -> str:
    return " ".join(m.tree.code_for_node(node).split())
