"""Functions and objects of the file itself: following a call into its body, building objects, finding attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libcst as cst

from torchlint.facts import (
    Api,
    Class,
    ClassInfo,
    Collection,
    Derives,
    Device,
    Engine,
    Evidence,
    Frame,
    Function,
    FunctionInfo,
    Grad,
    GradContext,
    Instance,
    Loader,
    Mapping,
    Module,
    Optimizer,
    Tensor,
    Unknown,
    Value,
    ZeroGrad,
    only,
)
from torchlint.semantics import frameworks, vocabulary
from torchlint.semantics.machine import (
    DEPTH_LIMIT,
    Activation,
    Machine,
    choice,
    graphs_of,
    join_heaps,
    matters,
    unique,
)
from torchlint.semantics.walk import assigned_names, uses_of


@dataclass(slots=True, frozen=True)
class Decoration:
    """What a function's decorators say."""

    grad: Grad | None = None
    is_property: bool = False
    is_static: bool = False
    is_class: bool = False
    is_context: bool = False
    opaque: bool = False  # one of them is unknown: it may do anything before and after


def decoration(m: Machine, info: FunctionInfo) -> Decoration:
    """The decorators of a function, each read once."""
    known = m.decorations.get(info)
    if known is None:
        known = m.decorations[info] = _read_decorators(m, info)
    return known


# What a decorator of the file has in it that changes how what it wraps is run.
_SWITCHING = frozenset(
    {"no_grad", "inference_mode", "set_grad_enabled", "enable_grad", "eval", "train", "zero_grad", "backward"}
)


def _read_decorators(m: Machine, info: FunctionInfo) -> Decoration:
    if not isinstance(info.node, cst.FunctionDef) or not info.node.decorators:
        return Decoration()
    grad: Grad | None = None
    flags = {"property": False, "static": False, "class": False, "context": False, "opaque": False}
    for decorator in info.node.decorators:
        path = dotted(m, decorator.decorator)
        last = path.rsplit(".", 1)[-1]
        if path in vocabulary.NO_GRAD:
            arguments = decorator.decorator.args if isinstance(decorator.decorator, cst.Call) else ()
            grad = Grad.OFF if not arguments else _first_constant(arguments)
        elif path in vocabulary.ENABLE_GRAD:
            grad = Grad.ON
        elif isinstance(known := only(_named(m, decorator.decorator)), GradContext):
            grad = known.mode or Grad.UNKNOWN
        elif path in vocabulary.SET_GRAD:
            grad = Grad.UNKNOWN
        elif last in ("cache", "lru_cache"):
            info.remembers = True
        elif last in ("property", "cached_property"):
            flags["property"] = True
        elif last == "staticmethod":
            flags["static"] = True
        elif last == "classmethod":
            flags["class"] = True
        elif last in ("contextmanager", "asynccontextmanager"):
            flags["context"] = True
        elif isinstance(known, Function) and known.info is not None and not known.info.words & _SWITCHING:
            continue
        elif path.removeprefix("builtins.") not in vocabulary.PLAIN_DECORATORS and not vocabulary.harmless(path):
            flags["opaque"] = True
            if any(word in last.lower() for word in vocabulary.PROJECT_NO_GRAD_WORDS):
                grad = Grad.UNKNOWN
    return Decoration(grad, flags["property"], flags["static"], flags["class"], flags["context"], flags["opaque"])


def _named(m: Machine, node: Any) -> Value | None:
    return m.lookup(node.value) if isinstance(node, cst.Name) else None


def _first_constant(arguments: Any) -> Grad:
    match arguments[0].value:
        case cst.Name(value="True"):
            return Grad.OFF
        case cst.Name(value="False"):
            return Grad.DEFAULT
    return Grad.UNKNOWN


def dotted(m: Machine, node: Any) -> str:
    """The dotted name an expression spells, resolved through imports; a call counts as what it calls; "" when none."""
    match node:
        case cst.Call(func=func):
            return dotted(m, func)
        case cst.Attribute(value=value, attr=attr):
            base = dotted(m, value)
            return vocabulary.canonical(f"{base}.{attr.value}") if base else ""
        case cst.Name(value=name):
            found = m.lookup(name)
            for one in found.options() if found is not None else ():
                if isinstance(one, Api):
                    return one.path
            if found is None and m.top.stars:
                return f"{m.top.stars[-1]}.{name}"
            return name
    return ""


# ---------------------------------------------------------------------------------------------------- following calls


def enter(
    m: Machine, function: Function, arguments: list[Value], keywords: dict[str, Value], node: Any, starred: bool = False
) -> Value:
    """Follows a call into a function of the file and gives what it returns."""
    info = function.info
    assert info is not None
    given = [*arguments, *keywords.values()]
    if function.receiver is not None and not decoration(m, info).is_static:
        arguments = [function.receiver, *arguments]
        given.append(function.receiver)
    # Another file's function is followed for what it does; where only its value is asked for, whatever it does.
    acting = info in m.relevant or bool(m.quiet) or not isinstance(info.node, cst.FunctionDef)
    if info.file and (m.far or not acting):
        if given and any(word in info.name.lower() for word in vocabulary.ZERO_GRAD_WORDS):
            m.emit(ZeroGrad(*m.at(node), target=given[0]))
        m.unknown_call(node, info.name, [*given, *m.free_values(function)])
        return Unknown(origin="call", graph=graphs_of(given), holds=any(matters(a) for a in given))
    if info not in m.relevant and isinstance(info.node, cst.FunctionDef) and not _acts(m, function, given):
        return Unknown(origin="call", graph=graphs_of(given))
    recursive = any(frame.function is info for frame in m.active.frame.stack())
    if m.active.frame.depth >= DEPTH_LIMIT or recursive or m.exhausted:
        m.unknown_call(node, info.name, [*given, *m.free_values(function)])
        return Unknown(origin="call", holds=any(matters(a) for a in given))
    if not m.quiet:
        m.entered.add(info)
    if function.receiver is not None and _abstract(info):  # what runs is a subclass's, out of sight
        m.unknown_call(node, info.name, given)
        return Unknown(site=m.site(node), origin="call", graph=graphs_of(given), holds=True)
    look = decoration(m, info)
    if look.opaque or starred:  # what is given may be more than can be seen, and go to any parameter
        m.unknown_call(node, info.name, given)
    activation = Activation(
        frame=Frame(info, m.site(node), m.active.frame, m.active.frame.depth + 1, m.active.left),
        info=info,
        outer=m.closures.get(function) or m.home(info),
        owner=info.owner,
    )
    with m.abroad_in(info):
        return run(m, activation, lambda: bind(m, activation, arguments, keywords, starred), look)


def _abstract(info: FunctionInfo) -> bool:
    """True for a method that does nothing but `raise NotImplementedError`."""
    body = list(info.node.body.body) if isinstance(info.node, cst.FunctionDef) else []
    last = body[-1] if body and len(body) <= 2 else None
    match last.body[0] if isinstance(last, cst.SimpleStatementLine) else None:
        case cst.Raise(exc=cst.Name(value=name)) | cst.Raise(exc=cst.Call(func=cst.Name(value=name))):
            first = body[0].body[0] if isinstance(body[0], cst.SimpleStatementLine) else None
            said = isinstance(first, cst.Expr) and isinstance(first.value, (cst.SimpleString, cst.ConcatenatedString))
            return bool(name == "NotImplementedError") and (len(body) == 1 or said)
    return False


def _acts(m: Machine, function: Function, given: list[Value]) -> bool:
    """True when a call can do something to what it is given, or to what the function finds around itself."""
    return any(matters(a) for a in given) or bool(m.free_values(function))


def run(m: Machine, activation: Activation, prepare: Callable[[], None], look: Decoration) -> Value:
    """Runs a function's body in `activation` from here and joins its ways out."""
    from torchlint.semantics.expressions import ev
    from torchlint.semantics.flow import run_block

    info = activation.info
    assert info is not None
    saved = (m.active, m.runs, m.statement, m.suite)
    grad, off, before = m.grad, m.off, m.tail
    m.active, m.runs = activation, []
    try:
        prepare()
        if look.grad is not None:
            m.grad, m.off = look.grad, (info.head, "decorator")
        elif look.opaque and m.grad is not Grad.OFF:
            m.grad = Grad.UNKNOWN
        if isinstance(info.node, cst.Lambda):
            value = ev(m, info.node.body)
            activation.returns.append((value, m.heap, m.tail))
        else:
            run_block(m, info.node.body)
            if not m.dead:
                activation.returns.append((m.api("builtins.None"), m.heap, m.tail))
    finally:
        m.active, m.runs, m.statement, m.suite = saved
        if look.grad is not None or look.opaque:
            m.grad, m.off = grad, off  # without a decorator, what `torch.set_grad_enabled` has switched stays so
    ends = [end for end in activation.returns if end[2]]
    if activation.yields and not ends:  # a generator that never ends: whoever made it goes on
        m.tail = before
        return Collection(kind="list", items=activation.yields, open=True)
    if not ends:
        m.tail = []
        return Unknown(origin="call")
    m.heap = join_heaps([end[1] for end in ends])
    m.tail = unique(event for end in ends for event in end[2])
    if activation.yields:
        return Collection(kind="list", items=activation.yields, open=True)
    return choice([end[0] for end in ends])


def bind(m: Machine, activation: Activation, arguments: list[Value], keywords: dict[str, Value], starred: bool) -> None:
    """Gives the parameters their values for a call that is followed."""
    from torchlint.semantics.expressions import ev

    info = activation.info
    assert info is not None

    def default(node: Any) -> Value:
        inside, m.active = m.active, activation.outer or m.home(info)  # its names are those around the definition
        value = ev(m, node)
        m.active = inside
        return value

    params: cst.Parameters = info.node.params
    positional = [*params.posonly_params, *params.params]
    rest = list(arguments)
    for param in positional:
        name = param.name.value
        if rest:
            activation.locals[name] = rest.pop(0)
        elif name in keywords:
            activation.locals[name] = keywords[name]
        elif starred or param.default is None:
            activation.locals[name] = unknown_parameter(m, info, param)
        else:
            activation.locals[name] = default(param.default)
    for param in params.kwonly_params:
        name = param.name.value
        if name in keywords:
            activation.locals[name] = keywords[name]
        elif param.default is not None and not starred:
            activation.locals[name] = default(param.default)
        else:
            activation.locals[name] = unknown_parameter(m, info, param)
    if isinstance(params.star_arg, cst.Param):
        activation.locals[params.star_arg.name.value] = Collection(kind="tuple", items=rest, open=starred)
    if params.star_kwarg is not None:
        named = {p.name.value for p in (*positional, *params.kwonly_params)}
        extra = {k: v for k, v in keywords.items() if k not in named}
        activation.locals[params.star_kwarg.name.value] = Mapping(entries=extra, open=starred)


def bind_unknown(m: Machine, activation: Activation, receiver: Value | None) -> None:
    """Gives the parameters of a function that nobody in sight calls: typed by annotation, use or name, else unknown."""
    info = activation.info
    assert info is not None
    params: cst.Parameters = info.node.params
    look = decoration(m, info)
    first = True
    uses = uses_in(m, info)
    for param in [*params.posonly_params, *params.params, *params.kwonly_params]:
        name = param.name.value
        if first and receiver is not None and not look.is_static:
            activation.locals[name] = receiver if not look.is_class else Unknown(name=name, origin="parameter")
        else:
            activation.locals[name] = unknown_parameter(m, info, param, uses.get(name, set()))
        first = False
    for extra in (params.star_arg, params.star_kwarg):
        if isinstance(extra, cst.Param):
            activation.locals[extra.name.value] = Unknown(name=extra.name.value, origin="parameter", holds=True)


_OPTIMIZER_USE = frozenset({"zero_grad", "step"})
_MODULE_USE = frozenset(
    {
        "eval",
        "train",
        "parameters",
        "named_parameters",
        "state_dict",
        "load_state_dict",
        "named_modules",
        "modules",
        "requires_grad_",
    }
)


def uses_in(m: Machine, info: FunctionInfo) -> dict[str, set[str]]:
    """How each name is used in a function, looked at once."""
    known = m.uses.get(info)
    if known is None:
        known = m.uses[info] = uses_of(info.node.body)
    return known


def unknown_parameter(m: Machine, info: FunctionInfo, param: cst.Param, uses: set[str] | None = None) -> Value:
    """A parameter whose argument is not known, typed by what can be seen of it."""
    name = param.name.value
    if param.annotation is not None:
        typed = from_annotation(m, param.annotation.annotation, name)
        if typed is not None:
            return typed
    if isinstance(param.default, (cst.Integer, cst.Float)):
        return Unknown(name=name, origin="number")
    if uses is None:
        uses = uses_in(m, info).get(name, set())
    value: Value = Unknown(name=name, origin="parameter", holds=True)
    if m.lookalike:
        return value
    if uses >= _OPTIMIZER_USE and not uses & _MODULE_USE:
        return Optimizer(name=name, evidence=Evidence.USE)
    if vocabulary.named_like_optimizer(name) and "step" in uses:
        return Optimizer(name=name, evidence=Evidence.NAME)
    if uses & _MODULE_USE and "()" in uses and "step" not in uses:
        return Module(name=name, evidence=Evidence.USE, fresh=False)
    if vocabulary.named_like_model(name) and "()" in uses and "backward" not in uses:
        return Module(name=name, evidence=Evidence.NAME, fresh=False)
    wanted = (
        vocabulary.TENSOR_HINTS
        if info.owner is not None and info.owner.module is Derives.YES
        else vocabulary.TENSOR_ONLY
    )
    if uses & wanted and not uses & {"keys", "items", "values", "append", "step"}:
        return Tensor(name=name, made_by="parameter", certain="()" not in uses)
    return value


def from_annotation(m: Machine, node: Any, name: str) -> Value | None:
    """The value that an annotation promises, None when it promises nothing we know."""
    match node:
        case cst.BinaryOperation(left=left, right=right):  # X | None
            return from_annotation(m, left, name) or from_annotation(m, right, name)
        case cst.Subscript(value=value, slice=(element, *_)) if dotted(m, value).rsplit(".", 1)[-1] == "Optional":
            inner = getattr(element.slice, "value", None)
            return from_annotation(m, inner, name) if inner is not None else None
        case cst.SimpleString():
            try:
                return from_annotation(m, cst.parse_expression(node.value.strip("\"'")), name)
            except cst.ParserSyntaxError:
                return None
    path = dotted(m, node)
    if path in vocabulary.MODULE_BASES or vocabulary.is_module_api(path) or path.startswith("torch.nn.parallel."):
        return Module(
            name=name, api="" if path == "torch.nn.Module" else path, evidence=Evidence.ANNOTATION, fresh=False
        )
    if path == "torch.optim.Optimizer" or vocabulary.is_optimizer_api(path):
        return Optimizer(name=name, evidence=Evidence.ANNOTATION)
    if path in ("torch.Tensor", "torch.FloatTensor", "torch.LongTensor", "torch.BoolTensor"):
        return Tensor(name=name, made_by="parameter")
    if path == "torch.utils.data.DataLoader":
        return Loader(name=name)
    if path == "torch.device":
        return Device(name=name, kind="open")
    if frameworks.works(path):
        return Engine(name=name, api=path, open=True)
    if isinstance(node, cst.Name):
        if node.value in ("int", "float", "bool", "str"):
            return Unknown(name=name, origin="number")
        found = m.lookup(node.value)
        one = only(found) if found is not None else None
        if isinstance(one, Class) and one.info is not None:
            if one.info.module is Derives.YES:
                return Module(name=name, cls=one.info, evidence=Evidence.ANNOTATION, fresh=False)
            return Instance(name=name, cls=one.info)
    return None


# ------------------------------------------------------------------------------------------------------------ objects


def construct(m: Machine, owner: Module | Instance) -> None:
    """Runs the constructor of an object whose attributes are asked for, once, for its attributes only."""
    if owner in m.constructed or owner.cls is None:
        return
    m.constructed.add(owner)
    init = owner.cls.method("__init__")
    if init is None or m.active.frame.depth >= DEPTH_LIMIT or m.exhausted:
        return
    arguments = owner.arguments if isinstance(owner, Module) else []
    keywords = owner.keywords if isinstance(owner, Module) else {}
    made_here = isinstance(owner, Module) and owner.evidence is Evidence.MADE and owner.site is not None
    starred = any(name.startswith("*") for name in keywords) or not (arguments or keywords or made_here)
    before = m.heap
    with m.detached():
        activation = Activation(
            frame=Frame(init, parent=m.active.frame, depth=m.active.frame.depth + 1),
            info=init,
            outer=m.home(init),
            owner=init.owner,
        )
        run(
            m,
            activation,
            lambda: bind(m, activation, [owner, *arguments], keywords, starred),
            decoration(m, init),
        )
        made = [(key, value) for key, value in m.heap.items() if before.get(key) is not value]
    for (holder, name), value in made:
        m.fields.setdefault(holder, {})[name] = value


def registered_before(m: Machine, owner: Value, name: str) -> Value | None:
    """What an attribute held before it is set, as far as that can be seen."""
    previous = m.field_of(owner, name)
    if previous is not None or not isinstance(owner, Module):
        return previous
    if owner.cls is not None:
        construct(m, owner)
        return m.field_of(owner, name)
    if not owner.api or name in ("weight", "bias"):
        from torchlint.semantics.expressions import attribute

        return attribute(m, owner, name, None)
    return None


def self_of(m: Machine, cls: ClassInfo) -> Value:
    """The object on which a class's methods are followed when nobody in sight builds one."""
    known = m.selves.get(cls)
    if known is None:
        known = (
            Module(name="self", cls=cls, fresh=False) if cls.module is Derives.YES else Instance(name="self", cls=cls)
        )
        m.selves[cls] = known
    return known


def inherited_attribute(m: Machine, owner: Value, cls: ClassInfo, name: str) -> Value | None:
    """An attribute that only a method other than the constructor sets, evaluated where it is set."""
    sources = m.attribute_sources.get(cls)
    if sources is None:
        sources = m.attribute_sources[cls] = _attribute_sources(cls)
    found = [s for s in sources.get(name, ()) if s[0].name != "__init__"]
    if not found or m.active.frame.depth >= DEPTH_LIMIT or m.exhausted:
        return None
    from torchlint.semantics.expressions import ev

    values: list[Value] = []
    m.derive(
        owner, name, Unknown(name=f"{owner.name}.{name}", origin="attribute", holds=True)
    )  # while it is being found
    for info, node in found[:4]:
        with m.detached():
            activation = Activation(
                frame=Frame(info, parent=m.active.frame, depth=max(m.active.frame.depth + 1, DEPTH_LIMIT - 2)),
                info=info,
                outer=m.home(info),
                owner=info.owner,
            )
            m.active = activation
            bind_unknown(m, activation, owner)
            value = ev(m, node)
        if not value.name:
            value.name = f"{owner.name}.{name}"
        values.append(value)
    return choice(values)


def setters(m: Machine, cls: ClassInfo, name: str) -> list[FunctionInfo | None]:
    """The methods of a class and its bases in sight that assign an attribute; None for a class body that binds it."""
    sources = m.attribute_sources.get(cls)
    if sources is None:
        sources = m.attribute_sources[cls] = _attribute_sources(cls)
    found: list[FunctionInfo | None] = [info for info, _ in sources.get(name, ())]
    bodies = [one.node.body for one in cls.lineage() if isinstance(one, ClassInfo) and one.node is not None]
    return [*found, *(None for body in bodies if name in assigned_names(body))]


def _attribute_sources(cls: ClassInfo) -> dict[str, list[tuple[FunctionInfo, Any]]]:
    found: dict[str, list[tuple[FunctionInfo, Any]]] = {}
    for one in cls.lineage():
        if not isinstance(one, ClassInfo):
            continue
        for info in one.methods.values():
            for name, value in info.sets:
                found.setdefault(name, []).append((info, value))
    return found
