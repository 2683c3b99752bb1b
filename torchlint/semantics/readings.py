"""Where a name is read: whether anything in its scope could come by what it holds."""

from __future__ import annotations

from typing import Any

import libcst as cst

from torchlint.facts import FunctionInfo
from torchlint.semantics.machine import Machine
from torchlint.semantics.walk import children

# Ways to come by a name without writing it.
_ANY_NAME = frozenset({"locals", "globals", "vars", "exec", "__dict__", "getattr", "__all__"})


def reads(m: Machine, function: FunctionInfo | None, name: str) -> tuple[int, int]:
    """How often a name is read in a function (in the file for None), and how often it is handed back there.

    `.x` stands for an attribute, which is looked for in the whole file. A name may count as read where it is not; never
    the other way round.
    """
    if m.outline.words & _ANY_NAME and (function is None or name[0] == "." or function.words & _ANY_NAME):
        return 1, 0
    body = m.tree if function is None or name[0] == "." else function.node.body
    wanted, attribute = name.lstrip("."), name[0] == "."
    found = handed = 0
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        match node:
            case cst.Name(value=value):
                found += value == wanted and not attribute
                continue
            case cst.Attribute(value=owner, attr=attr):
                found += attribute and attr.value == wanted
                stack.append(owner)
                continue
            case cst.SimpleString(value=text):
                found += wanted in text and attribute
                continue
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    stack.extend(_written(target.target))
                stack.append(value)
                continue
            case cst.AnnAssign(target=target, value=value):
                stack.extend(_written(target))
                if value is not None:
                    stack.append(value)
                continue
            case cst.Arg(value=value):
                stack.append(value)
                continue
            case cst.Param(default=default):
                if default is not None:
                    stack.append(default)
                continue
            case cst.Return(value=value) if value is not None:
                for one in [e.value for e in value.elements] if isinstance(value, cst.Tuple) else [value]:
                    if isinstance(one, cst.Name) and one.value == wanted and not attribute:
                        handed += 1
                    else:
                        stack.append(one)
                continue
            case cst.FunctionDef(body=inner, params=params, decorators=decorators):
                stack.extend([inner, params, *decorators])
                continue
        stack.extend(children(node))
    return found, handed


def _written(target: Any) -> list[Any]:
    """What an assignment reads to find the place that it writes to."""
    match target:
        case cst.Name():
            return []
        case cst.Attribute(value=owner):
            return [owner]
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            return [part for element in elements for part in _written(element.value)]
    return [target]
