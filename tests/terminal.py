"""A terminal, for what is only told to one: a real pty, and an emulator that renders what is written to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

import pyte


class Terminal:
    """One that runs a command."""

    def __init__(self, command: Sequence[str], columns: int, rows: int, environment: Mapping[str, str]) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(command[0], list(command), dict(environment))
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without the empty rows at its end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait(self, text: str, timeout: float = 60) -> None:
        """Until `text` is on the screen."""
        end = time.monotonic() + timeout
        while not any(text in line for line in self.lines):
            if time.monotonic() > end or not self._read(end):
                raise AssertionError(f"{text!r} did not appear:\n" + "\n".join(self.lines))

    def finish(self, timeout: float = 60) -> int:
        """Until the command ends; its exit status."""
        end = time.monotonic() + timeout
        while self._read(end):
            if time.monotonic() > end:
                raise AssertionError("it did not end:\n" + "\n".join(self.lines))
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def _read(self, end: float) -> bool:
        """Takes what the command has written; False when it has closed the terminal."""
        ready, _, _ = select.select([self.fd], [], [], max(0.0, min(0.2, end - time.monotonic())))
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # as Linux says that the other end is closed
            return False
        self.written += data
        self.stream.feed(data)
        return bool(data)

    def close(self) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def opened(
    command: Sequence[str], columns: int = 80, rows: int = 40, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """A terminal with a command in it; `environment` is added to the usual one."""
    usual = {name: value for name, value in os.environ.items() if name not in _NOT_USUAL}
    one = Terminal(command, columns, rows, {**usual, "TERM": "xterm-256color", **(environment or {})})
    try:
        yield one
    finally:
        one.close()


_NOT_USUAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "COLUMNS", "LINES")
