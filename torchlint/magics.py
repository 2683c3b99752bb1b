"""What only IPython understands in a cell, replaced by Python of as many rows.

    !pip install timm              ->  pass
    files = !ls data               ->  files = get_ipython()
    %time loss = train(model)      ->  0;    loss = train(model)

Everything else keeps its row and its column. What counts as a magic, a shell line or a call for help, and where it
ends, is as in IPython's own input transformer. `get_ipython` is nothing that torchlint knows: what comes from it, and
what is handed to it, is left in peace.
"""

from __future__ import annotations

import keyword
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from torchlint.syntax import parses
from torchlint.text import line_starts, rows_of

# Cell magics whose cell is Python that runs in the notebook; those whose cell is another language, or runs elsewhere.
# Of any other only this is known: it may do anything to what the cell names.
_RUN_HERE = frozenset(
    "capture debug filprofile heat ipytest memit mprun notify prun pyinstrument run_pytest scalene snakeviz time "
    "timeit wandb".split()
)
_RUN_ELSEWHERE = frozenset(
    "bash bigquery cmd cpp css cu cuda cython file fortran html javascript js julia latex markdown octave perl pypy "
    "python python2 python3 r ruby rust script sh shell skip sql svg sx system writefile writetemplate".split()
)
# Line magics that run the statement behind them, which is told from their options by its syntax.
_RUN_REST = frozenset("lprun memit mprun prun pyinstrument scalene snakeviz time timeit wandb".split())
# What IPython takes for a magic without its `%` where a cell is this one row, and what no Python begins with.
_AUTOMAGIC = re.compile(
    r"(?:alias|cat|cd|clear|conda|cp|env|hist|history|less|ll|load_ext|ls|mamba|man|matplotlib|mkdir|more|mv|pip|pylab"
    r"|pwd|reload_ext|rm|rmdir|run|set_env|tensorboard|time|timeit|uv|who|whos)(?=\s|$)"
)

_CANDIDATE = re.compile(r"^[ \t]*[%!?,;/]|[?][ \t]*(?:\r\n?|\n|\Z)|=[ \t]*[!%]", re.MULTILINE)
_ESCAPE = re.compile(r"[!?%]|[,;/][^\W\d]")
_HELP = re.compile(r"(?:%{0,2}(?!\d)[\w*]+(?:\.(?!\d)[\w*]+|\[-?[0-9]+\])*)\?\??\s*\Z")
_ASSIGNED = re.compile(r"[ \t]*(?:!|%[ \t]*[^\W\d])")
_PROMPT = re.compile(r"(?:>>>|\.\.\.)(?: |(?=[\r\n]|\Z))|In \[\d+\]: |\s*\.{3,}: ?")
_FIRST_PROMPT = re.compile(r">>>(?: |(?=[\r\n]|\Z))|In \[\d+\]: ")
_CELL_MAGIC = re.compile(r"%%([\w.]+)(\??)")
_LINE_MAGIC = re.compile(r"%([^\W\d]\w*)[ \t]+")
_WORD = re.compile(r"\S+")
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_SPECIAL = re.compile(
    r"""(?P<quote>\"{3}|'{3}|["'])|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comment>\#[^\r\n]*)|(?P<end>\r\n?|\n)
      |\\(?:\r\n?|\n)?|[=!<>:+*/%&|^@-]=|(?P<assign>=)""",
    re.VERBOSE,
)
# What ends a string, by the quote that began it. One that does not end ends with its row, or in three quotes the cell.
_STRING_ENDS = {
    quote: re.compile(rf"(?:[^{quote}\\\r\n]|\\(?:\r\n|.))*(?:{quote}|(?=[\r\n])|\Z)", re.DOTALL) for quote in "\"'"
} | {quote * 3: re.compile(rf"(?:[^\\]|\\.)*?(?:{quote * 3}|\Z)", re.DOTALL) for quote in "\"'"}


@dataclass(slots=True)
class Python:
    """A cell as Python: its rows with their line ends, and how they differ from the cell's own."""

    rows: list[str]
    changed: set[int] = field(default_factory=set)  # numbers, from 0, of the rows that were replaced
    shifts: dict[int, int] = field(default_factory=dict)  # by row: the characters that were cut off at its beginning


def python_of(cell: str) -> Python:
    """The Python of a cell: as many rows, in their places. What is not valid stays as it is."""
    result = Python(rows_of(cell))
    first = next((at for at, row in enumerate(result.rows) if not row.isspace() and row), None)
    if first is None:
        return result
    _undress(result, first)
    while (magic := _CELL_MAGIC.match(result.rows[first])) is not None and not magic[2]:
        if magic[1] not in _RUN_HERE:
            return unread(cell, handed=magic[1].lower() not in _RUN_ELSEWHERE)
        _replace(result, first, "pass")
        first = next((at for at in range(first + 1, len(result.rows)) if result.rows[at].strip()), first)
    if _CANDIDATE.search(cell) is not None:
        _replace_lines(result)
    elif (
        _AUTOMAGIC.match(result.rows[first])
        and not any(row.strip() for row in result.rows[first + 1 :])
        and not parses(result.rows[first])
    ):
        _replace(result, first, "pass")
    return result


def unread(cell: str, handed: bool = True) -> Python:
    """A cell that is not read: its rows left out, and what it names handed over, for anything may happen to that."""
    result = Python(rows_of(cell))
    _leave_out(result, range(len(result.rows)))
    names = sorted({name for name in _NAME.findall(cell) if not keyword.iskeyword(name)}) if handed else ()
    if names:
        # The first target gives the value its name, which must not tell what it is.
        targets = " = ".join(["_", *names])
        result.rows[0] = f"{targets} = get_ipython({', '.join(names)})" + _line_end(result.rows[0])
    return result


# ----------------------------------------------------------------------------------------------------- the whole of it


def _undress(result: Python, first: int) -> None:
    """Takes off the indentation of the whole cell, and prompts that were copied into it."""
    row = result.rows[first]
    if row[0] in " \t":
        indent = row[: len(row) - len(row.lstrip(" \t"))]
        for at, row in enumerate(result.rows):
            if row.startswith(indent):
                _cut(result, at, len(indent))
    if _FIRST_PROMPT.match(result.rows[first]):
        for at, row in enumerate(result.rows):
            prompt = _PROMPT.match(row)
            if prompt is not None:
                _cut(result, at, prompt.end())


def _cut(result: Python, at: int, length: int) -> None:
    result.rows[at] = result.rows[at][length:]
    result.shifts[at] = result.shifts.get(at, 0) + length


def _leave_out(result: Python, rows: Iterable[int]) -> None:
    for at in rows:
        _replace(result, at, "")


def _replace(result: Python, at: int, code: str) -> None:
    result.rows[at] = code + _line_end(result.rows[at])
    result.changed.add(at)


def _line_end(row: str) -> str:
    return row[len(row.rstrip("\r\n")) :]


# ----------------------------------------------------------------------------------------------------- its single lines


def _replace_lines(result: Python) -> None:
    before = result.rows[:]
    text = "".join(before)
    starts = line_starts(text)
    at = 0
    while at < len(before) and before[at]:
        row = before[at]
        indent = row[: len(row) - len(row.lstrip(" \t\f"))]
        if _ESCAPE.match(row, len(indent)):
            last = _continued(before, at)
            code = _run(before[at : last + 1], indent)
            if code is None:
                _leave_out(result, range(at, last + 1))
            _replace(result, at, code or f"{indent}pass")
            result.changed.update(range(at, last + 1))
        else:
            end, assigned, asks = _statement(text, starts[at])
            last = bisect_left(starts, end) - 1
            if assigned is not None:
                row_of = bisect_right(starts, assigned) - 1
                last = _continued(before, row_of)
                _leave_out(result, range(row_of, last + 1))
                _replace(result, row_of, f"{text[starts[row_of] : assigned]} get_ipython()")
            elif asks:
                _leave_out(result, range(at, last + 1))
                _replace(result, at, f"{indent}pass")
        at = last + 1


def _continued(rows: list[str], at: int) -> int:
    """The last row of a line that backslashes carry on."""
    while at + 1 < len(rows) and rows[at].rstrip("\r\n").endswith("\\"):
        at += 1
    return at


def _run(rows: list[str], indent: str) -> str | None:
    """The first row of the statement that a line magic runs, in its place; None where it runs none."""
    line = rows[0].rstrip("\r\n")
    magic = _LINE_MAGIC.match(line, len(indent))
    if magic is None or magic[1] not in _RUN_REST:
        return None
    for word in _WORD.finditer(line, magic.end()):  # options come first, and some have an argument
        code = f"{indent}0;".ljust(word.start()) + line[word.start() :]
        if word[0][0] != "-" and parses("\n".join([code.lstrip(), "".join(rows[1:])])):
            return code
    return None


def _statement(text: str, start: int) -> tuple[int, int | None, bool]:
    """One logical line of Python: its end, behind which `=` a magic stands in it, and whether it asks for help."""
    at, depth, assigned, commented = start, 0, False, False
    while (found := _SPECIAL.search(text, at)) is not None:
        at = found.end()
        match found.lastgroup:
            case "quote":
                ended = _STRING_ENDS[found["quote"]].match(text, at)
                at = ended.end() if ended is not None else len(text)
            case "open":
                depth += 1
            case "close":
                depth = max(0, depth - 1)
            case "comment":
                commented = True
            case "assign" if not depth and not assigned:
                assigned = True
                if _ASSIGNED.match(text, at):
                    return at, at, False
            case "end" if not depth:
                break
            case _:
                pass
    else:
        at = len(text)
    return at, None, not commented and _HELP.search(text[start:at]) is not None
