"""What the linter says of the files that a program loaded, and those files with its fixes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torchlint import config, files, registry, run, selection
from torchlint.config import ConfigError
from torchlint.confirm.events import Loaded, Trace
from torchlint.confirm.harness import ConfirmError
from torchlint.diagnostic import Diagnostic
from torchlint.rule import Rule
from torchlint.source import Source, SourceError, decode


@dataclasses.dataclass(slots=True, frozen=True)
class Claims:
    """The linter's part: the files by the name that Python has for them, and what was found in them."""

    texts: Mapping[str, str]
    rules: Sequence[Rule]
    findings: Sequence[Diagnostic] = ()
    mended: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # the files that fixes change
    notices: Sequence[str] = ()


def loaded(trace: Trace) -> dict[str, bytes]:
    """The project's files that the program imported, as they were then."""
    result: dict[str, bytes] = {}
    for one in trace.of(Loaded):
        try:
            result.setdefault(one.file, Path(one.copy).read_bytes())
        except OSError:  # a program that tidies up all of the temporary folder
            continue
    return result


def lint(contents: Mapping[str, bytes], names: Iterable[str] = (), mend: bool = False) -> Claims:
    """Lints the files as `torchlint check` would, with the settings that are in force for them.

    `names` are the rules to look for, all by default. With `mend` also makes the mended files; none is ever written.
    Raises ConfirmError for a configuration that cannot be read.
    """
    wanted = tuple(names)
    try:
        settings = config.resolve({"select": wanted} if wanted else {}, contents)
        known = registry.load()
        chosen = selection.resolve(settings, known)
        excluded = files.Excluded(settings.root, settings.excludes)
    except ConfigError as error:
        raise ConfirmError(str(error)) from error
    worker = run.Worker(run.Plan(dataclasses.replace(settings, fix=False), chosen))
    mender = run.Worker(run.Plan(dataclasses.replace(settings, fix=True, unsafe_fixes=True), chosen, diff=True))
    rules = [rule for rule in known if rule.name in chosen.codes]
    codes = {rule.name for rule in rules}
    findings: list[Diagnostic] = []
    notices = list(chosen.notices)
    texts: dict[str, str] = {}
    mended: dict[str, bytes] = {}
    for file, data in contents.items():
        try:
            texts[file] = decode(data)[0]
        except SourceError:
            continue
        if excluded.above(file) is not None:
            del texts[file]
            continue
        everything = worker.source(Source(file, data)).findings
        notices.extend(f"{file}: {one.message}" for one in everything if one.group == "error")
        found = [one for one in everything if one.code in codes]
        findings.extend(found)
        if mend and any(one.fix is not None for one in found):
            record = mender.source(Source(file, data))
            if record.changes:
                mended[file] = record.content
    findings.sort(key=lambda one: one.key)
    return Claims(texts, rules, findings, mended, notices)


def check_names(names: Iterable[str]) -> None:
    """Raises ConfirmError for a rule that does not exist."""
    known = registry.by_name()
    for name in names:
        if name not in known:
            raise ConfirmError(f"unknown rule {name!r}{registry.nearest(name, known)}; `torchlint rules` lists them")
