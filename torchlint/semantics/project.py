"""The other files of the project: where an import leads, and what a name of another file is.

Another file is read when a name that is imported from it is looked up, and of it only the statements that bind that
name. What it defines then takes part as if it stood here: calls are followed into it, its classes are known by their
bodies. Only files of the project itself are read, never installed packages, and nothing is ever imported by Python.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst

from torchlint.facts import Choice, Frame, FunctionInfo, Imported, Unknown, Value
from torchlint.imports import KNOWN_ROOTS, absolute, below, find, is_file
from torchlint.imports import read as read_bytes
from torchlint.semantics.machine import Activation, Machine, choice
from torchlint.semantics.walk import Outline, outline
from torchlint.source import Source, SourceError

FILES_LIMIT = 40  # other files that are read for one file,
BYTES_LIMIT = 1_000_000  # and their bytes together
LARGEST = 300_000  # bytes of one of them: larger ones are data
KEPT = 2_000_000  # bytes of source whose trees are kept for the next file
# A file without one of these neither defines models nor does anything to them.
_SMALL = 5_000
_TELLING = (b"torch", b"backward", b"zero_grad", b"eval(", b"optim", b"nn.", b"step(")


@dataclass(slots=True, eq=False)
class Other:
    """Another file of the project, as far as it has been looked at."""

    source: Source
    activation: Activation  # its module level; names are bound in it when they are asked for
    bindings: dict[str, list[Any]]  # the statements that bind each name
    functions: list[FunctionInfo]


# ------------------------------------------------------------------------------------------------------- where it leads


def imported(m: Machine, dotted: str) -> Imported | None:
    """What an import of `dotted` (with its leading dots) in the file that is being followed leads to.

    None when it leads out of the project.
    """
    here = m.top.file
    if not here:
        return None
    place = find(here, dotted)
    if place is None or place[0] == here:
        return None
    file, names = place
    return Imported(name=dotted.lstrip("."), path=dotted, file=file, names=names)


# --------------------------------------------------------------------------------------------------------- what it is


def resolve(m: Machine, one: Imported) -> Value | None:
    """What an imported name is; None when that cannot be seen."""
    value: Value | None = one
    for at, name in enumerate(one.names):
        if not isinstance(value, Imported) and value is not None:
            return None  # an attribute of something: evaluated where it is taken
        file = value.file if isinstance(value, Imported) else one.file
        value = member(m, file, name)
        if value is None:
            return None
        if isinstance(value, Imported) and value.names:
            return None  # it leads in a circle, or nowhere
        if at < len(one.names) - 1 and not isinstance(value, Imported):
            return None
    return value


def member(m: Machine, file: str, name: str) -> Value | None:
    """`name` in a file or package folder: what the file binds, or a module of the package."""
    if not file.endswith(".py"):
        init = os.path.join(file, "__init__.py")
        if is_file(init):
            other = read(m, init)
            found = lookup(m, other, name) if other is not None else None
            if found is not None:
                return found
        inside = below(file, (name,))
        if inside is None or inside[1]:
            return None
        return Imported(name=name, path=name, file=inside[0])
    other = read(m, file)
    return lookup(m, other, name) if other is not None else None


def lookup(m: Machine, other: Other, name: str) -> Value | None:
    """What `name` holds at the module level of another file; None when it is bound nowhere in it."""
    names = other.activation.locals
    known = names.get(name)
    if known is None:
        known = _bind(m, other, name) if name in other.bindings else _through_star(m, other.activation, name)
    if isinstance(known, Imported):
        return m.imported_value(known)
    return known


def _bind(m: Machine, other: Other, name: str) -> Value:
    """Runs the statements that bind a name. Several give a choice: which of them counts is not decided here."""
    from torchlint.semantics.flow import run_statement

    names = other.activation.locals
    names[name] = Unknown(name=name, origin="global")  # while it is being found
    values: list[Value] = []
    with m.detached():
        m.active, m.statement, m.suite = other.activation, None, None
        for statement in other.bindings[name]:
            run_statement(m, statement)
            values.append(names[name])
    names[name] = value = choice(values)
    if not value.name and not isinstance(value, Choice):
        value.name = name
    return value


def missing(m: Machine, top: Activation, name: str) -> Value | None:
    """What a name is that a module level has not bound so far: bound on demand in another file, or through a `*`."""
    other = m.others.get(top.file)
    return lookup(m, other, name) if other is not None else _through_star(m, top, name)


def _through_star(m: Machine, top: Activation, name: str) -> Value | None:
    """What `from x import *` brings, where x is a file of the project."""
    if name.startswith("_") or m.unstarred.get((top.file, name)) == len(top.stars):
        return None
    for dotted in top.stars:
        place = find(top.file, dotted) if top.file else None
        if place is not None and not place[1] and place[0] != top.file:
            top.locals[name] = Unknown(name=name, origin="global")  # files may import each other
            found = member(m, place[0], name)
            del top.locals[name]
            if found is not None:
                top.locals[name] = found
                return found
    m.unstarred[top.file, name] = len(top.stars)  # many ways lead to the same files: each is searched once
    return None


def read(m: Machine, file: str) -> Other | None:
    """Another file, read once; None when it is none that could matter, or too much has been read already."""
    if file in m.others:
        return m.others[file]
    m.others[file] = None
    if len(m.others) > FILES_LIMIT or m.exhausted:
        return None
    source = _source(file)
    m.consulted[file] = source.data if source is not None else None
    if source is None or len(source.data) > LARGEST or not _tells(source.data):
        return None
    if sum(len(other.source.data) for other in m.others.values() if other is not None) > BYTES_LIMIT:
        return None
    try:
        known = _outlined(source)
    except SourceError:
        return None  # said when that file itself is checked
    found = known.outline.copied(file)
    other = Other(
        source, Activation(frame=Frame(None), info=None, file=file), known.bindings, [*found.functions.values()]
    )
    other.activation.stars.extend(known.stars)
    m.others[file] = other
    m.functions.update(found.functions)
    m.classes.update(found.classes)
    m.outline.shared |= found.shared
    m.outline.changing |= found.changing
    m.relevant |= {found.functions[id(info.node)] for info in known.relevant}
    return other


def _tells(data: bytes) -> bool:
    """Whether a file can matter: it names what models are made of, or is small enough to pass on what others define."""
    return len(data) < _SMALL or any(word in data for word in _TELLING)


@dataclass(slots=True, eq=False)
class _Known:
    """What can be said of a file whoever asks."""

    outline: Outline
    bindings: dict[str, list[Any]]
    stars: list[str]
    relevant: frozenset[FunctionInfo]


_sources: OrderedDict[str, Source] = OrderedDict()


def _outlined(source: Source) -> _Known:
    """Raises SourceError where the file cannot be parsed."""
    known: _Known | None = source.outlined
    if known is None:
        from torchlint.semantics.build import relevant

        body = source.tree.body
        found = outline(source.tree)
        acting = relevant(found.functions, found.classes, names_of(body), abroad=True)
        known = source.outlined = _Known(found, _bindings(body), list(_stars(body)), acting)
    return known


def reuse(source: Source) -> None:
    """Takes the tree of a file that is about to be checked over from a neighbour that has had it parsed.

    It is the file's own from here on: whoever comes back to the file from another one has a tree of his own.
    """
    known = _sources.get(absolute(source.filename))
    if known is not None and known is not source and known.data == source.data:
        del _sources[absolute(source.filename)]
        source.take_over(known)


def remember(source: Source) -> None:
    """Keeps the tree of a file that has just been checked: its neighbours will ask for it."""
    file = absolute(source.filename)
    _sources[file] = source
    _sources.move_to_end(file)
    kept = sum(len(one.data) for one in _sources.values())
    while kept > KEPT and len(_sources) > 1:
        _, dropped = _sources.popitem(last=False)
        kept -= len(dropped.data)


def forget() -> None:
    """Drops the trees that are kept."""
    _sources.clear()


def _source(file: str) -> Source | None:
    data = read_bytes(file)
    if data is None:
        return None
    known = _sources.get(file)
    if known is not None and known.data == data:
        _sources.move_to_end(file)
        return known
    source = Source(file, data)
    remember(source)
    return source


# ------------------------------------------------------------------------------------------------- what a file binds


def names_of(body: Iterable[Any]) -> list[str]:
    """The names that a module body imports, but for those of packages that are known better than by their code."""
    found: list[str] = []
    for statement in _flat(body):
        match statement:
            case cst.ImportFrom(module=module, relative=relative):
                root: Any = module
                while isinstance(root, cst.Attribute):
                    root = root.value
                if not relative and isinstance(root, cst.Name) and root.value in KNOWN_ROOTS:
                    continue
                found.extend(_names(statement))
            case cst.Import():
                found.extend(name for name in _names(statement) if name not in KNOWN_ROOTS)
    return found


def _bindings(body: Iterable[Any]) -> dict[str, list[Any]]:
    """The statements of a module body that bind names, also those under `if` and `try`."""
    found: dict[str, list[Any]] = {}
    for statement in _flat(body):
        for name in _names(statement):
            found.setdefault(name, []).append(statement)
    return found


def _stars(body: Iterable[Any]) -> Iterator[str]:
    for statement in _flat(body):
        if isinstance(statement, cst.ImportFrom) and isinstance(statement.names, cst.ImportStar):
            from torchlint.semantics.flow import dotted_name

            yield "." * len(statement.relative) + (dotted_name(statement.module) if statement.module else "")


def _flat(body: Iterable[Any]) -> Iterator[Any]:
    """The simple statements, functions and classes that run when a module is imported, loops left out."""
    for statement in body:
        match statement:
            case cst.SimpleStatementLine(body=small):
                yield from small
            case cst.FunctionDef() | cst.ClassDef():
                yield statement
            case cst.If(test=cst.Comparison(left=cst.Name(value="__name__"))):
                continue
            case cst.If(body=inner, orelse=orelse):
                yield from _flat(inner.body)
                if orelse is not None:
                    yield from _flat([orelse] if isinstance(orelse, cst.If) else orelse.body.body)
            case cst.Try(body=inner, handlers=handlers, orelse=orelse):
                yield from _flat(inner.body)
                for handler in handlers:
                    yield from _flat(handler.body.body)
                if orelse is not None:
                    yield from _flat(orelse.body.body)
            case cst.With(body=inner):
                yield from _flat(inner.body)


def _names(statement: Any) -> Iterator[str]:
    match statement:
        case cst.FunctionDef(name=name) | cst.ClassDef(name=name):
            yield name.value
        case cst.Assign(targets=targets):
            for target in targets:
                yield from _targets(target.target)
        case cst.AnnAssign(target=target, value=value) if value is not None:
            yield from _targets(target)
        case cst.Import(names=names) | cst.ImportFrom(names=[*names]) | cst.ImportFrom(names=(*names,)):
            for alias in names:
                if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
                    yield alias.asname.name.value
                else:
                    node: Any = alias.name
                    while isinstance(node, cst.Attribute):
                        node = node.value
                    yield node.value


def _targets(target: Any) -> Iterator[str]:
    match target:
        case cst.Name(value=name):
            yield name
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for element in elements:
                yield from _targets(element.value)
