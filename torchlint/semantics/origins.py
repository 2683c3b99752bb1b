"""What an expression hangs on, by words: its own, and those of whatever its names are made of, all through the file.

No flow: a name counts as all that it is ever given, so that a word which is missing here has certainly no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libcst as cst

from torchlint.semantics.walk import children, words_of

# Names of what holds a program's settings: all of it comes along with them, whichever of them is meant.
_SETTINGS = frozenset(
    {"args", "opt", "opts", "cfg", "config", "conf", "self", "cls", "hparams", "params", "os", "torch"}
)
LARGEST = 40  # words in a function: a larger one does more than to answer a question


def words_behind(tree: cst.Module, words: Iterable[str], answers: bool) -> frozenset[str]:
    """`words`, and all words that decide what they stand for.

    With `answers` only through what answers a question: comparisons, other names, calls without arguments.
    """
    makings = _makings(tree, answers)
    found: set[str] = set()
    todo = list(words)
    while todo:
        word = todo.pop()
        if word in found:
            continue
        found.add(word)
        if word not in _SETTINGS:
            todo.extend(makings.get(word, ()))
    return frozenset(found)


def _makings(tree: cst.Module, answers: bool) -> dict[str, set[str]]:
    """For each name, attribute, parameter and function: the words of what it is given, or gives back."""
    found: dict[str, set[str]] = {}
    parameters: dict[str, list[str]] = {}  # of each function
    calls: list[cst.Call] = []
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        match node:
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    _given(found, target.target, value, answers)
            case cst.AnnAssign(target=target, value=value) | cst.AugAssign(target=target, value=value) if value:
                _given(found, target, value, answers)
            case cst.NamedExpr(target=target, value=value):
                _given(found, target, value, answers)
            case cst.FunctionDef(name=name, params=params, body=body):
                own = [p.name.value for p in (*params.posonly_params, *params.params)]
                parameters[name.value] = own[1:] if own[:1] in (["self"], ["cls"]) else own
                inside = words_of(body)
                if len(inside) <= LARGEST:
                    found.setdefault(name.value, set()).update(inside)
            case cst.Call():
                calls.append(node)
        stack.extend(children(node))
    for call in calls:
        own = parameters.get(_last(call.func), [])
        for place, argument in enumerate(call.args):
            if argument.keyword is not None:
                _add(found, argument.keyword.value, argument.value, answers)
            elif place < len(own) and not argument.star:
                _add(found, own[place], argument.value, answers)
    return found


def _given(found: dict[str, set[str]], target: Any, value: Any, answers: bool) -> None:
    if isinstance(target, (cst.Tuple, cst.List)):
        parts = value.elements if isinstance(value, (cst.Tuple, cst.List)) else ()
        for place, element in enumerate(target.elements):
            same = len(parts) == len(target.elements)
            _given(found, element.value, parts[place].value if same else value, answers)
        return
    name = _last(target)
    if name:
        _add(found, name, value, answers)


def _add(found: dict[str, set[str]], name: str, value: Any, answers: bool) -> None:
    if not answers or _answers(value):
        found.setdefault(name, set()).update(words_of(value))


def _answers(value: Any) -> bool:
    match value:
        case cst.Comparison() | cst.BooleanOperation() | cst.Name() | cst.Attribute() | cst.IfExp():
            return True
        case cst.UnaryOperation(operator=cst.Not()) | cst.Call(args=()):
            return True
    return False


def _last(node: Any) -> str:
    match node:
        case cst.Name(value=name):
            return str(name)
        case cst.Attribute(attr=attr):
            return str(attr.value)
    return ""
