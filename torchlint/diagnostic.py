"""What a finding becomes once it is located: plain data that reports, caches and editors share.

Rows and columns are 1-based and columns count characters, as in Ruff's JSON.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """How loudly a finding is reported."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Group(enum.Enum):
    """A rule's promise about false alarms, which sets its default level."""

    CORRECTNESS = "correctness"  # on, error: no false alarm known
    SUSPICIOUS = "suspicious"  # on, warning: right nine times in ten
    PORTABILITY = "portability"  # on, warning
    MIGRATION = "migration"  # on, warning; gated by the torch version
    PERFORMANCE = "performance"  # off
    REPRODUCIBILITY = "reproducibility"  # off
    PEDANTIC = "pedantic"  # off

    @property
    def default(self) -> bool:
        """Whether rules of this group run unless told otherwise."""
        return self in (Group.CORRECTNESS, Group.SUSPICIOUS, Group.PORTABILITY, Group.MIGRATION)

    @property
    def in_tests(self) -> bool:
        """Whether rules of this group run in test files unless told otherwise.

        A test steps once on purpose, compares the outputs of a model in training mode, pickles a whole one to see
        whether it can be: what is probably wrong in a program is probably right there. A certain bug stays one.
        """
        return self not in (Group.SUSPICIOUS, Group.PORTABILITY)

    @property
    def severity(self) -> Severity:
        return Severity.ERROR if self is Group.CORRECTNESS else Severity.WARNING


class Safety(enum.Enum):
    """Whether a fix can be applied unseen. A safe one never changes what a correct program computes."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    DISPLAY = "display"


@dataclass(slots=True, frozen=True, order=True)
class Span:
    """Where something stands; the end is exclusive."""

    row: int
    column: int
    end_row: int
    end_column: int


@dataclass(slots=True, frozen=True)
class TextEdit:
    """Replace `span` by `content`. An insertion has an empty span."""

    span: Span
    content: str
    cell: int | None = None  # of a notebook, in which `span` counts


@dataclass(slots=True, frozen=True)
class Remedy:
    """A fix as text edits that do not overlap."""

    safety: Safety
    message: str
    edits: tuple[TextEdit, ...]


@dataclass(slots=True, frozen=True)
class Related:
    """A second place that explains the first."""

    message: str
    filename: str
    span: Span
    cell: int | None = None


@dataclass(slots=True, frozen=True)
class Diagnostic:
    """One located finding."""

    code: str
    group: str  # a Group's value, or "error" for what befell the file itself (syntax-error, io-error, internal-error)
    severity: Severity
    message: str
    filename: str
    span: Span
    consequence: str = ""
    cell: int | None = None  # of a notebook, from 1; rows count in it
    file_row: int = 0  # then: the row of the file itself, where the cell's row is spelled
    related: tuple[Related, ...] = ()
    fix: Remedy | None = None
    statement_row: int = 0  # first row of the statement, where a suppression alone above it counts
    statement_end_row: int = 0  # last row, where a trailing one counts
    since: str = ""  # first torch version that it holds for, empty: any
    until: str = ""  # last one

    @property
    def key(self) -> tuple[str, int, int, int, str, str]:
        """The order in which findings are reported."""
        return (self.filename, self.cell or 0, self.span.row, self.span.column, self.code, self.message)
