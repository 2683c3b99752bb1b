"""One `torchlint check`: settings in, files checked, report out, exit status back."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torchlint import builtin, files, registry, report, run, selection
from torchlint.cache import Cache
from torchlint.config import Config, ConfigError, Settings, common_folder, key
from torchlint.report import text
from torchlint.report.progress import Progress
from torchlint.report.style import Style, style_for

if TYPE_CHECKING:
    from torchlint.baseline import Baseline


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


@dataclass(slots=True, frozen=True)
class Task:
    """What is asked of one run besides its settings."""

    diff: bool = False  # show what fixes would change
    since: str = ""  # only what changed since this revision
    shard: str = ""  # only this part of the files
    write_baseline: str = ""  # make what is found the known findings of this file
    prune_baseline: bool = False  # take out of the baseline what is no longer needed
    add_ignore: str | None = None  # suppress what is found by comments with this reason

    def _asks(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(Task(), name))

    def refuse(self, *, stdin: bool = False) -> None:
        """Raises ConfigError for what cannot be asked at once."""
        for name in ("since", "shard", "write_baseline", "prune_baseline"):
            if stdin and self._asks(name):
                raise ConfigError(f"--{key(name)} is for files, and cannot go with standard input")
        for one, other in (
            ("write_baseline", "since"),
            ("write_baseline", "diff"),
            ("write_baseline", "prune_baseline"),
            ("prune_baseline", "diff"),
            ("add_ignore", "write_baseline"),
            ("add_ignore", "prune_baseline"),
        ):
            if self._asks(one) and self._asks(other):
                raise ConfigError(f"--{key(one)} and --{key(other)} cannot go together")


def check(
    paths: Sequence[str], settings: Settings, console: Console, task: Task = Task(), cache: Cache | None = None
) -> int:
    """Checks `paths`, prints the report and returns the exit status.

    What is remembered of files comes from `cache`, or from where the settings say. Raises ConfigError for what was
    asked wrongly.
    """
    task.refuse()
    config = settings.common(paths)
    plan = _plan(config, console, task)
    try:
        found = files.find(paths, config, settings)
    except files.MissingPathError as error:
        raise ConfigError(str(error)) from error
    for notice in found.notices:
        console.notice(notice)
    if not found.paths:
        console.notice(f"no Python files in {', '.join(paths)}")
    known = _baseline(config, task)
    if known is not None:
        known.follow(found.paths)
    chosen = found.paths
    if task.shard:
        chosen = files.Shard.read(task.shard).part(chosen, config.root)
        console.detail(f"{len(chosen)} of {len(found.paths)} files are in shard {task.shard}")
    if task.since:
        from torchlint import changes

        plan = dataclasses.replace(plan, changes=changes.since(task.since, common_folder(paths), chosen))
    plan = dataclasses.replace(plan, baseline=known, scopes=_scopes(settings, config, chosen, console))
    for path in chosen:
        console.detail(f"checks {path}")
    started = time.perf_counter()
    if cache is None and config.cache:
        cache = Cache.open(config.cache_folder)
    with Progress(sys.stderr, len(chosen), wanted=not console.quiet) as progress:
        outcome = run.run(chosen, plan, cache, progress)
    cached = "" if outcome.analysed is None else f", {len(chosen) - outcome.analysed} of them from the cache"
    console.detail(f"{len(chosen)} files in {time.perf_counter() - started:.2f} s{cached}")
    if known is not None:
        _settle(outcome, known, task, console)
    return _finish(outcome, console)


def _baseline(config: Config, task: Task) -> Baseline | None:
    """The known findings of this run: those that count, or those that are written anew."""
    if not (config.baseline or task.write_baseline or task.prune_baseline):
        return None
    from torchlint import baseline

    if task.write_baseline:
        exists = os.path.lexists(task.write_baseline)
        known = baseline.read(task.write_baseline) if exists else baseline.Baseline(task.write_baseline)
        known.anew = True
        return known
    if config.baseline:
        return baseline.read(config.baseline_file)
    raise ConfigError("--prune-baseline needs a baseline; name it with --baseline FILE")


def _settle(outcome: run.Report, known: Baseline, task: Task, console: Console) -> None:
    """Writes the baseline where that is asked for; else what it no longer needs becomes findings."""
    from torchlint import baseline

    worker = run.Worker(outcome.plan)
    codes = registry.by_name().keys() | builtin.SUPPRESSION_CODES.keys()
    seen: dict[str, baseline.Seen] = {}
    for record in outcome.records:
        if record.notice or any(one.group == builtin.FILE for one in record.findings):
            continue  # the rules did not get to see it
        seen[known.name(record.filename)] = baseline.Seen(
            worker.per_file(record.filename).codes(record.filename), record.known
        )
    if task.write_baseline:
        entries = baseline.renewed(known, seen, codes)
        baseline.write(known.path, entries)
        total, here = (
            sum(one.total() for one in some) for some in (entries.values(), (s.found for s in seen.values()))
        )
        kept = f", {total - here} of them of what was not checked now" if total > here else ""
        console.notice(f"wrote {known.path}: {text.number(total, 'known finding')}{kept}")
        return
    surplus = baseline.unneeded(known, seen, codes)
    if task.shard:
        shard = files.Shard.read(task.shard)
        surplus = {name: some for name, some in surplus.items() if name in seen or shard.holds(name)}
    if task.prune_baseline:
        if surplus or known.moved:
            baseline.write(known.path, baseline.pruned(known, surplus))
        taken = sum(one.total() for one in surplus.values())
        moved = f", and followed {text.number(len(known.moved), 'file')} that moved" if known.moved else ""
        console.notice(f"took {text.number(taken, 'known finding')} out of {known.path}{moved}")
        return
    for now, name in known.moved.items():
        console.notice(f"{name} is {now} now; `--prune-baseline` takes the new name into {known.path}")
    if surplus:
        rows = dict(enumerate(Path(known.path).read_text(encoding="utf-8").splitlines(), start=1))
        found_there = tuple(baseline.complaints(known, surplus, rows))
        outcome.records.append(run.Record(known.path, found_there, rows=rows))


def check_stdin(data: bytes, filename: str, settings: Settings, console: Console, task: Task = Task()) -> int:
    """Checks one source text as if it stood in `filename`. With `fix`, prints it mended, and the findings elsewhere."""
    task.refuse(stdin=True)
    config = settings.common([filename])
    # What the baseline no longer needs is for a run over files to tell: an editor asks at every key.
    known = _baseline(config, task)
    if known is not None:
        known.follow([filename])
    plan = dataclasses.replace(_plan(config, console, task), baseline=known)
    pattern = files.Excluded(config.root, config.excludes).above(filename)
    if pattern is None:
        record = run.Worker(plan).data(filename, data)
    else:
        record = run.Record(filename, notice=f"{filename}: skipped, it is excluded by `{pattern}` (see --exclude)")
    outcome = run.Report(plan, [record])
    if not plan.writes:
        return _finish(outcome, console)
    sys.stdout.flush()
    sys.stdout.buffer.write(record.content if record.changes else data)
    sys.stdout.buffer.flush()
    return _finish(outcome, console, err=True)


def _plan(config: Config, console: Console, task: Task) -> run.Plan:
    chosen = _selection(config, console)
    if not chosen.codes:
        console.notice("no rule is selected; only broken files are reported")
    config = _github(config)
    if config.statistics and config.output_format not in report.COUNTING:
        raise ConfigError(
            f"statistics: the format {config.output_format} tells findings and has no place for counts; "
            f"use one of {', '.join(report.COUNTING)}"
        )
    return run.Plan(config, chosen, task.diff, reason=task.add_ignore)


def _selection(config: Config, console: Console) -> selection.Selection:
    chosen = selection.resolve(config, registry.load())
    for notice in chosen.notices:
        console.notice(notice)
    for origin in dict.fromkeys(config.origins.values()):
        if not origin.startswith("--"):
            console.detail(f"settings from {origin}")
    return chosen


def _scopes(settings: Settings, config: Config, paths: Sequence[str], console: Console) -> dict[str, run.Scope]:
    """The folders for whose files other settings hold than `config`, the run's own."""
    scopes: dict[str, run.Scope] = {}
    known: dict[int, run.Scope] = {}
    for folder in dict.fromkeys(files.folder_of(path) for path in paths):
        one = settings.at(folder)
        if one is not config:
            if id(one) not in known:
                known[id(one)] = run.Scope(one, _selection(one, console))
            scopes[folder] = known[id(one)]
    return scopes


def _github(config: Config) -> Config:
    """In a GitHub workflow findings become annotations, unless another format, or counts, are asked for."""
    if os.environ.get("GITHUB_ACTIONS") and "output_format" not in config.origins and not config.statistics:
        return dataclasses.replace(config, output_format="github")
    return config


def _finish(outcome: run.Report, console: Console, *, err: bool = False) -> int:
    """Prints the report, to standard error where standard output is taken, and returns the exit status."""
    config = outcome.plan.config
    for record in outcome.records:
        if record.notice:
            (console.detail if record.aside else console.notice)(record.notice)
    for refusal in text.refusals(outcome):
        console.notice(refusal)
    if console.quiet > 1:
        return outcome.exit_code

    prose = config.output_format in report.PROSE and not outcome.plan.diff
    if config.output_file:
        _save(Path(config.output_file), report.render(outcome, config, Style(config.color == "always")))
    else:
        style = style_for(sys.stderr if err else sys.stdout, config.color)
        click.echo(report.render(outcome, config, style), nl=False, err=err, color=style.color)

    # What programs read ends with the last finding; people also want to know how it went.
    err = err or not prose
    style = style_for(sys.stderr if err else sys.stdout, config.color)
    told = text.fixes(outcome, style) if config.show_fixes else ""
    if not console.quiet and (prose or outcome.plan.mends):
        told += text.summary(outcome, style)
        if prose and config.output_format == "full":
            told += text.advice(outcome, style)
    click.echo(told, nl=False, err=err, color=style.color)
    return outcome.exit_code


def _save(path: Path, body: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ConfigError(f"--output-file {path}: cannot be written: {error.strerror or error}") from error
