"""`torchlint confirm`: the proof, from the arguments of the command to its exit status."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from torchlint import registry
from torchlint.confirm import program, report
from torchlint.confirm.harness import DEVICES as DEVICES
from torchlint.confirm.harness import ConfirmError, Harness
from torchlint.confirm.program import Request as Request
from torchlint.confirm.program import prove
from torchlint.confirm.proof import Story, lacking, tell
from torchlint.confirm.result import Result
from torchlint.rule import Rule
from torchlint.selection import applies

FORMATS = ("text", "json")
PROGRAM_FORMATS = ("text", "json", "html")
SEEDS = 3
TIMEOUT = 60.0
PROGRAM_TIMEOUT = program.TIMEOUT
MAX_STEPS = program.MAX_STEPS


def confirm(
    rules: Sequence[str] = (),
    *,
    device: str = "auto",
    seed: int = 0,
    seeds: int = SEEDS,
    max_steps: int | None = None,
    timeout: float = TIMEOUT,
    output_format: str = "text",
    output_file: Path | None = None,
    color: bool | None = None,
) -> int:
    """Trains the programs of the named rules (all, by default) and reports what was measured.

    Programs are trained `seeds` times, with the seeds `seed`, `seed + 1`, ...; each for at most `max_steps` optimizer
    steps and `timeout` seconds. The report goes to `output_file`, or to standard output. `color` None: on terminals.

    Returns 0 when every rule is confirmed (its bad program shows the harm, its good one and the mended one do not),
    1 when one is not, 2 for wrong use or a missing torch, which is told on standard error.
    """
    try:
        chosen = _chosen(rules)
        if seeds < 1 or timeout <= 0 or (max_steps is not None and max_steps < 1):
            raise ConfirmError("the number of seeds, of steps and of seconds must be positive")
        if output_format not in FORMATS:
            raise ConfirmError(f"unknown format {output_format!r}: choose one of {', '.join(FORMATS)}")
        started = time.monotonic()
        stories: list[Story] = []
        with (
            tempfile.TemporaryDirectory(prefix="torchlint-") as scratch,
            Harness(device) as harness,
            Console(stderr=True).status("training") as status,
        ):
            chosen = _installed(_applicable(chosen, harness.machine.torch))
            for story in tell(chosen, harness, range(seed, seed + seeds), Path(scratch), max_steps, timeout):
                stories.append(story)
                status.update(f"training: {len(stories)} of {len(chosen)} rules")
        seconds = time.monotonic() - started
        content = io.StringIO()
        if output_format == "json":
            content.write(report.machine_readable(stories, harness.machine, seconds))
        else:
            colored = sys.stdout.isatty() and output_file is None if color is None else color
            console = Console(file=content, force_terminal=colored, no_color=not colored, width=_width())
            report.text(stories, harness.machine, seconds, console)
        if output_file is not None:
            report.write(output_file, content.getvalue())
        else:
            sys.stdout.write(content.getvalue())
    except ConfirmError as error:
        print(f"torchlint: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"torchlint: {error.filename or 'the proof'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0 if all(story.confirmed for story in stories) else 1


def _chosen(names: Sequence[str]) -> list[Rule]:
    known = registry.by_name()
    for name in names:
        if name not in known:
            raise ConfirmError(f"unknown rule {name!r}{registry.nearest(name, known)}; `torchlint rules` lists them")
    return [rule for name, rule in known.items() if name in names or (not names and rule.probe is not None)]


def _applicable(rules: Sequence[Rule], torch: str) -> list[Rule]:
    """The rules whose pitfall exists in this torch; of the others it is said on standard error."""
    found = []
    for rule in rules:
        if applies(rule.since, rule.until, torch):
            found.append(rule)
        else:
            span = " ".join(filter(None, (rule.since and f"since {rule.since}", rule.until and f"until {rule.until}")))
            print(f"torchlint: {rule.name} is about torch {span}; it cannot be proven with {torch}", file=sys.stderr)
    return found


def _installed(rules: Sequence[Rule]) -> list[Rule]:
    """The rules whose programs find all that they import; of the others it is said on standard error.

    Raises ConfirmError when none is left of some.
    """
    found = []
    for rule in rules:
        missing = lacking(rule)
        if missing:
            remedy = f"pip install {' '.join(missing)}"
            needed = f"its programs need {' and '.join(missing)} ({remedy})"
            print(f"torchlint: {rule.name} is not proven here: {needed}", file=sys.stderr)
        else:
            found.append(rule)
    if rules and not found:
        raise ConfirmError("nothing is left to be proven")
    return found


def _width() -> int:
    return max(120, Console().width)


# ---------------------------------------------------------------------------------------------- the user's own program


def confirm_program(
    request: Request,
    *,
    output_format: str = "text",
    output_file: Path | None = None,
    color: bool | None = None,
) -> int:
    """Runs the user's program and reports what became of each finding.

    The report goes to `output_file`, or to standard output after what the program itself prints. Returns the exit
    status: 1 when something is confirmed, else the program's own (0 where torchlint ended it), 2 for wrong use.
    """
    try:
        if output_format not in PROGRAM_FORMATS:
            raise ConfirmError(f"unknown format {output_format!r}: choose one of {', '.join(PROGRAM_FORMATS)}")
        with Progress(request) as progress:
            result = prove(request, progress.steps)
        match output_format:
            case "json":
                content = result.to_json()
            case "html":
                from torchlint.confirm import html

                content = html.render(result)
            case _:
                content = _program_text(result, output_file, color)
        if output_file is not None:
            report.write(output_file, content)
        else:
            sys.stdout.write(content)
            sys.stdout.flush()
    except ConfirmError as error:
        print(f"torchlint: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"torchlint: {error.filename or 'the proof'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return result.exit_status


def _program_text(result: Result, output_file: Path | None, color: bool | None) -> str:
    content = io.StringIO()
    colored = sys.stdout.isatty() and output_file is None if color is None else color
    width = Console().width if sys.stdout.isatty() else 120
    console = Console(file=content, force_terminal=colored, no_color=not colored, width=max(80, width))
    report.program(result, console)
    return content.getvalue()


class Progress:
    """A line on the terminal while the program runs.

    It is redrawn only where the program's own output goes elsewhere; on one terminal with it, the line is written once
    and the terminal's title counts the steps, so that nothing that the program prints is disturbed.
    """

    def __init__(self, request: Request) -> None:
        self._name = " ".join(request.words)[:60]
        self._limit = request.max_steps
        self._shown = sys.stderr.isatty()
        self._alone = not sys.stdout.isatty()
        self._last = ""

    def steps(self, count: int) -> None:
        """So many optimizer steps were taken."""
        line = f"torchlint: {self._name}: {count} of {self._limit or 'all'} steps"
        if not self._shown or line == self._last:
            return
        self._last = line
        if self._alone:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(f"\x1b]0;{line}\x07", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        if self._shown and not self._alone:
            limit = f", at most {self._limit} optimizer steps" if self._limit else ""
            print(f"torchlint: runs {self._name} under the trace{limit}", file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[2K" if self._alone else "\x1b]0;\x07", end="", file=sys.stderr, flush=True)
