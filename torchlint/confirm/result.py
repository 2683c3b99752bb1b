"""What `torchlint confirm PROGRAM` found out: everything that a report shows, as plain data. No torch here.

For whoever builds on this: `program.prove(request)` makes one `Result`; `match.assess(trace, findings, ...)` makes the
verdicts and the `runtime_only` of any `Trace` (one of `torchlint.watch` too) and `series.run_of(trace, ...)` the run.
A renderer (`html.render(result) -> str`, `report.program`, `Result.to_json`) reads a `Result` and nothing else.
With `--compare-fix` there are two `ProgramRun`s, `as is` first, and each verdict has a `fixed` measurement; otherwise
there is one, and `fixed` is None. All numbers may be missing (None): a killed program leaves what it had written.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from torchlint.confirm.probe import Outcome

AS_IS, FIXED = "as is", "fixed"


@dataclass(slots=True, frozen=True)
class Spot:
    """A line of the user's source, 1-based, and its text, indented ("" where it cannot be read)."""

    filename: str  # relative to the folder that torchlint was called in, where it is below it
    row: int
    column: int = 1
    end_row: int = 0
    end_column: int = 0
    source: str = ""

    def __str__(self) -> str:
        return f"{self.filename}:{self.row}"

    def location(self) -> dict[str, int]:
        return {"row": self.row, "column": self.column}


@dataclass(slots=True, frozen=True)
class Number:
    """A measured number beside the one that a healthy program gives, and where it was measured."""

    measure: str  # "steps' gradients in .grad"
    value: float
    expected: float
    unit: str  # "steps' worth"
    message: str  # one sentence with the numbers in it
    spot: Spot | None = None


@dataclass(slots=True, frozen=True)
class Verdict:
    """One finding of the linter and what the run says to it."""

    code: str
    spot: Spot  # where the finding is
    claim: str  # the finding's own message
    consequence: str  # what it says will follow
    outcome: Outcome  # CONFIRMED, HARMLESS ("harmless here"), NOT_REACHED
    number: Number | None = None  # None when not reached
    fixable: bool = False
    fixed: Number | None = None  # the same measure after torchlint's fixes, with --compare-fix
    fixed_outcome: Outcome | None = None  # CONFIRMED: still harmed; HARMLESS: mended; NOT_REACHED; None: not compared

    @property
    def message(self) -> str:
        """What the run said, else why it said nothing."""
        if self.number is not None:
            return self.number.message
        return "the run never measured anything here"


@dataclass(slots=True, frozen=True)
class RuntimeOnly:
    """A pitfall that the run showed and the linter did not."""

    code: str
    spot: Spot
    number: Number


@dataclass(slots=True, frozen=True)
class Step:
    """One step of one optimizer."""

    step: int  # of this optimizer, from 1
    loss: float | None  # mean of the losses whose backward came since its last step
    ratio: float  # `.grad` by what was delivered for this step: 1 is right (missing zero_grad: 2, 3, 4, ...)
    worth: int  # steps' gradients in the worst `.grad`: 1 is right
    stale: int  # parameters with stale gradients
    gradients: int  # parameters with a gradient


@dataclass(slots=True, frozen=True)
class Series:
    """The steps of one optimizer, in order."""

    optimizer: int  # 1, 2, ... in the order of their first step
    kind: str  # "SGD"
    spot: Spot | None  # where it steps
    steps: tuple[Step, ...]

    @property
    def losses(self) -> list[float | None]:
        return [one.loss for one in self.steps]


@dataclass(slots=True, frozen=True)
class Unmoved:
    """A parameter of a trained model that no step moved."""

    name: str  # "Net.fc1.weight"
    elements: int
    frozen: bool  # requires_grad is False: meant
    held: bool  # some optimizer has it
    gradient: bool  # it has one


@dataclass(slots=True, frozen=True)
class Pass:
    """A forward pass that was run a second time, on a copy, with the same input."""

    kind: str  # the model's class
    spot: Spot
    training: bool  # the model's mode
    inference: bool  # no backward used the output
    difference: float  # the largest difference between the two outputs: 0 is right for inference
    scale: float  # largest magnitude in the output
    moved: float  # how far the pass moved running statistics


@dataclass(slots=True, frozen=True)
class ProgramRun:
    """One run of the program."""

    name: str  # AS_IS or FIXED
    status: int | None  # the program's own; negative: the signal that ended it; None: killed at the time limit
    ended: str  # "itself", "step-limit", "time-limit", "interrupted", "failed", "killed"
    seconds: float
    device: str
    seed: int | None
    events: int
    optimizers: tuple[Series, ...] = ()
    parameters: int | None = None  # of the trained models, None when none was looked at
    unmoved: tuple[Unmoved, ...] = ()  # a healthy program has only frozen ones here
    passes: tuple[Pass, ...] = ()
    error: str = ""  # "ValueError: ..." that ended it
    error_spot: Spot | None = None

    @property
    def steps(self) -> int:
        return sum(len(one.steps) for one in self.optimizers)


@dataclass(slots=True, frozen=True)
class Result:
    """The whole outcome."""

    torch: str
    device: str
    program: tuple[str, ...]  # ("train.py", "--epochs", "2") or ("-m", "pytest", "tests")
    verdicts: tuple[Verdict, ...]
    runtime_only: tuple[RuntimeOnly, ...]
    runs: tuple[ProgramRun, ...]
    files: tuple[str, ...] = ()  # the project's files that the program loaded and torchlint linted
    notes: tuple[str, ...] = ()  # plain sentences: what limits the evidence, what was not seen

    @property
    def confirmed(self) -> list[Verdict]:
        return self.of(Outcome.CONFIRMED)

    def of(self, outcome: Outcome) -> list[Verdict]:
        return [one for one in self.verdicts if one.outcome is outcome]

    @property
    def exit_status(self) -> int:
        """1: something is confirmed; else what became of the program: its own status, 0 when torchlint ended it."""
        if self.confirmed or self.runtime_only:
            return 1
        run = self.runs[0]
        if run.ended in ("step-limit", "time-limit", "itself"):
            return 0
        if run.ended == "interrupted" or run.status is None:
            return 130
        return run.status if run.status > 0 else 128 - run.status

    def to_json(self) -> str:
        """The JSON of CLI.md, with more fields where a reader can use them."""
        document = {
            "torch": self.torch,
            "device": self.device,
            "program": list(self.program),
            "exit_status": self.exit_status,
            "files": list(self.files),
            "notes": list(self.notes),
            "verdicts": [_verdict(one) for one in self.verdicts],
            "runtime_only": [_runtime_only(one) for one in self.runtime_only],
            "runs": [_run(one) for one in self.runs],
        }
        return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _number(number: Number | None) -> dict[str, Any]:
    return {
        "measure": number.measure if number else None,
        "value": number.value if number else None,
        "expected": number.expected if number else None,
        "unit": number.unit if number else None,
    }


def _measured_at(number: Number | None) -> dict[str, Any] | None:
    return _spot(number.spot) if number is not None else None


def _spot(spot: Spot | None) -> dict[str, Any] | None:
    return {"filename": spot.filename, "location": spot.location()} if spot is not None else None


def _verdict(one: Verdict) -> dict[str, Any]:
    return {
        "code": one.code,
        "filename": one.spot.filename,
        "location": one.spot.location(),
        "end_location": {"row": one.spot.end_row, "column": one.spot.end_column},
        "source": one.spot.source.strip(),
        "claim": one.claim,
        "verdict": one.outcome.value,
        **_number(one.number),
        "message": one.message,
        "measured_at": _measured_at(one.number),
        "fixable": one.fixable,
        "fixed": (
            {"verdict": one.fixed_outcome.value, **_number(one.fixed)} if one.fixed_outcome is not None else None
        ),
    }


def _runtime_only(one: RuntimeOnly) -> dict[str, Any]:
    return {
        "code": one.code,
        "filename": one.spot.filename,
        "location": one.spot.location(),
        "source": one.spot.source.strip(),
        **_number(one.number),
        "message": one.number.message,
    }


def _run(one: ProgramRun) -> dict[str, Any]:
    return {
        "name": one.name,
        "status": one.status,
        "ended": one.ended,
        "seconds": round(one.seconds, 3),
        "device": one.device,
        "seed": one.seed,
        "steps": one.steps,
        "events": one.events,
        "error": one.error or None,
        "error_at": _spot(one.error_spot),
        "optimizers": [_series(series) for series in one.optimizers],
        "parameters": one.parameters,
        "unmoved": [
            {"name": p.name, "elements": p.elements, "frozen": p.frozen, "held": p.held, "gradient": p.gradient}
            for p in one.unmoved
        ],
        "passes": [
            {
                "kind": p.kind,
                **(_spot(p.spot) or {}),
                "training": p.training,
                "inference": p.inference,
                "difference": p.difference,
                "scale": p.scale,
                "moved": p.moved,
            }
            for p in one.passes
        ],
    }


def _series(one: Series) -> dict[str, Any]:
    return {
        "optimizer": one.optimizer,
        "kind": one.kind,
        "at": _spot(one.spot),
        "loss": one.losses,
        "ratio": [step.ratio for step in one.steps],
        "worth": [step.worth for step in one.steps],
        "stale": [step.stale for step in one.steps],
        "gradients": [step.gradients for step in one.steps],
    }


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become strings that say so."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {key: _finite(one) for key, one in value.items()}
        case list():
            return [_finite(one) for one in value]
        case _:
            return value
