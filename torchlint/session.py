"""One `torchlint check`: settings in, files checked, report out, exit status back."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from torchlint import files, registry, report, run, selection
from torchlint.cache import Cache
from torchlint.config import Config, ConfigError
from torchlint.report import text
from torchlint.report.style import style_for
from torchlint.source import Source


@dataclass(slots=True, frozen=True)
class Console:
    """How much is said, besides the findings; notices go to standard error, where no program reads them."""

    quiet: int = 0
    verbose: int = 0

    def notice(self, message: str) -> None:
        """Something the user should know: a file left out, a rule that does not run."""
        if not self.quiet:
            click.echo(f"torchlint: {message}", err=True)

    def detail(self, message: str) -> None:
        """Something for who asked with -v."""
        if self.verbose:
            click.echo(f"torchlint: {message}", err=True)


def check(paths: Sequence[str], config: Config, console: Console, *, diff: bool = False) -> int:
    """Checks `paths`, prints the report and returns the exit status. Raises ConfigError for what was asked wrongly."""
    plan = _plan(config, console, diff)
    try:
        found = files.find(paths, config)
    except files.MissingPathError as error:
        raise ConfigError(str(error)) from error
    for notice in found.notices:
        console.notice(notice)
    if not found.paths:
        console.notice(f"no Python files in {', '.join(paths)}")
    for path in found.paths:
        console.detail(f"checks {path}")
    started = time.perf_counter()
    cache = Cache.open(config.cache_folder) if config.cache else None
    outcome = run.run(found.paths, plan, cache)
    known = "" if outcome.analysed is None else f", {len(found.paths) - outcome.analysed} of them from the cache"
    console.detail(f"{len(found.paths)} files in {time.perf_counter() - started:.2f} s{known}")
    return _finish(outcome, console)


def check_stdin(data: bytes, filename: str, config: Config, console: Console, *, diff: bool = False) -> int:
    """Checks one source text as if it stood in `filename`. With `fix`, prints it mended, and the findings elsewhere."""
    plan = _plan(config, console, diff)
    pattern = files.Excluded(config.root, config.excludes).above(filename)
    source = Source(filename, data)
    if pattern is None:
        record = run.Worker(plan).source(source)
    else:
        record = run.Record(filename, notice=f"{filename}: skipped, it is excluded by `{pattern}` (see --exclude)")
    outcome = run.Report(plan, [record])
    if not config.fix or diff:
        return _finish(outcome, console)
    sys.stdout.flush()
    mended = data if record.before == record.after else record.after.encode(source.encoding)
    sys.stdout.buffer.write(mended)
    sys.stdout.buffer.flush()
    return _finish(outcome, console, err=True)


def _plan(config: Config, console: Console, diff: bool) -> run.Plan:
    rules = registry.load()
    chosen = selection.resolve(config, rules)
    for notice in chosen.notices:
        console.notice(notice)
    for origin in dict.fromkeys(config.origins.values()):
        if not origin.startswith("--"):
            console.detail(f"settings from {origin}")
    if not chosen.codes:
        console.notice("no rule is selected; only broken files are reported")
    return run.Plan(_github(config), chosen, diff)


def _github(config: Config) -> Config:
    """In a GitHub workflow findings become annotations, unless another format is asked for."""
    if os.environ.get("GITHUB_ACTIONS") and "output_format" not in config.origins:
        return dataclasses.replace(config, output_format="github")
    return config


def _finish(outcome: run.Report, console: Console, *, err: bool = False) -> int:
    """Prints the report, to standard error where standard output is taken, and returns the exit status."""
    config = outcome.plan.config
    for record in outcome.records:
        if record.notice:
            console.notice(record.notice)
    for refusal in text.refusals(outcome):
        console.notice(refusal)
    if console.quiet > 1:
        return outcome.exit_code

    prose = config.output_format in report.PROSE and not outcome.plan.diff
    stream = sys.stderr if err else sys.stdout
    style = style_for(stream, "never" if config.output_file and config.color == "auto" else config.color)
    body = report.render(outcome, config, style)
    if config.show_fixes and prose:
        body += text.fixes(outcome, style)
    if config.output_file:
        _save(Path(config.output_file), body)
    else:
        click.echo(body, nl=False, err=err, color=style.color)

    # What programs read ends with the last finding; people also want to know how it went.
    if not console.quiet and (prose or outcome.plan.mends):
        err = err or not prose
        style = style_for(sys.stderr if err else sys.stdout, config.color)
        click.echo(text.summary(outcome, style), nl=False, err=err, color=style.color)
    return outcome.exit_code


def _save(path: Path, body: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ConfigError(f"--output-file {path}: cannot be written: {error.strerror or error}") from error
