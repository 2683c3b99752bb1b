"""What a person would rather look at than read, as SVG for the page of `html.render`.

Drawn by matplotlib in placeholder colours that become the page's own, so that a plot is dark where the page is. Each
function gives an empty string where the runs have nothing to show.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torchlint.confirm.result import AS_IS, Pass, ProgramRun, Series, Unmoved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that nothing else uses, and the variables of the page's style sheet that take their place
INK, MUTED, LINE, BAD, GOOD = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", BAD: "bad", GOOD: "good"}
_DASHES = ("-", "--", ":", "-.")

WIDTH, HEIGHT = 5.4, 2.7  # inches
BARS = 12
POINTS = 1_500  # of a curve; more cannot be told apart
DIFFERS = 1e-6  # of the output's magnitude: what is less is rounding


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401 - asked for, not used
    except ImportError:
        return False
    return True


def losses(runs: Sequence[ProgramRun]) -> str:
    """Loss per step, of the program as it is and, if it was run, with the fix."""
    curves = [(run, series) for run in runs for series in run.optimizers]
    found = [loss for _, series in curves for loss in series.losses if loss is not None and math.isfinite(loss)]
    if not found:
        return ""
    figure, axes = _canvas("optimizer step", "loss")
    for run, series in curves:
        _curve(axes, run, series, series.losses, len(run.optimizers) > 1)
    if min(found) > 0 and max(found) / min(found) > 50:
        axes.set_yscale("log")
    _legend(axes)
    return _svg(figure, "loss per optimizer step")


def staleness(runs: Sequence[ProgramRun]) -> str:
    """What `.grad` held at each step, by what was delivered for that step."""
    curves = [(run, series) for run in runs for series in run.optimizers]
    if not any(step.worth > 1 for _, series in curves for step in series.steps):
        return ""
    figure, axes = _canvas("optimizer step", ".grad ÷ this step's gradient")
    axes.axhline(1, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    for run, series in curves:
        _curve(axes, run, series, [step.ratio for step in series.steps], len(run.optimizers) > 1)
    ratios = [step.ratio for _, series in curves for step in series.steps if math.isfinite(step.ratio)]
    if min(ratios, default=1) > 0 and max(ratios, default=1) > 50:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0, *ratios))
    axes.annotate(
        "1 is right", (1, 1), (-2, 3), ("axes fraction", "data"), "offset points", ha="right", color=MUTED, fontsize=8
    )
    _legend(axes)
    return _svg(figure, "gradient in .grad by the gradient delivered, per optimizer step")


def unmoved(run: ProgramRun) -> str:
    """The parameters that no step moved, by size; those that are frozen on purpose in grey."""
    shown = sorted(run.unmoved, key=lambda one: (one.frozen, -one.elements))[:BARS]
    if not any(not one.frozen for one in shown):
        return ""
    figure, axes = _bars([_fate(one) for one in shown], "elements of a parameter that never moved")
    for row, one in enumerate(shown):
        axes.barh(row, max(one.elements, 1), height=0.6, color=MUTED if one.frozen else BAD)
        _beside(axes, row, max(one.elements, 1), f"{one.elements:,}")
    axes.set_xscale("log")
    axes.set_xlim(0.8, max(one.elements for one in shown) * 8 + 1)
    return _svg(figure, "parameters that never moved")


def passes(run: ProgramRun) -> str:
    """How far two passes of one batch were apart, for each line that called a model."""
    worst: dict[tuple[Any, ...], Pass] = {}
    for one in run.passes:
        key = (one.kind, one.spot.filename, one.spot.row, one.training, one.inference)
        if key not in worst or _relative(one) > _relative(worst[key]):
            worst[key] = one
    shown = sorted(worst.values(), key=lambda one: (not one.inference, -_relative(one)))[:BARS]
    if not any(one.inference for one in shown):
        return ""
    apart = [_relative(one) for one in shown if DIFFERS < _relative(one) < math.inf]
    floor, ceiling = min(apart, default=0.1) / 30, max(apart, default=1.0)
    figure, axes = _bars([_which(one) for one in shown], "difference ÷ largest output", rise=0.42)
    for row, one in enumerate(shown):
        relative = _relative(one)
        if relative <= DIFFERS:
            axes.plot([floor], [row], marker="o", markersize=5, color=GOOD, clip_on=False)
            _beside(axes, row, floor, "the same twice")
            continue
        length = min(relative, ceiling)
        axes.barh(row, length - floor, left=floor, height=0.6, color=BAD if one.inference else MUTED)
        _beside(axes, row, length, f"{relative:.2g}")
    axes.set_xscale("log")
    axes.set_xlim(floor, ceiling * (ceiling / floor) ** 0.35)
    return _svg(figure, "difference between two passes of one batch, per line")


# -------------------------------------------------------------------------------------------------------------- drawing


def _canvas(below: str, beside: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure((WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(below, color=MUTED, fontsize=9)
    axes.set_ylabel(beside, color=MUTED, fontsize=9)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.tick_params(which="minor", length=0, labelsize=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)
    return figure, axes


def _bars(names: Sequence[str], below: str, rise: float = 0.3) -> tuple[Figure, Axes]:
    figure, axes = _canvas(below, "", height=0.75 + rise * len(names))
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", colors=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return figure, axes


def _beside(axes: Axes, row: int, end: float, text: str) -> None:
    axes.annotate(text, (end, row), (6, 0), textcoords="offset points", va="center", color=INK, fontsize=8)


def _curve(axes: Axes, run: ProgramRun, series: Series, values: Sequence[float | None], several: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    stride = max(1, math.ceil(len(values) / POINTS))
    numbers = [step.step for step in series.steps][::stride]
    heights = [value if value is not None and math.isfinite(value) else math.nan for value in values][::stride]
    label = "as it is" if run.name == AS_IS else "with the fix"
    axes.plot(
        numbers,
        heights,
        color=BAD if run.name == AS_IS else GOOD,
        linewidth=1.6,
        linestyle=_DASHES[(series.optimizer - 1) % len(_DASHES)],
        marker="o" if len(numbers) <= 25 else "",
        markersize=3.5,
        label=f"{label}, {series.kind} {series.optimizer}" if several else label,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(axes: Axes) -> None:
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2
    )


def _svg(figure: Figure, label: str) -> str:
    """The figure as an `svg` element that takes its colours and its font from the page around it."""
    import matplotlib

    content = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": label}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that its font lacks: the page's font draws it
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*|font-family: [^;\"]*", r"font-size: \1", text)
    text = text.replace("font-size: ;", "").replace("xlink:href", "href")
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    box = re.search(r'viewBox="[^"]*"', text)
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{label}">'
    text = opening + text[text.index(">") + 1 :]
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", text)


# ---------------------------------------------------------------------------------------------------------------- words


def _relative(one: Pass) -> float:
    return one.difference / one.scale if one.scale else one.difference


def _which(one: Pass) -> str:
    what = "predicting" if one.inference else "training"
    mode = "training" if one.training else "evaluation"
    return f"{_short(f'{one.kind}, {_tail(one.spot.filename)}:{one.spot.row}')}\n{what} in {mode} mode"


def _fate(one: Unmoved) -> str:
    if one.frozen:
        return _short(f"{one.name}, frozen")
    return _short(f"{one.name}, {'held' if one.held else 'in no optimizer'}")


def _tail(filename: str) -> str:
    return filename.replace("\\", "/").rpartition("/")[2]


def _short(text: str) -> str:
    text = text if len(text) <= 40 else f"{text[:19]}…{text[-20:]}"
    return text.replace("$", r"\$")  # between two of them matplotlib reads formulas
