"""The loop that a framework runs around the methods of a class: followed in the order in which it calls them.

What the framework does by itself is told as events too: a rule sees one training loop, as if it were written out.
"""

from __future__ import annotations

from typing import Any

from torchlint.facts import (
    Backward,
    ClassInfo,
    Collection,
    DeviceChosen,
    Duty,
    Frame,
    Function,
    FunctionInfo,
    Grad,
    Instance,
    Join,
    Literal,
    Loop,
    Mapping,
    Module,
    Optimizer,
    OptimizerStep,
    Root,
    Scheduler,
    SchedulerStep,
    Tensor,
    Unknown,
    Value,
    ZeroGrad,
    only,
)
from torchlint.semantics import frameworks
from torchlint.semantics.frameworks import Cycle, Hook
from torchlint.semantics.functions import bind_unknown, construct, decoration, enter, run, self_of, setters
from torchlint.semantics.machine import Activation, Machine, choice, graph_of, link_all
from torchlint.semantics.vocabulary import canonical

# Bases that add nothing to a loop.
_PLAIN = frozenset({"object", "abc.ABC", "typing.Generic", "torch.nn.Module"})


def bases_of(cls: ClassInfo) -> list[str]:
    """The canonical names of what a class derives from outside of the project."""
    return [canonical(base) for base in cls.lineage() if isinstance(base, str)]


def cycle_of(cls: ClassInfo) -> Cycle | None:
    """The loop that runs methods of this class."""
    return next((found for base in bases_of(cls) if (found := frameworks.cycle(base)) is not None), None)


def follow_cycle(m: Machine, cls: ClassInfo, heap: dict[Any, Value]) -> Root | None:
    """Follows the methods of a class as its framework calls them; None where none of them is a training step."""
    cycle = cycle_of(cls)
    step = next((found for name in cycle.batch if (found := cls.method(name))), None) if cycle is not None else None
    if cycle is None or step is None or step.file or not any(name in cls.methods for name in cycle.names):
        return None
    main = cls.method(cycle.step)
    if main is None:
        return None
    frame = Frame(main, depth=1)
    entry = Join(main.site, frame, label="start")
    receiver = self_of(m, cls)
    root = Root(entry, frame, [entry], receiver=receiver)
    m.root, m.tail, m.loops, m.runs, m.heap, m.grad = root, [entry], (), [], heap, Grad.DEFAULT
    m.active = Activation(frame=frame, info=main, outer=m.home(main), owner=main.owner)
    m.statement = m.suite = None
    if isinstance(receiver, Instance):
        construct(m, receiver)
    provided(m, cls, receiver)
    does = _done(m, cls, receiver, cycle)
    _call_all(m, cls, receiver, cycle.first)

    def batch() -> None:
        for name in cycle.batch:
            value = _call(m, cls, receiver, name, frame if name == cycle.step else None)
            if name == cycle.step and value is not None and does:
                _trainer_steps(m, cycle, main, frame, receiver, value)

    def epoch() -> None:
        _call_all(m, cls, receiver, cycle.epoch_first)
        _loop(m, main, batch)
        if does:
            _schedulers_step(m, main, frame, receiver)
        _call_all(m, cls, receiver, cycle.epoch_last)

    if not does and cycle.manual and cycle.optimizers in cls.methods:  # a base's may be another trainer's
        _leave_idle(m, receiver, cycle.manual)
    _loop(m, main, epoch)
    _call_all(m, cls, receiver, cycle.last)
    m.active = m.module
    return root


def follow_body(m: Machine, node: Any, body: Value | None) -> None:
    """Follows a function that an engine is given as the body of its loop, as if the engine ran where it is made.

    One that does not train is followed so only where nothing in the file sets evaluation mode: that may come later.
    """
    from torchlint.semantics.flow import run_loop

    function = only(body)
    if not isinstance(function, Function) or function.info is None or m.exhausted:
        return
    words = function.info.words
    if "backward" not in words and "eval" in m.outline.words:
        return
    clearing = any("zero_grad" in f.words for f in m.outline.functions.values() if f is not function.info)
    handled = clearing and not m.outline.words.isdisjoint(_AT_ITERATIONS)

    def begin(loop: Loop) -> None:
        given: list[Value] = [Unknown(origin="engine"), Unknown(name="batch", origin="parameter")]
        if handled:
            m.unknown_call(node, "handlers", m.free_values(function))
        enter(m, function, given, {}, node)

    m.assigned[id(node)] = frozenset()
    run_loop(m, node, begin, lambda: None, over=Unknown(origin="loader"))


# The events of ignite at which a handler is called for each batch.
_AT_ITERATIONS = frozenset({"ITERATION_STARTED", "ITERATION_COMPLETED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED"})


def _loop(m: Machine, info: FunctionInfo, body: Any) -> None:
    from torchlint.semantics.flow import run_loop

    m.assigned[id(info.node)] = frozenset()  # its names are made anew in each round
    run_loop(m, info.node, lambda loop: None, body, over=Unknown(origin="loader"))


def _call_all(m: Machine, cls: ClassInfo, receiver: Value, names: tuple[str, ...]) -> None:
    for name in names:
        _call(m, cls, receiver, name)


def _call(m: Machine, cls: ClassInfo, receiver: Value, name: str, frame: Frame | None = None) -> Value | None:
    """Follows a method of the class as the framework calls it, with arguments that nobody knows."""
    info = cls.method(name)
    if info is None or m.dead:
        return None
    look = decoration(m, info)
    if look.is_property or look.is_static or look.is_class:
        return None
    m.entered.add(info)
    if look.opaque:
        m.unknown_call(info.node, name, [receiver])
    activation = Activation(
        frame=frame or Frame(info, parent=m.root.frame, depth=1), info=info, outer=m.home(info), owner=info.owner
    )

    def prepare() -> None:
        bind_unknown(m, activation, receiver)
        if isinstance(receiver, Module):  # its trainer chooses the device, and the module knows it
            m.emit(DeviceChosen(info.head, activation.frame, m.loops, m.grad, engine=receiver))

    return run(m, activation, prepare, look)


def _done(m: Machine, cls: ClassInfo, receiver: Value, cycle: Cycle) -> bool:
    """True where the framework certainly clears, runs the backward pass and steps by itself."""
    if not cycle.does & Duty.STEP or any(cls.method(name) is not None for name in cycle.overrides):
        return False
    if any(base not in _PLAIN and frameworks.cycle(base) is None for base in bases_of(cls)):
        return False  # what else it derives from may switch that off
    return not cycle.manual or not (setters(m, cls, cycle.manual) or cls.method(cycle.manual))


def _trainer_steps(m: Machine, cycle: Cycle, info: FunctionInfo, frame: Frame, receiver: Value, value: Value) -> None:
    """What a trainer does with the loss that a training step returns: clear, backward, step."""
    loss = _loss_of(value, cycle.pair)
    at = (info.head, frame, m.loops, m.grad)
    if loss is not None and not cycle.optimizers:
        m.emit(Backward(*at, loss=loss, roots=graph_of(loss) or None, by_trainer=True))
    optimizers = _optimizers(m, receiver) if cycle.optimizers else None
    if loss is None or optimizers is None or len(optimizers) != 1:
        return
    m.emit(ZeroGrad(*at, target=optimizers[0]))
    m.emit(Backward(*at, loss=loss, roots=graph_of(loss) or None, by_trainer=True))
    m.emit(OptimizerStep(*at, optimizer=optimizers[0], by_trainer=True))


def _schedulers_step(m: Machine, info: FunctionInfo, frame: Frame, receiver: Value) -> None:
    """A trainer steps the schedulers that it was given, and tells one of them the metric that it is to watch."""
    made = m.field_of(receiver, "$optimizers")
    for scheduler, watched in _schedules(made) if made is not None else ():
        site = scheduler.site or info.head
        at = (site, frame, m.loops, m.grad)
        m.emit(SchedulerStep(*at, scheduler=scheduler, arguments=int(watched), by_trainer=True))


def _schedules(value: Value, watched: bool = False) -> list[tuple[Value, bool]]:
    """The schedulers that `configure_optimizers` returns, and whether each comes with a metric to watch."""
    match only(value):
        case Scheduler() as one:
            return [(one, watched)]
        case Mapping(entries=entries, open=more):
            named = more or "monitor" in entries
            inner = entries.get("lr_scheduler", entries.get("scheduler"))
            return _schedules(inner, named) if inner is not None else []
        case Collection(items=[Collection(), Collection(items=second)]):
            return [found for item in second for found in _schedules(item)]
        case Collection(items=items):
            return [found for item in items for found in _schedules(item)]
    return []


def _leave_idle(m: Machine, receiver: Value, switch: str) -> None:
    """Where optimization is manual, nobody steps the schedulers but the program, which has to ask for them."""
    from torchlint.semantics.expressions import attribute

    with m.detached():
        one = only(attribute(m, receiver, switch, None))
    if isinstance(one, Literal) and one.value is False and m.outline.words.isdisjoint(_SCHEDULERS):
        made = m.field_of(receiver, "$optimizers")
        for scheduler in (schedulers_in(made) or ()) if made is not None else ():
            for option in scheduler.options():
                if isinstance(option, Scheduler):
                    option.idle = True


# How a LightningModule gets at its schedulers.
_SCHEDULERS = frozenset({"lr_schedulers", "lr_scheduler_configs", "lr_scheduler_step"})


def _loss_of(value: Value, pair: bool) -> Value | None:
    """The loss among what a training step returns, in a tuple where it may be a `pair`; None where it may be none."""
    found: list[Value] = []
    for one in value.options():
        if isinstance(one, Mapping):
            inner = one.entries.get("loss")
            if inner is None:
                return None
            found.extend(inner.options())
        elif pair and isinstance(one, Collection) and one.kind == "tuple" and one.items:
            found.extend(one.items[0].options())
        elif isinstance(one, (Tensor, Unknown)):
            found.append(one)
        else:
            return None
    return choice(found) if found else None


def hook_of(info: FunctionInfo) -> Hook | None:
    """What is in force in a method that a framework calls."""
    if info.owner is None or info.outer is not None:
        return None
    return frameworks.hook(bases_of(info.owner), info.name)


# --------------------------------------------------------------------------------------- what a class is provided with


def provided(m: Machine, cls: ClassInfo, receiver: Value) -> Value | None:
    """What `configure_optimizers` returns, made once; what is made there is told where the program is then."""
    known = m.field_of(receiver, "$optimizers")
    if known is not None:
        return known
    m.derive(receiver, "$optimizers", Unknown(origin="call", holds=True))
    cycle = cycle_of(cls)
    info = cls.method(cycle.optimizers) if cycle is not None else None
    value = _call(m, cls, receiver, cycle.optimizers) if cycle is not None and info is not None else None
    if value is None:
        value = Unknown(origin="call", holds=True)
        link_all(value, receiver)
    return m.derive(receiver, "$optimizers", value)


def _optimizers(m: Machine, receiver: Value) -> list[Value] | None:
    made = m.field_of(receiver, "$optimizers")
    return optimizers_in(made) if made is not None else None


def optimizers_in(value: Value) -> list[Value] | None:
    """The optimizers that `configure_optimizers` returns, in the forms that Lightning takes; None when unknown."""
    return _returned(value, Optimizer, "optimizer", 0)


def schedulers_in(value: Value) -> list[Value] | None:
    """The schedulers among them."""
    return _returned(value, Scheduler, "lr_scheduler", 1)


def _returned(value: Value, kind: type[Value], key: str, place: int) -> list[Value] | None:
    options = value.options()
    if all(isinstance(one, kind) for one in options):
        return [value]
    if len(options) > 1:
        each = [_returned(one, kind, key, place) for one in options]
        if any(found is None or len(found) != 1 for found in each):
            return None
        return [choice([one for found in each for one in found or ()])]
    match options[0]:
        case Optimizer() | Literal(value=None):
            return []
        case Mapping(entries=entries, open=False):
            inner = entries.get(key, entries.get("scheduler") if place else None)
            return _returned(inner, kind, key, place) if inner is not None else []
        case Collection(kind="tuple" | "list", items=items, open=False):
            columns = [only(item) for item in items]
            if len(columns) == 2 and all(isinstance(c, Collection) for c in columns):
                return _returned(items[place], kind, key, place)
            found = []
            for item in items:
                inner_found = _returned(item, kind, key, place)
                if inner_found is None:
                    return None
                found.extend(inner_found)
            return found
    return None


def provides(m: Machine, receiver: Module | Instance, name: str) -> Value | None:
    """What a method that a class inherits from its framework does; None for all others."""
    if name not in frameworks.INHERITED or receiver.cls is None:
        return None
    does = frameworks.inherited(bases_of(receiver.cls), name)
    if does is None:
        return None
    if does == Duty.NONE:
        return Unknown(origin="call")
    if name in ("optimizers", "lr_schedulers"):
        with m.detached():  # in the loop it has been made before
            made = provided(m, receiver.cls, receiver)
        found = (optimizers_in if name == "optimizers" else schedulers_in)(made) if made is not None else None
        if not found:
            return Unknown(origin="call", holds=True, holders=[receiver])
        return found[0] if len(found) == 1 else Collection(kind="list", items=found)
    return None
