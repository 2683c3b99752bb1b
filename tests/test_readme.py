"""README.ja.md says what README.md says: the same headings, code, links, tables and names, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
JAPANESE = (ROOT / "README.ja.md").read_text(encoding="utf-8")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def sections(text: str) -> list[str]:
    return re.split(r"^(?=#+ )", CODE.sub(lambda code: code[0].replace("\n#", "\n #"), text), flags=re.MULTILINE)[1:]


PAIRS = list(zip(sections(ENGLISH), sections(JAPANESE), strict=False))


def test_the_sections_are_the_same() -> None:
    levels = [[section.split(" ")[0] for section in sections(text)] for text in (ENGLISH, JAPANESE)]
    assert levels[0] == levels[1]
    assert len(PAIRS) > 10


@pytest.mark.parametrize(("english", "japanese"), PAIRS, ids=[one.splitlines()[0].strip("# ") for one, _ in PAIRS])
def test_a_section_has_the_same_code_links_and_names(english: str, japanese: str) -> None:
    assert CODE.findall(english) == CODE.findall(japanese)
    english, japanese = CODE.sub("", english), CODE.sub("", japanese)
    assert links(english) == links(japanese)
    assert names(english) == names(japanese)
    assert english.count("\n|") == japanese.count("\n|")
    assert english.count("\n\n") == japanese.count("\n\n"), "paragraphs"


def links(text: str) -> list[str]:
    return sorted(re.sub(r"README(\.ja)?\.md", "README", link) for link in re.findall(r"\]\(([^)]+)\)", text))


def names(text: str) -> set[str]:
    return {" ".join(name.split()) for name in re.findall(r"`([^`]+)`", text)}


def test_it_is_japanese() -> None:
    for line in CODE.sub("", JAPANESE).splitlines():
        if len(line) > 60 and not line.startswith("|"):
            assert re.search("[ぁ-ん]", line), line
    assert not re.search("[ぁ-ん]", ENGLISH)


def test_it_names_no_number_of_rules_that_would_go_stale() -> None:
    assert not re.search(r"\b\d+ rules\b|\d+ ?の?規則", ENGLISH + JAPANESE)
