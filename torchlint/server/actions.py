"""What can be done about findings: mend one, mend all of a document, suppress one."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence

from lsprotocol import types
from pygls.workspace import PositionCodec

from torchlint import imports, registry, suppress
from torchlint.diagnostic import Diagnostic, Remedy, Safety
from torchlint.server import messages
from torchlint.server.checks import Checked
from torchlint.server.settings import mending
from torchlint.source import Source
from torchlint.text import rows_of

Edits = dict[str, list[types.TextEdit]]  # by the text they belong to

FIX_ALL = f"{types.CodeActionKind.SourceFixAll.value}.torchlint"
FIX_ALL_TITLE = "torchlint: Mend everything that can be mended safely"


def asked_for(kind: str, only: Sequence[str] | None) -> bool:
    """Whether an editor that asks for the kinds `only` wants this one."""
    return only is None or any(kind == one or kind.startswith(f"{one}.") or not one for one in only)


def quick_fixes(
    checked: Checked, uri: str, place: types.Range, given: Sequence[types.Diagnostic], codec: PositionCodec
) -> Iterator[tuple[types.CodeAction, Edits]]:
    """The fixes of the findings that touch a range, the safe ones first, then the comments that would suppress them."""
    here: list[tuple[Diagnostic, list[types.Diagnostic]]] = []
    for one in checked.findings:
        at = messages.place(one, checked, codec)
        if checked.job.text(one.cell).uri == uri and at.start <= place.end and place.start <= at.end:
            here.append((one, [d for d in given if d.code == one.code and d.range == at]))
    for safety in (Safety.SAFE, Safety.UNSAFE):
        for one, told in here:
            if one.fix is not None and one.fix.safety is safety:
                yield _action(one.fix, told), messages.edits(one.fix, checked, codec)
    for one, told in here:
        remedy = _suppression(one, checked)
        if remedy is not None:
            yield _action(remedy, told, preferred=False), messages.edits(remedy, checked, codec)


def _action(remedy: Remedy, told: list[types.Diagnostic], preferred: bool = True) -> types.CodeAction:
    label = "torchlint" if remedy.safety is Safety.SAFE else "torchlint (unsafe)"
    return types.CodeAction(
        title=f"{label}: {remedy.message[:1].upper()}{remedy.message[1:]}",
        kind=types.CodeActionKind.QuickFix,
        diagnostics=told or None,
        is_preferred=(preferred and remedy.safety is Safety.SAFE) or None,
    )


def fixable(checked: Checked) -> bool:
    """Whether something in the document can be mended safely."""
    return any(one.fix is not None and one.fix.safety is Safety.SAFE for one in checked.findings)


def mend(checked: Checked, codec: PositionCodec) -> Edits:
    """The edits that mend all that can be mended safely: what `torchlint --fix` would do, row by row.

    To be called in the thread of the analysis.
    """
    job = checked.job
    with imports.overlaid(job.unsaved):
        record = mending(checked.worker).source(job.source())
    found: Edits = {}
    for change in record.changes:
        text = job.text(change.cell)
        found[text.uri] = list(_changes(change.before, change.after, codec))
    return found


def _changes(before: str, after: str, codec: PositionCodec) -> Iterator[types.TextEdit]:
    old, new = rows_of(before), rows_of(after)
    for tag, first, last, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if last < len(old):
            place = types.Range(types.Position(first, 0), types.Position(last, 0))
        else:  # behind the last row there is none to end before
            end_of_text = types.Position(last - 1, codec.client_num_units(old[last - 1]))
            place = types.Range(types.Position(first, 0) if first < len(old) else end_of_text, end_of_text)
        yield types.TextEdit(place, "".join(new[start:end]))


def _suppression(one: Diagnostic, checked: Checked) -> Remedy | None:
    """The comment that suppresses a finding; None for what no comment can."""
    rules = registry.by_name()
    if one.code not in rules:
        return None
    job = checked.job
    text = job.text(one.cell).text or ""
    source = Source(job.filename, text.encode("utf-8", "replace") if job.data is None else job.data)
    edits = [dataclasses.replace(edit, cell=one.cell) for edit in suppress.ignoring(source, [one], rules)]
    return Remedy(Safety.SAFE, f"ignore {one.code} here", tuple(edits)) if edits else None
