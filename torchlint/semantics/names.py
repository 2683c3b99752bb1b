"""What the classes of a file derive from."""

from __future__ import annotations

import builtins
from typing import Any

import libcst as cst

from torchlint.facts import Api, Class, ClassInfo, Derives, only
from torchlint.semantics import vocabulary
from torchlint.semantics.machine import Machine

_PLAIN_BASES = frozenset(
    {
        "object",
        "abc.ABC",
        "typing.Generic",
        "typing.Protocol",
        "Exception",
        "enum.Enum",
        "typing.NamedTuple",
        "dict",
        "list",
    }
)
_BUILTIN_CLASSES = frozenset(name for name, value in vars(builtins).items() if isinstance(value, type))
_PLAIN_ROOTS = frozenset(
    {
        "builtins",
        "typing",
        "abc",
        "enum",
        "collections",
        "threading",
        "unittest",
        "dataclasses",
        "numpy",
        "logging",
        "argparse",
        "json",
    }
)


def resolve_bases(m: Machine, info: ClassInfo) -> None:
    """Fills in the bases of a class and whether it is a torch module."""
    if info.bases or info.module is not Derives.UNKNOWN or info.node is None:
        return
    for argument in info.node.bases:
        info.bases.append(_base(m, argument.value, info))
    info.module = _derives(info)


def _base(m: Machine, node: Any, info: ClassInfo) -> ClassInfo | str:
    match node:
        case cst.Subscript(value=value):  # Generic[T]
            return _base(m, value, info)
        case cst.Name(value=name):
            found = m.lookup(name)
            for one in found.options() if found is not None else ():
                if isinstance(one, Class) and one.info is not None and one.info is not info:
                    return one.info
                if isinstance(one, Api):
                    return one.path
            if found is None and name in _BUILTIN_CLASSES:
                return name if name in _PLAIN_BASES else f"builtins.{name}"
            if found is None and any(s in ("torch.nn", "torch.nn.modules") for s in m.top.stars):
                path = f"torch.nn.{name}"
                return path if name == "Module" or vocabulary.is_module_api(path) else name
            return name if found is None else f"?.{name}"
        case cst.Attribute():
            from torchlint.semantics.expressions import ev
            from torchlint.semantics.functions import dotted

            known = only(ev(m, node))
            if isinstance(known, Class) and known.info is not None and known.info is not info:
                return known.info
            return dotted(m, node) or "?"
    return "?"


def _derives(info: ClassInfo) -> Derives:
    unknown = False
    for base in info.lineage()[1:]:
        if isinstance(base, ClassInfo):
            continue
        base = vocabulary.canonical(base)
        if base in vocabulary.MODULE_BASES or vocabulary.is_module_api(base):
            return Derives.YES
        root = base.partition(".")[0]
        if (
            base not in _PLAIN_BASES
            and root not in _PLAIN_ROOTS
            and not base.startswith(("torch.utils.data.", "torch.optim.", "torch.autograd."))
        ):
            unknown = True
    return Derives.UNKNOWN if unknown else Derives.NO
