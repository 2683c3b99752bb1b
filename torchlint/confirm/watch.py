"""`torchlint.watch`: the trace and the rules' probes inside a program that is running anyway.

    with torchlint.watch(model, optimizer) as report:
        train(model, optimizer)
    print(report)

Unlike `torchlint confirm` it stays on for days: of every `every` steps it looks at a few in a row and lets the others
pass, it forgets what it has judged, and what it finds it says at once, as a warning that stands on the user's line.
"""

from __future__ import annotations

import contextlib
import linecache
import logging
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from torchlint import registry
from torchlint.confirm import claims, events, html, series
from torchlint.confirm.claims import Claims
from torchlint.confirm.events import Event, Place, Trace
from torchlint.confirm.harness import ConfirmError
from torchlint.confirm.match import Assessment, Sources, assess
from torchlint.confirm.motion import Motion
from torchlint.confirm.probe import Outcome
from torchlint.confirm.ranks import Ranks
from torchlint.confirm.result import AS_IS, Result, RuntimeOnly, Spot, Verdict
from torchlint.confirm.trace import Recorder

EVERY = 100
SAMPLE = 4  # steps in a row of each optimizer: stale gradients show at the second
START = 20  # of the first sample: most of what goes wrong does so at once
KEPT = 4_000  # events; more are thinned out
ALIKE = 20  # events of one kind and line that outlive the thinning
SHARE = 0.02  # of the program's time that judging may take


class TorchlintWarning(UserWarning):
    """A pitfall, confirmed in the running program."""


class Report:
    """What `torchlint.watch` has seen so far; complete when its block has ended."""

    def __init__(self, ignore: Collection[str] = (), named: frozenset[int] = frozenset()) -> None:
        self._rules = [r for r in registry.load() if r.probe is not None and r.name not in ignore]
        self._named = named  # models that the user spoke of
        self._home = Path.cwd()
        self._events: list[Event] = []
        self._first = 0  # number of the first event that was heard
        self._certain: dict[tuple[str, Spot], Verdict | RuntimeOnly] = {}  # harm whose events may be forgotten by now
        self._claims: dict[str, Claims] = {}
        self._assessed = (-1, Assessment((), ()))
        self._started = time.monotonic()
        self.steps = 0
        self.others: list[tuple[int, str]] = []  # on rank 0: what other ranks confirmed, in words

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What the run says to each finding of the linter in the files that took part in it."""
        return self._assess().verdicts

    @property
    def runtime_only(self) -> tuple[RuntimeOnly, ...]:
        """Pitfalls that only the run shows."""
        return self._assess().runtime_only

    @property
    def confirmed(self) -> list[Verdict | RuntimeOnly]:
        """Those of both that were measured to do harm; each has its `code`, its `spot` and its `number`."""
        return _harmed(self._assess())

    @property
    def trace(self) -> Trace:
        """The events that are kept, for probes of your own."""
        return Trace(list(self._events))

    @property
    def result(self) -> Result:
        """All of it as `torchlint confirm` has it: `to_json()` is its JSON."""
        trace, end = self.trace, self.trace.end
        status, device = (end.status, end.device) if end is not None else (0, _device())
        run = series.run_of(
            trace, self._sources(), name=AS_IS, status=status, cut="", seconds=time.monotonic() - self._started,
            device=device, seed=None,
        )  # fmt: skip
        notes = [f"Rank {rank}: {text}" for rank, text in self.others]
        if len(run.optimizers) and sum(len(one.steps) for one in run.optimizers) < self.steps:
            notes.append(f"Watched from inside: of {self.steps} steps these are samples.")
        files = tuple(self._shown(file) for file in self._files())
        program = (sys.argv[0] or "python",)
        return Result(torch.__version__, device, program, self.verdicts, self.runtime_only, (run,), files, tuple(notes))

    def html(self) -> str:
        """The page of `torchlint confirm --output-format html`."""
        return html.render(self.result)

    def __str__(self) -> str:
        lines = [_line(one) for one in self.confirmed] + [f"{text} (rank {rank})" for rank, text in self.others]
        harmless = sum(one.outcome is Outcome.HARMLESS for one in self.verdicts)
        count = {0: "no pitfall", 1: "1 pitfall"}.get(len(lines), f"{len(lines)} pitfalls")
        tail = f"{self.steps} steps watched, {count} confirmed"
        return "\n".join([*lines, tail + (f", {harmless} findings harmless here" if harmless else "")])

    def __repr__(self) -> str:
        return f"<torchlint report: {len(self.confirmed)} confirmed in {self.steps} steps>"

    def _hear(self, event: Event) -> None:
        if not self._events:
            self._first = event.number
        self._events.append(event)

    def _assess(self, before: float = math.inf) -> Assessment:
        """The verdicts; of forwards from number `before` on, only those that have served a backward count."""
        newest = self._events[-1].number if self._events else -1
        if before == math.inf and self._assessed[0] == newest:
            return self._assessed[1]
        trace = _settled(self._events, self._first, before, self._named)
        findings = [one for file in self._files() for one in self._claimed(file).findings]
        now = assess(trace, findings, self._rules, self._sources())
        for one in _harmed(now):
            self._certain.setdefault((one.code, one.spot), one)
        kept = Assessment(
            tuple(_known(self._certain.get((one.code, one.spot)), one) for one in now.verdicts),
            tuple(one for one in self._certain.values() if isinstance(one, RuntimeOnly)),
        )
        if before == math.inf:
            self._assessed = (newest, kept)
        return kept

    def _suspects(self, before: float) -> bool:
        """Whether any rule measures harm: then it pays to lint the files and assess it."""
        trace = _settled(self._events, self._first, before, self._named)
        return any(one.harmed for rule in self._rules if rule.probe is not None for one in rule.probe(trace))

    def _files(self) -> list[str]:
        return list(dict.fromkeys(one.place.file for one in self._events if one.place.file))

    def _claimed(self, file: str) -> Claims:
        """What the linter says of a file, as it is when it is first asked; cells of a notebook are in linecache."""
        if file not in self._claims:
            data = "".join(linecache.getlines(file)).encode()
            try:
                self._claims[file] = claims.lint({file: data}, [rule.name for rule in self._rules])
            except ConfirmError:  # a configuration that cannot be read: then the run speaks for itself
                self._claims[file] = Claims({file: data.decode()}, self._rules)
        return self._claims[file]

    def _sources(self) -> Sources:
        texts = {name: text for file in self._files() for name, text in self._claimed(file).texts.items()}
        return Sources(texts, self._shown)

    def _shown(self, file: str) -> str:
        path = Path(file)
        return str(path.relative_to(self._home)) if path.is_relative_to(self._home) else file

    def _thin_out(self) -> None:
        """Forgets most of what was judged, once there is much of it."""
        if len(self._events) > KEPT:
            self._assess(self._events[-1].number)
            self._events = _thinned(self._events)


@contextlib.contextmanager
def watch(
    *things: nn.Module | torch.optim.Optimizer,
    every: int = EVERY,
    ignore: Collection[str] = (),
    warn: bool = True,
    logger: logging.Logger | None = None,
) -> Iterator[Report]:
    """Watches the training in its block for pitfalls and yields the report, which fills as the block goes on.

    `things` are models and optimizers that were built before; those built in the block are known anyway. Of every
    `every` steps a few are looked at: 1 looks at all. Rules named in `ignore` are left out, as are lines with a
    `# torchlint: ignore[rule]` comment. What is confirmed is told once for each line, by a `TorchlintWarning`, or to
    `logger` if there is one; not at all with `warn=False`. In a distributed program only rank 0 speaks, for all.

    Nothing that the program computes changes, and every hook is gone when the block ends, however it ends. Blocks may
    be nested. Raises TypeError for a thing that is neither, ValueError for an unknown rule or an `every` under 1,
    RuntimeError when another thread is being watched.
    """
    ignore = _checked(ignore)
    for thing in things:
        if not isinstance(thing, (nn.Module, torch.optim.Optimizer)):
            raise TypeError(
                f"torchlint.watch takes models and optimizers, not {type(thing).__name__}: "
                "with torchlint.watch(model, optimizer) as report:"
            )
    if every < 1:
        raise ValueError(f"every={every}: look at some of every 1 or more steps")
    outer = Recorder.active
    if outer is not None and outer.thread != threading.get_ident():
        raise RuntimeError("torchlint is watching another thread: end that watch first, one thread can be watched")
    recorder = outer if outer is not None else Recorder(lambda event: None, limit=math.inf)
    named = frozenset(recorder.know(thing) for thing in things if isinstance(thing, nn.Module))
    for thing in things:
        recorder.know(thing)
    report = Report(ignore, named)
    watcher = _Watcher(report, recorder, every, warn, logger)
    try:
        with contextlib.ExitStack() as undo:
            if outer is None:
                undo.enter_context(recorder.installed())
                recorder.rest()  # its steps are wanted by the watcher only
            undo.enter_context(watcher.listening())
            yield report
    except BaseException:
        with contextlib.suppress(TorchlintWarning):  # made an error by a filter; the program's own goes first
            watcher.finish(status=1)
        raise
    watcher.finish(status=0)


class _Watcher:
    """Chooses the steps to look at, and says what the report confirms."""

    _count = 0

    def __init__(
        self, report: Report, recorder: Recorder, every: int, warn: bool, logger: logging.Logger | None
    ) -> None:
        _Watcher._count += 1
        self._report, self._recorder, self._every = report, recorder, every
        self._warn, self._logger = warn, logger
        self._process = os.getpid()
        self._ranks = Ranks(_Watcher._count)
        self._told: set[tuple[str, Spot]] = set()
        self._optimizers: set[int] = set()
        self._awake = True
        self._began = 0  # step at which the sample or the pause began
        self._length = START
        self._settled = 0.0  # number of the event before which every forward has had its backward
        self._started, self._spent = time.monotonic(), 0.0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears the recorder's events, and counts steps."""
        with contextlib.ExitStack() as undo:
            motion = Motion(self._recorder)
            for listener in (self._report._hear, motion):
                self._recorder.listeners.append(listener)
                undo.callback(self._recorder.listeners.remove, listener)
            undo.callback(lambda: motion.tell(self._recorder.steps))
            self._ranks.say([])
            self._recorder.wake()
            undo.callback(lambda: self._recorder.rest() if self._awake else None)
            undo.callback(register_optimizer_step_post_hook(self._stepped).remove)
            yield

    def _stepped(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if threading.get_ident() != self._recorder.thread or os.getpid() != self._process:
            return
        if not self._report.steps:
            self._ranks.say([])  # the group may be new
        self._report.steps += 1
        self._optimizers.add(id(optimizer))
        if self._report.steps - self._began < self._length * len(self._optimizers):
            return
        self._began = self._report.steps
        sample = min(SAMPLE, self._every)
        if self._awake:
            if self._every > sample:
                self._recorder.rest()
                self._awake = False
            self._length = max(self._every - sample, sample)
            self._look()
        else:
            self._recorder.wake()
            self._awake, self._length = True, sample

    def _look(self) -> None:
        """Judges what is settled, if there was time enough for it."""
        now = time.monotonic()
        if self._spent > SHARE * (now - self._started):
            return
        report, before = self._report, self._settled
        self._settled = report._events[-1].number + 1 if report._events else 0
        found = _harmed(report._assess(before)) if report._suspects(before) else []
        report._thin_out()
        self._spent += time.monotonic() - now
        self._tell(found)

    def finish(self, status: int) -> None:
        """The last judgement, when the hooks are out again. `status` 1: the block ended by an exception."""
        report = self._report
        number = report._events[-1].number + 1 if report._events else 0
        report._hear(events.Ended(number, Place(), status, device=_device(), torch=torch.__version__))
        self._tell(report.confirmed if report._certain or report._suspects(math.inf) else [], last=True)

    def _tell(self, found: list[Verdict | RuntimeOnly], last: bool = False) -> None:
        news = [one for one in found if (one.code, one.spot) not in self._told]
        self._told.update((one.code, one.spot) for one in news)
        if not self._ranks.speaks:
            self._ranks.say([_line(one) for one in news], last)
            return
        own = tuple(f"{one.spot}: {one.code}:" for one in found)  # what all ranks do is told once
        heard = [(rank, text) for rank, text in self._ranks.hear(last) if not text.startswith(own)]
        self._report.others.extend(heard)
        if not self._warn:
            return
        for one in news:
            self._say(f"{one.code}: {_message(one)}", one.spot)
        for rank, text in heard:
            self._say(f"{text} (rank {rank})", None)

    def _say(self, text: str, spot: Spot | None) -> None:
        if self._logger is not None:
            self._logger.warning("%s", f"{spot}: {text}" if spot is not None else text)
        elif spot is None:
            warnings.warn(text, TorchlintWarning, stacklevel=2)
        else:
            known = Path(spot.filename).is_absolute() or spot.filename.startswith("<")
            file = spot.filename if known else str(self._report._home / spot.filename)
            warnings.warn_explicit(text, TorchlintWarning, file, spot.row)


# ------------------------------------------------------------------------------------------------------ small functions


def _checked(ignore: Collection[str]) -> Collection[str]:
    known = registry.by_name()
    names = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    for name in names:
        if name not in known:
            raise ValueError(f"unknown rule {name!r}{registry.nearest(name, known)}; `torchlint rules` lists them")
    return names


def _harmed(found: Assessment) -> list[Verdict | RuntimeOnly]:
    return [*(one for one in found.verdicts if one.outcome is Outcome.CONFIRMED), *found.runtime_only]


def _known(before: Verdict | RuntimeOnly | None, now: Verdict) -> Verdict:
    return before if isinstance(before, Verdict) else now


def _message(one: Verdict | RuntimeOnly) -> str:
    return one.number.message if one.number is not None else ""


def _line(one: Verdict | RuntimeOnly) -> str:
    return f"{one.spot}: {one.code}: {_message(one)}"


def _device() -> str:
    cuda: Any = torch.cuda
    return str(cuda.get_device_name()) if cuda.is_initialized() else "cpu"


def _settled(happened: list[Event], first: int, before: float, named: frozenset[int]) -> Trace:
    """The part of a trace that can be judged while the program goes on.

    A forward that no backward has used yet may still be used; and it is a prediction only of a model that is seen to
    be trained, or that the user named: who calls a model once, to look at a shape, has no pitfall.
    """
    trace = Trace(happened)
    used = trace.used_for_gradients()
    forwards = list(trace.of(events.Forward))
    trained = {one.module for one in forwards if one.number in used} | named
    waiting = {one.number for one in forwards if one.number not in used}
    waiting -= {one.number for one in forwards if one.module in trained and one.number < before}
    return Trace([one for one in happened if one.number not in waiting and not _headless(one, first)])


def _headless(event: Event, first: int) -> bool:
    """A step whose backward came before the watch began."""
    return isinstance(event, events.OptimizerStep) and 0 <= event.backward < first


def _thinned(happened: list[Event]) -> list[Event]:
    """The later half of the events, and of the earlier ones the first few from each line.

    A forward that is kept keeps what it fed and the backward that used it, and a step its backward: a probe must not
    miss what did happen.
    """
    recent = happened[len(happened) // 2].number
    counts: dict[tuple[Any, ...], int] = {}
    kept: set[int] = set()
    for one in happened:
        key = (type(one), one.place, isinstance(one, events.Forward) and one.training)
        counts[key] = counts.get(key, 0) + 1
        linked = (isinstance(one, events.Forward) and not kept.isdisjoint(one.fed_by)) or (
            isinstance(one, events.Backward) and not kept.isdisjoint(one.forwards)
        )
        if one.number >= recent or counts[key] <= ALIKE or linked:
            kept.add(one.number)
    kept |= {one.backward for one in happened if isinstance(one, events.OptimizerStep) and one.number in kept}
    return [one for one in happened if one.number in kept]
