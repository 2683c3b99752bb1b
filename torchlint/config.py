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
PROFILES = ("default", "strict")  # strict: test files are files as all others
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


class Pattern(str):
    """A pattern as in .gitignore that is relative to another folder than the settings it is among."""

    __slots__ = ("root",)
    root: str

    def __new__(cls, text: str, root: str = "") -> Pattern:
        pattern = super().__new__(cls, text)
        pattern.root = root
        return pattern


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
    profile: str = "default"
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
        return os.path.relpath(self.root / self.baseline) if self.baseline else ""

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
    "profile": _one_of(*PROFILES),
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

_ADDING = ("extend_select", "ignore", "extend_exclude")  # an option adds to these
_EXTENDING = ("extend_select", "extend_exclude")  # a file adds to these of the file that it extends


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
    """The settings in force for `paths`, as `Settings` has them. Raises ConfigError."""
    return Settings(options, given=given, isolated=isolated, selectors=selectors).common(paths)


class Settings:
    """The settings of a run, and of each file in it: those of the nearest configuration file, under the command line.

    `options` are those given on the command line (absent when not given), by field name. `given` are the values of
    `--config`: a file, which then counts for all, or `key=value`. `selectors` are the names of rules and groups that
    exist; None leaves names unchecked. Every folder is looked into once. Everything here raises ConfigError.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        given: Iterable[str] = (),
        isolated: bool = False,
        selectors: Iterable[str] | None = None,
    ) -> None:
        self.options = options
        self.pairs: list[tuple[str, Any]] = []
        self.selectors = None if selectors is None else list(selectors)
        named: Path | None = None
        for one in given:
            if "=" in one and not Path(one).is_file():
                self.pairs.extend(_pair(one))
            elif named is not None:
                raise ConfigError(f"--config: {named} was given already; only one file can be")
            else:
                named = Path(one)
                if not named.is_file():
                    raise ConfigError(f"--config: there is no file {one}; give a TOML file or key=value")
        self.named = named
        self.isolated = isolated
        self.files: set[Path] = set()  # configuration files that were read
        self._nearest: dict[str, Path | None] = {}  # by folder
        self._configs: dict[Path | None, Config] = {}

    def common(self, paths: Iterable[str]) -> Config:
        """The settings of a run over `paths`: those of the nearest file above all of them."""
        return self.at(str(common_folder(paths)))

    def at(self, folder: str) -> Config:
        """The settings of the files in a folder, which is absolute."""
        file = self.named
        if file is None and not self.isolated:
            file = self._above(folder)
        if file not in self._configs:
            self._configs[file] = self._read(file)
        return self._configs[file]

    def _above(self, folder: str) -> Path | None:
        known = self._nearest
        todo: list[str] = []
        while folder not in known:
            todo.append(folder)
            file = _in_folder(Path(folder))
            above = str(Path(folder).parent)
            if file is not None or above == folder:
                known[folder] = file
                break
            folder = above
        for one in todo:
            known[one] = known[folder]
        return known[folder]

    def _read(self, file: Path | None) -> Config:
        config = Config(root=Path.cwd())
        if file is not None:
            if file is not self.named:
                config = dataclasses.replace(config, root=file.resolve().parent)
            config = self._extended(config, file, ())
        for name, value in self.pairs:
            config = _layer(config, {name: value}, "--config")
        config = _layer_options(config, self.options)
        if self.selectors is not None:
            _check_names(config, self.selectors)
        return config

    def _extended(self, config: Config, file: Path, through: tuple[Path, ...]) -> Config:
        """`config` with a file's settings over it, and under these the ones of the file that it extends."""
        table = read_file(file)
        real = file.resolve()
        self.files.add(real)
        if real in through:
            raise ConfigError(f"{file}: `extend` leads in a circle: {' -> '.join(map(str, (*through, real)))}")
        base = table.pop("extend", None)
        if base is not None:
            if not isinstance(base, str):
                raise ConfigError(f"{file}: `extend` must be a string, the path of a TOML file; it is {base!r}")
            other = real.parent / Path(base).expanduser()
            if not other.is_file():
                raise ConfigError(f"{file}: `extend`: there is no file {other}")
            config = self._extended(config, other, (*through, real))
        # Of a file that `--config` names, what it says itself is meant from the current folder.
        folder = config.root if file is self.named else real.parent
        return _layer(config, table, str(file), folder, adding=bool(through) or base is not None)


def _in_folder(folder: Path) -> Path | None:
    """The configuration file in a folder: `torchlint.toml`, or a `pyproject.toml` with a `[tool.torchlint]`."""
    if (folder / "torchlint.toml").is_file():
        return folder / "torchlint.toml"
    project = folder / "pyproject.toml"
    # Most say nothing of torchlint, and some of them are templates of other programs, which are no TOML yet.
    ours = project.is_file() and "torchlint" in _text_of(project) and _table_of(project) is not None
    return project if ours else None


def read_file(path: Path) -> dict[str, Any]:
    """The keys of a configuration file, as they stand there. Raises ConfigError."""
    table = _table_of(path)
    if table is None:
        raise ConfigError(f"{path}: there is no [tool.torchlint] in it")
    return table


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not valid UTF-8, as TOML must be") from error


def _table_of(path: Path) -> dict[str, Any] | None:
    """The table for torchlint in a TOML file; None for a pyproject.toml that has none."""
    try:
        data: dict[str, Any] = tomllib.loads(_text_of(path))
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


def _layer(
    config: Config, table: Mapping[str, Any], origin: str, folder: Path | None = None, *, adding: bool = False
) -> Config:
    """`config` with the keys of `table` over it. Paths and patterns in it are relative to `folder`."""
    values: dict[str, Any] = {}
    for written, value in table.items():
        name = written.replace("-", "_")
        if name not in READERS:
            raise ConfigError(
                f"{origin}: there is no key `{written}`{nearest(written, [*map(key, READERS), 'extend'])}"
            )
        try:
            values[name] = READERS[name](value)
        except ValueError as error:
            raise ConfigError(f"{origin}: `{written}` must be {error}; it is {value!r}") from error
    if folder is not None and folder != config.root:
        values = {name: _from(folder, name, value) for name, value in values.items()}
    for name in _EXTENDING if adding else ():
        if name in values:
            values[name] = (*getattr(config, name), *values[name])
    return _over(config, values, dict.fromkeys(values, origin))


def _layer_options(config: Config, options: Mapping[str, Any]) -> Config:
    for name, value in options.items():
        if not isinstance(value, tuple):
            try:
                READERS[name](value)
            except ValueError as error:
                raise ConfigError(f"--{key(name)}: must be {error}; it is {value!r}") from error
    here = Path.cwd()
    values = dict(options)
    if here != config.root:
        values = {name: _from(here, name, value) for name, value in options.items()}
    if "select" in values:
        # A selection on the command line is the whole selection: what a file ignores or adds was said of another one.
        config = dataclasses.replace(config, ignore=(), extend_select=())
    for name in _ADDING:
        if name in values:
            values[name] = (*getattr(config, name), *values[name])
    return _over(config, values, {name: f"--{key(name)}" for name in options})


def _from(folder: Path, name: str, value: Any) -> Any:
    """A value that was said in `folder`, for settings with another root."""
    match name:
        case "exclude" | "extend_exclude":
            return tuple(_pattern(one, folder) for one in value)
        case "per_file_ignores":
            return {_pattern(one, folder): names for one, names in value.items()}
        case "baseline" | "cache_dir":
            return str(folder / value) if value else value
    return value


def _pattern(text: str, folder: Path) -> str:
    return Pattern(text, str(folder)) if "/" in text.rstrip("/") else text


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
