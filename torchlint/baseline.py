"""Known findings, kept in a file so that only new ones are told. It may only shrink: what is mended is taken out.

A finding is known by its file, its rule and the text of its row, counted; never by a row's number, so that code may
move. Paths are relative to the baseline file, so that its folder may move too; a file that went elsewhere takes its
entries along. The file is JSON, sorted, an entry a line, which is what merges and reviews want.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from torchlint import builtin
from torchlint.config import ConfigError
from torchlint.diagnostic import Diagnostic, Severity, Span
from torchlint.source import Source, SourceError
from torchlint.text import rows_of

VERSION = 1
_LONGEST = 120  # characters of a row that are kept in full

Key = tuple[str, str]  # rule, and text of the row
Entries = dict[str, Counter[Key]]  # by file


@dataclass(slots=True)
class Baseline:
    """The known findings of a project. `path` is the baseline file as the user named it."""

    path: str
    files: Entries = field(default_factory=dict)
    anew: bool = False  # it is being written: all that is found becomes known
    moved: dict[str, str] = field(default_factory=dict)  # where a file is now -> where its entries still say it is

    def name(self, filename: str) -> str:
        """How the baseline calls a file: relative to its own folder, with forward slashes."""
        folder, name = os.path.split(filename)
        try:
            relative = os.path.relpath(_real(folder), _real(os.path.dirname(self.path)))
        except ValueError:  # another drive
            relative = _real(folder)
        relative = relative.replace(os.sep, "/")
        return name if relative == "." else f"{relative}/{name}"

    def file(self, name: str) -> str:
        """The path of a file that the baseline calls so."""
        return os.path.join(os.path.dirname(self.path), name)

    def known(self, filename: str) -> Counter[Key]:
        """What is known of a file."""
        name = self.name(filename)
        return self.files.get(self.moved.get(name, name), Counter())

    def follow(self, filenames: Iterable[str]) -> None:
        """Hands the entries of files that are gone to those among `filenames` that they became.

        That is the one of the same name, without entries of its own, whose folders agree best from the end up.
        """
        gone = [name for name in self.files if not os.path.exists(self.file(name))]
        if not gone:
            return
        free: dict[str, list[str]] = {}
        for name in map(self.name, filenames):
            if name not in self.files:
                free.setdefault(name.rpartition("/")[2], []).append(name)
        for name in sorted(gone):
            there = sorted(free.get(name.rpartition("/")[2], ()), key=lambda one: _alike(one, name), reverse=True)
            if there and (len(there) == 1 or _alike(there[0], name) > _alike(there[1], name)):
                self.moved[there[0]] = name
                free[name.rpartition("/")[2]].remove(there[0])


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _alike(one: str, other: str) -> int:
    """How many parts of two paths agree, from the end up."""
    pairs = zip(reversed(one.split("/")), reversed(other.split("/")), strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), 100)


def keys(found: Iterable[Diagnostic], source: Source) -> list[Key]:
    """What findings in a source are known by."""
    try:
        rows = rows_of(source.text)
    except SourceError:
        rows = []  # it cannot be read, which is all that is found
    return [(one.code, _text(rows[one.span.row - 1 : one.span.row])) for one in found]


def _text(row: list[str]) -> str:
    text = " ".join("".join(row).split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return text


def sift(found: Sequence[Diagnostic], keys: Sequence[Key], known: Counter[Key]) -> tuple[list[int], Counter[Key]]:
    """The numbers of the findings that are not known, and what the others are known by.

    Of more than are known the last are new. What befell the file itself is never known.
    """
    new: list[int] = []
    used: Counter[Key] = Counter()
    for at, (one, name) in enumerate(zip(found, keys, strict=True)):
        if one.group != builtin.FILE and used[name] < known[name]:
            used[name] += 1
        else:
            new.append(at)
    return new, used


@dataclass(slots=True, frozen=True)
class Seen:
    """What a run knows of one file: the codes that were looked for in it, and how often each entry was found."""

    codes: Collection[str]
    found: Counter[Key]


def unneeded(known: Baseline, seen: Mapping[str, Seen], codes: Collection[str]) -> Entries:
    """The entries that nothing calls for any more, with how many of each are too many.

    `seen` holds the files that were checked, by the baseline's names for them; of the others only those count that are
    gone. `codes` are the names of all rules: an entry of one that is no more is unneeded too.
    """
    surplus: Entries = {}
    was = {old: now for now, old in known.moved.items()}
    for name, entries in known.files.items():
        now = was.get(name, name)
        if now in seen:
            ran, found = seen[now].codes, seen[now].found
            left = Counter({k: n - found[k] for k, n in entries.items() if k[0] in ran or k[0] not in codes})
        elif name in was or os.path.exists(known.file(name)):
            continue  # not looked at in this run
        else:
            left = entries
        left = +left
        if left:
            surplus[name] = left
    return surplus


def complaints(known: Baseline, surplus: Entries, rows: Mapping[int, str]) -> list[Diagnostic]:
    """A finding for each entry that is no longer needed; it stands in the baseline file, whose rows are given."""
    places = _places(rows)
    found: list[Diagnostic] = []
    for name, entries in surplus.items():
        gone = not os.path.exists(known.file(name))
        for (code, text), count in entries.items():
            had = known.files[name][code, text]
            if gone:
                why = f"{name} is gone"
            elif count == had:
                why = f"{code} no longer finds `{text}` in {name}"
            else:
                why = f"{code} finds `{text}` in {name} {had - count} times, not {had}"
            row = places.get((name, code, text), 1)
            message = f"this entry is no longer needed, {why}; take it out with `--prune-baseline`"
            width = len(rows.get(row, ""))
            found.append(
                Diagnostic(
                    code="unneeded-baseline-entry",
                    group=builtin.SUPPRESSION,
                    severity=Severity.ERROR,
                    message=message,
                    filename=known.path,
                    span=Span(row, width - len(rows.get(row, "").lstrip()) + 1, row, width + 1),
                    statement_row=row,
                    statement_end_row=row,
                )
            )
    return sorted(found, key=lambda d: d.key)


def _places(rows: Mapping[int, str]) -> dict[tuple[str, str, str], int]:
    """The row of each entry in a file that `write` made."""
    places: dict[tuple[str, str, str], int] = {}
    above = ["", "", "", ""]
    for number, row in rows.items():
        depth = (len(row) - len(row.lstrip())) // 2
        if not 1 <= depth <= 4:
            continue
        try:
            name = json.loads(row.rpartition(":")[0])
        except ValueError:
            continue  # a bracket
        above[depth - 1] = str(name)
        if depth == 4:
            places[above[1], above[2], above[3]] = number
    return places


def pruned(known: Baseline, surplus: Entries) -> Entries:
    """The entries without what is no longer needed, those of moved files under their new names."""
    now = {old: name for name, old in known.moved.items()}
    left = {now.get(name, name): +(entries - surplus.get(name, Counter())) for name, entries in known.files.items()}
    return {name: entries for name, entries in left.items() if entries}


def renewed(known: Baseline, seen: Mapping[str, Seen], codes: Collection[str]) -> Entries:
    """All that is found now, and the entries of what was not looked at: other files, and rules that did not run."""
    now = {old: name for name, old in known.moved.items()}
    entries: Entries = {}
    for name, had in known.files.items():
        here = now.get(name, name)
        if here in seen:
            ran = seen[here].codes
            entries[here] = Counter({k: n for k, n in had.items() if k[0] not in ran and k[0] in codes})
        elif os.path.exists(known.file(name)):
            entries[name] = had
    for name, one in seen.items():
        entries[name] = entries.get(name, Counter()) + one.found
    return {name: one for name, one in entries.items() if one}


# ------------------------------------------------------------------------------------------------------------ the file


def read(path: str) -> Baseline:
    """The baseline in a file. Raises ConfigError where there is none, or none that can be understood."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"baseline {path}: there is no such file; write it with `--write-baseline {path}`") from error
    except OSError as error:
        raise ConfigError(f"baseline {path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"baseline {path}: is not valid UTF-8") from error
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        hint = "settle the merge conflict in it" if "<<<<<<<" in text else "mend it, or delete it and write it anew"
        raise ConfigError(f"baseline {path}: is not valid JSON: {error}; {hint}") from error
    if not isinstance(data, dict) or "version" not in data:
        raise ConfigError(f"baseline {path}: is not a baseline of torchlint")
    if data["version"] != VERSION:
        raise ConfigError(
            f"baseline {path}: has version {data['version']!r}, and this torchlint reads version {VERSION}; "
            "delete it and write it anew"
        )
    return Baseline(path, {str(name): _entries(path, name, rules) for name, rules in _table(path, data, "files")})


def _entries(path: str, name: str, rules: Any) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for code, texts in _table(path, {name: rules}, name):
        for text, count in _table(path, {code: texts}, code):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigError(f"baseline {path}: {name}: {code}: `{text}` must have a count, not {count!r}")
            found[code, text] = count
    return found


def _table(path: str, data: dict[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    table = data.get(name)
    if not isinstance(table, dict):
        raise ConfigError(f"baseline {path}: `{name}` must be an object, not {table!r}")
    return table.items()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"`{name}` stands twice in one object")
        table[name] = value
    return table


def dump(entries: Entries) -> str:
    """The text of a baseline file."""
    files: dict[str, dict[str, dict[str, int]]] = {}
    for name in sorted(entries):
        for (code, text), count in sorted(entries[name].items()):
            files.setdefault(name, {}).setdefault(code, {})[text] = count
    return json.dumps({"version": VERSION, "files": files}, indent=2, ensure_ascii=False) + "\n"


def write(path: str, entries: Entries) -> None:
    """Writes a baseline file. Raises ConfigError where that is not possible."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(dump(entries), encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise ConfigError(f"baseline {path}: cannot be written: {error.strerror or error}") from error
