"""A rule's own proof: three programs tell its story.

`bad.py` shows the harm, `good.py` does not, and `bad.py` after torchlint's own fix does not. Each is trained several
times with different seeds; one run that tells another story, and the rule is not confirmed.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchlint import engine, fix
from torchlint.confirm.harness import ConfirmError, Harness, Program, Run
from torchlint.confirm.probe import Outcome, Verdict, judge
from torchlint.rule import Rule
from torchlint.source import Source

EXPECTED = {"bad": Outcome.CONFIRMED, "good": Outcome.HARMLESS, "fixed": Outcome.HARMLESS}


@dataclass(slots=True, frozen=True)
class Case:
    """One program of a rule's story."""

    rule: Rule
    name: str  # a key of EXPECTED
    filename: Path  # what it is called in reports
    script: Path  # what is run: a copy, so that it counts as a program of the user's


@dataclass(slots=True, frozen=True)
class Trial:
    """A case with one seed."""

    case: Case
    run: Run
    verdict: Verdict

    @property
    def lapse(self) -> str:
        """How this differs from the story, empty when it does not."""
        seed, outcome = self.run.program.seed, self.verdict.outcome
        which = f"{self.case.name}, seed {seed}"
        if self.run.status is None:
            return f"{which}: killed after {self.run.program.timeout:g} s; a longer --timeout may help"
        if outcome is not EXPECTED[self.case.name]:
            said = {"confirmed": "shows the harm", "harmless": "shows no harm", "not-reached": "was never measured"}
            return f"{which}: {said[outcome.value]}{self._last_words()}"
        if self.case.name != "bad" and not self.run.ended_well:
            return f"{which}: ended with status {self.run.status}{self._last_words()}"
        return ""

    def _last_words(self) -> str:
        lines = self.run.output.strip().splitlines()
        return f" ({lines[-1].strip()[:200]})" if lines and self.run.status else ""


@dataclass(slots=True, frozen=True)
class Story:
    """What the trials of one rule say together."""

    rule: Rule
    trials: tuple[Trial, ...]
    claim: str = ""  # why torchlint's own part fell short: it finds nothing in bad.py, or does not mend it

    @property
    def lapses(self) -> list[str]:
        """Why the rule is not confirmed; empty when it is."""
        return [*filter(None, [self.claim]), *filter(None, (trial.lapse for trial in self.trials))]

    @property
    def confirmed(self) -> bool:
        return not self.lapses

    @property
    def seconds(self) -> float:
        return sum(trial.run.seconds for trial in self.trials)

    def of(self, case: str) -> list[Trial]:
        """The trials of one case."""
        return [trial for trial in self.trials if trial.case.name == case]


def fixtures_folder() -> Path:
    """Where the rules' programs are: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "fixtures", package.parent / "fixtures"):
        if folder.is_dir():
            return folder
    raise ConfirmError("the rules' programs (fixtures/) are not installed: reinstall torchlint")


def mended(rule: Rule, path: Path) -> tuple[str, str | None]:
    """What torchlint makes of a program with this rule alone: a complaint, and the mended text where it offers a fix.

    The complaint is empty when there is at least one finding, and every one is mended if the rule always has a fix.
    """
    source = Source.read(path)
    result = fix.mend(source, lambda text: engine.analyse(text, [rule]), unsafe=True)
    crash = next((one.message for one in result.remaining if one.code != rule.name), "")
    if crash:
        return crash, None
    if not result.applied and not result.remaining:
        return f"torchlint finds nothing in {path.name}", None
    if not result.applied or result.remaining:
        refused = f" ({result.refused[0][1]})" if result.refused else ""
        always = rule.fixable in ("safe", "unsafe")
        return (f"torchlint does not mend {path.name}{refused}" if always else ""), None
    return "", result.source.text


def tell(
    rules: Sequence[Rule],
    harness: Harness,
    seeds: Sequence[int],
    scratch: Path,
    max_steps: int | None = None,
    timeout: float = 60.0,
) -> Iterator[Story]:
    """Trains the programs of each rule in turn, and yields each story when it is complete.

    Raises ConfirmError for a rule that has no probe or lacks a program.
    """
    cases: list[Case] = []
    claims: dict[str, str] = {}
    for rule in rules:
        ready, claims[rule.name] = _prepare(rule, scratch)
        cases.extend(ready)
    programs = [
        replace(_program(case), seed=seed, max_steps=max_steps, timeout=timeout) for case in cases for seed in seeds
    ]
    trials: list[Trial] = []
    repeated = [case for case in cases for _ in seeds]
    for number, (case, run) in enumerate(zip(repeated, harness.run_all(programs), strict=True), start=1):
        assert case.rule.probe is not None
        trials.append(Trial(case, run, judge(case.rule.name, case.rule.probe, run.trace)))
        if number == len(repeated) or repeated[number].rule is not case.rule:
            yield Story(case.rule, tuple(trials), claims[case.rule.name])
            trials = []


def needs(rule: Rule) -> dict[str, Any]:
    """What the programs of a rule cannot be without, as its module says: an accelerator, several processes."""
    module = sys.modules[rule.check.__module__]
    return {name: getattr(module, name) for name in ("accelerator", "processes") if hasattr(module, name)}


def imported(program: Path) -> set[str]:
    """The top-level names of what a program imports, wherever it does. Raises OSError and SyntaxError."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(program.read_bytes())):
        match node:
            case ast.Import():
                names.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
    return names


def lacking(rule: Rule) -> list[str]:
    """The packages that the programs of a rule import and that are not installed here, by their names as imported."""
    names: set[str] = set()
    for program in ("bad", "good"):
        with contextlib.suppress(OSError, SyntaxError):  # said where it is run
            names |= imported(fixtures_folder() / rule.name.replace("-", "_") / f"{program}.py")
    return sorted(name for name in names if importlib.util.find_spec(name) is None)


def _program(case: Case) -> Program:
    return Program(case.script, **needs(case.rule))


def _prepare(rule: Rule, scratch: Path) -> tuple[list[Case], str]:
    if rule.probe is None:
        raise ConfirmError(f"{rule.name} has no probe: nothing can be measured")
    folder = fixtures_folder() / rule.name.replace("-", "_")
    cases = []
    texts: dict[str, tuple[Path, str]] = {}
    for name in ("bad", "good"):
        path = folder / f"{name}.py"
        try:
            texts[name] = path, path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfirmError(f"{rule.name}: {path} cannot be read: {error.strerror}") from error
    claim, fixed = mended(rule, folder / "bad.py")
    if fixed is not None:
        texts["fixed"] = folder / "bad.py", fixed
    for name, (path, text) in texts.items():
        script = scratch / folder.name / f"{name}.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(text, encoding="utf-8")
        cases.append(Case(rule, name, path, script))
    return cases, claim
