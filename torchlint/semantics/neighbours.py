"""The files of the project that a file imports from, read as bytes only: what they may do unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torchlint.semantics.machine import Machine

_LEVELS = 4  # folders above the file in which an absolute import may begin
_LARGEST = 1_000_000  # bytes


def texts(m: Machine, filename: str) -> Iterator[bytes]:
    """The bytes of each file of the project that the names of this one are imported from."""
    here = Path(filename).parent
    seen: set[Path] = set()
    for dotted in m.imported:
        found = _find(here, dotted)
        if found is None or found in seen:
            continue
        seen.add(found)
        try:
            if found.stat().st_size <= _LARGEST:
                yield found.read_bytes()
        except OSError:
            continue  # gone or unreadable meanwhile: nothing can be said of it


def _find(here: Path, dotted: str) -> Path | None:
    """The file a dotted name leads into: the longest part of it that is a module beside `here` or above."""
    name = dotted.lstrip(".")
    level = len(dotted) - len(name)
    parts = [p for p in name.split(".") if p != "*"]
    starts = [here, *here.parents][:_LEVELS] if level == 0 else [here, *here.parents][level - 1 : level]
    for start in starts:
        for length in range(len(parts), 0, -1):
            base = start.joinpath(*parts[:length])
            for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                if candidate.is_file():
                    return candidate
    return None
