"""What mkdocs builds besides the files here: a page for every rule, from the rule itself and its recorded proof.

Nothing of it is written to the repository. A rule that is added is on the site, in its group, with its numbers.
Pages link to files of the repository as GitHub has it (`../fixtures`); on the site these links lead to the rules' pages
or to where the sources live.
"""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from torchlint import cli, proofs, registry, translations
from torchlint import config as settings
from torchlint.diagnostic import Group
from torchlint.rule import HEADINGS, Rule
from torchlint.rule import Page as RulePage
from torchlint.translations import ENGLISH, LANGUAGES, Language

ROOT = Path(__file__).resolve().parent.parent
LOG = logging.getLogger("mkdocs.hooks.torchlint")

PROMISES = {
    Group.CORRECTNESS: "On, errors. No false alarm is known.",
    Group.SUSPICIOUS: "On, warnings. Right nine times in ten.",
    Group.PORTABILITY: "On, warnings. Works here, fails elsewhere or later.",
    Group.MIGRATION: "On, warnings. Removed or deprecated in the torch at hand.",
    Group.PERFORMANCE: "Off until it is selected: costs time or memory, not results.",
    Group.REPRODUCIBILITY: "Off until it is selected: two runs differ.",
    Group.PEDANTIC: "Off until it is selected: taste.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the rules, and to the navigation the rules by group."""
    rules = registry.load()
    by_group = {group: [rule for rule in rules if rule.group is group] for group in PROMISES}
    by_group = {group: members for group, members in by_group.items() if members}

    def add(path: str, text: str) -> str:
        files.append(File.generated(config, path, content=text))
        return path

    entries: list[Any] = [add("rules/index.md", "\n".join(_index(by_group)))]
    for group, members in by_group.items():
        pages = [{r.name: add(f"rules/{r.name}.md", _page(r, r.page, "en", config))} for r in members]
        entries.append({group.value: pages})
    _put(config, "rules/index.md", entries)
    for lang in _other_languages():
        pages = [{r.name: add(f"{lang}/rules/{r.name}.md", _page(r, p, lang, config))} for r, p in _translated(lang)]
        _put(config, f"{lang}/index.md", [f"{lang}/index.md", *pages])
    return files


def _other_languages() -> list[str]:
    return [code for code, language in LANGUAGES.items() if language is not ENGLISH]


def _translated(lang: str) -> list[tuple[Rule, RulePage]]:
    """The rules that have a page in a language, and that page."""
    return [(rule, page) for rule in registry.load() if (page := translations.page(rule.name, lang))]


def _put(config: MkDocsConfig, index: str, entries: list[Any]) -> None:
    """In the navigation, puts `entries` where the page `index` stands alone."""
    for section in config.nav or []:
        for title, where in section.items():
            if where == index:
                section[title] = entries


# ------------------------------------------------------------------------------------------------------------- a rule


def _page(rule: Rule, page: RulePage, lang: str, config: MkDocsConfig) -> str:
    language = LANGUAGES[lang]
    lines = ["---", f"description: {json.dumps(page.summary)}", "---", "", f"# {rule.name}", "", page.summary, ""]
    lines += [*_facts(rule, language), *_measured(rule, lang)]
    for heading, shown in zip(HEADINGS, language.headings, strict=True):
        anchor = heading.lower().replace(" ", "-")
        lines += [f"## {shown} {{ #{anchor} }}", "", _linked(rule, page.sections[heading], lang), ""]
    module = rule.name.replace("-", "_")
    here = str(config.extra["repository"])
    sources = f"[rules/{module}.py]({here}/blob/main/rules/{module}.py)"
    programs = f"[fixtures/{module}/]({here}/tree/main/fixtures/{module})"
    lines += ["---", "", f"{sources} · {programs}" + "".join(_others(rule, lang)), ""]
    return "\n".join(lines)


def _facts(rule: Rule, language: Language) -> Iterator[str]:
    """Group, level and fix, as small labels."""
    severity = rule.group.severity.value
    fix = language.fix.format(language.words.get(rule.fixable, rule.fixable)) if rule.fixable else language.no_fix
    labels = [rule.group.value, language.words.get(severity, severity), fix]
    if not rule.group.default:
        labels.append(language.off.lstrip(",、 "))
    if rule.preview:
        labels.append("preview")
    yield f'<p class="facts">{" ".join(f"<span>{label}</span>" for label in labels)}</p>'
    yield ""


PROOF_WORDS = {
    "en": ("Measured", "with the pitfall", "without it", "after the fix", "no fix here", "trained with torch {}, {}"),
    "ja": ("測定値", "誤りのあるプログラム", "正しいプログラム", "自動修正後", "自動修正なし", "torch {}、{} で学習"),
}


def _measured(rule: Rule, lang: str) -> Iterator[str]:
    """What the recorded proof measured, for all to see."""
    proof = proofs.recorded().get(rule.name)
    if proof is None:
        return
    measured, bad, good, fixed, none, trained = PROOF_WORDS[lang]
    after = f"<b>{proofs.figure(proof.fixed)}</b>" if proof.fixed is not None else f"<b>–</b> <i>{none}</i>"
    yield '<div class="proof" markdown="0">'
    yield f"<p>{measured}: {html.escape(proof.what, quote=False)}</p>"
    yield f'<dl><div class="bad"><dt>{bad}</dt><dd><b>{proof.harm}</b></dd></div>'
    yield f"<div><dt>{good}</dt><dd><b>{proofs.figure(proof.good)}</b></dd></div>"
    yield f"<div><dt>{fixed}</dt><dd>{after}</dd></div></dl>"
    yield f"<p><small>{trained.format(proof.torch, proof.device)}</small></p>"
    yield "</div>"
    yield ""


def _linked(rule: Rule, text: str, lang: str) -> str:
    """A section with its links: references by their titles, other rules by their names."""
    text = re.sub(r"^- (.+): (https://\S+)$", r"- [\1](\2)", text, flags=re.MULTILINE)
    known = registry.by_name()

    def other(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known or name == rule.name:
            return match[0]
        there = f"{name}.md" if translations.page(name, lang) or lang == "en" else f"../../rules/{name}.md"
        return f"[`{name}`]({there})"

    return "".join(
        part if part.startswith("```") else re.sub(r"(?<!\[)`([a-z]+(?:-[a-z]+)+)`", other, part)
        for part in re.split(r"(```.*?```)", text, flags=re.DOTALL)
    )


def _others(rule: Rule, lang: str) -> Iterator[str]:
    """The same page in the other languages."""
    for other, language in LANGUAGES.items():
        if other == lang or (other != "en" and translations.page(rule.name, other) is None):
            continue
        up = "../" if lang == "en" else "../../"
        there = f"{up}rules/{rule.name}.md" if other == "en" else f"{up}{other}/rules/{rule.name}.md"
        yield f" · [{language.name}]({there})"


def _index(by_group: dict[Group, list[Rule]]) -> Iterator[str]:
    yield from (
        "---",
        "hide: [toc]",
        "---",
        "",
        "# The rules",
        "",
        "Each is proven by training: *bad* is what was measured in a program with the pitfall, over three seeds,",
        "*good* the same number in the program without it, *fixed* in the first one after torchlint's own fix",
        "(–: no fix there). [How a finding is proven](../confirmed.md) says what is measured and how. A rule's group",
        "is a promise about [false alarms](../false-alarms.md), and sets its level.",
    )
    for group, members in by_group.items():
        yield from ("", f"## {group.value}", "", PROMISES[group], "")
        yield from ("| rule | fix | measured | bad | good | fixed |", "| --- | --- | --- | ---: | ---: | ---: |")
        yield from map(_row, members)


def _row(rule: Rule) -> str:
    proof = proofs.recorded().get(rule.name)
    measured: tuple[str, ...] = ("", "", "", "")
    if proof is not None:
        fixed = "–" if proof.fixed is None else proofs.figure(proof.fixed)
        measured = (proof.what, proof.harm, proofs.figure(proof.good), fixed)
    name = f"[`{rule.name}`]({rule.name}.md)" + (" (preview)" if rule.preview else "")
    summary = rule.page.summary.replace("|", "\\|")
    return f"| {' | '.join((f'{name}<br>{summary}', rule.fixable or '–', *measured))} |"


# ---------------------------------------------------------------------------------------------------- the written pages

SETTINGS = "<!-- settings -->"
OUTSIDE = re.compile(r"\]\((?P<path>\.\./[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
LIST = "<!-- rules -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in the lists that a page has a place for, and leads links out of docs/ to where they go on the site."""
    if page.file.generated_by:
        return markdown
    here = Path(page.file.src_uri).parent
    if here.name in _other_languages():
        rows = (f"- [`{rule.name}`](rules/{rule.name}.md): {text.summary}" for rule, text in _translated(here.name))
        markdown = markdown.replace(LIST, "\n".join(rows))
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, "\n".join(_settings()))

    def lead(match: re.Match[str]) -> str:
        path = (ROOT / "docs" / here / match["path"]).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return match[0]
        up = "../" * len(here.parts)  # to docs/
        if path == ROOT / "rules":
            return f"]({up}rules/index.md{match['anchor'] or ''})"
        if path.parent == ROOT / "rules" and path.suffix == ".py" and path.is_file():
            return f"]({up}rules/{path.stem.replace('_', '-')}.md{match['anchor'] or ''})"
        if not path.exists():
            LOG.warning("%s links to %s, which is not there", page.file.src_uri, match["path"])
        kind = "tree" if path.is_dir() else "blob"
        return f"]({config.extra['repository']}/{kind}/main/{path.relative_to(ROOT).as_posix()}{match['anchor'] or ''})"

    return OUTSIDE.sub(lead, markdown)


def _settings() -> Iterator[str]:
    """The keys of the configuration, with their defaults and the options that set them too."""
    options = {one.name: one for one in cli.check.params if isinstance(one, click.Option)}
    yield from ("| key | default | option | |", "| --- | --- | --- | --- |")
    for name, value in settings.values(settings.Config()).items():
        option = options.get(name)
        long = max(option.secondary_opts if value is True else option.opts, key=len) if option is not None else ""
        default = "see below" if name == "exclude" else f"`{json.dumps(value)}`"
        text = (option.help or "").removesuffix(" (default).") if option is not None else "see below"
        yield f"| `{settings.key(name)}` | {default} | {f'`{long}`' if long else ''} | {text} |"


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Tells browsers the language of a page that is not in English: they choose the shapes of characters by it."""
    lang = page.file.src_uri.partition("/")[0]
    if lang in _other_languages():
        return output.replace('<html lang="en"', f'<html lang="{lang}"', 1)
    return output
