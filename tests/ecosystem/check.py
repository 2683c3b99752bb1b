"""Lints pinned public projects and holds every finding against what a person said of it.

    python -m tests.ecosystem.check FOLDER [--package NAME]... [--update] [--sheet FILE] [NAME=PATH]...

The projects of `manifest.toml` are fetched into FOLDER with pip where they are missing there, as wheels, so that none
of their code runs. `labels.jsonl` says of each finding whether it is true, false or unsure, and why; it holds no
source. Told are the findings without a label, the labels without a finding, and the rates a rule and a group.

`NAME=PATH` checks a local checkout too, under that name. `--package` leaves out all projects but these. To label, ask
for a sheet: every unlabelled finding with its source, to be filled in (`label`, `why`); the next run with the same
sheet takes over what is filled in. `--update` writes today's rows and drops the labels of findings that are gone.

Exit status: 0 all is labelled, 1 a finding is not or torchlint failed on a file, 2 wrong use or nothing fetched.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
MANIFEST = HERE / "manifest.toml"
LABELS = HERE / "labels.jsonl"
ANSWERS = ("true", "false", "unsure")
CONTEXT = 6  # lines on either side, in a sheet
# Any machine gets the same wheel.
PIP = "--no-deps --only-binary :all: --platform any --implementation py --abi none --python-version 3.12".split()


class CheckError(Exception):
    """The check cannot go on; the message says why."""


@dataclass(slots=True, frozen=True)
class Project:
    name: str
    version: str
    kind: str
    sha256: str


@dataclass(slots=True, frozen=True)
class Finding:
    package: str
    file: str  # relative to the package's folder
    row: int
    rule: str
    digest: str  # of the flagged line, so that a finding is known again when its row moves
    group: str = ""
    message: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.package, self.file, self.rule, self.digest)


@dataclass(slots=True, frozen=True)
class Label:
    package: str
    file: str
    row: int
    rule: str
    digest: str
    label: str
    why: str

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.package, self.file, self.rule, self.digest)

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        return (self.package, self.file, self.row, self.rule, self.digest)


# ------------------------------------------------------------------------------------------------------------ fetching


def projects(text: str) -> list[Project]:
    """The projects of a manifest. Raises CheckError where one is named twice or lacks a key."""
    try:
        found = [Project(**one) for one in tomllib.loads(text).get("project", [])]
    except (TypeError, tomllib.TOMLDecodeError) as error:
        raise CheckError(f"manifest: {error}") from error
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if twice:
        raise CheckError(f"manifest: more than once: {', '.join(twice)}")
    return found


def fetched(project: Project, folder: Path) -> Path:
    """The folder with a project's Python files, fetched when it is not there. Raises CheckError when pip cannot."""
    target = folder / f"{project.name}-{project.version}"
    if target.is_dir():
        return target
    print(f"fetches {project.name} {project.version}", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as holder:
        wanted = Path(holder, "wanted.txt")
        wanted.write_text(f"{project.name}=={project.version} --hash=sha256:{project.sha256}\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *PIP]
        command = [*pip, "--dest", holder, "--require-hashes", "--requirement", str(wanted)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(holder).glob("*.whl"))
        if answer.returncode or len(wheels) != 1:
            raise CheckError(f"pip could not fetch {project.name} {project.version}: {answer.stderr.strip()[-400:]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(Path(holder, "out"), [name for name in archive.namelist() if name.endswith(".py")])
        shutil.move(Path(holder, "out"), target)  # all of it or nothing
    return target


# ------------------------------------------------------------------------------------------------------------- linting


def digest(line: str) -> str:
    """What a line is known by, without saying what it is; indentation does not count."""
    return hashlib.sha256(line.strip().encode()).hexdigest()[:12]


def lint(package: str, folder: Path, cache: Path) -> tuple[list[Finding], int]:
    """The findings of the default rules below a folder, as a user gets them, and the number of Python files."""
    command = [
        sys.executable,
        "-m",
        "torchlint",
        "check",
        "--isolated",
        "--profile=strict",
        "--no-respect-gitignore",
        "-j1",
        "--quiet",
    ]
    command += ["--cache-dir", str(cache), "--output-format", "json-lines", "."]
    search = {"PYTHONPATH": str(CHECKOUT)}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        answer = subprocess.run(
            command, cwd=folder, env={**os.environ, **search}, stdout=output, stderr=subprocess.PIPE, text=True
        )
        if answer.returncode not in (0, 1):
            raise CheckError(f"torchlint failed on {package}: {answer.stderr.strip()[-800:]}")
        output.seek(0)
        found = [_finding(package, folder, json.loads(line)) for line in output]
    found.sort(key=lambda f: (f.file, f.row, f.rule, f.digest, f.message))
    return found, sum(1 for _ in folder.rglob("*.py"))


def _finding(package: str, folder: Path, one: dict[str, object]) -> Finding:
    location = one["location"]
    row = location["row"] if isinstance(location, dict) else 0
    file = PurePosixPath(str(one["filename"]).replace("\\", "/")).as_posix()
    lines = _lines(folder / file)
    line = lines[row - 1] if 0 < row <= len(lines) else ""
    return Finding(package, file, row, str(one["code"]), digest(line), str(one["group"]), str(one["message"]))


def _lines(path: Path) -> list[str]:
    """The lines of a file as torchlint counts them: form feeds and the like end none."""
    return re.split(r"\r\n|\r|\n", path.read_bytes().decode("utf-8", errors="replace"))


# ------------------------------------------------------------------------------------------------------------ labelling


def labels(lines: Iterable[str]) -> list[Label]:
    """The labels of a file's lines. Raises CheckError for a line that is none."""
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            one = Label(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise CheckError(f"labels, line {number}: {error}") from error
        if one.label not in ANSWERS or not one.why.strip():
            raise CheckError(f"labels, line {number}: the label must be one of {', '.join(ANSWERS)}, with a why")
        found.append(one)
    return found


def match(found: Sequence[Finding], known: Sequence[Label]) -> tuple[list[tuple[Finding, Label | None]], list[Label]]:
    """Each finding with its label, and the labels that are left over.

    Findings and labels of one rule on equal lines of one file are paired by rows, equal ones first.
    """
    open_labels: dict[tuple[str, str, str, str], list[Label]] = defaultdict(list)
    for label in sorted(known, key=lambda one: one.key):
        open_labels[label.identity].append(label)
    pairs: dict[int, Label | None] = {}
    for exact in (True, False):
        for number, finding in enumerate(found):
            if number in pairs:
                continue
            near = open_labels[finding.identity]
            choice = next((one for one in near if one.row == finding.row), None if exact or not near else near[0])
            if choice is not None:
                near.remove(choice)
                pairs[number] = choice
    rest = sorted((one for left in open_labels.values() for one in left), key=lambda one: one.key)
    return [(finding, pairs.get(number)) for number, finding in enumerate(found)], rest


def written(known: Iterable[Label]) -> str:
    """The labels as the text of their file: sorted, one a line."""
    return "".join(json.dumps(asdict(one)) + "\n" for one in sorted(known, key=lambda one: one.key))


def filled_in(sheet: Path) -> list[Label]:
    """What a person has filled in on a sheet."""
    if not sheet.is_file():
        return []
    keys = ("package", "file", "row", "rule", "digest", "label", "why")
    rows = [json.loads(line) for line in sheet.read_text(encoding="utf-8").splitlines()]
    return labels(json.dumps({key: row[key] for key in keys}) for row in rows if row["label"])


def sheet_row(finding: Finding, folder: Path) -> str:
    """An unlabelled finding with its source, for a sheet. Sheets stay out of the repository."""
    lines = _lines(folder / finding.file)
    first = max(0, finding.row - 1 - CONTEXT)
    source = [f"{row:5} {text}" for row, text in enumerate(lines[first : finding.row + CONTEXT], start=first + 1)]
    return json.dumps({**asdict(finding), "label": "", "why": "", "source": source}) + "\n"


# ------------------------------------------------------------------------------------------------------------ reporting


def rates(pairs: Sequence[tuple[Finding, Label | None]], files: int) -> list[str]:
    """The table of rates, by group and by rule."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for finding, label in pairs:
        answer = label.label if label else "unlabelled"
        counts[finding.group, ""][answer] += 1
        counts[finding.group, finding.rule][answer] += 1
    head = f"{'':40} {'true':>6} {'false':>6} {'unsure':>6} {'unlabelled':>10} {'right':>7} {'per 1,000 files':>16}"
    return [head, *(_rate(group, rule, count, files) for (group, rule), count in sorted(counts.items()))]


def _rate(group: str, rule: str, count: Counter[str], files: int) -> str:
    told = count["true"] + count["false"]
    right = f"{100 * count['true'] / told:.1f} %" if told else "-"
    cells = f"{count['true']:6} {count['false']:6} {count['unsure']:6} {count['unlabelled']:10} {right:>7}"
    return f"{'  ' + rule if rule else group:40} {cells} {1000 * count.total() / max(files, 1):16.2f}"


def _told(one: Finding | Label) -> str:
    return f"{one.package} {one.file}:{one.row} {one.rule}"


# ----------------------------------------------------------------------------------------------------------------- main


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the projects are, or are fetched to")
    parser.add_argument("checkouts", nargs="*", metavar="NAME=PATH", help="a local checkout, and the name it goes by")
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="only this project (repeatable)")
    parser.add_argument("--update", action="store_true", help="write today's rows, drop the labels of what is gone")
    parser.add_argument("--sheet", type=Path, help="take over what is filled in there, write there what is unlabelled")
    parser.add_argument("--manifest", type=Path, default=MANIFEST)
    parser.add_argument("--labels", type=Path, default=LABELS)
    options = parser.parse_args(arguments)
    try:
        return _check(options)
    except CheckError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check(options: argparse.Namespace) -> int:
    listed = projects(options.manifest.read_text(encoding="utf-8"))
    places = {}
    for checkout in options.checkouts:
        name, equals, path = checkout.partition("=")
        if not equals or not Path(path).is_dir():
            raise CheckError(f"{checkout}: expected NAME=PATH with a folder")
        places[name] = Path(path)
    unknown = sorted(set(options.package) - {one.name for one in listed} - set(places))
    if unknown:
        raise CheckError(f"not in the manifest: {', '.join(unknown)}")
    for one in listed:
        if one.name not in places and (not options.package or one.name in options.package):
            places[one.name] = fetched(one, options.folder)

    found: list[Finding] = []
    files = 0
    for name, place in sorted(places.items()):
        some, count = lint(name, place, (options.folder / ".torchlint_cache").resolve())
        found += some
        files += count
        print(f"{name}: {len(some)} findings in {count} files", file=sys.stderr)

    every = labels(options.labels.read_text(encoding="utf-8").splitlines()) if options.labels.is_file() else []
    others = [one for one in every if one.package not in places]
    known = [one for one in every if one.package in places]
    broken = [one for one in found if one.group == "error"]
    found = [one for one in found if one.group != "error"]
    pairs, gone = match(found, known)
    if options.sheet:
        new = [finding for finding, label in pairs if label is None]
        taken = {id(finding): label for finding, label in match(new, filled_in(options.sheet))[0]}
        pairs = [(finding, label or taken.get(id(finding))) for finding, label in pairs]
    if options.update or options.sheet:
        kept = [replace(label, row=finding.row) for finding, label in pairs if label]
        kept += others if options.update else [*others, *gone]
        options.labels.write_text(written(kept), encoding="utf-8")
    new = [finding for finding, label in pairs if label is None]
    if options.sheet:
        text = "".join(sheet_row(one, places[one.package]) for one in new)
        options.sheet.write_text(text, encoding="utf-8")

    for finding in broken:
        print(f"failed: {_told(finding)}: {finding.message}")
    for finding in new:
        print(f"unlabelled: {_told(finding)}: {finding.message}")
    for label in gone:
        print(f"gone ({label.label}): {_told(label)}")
    print(
        f"\n{len(places)} projects, {files} files, {1000 * len(found) / max(files, 1):.1f} findings per 1,000 files\n"
    )
    print("\n".join(rates(pairs, files)))
    crashed = any(one.rule == "internal-error" for one in broken)
    return 1 if new or crashed else 0


if __name__ == "__main__":
    sys.exit(main())
