"""One walk over the tree: which functions and classes a file has, and which words each of them uses.

The walk keeps a table of the fields worth visiting per node class (whitespace, commas and parentheses are not) and its
own stack; it costs a tenth of the parse. What it finds decides which functions are worth following at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

import libcst as cst

from torchlint.facts import ClassInfo, FunctionInfo, Site
from torchlint.semantics.vocabulary import CASTS, MOVES, PURE_METHODS

_SKIPPED = frozenset(
    """
    leading_lines lines_after_decorators header footer semicolon comma equal dot colon lbracket rbracket lbrace
    rbrace __slots__ relative lpar rpar newline indent trailing_whitespace async asynchronous star operator
    posonly_ind star_etc first_colon second_colon annotation_whitespace encoding default_indent default_newline
    has_trailing_newline type_parameters quotation start raw evaluated_name arrow
    """.split()
)
_KEPT = {
    cst.UnaryOperation: ("expression",),
    cst.Match: ("subject", "cases"),
    cst.MatchCase: ("guard", "body", "pattern"),
}

_SEQUENCES = frozenset({list, tuple})
_getters: dict[type, tuple[tuple[str, ...], Callable[[Any], Any] | None]] = {}


def children(node: Any) -> list[Any]:
    """The child nodes of `node` that carry meaning, in source order."""
    entry = _getters.get(type(node)) or _getter(type(node))
    names, getter = entry
    if getter is None:
        return []
    found: list[Any] = []
    for value in getter(node) if len(names) > 1 else (getter(node),):
        if value is None:
            continue
        kind = type(value)
        if kind is list or kind is tuple:
            found.extend(value)
        elif _is_node(kind):
            found.append(value)
    return found


_nodes: dict[type, bool] = {}


def _is_node(kind: type) -> bool:
    known = _nodes.get(kind)
    if known is None:  # an abstract class answers slowly: ask once per class
        known = _nodes[kind] = issubclass(kind, cst.CSTNode)
    return known


def _getter(kind: type) -> tuple[tuple[str, ...], Callable[[Any], Any] | None]:
    if not issubclass(kind, cst.CSTNode) or issubclass(
        kind, (cst.BaseParenthesizableWhitespace, cst.Comment, cst.Newline)
    ):
        names: tuple[str, ...] = ()
    elif kind in _KEPT:
        names = _KEPT[kind]
    elif issubclass(kind, (cst.Name, cst.BaseNumber, cst.SimpleString, cst.Pass, cst.Break, cst.Continue)):
        names = ()
    else:
        assert hasattr(kind, "__dataclass_fields__")
        names = tuple(f.name for f in fields(kind) if f.name not in _SKIPPED and not f.name.startswith("whitespace"))
    entry = (names, attrgetter(*names) if names else None)
    _getters[kind] = entry
    return entry


SOFTMAXES = frozenset({"softmax", "log_softmax", "softmin", "Softmax", "LogSoftmax", "Softmin"})
_COPYING = MOVES | CASTS | PURE_METHODS | {"detach", "clone", "requires_grad_"}


@dataclass(slots=True, eq=False)
class Outline:
    """What the walk found. Functions and classes are keyed by the id of their node, which the tree keeps alive."""

    functions: dict[int, FunctionInfo] = field(default_factory=dict)
    classes: dict[int, ClassInfo] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    top: frozenset[str] = frozenset()  # words of the module body alone
    strings: frozenset[str] = frozenset()
    changing: set[str] = field(default_factory=set)  # attributes that are bound outside of constructors, or augmented
    shared: set[str] = field(default_factory=set)  # names that are declared global or nonlocal
    softmaxes: list[tuple[Any, FunctionInfo | ClassInfo | None]] = field(default_factory=list)  # calls without `dim`

    def copied(self, file: str) -> Outline:
        """The same once more, for who follows another file from here on: infos carry what that one finds out."""
        classes = {key: replace(cls, methods={}, bases=[], file=file) for key, cls in self.classes.items()}
        functions = {key: replace(info, file=file) for key, info in self.functions.items()}
        for info in functions.values():
            if info.owner is not None:
                info.owner = classes[id(info.owner.node)]
            if info.outer is not None:
                info.outer = functions[id(info.outer.node)]
        for key, cls in self.classes.items():
            classes[key].methods = {name: functions[id(method.node)] for name, method in cls.methods.items()}
        return replace(self, functions=functions, classes=classes)


@dataclass(slots=True, eq=False)
class _Scope:
    body: list[Any]
    info: FunctionInfo | ClassInfo | None
    parent: _Scope | None
    words: set[str] = field(default_factory=set)


def outline(tree: cst.Module) -> Outline:
    """Tree -> its functions, classes and words."""
    found = Outline()
    scopes = [_Scope(list(tree.body), None, None)]
    name_type, attribute_type = cst.Name, cst.Attribute
    function_type, class_type = cst.FunctionDef, cst.ClassDef
    getters = _getters
    for scope in scopes:  # grows while it runs
        words = scope.words
        stack = scope.body
        while stack:
            node = stack.pop()
            kind = type(node)
            if kind is name_type:
                words.add(node.value)
                continue
            if kind is attribute_type:
                words.add(node.attr.value)
                stack.append(node.value)
                continue
            if kind is cst.Expr and isinstance(scope.info, FunctionInfo):
                value = node.value
                for one in (e.value for e in value.elements) if type(value) is cst.Tuple else (value,):
                    if type(one) is cst.Call and type(one.func) is attribute_type:
                        scope.info.discards |= one.func.attr.value in _COPYING
                    elif type(one) is attribute_type:
                        scope.info.discards |= one.attr.value[-1] == "_"
            if kind is cst.Assign:
                if isinstance(scope.info, FunctionInfo) and scope.info.parameters:
                    for target in node.targets:
                        _sets(target.target, node.value, scope.info)
                if not (isinstance(scope.info, FunctionInfo) and scope.info.name == "__init__"):
                    for target in node.targets:
                        _changing(target.target, found.changing)
            elif kind is cst.AugAssign:
                _changing(node.target, found.changing)
            elif kind is cst.AnnAssign:
                if node.value is not None and isinstance(scope.info, FunctionInfo) and scope.info.parameters:
                    _sets(node.target, node.value, scope.info)
            elif kind is cst.Call:
                name = node.func.attr if type(node.func) is attribute_type else node.func
                if type(name) is name_type and name.value in SOFTMAXES and _without_dimension(node, name.value):
                    found.softmaxes.append((node, scope.info))
            elif kind is cst.Global or kind is cst.Nonlocal:
                found.shared.update(item.name.value for item in node.names)
            if kind is function_type:
                scopes.append(_function(node, scope, found, stack))
                continue
            if kind is class_type:
                scopes.append(_class(node, scope, found, stack))
                continue
            entry = getters.get(kind)
            if entry is None:
                entry = _getter(kind)
            names, getter = entry
            if getter is None:
                continue
            if len(names) == 1:
                value = getter(node)
                if value is None:
                    continue
                if type(value) in _SEQUENCES:
                    stack.extend(value)
                else:
                    stack.append(value)
                continue
            for value in getter(node):
                if value is None:
                    continue
                if type(value) in _SEQUENCES:
                    stack.extend(value)
                else:
                    stack.append(value)
    found.top = frozenset(scopes[0].words)
    for scope in reversed(scopes):  # inner ones first: what is nested counts for what is around it
        if scope.info is not None:
            scope.info.words = frozenset(scope.words)
        if scope.parent is not None:
            scope.parent.words |= scope.words
    found.words = frozenset(scopes[0].words)
    return found


def _without_dimension(node: cst.Call, name: str) -> bool:
    """True for a softmax that is not told its dimension, as far as the call shows all that it is given."""
    if any(a.star or (a.keyword is not None and a.keyword.value == "dim") for a in node.args):
        return False
    given = sum(a.keyword is None for a in node.args)
    return not given if name[0].isupper() else given == 1 or (not given and len(node.args) > 0)


def _function(node: cst.FunctionDef, scope: _Scope, found: Outline, stack: list[Any]) -> _Scope:
    params = node.params
    named = [*params.posonly_params, *params.params, *params.kwonly_params]
    info = FunctionInfo(
        name=node.name.value,
        site=Site(node, node, None),
        owner=scope.info if isinstance(scope.info, ClassInfo) else None,
        parameters=tuple(p.name.value for p in named),
        required=tuple(p.name.value for p in named if p.default is None),
        decorators=frozenset().union(*map(words_of, node.decorators)) if node.decorators else frozenset(),
        node=node,
        outer=scope.info if isinstance(scope.info, FunctionInfo) else None,
        head=Site(node.name, node, None),
    )
    found.functions[id(node)] = info
    if info.owner is not None:
        previous = info.owner.methods.get(info.name)
        if previous is None or not _is_setter(node):
            info.owner.methods[info.name] = info
    stack.extend(node.decorators)
    stack.extend(p.default for p in named if p.default is not None)
    stack.extend(p.annotation for p in named if p.annotation is not None)
    scope.words.add(info.name)
    return _Scope(_statements(node.body), info, scope)


def _is_setter(node: cst.FunctionDef) -> bool:
    return any(
        isinstance(d.decorator, cst.Attribute) and d.decorator.attr.value in ("setter", "deleter")
        for d in node.decorators
    )


def _class(node: cst.ClassDef, scope: _Scope, found: Outline, stack: list[Any]) -> _Scope:
    info = ClassInfo(
        name=node.name.value,
        site=Site(node, node, None),
        node=node,
        decorated=bool(node.decorators),
        head=Site(node.name, node, None),
        has_metaclass=any(a.keyword is not None and a.keyword.value == "metaclass" for a in node.keywords),
    )
    found.classes[id(node)] = info
    stack.extend(node.decorators)
    stack.extend(node.bases)
    stack.extend(node.keywords)
    scope.words.add(info.name)
    return _Scope(_statements(node.body), info, scope)


def _changing(target: Any, names: set[str]) -> None:
    match target:
        case cst.Attribute(attr=attr):
            names.add(attr.value)
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for element in elements:
                _changing(element.value, names)


def _sets(target: Any, value: Any, info: FunctionInfo) -> None:
    """Notes which attributes of a method's object an assignment sets, and to what."""
    match target:
        case cst.Attribute(value=cst.Name(value=name), attr=attr) if name == info.parameters[0]:
            info.sets.append((attr.value, value))
        case cst.Tuple(elements=elements):
            sources = value.elements if isinstance(value, cst.Tuple) and len(value.elements) == len(elements) else None
            for index, element in enumerate(elements):
                if sources is not None:
                    _sets(element.value, sources[index].value, info)


def _statements(block: cst.BaseSuite) -> list[Any]:
    return list(block.body)


def assigned_names(node: cst.CSTNode) -> frozenset[str]:
    """The plain names that statements below `node` bind; nested functions and `:=` left out."""
    names: set[str] = set()
    stack: list[Any] = [node]
    while stack:
        one = stack.pop()
        match one:
            case (
                cst.SimpleStatementLine(body=body) | cst.SimpleStatementSuite(body=body) | cst.IndentedBlock(body=body)
            ):
                stack.extend(body)
            case cst.Assign(targets=targets):
                for target in targets:
                    _bound(target.target, names)
            case cst.AugAssign(target=target):
                _bound(target, names)
            case cst.AnnAssign(target=target, value=value):
                if value is not None:
                    _bound(target, names)
            case cst.For(target=target, body=body, orelse=orelse):
                _bound(target, names)
                stack.append(body)
                if orelse is not None:
                    stack.append(orelse)
            case cst.If(body=body, orelse=orelse) | cst.While(body=body, orelse=orelse):
                stack.append(body)
                if orelse is not None:
                    stack.append(orelse)
            case cst.With(items=items, body=body):
                stack.append(body)
                for item in items:
                    if item.asname is not None:
                        _bound(item.asname.name, names)
            case (
                cst.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody)
                | cst.TryStar(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody)
            ):
                stack.append(body)
                stack.extend(h.body for h in handlers)
                stack.extend(part for part in (orelse, finalbody) if part is not None)
            case cst.Else(body=body) | cst.Finally(body=body) | cst.MatchCase(body=body):
                stack.append(body)
            case cst.Match(cases=cases):
                stack.extend(cases)
            case cst.FunctionDef(name=name) | cst.ClassDef(name=name):
                names.add(name.value)
            case cst.CompFor(target=target):
                _bound(target, names)
    return frozenset(names)


def _bound(target: Any, names: set[str]) -> None:
    match target:
        case cst.Name(value=name):
            names.add(name)
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for element in elements:
                _bound(element.value, names)
        case cst.StarredElement(value=value):
            _bound(value, names)


def words_of(node: cst.CSTNode) -> frozenset[str]:
    """Every identifier below `node`."""
    words: set[str] = set()
    stack: list[Any] = [node]
    while stack:
        one = stack.pop()
        if type(one) is cst.Name:
            words.add(one.value)
        stack.extend(children(one))
    return frozenset(words)


def uses_of(node: cst.CSTNode) -> dict[str, set[str]]:
    """How each plain name below `node` is used: the attributes taken from it, and signs.

    "()" when it is called, "[]" when it is indexed, "[,]" when in several dimensions.
    """
    found: dict[str, set[str]] = {}
    stack: list[Any] = [node]
    while stack:
        one = stack.pop()
        kind = type(one)
        if kind is cst.Attribute:
            if type(one.value) is cst.Name:
                found.setdefault(one.value.value, set()).add(one.attr.value)
            else:
                stack.append(one.value)
            continue
        if kind is cst.Name:
            continue
        if kind is cst.Call and type(one.func) is cst.Name:
            found.setdefault(one.func.value, set()).add("()")
        elif kind is cst.Subscript and type(one.value) is cst.Name:
            found.setdefault(one.value.value, set()).add("[]" if len(one.slice) == 1 else "[,]")
        stack.extend(children(one))
    return found
