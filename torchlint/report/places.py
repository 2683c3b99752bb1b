"""What code hosts ask of a finding: a path below the repository's root, and a name that outlives edits elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from torchlint.diagnostic import Diagnostic
from torchlint.run import Report


@dataclass(slots=True, frozen=True)
class Root:
    """The folder that paths are told relative to: the Git repository around the current folder, or that folder."""

    folder: str

    @classmethod
    def find(cls) -> Root:
        here = Path.cwd()
        return cls(str(next((one for one in (here, *here.parents) if (one / ".git").exists()), here)))

    def path(self, filename: str) -> str:
        """`filename` from the root, with forward slashes; absolute when it is not below it."""
        if filename == "-":
            return filename  # standard input is nowhere
        whole = os.path.normpath(Path.cwd() / filename)
        try:
            relative = os.path.relpath(whole, self.folder)
        except ValueError:  # another drive
            relative = os.pardir
        outside = relative == os.pardir or relative.startswith(os.pardir + os.sep)
        return (whole if outside else relative).replace(os.sep, "/")


def sentence(one: Diagnostic) -> str:
    """A finding in words, on one line: what is wrong, and what follows from it; in a notebook also where."""
    where = f"cell {one.cell}, row {one.span.row}, column {one.span.column}: " if one.cell is not None else ""
    end = "" if one.message.endswith((".", "!", "?")) else "."
    return f"{where}{one.message}{end} {one.consequence}".rstrip()


def fingerprints(report: Report, root: Root) -> list[str]:
    """A digest for each finding of the report, in its order: the same as long as rule, file and line text are.

    Equal lines of a file are told apart by their order, so that all digests of a report differ.
    """
    records = {record.filename: record for record in report.records}
    seen: Counter[str] = Counter()
    found: list[str] = []
    for one in report.findings:
        line = records[one.filename].shown(one.cell).get(one.span.row, "").strip()
        text = "\0".join((one.code, root.path(one.filename), line))
        found.append(hashlib.sha256(f"{text}\0{seen[text]}".encode(errors="backslashreplace")).hexdigest()[:32])
        seen[text] += 1
    return found
