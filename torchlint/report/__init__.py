"""Reports: one function each, from what a run found to the text that is printed."""

from __future__ import annotations

from collections.abc import Callable

from torchlint.config import Config
from torchlint.report import hosts, machine, text
from torchlint.report.style import Style
from torchlint.run import Report


def _sarif(report: Report, style: Style) -> str:
    from torchlint.report.sarif import sarif  # as junit below: few runs pay for what it imports

    return sarif(report, style)


def _junit(report: Report, style: Style) -> str:
    from torchlint.report.junit import junit

    return junit(report, style)


FORMATS: dict[str, Callable[[Report, Style], str]] = {
    "full": text.full,
    "concise": text.concise,
    "grouped": text.grouped,
    "json": machine.json,
    "json-lines": machine.json_lines,
    "sarif": _sarif,
    "github": hosts.github,
    "gitlab": hosts.gitlab,
    "junit": _junit,
    "rdjson": hosts.rdjson,
}
# Formats for people: they end with a summary.
PROSE = ("full", "concise", "grouped")
# Those that can tell counts instead of findings.
COUNTING = (*PROSE, "json", "json-lines")


def render(report: Report, config: Config, style: Style) -> str:
    """The whole report in the format that `config` asks for, ending in a newline where it is not empty."""
    if report.plan.diff:
        return text.diff(report, style)
    if config.statistics:
        match config.output_format:
            case "json":
                return machine.statistics_json(report)
            case "json-lines":
                return machine.statistics_json_lines(report)
        return text.statistics(report, style)
    return FORMATS[config.output_format](report, style)
