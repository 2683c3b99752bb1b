"""What the proof says, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchlint.confirm.harness import Machine
from torchlint.confirm.probe import Outcome
from torchlint.confirm.proof import EXPECTED, Story, Trial
from torchlint.confirm.result import Result
from torchlint.proofs import figure


def table(stories: Sequence[Story]) -> Table:
    """One row a rule: what was measured, and the number of each program."""
    result = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    result.add_column("rule", no_wrap=True)
    result.add_column("measured", min_width=28)
    for heading in EXPECTED:
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("verdict", no_wrap=True)
    result.add_column("time", justify="right", no_wrap=True)
    for story in stories:
        verdict = Text("confirmed", "green") if story.confirmed else Text("NOT CONFIRMED", "bold red")
        cells = [number(story.of(case)) for case in EXPECTED]
        result.add_row(story.rule.name, measured(story), *cells, verdict, f"{story.seconds:.1f} s")
    return result


def measured(story: Story) -> str:
    """What was measured."""
    for trial in story.trials:
        if trial.verdict.measurement is not None:
            return trial.verdict.measurement.what
    return "nothing"


def number(trials: Sequence[Trial]) -> str:
    """The values over all seeds: one, or from the least to the most; `-` where there is no such program."""
    if not trials:
        return "-"
    values = [trial.verdict.measurement.value for trial in trials if trial.verdict.measurement is not None]
    if not values:
        return "none"
    least, most = figure(min(values)), figure(max(values))
    return least if least == most else f"{least} to {most}"


def text(stories: Sequence[Story], machine: Machine, seconds: float, console: Console) -> None:
    """Prints the table, what each bad program showed, and why a rule is not confirmed."""
    console.print(table(stories))
    for story in stories:
        shown = next((trial.verdict.measurement for trial in story.of("bad") if trial.verdict.measurement), None)
        if shown is not None and shown.harmed:
            console.print(Text.assemble((story.rule.name, "bold"), f": {shown.message}"), soft_wrap=True)
    console.print()
    for story in stories:
        for lapse in story.lapses:
            console.print(Text.assemble(("not confirmed", "bold red"), f" {story.rule.name}: {lapse}"), soft_wrap=True)
    unmended = [story.rule.name for story in stories if not story.of("fixed")]
    if unmended:
        console.print(f"- torchlint offers no fix of its own in bad.py of {', '.join(unmended)}.", soft_wrap=True)
    good = sum(story.confirmed for story in stories)
    runs = [trial for story in stories for trial in story.trials]
    pretended = " (pretend-cuda where a rule needs an accelerator)" if _pretended(runs) else ""
    seeds = len({trial.run.program.seed for trial in runs})
    console.print(
        f"{good} of {_count(len(stories), 'rule')} confirmed by {_count(len(runs), 'run')} "
        f"with {_count(seeds, 'seed')} in {seconds:.1f} s; "
        f"torch {machine.torch} on {machine.device}{pretended}.",
        soft_wrap=True,
        highlight=False,
    )


def machine_readable(stories: Sequence[Story], machine: Machine, seconds: float) -> str:
    """The JSON of CLI.md, one verdict for each rule and program, one run for each seed."""
    report = {
        "torch": machine.torch,
        "device": machine.device,
        "seconds": round(seconds, 3),
        "rules": [{"code": story.rule.name, "confirmed": story.confirmed, "lapses": story.lapses} for story in stories],
        "verdicts": [verdict for story in stories for verdict in _verdicts(story)],
        "runtime_only": [],
        "runs": [_run(trial) for story in stories for trial in story.trials],
    }
    return json.dumps(report, indent=2) + "\n"


def _verdicts(story: Story) -> Iterator[dict[str, Any]]:
    for case in EXPECTED:
        trials = story.of(case)
        if not trials:
            continue
        # The one that tells another story, if any, else the first
        trial = next((one for one in trials if one.lapse), trials[0])
        found = trial.verdict.measurement
        place = found.place if found is not None and found.place.file == str(trial.case.script) else None
        yield {
            "code": story.rule.name,
            "program": case,
            "filename": str(trial.case.filename),
            "location": {"row": place.line, "column": 1} if place is not None else None,
            "verdict": trial.verdict.outcome.value,
            "measure": found.what if found is not None else None,
            "value": found.value if found is not None else None,
            "expected": found.expected if found is not None else None,
            "unit": found.unit if found is not None else None,
            "message": found.message if found is not None else None,
        }


def _run(trial: Trial) -> dict[str, Any]:
    found = trial.verdict.measurement
    return {
        "code": trial.case.rule.name,
        "program": trial.case.name,
        "seed": trial.run.program.seed,
        "device": trial.run.device,
        "status": trial.run.status,
        "seconds": round(trial.run.seconds, 3),
        "verdict": trial.verdict.outcome.value,
        "value": found.value if found is not None else None,
        "lapse": trial.lapse or None,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _pretended(runs: Sequence[Trial]) -> bool:
    return any(trial.run.device == "pretend-cuda" for trial in runs)


# ---------------------------------------------------------------------------------------------- the user's own program

_STYLES = {Outcome.CONFIRMED: "bold red", Outcome.HARMLESS: "green", Outcome.NOT_REACHED: "dim"}
_WORDS = {Outcome.CONFIRMED: "confirmed", Outcome.HARMLESS: "harmless here", Outcome.NOT_REACHED: "not reached"}


def program(result: Result, console: Console) -> None:
    """Prints what became of each finding, what only the run showed, and how the run ended."""
    compared = len(result.runs) > 1
    if result.verdicts or result.runtime_only:
        console.print(_verdict_table(result, compared))
    for one in result.verdicts:
        if one.number is not None:
            console.print(Text.assemble((str(one.spot), "bold"), f" {one.message}"), soft_wrap=True)
    for seen in result.runtime_only:
        label = Text.assemble((str(seen.spot), "bold"), f" {seen.number.message} (only the run showed this)")
        console.print(label, soft_wrap=True)
    if result.verdicts or result.runtime_only:
        console.print()
    if compared:
        _losses(result, console)
    run = result.runs[0]
    if run.ended == "failed":
        where = f" at {run.error_spot}" if run.error_spot is not None else ""
        failure = f": {run.error}{where}" if run.error else ""
        console.print(f"The program itself failed with status {run.status}{failure}.", soft_wrap=True, highlight=False)
    for note in result.notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    console.print(_program_summary(result), soft_wrap=True, highlight=False)


def _verdict_table(result: Result, compared: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("place", "rule", "verdict", "measured"):
        table.add_column(heading, no_wrap=heading in ("verdict",), overflow="fold")
    table.add_column("here", justify="right", no_wrap=True)
    if compared:
        table.add_column("fixed", justify="right", no_wrap=True)
    table.add_column("healthy", justify="right", no_wrap=True)
    for one in result.verdicts:
        found = one.number
        fixed = [figure(one.fixed.value) if one.fixed is not None else "-"] if compared else []
        table.add_row(
            str(one.spot),
            one.code,
            Text(_WORDS[one.outcome], _STYLES[one.outcome]),
            found.measure if found is not None else "",
            figure(found.value) if found is not None else "-",
            *fixed,
            figure(found.expected) if found is not None else "-",
        )
    for seen in result.runtime_only:
        numbers = [figure(seen.number.value), *(["-"] if compared else []), figure(seen.number.expected)]
        verdict = Text("seen in the run", _STYLES[Outcome.CONFIRMED])
        table.add_row(str(seen.spot), seen.code, verdict, seen.number.measure, *numbers)
    return table


def _losses(result: Result, console: Console) -> None:
    """Loss per step of both runs, side by side, at the first steps and at powers of two."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("step", *(f"loss {run.name}" for run in result.runs)):
        table.add_column(heading, justify="right")
    for number, ones in enumerate(zip(*(run.optimizers for run in result.runs), strict=False)):
        if number == 3:
            break
        most = max(len(one.steps) for one in ones)
        for step in [n for n in range(most) if n < 4 or not (n + 1) & n or n == most - 1]:
            losses = [one.losses[step] if step < len(one.steps) else None for one in ones]
            label = f"{ones[0].kind} {step + 1}" if len(result.runs[0].optimizers) > 1 else str(step + 1)
            table.add_row(label, *(f"{loss:.4g}" if loss is not None else "-" for loss in losses))
    if table.row_count:
        console.print(table)


def _program_summary(result: Result) -> str:
    run = result.runs[0]
    counts = [
        f"{len(result.of(outcome))} {word}"
        for outcome, word in _WORDS.items()
        if result.of(outcome) or outcome is Outcome.CONFIRMED
    ]
    only = f", {len(result.runtime_only)} that only the run showed" if result.runtime_only else ""
    found = f"{_count(len(result.verdicts), 'finding')} in {_count(len(result.files), 'file')}"
    torch = f"torch {result.torch} on {result.device}" if result.torch else "no torch"
    summary = (
        f"{found}: {', '.join(counts)}{only}; "
        if result.verdicts
        else f"No finding in {_count(len(result.files), 'file')}{only}; "
    )
    return f"{summary}{_count(run.steps, 'optimizer step')} in {run.seconds:.1f} s; {torch}."


def write(path: Path, content: str) -> None:
    """Writes a report. Raises OSError."""
    path.write_text(content, encoding="utf-8")
