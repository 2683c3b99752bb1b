"""Whose gradients are in `.grad`: what was delivered for this step, and what an earlier step consumed already.

A gradient is *consumed* when an optimizer steps on it. A backward pass that adds to a consumed gradient, instead of
finding None or zeros, makes it *stale*: the next step then uses the earlier gradients a second time. Looking at `.grad`
right before and right after each backward pass shows this whatever way the program clears, scales or clips it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from torchlint.confirm.parallel import local


@dataclass(slots=True)
class _Entry:
    parameter: weakref.ref[torch.Tensor]
    level: int = 0  # how many steps have consumed what is in `.grad`
    base: torch.Tensor | None = None  # the consumed gradient, as the first backward since then found it
    along: float = 0.0  # <.grad, delivered>
    square: float = 0.0  # <delivered, delivered>
    backward: int = -1  # number of the event that added to it


@dataclass(slots=True)
class Balance:
    """What one step found in the `.grad` of its parameters."""

    gradients: int = 0
    stale: int = 0
    worth: int = 1
    along: float = 0.0
    square: float = 0.0
    backward: int = -1

    @property
    def ratio(self) -> float:
        """`.grad` by what was delivered for this step: 1 when nothing else is in it."""
        return self.along / self.square if self.square else 1.0

    def add(self, other: Balance) -> None:
        """Takes in a second evaluation within the same step (a closure called again)."""
        if other.stale >= self.stale:
            self.along, self.square, self.backward = other.along, other.square, other.backward
        self.gradients, self.stale = max(self.gradients, other.gradients), max(self.stale, other.stale)
        self.worth = max(self.worth, other.worth)


class Ledger:
    """The state of every parameter's gradient, kept by `before_backward`, `after_backward` and `consume`."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    def _entry(self, parameter: torch.Tensor) -> _Entry:
        key = id(parameter)
        entry = self._entries.get(key)
        if entry is None or entry.parameter() is not parameter:
            entry = self._entries[key] = _Entry(weakref.ref(parameter))
        return entry

    def before_backward(self) -> None:
        """Remembers the consumed gradients that the coming pass would add to."""
        for key, entry in list(self._entries.items()):
            if not entry.level:
                continue
            parameter = entry.parameter()
            if parameter is None:
                del self._entries[key]
                continue
            gradient = parameter.grad
            if gradient is None or not _any(gradient):
                entry.level, entry.base, entry.square, entry.backward = 0, None, 0.0, -1
            elif entry.base is None:
                entry.base = gradient.detach().clone()

    def after_backward(self, event: int) -> None:
        """Notes what backward number `event` delivered on top of consumed gradients."""
        for entry in self._entries.values():
            if entry.base is None:
                continue
            parameter = entry.parameter()
            gradient = None if parameter is None else parameter.grad
            if gradient is None or gradient.shape != entry.base.shape:
                continue
            found = _flat(gradient)
            delivered = found - _flat(entry.base)
            square = float(delivered @ delivered)
            entry.square, entry.along, entry.backward = square, float(found @ delivered), event

    def unused(self, parameters: Iterable[torch.Tensor]) -> bool:
        """Whether one of these parameters has a gradient that no step has used."""
        for parameter in parameters:
            if parameter.grad is None:
                continue
            entry = self._entries.get(id(parameter))
            used = entry is not None and entry.parameter() is parameter and entry.level > 0 and entry.backward < 0
            if not used and _any(parameter.grad):
                return True
        return False

    def consume(self, parameters: Iterable[torch.Tensor]) -> Balance:
        """An optimizer uses the gradients of these parameters now: says what it finds in them."""
        balance = Balance()
        for parameter in parameters:
            gradient = parameter.grad
            entry = self._entry(parameter)
            if gradient is None:
                entry.level, entry.base, entry.square, entry.backward = 0, None, 0.0, -1
                continue
            balance.gradients += 1
            grown = entry.base is not None and entry.backward >= 0  # even where that pass delivered zeros
            if grown and _any(gradient):
                balance.stale += 1
                balance.worth = max(balance.worth, entry.level + 1)
                balance.along += entry.along if entry.square else 0.0
                balance.square += entry.square
                balance.backward = max(balance.backward, entry.backward)
            if grown or not entry.level:
                entry.level += 1
            entry.base, entry.square, entry.backward = None, 0.0, -1
        return balance


def any_nonzero(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a number in it other than zero."""
    return _any(tensor)


def _any(tensor: torch.Tensor) -> bool:
    return bool(_flat(tensor).any())


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    mine = local(tensor).detach()
    dense = mine.to_dense() if mine.is_sparse else mine
    return dense.reshape(-1).to(torch.promote_types(dense.dtype, torch.float32))
