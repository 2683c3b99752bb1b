"""Statements: in which order things can happen. Branches, loops, exits, `with`, `try`, and what assignments bind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import libcst as cst

from torchlint.facts import (
    Api,
    AttributeSet,
    Autocast,
    Choice,
    Class,
    Collection,
    Device,
    Event,
    Function,
    Grad,
    GradContext,
    GradientUsed,
    Instance,
    Iterated,
    Join,
    Literal,
    LoadedFile,
    Loader,
    LoadResult,
    Loop,
    Mapping,
    Module,
    Optimizer,
    Parameters,
    ParamGroupAdded,
    Sampler,
    Scheduler,
    Site,
    StateDict,
    Tensor,
    Unknown,
    Value,
    Wrapped,
    ZeroGrad,
    only,
    possibly,
    states_in,
)
from torchlint.semantics.containers import comprehended
from torchlint.semantics.expressions import (
    INDEXED,
    MODE_WORDS,
    attribute,
    combine,
    decided,
    device_of,
    ev,
    item,
    part_made,
    remainder,
    sums,
    test_words,
)
from torchlint.semantics.functions import decoration, dotted, enter, registered_before
from torchlint.semantics.keeping import Round, added, put_in_place, settle
from torchlint.semantics.leaves import changed, leaf_of, replaced
from torchlint.semantics.machine import (
    Heap,
    LoopRun,
    Machine,
    State,
    add_items,
    choice,
    graph_of,
    join_heaps,
    join_maps,
    link,
    link_all,
    matters,
    unique,
    unplace,
)
from torchlint.semantics.project import imported
from torchlint.semantics.slips import flag_set, named_alone
from torchlint.semantics.states import bound, collected, returned
from torchlint.semantics.walk import assigned_names, children


def run_block(m: Machine, block: Any) -> None:
    """Runs the statements of a suite, as far as a path leads."""
    saved, periods = (m.statement, m.suite), m.periods
    for statement in block.body:
        if m.dead:
            break
        m.suite = block
        if isinstance(block, cst.SimpleStatementSuite):
            m.statement = saved[0]
            _small(m, statement)
            continue
        m.statement = statement
        handler = _STATEMENTS.get(type(statement))
        if handler is not None:
            handler(m, statement)
    m.statement, m.suite = saved
    m.periods = periods


def _line(m: Machine, node: cst.SimpleStatementLine) -> None:
    for small in node.body:
        if m.dead:
            return
        _small(m, small)


def run_statement(m: Machine, node: Any) -> None:
    """Runs one statement, simple or compound."""
    handler = _STATEMENTS.get(type(node)) or _SMALL.get(type(node))
    if handler is not None:
        handler(m, node)


def _small(m: Machine, node: Any) -> None:
    handler = _SMALL.get(type(node))
    if handler is not None:
        handler(m, node)


# -------------------------------------------------------------------------------------------------- simple statements


def _expression(m: Machine, node: cst.Expr) -> None:
    from torchlint.semantics.calls import call, not_called

    value = node.value
    if isinstance(value, cst.Await):
        value = value.expression
    if isinstance(value, cst.Call):
        call(m, value, discarded=True)
    elif isinstance(value, cst.Attribute):
        owner = ev(m, value.value)
        if value.attr.value.endswith("_") and not value.attr.value.endswith("__"):
            not_called(m, value, owner)
        named_alone(m, value, owner)
        if not isinstance(only(owner), Optimizer):  # `optimizer.zero_grad` and no call: nothing comes of it
            attribute(m, owner, value.attr.value, value)
    elif isinstance(value, cst.Tuple):  # `x.to(device), y.to(device)` on one line
        for element in value.elements:
            if isinstance(element.value, cst.Call):
                call(m, element.value, discarded=True)
            else:
                ev(m, element.value)
    elif not isinstance(value, (cst.SimpleString, cst.ConcatenatedString)):
        ev(m, value)


def _settle_item(m: Machine, target: cst.Subscript, left: Value, result: Value) -> None:
    """`table[key] += x`: what was there is one thing that may be there now."""
    with m.detached():
        owner, key = only(ev(m, target.value)), target.slice[0].slice
        index = only(ev(m, key.value)) if isinstance(key, cst.Index) else None
    if isinstance(owner, Mapping) and isinstance(index, Literal) and str(index.value) in owner.entries:
        owner.entries[str(index.value)] = choice([left, result])


def _assign(m: Machine, node: cst.Assign) -> None:
    first = node.targets[0].target
    before = m.active.locals.get(first.value) if isinstance(first, cst.Name) and m.loops else None
    value = ev(m, node.value)
    if before is not None and isinstance(first, cst.Name) and (event := replaced(m, node, before, value)) is not None:
        put_in_place(m, event, first.value, before)
    if isinstance(value, LoadResult):
        bound(m, node, value)
    if type(node.value) is cst.BinaryOperation and type(node.value.operator) is cst.Add and m.loops:
        _written_out_sum(m, node, node.value, value)
    for target in node.targets:
        assign(m, target.target, value, node)


def _written_out_sum(m: Machine, node: cst.Assign, sum_: cst.BinaryOperation, value: Value) -> None:
    """`total = total + loss`, `total = loss + total`."""
    target = node.targets[0].target
    of = value.operands if isinstance(value, (Tensor, Unknown)) else ()
    if len(of) == 2 and isinstance(target, (cst.Name, cst.Attribute, cst.Subscript)):
        if target.deep_equals(sum_.left):
            added(m, node, target, sum_.right, of[0], of[1], value)
        elif target.deep_equals(sum_.right):
            added(m, node, target, sum_.left, of[1], of[0], value)


def _annotated(m: Machine, node: cst.AnnAssign) -> None:
    if node.value is not None:
        assign(m, node.target, ev(m, node.value), node)


def _augmented(m: Machine, node: cst.AugAssign) -> None:
    right = ev(m, node.value)
    left = ev(m, node.target)
    one, other = only(left), only(right)
    if isinstance(one, Collection) and one.kind == "list":
        from torchlint.semantics.calls import grow, run_out

        written = isinstance(other, Collection) and not other.open and other.grown is None
        grow(m, one, list(other.items) if written and isinstance(other, Collection) else None)
        one.items.extend(other.items if isinstance(other, Collection) else [run_out(m, node, right)])
        return
    if isinstance(node.target, cst.Attribute) and node.target.attr.value == "grad":
        m.emit(ZeroGrad(*m.at(node), target=left))  # `p.grad *= 0`
        return
    if not isinstance(one, Literal) and _changes_leaf(m, node, left, right) and isinstance(node.target, cst.Name):
        combine(m, node, [left, right], "in-place")
        return  # it is the same tensor afterwards
    result = combine(m, node, [left, right], "in-place")
    if isinstance(node.operator, (cst.AddAssign, cst.SubtractAssign)):
        sums(result, left, right)
    if isinstance(node.operator, cst.AddAssign):
        added(m, node, node.target, node.value, left, right, result)
    if isinstance(node.target, cst.Subscript):
        _settle_item(m, node.target, left, result)
    if isinstance(node.target, cst.Name):
        bind_name(m, node.target.value, result)
    elif isinstance(node.target, cst.Attribute) and isinstance(one, Literal):
        with m.detached():
            owners = ev(m, node.target.value).options()
        for owner in owners:
            m.heap[(owner, node.target.attr.value)] = result


def _changes_leaf(m: Machine, node: cst.AugAssign, left: Value, right: Value) -> bool:
    """`w -= step`, `w[0] -= step`: tells where `w` is a leaf."""
    written: Any = node.target.value if isinstance(node.target, cst.Subscript) else node.target
    if written is not node.target:
        with m.detached():
            left = ev(m, written)
    if leaf_of(left) is None:
        return False
    changed(m, node, left, m.tree.code_for_node(node.operator).strip(), written, [right])
    return True


def assign(m: Machine, target: Any, value: Value, node: Any) -> None:
    """Binds `target` to `value`; for an attribute or item, tells that the owner was changed."""
    match target:
        case cst.Name(value=name):
            bind_name(m, name, value)
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            parts = _starred_parts(elements, value) or unpack(m, value, len(elements), node)
            for element, part in zip(elements, parts, strict=True):
                if isinstance(element, cst.StarredElement) and not isinstance(part, Collection):
                    part = Collection(kind="list", items=[part], open=True)
                assign(m, element.value, part, node)
        case cst.Attribute(value=owner_node, attr=attr):
            set_attribute(m, ev(m, owner_node), attr.value, value, node, target)
        case cst.Subscript(value=owner_node):
            owner = ev(m, owner_node)
            index: Value | None = None
            for section in target.slice:
                if isinstance(section.slice, cst.Index):
                    index = only(ev(m, section.slice.value))
            if len(target.slice) != 1:
                index = None
            set_item(m, owner, index, value, node)


def bind_name(m: Machine, name: str, value: Value) -> None:
    if not value.name and type(value) is not Api:
        value.name = name
        if type(value) is Wrapped:
            for inside in value.alternatives:
                inside.name = inside.name or name
    shared = m.active.shared.get(name)
    if type(value) is Scheduler:
        scope = None if shared is not None else m.active.info
        value.names.append((scope, name if scope is not None or m.top is m.module else "_"))  # "_": of another file
    if shared is None:
        m.active.locals[name] = value
        return
    before = shared.locals.get(name)
    shared.locals[name] = choice([before, value]) if before is not None and m.forks else value


def set_attribute(m: Machine, owner: Value, name: str, value: Value, node: Any, target: Any = None) -> None:
    """`owner.name = value`; `target` is the syntax that is assigned to, where there is one."""
    from torchlint.semantics.calls import plain_spelling

    if name[:2] == "re" and "gr" in name:
        flag_set(m, owner, name, value, node, target)
    match name:
        case "grad":
            m.emit(ZeroGrad(*m.at(node), target=owner))
            return
        case "requires_grad":
            from torchlint.semantics.calls import set_requires_grad

            m.emit(GradientUsed(*m.at(node), target=owner))
            if not possibly(owner, Module):  # as an attribute of a module it means nothing
                set_requires_grad(m, node, owner, value)
            return
        case "data" if not isinstance(only(owner), Instance):
            for one in owner.options():
                if isinstance(one, Tensor):
                    one.device = None
                unplace(m, one)
            return
    if type(value) is Scheduler:
        value.names.append((None, f".{name}"))
    for one in owner.options():
        if isinstance(one, (Literal, Api)):
            if isinstance(one, Api) and one.path == "torch" and name == "load":
                m.derive(one, name, value)  # it is another function from here on
            continue
        previous = registered_before(m, one, name)
        if not value.name and not isinstance(value, Api):
            value.name = f"{one.name}.{name}" if one.name else name
            if isinstance(value, Wrapped):
                for inside in value.alternatives:
                    inside.name = inside.name or value.name
        for part in value.options():
            link(part, one)
            if isinstance(part, (Collection, Mapping)):
                for inner in part.items if isinstance(part, Collection) else part.entries.values():
                    for option in inner.options():
                        link(option, one)
        if isinstance(one, Unknown):
            one.holds = one.holds or matters(value)
        if len(owner.options()) == 1:
            m.heap[(one, name)] = value
        else:
            m.heap[(one, name)] = choice([value, previous]) if previous is not None else value
        if isinstance(one, (Module, Unknown, Sampler)):
            alone = isinstance(node, cst.Assign) and len(node.targets) == 1
            text = plain_spelling(target) if alone else ""
            right = node.value if alone and node.targets[0].target is target else None
            m.emit(
                AttributeSet(
                    *m.at(node),
                    owner=one,
                    attribute=name,
                    value=value,
                    previous=previous,
                    spelling=text,
                    assigned=m.site(right) if right is not None else None,
                )
            )


def set_item(m: Machine, owner: Value, index: Value | None, value: Value, node: Any) -> None:
    """`owner[index] = value`."""
    for one in owner.options():
        if isinstance(one, Mapping):
            link_all(value, one)
        match one:
            case Mapping(entries=entries):
                if isinstance(index, Literal):
                    before = entries.get(str(index.value))
                    states = before is not None and states_in(before) and states_in(value) and m.forks > 0
                    entries[str(index.value)] = choice([before, value]) if states and before is not None else value
                else:  # any of them may be it
                    entries.update({key: choice([old, value]) for key, old in entries.items()})
                    entries[f"*{len(entries)}"] = value
                    one.open = True
            case Collection(items=items):
                if not isinstance(index, Literal):
                    items[:] = [choice([old, value]) for old in items]
                add_items(one, [value])
            case Module():
                key = f"[{index.value}]" if isinstance(index, Literal) else "[]"
                previous = item(m, one, index, node)
                m.heap[(one, key)] = value
                link_all(value, one)
                m.emit(AttributeSet(*m.at(node), owner=one, attribute=key, value=value, previous=previous))
            case Tensor():
                if isinstance(node, cst.Assign) and isinstance(node.targets[0].target, cst.Subscript):
                    changed(m, node, one, "[]", node.targets[0].target.value, [value])
                if device_of(one) is not None or device_of(value) is not None:
                    combine(m, node, [one, value], "item")
            case StateDict():
                one.edited = True
            case LoadedFile(uses=uses):
                uses.setdefault("edited", m.site(node))
            case Api(path="os.environ") if isinstance(index, Literal) and "WEIGHTS_ONLY" in str(index.value):
                m.derive(m.api("torch"), "load", value)  # it has another default from here on
            case Unknown():
                one.holds = one.holds or matters(value)
                link_all(value, one)
                if possibly(value, Module):
                    m.emit(AttributeSet(*m.at(node), owner=one, attribute="[]", value=value))
                for optimizer in _optimizers_behind(one):
                    m.emit(ParamGroupAdded(*m.at(node), optimizer=optimizer, parameters=value))
            case Instance():
                link_all(value, one)


def _starred_parts(elements: Sequence[cst.BaseElement], value: Value) -> list[Value] | None:
    """The parts of what is written out for targets with a starred one among them; None for anything else."""
    star = next((i for i, e in enumerate(elements) if isinstance(e, cst.StarredElement)), None)
    one = only(value)
    if star is None or not isinstance(one, Collection) or one.open or one.kind not in ("tuple", "list"):
        return None
    more = len(one.items) - len(elements) + 1
    if more < 0:
        return None
    rest = Collection(kind="list", items=one.items[star : star + more])
    return [*one.items[:star], rest, *one.items[star + more :]]


def _optimizers_behind(value: Value) -> list[Optimizer]:
    """The optimizers of whose `param_groups` the value is a part."""
    found: list[Optimizer] = []
    seen: set[int] = set()
    todo: list[Value] = [value]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, Optimizer):
                found.append(one)
            todo.extend(one.holders)
    return found


def unpack(m: Machine, value: Value, count: int, node: Any) -> list[Value]:
    """The parts of `value` when it is unpacked into `count` targets."""
    one = only(value)
    if (
        isinstance(one, Collection)
        and one.kind in ("tuple", "list", "set")
        and not one.open
        and len(one.items) == count
    ):
        return list(one.items)
    options = value.options()
    if len(options) > 1 and all(isinstance(o, Collection) and not o.open and len(o.items) == count for o in options):
        return [choice([o.items[i] for o in options if isinstance(o, Collection)]) for i in range(count)]
    if isinstance(one, Collection) and one.kind in ("tuple", "list", "set") and matters(one):
        return [item(m, one, Literal(value=i), node) for i in range(count)]
    graph, device, holds = graph_of(value), device_of(value), any(matters(o) for o in options)
    if isinstance(one, Tensor) and (one.certain or one.made_by in _SPLITTING):
        return [Tensor(made_by="item", graph=graph, device=device, fresh=one.fresh) for _ in range(count)]
    parts: list[Value] = []
    whole = (one,) if isinstance(one, Unknown) and one.origin == "call" else ()
    for place in range(count):
        made = part_made(value, place)
        part = Unknown(origin="item", graph=graph, device=device, holds=holds, made=made, operands=whole)
        if holds:
            for option in options:
                link(part, option)
        parts.append(part)
    return parts


_SPLITTING = frozenset({"chunk", "split", "unbind", "max", "min", "topk", "sort", "tensor_split"})


def _return(m: Machine, node: cst.Return) -> None:
    value: Value = ev(m, node.value) if node.value is not None else m.api("builtins.None")
    returned(m, node, value)
    if not m.dead:
        m.active.returns.append((value, m.heap, m.tail))
    m.tail = []


def _raise(m: Machine, node: cst.Raise) -> None:
    if node.exc is not None:
        ev(m, node.exc)
    m.tail = []


def _break(m: Machine, node: cst.Break) -> None:
    if m.runs:
        m.runs[-1].breaks.append((m.active.locals, m.heap, m.tail))
    m.tail = []


def _continue(m: Machine, node: cst.Continue) -> None:
    if m.runs:
        m.runs[-1].continues.append((m.active.locals, m.heap, m.tail))
    m.tail = []


def _global(m: Machine, node: cst.Global) -> None:
    for name in node.names:
        m.active.shared[name.name.value] = m.top


def _nonlocal(m: Machine, node: cst.Nonlocal) -> None:
    for name in node.names:
        outer = m.active.outer
        while outer is not None and name.name.value not in outer.locals:
            outer = outer.outer
        if outer is not None:
            m.active.shared[name.name.value] = outer


def _del(m: Machine, node: cst.Del) -> None:
    targets = node.target.elements if isinstance(node.target, cst.Tuple) else [cst.Element(node.target)]
    for target in targets:
        if isinstance(target.value, cst.Name):
            m.active.locals.pop(target.value.value, None)
        elif isinstance(target.value, cst.Attribute) and target.value.attr.value == "grad":
            m.emit(ZeroGrad(*m.at(node), target=ev(m, target.value.value)))
        elif isinstance(target.value, cst.Subscript):
            owner, key = only(ev(m, target.value.value)), target.value.slice[0].slice
            if isinstance(owner, StateDict):
                owner.edited = True
            elif isinstance(owner, LoadedFile):
                owner.uses.setdefault("edited", m.site(node))
            index = only(ev(m, key.value)) if isinstance(key, cst.Index) else None
            if isinstance(owner, Mapping) and isinstance(index, Literal):
                owner.entries.pop(str(index.value), None)


def _assert(m: Machine, node: cst.Assert) -> None:
    ev(m, node.test)


def _import(m: Machine, node: cst.Import) -> None:
    for alias in node.names:
        path = dotted_name(alias.name)
        _note(m, path)
        if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
            m.active.locals[alias.asname.name.value] = imported(m, path) or m.api(path)
        else:
            root = path.partition(".")[0]
            m.active.locals[root] = imported(m, root) or m.api(root)


def _import_from(m: Machine, node: cst.ImportFrom) -> None:
    base = "." * len(node.relative) + (dotted_name(node.module) if node.module is not None else "")
    if isinstance(node.names, cst.ImportStar):
        if base not in m.top.stars:
            m.top.stars.append(base)
        _note(m, f"{base}.*")
        return
    for alias in node.names:
        name = dotted_name(alias.name)
        bound = (
            alias.asname.name.value if alias.asname is not None and isinstance(alias.asname.name, cst.Name) else name
        )
        joint = "" if base.endswith(".") else "."
        path = f"{base}{joint}{name}"
        _note(m, path)
        m.active.locals[bound] = imported(m, path) or m.api(path)


def _note(m: Machine, path: str) -> None:
    if m.top is m.module:
        m.imported[path] = None


def dotted_name(node: Any) -> str:
    """`a.b.c` of a name or attribute; "" for anything else."""
    match node:
        case cst.Attribute(value=value, attr=attr):
            return f"{dotted_name(value)}.{attr.value}"
        case cst.Name(value=name):
            return str(name)
    return ""


# ------------------------------------------------------------------------------------------------ compound statements


def _function(m: Machine, node: cst.FunctionDef) -> None:
    info = m.functions[id(node)]
    function = Function(name=info.name, info=info)
    if m.active is not m.module:
        m.closures[function] = m.active
    m.active.locals[info.name] = _decorated(m, function, node)


def _decorated(m: Machine, function: Function, node: cst.FunctionDef) -> Value:
    """The function as decorators of the file itself leave it: what they return, followed as any call is."""
    from torchlint.semantics.calls import Arguments, call_value

    value: Value = function
    for decorator in reversed(node.decorators):
        expression = decorator.decorator
        name = expression.func if isinstance(expression, cst.Call) else expression
        if not isinstance(name, cst.Name):
            continue
        own = only(m.lookup(name.value))
        if not isinstance(own, Function) or own.info is None or decoration(m, own.info).is_context:
            continue
        wrapper = ev(m, expression) if isinstance(expression, cst.Call) else own
        result = only(call_value(m, cst.Call(name), wrapper, Arguments([value])))
        if isinstance(result, Function):
            value = result
    return value


def _class(m: Machine, node: cst.ClassDef) -> None:
    from torchlint.semantics.names import resolve_bases

    info = m.classes[id(node)]
    resolve_bases(m, info)
    m.active.locals[info.name] = Class(name=info.name, info=info)
    for statement in node.body.body:  # nested classes are bound where their methods look them up
        if isinstance(statement, cst.ClassDef):
            inner = m.classes[id(statement)]
            resolve_bases(m, inner)


def _if(m: Machine, node: cst.If) -> None:
    """An `if` with its `elif`s and `else`, each test after the ones before it: a long chain is not a deep nest."""
    ends: list[State] = []
    grads: list[Grad] = []
    rest: Any = node
    periods, leaves = m.periods, False
    around, tests = m.mode_tests, m.tests
    while isinstance(rest, cst.If):
        outcome = decided(m, rest.test)
        if m.dead:
            break
        if outcome is None and remainder(m.tested):
            m.periods = (*m.periods, rest.test)
        m.tests = (*m.tests, test_words(rest.test))
        m.mode_tests += not m.tests[-1].isdisjoint(MODE_WORDS)
        if outcome is True:
            run_block(m, rest.body)
            break
        if outcome is None:
            m.forks += 1
            tensor_or_not = _tensor_or_not(m, rest.test, rest)
            state, grad = (m.active.locals, m.heap, m.tail), m.grad
            m.active.locals, m.heap, m.tail = dict(state[0]), dict(state[1]), list(state[2])
            m.active.locals.update(tensor_or_not[0])
            before, m.one_round = m.one_round, m.one_round or _one_round(rest.test)
            run_block(m, rest.body)
            leaves = leaves or (m.dead and m.periods != periods)
            m.one_round = before
            m.active.mode_decides |= m.dead and m.mode_tests > around
            if m.dead:
                m.active.left = m.active.left.union(*m.tests[len(tests) :])
            if not m.dead:
                ends.append((m.active.locals, m.heap, m.tail))
                grads.append(m.grad)
            (m.active.locals, m.heap, m.tail), m.grad = state, grad
            m.active.locals.update(tensor_or_not[1])
            m.forks -= 1
        m.tests = (*m.tests[:-1], m.tests[-1] | {"else"})
        rest = rest.orelse
    else:
        if rest is not None:
            m.forks += 1
            run_block(m, rest.body)
            m.active.mode_decides |= m.dead and m.mode_tests > around
            if m.dead:
                m.active.left = m.active.left.union(*m.tests[len(tests) :])
            m.forks -= 1
    if not leaves:  # what comes after `if (i + 1) % n: continue` stands under that test too
        m.periods = periods
    m.mode_tests, m.tests = around, tests
    if not ends:
        return
    if not m.dead:
        ends.append((m.active.locals, m.heap, m.tail))
        grads.append(m.grad)
    m.merge(ends)
    m.grad = grads[0] if all(g is grads[0] for g in grads) else Grad.UNKNOWN


def _tensor_or_not(m: Machine, test: Any, around: Any) -> tuple[dict[str, Value], dict[str, Value]]:
    """What `isinstance(x, torch.Tensor)` tells of `x` where it holds, and where it does not, if one side binds it."""
    match test:
        case cst.UnaryOperation(operator=cst.Not(), expression=inner):
            return _tensor_or_not(m, inner, around)[::-1]
        case cst.Call(func=cst.Name("isinstance"), args=[cst.Arg(value=cst.Name(name)), cst.Arg(value=kind)]):
            if dotted(m, kind) not in ("torch.Tensor", "torch.FloatTensor"):
                return {}, {}
        case cst.Call(func=cst.Attribute(attr=cst.Name("is_tensor")), args=[cst.Arg(value=cst.Name(name))]):
            pass
        case _:
            return {}, {}
    value = m.active.locals.get(name)
    tensors = [one for one in value.options() if isinstance(one, Tensor)] if value is not None else []
    if value is None or not tensors or name not in assigned_names(around):
        return {}, {}
    others = [one for one in value.options() if not isinstance(one, Tensor)] or [Unknown(name=name, origin="other")]
    maybe = [one for one in others if isinstance(one, Unknown) and len(others) < len(value.options())]
    return {name: choice([*tensors, *maybe])}, {name: choice(others)}


def _one_round(test: Any) -> bool:
    """True for `epoch == last`: a comparison that a counter may satisfy in one round only. `step % k == 0` is none."""
    match test:
        case cst.Comparison(left=cst.Name() | cst.BinaryOperation(operator=cst.Add()), comparisons=[one]):
            return isinstance(one.operator, (cst.Equal, cst.GreaterThanEqual, cst.GreaterThan))
    return False


def _for(m: Machine, node: cst.For) -> None:
    over = ev(m, node.iter)
    written_out = _written_out(only(over))
    if written_out is not None and not m.exhausted:
        _unroll(m, node, written_out)
        return
    once = _once(m, node.iter)

    clears = _clears_as_it_goes(m, node.iter, over)

    def begin(loop: Loop) -> None:
        if clears:
            m.emit(ZeroGrad(*m.at(node.iter), target=Unknown(origin="call")))
        if isinstance(node.target, cst.Name) and _counts(node.iter):
            loop.counter = node.target.value
        assign(m, node.target, element_of(m, over, node), node)

    run_loop(m, node, begin, lambda: run_block(m, node.body), over=over, once=once, orelse=node.orelse)


def _clears_as_it_goes(m: Machine, node: Any, over: Value) -> bool:
    """True when what is iterated is a generator or an object of the file that clears gradients between its items."""
    if any(isinstance(o, Instance) and o.cls is not None and "zero_grad" in o.cls.words for o in over.options()):
        return True
    function = (
        only(m.lookup(node.func.value)) if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) else None
    )
    return isinstance(function, Function) and function.info is not None and "zero_grad" in function.info.words


UNROLL_LIMIT = 4


def _written_out(over: Value | None) -> list[Value] | None:
    """The rounds of a loop over a few models or optimizers that are written out; None for any other loop."""
    match over:
        case Collection(kind="tuple" | "list" | "set", items=items, open=False):
            rounds = list(items)
        case Collection(kind="items", items=items, open=False):
            rounds = [Collection(kind="tuple", items=[Unknown(origin="key"), i]) for i in items]
        case Collection(kind="enumerate", items=[inner]):
            inner_rounds = _written_out(only(inner))
            if inner_rounds is None:
                return None
            rounds = [Collection(kind="tuple", items=[Literal(value=i), r]) for i, r in enumerate(inner_rounds)]
        case Collection(kind="zip", items=items) if items:
            columns = [only(i) for i in items]
            if not all(isinstance(c, Collection) and c.kind in ("tuple", "list") and not c.open for c in columns):
                return None
            cells = [c.items for c in columns if isinstance(c, Collection)]
            rounds = [Collection(kind="tuple", items=list(r)) for r in zip(*cells, strict=False)]
        case _:
            return None
    return rounds if 0 < len(rounds) <= UNROLL_LIMIT and any(matters(r) for r in rounds) else None


def _unroll(m: Machine, node: cst.For, rounds: list[Value]) -> None:
    """Runs the body once for each of `rounds`, one after the other."""
    left: list[State] = []
    for value in rounds:
        if m.dead:
            break
        m.runs.append(LoopRun())
        assign(m, node.target, value, node)
        run_block(m, node.body)
        run = m.runs.pop()
        m.merge([*([(m.active.locals, m.heap, m.tail)] if m.tail else []), *run.continues])
        left.extend(run.breaks)
    if node.orelse is not None and not m.dead:
        run_block(m, node.orelse.body)
    m.merge([*([(m.active.locals, m.heap, m.tail)] if m.tail else []), *left])


def _counts(node: Any) -> bool:
    """True for `range(...)`, also in a progress bar."""
    match node:
        case cst.Call(func=cst.Name(value="range" | "trange")):
            return True
        case cst.Call(func=cst.Name(value="tqdm"), args=[cst.Arg(value=inner, keyword=None), *_]):
            return _counts(inner)
    return False


def _iterated_spelling(node: Any) -> str:
    """How the object that a `for` runs over is written, inside `enumerate(...)` or a progress bar."""
    from torchlint.semantics.calls import plain_spelling

    while isinstance(node, cst.Call) and node.args and plain_spelling(node.func).rsplit(".", 1)[-1] in _PASSING_ON:
        node = node.args[0].value
    return plain_spelling(node)


_PASSING_ON = frozenset({"enumerate", "tqdm", "iter"})


def _once(m: Machine, node: Any) -> bool:
    match node:
        case cst.Call(func=cst.Name(value="range"), args=[cst.Arg(value=cst.Integer(value="1"))]):
            return True
        case cst.List(elements=[element]) | cst.Tuple(elements=[element]):
            return not isinstance(element, cst.StarredElement)
    return False


def _while(m: Machine, node: cst.While) -> None:
    outcomes: list[bool | None] = []

    def begin(loop: Loop) -> None:
        outcomes.append(decided(m, node.test))

    run_loop(m, node, begin, lambda: run_block(m, node.body), test=outcomes, orelse=node.orelse)


def run_loop(
    m: Machine,
    node: Any,
    begin: Callable[[Loop], None],
    body: Callable[[], None],
    over: Value | None = None,
    once: bool = False,
    test: list[bool | None] | None = None,
    orelse: cst.Else | None = None,
    lazy: bool = False,
) -> None:
    """Runs a loop: its body once, with what an earlier round can have left in its variables, and the way back."""
    names = m.assigned.get(id(node))
    if names is None:
        names = m.assigned[id(node)] = assigned_names(node)
    carried: dict[str, Choice] = {}
    for name in names:
        before = m.active.locals.get(name)
        if before is not None and not once:
            carried[name] = Choice(name=before.name or name, alternatives=[before])
            m.active.locals[name] = carried[name]
    start_locals, start_heap = dict(m.active.locals), dict(m.heap)
    loop = Loop(m.site(node), body=getattr(node, "body", None), over=over, once=once, frame=m.active.frame)
    outer = m.loops
    m.loops = (*outer, loop)
    head = Join(*m.at(node), label="loop")
    m.emit(head)
    if over is not None:
        m.emit(Iterated(*m.at(node), over=over, loop=loop, spelling=_iterated_spelling(getattr(node, "iter", None))))
    entry = list(m.tail)
    m.runs.append(LoopRun())
    m.rounds[loop] = Round(loop, carried, start_heap)
    m.forks += not once
    loop.forks, loop.binds, loop.begins = m.forks, names, m.clock
    begin(loop)
    after_test = list(m.tail) if test is not None else entry
    body()
    m.forks -= not once
    run = m.runs.pop()
    m.merge([*([(m.active.locals, m.heap, m.tail)] if m.tail else []), *run.continues])
    settle(m, m.rounds.pop(loop))
    m.loops = outer
    loop.once = once or m.dead
    loop.left_early, loop.skips = bool(run.breaks), bool(run.continues)
    if isinstance(loop.body, cst.IndentedBlock):
        loop.last = Site(loop.body.body[-1], loop.body.body[-1], loop.body, m.active.info)
    if not once:
        for end in m.tail:
            end.next.append(head)
    for name, value in carried.items():
        after = m.active.locals.get(name)
        if after is not None and after is not value and not any(after is a for a in value.alternatives):
            value.alternatives.append(after)
    ends: list[State] = []
    if not (test and test[0] is True):
        if over is not None or test is not None:
            ends.append((start_locals, start_heap, after_test))
        if m.tail:
            ends.append((m.active.locals, m.heap, m.tail if once else after_test))
    m.merge(ends)
    if not run.breaks and over is not None and not lazy and m.tail:
        from torchlint.semantics.calls import run_out

        run_out(m, node, over)
    if orelse is not None and not m.dead:
        run_block(m, orelse.body)
    m.merge([*([(m.active.locals, m.heap, m.tail)] if m.tail else []), *run.breaks])


def run_comprehension(m: Machine, node: Any) -> Value:
    """A comprehension: loops of their own, with names of their own."""
    saved = dict(m.active.locals)
    produced: list[Value] = []
    own: set[str] = set()
    used: list[Value] = []
    lazy = isinstance(node, cst.GeneratorExp)

    def descend(clause: cst.CompFor) -> None:
        over = ev(m, clause.iter)
        own.update(assigned_names(clause))

        def begin(loop: Loop) -> None:
            assign(m, clause.target, element_of(m, over, node), node)

        def body() -> None:
            for condition in clause.ifs:
                ev(m, condition.test)
                m.runs[-1].continues.append((dict(m.active.locals), dict(m.heap), list(m.tail)))
            if clause.inner_for_in is not None:
                descend(clause.inner_for_in)
            elif isinstance(node, cst.DictComp):
                ev(m, node.key)
                produced.append(ev(m, node.value))
            elif isinstance(node, cst.BaseDict):  # {**part for part in parts}
                produced.append(element_of(m, ev(m, getattr(node, "value", None)), node))
            else:
                produced.append(ev(m, node.elt))

        used.append(over)
        run_loop(m, clause, begin, body, over=over, lazy=lazy)

    descend(node.for_in)
    m.active.locals = {**saved, **{k: v for k, v in m.active.locals.items() if k in saved and k not in own}}
    if isinstance(node, cst.BaseDict):
        state = collected(produced)
        if state is not None:
            return state
        return Mapping(entries={f"*{i}": v for i, v in enumerate(produced)}, open=True)
    made = Collection(kind="list", items=produced, open=True, repeats=comprehended(m, node, produced, own))
    if lazy:
        iterators: list[Value] = [one for one in map(only, used) if isinstance(one, Parameters) and one.generator]
        if iterators:
            m.lazy[made] = iterators
    return made


def element_of(m: Machine, over: Value, node: Any) -> Value:
    """What a loop over `over` binds in each round."""
    options = over.options()
    if len(options) > 1:
        return choice([element_of(m, one, node) for one in options])
    one = options[0] if options else over
    match one:
        case Collection(kind="enumerate", items=[inner, *_]):
            return Collection(kind="tuple", items=[Unknown(origin="index"), element_of(m, inner, node)])
        case Collection(kind="zip", items=items):
            return Collection(kind="tuple", items=[element_of(m, i, node) for i in items])
        case Collection(kind="items", items=items):
            return Collection(kind="tuple", items=[Unknown(origin="key"), choice(items)])
        case Collection(items=items):
            return choice(items) if items else Unknown(origin="item")
        case Mapping():
            return Unknown(origin="key")
        case Loader():
            from torchlint.semantics.calls import batch_of

            return batch_of(m, one)
        case Module(api=api, inner=inner) if inner and api in INDEXED:
            return choice(inner)
        case Module() | Optimizer() | Parameters():
            return item(m, one, None, node)
        case Tensor():
            rank = one.rank - 1 if one.rank is not None and one.rank > 1 else None
            return Tensor(made_by="item", graph=one.graph, device=one.device, fresh=one.fresh, rank=rank)
        case Unknown():
            return item(m, one, None, node)
    return Unknown(origin="item")


def _try(m: Machine, node: Any) -> None:
    start = (dict(m.active.locals), dict(m.heap), list(m.tail))
    first, marks = len(m.root.events), _marks(m)
    m.tries += bool(node.handlers)
    run_block(m, node.body)
    m.tries -= bool(node.handlers)
    during = m.root.events[first:]
    after_body = (m.active.locals, m.heap, m.tail)
    ends: list[State] = []
    if not m.dead:
        if node.orelse is not None:
            run_block(m, node.orelse.body)
        if not m.dead:
            ends.append((m.active.locals, m.heap, m.tail))
    for handler in node.handlers:
        m.active.locals, m.heap = dict(start[0]), dict(start[1])
        m.merge([start, (dict(after_body[0]), dict(after_body[1]), during)] if during else [start])
        m.emit(Join(*m.at(handler), label="except"))
        if handler.name is not None and isinstance(handler.name.name, cst.Name):
            m.active.locals[handler.name.name.value] = Unknown(origin="exception")
        run_block(m, handler.body)
        if not m.dead:
            ends.append((m.active.locals, m.heap, m.tail))
    m.active.locals, m.heap = start[0], start[1]
    m.merge(ends)
    if node.finalbody is None:
        return
    if m.dead and not _left(m, marks):  # it ends in an error that is not caught here
        m.merge([start, (dict(after_body[0]), dict(after_body[1]), during)] if during else [start])
        run_block(m, node.finalbody.body)
        m.tail = []
        return
    _clean_up(m, marks, join_maps([start[0], after_body[0]]), lambda: run_block(m, node.finalbody.body))


_Marks = tuple[int, int, int]


def _marks(m: Machine) -> _Marks:
    """How many returns, breaks and continues are on their way now: those that come later leave what begins here."""
    run = m.runs[-1] if m.runs else LoopRun()
    return len(m.active.returns), len(run.breaks), len(run.continues)


def _left(m: Machine, marks: _Marks) -> bool:
    """True when something between `marks` and here returns, breaks or continues."""
    return _marks(m) != marks


def _clean_up(m: Machine, marks: _Marks, names: dict[str, Value], action: Callable[[], None]) -> None:
    """Lets `action` happen on every way out of a block: where it ends, and before each way of leaving it early."""
    if not m.dead:
        action()
    if not _left(m, marks) or m.exhausted:
        return
    end, grad = (m.active.locals, m.heap, m.tail), m.grad
    grads = [grad] if m.tail else []

    def leave(ways: list[State]) -> State:
        m.active.locals = {}
        m.merge(ways)
        m.active.locals = dict(names)
        m.grad = grad
        action()
        grads.append(m.grad)
        return m.active.locals, m.heap, m.tail

    returns = m.active.returns[marks[0] :]
    if returns:
        del m.active.returns[marks[0] :]
        _, heap, tail = leave([({}, heap, tail) for _, heap, tail in returns])
        if tail:
            m.active.returns.append((choice([value for value, _, _ in returns]), heap, tail))
    if m.runs:
        for kind, mark in ((m.runs[-1].breaks, marks[1]), (m.runs[-1].continues, marks[2])):
            ways = kind[mark:]
            if ways:
                names = join_maps([way[0] for way in ways])
                kind[mark:] = [state] if (state := leave(ways))[2] else []
    m.active.locals, m.heap, m.tail = end
    m.grad = grads[0] if all(one is grads[0] for one in grads) else Grad.UNKNOWN


def _with(m: Machine, node: cst.With) -> None:
    if not any(_expects_error(item.item) for item in node.items):
        _with_items(m, node, list(node.items))
        return
    expecting, m.expects_error = m.expects_error, True
    start = (dict(m.active.locals), dict(m.heap), list(m.tail))
    first = len(m.root.events)
    _with_items(m, node, list(node.items))
    m.expects_error = expecting
    end = (m.active.locals, m.heap, m.tail)
    during = m.root.events[first:]
    m.merge([start, *([(dict(end[0]), dict(end[1]), during)] if during else []), *([end] if end[2] else [])])


def _with_items(m: Machine, node: cst.With, items: list[cst.WithItem]) -> None:
    if not items:
        run_block(m, node.body)
        return
    first, rest = items[0], items[1:]
    expression = first.item
    if isinstance(expression, cst.Call):
        manager = _own_context_manager(m, expression)
        if manager is not None:

            def inside(value: Value) -> None:
                _bind_as(m, first, value, node)
                _with_items(m, node, rest)

            _run_context_manager(m, manager, expression, inside)
            return
    value = ev(m, expression)
    saved, default, autocast, off = m.grad, m.default_device, m.autocast, m.off
    one = only(value)
    if isinstance(one, Autocast):
        m.autocast = one
    elif possibly(value, Autocast):
        m.autocast = Autocast(enabled=None)
    bound = value
    if isinstance(one, Device):
        m.default_device = one
    if isinstance(one, GradContext):
        m.grad, m.off = one.mode or Grad.UNKNOWN, (m.site(expression), "with")
    elif possibly(value, GradContext):
        m.grad = Grad.UNKNOWN
    elif isinstance(one, (Unknown, Instance)):
        bound = _entered(m, one, expression)
        if _may_switch_gradients(expression):
            m.grad = Grad.UNKNOWN if m.grad is not Grad.OFF else m.grad
    marks = _marks(m)
    _bind_as(m, first, bound, node)
    _with_items(m, node, rest)
    if isinstance(one, (Unknown, Instance)) and (matters(one) or _left(m, marks)):
        _clean_up(m, marks, m.active.locals, lambda: _leave(m, one, expression))
    m.grad, m.default_device, m.autocast, m.off = saved, default, autocast, off


def _entered(m: Machine, manager: Unknown | Instance, node: Any) -> Value:
    """What `with manager as x` binds, its `__enter__` followed where the class is of this file."""
    if isinstance(manager, Instance) and manager.cls is not None:
        method = manager.cls.method("__enter__")
        if method is not None:
            return enter(m, Function(name="__enter__", info=method, receiver=manager), [], {}, node)
        if not manager.cls.closed:
            m.unknown_call(node, "__enter__", [manager])
    return manager


def _leave(m: Machine, manager: Unknown | Instance, node: Any) -> None:
    """The `with` of a manager ends: what it was given may be changed again."""
    if isinstance(manager, Instance) and manager.cls is not None:
        method = manager.cls.method("__exit__")
        if method is not None:
            error: list[Value] = [Literal(value=None) for _ in range(3)]
            enter(m, Function(name="__exit__", info=method, receiver=manager), error, {}, node)
        elif not manager.cls.closed:
            m.unknown_call(node, "__exit__", [manager])
    else:
        m.unknown_call(node, "__exit__", [manager])


def _may_switch_gradients(expression: Any) -> bool:
    from torchlint.semantics.vocabulary import PROJECT_NO_GRAD_WORDS

    return any(word in _last_name(expression).lower() for word in PROJECT_NO_GRAD_WORDS)


def _expects_error(expression: Any) -> bool:
    name = _last_name(expression)
    return name in ("raises", "suppress", "warns") or name.startswith("assert")


def _last_name(expression: Any) -> str:
    """`raises` of `pytest.raises(ValueError)`; "" where there is no name."""
    node = expression.func if isinstance(expression, cst.Call) else expression
    name = node.attr.value if isinstance(node, cst.Attribute) else getattr(node, "value", "")
    return name if isinstance(name, str) else ""


def _bind_as(m: Machine, item_: cst.WithItem, value: Value, node: Any) -> None:
    if item_.asname is not None:
        assign(m, item_.asname.name, value, node)


def _own_context_manager(m: Machine, expression: cst.Call) -> Function | None:
    from torchlint.semantics.calls import plain_spelling

    if not plain_spelling(expression.func):
        return None  # evaluated once only
    value = only(ev(m, expression.func))
    if isinstance(value, Function) and value.info is not None and decoration(m, value.info).is_context:
        return value
    return None


def _run_context_manager(m: Machine, manager: Function, expression: cst.Call, body: Callable[[Value], None]) -> None:
    """A generator made a context manager: the `with` body runs where it yields."""
    from torchlint.facts import Frame
    from torchlint.semantics.calls import read_arguments
    from torchlint.semantics.functions import bind, run
    from torchlint.semantics.machine import DEPTH_LIMIT, Activation

    info = manager.info
    assert info is not None
    arguments = read_arguments(m, expression)
    given = list(arguments.positional)
    if manager.receiver is not None:
        given.insert(0, manager.receiver)
    caller, statement, suite, runs = m.active, m.statement, m.suite, m.runs
    if m.active.frame.depth >= DEPTH_LIMIT or any(f.function is info for f in m.active.frame.stack()):
        m.unknown_call(expression, info.name, given)
        body(Unknown(origin="call"))
        return
    activation = Activation(
        frame=Frame(info, call=m.site(expression), parent=caller.frame, depth=caller.frame.depth + 1),
        info=info,
        outer=m.closures.get(manager) or m.home(manager.info),
        owner=info.owner,
    )
    if not m.quiet:
        m.entered.add(info)
    yielded = False
    goes_on = True
    marks, periods = _marks(m), m.periods

    def at_yield(value: Value) -> None:
        nonlocal yielded, goes_on
        if yielded:  # a second yield on another path: the body was followed already
            return
        yielded = True
        inside = (m.active, m.statement, m.suite, m.runs, m.periods)
        m.active, m.statement, m.suite, m.runs, m.periods = caller, statement, suite, runs, periods
        body(value)
        goes_on = not m.dead
        if _left(m, marks):  # what comes after the `yield` happens on those ways too
            left = _leaving(m, marks)
            m.heap = join_heaps([heap for heap, _ in [*left, (m.heap, m.tail)]])
            m.tail = unique(event for tail in [m.tail, *(tail for _, tail in left)] for event in tail)
        m.active, m.statement, m.suite, m.runs, m.periods = inside

    activation.on_yield = at_yield
    run(m, activation, lambda: bind(m, activation, given, arguments.keywords, arguments.starred), decoration(m, info))
    if not yielded:  # it hands out another's generator
        body(Unknown(origin="call"))
    elif _left(m, marks):
        _relocate(m, marks)
        if not goes_on:
            m.tail = []


def _leaving(m: Machine, marks: _Marks) -> list[tuple[Heap, list[Event]]]:
    """The heap and the last events of every way of leaving since `marks`."""
    found = [(heap, tail) for _, heap, tail in m.active.returns[marks[0] :]]
    if m.runs:
        for kind, mark in ((m.runs[-1].breaks, marks[1]), (m.runs[-1].continues, marks[2])):
            found.extend((heap, tail) for _, heap, tail in kind[mark:])
    return found


def _relocate(m: Machine, marks: _Marks) -> None:
    """Every way of leaving since `marks` goes on from here."""
    m.active.returns[marks[0] :] = [(value, m.heap, m.tail) for value, _, _ in m.active.returns[marks[0] :]]
    if m.runs:
        for kind, mark in ((m.runs[-1].breaks, marks[1]), (m.runs[-1].continues, marks[2])):
            kind[mark:] = [(names, m.heap, m.tail) for names, _, _ in kind[mark:]]


def _match(m: Machine, node: cst.Match) -> None:
    subject = ev(m, node.subject)
    arms: list[Callable[[], None]] = []
    total = False
    for case in node.cases:
        arms.append(partial(_case, m, case, subject))
        total = total or (isinstance(case.pattern, cst.MatchAs) and case.pattern.pattern is None and case.guard is None)
    if not total:
        arms.append(lambda: None)
    m.branch(arms)


def _case(m: Machine, case: cst.MatchCase, subject: Value) -> None:
    stack: list[Any] = [case.pattern]
    while stack:
        one = stack.pop()
        match one:
            case cst.MatchAs(name=cst.Name(value=name), pattern=pattern):
                bind_name(m, name, subject if one is case.pattern and pattern is None else _part(subject))
            case cst.MatchStar(name=cst.Name(value=name)) | cst.MatchMapping(rest=cst.Name(value=name)):
                bind_name(m, name, _part(subject))
        stack.extend(children(one))
    if case.guard is None:
        run_block(m, case.body)
        return
    ev(m, case.guard)
    m.branch([partial(run_block, m, case.body), lambda: None])


def _part(whole: Value) -> Unknown:
    part = Unknown(origin="item", graph=graph_of(whole), holds=matters(whole))
    for one in whole.options():
        link(part, one)
    return part


_STATEMENTS: dict[type, Callable[[Machine, Any], None]] = {
    cst.SimpleStatementLine: _line,
    cst.FunctionDef: _function,
    cst.ClassDef: _class,
    cst.If: _if,
    cst.For: _for,
    cst.While: _while,
    cst.Try: _try,
    cst.TryStar: _try,
    cst.With: _with,
    cst.Match: _match,
}

_SMALL: dict[type, Callable[[Machine, Any], None]] = {
    cst.Expr: _expression,
    cst.Assign: _assign,
    cst.AnnAssign: _annotated,
    cst.AugAssign: _augmented,
    cst.Return: _return,
    cst.Raise: _raise,
    cst.Break: _break,
    cst.Continue: _continue,
    cst.Import: _import,
    cst.ImportFrom: _import_from,
    cst.Global: _global,
    cst.Nonlocal: _nonlocal,
    cst.Del: _del,
    cst.Assert: _assert,
}
# Forms that only later versions of libcst know.
for _form, _handler in (("LazyImport", _import), ("LazyImportFrom", _import_from)):
    if hasattr(cst, _form):
        _SMALL[getattr(cst, _form)] = _handler
