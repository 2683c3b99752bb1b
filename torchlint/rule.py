"""What a rule is. A rule is one module in `rules/`: its name is the rule's name, its docstring the rule's page.

group = Group.CORRECTNESS
words = [{"backward"}, {"step"}]       # a file without one word of each set cannot have this pitfall
def check(facts: Facts) -> Iterator[Finding]: ...
def probe(trace: Trace) -> Iterator[Measurement]: ...      # the same pitfall, measured in a run
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torchlint.diagnostic import Group as Group
from torchlint.diagnostic import Safety as Safety
from torchlint.facts import ClassInfo, Duty, Event, FunctionInfo, Made, Root, Site, Softmax, Value

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace
    from torchlint.source import Source


class Facts(Protocol):
    """What the semantic layer knows of one file."""

    filename: str
    roots: list[Root]  # the module body first, then each function that nothing in the file calls
    constructions: list[tuple[ClassInfo, Root]]  # each module class's constructor, followed on an object of its own
    forwards: list[tuple[ClassInfo, Root]]  # each module class's forward (it may be a base's), on that same object

    @property
    def classes(self) -> list[ClassInfo]: ...

    @property
    def functions(self) -> list[FunctionInfo]: ...

    @property
    def words(self) -> frozenset[str]:
        """Every identifier of the file."""
        ...

    @property
    def wants_gpu(self) -> bool:
        """Whether a framework's trainer or engine is told to run on a GPU: without one the program is not meant to."""
        ...

    def relieved(self, duty: Duty) -> bool:
        """Whether something that the file names (a framework, a scaler) may do a part of `duty` by itself."""
        ...

    def softmaxes(self) -> list[Softmax]:
        """The calls and constructions of a softmax without `dim`, in the order of the file."""
        ...

    @property
    def others(self) -> Sequence[Source]:
        """The other files of the project that were looked into."""
        ...

    def text(self, site: Site) -> str:
        """The source of a place, as the user wrote it, on one line."""
        ...

    def spell(self, api: str) -> str | None:
        """How this file writes a dotted name (`torch.no_grad` -> `th.no_grad`), None when it is not imported."""
        ...

    def remarks(self, site: Site) -> str:
        """The comments that stand at the statement of a place, in lower case."""
        ...

    def elsewhere(self, word: str) -> bool:
        """Whether a file of the project that this one imports from uses `word`: code out of sight may do it."""
        ...

    def binds(self, function: FunctionInfo | None, name: str) -> bool:
        """Whether `name` means something in a function (in the module body for None), so that a fix may write it."""
        ...

    def behind(self, words: Iterable[str], answers: bool = False) -> frozenset[str]:
        """`words`, and the words of all that anything by these names is ever made of in the file.

        `answers`: of what answers a question only, a comparison or another name.
        """
        ...

    def setters(self, cls: ClassInfo, attribute: str) -> list[FunctionInfo | None]:
        """The methods of a class and its bases in sight that assign `self.attribute`; None for a class body."""
        ...

    @property
    def everything(self) -> list[Event]:
        """The events of all roots, and of constructors that were run for an object's attributes only; in no order."""
        ...

    def reads(self, function: FunctionInfo | None, name: str) -> tuple[int, int]:
        """How often a name is read in a function (in the file for None), and how often returned; `.x`: an attribute."""
        ...

    def has_parameters(self, value: Value) -> bool:
        """Whether a module certainly has parameters of its own or in its parts."""
        ...

    def made(self, value: Value) -> list[Made] | None:
        """The operations that `value` is the result of, one for each path, looking into modules of the file.

        None when on some path that is not certain.
        """
        ...

    def depends_on_mode(self, value: Value) -> bool | None:
        """Whether a module has dropout or batch normalisation in it; None when that cannot be seen."""
        ...


# ------------------------------------------------------------------------------------------------------------ changes


@dataclass(slots=True, frozen=True, eq=False)
class InsertBefore:
    """New statements right before the statement of `site`, at its indentation."""

    site: Site
    lines: tuple[str, ...]


@dataclass(slots=True, frozen=True, eq=False)
class InsertAfter:
    """New statements right after the statement of `site`, at its indentation."""

    site: Site
    lines: tuple[str, ...]


@dataclass(slots=True, frozen=True, eq=False)
class InsertFirst:
    """New statements at the top of the body of the function, class or loop at `site`, after a docstring."""

    site: Site
    lines: tuple[str, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Replace:
    """`text` in place of the expression at `site`."""

    site: Site
    text: str


@dataclass(slots=True, frozen=True, eq=False)
class Around:
    """`before` and `after` written directly around the expression at `site` (`x` -> `x.state_dict()`)."""

    site: Site
    before: str = ""
    after: str = ""


@dataclass(slots=True, frozen=True, eq=False)
class Decorate:
    """A decorator line above the function at `site`."""

    site: Site
    text: str


@dataclass(slots=True, frozen=True, eq=False)
class Wrap:
    """The statement of `site` indented under a new header line (`with torch.no_grad():`)."""

    site: Site
    header: str


@dataclass(slots=True, frozen=True, eq=False)
class Remove:
    """The statement of `site` taken out, its line with it."""

    site: Site


Change = InsertBefore | InsertAfter | InsertFirst | Replace | Around | Decorate | Wrap | Remove


@dataclass(slots=True, frozen=True, eq=False)
class Fix:
    """A mend: what it does in words, how safe it is, and the changes."""

    message: str
    safety: Safety
    changes: tuple[Change, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Finding:
    """What a rule yields: the statement a person would change, what is wrong with it, and what follows from that."""

    site: Site
    message: str  # what is wrong, naming the user's own variables
    consequence: str  # what it does to the training, one sentence
    related: tuple[tuple[str, Site], ...] = ()
    fix: Fix | None = None
    since: str = ""  # first torch version that it holds for, where that is not the whole rule's
    until: str = ""  # last one


HEADINGS = ("What it finds", "Why it hurts", "Example", "Fix and its safety", "Known limits", "Proof", "References")


@dataclass(slots=True, frozen=True)
class Page:
    """A rule's docstring, taken apart: the first line, and the sections by heading."""

    summary: str
    sections: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, docstring: str, of: str, headings: Sequence[str] = HEADINGS) -> Page:
        """Reads the page of rule `of`; `headings` are `HEADINGS` in the language that it is written in.

        Raises ValueError naming the rule and the section when one of them is missing or empty.
        """
        import inspect

        names = dict(zip(headings, HEADINGS, strict=True))
        summary, _, rest = inspect.cleandoc(docstring).partition("\n")
        sections: dict[str, list[str]] = {}
        current: list[str] | None = None
        for line in rest.splitlines():
            if line.startswith("## "):
                heading = line[3:].strip()
                current = sections.setdefault(names.get(heading, heading), [])
            elif current is not None:
                current.append(line)
        found = {heading: "\n".join(lines).strip() for heading, lines in sections.items()}
        missing = [h for h in HEADINGS if not found.get(h)]
        if missing or not summary.strip():
            raise ValueError(f"rule {of}: its docstring lacks {', '.join(missing) or 'a first line'}")
        return cls(summary.strip(), found)


@dataclass(slots=True, frozen=True)
class Rule:
    """A rule, read from its module by `registry`."""

    name: str
    group: Group
    page: Page
    words: tuple[frozenset[str], ...]
    check: Callable[[Facts], Iterable[Finding]]
    probe: Callable[[Trace], Iterator[Measurement]] | None
    fixable: str  # "safe", "unsafe", "sometimes" or "": what `torchlint rules` shows
    preview: bool = False
    since: str = ""  # first torch version it applies to, empty for all
    until: str = ""  # last one
