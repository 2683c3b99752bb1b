"""Where values lose their graph, and what can have one: the two sides of "no gradient gets back from here"."""

from __future__ import annotations

from typing import Any

import libcst as cst

from torchlint.facts import Collection, Cut, Literal, Loader, Parameters, Tensor, Unknown, Value
from torchlint.semantics.machine import NESTING_LIMIT, Machine, graph_of

_NO_GRADIENT = frozenset({"number", "index", "numpy", "string", "batch", "key"})


def cut_at(m: Machine, node: Any, how: str, *operands: Value) -> Cut | None:
    """The graph of `operands` ends at `node`; where it had ended before, that stays the place. None: they had none."""
    for one in operands:
        graph = graph_of(one)
        if graph:
            if how == "no_grad":
                return Cut(m.site(node), how, graph, one, *m.off)
            inner = _inner(node)
            return Cut(m.site(node), how, graph, one, inner=m.site(inner) if inner is not None else None)
    return inherited_cut(list(operands))


def _inner(node: Any) -> Any:
    """The expression that a graph is cut from: `loss` of `loss.item()`, `loss.data`, `torch.tensor(loss)`."""
    match node:
        case cst.Attribute(value=value) | cst.Call(func=cst.Attribute(value=value), args=[]):
            return value
        case cst.Call(args=[argument, *_]) if not argument.star and argument.keyword is None:
            return None if isinstance(argument.value, (cst.List, cst.Tuple)) else argument.value
    return None


def inherited_cut(operands: list[Value], losses: bool = False, depth: int = 0) -> Cut | None:
    """Where the graph ended that a result would have had: known only if nothing else can bring a gradient into it.

    `losses`: the operands are those of a loss, whose target needs no gradient.
    """
    found: Cut | None = None
    for position, operand in enumerate(operands):
        if graph_of(operand):
            return None
        cut = cut_of(operand, depth)
        if cut is not None:
            found = found or cut
        elif not (_without_gradient(operand) or (losses and position > 0 and _target(operand))):
            return None
    return found


def cut_of(value: Value | None, depth: int = 0) -> Cut | None:
    """Where the graph of a value ended, on every path."""
    if value is None or depth > NESTING_LIMIT:  # a list may lie in itself
        return None
    found: Cut | None = None
    for one in value.options():
        match one:
            case Tensor(graph=graph, cut=Cut() as cut) | Unknown(graph=graph, cut=Cut() as cut) if not graph:
                found = found or cut
            case Collection(items=items) if items and (inner := inherited_cut(items, depth=depth + 1)) is not None:
                found = found or inner
            case _:
                return None
    return found


_TARGETS = ("label", "target", "truth", "gt", "y")


def _target(value: Value) -> bool:
    """True for what is called as targets are."""
    return all(
        isinstance(o, (Unknown, Tensor)) and o.name.rpartition(".")[2].lower().startswith(_TARGETS)
        for o in value.options()
    )


def _without_gradient(value: Value, depth: int = 0) -> bool:
    """True for what certainly needs no gradient: constants, numbers, what a loader gives, new tensors."""
    if depth > NESTING_LIMIT:
        return False
    for one in value.options():
        match one:
            case Literal():
                continue
            case Unknown(origin=origin) if origin in _NO_GRADIENT or _from_loader(one):
                continue
            case Tensor(fresh=fresh, leaf=False, parameter=False) if fresh is not None or one.made_by == "batch":
                continue
            case Collection(items=items) if all(_without_gradient(i, depth + 1) for i in items):
                continue
        return False
    return True


def _from_loader(value: Unknown) -> bool:
    """True for what a loop takes out of a loader, or of something unknown that holds no parameters.

    Not for a part of what unknown code gave back: that may be the outputs of a model.
    """
    if value.origin != "item" or _behind_parameters(value):
        return False
    return not any(isinstance(one, Unknown) and one.origin == "call" for one in (*value.holders, *value.operands))


def _behind_parameters(value: Value) -> bool:
    return any(not isinstance(one, (Loader, Unknown)) for one in value.with_holders())


def parameter_behind(value: Value) -> Parameters | None:
    """The `model.parameters()` that a value is an item of."""
    seen: set[Value] = set()
    todo: list[Value] = list(value.holders)
    while todo and len(seen) < 8:  # a part of a pair of `named_parameters()`
        one = todo.pop(0)
        if isinstance(one, Parameters):
            return one
        if isinstance(one, Unknown) and one.origin == "item" and one not in seen:
            seen.add(one)
            todo.extend(one.holders)
    return None


def is_out(argument: cst.Arg) -> bool:
    """True for `out=...`: the call writes into it."""
    return argument.keyword is not None and argument.keyword.value == "out"
