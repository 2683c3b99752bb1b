"""Reports: one function each, from what a run found to the text that is printed."""

from __future__ import annotations

from collections.abc import Callable

from torchlint.config import Config
from torchlint.report import hosts, machine, text
from torchlint.report.style import Style
from torchlint.run import Report

FORMATS: dict[str, Callable[[Report, Style], str]] = {
    "full": text.full,
    "concise": text.concise,
    "grouped": text.grouped,
    "json": machine.json,
    "json-lines": machine.json_lines,
    "github": hosts.github,
}
# Formats for people: they end with a summary.
PROSE = ("full", "concise", "grouped")


def render(report: Report, config: Config, style: Style) -> str:
    """The whole report in the format that `config` asks for, ending in a newline where it is not empty."""
    if report.plan.diff:
        return text.diff(report, style)
    if config.statistics:
        return machine.statistics_json(report) if config.output_format == "json" else text.statistics(report, style)
    return FORMATS[config.output_format](report, style)
