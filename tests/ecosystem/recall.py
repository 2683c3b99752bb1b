"""How many real bugs the rules find: bugs that somebody once fixed in a public repository.

Takes a list of such bugs (JSON lines: repo, fix, parent, path, line, pitfall, scope) and a folder with the code, lints
the file before the fix and after it, and says which bugs were reported and which reports the fix silenced. A bug counts
as found when a rule that stands for its pitfall reports in the same function, or within 15 lines of the bug's line, or
names such a place among the lines that explain the finding. Where its own file tells nothing, the files beside it that
name it are linted as well: what is wrong in a helper is often reported where it is called.

    python -m tests.ecosystem.recall --rows realbugs.jsonl FOLDER

FOLDER holds either the projects laid out by row number, `<n>/before/` and `<n>/after/` (n counts from 1; with only the
file itself in it, what hangs on other files cannot be found), or clones of the repositories named `<owner>+<name>`,
`<owner>__<name>` or `<owner>/<name>`, bare or not. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torchlint import imports
from torchlint.diagnostic import Diagnostic
from torchlint.engine import analyse
from torchlint.registry import load
from torchlint.source import Source, SourceError

NEAR = 15  # lines

# Which rules stand for a pitfall. Rules that do not exist yet are ignored, and so are pitfalls without a rule.
RULES: dict[str, tuple[str, ...]] = {
    "amp-missing-unscale": ("clip-without-unscale",),
    "device-mismatch": ("device-mismatch", "tensor-without-device"),
    "direct-forward-call": ("direct-forward-call",),
    "discarded-tensor-op": ("tensor-move-discarded", "ignored-tensor-result"),
    "functional-dropout-without-training": ("dropout-ignores-eval",),
    "grad-mode-not-restored": ("grad-mode-not-restored",),
    "inplace-on-leaf": ("in-place-parameter-update",),
    "loss-accumulation-without-item": ("loss-accumulated-with-graph",),
    "missing-backward": ("missing-backward",),
    "missing-eval": ("inference-without-eval",),
    "missing-map-location": ("load-without-map-location",),
    "missing-no-grad": ("inference-without-no-grad",),
    "missing-set-epoch": ("sampler-without-set-epoch",),
    "missing-shuffle": ("unshuffled-training-loader",),
    "missing-super-init": ("missing-super-init", "attribute-before-super-init"),
    "missing-train-after-eval": ("train-mode-not-restored",),
    "missing-train-mode": ("train-mode-not-restored",),
    "missing-zero-grad": ("missing-zero-grad",),
    "nllloss-without-log-softmax": ("nll-loss-without-log-softmax",),
    "optimizer-module-instead-of-parameters": ("optimizer-given-tensor",),
    "optimizer-recreated-in-loop": ("optimizer-rebuilt-in-loop",),
    "optimizer-stale-parameters": ("parameter-replaced-after-optimizer",),
    "optimizer-wrong-parameters": ("optimizer-for-other-model", "parameters-missing-from-optimizer"),
    "scheduler-order": ("scheduler-before-optimizer",),
    "sdpa-dropout-in-eval": ("dropout-ignores-eval",),
    "sigmoid-before-bce-with-logits": ("sigmoid-before-bce-with-logits",),
    "submodule-before-super-init": ("attribute-before-super-init", "missing-super-init"),
    "torch-load-weights-only": ("unsafe-load", "whole-model-load"),
    "unregistered-buffer": ("unregistered-tensor",),
    "unregistered-module-list": ("modules-in-plain-container",),
    "whole-model-save": ("whole-model-save",),
    "worker-numpy-seed": ("numpy-random-in-workers",),
    "zero-grad-breaks-accumulation": ("zero-grad-breaks-accumulation",),
}


@dataclass(slots=True, frozen=True)
class Row:
    """One bug that was fixed; `number` counts from 1."""

    number: int
    repo: str
    fix: str
    parent: str
    path: str
    line: int
    pitfall: str
    scope: str

    @property
    def rules(self) -> tuple[str, ...]:
        return RULES.get(self.pitfall, ())


@dataclass(slots=True, frozen=True)
class Outcome:
    """What the linter said of a row: the findings that hit it, before the fix and after."""

    row: Row
    before: tuple[Diagnostic, ...] = ()
    after: tuple[Diagnostic, ...] = ()
    problem: str = ""  # why the row could not be judged

    @property
    def hit(self) -> bool:
        return bool(self.before)

    @property
    def gone(self) -> bool:
        return self.hit and len(self.after) < len(self.before)

    @property
    def word(self) -> str:
        if self.problem:
            return "not judged"
        if not self.hit:
            return "missed"
        return "hit, gone after the fix" if self.gone else "hit, still there"


def read_rows(path: Path) -> list[Row]:
    """Raises ValueError naming the line that is not a row."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_row(line, number, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _row(line: str, number: int, place: str) -> Row:
    try:
        data = json.loads(line)
        fields = {name: data[name] for name in ("repo", "fix", "parent", "path", "pitfall", "scope")}
        return Row(number=number, line=int(data["line"]), **fields)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place}: not a row ({error!r})") from error


@contextmanager
def trees(folder: Path, row: Row) -> Iterator[tuple[Path, Path]]:
    """The folders with the project as it was before the fix and after it, for as long as they are needed.

    Raises LookupError saying what is missing.
    """
    laid_out = folder / str(row.number)
    if laid_out.is_dir():
        yield laid_out / "before", laid_out / "after"
        return
    git = _git_directory(folder, row.repo)
    with tempfile.TemporaryDirectory(prefix="torchlint-") as scratch:
        places = []
        for name, revision in (("before", row.parent), ("after", row.fix)):
            place = Path(scratch, name)
            place.mkdir()
            _unpack(git, revision, place)
            places.append(place)
        yield places[0], places[1]


def _unpack(git: Path, revision: str, place: Path) -> None:
    """Puts the Python files of a revision into a folder, so that imports lead where they led."""
    made = subprocess.run(["git", "--git-dir", str(git), "archive", revision, "--", "*.py"], capture_output=True)
    if made.returncode:
        raise LookupError(made.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(place, filter="data")


def _git_directory(folder: Path, repo: str) -> Path:
    for name in (repo.replace("/", "+"), repo.replace("/", "__"), repo):
        for candidate in (folder / name, folder / name / "repo"):
            for git in (candidate / ".git", candidate):
                if (git / "objects").is_dir():
                    return git
    raise LookupError(f"no folder of row and no clone of {repo} in {folder}")


def judge(row: Row, folder: Path) -> Outcome:
    """Lints both files and keeps the findings that hit the row."""
    try:
        with trees(folder, row) as (before, after):
            old, new = _read(before / row.path), _read(after / row.path)
            place = _function(old.data, row.line)
            line = _line_after(old.data, new.data, row.line)
            return Outcome(row, _all_hits(row, old, row.line, place), _all_hits(row, new, line, place))
    except LookupError as error:
        return Outcome(row, problem=str(error))


def _read(path: Path) -> Source:
    """Raises LookupError when the file cannot be read."""
    try:
        return Source.read(path)
    except SourceError as error:
        raise LookupError(f"{path}: {error}") from error


def _all_hits(row: Row, source: Source, line: int, place: str) -> tuple[Diagnostic, ...]:
    """The findings at a bug, told in its file or in one beside it."""
    found = _hits(row, source, source, line, place)
    if not found:
        path = Path(source.filename)
        for other in sorted(path.parent.glob("*.py")):
            if other != path and path.stem.encode() in other.read_bytes():
                found += _hits(row, _read(other), source, line, place)
    return found


def _hits(row: Row, linted: Source, source: Source, line: int, place: str) -> tuple[Diagnostic, ...]:
    """What is said of `linted` that concerns a line of `source`. Raises LookupError when it could not be analysed."""
    wanted = [rule for rule in load() if rule.name in row.rules]
    imports.forget()
    found = analyse(linted, wanted)
    for one in found:
        if linted is source and one.code not in row.rules:
            raise LookupError(f"{one.code}: {one.message}")
    return tuple(
        one
        for one in found
        if one.code in row.rules
        and any(abs(at - line) <= NEAR or (place and _function(source.data, at) == place) for at in _rows(one, source))
    )


def _rows(one: Diagnostic, source: Source) -> Iterator[int]:
    """The lines of a file that a finding names."""
    if Path(one.filename) == Path(source.filename):
        yield one.span.row
    for related in one.related:
        if Path(related.filename or one.filename) == Path(source.filename):
            yield related.span.row


def _function(data: bytes, line: int) -> str:
    """The dotted name of the innermost function around a line; empty at module level and where Python cannot parse."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return ""
    best = ""

    def visit(node: ast.AST, path: str) -> None:
        nonlocal best
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    here = f"{path}.{child.name}" if path else child.name
                    if child.lineno <= line <= (child.end_lineno or child.lineno):
                        if not isinstance(child, ast.ClassDef):
                            best = here
                        visit(child, here)
                case _:
                    visit(child, path)

    visit(tree, "")
    return best


def _line_after(before: bytes, after: bytes, line: int) -> int:
    """Where a line of the file stands after the fix."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    for _, start, end, new_start, new_end in matcher.get_opcodes():
        if start < line <= end:
            return min(new_start + line - start, max(new_end, 1))
    return line


def report(found: list[Outcome]) -> None:
    for one in found:
        row = one.row
        print(f"{row.number:4} {one.word:24} {row.pitfall:28} {row.scope:9} {row.repo} {row.path}:{row.line}")
        for diagnostic in one.before:
            print(f"       {diagnostic.span.row}: {diagnostic.code}: {diagnostic.message}")
        if one.problem:
            print(f"       {one.problem}")
    judged = [one for one in found if not one.problem]
    print()
    for title, key in (("pitfall", "pitfall"), ("scope", "scope")):
        groups: dict[str, list[Outcome]] = defaultdict(list)
        for one in judged:
            groups[getattr(one.row, key)].append(one)
        print(f"{title:40} rows  hit  gone after the fix")
        for name in sorted(groups):
            _line(name, groups[name])
    _line("total", judged)
    print(f"{len(found) - len(judged)} rows not judged")


def _line(name: str, group: list[Outcome]) -> None:
    print(f"{name:40} {len(group):4} {sum(o.hit for o in group):4} {sum(o.gone for o in group):5}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="laid-out rows or clones")
    parser.add_argument("--rows", type=Path, required=True, help="the bugs, JSON lines")
    parser.add_argument("--pitfall", action="append", default=[], help="only rows of this pitfall (repeatable)")
    parser.add_argument("--scope", action="append", default=[], help="only rows of this scope (repeatable)")
    parser.add_argument("--all", action="store_true", help="also rows whose pitfall no present rule stands for")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: not a folder")
    try:
        rows = read_rows(options.rows)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    present = {rule.name for rule in load()}
    rows = [
        row
        for row in rows
        if (options.all or present.intersection(row.rules))
        and (not options.pitfall or row.pitfall in options.pitfall)
        and (not options.scope or row.scope in options.scope)
    ]
    if not rows:
        parser.error("no row is left; loosen --pitfall and --scope")
    report([judge(row, options.folder) for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
