"""The page of `torchlint confirm --output-format html`: complete, escaped, and with nothing to fetch."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from torchlint.confirm import html, plots
from torchlint.confirm.probe import Outcome
from torchlint.confirm.result import (
    AS_IS,
    FIXED,
    Number,
    Pass,
    ProgramRun,
    Result,
    RuntimeOnly,
    Series,
    Spot,
    Step,
    Unmoved,
    Verdict,
)

VOID = {"meta", "br", "link", "img", "path", "use"}
EVIL = "<script>alert(`x`)</script> & \"q\" 'a' $x$ ]]>"


class Page(HTMLParser):
    """A page that is well formed, or an AssertionError that says where it is not."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> at {self.getpos()} inside {self.open}"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def spot(row: int = 9, source: str = "        loss.backward()") -> Spot:
    return Spot("src/train.py", row, 9, row, 24, source)


def number(value: float = 2.0, **values: object) -> Number:
    return replace(Number("steps' gradients in .grad", value, 1.0, "steps' worth", "at step 2 it held two"), **values)


def verdict(outcome: Outcome, code: str = "missing-zero-grad") -> Verdict:
    measured = None if outcome is Outcome.NOT_REACHED else number()
    return Verdict(code, spot(), "`opt` is never cleared", "Gradients pile up.", outcome, measured)


def run(name: str = AS_IS, stale: bool = True, count: int = 30) -> ProgramRun:
    steps = tuple(Step(n, 2.0 / n, n if stale else 1.0, n if stale else 1, 4, 4) for n in range(1, count + 1))
    return ProgramRun(name, 0, "itself", 1.5, "cpu", 0, 120, (Series(1, "SGD", spot(), steps),))


def result(**values: object) -> Result:
    usual = Result("2.13.0+cpu", "cpu", ("train.py",), (verdict(Outcome.CONFIRMED),), (), (run(),))
    return replace(usual, **values)


def test_every_verdict_is_there_with_its_line_and_its_number() -> None:
    codes = {Outcome.CONFIRMED: "missing-zero-grad", Outcome.HARMLESS: "whole-model-save"}
    codes[Outcome.NOT_REACHED] = "device-mismatch"
    verdicts = tuple(verdict(outcome, code) for outcome, code in reversed(codes.items()))
    only = RuntimeOnly("inference-without-eval", spot(40, "model(x)"), number(0.125, measure="two passes differ by"))
    page = Page(html.render(result(verdicts=verdicts, runtime_only=(only,))))
    shown = [(one["data-code"], one["data-verdict"]) for one in page.of("article")]
    assert shown == [
        ("missing-zero-grad", "confirmed"),
        ("whole-model-save", "harmless"),
        ("device-mismatch", "not-reached"),
        ("inference-without-eval", "confirmed"),
    ]
    for words in (
        "2 pitfalls confirmed by running train.py",
        "1 confirmed, 1 harmless here, 1 not reached, 1 seen only in the run",
        "src/train.py:9 9loss.backward() opt is never cleared. Gradients pile up.",
        "2measured: steps' gradients in .grad1in a healthy program",
        "0.125measured: two passes differ by",
        "At step 2 it held two.",
        "The run never measured anything here.",
    ):
        assert words in page.words


def test_what_the_finding_points_at_is_marked() -> None:
    assert "<mark>loss.backward()</mark></code>" in html.render(result())
    other = replace(verdict(Outcome.HARMLESS), spot=Spot("a.py", 3, 5, 3, 10, "    a < b or c"))
    assert '<span class="row">3</span><mark>a &lt; b</mark> or c' in html.render(result(verdicts=(other,)))
    unread = replace(other, spot=Spot("a.py", 3))
    assert "<mark>" not in html.render(result(verdicts=(unread,)))


def test_with_the_fix_both_numbers_stand_side_by_side() -> None:
    mended = replace(verdict(Outcome.CONFIRMED), fixed=number(1.0), fixed_outcome=Outcome.HARMLESS)
    lost = replace(verdict(Outcome.CONFIRMED), fixed_outcome=Outcome.NOT_REACHED)
    page = Page(html.render(result(verdicts=(mended, lost), runs=(run(), run(FIXED, stale=False)))))
    assert "1measured with the fix" in page.words
    assert "with the fix: not reached" in page.words
    assert "as it is" in page.words
    assert "with the fix" in page.words


def test_the_users_own_text_stays_text() -> None:
    evil = Spot(EVIL, 1, 1, 1, 5, EVIL)
    steps = tuple(Step(n, 1.0, 2.0, 2, 1, 1) for n in range(3))
    bad = ProgramRun(
        EVIL, 1, EVIL, 1.0, EVIL, None, 9, (Series(1, EVIL, evil, steps), Series(2, EVIL, evil, steps)), 10,
        (Unmoved(EVIL, 5, False, False, True),), (Pass(EVIL, evil, True, True, 1.0, 1.0, 0.0),), EVIL, evil,
    )  # fmt: skip
    evil_number = Number(EVIL, 2.0, 1.0, EVIL, EVIL, evil)
    text = html.render(
        Result(
            EVIL,
            EVIL,
            (EVIL,),
            (Verdict(EVIL, evil, EVIL, EVIL, Outcome.CONFIRMED, evil_number),),
            (RuntimeOnly(EVIL, evil, evil_number),),
            (bad, bad),
            (EVIL,),
            (EVIL,),
        )
    )
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.words.count("<script>alert(") > 15


def test_nothing_is_fetched() -> None:
    text = html.render(result(runs=(run(), run(FIXED, stale=False))))
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<iframe|<img|src=", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{one}" for one in re.findall(r' id="([^"]*)"', text)}
    page = Page(text)
    targets = {str(one.get("id")) for _, one in page.tags if "id" in one}
    links = {str(one["href"]) for _, one in page.tags if "href" in one}
    assert links == {f"#{one}" for one in targets if f'href="#{one}"' in text}
    (policy,) = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_result_with_nothing_in_it_is_a_page() -> None:
    page = Page(html.render(result(verdicts=(), runs=(replace(run(), optimizers=()),))))
    assert "Nothing found in train.py" in page.words
    assert not page.of("svg")
    killed = replace(run(count=0), status=None, ended="time-limit", error="", optimizers=())
    assert "ended at the time limit after 0 steps" in Page(html.render(result(runs=(killed,)))).words


def test_without_matplotlib_the_page_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    page = Page(html.render(result()))
    assert "pip install 'torchlint[confirm]'" in page.words
    assert not page.of("svg")


# ---------------------------------------------------------------------------------------------------------------- plots


@pytest.fixture
def _drawable() -> None:
    pytest.importorskip("matplotlib")


def drawn(text: str) -> str:
    """The words of a drawing that is well formed and takes its colours from the page."""
    assert text.startswith("<svg viewBox=")
    assert "#0a0b0" not in text
    return Page(text).words


@pytest.mark.usefixtures("_drawable")
def test_each_plot_is_drawn_where_there_is_something_to_see() -> None:
    both = (run(), run(FIXED, stale=False))
    assert "as it is with the fix" in drawn(plots.losses(both))
    assert "1 is right" in drawn(plots.staleness(both))
    assert plots.staleness((run(stale=False),)) == ""
    still = (Unmoved("Net.fc.weight", 640, False, False, True), Unmoved("Net.stem.weight", 64, True, False, False))
    words = drawn(plots.unmoved(replace(run(), unmoved=still)))
    assert "Net.fc.weight, in no optimizer" in words
    assert "Net.stem.weight, frozen" in words
    assert plots.unmoved(replace(run(), unmoved=still[1:])) == "", "frozen on purpose"
    page = Page(html.render(result(runs=(replace(run(), parameters=8, unmoved=still),))))
    assert "Of 8 parameters 1 should train and never moved: 640 elements." in page.words
    chance = (Pass("Net", spot(40), True, True, 0.5, 2.0, 0.0), Pass("Net", spot(50), False, True, 0.0, 2.0, 0.0))
    words = drawn(plots.passes(replace(run(), passes=chance)))
    assert "predicting in training mode" in words
    assert "0.25" in words
    assert "the same twice" in words
    assert plots.passes(replace(run(), passes=(replace(chance[0], inference=False),))) == ""


@pytest.mark.usefixtures("_drawable")
def test_what_is_no_number_leaves_a_gap() -> None:
    odd = [1.0, None, math.nan, math.inf, 3.0]
    steps = tuple(Step(n, loss, math.inf if n == 3 else 2.0, 2, 1, 1) for n, loss in enumerate(odd, start=1))
    strange = replace(run(), optimizers=(Series(1, "SGD", None, steps),))
    assert plots.losses((strange,))
    assert plots.staleness((strange,))
    infinite = (Pass("Net", spot(), True, True, math.inf, 1.0, 0.0),)
    assert "inf" in drawn(plots.passes(replace(run(), passes=infinite)))
    assert plots.losses((replace(run(), optimizers=(Series(1, "SGD", None, (Step(1, None, 1.0, 1, 0, 2),)),)),)) == ""


@pytest.mark.usefixtures("_drawable")
def test_a_long_run_makes_no_long_page() -> None:
    assert len(html.render(result(runs=(run(count=20_000),)))) < 150_000
