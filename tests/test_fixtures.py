"""Every rule against every fixture: what is found stands on the line that expects it, and nothing else is found.

`bad*.py` expects something, `good*.py` nothing; `lapse_*.py` holds a known miss or false alarm: `# expect:` says what
torchlint does today and `# lapse:` what it should do, so that mending the rule makes the test fail until the file is
made an ordinary fixture.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from torchlint import engine, registry
from torchlint.diagnostic import Diagnostic, Safety
from torchlint.fix import apply, mend
from torchlint.rule import Rule
from torchlint.source import Source

ROOT = Path(__file__).resolve().parents[1] / "fixtures"
KINDS = ("bad", "good", "lapse")
LEAST = {"bad": 3, "good": 4}
RULES = registry.load()

_EXPECT = re.compile(r"#\s*(expect|lapse):\s*(?P<names>[a-z][a-z-]*(?:\s*,\s*[a-z][a-z-]*)*)")
Found = Counter[tuple[int, str]]


def folder(rule: Rule) -> Path:
    return ROOT / rule.name.replace("-", "_")


def fixtures(*kinds: str) -> list[Path]:
    """All fixture files of these kinds, of all rules."""
    return sorted(
        path for rule in RULES for path in folder(rule).glob("*.py") if path.stem.partition("_")[0] in (kinds or KINDS)
    )


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def marks(text: str, word: str = "expect") -> Found:
    """The (row, rule) pairs that the comments of a program announce; several rules on a row with commas."""
    found: Found = Counter()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            for match in _EXPECT.finditer(token.string):
                if match[1] == word:
                    found.update((token.start[0], one.strip()) for one in match["names"].split(","))
    return found


def lint(source: Source) -> list[Diagnostic]:
    return engine.analyse(source, RULES)


@cache
def linted(path: Path) -> tuple[Diagnostic, ...]:
    return tuple(lint(Source.read(path)))


def places(diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> Found:
    return Counter((one.span.row, one.code) for one in diagnostics)


def told(found: Found) -> list[str]:
    return [f"line {row}: {code}" for row, code in sorted(found.elements())]


# ------------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("path", fixtures(), ids=name)
def test_findings_are_exactly_those_expected(path: Path) -> None:
    expected, found = marks(path.read_text(encoding="utf-8")), places(linted(path))
    messages = [f"line {one.span.row}: {one.code}: {one.message}" for one in linted(path)]
    assert not expected - found, f"missed {told(expected - found)}; found {messages}"
    assert not found - expected, f"false alarm {told(found - expected)}: {messages}"


@pytest.mark.parametrize("path", fixtures("bad"), ids=name)
def test_findings_speak_to_the_user(path: Path) -> None:
    """The message names something of the program, and the consequence is a sentence of its own."""
    text = path.read_text(encoding="utf-8")
    own = set(re.findall(r"[A-Za-z_]\w+", text))
    for one in linted(path):
        quoted = re.findall(r"`([^`]+)`", one.message)
        assert quoted, f"names nothing of the program: {one.message}"
        assert any(set(re.findall(r"[A-Za-z_]\w+", part)) & own for part in quoted), one.message
        assert one.consequence.strip()
        assert one.consequence != one.message


# ---------------------------------------------------------------------------------------------------------- the fixes


def fixable() -> list[Path]:
    return [path for path in fixtures("bad") if any(offered(one) for one in linted(path))]


def offered(one: Diagnostic) -> bool:
    return one.fix is not None and one.fix.safety is not Safety.DISPLAY


def comments(text: str) -> Counter[str]:
    return Counter(
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    )


@pytest.mark.parametrize("path", fixtures("bad"), ids=name)
def test_fix_mends_and_breaks_nothing(path: Path) -> None:
    before = Source.read(path)
    diagnostics = linted(path)
    with_fix = [one for one in diagnostics if offered(one)]
    if not with_fix:
        assert mend(before, lint, unsafe=True).source.text == before.text
        return
    mended = mend(Source.read(path), lint, unsafe=True)
    after = mended.source.text

    assert not mended.refused, [reason for _, reason in mended.refused]
    ast.parse(after)
    gone = Counter(one.code for one in with_fix)
    left = Counter(one.code for one in mended.remaining)
    # Fewer may be left: mending one pitfall can take away what another rule says of it.
    assert left <= Counter(one.code for one in diagnostics) - gone, "a finding stays, or a new one came"
    assert comments(after) == comments(before.text), "a comment was lost or changed"

    again = mend(Source(before.filename, after.encode()), lint, unsafe=True)
    assert again.source.text == after, "a second run goes on changing"


@pytest.mark.parametrize("path", fixtures("bad"), ids=name)
def test_fix_leaves_other_lines_alone(path: Path) -> None:
    """Only rows that an edit's span covers may differ, and those of a block that is put under a new header."""
    source = Source.read(path)
    remedies = [one.fix for one in linted(path) if one.fix is not None and offered(one)]
    text, applied = apply(source.text, remedies)
    spans = [edit.span for number in applied for edit in remedies[number].edits]
    touched = {row for span in spans for row in range(span.row, span.end_row + 1)}
    kept = [line for row, line in enumerate(source.text.splitlines(), 1) if row not in touched]
    assert subsequence(kept, text.splitlines()), "a line that no edit touches has changed"


def subsequence(lines: list[str], of: list[str]) -> bool:
    """True when `lines` all stand in `of`, in this order."""
    rest: Iterator[str] = iter(of)
    return all(any(line == other for other in rest) for line in lines)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_says_rightly_whether_it_fixes(rule: Rule) -> None:
    own = [one for path in sorted(folder(rule).glob("bad*.py")) for one in linted(path) if one.code == rule.name]
    safeties = {one.fix.safety if one.fix else None for one in own}
    match rule.fixable:
        case "":
            assert not any(one.fix for one in own), "offers a fix and does not say so"
        case "safe":
            assert safeties == {Safety.SAFE}
        case "unsafe":
            assert safeties == {Safety.UNSAFE}
        case _:
            assert safeties - {None}, "says that it fixes sometimes, and no fixture shows it"


# ---------------------------------------------------------------------------------------------- the fixtures themselves


def test_every_rule_has_a_folder_and_every_folder_a_rule() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("projects", "__pycache__")}
    assert folders == {folder(rule).name for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_has_enough_fixtures(rule: Rule) -> None:
    names = [path.stem for path in folder(rule).glob("*.py")]
    assert {"bad", "good"} <= set(names), "bad.py and good.py tell the story of the rule"
    counted = Counter(stem.partition("_")[0] for stem in names)
    assert set(counted) <= set(KINDS), f"a fixture is called bad, good or lapse: {sorted(counted)}"
    for kind, least in LEAST.items():
        assert counted[kind] >= least, f"{counted[kind]} {kind} fixtures; {least} are the least"


@pytest.mark.parametrize("path", fixtures(), ids=name)
def test_fixture_expects_what_its_name_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = path.parent.name.replace("_", "-")
    expected, lapses = marks(text), marks(text, "lapse")
    known = {rule.name for rule in RULES}
    mentioned = sum(text.count(f"# {word}:") for word in ("expect", "lapse"))
    assert mentioned <= sum((expected + lapses).values()), "an expectation that is not understood"
    assert {code for _, code in expected + lapses} <= known, "expects a rule that does not exist"
    match path.stem.partition("_")[0]:
        case "bad":
            assert own in {code for _, code in expected}, f"expects no {own}"
            assert not lapses, "a fixture with a lapse is called lapse_*.py"
        case "good":
            assert not expected, "a good program expects nothing"
            assert not lapses, "a fixture with a lapse is called lapse_*.py"
        case _:
            assert lapses != expected, "this is no lapse: call it bad_*.py or good_*.py"


@pytest.mark.parametrize("path", fixtures(), ids=name)
def test_fixture_compiles_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    compile(tree, str(path), "exec", dont_inherit=True)
    assert ast.get_docstring(tree), "the docstring says what the program does, or why it is right"
    assert max(map(len, text.splitlines())) <= 130
    assert "torchlint" not in text, "nothing in a fixture helps torchlint"


def test_no_fixture_is_there_twice() -> None:
    """Not even under another docstring, with other comments."""
    seen: dict[str, Path] = {}
    for path in fixtures():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        digest = hashlib.sha256(ast.dump(ast.Module(tree.body[1:], [])).encode()).hexdigest()
        twin = seen.setdefault(digest, path)
        assert twin == path or {twin.stem, path.stem} == {"good"}, f"{name(path)} is the same program as {name(twin)}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_story_is_a_program_of_readable_length(rule: Rule) -> None:
    for stem in ("bad", "good"):
        lines = (folder(rule) / f"{stem}.py").read_text(encoding="utf-8").splitlines()
        assert 25 <= len(lines) <= 75, f"{stem}.py has {len(lines)} lines"
