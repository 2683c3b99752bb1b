"""The words of `torchlint.facts`, seen at run time: what really happened, where, and the numbers measured there.

Events are plain data that travel from the traced program to its judge as one JSON line each, so that a probe is a pure
function over them and needs no torch. `number` orders them; objects (modules, optimizers, loaders) appear as small
integers: the same integer, the same object.
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar


@dataclass(slots=True, frozen=True)
class Place:
    """A line of the user's own code: the innermost frame that is neither torch's nor a library's.

    `callers` are the user's lines that led there, the nearest first: (file, line).
    """

    file: str = ""
    line: int = 0
    function: str = ""
    callers: tuple[tuple[str, int], ...] = ()

    def __hash__(self) -> int:  # in each step of a training several times
        return hash((self.file, self.line))

    @classmethod
    def read(cls, values: dict[str, Any]) -> Place:
        """The place that was written as JSON."""
        return cls(**{**values, "callers": tuple((file, line) for file, line in values.get("callers", ()))})

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "?"


@dataclass(slots=True, frozen=True)
class Event:
    """Something that happened. `number` counts the events of the run from 0."""

    number: int
    place: Place


@dataclass(slots=True, frozen=True)
class SuperInit(Event):
    """`nn.Module.__init__` ran for an object of a class of the program."""

    module: int
    kind: str  # the class's name


@dataclass(slots=True, frozen=True)
class AttributeRefused(Event):
    """torch refused an access to a module: `nn.Module.__init__` had not run."""

    module: int
    kind: str
    message: str  # torch's own
    registered: int  # parameters that the object holds
    initialises_later: bool  # the `__init__` that was interrupted would still have called another
    inits: tuple[Place, ...] = ()  # where the program defines the `__init__` of the class and of its bases


@dataclass(slots=True, frozen=True)
class ParameterReplaced(Event):
    """A module was given a new parameter or layer in place of one that an optimizer holds."""

    module: int
    kind: str
    attribute: str
    lost: int  # parameters that an optimizer held and the module no longer has
    gained: tuple[int, ...]  # the new ones


@dataclass(slots=True, frozen=True)
class OptimizerBuilt(Event):
    optimizer: int
    kind: str
    parameters: int
    trainable: int = -1  # those that require gradients; -1: not looked at
    groups: int = 1
    used_up: int = 0  # iterators among what it was given that had been run through before
    continues: int = 0  # another optimizer that took the same parameters as far as they are now
    lost: int = 0  # parameters for which that one held moments or the like


@dataclass(slots=True, frozen=True)
class OptimizerRefused(Event):
    """torch refused to build an optimizer of what it was given."""

    kind: str
    message: str  # torch's own
    given: str  # the type of what it was given
    used_up: int = 0  # iterators in it that had been run through before


@dataclass(slots=True, frozen=True)
class Holdings(Event):
    """What an optimizer holds as it steps, and what nobody holds; `place` is where it was built."""

    optimizer: int
    kind: str
    step: int
    left_out: int  # parameters with a gradient of modules in training of which no optimizer holds any
    of: str  # classes of these modules
    norm: float  # of these gradients
    shared: int  # parameters of it that another optimizer has stepped too


@dataclass(slots=True, frozen=True)
class SchedulerBuilt(Event):
    scheduler: int
    kind: str
    optimizer: int
    parts: tuple[int, ...] = ()  # the schedulers that it steps


@dataclass(slots=True, frozen=True)
class SchedulerStep(Event):
    """A scheduler was stepped, or refused to be."""

    scheduler: int
    kind: str
    optimizer: int
    steps: int  # that the optimizer had taken by then; -1: cannot be said
    before: float = 0.0  # the first learning rate
    after: float = 0.0
    refusal: str = ""  # torch's own words


@dataclass(slots=True, frozen=True)
class ParamGroupAdded(Event):
    optimizer: int
    parameters: int


@dataclass(slots=True, frozen=True)
class Forward(Event):
    """A module was called from outside any other module."""

    module: int
    kind: str
    parameters: int  # in the module, its layers included
    training: bool
    grad_enabled: bool
    tracked: bool  # the output carries a grad_fn
    active: int  # layers in it that behave differently in training and do so now
    device: str  # of its parameters
    fed_by: tuple[int, ...] = ()  # numbers of the forwards whose outputs were among the inputs
    given: tuple[int, ...] = ()  # the tensors among the inputs
    # Measured on the first passes from one place only, by running a copy of the module once more on the same input:
    difference: float | None = None  # largest difference between the outputs of the two passes
    moved: float | None = None  # how far this pass moved running statistics
    saved_bytes: int | None = None  # what the pass keeps alive for a backward
    scale: float = 1.0  # largest magnitude in the output, to which a difference is compared
    layers: int = 0  # those that `active` counts, and those that are in evaluation mode
    dropped: tuple[Place, ...] = ()  # the program's own lines where functional dropout drew in that second pass

    @property
    def trains(self) -> bool:
        """In training mode, as far as that matters: a wrapper's own flag may differ from that of the layers in it."""
        return self.active > 0 if self.layers else self.training


@dataclass(slots=True, frozen=True)
class Backward(Event):
    """Gradients were computed."""

    forwards: tuple[int, ...]  # numbers of the forwards that it went through
    loss: float | None = None  # where it is one number
    accumulates: bool = True  # False for `torch.autograd.grad`
    # How much a mean over a batch, which the loss was made from, counts in it: 1 as it is, 1/k divided by k.
    weight: float | None = None
    shared: int = 1  # batches over which an Accelerator of the program accumulates: it divides the loss by that
    halved: int = 0  # numbers of the gradient that were on their way into half precision, where looked at
    flushed: int = 0  # those of them that became zero there
    scale: float = 1.0  # what a GradScaler scaled the loss by


@dataclass(slots=True, frozen=True)
class Synchronised(Event):
    """Gradients of a model in DistributedDataParallel were computed, for it to average over the processes."""

    wrapper: int
    through: int  # forwards of the wrapper that this backward went through
    around: tuple[int, ...]  # numbers of the forwards of the model inside, past the wrapper
    parameters: int
    deaf: int  # parameters of whose gradients the wrapper does not hear
    local: bool  # in `no_sync()`: on purpose


@dataclass(slots=True, frozen=True)
class ModelConverted(Event):
    """All parameters of a model in DistributedDataParallel got another device or dtype."""

    wrapper: int
    before: str  # device and dtype of its first parameter
    after: str


@dataclass(slots=True, frozen=True)
class ShardedStep(Event):
    """An optimizer stepped while a model in FSDP is trained."""

    optimizer: int
    held: int  # parameters of sharded models that it holds
    elsewhere: int  # parameters of it that no trained model has, when none of its parameters has a gradient; else 0
    unheld: int  # parameters of sharded models with a gradient that no optimizer holds


@dataclass(slots=True, frozen=True)
class Reduced(Event):
    """`torch.distributed.all_reduce` was called by the program itself."""


@dataclass(slots=True, frozen=True)
class GraphsKept(Event):
    """How many graphs of earlier training steps are still in memory, counted now and then at a backward pass."""

    kept: int  # steps of which some graph lives, though its backward pass is over
    steps: int  # so far, this one included


@dataclass(slots=True, frozen=True)
class MetricComputed(Event):
    """A metric of torchmetrics was computed by the program."""

    metric: int
    kind: str
    updates: int  # that are in it
    fresh: int  # of them, those since it was last computed
    resets: int  # that it has had by then


@dataclass(slots=True, frozen=True)
class LossComputed(Event):
    """A loss function of torch was called. The first calls from each line only; what is no number is not told."""

    loss: str  # the function, "cross_entropy"
    classes: int  # size of the output's dimension 1, or of its only one
    rows: int  # predictions in it
    lowest: float  # of the numbers in the output
    highest: float
    mass: float  # how far the sum over the classes of a prediction is from 1, at worst: 0 for probabilities
    evidence: float  # how far the log of the sum of exponentials is from 0, in the middle: 0 for log-probabilities
    node: str  # the operation that made the output, as autograd names it; empty where nothing is recorded
    output_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    output_dtype: str = ""
    target_dtype: str = ""
    output_tracked: bool = False
    target_tracked: bool = False
    value: float | None = None  # where it is one number; None where the call raised
    error: str = ""  # what it raised


@dataclass(slots=True, frozen=True)
class LinearApplied(Event):
    """A linear layer was applied within a module. The first calls with each weight only."""

    dimensions: int  # of its input
    merged: int  # samples that lie behind each other in it; 1 where they are apart


@dataclass(slots=True, frozen=True)
class Normalised(Event):
    """A softmax was computed. Where it was not told the dimension torch chose one by their number, and warned."""

    function: str
    dimensions: int
    dimension: int
    told: bool


@dataclass(slots=True, frozen=True)
class Warned(Event):
    """torch warned that a gradient is read which is not there."""

    message: str


@dataclass(slots=True, frozen=True)
class Fetched(Event):
    """A method of torch's was taken from an object and thrown away, without a call."""

    kind: str
    method: str


@dataclass(slots=True, frozen=True)
class FlagSet(Event):
    """`requires_grad`, or something like it, was assigned."""

    kind: str
    name: str  # as the program wrote it
    wish: bool
    deaf: int  # parameters, or tensors, that do not have it as wished afterwards
    module: bool = False  # assigned to a module
    method: bool = False  # through `requires_grad_`


@dataclass(slots=True, frozen=True)
class ZeroGrad(Event):
    target: int
    kind: str
    unused: bool = False  # it threw away gradients that no step has used
    # Of an optimizer that has not stepped yet: its parameters are what they were when it first cleared.
    still: bool = False


@dataclass(slots=True, frozen=True)
class ClipOutcome(Event):
    """What the next step of an optimizer found of the gradients that were clipped since the last. `place` clips."""

    optimizer: int
    step: int  # the coming one, from 1
    limit: float
    fresh: bool  # there were gradients to clip that no step had used
    after: float  # their norm (or their largest number, where values are clipped) right after the clipping
    found: float  # and when the optimizer steps
    scale: float  # what the loss of the last backward pass was scaled by
    step_place: Place = Place()


@dataclass(slots=True, frozen=True)
class Orphan:
    """A parameter that took the place of an optimizer's, as one step finds it."""

    parameter: int
    name: str  # class and attribute, "MLP.fc1.weight"
    held: bool  # some optimizer has it by now
    gradient: float  # norm of its gradient, 0 without one
    distance: float  # how far it is from its first value


@dataclass(slots=True, frozen=True)
class OptimizerStep(Event):
    """An optimizer stepped."""

    optimizer: int
    kind: str
    step: int  # of this optimizer, from 1
    gradients: int  # parameters of it that have one
    stale: int  # those whose `.grad` still holds what an earlier step consumed
    worth: int  # how many steps' gradients the worst `.grad` holds: 1 is right
    ratio: float  # `.grad` against what was delivered for this step, by projection: 1 is right
    backward: int  # number of the last backward that added to stale gradients, -1 for none
    blank: bool = False  # there was no gradient but zeros
    scale: float = 1.0  # what a GradScaler scaled the loss of the last backward pass by
    through: float | None = None  # the scale of the GradScaler that does this step, if one does
    # The norm of the gradients against what the last backward pass left, its loss unscaled; None where not looked at.
    excess: float | None = None
    early: bool = False  # an Accelerator of the program waits for more batches
    rate: float = 0.0  # the first learning rate
    remembers: bool = False  # it keeps averages or counts from step to step
    unheld: int | None = None  # parameters of trained modules with a gradient and in no optimizer, where looked at
    orphans: tuple[Orphan, ...] = ()


@dataclass(slots=True, frozen=True)
class ModeSet(Event):
    module: int
    kind: str
    training: bool


@dataclass(slots=True, frozen=True)
class NormsTrained(Event):
    """A model was trained that has normalisation layers which were put in evaluation mode by themselves.

    `place` is the last `train()` that set the mode of any of them, else the call of the model.
    """

    frozen: int  # that are in evaluation mode still
    thawed: int  # that are in training mode


@dataclass(slots=True, frozen=True)
class GradSwitched(Event):
    """`torch.set_grad_enabled(...)` as a statement: it holds from here on."""

    enabled: bool


@dataclass(slots=True, frozen=True)
class Moved(Event):
    """A tensor was converted: `.to(...)`, `.cuda()`, `.half()`, ..."""

    method: str
    before: str  # device and dtype of the tensor, and whether it has a graph
    after: str  # of the result
    discarded: bool  # the caller threw the result away


@dataclass(slots=True, frozen=True)
class Computed(Event):
    """A line of the program called a tensor method that changes nothing; told of its first call."""

    method: str
    discarded: bool  # the caller threw the result away
    differs: bool  # the result differs from the tensor; not looked at where it was kept


@dataclass(slots=True, frozen=True)
class TensorMade(Event):
    """A line of the program called `torch.tensor`; told of its first call."""

    warned: int  # torch's own warnings that the argument is a tensor already
    graph: bool  # the argument had a graph


@dataclass(slots=True, frozen=True)
class DeviceError(Event):
    """Tensors on different devices met, and torch refused. `place` is the call of the outermost module, if in one."""

    message: str
    parameters: tuple[str, ...] = ()  # devices of the outermost module's parameters; empty outside any module
    inputs: tuple[str, ...] = ()  # devices of its inputs
    inner: Place = Place()  # the user's innermost line

    @property
    def made_inside(self) -> bool:
        """A module's parameters and inputs were all on one device: what did not fit was made in its forward."""
        return len({*self.parameters, *self.inputs}) == 1


@dataclass(slots=True, frozen=True)
class Saved(Event):
    """`torch.save` wrote something with weights in it."""

    kind: str  # the class of what was saved
    module: bool  # a module object is in it, not only its tensors
    refusal: str | None  # what a default `torch.load` of the file says, empty when it loads, None when not looked at
    needs: tuple[str, ...] = ()  # names outside torch and the standard library that the file can only be read with
    methods: int = 0  # methods of models and optimizers in it, where what they return belongs
    writers: int = 0  # processes of the group that had written this file by then; 0: there is no group
    processes: int = 1  # in the group


@dataclass(slots=True, frozen=True)
class StateUsed(Event):
    """What `state_dict()` had returned at `taken` was saved, or loaded into a module."""

    taken: Place
    loaded: bool  # into a module; else saved
    own: bool  # into the module it was taken from
    before: int  # optimizer steps before it was taken
    steps: int  # and since
    distance: float  # how far its numbers have moved since, by a sample of each tensor


@dataclass(slots=True, frozen=True)
class StateLoaded(Event):
    """`load_state_dict` of a module, an optimizer or a scheduler was called."""

    target: int
    kind: str
    optimizer: bool
    keys: int  # in what was given
    own: int  # that the module has
    missing: int
    unexpected: int
    discarded: bool  # the caller threw the result away
    file: int  # number of the FileRead that gave it, -1: none
    replaced: bool = False  # its result goes to the name or attribute that the target had
    error: str = ""  # what it raised because it was given no state at all


@dataclass(slots=True, frozen=True)
class FileRead(Event):
    """`torch.load` was called."""

    weights_only: bool | None  # as given, None: the default
    refusal: str  # torch's own words where it refused the file
    foreign: tuple[str, ...]  # functions that the file had called while it was read, where nothing forbade it
    entries: tuple[str, ...]  # of a dictionary
    asked: tuple[str, ...]  # those of them that the calling function names


@dataclass(slots=True, frozen=True)
class ModuleMoved(Event):
    """`.to()`, `.cuda()` or `.cpu()` of a module."""

    module: int
    kind: str
    before: str  # device of its first parameter
    after: str
    training: bool


@dataclass(slots=True, frozen=True)
class Iterated(Event):
    """An iteration over a DataLoader began."""

    loader: int
    batches: int  # -1: unknown


@dataclass(slots=True, frozen=True)
class LoaderBuilt(Event):
    """A DataLoader was made."""

    loader: int
    batches: int  # -1: unknown
    workers: int


@dataclass(slots=True, frozen=True)
class BatchGiven(Event):
    """One of the first batches that an iterator over a DataLoader gave. `place` made the iterator."""

    loader: int
    iterator: int
    index: int
    digest: str  # of what is in it


@dataclass(slots=True, frozen=True)
class Seeded(Event):
    """The program seeded a random generator in a worker process, or while a sample was made."""

    generator: str
    seed: str
    worker: int = -1  # -1: the program's own process
    sampling: bool = False  # under a `__getitem__`


@dataclass(slots=True, frozen=True)
class SamplerRead(Event):
    """A shuffling DistributedSampler gave an order for one pass over the data."""

    sampler: int
    epoch: int  # that it was told last
    order: str  # the same string, the same order
    samples: int


@dataclass(slots=True, frozen=True)
class EpochCut(Event):
    """The rest of an iteration over a DataLoader was left out, so that what comes after it is reached."""

    loader: int
    batches: int  # that it had given by then


@dataclass(slots=True, frozen=True)
class Still:
    """A parameter of a trained module that has not moved since its first backward pass."""

    name: str
    elements: int
    frozen: bool
    held: bool  # some optimizer has it
    gradient: bool


@dataclass(slots=True, frozen=True)
class ParameterMotion(Event):
    """Which parameters of the trained modules have not moved, `step` optimizer steps into the run."""

    step: int
    parameters: int
    unmoved: tuple[Still, ...]


@dataclass(slots=True, frozen=True)
class LayersRan(Event):
    """Which layers a module called in one of its first passes."""

    module: int
    kind: str
    layers: int
    outside: int  # those that are no part of it


@dataclass(slots=True, frozen=True)
class Stray(Event):
    """A layer or parameter that takes part in a module's pass and is no part of the module. `place` is its making."""

    module: int
    kind: str  # the module's class
    name: str  # its own: the class of a layer, an attribute
    why: str  # "layer", "made in forward", "attribute" (a tensor computed from a parameter)
    gradient: float = 0.0  # norm of the largest that a parameter of it got
    held: bool = True  # some optimizer has the parameters that got one
    deaf: bool = False  # it ran in training mode, and the module in evaluation mode
    also: tuple[Place, ...] = ()  # where the module's `__init__`s are, and where it was called

    @property
    def untrained(self) -> bool:
        """A parameter of it is asked to learn, and nothing moves it."""
        return self.gradient > 0 and not self.held

    @property
    def harmed(self) -> bool:
        return self.untrained or self.deaf


@dataclass(slots=True, frozen=True)
class LeftBehind(Event):
    """A copy of a module was moved, and run: which of its tensors stayed where they were and met those that moved?

    `place` is where the module was given that tensor; for a module that takes all along, where it was called.
    """

    module: int
    kind: str
    name: str = ""  # of the tensor, "Net.mask"; "" when nothing stayed behind
    operation: str = ""  # in which it met a tensor that had moved
    saved: bool = True  # `state_dict()` has it
    also: tuple[Place, ...] = ()


@dataclass(slots=True, frozen=True)
class EntryRepeated(Event):
    """A container of layers was given a layer with parameters that it has already."""

    kind: str  # of the container
    name: str  # of the layer
    entries: int  # how often it is in there now
    parameters: int  # elements


@dataclass(slots=True, frozen=True)
class Shadowed(Event):
    """A module was given an attribute by the name of a method of torch's, on which torch itself relies."""

    kind: str
    name: str
    value: str  # what it is: "list", "Linear"
    hidden: bool  # a layer: reading the attribute gives torch's method, not the layer


@dataclass(slots=True, frozen=True)
class Bypassed(Event):
    """A module's `forward` ran without the module being called. `place` is where."""

    module: int
    kind: str
    hooks: int  # of it, none of which ran


@dataclass(slots=True, frozen=True)
class Loaded(Event):
    """The program imported a file of the project. `copy` is what was in it then."""

    file: str
    copy: str


@dataclass(slots=True, frozen=True)
class Spawned(Event):
    """The program started another process, in which nothing is traced."""

    command: str


@dataclass(slots=True, frozen=True)
class Threads(Event):
    """The program trains in threads besides its main one."""

    traced: str  # the name of the one that is traced in place of the main one, "" for none
    missed: int  # optimizer steps in others, which nothing looked at


@dataclass(slots=True, frozen=True)
class TorchImported(Event):
    """The program has imported torch: from here on everything is traced."""

    torch: str  # its version


@dataclass(slots=True, frozen=True)
class NotStarted(Event):
    """The program cannot be run as asked for: the message says why, and what to do."""

    message: str


@dataclass(slots=True, frozen=True)
class Untraced(Event):
    """The trace could not look at something: a measurement is missing, the program went on."""

    message: str


@dataclass(slots=True, frozen=True)
class Raised(Event):
    """The program ended with an exception; `place` is the user's innermost line."""

    kind: str
    message: str


@dataclass(slots=True, frozen=True)
class Ended(Event):
    """The trace's last word; absent when the program was killed."""

    status: int
    stopped: bool = False  # ended by the step limit
    device: str = "cpu"
    torch: str = ""


def without_graph(error: Raised) -> bool:
    """Whether the program ended because a loss had no graph."""
    if error.kind == "RuntimeError":
        return "does not require grad and does not have a grad_fn" in error.message
    return error.kind == "AttributeError" and "'float' object has no attribute 'backward'" in error.message


KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}

E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class Epoch:
    """One iteration over a DataLoader."""

    place: Place
    batches: list[str] = field(default_factory=list)  # digests of the first ones
    trained: bool = False  # a backward pass came after one of them


@dataclass(slots=True)
class Trace:
    """What one run of a program did, in order."""

    events: list[Event] = field(default_factory=list)

    def of(self, kind: type[E]) -> Iterator[E]:
        """The events of one kind."""
        for event in self.events:
            if isinstance(event, kind):
                yield event

    @property
    def end(self) -> Ended | None:
        """How the program ended, None when it was killed."""
        return next(self.of(Ended), None)

    def epochs(self, loader: int) -> list[Epoch]:
        """The iterations over a loader, in order, each with its first batches."""
        used = self.used_for_gradients()
        found: dict[int, Epoch] = {}
        waiting: Epoch | None = None  # gave a batch that no module has been called with yet
        for event in self.events:
            match event:
                case BatchGiven() if event.loader == loader:
                    waiting = found.setdefault(event.iterator, Epoch(event.place))
                    waiting.batches.append(event.digest)
                case Forward() if waiting is not None and event.parameters:
                    waiting.trained |= event.number in used
                    waiting = None
        return list(found.values())

    def used_for_gradients(self) -> set[int]:
        """Numbers of the forwards that some backward went through, or whose output went into one that did."""
        used = {number for backward in self.of(Backward) for number in backward.forwards}
        for forward in reversed(list(self.of(Forward))):
            if forward.number in used:
                used.update(forward.fed_by)
        return used

    def training_passes(self) -> list[list[SamplerRead]]:
        """The orders that each distributed sampler gave for passes over the data that trained a model.

        A pass trains when the first model that is called in it is called for a backward.
        """
        used, found = self.used_for_gradients(), dict[int, list[SamplerRead]]()
        waiting: list[SamplerRead] = []
        for event in self.events:
            match event:
                case Iterated():
                    waiting = []
                case SamplerRead():
                    waiting.append(event)
                case Forward(parameters=parameters) if parameters:
                    for one in waiting if event.number in used else ():
                        found.setdefault(one.sampler, []).append(one)
                    waiting = []
        return list(found.values())

    def inference(self) -> Iterator[Forward]:
        """The forwards of modules with parameters that no backward used.

        Where the program was cut off, its last forward may still have been waiting for one and is left out.
        """
        used = self.used_for_gradients()
        forwards = [f for f in self.of(Forward) if f.parameters]
        whole = self.end is not None and self.end.status == 0 and not self.end.stopped
        for forward in forwards if whole else forwards[:-1]:
            if forward.number not in used:
                yield forward


def encode(event: Event) -> str:
    """One event as one JSON line. What has its default value is left out: each training step writes several."""
    head, fields, values_of = _shape(type(event))
    written = [head, _written(event.place)]
    for (key, default), value in zip(fields, values_of(event), strict=True):
        if value is default:
            continue
        kind = type(value)
        if kind is int:
            written.append(f"{key}{value}")
        elif kind is bool:
            written.append(key + ("true" if value else "false"))
        elif value != default:
            written.append(key + _json(value))
    written.append("}]")
    return "".join(written)


def decode(line: str) -> Event:
    """The event of one line that `encode` wrote. Raises ValueError for anything else."""
    try:
        name, values = json.loads(line)
        kind = KINDS[name]
        values |= {key: Place.read(values[key]) for key in ("place", "inner", "step_place", "taken") if key in values}
        if "orphans" in values:
            values["orphans"] = tuple(Orphan(**one) for one in values["orphans"])
        for key in ("inits", "dropped", "also"):
            if key in values:
                values[key] = tuple(Place.read(one) for one in values[key])
        if kind is ParameterMotion:
            values["unmoved"] = tuple(Still(**one) for one in values["unmoved"])
        return kind(**{key: _tuple(value) for key, value in values.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error


_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


_SCALARS = frozenset({bool, int, float, str, type(None)})


_SHAPES: dict[type[Event], tuple[str, tuple[tuple[str, Any], ...], Any]] = {}


def _shape(kind: type[Event]) -> tuple[str, tuple[tuple[str, Any], ...], Any]:
    """How the line of an event begins, the keys and defaults of what follows its place, and what gets their values."""
    known = _SHAPES.get(kind)
    if known is None:
        rest = [one for one in dataclasses.fields(kind) if one.name != "place"]
        fields = tuple((f',"{one.name}":', one.default) for one in rest)
        # Two names at least: for one alone `attrgetter` gives no tuple.
        values_of = operator.attrgetter(*(one.name for one in rest)) if len(rest) > 1 else lambda one: (one.number,)
        known = _SHAPES[kind] = f'["{kind.__name__}",{{"place":', fields, values_of
    return known


def _json(value: Any) -> str:
    match value:
        case str():
            return _quoted(value)
        case tuple() if all(type(one) is int for one in value):
            return f"[{','.join(map(str, value))}]"
        case _:
            return _ENCODER.encode(value if type(value) in _SCALARS else _plain(value))


_quoted = json.encoder.encode_basestring_ascii
_PLACES: dict[int, tuple[Place, str]] = {}  # by their address; they are kept, so that it stays theirs


def _written(place: Place) -> str:
    known = _PLACES.get(id(place))
    if known is None:
        if len(_PLACES) >= 4096:
            _PLACES.clear()
        known = _PLACES[id(place)] = place, _ENCODER.encode(_plain(place))
    return known[1]


def _plain(thing: Any) -> Any:
    """As `dataclasses.asdict`, which copies too much for something done several times in each training step."""
    match thing:
        case Place() | Orphan() | Still():
            return {one.name: _plain(getattr(thing, one.name)) for one in dataclasses.fields(thing)}
        case tuple():
            return [one if type(one) in _SCALARS else _plain(one) for one in thing]
    return thing


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
