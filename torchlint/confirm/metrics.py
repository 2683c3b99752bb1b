"""Metrics of torchmetrics: what has added up in one when it is computed.

The package may be imported at any time: its base class is hooked when the first metric is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchlint.confirm import events
from torchlint.confirm.frames import user_place


@dataclass(slots=True)
class _Count:
    computed: int = 0  # updates that were in it at the last compute
    resets: int = 0


class Metrics:
    """The metrics of a program. `patch(owner, name, hook)` puts `hook(original, ...)` in place of a method."""

    def __init__(self, emit: Callable[..., Any], identity: Callable[[Any], int], patch: Callable[..., None]) -> None:
        self._emit, self._identity, self._patch = emit, identity, patch
        self._counts: dict[int, _Count] = {}  # a metric's hash changes with what is in it
        self._hooked = False
        self._inside = 0  # in a `forward`, which resets and computes for its batch alone

    def born(self, module: Any) -> None:
        """A module is being made: the first one that is a metric shows where the base class is."""
        package = sys.modules.get("torchmetrics")
        base = getattr(package, "Metric", None)
        if self._hooked or base is None or not isinstance(module, base):
            return
        self._hooked = True
        self._patch(base, "_wrap_compute", self._wrap_compute)
        self._patch(base, "forward", self._forward)
        self._patch(base, "reset", self._reset)

    def _wrap_compute(self, original: Any, metric: Any, compute: Any) -> Any:
        wrapped = original(metric, compute)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if not self._inside:
                self._tell(metric)
            return wrapped(*args, **kwargs)

        counted.__wrapped__ = wrapped  # type: ignore[attr-defined]
        return counted

    def _tell(self, metric: Any) -> None:
        key, updates = self._identity(metric), int(getattr(metric, "_update_count", 0))
        count = self._counts.setdefault(key, _Count())
        self._emit(
            events.MetricComputed,
            user_place(),
            metric=key,
            kind=type(metric).__name__,
            updates=updates,
            fresh=updates - count.computed,
            resets=count.resets,
        )
        count.computed = updates

    def _forward(self, original: Any, metric: Any, *args: Any, **kwargs: Any) -> Any:
        self._inside += 1
        try:
            return original(metric, *args, **kwargs)
        finally:
            self._inside -= 1

    def _reset(self, original: Any, metric: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(metric, *args, **kwargs)
        if not self._inside:
            key = self._identity(metric)
            self._counts[key] = _Count(0, self._counts.get(key, _Count()).resets + 1)
        return result
