"""The documentation: it builds without a warning, no link is dead, every rule has its page, nothing is foreign."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from torchlint import cli, config, proofs, registry, translations

ROOT = Path(__file__).resolve().parent.parent
RULES = registry.load()


class Links(HTMLParser):
    """What a page loads, where it leads, what can be led to in it, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.anchors: set[str] = set()
        self.lang = ""
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        match tag:
            case "a" if "href" in values:
                self.leads.append(values["href"])
            case "link" if values.get("rel") not in ("canonical", "prev", "next"):
                self.loads.append(values["href"])
            case "script" | "img" | "iframe" | "source" if "src" in values:
                self.loads.append(values["src"])
            case "html":
                self.lang = values.get("lang", "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Links]:
    """The pages of the site, as `mkdocs build --strict` makes it from a copy of nothing but the checkout."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("WARNING|ERROR", done.stderr), done.stderr
    return {file.relative_to(folder): Links(file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")} | {
        file.relative_to(folder): Links("") for file in folder.rglob("*") if file.suffix not in ("", ".html")
    }


def inside(site: dict[Path, Links], page: Path, links: list[str]) -> Iterator[tuple[str, Path, str]]:
    """The links that stay on the site: as written, the file that they lead to, and the place in it."""
    for link in links:
        address, anchor = urldefrag(link)
        if urlsplit(address).scheme or address.startswith("//"):
            continue
        at = Path(os.path.normpath(page.parent / unquote(address))) if address else page
        yield link, at / "index.html" if at / "index.html" in site else at, unquote(anchor)


def test_no_link_is_dead(site: dict[Path, Links]) -> None:
    dead = []
    for page, links in site.items():
        if page.name == "404.html":
            continue  # it is shown at any address, and so has addresses from the root
        for link, at, anchor in inside(site, page, links.loads + links.leads):
            if at not in site or (anchor and at.suffix == ".html" and anchor not in site[at].anchors | {"__comments"}):
                dead.append(f"{page}: {link}")
    assert not dead
    assert sum(len(links.leads) for links in site.values()) > 1000, "the parser sees no links"


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Links]) -> None:
    loads = {load for links in site.values() for load in links.loads}
    assert [load for load in loads if urlsplit(load).netloc] == []
    assert any(load.endswith(".js") for load in loads)
    assert any(load.endswith("site.css") for load in loads)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_its_page_with_its_proof(site: dict[Path, Links], rule: registry.Rule) -> None:
    page = site[Path("rules", rule.name, "index.html")]
    text = " ".join(" ".join(page.text).split())
    for heading in ("What it finds", "Known limits", "References"):
        assert heading in text
    proof = proofs.recorded().get(rule.name)
    if proof is not None:
        assert f"Measured: {proof.what} with the pitfall {proof.harm} without it {proofs.figure(proof.good)}" in text
    assert f"{rule.name}/" in site[Path("rules/index.html")].leads
    source = f"rules/{rule.name.replace('-', '_')}.py"
    assert any(lead.endswith(source) for lead in page.leads)
    assert (ROOT / source).is_file()


def test_every_setting_is_explained(site: dict[Path, Links]) -> None:
    """All keys stand in the table; those that no option of the command explains stand in the text too."""
    text = " ".join(" ".join(site[Path("configuration/index.html")].text).split())
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    options = {option.name for option in cli.check.params}
    for name in config.READERS:
        assert f" {config.key(name)} " in text
        assert name in options or f"`{config.key(name)}" in written.partition("<!-- settings -->")[2], name
    assert "see below" in text
    assert "cache true --no-cache Remember what was found" in text


def test_translated_pages_are_there_and_tell_their_language(site: dict[Path, Links]) -> None:
    for lang in translations.LANGUAGES.keys() - {"en"}:
        for rule in RULES:
            page = site.get(Path(lang, "rules", rule.name, "index.html"))
            assert (page is None) == (translations.page(rule.name, lang) is None)
            if page:
                assert page.lang == lang
                assert f"../../{lang}/rules/{rule.name}/" in site[Path("rules", rule.name, "index.html")].leads
                assert f"rules/{rule.name}/" in site[Path(lang, "index.html")].leads
    assert site[Path("index.html")].lang == "en"


def test_the_page_of_a_rule_is_where_the_reports_expect_it(site: dict[Path, Links]) -> None:
    names = {file.parent.name for file in site if file.parts[0] == "rules" and len(file.parts) == 3}
    assert names == {rule.name for rule in RULES}


def test_no_page_is_kept_in_the_repository() -> None:
    assert not (ROOT / "docs" / "rules").exists()
    assert not (ROOT / "docs" / "rules.md").exists()


# ------------------------------------------------------------------------------------------------- the placeholder

WRITTEN = [
    *ROOT.glob("*.md"),
    *ROOT.glob("*.yml"),
    *ROOT.glob("*.yaml"),
    *ROOT.glob("*.toml"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "rules").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.md"),
    *(ROOT / "editors" / "vscode").glob("*.md"),
    *(ROOT / "editors" / "vscode").glob("package.json"),
    *(ROOT / "torchlint").rglob("*.py"),
]


def test_where_the_sources_live_is_said_in_one_place() -> None:
    """`OWNER` stands for a public home that is not there yet; when it is, all files must follow mkdocs.yml."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (repository,) = re.findall(r"^  repository: https://github\.com/(\S+)$", text, re.MULTILINE)
    found = {}
    for file in WRITTEN:
        for one in re.findall(r"(?:github\.com/|uses: )([\w.-]+/torchlint)\b", file.read_text(encoding="utf-8")):
            found[f"{file.relative_to(ROOT)}: {one}"] = one
    assert {where for where, one in found.items() if one != repository} == set()
    assert len(found) >= 2


# ------------------------------------------------------------------------------------------ the same files, on GitHub


@pytest.mark.parametrize("file", [f for f in WRITTEN if f.suffix == ".md"], ids=lambda f: str(f.relative_to(ROOT)))
def test_links_between_files_of_the_repository_are_true(file: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        at = (file.parent / path).resolve() if path else file
        assert at.exists(), link
        if anchor:
            assert anchor in {slug(line) for line in at.read_text(encoding="utf-8").splitlines() if line[:1] == "#"}, (
                link
            )


def slug(heading: str) -> str:
    """A heading's anchor on GitHub; mkdocs makes the same of a plain one."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")
