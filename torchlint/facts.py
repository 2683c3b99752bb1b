"""The words rules are written in: values, events, and the paths between them. No libcst here.

The semantic layer reads a file by *following* it: it runs the module body, the functions and the methods over abstract
values (a model, an optimizer over that model's parameters, a tensor made on the CPU) and writes down what happens as
`Event`s, linked by `next` in every order the program could take. A call into a function of the same file is followed
with the values it is given, so that an event in a helper concerns the caller's own model.

A rule asks two kinds of question. *Must*: is it so on every path? *May*: could it be so on some path, or in code we
cannot see that was handed the object? Absence rules ask *may*, misuse rules ask *must*; unknown means quiet.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

# ------------------------------------------------------------------------------------------------------------- places


@dataclass(slots=True, eq=False)
class Site:
    """A place in the source: an opaque syntax node, the statement it stands in, and that statement's suite.

    Rules hand sites around; only the semantic layer and the edit builders look inside.
    """

    node: Any
    statement: Any
    suite: Any
    function: FunctionInfo | None = None  # what it stands in
    one_round: bool = False  # under a test such as `epoch == last`, which may hold in one round of the loop only
    periods: tuple[Any, ...] = ()  # the tests of a remainder it stands under, `(i + 1) % n == 0`, outermost first
    caller: Site | None = None  # of a place in another file: the call in this one that leads there

    def same_suite(self, other: Site) -> bool:
        """True when both statements stand in one block, so that neither can run without the other being tried."""
        return self.suite is other.suite and self.suite is not None


@dataclass(slots=True, eq=False)
class Loop:
    """A `for` or `while` as it is run in one context."""

    site: Site
    body: Any = None  # the suite, for edits
    over: Value | None = None  # what a `for` iterates
    once: bool = False  # range(1), or a body that always leaves in its first pass
    frame: Frame | None = None
    counter: str = ""  # the name that a `for` over a range counts with
    forks: int = 0  # how many branches its body is in where it begins
    left_early: bool = False  # something in it breaks off
    skips: bool = False  # something in it goes on to the next round
    last: Site | None = None  # the last statement of its body
    binds: frozenset[str] = frozenset()  # the names that its body and its header bind
    begins: int = 0  # when it does, on the clock that `Module.born` is read from


@dataclass(slots=True, frozen=True, eq=False)
class Cut:
    """Where a value that was computed with modules lost its graph: no gradient gets back past this place."""

    site: Site
    how: str  # the method, function or attribute: "item", "detach", "data", "argmax", "torch.tensor", "=="
    graph: frozenset[Value]  # what a backward pass would have reached
    of: Value  # the value that still had it
    switched: Site | None = None  # for "no_grad": where gradients were switched off
    by: str = ""  # and by what: "with", "decorator", "statement", or "hook" by the framework around it
    inner: Site | None = None  # the expression that still had it, where one stands there


@dataclass(slots=True, eq=False)
class Frame:
    """One run of a function (or of the module body, name ""): who called it, and under which promise of gradients."""

    function: FunctionInfo | None
    call: Site | None = None  # where it was called from
    parent: Frame | None = None
    depth: int = 0
    left: frozenset[str] = frozenset()  # the words of the tests of which one side had left the caller by then

    @property
    def name(self) -> str:
        return self.function.name if self.function else ""

    def stack(self) -> Iterator[Frame]:
        """This frame and those that called it, innermost first."""
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent


@dataclass(slots=True, eq=False)
class FunctionInfo:
    """A function or method of the file."""

    name: str
    site: Site
    owner: ClassInfo | None = None
    words: frozenset[str] = frozenset()  # every identifier used in it, nested functions included
    parameters: tuple[str, ...] = ()
    required: tuple[str, ...] = ()  # those without a default
    decorators: frozenset[str] = frozenset()  # every identifier in those of it
    node: Any = None
    outer: FunctionInfo | None = None  # the function it is nested in
    remembers: bool = False  # `functools.cache`: it runs once for the same arguments
    places_tensors: bool = False  # names a device where it makes a tensor, somewhere in it
    discards: bool = False  # throws away what a tensor's `.to(...)` or its like returns, somewhere in it
    head: Site = field(default_factory=lambda: Site(None, None, None))  # its name, where a finding points
    file: str = ""  # the file it stands in, where that is another one
    sets: list[tuple[str, Any]] = field(
        default_factory=list
    )  # attributes of its first parameter, and to what; last first


_OPEN_BOOKS = frozenset(
    {"object", "abc.ABC", "torch.nn.Module", "torch.utils.data.Dataset", "torch.utils.data.IterableDataset"}
)


class Derives(enum.Enum):
    """Whether a class derives from torch.nn.Module."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(slots=True, eq=False)
class ClassInfo:
    """A class of the file, its methods by name, and what its bases resolve to."""

    name: str
    site: Site
    bases: list[ClassInfo | str] = field(default_factory=list)  # a class of the file, or a dotted name
    methods: dict[str, FunctionInfo] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    node: Any = None
    module: Derives = Derives.UNKNOWN
    decorated: bool = False
    has_metaclass: bool = False
    head: Site = field(default_factory=lambda: Site(None, None, None))  # its name, where a finding points
    file: str = ""  # the file it stands in, where that is another one

    def lineage(self) -> list[ClassInfo | str]:
        """This class and its bases, nearest first, each once; classes of other files as dotted names."""
        seen: list[ClassInfo | str] = []
        todo: list[ClassInfo | str] = [self]
        while todo:
            one = todo.pop(0)
            if one in seen:
                continue
            seen.append(one)
            if isinstance(one, ClassInfo):
                todo.extend(one.bases)
        return seen

    def method(self, name: str) -> FunctionInfo | None:
        """The method that a call finds, looking through the bases that are in this file."""
        for one in self.lineage():
            if isinstance(one, ClassInfo) and name in one.methods:
                return one.methods[name]
        return None

    @property
    def closed(self) -> bool:
        """True when every base is a class of this file, `object` or torch.nn.Module: nothing is inherited unseen."""
        return all(isinstance(b, ClassInfo) or b in _OPEN_BOOKS for b in self.lineage())


class Duty(enum.Flag):
    """What a training program has to do, and a framework may do in its place."""

    NONE = 0
    ZERO_GRAD = enum.auto()
    BACKWARD = enum.auto()
    STEP = enum.auto()  # of the optimizer
    SCHEDULER_STEP = enum.auto()
    MODE = enum.auto()  # eval and train mode around evaluation
    NO_GRAD = enum.auto()  # in evaluation
    MOVE_MODEL = enum.auto()
    MOVE_BATCH = enum.auto()
    SET_EPOCH = enum.auto()  # of a distributed sampler
    SCALING = enum.auto()  # of the loss, for mixed precision
    ACCUMULATION = enum.auto()  # of gradients over several batches
    CLIPPING = enum.auto()
    RANK_ZERO_CHECKPOINT = enum.auto()  # saving in one process only
    STATE_COPIES = enum.auto()  # what `state_dict()` returns does not change with the model
    OWN_FORWARD = enum.auto()  # `forward` of its modules is called in a way of its own


# ------------------------------------------------------------------------------------------------------------- values


@dataclass(slots=True, eq=False)
class Value:
    """Something a name can hold. Identity is meaning: two names with one `Value` are the same object at run time."""

    name: str = ""  # as the user writes it: "model", "self.opt"; empty for a temporary
    site: Site | None = None  # where it was made
    holders: list[Value] = field(default_factory=list)  # objects that were given it, and so may act on it
    held: list[Value] | None = field(default=None, repr=False)  # what it was given; None: nothing
    above: frozenset[int] | None = field(default=None, repr=False)  # the ids of these, of theirs, and so on

    def options(self) -> tuple[Value, ...]:
        """What this can be: itself, or each alternative of a `Choice`."""
        return (self,)

    def reached_from(self, others: Iterable[Value]) -> bool:
        """True when one of `others` is this value or holds it, directly or through other objects.

        To be asked when the file has been followed to its end: who holds what is looked up once.
        """
        if self.above is None:
            self.above = frozenset(map(id, self.with_holders()))
        return any(id(o) in self.above for other in others for o in other.options())

    def with_holders(self) -> list[Value]:
        """This value, and all that holds it as far as is known now."""
        found: list[Value] = []
        seen: set[int] = set()
        todo: list[Value] = [self]
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            found.append(value)
            todo.extend(value.holders)
            if isinstance(value, Choice):
                todo.extend(value.alternatives)
        return found


@dataclass(slots=True, eq=False)
class Choice(Value):
    """One of several values, depending on the path."""

    alternatives: list[Value] = field(default_factory=list)

    def options(self) -> tuple[Value, ...]:
        found: list[Value] = []
        seen: set[int] = set()
        todo: list[Value] = list(reversed(self.alternatives))
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Choice):
                todo.extend(reversed(value.alternatives))
            else:
                found.append(value)
        return tuple(found)


@dataclass(slots=True, eq=False)
class Wrapped(Choice):
    """A model seen through a wrapper around it: the one alternative is the model itself.

    For nearly every rule it is the same object. Where paths meet, a model that is wrapped on one of them is `Wrapped`.
    """

    kind: str = ""  # "ddp", "fsdp"


@dataclass(slots=True, eq=False)
class Unknown(Value):
    """Nothing is known of it but where it came from, and which models its content was computed with."""

    origin: str = ""  # "parameter", "call", "attribute", ...
    graph: frozenset[Value] = frozenset()
    device: Device | None = None
    holds: bool = False  # was handed a model or an optimizer, or one was taken from it: may act on it
    scaler: Value | None = None  # a loss that this GradScaler has scaled
    made: Made | None = field(default=None, repr=False)  # as a tensor's
    flat: Site | None = None  # as a tensor's
    source: str = ""  # whence its content comes, where that is not the program: "the command line", "a download", ...
    operands: tuple[Value, ...] = field(default=(), repr=False)  # what it was computed from
    cut: Cut | None = None


@dataclass(slots=True, eq=False)
class StateDict(Unknown):
    """What `state_dict()` returned. Its tensors are those of `of` themselves, unless `copied`."""

    of: Value = field(default_factory=Value)
    copied: bool = False
    edited: bool = False  # some entries were changed, or may have been; or it is not certain whose it is


@dataclass(slots=True, eq=False)
class LoadedFile(Unknown):
    """What `torch.load` returned, and what becomes of it."""

    path: Value | None = None
    weights_only: Value | None = None  # None: the default, or it cannot be seen
    plain: bool = True  # nothing but weights_only decides what may be in the file, and it can be seen
    uses: dict[str, Site] = field(default_factory=dict)  # "module", "part" (a module in it), "state", ...: where first
    reads: dict[str, Site] = field(default_factory=dict)  # the entries that are taken from it by name


@dataclass(slots=True, eq=False)
class LoadResult(Unknown):
    """What `load_state_dict` returned: a list of keys that did not fit, not the model."""

    of: Value = field(default_factory=Value)
    read: bool = False  # the keys are looked at
    bound: str = ""  # the name or attribute that it was assigned to
    binding: Site | None = None  # that assignment
    direct: bool = False  # which has the very call on its right
    lost: bool = False  # which was the model's own, or the model has no other name
    used: Site | None = None  # where it is used as if it were the model


@dataclass(slots=True, eq=False)
class Literal(Value):
    """A constant written in the source."""

    value: object = None


@dataclass(slots=True, eq=False)
class Repetition:
    """One object as every item of a list."""

    site: Site  # the whole expression
    listed: Site | None = None  # `[layer]` and `n` of `[layer] * n`
    times: Site | None = None


@dataclass(slots=True, eq=False)
class Collection(Value):
    """A list, tuple or set written out; `open` when it may hold more than `items`."""

    kind: str = "list"
    items: list[Value] = field(default_factory=list)
    open: bool = False
    grown: tuple[Any, list[Value]] | None = field(default=None, repr=False)  # the suite it last grew in, and by what
    loops: tuple[Loop, ...] = field(default=(), repr=False)  # those it was written out in
    shrinks: bool = False  # something is taken out of it again
    repeats: Repetition | None = None  # written as `[layer] * n`, or as a comprehension that gives one thing each time


@dataclass(slots=True, eq=False)
class Mapping(Value):
    """A dict with literal keys; `open` when it may hold more."""

    entries: dict[str, Value] = field(default_factory=dict)
    open: bool = False
    loops: tuple[Loop, ...] = field(default=(), repr=False)


@dataclass(slots=True, eq=False)
class Api(Value):
    """Something imported, by its full dotted name: `torch.optim.SGD`, `torch.nn.functional`."""

    path: str = ""


@dataclass(slots=True, eq=False)
class Imported(Api):
    """Something imported from another file of the project: looked up there when it is used."""

    file: str = ""  # that file, or a package's folder
    names: tuple[str, ...] = ()  # what is meant in it; empty: the module itself


@dataclass(slots=True, eq=False)
class Function(Value):
    """A function of the file, bound to `receiver` where it is a method."""

    info: FunctionInfo | None = None
    receiver: Value | None = None


@dataclass(slots=True, eq=False)
class Class(Value):
    """A class of the file, as a value."""

    info: ClassInfo | None = None


@dataclass(slots=True, eq=False)
class Instance(Value):
    """An object of a class of the file that is not a torch module."""

    cls: ClassInfo | None = None


class Evidence(enum.IntEnum):
    """Why a value is taken for what it is; higher is surer."""

    NAME = 0  # only what it is called
    USE = 1  # what is done to it (`.zero_grad()` and `.step()`: an optimizer)
    ANNOTATION = 2
    MADE = 3  # seen to be constructed


@dataclass(slots=True, eq=False)
class Module(Value):
    """A torch.nn.Module: of a class of the file (`cls`), of torch (`api`), or of unknown class (both None)."""

    cls: ClassInfo | None = None
    api: str = ""
    arguments: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)
    evidence: Evidence = Evidence.MADE
    inner: list[Value] = field(default_factory=list)  # modules it wraps or was built from
    places_inputs: bool = False  # wrapped so that inputs are sent to its device
    fresh: bool = True  # made here, hence in training mode and on the CPU until told otherwise
    born: int = 0  # when it was made, on a clock of its own; 0: before everything that is told
    repeated: tuple[Loop, ...] = ()  # the loops it is made in: it stands for one in each round
    last: list[Value] | None = None  # of a Sequential: the layers that certainly stand at its end, in their order


@dataclass(slots=True, eq=False)
class Parameters(Value):
    """Parameters as an optimizer takes them: of which modules or tensors, and whether all of them."""

    of: list[Value] = field(default_factory=list)
    open: bool = False  # may hold others too
    whole: bool = True  # every parameter of `of`
    generator: bool = False  # can be run through once only, as what `parameters()` returns
    sources: list[Value] = field(default_factory=list)  # the iterators that it draws from as it is run through
    advanced: bool = False  # with `next`


@dataclass(slots=True, eq=False)
class Optimizer(Value):
    """A torch optimizer (or several behind one name), and whose parameters it holds."""

    api: str = ""
    parameters: Parameters | None = None  # None: unknown
    clear_escapes: bool = False  # its `zero_grad` was taken as a value: whoever has it may clear at any time
    evidence: Evidence = Evidence.MADE


@dataclass(slots=True, eq=False)
class Scheduler(Value):
    """A torch.optim.lr_scheduler object."""

    api: str = ""
    optimizer: Value | None = None
    nested: bool = False  # given to another scheduler, which steps it
    idle: bool = False  # handed to a trainer that leaves the steps to the program, which asks for it nowhere
    names: list[tuple[FunctionInfo | None, str]] = field(
        default_factory=list
    )  # bound to them, in order; ".x": attribute


@dataclass(slots=True, eq=False)
class Loader(Value):
    """A torch.utils.data.DataLoader."""

    born: int = 0  # as in `Module`
    repeated: tuple[Loop, ...] = ()
    dataset: Value | None = None
    arguments: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Sampler(Value):
    """A DistributedSampler: the part of the data that one process sees, in an order that only `set_epoch` changes."""

    shuffles: bool | None = True  # None: depends on a value we do not know


@dataclass(slots=True, eq=False)
class Scaler(Value):
    """A GradScaler; `enabled` None: the program decides that at run time."""

    enabled: bool | None = True
    evidence: Evidence = Evidence.MADE


@dataclass(slots=True, eq=False)
class Engine(Value):
    """An object of a training framework that does a part of the loop: an `Accelerator`, a `Fabric`."""

    api: str = ""
    settings: dict[str, Value] = field(default_factory=dict)  # the arguments that it was made with, by keyword
    open: bool = False  # there may be others


@dataclass(slots=True, eq=False)
class Metric(Value):
    """A metric of torchmetrics: it adds up what it is given, until it is reset."""

    api: str = ""


@dataclass(slots=True, eq=False)
class Autocast(Value):
    """`torch.autocast(...)`: the device and the dtype it names, where they are certain.

    `device` is "" when the program chooses it at run time. `dtype` is "float16" or "bfloat16", also where it is the
    device's default; "" when unknown. `enabled` None: the program decides that at run time.
    """

    device: str = ""
    dtype: str = ""
    enabled: bool | None = True


@dataclass(slots=True, eq=False)
class Device(Value):
    """A device: "cpu", "cuda", ..., "open" when the program decides at run time (`"cuda" if ... else "cpu"`).

    "tensor" when it is wherever some tensor of unknown device is (`x.device`).
    """

    kind: str = "open"

    @property
    def accelerator(self) -> bool:
        """True when the program names, or chooses between the CPU and, something other than the CPU."""
        return self.kind not in ("cpu", "tensor")


@dataclass(slots=True, eq=False)
class Tensor(Value):
    """A tensor. `graph` holds the modules and parameters whose gradients a backward pass from it reaches."""

    made_by: str = ""  # the factory or method, "torch.zeros"; "forward" for a module's output
    graph: frozenset[Value] = frozenset()
    device: Device | None = None  # None: unknown
    rank: int | None = None  # number of dimensions; None: unknown
    fresh: Site | None = None  # the factory call it was made by, where no input of the program is in it
    factory: str = ""  # which factory that was: "torch.randn"
    certain: bool = True  # certainly one tensor, not a tuple or a library's own type
    parameter: bool = False  # an nn.Parameter
    scaler: Value | None = None  # a loss that this GradScaler has scaled
    mean: bool = False  # certainly a mean over a batch, and not divided or weighted since
    tracked: bool | None = None  # requires_grad as it was made; None: unknown
    data: Site | None = None  # what an nn.Parameter was made from
    made: Made | None = field(default=None, repr=False)  # what it certainly is the result of
    flat: Site | None = None  # the call that made one dimension of all, where nothing has given it others since
    leaf: bool = False  # certainly a leaf that requires grad
    operands: tuple[Value, ...] = field(default=(), repr=False)  # what it was computed from
    cut: Cut | None = None  # where the graph ended that what it was computed from had


@dataclass(slots=True, eq=False)
class Made:
    """The operation that a tensor certainly is the result of; shape, dtype and device may have changed since.

    `by` says which: "softmax", "log_softmax", "sigmoid", "linear", "conv", "relu", ... (`vocabulary.OPERATIONS`), or
    "module" for a module of the file, into which `Facts.made` looks.
    """

    by: str
    site: Site  # the call
    of: Value | None = None  # what it was applied to
    operand: Site | None = None  # that, as it is written in the call
    module: Value | None = None  # the module that was called, where it was one
    part: tuple[int | str, ...] = ()  # which part of what it gave back: place in a tuple, key of a dict
    arguments: list[Value] = field(default_factory=list)  # of a call of a module of the file
    keywords: dict[str, Value] = field(default_factory=dict)
    starred: bool = False
    state: Any = None  # the attributes of all objects at that time; opaque
    bare: bool = False  # nothing was done to the result since


@dataclass(slots=True, eq=False)
class GradContext(Value):
    """`torch.no_grad()` and its kin, as a context manager or decorator: on, off, or unknown."""

    mode: Grad | None = None


class Grad(enum.Enum):
    """Whether autograd records."""

    DEFAULT = "default"  # nothing in sight has switched it
    ON = "on"  # switched on explicitly
    OFF = "off"
    UNKNOWN = "unknown"


def certainly_path(value: Value | None) -> bool:
    """True for what is certainly text or a path: written out, formatted, joined, or given on the command line."""
    return value is not None and all(
        (isinstance(o, Literal) and isinstance(o.value, str))
        or (isinstance(o, Unknown) and (o.origin in ("string", "path") or o.source == "the command line"))
        for o in value.options()
    )


def states_in(value: Value, depth: int = 0) -> list[StateDict]:
    """The states that a value is, or has in it."""
    found: list[StateDict] = []
    for one in value.options():
        match one:
            case StateDict():
                found.append(one)
            case Mapping(entries=entries) if depth < 4:
                for part in entries.values():
                    found.extend(states_in(part, depth + 1))
            case Collection(items=items) if depth < 4:
                for part in items:
                    found.extend(states_in(part, depth + 1))
    return found


def only(value: Value | None) -> Value | None:
    """The one thing that `value` is, or None when it can be several."""
    if isinstance(value, Choice):
        options = value.options()
        return options[0] if len(options) == 1 else None
    return value


def certainly(value: Value | None, kind: type[Value]) -> bool:
    """True when every alternative of `value` is a `kind`."""
    return value is not None and all(isinstance(o, kind) for o in value.options())


def possibly(value: Value | None, kind: type[Value]) -> bool:
    """True when some alternative of `value` is a `kind`."""
    return value is not None and any(isinstance(o, kind) for o in value.options())


def same(one: Value | None, other: Value | None) -> bool:
    """True when both are certainly one object."""
    if one is None or other is None:
        return False
    mine, theirs = one.options(), other.options()
    return len(mine) == 1 and len(theirs) == 1 and mine[0] is theirs[0]


def may_be_same(one: Value | None, other: Value | None) -> bool:
    """True when both can be one object on some path."""
    if one is None or other is None:
        return True
    theirs = {id(o) for o in other.options()}
    return any(id(o) in theirs for o in one.options())


# ------------------------------------------------------------------------------------------------------------- events


@dataclass(slots=True, eq=False)
class Event:
    """Something that happens. `next` holds what can happen right after it."""

    site: Site
    frame: Frame
    loops: tuple[Loop, ...] = ()  # around it, outermost first, callers' loops included
    grad: Grad = Grad.DEFAULT
    next: list[Event] = field(default_factory=list)

    def inside(self, loop: Loop) -> bool:
        return loop in self.loops


@dataclass(slots=True, eq=False)
class Join(Event):
    """Nothing happens; paths meet. The head of a loop is one."""

    label: str = ""


@dataclass(slots=True, eq=False)
class Forward(Event):
    """A module is called."""

    module: Value = field(default_factory=Value)
    arguments: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)
    output: Value | None = None
    direct: bool = False  # as `module.forward(...)`
    device: Device | None = None  # where the module is known to be
    spelling: str = ""  # how the module is written here
    callee: Site | None = None  # the expression that is called
    certain: bool = True  # what is called is this, and not one of several things on several paths
    method: Site | None = None  # `module.forward`, where it is called so
    argument_sites: list[Site] = field(default_factory=list)
    autocast: Autocast | None = None  # the innermost region of mixed precision that it stands in


@dataclass(slots=True, eq=False)
class Repeated(Event):
    """A container of layers is given one layer several times, by a `Repetition`."""

    container: Value = field(default_factory=Value)
    part: Value = field(default_factory=Value)
    repetition: Repetition | None = None


@dataclass(slots=True, eq=False)
class Misfit(Event):
    """A container of layers is given a function, or a class that was not called: `nn.Sequential(fc, F.relu)`."""

    container: Value = field(default_factory=Value)
    value: Value = field(default_factory=Value)
    written: bool = False  # the event stands at what is wrong itself, not at the list that holds it


@dataclass(slots=True, eq=False)
class Loss(Event):
    """A loss of torch is computed, by a criterion object or by a function."""

    kind: str = ""  # the function's name, for criterion objects too: "cross_entropy", "nll_loss", "mse_loss", ...
    criterion: Value | None = None  # the object, where there is one
    spelling: str = ""  # how criterion or function are written here
    output: Value | None = None  # the first argument
    target: Value | None = None  # the second
    output_site: Site | None = None
    target_site: Site | None = None
    settings: dict[str, Value] = field(default_factory=dict)  # of the criterion and of the call, by name
    starred: bool = False  # more may be given than can be seen
    before: str = ""  # how the value that the output was made from is still written here; empty where it is not
    value: Value | None = None  # the loss


@dataclass(slots=True, eq=False)
class Softmax:
    """A softmax of torch.nn or its functional form that is not told its dimension, anywhere in the file."""

    api: str
    site: Site
    spelling: str  # how the function or class is written
    last: Site | None  # its last argument
    trailing: bool  # a comma comes after that


@dataclass(slots=True, eq=False)
class Backward(Event):
    """Gradients are added into `.grad`. `roots` are the modules and tensors reached; None: unknown, could be any."""

    loss: Value | None = None
    roots: frozenset[Value] | None = None
    autocast: Autocast | None = None  # the innermost region of mixed precision that it stands in
    through: Value | None = None  # the engine of a framework that runs it
    written: Site | None = None  # the loss, where the call is a method of it
    error_expected: bool = False  # in `with pytest.raises(...)` and its like
    by_trainer: bool = False  # a framework runs it, on what the function at `site` returns

    @property
    def scaler(self) -> Value | None:
        """The GradScaler that has scaled the loss, where it certainly has."""
        found = [getattr(one, "scaler", None) for one in self.loss.options()] if self.loss is not None else []
        return found[0] if found and all(one is found[0] for one in found) else None


@dataclass(slots=True, eq=False)
class Given:
    """Something that an optimizer was given: the argument itself, an item of a list, or what a group's "params" is."""

    value: Value
    site: Site | None = None  # where it is written out in the call
    grouped: bool = False  # in a group: a single tensor is right there
    listed: bool = False  # as an item of a list


@dataclass(slots=True, eq=False)
class OptimizerBuilt(Event):
    optimizer: Value = field(default_factory=Value)
    bound: frozenset[str] = frozenset()  # local names that have a value by then
    given: list[Given] = field(default_factory=list)
    argument: Site | None = None  # the first argument, where it is written out
    settings: dict[str, Value] = field(default_factory=dict)  # the other arguments, by keyword or place


@dataclass(slots=True, eq=False)
class IteratorMade(Event):
    """An iterator over parameters begins: `model.parameters()`."""

    iterator: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class IteratorUsedUp(Event):
    """An iterator over parameters was run to its end: nothing is left in it."""

    iterator: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class RequiresGradSet(Event):
    """`requires_grad` of all parameters of `targets` is set, or of some of them; `to` None: not to a constant."""

    targets: list[Value] = field(default_factory=list)
    to: bool | None = None
    some: bool = False  # of some of the parameters, or under a condition
    loop: Loop | None = None  # over the parameters

    @property
    def whole(self) -> bool:
        """True when it certainly reaches every parameter of the targets."""
        return not self.some and not (self.loop is not None and self.loop.left_early)


@dataclass(slots=True, eq=False)
class SchedulerBuilt(Event):
    scheduler: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class OptimizerStep(Event):
    optimizer: Value = field(default_factory=Value)
    closure: bool = False
    scaled: bool = False  # through a GradScaler or another wrapper
    scaler: Value | None = None  # that GradScaler, where it is certainly one
    spelling: str = ""  # how the optimizer is written here; empty when it is no plain name or attribute
    receiver: Site | None = None  # the expression it is called on
    by_trainer: bool = False  # a framework steps, after the function at `site`


@dataclass(slots=True, eq=False)
class ParamGroupAdded(Event):
    optimizer: Value = field(default_factory=Value)
    parameters: Value | None = None


@dataclass(slots=True, eq=False)
class ZeroGrad(Event):
    """Gradients are cleared: of an optimizer's parameters, a module's, a parameter's (`p.grad = None`)."""

    target: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class GradientsClipped(Event):
    """`torch.nn.utils.clip_grad_norm_(...)` or `clip_grad_value_(...)`.

    `parameters` None: nothing is known of whose gradients they are. An infinite limit only measures them.
    """

    parameters: Parameters | None = None
    given: Value | None = None  # the parameters as they are given
    limit: float | None = None  # None: unknown
    alone: bool = True  # its result is not used


@dataclass(slots=True, eq=False)
class Unscaled(Event):
    """`scaler.unscale_(optimizer)`."""

    scaler: Value = field(default_factory=Value)
    optimizer: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class ScalerUpdated(Event):
    """`scaler.update()`."""

    scaler: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class ModelWrapped(Event):
    """A model is given to DDP (`kind` "ddp") or FSDP ("fsdp": the wrapper has parameters of its own in their place)."""

    module: Value = field(default_factory=Value)  # the model itself
    view: Value = field(default_factory=Value)  # what the call gives back
    kind: str = ""
    argument: Site | None = None  # the model, as it is written in the call
    bound: frozenset[str] = frozenset()  # local names that have a value by then
    kept: str | None = None  # as of `Moved`


@dataclass(slots=True, eq=False)
class SamplerBuilt(Event):
    sampler: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class LoaderBuilt(Event):
    """A DataLoader is made; `given` holds its arguments by name, those given by place too."""

    loader: Loader = field(default_factory=Loader)
    given: dict[str, Value] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    last_argument: Site | None = None
    open: bool = False  # *args or **kwargs: more may be given than can be seen
    indexed: bool = False  # the dataset certainly gives its samples by index, in an order of its own


@dataclass(slots=True, eq=False)
class FirstBatch(Event):
    """`next(iter(loader))`: an iterator that is made for one batch."""

    loader: Loader = field(default_factory=Loader)


@dataclass(slots=True, eq=False)
class Seeded(Event):
    """A random generator is seeded; `seed` None: without an argument, from the clock or the system."""

    function: str = ""
    seed: Value | None = None
    argument: Site | None = None  # where the seed is written


@dataclass(slots=True, eq=False)
class ModeSet(Event):
    """`.eval()` or `.train()`; `training` None: depends on a value we do not know."""

    module: Value = field(default_factory=Value)
    training: bool | None = None
    spelling: str = ""
    under: frozenset[str] = frozenset()  # the words of the tests around it


@dataclass(slots=True, eq=False)
class GradSwitched(Event):
    """`torch.set_grad_enabled(...)` as a statement."""

    mode: Grad = Grad.UNKNOWN


@dataclass(slots=True, eq=False)
class AttributeSet(Event):
    """`owner.name = value`. For a module owner this may register `value`, or replace what was registered."""

    owner: Value = field(default_factory=Value)
    attribute: str = ""  # "" when computed: setattr(owner, name, ...), owner[i] = ...
    value: Value = field(default_factory=Value)
    previous: Value | None = None
    registers: bool = False  # through register_parameter, register_buffer or add_module
    spelling: str = ""  # how the target is written here
    assigned: Site | None = None  # the expression on the right, where this attribute is its only target


@dataclass(slots=True, eq=False)
class SuperInit(Event):
    """`super().__init__()` or `Base.__init__(self)`."""

    owner: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class Moved(Event):
    """`.to(...)`, `.cuda()`, `.cpu()`, of a module (in place) or a tensor (a copy)."""

    target: Value = field(default_factory=Value)
    device: Device | None = None
    before: Device | None = None  # where it was, None: unknown
    kept: str | None = None  # the name its result is assigned to, "" for a statement of its own, None for all else
    spelling: str = ""  # how a module is written here


@dataclass(slots=True, eq=False)
class DeviceNamed(Event):
    """A CUDA device is written out: `.cuda()`, `.to("cuda")`, `device="cuda:0"`."""

    argument: Site | None = None  # where it is written; None: in the method's name
    receiver: Site | None = None
    guarded: bool = False  # a test of what devices there are decides whether the program gets here
    tried: bool = False  # it stands in a `try`, whatever its handlers do


@dataclass(slots=True, eq=False)
class DeviceChosen(Event):
    """The program chooses between the CPU and something else: `"cuda" if torch.cuda.is_available() else "cpu"`.

    Or an `engine` does, which its `device` then tells.
    """

    engine: Value | None = None


@dataclass(slots=True, eq=False)
class TensorCopied(Event):
    """`torch.tensor(...)` of what is certainly a tensor already."""

    source: Value = field(default_factory=Value)
    argument: Site | None = None
    plain: bool = True  # nothing else is given


@dataclass(slots=True, eq=False)
class ModuleCast(Event):
    """`.half()`, `.to(torch.float16)` or its like: a module's parameters change their dtype in place."""

    module: Value = field(default_factory=Value)
    dtype: str = ""  # "torch.float16", ...; "" when unknown
    kept: str | None = None  # as of `Moved`


@dataclass(slots=True, eq=False)
class Combined(Event):
    """Tensors meet in one operation: arithmetic, cat, a loss, an in-place change."""

    operands: list[Value] = field(default_factory=list)
    operation: str = ""
    devices: list[Device | None] = field(default_factory=list)  # of the operands, when they met


@dataclass(slots=True, eq=False)
class Discarded(Event):
    """A method or function was called as a statement of its own and its result thrown away."""

    receiver: Value = field(default_factory=Value)
    method: str = ""
    receiver_text: str = ""  # how the user writes it, empty when it is not a plain name or attribute
    alone: bool = True  # the call is the whole statement
    pure: bool = False  # it computes something new; a move or a conversion otherwise
    function: str = ""  # where it is no method: the function's dotted name
    called: bool = True  # False for `x.zero_` and no call
    evident: bool = False  # only a tensor has that method, called like this
    tried: bool = False  # to see whether it works, in a `try`


@dataclass(slots=True, eq=False)
class Dropped(Event):
    """Functional dropout, or attention with dropout, is applied; its `site` is the call."""

    function: str = ""  # `torch.nn.functional.dropout`
    rate: Value | None = None
    training: Value | None = None  # what its `training` argument is; None: not given
    tied: bool = False  # under or after a test of the mode
    own_rate: bool = False  # the rate is a constant, or an attribute of the module that nothing changes later
    rate_site: Site | None = None
    training_site: Site | None = None
    last_argument: Site | None = None
    open: bool = False  # *args or **kwargs: more may be given than can be seen


@dataclass(slots=True, eq=False)
class Accumulated(Event):
    """`value` is added to what is kept over the rounds of `loop`: `total += loss`, `losses.append(loss)`."""

    value: Value = field(default_factory=Value)
    total: Value = field(default_factory=Value)  # the sum that comes of it, or the list
    spelling: str = ""  # of the total
    argument: Site | None = None  # the expression that is added
    atom: bool = False  # which needs no parentheses
    loop: Loop | None = None  # the innermost that the total outlives a round of
    summed: bool = True  # False: put into a list
    kept: bool = False  # no path through a round puts the total back


@dataclass(slots=True, eq=False)
class LeafChanged(Event):
    """A leaf that requires grad is changed in place: `w -= lr * w.grad`, `w.add_(...)`, `w[0] = ...`, `out=w`."""

    target: Value = field(default_factory=Value)
    how: str = ""  # "-=", "add_", "[]", "out="
    spelling: str = ""  # of the target
    by_gradient: bool = False  # with its own gradient: an update by hand


@dataclass(slots=True, eq=False)
class LeafReplaced(Event):
    """A name that held a leaf gets what is computed from it and its gradient: `w = w - lr * w.grad`."""

    leaf: Value = field(default_factory=Value)
    total: Value = field(default_factory=Value)  # what it gets
    spelling: str = ""
    value_site: Site | None = None
    kept: bool = False  # it is what the next round of the loop begins with


@dataclass(slots=True, eq=False)
class Uncalled(Event):
    """A method of torch's is named where its result is meant: `model.eval` alone, `total += loss.item`."""

    owner: Value = field(default_factory=Value)
    method: str = ""
    spelling: str = ""  # "model.eval"
    use: str = ""  # "statement", or where it goes instead of its result: "added", "kept", "number", "printed"


@dataclass(slots=True, eq=False)
class FlagAssigned(Event):
    """Something that only looks like setting `requires_grad`: of a module, or under a name that is not quite that."""

    owner: Value = field(default_factory=Value)
    name: str = ""
    value: Value = field(default_factory=Value)
    spelling: str = ""  # the owner, or for a keyword the function
    name_site: Site | None = None
    value_site: Site | None = None  # what is assigned, where that is the whole statement
    module: bool = False  # the name is right, but a module has no such flag
    keyword: bool = False


@dataclass(slots=True, eq=False)
class NoSuchMethod(Event):
    """A method is called that a tensor, module or optimizer of torch does not have; there is one much like it."""

    owner: Value = field(default_factory=Value)
    method: str = ""
    nearest: str = ""
    kind: str = ""  # "tensor", "module" or "optimizer"
    spelling: str = ""
    name_site: Site | None = None  # the name of the method


@dataclass(slots=True, eq=False)
class Saved(Event):
    """`torch.save(value, ...)`; `argument` is the site of the value."""

    value: Value = field(default_factory=Value)
    argument: Site | None = None
    path: Value | None = None
    path_site: Site | None = None  # where that is written out
    alone: bool = False  # the call is a statement of its own
    tests: tuple[frozenset[str], ...] = ()  # the words of the tests around
    left: frozenset[str] = frozenset()  # and of those of which one side has left the function by now
    passing: bool = False  # into a buffer, or a file without a name

    @property
    def asked(self) -> frozenset[str]:
        """The words of all tests that decide whether the program gets here, callers' tests included."""
        return frozenset().union(*self.tests, self.left, *(frame.left for frame in self.frame.stack()))


@dataclass(slots=True, eq=False)
class Prepared(Event):
    """An engine is given models, optimizers, loaders and schedulers, to be used as it gives them back."""

    engine: Value = field(default_factory=Value)
    given: list[Value] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)  # where these are written out
    open: bool = False  # more may be given than can be seen
    discarded: bool = False  # what it gives back is thrown away


@dataclass(slots=True, eq=False)
class MetricUpdated(Event):
    """A metric adds up a batch."""

    metric: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class MetricComputed(Event):
    """What a metric has added up is computed."""

    metric: Value = field(default_factory=Value)
    spelling: str = ""  # how the metric is written here


@dataclass(slots=True, eq=False)
class MetricReset(Event):
    """A metric is made, reset, or given to a logger that resets it."""

    metric: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class GroupJoined(Event):
    """The process becomes one of several that run the same program: `init_process_group`, an `Accelerator`."""

    by: str = ""  # the dotted name of what was called


@dataclass(slots=True, eq=False)
class Loaded(Event):
    """`target.load_state_dict(state, ...)`; `argument` is the site of the state where it stands there alone."""

    target: Value = field(default_factory=Value)
    state: Value | None = None
    strict: Value | None = None  # None: not given
    result: LoadResult | None = None
    discarded: bool = False  # nobody takes the result
    argument: Site | None = None
    spelling: str = ""  # how the target is written here
    receiver: Site | None = None  # the expression it is called on


@dataclass(slots=True, eq=False)
class StateTaken(Event):
    """`target.state_dict()`."""

    state: StateDict = field(default_factory=StateDict)
    spelling: str = ""  # how the target is written here
    tests: tuple[frozenset[str], ...] = ()  # the words of the tests around


@dataclass(slots=True, eq=False)
class StateReturned(Event):
    """A function returns a state, or something with one in it."""

    value: Value = field(default_factory=Value)
    tests: tuple[frozenset[str], ...] = ()  # the words of the tests around


@dataclass(slots=True, eq=False)
class FileLoaded(Event):
    """`torch.load(...)`; `arguments` are the sites of the path and of `weights_only`, as far as they are given."""

    value: LoadedFile = field(default_factory=LoadedFile)
    weights_only: Site | None = None
    path: Site | None = None
    last: Site | None = None  # of the arguments
    source: str = ""  # whence the file is, where that is not the program: "the command line", "a download", ...


@dataclass(slots=True, eq=False)
class Iterated(Event):
    """A loop begins to run over `over`."""

    over: Value = field(default_factory=Value)
    loop: Loop | None = None
    spelling: str = ""  # how what is iterated is written, without `enumerate(...)` and the like around it


@dataclass(slots=True, eq=False)
class SchedulerStep(Event):
    scheduler: Value = field(default_factory=Value)
    arguments: int | None = 0  # how many it is given; None: unknown
    spelling: str = ""  # how the scheduler is written here
    by_trainer: bool = False  # a framework steps, what is made at `site`


@dataclass(slots=True, eq=False)
class NumberRead(Event):
    """Plain numbers are read off a tensor: `.item()`, `.tolist()`, `.numpy()`."""

    value: Value = field(default_factory=Value)


@dataclass(slots=True, eq=False)
class GradientUsed(Event):
    """`.grad` is read, `autograd.grad` is called, or `requires_grad` is set on an input: gradients matter here."""

    target: Value | None = None


def computed_from(value: Value | None) -> dict[Value, None]:
    """`value` and all it is known to be computed from, nearest first; what lies in containers counts."""
    found: dict[Value, None] = {}
    todo = [value] if value is not None else []
    for one in todo:  # grows while it runs
        if one in found:
            continue
        found[one] = None
        match one:
            case Tensor(operands=of) | Unknown(operands=of):
                todo.extend(of)
            case Choice(alternatives=inner) | Collection(items=inner):
                todo.extend(inner)
            case Mapping(entries=entries):
                todo.extend(entries.values())
    return found


@dataclass(slots=True, eq=False)
class UnknownCall(Event):
    """Code we cannot see is handed `arguments` (the receiver among them) and may do anything to them."""

    callee: str = ""
    arguments: list[Value] = field(default_factory=list)
    graph: frozenset[Value] = frozenset()  # what a backward pass from the tensors among them would reach

    def touches(self, *values: Value | None) -> bool:
        """True when the callee could act on one of `values`."""
        return any(v is not None and v.reached_from(self.arguments) for v in values)


# -------------------------------------------------------------------------------------------------------------- paths

E_ = TypeVar("E_", bound=Event)
F_ = TypeVar("F_", bound=Event)
S = TypeVar("S", bound=Hashable)


@dataclass(slots=True, eq=False)
class Root:
    """One run from a start: the module body, or a function that nothing in the file calls."""

    entry: Event
    frame: Frame
    events: list[Event] = field(default_factory=list)  # in the order they were met
    complete: bool = True  # False when a limit cut the run short: absence proves nothing then
    receiver: Value | None = None  # what a method was followed on
    returned: Value | None = None  # what the function gave back
    resumes: Event | None = None  # of a hook that a trainer calls: its end, where training goes on

    @overload
    def of(self, kind: type[E_], /) -> Iterator[E_]: ...

    @overload
    def of(self, kind: type[E_], other: type[F_], /) -> Iterator[E_ | F_]: ...

    def of(self, *kinds: type[Event]) -> Iterator[Event]:
        """The events of these kinds, in the order they were met."""
        for event in self.events:
            if isinstance(event, kinds):
                yield event


def walk(
    starts: Iterable[Event],
    state: S,
    step: Callable[[S, Event], S | None],
    within: Callable[[Event], bool] | None = None,
) -> dict[Event, set[S]]:
    """Follows every path from `starts` and says in which states each event can be *met* (before it acts).

    `step(state, event)` gives the state after the event, or None to end that path there. `within` bounds the paths:
    an event outside it is not entered. Terminates because states are finite for a rule's few words.
    """
    met: dict[Event, set[S]] = {}
    todo: list[tuple[Event, S]] = [(e, state) for e in starts if within is None or within(e)]
    while todo:
        event, now = todo.pop()
        states = met.get(event)
        if states is None:
            states = met[event] = set()
        elif now in states:
            continue
        if now in states:
            continue
        states.add(now)
        after = step(now, event)
        if after is None:
            continue
        todo.extend((follower, after) for follower in event.next if within is None or within(follower))
    return met
