"""The settings of a run: defaults, then the configuration file, then `--config key=value`, then options.

`Config` is frozen, and its fields are the keys: `extend-select` in TOML is `extend_select` here and `--extend-select`
on the command line. Every error names the place and, for a misspelled key, the right one.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchlint.registry import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OUTPUT_FORMATS = ("full", "concise", "grouped", "json", "json-lines", "sarif", "github", "gitlab", "junit", "rdjson")
COLORS = ("auto", "always", "never")
SEVERITIES = ("error", "warning", "info", "off")

# Ruff's list, so that nobody has to learn a second one.
# fmt: off
EXCLUDED = (
    ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pants.d",
    ".pyenv", ".pytest_cache", ".pytype", ".ruff_cache", ".svn", ".tox", ".venv", ".vscode", "__pycache__",
    "__pypackages__", "_build", "buck-out", "build", "dist", "node_modules", "site-packages", "venv",
)
# fmt: on


class ConfigError(Exception):
    """A setting is wrong; the message names the place and the remedy."""


@dataclass(slots=True, frozen=True)
class Config:
    """One run's settings. `root` is the folder that patterns are relative to; `origins` says where a key was set."""

    select: tuple[str, ...] = ()  # empty: the groups that are on by default
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    preview: bool = False
    severity: Mapping[str, str] = field(default_factory=dict)
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    target_torch: str = ""
    exclude: tuple[str, ...] = EXCLUDED
    extend_exclude: tuple[str, ...] = ()
    respect_gitignore: bool = True
    max_file_size: int = 1024 * 1024
    fix: bool = False
    unsafe_fixes: bool = False
    show_fixes: bool = False
    output_format: str = "full"
    output_file: str = ""
    statistics: bool = False
    exit_zero: bool = False
    exit_non_zero_on_fix: bool = False
    jobs: int = 0  # 0: as many as there are processors
    cache: bool = True
    cache_dir: str = ""  # empty: .torchlint_cache in `root`
    baseline: str = ""  # empty: none
    color: str = "auto"

    root: Path = Path()
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def cache_folder(self) -> Path:
        """Where the cache is kept."""
        return self.root / (self.cache_dir or ".torchlint_cache")

    @property
    def baseline_file(self) -> str:
        """The baseline as a path from here; empty where there is none."""
        if not self.baseline or self.origins.get("baseline") == "--baseline":
            return self.baseline
        return os.path.relpath(self.root / self.baseline)

    @property
    def excludes(self) -> tuple[str, ...]:
        """`exclude` and `extend-exclude` together: the patterns to apply."""
        return (*self.exclude, *self.extend_exclude)


# ------------------------------------------------------------------------------------------- what a key's value may be

Reader = Callable[[Any], Any]  # the value of a key from its TOML value; ValueError says what it must be


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("a list of strings")
    return tuple(value)


def _count(at_least: int) -> Reader:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise ValueError(f"a whole number, {at_least} or more")
        return value

    return read


def _one_of(*choices: str) -> Reader:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def _table(of: Reader, what: str) -> Reader:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(what)
        try:
            return {str(key): of(one) for key, one in value.items()}
        except ValueError as error:
            raise ValueError(f"{what}, each value {error}") from error

    return read


def _version(value: Any) -> str:
    if not isinstance(value, str) or not value or not all(part.isdigit() for part in value.split(".")):
        raise ValueError('a version of torch such as "2.4"')
    return value


READERS: dict[str, Reader] = {
    "select": _strings,
    "extend_select": _strings,
    "ignore": _strings,
    "preview": _flag,
    "severity": _table(_one_of(*SEVERITIES), 'a table such as {missing-zero-grad = "warning"}'),
    "per_file_ignores": _table(_strings, 'a table such as {"tests/*" = ["whole-model-save"]}'),
    "target_torch": _version,
    "exclude": _strings,
    "extend_exclude": _strings,
    "respect_gitignore": _flag,
    "max_file_size": _count(1),
    "fix": _flag,
    "unsafe_fixes": _flag,
    "show_fixes": _flag,
    "output_format": _one_of(*OUTPUT_FORMATS),
    "output_file": _text,
    "statistics": _flag,
    "exit_zero": _flag,
    "exit_non_zero_on_fix": _flag,
    "jobs": _count(0),
    "cache": _flag,
    "cache_dir": _text,
    "baseline": _text,
    "color": _one_of(*COLORS),
}

_ADDING = ("extend_select", "ignore", "extend_exclude")  # a later layer adds to these


def values(config: Config) -> dict[str, Any]:
    """The value of every key."""
    return {name: getattr(config, name) for name in READERS}


def key(name: str) -> str:
    """A field's name as a user writes it."""
    return name.replace("_", "-")


# -------------------------------------------------------------------------------------------------------------- layers


def resolve(
    options: Mapping[str, Any],
    paths: Iterable[str] = (),
    *,
    given: Iterable[str] = (),
    isolated: bool = False,
    selectors: Iterable[str] | None = None,
) -> Config:
    """The settings in force.

    `options` are those given on the command line (absent when not given), by field name. `given` are the values of
    `--config`: a file, or `key=value`. `paths` are what is linted: the file looked for is the nearest one above all of
    them. `selectors` are the names of rules and groups that exist; None leaves names unchecked.

    Raises ConfigError.
    """
    start = common_folder(paths)
    pairs: list[tuple[str, Any]] = []
    file: Path | None = None
    for one in given:
        if "=" in one and not Path(one).is_file():
            pairs.extend(_pair(one))
        elif file is not None:
            raise ConfigError(f"--config: {file} was given already; only one file can be")
        else:
            file = Path(one)
            if not file.is_file():
                raise ConfigError(f"--config: there is no file {one}; give a TOML file or key=value")
    named = file is not None
    if file is None and not isolated:
        file = discover(start)

    config = Config(root=Path.cwd())
    if file is not None:
        config = _layer(config, read_file(file), str(file))
        config = dataclasses.replace(config, root=Path.cwd() if named else file.resolve().parent)
    for name, value in pairs:
        config = _layer(config, {name: value}, "--config")
    config = _layer_options(config, options)
    if selectors is not None:
        _check_names(config, list(selectors))
    return config


def discover(start: Path) -> Path | None:
    """The nearest `torchlint.toml`, or `pyproject.toml` with a `[tool.torchlint]`, in `start` or above it."""
    for folder in (start, *start.parents):
        if (folder / "torchlint.toml").is_file():
            return folder / "torchlint.toml"
        project = folder / "pyproject.toml"
        if project.is_file() and _table_of(project) is not None:
            return project
    return None


def read_file(path: Path) -> dict[str, Any]:
    """The keys of a configuration file, as they stand there. Raises ConfigError."""
    table = _table_of(path)
    if table is None:
        raise ConfigError(f"{path}: there is no [tool.torchlint] in it")
    return table


def _table_of(path: Path) -> dict[str, Any] | None:
    """The table for torchlint in a TOML file; None for a pyproject.toml that has none."""
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not valid UTF-8, as TOML must be") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    if path.name != "pyproject.toml":
        return data
    tool = data.get("tool")
    table = tool.get("torchlint") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: [tool.torchlint] must be a table")
    return table


def common_folder(paths: Iterable[str]) -> Path:
    """The deepest folder that holds all `paths`; the current one when there are none or nothing is common."""
    folders = []
    for one in paths:
        path = Path.cwd() / one
        folders.append(os.path.normpath(path if path.is_dir() else path.parent))
    try:
        return Path(os.path.commonpath(folders)) if folders else Path.cwd()
    except ValueError:  # paths on different drives
        return Path.cwd()


def _pair(text: str) -> list[tuple[str, Any]]:
    try:
        return list(tomllib.loads(text).items())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--config {text}: is not TOML; write for instance 'preview=true': {error}") from error


def _layer(config: Config, table: Mapping[str, Any], origin: str) -> Config:
    """`config` with the keys of `table` over it."""
    values: dict[str, Any] = {}
    for written, value in table.items():
        name = written.replace("-", "_")
        if name not in READERS:
            raise ConfigError(f"{origin}: there is no key `{written}`{nearest(written, map(key, READERS))}")
        try:
            values[name] = READERS[name](value)
        except ValueError as error:
            raise ConfigError(f"{origin}: `{written}` must be {error}; it is {value!r}") from error
    return _over(config, values, dict.fromkeys(values, origin))


def _layer_options(config: Config, options: Mapping[str, Any]) -> Config:
    values = dict(options)
    for name, value in options.items():
        if not isinstance(value, tuple):
            try:
                READERS[name](value)
            except ValueError as error:
                raise ConfigError(f"--{key(name)}: must be {error}; it is {value!r}") from error
    for name in ("exclude", "extend_exclude"):
        if name in values:
            values[name] = tuple(_from_here(pattern, config.root) for pattern in values[name])
    if "select" in values:
        # A selection on the command line is the whole selection: what a file ignores or adds was said of another one.
        config = dataclasses.replace(config, ignore=(), extend_select=())
    for name in _ADDING:
        if name in values:
            values[name] = (*getattr(config, name), *values[name])
    return _over(config, values, {name: f"--{key(name)}" for name in options})


def _from_here(pattern: str, root: Path) -> str:
    """A pattern that was typed in the current folder, as one that is relative to `root`."""
    here, root = Path.cwd(), root.resolve()
    if "/" not in pattern.rstrip("/") or here == root or root not in here.parents:
        return pattern
    return f"/{here.relative_to(root).as_posix()}/{pattern.lstrip('/')}"


def _over(config: Config, values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    return dataclasses.replace(config, **values, origins={**config.origins, **origins})


def _check_names(config: Config, known: list[str]) -> None:
    """Raises ConfigError for a rule or group that does not exist."""
    places: list[tuple[str, Iterable[str]]] = [
        ("select", config.select),
        ("extend_select", config.extend_select),
        ("ignore", config.ignore),
        ("severity", config.severity),
        *(("per_file_ignores", names) for names in config.per_file_ignores.values()),
    ]
    for name, selectors in places:
        for one in selectors:
            if one not in known:
                origin = config.origins.get(name, key(name))
                where = origin if origin.startswith("--") and "config" not in origin else f"{origin}: `{key(name)}`"
                raise ConfigError(f"{where}: there is no rule or group `{one}`{nearest(one, known)}")
