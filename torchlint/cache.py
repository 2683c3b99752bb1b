"""What was found in files that have not changed since: read at the start of a run, written at its end.

An entry holds the findings of all rules, before selection and suppression, so that no setting is part of the key. It
counts as long as the file is what it was, every import still leads where it led, and the other files that were read
for it are what they were. A file is looked at by size and time first, and by content when these have changed. The cache
is one file for each version of torchlint, its rules and Python; one that cannot be read counts as empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from torchlint import __version__, imports
from torchlint.diagnostic import Diagnostic, Related, Remedy, Safety, Severity, Span, TextEdit

FOLDER = ".torchlint_cache"
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# What torchlint has found so far; it can be deleted at any time.\n"
)

Stamp = tuple[int, int]  # size, and time of the last change in nanoseconds


@dataclass(slots=True)
class Entry:
    """What is known of one file."""

    digest: str
    stamp: Stamp
    found: list[dict[str, Any]] = field(default_factory=list)  # diagnostics, without the file's own name
    comments: bool = False  # it may hold suppression comments, so its text is needed again
    leads: list[list[Any]] = field(default_factory=list)  # (file, import, where it leads, names left)
    reads: dict[str, str | None] = field(default_factory=dict)  # other files that were read: their digests


class Cache:
    """The entries of one folder. Not shared between processes: the one that plans the run asks and writes."""

    def __init__(
        self, folder: Path | None, file: Path, entries: dict[str, Entry], stamps: dict[str, tuple[Stamp, str]]
    ) -> None:
        self.folder = folder  # None: it is kept in memory only
        self.file = file
        self.entries = entries
        self._stamps = stamps  # of other files that were read
        self._digests: dict[str, str | None] = {}  # looked at in this run
        self._changed = False

    @classmethod
    def open(cls, folder: Path) -> Cache:
        """The cache in `folder`; empty when there is none, or none that can be read."""
        file = folder / f"{__version__}-{_identity()}.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            entries = {path: Entry(**{**one, "stamp": tuple(one["stamp"])}) for path, one in data["entries"].items()}
            stamps = {path: ((size, time), digest) for path, (size, time, digest) in data["stamps"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            entries, stamps = {}, {}
        return cls(folder, file, entries, stamps)

    @classmethod
    def in_memory(cls) -> Cache:
        """One that ends with the process."""
        return cls(None, Path(), {}, {})

    def look_again(self) -> None:
        """What was seen of other files may have changed since."""
        self._digests.clear()

    def neighbours(self, paths: Iterable[str]) -> set[str]:
        """The other files that were read for these."""
        entries = (self.entries.get(imports.absolute(path)) for path in paths)
        return {file for entry in entries if entry is not None for file in entry.reads}

    def get(self, path: str) -> tuple[list[Diagnostic], bool] | None:
        """The findings in a file, and whether its text is needed for its comments; None when it must be checked."""
        name = imports.absolute(path)
        entry = self.entries.get(name)
        stamp = _stamp(name) if entry is not None else None
        if entry is None or stamp is None:
            return None
        if stamp != entry.stamp:
            if digest_of(name) != entry.digest:
                return None
            entry.stamp, self._changed = stamp, True
        if any(self._digest(file) != digest for file, digest in entry.reads.items()):
            return None
        for here, dotted, file, names in entry.leads:
            if imports.find(here, dotted) != (None if file is None else (file, tuple(names))):
                return None
        return [_diagnostic(one, path) for one in entry.found], entry.comments

    def put(self, path: str, entry: Entry) -> None:
        """Remembers what was found in a file."""
        self.entries[imports.absolute(path)] = entry
        for file in entry.reads:
            self._digest(file)
        self._changed = True

    def _digest(self, file: str) -> str | None:
        if file not in self._digests:
            stamp = _stamp(file)
            known = self._stamps.get(file)
            if stamp is None:
                self._digests[file] = None
            elif known is not None and known[0] == stamp:
                self._digests[file] = known[1]
            else:
                found = self._digests[file] = digest_of(file)
                if found is not None:
                    self._stamps[file] = stamp, found
                    self._changed = True
        return self._digests[file]

    def save(self) -> None:
        """Writes the cache, all at once; what cannot be written is left as it was: the next run is only slower."""
        if not self._changed or self.folder is None:
            return
        entries = {path: asdict(one) for path, one in self.entries.items() if os.path.exists(path)}
        stamps = {path: [*stamp, digest] for path, (stamp, digest) in self._stamps.items()}
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, text in (("CACHEDIR.TAG", _TAG), (".gitignore", "*\n")):
                if not (self.folder / name).exists():
                    (self.folder / name).write_text(text, encoding="utf-8")
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self.folder)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump({"entries": entries, "stamps": stamps}, stream, separators=(",", ":"))
            Path(temporary).replace(self.file)
            for old in self.folder.glob("*.json"):
                if old != self.file and old.name.startswith(f"{__version__}-"):
                    old.unlink(missing_ok=True)  # of a checkout that has changed since


def entry_of(path: str, data: bytes, found: Iterable[Diagnostic], comments: bool, log: imports.Log) -> Entry | None:
    """What the cache keeps of a file that was checked; None when nothing should be kept."""
    found = list(found)
    stamp = _stamp(path)
    if stamp is None or stamp[0] != len(data) or any(one.code == "internal-error" for one in found):
        return None
    leads = [
        [here, dotted, *((None, []) if place is None else (place[0], list(place[1])))]
        for (here, dotted), place in log.leads.items()
    ]
    return Entry(imports.digest(data), stamp, [_plain(one) for one in found], comments, leads, dict(log.reads))


def clean(folder: Path) -> bool:
    """Drops a cache folder. Returns whether there was one; only folders that hold nothing else are touched."""
    if not (folder / "CACHEDIR.TAG").is_file():
        return False
    for one in folder.iterdir():
        if one.suffix == ".json" or one.name in ("CACHEDIR.TAG", ".gitignore") or one.name.startswith(".new-"):
            one.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
    return True


# ------------------------------------------------------------------------------------------------------------- details


@lru_cache(maxsize=1)
def _identity() -> str:
    """Changes with anything that findings hang on besides the code: torchlint itself, its rules, libcst, Python."""
    from importlib.metadata import PackageNotFoundError, version

    import torchlint.rules

    found = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    with contextlib.suppress(PackageNotFoundError):
        found.update(version("libcst").encode())
    for folder in (Path(__file__).parent, *map(Path, torchlint.rules.__path__)):
        for file in sorted(folder.rglob("*.py")):
            status = file.stat()
            found.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return found.hexdigest()[:16]


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def digest_of(path: str) -> str | None:
    """The digest of a file's content; None when it cannot be read, or is too large to be looked into."""
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size <= imports.LARGEST:
                return imports.digest(stream.read())
    except OSError:
        pass
    return None


def _plain(one: Diagnostic) -> dict[str, Any]:
    values = asdict(one)
    del values["filename"]
    values["severity"] = one.severity.value
    for related in values["related"]:
        related["filename"] = "" if related["filename"] == one.filename else imports.absolute(related["filename"])
    if one.fix is not None:
        values["fix"]["safety"] = one.fix.safety.value
    return values


def _diagnostic(values: dict[str, Any], path: str) -> Diagnostic:
    related = tuple(
        Related(r["message"], imports.shown(r["filename"]) if r["filename"] else path, Span(**r["span"]))
        for r in values["related"]
    )
    fix = values["fix"]
    remedy = None
    if fix is not None:
        edits = tuple(TextEdit(Span(**edit["span"]), edit["content"]) for edit in fix["edits"])
        remedy = Remedy(Safety(fix["safety"]), fix["message"], edits)
    plain = {**values, "severity": Severity(values["severity"]), "span": Span(**values["span"])}
    return Diagnostic(**{**plain, "filename": path, "related": related, "fix": remedy})
