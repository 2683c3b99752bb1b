"""What a tensor certainly is the result of: the last operation that made its numbers, through modules of the file.

A function, a tensor method or a layer of torch says so at once. A module of the file is looked into only when a rule
asks: its `forward` is followed on that very object, with the arguments of that very call and the attributes as they
were then, so that `if self.logits:` is decided where the constructor was told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from torchlint.facts import (
    Collection,
    Function,
    FunctionInfo,
    Literal,
    Loss,
    Made,
    Mapping,
    Module,
    Site,
    Softmax,
    Tensor,
    Unknown,
    Value,
    only,
)
from torchlint.semantics import vocabulary as words
from torchlint.semantics.expressions import ROWS, SOME, selected
from torchlint.semantics.functions import decoration, dotted, enter
from torchlint.semantics.machine import Machine, choice
from torchlint.semantics.walk import assigned_names

if TYPE_CHECKING:
    from torchlint.semantics.calls import Arguments

DEPTH = 6  # modules in modules that are looked into
_LOSSES = frozenset(words.LOSS_MODULES) | words.LOSS_FUNCTIONS
# torchvision's classifiers end in a linear layer, under one of these names.
_CLASSIFIERS = (
    "resnet resnext wide_resnet densenet vgg alexnet mobilenet efficientnet shufflenet mnasnet regnet convnext vit swin"
).split()
_COMPOSED = {
    ("log", "softmax"): "log_softmax",
    ("log", "sigmoid"): "log_sigmoid",
    ("exp", "log_softmax"): "softmax",
    ("exp", "log_sigmoid"): "sigmoid",
}
_HEADS = ("fc", "classifier", "head", "heads")


def kept(value: Value) -> Made | None:
    """What a tensor of another shape or dtype is the result of, made from `value`."""
    known = _of(value)
    return replace(known, bare=False) if known is not None else None


def _of(value: Value | None) -> Made | None:
    one = only(value)
    return one.made if isinstance(one, (Tensor, Unknown)) else None


# --------------------------------------------------------------------------------------------------- as things happen


def made_by_function(m: Machine, node: cst.Call, name: str, arguments: Arguments) -> Made | None:
    """The result of a function of torch."""
    first = arguments.get(0, "input")
    if first is None:
        return None
    if name in words.RESHAPING:
        return kept(first)
    return _made(m, node, words.OPERATIONS.get(name, ""), first, _argument(node, 0, "input"))


def made_by_method(m: Machine, node: cst.Call, receiver: Value, name: str) -> Made | None:
    """The result of a tensor's method."""
    if name in words.RESHAPING:
        return kept(receiver)
    by = words.OPERATIONS[name] if name in words.OPERATION_METHODS else ""
    return _made(m, node, by, receiver, node.func.value if isinstance(node.func, cst.Attribute) else None)


def made_by_module(m: Machine, node: cst.Call, module: Value, arguments: Arguments) -> Made | None:
    """The output of a module."""
    one = only(module)
    first = arguments.get(0, "input")
    if isinstance(one, Module) and one.api:
        name = one.api.rpartition(".")[2]
        if name in words.KEEPING_LAYERS and first is not None:
            return kept(first)
        if name in words.OPERATIONS and words.is_module_api(one.api):
            made = _made(m, node, words.OPERATIONS[name], first, _argument(node, 0, "input"))
            if made is not None:
                made.module = one
            return made
    if not m.outline.words & _LOSSES or not any(isinstance(o, Module) and (o.cls or o.api) for o in module.options()):
        return None
    return Made(
        by="module",
        site=m.site(node),
        module=module,
        arguments=arguments.positional,
        keywords=arguments.keywords,
        starred=arguments.starred,
        state=dict(m.heap),
        bare=True,
    )


def flattened(
    m: Machine, node: cst.Call, name: str, of: Value | None, given: list[Value], keywords: dict[str, Value]
) -> Site | None:
    """The call that made one dimension of all those of `of`: this one, or one before it that its result still shows."""
    one = only(of)
    if name in words.ELEMENTWISE:
        return one.flat if isinstance(one, (Tensor, Unknown)) else None
    if isinstance(one, Tensor) and one.rank in (0, 1):
        return None
    constants = [value.value if isinstance(value := only(v), Literal) else Ellipsis for v in given]
    match name:
        case "flatten" if not keywords and constants in ([], [0], [0, -1]):
            return m.site(node)
        case "ravel" if not keywords and not given:
            return m.site(node)
        case "view" | "reshape" if not keywords:
            shape = only(given[0]) if len(given) == 1 else None
            if isinstance(shape, Collection) and len(shape.items) == 1:
                shape = only(shape.items[0])
            return m.site(node) if isinstance(shape, Literal) and shape.value == -1 else None
    return None


def flattened_by_module(m: Machine, node: cst.Call, module: Value | None, arguments: Arguments) -> Site | None:
    """The same of a layer."""
    if not isinstance(module, Module) or not module.api or not arguments.positional:
        return None
    name = module.api.rpartition(".")[2]
    if name == "Flatten":
        start = only(module.keywords.get("start_dim", module.arguments[0] if module.arguments else None))
        whole = isinstance(start, Literal) and start.value == 0 and len(module.arguments) + len(module.keywords) == 1
        return m.site(node) if whole else None
    one = only(arguments.positional[0])
    return one.flat if name in words.ELEMENTWISE and isinstance(one, (Tensor, Unknown)) else None


def _made(m: Machine, node: cst.Call, by: str, of: Value | None, operand: Any) -> Made | None:
    if not by or of is None:
        return None
    known = _of(of)
    if known is not None:
        by = _COMPOSED.get((by, known.by), by)
    return Made(by=by, site=m.site(node), of=of, operand=m.site(operand) if operand is not None else None, bare=True)


def _argument(node: cst.Call, place: int, name: str) -> Any:
    """The expression of an argument; None when it is not written out."""
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == name:
            return argument.value
    given = node.args[: place + 1]
    plain = len(given) > place and all(a.keyword is None and not a.star for a in given)
    return given[place].value if plain else None


def tell_loss(
    m: Machine, node: cst.Call, kind: str, criterion: Module | None, arguments: Arguments, value: Value
) -> None:
    """Tells that a loss of an output and a target is computed."""
    from torchlint.semantics.calls import plain_spelling

    output, target = arguments.get(0, "input"), arguments.get(1, "target")
    if kind not in words.LOSS_FUNCTIONS or output is None:
        return
    nodes = _argument(node, 0, "input"), _argument(node, 1, "target")
    settings = dict(criterion.keywords) if criterion is not None else {}
    if criterion is not None and criterion.arguments:
        settings["weight"] = criterion.arguments[0]
    settings.update(arguments.keywords)
    m.emit(
        Loss(
            *m.at(node),
            kind=kind,
            criterion=criterion,
            spelling=plain_spelling(node.func),
            output=output,
            target=target,
            output_site=m.site(nodes[0]) if nodes[0] is not None else None,
            target_site=m.site(nodes[1]) if nodes[1] is not None else None,
            settings=settings,
            starred=arguments.starred or any(key.startswith("*") for key in settings),
            before=_before(m, output),
            value=value,
        )
    )


def _before(m: Machine, output: Value) -> str:
    """How the value that `output` was made from is still written here."""
    known = _of(output)
    if known is None or known.of is None or not known.bare or known.operand is None:
        return ""
    node = known.operand.node
    if known.site.function is not m.active.info or not isinstance(node, cst.Name):
        return ""
    return node.value if m.lookup(node.value) is known.of else ""


# ------------------------------------------------------------------------------------------------------ when asked for


def made(m: Machine, value: Value, depth: int = 0) -> list[Made] | None:
    """The operations that `value` is the result of, one for each path; None when one of them is not certain."""
    found: dict[tuple[str, int], Made] = {}
    for one in value.options():
        known = one.made if isinstance(one, (Tensor, Unknown)) else None
        ends = _ends(m, known, depth) if known is not None else None
        if ends is None:
            return None
        for end in ends:
            found.setdefault((end.by, id(end.site.node)), end)
    return list(found.values()) or None


def _ends(m: Machine, known: Made, depth: int) -> list[Made] | None:
    if known.by != "module":
        return None if known.part else [known]
    if depth > DEPTH or known.module is None:
        return None
    found: list[Made] = []
    for one in known.module.options():
        ends = _of_module(m, one, known, depth) if isinstance(one, Module) else None
        if ends is None:
            return None
        found.extend(ends)
    return found


def _of_module(m: Machine, module: Module, call: Made, depth: int) -> list[Made] | None:
    """What a module gives back in this call."""
    if module.cls is not None:
        given = _followed(m, module, call)
        for key in call.part:
            given = _part(given, key) if given is not None else None
        return made(m, given, depth + 1) if given is not None else None
    if any(isinstance(key, str) and key not in (ROWS, SOME) for key in call.part):
        return None
    ends: list[Made] | None = _of_layer(m, module, call, depth)
    for key in call.part:
        rest = [selected(end, SOME if key == SOME else ROWS) for end in ends or ()]
        ends = [end for end in rest if end is not None] if None not in rest else None
    return ends or None


def _of_layer(m: Machine, module: Module, call: Made, depth: int) -> list[Made] | None:
    if module.api == "torch.nn.Sequential":
        return _of_sequential(m, module, call, depth)
    if module.api.startswith("torchvision.models."):
        return _of_torchvision(m, module, call, depth)
    name = module.api.rpartition(".")[2]
    if name in words.KEEPING_LAYERS and call.arguments:
        return made(m, call.arguments[0], depth + 1)
    if name in words.OPERATIONS and module.site is not None:
        return [Made(by=words.OPERATIONS[name], site=module.site, module=module)]
    return None


def _of_sequential(m: Machine, module: Module, call: Made, depth: int) -> list[Made] | None:
    if any(key[0] is module and key[1][:1] == "[" for key in call.state or ()):
        return None  # changed since it was built
    for layer in reversed(module.last or ()):
        if all(isinstance(o, Module) and o.api.rpartition(".")[2] in words.KEEPING_LAYERS for o in layer.options()):
            continue
        inner = replace(call, module=layer, arguments=[Unknown(origin="inner")], keywords={}, starred=False, part=())
        return _ends(m, inner, depth + 1)
    return None


def _of_torchvision(m: Machine, module: Module, call: Made, depth: int) -> list[Made] | None:
    name = module.api.rpartition(".")[2]
    if not name.startswith(tuple(_CLASSIFIERS)) or module.site is None:
        return None
    for head in _HEADS:
        new = (call.state or {}).get((module, head))
        if new is not None:
            inner = replace(call, module=new, arguments=[Unknown(origin="inner")], keywords={}, starred=False)
            return _ends(m, inner, depth + 1)
    parts = {id(value) for value in m.fields.get(module, {}).values()}
    if any(id(key[0]) in parts and key[1].startswith("[") for key in call.state or ()):
        return None  # a part of the head was replaced
    return [Made(by="linear", site=module.site, module=module)]


def _followed(m: Machine, module: Module, call: Made) -> Value | None:
    """Follows `forward` of a module of the file as it was called; None where that cannot be done."""
    assert module.cls is not None
    key = (id(module), id(call.state), id(call.site.node))
    if key in m.outputs:
        return m.outputs[key][0]
    m.outputs[key] = None, call
    method = module.cls.method("forward")
    state = call.state or {}
    if method is None or decoration(m, method).opaque or (module, "forward") in state or module.cls.decorated:
        return None
    with m.detached():
        m.active, m.heap, m.statement, m.suite = m.module, dict(state), None, None
        bound = Function(name="forward", info=method, receiver=module)
        value = enter(m, bound, list(call.arguments), dict(call.keywords), call.site.node, call.starred)
        if m.root.complete:
            m.outputs[key] = value, call
    return m.outputs[key][0]


def _part(value: Value, key: int | str) -> Value | None:
    """A part of what a module gives back."""
    found: list[Value] = []
    for one in value.options():
        match one:
            case Collection(items=items, open=False) if isinstance(key, int) and -len(items) <= key < len(items):
                found.append(items[key])
            case Mapping(entries=entries, open=False) if str(key) in entries:
                found.append(entries[str(key)])
            case Tensor(made=known) | Unknown(made=known) if known is not None and known.by == "module":
                found.append(Unknown(origin="item", made=replace(known, part=(*known.part, key))))
            case Tensor(made=known) | Unknown(made=known) if known is not None and (
                isinstance(key, int) or key in (ROWS, SOME)
            ):
                found.append(Unknown(origin="item", made=selected(known, SOME if key == SOME else ROWS)))
            case _:
                return None
    return choice(found) if found else None


# -------------------------------------------------------------------------------------------------------- as written


def softmaxes(m: Machine) -> list[Softmax]:
    """Every softmax of torch without `dim`, by the names of the module body; a local name of that kind is unknown."""
    from torchlint.semantics.calls import plain_spelling

    found: list[Softmax] = []
    for node, scope in m.outline.softmaxes:
        spelling = plain_spelling(node.func)
        root = spelling.partition(".")[0]
        if isinstance(scope, FunctionInfo) and (root in scope.parameters or root in assigned_names(scope.node.body)):
            continue
        path = words.canonical(dotted(m, node.func)) if spelling else ""
        if path.startswith("torch.nn.") and path.rpartition(".")[0] in ("torch.nn", "torch.nn.functional"):
            last = node.args[-1] if node.args else None
            found.append(
                Softmax(
                    path,
                    Site(node, node, None, scope if isinstance(scope, FunctionInfo) else None),
                    spelling,
                    Site(last.value, node, None) if last is not None else None,
                    isinstance(last.comma, cst.Comma) if last is not None else False,
                )
            )
    return found
