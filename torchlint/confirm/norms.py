"""How large gradients are, what clipping left of them, and how much a batch's mean counts in a loss."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from torchlint.confirm.parallel import local

DEPTH = 16  # nodes of a loss's graph that are looked at for the mean it was made from
MEANS = frozenset({"MeanBackward0", "MeanBackward1"})
MEAN_REDUCTION = 1  # as torch writes it


@dataclass(slots=True)
class Clip:
    """One call of `clip_grad_norm_` or `clip_grad_value_`."""

    parameters: list[weakref.ref[torch.Tensor]]
    limit: float
    kind: float  # of norm; infinity: the largest number
    after: float  # what it left
    fresh: bool = False  # it found gradients that no step had used

    def alive(self) -> list[torch.Tensor]:
        """Its parameters, as far as they live."""
        return [parameter for parameter in (one() for one in self.parameters) if parameter is not None]


def clipped(parameters: list[torch.Tensor], values: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Clip | None:
    """The call that has just clipped, by its arguments after the parameters. None where it only measures."""
    limit = float(args[0] if args else kwargs["clip_value" if values else "max_norm"])
    kind = math.inf if values else float(args[1] if len(args) > 1 else kwargs.get("norm_type", 2.0))
    if not math.isfinite(limit):
        return None
    return Clip([weakref.ref(one) for one in parameters], limit, kind, norm_of(parameters, kind))


def norm_of(parameters: Iterable[torch.Tensor], kind: float = 2.0) -> float:
    """The norm of all gradients of these parameters together."""
    found = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            values = local(gradient).detach()
            values = values.coalesce().values() if values.is_sparse else values
            found.append(torch.linalg.vector_norm(values.float(), kind).cpu())
    return float(torch.linalg.vector_norm(torch.stack(found), kind)) if found else 0.0


def halving_nodes(start: Any) -> Iterator[Any]:
    """The nodes of a loss's graph, the nearest on each way, where a gradient is converted to half precision."""
    todo, seen = [start], 0
    while todo and seen < 2 * DEPTH:
        node = todo.pop(0)
        if node is None:
            continue
        seen += 1
        if node.name() == "ToCopyBackward0" and _half(node):
            yield node
        else:
            todo.extend(parent for parent, _ in node.next_functions)


def _half(node: Any) -> bool:
    parent, place = node.next_functions[0]
    known = getattr(parent, "_input_metadata", ())  # since torch 2.1
    return place < len(known) and known[place].dtype is torch.float16


def count_flushed(found: list[int], gradients: Any) -> None:
    """Adds to `found` how many numbers of a gradient are not zero, and how many of these are in half precision."""
    gradient = gradients[0] if gradients else None
    if isinstance(gradient, torch.Tensor) and gradient.dtype is torch.float32:
        there = gradient != 0
        found[0] += int(there.sum())
        found[1] += int((there & (gradient.to(torch.float16) == 0)).sum())


def mean_nodes(start: Any) -> Iterator[Any]:
    """The nodes of a loss's graph that take a mean over a batch, the nearest on each way."""
    todo, seen = [start], 0
    while todo and seen < DEPTH:
        node = todo.pop(0)
        if node is None:
            continue
        seen += 1
        name = node.name()
        if name in MEANS or getattr(node, "_saved_reduction", None) == MEAN_REDUCTION:
            yield node
        else:
            todo.extend(parent for parent, _ in node.next_functions)
