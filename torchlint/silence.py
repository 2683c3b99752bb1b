"""Comments for all that is found: what `--add-ignore` writes, so that the next run finds nothing.

What was written is linted again, and must mean the same to Python: comments never change what code does.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from torchlint import fix, suppress
from torchlint.diagnostic import Diagnostic, Remedy, Safety
from torchlint.source import Source

_ROUNDS = 3  # one is enough, unless what is found hangs on what another finding is suppressed for


@dataclass(slots=True)
class Silenced:
    """What became of a file: its new source, what a comment suppresses there now, and what is still found."""

    source: Source
    silenced: list[Diagnostic] = field(default_factory=list)
    remaining: list[Diagnostic] = field(default_factory=list)
    refused: str = ""  # why the file is left as it was


def silence(
    source: Source,
    found: list[Diagnostic],
    lint: Callable[[Source], list[Diagnostic]],
    known: Collection[str],
    reason: str,
) -> Silenced:
    """Adds comments for what is `found` in a source; `lint` gives the findings that count.

    `known` are the names of rules: only they can be suppressed, and what befell the file stays. Raises SourceError.
    """
    result = Silenced(source, remaining=found)
    for _ in range(_ROUNDS):
        before = result.source
        if not any(one.code in known for one in result.remaining):
            break
        edits = suppress.ignoring(before, result.remaining, known, reason)
        try:
            trial, _ = fix.edited(before, [Remedy(Safety.SAFE, "", (edit,)) for edit in edits if before.takes(edit)])
        except UnicodeEncodeError:
            return Silenced(source, [], found, f"the reason cannot be written in {before.encoding}, its encoding")
        if trial is None or not _same(before.text, trial.text):
            return Silenced(source, [], found, "a comment would change what the code means")
        result.source, result.remaining = trial, lint(trial)
    left = Counter(one.code for one in result.remaining)
    for one in found:
        if left[one.code]:
            left[one.code] -= 1
        else:
            result.silenced.append(one)
    return result


def _same(before: str, after: str) -> bool:
    """Whether two texts are the same to Python; what this Python cannot read is taken on trust, being only comments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(before)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return True
        try:
            return ast.dump(tree) == ast.dump(ast.parse(after))
        except (SyntaxError, ValueError):
            return False
