"""Metrics of torchmetrics: what they add up, and when they begin anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from torchlint.facts import Collection, Mapping, Metric, MetricComputed, MetricReset, MetricUpdated, Unknown, Value
from torchlint.semantics.machine import Machine, graphs_of

if TYPE_CHECKING:
    from torchlint.semantics.calls import Arguments

# Wrappers that begin anew by themselves, or hold other metrics in ways of their own.
_OWN_WAYS = frozenset({"MetricTracker", "Running", "RunningMean", "RunningSum", "FeatureShare", "Metric"})


def made(m: Machine, node: cst.Call, path: str) -> Value:
    """What a call into torchmetrics gives: a metric of a class, the number of a function."""
    last = path.rpartition(".")[2]
    if not last[:1].isupper() or last in _OWN_WAYS:
        return Unknown(origin="call" if last in _OWN_WAYS else "number")
    found = Metric(site=m.site(node), api=path)
    m.emit(MetricReset(*m.at(node), metric=found))
    return found


def method(m: Machine, node: cst.Call, metric: Metric, name: str, arguments: Arguments) -> Value:
    """A method of a metric, or its call, which updates it too."""
    match name:
        case "update" | "forward":
            m.emit(MetricUpdated(*m.at(node), metric=metric))
        case "compute":
            from torchlint.semantics.calls import plain_spelling

            spelling = plain_spelling(node.func.value) if isinstance(node.func, cst.Attribute) else ""
            m.emit(MetricComputed(*m.at(node), metric=metric, spelling=spelling))
        case "reset":
            m.emit(MetricReset(*m.at(node), metric=metric))
        case "to" | "cuda" | "cpu" | "float" | "half" | "double" | "train" | "eval" | "set_dtype":
            return metric
        case "clone":
            return made(m, node, metric.api)
        case "keys" | "plot" | "persistent" | "state_dict" | "load_state_dict":
            return Unknown(origin="call")
        case _:
            m.unknown_call(node, name, [metric, *arguments.all()])
    return Unknown(site=m.site(node), origin="call", graph=graphs_of(arguments.all()))


def logged(m: Machine, node: cst.Call, values: list[Value]) -> None:
    """A logger is given a metric: it computes it at the end of the epoch, and resets it."""
    for value in values:
        for one in value.options():
            match one:
                case Metric():
                    m.emit(MetricReset(*m.at(node), metric=one))
                case Mapping(entries=entries):
                    logged(m, node, list(entries.values()))
                case Collection(items=items):
                    logged(m, node, items)
