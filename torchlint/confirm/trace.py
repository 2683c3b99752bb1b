"""Hooks on torch that write down what a program does, in the words of `torchlint.confirm.events`.

Nothing that the program computes changes: hooks look at gradients, modes and devices and return what torch returned;
the second passes they run are on copies, with every random generator put back. The program's objects are held weakly.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import inspect
import io
import itertools
import math
import os
import pickle
import re
import sys
import threading
import traceback
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as module_hooks
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from torchlint.confirm import events
from torchlint.confirm.accumulation import holds_back, shared_batches
from torchlint.confirm.batches import Batches
from torchlint.confirm.events import Event, Place
from torchlint.confirm.events import Trace as Trace
from torchlint.confirm.forks import process
from torchlint.confirm.frames import discards, initialises_later, innermost_user, is_users, overwritten, user_place
from torchlint.confirm.kept import Kept
from torchlint.confirm.layers import depends_on_mode, inits
from torchlint.confirm.ledger import Balance, Ledger, any_nonzero
from torchlint.confirm.losses import CALLS_PER_LINE, CALLS_PER_WEIGHT, FUNCTIONS, SOFTMAXES, measure, merged
from torchlint.confirm.metrics import Metrics
from torchlint.confirm.norms import Clip, clipped, count_flushed, halving_nodes, mean_nodes, norm_of
from torchlint.confirm.parallel import Listeners, is_sharded, local
from torchlint.confirm.pretend import PretendedAccelerator
from torchlint.confirm.ranks import Writes
from torchlint.confirm.storages import Storages
from torchlint.confirm.strays import Strays
from torchlint.confirm.twin import LARGEST, Measured, Twin, tensors

DEVICE_ERROR = re.compile(
    r"tensors to be on the same device|[Ii]nput type .* and weight type .* should be the same"
    r"|indices should be either on|different device|must be on the same device|'lengths' argument should be a 1D CPU"
)
CONVERSIONS = (
    *("to", "cuda", "cpu", "type", "type_as", "detach"),
    *("float", "half", "double", "bfloat16", "long", "int", "bool"),
)
COMPUTATIONS = (
    *(
        "clamp",
        "clip",
        "view",
        "reshape",
        "permute",
        "transpose",
        "squeeze",
        "unsqueeze",
        "flatten",
        "expand",
        "repeat",
    ),
    *(
        "masked_fill",
        "softmax",
        "log_softmax",
        "relu",
        "sigmoid",
        "tanh",
        "add",
        "sub",
        "mul",
        "div",
        "abs",
        "exp",
        "log",
    ),
    *("sqrt", "pow", "round", "flip", "roll", "cumsum", "nan_to_num", "scatter", "contiguous"),
)
SECOND_PASSES = 2  # from one place with one module in one mode
LOOKED_AT = 3  # first steps of an optimizer at which the parameters of trained modules are looked through
MOVES_PER_LINE = 8
ORDER = 4096  # samples of a pass over the data whose order is compared
STATES = 20_000  # tensors of states that are remembered
SAMPLE = 64  # numbers of each
LIMIT = 200_000  # events of one run
WEIGHED = 24  # backward passes of which it is seen how much the batch's mean counts
NORMS = 32  # steps of an optimizer at which the norm of its gradients is measured, where it is clipped or scaled
FIRST_SIGHTS = 4  # forwards from one place that a resting recorder still looks at

# Methods that torch and its users call on any module.
RELIED_ON = frozenset(
    """
    parameters named_parameters modules named_modules children named_children buffers named_buffers train eval
    state_dict load_state_dict zero_grad requires_grad_ to cuda cpu apply register_buffer register_parameter add_module
    """.split()
)

T = TypeVar("T")

_INTERNALS = frozenset({"_parameters", "_buffers", "_modules", "_backward_hooks", "_backward_pre_hooks"})
_INTERNALS |= {"_forward_hooks", "_forward_pre_hooks"}

# What compiles with TorchScript, as deep down as torch lets it be found: a program may hold `torch.jit.script` itself.
_SCRIPTING: tuple[Any, str] = (
    (torch.jit._script, "_script_impl") if hasattr(torch.jit._script, "_script_impl") else (torch.jit, "script")
)


class EnoughSteps(BaseException):
    """Ends the program at the step limit. Not an Exception, so that `except Exception` in a program lets it pass."""


@dataclass(slots=True)
class _Watched:
    """A parameter that took the place of one that an optimizer holds."""

    parameter: weakref.ref[torch.Tensor]
    name: str
    start: torch.Tensor | None = None


class _Fetch:
    """Stands in a class for a method, and tells when it is taken and not called."""

    def __init__(self, recorder: Recorder, owner: type, name: str) -> None:
        self.recorder, self.owner, self.name = recorder, owner, name
        self.method: Any = vars(owner)[name]
        setattr(owner, name, self)

    def __get__(self, thing: Any, kind: Any = None) -> Any:
        if thing is not None:
            self.recorder.fetched(thing, self.name, sys._getframe(1))
        return self.method.__get__(thing, kind)

    def undo(self) -> None:
        """Puts the method back."""
        setattr(self.owner, self.name, self.method)


class _Working:
    """While it is entered, what happens is the trace's own work."""

    __slots__ = ("before", "recorder")

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.before = recorder, False

    def __enter__(self) -> None:
        self.before, self.recorder._busy = self.recorder._busy, True

    def __exit__(self, *_: object) -> None:
        self.recorder._busy = self.before


class _Mark:
    """A hook on a graph's node, which owns it: as long as the hook lives, the graph does."""

    __slots__ = ("__weakref__", "number", "recorder", "step")

    def __init__(self, recorder: Recorder, number: int) -> None:
        self.recorder, self.number = recorder, number
        self.step = 0  # in which a backward pass last went through it

    def __call__(self, _gradients: Any) -> None:
        self.recorder.passed(self.number)


@dataclass(slots=True)
class _Taken:
    """How far an optimizer has taken its parameters, told by the first of them."""

    parameter: weakref.ref[torch.Tensor]
    version: int  # torch's count of writes to it
    optimizer: int
    states: int


@dataclass(slots=True)
class _Kept:
    """A tensor of what `state_dict()` returned, as it was then."""

    tensor: weakref.ref[torch.Tensor]
    module: int
    place: Place
    steps: int
    sample: torch.Tensor


@dataclass(slots=True)
class _Anatomy:
    """What is in a module, as long as nothing is registered anywhere."""

    generation: int
    parameters: int
    layers: list[weakref.ref[nn.Module]]  # those that behave differently in training
    first: weakref.ref[nn.Parameter] | None = None  # parameter


class Recorder:
    """Writes the events of this process and thread to `sink`. `install` hooks it into torch until the block ends.

    `max_steps` optimizer steps end the program by `EnoughSteps`; `pretend` gives it an accelerator that is not there. A
    fork of the process (a DataLoader's worker) records nothing. `limit` is the number of events after which it is mute.

    `listeners` hear each event too. While `rest` is in force it looks only at what is rare or new to it.
    """

    active: ClassVar[Recorder | None] = None  # the one that is hooked into torch now

    def __init__(
        self,
        sink: Callable[[Event], None],
        max_steps: int | None = None,
        pretend: bool = False,
        limit: float = LIMIT,
    ) -> None:
        self._sink = sink
        self._limit = limit
        self.listeners: list[Callable[[Event], None]] = []
        self._wanted = 1  # how many want every step looked at
        self._resting = False
        self._sights: dict[tuple[Any, ...], int] = {}
        self._pretended = PretendedAccelerator(self._pretended_error) if pretend else None
        self._max_steps = max_steps
        self.stop: Callable[[], BaseException] = EnoughSteps  # what is raised at the step limit
        self.stopped = False  # it has been
        self._process, self._thread = process(), threading.get_ident()
        self.follows = False  # whether the first thread that trains is recorded, whichever that is
        self._adopted = ""
        self._missed = 0
        self._numbers = 0
        self._busy = False  # in a module, a backward pass, or the trace's own work: what happens inside is not an event
        self._inside: tuple[Any, ...] | None = None  # what the outermost module that runs was given
        self._weights: dict[int, int] = {}  # linear layers that were looked at, by the id of their weight
        self._own = 0  # in the trace's own work alone
        self._losses: dict[tuple[str, str, int], int] = {}
        self._identities: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._named = 0
        self._ledger = Ledger()
        self._listeners = Listeners()
        self._converting = False
        self._optimizers: list[weakref.ref[torch.optim.Optimizer]] = []
        self._steps: dict[int, int] = {}
        self._balance: Balance | None = None
        self._total_steps = 0
        self._reached: set[int] = set()
        self._trained: dict[int, weakref.ref[nn.Module]] = {}
        self._watched: dict[int, _Watched] = {}
        self._built: dict[int, Place] = {}  # optimizers, and where
        self._taken: dict[int, _Taken] = {}  # by the id of an optimizer's first parameter
        self._claimed: dict[
            int, weakref.ref[torch.Tensor]
        ] = {}  # what any optimizer was built over, or a state loaded into
        self._unclaimed: dict[
            int, tuple[weakref.ref[torch.Tensor], int]
        ] = {}  # what nobody holds, and its first version
        self._generation = 0
        self._anatomies: dict[int, _Anatomy] = {}
        self._passes: dict[tuple[Any, ...], int] = {}
        self._batches = Batches(self, self._identity)
        self._frozen: weakref.WeakKeyDictionary[nn.Module, Place | None] = weakref.WeakKeyDictionary()
        self._norms_told: dict[Place, int] = {}
        self._calls: dict[tuple[int, int], CodeType] = {}  # of tensor methods, by the instruction
        self._moves: dict[tuple[str, int], int] = {}
        self._outputs: Storages[int] = Storages()  # forwards by what they gave
        self._undo: contextlib.ExitStack | None = None
        self._marks: weakref.WeakValueDictionary[int, _Mark] = weakref.WeakValueDictionary()  # of forwards' graphs
        self._backwards = 0
        self._counted = 0  # the step at which graphs were last counted
        self._scaled: tuple[weakref.ref[torch.Tensor], weakref.ref[Any]] | None = None  # a scaled loss, and by whom
        self._scale_of_last = 1.0  # what the loss of the last backward pass was scaled by
        self._through: float | None = None  # the scale of the GradScaler whose step runs
        self._scaling = False  # a GradScaler has scaled something
        self._left: dict[int, float] = {}  # by id of the optimizer: the norm that the last backward pass left, unscaled
        self._excess: float | None = None
        self._blank = False
        self._weighed = 0
        self._firsts: dict[int, list[torch.Tensor]] = {}  # a few numbers of the parameters of optimizers yet to step
        self._clips: dict[Place, Clip] = {}  # since the last step
        self._writes = Writes()
        self._metrics = Metrics(self.emit, self._identity, self._patch)
        self._states: dict[int, _Kept] = {}  # by the id of their tensors
        self._states_by_storage: Storages[_Kept] = Storages()
        self._files: Storages[int] = Storages()  # FileRead events by the tensors they gave
        self._refusal: AttributeError | None = None  # the last one that was told
        self._announced = ""  # the last device error that was told
        self._bypasses: set[tuple[int, Place]] = set()
        self._strays = Strays(self.emit, self._identity)
        self._kept_tensors = Kept(self.emit, self._identity)

    # --------------------------------------------------------------------------------------------------- small things

    def emit(self, kind: type[Event], place: Place, /, **values: Any) -> int:
        """Writes one event and returns its number."""
        number = self._numbers
        if process() == self._process and number < self._limit:
            self._numbers += 1
            event = kind(number, place, **values)
            self._sink(event)
            for listen in self.listeners:
                listen(event)
        return number

    @property
    def thread(self) -> int:
        """The thread whose work is recorded."""
        return self._thread

    @property
    def adopted(self) -> str:
        """The name of the thread that is recorded in place of the one that the recorder was made in, "" for none."""
        return self._adopted

    @property
    def missed(self) -> int:
        """How many optimizer steps there were in threads that are not recorded."""
        return self._missed

    def _follow(self) -> None:
        """Records this thread from now on: the first one that trains, whichever the recorder was made in."""
        self._thread, thread = threading.get_ident(), threading.current_thread()
        self._adopted = thread.name if thread is not threading.main_thread() else ""

    def _may_follow(self, module: nn.Module) -> bool:
        """True for what looks like training in another thread before anything was trained in this one."""
        first = self.follows and not self._busy and not self._trained and not self._total_steps
        return (
            first and module.training and torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters())
        )

    @property
    def steps(self) -> int:
        """How many optimizer steps there were."""
        return self._total_steps

    @property
    def elsewhere(self) -> bool:
        """Whether what happens now is not the program's own doing, or not in its main thread."""
        return self._elsewhere() or process() != self._process

    def trained(self) -> list[nn.Module]:
        """The modules that were called with gradients, as far as they live."""
        return [module for module in (one() for one in self._trained.values()) if module is not None]

    @property
    def known_trained(self) -> int:
        """How many modules were called with gradients so far, living or not."""
        return len(self._trained)

    def held(self) -> set[int]:
        """The ids of the parameters that the optimizers have."""
        return self._held()

    def know(self, thing: nn.Module | torch.optim.Optimizer) -> int:
        """Takes note of a model or optimizer that was built before, and returns the number that it has in events."""
        if isinstance(thing, torch.optim.Optimizer) and all(one is not thing for one in self._live_optimizers()):
            self._optimizers = [one for one in self._optimizers if one() is not None]
            self._optimizers.append(weakref.ref(thing))
        return self._identity(thing)

    def rest(self) -> None:
        """Takes back one wish for every step, at first its owner's.

        Without any, what each step repeats is passed over: its gradients, and forwards that were seen often before.
        """
        self._wanted -= 1
        self._resting = self._wanted <= 0

    def wake(self) -> None:
        """One more wish to see every step. What gradients hold then counts as clean: call it right after a step."""
        self._wanted += 1
        if self._resting:
            self._resting, self._ledger, self._balance = False, Ledger(), None

    def _elsewhere(self) -> bool:
        return self._busy or threading.get_ident() != self._thread

    def _working(self) -> _Working:
        return _Working(self)

    def _safely(self, work: Callable[..., T], *args: Any) -> T | None:
        """Does the trace's own work: what goes wrong in it is written down and never reaches the program."""
        self._own += 1
        try:
            return work(*args)
        except Exception as error:  # anything: torch has objects of every kind, and the program must go on
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            self.emit(events.Untraced, user_place(), message=message)
            return None
        finally:
            self._own -= 1

    def _identity(self, thing: Any) -> int:
        key = id(thing)
        known = self._identities.get(key)
        if known is not None and known[0]() is thing:
            return known[1]
        self._named += 1
        self._identities[key] = (weakref.ref(thing), self._named)
        return self._named

    def _live_optimizers(self) -> Iterator[torch.optim.Optimizer]:
        for reference in self._optimizers:
            optimizer = reference()
            if optimizer is not None:
                yield optimizer

    def _held(self) -> set[int]:
        return {id(parameter) for optimizer in self._live_optimizers() for parameter in _parameters(optimizer)}

    # -------------------------------------------------------------------------------------------------------- modules

    def _module_init(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(module, *args, **kwargs)
        caller = sys._getframe(2)
        if threading.get_ident() == self._thread:
            self._strays.born(module)
            self._metrics.born(module)
        if is_users(caller.f_code.co_filename) and not self._elsewhere():
            self.emit(events.SuperInit, user_place(caller), module=self._identity(module), kind=type(module).__name__)

    def fetched(self, thing: Any, method: str, frame: FrameType) -> None:
        """A method of `thing` was taken by the code in `frame`."""
        if self._elsewhere() or not is_users(frame.f_code.co_filename) or not discards(frame):
            return
        if self._often("fetched", frame) <= MOVES_PER_LINE:
            self.emit(events.Fetched, user_place(frame), kind=type(thing).__name__, method=method)

    def _warned(self, original: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
        if "not a leaf Tensor is being accessed" in str(message) and not self._elsewhere():
            self.emit(events.Warned, user_place(), message=str(message))
        return original(message, *args, **kwargs)

    def _patch(self, owner: Any, name: str, hook: Any) -> None:
        """Hooks into something that was not there yet when the others were."""
        if self._undo is not None:
            self._undo.callback(_patch(owner, name, hook))

    def _often(self, what: str, frame: FrameType) -> int:
        """How often this was asked for this line."""
        key = (what, frame.f_code.co_filename, frame.f_lineno)
        count = self._sights[key] = self._sights.get(key, 0) + 1
        return count

    def _watch_step(self, optimizer: torch.optim.Optimizer) -> None:
        """From here on it shows when the class's `step` is named and not called."""
        owner = next(kind for kind in type(optimizer).__mro__ if "step" in vars(kind))
        if self._undo is not None and not isinstance(vars(owner)["step"], _Fetch):
            self._undo.callback(_Fetch(self, owner, "step").undo)

    def _set_on_module(self, original: Any, module: nn.Module, name: str, value: Any) -> None:
        self._register(original, module, name, value)
        if name.startswith("req") and "grad" in name:
            self._flagged(module, name, value, list(module.parameters()))

    def _setting(self, original: Any) -> Any:
        def replacement(tensor: torch.Tensor, name: str, value: Any) -> None:
            original(tensor, name, value)
            if name.startswith("req") and "grad" in name:
                self._set_on_tensor(tensor, name, value)

        return replacement

    def _set_on_tensor(self, tensor: torch.Tensor, name: str, value: Any) -> None:
        self._flagged(tensor, name, value, [tensor])

    def _require(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = original(module, *args, **kwargs)
        wish = args[0] if args else kwargs.get("requires_grad", True)
        self._flagged(module, "requires_grad", wish, list(module.parameters()), method=True)
        return result

    def _flagged(self, thing: Any, name: str, wish: Any, held: list[Any], method: bool = False) -> None:
        frame = sys._getframe(3)
        if self._elsewhere() or not is_users(frame.f_code.co_filename) or not isinstance(wish, bool):
            return
        own = frame.f_code.co_varnames[:1]
        if (own and frame.f_locals.get(own[0]) is thing) or self._often("flag", frame) > MOVES_PER_LINE:
            return  # an attribute that the object's own class has
        self.emit(
            events.FlagSet,
            user_place(frame),
            kind=type(thing).__name__,
            name=name,
            wish=wish,
            deaf=sum(one.requires_grad != wish for one in held),
            module=isinstance(thing, nn.Module),
            method=method,
        )

    def _register(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        try:
            original(module, *args, **kwargs)
        except AttributeError as error:
            self._refused(module, error)
            raise
        if args and args[0] in RELIED_ON:
            self._safely(self._shadowed, module, *args[:2])
        if len(args) == 2 and isinstance(args[1], torch.Tensor) and not self._elsewhere():
            self._safely(self._kept, module, *args)

    def _kept(self, module: nn.Module, name: str, value: torch.Tensor) -> None:
        """A module was given a tensor outside of any pass."""
        if isinstance(value, nn.Parameter) or name in module.__dict__.get("_buffers", ()):
            return
        self._kept_tensors.given(module, name)
        if value.grad_fn is not None:
            self._strays.computed(module, name, value)

    def _getting(self, original: Any) -> Any:
        def replacement(module: nn.Module, name: str) -> Any:
            try:
                return original(module, name)
            except AttributeError as error:
                if name in _INTERNALS:
                    self._refused(module, error)
                raise

        return replacement

    def _refused(self, module: nn.Module, error: AttributeError) -> None:
        if "_parameters" in module.__dict__ or self._elsewhere() or error is self._refusal:
            return
        self._refusal = error  # it passes through as many hooks as the attribute takes calls
        place = user_place()
        if place.file:
            self.emit(
                events.AttributeRefused,
                place,
                module=self._identity(module),
                kind=type(module).__name__,
                message=str(error),
                registered=0,
                initialises_later=initialises_later(module),
                inits=tuple(inits(module)),
            )

    def _registered_parameter(self, module: nn.Module, name: str, value: Any) -> None:
        self._safely(self._registered, module, name, module._parameters.get(name), value)

    def _registered_module(self, module: nn.Module, name: str, value: Any) -> None:
        self._safely(self._registered, module, name, module._modules.get(name), value)

    def _registered(self, module: nn.Module, name: str, before: Any, value: Any) -> None:
        self._generation += 1
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and not self._elsewhere():
            self._repeated(module, name, value)
        if before is None or before is value or not self._optimizers or self._elsewhere():
            return
        held, new = self._held(), dict(_named(value))
        kept = {id(parameter) for parameter in new.values()}
        lost = sum(id(parameter) in held and id(parameter) not in kept for _, parameter in _named(before))
        if not lost:
            return
        owner = f"{type(module).__name__}.{name}"
        gained = []
        for inner, parameter in new.items():
            if id(parameter) not in held:
                label = f"{owner}.{inner}" if inner else owner
                self._watched[id(parameter)] = _Watched(weakref.ref(parameter), label)
                gained.append(self._identity(parameter))
        self.emit(
            events.ParameterReplaced,
            user_place(),
            module=self._identity(module),
            kind=type(module).__name__,
            attribute=name,
            lost=lost,
            gained=tuple(gained),
        )

    def _repeated(self, module: nn.Module, name: str, value: Any) -> None:
        entries = sum(one is value for key, one in module._modules.items() if key != name)
        size = sum(p.numel() for p in value.parameters()) if entries and isinstance(value, nn.Module) else 0
        if size:
            self.emit(
                events.EntryRepeated,
                user_place(),
                kind=type(module).__name__,
                name=type(value).__name__,
                entries=entries + 1,
                parameters=size,
            )

    def _shadowed(self, module: nn.Module, name: str, value: Any) -> None:
        """A module's attribute was set: by the name of a method, and to something that cannot be called as one?"""
        hidden = isinstance(value, nn.Module)
        if (hidden or not callable(value)) and not self._elsewhere():
            self.emit(
                events.Shadowed,
                user_place(),
                kind=type(module).__name__,
                name=name,
                value=type(value).__name__,
                hidden=hidden,
            )

    def _bypassed(self) -> None:
        """A layer is called from a `forward` that was itself called by its name: tells so, once for each place."""
        frame: Any = sys._getframe(1)
        while frame is not None and not is_users(frame.f_code.co_filename):
            frame = frame.f_back
        code = frame.f_code if frame is not None else None
        if code is None or not code.co_argcount:
            return
        module = frame.f_locals.get(code.co_varnames[0])
        method = getattr(type(module), "forward", None)
        if not isinstance(module, nn.Module) or type(module).__call__ is not nn.Module.__call__:
            return
        if getattr(method, "__code__", None) is not code or not is_users(frame.f_back.f_code.co_filename):
            return  # torch calls a `forward` between the hooks
        place = user_place(frame.f_back)
        if (key := (id(module), place)) not in self._bypasses:
            self._bypasses.add(key)
            hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
            number, kind = self._identity(module), type(module).__name__
            self.emit(events.Bypassed, place, module=number, kind=kind, hooks=hooks)

    def _train(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere():
            return original(module, *args, **kwargs)
        with self._working():  # it calls itself on every layer
            result = original(module, *args, **kwargs)
        if isinstance(module, nn.modules.batchnorm._NormBase):
            if module.training:
                self._frozen.pop(module, None)
            else:
                self._frozen[module] = None
        elif self._frozen and module.training:
            place = user_place()
            self._frozen.update({layer: place for layer in module.modules() if layer in self._frozen})
        self.emit(
            events.ModeSet,
            user_place(),
            module=self._identity(module),
            kind=type(module).__name__,
            training=module.training,
        )
        return result

    # ------------------------------------------------------------------------------------------------------- forwards

    def _calling(self, original: Any) -> Any:
        strays, call = self._strays, self._call

        def replacement(*args: Any, **kwargs: Any) -> Any:
            if self._busy and strays.ran is None:  # a layer inside of what is looked at
                return original(*args, **kwargs)
            return call(original, *args, **kwargs)

        return replacement

    def _call(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self.follows and threading.get_ident() != self._thread and self._may_follow(module):
            self._follow()
        if self._elsewhere() or "_parameters" not in module.__dict__ or torch._C._get_tracing_state() is not None:
            if self._strays.ran is not None:
                self._strays.ran.append(module)
                self._safely(self._bypassed)
            return original(module, *args, **kwargs)
        place = user_place()
        if place.function == "forward":
            self._safely(self._bypassed)
        self._busy = True
        try:
            if self._resting and self._known(module, place):
                return original(module, *args, **kwargs)
            twin = self._safely(self._twin, module, place, args, kwargs)
            if self._pretended is None:
                self._safely(self._kept_tensors.look, module, place, args, kwargs)
            self._safely(self._strays.begin, module)
            self._inside = args, kwargs
            output = original(module, *args, **kwargs)
            self._inside = None
            self._safely(self._strays.end, module, place)
            self._safely(self._forward, module, place, args, kwargs, output, twin)
            return output
        except RuntimeError as error:
            self._safely(self._failed, module, place, args, kwargs, error)
            raise
        finally:
            self._busy, self._inside, self._strays.ran = False, None, None

    def _known(self, module: nn.Module, place: Place) -> bool:
        key = (type(module), place, torch.is_grad_enabled(), module.training)
        count = self._sights[key] = self._sights.get(key, 0) + 1
        return count > FIRST_SIGHTS

    def _twin(self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Twin | None:
        key = (self._identity(module), place, torch.is_grad_enabled(), module.training)
        count = self._passes.get(key, 0)
        if count >= SECOND_PASSES or not 0 < self._anatomy(module).parameters <= LARGEST:
            return None
        self._passes[key] = count + 1
        return Twin(module, args, kwargs)

    def _anatomy(self, module: nn.Module) -> _Anatomy:
        key = self._identity(module)
        known = self._anatomies.get(key)
        if known is None or known.generation != self._generation:
            size = sum(p.numel() for p in module.parameters() if not isinstance(p, nn.UninitializedParameter))
            layers = [weakref.ref(layer) for layer in module.modules() if depends_on_mode(layer)]
            first = next(module.parameters(), None)
            reference = weakref.ref(first) if first is not None else None
            known = self._anatomies[key] = _Anatomy(self._generation, size, layers, reference)
        return known

    def _forward(
        self,
        module: nn.Module,
        place: Place,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        twin: Twin | None,
    ) -> None:
        results, given = list(tensors(output)), list(tensors((args, kwargs)))
        tracked = any(one.grad_fn is not None for one in results)
        measured = twin.measure(output, tracked) if twin is not None else Measured()
        anatomy = self._anatomy(module)
        first = anatomy.first() if anatomy.first is not None else next(iter(given), None)
        number = self.emit(
            events.Forward,
            place,
            module=self._identity(module),
            kind=type(module).__name__,
            parameters=anatomy.parameters,
            training=module.training,
            grad_enabled=torch.is_grad_enabled(),
            tracked=tracked,
            active=sum([layer is not None and layer.training for layer in [one() for one in anatomy.layers]]),
            layers=len(anatomy.layers),
            device=str(first.device) if first is not None else "",
            fed_by=tuple(sorted({n for t in given if (n := self._outputs.get(t)) is not None})),
            given=tuple([self._identity(t) for t in given]),
            difference=measured.difference,
            moved=measured.moved,
            saved_bytes=measured.saved_bytes,
            scale=measured.scale,
            dropped=measured.dropped,
        )
        if self._listeners:
            self._listeners.called(number, module)
        mark = self._marks[number] = _Mark(self, number)
        for one in results:
            self._outputs.put(one, number)
            if one.grad_fn is not None:
                one.grad_fn.register_prehook(mark)
        if tracked and self._frozen and module.training:
            self._tell_norms(module, place)
        if tracked and anatomy.parameters:
            key = self._identity(module)
            if key not in self._trained:
                self._trained[key] = weakref.ref(module)

    def passed(self, number: int) -> None:
        """The backward pass that is going on goes through this forward."""
        self._reached.add(number)

    # --------------------------------------------------------------------------------------------------- many processes

    def _wrap(self, original: Any, wrapper: Any, *args: Any, **kwargs: Any) -> None:
        original(wrapper, *args, **kwargs)
        if not self._elsewhere():
            self._safely(self._listeners.add, wrapper)

    def _convert_all(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        self._generation += 1  # it may put other parameters in place of those that are there
        if not self._listeners or self._converting or threading.get_ident() != self._thread:
            return original(module, *args, **kwargs)
        wrappers = self._safely(self._listeners.around, module) or []
        before = [_first(wrapper) for wrapper in wrappers]
        self._converting = True  # it calls itself on every part
        try:
            return original(module, *args, **kwargs)
        finally:
            self._converting = False
            for wrapper, condition in zip(wrappers, before, strict=True):
                if _first(wrapper) != condition:
                    key = self._identity(wrapper)
                    self.emit(events.ModelConverted, user_place(), wrapper=key, before=condition, after=_first(wrapper))

    def _tell_synchronised(self, place: Place) -> None:
        for heard in self._listeners.heard(self._reached):
            self.emit(
                events.Synchronised,
                place,
                wrapper=self._identity(heard.wrapper),
                through=heard.through,
                around=tuple(sorted(heard.around)),
                parameters=heard.parameters,
                deaf=heard.deaf,
                local=heard.local,
            )

    def _tell_sharded(self, optimizer: torch.optim.Optimizer, held: set[int]) -> None:
        trained = self.trained()
        sharded = [p for module in trained if is_sharded(module) for p in module.parameters()]
        if not sharded:
            return
        own = {id(p): p.grad is not None for p in _parameters(optimizer)}
        known = {id(p) for module in trained for p in module.parameters()}
        self.emit(
            events.ShardedStep,
            user_place(),
            optimizer=self._identity(optimizer),
            held=sum(id(p) in own for p in sharded),
            elsewhere=0 if any(own.values()) else len(own.keys() - known),
            unheld=sum(p.grad is not None and id(p) not in held for p in sharded),
        )

    def _all_reduce(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        if self._listeners and not self._elsewhere():
            self.emit(events.Reduced, user_place())
        return original(*args, **kwargs)

    def _count_graphs(self, place: Place) -> None:
        """Counts the steps whose graphs outlive their backward pass, at the 4th, 8th, 16th step and so on."""
        self._backwards += 1
        now = max(self._steps.values(), default=0) + 1 if self._optimizers else self._backwards
        for number in self._reached:
            mark = self._marks.get(number)
            if mark is not None:
                mark.step = now
        if now < 4 or now & (now - 1) or now == self._counted:
            return
        self._counted = now
        if self._kept_before(now) > 2:
            gc.collect()  # what only lies in a cycle is nobody's
        self.emit(events.GraphsKept, place, kept=self._kept_before(now), steps=now)

    def _kept_before(self, now: int) -> int:
        return len({mark.step for mark in self._marks.values() if 0 < mark.step < now})

    def _tell_norms(self, module: nn.Module, place: Place) -> None:
        layers = [layer for layer in module.modules() if layer in self._frozen]
        thawed = [layer for layer in layers if layer.training]
        by = next((at for layer in layers if (at := self._frozen[layer]) is not None), place)
        if layers and self._norms_told.get(by, 0) < 2:
            self._norms_told[by] = self._norms_told.get(by, 0) + 1
            self.emit(events.NormsTrained, by, frozen=len(layers) - len(thawed), thawed=len(thawed))

    # ------------------------------------------------------------------------------------------------------ gradients

    def _backward(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere():
            return original(*args, **kwargs)
        loss = args[0] if args else kwargs.get("tensors")
        place = user_place()
        self._reached = set()
        with self._working():
            if self._resting:
                result = original(*args, **kwargs)
                if self._reached:
                    self.emit(events.Backward, place, forwards=tuple(sorted(self._reached)))
                return result
            self._safely(self._ledger.before_backward)
            flushed = [0, 0]
            weights = self._safely(self._weigh, loss, flushed)  # both are filled by the pass
            result = original(*args, **kwargs)
            self._scale_of_last = (self._safely(self._factor, loss) or 1.0) if self._scaled is not None else 1.0
            number = self.emit(
                events.Backward,
                place,
                forwards=tuple(sorted(self._reached)),
                loss=self._safely(self._loss, loss),
                weight=max(weights) / self._scale_of_last if weights else None,
                shared=self._safely(shared_batches) or 1,
                halved=flushed[0],
                flushed=flushed[1],
                scale=self._scale_of_last,
            )
            self._safely(self._ledger.after_backward, number)
            if self._listeners:
                self._safely(self._tell_synchronised, place)
            if self._scaling:
                self._safely(self._delivered)
            self._safely(self._count_graphs, place)
        return result

    def _scale(self, original: Any, scaler: Any, outputs: Any) -> Any:
        result = original(scaler, outputs)
        if isinstance(result, torch.Tensor) and not self._elsewhere():
            self._scaled = weakref.ref(result), weakref.ref(scaler)
            self._scaling = True
        return result

    def _scaler_step(self, original: Any, scaler: Any, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere() or self._resting:
            return original(scaler, *args, **kwargs)
        before, self._through = self._through, float(scaler.get_scale()) if scaler.is_enabled() else None
        self._scaling = self._scaling or self._through is not None
        try:
            return original(scaler, *args, **kwargs)
        finally:
            self._through = before

    def _factor(self, loss: Any) -> float:
        """What a GradScaler has scaled this loss by."""
        if self._scaled is None or self._scaled[0]() is not loss:
            return 1.0
        scaler = self._scaled[1]()
        return float(scaler.get_scale()) if scaler is not None else 1.0

    def _weigh(self, loss: Any, flushed: list[int]) -> list[float]:
        """A list that the coming backward pass will fill: how much each mean over a batch counts in `loss`.

        So it will `flushed`: with the numbers of the gradient that go into half precision, and those lost there.
        """
        found: list[float] = []
        if self._weighed < WEIGHED and isinstance(loss, torch.Tensor) and loss.numel() == 1:
            self._weighed += 1
            for node in mean_nodes(loss.grad_fn):
                node.register_prehook(functools.partial(_weight, found))
            for node in halving_nodes(loss.grad_fn):
                node.register_prehook(functools.partial(count_flushed, flushed))
        return found

    def _delivered(self) -> None:
        """Notes the norm of each optimizer's gradients, where a GradScaler is at work."""
        for optimizer in self._live_optimizers():
            if self._steps.get(self._identity(optimizer), 0) < NORMS:
                self._left[id(optimizer)] = norm_of(_parameters(optimizer)) / self._scale_of_last

    def _clip(self, values: bool, original: Any, parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere() or self._resting:
            return original(parameters, *args, **kwargs)
        alone = isinstance(parameters, torch.Tensor)
        given = [parameters] if alone else list(parameters)
        fresh = self._safely(self._ledger.unused, given)
        generated = inspect.isgenerator(parameters)  # torch warns of an empty one
        again: Any = (one for one in given) if generated else given
        result = original(parameters if alone else again, *args, **kwargs)
        with self._working():
            clip = self._safely(clipped, given, values, args, kwargs)
        if clip is not None and fresh is not None:
            clip.fresh = fresh
            self._clips[user_place()] = clip
        return result

    def _clip_outcomes(self, optimizer: torch.optim.Optimizer) -> None:
        """Tells what a step finds of what was clipped since the last one."""
        held = {id(parameter) for parameter in _parameters(optimizer)} if self._clips else set()
        for place, clip in list(self._clips.items()):
            parameters = clip.alive()
            if any(id(parameter) in held for parameter in parameters):
                del self._clips[place]
                key = self._identity(optimizer)
                if self._steps.get(key, 0) < NORMS:
                    self.emit(
                        events.ClipOutcome,
                        place,
                        optimizer=key,
                        step=self._steps.get(key, 0) + 1,
                        limit=clip.limit,
                        fresh=clip.fresh,
                        after=clip.after,
                        found=norm_of(parameters, clip.kind),
                        scale=self._scale_of_last,
                        step_place=user_place(),
                    )

    def _loss(self, loss: Any) -> float | None:
        """The loss as the program computed it: a scaler's factor is not in it."""
        value = _number(loss)
        if value is None or self._scaled is None or self._scaled[0]() is not loss:
            return value
        scaler = self._scaled[1]()
        return value / scaler.get_scale() if scaler is not None else value

    def _grad(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere():
            return original(*args, **kwargs)
        place = user_place()
        self._reached = set()
        with self._working():
            result = original(*args, **kwargs)
            if self._reached or not self._resting:
                self.emit(events.Backward, place, forwards=tuple(sorted(self._reached)), accumulates=False)
        return result

    def _zero_grad(self, original: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        looks = not self._resting and not self._elsewhere()
        unused = looks and self._safely(self._throws_away, target)
        result = original(target, *args, **kwargs)
        if looks:
            self.emit(
                events.ZeroGrad,
                user_place(),
                target=self._identity(target),
                kind=type(target).__name__,
                unused=bool(unused),
                still=isinstance(target, torch.optim.Optimizer) and bool(self._safely(self._still, target)),
            )
        return result

    def _still(self, optimizer: torch.optim.Optimizer) -> bool:
        key = self._identity(optimizer)
        if self._steps.get(key):
            return False
        now = [_sample(parameter) for parameter in _parameters(optimizer)]
        first = self._firsts.setdefault(key, now)
        return len(first) == len(now) and all(
            a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, now, strict=True)
        )

    def _throws_away(self, target: Any) -> bool:
        return self._ledger.unused(
            _parameters(target) if isinstance(target, torch.optim.Optimizer) else target.parameters()
        )

    # --------------------------------------------------------------------------------------------------------- losses

    def _loss_function(self, name: str, original: Any, *args: Any, **kwargs: Any) -> Any:
        if self._resting or self._own or threading.get_ident() != self._thread:
            return original(*args, **kwargs)
        place = user_place()
        key = name, place.file, place.line
        count = self._losses[key] = self._losses.get(key, 0) + 1
        if count > CALLS_PER_LINE or torch._C._get_tracing_state() is not None:
            return original(*args, **kwargs)
        output = args[0] if args else kwargs.get("input")
        target = args[1] if len(args) > 1 else kwargs.get("target")
        measured = self._safely(measure, output, target)
        if measured is None:
            return original(*args, **kwargs)
        try:
            result = original(*args, **kwargs)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            self.emit(events.LossComputed, place, loss=name, error=str(error).splitlines()[0], **measured)
            raise
        self.emit(events.LossComputed, place, loss=name, value=self._safely(_number, result), **measured)
        return result

    def _linear(self, original: Any) -> Any:
        seen = self._weights

        def replacement(value: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside is not None and seen.get(id(weight), 0) < CALLS_PER_WEIGHT:
                self._applied(value, weight)
            return original(value, weight, *args, **kwargs)

        return replacement

    def _applied(self, value: Any, weight: Any) -> None:
        if not self._resting and not self._own and threading.get_ident() == self._thread:
            self._weights[id(weight)] = self._weights.get(id(weight), 0) + 1
            self._safely(self._look_at_linear, value)

    def _look_at_linear(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            samples = merged(value, tensors(self._inside))
            self.emit(events.LinearApplied, user_place(), dimensions=value.dim(), merged=samples)

    def _softmax(self, name: str, original: Any, *args: Any, **kwargs: Any) -> Any:
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        if dim is None and len(args) <= 2:  # torch points its warning at the caller, two frames further up
            kwargs["_stacklevel"] = kwargs.get("_stacklevel", 3) + 2
        result = original(*args, **kwargs)
        if self._resting or self._own or threading.get_ident() != self._thread or not isinstance(result, torch.Tensor):
            return result
        place = user_place()
        count = self._losses[name, place.file, place.line] = self._losses.get((name, place.file, place.line), 0) + 1
        if count <= CALLS_PER_LINE:
            chosen = (0 if result.dim() in (0, 1, 3) else 1) if dim is None else int(dim)
            self.emit(
                events.Normalised, place, function=name, dimensions=result.dim(), dimension=chosen, told=dim is not None
            )
        return result

    def _script(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """TorchScript reads the source of what it finds: it must find torch's own functions.

        Names that a class uses are looked up in the frame that many calls further up: two of them are the trace's.
        """
        kwargs["_frames_up"] = kwargs.get("_frames_up", 0) + 2
        with contextlib.ExitStack() as redo:
            hooked = [(torch, "tensor"), *((functional, name) for name in (*FUNCTIONS, *SOFTMAXES, "linear"))]
            for owner, name, hook in [(owner, name, getattr(owner, name)) for owner, name in hooked]:
                setattr(owner, name, inspect.unwrap(hook))
                redo.callback(setattr, owner, name, hook)
            return original(*args, **kwargs)

    # ----------------------------------------------------------------------------------------------------- optimizers

    def _optimizer_init(self, original: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        given = args[0] if args else kwargs.get("params")
        used_up = self._safely(count_used_up, given) or 0
        try:
            original(optimizer, *args, **kwargs)
        except (TypeError, ValueError) as error:
            kind, what, message = type(optimizer).__name__, type(given).__name__, str(error)
            self.emit(events.OptimizerRefused, user_place(), kind=kind, message=message, given=what, used_up=used_up)
            raise
        key, place = self.know(optimizer), user_place()
        self._built[key] = place
        self._safely(self._watch_step, optimizer)
        taken = self._safely(self._taken_by, optimizer, key)
        held = list(_parameters(optimizer))
        self._claimed.update((id(parameter), weakref.ref(parameter)) for parameter in held)
        self.emit(
            events.OptimizerBuilt,
            place,
            optimizer=key,
            kind=type(optimizer).__name__,
            parameters=len(held),
            trainable=sum(parameter.requires_grad for parameter in held),
            groups=len(optimizer.param_groups),
            used_up=used_up,
            continues=taken.optimizer if taken is not None else 0,
            lost=taken.states if taken is not None else 0,
        )

    def _taken_by(self, optimizer: torch.optim.Optimizer, key: int) -> _Taken | None:
        """The other optimizer whose last step left the parameters as they are."""
        first = next(_parameters(optimizer), None)
        taken = self._taken.get(id(first))
        if first is None or taken is None or taken.parameter() is not first or taken.optimizer == key:
            return None
        return taken if taken.version == first._version else None

    def _add_group(self, original: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        original(optimizer, *args, **kwargs)
        if any(one is optimizer for one in self._live_optimizers()):
            self.emit(
                events.ParamGroupAdded,
                user_place(),
                optimizer=self._identity(optimizer),
                parameters=len(optimizer.param_groups[-1]["params"]),
            )

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread or self._resting:
            return None
        self._balance = None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if not callable(closure):
            self._safely(self._consume, optimizer)
            return None

        @functools.wraps(closure)
        def evaluate(*values: Any, **names: Any) -> Any:
            result = closure(*values, **names)
            self._safely(self._consume, optimizer)
            return result

        if len(args) > 1:
            return (args[0], evaluate, *args[2:]), kwargs
        return args, {**kwargs, "closure": evaluate}

    def _consume(self, optimizer: torch.optim.Optimizer) -> None:
        for watched in self._watched.values():
            parameter = watched.parameter()
            if watched.start is None and parameter is not None and parameter.grad is not None:
                watched.start = local(parameter).detach().cpu().double().clone()
        self._blank = not any(p.grad is not None and any_nonzero(p.grad) for p in _parameters(optimizer))
        self._clip_outcomes(optimizer)
        left = self._left.pop(id(optimizer), None)
        norm = norm_of(_parameters(optimizer)) if left else 0.0
        self._excess = norm / left if left and math.isfinite(left) and math.isfinite(norm) else None
        found = self._ledger.consume(_parameters(optimizer))
        if self._balance is None:
            self._balance = found
        else:
            self._balance.add(found)

    def _after_step(self, optimizer: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        if process() != self._process:
            return
        if threading.get_ident() != self._thread:
            if not self.follows or self._total_steps:
                self._missed += 1
                return
            self._follow()
        key = self.know(optimizer)
        self._steps[key] = self._steps.get(key, 0) + 1
        self._safely(self._take_note, optimizer, key)
        if not self._resting:
            with self._working():
                self._safely(self._tell_step, optimizer)
        self._total_steps += 1
        if self._max_steps is not None and self._total_steps >= self._max_steps:
            self.stopped = True
            raise self.stop()

    def _take_note(self, optimizer: torch.optim.Optimizer, key: int) -> None:
        first = next(_parameters(optimizer), None)
        if first is not None:
            kept = any(value is not None for value in optimizer.state.get(first, {}).values())
            states = len(optimizer.state) if kept else 0
            taken = self._taken.get(id(first))
            if taken is None or taken.parameter() is not first:
                taken = self._taken[id(first)] = _Taken(weakref.ref(first), 0, key, 0)
            taken.version, taken.optimizer, taken.states = first._version, key, states

    def _tell_step(self, optimizer: torch.optim.Optimizer) -> None:
        balance = self._balance or Balance()
        key = self._identity(optimizer)
        step = self._steps[key]
        looked = step <= LOOKED_AT or self._watched
        held = self._held() | {id(p) for p in _parameters(optimizer)} if looked or self._strays.waiting else set()
        self.emit(
            events.OptimizerStep,
            user_place(),
            optimizer=key,
            kind=type(optimizer).__name__,
            step=step,
            gradients=balance.gradients,
            stale=balance.stale,
            worth=balance.worth,
            ratio=round(balance.ratio, 6),
            backward=balance.backward,
            blank=self._blank,
            scale=self._scale_of_last,
            through=self._through,
            excess=self._excess,
            unheld=self._unheld(held) if looked else None,
            orphans=tuple(self._orphans(held)),
            early=self._safely(holds_back) or False,
            rate=_rate(optimizer),
            remembers=any(isinstance(v, torch.Tensor) for one in _first_state(optimizer) for v in one.values()),
        )
        if self._strays.waiting:
            self._strays.step(held)
        if step <= LOOKED_AT:
            self._tell_holdings(optimizer, key, step, held)
            self._tell_sharded(optimizer, held)

    def _tell_holdings(self, optimizer: torch.optim.Optimizer, key: int, step: int, held: set[int]) -> None:
        mine = {id(p) for p in _parameters(optimizer)}
        others = [one for one in self._live_optimizers() if one is not optimizer and self._steps.get(self.know(one))]
        left: dict[int, torch.Tensor] = {}
        kinds: list[str] = []
        for module in self.trained():
            own = list(module.parameters())
            if not module.training or any(id(p) in held or self._was_claimed(p) for p in own):
                continue
            lost = [p for p in own if p.grad is not None and p.requires_grad and self._stays(p)]
            if lost:
                left.update((id(p), p) for p in lost)
                kinds.append(type(module).__name__)
        gradients = [float(local(p.grad).detach().double().norm()) for p in left.values() if p.grad is not None]
        self.emit(
            events.Holdings,
            self._built.get(key, user_place()),
            optimizer=key,
            kind=type(optimizer).__name__,
            step=step,
            left_out=len(left),
            of=", ".join(dict.fromkeys(kinds)),
            norm=sum(g * g for g in gradients) ** 0.5,
            shared=len(mine & {id(p) for one in others for p in _parameters(one)}),
        )

    def _was_claimed(self, parameter: torch.Tensor) -> bool:
        """True when some optimizer had a parameter, if only one that is gone by now: its gradient may be an old one.

        So for one that was loaded: a target network, or one that was trained before.
        """
        known = self._claimed.get(id(parameter))
        return known is not None and known() is parameter

    def _stays(self, parameter: torch.Tensor) -> bool:
        """True as long as nothing has written to a parameter that no optimizer holds: not by hand either."""
        known = self._unclaimed.get(id(parameter))
        if known is None or known[0]() is not parameter:
            known = self._unclaimed[id(parameter)] = weakref.ref(parameter), parameter._version
        return known[1] == parameter._version

    def _unheld(self, held: set[int]) -> int:
        found = {id(p) for module in self.trained() for p in module.parameters() if p.grad is not None}
        return len(found - held)

    def _orphans(self, held: set[int]) -> Iterator[events.Orphan]:
        for key, watched in self._watched.items():
            parameter = watched.parameter()
            if parameter is None:
                continue
            now, start = local(parameter).detach().cpu().double(), watched.start
            yield events.Orphan(
                parameter=self._identity(parameter),
                name=watched.name,
                held=key in held,
                gradient=float(local(parameter.grad).detach().double().norm()) if parameter.grad is not None else 0.0,
                distance=float((now - start).norm()) if start is not None and start.shape == now.shape else 0.0,
            )

    # ----------------------------------------------------------------------------------------------------- schedulers

    def _scheduler_init(self, original: Any, scheduler: Any, *args: Any, **kwargs: Any) -> None:
        if self._elsewhere():
            original(scheduler, *args, **kwargs)
            return
        with self._working():  # it takes a step of its own
            original(scheduler, *args, **kwargs)
        place, optimizer = user_place(), getattr(scheduler, "optimizer", None)
        if isinstance(optimizer, torch.optim.Optimizer):
            parts = tuple(self._identity(one) for one in getattr(scheduler, "_schedulers", ()))
            self.emit(
                events.SchedulerBuilt,
                place,
                scheduler=self._identity(scheduler),
                kind=type(scheduler).__name__,
                optimizer=self._identity(optimizer),
                parts=parts,
            )

    def _scheduler_step(self, original: Any, scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        optimizer = getattr(scheduler, "optimizer", None)
        if self._elsewhere() or not isinstance(optimizer, torch.optim.Optimizer):
            return original(scheduler, *args, **kwargs)
        before, refusal = _rate(optimizer), ""
        try:
            with self._working():
                return original(scheduler, *args, **kwargs)
        except TypeError as error:
            refusal = str(error)
            raise
        finally:
            key = self._identity(optimizer)
            steps = self._steps.get(key, 0)
            self.emit(
                events.SchedulerStep,
                user_place(),
                scheduler=self._identity(scheduler),
                kind=type(scheduler).__name__,
                optimizer=key,
                steps=-1 if not steps and self._scaled is not None else steps,  # a scaler may have left steps out
                before=before,
                after=_rate(optimizer),
                refusal=refusal,
            )

    # ------------------------------------------------------------------------------------------------- devices, files

    def _convert(self, method: str, original: Any, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(tensor, *args, **kwargs)
        caller = sys._getframe(2)
        if self._elsewhere() or not is_users(caller.f_code.co_filename) or not isinstance(result, torch.Tensor):
            return result
        place = user_place(caller)
        count = self._moves[place.file, place.line] = self._moves.get((place.file, place.line), 0) + 1
        if count <= MOVES_PER_LINE:
            self.emit(
                events.Moved,
                place,
                method=method,
                before=_condition(tensor),
                after=_condition(result),
                discarded=discards(caller),
            )
        return result

    def _computing(self, method: str, original: Any) -> Any:
        calls, computed, here = self._calls, self._computed, sys._getframe

        def replacement(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            result = original(tensor, *args, **kwargs)
            caller = here(1)
            if (id(caller.f_code), caller.f_lasti) not in calls:
                computed(method, caller, tensor, result)
            return result

        return replacement

    def _computed(self, method: str, caller: FrameType, tensor: torch.Tensor, result: Any) -> None:
        self._calls[id(caller.f_code), caller.f_lasti] = caller.f_code
        if threading.get_ident() == self._thread and is_users(caller.f_code.co_filename):
            discarded = discards(caller)
            with self._working():
                differs = discarded and self._safely(_differs, tensor, result) is not False
            self.emit(events.Computed, user_place(caller), method=method, discarded=discarded, differs=differs)

    def _make(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(2)
        call = id(caller.f_code), caller.f_lasti
        if call not in self._calls and threading.get_ident() == self._thread and is_users(caller.f_code.co_filename):
            self._calls[call] = caller.f_code
            data = args[0] if args else None
            warned = self._safely(_warnings, original, data) if isinstance(data, torch.Tensor) else 0
            graph = isinstance(data, torch.Tensor) and data.requires_grad
            self.emit(events.TensorMade, user_place(caller), warned=warned or 0, graph=graph)
        return original(*args, **kwargs)

    def _switch(self, original: Any, manager: Any, mode: bool) -> None:
        original(manager, mode)
        caller = sys._getframe(2)
        if is_users(caller.f_code.co_filename) and discards(caller) and threading.get_ident() == self._thread:
            self.emit(events.GradSwitched, user_place(caller), enabled=bool(mode))

    def _pretended_error(self, message: str) -> None:
        """The pretended accelerator refuses something; inside a module the failing call tells of it."""
        if not self._elsewhere():
            place = user_place()
            self._announced = message
            self.emit(events.DeviceError, place, message=message, inner=place)

    def _failed(
        self, module: nn.Module, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any], error: RuntimeError
    ) -> None:
        message = str(error)
        if not DEVICE_ERROR.search(message) or message == self._announced:
            return
        self._announced = message
        inner = innermost_user(error.__traceback__)
        self.emit(
            events.DeviceError,
            place,
            message=message.splitlines()[0],
            parameters=tuple(sorted({str(p.device) for p in module.parameters()})),
            inputs=tuple(sorted({str(t.device) for t in tensors([args, kwargs]) if t.dim()})),
            inner=inner if inner.file else place,
        )

    def raised(self, error: BaseException) -> None:
        """The program ended with this exception."""
        place, message = innermost_user(error.__traceback__), str(error)
        if isinstance(error, RuntimeError) and DEVICE_ERROR.search(message) and message != self._announced:
            self.emit(events.DeviceError, place, message=message.splitlines()[0], inner=place)
        self.emit(events.Raised, place, kind=type(error).__name__, message=message[:2000])

    def _save(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        value, file = _given(args, kwargs, "obj", "f")
        start = 0
        with contextlib.suppress(AttributeError, OSError):  # a path, or a stream that has no position
            start = file.tell()
        result = original(*args, **kwargs)
        if self._elsewhere():
            return result
        has_module = any(isinstance(one, nn.Module) for one in _contents(value))
        methods = sum(isinstance(getattr(one, "__self__", None), _KEEPERS) for one in _contents(value))
        if not has_module and not methods and not any(isinstance(one, torch.Tensor) for one in _contents(value)):
            return result
        place = user_place()
        self._safely(self._use, value, place, -1)
        with self._working():
            refusal, needs = self._safely(_read_back, file, start) or (None, ())
            self.emit(
                events.Saved,
                place,
                kind=type(value).__name__,
                module=has_module,
                refusal=refusal,
                needs=needs,
                methods=methods,
                **self._safely(self._writes.note, file) or {},
            )
        return result

    # --------------------------------------------------------------------------------------------------------- states

    def _state_dict(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere():
            return original(module, *args, **kwargs)
        with self._working():  # it calls itself on every layer
            state = original(module, *args, **kwargs)
            self._safely(self._take, module, state, user_place())
        return state

    def _take(self, module: nn.Module, state: Any, place: Place) -> None:
        if not place.file or not isinstance(state, dict):
            return
        if len(self._states) > STATES:
            self._states = {key: one for key, one in self._states.items() if one.tensor() is not None}
        key = self._identity(module)
        for value in list(state.values())[: STATES - len(self._states)]:
            if isinstance(value, torch.Tensor) and not value.is_sparse:
                sample = local(value).detach().reshape(-1)[:SAMPLE].clone()
                kept = self._states[id(value)] = _Kept(weakref.ref(value), key, place, self._total_steps, sample)
                self._states_by_storage.put(value, kept)

    def _use(self, value: Any, place: Place, target: int) -> None:
        """A state may be in `value`: tells how far it has moved since it was taken."""
        found: dict[Place, list[_Kept]] = {}
        distances: dict[Place, float] = {}
        for one in _contents(value, 4):
            if not isinstance(one, torch.Tensor) or isinstance(one, nn.Parameter):
                continue
            taken = self._states.get(id(one))
            if taken is None or taken.tensor() is not one:
                taken = self._states_by_storage.get(one)  # a view of it
            if taken is None or taken.steps == self._total_steps or one.numel() < taken.sample.numel():
                continue
            now = local(one).detach().reshape(-1)[:SAMPLE].cpu().double()
            found.setdefault(taken.place, []).append(taken)
            distance = float((now - taken.sample.cpu().double()).norm())
            distances[taken.place] = max(distances.get(taken.place, 0.0), distance)
        for where, ones in found.items():
            self.emit(
                events.StateUsed,
                place,
                taken=where,
                loaded=target >= 0,
                own=ones[0].module == target,
                before=ones[0].steps,
                steps=self._total_steps - ones[0].steps,
                distance=distances[where],
            )

    def _load_state(self, original: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere():
            return original(target, *args, **kwargs)
        caller, place = sys._getframe(2), user_place()
        state = args[0] if args else kwargs.get("state_dict")
        key, module = self._identity(target), isinstance(target, nn.Module)
        self._safely(self._use, state, place, key)
        given = state if isinstance(state, dict) else {}
        files = [self._files.get(one) for one in _contents(given, 4) if isinstance(one, torch.Tensor)]
        values = {"target": key, "kind": type(target).__name__, "optimizer": not module, "keys": len(given)}
        values["file"] = max((n for n in files if n is not None), default=-1)
        values |= {"discarded": self._safely(discards, caller) or False, "own": 0, "missing": 0, "unexpected": 0}
        named = self._safely(overwritten, caller)
        values["replaced"] = named is target or (
            module and isinstance(named, nn.Module) and any(one is target for one in named.modules())
        )
        try:
            with self._working():
                result = original(target, *args, **kwargs)
                values["own"] = len(target.state_dict()) if module else 0
        except (TypeError, AttributeError) as error:
            if not isinstance(state, Mapping):
                self.emit(events.StateLoaded, place, **values, error=str(error)[:300])
            raise
        if module:
            self._claimed.update((id(parameter), weakref.ref(parameter)) for parameter in target.parameters())
        values["missing"] = len(getattr(result, "missing_keys", ()))
        values["unexpected"] = len(getattr(result, "unexpected_keys", ()))
        self.emit(events.StateLoaded, place, **values)
        return result

    def _read_file(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere():
            return original(*args, **kwargs)
        (file,) = _given(args, kwargs, "f")
        place, caller = user_place(), sys._getframe(2)
        weights_only = kwargs.get("weights_only")
        foreign = (self._safely(_foreign, file) or ()) if weights_only is False else ()
        values = {"weights_only": weights_only, "foreign": foreign, "refusal": "", "entries": (), "asked": ()}
        try:
            with self._working():
                result = original(*args, **kwargs)
        except Exception as error:
            if isinstance(error, (pickle.UnpicklingError, RuntimeError)):
                values["refusal"] = " ".join(str(error).split())[:300]
                self.emit(events.FileRead, place, **values)
            raise
        if isinstance(result, dict):
            entries = tuple(key for key in result if isinstance(key, str))[:64]
            constants = set(_constants(caller.f_code))
            values |= {"entries": entries, "asked": tuple(key for key in entries if key in constants)}
        number = self.emit(events.FileRead, place, **values)
        for one in _contents(result, 4):
            if isinstance(one, torch.Tensor):
                self._safely(self._files.put, one, number)
        return result

    def _move_module(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self._elsewhere() or "_parameters" not in module.__dict__:
            return original(module, *args, **kwargs)
        before = self._safely(_device, module)
        with self._working():
            result = original(module, *args, **kwargs)
        after = self._safely(_device, module)
        if before and after:
            self.emit(
                events.ModuleMoved,
                user_place(),
                module=self._identity(module),
                kind=type(module).__name__,
                before=before,
                after=after,
                training=module.training,
            )
        return result

    def _iterate(self, original: Any, loader: Any) -> Any:
        if not self._elsewhere():
            try:
                batches = len(loader)
            except TypeError:  # an iterable dataset has no length
                batches = -1
            self.emit(events.Iterated, user_place(), loader=self._identity(loader), batches=batches)
            self._batches.begins(loader)
            iterator = original(loader)
            self._batches.begun(iterator, loader)
            return iterator
        return original(loader)

    def _sample(self, original: Any, sampler: Any) -> Any:
        order = original(sampler)
        if sampler.shuffle and not self._elsewhere():
            self._safely(self._tell_order, sampler, order)
        return order

    def _tell_order(self, sampler: Any, order: Any) -> None:
        if type(order) is not type(iter([])):
            return  # looking at any other iterator would use it up
        first: tuple[Any, ...] = tuple(itertools.islice(copy.copy(order), ORDER))
        self.emit(
            events.SamplerRead,
            user_place(),
            sampler=self._identity(sampler),
            epoch=sampler.epoch,
            order=f"{zlib.crc32(repr(first).encode()):08x}",
            samples=len(sampler),
        )

    # -------------------------------------------------------------------------------------------------------- hooking

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Hooks into torch, and takes every hook out again at the end."""
        optimizer = torch.optim.Optimizer
        with contextlib.ExitStack() as undo:
            if self._pretended is not None:
                undo.enter_context(self._pretended.installed())
            for owner, name, hook in (
                (nn.Module, "__init__", self._module_init),
                (nn.Module, "__setattr__", self._set_on_module),
                (nn.Module, "register_buffer", self._register),
                (nn.Module, "register_parameter", self._register),
                (nn.Module, "add_module", self._register),
                (nn.Module, "train", self._train),
                (nn.Module, "requires_grad_", self._require),
                (warnings, "showwarning", self._warned),
                (nn.Module, "zero_grad", self._zero_grad),
                (nn.Module, "_apply", self._convert_all),
                *_distributed(self._wrap, self._all_reduce),
                (optimizer, "__init__", self._optimizer_init),
                (optimizer, "add_param_group", self._add_group),
                (optimizer, "zero_grad", self._zero_grad),
                (torch.autograd, "backward", self._backward),
                (torch.autograd, "grad", self._grad),
                (getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler), "scale", self._scale),
                (getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler), "step", self._scaler_step),
                *(
                    (owner, name, functools.partial(self._clip, "value" in name))
                    for owner in (torch.nn.utils, torch.nn.utils.clip_grad)
                    for name in ("clip_grad_norm_", "clip_grad_value_")
                ),
                (torch.set_grad_enabled, "__init__", self._switch),
                (torch, "tensor", self._make),
                (torch, "save", self._save),
                (torch, "load", self._read_file),
                (nn.Module, "state_dict", self._state_dict),
                (nn.Module, "load_state_dict", self._load_state),
                (optimizer, "load_state_dict", self._load_state),
                *((kind, "load_state_dict", self._load_state) for kind in _schedulers("load_state_dict")),
                *((nn.Module, name, self._move_module) for name in ("to", "cuda", "cpu")),
                (torch.utils.data.DataLoader, "__iter__", self._iterate),
                *self._batches.hooks(),
                (torch.utils.data.DistributedSampler, "__iter__", self._sample),
                *((kind, "__init__", self._scheduler_init) for kind in _schedulers("__init__")),
                *((kind, "step", self._scheduler_step) for kind in _schedulers("step")),
                *((torch.Tensor, name, functools.partial(self._convert, name)) for name in CONVERSIONS),
                *((functional, name, functools.partial(self._loss_function, name)) for name in FUNCTIONS),
                *((functional, name, functools.partial(self._softmax, name)) for name in SOFTMAXES),
                (*_SCRIPTING, self._script),
            ):
                undo.callback(_patch(owner, name, hook))
            hot: tuple[
                tuple[Any, str, Callable[[Any], Any]], ...
            ] = (  # what runs many times in each step is replaced without a detour
                (nn.Module, "__getattr__", self._getting),
                (nn.Module, "__call__", self._calling),
                (torch.Tensor, "__setattr__", self._setting),
                (functional, "linear", self._linear),
                *((torch.Tensor, name, functools.partial(self._computing, name)) for name in COMPUTATIONS),
            )
            for owner, name, make in hot:
                undo.callback(_replace(owner, name, make))
            for owner, name in (
                *((nn.Module, name) for name in ("eval", "train", "zero_grad")),
                (optimizer, "zero_grad"),
                (torch.Tensor, "backward"),
            ):
                undo.callback(_Fetch(self, owner, name).undo)
            self._undo = undo
            for handle in (
                module_hooks.register_module_parameter_registration_hook(self._registered_parameter),
                module_hooks.register_module_module_registration_hook(self._registered_module),
                register_optimizer_step_pre_hook(self._before_step),
                register_optimizer_step_post_hook(self._after_step),
            ):
                undo.callback(handle.remove)
            before, Recorder.active = Recorder.active, self
            undo.callback(setattr, Recorder, "active", before)
            yield


_KEEPERS = (nn.Module, torch.optim.Optimizer)


def _patch(owner: Any, name: str, hook: Any) -> Callable[[], None]:
    """Puts `hook(original, ...)` in place of `owner.name`; returns what takes it out again."""

    def make(original: Any) -> Any:
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return hook(original, *args, **kwargs)

        return replacement

    return _replace(owner, name, make)


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Puts `make(original)` in place of `owner.name`; returns what takes it out again."""
    own, original = name in vars(owner), getattr(owner, name)
    replacement = functools.wraps(original)(make(original))
    setattr(owner, name, replacement)
    if own:
        return lambda: setattr(owner, name, original)
    return lambda: delattr(owner, name)


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    """A few numbers of a parameter."""
    if parameter.layout is not torch.strided or isinstance(parameter, nn.UninitializedParameter):
        return torch.zeros(0)
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // 16)].to("cpu", copy=True)


def _weight(found: list[float], gradients: Any) -> None:
    gradient = gradients[0] if gradients else None
    if isinstance(gradient, torch.Tensor) and gradient.numel() == 1:
        found.append(abs(float(gradient)))


def _distributed(wrap: Any, all_reduce: Any) -> Iterator[tuple[Any, str, Any]]:
    """What there is to hook where torch has its distributed part."""
    if torch.distributed.is_available():
        yield nn.parallel.DistributedDataParallel, "__init__", wrap
        yield torch.distributed, "all_reduce", all_reduce


def _first(module: nn.Module) -> str:
    return next((f"{parameter.device} {parameter.dtype}" for parameter in module.parameters()), "")


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0].get("lr", 0.0)) if optimizer.param_groups else 0.0


_BUILT_ALONE = frozenset({"LRScheduler", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler"})  # no common ancestor


def _schedulers(method: str) -> Iterator[type]:
    """The scheduler classes of torch whose own `method` is to be hooked."""
    kinds = {id(kind): kind for kind in vars(torch.optim.lr_scheduler).values() if isinstance(kind, type)}
    for kind in kinds.values():
        if (
            method in vars(kind)
            and hasattr(kind, "get_last_lr")
            and (method == "step" or kind.__name__ in _BUILT_ALONE)
        ):
            yield kind


def count_used_up(given: Any) -> int:
    """How many iterators in what an optimizer is given have been run to their end before."""
    if isinstance(given, dict):
        return count_used_up(given.get("params"))
    if isinstance(given, (list, tuple)):
        return sum(count_used_up(one) for one in given if isinstance(one, dict))
    return int(_is_used_up(given))


def _is_used_up(iterator: Any) -> bool:
    if inspect.isgenerator(iterator):
        return inspect.getgeneratorstate(iterator) == inspect.GEN_CLOSED
    if isinstance(iterator, (filter, map)):
        return any(_is_used_up(one) for one in gc.get_referents(iterator))
    return isinstance(iterator, itertools.chain) and not gc.get_referents(iterator)


def _named(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, nn.Module):
        yield from value.named_parameters()
    elif isinstance(value, nn.Parameter):
        yield "", value


def _warnings(original: Any, data: torch.Tensor) -> int:
    """How often torch says that what it is given is a tensor already."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        original(data)
    return sum("copy construct" in str(one.message) for one in caught)


def _differs(tensor: torch.Tensor, result: Any) -> bool:
    if not isinstance(result, torch.Tensor) or tensor.shape != result.shape or tensor.stride() != result.stride():
        return True
    return not torch.equal(tensor, result)


def _condition(tensor: torch.Tensor) -> str:
    return f"{tensor.device} {tensor.dtype}" + (" with its graph" if tensor.grad_fn is not None else "")


def _first_state(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [one for one in itertools.islice(optimizer.state.values(), 1) if isinstance(one, dict)]


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], *names: str) -> list[Any]:
    """The first arguments of a call, which may be given by name."""
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _device(module: nn.Module) -> str:
    return next((str(one.device) for one in module.parameters()), "")


def _constants(code: Any) -> Iterator[str]:
    """The strings that a function names, in tuples too: the keys of a dictionary that is written out are one."""
    for one in code.co_consts:
        if isinstance(one, str):
            yield one
        elif isinstance(one, tuple):
            yield from (part for part in one if isinstance(part, str))


# Functions of the standard library that ordinary objects are restored with.
_RESTORING = ("builtins.getattr", "copyreg.", "_codecs.", "operator.", "collections.", "pathlib.", "numpy.", "torch.")


def _foreign(file: Any) -> tuple[str, ...]:
    """The functions that a file has called while it is read, those left out that ordinary objects are restored with."""
    if not isinstance(file, (str, os.PathLike)):
        file = getattr(file, "name", None)  # of a stream
    if not isinstance(file, (str, os.PathLike)):
        return ()
    found: list[str] = []
    with contextlib.suppress(Exception):  # only since torch 2.5, and only for files in its zip format
        for name in torch.serialization.get_unsafe_globals_in_checkpoint(file):
            owner, _, last = name.rpartition(".")
            thing = getattr(sys.modules.get(owner), last, None)
            if thing is not None and not isinstance(thing, type) and not name.startswith(_RESTORING):
                found.append(name)
    return tuple(sorted(found))


def _number(loss: Any) -> float | None:
    return float(loss.item()) if isinstance(loss, torch.Tensor) and loss.numel() == 1 else None


def _contents(value: Any, depth: int = 2) -> Iterator[Any]:
    yield value
    if depth and isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _contents(one, depth - 1)


def _read_back(file: Any, start: int) -> tuple[str | None, tuple[str, ...]]:
    """What a default `torch.load` of what was just written to `file` says, and the program's own names it hangs on.

    None for a file that cannot be read back without disturbing its writer.
    """
    if isinstance(file, io.BytesIO):
        content = file.getvalue()[start:]
    elif isinstance(file, (str, os.PathLike)):
        content = Path(file).read_bytes()
    elif not start and isinstance(name := getattr(file, "name", None), str) and Path(name).is_file():
        file.flush()
        content = Path(name).read_bytes()
    else:
        return None, ()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.load(io.BytesIO(content), map_location="cpu")
        return "", ()
    except Exception as error:  # whatever it is, it is the answer
        refusal = str(error)
    names: list[str] = []
    with contextlib.suppress(Exception):  # only since torch 2.5, and only for files in its zip format
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    said = re.search(r"Unsupported (?:global|class|operand)[^.]*\.\S*[^.]*", refusal)
    own = tuple(sorted(name for name in names if not name.startswith(("torch.", "collections.", "builtins."))))
    return said.group(0) if said else refusal.splitlines()[0][:300], own
