"""Paths -> the files to lint. One exclude, honoured for files that are named too; nothing is left out silently.

Folders are walked without following links to folders, as Git does, so that a loop cannot catch the walk. Paths are
strings here: a walk handles many thousand of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from torchlint.config import Config, ConfigError, Pattern, Settings

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

SUFFIXES = (".py", ".pyw", ".ipynb")
_TEST_FOLDERS = {"test", "tests"}


class MissingPathError(Exception):
    """A path that was named does not exist."""


@dataclass(slots=True)
class Files:
    """What was found: the files, in the order they are reported, and a notice for each thing left out."""

    paths: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def find(paths: Iterable[str], config: Config, settings: Settings | None = None) -> Files:
    """The files that `paths` (files and folders) stand for.

    A folder stands for the Python files and notebooks in it that are neither excluded nor ignored by Git. A named file
    is taken whatever its suffix and whatever Git says, unless it is excluded. Each is given once, as the user named it.
    What is excluded the settings of each folder say, which are those of `config` where no `settings` are given.
    Raises MissingPathError, and ConfigError for a pattern that cannot be read.
    """
    found = Files()
    excludes = _Excludes(config, settings)
    seen: dict[str, None] = {}
    for one in paths:
        path = os.path.normpath(one)
        if not os.path.lexists(one):
            raise MissingPathError(f"{one or repr(one)}: there is no such file or folder")
        pattern = excludes.of(os.path.dirname(path)).above(path)
        if pattern is not None:
            found.notices.append(f"{one}: skipped, it is excluded by `{pattern}` (see --exclude)")
        elif os.path.isdir(path):
            for file in _walk(path, excludes, config.respect_gitignore, found.notices):
                seen.setdefault(os.path.normpath(file))
        else:
            seen.setdefault(path)
    found.paths = sorted(_once(seen))
    return found


@dataclass(slots=True, frozen=True)
class Shard:
    """One of `of` parts of the files, the first being 1."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """`2/5` -> the second of five. Raises ConfigError."""
        number, slash, of = text.partition("/")
        if not (slash and number.strip().isdecimal() and of.strip().isdecimal() and 1 <= int(number) <= int(of)):
            raise ConfigError(f"--shard: must be I/N with I from 1 to N, such as 2/5; it is {text!r}")
        return cls(int(number), int(of))

    def holds(self, name: str) -> bool:
        """Whether a file is in this part, which hangs on its name alone: other files may come and go."""
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    def part(self, paths: Iterable[str], root: Path) -> list[str]:
        """The paths in this part; they are named from `root`, so that it is the same on every machine."""
        top = os.path.abspath(root)
        return [path for path in paths if self.holds(_relative(path, top))]


def _once(paths: Iterable[str]) -> Iterator[str]:
    """Each file once, also when it was reached by a link or named both absolutely and relatively."""
    seen: set[str] = set()
    # Links last, so that the file itself gives the name.
    for path in sorted(paths, key=lambda p: (os.path.islink(p), p)):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _walk(top: str, excludes: _Excludes, respect_gitignore: bool, notices: list[str]) -> Iterator[str]:
    def failed(error: OSError) -> None:
        notices.append(f"{error.filename}: skipped, it cannot be read: {error.strerror}")

    ignored = GitIgnore(top) if respect_gitignore else None
    for folder, folders, files in os.walk(top, onerror=failed):
        if ignored is not None:
            ignored.enter(folder, files)
        excluded = excludes.of(folder)
        folders[:] = sorted(
            name
            for name in folders
            if excluded.by(os.path.join(folder, name), True) is None
            and not (ignored is not None and ignored.hides(os.path.join(folder, name), True))
        )
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not name.endswith(SUFFIXES) or excluded.by(path, False) is not None:
                continue
            if ignored is not None and ignored.hides(path, False):
                continue
            yield path


def folder_of(path: str) -> str:
    """The folder that a file is in, from the root of the file system."""
    return os.path.dirname(os.path.abspath(path))


def is_test(filename: str, root: Path) -> bool:
    """Whether a file holds tests: by its name, as pytest collects them, or by a folder below `root` that it is in."""
    name = os.path.basename(filename)
    if name == "conftest.py" or name.startswith("test_") or name.endswith(("_test.py", "_test.ipynb")):
        return True
    try:
        below = Path(folder_of(filename)).relative_to(os.path.abspath(root)).parts
    except ValueError:
        return False  # outside, where folders above it are nobody's business
    return not _TEST_FOLDERS.isdisjoint(below)


class _Excludes:
    """What is excluded in each folder."""

    def __init__(self, config: Config, settings: Settings | None) -> None:
        self.config = config
        self.settings = settings
        self.known: dict[int, Excluded] = {}  # by id of the settings

    def of(self, folder: str) -> Excluded:
        """The patterns that hold in a folder."""
        config = self.settings.at(os.path.abspath(folder)) if self.settings is not None else self.config
        if id(config) not in self.known:
            self.known[id(config)] = Excluded(config.root, config.excludes)
        return self.known[id(config)]


class Excluded:
    """Patterns as in .gitignore, relative to a root folder. Most are plain names, which cost no pattern matching.

    Raises ConfigError for a pattern that cannot be read.
    """

    def __init__(self, root: Path, patterns: Sequence[str]) -> None:
        self.root = os.path.abspath(root)
        self.names = {p for p in patterns if not set(p) & set("*?[]!/\\# ")}
        self.specs: list[tuple[str, str, GitIgnoreSpec]] = []  # with the folder that the pattern is relative to
        for pattern in patterns:
            if pattern not in self.names:
                try:
                    root_of = pattern.root if isinstance(pattern, Pattern) else self.root
                    self.specs.append((pattern, root_of, spec_of([pattern])))
                except ValueError as error:
                    raise ConfigError(f"exclude: `{pattern}` is not a pattern as in .gitignore: {error}") from error

    def by(self, path: str, folder: bool) -> str | None:
        """The pattern that excludes this one entry, or None. Folders above it are not looked at."""
        name = os.path.basename(path)
        if name in self.names:
            return name
        roots: dict[str, str] = {}
        for pattern, root, spec in self.specs:
            if root not in roots:
                roots[root] = _relative(path, root) + ("/" if folder else "")
            if spec.match_file(roots[root]):
                return pattern
        return None

    def above(self, path: str) -> str | None:
        """The pattern that excludes this path or, below the root, a folder it is in; or None."""
        parts = PurePosixPath(_relative(path, self.root)).parts
        is_folder = os.path.isdir(path)
        if parts and (parts[0] == ".." or os.path.isabs(parts[0])):
            return self.by(path, is_folder)  # outside the root, where folders above it are nobody's business
        for end in range(1, len(parts) + 1):
            pattern = self.by(os.path.join(self.root, *parts[:end]), end < len(parts) or is_folder)
            if pattern is not None:
                return pattern
        return None


class GitIgnore:
    """The .gitignore files of a walk from `top`: those above it up to the repository's root, and those on the way."""

    def __init__(self, top: str) -> None:
        self.specs: dict[str, GitIgnoreSpec | None] = {}  # by absolute folder
        self.top = os.path.abspath(top)
        folder = Path(self.top)
        repository = next((f for f in (folder, *folder.parents) if (f / ".git").exists()), folder)
        above = [folder, *folder.parents]
        for one in above[1 : above.index(repository) + 1]:
            self._read(str(one), one / ".gitignore")
        exclude = repository / ".git" / "info" / "exclude"
        self.base = self._spec(exclude)
        self.repository = str(repository)
        if any(self.hides(str(one), True) for one in above[: above.index(repository)]):
            self.specs.clear()  # a folder that Git ignores was named on purpose: it is linted
            self.base = None

    def enter(self, folder: str, files: Sequence[str]) -> None:
        """Reads the .gitignore of a folder that the walk comes to."""
        if ".gitignore" in files:
            self._read(os.path.abspath(folder), Path(folder, ".gitignore"))

    def hides(self, path: str, folder: bool) -> bool:
        """True when Git ignores this entry. The nearest file that speaks of it decides."""
        if not self.specs and self.base is None:
            return False
        path = os.path.abspath(path)
        above = os.path.dirname(path)
        while True:
            spec = self.specs.get(above)
            if spec is not None:
                verdict = spec.check_file(_relative(path, above) + ("/" if folder else "")).include
                if verdict is not None:
                    return verdict
            if above == self.repository or above == os.path.dirname(above):
                break
            above = os.path.dirname(above)
        if self.base is None:
            return False
        return bool(self.base.match_file(_relative(path, self.repository) + ("/" if folder else "")))

    def _read(self, folder: str, file: Path) -> None:
        self.specs[folder] = self._spec(file)

    def _spec(self, file: Path) -> GitIgnoreSpec | None:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # not there, or not ours to read, in which case Git does not see it either
            return None
        try:
            return spec_of(lines)
        except ValueError:
            return spec_of([line for line in lines if _readable(line)])  # as Git does


def spec_of(patterns: Sequence[str]) -> GitIgnoreSpec:
    """Patterns as in .gitignore. Raises ValueError when one cannot be read."""
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)


def _readable(pattern: str) -> bool:
    try:
        spec_of([pattern])
    except ValueError:
        return False
    return True


def _relative(path: str, root: str) -> str:
    """`path` relative to `root`, with forward slashes; absolute when they share no drive."""
    try:
        relative = os.path.relpath(path, root)
    except ValueError:
        relative = os.path.abspath(path)
    return relative.replace(os.sep, "/")
