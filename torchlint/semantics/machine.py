"""The state in which a file is followed: what names and attributes hold, where the program stands, what has happened.

Variables live in activations (one per run of a function), attributes in the heap. Both are copied where paths part and
joined where they meet; a value that differs becomes a `Choice`. What has happened is the graph of events behind `tail`:
the events after which the program can stand where it stands now. An empty tail means that nothing gets here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import libcst as cst

from torchlint.facts import (
    Api,
    Autocast,
    Choice,
    ClassInfo,
    Collection,
    Device,
    Engine,
    Event,
    Frame,
    Function,
    FunctionInfo,
    Grad,
    Imported,
    Instance,
    Join,
    Literal,
    Loop,
    Made,
    Mapping,
    Metric,
    Module,
    Optimizer,
    Parameters,
    Root,
    Scaler,
    Site,
    Tensor,
    Unknown,
    UnknownCall,
    Value,
    Wrapped,
)
from torchlint.semantics.vocabulary import canonical
from torchlint.semantics.walk import Outline

if TYPE_CHECKING:
    from torchlint.semantics.functions import Decoration
    from torchlint.semantics.keeping import Round
    from torchlint.semantics.project import Other

EVENT_LIMIT = 5000  # per root: past it nothing is followed into further, and the root says that it is incomplete
STEP_LIMIT = 150_000  # expressions evaluated per file
ABROAD_LIMIT = 4_000  # of these in other files: past it their functions are unknown
ABROAD_DEPTH = 3  # calls into other files, one in the other
DEPTH_LIMIT = 8
CHOICE_LIMIT = 8
ITEM_LIMIT = 32  # how many constants of a literal list or dict are kept: tables of numbers decide nothing
WAYS_LIMIT = 8  # how many events can come right before another; more of them meet in a join
SEARCH_LIMIT = 100  # how many holders of a value are looked at for modules
NESTING_LIMIT = 6  # how deep containers are looked into; a list can hold itself

Heap = dict[tuple[Value, str], Value]
State = tuple[dict[str, Value], Heap, list[Event]]  # variables, attributes, and the events that happened last


@dataclass(slots=True, eq=False)
class Activation:
    """One run of a function: its variables, and the activation its free names are looked up in."""

    frame: Frame
    info: FunctionInfo | None
    locals: dict[str, Value] = field(default_factory=dict)
    outer: Activation | None = None
    shared: dict[str, Activation] = field(default_factory=dict)  # names declared global or nonlocal
    returns: list[tuple[Value, Heap, list[Event]]] = field(default_factory=list)
    yields: list[Value] = field(default_factory=list)
    on_yield: Callable[[Value], None] | None = None
    owner: ClassInfo | None = None  # the class whose method runs, for super()
    file: str = ""  # of a module level: the file
    stars: list[str] = field(default_factory=list)  # of a module level: modules imported with *
    left: frozenset[str] = frozenset()  # words of the tests of which one side has left
    mode_decides: bool = False  # one side of a test of the mode has left: what comes later depends on it


@dataclass(slots=True, eq=False)
class LoopRun:
    """The loop that `break` and `continue` concern."""

    continues: list[State] = field(default_factory=list)
    breaks: list[State] = field(default_factory=list)


# Where the program stands: what following something on the side must leave as it was.
_POSITION = ("tail", "root", "loops", "runs", "grad", "active", "statement", "suite", "heap")


@dataclass(slots=True, eq=False)
class Machine:
    """Everything that is known while one file is followed."""

    tree: cst.Module
    outline: Outline
    module: Activation
    active: Activation
    root: Root
    heap: Heap = field(default_factory=dict)
    fields: dict[Value, dict[str, Value]] = field(
        default_factory=dict
    )  # attributes derived on demand, alike on all paths
    tail: list[Event] = field(default_factory=list)
    loops: tuple[Loop, ...] = ()
    runs: list[LoopRun] = field(default_factory=list)
    rounds: dict[Loop, Round] = field(default_factory=dict)  # of the loops that are being followed
    grad: Grad = Grad.DEFAULT
    statement: Any = None
    suite: Any = None
    steps: int = 0
    abroad: int = 0  # those in other files
    left: int = 0  # how many there were when the file itself was left, 0 while in it
    forks: int = 0  # how many branches and loops the program is in: what it does to shared names may not happen
    entered: set[FunctionInfo] = field(default_factory=set)  # functions followed into from a call
    constructed: set[Value] = field(default_factory=set)
    promoted: dict[Value, Value] = field(default_factory=dict)  # unknown values that use or name has since typed
    apis: dict[str, Api] = field(default_factory=dict)
    imported: dict[str, None] = field(default_factory=dict)  # dotted names, wherever they were imported
    functions: dict[int, FunctionInfo] = field(default_factory=dict)  # of this file and of those read for it,
    classes: dict[int, ClassInfo] = field(default_factory=dict)  # by the id of their node
    others: dict[str, Other | None] = field(default_factory=dict)  # other files of the project; None: not followed
    consulted: dict[str, bytes | None] = field(default_factory=dict)  # what was read for it; None: could not be
    resolved: dict[tuple[str, tuple[str, ...]], Value] = field(default_factory=dict)  # imported names
    unstarred: dict[tuple[str, str], int] = field(default_factory=dict)  # file and name that so many `*` do not bring
    lookalike: bool = False  # the file imports a framework whose objects are named as torch's
    selves: dict[ClassInfo, Value] = field(default_factory=dict)
    assigned: dict[int, frozenset[str]] = field(default_factory=dict)  # names bound by a loop's body, by id of the node
    attribute_sources: dict[ClassInfo, dict[str, list[tuple[FunctionInfo, Any]]]] = field(default_factory=dict)
    makers: set[ClassInfo | FunctionInfo] = field(default_factory=set)  # make something with parameters, as is known
    barren: set[ClassInfo | FunctionInfo] = field(default_factory=set)  # make nothing with parameters, as is known
    uses: dict[FunctionInfo, dict[str, set[str]]] = field(default_factory=dict)
    fetched: set[object] = field(default_factory=set)  # paths that downloads were written to
    quiet: int = 0
    choosing: int = 0  # how many calls are followed for each of the things that they may call
    one_round: bool = False
    off: tuple[Site | None, str] = (None, "")  # where gradients were switched off, and by what
    tests: tuple[frozenset[str], ...] = ()  # the words of the tests around
    tries: int = 0  # how many `try` statements would catch an error here
    mode_tests: int = 0  # how many tests of `training` decide whether the program gets here
    expects_error: bool = False  # inside `with pytest.raises(...)` and its like
    doubtful: Any = None  # the last call of a method of what may be something unknown
    hidden: list[Event] = field(default_factory=list)  # that happened in what was evaluated without telling
    lazy: dict[Value, list[Value]] = field(default_factory=dict)  # generator expressions, and what they will use up
    placed: set[Value] = field(default_factory=set)  # what has been on a known device at some time
    default_device: Device | None = None  # of a `with torch.device(...)` around
    autocast: Autocast | None = None  # the innermost region of mixed precision around
    periods: tuple[Any, ...] = ()  # the tests of a remainder around, outermost first
    tested: Value | None = None  # what the last test was worth
    closures: dict[Value, Activation] = field(default_factory=dict)  # where a nested function was defined
    relevant: frozenset[FunctionInfo] = frozenset()  # functions worth following into, whatever they are given
    decorations: dict[FunctionInfo, Decoration] = field(default_factory=dict)
    # What calls of modules give back, by the ids of the module, its state and the call, which the second part keeps.
    outputs: dict[tuple[int, int, int], tuple[Value | None, Made]] = field(default_factory=dict)

    # ---- places and events

    def site(self, node: Any) -> Site:
        info = self.active.info
        caller = self._caller() if info is not None and info.file else None
        return Site(node, self.statement, self.suite, info, self.one_round, self.periods, caller)

    def _caller(self) -> Site | None:
        """The call in the file itself that led into the other one."""
        for frame in self.active.frame.stack():
            call = frame.call
            if call is not None and (call.caller is not None or call.function is None or not call.function.file):
                return call.caller or call
        return None

    @property
    def clock(self) -> int:
        """A number that grows as the program is followed; 0 in what is evaluated without telling."""
        return 0 if self.quiet else self.steps + 1

    def at(self, node: Any) -> tuple[Site, Frame, tuple[Loop, ...], Grad]:
        """The first fields of an event that happens at `node` now."""
        return self.site(node), self.active.frame, self.loops, self.grad

    def emit(self, event: Event) -> None:
        """Lets `event` happen after all that could have happened last."""
        for before in self.tail:
            before.next.append(event)
        if self.tail:
            self.tail = [event]
            self.root.events.append(event)

    @contextmanager
    def at_home(self, info: FunctionInfo | ClassInfo) -> Iterator[None]:
        """Looks names up as in the file that a function or class stands in."""
        saved, self.active = self.active, self.home(info)
        try:
            yield
        finally:
            self.active = saved

    @property
    def dead(self) -> bool:
        """True when no path reaches this point."""
        return not self.tail

    @property
    def far(self) -> bool:
        """True when other files have been followed as far as is worth it for this one."""
        spent = self.abroad + (self.steps - self.left if self.left else 0)
        return (
            spent > ABROAD_LIMIT
            or sum(f.function is not None and f.function.file != "" for f in self.frames()) >= ABROAD_DEPTH
        )

    def frames(self) -> Iterator[Frame]:
        """The runs of functions that the program is in, innermost first."""
        return self.active.frame.stack()

    @contextmanager
    def abroad_in(self, info: FunctionInfo) -> Iterator[None]:
        """Counts what is evaluated in another file."""
        if not info.file or self.left:
            yield
            return
        self.left = self.steps or 1
        try:
            yield
        finally:
            self.abroad += self.steps - self.left
            self.left = 0

    @property
    def exhausted(self) -> bool:
        """True when following further would cost too much; the root is then marked incomplete."""
        if len(self.root.events) > EVENT_LIMIT or self.steps > STEP_LIMIT:
            self.root.complete = False
            return True
        return False

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Evaluates without telling: events in here belong to no root, paths go on as before."""
        saved = [(name, getattr(self, name)) for name in _POSITION]
        entry = Join(Site(None, None, None), self.active.frame)
        self.root = Root(entry, self.active.frame)
        self.tail, self.loops, self.runs = [entry], (), []
        self.heap = dict(self.heap)
        self.quiet += 1
        try:
            yield
        finally:
            self.quiet -= 1
            self.hidden.extend(self.root.events)
            for name, value in saved:
                setattr(self, name, value)

    # ---- paths

    def branch(self, arms: Iterable[Callable[[], None]]) -> None:
        """Runs each arm from here and joins where they end."""
        locals_, heap, tail, grad = self.active.locals, self.heap, self.tail, self.grad
        ends: list[State] = []
        grads: list[Grad] = []
        self.forks += 1
        for arm in arms:
            self.active.locals, self.heap, self.tail, self.grad = dict(locals_), dict(heap), list(tail), grad
            arm()
            if self.tail:
                ends.append((self.active.locals, self.heap, self.tail))
                grads.append(self.grad)
        self.forks -= 1
        self.active.locals, self.heap, self.grad = locals_, heap, grad
        self.merge(ends)
        if grads:
            self.grad = grads[0] if all(g is grads[0] for g in grads) else Grad.UNKNOWN

    def merge(self, ends: list[State]) -> None:
        """Goes on from all of `ends` together; none: nothing gets on from here."""
        if not ends:
            self.tail = []
            return
        self.active.locals = join_maps([e[0] for e in ends])
        self.heap = join_heaps([e[1] for e in ends])
        self.tail = unique(event for end in ends for event in end[2])
        if len(self.tail) > WAYS_LIMIT:
            self.emit(Join(Site(None, None, None), self.active.frame, self.loops, self.grad))

    # ---- names

    def lookup(self, name: str) -> Value | None:
        """What a name holds here: local, enclosing, module level; None when it is bound nowhere in sight."""
        activation: Activation | None = self.active
        shared = self.active.shared.get(name)
        if shared is not None:
            activation = shared
        last = self.active
        while activation is not None:
            found = activation.locals.get(name)
            if found is not None:
                if type(found) is Imported:
                    found = self.imported_value(found)
                elif type(found) is Choice and any(type(one) is Imported for one in found.alternatives):
                    found = choice([self.imported_value(o) if type(o) is Imported else o for o in found.options()])
                return self.promoted.get(found, found) if self.promoted else found
            last, activation = activation, activation.outer
        if last.file in self.others or last.stars:
            from torchlint.semantics.project import missing

            return missing(self, last, name)
        return None

    @property
    def top(self) -> Activation:
        """The module level of the file that is being followed now."""
        activation = self.active
        while activation.outer is not None:
            activation = activation.outer
        return activation

    def home(self, info: FunctionInfo | ClassInfo | None) -> Activation:
        """The module level of the file that a function or class stands in."""
        other = self.others.get(info.file) if info is not None and info.file else None
        return other.activation if other is not None else self.module

    def imported_value(self, one: Imported) -> Value:
        """What an imported name is in its file, or `one` itself where that cannot be seen."""
        key = (one.file, one.names)
        found = self.resolved.get(key)
        if found is None:
            from torchlint.semantics.project import resolve

            self.resolved[key] = one  # files may import each other
            found = self.resolved[key] = resolve(self, one) or one
        return found

    def api(self, path: str) -> Api:
        path = canonical(path)
        found = self.apis.get(path)
        if found is None:
            found = self.apis[path] = Api(name=path, path=path)
        return found

    # ---- attributes

    def field_of(self, owner: Value, name: str) -> Value | None:
        """An attribute that was set on some path, or derived before."""
        found = self.heap.get((owner, name))
        if found is None:
            known = self.fields.get(owner)
            found = known.get(name) if known is not None else None
        if found is not None and self.promoted:
            return self.promoted.get(found, found)
        return found

    def derive(self, owner: Value, name: str, value: Value) -> Value:
        """Remembers a derived attribute, so that asking again gives the same object."""
        self.fields.setdefault(owner, {})[name] = value
        return value

    def unknown_call(self, node: Any, callee: str, arguments: list[Value]) -> None:
        """Tells that code out of sight was handed something that matters."""
        handed = [a for a in arguments if matters(a)]
        for one in handed[:]:
            handed.extend(_contents(one))
        for one in [o for a in handed for o in a.options() if isinstance(o, Function)]:
            handed.extend(self.free_values(one))  # it may be called there
        graph = frozenset[Value]().union(*map(graph_of, arguments)) if arguments else frozenset()
        for one in handed:
            unplace(self, one)  # it may have been moved
        if handed or graph:
            self.emit(UnknownCall(*self.at(node), callee=callee, arguments=handed, graph=graph))

    def free_values(self, function: Function) -> list[Value]:
        """What a function acts on without being given it: its receiver, what it takes from around itself."""
        found: list[Value] = []
        seen: set[FunctionInfo | None] = set()
        todo = [function]
        while todo:
            one = todo.pop()
            if one.receiver is not None:
                found.append(one.receiver)
            if one.info is None or one.info in seen:
                continue
            seen.add(one.info)
            around: Activation | None = self.closures.get(one) or self.home(one.info)
            while around is not None:
                for word in one.info.words & around.locals.keys():
                    for option in around.locals[word].options():
                        if isinstance(option, Function):
                            todo.append(option)
                        elif matters(option):
                            found.append(self.promoted.get(option, option))
                around = around.outer
        return found


def _contents(value: Value, depth: int = 0) -> list[Value]:
    """What lies in a container and matters, that in containers in it as well."""
    found: list[Value] = []
    for part in parts_of(value) if depth < NESTING_LIMIT else ():
        if matters(part):
            found.append(part)
            found.extend(_contents(part, depth + 1))
    return found


def add_items(collection: Collection, items: list[Value]) -> None:
    """Puts more into a list, at a place nobody knows."""
    collection.open = True
    for one in list(items):
        if len(collection.items) < ITEM_LIMIT or matters(one):
            collection.items.append(one)
            link_all(one, collection)


def matters(value: Value, depth: int = 0) -> bool:
    """True when handing `value` to unknown code could change a model, its mode or its gradients."""
    if depth > NESTING_LIMIT:
        return True
    for one in value.options():
        match one:
            case Module() | Optimizer() | Parameters() | Instance() | Function() | Scaler() | Engine() | Metric():
                return True
            case Unknown(holds=True):
                return True
            case Tensor(parameter=True):
                return True
            case Collection(items=items):
                if any(matters(i, depth + 1) for i in items):
                    return True
            case Mapping(entries=entries):
                if any(matters(v, depth + 1) for v in entries.values()):
                    return True
            case _:
                pass
    return False


def place(m: Machine, value: Value, where: Value) -> None:
    """From here on a module or a loader is on a device, or on one that nobody knows."""
    m.heap[(value, "$device")] = where
    if isinstance(where, Device):
        m.placed.add(value)


def unplace(m: Machine, value: Value) -> None:
    """From here on nobody knows on which device a module is that `value` is, is part of, or was given."""
    if not m.placed:
        return
    for upwards in (True, False):
        seen: set[Value] = set()
        todo = [value]
        while todo:
            one = todo.pop()
            if one in seen:
                continue
            seen.add(one)
            if one in m.placed:
                m.heap[(one, "$device")] = Unknown(origin="device")
            todo.extend(one.holders if upwards else one.held or ())
            if isinstance(one, Choice):
                todo.extend(one.alternatives)
            if len(seen) > SEARCH_LIMIT:  # handed around so much that anything may have moved
                for module in m.placed:
                    m.heap[(module, "$device")] = Unknown(origin="device")
                m.placed.clear()
                return


def link(value: Value, holder: Value) -> None:
    """Notes that `holder` has been given `value` and may act on it."""
    if value is not holder and holder not in value.holders:
        value.holders.append(holder)
        if holder.held is None:
            holder.held = []
        holder.held.append(value)


def link_all(value: Value, holder: Value) -> None:
    """Notes it of every alternative."""
    for one in value.options():
        link(one, holder)


def choice(values: Iterable[Value]) -> Value:
    """One of `values`: a `Choice` without repeats, or the value itself where there is one."""
    values = list(values)
    found: dict[object, Value] = {}
    for value in values:
        for option in (value,) if not isinstance(value, Choice) else value.options():
            found.setdefault(_key(option), option)
    options = list(found.values())
    if len(options) == 1:
        return next((value for value in values if isinstance(value, Wrapped)), options[0])
    if not options or len(options) > CHOICE_LIMIT:
        graph = frozenset(g for f in options for g in getattr(f, "graph", ()))
        mixed = Unknown(origin="choice", graph=graph, holds=any(matters(f) for f in options))
        for one in options:
            link(one, mixed)
        return mixed
    return Choice(name=options[0].name, alternatives=options)


def _key(value: Value) -> object:
    """What makes two values one: for constants, devices and APIs what they say, for everything else identity."""
    match value:
        case Literal(value=constant):
            return Literal, type(constant), constant
        case Device(kind=kind):
            return Device, kind
        case Api(path=path):
            return Api, path
    return id(value)


def join_maps(maps: list[dict[str, Value]]) -> dict[str, Value]:
    """Variables where paths meet; a name bound on one path only keeps that value."""
    if len(maps) == 1:
        return maps[0]
    joined = dict(maps[0])
    for other in maps[1:]:
        for key, value in other.items():
            mine = joined.get(key)
            if mine is None:
                joined[key] = value
            elif mine is not value:
                joined[key] = choice((mine, value))
    return joined


def join_heaps(heaps: list[Heap]) -> Heap:
    """Attributes where paths meet. A state kept under a `$` name and set on one path only may or may not hold after."""
    if len(heaps) == 1:
        return heaps[0]
    joined = dict(heaps[0])
    for other in heaps[1:]:
        if other == joined:
            continue
        known = joined.get
        for key, value in [entry for entry in other.items() if known(entry[0]) is not entry[1]]:
            mine = joined.get(key)
            if mine is None:
                joined[key] = choice((value, Unknown(origin="unset"))) if key[1][:1] == "$" else value
            else:
                joined[key] = choice((mine, value))
        for key in heaps[0].keys() - other.keys():
            if key[1][:1] == "$":
                joined[key] = choice((joined[key], Unknown(origin="unset")))
    return joined


def unique(events: Iterable[Event]) -> list[Event]:
    seen: set[Event] = set()
    found: list[Event] = []
    for event in events:
        if event not in seen:
            seen.add(event)
            found.append(event)
    return found


def graph_of(value: Value | None, depth: int = 0) -> frozenset[Value]:
    """The modules and parameters a backward pass from `value` is known to reach."""
    if value is None or depth > NESTING_LIMIT:
        return frozenset()
    match value:
        case Tensor(graph=graph) | Unknown(graph=graph):
            return graph
        case Choice() | Collection() | Mapping():
            found: set[Value] = set()
            for part in parts_of(value):
                found |= graph_of(part, depth + 1)
            return frozenset(found)
    return frozenset()


def graphs_of(values: Iterable[Value]) -> frozenset[Value]:
    """The modules and parameters that a backward pass from any of `values` reaches."""
    return frozenset[Value]().union(*map(graph_of, values))


def parts_of(value: Value) -> list[Value]:
    match value:
        case Choice():
            return list(value.options())
        case Collection(items=items):
            return items
        case Mapping(entries=entries):
            return list(entries.values())
    return []
