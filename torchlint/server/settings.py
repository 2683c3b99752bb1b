"""What is set in the editor, and which rules that and the configuration files give for each file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from torchlint import baseline, config, files, registry, run, selection
from torchlint.config import Config, ConfigError
from torchlint.registry import nearest

ON_TYPE, ON_SAVE = "onType", "onSave"
FILES = ("pyproject.toml", "torchlint.toml")  # where configuration stands


@dataclass(slots=True, frozen=True)
class Editor:
    """The settings of the editor, `torchlint.*` there."""

    enable: bool = True
    args: tuple[str, ...] = ()  # options of `torchlint check`
    run: str = ON_TYPE
    show_syntax_errors: bool = True  # another extension may show them already


KEYS: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "enable": ("enable", lambda value: isinstance(value, bool), "true or false"),
    "args": (
        "args",
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        'a list of options such as ["--select=ALL", "--preview"]',
    ),
    "run": ("run", lambda value: value in (ON_TYPE, ON_SAVE), f'"{ON_TYPE}" or "{ON_SAVE}"'),
    "showSyntaxErrors": ("show_syntax_errors", lambda value: isinstance(value, bool), "true or false"),
}
_OF_THE_CLIENT = ("path", "interpreter", "importStrategy", "trace")  # they say how to start the server


def read(value: Any) -> tuple[Editor, list[str]]:
    """The settings in what an editor sends, and what is wrong in it; what is wrong counts as not set."""
    for wrapped in ("settings", "torchlint"):  # people write the one or the other around them, and editors do
        if isinstance(value, Mapping) and isinstance(value.get(wrapped), Mapping):
            value = value[wrapped]
    if not isinstance(value, Mapping):
        return Editor(), []
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key, one in value.items():
        if one is None or key in _OF_THE_CLIENT:
            continue
        if key not in KEYS:
            problems.append(f"there is no setting torchlint.{key}{nearest(key, KEYS)}")
            continue
        name, fits, what = KEYS[key]
        if fits(one):
            found[name] = tuple(one) if isinstance(one, list) else one
        else:
            problems.append(f"the setting torchlint.{key} must be {what}; it is {one!r}")
    try:
        _options(found.get("args", ()))
    except ConfigError as error:
        problems.append(str(error))
        del found["args"]
    return Editor(**found), problems


def _options(args: tuple[str, ...]) -> dict[str, Any]:
    """What options mean on the command line. Raises ConfigError."""
    from torchlint import cli

    try:
        given = cli.check.make_context("torchlint check", list(args)).params
    except click.ClickException as error:
        raise ConfigError(f"the setting torchlint.args: {error.format_message()}") from error
    except click.exceptions.Exit as error:
        raise ConfigError(f"the setting torchlint.args: {' '.join(args)} is none of a linter's settings") from error
    if given["paths"]:
        raise ConfigError(
            f"the setting torchlint.args: `{given['paths'][0]}` is no option; write an option and its value as one "
            'string, "--select=ALL"'
        )
    return given


class Settings:
    """The worker for each file: the rules that its nearest configuration file and the editor ask for.

    A configuration file that is wrong is told of, and what was in force before it stays so.
    """

    def __init__(self) -> None:
        self._workers: dict[tuple[str, Editor], run.Worker] = {}
        self._before: dict[tuple[str, Editor], run.Worker] = {}
        self._files: dict[str, tuple[int, int] | None] = {}  # what was read for them, and when it was written

    def forget(self) -> None:
        """Reads the configuration files anew."""
        self._before.update(self._workers)
        self._workers = {}
        self._files = {}

    def worker(self, filename: str, root: str | None, editor: Editor) -> tuple[run.Worker, str | None]:
        """The worker for a file in the workspace folder `root`, and what is wrong with its configuration."""
        key = os.path.dirname(filename), editor
        if any(_written(path) != time for path, time in self._files.items()):
            self.forget()
        if key in self._workers:
            return self._workers[key], None
        problem = None
        try:
            found = self._read(filename, root, editor)
        except ConfigError as error:
            problem = str(error)
            found = self._before.get(key) or _worker(_at(Config(), root or key[0]))
        self._workers[key] = found
        return found, problem

    def _read(self, filename: str, root: str | None, editor: Editor) -> run.Worker:
        """Raises ConfigError."""
        given = _options(editor.args)
        options = {name: value for name, value in given.items() if name in config.READERS and value is not None}
        known = selection.selectors(registry.load())
        layers = config.Settings(options, given=given["given"], isolated=given["isolated"], selectors=known)
        try:
            found = layers.common([filename])
        finally:  # a broken one may be mended
            self._note(map(str, layers.files))
        if not layers.files:
            # Without a file patterns are relative to the current folder, which says nothing in an editor.
            found = _at(found, root or os.path.dirname(filename))
        worker = _worker(found)
        if worker.plan.baseline is not None:
            self._note([worker.plan.baseline.path])
        return worker

    def _note(self, paths: Iterable[str]) -> None:
        self._files.update((path, _written(path)) for path in paths)


def _at(one: Config, root: str) -> Config:
    return dataclasses.replace(one, root=Path(root))


def _worker(one: Config) -> run.Worker:
    """Raises ConfigError."""
    one = dataclasses.replace(one, fix=False, unsafe_fixes=False)
    files.Excluded(one.root, one.excludes)
    known = baseline.read(os.path.abspath(one.baseline_file)) if one.baseline else None
    return run.Worker(run.Plan(one, selection.resolve(one, registry.load()), baseline=known))


def _written(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def mending(worker: run.Worker) -> run.Worker:
    """A worker that also mends what can be mended safely, in memory."""
    plan = worker.plan
    return run.Worker(dataclasses.replace(plan, config=dataclasses.replace(plan.config, fix=True), diff=True))
