"""The files of the project that a file imports from, read as bytes only: what they may do unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator

from torchlint.imports import find, is_file, read
from torchlint.semantics.machine import Machine


def texts(m: Machine) -> Iterator[bytes]:
    """The bytes of each file of the project that the names of this one are imported from."""
    seen: set[str] = set()
    for dotted in m.imported:
        place = find(m.module.file, dotted.removesuffix(".*"))
        if place is None:
            continue
        file = place[0] if place[0].endswith(".py") else os.path.join(place[0], "__init__.py")
        if file in seen or not is_file(file):
            continue
        seen.add(file)
        data = read(file)
        if data is not None:
            yield data
