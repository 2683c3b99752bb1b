"""Where an import leads: the files of a project, found from the bytes of one of them and the folders around it.

No libcst here: this also says, before anything is parsed, which other files a file leans on.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache

LARGEST = 1_000_000  # bytes of another file that is looked into
LEVELS = 8  # folders above a file in which its project may begin
_MARKERS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "environment.yml")
# What these are is known better than their code would tell, also inside their own repositories.
KNOWN_ROOTS = sys.stdlib_module_names | {
    "torch", "torchvision", "torchaudio", "torchtext", "numpy", "scipy", "pandas", "PIL", "cv2", "matplotlib", "tqdm",
    "sklearn", "pytest", "yaml", "transformers", "lightning", "pytorch_lightning", "accelerate", "deepspeed", "ignite",
    "torchmetrics", "wandb", "einops", "fairscale", "apex", "tensorboardX",
}  # fmt: skip


Place = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class Log:
    """What was looked up and read while a file was checked: as long as that is the same, so are the findings."""

    leads: dict[tuple[str, str], Place | None] = field(default_factory=dict)  # file and import -> where it leads
    reads: dict[str, str | None] = field(default_factory=dict)  # other files -> digest; None: could not be read


_log: Log | None = None


@contextmanager
def logged() -> Iterator[Log]:
    """Notes what is looked up and read meanwhile."""
    global _log
    before, _log = _log, Log()
    mine = _log
    try:
        yield mine
    finally:
        _log = before
        if before is not None:  # who asked first wants to know of all of it
            before.leads.update(mine.leads)
            before.reads.update(mine.reads)


_unsaved: Mapping[str, bytes] = {}


@contextmanager
def overlaid(texts: Mapping[str, bytes]) -> Iterator[None]:
    """Takes these bytes, by absolute path, for what stands in the files meanwhile: what an editor has not saved yet."""
    global _unsaved
    before, _unsaved = _unsaved, texts
    try:
        yield
    finally:
        _unsaved = before


def read(file: str) -> bytes | None:
    """The bytes of another file of the project; None when it cannot be read, or is no code by its size."""
    data = _unsaved.get(file)
    if data is None:
        with suppress(OSError), open(file, "rb") as stream:
            if os.fstat(stream.fileno()).st_size <= LARGEST:
                data = stream.read()
    elif len(data) > LARGEST:
        data = None
    if _log is not None:
        _log.reads[file] = digest(data) if data is not None else None
    return data


def digest(data: bytes) -> str:
    """What tells one content of a file from another."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def find(here: str, dotted: str) -> Place | None:
    """The file or package folder that a dotted name leads to from the file `here`, and the names to look up in it."""
    found = _find(os.path.dirname(here), dotted)
    if _log is not None:
        _log.leads[here, dotted] = found
    return found


@lru_cache(maxsize=65536)
def _find(folder: str, dotted: str) -> Place | None:
    name = dotted.lstrip(".")
    level = len(dotted) - len(name)
    parts = tuple(part for part in name.split(".") if part)
    if level == 0:
        if not parts or parts[0] in KNOWN_ROOTS:
            return None
        starts: Iterable[str] = _starts(folder)
    else:
        for _ in range(level - 1):
            folder = os.path.dirname(folder)
        starts = (folder,)
    for start in starts:
        found = below(start, parts)
        if found is not None:
            return found
    return None


def below(folder: str, parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """Follows `parts` down from a folder as far as they are packages and modules; None when the first is none."""
    for at, part in enumerate(parts):
        inside = os.path.join(folder, part)
        if is_file(f"{inside}.py") and not is_file(os.path.join(inside, "__init__.py")):
            return f"{inside}.py", parts[at + 1 :]
        if not _is_folder(inside):
            return (folder, parts[at:]) if at or not parts else None
        folder = inside
    return folder, ()


@lru_cache(maxsize=4096)
def _starts(folder: str) -> tuple[str, ...]:
    """The folders in which an absolute import can begin: from the file's own up to where its project begins."""
    found = [folder]
    for _ in range(LEVELS):
        if any(os.path.exists(os.path.join(found[-1], marker)) for marker in _MARKERS):
            break
        above = os.path.dirname(found[-1])
        if above == found[-1]:
            break
        found.append(above)
    else:
        del found[4:]
    return (*found, os.path.join(found[-1], "src"))


@lru_cache(maxsize=65536)
def is_file(path: str) -> bool:
    return os.path.isfile(path)


@lru_cache(maxsize=65536)
def _is_folder(path: str) -> bool:
    return os.path.isdir(path)


def absolute(filename: str) -> str:
    """The path by which a file is known here; links stay what they are."""
    return os.path.abspath(filename)


def shown(file: str) -> str:
    """A path as it is printed: from here, where it is below the current folder."""
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative


def forget() -> None:
    """Looks at the file system afresh: a long-running process says so when files may have come or gone."""
    _find.cache_clear()
    _starts.cache_clear()
    is_file.cache_clear()
    _is_folder.cache_clear()


_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\r\n#;]+)"
    rb"|import[ \t]+(?P<plain>[\w., \t]+))",
    re.MULTILINE,
)
_NAME = re.compile(r"\w+(?:\s+as\s+\w+)?")


def leans_on(filename: str, data: bytes) -> list[str]:
    """The files of the project that the imports of a file name, in their order, each once."""
    here = absolute(filename)
    found: dict[str, None] = {}
    for match in _IMPORT.finditer(data):
        for dotted in _dotted(match):
            place = find(here, dotted)
            if place is None:
                continue
            file = place[0] if place[0].endswith(".py") else os.path.join(place[0], "__init__.py")
            if file != here and is_file(file):
                found[file] = None
    return list(found)


def _dotted(match: re.Match[bytes]) -> Iterable[str]:
    plain = match["plain"]
    if plain is not None:
        for part in plain.decode("ascii", "ignore").split(","):
            words = part.split()
            if words:
                yield words[0]
        return
    base = match["base"].decode("ascii", "ignore")
    if base.partition(".")[0] in KNOWN_ROOTS:
        return
    joint = "" if base.endswith(".") else "."
    yield base
    for name in _NAME.findall(match["names"].decode("ascii", "ignore")):
        yield f"{base}{joint}{name.split()[0]}"
