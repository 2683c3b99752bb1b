"""Pages in other languages say what the English ones say, as far as a test can tell; `explain --lang` shows them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from torchlint import registry, rules, translations
from torchlint.cli import torchlint
from torchlint.rule import HEADINGS, Page

RULES = registry.by_name()
FILES = sorted(Path(list(rules.__path__)[-1]).glob("*/*.md"))
EACH = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")

# Those that the project began with are what a beginner meets; they are there in every language.
FIRST = (
    "attribute-before-super-init device-mismatch inference-without-eval inference-without-no-grad missing-super-init"
    " missing-zero-grad parameter-replaced-after-optimizer tensor-move-discarded tensor-without-device"
    " train-mode-not-restored whole-model-save"
).split()


def both(file: Path) -> tuple[Page, Page]:
    """A translation, and the English page it is of."""
    name = file.stem.replace("_", "-")
    assert name in RULES, f"{file} translates no rule"
    page = translations.page(name, file.parent.name)
    assert page is not None
    return page, RULES[name].page


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(torchlint, ["explain", *arguments])


def test_every_language_has_the_first_rules() -> None:
    for lang in translations.LANGUAGES.keys() - {"en"}:
        assert {file.stem.replace("_", "-") for file in FILES if file.parent.name == lang} >= set(FIRST)
    assert {file.parent.name for file in FILES} < translations.LANGUAGES.keys()


@EACH
def test_it_has_the_sections_of_the_english_page_in_order(file: Path) -> None:
    page, english = both(file)
    assert list(page.sections) == list(english.sections) == list(HEADINGS)


@EACH
def test_it_has_the_same_code(file: Path) -> None:
    """Blocks of code, what stands in backquotes and the links: when one changes in English, it has to change here."""
    page, english = both(file)
    for heading in HEADINGS:
        ours, theirs = page.sections[heading], english.sections[heading]
        assert re.findall(r"```.*?```", ours, re.DOTALL) == re.findall(r"```.*?```", theirs, re.DOTALL), heading
        assert terms(ours) == terms(theirs), heading
    assert terms(page.summary) == terms(english.summary)
    assert page.sections["References"] == english.sections["References"]


def terms(text: str) -> set[str]:
    """What stands in backquotes, wherever its lines are broken."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {" ".join(one.split()) for one in re.findall(r"`([^`]+)`", prose)}


@EACH
def test_it_is_written_in_the_language(file: Path) -> None:
    page, _ = both(file)
    assert file.parent.name == "ja", "say here how that language is told"
    for heading, text in {"": page.summary, **page.sections}.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        if heading != "References":
            assert re.search("[ぁ-ん]", prose), heading
        for line in prose.splitlines():
            assert not re.search(r"[ぁ-ん一-龥]$", line) or line.endswith(("い", "る", "ループ")), (
                f"a broken line: {line}"
            )


@EACH
@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_explain_shows_it(file: Path, output_format: str) -> None:
    page, english = both(file)
    language = translations.LANGUAGES[file.parent.name]
    result = explain(file.stem.replace("_", "-"), "--lang", file.parent.name, "--output-format", output_format)
    assert result.exit_code == 0, result.output
    assert page.summary in result.output
    assert english.summary not in result.output
    assert language.untranslated not in result.output
    shown = re.findall(r"^## (.*)$", result.output, re.MULTILINE)
    assert shown == list(language.headings)


def test_the_words_around_the_page_are_translated() -> None:
    output = explain("missing-zero-grad", "--lang", "ja").output
    assert "*correctness（エラー）、自動修正: 場合による*" in output
    assert "*実測で確認済み: steps' gradients in .grad: 2、正常なら 1（torch 2." in output


def test_json_keeps_its_keys() -> None:
    (page,) = json.loads(explain("missing-zero-grad", "--lang", "ja", "--output-format", "json").output)
    assert page["lang"] == "ja"
    assert list(page["sections"]) == list(HEADINGS)
    assert "勾配" in page["summary"]
    (english,) = json.loads(explain("missing-zero-grad", "--output-format", "json").output)
    assert {**english, "lang": "", "summary": "", "sections": {}} == {**page, "lang": "", "summary": "", "sections": {}}


def test_a_rule_without_a_translation_is_shown_in_english_and_says_so() -> None:
    translated = {file.stem.replace("_", "-") for file in FILES}
    for name in [next(name for name in RULES if name not in translated), "syntax-error"]:
        lines = explain(name, "--lang", "ja").output.splitlines()
        assert lines[:4] == [f"# {name}", "", f"*{translations.LANGUAGES['ja'].untranslated}*", ""]
        assert [line for line in lines if line] and explain(name).output.splitlines()[2:] == lines[4:]


def test_an_unknown_language_is_an_error_that_names_those_there_are() -> None:
    result = explain("missing-zero-grad", "--lang", "jp")
    assert result.exit_code == 2
    assert "no pages in the language `jp`; did you mean `ja`?" in result.output
    assert "en (English), ja (日本語)" in result.output
    assert "did you mean" not in explain("missing-zero-grad", "--lang", "fr").output


def test_a_translation_that_lacks_a_section_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FILES[0].read_text(encoding="utf-8")
    folder = tmp_path / "ja"
    folder.mkdir()
    (folder / FILES[0].name).write_text(whole.replace("## 検証方法", "## 検証"), encoding="utf-8")
    monkeypatch.setattr(sys.modules["torchlint.rules"], "__path__", [str(tmp_path)])
    name = FILES[0].stem.replace("_", "-")
    with pytest.raises(ValueError, match=rf"rule {name} \(ja\): its docstring lacks Proof"):
        translations.page(name, "ja")
