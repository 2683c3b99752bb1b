"""`torchlint.watch`: the trace and the rules' probes inside a program that is running anyway.

    with torchlint.watch(model, optimizer) as report:
        train(model, optimizer)
    print(report)

Unlike `torchlint confirm` it stays on for days: of every `every` steps it looks at a few in a row and lets the others
pass, it forgets what it has judged, and what it finds it says at once, as a warning that stands on the user's line.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import logging
import math
import os
import threading
import time
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from torchlint import registry, suppress
from torchlint.confirm import events
from torchlint.confirm.events import Event, Place, Trace
from torchlint.confirm.frames import user_place
from torchlint.confirm.probe import Measurement, Outcome, Verdict, judge
from torchlint.confirm.ranks import Ranks
from torchlint.confirm.trace import Recorder
from torchlint.diagnostic import Diagnostic, Severity, Span
from torchlint.rule import Rule
from torchlint.source import Source

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

    def __init__(self, rules: list[Rule], named: frozenset[int] = frozenset()) -> None:
        self._rules = rules
        self._named = named  # models that the user spoke of
        self._events: list[Event] = []
        self._certain: dict[tuple[str, Place, str], Measurement] = {}  # harm whose events have been thinned out
        self._first = 0  # number of the first event that was heard
        self.steps = 0
        self.others: list[tuple[int, str]] = []  # on rank 0: what other ranks confirmed, in words

    @property
    def verdicts(self) -> list[Verdict]:
        """One for each rule: confirmed, harmless here, or not reached."""
        return self._judge()

    @property
    def confirmed(self) -> list[Verdict]:
        """The verdicts of the rules whose harm was measured."""
        return [verdict for verdict in self._judge() if verdict.outcome is Outcome.CONFIRMED]

    @property
    def trace(self) -> Trace:
        """The events that are kept, for probes of your own."""
        return Trace(list(self._events))

    def __str__(self) -> str:
        found = [_line(verdict.rule, one) for verdict in self.confirmed for one in verdict.measurements if one.harmed]
        found += [f"{text} (rank {rank})" for rank, text in self.others]
        harmless = sum(verdict.outcome is Outcome.HARMLESS for verdict in self._judge())
        tail = f"{self.steps} steps watched; {len(found)} confirmed, {harmless} rules measured harmless here"
        return "\n".join([*found, tail])

    def __repr__(self) -> str:
        return f"<torchlint report: {self.steps} steps, {len(self.confirmed)} rules confirmed>"

    def _hear(self, event: Event) -> None:
        if not self._events and not self._certain:
            self._first = event.number
        self._events.append(event)

    def _judge(self, before: float = math.inf) -> list[Verdict]:
        """The verdicts; of forwards from number `before` on, only those that have served a backward count."""
        trace = _settled(self._events, self._first, before, self._named)
        verdicts = []
        for rule in self._rules:
            assert rule.probe is not None
            found = {(one.place, one.what): one for one in judge(rule.name, rule.probe, trace).measurements}
            found |= {key[1:]: one for key, one in self._certain.items() if key[0] == rule.name}
            verdicts.append(_verdict(rule.name, [one for one in found.values() if not _excused(rule.name, one)]))
        return verdicts

    def _thin_out(self, verdicts: list[Verdict]) -> None:
        """Forgets most of what was judged, once there is much of it."""
        if len(self._events) <= KEPT:
            return
        for verdict in verdicts:
            for one in verdict.measurements:
                if one.harmed:
                    self._certain.setdefault((verdict.rule, one.place, one.what), one)
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
    rules = _rules(ignore)
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
    report = Report(rules, named)
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
        self._told: set[tuple[str, str, int]] = set()
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
            self._recorder.listeners.append(self._report._hear)
            undo.callback(self._recorder.listeners.remove, self._report._hear)
            self._recorder.wake()
            undo.callback(lambda: self._recorder.rest() if self._awake else None)
            undo.callback(register_optimizer_step_post_hook(self._stepped).remove)
            yield

    def _stepped(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if threading.get_ident() != self._recorder.thread or os.getpid() != self._process:
            return
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
        verdicts = self._report._judge(self._settled)
        self._settled = self._report._events[-1].number + 1 if self._report._events else 0
        self._report._thin_out(verdicts)
        self._spent += time.monotonic() - now
        self._tell(verdicts)

    def finish(self, status: int) -> None:
        """The last judgement, when the hooks are out again. `status` 1: the block ended by an exception."""
        report = self._report
        number = report._events[-1].number + 1 if report._events else 0
        report._hear(events.Ended(number, Place(), status, torch=torch.__version__))
        self._tell(report._judge(), last=True)

    def _tell(self, verdicts: list[Verdict], last: bool = False) -> None:
        news = []
        for verdict in verdicts:
            for one in verdict.measurements:
                key = (verdict.rule, one.place.file, one.place.line)
                if one.harmed and key not in self._told:
                    self._told.add(key)
                    news.append((verdict.rule, one))
        if not self._ranks.speaks:
            words = [{"rule": rule, "place": str(one.place), "message": one.message} for rule, one in news]
            self._ranks.say(words, last)
            return
        heard = [(rank, f"{word['place']}: {word['rule']}: {word['message']}") for rank, word in self._ranks.hear(last)]
        self._report.others.extend(heard)
        if not self._warn:
            return
        for rule, one in news:
            self._say(f"{rule}: {one.message}", one.place)
        for rank, text in heard:
            self._say(f"{text} (rank {rank})", None)

    def _say(self, text: str, place: Place | None) -> None:
        if self._logger is not None:
            self._logger.warning("%s", f"{place}: {text}" if place is not None else text)
        else:
            here = place if place is not None and place.file else user_place()
            warnings.warn_explicit(text, TorchlintWarning, here.file or "torchlint", here.line)


# ------------------------------------------------------------------------------------------------------ small functions


def _rules(ignore: Collection[str]) -> list[Rule]:
    known = registry.by_name()
    for name in (ignore,) if isinstance(ignore, str) else ignore:
        if name not in known:
            raise ValueError(f"unknown rule {name!r}{registry.nearest(name, known)}; `torchlint rules` lists them")
    return [rule for rule in known.values() if rule.probe is not None and rule.name not in ignore]


def _verdict(rule: str, found: list[Measurement]) -> Verdict:
    harmed = [one for one in found if one.harmed]
    if not found:
        return Verdict(rule, Outcome.NOT_REACHED)
    outcome = Outcome.CONFIRMED if harmed else Outcome.HARMLESS
    return Verdict(rule, outcome, (harmed or found)[0], tuple(found))


def _line(rule: str, one: Measurement) -> str:
    return f"{one.place}: {rule}: {one.message}"


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


def _excused(rule: str, one: Measurement) -> bool:
    return one.harmed and _suppressed(rule, one.place.file, one.place.line)


@functools.lru_cache(maxsize=512)
def _suppressed(rule: str, file: str, line: int) -> bool:
    """Whether a comment in the source suppresses this rule there; notebook cells are in linecache."""
    source = Source(file, "".join(linecache.getlines(file)).encode())
    span = Span(line, 1, line, 1)
    finding = Diagnostic(rule, "", Severity.ERROR, "", file, span, statement_row=line, statement_end_row=line)
    return not suppress.apply(source, [finding], registry.by_name(), (), ())
