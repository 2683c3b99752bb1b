"""Which rows have changed since a revision of Git: what `--since` asks.

The working tree, staged or not, is compared with the merge base of the revision and HEAD, as a pull request is: what
others did on the main branch meanwhile is not the author's. Files that Git does not track are wholly new. Where rows
were only taken out, the block they stood in has changed: a missing call is found at what is left of it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torchlint.config import ConfigError
from torchlint.diagnostic import Diagnostic
from torchlint.source import Source, SourceError, decode
from torchlint.text import rows_of

_HUNK = re.compile(rb"@@ -\d+(?:,(?P<old>\d+))? \+(?P<start>\d+)(?:,(?P<new>\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


@dataclass(slots=True)
class Changes:
    """The rows that changed, by the real path of their file, and the files that are new as a whole."""

    rows: dict[str, list[range]] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)

    def touch(self, finding: Diagnostic, source: Source) -> bool:
        """Whether a finding stands on a changed row: its own, its statement's header, or one it points to there."""
        path = os.path.realpath(finding.filename)
        if path in self.new:
            return True
        changed = self.rows.get(path)
        if not changed:
            return False
        spans = [finding.span, *(one.span for one in finding.related if one.filename == finding.filename)]
        places = [(span.row, span.end_row) for span in spans]
        if finding.statement_row:
            places.append((finding.statement_row, finding.statement_end_row))
        rows = [(source.row_in_file(first), source.row_in_file(last)) for first, last in places]
        return any(first < one.stop and one.start <= last for first, last in rows for one in changed)


def since(revision: str, folder: Path, files: Iterable[str]) -> Changes:
    """What has changed since `revision` in the repository that `folder` is in; `files` are those that will be checked.

    Raises ConfigError: no Git, no repository, no such revision, no common history, a file outside the repository.
    """
    top = os.path.realpath(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n")))
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").split()[-1]
    base = _git(folder, "merge-base", commit.decode(), "HEAD").decode().strip()
    # Settings of the user's that change what a diff looks like are overruled.
    options = ("--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--submodule=diff")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
    diff = _git(Path(top), "-c", "core.quotePath=false", "diff", *options, *prefixes, base, "--")
    tracked = _git(Path(top), "ls-files", "-z", "--recurse-submodules").split(b"\0")
    known = {_path(top, os.fsdecode(name)) for name in tracked}
    changes = Changes()
    for name, hunks in _parse(diff):
        path = _path(top, name)
        changes.rows[path] = list(_ranges(path, hunks))
    for file in map(os.path.realpath, files):
        if not file.startswith(_path(top, "")):
            raise ConfigError(f"--since: {file} is outside the repository {top}")
        if file not in known:
            changes.new.add(file)
    return changes


def _path(top: str, name: str) -> str:
    return os.path.join(top, name.replace("/", os.sep))


def _git(folder: Path, *arguments: str) -> bytes:
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError("--since: there is no `git` to ask; install Git, or leave --since out") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip()
    match arguments[0]:
        case _ if "not a git repository" in said:
            raise ConfigError(f"--since: {folder} is in no Git repository")
        case "rev-parse" if "--verify" in arguments:
            revision = arguments[-1].removesuffix("^{commit}")
            raise ConfigError(f"--since: there is no revision `{revision}`{_shallow(folder)}")
        case "merge-base":
            why = f": {said}" if said else _shallow(folder) or "; give one that HEAD comes from"
            raise ConfigError(f"--since: the revision and HEAD have no common history{why}")
    raise ConfigError(f"--since: git {' '.join(arguments)} failed: {said}")


def _shallow(folder: Path) -> str:
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    done = subprocess.run(asked, cwd=folder, capture_output=True, check=False)
    if done.stdout.strip() != b"true":
        return ""
    return "; this clone is shallow: `git fetch --unshallow`, or fetch-depth: 0 in a workflow of GitHub"


@dataclass(slots=True, frozen=True)
class _Hunk:
    """Rows that came and went: the first new one, or the one behind the gap; how many; and the old ones."""

    start: int
    new: int
    removed: list[bytes]


def _parse(diff: bytes) -> Iterator[tuple[str, list[_Hunk]]]:
    """The hunks of each file in a diff without context; names of files as they are now."""
    rows = diff.split(b"\n")
    name, hunks = "", list[_Hunk]()
    at = 0
    while at < len(rows):
        row = rows[at]
        at += 1
        found = _HUNK.match(row)
        if found is not None:
            end = at
            old, new = (int(1 if found[part] is None else found[part]) for part in ("old", "new"))
            # What follows a hunk's head is content, whatever it looks like.
            while (old > 0 or new > 0) and end < len(rows):
                old -= rows[end][:1] in b" -"
                new -= rows[end][:1] in b" +"
                end += 1
            hunks.extend(_split(int(found["start"]), found["new"] == b"0", rows[at:end]))
            at = end
        elif row.startswith((b"diff --git ", b"Submodule ")):
            if hunks:
                yield name, hunks
            name, hunks = "", []
        elif row.startswith(b"+++ "):
            name = _name(row[4:])
    if hunks:
        yield name, hunks


def _split(at: int, empty: bool, rows: list[bytes]) -> Iterator[_Hunk]:
    """The changes in a hunk whose first new row is `at`; inside submodules Git gives context, asked or not."""
    at += empty  # Git names the row before the gap
    removed, new = list[bytes](), 0
    for row in [*rows, b" "]:
        match row[:1]:
            case b"-":
                removed.append(row[1:])
            case b"+":
                new += 1
            case b" ":
                if removed or new:
                    yield _Hunk(at, new, removed)
                at += new + 1
                removed, new = [], 0


def _name(written: bytes) -> str:
    """The name behind `+++ `: quoted as in C where it holds what Git quotes; a tab follows one that has spaces."""
    written = written.rstrip(b"\t\r")
    if written.startswith(b'"'):
        written = _ESCAPE.sub(_unescaped, written[1:].rpartition(b'"')[0])
    return os.fsdecode(written).removeprefix("b/")


def _unescaped(found: re.Match[bytes]) -> bytes:
    said = found[1]
    return bytes([int(said, 8)]) if said.isdigit() else _ESCAPES.get(said, said)


def _ranges(path: str, hunks: list[_Hunk]) -> Iterator[range]:
    text: list[str] | None = None
    for hunk in hunks:
        yield range(hunk.start, hunk.start + hunk.new) if hunk.new else range(hunk.start - 1, hunk.start + 1)
        if len(hunk.removed) > hunk.new:
            if text is None:
                text = _rows(path)
            # In a notebook outputs come and go; a row of code is among rows as deep as itself.
            yield _block(text, hunk, max if path.endswith(".ipynb") else min)


def _rows(path: str) -> list[str]:
    try:
        return rows_of(decode(Path(path).read_bytes())[0])
    except (OSError, SourceError):
        return []  # said when it is checked


def _block(rows: list[str], hunk: _Hunk, among: Callable[[list[int]], int] = min) -> range:
    """The block that rows were taken out of: what stands around the gap and is no less indented than they were."""
    depth = among([_depth(row.decode(errors="replace")) for row in hunk.removed if row.strip()] or [0])
    first, last = hunk.start, hunk.start + hunk.new
    if depth == 0:
        return range(first, last)  # of a module's top level only the neighbours
    while first > 1 and _inside(rows[first - 2 : first - 1], depth):
        first -= 1
    while _inside(rows[last - 1 : last], depth):
        last += 1
    return range(first, last)


def _depth(row: str) -> int:
    row = row.expandtabs()
    return len(row) - len(row.lstrip())


def _inside(row: list[str], depth: int) -> bool:
    return bool(row) and (not row[0].strip() or _depth(row[0]) >= depth)
