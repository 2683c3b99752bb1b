"""What a call does: of torch's own functions, of methods on what is known, of the file's functions, of unseen code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import libcst as cst

from torchlint import methods
from torchlint.facts import (
    Api,
    AttributeSet,
    Autocast,
    Backward,
    Choice,
    Class,
    ClassInfo,
    Collection,
    Cut,
    Derives,
    Device,
    Discarded,
    Dropped,
    Engine,
    Evidence,
    Forward,
    Function,
    FunctionInfo,
    Given,
    Grad,
    GradContext,
    GradientsClipped,
    GradientUsed,
    GradSwitched,
    GroupJoined,
    Imported,
    Instance,
    IteratorMade,
    IteratorUsedUp,
    Literal,
    LoadedFile,
    Loader,
    LoadResult,
    Mapping,
    Metric,
    ModelWrapped,
    ModeSet,
    Module,
    ModuleCast,
    Moved,
    NumberRead,
    Optimizer,
    OptimizerBuilt,
    OptimizerStep,
    Parameters,
    ParamGroupAdded,
    RequiresGradSet,
    Sampler,
    SamplerBuilt,
    Saved,
    Scaler,
    ScalerUpdated,
    Scheduler,
    SchedulerBuilt,
    SchedulerStep,
    StateDict,
    SuperInit,
    Tensor,
    TensorCopied,
    Unknown,
    Unscaled,
    Value,
    Wrapped,
    ZeroGrad,
    only,
)
from torchlint.semantics import devices, engines, frameworks, hooks, loaders, metrics, states
from torchlint.semantics import vocabulary as words
from torchlint.semantics.containers import LISTS, look_into
from torchlint.semantics.expressions import CPU, attribute, combine, device_of, ev, item, settled
from torchlint.semantics.flow import element_of, set_attribute
from torchlint.semantics.functions import decoration, dotted, enter, registered_before
from torchlint.semantics.graphs import cut_at, cut_of, inherited_cut
from torchlint.semantics.keeping import put_into
from torchlint.semantics.leaves import changed, written_into
from torchlint.semantics.machine import (
    Activation,
    Machine,
    add_items,
    choice,
    graph_of,
    graphs_of,
    link,
    link_all,
    matters,
    parts_of,
    place,
    unplace,
)
from torchlint.semantics.slips import checked, flags_given, handed_on
from torchlint.semantics.tails import (
    flattened,
    flattened_by_module,
    kept,
    made_by_function,
    made_by_method,
    made_by_module,
    tell_loss,
)


@dataclass(slots=True, eq=False)
class Arguments:
    """The arguments of a call, evaluated."""

    positional: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)
    starred: bool = False  # *args or **kwargs: more may be given than can be seen
    nodes: list[Any] = field(default_factory=list)

    def get(self, position: int, keyword: str) -> Value | None:
        """An argument by place or name."""
        if keyword in self.keywords:
            return self.keywords[keyword]
        return self.positional[position] if 0 <= position < len(self.positional) else None

    def all(self) -> list[Value]:
        return [*self.positional, *self.keywords.values()]


def read_arguments(m: Machine, node: cst.Call) -> Arguments:
    """Evaluates the arguments of a call in order."""
    found = Arguments()
    for argument in node.args:
        value = ev(m, argument.value)
        if argument.star == "*":
            one = only(value)
            if isinstance(one, Collection) and not one.open and one.kind in ("tuple", "list"):
                found.positional.extend(one.items)
            else:
                found.starred = True
                found.keywords[f"*{len(found.keywords)}"] = value
        elif argument.star == "**" and isinstance(one := only(value), Mapping) and not one.open:
            found.keywords.update(one.entries)
        elif argument.star == "**":
            found.starred = True
            found.keywords[f"*{len(found.keywords)}"] = value
        elif argument.keyword is not None:
            found.keywords[argument.keyword.value] = value
        else:
            found.positional.append(value)
            found.nodes.append(argument.value)
    return found


def call(m: Machine, node: cst.Call, discarded: bool = False) -> Value:
    """Evaluates a call; `discarded` when it is a statement of its own."""
    func = node.func
    if isinstance(func, cst.Attribute):
        if (
            isinstance(func.value, cst.Call)
            and isinstance(func.value.func, cst.Name)
            and func.value.func.value == "super"
        ):
            for argument in func.value.args:
                ev(m, argument.value)
            return _super_call(m, node, func.attr.value, read_arguments(m, node))
        receiver = ev(m, func.value)
        arguments = read_arguments(m, node)
        return call_method(m, node, receiver, func.attr.value, arguments, discarded)
    callee = ev(m, func)
    arguments = read_arguments(m, node)
    return call_value(m, node, callee, arguments, discarded)


def _over_options(m: Machine, options: tuple[Value, ...], run: Callable[[Value], Value]) -> Value:
    found: list[Value] = []
    m.choosing += len(options) > 1
    m.branch([lambda one=one: found.append(run(one)) for one in options])  # type: ignore[misc]
    m.choosing -= len(options) > 1
    return choice(found) if found else Unknown(origin="call")


def call_value(m: Machine, node: cst.Call, callee: Value, arguments: Arguments, discarded: bool = False) -> Value:
    """Calls a value."""
    match callee:
        case Choice():
            options = callee.options()
            if all(isinstance(o, Module) for o in options):
                return forward(m, node, callee, arguments)
            if len(options) == 1:
                return call_value(m, node, options[0], arguments, discarded)
            known = tuple(o for o in options if not (isinstance(o, Literal) and o.value is None))
            return _over_options(m, known, lambda one: call_value(m, node, one, arguments, discarded))
        case Api(path=path):
            return call_api(m, node, path, arguments, discarded)
        case Class():
            return _instantiate(m, node, callee, arguments)
        case Function(info=info) if info is not None:
            return enter(m, callee, arguments.positional, arguments.keywords, node, arguments.starred)
        case Module():
            return forward(m, node, callee, arguments)
        case Engine() if (done := engines.method(m, node, callee, "__call__", arguments, discarded)) is not None:
            return done
        case Metric():
            return metrics.method(m, node, callee, "update", arguments)
        case Instance(cls=cls) if cls is not None:
            method = cls.method("__call__")
            if method is not None:
                return enter(
                    m,
                    Function(name="__call__", info=method, receiver=callee),
                    arguments.positional,
                    arguments.keywords,
                    node,
                    arguments.starred,
                )
            if cls.module is Derives.UNKNOWN and cls.method("forward") is not None:
                return forward(
                    m,
                    node,
                    promote(m, callee, Module(name=callee.name, cls=cls, evidence=Evidence.USE, fresh=False)),
                    arguments,
                )
        case Unknown(name=name) if (
            name and words.named_like_model(name) and not m.lookalike and _callable_model(callee)
        ):
            return forward(
                m, node, promote(m, callee, Module(name=name, evidence=Evidence.NAME, fresh=False)), arguments
            )
        case _:
            pass
    return _unknown(m, node, callee, arguments)


def _callable_model(value: Unknown) -> bool:
    return value.origin in ("parameter", "attribute", "global", "call", "item", "choice")


def _unknown(m: Machine, node: cst.Call, receiver: Value | None, arguments: Arguments, name: str = "") -> Value:
    """Code out of sight runs: what it returns may hold what it was given."""
    given = arguments.all()
    handed = [*given, receiver] if receiver is not None else given
    m.unknown_call(node, name or _spelling(node.func), handed)
    _run_handed(m, node, given)
    states.escaped(handed)
    states.note_called(m, node, receiver if receiver is not None and not name else Literal())
    graph: frozenset[Value] = graphs_of(handed)
    called = receiver if receiver is not None and not name else None
    if isinstance(called, Unknown) and called.origin in ("attribute", "parameter", "item") and m.grad is not Grad.OFF:
        graph |= frozenset({called}) if called.holds and not called.graph else frozenset()
    result = Unknown(site=m.site(node), origin="call", graph=graph, operands=tuple(handed) if graph else ())
    if name and isinstance(receiver, Unknown) and receiver.cut is not None and receiver.origin in ("number", "numpy"):
        result.origin, result.cut = "numpy", receiver.cut  # an array of numbers has no graph again
    if any(word in (name or _spelling(node.func)).lower() for word in words.ZERO_GRAD_WORDS):
        m.emit(ZeroGrad(*m.at(node), target=given[0] if given else Unknown(origin="call")))
    keeps = isinstance(receiver, Instance) or (
        isinstance(receiver, Unknown) and receiver.origin not in ("library", "path")
    )
    if isinstance(receiver, Unknown) and receiver.origin != "arguments":
        result.source = receiver.source
    if states.downloads(name or _spelling(node.func)):
        result.source = "a download"
    for value in handed:
        if matters(value):
            result.holds = True
            if keeps and receiver is not None and value is not receiver:
                link_all(value, receiver)
                if isinstance(receiver, Unknown):
                    receiver.holds = True
            unplace(m, value)  # it may have been moved
            for one in value.options():
                link(one, result)
                if isinstance(one, Collection):
                    for inner in one.items:
                        for option in inner.options():
                            link(option, result)
    return result


def _run_handed(m: Machine, node: cst.Call, given: list[Value]) -> None:
    """Code out of sight may call what it is given: a lambda that drops does so then, on what is not known."""
    for value in given:
        one = only(value)
        info = one.info if isinstance(one, Function) else None
        if (
            isinstance(one, Function)
            and info is not None
            and isinstance(info.node, cst.Lambda)
            and "dropout" in info.words
        ):
            unseen: list[Value] = [Unknown(name=name, origin="parameter") for name in info.parameters]
            m.branch([lambda: None, partial(_called_with, m, one, unseen, node)])


def _called_with(m: Machine, function: Function, arguments: list[Value], node: cst.Call) -> None:
    enter(m, function, arguments, {}, node)


def _spelling(node: Any) -> str:
    match node:
        case cst.Name(value=name):
            return str(name)
        case cst.Attribute(value=value, attr=attr):
            base = _spelling(value)
            return f"{base}.{attr.value}" if base else str(attr.value)
        case cst.Call(func=func):
            return _spelling(func)
    return ""


def plain_spelling(node: Any) -> str:
    """A name or a chain of attributes as it is written; "" for anything else, which cannot be written twice."""
    match node:
        case cst.Name(value=name):
            return str(name)
        case cst.Attribute(value=value, attr=attr):
            base = plain_spelling(value)
            return f"{base}.{attr.value}" if base else ""
    return ""


def _receiver_spelling(node: cst.Call) -> str:
    return plain_spelling(node.func.value) if isinstance(node.func, cst.Attribute) else ""


def promote(m: Machine, old: Value, new: Value) -> Value:
    """From now on `old` is known to be `new`."""
    known = m.promoted.get(old)
    if known is not None:
        return known
    new.holders = old.holders
    new.site = old.site
    old.holders = [*old.holders, new]
    m.promoted[old] = new
    if isinstance(new, Optimizer):  # `optimizer.zero_grad()` says nothing of what it is, the `step()` after it does
        for event in m.root.events:
            if isinstance(event, ZeroGrad) and event.target is old:
                event.target = new
    return new


# ------------------------------------------------------------------------------------------------------------ modules


def forward(m: Machine, node: cst.Call, module: Value, arguments: Arguments, direct: bool = False) -> Value:
    """A module is called."""
    one = only(module)
    inputs = [a for a in arguments.all() if not isinstance(a, Literal)]
    graph: frozenset[Value] = graphs_of(inputs)
    if isinstance(one, Module) and words.is_loss_api(one.api):
        result = combine(m, node, inputs, "ctc_loss" if one.api.endswith("CTCLoss") else "loss")
        if m.grad is Grad.OFF:
            graph = frozenset()
        computed = Tensor(
            site=m.site(node),
            made_by="loss",
            graph=graph,
            operands=tuple(inputs),
            cut=getattr(result, "cut", None) if not graph else None,
            device=getattr(result, "device", None),
            rank=None,
            mean=_averages(one.keywords, len(one.arguments) > 1),
        )
        tell_loss(m, node, words.LOSS_MODULES.get(one.api.rpartition(".")[2], ""), one, arguments, computed)
        return computed
    graph |= frozenset(module.options())
    cut: Cut | None = None
    if m.grad is Grad.OFF:
        cut = Cut(m.site(node), "no_grad", graph, one or module, *m.off)
        graph = frozenset()
    # A layer without parameters is wherever its inputs are.
    held = isinstance(one, Module) and (not words.is_module_api(one.api) or words.has_parameters(one.api))
    device = module_device(m, one) if isinstance(one, Module) and held and not _places_inputs(one) else None
    met = {d.kind for d in (device, *map(device_of, inputs)) if d is not None}
    output = Tensor(
        site=m.site(node),
        made_by="forward",
        graph=graph,
        device=device if len(met) == 1 else None,  # where devices differ the call itself is the mistake
        certain=isinstance(one, Module) and bool(one.api),
        made=made_by_module(m, node, module, arguments),
        flat=flattened_by_module(m, node, one, arguments),
        operands=tuple(inputs),
        cut=cut,
    )
    func = node.func.value if direct and isinstance(node.func, cst.Attribute) else node.func
    m.emit(
        Forward(
            *m.at(node),
            module=module,
            arguments=arguments.positional,
            keywords=arguments.keywords,
            output=output,
            direct=direct,
            device=device,
            spelling=plain_spelling(func),
            callee=m.site(func),
            certain=not m.choosing,
            method=m.site(node.func) if direct else None,
            argument_sites=[m.site(n) for n in arguments.nodes],
            autocast=m.autocast,
        )
    )
    return output


def _places_inputs(module: Module) -> bool:
    """True when the module's own forward may move what it is given, or cannot be seen."""
    if module.places_inputs:
        return True
    if module.cls is None:
        return not module.api
    method = module.cls.method("forward")
    return method is None or bool(method.words & {"to", "cuda", "device", "type_as"})


def module_device(m: Machine, module: Module) -> Device | None:
    """The device a module is certainly on, None when unknown."""
    known = m.heap.get((module, "$device"))
    one = only(known) if known is not None else None
    return one if isinstance(one, Device) else None


_BUFFERS = frozenset({"io.BytesIO", "tempfile.SpooledTemporaryFile", "tempfile.TemporaryFile"})


def _passing(m: Machine, file: Value | None) -> bool:
    """True for a file that ends with the program, or before."""
    one = only(file) if file is not None else None
    made = one.site.node if isinstance(one, Unknown) and one.site is not None else None
    return isinstance(made, cst.Call) and dotted(m, made.func) in _BUFFERS


def _takes_tensors(init: FunctionInfo, arguments: Arguments) -> bool:
    """True where parameters of a module may be what its constructor was given, which can be on any device."""
    return not init.words.isdisjoint({"Parameter", "register_buffer"}) and any(
        isinstance(one, Tensor) and (one.device is None or one.device.kind != "cpu")
        for given in arguments.all()
        for one in given.options()
    )


def _instantiate(m: Machine, node: cst.Call, callee: Class, arguments: Arguments) -> Value:
    info = callee.info
    assert info is not None
    lineage = [b for b in info.lineage() if isinstance(b, str)]
    if info.module is Derives.YES:
        made = Module(
            born=m.clock,
            repeated=m.loops,
            site=m.site(node),
            cls=info,
            arguments=arguments.positional,
            keywords=arguments.keywords,
            inner=[a for a in arguments.all() if isinstance(only(a), Module)],
        )
        for given in arguments.all():
            for one in given.options():
                if matters(one):
                    link(one, made)
        init = info.method("__init__")
        places = init is not None and (init.words & {"to", "cuda", "device"} or _takes_tensors(init, arguments))
        place(m, made, Unknown(origin="device") if places else CPU)
        if init is not None and info.words & _EAGER:
            m.constructed.add(made)
            _run_constructor(m, node, made, init, arguments)
        return made
    optimizer_like = any(b == "torch.optim.Optimizer" or words.is_optimizer_api(b) for b in lineage)
    if optimizer_like and info.method("step") is None:  # with a step of its own it may do anything: that is followed
        return _optimizer(m, node, f"{info.name}", arguments)
    if any(words.is_scheduler_api(b) or b == "torch.optim.lr_scheduler.LRScheduler" for b in lineage):
        return _scheduler(m, node, info.name, arguments)
    made_instance = Instance(site=m.site(node), cls=info)
    for given in arguments.all():
        for one in given.options():
            if matters(one):
                link(one, made_instance)
    init = info.method("__init__")
    m.constructed.add(made_instance)
    if info.file and not any(map(matters, arguments.all())) and init not in m.relevant:
        pass  # data, settings, a logger: what it is made of decides nothing here
    elif init is not None:
        _run_constructor(m, node, made_instance, init, arguments)
    elif not arguments.starred and (names := _field_names(info)):
        fields = {**dict(zip(names, arguments.positional, strict=False)), **arguments.keywords}
        for name in names:
            if name in fields:
                m.heap[(made_instance, name)] = fields[name]
        after = info.method("__post_init__")
        if after is not None:
            enter(m, Function(name="__post_init__", info=after, receiver=made_instance), [], {}, node)
    elif info.module is Derives.UNKNOWN and arguments.all():
        m.unknown_call(node, info.name, arguments.all())
    return made_instance


def _field_names(info: ClassInfo) -> list[str]:
    """The annotated names of a class body, in order: the fields of a dataclass or a named tuple."""
    found: dict[str, None] = {}
    for one in reversed(info.lineage()):
        if isinstance(one, ClassInfo) and one.node is not None:
            for statement in one.node.body.body:
                for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
                    if isinstance(small, cst.AnnAssign) and isinstance(small.target, cst.Name):
                        found[small.target.value] = None
    return list(found)


def _run_constructor(m: Machine, node: cst.Call, made: Value, init: FunctionInfo, arguments: Arguments) -> None:
    bound = Function(name="__init__", info=init, receiver=made)
    enter(m, bound, arguments.positional, arguments.keywords, node, arguments.starred)


_EAGER = frozenset({"optim", "Adam", "AdamW", "SGD", "RMSprop", "eval", "optimizer", "zero_grad", "step"})


def _super_call(m: Machine, node: cst.Call, name: str, arguments: Arguments) -> Value:
    activation: Any = m.active
    while activation is not None and activation.owner is None:
        activation = activation.outer
    owner_class = activation.owner if activation is not None else None
    itself = (
        activation.locals.get(activation.info.parameters[0])
        if activation is not None and activation.info.parameters
        else None
    )
    if owner_class is None or itself is None:
        return _unknown(m, node, None, arguments, name=f"super().{name}")
    if name == "__init__":
        m.emit(SuperInit(*m.at(node), owner=itself))
    for base in owner_class.lineage()[1:]:
        if not isinstance(base, str) and name in base.methods:
            bound = Function(name=name, info=base.methods[name], receiver=itself)
            return enter(m, bound, arguments.positional, arguments.keywords, node, arguments.starred)
    one = only(itself)
    if name == "__init__":
        return m.api("builtins.None")
    if isinstance(one, Module) and name in words.MODULE_CLASS_METHODS and not isinstance(one, Optimizer):
        return _module_method(m, node, one, name, arguments, False)
    return _unknown(m, node, itself, arguments, name=f"super().{name}")


# ------------------------------------------------------------------------------------------------------------ methods


def call_method(m: Machine, node: cst.Call, receiver: Value, name: str, arguments: Arguments, discarded: bool) -> Value:
    """`receiver.name(...)`."""
    if name in ("cuda", "to"):
        devices.moved(m, node, receiver, name, arguments.all())
    match receiver:
        case Wrapped(alternatives=[Module() as inside]) if name == "module":
            return forward(m, node, inside, arguments)
        case Wrapped(kind="deepspeed", alternatives=[Module() as inside]) if (
            done := engines.deepspeed_method(m, node, inside, name, arguments)
        ) is not None:
            return done
        case Choice():
            options = receiver.options()
            if all(isinstance(o, Module) and not _overrides(o, name) for o in options):
                if name in words.MODULE_CLASS_METHODS:
                    return _module_method(m, node, receiver, name, arguments, discarded)
            elif all(isinstance(o, Optimizer) for o in options):
                return _optimizer_method(m, node, receiver, name, arguments)
            if len(options) == 1:
                return call_method(m, node, options[0], name, arguments, discarded)
            known = tuple(o for o in options if not (isinstance(o, Literal) and o.value is None))
            if any(isinstance(o, Unknown) for o in known) or len({type(o) for o in known}) > 1:
                m.doubtful = node
            found = _over_options(m, known, lambda one: call_method(m, node, one, name, arguments, discarded))
            if name == "state_dict" and len(known) > 1:
                states.escaped([found])  # of one of them, nobody knows which
            return found
        case Imported():
            return call_value(m, node, attribute(m, receiver, name, node), arguments, discarded)
        case Api(path=path):
            if name == "zero_grad" and arguments.positional:
                m.emit(ZeroGrad(*m.at(node), target=arguments.positional[0]))
                return Unknown(origin="call")
            if name == "__init__" and arguments.positional:
                m.emit(SuperInit(*m.at(node), owner=arguments.positional[0]))
                return m.api("builtins.None")
            return call_api(m, node, f"{path}.{name}", arguments, discarded)
        case Module() | Instance():
            return _object_method(m, node, receiver, name, arguments, discarded)
        case Optimizer():
            checked(m, node, receiver, name)
            return _optimizer_method(m, node, receiver, name, arguments)
        case Tensor():
            checked(m, node, receiver, name)
            return _tensor_method(m, node, receiver, name, arguments, discarded)
        case Scaler():
            return _scaler_method(m, node, receiver, name, arguments)
        case Engine():
            done = engines.method(m, node, receiver, name, arguments, discarded)
            if done is not None:
                return done
        case Metric():
            return metrics.method(m, node, receiver, name, arguments)
        case Scheduler() if name == "step":
            count = None if arguments.starred else len(arguments.all())
            text = _receiver_spelling(node)
            m.emit(SchedulerStep(*m.at(node), scheduler=receiver, arguments=count, spelling=text))
            return Unknown(origin="call")
        case Parameters() if name in ("__iter__", "__next__"):
            return item(m, receiver, None, node)
        case Parameters() if name in ("append", "extend", "insert"):
            receiver.open = True
            return Unknown(origin="call")
        case Class(info=info) if info is not None:
            return _class_method(m, node, receiver, name, arguments)
        case Collection():
            return _collection_method(m, node, receiver, name, arguments)
        case Mapping():
            return _mapping_method(m, node, receiver, name, arguments)
        case StateDict():
            return states.state_method(m, node, receiver, name)
        case LoadResult():
            states.misused(m, node, receiver, name)
            return Unknown(origin="call")
        case Literal(value=str()):
            return Unknown(origin="string")
        case Scheduler() if name == "state_dict":
            return states.taken(m, node, receiver)
        case Scheduler() if name == "load_state_dict":
            return states.loaded(m, node, receiver, arguments, discarded)
        case Loader() | Device() | Literal() | Scheduler() | GradContext():
            return Unknown(
                origin="call",
                graph=graphs_of(arguments.all()),
            )
    return _unknown_method(m, node, receiver, name, arguments, discarded)


def _overrides(module: Module, name: str) -> bool:
    """True when the class of a module has a method of its own by that name."""
    return name != "forward" and module.cls is not None and module.cls.method(name) is not None


def _class_method(m: Machine, node: cst.Call, receiver: Class, name: str, arguments: Arguments) -> Value:
    info = receiver.info
    assert info is not None
    method = info.method(name)
    if name == "__init__" and arguments.positional:
        m.emit(SuperInit(*m.at(node), owner=arguments.positional[0]))
    if method is not None:
        look = decoration(m, method)
        bound = Function(name=name, info=method, receiver=receiver if look.is_class else None)
        return enter(m, bound, arguments.positional, arguments.keywords, node, arguments.starred)
    return _unknown(m, node, receiver, arguments, name=name)


def _object_method(
    m: Machine, node: cst.Call, receiver: Module | Instance, name: str, arguments: Arguments, discarded: bool
) -> Value:
    cls = receiver.cls
    replaced = m.field_of(receiver, name)
    if replaced is not None and not isinstance(only(replaced), Function):
        return call_value(m, node, replaced, arguments, discarded)
    if cls is not None:
        method = cls.method(name)
        if method is not None and not (isinstance(receiver, Module) and name == "forward"):
            if decoration(m, method).is_property:
                return call_value(m, node, attribute(m, receiver, name, node), arguments, discarded)
            bound = Function(name=name, info=method, receiver=receiver)
            return enter(m, bound, arguments.positional, arguments.keywords, node, arguments.starred)
        if isinstance(receiver, Instance) and cls.module is Derives.UNKNOWN and name in _TYPING_METHODS:
            receiver = promote(m, receiver, Module(name=receiver.name, cls=cls, evidence=Evidence.USE, fresh=False))  # type: ignore[assignment]
        given = hooks.provides(m, receiver, name)
        if given is not None:
            if name in ("log", "log_dict"):
                metrics.logged(m, node, arguments.all())
            return given
    if name == "__init__" and arguments.positional:
        m.emit(SuperInit(*m.at(node), owner=arguments.positional[0]))
        return m.api("builtins.None")
    if isinstance(receiver, Module):
        if m.field_of(receiver, name) is None:
            checked(m, node, receiver, name)
        if name in words.MODULE_CLASS_METHODS or name in ("step", "backward"):
            return _module_method(m, node, receiver, name, arguments, discarded)
        if cls is not None and name not in words.BACKWARD_METHODS:
            value = attribute(m, receiver, name, node)
            if not isinstance(value, Unknown):
                return call_value(m, node, value, arguments, discarded)
            if words.named_like_model(name) or cls.closed:
                # a child called as `self.encoder(x)`: not seen to be made, but an attribute of a module nonetheless
                return call_value(m, node, value, arguments, discarded)
    else:
        value = attribute(m, receiver, name, node)
        if not (isinstance(value, Unknown) and value.origin == "attribute" and (cls is None or not cls.closed)):
            return call_value(m, node, value, arguments, discarded)
    return _unknown_method(m, node, receiver, name, arguments, discarded)


_TYPING_METHODS = frozenset({"parameters", "state_dict", "named_parameters", "zero_grad", "load_state_dict"})


def _module_method(
    m: Machine, node: cst.Call, receiver: Value, name: str, arguments: Arguments, discarded: bool
) -> Value:
    match name:
        case "eval":
            m.emit(
                ModeSet(
                    *m.at(node),
                    module=receiver,
                    training=False,
                    spelling=_receiver_spelling(node),
                    under=frozenset().union(*m.tests),
                )
            )
            return receiver
        case "train":
            mode = arguments.get(0, "mode")
            one = settled(mode) if mode is not None else Literal(value=True)
            training = bool(one.value) if isinstance(one, Literal) else None
            m.emit(ModeSet(*m.at(node), module=receiver, training=training, spelling=_receiver_spelling(node)))
            return receiver
        case "to" | "cuda" | "cpu" | "xpu" | "to_empty":
            device = _move_target(m, name, arguments)
            inside = only(receiver)
            m.emit(
                Moved(
                    *m.at(node),
                    target=receiver,
                    spelling=_receiver_spelling(node),
                    device=device if isinstance(device, Device) else None,
                    before=module_device(m, inside) if isinstance(inside, Module) else None,
                    kept=_kept(m, node, discarded),
                )
            )
            dtype = _dtype_of(arguments) if name == "to" else ""
            if dtype:
                m.emit(ModuleCast(*m.at(node), module=receiver, dtype=dtype, kept=_kept(m, node, discarded)))
            if device is not None:
                moved = set(receiver.options())
                for module in [p for p in m.placed if p.holders and not moved.isdisjoint(p.with_holders())]:
                    place(m, module, Unknown(origin="device"))  # a part of it, or what it was given to
                for one in receiver.options():
                    place(m, one, device)
            return receiver
        case "parameters" | "named_parameters" | "buffers" | "named_buffers":
            return _iterator(m, Parameters(site=m.site(node), of=list(receiver.options())), list(receiver.options()))
        case "zero_grad":
            m.emit(ZeroGrad(*m.at(node), target=receiver))
            return Unknown(origin="call")
        case "load_state_dict":
            return states.loaded(m, node, receiver, arguments, discarded)
        case "forward":
            return forward(m, node, receiver, arguments, direct=True)
        case "state_dict":
            return states.taken(m, node, receiver)
        case "add_module" | "register_module" | "register_parameter" | "register_buffer":
            key, value = arguments.get(0, "name"), arguments.get(1, "module")
            for one in receiver.options():
                if isinstance(one, Module) and one.api == "torch.nn.Sequential" and value is not None:
                    _appended(m, one, value)
            if value is None:
                value = next((v for k, v in arguments.keywords.items() if k != "name"), None)
            if value is not None:
                literal = only(key) if key is not None else None
                attr = str(literal.value) if isinstance(literal, Literal) else ""
                if name == "register_buffer" or name == "register_parameter":
                    value = _registered(m, node, value)
                for one in receiver.options():
                    previous = registered_before(m, one, attr) if attr else None
                    if attr:
                        m.heap[(one, attr)] = value
                    for option in value.options():
                        link(option, one)
                    m.emit(
                        AttributeSet(
                            *m.at(node), owner=one, attribute=attr, value=value, previous=previous, registers=True
                        )
                    )
            return Unknown(origin="call")
        case "modules" | "children" | "named_modules" | "named_children":
            inner = Unknown(origin="item", holds=True)
            for one in receiver.options():
                link(inner, one)
            return Collection(kind="items" if name.startswith("named") else "list", items=[inner], open=True)
        case "apply":
            for argument in arguments.positional:
                function = only(argument)
                if isinstance(function, Function) and function.info is not None:
                    inner = Unknown(name="module", origin="item", holds=True)
                    for one in receiver.options():
                        link(inner, one)
                    m.branch([partial(_visit, m, function, inner, node), _pass])
            return receiver
        case "requires_grad_":
            m.emit(GradientUsed(*m.at(node), target=receiver))
            set_requires_grad(m, node, receiver, arguments.get(0, "requires_grad") or Literal(value=True))
            return receiver
        case "float" | "half" | "double" | "bfloat16" | "type":
            cast = _CAST.get(name) or _dtype_of(arguments)
            m.emit(ModuleCast(*m.at(node), module=receiver, dtype=cast, kept=_kept(m, node, discarded)))
            return receiver
        case "share_memory" | "compile":
            return receiver
        case "step" | "backward":
            return _unknown_method(m, node, receiver, name, arguments, discarded)
        case "register_forward_pre_hook" | "register_forward_hook":
            for one in receiver.options():
                if isinstance(one, Module):
                    one.places_inputs = True  # the hook may
    return Unknown(origin="call", holds=name in ("get_submodule",))


def _appended(m: Machine, sequential: Module, layer: Value) -> None:
    """One more layer at the end of a Sequential: certain in the suite that built it, else not known any more."""
    built_here = sequential.site is not None and sequential.site.suite is m.suite
    sequential.last = [*(sequential.last or ()), layer] if built_here else None


_CAST = {"float": "torch.float32", "half": "torch.float16", "double": "torch.float64", "bfloat16": "torch.bfloat16"}


def _dtype_of(arguments: Arguments) -> str:
    """The dtype among the arguments of `.to(...)` or `.type(...)`, "" when there is none or it is not known."""
    for given in arguments.all():
        one = only(given)
        if isinstance(one, Api) and one.path.startswith("torch."):
            return {"torch.float": "torch.float32", "torch.half": "torch.float16", "torch.double": "torch.float64"}.get(
                one.path, one.path
            )
    return ""


def _kept(m: Machine, node: cst.Call, discarded: bool) -> str | None:
    """The one name that the result of a call is assigned to, "" when it is thrown away; None for all else."""
    match m.statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[one], value=value)]) if value is node:
            return plain_spelling(one.target) or None
    return "" if discarded else None


def _registered(m: Machine, node: Any, value: Value) -> Value:
    """A tensor that a module takes along wherever it is moved: its own device says nothing any more."""
    one = only(value)
    if not isinstance(one, Tensor):
        return value
    kept = _like(m, node, one, "buffer")
    kept.device, kept.fresh, kept.factory, kept.parameter = None, None, "", one.parameter
    return kept


def _visit(m: Machine, function: Function, part: Value, node: cst.Call) -> None:
    enter(m, function, [part], {}, node)


def _pass() -> None:
    pass


def _move_target(m: Machine, name: str, arguments: Arguments) -> Value | None:
    """The device of a `.to(...)`-like call: a Device, an Unknown when it may be one, None when no device is meant."""
    if name == "cpu":
        return CPU
    if name != "to" and name != "to_empty":
        return Device(name=name, kind=name)
    given = arguments.get(0, "device")
    if given is None:
        return Unknown(origin="device") if arguments.starred else None
    device = as_device(given)
    if device is not None:
        return device
    one = only(given)
    if isinstance(one, Tensor):
        return one.device or Unknown(origin="device")
    if isinstance(one, Api) and one.path.startswith("torch.") and len(arguments.positional) == 1:
        return None  # a dtype
    return Unknown(origin="device")


def as_device(value: Value) -> Device | None:
    """A value as a device: `open` when the program chooses at run time, None when it is not known to be one."""
    options = value.options()
    if len(options) > 1:
        found = [as_device(o) for o in options]
        if any(f is None for f in found):
            return None
        kinds = {f.kind for f in found if f is not None}
        if "tensor" in kinds:
            return Device(kind="tensor")  # wherever something unknown is, in one case at least
        return Device(kind="open" if len(kinds) > 1 else kinds.pop())
    match options[0] if options else value:
        case Device() as device:
            return device
        case Literal(value=str() as text):
            return Device(name=text, kind=text.partition(":")[0])
        case Literal(value=bool()):
            return None
        case Literal(value=int()):
            return Device(kind="cuda")
        case Unknown(name=name) if name.rsplit(".", 1)[-1].strip("_").lower() in (
            "device",
            "dev",
            "torch_device",
            "gpu",
            "local_rank",
            "rank",
            "device_id",
            "gpu_id",
        ):
            return Device(name=name, kind="open")
    return None


def _optimizer_method(m: Machine, node: cst.Call, receiver: Value, name: str, arguments: Arguments) -> Value:
    match name:
        case "step":
            closure = arguments.get(0, "closure")
            function = only(closure) if closure is not None else None
            if isinstance(function, Function) and function.info is not None:
                enter(m, function, [], {}, node)
            elif closure is not None and not isinstance(function, Literal):
                m.unknown_call(node, "closure", [receiver, closure])
            m.emit(
                OptimizerStep(
                    *m.at(node),
                    optimizer=receiver,
                    closure=closure is not None,
                    spelling=_receiver_spelling(node),
                    receiver=m.site(node.func.value) if isinstance(node.func, cst.Attribute) else None,
                )
            )
            return Unknown(origin="call")
        case "zero_grad":
            m.emit(ZeroGrad(*m.at(node), target=receiver))
            return Unknown(origin="call")
        case "add_param_group":
            m.emit(ParamGroupAdded(*m.at(node), optimizer=receiver, parameters=arguments.get(0, "param_group")))
            return Unknown(origin="call")
        case "backward":
            loss = arguments.get(0, "loss")
            backward_of(m, node, loss)
            return Unknown(origin="call")
        case "state_dict":
            return states.taken(m, node, receiver)
        case "load_state_dict":
            return states.loaded(m, node, receiver, arguments, False)
        case "register_step_post_hook" | "register_step_pre_hook" | "train" | "eval":
            return Unknown(origin="call")
    if any(word in name for word in words.ZERO_GRAD_WORDS):
        m.emit(ZeroGrad(*m.at(node), target=receiver))
        return Unknown(origin="call")
    return _unknown(m, node, receiver, arguments, name=name)


def _averages(keywords: dict[str, Value], more: bool) -> bool:
    """True when a loss, by its arguments, is the mean over the batch."""
    if more or keywords.keys() & {"size_average", "reduce"} or any(key.startswith("*") for key in keywords):
        return False
    reduction = keywords.get("reduction")
    one = settled(reduction) if reduction is not None else Literal(value="mean")
    return isinstance(one, Literal) and one.value == "mean"


def _scaler_method(m: Machine, node: cst.Call, receiver: Scaler, name: str, arguments: Arguments) -> Value:
    first = arguments.positional[0] if arguments.positional else Unknown(origin="call")
    match name:
        case "scale":
            return choice([_scaled(m, node, one, receiver) for one in first.options()])
        case "step" if arguments.positional:
            text = plain_spelling(arguments.nodes[0])
            optimizer = _as_optimizer(m, first)
            m.emit(
                OptimizerStep(
                    *m.at(node),
                    optimizer=optimizer,
                    scaled=True,
                    scaler=receiver,
                    spelling=text,
                    receiver=m.site(node.func.value) if isinstance(node.func, cst.Attribute) else None,
                )
            )
        case "unscale_":
            m.emit(Unscaled(*m.at(node), scaler=receiver, optimizer=_as_optimizer(m, first)))
        case "update":
            m.emit(ScalerUpdated(*m.at(node), scaler=receiver))
    return Unknown(origin="call")


def _scaled(m: Machine, node: cst.Call, loss: Value, scaler: Scaler) -> Value:
    match loss:
        case Tensor():
            scaled: Tensor | Unknown = _like(m, node, loss, "scale")
            assert isinstance(scaled, Tensor)
            scaled.mean = loss.mean
        case Unknown():
            scaled = Unknown(
                name=loss.name,
                site=m.site(node),
                origin=loss.origin,
                graph=loss.graph,
                device=loss.device,
                holds=loss.holds,
                holders=list(loss.holders),
            )
        case _:
            return loss
    if isinstance(scaled, Unknown):
        scaled.operands, scaled.cut = (loss,), cut_of(loss)
    scaled.scaler = scaler if scaler.enabled is not False else None
    return scaled


def _as_optimizer(m: Machine, value: Value) -> Value:
    """What a GradScaler is to step or unscale: an optimizer, where its name says so and nothing else is known of it."""
    one = only(value)
    if isinstance(one, Unknown) and words.named_like_optimizer(one.name):
        return promote(m, one, Optimizer(name=one.name, evidence=Evidence.NAME))
    return value


def backward_of(m: Machine, node: cst.Call, loss: Value | None, through: Value | None = None) -> None:
    """Tells of a backward pass from `loss`; `through` is the engine of a framework that runs it."""
    func = node.func
    m.emit(
        Backward(
            *m.at(node),
            loss=loss,
            roots=graph_of(loss) or None,
            autocast=m.autocast,
            through=through,
            written=m.site(func.value) if isinstance(func, cst.Attribute) and not node.args else None,
            error_expected=m.expects_error,
        )
    )


def _like(m: Machine, node: Any, tensor: Tensor, made_by: str) -> Tensor:
    """A tensor made from another one, like it in all that is known."""
    return Tensor(
        name=tensor.name,
        site=m.site(node),
        made_by=made_by,
        graph=tensor.graph,
        device=tensor.device,
        rank=tensor.rank,
        fresh=tensor.fresh,
        factory=tensor.factory,
        certain=tensor.certain,
        operands=(tensor,),
        cut=tensor.cut,
    )


def _tensor_method(
    m: Machine, node: cst.Call, receiver: Tensor, name: str, arguments: Arguments, discarded: bool
) -> Value:
    operands = [receiver, *arguments.all()]
    if discarded and name in words.PURE_METHODS and "out" not in arguments.keywords:
        _discard(m, node, receiver, name, pure=True, evident=_for_its_shape(name, arguments))
    if name in ("backward",):
        backward_of(m, node, receiver)
        return Unknown(origin="call")
    if name in words.MOVES:
        device = _move_target(m, name, arguments)
        if discarded:
            _discard(m, node, receiver, name)
        result = _like(m, node, receiver, "to")
        result.made = kept(receiver)
        if device is not None:
            result.device = device if isinstance(device, Device) else None
        if any(isinstance(o := only(a), Api) and o.path in words.INTEGERS for a in arguments.all()):
            _end(m, node, result, receiver, only(arguments.all()[-1]).name)  # type: ignore[union-attr]
        m.emit(Moved(*m.at(node), target=receiver, device=result.device))
        return result
    if name in words.CASTS or name in ("detach", "clone", "contiguous"):
        if discarded and name not in words.PURE_METHODS:
            _discard(m, node, receiver, name)
        result = _like(m, node, receiver, name)
        result.made = kept(receiver) if name not in ("long", "int", "short", "bool", "byte", "char") else None
        if name == "detach" or name in words.INTEGER_CASTS:
            _end(m, node, result, receiver, name)
        elif name == "type_as" or (name == "type" and arguments.all()):
            result.device = None  # `.type(torch.cuda.FloatTensor)` moves as well
        return result
    if name in words.DETACHING:
        if name in ("item", "tolist", "numpy"):
            m.emit(NumberRead(*m.at(node), value=receiver))
            return Unknown(origin="number", operands=(receiver,), cut=cut_at(m, node, name, receiver))
        return Tensor(made_by=name, device=receiver.device, operands=(receiver,), cut=cut_at(m, node, name, receiver))
    if name in (
        "size",
        "dim",
        "numel",
        "nelement",
        "element_size",
        "stride",
        "is_contiguous",
        "data_ptr",
        "get_device",
        "type",
        "ndimension",
    ):
        return Unknown(origin="number")
    if name in ("requires_grad_", "retain_grad", "register_hook"):
        if name == "requires_grad_":
            m.emit(GradientUsed(*m.at(node), target=receiver))
            wish = arguments.get(0, "requires_grad") or Literal(value=True)
            set_requires_grad(m, node, receiver, wish)
            if receiver.made_by == "clone" and not receiver.graph and getattr(only(wish), "value", False) is True:
                receiver.cut, receiver.graph = None, frozenset({receiver})  # a new leaf: a graph begins here
        return receiver
    if name.startswith("new_"):
        return Tensor(site=m.site(node), made_by=name, device=receiver.device)
    if name.endswith("_") and not name.endswith("__") and isinstance(node.func, cst.Attribute):
        changed(m, node, receiver, name, node.func.value, arguments.all())
    if name in ("copy_", "fill_", "set_"):  # the one crosses devices, the others take no tensor of dimensions
        return receiver
    if not receiver.certain and name in _NOT_OF_TENSORS:
        return _unknown_method(m, node, receiver, name, arguments, discarded)
    if name.endswith("_") and not name.endswith("__"):
        combine(m, node, operands[:1] if name in _BY_NUMBERS else operands, "in-place")
        receiver.made = None
        receiver.graph |= graphs_of(arguments.all())
        return receiver
    if name in (
        "matmul",
        "mm",
        "bmm",
        "add",
        "sub",
        "mul",
        "div",
        "dot",
        "where",
        "lerp",
        "masked_fill",
        "pow",
        "eq",
        "ne",
        "lt",
        "gt",
        "le",
        "ge",
        "__add__",
    ):
        combined = combine(m, node, operands, name)
        if name in words.COMPARING and isinstance(combined, Tensor):
            combined.graph, combined.cut = frozenset(), cut_at(m, node, name, *operands)
        return combined
    result = _like(m, node, receiver, name)
    result.made = made_by_method(m, node, receiver, name)
    result.flat = flattened(m, node, name, receiver, arguments.positional, arguments.keywords)
    result.name = ""
    result.certain = name not in _SEVERAL_RESULTS and not _doubtful(receiver)
    given = arguments.all()
    if any(_tensor_like(a) for a in given):
        result.fresh = None
    result.graph = receiver.graph.union(*(graph_of(a) for a in given))
    result.rank = receiver.rank + 1 if name == "unsqueeze" and receiver.rank is not None else receiver.rank
    if name in _SHAPING and given:
        shape = only(given[0])
        sizes = shape.items if isinstance(shape, Collection) and len(given) == 1 else given
        result.rank = len(sizes) if len(sizes) > 1 else result.rank
    if name in _REDUCING:
        result.rank = 0 if not given else None
    result.mean = (name == "mean" and not given) or (receiver.mean and name in _SAME_NUMBER)
    result.operands = tuple(operands)
    if name in words.STEPPING:
        _end(m, node, result, receiver, name)
    elif m.grad is Grad.OFF and result.graph:
        _end(m, node, result, receiver, "no_grad")
    return result


# They take numbers only, which are on no device.
_BY_NUMBERS = frozenset({"uniform_", "normal_", "random_", "exponential_", "geometric_", "cauchy_", "log_normal_"})
_SAME_NUMBER = frozenset({"mean", "sum", "squeeze", "view", "reshape", "clone", "contiguous", "requires_grad_"})


def _doubtful(tensor: Tensor) -> bool:
    """True for what is computed of CPU tensors and something unknown, which may be a number: see `combine`."""
    while not tensor.certain and tensor.made_by != "operation":
        first = only(tensor.operands[0]) if tensor.operands else None
        if not isinstance(first, Tensor):
            return False
        tensor = first
    return not tensor.certain


def _end(m: Machine, node: cst.Call, result: Tensor, receiver: Tensor, how: str) -> None:
    """The graph of `receiver` does not reach into what is made of it."""
    result.graph, result.cut = frozenset(), cut_at(m, node, how, receiver)


_SHAPING = frozenset({"view", "reshape", "expand", "repeat"})
_REDUCING = frozenset({"sum", "mean", "max", "min", "norm", "std", "prod", "var", "any", "all", "squeeze"})


_NOT_OF_TENSORS = frozenset({"zero_grad", "step", "train", "eval", "parameters", "state_dict", "load_state_dict"})


def _tensor_like(value: Value) -> bool:
    return any(isinstance(o, Tensor) and o.fresh is None for o in value.options())


def _displayed(m: Machine) -> bool:
    """True for the last expression of a cell, in a script of cells: it is shown there, not thrown away."""
    if m.active is not m.module or m.suite is None:
        return False
    body = list(m.tree.body)
    place = next((i for i, statement in enumerate(body) if statement is m.statement), None)
    if place is None:
        return False
    if place + 1 < len(body):
        return _begins_cell(body[place + 1])
    return any(_begins_cell(statement) for statement in body)


def _begins_cell(statement: Any) -> bool:
    comments = (line.comment.value for line in statement.leading_lines if line.comment is not None)
    return any(comment.startswith(("# %%", "#%%", "# In[", "# <codecell>")) for comment in comments)


def not_called(m: Machine, node: cst.Attribute, owner: Value) -> None:
    """`x.zero_` and no call: nothing is done."""
    if not (_displayed(m) or m.expects_error) and _in_place_method(node.attr.value):
        text = plain_spelling(node.value)
        m.emit(
            Discarded(*m.at(node), receiver=owner, method=node.attr.value, receiver_text=text, pure=True, called=False)
        )


def _in_place_method(name: str) -> bool:
    """Whether tensors have an in-place method of that name."""
    return name in ("requires_grad_", "zero_", "fill_", "copy_", "detach_", "normal_", "uniform_") or (
        name[:-1] in words.PURE_METHODS
    )


def _discard(
    m: Machine,
    node: cst.Call,
    receiver: Value,
    name: str,
    pure: bool = False,
    function: str = "",
    of: Any = None,
    evident: bool = False,
) -> None:
    if _displayed(m) or m.expects_error:
        return
    text = ""
    if of is None and isinstance(node.func, cst.Attribute):
        of = node.func.value
    if isinstance(of, (cst.Name, cst.Attribute)):
        text = _spelling(of)
    line = m.statement if isinstance(m.statement, cst.SimpleStatementLine) else m.suite
    smalls = line.body if isinstance(line, (cst.SimpleStatementLine, cst.SimpleStatementSuite)) else ()
    alone = any(isinstance(small, cst.Expr) and small.value is node for small in smalls)
    m.emit(
        Discarded(
            *m.at(node),
            receiver=receiver,
            method=name,
            receiver_text=text,
            alone=alone,
            pure=pure,
            function=function,
            evident=evident,
            tried=m.tries > 0,
        )
    )


def _for_its_shape(name: str, arguments: Arguments) -> bool:
    """True where only a tensor, or something just as unchanging, can be meant."""
    given = arguments.positional
    numbers = any(isinstance(o := only(a), Literal) and type(o.value) is int for a in given)
    return bool(given) and (name in words.PURE_ANYWHERE or (name in words.PURE_WITH_SHAPE and numbers))


def _collection_method(m: Machine, node: cst.Call, receiver: Collection, name: str, arguments: Arguments) -> Value:
    match name:
        case "append" | "add" | "appendleft" if arguments.positional:
            grow(m, receiver, arguments.positional[:1] if name == "append" else None)
            handed_on(m, arguments.positional[:1], "kept")
            if name == "append" and isinstance(node.func, cst.Attribute) and arguments.nodes:
                put_into(m, node, receiver, node.func.value, arguments.nodes[0], arguments.positional[0])
            add_items(receiver, arguments.positional[:1])
        case "extend" | "update" if arguments.positional:
            arguments.positional[0] = run_out(m, node, arguments.positional[0])
            one = only(arguments.positional[0])
            written = name == "extend" and isinstance(one, Collection) and not one.open and one.grown is None
            grow(m, receiver, list(one.items) if written and isinstance(one, Collection) else None)
            add_items(receiver, one.items if isinstance(one, Collection) else arguments.positional[:1])
        case "insert" if len(arguments.positional) == 2:
            grow(m, receiver, None)
            add_items(receiver, arguments.positional[1:])
        case "clear" | "remove":
            receiver.shrinks = True
        case "pop" | "popleft":
            grow(m, receiver, None)
            receiver.open = receiver.shrinks = True
            return choice(receiver.items) if receiver.items else Unknown(origin="item")
        case "copy":
            return receiver
    return Unknown(origin="call")


def _mapping_method(m: Machine, node: cst.Call, receiver: Mapping, name: str, arguments: Arguments) -> Value:
    match name:
        case "items":
            return Collection(kind="items", items=list(receiver.entries.values()), open=receiver.open)
        case "values":
            return Collection(kind="list", items=list(receiver.entries.values()), open=receiver.open)
        case "get" | "pop" | "setdefault" if arguments.positional:
            key = only(arguments.positional[0])
            found = item(m, receiver, key, node)
            if name == "pop" and isinstance(key, Literal):
                receiver.entries.pop(str(key.value), None)
            return found
        case "update" if arguments.positional:
            one = only(arguments.positional[0])
            if isinstance(one, Mapping):
                receiver.entries.update(one.entries)
            receiver.open = True
            receiver.entries.update(arguments.keywords)
        case "copy":
            return receiver
    return Unknown(origin="call")


def _dimensions_only(arguments: Arguments) -> bool:
    return not arguments.starred and all(isinstance(only(a), Literal) for a in arguments.all())


_RESHAPING = frozenset(
    """
    size dim view reshape permute transpose squeeze unsqueeze contiguous flatten expand repeat clone
    """.split()
)


def _unknown_method(
    m: Machine, node: cst.Call, receiver: Value, name: str, arguments: Arguments, discarded: bool
) -> Value:
    """A method of something whose class is not known: some words mean the same everywhere."""
    if isinstance(receiver, Unknown):
        if states.still_shared(m, receiver, name):
            return receiver
        if name.startswith("parse_"):
            given = states.parsed_arguments(m, node, name)
            if given is not None:
                return given
        itself = states.note_method(m, node, receiver, name, arguments)
        if itself is not None:
            return itself
        if name == "load_state_dict" and not m.lookalike and not isinstance(receiver, LoadedFile):
            states.loaded(m, node, receiver, arguments, discarded)
    if discarded and isinstance(receiver, Unknown) and _for_its_shape(name, arguments):
        _discard(m, node, receiver, name, pure=True, evident=True)
    first = only(arguments.positional[0]) if arguments.positional else None
    if name in words.BACKWARD_METHODS or name == "backward":
        loss: Value | None = (
            arguments.positional[0] if arguments.positional and not isinstance(first, (Literal, Function)) else receiver
        )
        if (
            loss is receiver
            and isinstance(receiver, (Module, Instance))
            and receiver.cls is not None
            and receiver.cls.closed
        ):
            loss = None
        backward_of(m, node, loss)
        return Unknown(origin="call")
    if any(word in name for word in words.ZERO_GRAD_WORDS):
        known = receiver if receiver.name or receiver.holders else Unknown(origin="call")
        m.emit(ZeroGrad(*m.at(node), target=next((a for a in arguments.all() if matters(a)), known)))
        m.unknown_call(node, name, [receiver, *arguments.all()])
        return Unknown(origin="call")
    if name in ("step", "optimizer_step") and any(
        isinstance(o, Optimizer) for a in arguments.all() for o in a.options()
    ):
        optimizer = next(a for a in arguments.all() if any(isinstance(o, Optimizer) for o in a.options()))
        text = plain_spelling(arguments.nodes[0]) if arguments.nodes and arguments.positional[0] is optimizer else ""
        m.emit(OptimizerStep(*m.at(node), optimizer=optimizer, scaled=True, spelling=text))
        return Unknown(origin="call")
    if name.endswith("_") and isinstance(receiver, Unknown) and isinstance(node.func, cst.Attribute):
        changed(m, node, receiver, name, node.func.value, arguments.all())
    if (
        isinstance(receiver, Unknown)
        and receiver.origin == "grad"
        and name in ("zero_", "fill_", "detach_", "copy_", "mul_")
    ):
        m.emit(ZeroGrad(*m.at(node), target=receiver))
        return receiver
    if name == "requires_grad_" and set_requires_grad(m, node, receiver, arguments.get(0, "") or Literal(value=True)):
        return receiver
    if isinstance(receiver, Unknown) and not m.lookalike:
        typed = _typed_by_use(m, receiver, name, arguments)
        if typed is not None:
            return call_method(m, node, typed, name, arguments, discarded)
    if name == "scale" and len(arguments.all()) == 1:
        return arguments.all()[0]
    if name in (
        "unscale_",
        "update",
        "clip_grad_norm_",
        "clip_gradients",
        "accumulate",
        "autocast",
        "no_sync",
        "print",
        "log",
        "log_dict",
    ):
        if name in ("log", "log_dict"):
            metrics.logged(m, node, arguments.all())
        return Unknown(origin="call")
    context = only(arguments.positional[0]) if name == "enter_context" and arguments.positional else None
    if isinstance(context, GradContext):
        m.grad = context.mode or Grad.UNKNOWN  # until the `with` around the stack ends
        return context
    if name == "unwrap_model" and arguments.positional:
        return arguments.positional[0]
    if name in words.IDENTITY_METHODS and any(
        isinstance(o, (Module, Optimizer, Loader)) for a in arguments.all() for o in a.options()
    ):
        return prepared(m, arguments)
    if name in words.MOVES and isinstance(receiver, Unknown):
        device = _move_target(m, name, arguments)
        if words.named_like_model(receiver.name):
            if isinstance(device, Device):
                m.emit(Moved(*m.at(node), target=receiver, device=device))
            return receiver
        return Unknown(
            name=receiver.name,
            site=m.site(node),
            origin="moved",
            graph=receiver.graph,
            device=device if isinstance(device, Device) else (receiver.device if device is None else None),
            holds=receiver.holds,
            holders=list(receiver.holders),
            made=kept(receiver),
            operands=(receiver,),
            cut=receiver.cut,
        )
    if isinstance(receiver, Unknown) and (name in words.CASTS or name in _RESHAPING):
        device = receiver.device if name not in ("size", "dim", "type_as", "type") else None
        made = kept(receiver) if name not in ("size", "dim", "expand", "repeat") else None
        if name in words.INTEGER_CASTS:
            cut = cut_at(m, node, name, receiver)
            return Unknown(name=receiver.name, origin="tensor", operands=(receiver,), cut=cut, device=device)
        return Unknown(
            name=receiver.name,
            origin="tensor",
            graph=receiver.graph,
            device=device,
            made=made,
            operands=(receiver,),
            cut=receiver.cut,
            flat=flattened(m, node, name, receiver, arguments.positional, arguments.keywords),
        )
    if isinstance(receiver, Unknown) and name in ("softmax", "log_softmax", "sigmoid") and _dimensions_only(arguments):
        made = made_by_method(m, node, receiver, name)
        return Tensor(site=m.site(node), made_by=name, graph=receiver.graph, device=receiver.device, made=made)
    if name in ("detach", "item", "cpu", "numpy", "tolist"):
        if name in ("item", "tolist") and isinstance(receiver, Unknown):
            m.emit(NumberRead(*m.at(node), value=receiver))
        return Unknown(
            name=receiver.name,
            origin="tensor" if name not in ("item", "tolist") else "number",
            device=getattr(receiver, "device", None) if name == "detach" else None,
            operands=(receiver,),
            cut=cut_at(m, node, name, receiver) if name != "cpu" else cut_of(receiver),
            graph=graph_of(receiver) if name == "cpu" else frozenset(),
            made=kept(receiver) if name in ("detach", "cpu") else None,
        )
    if name == "items" and isinstance(receiver, Unknown):
        return Collection(kind="items", items=[item(m, receiver, None, node)], open=True)
    if name == "values" and isinstance(receiver, Unknown):
        return Collection(kind="list", items=[item(m, receiver, None, node)], open=True)
    return _unknown(m, node, receiver, arguments, name=name)


def _typed_by_use(m: Machine, receiver: Unknown, name: str, arguments: Arguments) -> Value | None:
    """What an unknown value turns out to be by the method that is called on it."""
    if receiver.origin in ("number", "state_dict", "exception", "string"):
        return None
    if name == "step" and words.named_like_optimizer(receiver.name) and len(arguments.all()) <= 1:
        return promote(m, receiver, Optimizer(name=receiver.name, evidence=Evidence.NAME))
    alone = len(arguments.positional) == 1 == len(arguments.all())
    if name in ("scale", "unscale_") and alone and words.named_like_scaler(receiver.name):
        return promote(m, receiver, Scaler(name=receiver.name, enabled=None, evidence=Evidence.NAME))
    if name in ("parameters", "named_parameters") or (name in ("eval", "train") and _mode_call(name, arguments)):
        return (
            promote(m, receiver, Module(name=receiver.name, evidence=Evidence.USE, fresh=False))
            if receiver.origin != "moved" or receiver.name
            else None
        )
    return None


def _mode_call(name: str, arguments: Arguments) -> bool:
    if name == "eval":
        return not arguments.all()
    return (
        len(arguments.all()) <= 1
        and not arguments.starred
        and all(
            isinstance(only(a), Literal) and isinstance(getattr(only(a), "value", None), bool) for a in arguments.all()
        )
    )


def prepared(m: Machine, arguments: Arguments) -> Value:
    """What a framework gives back of what it is given to prepare: the same, on a device that it chooses."""
    for value in arguments.all():
        for one in value.options():
            if isinstance(one, (Module, Loader)):
                place(m, one, Device(name="accelerator", kind="open"))
            if isinstance(one, Module):
                one.places_inputs = True
    given = arguments.positional
    return given[0] if len(given) == 1 else Collection(kind="tuple", items=list(given), open=arguments.starred)


# -------------------------------------------------------------------------------------------------------- torch's own


def call_api(m: Machine, node: cst.Call, path: str, arguments: Arguments, discarded: bool = False) -> Value:
    """Calls something imported or built in, by its dotted name."""
    path = words.canonical(path)
    known = states.path_call(m, node, path, arguments)
    if known is not None:
        return known
    if path in loaders.SEEDING:
        loaders.seeds(m, node, path, arguments)
    if path in ("copy.copy", "collections.OrderedDict", "builtins.dict") and arguments.positional:
        shared = only(arguments.positional[0])
        if isinstance(shared, StateDict):
            return shared
    if path.startswith("builtins."):
        return _builtin(m, node, path[9:], arguments)
    if path == "torch.is_tensor" and len(arguments.positional) == 1:
        answer = _is_instance(arguments.positional[0], Api(path="torch.Tensor"))
        return Unknown(origin="number") if answer is None else Literal(value=answer)
    if path in words.DDP or path in words.FSDP:
        return _wrapped(m, node, path, arguments)
    if path in words.SAME_MODEL or path in ("copy.copy",):
        wrapped = arguments.get(0, "module") or arguments.get(-1, "model")
        for one in wrapped.options() if wrapped is not None and path.endswith("DataParallel") else ():
            if isinstance(one, Module):
                one.places_inputs = True
        return wrapped if wrapped is not None and matters(wrapped) else Unknown(origin="call")
    owner = path.rpartition(".")[0]
    if (words.is_module_api(owner) or words.is_optimizer_api(owner)) and any(map(matters, arguments.all())):
        return _unknown(m, node, None, arguments, name=path)  # `nn.Module.train(self, mode)`
    if words.is_module_api(path):
        return _module(m, node, path, arguments)
    if words.is_optimizer_api(path):
        return _optimizer(m, node, path, arguments)
    if words.is_scheduler_api(path):
        return _scheduler(m, node, path, arguments)
    if path == "torch.distributed.tensor.parallel.parallelize_module":
        return _parallelized(m, node, arguments)
    if path == "deepspeed.initialize":
        return engines.deepspeed(m, node, arguments)
    if path.startswith("torchmetrics."):
        return metrics.made(m, node, path)
    if (engine := engines.made(m, node, path, arguments)) is not None:
        return engine
    if path.startswith("torch."):
        return _torch(m, node, path, arguments, discarded)
    last = path.rsplit(".", 1)[-1]
    if path == "copy.deepcopy":
        return _copied(m, node, arguments)
    if path in ("sys.exit", "os._exit"):
        m.tail = []
        return Unknown(origin="call")
    if (
        last in ("tqdm", "trange", "track", "progress_bar", "log_every", "notebook_tqdm", "auto_tqdm", "master_bar")
        and arguments.positional
    ):
        return next((a for a in arguments.positional if not isinstance(only(a), Literal)), arguments.positional[0])
    if path in ("itertools.chain", "itertools.chain.from_iterable"):
        chained = parameters_from(m, Collection(kind="chain", items=list(arguments.positional), open=arguments.starred))
        if isinstance(chained, Parameters):
            sources = [a for a in arguments.positional if _runs_out(a)]
            of, whole, site = chained.of, chained.whole, m.site(node)
            return _iterator(m, Parameters(site=site, of=of, open=chained.open, whole=whole, sources=sources), [])
        return Collection(kind="list", items=[element_of(m, a, node) for a in arguments.positional], open=True)
    if path == "collections.OrderedDict" and (known := _pairs(arguments)) is not None:
        return known
    if path in ("itertools.islice", "itertools.cycle"):
        taken = only(arguments.positional[0]) if arguments.positional else None
        if isinstance(taken, Parameters):
            return Parameters(site=m.site(node), of=taken.of, open=taken.open, whole=False, holders=[taken])
        return arguments.positional[0] if arguments.positional else Unknown(origin="call")
    if path == "collections.defaultdict":
        return _defaults(m, only(arguments.get(0, "default_factory")))
    if path.startswith("numpy."):
        return Unknown(origin="numpy", cut=next((c for a in arguments.all() if (c := cut_of(a)) is not None), None))
    if path.startswith(("math.", "random.")):
        return Unknown(origin="number", cut=cut_at(m, node, path, *arguments.all()))
    if last == "DataLoader" and path.startswith(("torch_geometric.", "monai.", "dgl.")):
        loader = Unknown(origin="loader")
        for keyword in words.SAMPLER_KEYWORDS:
            if keyword in arguments.keywords:
                link_all(arguments.keywords[keyword], loader)
        return loader
    if path in words.IDENTITY_CALLS:
        return prepared(m, arguments)
    runner = frameworks.engine(path)
    if runner is not None and runner.body:
        hooks.follow_body(m, node, arguments.get(0, runner.body))
    if last in ("optimizer_step",) and any(isinstance(only(a), Optimizer) for a in arguments.positional):
        text = plain_spelling(arguments.nodes[0])
        m.emit(OptimizerStep(*m.at(node), optimizer=arguments.positional[0], scaled=True, spelling=text))
        return Unknown(origin="call")
    if (path.startswith("torchvision.models.") and last[:1].islower()) or frameworks.makes_module(path):
        given, keywords = arguments.positional, arguments.keywords
        ready = Module(site=m.site(node), api=path, arguments=given, keywords=keywords, born=m.clock, repeated=m.loops)
        place(m, ready, CPU)
        return ready
    if path in frameworks.OPTIMIZER_MAKERS:
        over = arguments.get(*frameworks.OPTIMIZER_MAKERS[path])
        optimizer = Optimizer(site=m.site(node), api=path, parameters=parameters_from(m, over) if over else None)
        m.emit(OptimizerBuilt(*m.at(node), optimizer=optimizer, bound=frozenset(m.active.locals)))
        return optimizer
    if words.harmless(path):
        graph = graphs_of(arguments.all())
        if path == "apex.amp.scale_loss" and arguments.positional:
            return arguments.positional[0]
        result = Unknown(
            site=m.site(node), origin="call", graph=graph, operands=tuple(arguments.all()) if graph else ()
        )
        if path.startswith("torchvision."):
            result.origin = "torchvision"
        elif last[:1].isupper():
            result.origin = "library"  # an object whose methods are as harmless
        if path.startswith(("functools.", "copy.", "itertools.", "collections.")):
            _holding(m, result, arguments)
            _run_handed(m, node, arguments.all())
        return result
    return _unknown(m, node, None, arguments, name=path)


def _pairs(arguments: Arguments) -> Mapping | None:
    """The dict that a list of pairs with constant keys makes, where it is written out."""
    one = only(arguments.positional[0]) if len(arguments.all()) == 1 and arguments.positional else None
    if not isinstance(one, Collection):
        return None
    entries: dict[str, Value] = {}
    for pair in map(only, one.items):
        key = only(pair.items[0]) if isinstance(pair, Collection) and len(pair.items) == 2 else None
        if not isinstance(pair, Collection) or not isinstance(key, Literal):
            return None
        entries[str(key.value)] = pair.items[1]
    return Mapping(entries=entries, open=one.open or one.grown is not None)


def _defaults(m: Machine, factory: Value | None) -> Value:
    """A `defaultdict`: whatever is asked for is there, new."""
    made = Mapping(open=True, loops=m.loops)
    match factory:
        case Api(path="builtins.list"):
            made.entries["*"] = Collection(open=True, loops=m.loops)
        case Api(path="builtins.float" | "builtins.int"):
            made.entries["*"] = Unknown(origin="number")
    return made


_INFINITE = frozenset({"inf", "+inf", "infinity"})
# Types that no tensor is an instance of; all of numpy's too.
_NO_TENSORS = frozenset(
    {f"builtins.{name}" for name in "list tuple dict set frozenset str bytes int float bool complex".split()}
    | {
        f"{module}.{name}"
        for module in ("collections", "collections.abc", "typing")
        for name in "Mapping MutableMapping Sequence MutableSequence OrderedDict Callable Dict List Tuple".split()
    }
    | {"torch.nn.Module", "pathlib.Path", "argparse.Namespace"}
)


def _builtin(m: Machine, node: cst.Call, name: str, arguments: Arguments) -> Value:
    given = arguments.positional
    first = given[0] if given else None
    match name:
        case "enumerate" if first is not None:
            return Collection(kind="enumerate", items=[first])
        case "zip":
            return Collection(kind="zip", items=list(given))
        case "list" | "tuple" | "sorted" | "set" if first is not None:
            return run_out(m, node, first)
        case "iter" | "reversed" if first is not None:
            return first
        case "list" if not arguments.all():
            return Collection(open=True, loops=m.loops)
        case "next" if first is not None:
            loaders.first_batch(m, node, node.args[0].value, first)
            if isinstance(one := only(first), Parameters):
                one.advanced = True
            return element_of(m, first, node)
        case "filter" if len(given) == 2:
            one = only(given[1])
            if not isinstance(one, Parameters):
                return given[1]
            part = Parameters(site=m.site(node), of=one.of, open=one.open, whole=False, sources=[one])
            return _iterator(m, part, [])
        case "map" if len(given) == 2:
            return Collection(
                kind="list",
                items=[call_value(m, node, given[0], Arguments([element_of(m, given[1], node)]))],
                open=True,
            )
        case "getattr" if len(given) >= 2:
            key = only(given[1])
            if isinstance(key, Literal) and isinstance(key.value, str):
                return attribute(m, given[0], key.value, node)
            return Unknown(origin="attribute", holds=matters(given[0]), holders=[given[0]])
        case "setattr" if len(given) == 3:
            key = only(given[1])
            if isinstance(key, Literal) and isinstance(key.value, str):
                set_attribute(m, given[0], key.value, given[2], node)
            else:
                for one in given[0].options():
                    link(given[2], one)
                    if isinstance(one, (Module, Unknown)):
                        m.emit(AttributeSet(*m.at(node), owner=one, attribute="", value=given[2]))
            return Unknown(origin="call")
        case "sum" if first is not None:
            run_out(m, node, first)
            one = only(first)
            graph = graph_of(first)
            if isinstance(one, Collection) and one.items and all(isinstance(only(i), Tensor) for i in one.items):
                return Tensor(site=m.site(node), made_by="sum", graph=graph, operands=(first,))
            return Unknown(origin="call", graph=graph, operands=(first,))
        case "exit" | "quit":
            m.tail = []
            return Unknown(origin="call")
        case "super":
            parent = Unknown(name="super()", origin="super", holds=True)
            info = m.active.info
            itself = m.active.locals.get(info.parameters[0]) if info is not None and info.parameters else None
            if itself is not None:
                link(itself, parent)
            return parent
        case "float" if isinstance(one := only(first), Literal) and str(one.value).lower() in _INFINITE:
            return Literal(value=float(str(one.value)))
        case "float" | "int" | "round" | "print" | "str" if first is not None and _methods(m, name, given):
            return Unknown(origin="number")
        case "float" | "int" if first is not None:
            return Unknown(origin="number", operands=(first,), cut=cut_at(m, node, name, first))
        case "isinstance" | "hasattr" | "type" | "callable":
            states.note_asked(arguments.all())
            if name == "isinstance" and len(given) == 2 and (answer := _is_instance(*given)) is not None:
                return Literal(value=answer)
            if name == "hasattr" and len(given) == 2 and _tensors(given[0]):
                asked = only(given[1])
                if isinstance(asked, Literal) and methods.exists("tensor", str(asked.value)):
                    return Literal(value=True)
            return Unknown(origin="number")
        case "float" | "int" | "len" | "str" | "bool" | "range" | "print":
            return Unknown(origin="number")
        case "max" | "min" if first is not None and len(given) == 1:
            run_out(m, node, first)
        case "dict":
            return Mapping(entries=dict(arguments.keywords), open=bool(given) or arguments.starred, loops=m.loops)
        case "exec" | "eval":
            m.unknown_call(node, name, list(m.active.locals.values()))
            return Unknown(origin="call")
    graph = graphs_of(arguments.all())
    result = Unknown(origin="call", graph=graph, operands=tuple(arguments.all()) if graph else ())
    if name not in _SAYING_ONLY:
        _holding(m, result, arguments)
    return result


def _tensors(value: Value) -> list[Value]:
    """What a value may be, where that is certainly a tensor; nothing otherwise."""
    # with one alternative only, a variable may yet get others from the loop it is in
    alternatives = value.options() if type(value) is not Choice or len(value.alternatives) > 1 else []
    return list(alternatives) if all(isinstance(one, Tensor) and one.certain for one in alternatives) else []


def _is_instance(value: Value, types: Value) -> bool | None:
    """Whether what is certainly a tensor is an instance of `types`, where that is certain."""
    alternatives = _tensors(value)
    if not alternatives:
        return None
    listed = only(types)
    each = listed.items if isinstance(listed, Collection) and listed.kind == "tuple" and not listed.open else [types]
    paths = [one.path if isinstance(one := only(kind), Api) else "" for kind in each]
    if "torch.Tensor" in paths:
        return True
    return False if all(path in _NO_TENSORS or path.startswith("numpy.") for path in paths) else None


def _methods(m: Machine, name: str, given: list[Value]) -> bool:
    """True when one of the arguments is a method that is not called."""
    found = [g for g in given if isinstance(one := only(g), Unknown) and one.origin == "method"]
    handed_on(m, found, "printed" if name in ("print", "str") else "number")
    return bool(found)


_SAYING_ONLY = frozenset({"type", "id", "repr", "hash", "dir", "callable", "issubclass", "vars", "format", "input"})


def _holding(m: Machine, result: Unknown, arguments: Arguments) -> None:
    """Notes that what a function gives back may act on what it was given."""
    for given in arguments.all():
        if matters(given):
            result.holds = True
            functions = [o for o in given.options() if isinstance(o, Function)]
            for one in [*parts_of(given), given, *(v for f in functions for v in m.free_values(f))]:
                link_all(one, result)


def _module(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Value:
    made = Module(
        site=m.site(node),
        api=path,
        arguments=arguments.positional,
        keywords=arguments.keywords,
        born=m.clock,
        repeated=m.loops,
    )
    inner: list[Value] = []
    for name, given in [*(("", one) for one in arguments.positional), *arguments.keywords.items()]:
        one = only(given)
        if name.startswith("*") and isinstance(one, Module):  # a container unpacked: its layers, not itself
            inner.extend(one.inner)
            link(one, made)
            continue
        inner.extend(
            one.items if isinstance(one, Collection) else one.entries.values() if isinstance(one, Mapping) else [given]
        )
    made.inner = (
        [i for i in inner if any(isinstance(o, (Module, Unknown)) for o in i.options())]
        if path in words.CONTAINERS
        else []
    )
    if path == "torch.nn.Sequential":
        made.last = _layers_at_the_end(m, node, arguments)
    for child in made.inner:
        for option in child.options():
            link(option, made)
    for option in (o for i in inner for o in i.options() if path in words.CONTAINERS):
        if isinstance(option, (Collection, Mapping)):  # one of several lists: any may be what it has
            for item in option.items if isinstance(option, Collection) else option.entries.values():
                link_all(item, made)
    placed = arguments.starred or "device" in arguments.keywords
    place(m, made, Unknown(origin="device") if placed else m.default_device or CPU)
    if path in LISTS:
        look_into(m, node, made, path)
    return made


def _layers_at_the_end(m: Machine, node: cst.Call, arguments: Arguments) -> list[Value]:
    """The layers that certainly stand at the end of a Sequential; empty when the last one is not certain."""
    if not node.args:
        return []
    argument = node.args[-1]
    if argument.star == "*":
        with m.detached():
            value = only(ev(m, argument.value)) if isinstance(argument.value, (cst.Name, cst.Attribute)) else None
        if isinstance(value, Collection) and value.kind in ("list", "tuple"):
            if value.grown is not None:
                suite, items = value.grown
                return items if suite is m.suite else []
            return [] if value.open else value.items
        return []
    one = only(arguments.positional[-1]) if arguments.positional else None
    if isinstance(one, Mapping):
        return [] if one.open else list(one.entries.values())
    return arguments.positional[-len(node.args) :] if not arguments.starred else arguments.positional[-1:]


def grow(m: Machine, collection: Collection, items: list[Value] | None) -> None:
    """Notes what a list certainly ends with from here on in this suite; None: that is not known."""
    before = collection.grown
    if items is None:
        collection.grown = (None, [])
    elif before is not None and before[0] is m.suite:
        collection.grown = (m.suite, [*before[1], *items])
    else:
        collection.grown = (m.suite, items)


def _optimizer(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Value:
    given = arguments.get(0, "params")
    made = Optimizer(site=m.site(node), api=path, parameters=parameters_from(m, given) if given is not None else None)
    written = _argument_node(node, "params")
    parts = list(_given(m, written, given)) if given is not None and not arguments.starred else []
    m.emit(
        OptimizerBuilt(
            *m.at(node),
            optimizer=made,
            bound=frozenset(m.active.locals),
            given=parts,
            argument=m.site(written) if written is not None else None,
            settings={
                **{str(i): a for i, a in enumerate(arguments.positional) if a is not given},
                **{k: a for k, a in arguments.keywords.items() if a is not given},
            },
        )
    )
    for part in parts:
        run_out(m, node, part.value)
    return made


def _argument_node(node: cst.Call, keyword: str) -> Any:
    """The first argument of a call where it is written out, or the one of that name."""
    for index, argument in enumerate(node.args):
        if (argument.keyword is None and not index and not argument.star) or (
            argument.keyword is not None and argument.keyword.value == keyword
        ):
            return argument.value
    return None


def _given(m: Machine, node: Any, value: Value, listed: bool = False) -> Iterator[Given]:
    """What an optimizer is given, taken apart as the optimizer does; `node` is where it is written out, if it is."""
    one = only(value)
    match one:
        case Collection(kind="list" | "tuple", items=items) if not listed:
            nodes: list[Any] = [e.value for e in node.elements] if isinstance(node, (cst.List, cst.Tuple)) else []
            plain = len(nodes) == len(items) and not one.open
            for index, part in enumerate(items):
                yield from _given(m, nodes[index] if plain else None, part, listed=True)
        case Mapping(entries=entries):
            if "params" in entries:
                inner = next((e.value for e in getattr(node, "elements", ()) if _is_params(e)), None)
                site = m.site(inner) if inner is not None else None
                yield Given(entries["params"], site, grouped=True, listed=listed)
        case _:
            yield Given(value, m.site(node) if node is not None else None, listed=listed)


def _is_params(element: Any) -> bool:
    key = getattr(element, "key", None)
    return isinstance(key, cst.SimpleString) and key.value.strip("\"'") == "params"


def _iterator(m: Machine, made: Parameters, holders: list[Value]) -> Parameters:
    """Tells that an iterator over parameters begins here."""
    made.generator = True
    made.holders = holders
    m.emit(IteratorMade(*m.at(None), iterator=made))
    return made


def _runs_out(value: Value) -> bool:
    one = only(value)
    return isinstance(one, Parameters) and one.generator


def run_out(m: Machine, node: Any, value: Value) -> Value:
    """Runs through `value` to its end, as `list(...)` does: what is made of it can be run through again."""
    one = only(value)
    if isinstance(one, Collection):
        for iterator in m.lazy.get(one, ()):
            m.emit(IteratorUsedUp(*m.at(node), iterator=iterator))
    if not isinstance(one, Parameters) or not one.generator:
        return value
    m.emit(IteratorUsedUp(*m.at(node), iterator=one))
    for source in one.sources:
        run_out(m, node, source)
    return Parameters(site=m.site(node), of=one.of, open=one.open, whole=one.whole, holders=[one])


def _scheduler(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Value:
    """A scheduler is made; one that is made of others steps them."""
    optimizer = arguments.get(1 if path.endswith(".get_scheduler") else 0, "optimizer")
    made = Scheduler(site=m.site(node), api=path, optimizer=optimizer)
    for given in arguments.all():
        inner = only(given)
        for one in inner.items if isinstance(inner, Collection) else [given]:
            for option in one.options():
                if isinstance(option, Scheduler):
                    option.nested = True
                    if made.optimizer is None or path in words.SCHEDULERS_OF_SCHEDULERS:
                        made.optimizer = option.optimizer
    m.emit(SchedulerBuilt(*m.at(node), scheduler=made))
    return made


def set_requires_grad(m: Machine, node: Any, target: Value, to: Value) -> bool:
    """Tells that `requires_grad` of what `target` is, or runs through, is set; False when that is not known."""
    constant = settled(to)
    flag = bool(constant.value) if isinstance(constant, Literal) else None
    one = only(target)
    if isinstance(one, Tensor) and flag is not None and not one.operands:
        one.leaf = flag and bool(one.factory)
    if isinstance(one, Tensor) and flag is not False and one.cut is None:
        one.graph |= {one}  # what is computed from it has a gradient, or may have one
    if isinstance(one, (Module, Tensor)):
        loops = [loop for loop in m.loops if loop.over is not None]
        some = bool(loops) and not m.quiet and _one_of_a_loop(one)
        m.emit(RequiresGradSet(*m.at(node), targets=[one], to=flag, some=some))
        return True
    around = only(parameters_from(m, one)) if isinstance(one, Unknown) else None
    if not isinstance(around, Parameters):
        m.emit(RequiresGradSet(*m.at(node), targets=list(target.options()), to=flag, some=True))
        return False
    loop = m.loops[-1] if m.loops else None
    over = only(loop.over) if loop is not None and loop.over is not None else None
    if isinstance(over, Collection) and over.kind == "enumerate":
        over = only(over.items[0])
    exact = (
        loop is not None
        and isinstance(over, Parameters)
        and over.whole
        and not over.open
        and m.forks == loop.forks
        and bool(m.runs)
        and not m.runs[-1].continues
        and not m.runs[-1].breaks
    )
    m.emit(RequiresGradSet(*m.at(node), targets=around.of, to=flag, some=not exact, loop=loop))
    return True


def _one_of_a_loop(value: Value) -> bool:
    """True for what a loop runs through: it is another one in each round."""
    return isinstance(value, Module) and value.evidence is not Evidence.MADE and not value.name


def parameters_from(m: Machine, value: Value | None) -> Parameters | Any:
    """What an optimizer was given -> whose parameters; None when nothing of it is known."""
    if value is None:
        return None
    options = value.options()
    if len(options) > 1:
        value = Collection(kind="chain", items=list(options), open=True)
    one = only(value)
    match one:
        case Parameters():
            return one
        case Tensor():
            return Parameters(of=[one], whole=True)
        case Module():
            return Parameters(of=[one])
        case Mapping(entries=entries):
            return parameters_from(m, entries.get("params"))
        case Collection(items=items):
            found = Parameters(of=[], open=one.open and one.kind != "list")
            for part in items:
                known = parameters_from(m, part)
                if known is None:
                    found.open = True
                    continue
                found.of.extend(known.of)
                found.open = found.open or known.open
                found.whole = found.whole and known.whole
            return found if found.of else None
        case Unknown():
            todo, seen = list(one.holders), set[Value]()
            while todo and len(seen) < 8:  # a part of a pair of `named_parameters()`
                owner = todo.pop(0)
                if isinstance(owner, Parameters):
                    return Parameters(of=owner.of, whole=False)
                if isinstance(owner, Unknown) and owner not in seen:
                    seen.add(owner)
                    todo.extend(owner.holders)
    return None


def _wrapped(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Value:
    """DDP or FSDP around a model: the same model, seen through the wrapper."""
    model = arguments.get(0, "module")
    if model is None or not matters(model):
        return Unknown(origin="call")
    if isinstance(one := only(model), Unknown) and not m.lookalike:
        model = promote(m, one, Module(name=one.name, evidence=Evidence.USE, fresh=False))
    if not all(isinstance(o, Module) for o in model.options()) or len(model.options()) != 1:
        return model
    module = model.options()[0]
    ddp = path in words.DDP
    if ddp and isinstance(module, Module):
        module.places_inputs = True
    kept = only(arguments.keywords.get("use_orig_params"))
    own = not ddp and (kept is None or (isinstance(kept, Literal) and kept.value is False)) and not arguments.starred
    kind = "ddp" if ddp else "fsdp" if own else "fsdp over the model's own parameters"
    view = Wrapped(site=m.site(node), alternatives=[module], kind=kind)
    m.emit(
        ModelWrapped(
            *m.at(node),
            module=module,
            view=view,
            kind=kind,
            argument=m.site(arguments.nodes[0]) if arguments.nodes else None,
            bound=frozenset(m.active.locals),
            kept=_kept(m, node, False),
        )
    )
    return view


def _parallelized(m: Machine, node: cst.Call, arguments: Arguments) -> Value:
    """`parallelize_module(model, ...)`: the same model, all of its parameters new ones."""
    model = arguments.get(0, "module")
    if model is None:
        return Unknown(origin="call")
    for one in model.options():
        fresh = Tensor(site=m.site(node), made_by="parameter", parameter=True)
        fresh.graph = frozenset({fresh})
        m.emit(AttributeSet(*m.at(node), owner=one, attribute="*", value=fresh, previous=one))
    return model


def _copied(m: Machine, node: cst.Call, arguments: Arguments) -> Value:
    first = only(arguments.positional[0]) if arguments.positional else None
    match first:
        case Module():
            made = Module(
                born=m.clock,
                repeated=m.loops,
                cls=first.cls,
                api=first.api,
                arguments=first.arguments,
                keywords=first.keywords,
                inner=first.inner,
                evidence=first.evidence,
                fresh=False,
            )
            known = m.heap.get((first, "$device"))
            if known is not None:
                place(m, made, known)
            return made
        case StateDict():
            return states.copied(m, first, node)
        case Tensor():
            return Tensor(made_by="deepcopy", device=first.device, rank=first.rank, fresh=first.fresh)
    return Unknown(origin="call")


def _torch(m: Machine, node: cst.Call, path: str, arguments: Arguments, discarded: bool) -> Value:
    if any(keyword[:2] == "re" for keyword in arguments.keywords):
        flags_given(m, node)
    if "out" in arguments.keywords:
        written_into(m, node, arguments.keywords["out"])
    last = path.rsplit(".", 1)[1]
    match path:
        case "torch.no_grad" | "torch.inference_mode":
            mode = settled(arguments.get(0, "mode")) if arguments.all() else Literal(value=True)
            return GradContext(
                mode=(Grad.OFF if mode.value else Grad.DEFAULT) if isinstance(mode, Literal) else Grad.UNKNOWN
            )
        case "torch.enable_grad":
            return GradContext(mode=Grad.ON)
        case "torch.set_grad_enabled":
            flag = settled(arguments.get(0, "mode"))
            switched = (Grad.ON if flag.value else Grad.OFF) if isinstance(flag, Literal) else Grad.UNKNOWN
            if discarded:
                m.emit(GradSwitched(*m.at(node), mode=switched))
                m.grad, m.off = switched, (m.site(node), "statement")
            return GradContext(mode=switched)
        case "torch.nn.Parameter" | "torch.nn.UninitializedParameter" | "torch.nn.Buffer":
            return _parameter(m, node, arguments, path != "torch.nn.Buffer")
        case "torch.utils.data.DataLoader":
            return loaders.build(m, node, arguments)
        case "torch.utils.data.DistributedSampler":
            return _sampler(m, node, arguments)
        case "torch.utils.data.BatchSampler" if arguments.all():
            return arguments.get(0, "sampler") or Unknown(origin="call")
        case "torch.utils.data.TensorDataset":
            return Collection(
                site=m.site(node), kind="dataset", items=list(arguments.positional), open=arguments.starred
            )
        case "torch.utils.data.Subset" | "torch.utils.data.ConcatDataset":
            return arguments.positional[0] if arguments.positional else Unknown(origin="call")
        case "torch.utils.data.random_split":
            part = arguments.get(0, "dataset") or Unknown(origin="call")
            lengths = only(arguments.get(1, "lengths"))
            if isinstance(lengths, Collection) and not lengths.open:
                return Collection(kind="list", items=[part for _ in lengths.items])
            return Collection(kind="list", items=[part], open=True)
        case _ if path in words.GRAD_SCALERS:
            return Scaler(site=m.site(node), enabled=_enabled(arguments))
        case _ if path in words.AUTOCASTS:
            return _autocast(path, arguments)
        case _ if path in words.CLIPPING:
            given = arguments.get(0, "parameters")
            limit = arguments.get(1, "clip_value" if last == "clip_grad_value_" else "max_norm")
            clipped(m, node, given, limit, discarded)
            return Unknown(origin="number")
        case "torch.device":
            given = arguments.get(0, "type")
            known = as_device(given) if given is not None else None
            return Device(
                kind=known.kind if known is not None and isinstance(only(given), (Literal, Device)) else "open"
            )
        case "torch.save":
            value = arguments.get(0, "obj")
            if value is not None:
                sites = [m.site(argument) for argument in arguments.nodes]
                m.emit(
                    Saved(
                        *m.at(node),
                        value=value,
                        argument=sites[0] if sites else None,
                        path=arguments.get(1, "f"),
                        path_site=sites[1] if len(sites) > 1 else None,
                        alone=discarded,
                        tests=m.tests,
                        left=m.active.left,
                        passing=_passing(m, arguments.get(1, "f")),
                    )
                )
            return Unknown(origin="call")
        case "torch.distributed.init_process_group":
            size = only(arguments.get(3, "world_size"))
            if not (isinstance(size, Literal) and size.value == 1):  # a group of one: nobody else runs the program
                m.emit(GroupJoined(*m.at(node), by=path))
        case "torch.load":
            return states.read_file(m, node, arguments)
        case "torch._foreach_zero_":
            m.emit(ZeroGrad(*m.at(node), target=Unknown(origin="call")))
            return Unknown(origin="call")
        case "torch.autograd.backward":
            backward_of(m, node, arguments.get(0, "tensors"))
            return Unknown(origin="call")
        case "torch.autograd.grad":
            m.emit(GradientUsed(*m.at(node), target=arguments.get(1, "inputs")))
            return Unknown(origin="call", graph=graph_of(arguments.get(0, "outputs")))
        case "torch.set_default_device" | "torch.set_default_tensor_type":
            m.fields.setdefault(m.api("torch"), {})["$default_device"] = Unknown(origin="device")
            return Unknown(origin="call")
        case "torch.autograd.Variable":
            if isinstance(wrapped := only(arguments.get(0, "data")), Tensor) and len(arguments.all()) > 1:
                wrapped.tracked = None
            return arguments.positional[0] if arguments.positional else Unknown(origin="call")
    shapes = path != "torch.normal" or arguments.get(2, "size") is not None  # else it is shaped as its means are
    if path in words.FROM_CPU or (path in words.FACTORIES and shapes):
        return _factory(m, node, path, arguments)
    if last.endswith("_like") and arguments.positional:
        source = only(arguments.positional[0])
        given = arguments.keywords.get("device")
        device = (
            as_device(given)
            if given is not None
            else (source.device if isinstance(source, (Tensor, Unknown)) else None)
        )
        return Tensor(
            site=m.site(node), made_by=path, device=device, rank=source.rank if isinstance(source, Tensor) else None
        )
    if path.startswith("torch.cuda.") and last.endswith("Tensor"):
        return Tensor(site=m.site(node), made_by=path, device=Device(kind="cuda"))
    if path.startswith(("torch.nn.utils.", "torch.nn.init.")):
        return (
            arguments.positional[0]
            if arguments.positional and path.startswith("torch.nn.init.")
            else Unknown(origin="call")
        )
    functional = path.startswith("torch.nn.functional.")
    if discarded and path in words.PURE_FUNCTIONS and arguments.nodes and not _written(arguments):
        _discard(m, node, arguments.positional[0], last, pure=True, function=path, of=arguments.nodes[0])
    if path in words.FUNCTIONAL_DROPOUTS:
        _dropped(m, node, path, arguments)
    operands: list[Value] = []
    for given in arguments.all():
        one = only(given)
        operands.extend(one.items if isinstance(one, Collection) else [given])
    of = tuple(arguments.all())  # a list as the list: what is kept in it may come back from it
    if (functional and last in words.FUNCTIONAL_LOSSES) or last in words.COMBINING:
        tensors = [o for o in operands if isinstance(only(o), (Tensor, Unknown, Choice))]
        result = combine(m, node, tensors, last)
        if isinstance(result, Tensor):
            result.made_by = path
            result.rank = 0 if functional else result.rank
            result.mean = functional and _averages(arguments.keywords, arguments.starred)
            result.operands = of
            if last in words.COMPARING:
                result.graph, result.cut = frozenset(), cut_at(m, node, path, *tensors)
        else:
            result = Tensor(
                site=m.site(node),
                made_by=path,
                graph=graph_of(result),
                operands=of,
                cut=cut_of(result),
                certain=True,
                device=getattr(result, "device", None),
            )
        if functional and last in words.LOSS_FUNCTIONS:
            tell_loss(m, node, last, None, arguments, result)
        return result
    if (
        functional
        or (path.count(".") == 1 and last.islower())
        or path.startswith(("torch.special.", "torch.fft.", "torch.linalg."))
    ):
        if last in _NOT_TENSOR_RESULT:
            return Unknown(origin="number")
        graph = graphs_of(operands)
        if last in ("linear", "bilinear", "embedding", "conv1d", "conv2d", "conv3d") and functional:
            combine(m, node, [o for o in operands if isinstance(only(o), (Tensor, Unknown))], last)
        ends = last in words.DETACHING or last in words.STEPPING
        if graph and m.grad is Grad.OFF:
            cut, graph = cut_at(m, node, "no_grad", *operands), frozenset()
        else:
            cut = cut_at(m, node, path, *operands) if ends else inherited_cut(operands) if not graph else None
        first = operands[0] if operands else None
        fresh = t.fresh if first is not None and isinstance(t := only(first), Tensor) else None
        return Tensor(
            site=m.site(node),
            made_by=path,
            graph=frozenset() if ends else graph,
            operands=of,
            cut=cut,
            device=device_of(first) if first is not None else None,
            fresh=fresh,
            rank=t.rank if fresh is not None and isinstance(t := only(first), Tensor) else None,
            factory=t.factory if fresh is not None and isinstance(t := only(first), Tensor) else "",
            certain=last in _ONE_TENSOR
            or (
                first is not None
                and isinstance(t := only(first), Tensor)
                and last not in _SEVERAL_RESULTS
                and not _doubtful(t)
            ),
            made=made_by_function(m, node, last, arguments),
            flat=flattened(m, node, last, first, arguments.positional[1:], arguments.keywords),
        )
    if words.harmless(path):
        return Unknown(
            site=m.site(node),
            origin="library" if last[:1].isupper() else "call",
            operands=tuple(arguments.all()),
            graph=graphs_of(arguments.all()),
        )
    return _unknown(m, node, None, arguments, name=path)


def clipped(m: Machine, node: cst.Call, given: Value | None, limit: Value | None, discarded: bool) -> None:
    """Tells that the gradients of what is `given` are clipped."""
    one = settled(limit)
    if isinstance(one, Api) and one.path.endswith(".inf"):  # of math, numpy or torch
        one = Literal(value=float("inf"))
    number = one.value if isinstance(one, Literal) and isinstance(one.value, (int, float)) else None
    m.emit(
        GradientsClipped(
            *m.at(node),
            parameters=parameters_from(m, given),
            given=given,
            alone=discarded,
            limit=float(number) if number is not None else None,
        )
    )


def _written(arguments: Arguments) -> bool:
    return arguments.starred or bool(arguments.keywords.keys() & {"out", "inplace"})


def _dropped(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> None:
    """Tells of a functional dropout: its rate, and what it makes of the mode."""
    attention = path.endswith("attention")
    rate_at, rate_name = (4, "dropout_p") if attention else (1, "p")
    rate, training = arguments.get(rate_at, rate_name), None
    if not attention:
        training = arguments.get(2, "training" if path.startswith("torch.nn.") else "train")
    sites = {a.keyword.value: m.site(a.value) for a in node.args if a.keyword is not None}
    sites |= {str(i): m.site(n) for i, n in enumerate(arguments.nodes)}
    rate_site = sites.get(rate_name, sites.get(str(rate_at)))
    changing = rate_site is not None and plain_spelling(rate_site.node).rpartition(".")[2] in m.outline.changing
    around: Activation | None = m.active
    tied = m.mode_tests > 0
    while around is not None:
        tied, around = tied or around.mode_decides, around.outer
    m.emit(
        Dropped(
            *m.at(node),
            function=path,
            rate=rate,
            training=training,
            tied=tied,
            own_rate=rate is None or (not changing and all(_belongs(m, o) for o in rate.options())),
            rate_site=rate_site,
            training_site=sites.get("training", sites.get("train", sites.get("2"))),
            last_argument=m.site(node.args[-1].value) if node.args else None,
            open=arguments.starred,
        )
    )


def _belongs(m: Machine, value: Value) -> bool:
    """True for a constant, and for what a module keeps from its making on."""
    if isinstance(value, Literal):
        return True
    if value.name.startswith("self.") and isinstance(value, Unknown) and value.origin in ("attribute", "item"):
        return value.name.rsplit(".", 1)[-1] not in m.outline.changing
    return any(
        kept is value and isinstance(owner, Module) and name not in m.outline.changing
        for (owner, name), kept in m.heap.items()
    )


_NOT_TENSOR_RESULT = frozenset(
    """
    manual_seed is_tensor device save load compile seed get_rng_state set_rng_state typename numel is_grad_enabled
    allclose equal set_num_threads get_num_threads get_default_dtype set_default_dtype is_floating_point is_complex
    set_printoptions use_deterministic_algorithms set_float32_matmul_precision finfo iinfo memory_allocated Size
    dtype Generator
    """.split()
)
_SEVERAL_RESULTS = frozenset(
    {
        "max",
        "min",
        "topk",
        "sort",
        "split",
        "chunk",
        "unbind",
        "svd",
        "qr",
        "eig",
        "lu",
        "median",
        "mode",
        "unique",
        "broadcast_tensors",
        "meshgrid",
        "tensor_split",
        "kthvalue",
    }
)
_ONE_TENSOR = frozenset(
    {
        "relu",
        "sigmoid",
        "tanh",
        "softmax",
        "log_softmax",
        "exp",
        "log",
        "sqrt",
        "abs",
        "clamp",
        "mean",
        "sum",
        "flatten",
        "unsqueeze",
        "transpose",
        "permute",
        "nonzero",
        "bernoulli",
        "normal",
        "multinomial",
    }
)


def _enabled(arguments: Arguments) -> bool | None:
    """What `enabled=` says, which is True when nothing does; the one boolean among the positional arguments is it."""
    if arguments.starred:
        return None
    given = arguments.keywords.get("enabled") or next(
        (a for a in arguments.positional if isinstance(getattr(settled(a), "value", None), bool)), None
    )
    one = settled(given) if given is not None else Literal(value=True)
    return bool(one.value) if isinstance(one, Literal) else None


def _autocast(path: str, arguments: Arguments) -> Autocast:
    """`torch.autocast(device_type, dtype)`, or `torch.cuda.amp.autocast(enabled, dtype)`."""
    device = words.AUTOCASTS[path]
    if not device:
        given = arguments.get(0, "device_type")
        known = as_device(given) if given is not None else None
        device = known.kind if known is not None and known.kind not in ("open", "tensor") else ""
    dtype = arguments.get(1, "dtype")
    enabled = _enabled(arguments)
    if words.AUTOCASTS[path] and arguments.positional and not isinstance(settled(arguments.positional[0]), Literal):
        enabled = None  # `autocast(use_amp)`
    one = settled(dtype)
    if dtype is None:
        half = words.AUTOCAST_DEFAULTS.get(device, "") if not arguments.starred else ""
    else:
        half = words.HALVES.get(one.path, "") if isinstance(one, Api) else ""
    return Autocast(device=device, dtype=half, enabled=enabled)


def _sampler(m: Machine, node: cst.Call, arguments: Arguments) -> Value:
    flag = arguments.get(3, "shuffle")
    one = settled(flag) if flag is not None else Literal(value=True)
    known = isinstance(one, Literal) and not arguments.starred
    made = Sampler(site=m.site(node), shuffles=bool(one.value) if known and isinstance(one, Literal) else None)
    m.emit(SamplerBuilt(*m.at(node), sampler=made))
    return made


def _parameter(m: Machine, node: cst.Call, arguments: Arguments, trainable: bool) -> Value:
    data = arguments.get(0, "data")
    one = only(data) if data is not None else None
    flag = only(arguments.get(1, "requires_grad"))
    made = Tensor(
        site=m.site(node),
        made_by="parameter",
        parameter=trainable,
        tracked=trainable if flag is None else bool(flag.value) if isinstance(flag, Literal) else None,
        rank=one.rank if isinstance(one, Tensor) else None,
        data=m.site(arguments.nodes[0]) if arguments.nodes else None,
    )
    if not (isinstance(flag, Literal) and flag.value is False) and trainable:
        made.graph = frozenset({made})
    return made


_TORCH_ONLY = words.CASTS - {"type"} | {"to", "detach", "clone", "forward", "loss", "unsqueeze"}


def _already_tensor(value: Value) -> bool:
    """True for what is certainly a tensor by its making: what only has a tensor's methods may be an array."""
    return all(isinstance(o, Tensor) and o.certain and _made_as_tensor(o, 0) for o in value.options())


def _made_as_tensor(one: Tensor, depth: int) -> bool:
    if one.graph or one.parameter or one.factory or one.made_by.startswith("torch.") or one.made_by in _TORCH_ONLY:
        return True
    return depth < 4 and any(
        isinstance(o, Tensor) and _made_as_tensor(o, depth + 1) for part in one.operands for o in part.options()
    )


def _factory(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> Value:
    """A tensor made here: on the CPU unless the call or a default says otherwise."""
    given = arguments.keywords.get("device")
    device: Device | None
    if path == "torch.tensor" and arguments.nodes and _already_tensor(arguments.positional[0]):
        site = m.site(arguments.nodes[0])
        source = arguments.positional[0]
        m.emit(TensorCopied(*m.at(node), source=source, argument=site, plain=len(node.args) == 1))
    if given is not None:
        devices.named(
            m, node, given, next((a.value for a in node.args if a.keyword and a.keyword.value == "device"), node)
        )
        one = only(given)
        device = CPU if isinstance(one, Literal) and one.value is None else as_device(given)
        if m.active.info is not None:
            m.active.info.places_tensors |= device is None or device.kind != "cpu"
    elif (
        arguments.starred
        or "out" in arguments.keywords
        or m.fields.get(m.api("torch"), {}).get("$default_device") is not None
    ):
        device = None
    else:
        device = m.default_device or CPU
    form = "data" if path in words.FROM_CPU else words.FACTORIES[path]
    first = (
        arguments.positional[0]
        if arguments.positional
        else arguments.keywords.get("size", arguments.keywords.get("data"))
    )
    rank: int | None = form if isinstance(form, int) else None
    known = only(first) if first is not None else None
    match form:
        case "shape":
            if isinstance(known, Collection):
                rank = None if known.open else len(known.items)
                if path.endswith("Tensor") and known.kind == "list":
                    rank = _nesting(known)
            elif len(arguments.positional) > 1:
                rank = len(arguments.positional)
            elif isinstance(known, Literal) or (known is not None and not path.endswith("Tensor")):
                rank = 1  # at least: a size, or a shape that is not written out
            elif path.endswith("Tensor") and isinstance(known, (Tensor, Unknown)):
                device = device if isinstance(known, Unknown) and known.origin in ("numpy", "number") else None
        case "first":
            rank = len(known.items) if isinstance(known, Collection) and not known.open else None
        case "size":
            shape = next((a for a in map(only, arguments.all()) if isinstance(a, Collection)), None)
            rank = len(shape.items) if shape is not None and not shape.open else None
        case "data":
            match known:
                case Literal():
                    rank = 0
                case Collection():
                    rank = _nesting(known)
                    if any(not isinstance(only(i), Literal) and graph_of(i) for i in known.items):
                        device = None
                case Unknown(origin="numpy" | "number"):
                    pass
                case _ if path not in words.FROM_CPU:
                    device = None if given is None else device  # torch.tensor(t) keeps the device of a tensor t
    site = m.site(node)
    placed = given is not None and not (isinstance(only(given), Literal) and device is CPU)
    wish = only(arguments.keywords.get("requires_grad"))
    tracked = False if wish is None else bool(wish.value) if isinstance(wish, Literal) else None
    made = Tensor(
        site=site,
        made_by=path,
        device=device,
        rank=rank,
        fresh=None if placed else site,
        factory=path,
        tracked=None if arguments.starred else tracked,
        leaf=tracked is True,
        cut=cut_at(m, node, path, first) if form == "data" and first is not None else None,
    )
    if tracked is not False and made.cut is None:
        made.graph = frozenset({made})  # what is computed from it has a gradient, or may have one
    return made


def _nesting(value: Collection) -> int | None:
    depth, one = 1, value
    while one.items:
        inner = only(one.items[0])
        if isinstance(inner, Literal):
            return depth
        if not isinstance(inner, Collection):
            return None
        depth, one = depth + 1, inner
        if depth > 8:
            return None
    return depth if one.items else 1


def batch_of(m: Machine, loader: Loader) -> Value:
    """What a loader yields: tensors of a dataset of tensors, on the CPU where its data certainly lies there."""
    known = m.heap.get((loader, "$device"))
    placed = only(known) if known is not None else None
    plain = "collate_fn" not in loader.keywords and not (known is not None and placed is None)
    device = placed if isinstance(placed, Device) else None
    if device is None and plain and loader.dataset is not None and _on_cpu(m, loader.dataset):
        device = CPU
    dataset = only(loader.dataset) if loader.dataset is not None else None
    if plain and isinstance(dataset, Collection) and dataset.kind == "dataset" and not dataset.open:
        parts: list[Value] = [Tensor(made_by="batch", device=device) for _ in dataset.items]
        return Collection(kind="tuple", items=parts)
    return Unknown(origin="batch", device=device)


def _on_cpu(m: Machine, dataset: Value) -> bool:
    """True when the samples of a dataset certainly lie on the CPU."""
    for one in dataset.options():
        match one:
            case Unknown(origin="torchvision"):
                continue
            case Tensor(device=device) if device is not None and device.kind == "cpu":
                continue
            case Collection(items=items) if items and all(_on_cpu(m, i) for i in items):
                continue
            case Instance(cls=cls) if (
                cls is not None and cls.closed and not cls.words & {"cuda", "to", "device", "gpu"}
            ):
                continue
        return False
    return True
