"""Whose code is on the stack: the user's own line behind a call into torch."""

from __future__ import annotations

import dis
import functools
import itertools
import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from torchlint.confirm.events import Place

CALLERS = 6  # that a place remembers
PLACES = 4096  # that are remembered
_HERE = str(Path(__file__).resolve().parent)
_LIBRARIES = tuple(
    os.path.normcase(path) + os.sep
    for path in {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")} | {_HERE}
)


@functools.lru_cache(maxsize=4096)
def is_users(filename: str) -> bool:
    """True for a file of the program: not torch's, not a library's, not the standard library's, not the trace's."""
    if filename.startswith("<"):
        return filename.startswith("<ipython")
    path = os.path.normcase(os.path.abspath(filename))  # noqa: PTH100 - a symbolic link stays what the user calls it
    return not path.startswith(_LIBRARIES) and f"{os.sep}site-packages{os.sep}" not in path


def user_place(frame: FrameType | None = None) -> Place:
    """The innermost user's line at or above `frame` (the caller's by default); an empty place when there is none."""
    one: FrameType | None = frame if frame is not None else sys._getframe(1)
    codes: list[CodeType] = []
    at: list[int] = []
    while one is not None and len(codes) <= CALLERS:
        code = one.f_code
        if is_users(code.co_filename):
            codes.append(code)
            at += id(code), one.f_lasti
        one = one.f_back
    key = tuple(at)
    known = _PLACES.get(key)
    if known is None:
        if len(_PLACES) >= PLACES:
            _PLACES.clear()
        known = _PLACES[key] = _place(codes, at[1::2]), codes
    return known[0]


# By the instructions that run. Each training step asks for the same ones, and to count lines takes Python long. The
# code is kept, so that what is in the keys is never the address of another.
_PLACES: dict[tuple[int, ...], tuple[Place, list[CodeType]]] = {}


def _place(codes: list[CodeType], at: list[int]) -> Place:
    if not codes:
        return Place()
    lines = [(code.co_filename, _line(code, offset)) for code, offset in zip(codes, at, strict=True)]
    return Place(*lines[0], codes[0].co_name, tuple(lines[1:]))


def _line(code: CodeType, at: int) -> int:
    return next((line or 0 for start, end, line in code.co_lines() if start <= at < end), code.co_firstlineno)


def innermost_user(traceback: TracebackType | None) -> Place:
    """The innermost user's line of a traceback."""
    place = Place()
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_users(code.co_filename):
            place = Place(code.co_filename, traceback.tb_lineno, code.co_name)
        traceback = traceback.tb_next
    return place


def speaks_of_devices() -> bool:
    """True when the user's function that runs, the innermost, names a device: it may place what it makes."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if is_users(code.co_filename):
            keywords = (name for one in code.co_consts if isinstance(one, tuple) for name in one)
            return not _DEVICES.isdisjoint((*code.co_names, *code.co_varnames, *filter(_is_text, keywords)))
        frame = frame.f_back
    return False


_DEVICES = frozenset({"device", "cuda"})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def discards(frame: FrameType) -> bool:
    """True when the call that `frame` is making is a statement of its own, so that the result is thrown away.

    Read from the instruction after the call, which no way of writing the statement can hide.
    """
    key = id(frame.f_code), frame.f_lasti
    known = _DISCARDING.get(key)
    if known is None:
        if len(_DISCARDING) >= PLACES:
            _DISCARDING.clear()
        known = _DISCARDING[key] = _discards(frame.f_code, frame.f_lasti), frame.f_code
    return known[0]


_DISCARDING: dict[tuple[int, int], tuple[bool, CodeType]] = {}


def initialises_later(thing: object) -> bool:
    """True when an `__init__` of `thing` is running that has yet to call another `__init__`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__init__" and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is thing:
            rest = [one for one in dis.get_instructions(code) if one.offset > frame.f_lasti and one.opname != "CACHE"]
            for one, following in itertools.pairwise(rest):
                if one.argval == "__init__" and one.opname.startswith("LOAD") and following.opname != "POP_TOP":
                    return True
        frame = frame.f_back
    return False


def overwritten(frame: FrameType) -> object:
    """What the name or attribute holds now that the result of the call that `frame` is making will be stored in.

    None where it is stored nowhere, or there is nothing yet.
    """
    names = _stored(frame.f_code, frame.f_lasti)
    if not names:
        return None
    thing = frame.f_locals.get(names[0], frame.f_globals.get(names[0]))
    for name in names[1:]:
        own = getattr(thing, "__dict__", {})  # looked up by hand: a property of the program must not run
        thing = own.get(name, own.get("_modules", {}).get(name))
    return thing


@functools.lru_cache(maxsize=1024)
def _stored(code: CodeType, at: int) -> tuple[str, ...]:
    following = (one for one in dis.get_instructions(code) if one.offset > at and one.opname != "CACHE")
    names: list[str] = []
    for one in itertools.islice(following, 6):
        values = one.argval if isinstance(one.argval, tuple) else (one.argval,)
        if one.opname.startswith("STORE") and all(isinstance(value, str) for value in values):
            return (*names, values[0])
        if not one.opname.startswith("LOAD") or not isinstance(one.argval, str):
            return ()
        names.append(one.argval)
    return ()


def _discards(code: CodeType, at: int) -> bool:
    instructions = dis.get_instructions(code)
    following = next((one for one in instructions if one.offset > at and one.opname != "CACHE"), None)
    return following is not None and following.opname == "POP_TOP"
