"""One voice for many processes: what the other ranks of a distributed program found reaches rank 0.

Through the store that the processes met at, key by key, and never through a collective, which would hang where one
process has failed and would take part in the program's own traffic.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist

GRACE = 5.0  # seconds that rank 0 waits, at the end, for those who said that they are watching too


def group_store() -> Any:
    """The store of the group that this process is in, None where there is none, or where it cannot be reached."""
    if dist.is_available() and dist.is_initialized():
        with contextlib.suppress(AttributeError, RuntimeError):  # not a public name, nor is every store reachable
            return dist.distributed_c10d._get_default_store()
    return None


class Writes:
    """Which processes of the group write one file, counted through the store."""

    def __init__(self) -> None:
        self._written: dict[str, int] = {}

    def note(self, file: Any) -> dict[str, int]:
        """This process has written `file`: how many of the group have by now, and how many there are in it.

        Each write is counted for itself: with the first of every process, the second with the second, and so on. Empty
        without a group, or where the file has no name.
        """
        name = file if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
        store = group_store()
        if store is None or not isinstance(name, (str, os.PathLike)):
            return {}
        path = os.path.realpath(name)
        number = self._written[path] = self._written.get(path, 0) + 1
        key = f"torchlint/saved/{socket.gethostname()}/{path}/{number}"
        return {"writers": store.add(key, 1), "processes": dist.get_world_size()}


class Ranks:
    """This process among those of its group. `number` tells the watches of one program apart."""

    def __init__(self, number: int) -> None:
        self._prefix = f"torchlint/watch/{number}"
        self._said = 0
        self._heard: dict[int, int] = {}
        self._here = False
        self.rank, self.world = int(os.environ.get("RANK") or 0), int(os.environ.get("WORLD_SIZE") or 1)

    def _store(self) -> Any:
        """The group's store, None where there is no group. What is known of the group is brought up to date."""
        if dist.is_available() and dist.is_initialized():
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
        return group_store()

    @property
    def speaks(self) -> bool:
        """True for rank 0, and for a program of one process."""
        self._store()
        return self.rank == 0

    def say(self, words: list[str], last: bool = False) -> None:
        """Tells rank 0 that this one is watching too, and `words`; after the `last` ones it need not wait for more."""
        store = self._store()
        if store is None or self.rank == 0:
            return
        with contextlib.suppress(RuntimeError):  # rank 0 keeps the store, and may be gone
            if words or last:
                store.set(f"{self._prefix}/{self.rank}/{self._said}", json.dumps({"words": words, "last": last}))
                self._said += 1
            if not self._here:
                store.set(f"{self._prefix}/{self.rank}/here", "1")
                self._here = True

    def hear(self, wait: bool = False) -> Iterator[tuple[int, str]]:
        """What others have left by now for rank 0, each with who said it; `wait`: until all who watch have ended."""
        store = self._store()
        if store is None or self.rank != 0:
            return
        until = time.monotonic() + (GRACE if wait else 0.0)
        with contextlib.suppress(RuntimeError):
            for rank in range(1, self.world):
                while self._heard.get(rank, 0) >= 0 and store.check([f"{self._prefix}/{rank}/here"]):
                    key = f"{self._prefix}/{rank}/{self._heard.get(rank, 0)}"
                    if store.check([key]):
                        message = json.loads(store.get(key))
                        yield from ((rank, word) for word in message["words"])
                        self._heard[rank] = -1 if message["last"] else self._heard.get(rank, 0) + 1
                    elif time.monotonic() < until:
                        time.sleep(0.01)
                    else:
                        break
