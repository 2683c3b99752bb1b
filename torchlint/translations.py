"""The pages of rules in other languages than English: `rules/ja/missing_zero_grad.md`, where somebody wrote one.

A translation is the rule's docstring in that language: its first line, then the same sections under the headings that
`LANGUAGES` gives. A rule need not have one: what is missing is shown in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torchlint.registry import nearest
from torchlint.rule import HEADINGS, Page


@dataclass(slots=True, frozen=True)
class Language:
    """The words that a page has besides the rule's own text. In the patterns stand the names that fill them."""

    name: str  # in itself
    headings: tuple[str, ...] = HEADINGS  # in the order of HEADINGS
    status: str = "{group}, {severity}{off}; {fix}"
    off: str = ", off by default"
    fix: str = "fix: {}"
    no_fix: str = "no fix"
    proof: str = "confirmed: {what}: {harm}, healthy {good}; torch {torch}, {device}"
    untranslated: str = ""  # shown above the English page of a rule without a translation
    words: Mapping[str, str] = field(default_factory=dict)  # severities and kinds of fixes


ENGLISH = Language("English")

LANGUAGES = {
    "en": ENGLISH,
    "ja": Language(
        "日本語",
        ("検出する内容", "何が問題か", "例", "自動修正と安全性", "既知の限界", "検証方法", "参考資料"),
        status="{group}（{severity}{off}）、{fix}",
        off="、既定では無効",
        fix="自動修正: {}",
        no_fix="自動修正なし",
        proof="実測で確認済み: {what}: {harm}、正常なら {good}（torch {torch}、{device}）",
        untranslated="この規則のページはまだ日本語に訳されていないため、英語で表示します。",
        words={
            "error": "エラー",
            "warning": "警告",
            "info": "情報",
            "safe": "安全",
            "unsafe": "安全ではない",
            "sometimes": "場合による",
        },
    ),
}


def language(code: str) -> Language:
    """The language of a code such as `ja`. Raises LookupError naming those there are."""
    if code not in LANGUAGES:
        known = ", ".join(f"{one} ({what.name})" for one, what in LANGUAGES.items())
        raise LookupError(f"there are no pages in the language `{code}`{nearest(code, LANGUAGES)}; there are: {known}")
    return LANGUAGES[code]


def page(rule: str, code: str) -> Page | None:
    """The page of `rule` in a language, None when nobody has written it.

    Raises ValueError naming rule and section when the translation lacks one.
    """
    import torchlint.rules

    for folder in torchlint.rules.__path__:
        file = Path(folder, code, f"{rule.replace('-', '_')}.md")
        if file.is_file():
            return Page.read(file.read_text(encoding="utf-8"), f"{rule} ({code})", LANGUAGES[code].headings)
    return None
