"""What is printed: to people, to programs, to a code host."""

from __future__ import annotations

import dataclasses
import io
import json
import textwrap

import pytest
from findings import finding, report

from torchlint import builtin
from torchlint.config import OUTPUT_FORMATS, Config
from torchlint.diagnostic import Diagnostic, Related, Remedy, Safety, Severity, Span, TextEdit
from torchlint.report import FORMATS, render, text
from torchlint.report.style import Style, printable, style_for, width
from torchlint.run import Change, Record

PLAIN = Style()


def shown(*findings: Diagnostic, source: str, style: Style = PLAIN) -> str:
    return text.full(report(*findings, source=source), style)


SAFE = Remedy(Safety.SAFE, "clear them: `opt.zero_grad()`", (TextEdit(Span(2, 5, 2, 5), "opt.zero_grad()\n    "),))


UNSAFE = Remedy(Safety.UNSAFE, "perhaps", ())


def test_every_format_that_can_be_asked_for_exists() -> None:
    assert set(FORMATS) == set(OUTPUT_FORMATS)


class TestFull:
    def test_shows_both_places_the_consequence_and_the_fix(self) -> None:
        one = finding(
            4,
            5,
            8,
            consequence="Every step uses the sum.",
            fix=SAFE,
            related=(
                Related("`opt` steps here", "a.py", Span(5, 5, 5, 15)),
                Related("made here", "a.py", Span(1, 1, 1, 4)),
            ),
        )
        source = "opt = SGD()\nx = 1\nfor x in y:\n    backward(loss)\n    opt.step()\n"
        assert shown(one, source=source) == textwrap.dedent("""\
            a.py:4:5: toy-alarm [*] `opt` is never cleared
              |
            1 | opt = SGD()
              | --- made here
            ...
            4 |     backward(loss)
              |     ^^^^^^^^
            5 |     opt.step()
              |     ---------- `opt` steps here
              |
              = Every step uses the sum.
              = help: [*] clear them: `opt.zero_grad()`

            """)

    @pytest.mark.parametrize(
        ("safety", "mark"), [(Safety.SAFE, "[*]"), (Safety.UNSAFE, "[unsafe]"), (Safety.DISPLAY, "[by hand]")]
    )
    def test_says_how_safe_a_fix_is(self, safety: Safety, mark: str) -> None:
        one = finding(1, 1, fix=Remedy(safety, "do it", ()))
        assert f"= help: {mark} do it\n" in shown(one, source="x = 1")

    @pytest.mark.parametrize(
        ("row", "column", "length", "source", "line", "underline"),
        [
            (1, 5, 3, "x = abc", "x = abc", "    ^^^"),
            (1, 2, 3, "\tabc", "    abc", "    ^^^"),
            (1, 4, 3, "x\t\tabc", "x       abc", "        ^^^"),
            (1, 9, 3, "'日本語' + abc", "'日本語' + abc", "           ^^^"),
            (1, 2, 3, "'日本語'", "'日本語'", " ^^^^^^"),
            (1, 6, 3, "'e\u0301' abc", "'e\u0301' abc", "    ^^^"),
            (1, 6, 3, "'\x1b' +abc", "'\\x1b' +abc", "        ^^^"),
            (1, 4, 1, "abc", "abc", "   ^"),
            (1, 6, 3, "'ที่' abc", "'ที่' abc", "   ^^^"),
            (1, 5, 3, "'\u1112\u1161\u11ab'abc", "'\u1112\u1161\u11ab'abc", "   ^^^"),
            (1, 9, 3, "👨\u200d👩\u200d👧 + abc", "👨👩👧 + abc", "         ^^^"),
            (1, 4, 3, "⚠\ufe0f abc", "⚠ abc", "  ^^^"),
            (1, 4, 3, "👍🏽 abc", "👍 abc", "   ^^^"),
            (1, 4, 3, "🇩🇪 abc", "🇩🇪 abc", "   ^^^"),
            (1, 5, 3, "a\u200db abc", "a\\u200db abc", "         ^^^"),
        ],
        ids=[
            "plain",
            "tab",
            "tabs",
            "after wide",
            "wide",
            "combining",
            "escape",
            "behind the end",
            "marks without a class",
            "jamo",
            "joined emoji",
            "variation",
            "skin",
            "flag",
            "joiner that hides",
        ],
    )
    def test_carets_stand_under_what_they_mean(
        self, row: int, column: int, length: int, source: str, line: str, underline: str
    ) -> None:
        lines = shown(finding(row, column, length), source=source).splitlines()
        assert lines[2:4] == [f"1 | {line}", f"  | {underline}"]

    def test_a_finding_over_many_rows_is_underlined_to_the_end_of_its_first(self) -> None:
        one = finding(1, 5, span=Span(1, 5, 3, 2))
        assert shown(one, source="x = [  \n  1,\n]").splitlines()[2:4] == ["1 | x = [", "  |     ^"]

    def test_a_terminal_cannot_be_taken_over(self) -> None:
        one = finding(1, 1, message="bad \x1b[2J", filename="a\x1b]0;x\x07\n.py")
        printed = shown(one, source="x = '\x1b[31m\u202e'\r")
        assert not set(printed) & {"\x1b", "\x07", "\r", "\u202e"}
        assert printed.startswith("a\\x1b]0;x\\x07\\n.py:1:1: toy-alarm bad \\x1b[2J\n")

    @pytest.mark.parametrize("columns", [20, 30, 40, 60, 80])
    @pytest.mark.parametrize("filler", ["a", "日", "é"])
    def test_keeps_to_a_narrow_terminal(self, columns: int, filler: str) -> None:
        source = "x = " + filler * 300 + " + target + " + filler * 300
        one = finding(
            1,
            source.index("target") + 1,
            6,
            message="short",
            consequence="This is what follows from it in a sentence that is rather long.",
            related=(Related("a label of quite some length for a small terminal", "a.py", Span(1, 1, 1, 2)),),
            fix=Remedy(Safety.SAFE, "a remedy that takes more than forty columns to tell", ()),
        )
        printed = shown(one, source=source, style=Style(False, columns)).splitlines()
        assert all(width(line) <= columns for line in printed[1:])  # what is copied from the first stays whole
        at = next(number for number, line in enumerate(printed) if "target" in line)
        assert printed[at + 1].index("^") == width(printed[at].partition("target")[0])
        assert printed[at].count("...") == 2
        assert printed[at + 1].count("^") == 6

    def test_places_in_other_files_are_named(self) -> None:
        one = finding(1, 1, related=(Related("cleared here", "b.py", Span(7, 3, 7, 9)),))
        assert "  = b.py:7:3: cleared here\n" in shown(one, source="x = 1")

    def test_without_source_only_the_claim_is_shown(self) -> None:
        assert shown(finding(9, 1), source="x = 1") == "a.py:9:1: toy-alarm `opt` is never cleared\n\n"

    def test_colour_only_changes_the_looks(self) -> None:
        import re

        one = finding(1, 1, consequence="Bad.", fix=SAFE)
        colored = shown(one, source="x = 1", style=Style(True))
        assert "\x1b[" in colored
        assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == shown(one, source="x = 1")


def test_concise_is_a_line_each_in_order() -> None:
    found = report(finding(3), finding(1, code="toy-blaze"), finding(2, filename="B.py"), finding(1, fix=SAFE))
    assert text.concise(found, PLAIN).splitlines() == [
        "B.py:2:5: toy-alarm `opt` is never cleared",
        "a.py:1:5: toy-alarm [*] `opt` is never cleared",
        "a.py:1:5: toy-blaze `opt` is never cleared",
        "a.py:3:5: toy-alarm `opt` is never cleared",
    ]


def test_grouped_is_a_block_a_file() -> None:
    found = report(finding(12), finding(3), finding(2, filename="b.py"))
    assert text.grouped(found, PLAIN) == textwrap.dedent("""\
        a.py:
           3:5  toy-alarm `opt` is never cleared
          12:5  toy-alarm `opt` is never cleared

        b.py:
          2:5  toy-alarm `opt` is never cleared

        """)


JSON = {
    "code": "toy-alarm",
    "group": "correctness",
    "severity": "error",
    "message": "`opt` is never cleared",
    "consequence": "",
    "filename": "a.py",
    "location": {"row": 2, "column": 5},
    "end_location": {"row": 2, "column": 9},
    "cell": None,
    "fix": {
        "applicability": "safe",
        "message": "clear them: `opt.zero_grad()`",
        "edits": [
            {
                "content": "opt.zero_grad()\n    ",
                "location": {"row": 2, "column": 5},
                "end_location": {"row": 2, "column": 5},
                "cell": None,
            }
        ],
    },
    "related": [
        {
            "message": "here",
            "filename": "b.py",
            "location": {"row": 1, "column": 2},
            "end_location": {"row": 3, "column": 4},
            "cell": None,
        }
    ],
    "noqa_row": 2,
    "url": None,
}


def test_json_has_the_promised_fields() -> None:
    found = report(finding(fix=SAFE, related=(Related("here", "b.py", Span(1, 2, 3, 4)),)), finding(3))
    parsed = json.loads(FORMATS["json"](found, PLAIN))
    assert parsed[0] == JSON
    assert parsed[1]["fix"] is None
    lines = FORMATS["json-lines"](found, PLAIN).splitlines()
    assert [json.loads(line) for line in lines] == parsed


def test_json_of_nothing_is_an_empty_array() -> None:
    assert json.loads(FORMATS["json"](report(), PLAIN)) == []
    assert FORMATS["json-lines"](report(), PLAIN) == ""


def test_github_annotations_are_escaped() -> None:
    one = finding(message="50% of: a, b", filename="a,b:c.py", consequence="Bad.", severity=Severity.WARNING)
    assert FORMATS["github"](report(one), PLAIN) == (
        "::warning title=torchlint (toy-alarm),file=a%2Cb%3Ac.py,line=2,endLine=2,col=5,endColumn=9"
        "::a,b:c.py:2:5: toy-alarm 50%25 of: a, b%0ABad.\n"
    )
    assert "endColumn" not in FORMATS["github"](report(finding(span=Span(1, 1, 2, 3))), PLAIN)


def test_statistics_count_and_say_what_can_be_mended() -> None:
    found = [
        finding(1, code="b-two", fix=SAFE),
        finding(2, code="b-two"),
        finding(3, code="b-two", fix=UNSAFE),
        finding(3, code="a-one", fix=SAFE),
        finding(4, code="c-two"),
    ]
    assert render(report(*found), Config(statistics=True), PLAIN) == (
        "3  b-two  [*] 1 fixable, 1 unsafely\n1  a-one  [*] 1 fixable\n1  c-two\n"
    )
    counts = json.loads(render(report(*found), Config(statistics=True, output_format="json"), PLAIN))
    assert counts == [
        {"code": "b-two", "count": 3, "fixable": False, "fixable_count": 1, "unsafe_fixable_count": 1},
        {"code": "a-one", "count": 1, "fixable": True, "fixable_count": 1, "unsafe_fixable_count": 0},
        {"code": "c-two", "count": 1, "fixable": False, "fixable_count": 0, "unsafe_fixable_count": 0},
    ]
    lines = render(report(*found), Config(statistics=True, output_format="json-lines"), PLAIN).splitlines()
    assert [json.loads(line) for line in lines] == counts


def test_a_diff_can_be_applied() -> None:
    record = Record("a.py", changes=(Change("a.py", "x = 1\r\ny = 2", "x = 1\r\nz = 2\ny = 2"),))
    found = report(diff=True)
    found.records = [record, Record("b.py")]
    assert render(found, found.plan.config, PLAIN) == (
        "--- a.py\n+++ a.py\n@@ -1,2 +1,3 @@\n x = 1\r\n+z = 2\n y = 2\n\\ No newline at end of file\n"
    )


@pytest.mark.parametrize(
    ("findings", "settings", "line"),
    [
        ([], {}, "All checks passed: 1 file."),
        ([finding()], {}, "Found 1 error in 1 file."),
        (
            [finding(), finding(3), finding(4, severity=Severity.WARNING), finding(filename="b.py")],
            {},
            "Found 3 errors, 1 warning in 2 files.",
        ),
        ([finding(fix=SAFE)], {}, "Found 1 error in 1 file. [*] 1 fixable with `--fix`."),
        (
            [finding(fix=UNSAFE), finding(3, fix=SAFE)],
            {},
            "Found 2 errors in 1 file. [*] 1 fixable with `--fix`, 1 more with `--fix --unsafe-fixes`.",
        ),
        (
            [finding(fix=UNSAFE), finding(3, fix=SAFE)],
            {"fix": True},
            "Found 2 errors in 1 file. 1 fixable with `--fix --unsafe-fixes`.",
        ),
        ([finding(fix=UNSAFE)], {"fix": True, "unsafe_fixes": True}, "Found 1 error in 1 file."),
    ],
)
def test_the_summary(findings: list[Diagnostic], settings: dict[str, object], line: str) -> None:
    assert text.summary(report(*findings, **settings), PLAIN) == line + "\n"


def test_the_summary_tells_what_was_mended() -> None:
    found = report(fix=True)
    found.records = [Record("a.py", fixed=(finding(), finding(3)))]
    assert text.summary(found, PLAIN) == "Fixed 2 findings.\n"
    assert text.fixes(found, PLAIN) == "Fixed a.py:\n  2 x toy-alarm\n"


def test_the_summary_says_what_could_not_be_checked() -> None:
    broken = builtin.file_error("syntax-error", "invalid syntax", "b.py")
    cell = dataclasses.replace(builtin.file_error("syntax-error", "invalid syntax", "n.ipynb"), cell=2)
    line = text.summary(report(finding(), broken, cell), PLAIN)
    assert line == "Found 3 errors in 3 files. 1 file could not be checked.\n", "the other cells were"


def test_the_summary_counts_no_file_that_was_left_out() -> None:
    found = report()
    found.records = [Record("a.py"), Record("b.py", notice="too large"), Record("r.ipynb", notice="in R", aside=True)]
    assert text.summary(found, PLAIN) == "All checks passed: 1 file. 1 file skipped.\n"


class TestExitCode:
    @pytest.mark.parametrize(
        ("findings", "settings", "code"),
        [
            ([], {}, 0),
            ([finding()], {}, 1),
            ([finding(severity=Severity.WARNING)], {}, 1),
            ([finding()], {"exit_zero": True}, 0),
            ([finding(), finding(code="internal-error")], {}, 2),
            ([finding(code="internal-error")], {"exit_zero": True}, 2),
            ([finding(code="syntax-error")], {}, 1),
        ],
    )
    def test_of_findings(self, findings: list[Diagnostic], settings: dict[str, object], code: int) -> None:
        assert report(*findings, **settings).exit_code == code

    @pytest.mark.parametrize(
        ("settings", "diff", "code"),
        [
            ({"fix": True}, False, 0),
            ({"fix": True, "exit_non_zero_on_fix": True}, False, 1),
            ({}, True, 1),
            ({"exit_zero": True}, True, 0),
        ],
    )
    def test_when_all_is_mended(self, settings: dict[str, object], diff: bool, code: int) -> None:
        found = report(diff=diff, **settings)
        found.records = [Record("a.py", fixed=(finding(),))]
        assert found.exit_code == code


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "color", "environment", "wanted"),
    [
        (_Terminal(), "auto", {}, True),
        (_Terminal(), "auto", {"NO_COLOR": "1"}, False),
        (_Terminal(), "auto", {"NO_COLOR": ""}, True),
        (_Terminal(), "auto", {"TERM": "dumb"}, False),
        (_Terminal(), "auto", {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        (_Terminal(), "auto", {"CLICOLOR": "0"}, False),
        (_Terminal(), "auto", {"CLICOLOR": "1"}, True),
        (_Terminal(), "auto", {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        (io.StringIO(), "auto", {"CLICOLOR": "1"}, False),
        (io.StringIO(), "auto", {"CLICOLOR_FORCE": "1"}, True),
        (io.StringIO(), "auto", {"CLICOLOR_FORCE": "0"}, False),
        (_Terminal(), "always", {"NO_COLOR": "1"}, True),
        (_Terminal(), "never", {}, False),
        (io.StringIO(), "auto", {}, False),
        (io.StringIO(), "auto", {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), "auto", {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), "always", {}, True),
    ],
)
def test_colours_are_for_terminals(stream: io.StringIO, color: str, environment: dict[str, str], wanted: bool) -> None:
    assert style_for(stream, color, environment).color is wanted


def test_printable_keeps_what_is_harmless() -> None:
    assert printable("naïve 日本 ∑ 🙂") == "naïve 日本 ∑ 🙂"
    assert printable("\u200b\x00\ud800") == "\\u200b\\x00\\ud800"
    assert printable("a\tb", 3) == "a    b"
