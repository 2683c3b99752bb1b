"""Text as Python's own tokenizer splits it: rows end at \\n, \\r\\n or \\r, and at nothing else.

`str.splitlines` also splits at form feeds and a few more, and so miscounts rows.
"""

from __future__ import annotations

import re

_NEWLINE = re.compile(r"\r\n?|\n")


def line_starts(text: str) -> list[int]:
    """The offset at which each row of `text` starts; row 1 is entry 0."""
    return [0, *(found.end() for found in _NEWLINE.finditer(text))]


def rows_of(text: str) -> list[str]:
    """The rows of `text`, each with its line end; the last is empty when the text ends with a line end."""
    starts = line_starts(text)
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
