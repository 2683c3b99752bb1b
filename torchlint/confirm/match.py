"""What a run says to each finding, and what it shows that no finding speaks of.

A measurement speaks of the finding that it stands nearest to: on its line, on a line that led there, on one of its
related lines, else in its function. A harmed measurement that is nearest to another finding says nothing of this one.
"""

from __future__ import annotations

import ast
import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torchlint.confirm import events, intent
from torchlint.confirm.events import Place, Trace
from torchlint.confirm.probe import Measurement, Outcome, judge
from torchlint.confirm.result import Number, RuntimeOnly, Spot, Verdict
from torchlint.diagnostic import Diagnostic
from torchlint.rule import Rule

Name = Callable[[str], str]

ON_IT, LED_TO, RELATED, SAME_FUNCTION, CALLED_FROM = range(5)


class Sources:
    """The text of the project's files, by the name that Python has for them; `name` gives the one that reports show."""

    def __init__(self, texts: Mapping[str, str], name: Name = str) -> None:
        self.texts = texts
        self._name = name
        self._rows: dict[str, list[str]] = {}
        self._scopes: dict[str, list[tuple[int, int]]] = {}

    def spot(self, file: str, row: int, column: int = 1, end_row: int = 0, end_column: int = 0) -> Spot:
        """A line as a report shows it."""
        return Spot(self._name(file), row, column, end_row or row, end_column or column, self.line(file, row))

    def place(self, place: Place) -> Spot | None:
        """The line of a place, None when it is nowhere in the user's code."""
        return self.spot(place.file, place.line) if place.file else None

    def line(self, file: str, row: int) -> str:
        """The text of a line, "" when there is none."""
        rows = self._rows.get(file)
        if rows is None:
            rows = self._rows[file] = self.texts.get(file, "").splitlines()
        return rows[row - 1].rstrip() if 0 < row <= len(rows) else ""

    def scope(self, file: str, row: int) -> tuple[int, int] | None:
        """First and last row of the innermost function around a row; None for the module's own body."""
        if file not in self._scopes:
            self._scopes[file] = sorted(_functions(self.texts.get(file, "")))
        scopes = self._scopes[file]
        inside = [one for one in scopes[: bisect.bisect(scopes, (row + 1,))] if one[0] <= row <= one[1]]
        return max(inside) if inside else None


def _functions(text: str) -> Iterator[tuple[int, int]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            first = min((one.lineno for one in getattr(node, "decorator_list", ())), default=node.lineno)
            yield first, node.end_lineno or node.lineno


@dataclass(slots=True, frozen=True)
class Assessment:
    """What one trace says."""

    verdicts: tuple[Verdict, ...]
    runtime_only: tuple[RuntimeOnly, ...]


def assess(trace: Trace, findings: Sequence[Diagnostic], rules: Iterable[Rule], sources: Sources) -> Assessment:
    """The verdict on each finding, in their order, and what only the run showed.

    `findings` name their files as the trace does. Rules without a probe leave their findings not reached.
    """
    verdicts: dict[int, Verdict] = {}
    shown: list[RuntimeOnly] = []
    for rule in rules:
        mine = [(n, one) for n, one in enumerate(findings) if one.code == rule.name]
        measured = judge(rule.name, rule.probe, trace).measurements if rule.probe is not None else ()
        nearest: dict[int, list[tuple[int, Measurement]]] = {n: [] for n, _ in mine}
        for one in measured:
            distances = {n: d for n, finding in mine if (d := distance(one, finding, sources)) is not None}
            best = min(distances.values(), default=None)
            for n, far in distances.items():
                if far == best:
                    nearest[n].append((far, one))
            if one.harmed and best is None and intent.unmeant(rule.name, one, trace, sources.texts):
                shown.append(_only(rule.name, one, sources))
        for n, finding in mine:
            verdicts[n] = _verdict(finding, nearest[n], sources)
    ordered = tuple(verdicts.get(n) or _verdict(one, [], sources) for n, one in enumerate(findings))
    return Assessment(ordered, tuple(_once(_not_explained(shown, ordered))))


def distance(one: Measurement, finding: Diagnostic, sources: Sources) -> int | None:
    """How far what was measured is from a finding; None when it says nothing of it."""
    frames = [(one.place.file, one.place.line), *one.place.callers]
    on_it = range(
        min(finding.span.row, finding.statement_row or finding.span.row),
        max(finding.span.row, finding.statement_end_row) + 1,
    )
    for far, (file, row) in enumerate(frames):
        if file == finding.filename and row in on_it:
            return min(far, LED_TO)
    if any(place.file == finding.filename and place.line in on_it for place in one.also):
        return RELATED
    if any((other.filename, other.span.row) == frame for other in finding.related for frame in frames):
        return RELATED
    scope = sources.scope(finding.filename, finding.span.row)
    for far, (file, row) in enumerate(frames):
        if file == finding.filename and scope == sources.scope(file, row):
            if not far:
                return SAME_FUNCTION
            if scope is not None:
                return CALLED_FROM
    return None


def _verdict(finding: Diagnostic, near: list[tuple[int, Measurement]], sources: Sources) -> Verdict:
    span = finding.span
    spot = sources.spot(finding.filename, span.row, span.column, span.end_row, span.end_column)
    # The harmed one that is nearest; what was measured on the line itself outweighs harm done elsewhere.
    near.sort(key=lambda pair: (pair[0], not pair[1].harmed))
    exact = [pair for pair in near if pair[0] <= RELATED] or near
    decisive = next((one for _, one in exact if one.harmed), exact[0][1] if exact else None)
    outcome = Outcome.NOT_REACHED
    if decisive is not None:
        outcome = Outcome.CONFIRMED if decisive.harmed else Outcome.HARMLESS
    return Verdict(
        finding.code,
        spot,
        finding.message,
        finding.consequence,
        outcome,
        number(decisive, sources) if decisive is not None else None,
        finding.fix is not None,
    )


def number(one: Measurement, sources: Sources) -> Number:
    """A measurement as reports show it."""
    return Number(one.what, one.value, one.expected, one.unit, one.message, sources.place(one.place))


def _only(code: str, one: Measurement, sources: Sources) -> RuntimeOnly:
    return RuntimeOnly(code, sources.spot(one.place.file, one.place.line), number(one, sources))


_DEVICES = frozenset({"device-mismatch", "tensor-without-device", "tensor-move-discarded"})


# Rules whose measurements are of one and the same error; where none has a finding, the first may speak of it.
_ONE_ERROR = ("detached-loss", "non-differentiable-loss")


def _not_explained(shown: Iterable[RuntimeOnly], verdicts: Iterable[Verdict]) -> Iterator[RuntimeOnly]:
    """Without the errors that a confirmed finding leads to: what was not moved meets what was."""
    explained = any(one.code in _DEVICES and one.outcome is Outcome.CONFIRMED for one in verdicts)
    lossy = any(one.code in _ONE_ERROR and one.outcome is Outcome.CONFIRMED for one in verdicts)
    hidden = {*(_DEVICES if explained else ()), *(_ONE_ERROR if lossy else _ONE_ERROR[1:])}
    return (one for one in shown if one.code not in hidden)


def _once(shown: Iterable[RuntimeOnly]) -> Iterator[RuntimeOnly]:
    """Each rule and line once: other ways that led there say the same."""
    seen: set[tuple[str, str, int]] = set()
    for one in shown:
        key = (one.code, one.spot.filename, one.spot.row)
        if key not in seen:
            seen.add(key)
            yield one


def steps(trace: Trace) -> int:
    """How many optimizer steps a run took."""
    return sum(1 for _ in trace.of(events.OptimizerStep))
