"""Where nodes stand: one pass that writes the code out again and notes at which token each wanted node begins and ends.

libcst's own PositionProvider keeps a position for every node, over a deep copy of the tree: six times the cost of this.
The positions are the same: without the whitespace, comments and decorators before and after.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from types import TracebackType
from typing import Any

import libcst
from libcst._nodes.internal import CodegenState

from torchlint.diagnostic import Span
from torchlint.text import line_starts

_NOTHING: AbstractContextManager[None] = nullcontext()


class _Marks(CodegenState):
    """Collects the tokens, and for wanted nodes the numbers of the tokens at which they begin and end."""

    # The base is a dataclass with slots, which a subclass may extend only by other names.
    __slots__ = ("begun", "marks", "wanted")

    def __init__(self, module: libcst.Module, wanted: set[int]) -> None:
        super().__init__(default_indent=module.default_indent, default_newline=module.default_newline)
        self.wanted = wanted
        self.begun: dict[int, int] = {}
        self.marks: dict[int, tuple[int, int]] = {}

    def before_codegen(self, node: libcst.CSTNode) -> None:
        if id(node) in self.wanted:
            self.begun[id(node)] = len(self.tokens)

    def after_codegen(self, node: libcst.CSTNode) -> None:
        if id(node) in self.wanted:
            self.marks.setdefault(id(node), (self.begun[id(node)], len(self.tokens)))

    def record_syntactic_position(  # type: ignore[override]  # any context manager will do, a generator is slow
        self,
        node: libcst.CSTNode,
        *,
        start_node: libcst.CSTNode | None = None,
        end_node: libcst.CSTNode | None = None,
    ) -> AbstractContextManager[None]:
        if id(node) not in self.wanted:
            return _NOTHING
        # Its bounds are those of children that come next: they are wanted too.
        self.wanted.update(id(n) for n in (start_node, end_node) if n is not None)
        return _Between(self, id(node), start_node, end_node)


class _Between:
    """What libcst calls the syntactic part of a node: the tokens written inside this `with`."""

    __slots__ = ("end_node", "key", "start", "start_node", "state")

    def __init__(
        self, state: _Marks, key: int, start_node: libcst.CSTNode | None, end_node: libcst.CSTNode | None
    ) -> None:
        self.state = state
        self.key = key
        self.start_node = start_node
        self.end_node = end_node
        self.start = 0

    def __enter__(self) -> None:
        self.start = len(self.state.tokens)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        marks = self.state.marks
        start = self.start if self.start_node is None else marks[id(self.start_node)][0]
        end = len(self.state.tokens) if self.end_node is None else marks[id(self.end_node)][1]
        marks[self.key] = (start, end)


def spans_of(tree: libcst.Module, wanted: dict[int, Any], original: str | None = None) -> dict[int, Span]:
    """The place of each node of `wanted` (by its id) in `original`, the text that `tree` was parsed from.

    Without `original` the tree's own code is taken for it, which it nearly always is. A node that is not in the tree
    has no entry in the answer. Raises ValueError when `tree` cannot come from `original`.
    """
    state = _Marks(tree, set(wanted))
    tree._codegen(state)
    offsets = [0, *accumulate(map(len, state.tokens))]
    text = "".join(state.tokens)
    if original is not None and original != text:
        moved = _aligned(text, original)
        offsets = [moved[offset] for offset in offsets]
        text = original
    starts = line_starts(text)

    def place(token: int) -> tuple[int, int]:
        offset = offsets[min(token, len(offsets) - 1)]
        row = bisect_right(starts, offset)
        return row, offset - starts[row - 1] + 1

    return {key: Span(*place(start), *place(end)) for key, (start, end) in state.marks.items() if key in wanted}


_LOST = frozenset(" \t\f\\\r\n")


def _aligned(written: str, original: str) -> list[int]:
    """For each offset in `written` the one in `original`.

    libcst does not keep all that means nothing: a row that holds only a backslash is lost, as is a form feed before
    an indentation, or a comment between two that are indented differently; and what is lost moves everything behind it.
    All else is the same in both.
    """
    moved: list[int] = []
    at = 0
    for char in written:
        while at < len(original) and original[at] != char and (original[at] in _LOST or original[at] == "#"):
            at = original.find("\n", at) if original[at] == "#" else at + 1
            at = len(original) if at < 0 else at
        moved.append(at)
        if at < len(original) and original[at] == char:
            at += 1
        elif char not in _LOST:
            raise ValueError("the tree does not spell the text it was parsed from")
    return [*moved, len(original)]
