"""What an expression is worth: syntax -> `Value`, telling the events that evaluating it brings about."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import libcst as cst

from torchlint.facts import (
    Api,
    Choice,
    Class,
    Collection,
    Combined,
    Device,
    DeviceChosen,
    Engine,
    Function,
    FunctionInfo,
    Grad,
    GradientUsed,
    Imported,
    Instance,
    Literal,
    LoadedFile,
    Loader,
    LoadResult,
    Made,
    Mapping,
    Metric,
    Module,
    Optimizer,
    Parameters,
    Scaler,
    Site,
    StateDict,
    Tensor,
    Unknown,
    Value,
    Wrapped,
    only,
)
from torchlint.semantics.containers import multiplied
from torchlint.semantics.engines import attribute as engine_attribute
from torchlint.semantics.graphs import cut_at, cut_of, inherited_cut
from torchlint.semantics.machine import ITEM_LIMIT, Machine, choice, graph_of, graphs_of, link, link_all, matters
from torchlint.semantics.slips import handed_on, method_of
from torchlint.semantics.states import entry, file_entry, misused, note_asked, source_of
from torchlint.semantics.vocabulary import FUNCTIONAL_LOSSES, SAMPLER_KEYWORDS, TENSOR_HINTS
from torchlint.semantics.walk import children, words_of

_BUILTINS = frozenset(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)
_CONSTANTS = {"True": True, "False": False, "None": None}
CPU = Device(name="cpu", kind="cpu")


def ev(m: Machine, node: Any) -> Value:
    """Evaluates an expression."""
    m.steps += 1
    handler = _HANDLERS.get(type(node))
    if handler is not None:
        return handler(m, node)
    for child in children(node):  # a form that says nothing itself may still hold calls
        if isinstance(child, cst.BaseExpression):
            ev(m, child)
    return Unknown(origin="expression")


def _name(m: Machine, node: cst.Name) -> Value:
    name: str = node.value
    if name in _CONSTANTS:
        return Literal(value=_CONSTANTS[name])
    found = m.lookup(name)
    if found is not None:
        return _unsettled(found) if name in m.outline.shared else found
    if name in _BUILTINS:
        return m.api("builtins." + name)
    top = m.top
    if top.stars and len({star.partition(".")[0] for star in top.stars}) == 1 and top.stars[0].startswith("torch"):
        return m.api(f"{top.stars[0]}.{name}")
    missing = Unknown(name=name, origin="global")
    top.locals[name] = missing  # the same unknown each time it is asked for
    return missing


def _attribute(m: Machine, node: cst.Attribute) -> Value:
    found = attribute(m, ev(m, node.value), node.attr.value, node)
    return _unsettled(found) if node.attr.value in m.outline.changing else found


def _unsettled(value: Value) -> Value:
    """A constant that something else may have changed since: it is known, and decides nothing."""
    return Choice(name=value.name, alternatives=[value]) if type(value) is Literal else value


def attribute(m: Machine, owner: Value, name: str, node: Any) -> Value:
    """`owner.name`."""
    match owner:
        case Imported(path=path, file=file, names=names):
            member = m.imported_value(
                Imported(name=f"{path}.{name}", path=f"{path}.{name}", file=file, names=(*names, name))
            )
            return member if type(member) is not Imported or not member.names else m.api(f"{path}.{name}")
        case Api(path=path):
            return m.api(f"{path}.{name}")
        case Wrapped(alternatives=[Module() as inside]) if name == "module":
            return inside
        case Loader(keywords=keywords) if name in SAMPLER_KEYWORDS and name in keywords:
            return keywords[name]
        case Choice():
            options = [o for o in owner.options() if not _is_none(o)] or list(owner.options())
            if len(options) == 1:
                return attribute(m, options[0], name, node)
            return choice([attribute(m, one, name, node) for one in options])
        case Module() | Instance():
            return object_attribute(m, owner, name, node)
        case Tensor():
            return _tensor_attribute(m, owner, name, node)
        case Class(info=info) if info is not None:
            method = info.method(name)
            if method is not None:
                return Function(name=name, info=method)
            return m.field_of(owner, name) or m.derive(owner, name, class_attribute(m, owner, name))
        case Device() | Literal():
            return Unknown(origin="attribute")
        case Engine():
            return engine_attribute(m, owner, name)
        case LoadResult():
            misused(m, node, owner, name)
            return Unknown(origin="attribute")
        case Unknown(origin="weight") if name == "data":
            return owner
    found = m.field_of(owner, name)
    if found is not None:
        return found
    if name in ("data", "T", "mT") and isinstance(owner, Unknown):
        return (
            owner
            if name != "data" or owner.origin == "grad"
            else Unknown(
                name=owner.name,
                origin="attribute",
                device=owner.device,
                operands=(owner,),
                cut=cut_at(m, node, name, owner),
            )
        )
    if name == "device":
        return m.derive(owner, name, Device(name=f"{owner.name}.device", kind="tensor"))
    if name == "grad" and isinstance(owner, Unknown):
        m.emit(GradientUsed(*m.at(node), target=owner))
        return m.derive(owner, name, Unknown(name=f"{owner.name}.grad", origin="grad", holders=[owner]))
    named = method_of(m, owner, name, node)
    if named is not None:
        return named
    fresh = Unknown(
        name=f"{owner.name}.{name}" if owner.name else "", origin="attribute", graph=_graph_if_tensor(owner, name)
    )
    if isinstance(owner, Optimizer) and name not in ("param_groups", "state", "defaults"):
        fresh.holds = True  # a bound method: calling it acts on the optimizer
        owner.clear_escapes |= name == "zero_grad"
        link(owner, fresh)
    if isinstance(owner, Unknown):
        fresh.source = owner.source
        if owner.origin == "super":
            fresh.holds = True
            link(owner, fresh)
        fresh.device = owner.device if name not in TENSOR_HINTS else None
        if not owner.name and not owner.holds:
            return fresh  # a temporary that nothing was handed to: no one can ask again
        owner.holds = owner.holds or owner.origin in ("parameter", "attribute", "global")
    link(fresh, owner)
    return m.derive(owner, name, fresh)


def _is_none(value: Value) -> bool:
    return isinstance(value, Literal) and value.value is None


def _graph_if_tensor(owner: Value, name: str) -> frozenset[Value]:
    if name in ("shape", "device", "dtype", "size", "data", "ndim", "is_cuda"):
        return frozenset()
    return graph_of(owner)


def class_attribute(m: Machine, owner: Class, name: str) -> Value:
    """A value set in a class body, where it is a plain constant; otherwise unknown."""
    info = owner.info
    if info is not None and info.node is not None:
        for statement in info.node.body.body:
            for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
                match small:
                    case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=target))], value=value) if (
                        target == name
                    ):
                        if isinstance(value, (cst.SimpleString, cst.Integer, cst.Float, cst.Name)):
                            return ev(m, value)
    return Unknown(name=f"{owner.name}.{name}", origin="attribute")


def object_attribute(m: Machine, owner: Module | Instance, name: str, node: Any) -> Value:
    """An attribute of an object whose class may be known: set before, a method, set by a method we have not run yet."""
    found = _field(m, owner, name)
    if found is not None:
        return found
    cls = owner.cls
    if cls is not None:
        from torchlint.semantics.functions import construct, decoration, enter, inherited_attribute

        method = cls.method(name)
        if method is not None:
            bound = Function(name=name, info=method, receiver=owner)
            if decoration(m, method).is_property:
                return enter(m, bound, [], {}, node)
            return bound
        construct(m, owner)
        found = _field(m, owner, name)
        if found is not None:
            return found
        found = inherited_attribute(m, owner, cls, name)
        if found is not None:
            return m.derive(owner, name, found)
    if isinstance(owner, Module):
        if name == "module" and cls is None:
            return owner
        if name == "training":
            return Unknown(name="training", origin="attribute")
        if name == "device":
            return m.derive(owner, name, Device(name=f"{owner.name}.device", kind="tensor"))
        if name in ("weight", "bias") and cls is None and owner.api:
            parameter = Tensor(
                name=f"{owner.name}.{name}", made_by="parameter", graph=frozenset({owner}), parameter=True
            )
            link(parameter, owner)
            return m.derive(owner, name, parameter)
    called_for = method_of(m, owner, name, node)
    if called_for is not None:
        return called_for
    fresh = Unknown(name=f"{owner.name or 'self'}.{name}", origin="attribute", holds=True)
    if isinstance(owner, Module) and name in ("parameters", "named_parameters"):
        fresh.origin = "method"
    link(fresh, owner)
    return m.derive(owner, name, fresh)


def _field(m: Machine, owner: Module | Instance, name: str) -> Value | None:
    """An attribute as the constructor leaves it, or as a method that may have been called since does."""
    found = m.field_of(owner, name)
    if type(found) is not Literal or owner.cls is None or name not in m.outline.changing or (owner, name) in m.heap:
        return found
    from torchlint.semantics.functions import inherited_attribute

    later = inherited_attribute(m, owner, owner.cls, name)
    return m.derive(owner, name, choice([found, later])) if later is not None else found


def _tensor_attribute(m: Machine, owner: Tensor, name: str, node: Any) -> Value:
    match name:
        case "data":
            known = m.field_of(owner, name)
            return known or m.derive(
                owner,
                name,
                Tensor(
                    name=owner.name,
                    made_by="data",
                    device=owner.device,
                    rank=owner.rank,
                    operands=(owner,),
                    cut=cut_at(m, node, name, owner),
                ),
            )
        case "T" | "mT" | "H" | "real" | "imag":
            return Tensor(
                name=owner.name,
                made_by=name,
                graph=owner.graph,
                device=owner.device,
                rank=owner.rank,
                fresh=owner.fresh,
                operands=(owner,),
                cut=owner.cut,
            )
        case "grad":
            m.emit(GradientUsed(*m.at(node), target=owner))
            return Unknown(name=f"{owner.name}.grad", origin="grad", holders=[owner])
        case "device":
            return (
                owner.device
                or m.field_of(owner, name)
                or m.derive(owner, name, Device(name=f"{owner.name}.device", kind="tensor"))
            )
        case "shape" | "ndim":
            return Unknown(origin="number")
        case "dtype" | "is_cuda" | "requires_grad" | "layout" | "is_leaf":
            return Unknown(origin="attribute")
    known = m.field_of(owner, name)
    if known is not None:
        return known
    named = method_of(m, owner, name, node)
    if named is not None:
        return named
    # a field of what was taken for a tensor, such as `output.logits`
    return m.derive(
        owner, name, Unknown(name=f"{owner.name}.{name}", origin="attribute", graph=owner.graph, device=owner.device)
    )


def _string(m: Machine, node: Any) -> Value:
    text: str = node.value
    quote = text[0]
    if quote in "\"'" and text[1:2] != quote and "\\" not in text:
        return Literal(value=text[1:-1])
    try:
        return Literal(value=ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return Literal(value=text)


def _number(m: Machine, node: Any) -> Value:
    text: str = node.value
    if text.isdecimal() and (text[0] != "0" or len(text) == 1):
        return Literal(value=int(text))
    try:
        if isinstance(node, cst.Float):
            return Literal(value=float(text))
        return Literal(value=ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return Unknown(origin="number")


def _tuple(m: Machine, node: Any) -> Value:
    kind = type(node).__name__.lower()
    items: list[Value] = []
    is_open = False
    for element in node.elements:
        value = ev(m, element.value)
        if len(items) >= ITEM_LIMIT and not matters(value):
            is_open = True
        elif isinstance(element, cst.StarredElement):
            from torchlint.semantics.calls import run_out

            is_open = True
            inner = only(value := run_out(m, element, value))
            items.extend(inner.items if isinstance(inner, Collection) else [value])
        else:
            items.append(value)
    return Collection(kind=kind, items=items, open=is_open, loops=m.loops)


def _dict(m: Machine, node: cst.Dict) -> Value:
    mapping = Mapping(loops=m.loops)
    for element in node.elements:
        value = ev(m, element.value)
        if len(mapping.entries) >= ITEM_LIMIT and not matters(value):
            mapping.open = True
            continue
        if isinstance(element, cst.DictElement):
            key = only(ev(m, element.key))
            if isinstance(key, Literal) and isinstance(key.value, (str, int)):
                mapping.entries[str(key.value)] = value
                continue
        mapping.open = True
        mapping.entries[f"*{len(mapping.entries)}"] = value
    return mapping


def _binary(m: Machine, node: cst.BinaryOperation) -> Value:
    left, right = ev(m, node.left), ev(m, node.right)
    if isinstance(node.operator, cst.Add):
        one, other = only(left), only(right)
        if isinstance(one, Collection) and isinstance(other, Collection):
            return Collection(kind=one.kind, items=[*one.items, *other.items], open=one.open or other.open)
        if isinstance(one, Parameters) or isinstance(other, Parameters):
            from torchlint.semantics.calls import parameters_from

            return parameters_from(m, Collection(kind="chain", items=[left, right]))
    elif isinstance(node.operator, cst.Multiply) and Collection in (type(left), type(right)):
        repeated = multiplied(m, node, left, right)
        if repeated is not None:
            return repeated
    text = _joined(m, node.operator, only(left), only(right))
    if text is not None:
        return text
    result = combine(m, node, [left, right], type(node.operator).__name__)
    if isinstance(node.operator, (cst.Add, cst.Subtract)):
        sums(result, left, right)
    elif isinstance(node.operator, cst.Modulo) and isinstance(result, Unknown) and not _is_text(left):
        result.origin = "remainder"
    return result


def _is_text(value: Value) -> bool:
    one = only(value)
    return (isinstance(one, Literal) and isinstance(one.value, str)) or (
        isinstance(one, Unknown) and one.origin == "string"
    )


def remainder(value: Value | None) -> bool:
    """True for a test of a remainder, alone or with others: what stands under it happens every few rounds."""
    return value is not None and any(isinstance(o, Unknown) and o.origin == "remainder" for o in value.options())


def sums(result: Value, *parts: Value) -> None:
    """A sum with the mean over a batch in it is as large as one."""
    if isinstance(result, Tensor):
        result.mean = any(isinstance(t := only(part), Tensor) and t.mean for part in parts)


def _joined(m: Machine, operator: Any, left: Value | None, right: Value | None) -> Unknown | None:
    """Text or a path that is put together; None for any other sum, quotient or remainder."""
    path = isinstance(left, Unknown) and left.origin == "path" and isinstance(operator, cst.Divide)
    text = isinstance(operator, cst.Add) and any(
        (isinstance(o, Literal) and isinstance(o.value, str)) or (isinstance(o, Unknown) and o.origin == "string")
        for o in (left, right)
    )
    filled = isinstance(operator, cst.Modulo) and isinstance(left, Literal) and isinstance(left.value, str)
    if not (path or text or filled):
        return None
    source = source_of(m, left) if left is not None and not filled else ""
    return Unknown(origin="path" if path else "string", source=source)


def combine(m: Machine, node: Any, operands: list[Value], operation: str) -> Value:
    """Tensors meet: tells so where a device is known, and gives the result, which carries all their graphs."""
    devices = [d for o in operands if (d := device_of(o)) is not None]
    graph: frozenset[Value] = graphs_of(operands)
    tensors = [o for o in operands if isinstance(only(o), Tensor)]
    handed_on(m, operands, "added")
    cut = inherited_cut(operands, losses=operation in _LOSSES) if not graph else None
    if graph and m.grad is Grad.OFF and operation not in ("in-place", "item"):
        graph, cut = frozenset(), cut_at(m, node, "no_grad", *operands)
    if devices:
        m.emit(Combined(*m.at(node), operands=operands, operation=operation, devices=[device_of(o) for o in operands]))
    if tensors:
        plain = all(is_number(o) or (isinstance(t := only(o), Tensor) and t.fresh) for o in operands)
        fresh = next((t.fresh for o in tensors if isinstance(t := only(o), Tensor)), None) if plain else None
        ranks = [t.rank for o in tensors if isinstance(t := only(o), Tensor)]
        rank = max((r for r in ranks if r is not None), default=None) if None not in ranks else None
        on_cpu = any(d.kind == "cpu" for d in devices)
        doubtful = any(isinstance(t := only(o), Tensor) and t.made_by == "operation" and not t.certain for o in tensors)
        return Tensor(
            name="",
            site=m.site(node),
            made_by="operation",
            factory=next((t.factory for o in tensors if isinstance(t := only(o), Tensor) and t.factory), "")
            if fresh
            else "",
            graph=graph,
            operands=tuple(operands),
            cut=cut,
            device=joined_device(operands),
            fresh=fresh,
            rank=rank,
            # with something unknown in it a result of CPU tensors may still lie on the CPU: it proves no device
            certain=not doubtful and (not on_cpu or all(is_number(o) or isinstance(only(o), Tensor) for o in operands)),
        )
    return Unknown(
        site=m.site(node),
        origin="mixed" if any(type(o) is Choice for o in operands) else "operation",
        graph=graph,
        operands=tuple(operands),
        cut=cut,
        device=devices[0] if devices and len(devices) == len(operands) else None,
    )


_LOSSES = FUNCTIONAL_LOSSES | {"loss", "ctc_loss"}


def is_number(value: Value) -> bool:
    """True for what is certainly a plain number: it takes no part in where a result lies."""
    one = only(value)
    return isinstance(one, Literal) or (isinstance(one, Unknown) and one.origin in ("number", "index"))


def device_of(value: Value) -> Device | None:
    """The device a tensor is certainly on (`open` when the program chooses it at run time), None when unknown."""
    found: Device | None = None
    for one in value.options():
        match one:
            case Tensor(device=device) | Unknown(device=device):
                if device is None:
                    return None
                if found is not None and found is not device and found.kind != device.kind:
                    return None
                found = device
            case _:
                return None
    return found


def joined_device(operands: list[Value]) -> Device | None:
    """The device of a result: that of the operands with dimensions, unknown when one of them is."""
    found: Device | None = None
    for operand in operands:
        one = only(operand)
        if is_number(operand):
            continue
        if isinstance(one, Tensor) and one.rank == 0 and one.fresh:
            continue
        device = device_of(operand)
        if device is None:
            return None
        if found is None or found.kind == "cpu":
            found = device
    return found


def _unary(m: Machine, node: cst.UnaryOperation) -> Value:
    value = ev(m, node.expression)
    if isinstance(node.operator, cst.Not):
        outcome = truth(value)
        if outcome is None:
            return Unknown(origin="remainder" if remainder(value) else "operation")
        return Literal(value=not outcome)
    if isinstance(only(value), Tensor):
        return combine(m, node, [value], "unary")
    one = settled(value)
    if isinstance(one, Literal) and isinstance(node.operator, cst.Minus) and isinstance(one.value, (int, float)):
        return Literal(value=-one.value)
    return Unknown(origin="operation", graph=graph_of(value), operands=(value,), cut=cut_of(value))


def _comparison(m: Machine, node: cst.Comparison) -> Value:
    left = ev(m, node.left)
    values = [left]
    values.extend(ev(m, c.comparator) for c in node.comparisons)
    if len(values) == 2:
        one, other = settled(values[0]), settled(values[1])
        operator = node.comparisons[0].operator
        if isinstance(one, Literal) and isinstance(other, Literal):
            match operator:
                case cst.Equal() | cst.Is():
                    return Literal(value=one.value == other.value)
                case cst.NotEqual() | cst.IsNot():
                    return Literal(value=one.value != other.value)
        elif (
            isinstance(other, Literal)
            and other.value is None
            and isinstance(one, (Module, Optimizer, Tensor, Loader, Parameters, Engine, Scaler, Metric))
        ):
            match operator:
                case cst.Is():
                    return Literal(value=False)
                case cst.IsNot():
                    return Literal(value=True)
        if isinstance(operator, (cst.In, cst.NotIn)):
            note_asked(values[1:])
        if isinstance(operator, _ELEMENTWISE) and any(isinstance(only(v), Tensor) for v in values):
            result = combine(m, node, values, "compare")
            if isinstance(result, Tensor):
                result.cut = cut_at(m, node, m.tree.code_for_node(operator).strip(), *values)
                result.graph = frozenset()
            return result
    return Unknown(origin="remainder" if any(map(remainder, values)) else "comparison")


_ELEMENTWISE = (cst.LessThan, cst.GreaterThan, cst.LessThanEqual, cst.GreaterThanEqual, cst.Equal, cst.NotEqual)
INDEXED = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList"})


def _boolean(m: Machine, node: cst.BooleanOperation) -> Value:
    left = ev(m, node.left)
    outcome = truth(left) if _prunable(m) else None
    is_and = isinstance(node.operator, cst.And)
    if outcome is not None and outcome is not is_and:
        return left
    found: list[Value] = []
    if outcome is None:
        tests, m.tests = m.tests, (*m.tests, test_words(node.left))
        m.branch([lambda: None, lambda: found.append(ev(m, node.right))])
        m.tests = tests
        return choice([left, *found]) if found else left
    return ev(m, node.right)


def settled(value: Value | None) -> Value | None:
    """`value` unless it has alternatives or may yet get some, as a variable does that the loop around binds again."""
    return None if type(value) is Choice else value


def truth(value: Value) -> bool | None:
    """Whether a value counts as true, where that is certain."""
    match settled(value):
        case Literal(value=constant):
            return bool(constant)
        case Module() | Optimizer() | Loader() | Function() | Instance(cls=None) | Engine() | Scaler():
            return True
    return None


def _conditional(m: Machine, node: cst.IfExp) -> Value:
    outcome = decided(m, node.test)
    if outcome is not None:
        return ev(m, node.body if outcome else node.orelse)
    found: list[Value] = []
    around, m.mode_tests = m.mode_tests, m.mode_tests + tests_mode(node.test)
    tests, m.tests = m.tests, (*m.tests, test_words(node.test))
    m.branch([lambda: found.append(ev(m, node.body)), lambda: found.append(ev(m, node.orelse))])
    m.mode_tests, m.tests = around, tests
    if all(isinstance(only(f), (Literal, Device)) for f in found):
        from torchlint.semantics.calls import as_device

        devices = [as_device(f) for f in found]
        if all(d is not None for d in devices) and len({d.kind for d in devices if d}) > 1:
            m.emit(DeviceChosen(*m.at(node)))
            return Device(kind="open")
    return choice(found) if found else Unknown(origin="operation")


MODE_WORDS = frozenset({"training", "is_training", "train", "is_train", "training_mode", "train_mode", "eval_mode"})


def tests_mode(test: Any) -> bool:
    """True when a test asks whether a module is in training mode."""
    return not words_of(test).isdisjoint(MODE_WORDS)


def test_words(test: Any) -> frozenset[str]:
    """The names and the strings in a test."""
    found: set[str] = set()
    todo = [test]
    while todo:
        node = todo.pop()
        if type(node) in (cst.Name, cst.SimpleString):
            found.add(node.value)
        todo.extend(children(node))
    return frozenset(found)


def _prunable(m: Machine) -> bool:
    """True when a constant test decides: inside functions, where it comes from the call's own arguments."""
    return m.active.info is not None


def _subscript(m: Machine, node: cst.Subscript) -> Value:
    owner = ev(m, node.value)
    index: Value | None = None
    for element in node.slice:
        part = element.slice
        if isinstance(part, cst.Index):
            index = ev(m, part.value)
        else:
            for child in children(part):
                if isinstance(child, cst.BaseExpression):
                    ev(m, child)
    if len(node.slice) != 1:
        index = None
    found = item(m, owner, only(index) if index is not None else None, node)
    known = owner.made if isinstance(owner, (Tensor, Unknown)) else None
    if known is not None and isinstance(found, (Tensor, Unknown)) and found.made is None:
        chosen = selected(known, SOME if len(node.slice) != 1 else ROWS)
        if isinstance(found, Tensor):
            found.made = chosen
        elif not found.holds:
            found = Unknown(origin="item", graph=found.graph, device=found.device, made=chosen)
    if type(found) is Literal and not (isinstance(owner, Collection) and owner.kind == "tuple"):
        return _unsettled(found)
    if isinstance(found, Tensor) and found.rank is None and any(_keeps_dimension(e.slice) for e in node.slice):
        found.rank = 1  # at least
    return found


def _keeps_dimension(part: Any) -> bool:
    """True for a slice and for `None`, which leave or add a dimension."""
    return not isinstance(part, cst.Index) or (isinstance(part.value, cst.Name) and part.value.value == "None")


def item(m: Machine, owner: Value, index: Value | None, node: Any) -> Value:
    """`owner[index]`; `index` None when it is a slice or unknown."""
    match owner:
        case Choice():
            return choice([item(m, one, index, node) for one in owner.options()])
        case Collection(items=items):
            if (
                isinstance(index, Literal)
                and type(index.value) is int
                and not owner.open
                and -len(items) <= index.value < len(items)
            ):
                return items[index.value]
            return _one_of(owner, items, index)
        case Mapping(entries=entries):
            if isinstance(index, Literal) and str(index.value) in entries:
                return entries[str(index.value)]
            all_keys = not isinstance(index, Literal)
            return _one_of(owner, [v for k, v in entries.items() if all_keys or k.startswith("*")], index)
        case Tensor():
            return Tensor(
                name=owner.name,
                site=m.site(node),
                made_by="item",
                graph=owner.graph,
                device=owner.device,
                fresh=owner.fresh,
                factory=owner.factory,
                certain=owner.certain,
                made=part_made(owner, index.value) if isinstance(index, Literal) else None,
                operands=(owner,),
                cut=owner.cut,
            )
        case Module():
            key = f"[{index.value}]" if isinstance(index, Literal) else "[]"
            known = m.field_of(owner, key)
            position = index.value if isinstance(index, Literal) and owner.api in INDEXED else None
            if known is None and type(position) is int and -len(owner.inner) <= position < len(owner.inner):
                return owner.inner[position]
            return _member(m, owner, key, node)
        case Api() | Literal() | Class():
            return owner if isinstance(owner, (Api, Class)) else Unknown(origin="item")
        case StateDict():
            return entry(m, owner)
        case LoadedFile():
            return file_entry(m, owner, index, node)
        case Unknown(name="", holds=False):
            origin = "number" if owner.origin == "number" else "item"
            part = part_made(owner, index.value) if isinstance(index, Literal) else None
            return Unknown(
                origin=origin,
                graph=owner.graph,
                device=owner.device,
                made=part,
                operands=(owner,),
                cut=owner.cut,
                source=owner.source,
            )
    return _member(m, owner, f"[{index.value!r}]" if isinstance(index, Literal) else "[]", node)


ROWS = "*rows"  # some of the first dimension: `out[mask]`
SOME = "*some"  # any others: `out[:, -1]`


def selected(known: Made, key: str) -> Made | None:
    """What a selection of a tensor is the result of; a selection of classes is no distribution any more."""
    if known.by == "module":
        return replace(known, part=(*known.part, key), bare=False)
    return replace(known, bare=False) if key == ROWS or known.by not in ("softmax", "log_softmax") else None


def part_made(owner: Value, key: object) -> Made | None:
    """What a part of `owner` is the result of: of the same operation, where it is told as a part of a module's."""
    one = only(owner)
    known = one.made if isinstance(one, (Tensor, Unknown)) else None
    if known is None or known.by != "module" or not isinstance(key, (int, str)):
        return None
    return replace(known, part=(*known.part, key))


def _one_of(owner: Collection | Mapping, items: list[Value], index: Value | None) -> Value:
    """One of the items that are known; where there may be more, a certain one can be a model that is not."""
    if isinstance(index, Literal) and owner.open and matters(owner):
        other = Unknown(origin="item", holds=True)
        for one in items:
            link_all(one, other)
        return choice([*items, other])
    return choice(items) if items else Unknown(origin="item")


def _member(m: Machine, owner: Value, key: str, node: Any) -> Value:
    found = m.field_of(owner, key)
    if found is not None:
        return found
    fresh = Unknown(name=owner.name + key, origin="item", graph=graph_of(owner), holds=matters(owner))
    if isinstance(owner, Unknown):
        fresh.device = owner.device
        fresh.source = owner.source
        if owner.made is not None:
            fresh.made = part_made(owner, ast.literal_eval(key[1:-1])) if key != "[]" else None
    link(fresh, owner)
    return m.derive(owner, key, fresh)


def _lambda(m: Machine, node: cst.Lambda) -> Value:
    info = m.functions.get(id(node))
    if info is None:
        info = FunctionInfo(
            name="<lambda>",
            site=Site(node, m.statement, m.suite),
            words=words_of(node.body),
            parameters=tuple(p.name.value for p in node.params.params),
            node=node,
            outer=m.active.info,
            file=m.top.file if m.top is not m.module else "",
        )
        m.functions[id(node)] = info
        if not info.file:
            m.outline.functions[id(node)] = info
    closure = Function(name="<lambda>", info=info)
    m.closures[closure] = m.active
    return closure


def _comprehension(m: Machine, node: Any) -> Value:
    from torchlint.semantics.flow import run_comprehension

    return run_comprehension(m, node)


def _formatted(m: Machine, node: Any) -> Value:
    parts: list[Any] = list(node.parts)
    first = getattr(parts[0], "expression", None) if parts else None
    source = source_of(m, ev(m, first)) if isinstance(first, (cst.Name, cst.Attribute)) else ""
    while parts:
        part = parts.pop(0)
        expression = getattr(part, "expression", None)
        if expression is not None:
            if isinstance(expression, cst.Attribute) and expression.attr.value == "item":
                handed_on(m, [ev(m, expression)], "printed")
            if not isinstance(expression, (cst.Name, cst.Attribute)):
                ev(m, expression)
            parts[:0] = part.format_spec or ()
    return Unknown(origin="string", source=source)


def _named(m: Machine, node: cst.NamedExpr) -> Value:
    from torchlint.semantics.flow import assign

    value = ev(m, node.value)
    assign(m, node.target, value, node)
    return value


def _await(m: Machine, node: cst.Await) -> Value:
    return ev(m, node.expression)


def _yield(m: Machine, node: cst.Yield) -> Value:
    value: Value = Unknown(origin="yield")
    if isinstance(node.value, cst.From):
        from torchlint.semantics.calls import run_out

        value = run_out(m, node, ev(m, node.value.item))
    elif node.value is not None:
        value = ev(m, node.value)
    handler = m.active.on_yield
    if handler is not None:
        handler(value)
    else:  # whoever asked for it acts now
        m.active.yields.append(value)
        m.unknown_call(node, "yield", list(m.active.locals.values()))
    return Unknown(origin="yield")


def _call(m: Machine, node: cst.Call) -> Value:
    from torchlint.semantics.calls import call

    return call(m, node)


def _nothing(m: Machine, node: Any) -> Value:
    return Unknown(origin="expression")


def _starred(m: Machine, node: Any) -> Value:
    return ev(m, node.value)


_HANDLERS: dict[type, Callable[[Machine, Any], Value]] = {
    cst.Name: _name,
    cst.Attribute: _attribute,
    cst.Call: _call,
    cst.SimpleString: _string,
    cst.ConcatenatedString: _nothing,
    cst.FormattedString: _formatted,
    cst.Integer: _number,
    cst.Float: _number,
    cst.Imaginary: _number,
    cst.Tuple: _tuple,
    cst.List: _tuple,
    cst.Set: _tuple,
    cst.Dict: _dict,
    cst.BinaryOperation: _binary,
    cst.UnaryOperation: _unary,
    cst.Comparison: _comparison,
    cst.BooleanOperation: _boolean,
    cst.IfExp: _conditional,
    cst.Subscript: _subscript,
    cst.Lambda: _lambda,
    cst.ListComp: _comprehension,
    cst.SetComp: _comprehension,
    cst.GeneratorExp: _comprehension,
    cst.DictComp: _comprehension,
    cst.NamedExpr: _named,
    cst.Await: _await,
    cst.Yield: _yield,
    cst.StarredElement: _starred,
    cst.Ellipsis: _nothing,
}
# Forms that only later versions of libcst know.
for _form, _handler in (("TemplatedString", _formatted), ("StarredDictComp", _comprehension)):
    if hasattr(cst, _form):
        _HANDLERS[getattr(cst, _form)] = _handler


def decided(m: Machine, node: Any) -> bool | None:
    """Evaluates a test and says what it certainly is; what it was worth stays in `m.tested`."""
    m.tested = None
    match node:
        case cst.Name(value="True"):
            return True
        case cst.Name(value="False"):
            return False
        case cst.Integer(value=digits):
            return bool(digits != "0")
        case cst.Comparison(left=cst.Name(value="__name__")):
            return True
        case cst.UnaryOperation(operator=cst.Not(), expression=inner):
            outcome = decided(m, inner)
            return None if outcome is None else not outcome
    m.tested = value = ev(m, node)
    return truth(value) if _prunable(m) else None
