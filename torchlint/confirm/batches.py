"""What DataLoaders give, and who seeds the generators that their samples are drawn with.

Workers are forks of the program in which nothing is recorded. What one of them seeds it writes to a file that all
processes share, and the recorder reads there when a batch arrives.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter

from torchlint.confirm import events
from torchlint.confirm.events import Place
from torchlint.confirm.frames import is_users, user_place
from torchlint.confirm.twin import tensors

if TYPE_CHECKING:
    from torchlint.confirm.trace import Recorder

FIRST = 2  # batches of an iteration that are looked at
ITERATIONS = 64  # of one loader
BYTES = 4096  # of each tensor in a batch
SEEDINGS = 32  # of one line in one process

Hook = tuple[Any, str, Callable[..., Any]]


class Batches:
    """Hooks on DataLoaders and on the functions that seed; tells what it sees through `recorder`."""

    def __init__(self, recorder: Recorder, identity: Callable[[Any], int]) -> None:
        self._recorder = recorder
        self._identity = identity
        self._running: weakref.WeakKeyDictionary[Any, tuple[Place, int, int, int]] = weakref.WeakKeyDictionary()
        self._begun = 0
        self._iterations: dict[int, int] = {}
        self._seedings: dict[Place, int] = {}
        self._process = os.getpid()
        self._mail: Any = None
        self._read = 0

    def hooks(self) -> Iterator[Hook]:
        """What to hook: the owner, the name in it, and what is called with the original."""
        yield DataLoader, "__init__", self._init
        yield _BaseDataLoaderIter, "__next__", self._next
        yield torch, "manual_seed", lambda original, *a, **k: self._seed("torch", original, *a, **k)
        random, numpy = sys.modules.get("random"), sys.modules.get("numpy")
        if random is not None:
            yield random, "seed", lambda original, *a, **k: self._seed("random", original, *a, **k)
        if numpy is not None:
            yield numpy.random, "seed", lambda original, *a, **k: self._seed("numpy", original, *a, **k)

    def begins(self, loader: Any) -> None:
        """An iteration over a loader is about to begin, and with it its workers."""
        if self._mail is None and getattr(loader, "num_workers", None) and hasattr(os, "fork"):
            handle, name = tempfile.mkstemp(prefix="torchlint-")
            os.close(handle)
            self._mail = Path(name).open("ab+", buffering=0)  # noqa: SIM115 - as long as the recorder
            Path(name).unlink()

    def begun(self, iterator: Any, loader: Any) -> None:
        """An iteration over a loader has begun."""
        key = self._identity(loader)
        count = self._iterations[key] = self._iterations.get(key, 0) + 1
        self._begun += 1
        if count <= ITERATIONS and isinstance(iterator, _BaseDataLoaderIter):
            self._running[iterator] = user_place(), key, self._begun, 0

    def _init(self, original: Any, loader: Any, *args: Any, **kwargs: Any) -> None:
        original(loader, *args, **kwargs)
        if self._recorder.elsewhere:
            return
        try:
            batches = len(loader)
        except TypeError:  # an iterable dataset has no length
            batches = -1
        self._recorder.emit(
            events.LoaderBuilt,
            user_place(),
            loader=self._identity(loader),
            batches=batches,
            workers=loader.num_workers,
        )

    def _next(self, original: Any, iterator: Any) -> Any:
        batch = original(iterator)
        known = self._running.get(iterator)
        if known is not None and not self._recorder.elsewhere:
            place, loader, number, index = known
            self._recorder.emit(
                events.BatchGiven,
                place,
                loader=loader,
                iterator=number,
                index=index,
                digest=_digest(batch),
            )
            self.collect()
            if index + 1 < FIRST:
                self._running[iterator] = place, loader, number, index + 1
            else:
                del self._running[iterator]
        return batch

    def _seed(self, generator: str, original: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        caller = sys._getframe(3)
        if is_users(caller.f_code.co_filename):
            worker = get_worker_info()
            sampling = _under_getitem(caller)
            if worker is not None or (sampling and threading.get_ident() == self._recorder.thread):
                self._tell(generator, repr(args[0] if args else kwargs), user_place(caller), worker, sampling)
        return result

    def _tell(self, generator: str, seed: str, place: Place, worker: Any, sampling: bool) -> None:
        count = self._seedings[place] = self._seedings.get(place, 0) + 1
        if count > SEEDINGS:
            return
        values = {"generator": generator, "seed": seed[:80], "sampling": sampling}
        if os.getpid() == self._process:
            self._recorder.emit(events.Seeded, place, **values)
            return
        if self._mail is not None and worker is not None:
            line = json.dumps([asdict(place), {**values, "worker": worker.id}]) + "\n"
            os.write(self._mail.fileno(), line.encode())

    def collect(self) -> None:
        """Tells what workers have written since."""
        if self._mail is None:
            return
        content = os.pread(self._mail.fileno(), 1 << 20, self._read)
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            place, values = json.loads(line)
            self._recorder.emit(events.Seeded, Place.read(place), **values)


def _under_getitem(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in ("__getitem__", "__getitems__") and is_users(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False


def _digest(batch: Any) -> str:
    """A fingerprint of the tensors in a batch: of the first bytes of each."""
    found = 0
    for one in tensors(batch):
        flat = one.detach().flatten()[: BYTES // max(1, one.element_size())]
        try:
            content = flat.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        except (RuntimeError, TypeError):  # sparse, nested, quantised, or on a device that is not there
            content = repr(one.shape).encode()
        found = zlib.crc32(content, found)
    return f"{found:08x}"
