"""What a terminal can show: colour, width, and text that cannot take the terminal over."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

TAB = 4
_CODES = {"red": "31", "yellow": "33", "green": "32", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}


@dataclass(slots=True, frozen=True)
class Style:
    """How text is dressed: `width` is the terminal's, 0 where there is none."""

    color: bool = False
    width: int = 0

    def __call__(self, text: str, *looks: str) -> str:
        """`text` with these looks, where colour is wanted."""
        if not self.color or not text:
            return text
        return f"\x1b[{';'.join(_CODES[look] for look in looks)}m{text}\x1b[0m"


def style_for(stream: IO[str], color: str, environment: Mapping[str, str] = os.environ) -> Style:
    """The style for a stream; `color` is auto, always or never."""
    terminal = stream.isatty()
    if color == "auto":
        forced = any(environment.get(name) not in (None, "", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
        able = terminal and environment.get("TERM") != "dumb" and environment.get("CLICOLOR") != "0"
        wanted = not environment.get("NO_COLOR") and (forced or able)
    else:
        wanted = color == "always"
    return Style(wanted, shutil.get_terminal_size().columns if terminal else 0)


_VARIATIONS = "\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # of emoji: text or picture, skin
_JOINER = "\u200d"


def printable(text: str, column: int = 0) -> str:
    """`text` with tabs as spaces, and escapes in place of what would move the cursor or hide itself.

    `column` is where on the screen it begins, for the tabs. Terminals disagree about the width of emoji that are made
    of several; these are shown as their parts.
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    emoji = False
    for char in text:
        kind = unicodedata.category(char)
        if emoji and (char in _VARIATIONS or char == _JOINER):
            continue
        emoji = kind == "So"
        if char == "\t":
            piece = " " * (TAB - column % TAB)
        elif kind in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            piece = char.encode("unicode_escape").decode()
        else:
            piece = char
        shown.append(piece)
        column += width(piece)
    return "".join(shown)


def width(text: str) -> int:
    """How many columns printable `text` takes on a screen."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff"  # vowels in Hangul syllables
        else 2 if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )  # fmt: skip
