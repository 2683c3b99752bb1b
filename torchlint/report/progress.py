"""How far a long run is: on a terminal only, after a second, and erased at the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO

AFTER = 1.0  # seconds: shorter runs have nothing to say
EVERY = 0.1


class Progress:
    """A line that counts files, `with Progress(...) as progress: progress(done)`."""

    def __init__(self, stream: IO[str], total: int, wanted: bool, environment: Mapping[str, str] = os.environ) -> None:
        self.stream = stream
        self.total = total
        self.wanted = wanted and stream.isatty() and environment.get("TERM") != "dumb"
        self.due = time.monotonic() + AFTER
        self.shown = 0  # columns that are written

    def __call__(self, done: int) -> None:
        """Tells how many files are done."""
        if not self.wanted or time.monotonic() < self.due:
            return
        self.due = time.monotonic() + EVERY
        room = shutil.get_terminal_size().columns - 1  # a full row would begin another
        line = f"torchlint: {done:,} of {self.total:,} files"[:room]
        before, self.shown = self.shown, len(line)  # first, for an interruption may come amid the writing
        self._write("\r" + line.ljust(min(before, room)))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.shown:
            echoed = len("^C") if kind is KeyboardInterrupt else 0
            room = shutil.get_terminal_size().columns - 1
            self._write("\r" + " " * min(self.shown + echoed, room) + "\r")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
