"""How a module is built: whether it computes differently in training mode."""

from __future__ import annotations

import builtins
from typing import Any

import libcst as cst

from torchlint.facts import Api, Class, ClassInfo, Derives, Function, FunctionInfo, Literal, Module, Value, only
from torchlint.semantics import frameworks, vocabulary
from torchlint.semantics.functions import dotted
from torchlint.semantics.machine import Machine
from torchlint.semantics.walk import children


def depends_on_mode(m: Machine, value: Value) -> bool | None:
    """True when dropout or batch normalisation is certainly in it, False when certainly not, None when unknown."""
    found: bool | None = False
    for one in value.options():
        if not isinstance(one, Module):
            return None
        known = _module(m, one, set())
        if known is None:
            return None
        found = found or known
    return found


def _module(m: Machine, module: Module, seen: set[int]) -> bool | None:
    if id(module) in seen:
        return False
    seen.add(id(module))
    if module.cls is not None:
        known = _class(m, module.cls, seen, _constants_given(module.cls, module))
        if known is True:
            return True
        parts = [known, *(_module(m, part, seen) for p in module.inner if isinstance(part := only(p), Module))]
        return True if True in parts else None if None in parts else False
    if not module.api:
        return None
    if module.api.startswith("torchvision.models."):
        return True
    if not vocabulary.is_module_api(module.api):
        return None
    if module.api in vocabulary.CONTAINERS:
        unknown = False
        for child in module.inner:
            one = only(child)
            known = _module(m, one, seen) if isinstance(one, Module) else None
            if known:
                return True
            unknown = unknown or known is None
        opaque = any(not isinstance(only(a), (Module, Literal)) for a in [*module.arguments, *module.keywords.values()])
        return None if unknown or (opaque and not module.inner) else False
    given = module.keywords.get("dropout", module.keywords.get("p"))
    if given is None and module.api.rsplit(".", 1)[1].startswith(("Dropout", "AlphaDropout")) and module.arguments:
        given = module.arguments[0]
    one = only(given) if given is not None else None
    return vocabulary.mode_dependent(
        module.api, one.value if isinstance(one, Literal) else (None if given is None else Ellipsis)
    )


def _class(m: Machine, cls: ClassInfo, seen: set[int], given: dict[str, object]) -> bool | None:
    """Whether a class builds something that depends on the mode; `given` are its constructor's constants."""
    made = hash((id(cls), tuple((name, repr(value)) for name, value in sorted(given.items()))))
    if made in seen:
        return False
    seen.add(made)
    unknown = False
    for one in cls.lineage():
        if isinstance(one, str):
            if one not in ("torch.nn.Module", "object", "abc.ABC") and not vocabulary.is_module_api(one):
                unknown = True
            continue
        with m.at_home(one):
            known = _scan(m, one.node.body, seen, given)
        if known:
            return True
        unknown = unknown or known is None
    return None if unknown else False


def _constants_given(cls: ClassInfo, module: Module | None) -> dict[str, object]:
    """The constants that the constructor's parameters have: by default, and as this module was made."""
    init = cls.method("__init__")
    if init is None:
        return {}
    params: cst.Parameters = init.node.params
    named = [*params.posonly_params, *params.params, *params.kwonly_params]
    found: dict[str, object] = {p.name.value: _constant(p.default, {}) for p in named if p.default is not None}
    if module is not None and any(keyword.startswith("*") for keyword in module.keywords):
        return dict.fromkeys((p.name.value for p in named), Ellipsis)
    if module is not None:
        for name, value in [
            *zip((p.name.value for p in named[1:]), module.arguments, strict=False),
            *module.keywords.items(),
        ]:
            one = only(value)
            found[name] = one.value if isinstance(one, Literal) else Ellipsis
    return found


def _constants_passed(cls: ClassInfo, node: cst.Call, given: dict[str, object]) -> dict[str, object]:
    """What a call passes to the constructor, where the caller's own constants are `given`."""
    init = cls.method("__init__")
    names = [p.name.value for p in init.node.params.params[1:]] if init is not None else []
    found: dict[str, object] = {}
    for position, argument in enumerate(node.args):
        if argument.star:
            found.update(dict.fromkeys(names, Ellipsis))
        elif argument.keyword is not None:
            found[argument.keyword.value] = _constant(argument.value, given)
        elif position < len(names):
            found[names[position]] = _constant(argument.value, given)
    return found


def _called(m: Machine, node: cst.Call, seen: set[int], given: dict[str, object]) -> bool | None:
    """Whether a call in a module's class builds or applies something that depends on the mode."""
    match node.func:
        case cst.Name(value=name):
            found = m.lookup(name)
            one = only(found) if found is not None else None
            if isinstance(one, Class) and one.info is not None:
                if one.info.module is not Derives.YES:
                    return False
                inner = _constants_given(one.info, None)
                inner.update(_constants_passed(one.info, node, given))
                return _class(m, one.info, seen, inner)
            if isinstance(one, Api):
                return _api(one.path, node, given)
            if isinstance(one, Function) and one.info is not None:
                return _helper(m, one.info, seen)
            return False if found is None and name in _BUILTINS else None
        case cst.Attribute():
            path = dotted(m, node.func)
            return _api(path, node, given) if path.partition(".")[0] not in _OWN else False
    return False


_BUILTINS = frozenset(dir(builtins))
_OWN = frozenset({"", "self", "super"})


def _helper(m: Machine, info: FunctionInfo, seen: set[int]) -> bool | None:
    """Whether a function of the file builds or applies something that depends on the mode."""
    if id(info) in seen:
        return False
    seen.add(id(info))
    with m.at_home(info):
        return _scan(m, info.node.body, seen, dict.fromkeys(info.parameters, Ellipsis))


def _scan(m: Machine, body: Any, seen: set[int], given: dict[str, object]) -> bool | None:
    unknown = False
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, cst.Call):
            known = _called(m, node, seen, given)
            if known:
                return True
            unknown = unknown or known is None
        stack.extend(children(node))
    return None if unknown else False


def _api(path: str, node: cst.Call, given: dict[str, object]) -> bool | None:
    path = vocabulary.canonical(path)
    last = path.rsplit(".", 1)[-1]
    if path.startswith("torchvision.models.") and "transforms" not in path:
        return True
    if vocabulary.is_module_api(path):
        constant: object = None
        for position, argument in enumerate(node.args):
            if argument.star:
                constant = Ellipsis
            elif (argument.keyword is not None and argument.keyword.value in ("dropout", "p")) or (
                argument.keyword is None and position == 0 and "Dropout" in last
            ):
                constant = _constant(argument.value, given)
        return vocabulary.mode_dependent(path, constant)
    if path.startswith("torch.nn.functional.") and "dropout" in last:
        return True
    if path.startswith("torch."):
        return False
    return None if last[:1].isupper() else False


def _constant(node: Any, given: dict[str, object]) -> object:
    match node:
        case cst.Name(value=name) if name in given:
            return given[name]
        case cst.Attribute(attr=cst.Name(value=name)) if name in given:
            return given[name]
        case cst.Float(value=value) | cst.Integer(value=value):
            return float(value.replace("_", "")) if value[:2].lower() not in ("0x", "0b", "0o") else Ellipsis
    return Ellipsis


def has_parameters(m: Machine, value: Value) -> bool:
    """True when every alternative of `value` is a module that certainly holds parameters."""
    return all(isinstance(o, Module) and _has_parameters(m, o, 0) for o in value.options())


def _has_parameters(m: Machine, module: Module, depth: int) -> bool:
    if depth > 4:
        return False
    if module.cls is not None:
        seen: set[ClassInfo | FunctionInfo] = set()
        found = _builds_parameters(m, module.cls, seen)
        if not found:
            m.barren |= seen  # all that it leads to has been looked at
        return found
    if module.api in vocabulary.CONTAINERS:
        return any(
            isinstance(o, Module) and _has_parameters(m, o, depth + 1) for i in module.inner for o in i.options()
        )
    return (
        module.api.startswith("torchvision.models.")
        or frameworks.makes_module(module.api)
        or (vocabulary.is_module_api(module.api) and vocabulary.has_parameters(module.api))
    )


def _builds_parameters(m: Machine, cls: ClassInfo, seen: set[ClassInfo | FunctionInfo]) -> bool:
    return any(_makes_parameters(m, one, seen) for one in cls.lineage() if not isinstance(one, str))


def _makes_parameters(m: Machine, one: ClassInfo | FunctionInfo, seen: set[ClassInfo | FunctionInfo]) -> bool:
    """Whether something with parameters is made in a class or function."""
    if one in seen or one in m.barren:
        return False
    if one in m.makers:
        return True
    seen.add(one)
    with m.at_home(one):
        found = _calls_maker(m, one.node.body, seen)
    if found:
        m.makers.add(one)
    return found


def _calls_maker(m: Machine, body: Any, seen: set[ClassInfo | FunctionInfo]) -> bool:
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, cst.Call):
            path = vocabulary.canonical(dotted(m, node.func))
            if path == "torch.nn.Parameter" or path.startswith("torchvision.models."):
                return True
            if vocabulary.is_module_api(path) and path not in vocabulary.CONTAINERS and vocabulary.has_parameters(path):
                return True
            found = m.lookup(path)
            match only(found) if found is not None else None:
                case Class(info=info) if info is not None and _builds_parameters(m, info, seen):
                    return True
                case Function(info=info) if info is not None and _makes_parameters(m, info, seen):
                    return True
        stack.extend(children(node))
    return False
