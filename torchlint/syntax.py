"""Whether code is valid: by Python's own parser, which is the fast one, and by libcst's, which reads newer syntax too.

Also how to go about code that is nested deeply: libcst's parser is recursive and cannot catch the end of its stack.
"""

from __future__ import annotations

import ast
import sys
import threading
import warnings
from collections.abc import Callable
from typing import TypeVar

from torchlint.source import Source, SourceError

T = TypeVar("T")

TOO_DEEP = "is nested too deeply to be parsed"
# Until 3.11 Python bounds the depth of code only when it compiles it, and libcst needs minutes for what has no bound.
BOUNDED = ast.PyCF_ONLY_AST if sys.version_info >= (3, 11) else 0


def check(source: Source) -> None:
    """Raises SourceError when a file is broken."""
    _ = source.text  # says what is wrong with the bytes better than the parser would
    if not accepts(source.data):
        _ = source.tree


def problem(code: str) -> SourceError | None:
    """What is wrong with `code`, at its row and column; None when it is valid."""
    try:
        if accepts(code):
            return None
        source = Source("", code.encode())
        _ = with_large_stack(lambda: source.tree) if deep(source.data) else source.tree
    except UnicodeEncodeError as error:
        row = code[: error.start].count("\n") + 1
        return SourceError("syntax-error", "holds half of a character (a lone surrogate)", row)
    except (RecursionError, MemoryError):
        return SourceError("syntax-error", TOO_DEEP)
    except SourceError as error:
        return SourceError("syntax-error", *in_words(error, Source("", code.encode())))
    return None


def accepts(code: bytes | str, flags: int = ast.PyCF_ONLY_AST) -> bool:
    """Whether Python's parser takes `code`. Raises RecursionError or MemoryError for what is nested too deeply."""
    try:
        _parse(code, flags)
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError) and error.msg and error.msg.startswith("too many nested"):
            raise RecursionError(error.msg) from error
        return False
    return True


def parses(code: str) -> bool:
    """Whether Python's parser takes `code`, which is no more than a line or two."""
    try:
        return accepts(code)
    except (RecursionError, MemoryError):
        return False


def in_words(error: SourceError, source: Source) -> tuple[str, int, int]:
    """Message, row and column of an error. Of broken syntax Python says better what it is, and where, than libcst."""
    if error.code == "syntax-error":
        try:
            _parse(source.text)  # of bytes it would count columns in bytes
        except SyntaxError as better:
            return better.msg, max(1, better.lineno or 1), max(1, better.offset or 1)
        except (ValueError, RecursionError, MemoryError):
            pass  # what libcst says is all there is
    return str(error), error.row, error.column


def _parse(code: bytes | str, flags: int = ast.PyCF_ONLY_AST) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes and the like are Python's to say
        compile(code, "<source>", "exec", flags, dont_inherit=True)


_BRACKETS = b"()[]{}"
_NOT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_OPERATORS = b"+-*/%@&|^~."
_WORDS = (b" and", b" or", b"not ", b"lambda", b"elif", b"else", b"await ")


def deep(data: bytes) -> bool:
    """True when the file could be nested so deeply that libcst's recursive parser would end the process.

    Cheap and generous, counting what nests wherever it stands: such a file is parsed with more care, not refused.
    """
    if len(data) > 64 * 1024 or max(map(len, data.splitlines()), default=0) > 2000:
        return True
    operators = len(data) - len(data.translate(None, _OPERATORS))
    if operators + sum(map(data.count, _WORDS)) > 4000:
        return True
    brackets = data.translate(None, _NOT_BRACKETS)
    for _ in range(100):  # each pass takes the innermost pairs out
        shorter = brackets.replace(b"()", b"").replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return len(brackets) > 100


def with_large_stack(work: Callable[[], T]) -> T:
    """Runs `work` where native recursion has room, and hands on what it raises."""
    result: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # handed on to the caller below
            failed.append(error)

    before = threading.stack_size(256 * 1024 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if failed:
        raise failed[0]
    return result[0]
