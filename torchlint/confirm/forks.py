"""Which process this is, without asking the system in every step."""

from __future__ import annotations

import os

_here = os.getpid()


def _forked() -> None:
    global _here
    _here = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def process() -> int:
    """As `os.getpid()`."""
    return _here
