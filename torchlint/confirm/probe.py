"""What a rule's `probe` measures in a trace, and the verdict that follows.

A probe yields one `Measurement` for each place where the pitfall could have struck in this run, harmed or not. None at
all means that the run never came to such a place: nothing is said then, in either direction.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from torchlint.confirm.events import Place, Trace

Probe = Callable[[Trace], Iterable["Measurement"]]


@dataclass(slots=True, frozen=True)
class Measurement:
    """A number that was measured, beside the one that a healthy program gives."""

    what: str  # "gradients in .grad when the optimizer steps"
    value: float
    expected: float
    unit: str  # "steps' worth"
    harmed: bool
    place: Place
    message: str  # one sentence for the user
    also: tuple[Place, ...] = ()  # other lines that it speaks of


class Outcome(enum.Enum):
    """What a run says about a claim."""

    CONFIRMED = "confirmed"
    HARMLESS = "harmless"
    NOT_REACHED = "not-reached"


@dataclass(slots=True, frozen=True)
class Verdict:
    """A rule, as one run shows it. `measurement` is the one that decided: a harmed one where there is one."""

    rule: str
    outcome: Outcome
    measurement: Measurement | None = None
    measurements: tuple[Measurement, ...] = field(default=(), repr=False)


def judge(rule: str, probe: Probe, trace: Trace) -> Verdict:
    """Lets the probe of a rule look at a trace."""
    found = tuple(_each(probe(trace)))
    harmed = [one for one in found if one.harmed]
    if harmed:
        return Verdict(rule, Outcome.CONFIRMED, harmed[0], found)
    if found:
        return Verdict(rule, Outcome.HARMLESS, found[0], found)
    return Verdict(rule, Outcome.NOT_REACHED)


def _each(measurements: Iterable[Measurement]) -> Iterator[Measurement]:
    """Each place once, at its worst: a line in a loop is measured every time it runs."""
    worst: dict[tuple[Place, str], Measurement] = {}
    for one in measurements:
        before = worst.get((one.place, one.what))
        if before is None or (one.harmed and not before.harmed):
            worst[one.place, one.what] = one
    yield from worst.values()
