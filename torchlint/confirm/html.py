"""`--output-format html`: one page that holds all it shows, and fetches nothing.

`render` reads a `Result` and nothing else. Every text that comes from the user's program is escaped.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from html import escape

from torchlint.confirm import plots
from torchlint.confirm.probe import Outcome
from torchlint.confirm.result import AS_IS, Number, ProgramRun, Result, RuntimeOnly, Spot, Verdict

WORDS = {Outcome.CONFIRMED: "confirmed", Outcome.HARMLESS: "harmless here", Outcome.NOT_REACHED: "not reached"}
_ORDER = (Outcome.CONFIRMED, Outcome.HARMLESS, Outcome.NOT_REACHED)

_ENDED = {
    "itself": "ran to its end",
    "step-limit": "ended at the step limit",
    "time-limit": "ended at the time limit",
    "interrupted": "was interrupted",
    "failed": "failed",
    "killed": "was killed",
}

# The policy holds the page to its promise: whatever slipped through could not be fetched.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root {
  --paper: #ffffff; --card: #f7f8fa; --ink: #1b1f24; --muted: #616a75; --line: #dde1e6;
  --bad: #c4312c; --good: #1a7f4b; --code: #eef0f3; --mark: #ffd9d6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1c2026; --ink: #e6e9ed; --muted: #9aa4b0; --line: #333a43;
    --bad: #ff7b72; --good: #4cc38a; --code: #0f1215; --mark: #5c2522;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header p { margin: .25rem 0; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
.small, figcaption, .where { color: var(--muted); font-size: .875rem; }
.where { overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .875rem; }
pre { margin: .75rem 0; padding: .6rem .8rem; background: var(--code); border-radius: .4rem; overflow-x: auto; }
pre .row { color: var(--muted); user-select: none; padding-right: 1rem; }
mark { background: var(--mark); color: inherit; border-radius: .2rem; }
.finding { background: var(--card); border: 1px solid var(--line); border-left: .3rem solid var(--muted);
  border-radius: .4rem; padding: 1rem 1.1rem; margin: 0 0 1rem; }
.finding.confirmed { border-left-color: var(--bad); }
.finding.harmless { border-left-color: var(--good); }
.finding p { margin: .4rem 0; overflow-wrap: anywhere; }
.top { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: baseline; }
.badge { font-weight: 600; font-size: .875rem; color: var(--muted); white-space: nowrap; }
.confirmed .badge { color: var(--bad); }
.harmless .badge { color: var(--good); }
.number { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: .75rem 0 .5rem; }
.number > div { display: flex; flex-direction: column; }
.number b { font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.number .bad b { color: var(--bad); }
.number .good b { color: var(--good); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; }
figure h3 { margin-bottom: .4rem; }
figcaption { margin-top: .5rem; }
p code { background: var(--code); border-radius: .2rem; padding: 0 .2em; }
svg { display: block; width: 100%; height: auto; max-width: 40rem; }
svg text { font-family: system-ui, sans-serif; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 500; white-space: nowrap; }
td.figure, th.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
ul { padding-left: 1.2rem; }
li { overflow-wrap: anywhere; }
details { margin-top: 1.5rem; }
summary { cursor: pointer; }
"""


def render(result: Result) -> str:
    """The page of a result, as one HTML document."""
    program = shlex.join(result.program)
    parts = [
        _head(result, program),
        _findings(result),
        _runtime_only(result.runtime_only),
        _plots(result.runs),
        _runs(result.runs),
        _notes(result),
    ]
    body = "\n".join(part for part in parts if part)
    return _PAGE.format(title=escape(f"torchlint: {program}"), style=_STYLE, body=body)


def _head(result: Result, program: str) -> str:
    counts = [(len(result.of(outcome)), WORDS[outcome]) for outcome in _ORDER]
    told = [f"{count} {word}" for count, word in counts if count]
    if result.runtime_only:
        told.append(f"{len(result.runtime_only)} seen only in the run")
    harmed = len(result.confirmed) + len(result.runtime_only)
    if harmed:
        title = f"{_count(harmed, 'pitfall')} confirmed by running {program}"
    elif not result.verdicts:
        title = f"Nothing found in {program}"
    else:
        title = f"No pitfall confirmed by running {program}"
    ran = "; ".join(_ran(run, len(result.runs) > 1) for run in result.runs)
    return (
        f"<header>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(', '.join(told) or 'The linter found nothing, and the run showed nothing.')}</p>\n"
        f'<p class="small">torch {escape(result.torch)} on {escape(result.device)}. {escape(_sentence(ran))}</p>\n'
        "</header>"
    )


def _ran(run: ProgramRun, several: bool) -> str:
    who = ("As it is, the program" if run.name == AS_IS else "with the fix it") if several else "The program"
    return f"{who} {_ENDED.get(run.ended, run.ended)} after {_count(run.steps, 'step')} and {run.seconds:.1f} s"


def _findings(result: Result) -> str:
    ordered = sorted(result.verdicts, key=lambda one: _ORDER.index(one.outcome))  # stable: then as the linter has them
    if not ordered:
        return ""
    return "<section>\n<h2>Findings of the linter</h2>\n" + "\n".join(map(_finding, ordered)) + "\n</section>"


def _finding(one: Verdict) -> str:
    parts = [
        _top(one.code, WORDS[one.outcome], one.spot),
        _source(one.spot),
        f"<p>{_prose(one.claim)} {_prose(one.consequence)}</p>",
    ]
    if one.number is not None:
        parts.append(_number(one.number, one.outcome, one.fixed, one.fixed_outcome))
        parts.append(f"<p>{_prose(one.message)}{_elsewhere(one.number, one.spot)}</p>")
    else:
        parts.append(f'<p class="small">{_prose(one.message)}</p>')
    return _article(one.outcome.value, one.code, parts)


def _runtime_only(found: Sequence[RuntimeOnly]) -> str:
    if not found:
        return ""
    articles = []
    for one in found:
        parts = [
            _top(one.code, WORDS[Outcome.CONFIRMED], one.spot),
            _source(one.spot),
            _number(one.number, Outcome.CONFIRMED, None, None),
            f"<p>{_prose(one.number.message)}{_elsewhere(one.number, one.spot)}</p>",
        ]
        articles.append(_article(Outcome.CONFIRMED.value, one.code, parts))
    intro = '<p class="small">The linter cannot see these in the source; the run showed them.</p>'
    return f"<section>\n<h2>Seen only in the run</h2>\n{intro}\n" + "\n".join(articles) + "\n</section>"


def _article(outcome: str, code: str, parts: Sequence[str]) -> str:
    content = "\n".join(part for part in parts if part)
    return (
        f'<article class="finding {escape(outcome)}" data-verdict="{escape(outcome)}" data-code="{escape(code)}">\n'
        f"{content}\n</article>"
    )


def _top(code: str, word: str, spot: Spot) -> str:
    return (
        f'<div class="top"><h3>{escape(code)}</h3><span class="badge">{escape(word)}</span>'
        f'<span class="where">{escape(str(spot))}</span></div>'
    )


def _source(spot: Spot) -> str:
    """The line with what the finding points at marked in it."""
    line = spot.source.strip()
    if not line:
        return ""
    indent = len(spot.source) - len(spot.source.lstrip())
    start = spot.column - 1 - indent
    end = spot.end_column - 1 - indent if spot.end_row == spot.row else len(line)
    if spot.end_row and 0 <= start < end <= len(line):
        shown = f"{escape(line[:start])}<mark>{escape(line[start:end])}</mark>{escape(line[end:])}"
    else:
        shown = escape(line)
    return f'<pre><code><span class="row">{spot.row}</span>{shown}</code></pre>'


def _number(number: Number, outcome: Outcome, fixed: Number | None, fixed_outcome: Outcome | None) -> str:
    cells = [_cell(_figure(number.value), f"measured: {number.measure}", outcome)]
    cells.append(_cell(_figure(number.expected), "in a healthy program", None))
    if fixed is not None:
        cells.append(_cell(_figure(fixed.value), "measured with the fix", fixed_outcome))
    elif fixed_outcome is not None:
        cells.append(_cell("–", "with the fix: not reached", None))
    return f'<div class="number">{"".join(cells)}</div>'


def _cell(figure: str, what: str, outcome: Outcome | None) -> str:
    kind = {Outcome.CONFIRMED: "bad", Outcome.HARMLESS: "good"}.get(outcome, "") if outcome is not None else ""
    return f'<div class="{kind}"><b>{escape(figure)}</b><span class="small">{escape(what)}</span></div>'


def _elsewhere(number: Number, spot: Spot) -> str:
    if number.spot is None or str(number.spot) == str(spot):
        return ""
    return f' <span class="where">Measured at {escape(str(number.spot))}.</span>'


# ---------------------------------------------------------------------------------------------------------------- plots


def _plots(runs: Sequence[ProgramRun]) -> str:
    if not runs:
        return ""
    if not plots.available():
        hint = "The curves need matplotlib: pip install 'torchlint[confirm]'."
        return f'<section>\n<h2>The run</h2>\n<p class="small">{escape(hint)}</p>\n</section>'
    figures = list(_figures(runs))
    if not figures:
        return ""
    return '<section>\n<h2>The run, drawn</h2>\n<div class="plots">\n' + "\n".join(figures) + "\n</div>\n</section>"


def _figures(runs: Sequence[ProgramRun]) -> Iterator[str]:
    first = runs[0]
    compared = " and with the fix" if len(runs) > 1 else ""
    yield from _drawn("Loss", plots.losses(runs), f"Of each optimizer step, as the program is{compared}.")
    yield from _drawn(
        "Stale gradients",
        plots.staleness(runs),
        "What .grad held when the optimizer used it, by what was delivered for that step. Above 1, earlier steps' "
        "gradients are used again.",
    )
    lost = [one for one in first.unmoved if not one.frozen]
    whole = _count(first.parameters or len(first.unmoved), "parameter")
    size = _count(sum(one.elements for one in lost), "element")
    yield from _drawn(
        "Parameters that never moved",
        plots.unmoved(first),
        f"Of {whole} {len(lost):,} should train and never moved: {size}. Grey: frozen on purpose.",
    )
    yield from _drawn(
        "One batch, two passes",
        plots.passes(first),
        "The model was copied and given the same batch again. In training, passes may differ (grey); predictions that "
        "differ (red) are chance.",
    )


def _drawn(heading: str, drawing: str, caption: str) -> Iterator[str]:
    if drawing:
        yield f"<figure>\n<h3>{heading}</h3>\n{drawing}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


# ------------------------------------------------------------------------------------------------------------- the rest


def _runs(runs: Sequence[ProgramRun]) -> str:
    if not runs:
        return ""
    rows = []
    for run in runs:
        error = ""
        if run.error:
            at = f" at {run.error_spot}" if run.error_spot is not None else ""
            error = f'<br><span class="small">{escape(run.error + at)}</span>'
        status = "none" if run.status is None else str(run.status)
        rows.append(
            f"<tr><td>{escape(run.name)}</td><td>{escape(_ENDED.get(run.ended, run.ended))}{error}</td>"
            f'<td class="figure">{escape(status)}</td><td class="figure">{run.steps:,}</td>'
            f'<td class="figure">{run.seconds:.1f} s</td><td class="figure">{run.events:,}</td>'
            f"<td>{escape(run.device)}</td><td>{'its own' if run.seed is None else run.seed}</td></tr>"
        )
    head = (
        '<tr><th>run</th><th>end</th><th class="figure">status</th><th class="figure">steps</th>'
        '<th class="figure">time</th><th class="figure">events</th><th>device</th><th>seed</th></tr>'
    )
    table = f"<table>\n<thead>{head}</thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"
    return f'<section>\n<h2>Runs</h2>\n<div class="table">{table}</div>\n</section>'


def _notes(result: Result) -> str:
    parts = []
    if result.notes:
        items = "\n".join(f"<li>{escape(note)}</li>" for note in result.notes)
        parts.append(f"<section>\n<h2>What limits this evidence</h2>\n<ul>\n{items}\n</ul>\n</section>")
    if result.files:
        items = "\n".join(f"<li><code>{escape(name)}</code></li>" for name in result.files)
        count = _count(len(result.files), "file")
        parts.append(f"<details>\n<summary>{count} loaded and linted</summary>\n<ul>\n{items}\n</ul>\n</details>")
    return "\n".join(parts)


def _prose(text: str) -> str:
    """A message as HTML: a sentence, with what stands in backquotes as code."""
    text = _sentence(text)
    if re.match(r"[a-z]+[ ,]", text) and not text.startswith("torch"):
        text = text[0].upper() + text[1:]
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def _sentence(text: str) -> str:
    text = text.strip()
    if not text or text[-1] in ".!?":
        return text
    return f"{text}."
