"""What `explain`, `rules` and `config` print."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchlint import builtin, proofs, registry, translations
from torchlint.config import READERS, Config, key
from torchlint.report.style import Style, style_for
from torchlint.rule import HEADINGS, Rule
from torchlint.translations import ENGLISH, Language


def explain(names: Iterable[str], output_format: str, lang: str = "en") -> str:
    """The pages of these rules as text, markdown or JSON, in a language where there is one, else in English.

    Raises LookupError naming the nearest rule, or the languages.
    """
    language = translations.language(lang)
    known = registry.by_name()
    pages: list[dict[str, Any]] = []
    for name in dict.fromkeys(names):
        if name in known:
            pages.append(_page(known[name], lang))
        elif name in builtin.CODES:
            pages.append({"name": name, "lang": "en", "summary": builtin.CODES[name], "sections": {}})
        else:
            everything = [*known, *builtin.CODES]
            raise LookupError(f"there is no rule `{name}`{registry.nearest(name, everything)}")
    if output_format == "json":
        return json.dumps(pages, indent=2, ensure_ascii=False) + "\n"
    text = "\n".join(markdown(page, language) for page in pages)
    if output_format == "text" and sys.stdout.isatty():
        return _dressed(text)
    return text


def _page(rule: Rule, lang: str) -> dict[str, Any]:
    translated = translations.page(rule.name, lang) if lang != "en" else None
    page = translated or rule.page
    told = {"lang": lang if translated else "en", "summary": page.summary}
    return {**_entry(rule), **told, "sections": dict(page.sections)}


def _entry(rule: Rule) -> dict[str, Any]:
    proof = proofs.recorded().get(rule.name)
    return {
        "name": rule.name,
        "group": rule.group.value,
        "severity": rule.group.severity.value,
        "default": rule.group.default and not rule.preview,
        "preview": rule.preview,
        "fix": rule.fixable or None,
        "proof": dataclasses.asdict(proof) if proof is not None else None,
        "summary": rule.page.summary,
        "since": rule.since or None,
        "until": rule.until or None,
    }


def markdown(page: dict[str, Any], asked: Language = ENGLISH) -> str:
    """A page, with a line at its top when it is not in the language that was `asked` for."""
    language = translations.LANGUAGES[page["lang"]]
    lines = [f"# {page['name']}", ""]
    if language is not asked:
        lines += [f"*{asked.untranslated}*", ""]
    lines += [page["summary"], ""]
    if "group" in page:
        word = {"group": page["group"], "severity": language.words.get(page["severity"], page["severity"])}
        fix = language.fix.format(language.words.get(page["fix"], page["fix"])) if page["fix"] else language.no_fix
        lines += [f"*{language.status.format(**word, fix=fix, off='' if page['default'] else language.off)}*", ""]
        if page["proof"]:
            proof = proofs.Proof(**page["proof"])
            told = {"what": proof.what, "harm": proof.harm, "good": proofs.figure(proof.good)}
            lines += [f"*{language.proof.format(**told, torch=proof.torch, device=proof.device)}*", ""]
    for heading, shown in zip(HEADINGS, language.headings, strict=True):
        if heading in page["sections"]:
            lines += [f"## {shown}", "", page["sections"][heading], ""]
    return "\n".join(lines)


def _dressed(markdown: str) -> str:
    """Markdown as a terminal shows it best."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(width=min(100, shutil.get_terminal_size().columns))
    with console.capture() as captured:
        console.print(Markdown(markdown))
    return captured.get()


def rules(as_json: bool) -> str:
    """The list of all rules."""
    known = registry.load()
    if as_json:
        return json.dumps([_entry(rule) for rule in known], indent=2, ensure_ascii=False) + "\n"
    head = ("RULE", "GROUP", "FIX", "PROOF", "")
    rows = [(rule.name, _group(rule), rule.fixable or "-", _proof(rule), rule.page.summary) for rule in known]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(4)]
    left = sum(widths) + 8
    style = style_for(sys.stdout, "auto")
    room = style.width - left
    if style.width and room < 40:
        return _narrow(known, style)
    lines: list[str] = []
    for row in (head, *rows):
        start = "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:4], widths, strict=True))
        # Off a terminal every rule keeps to one line, for grep.
        pieces = textwrap.wrap(row[4], room) if style.width else [row[4]]
        lines.append(f"{start}  {pieces[0] if pieces else ''}".rstrip())
        lines.extend(" " * left + piece for piece in pieces[1:])
    return "".join(f"{line}\n" for line in lines)


def _narrow(known: Iterable[Rule], style: Style) -> str:
    """The list for a terminal that is too narrow for a table: a few lines a rule, the proofs left to `explain`."""
    lines: list[str] = []
    room = max(20, style.width)
    for rule in known:
        facts = [_group(rule), f"fix: {rule.fixable or 'none'}"]
        facts += ["confirmed"] if rule.name in proofs.recorded() else []
        lines.append(style(rule.name, "bold", "cyan"))
        for text in (rule.page.summary, ", ".join(facts)):
            lines.extend("  " + piece for piece in textwrap.wrap(text, room - 2, break_on_hyphens=False))
    lines += ["", *textwrap.wrap("`torchlint explain NAME` shows a rule's page.", room)]
    return "".join(f"{line}\n" for line in lines)


def _group(rule: Rule) -> str:
    return f"{rule.group.value} (preview)" if rule.preview else rule.group.value


def _proof(rule: Rule) -> str:
    """`confirmed: 2, healthy 1 (torch 2.13.0)`."""
    proof = proofs.recorded().get(rule.name)
    if proof is None:
        return "-"
    return f"confirmed: {proof.harm}, healthy {proofs.figure(proof.good)} (torch {proof.torch.partition('+')[0]})"


def config(settings: Config, as_json: bool) -> str:
    """The settings in force, and where each comes from."""
    values: dict[str, tuple[Any, str]] = {}
    for field in dataclasses.fields(settings):
        if field.name in READERS:
            value = getattr(settings, field.name)
            values[key(field.name)] = (value, settings.origins.get(field.name, "default"))
    if as_json:
        entries = {name: {"value": _plain(value), "origin": origin} for name, (value, origin) in values.items()}
        return json.dumps({"root": str(Path(settings.root).resolve()), "settings": entries}, indent=2) + "\n"
    lines = [f"# patterns are relative to {Path(settings.root).resolve()}"]
    style = style_for(sys.stdout, "auto")
    for name, (value, origin) in values.items():
        line = f"{name} = {_toml(value)}  # {origin}"
        lines.append(style(line, "dim") if origin == "default" else line)  # what was set stands out
    return "".join(f"{line}\n" for line in lines)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            inner = ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case tuple():
            return f"[{', '.join(_toml(one) for one in value)}]"
        case str():
            return json.dumps(value, ensure_ascii=False)
    return str(value)
