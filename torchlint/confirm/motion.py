"""Which parameters of the trained models never move.

A parameter is looked at when its first gradients have come, and again after 1, 2, 4, 8, ... steps, so that a program
that is killed leaves its last answer too. What is compared is torch's count of writes to the tensor and a few of its
numbers: a copy of every parameter could cost a large model its memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from torchlint.confirm import events
from torchlint.confirm.events import Event, Place
from torchlint.confirm.parallel import local
from torchlint.confirm.trace import Recorder

SAMPLE = 64  # numbers of a parameter that are compared


@dataclass(slots=True)
class _Seen:
    parameter: weakref.ref[torch.Tensor]
    name: str
    version: int
    sample: torch.Tensor
    last: events.Still | None = None  # the answer when it was last looked at: programs end before their trace does


_HEARD = (events.Backward, events.OptimizerStep)


class Motion:
    """Listens to a recorder and has it write `ParameterMotion` events."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: list[_Seen] = []
        self._known: dict[int, weakref.ref[torch.Tensor]] = {}
        self._met: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
        self._trained = 0  # modules that were looked at
        self._next = 1

    def __call__(self, event: Event) -> None:
        """Takes in one event."""
        if type(event) not in _HEARD:
            return
        match event:
            case events.Backward() if event.accumulates and self._recorder.known_trained != self._trained:
                self._trained = self._recorder.known_trained
                for module in self._recorder.trained():
                    if module not in self._met:
                        self._met.add(module)
                        self._meet(module)
            case events.OptimizerStep() if self._recorder.steps + 1 >= self._next:
                self._next *= 2
                self.tell(self._recorder.steps + 1)

    def tell(self, step: int) -> None:
        """Writes down what has not moved after `step` steps."""
        if self._seen:
            still = tuple(self._still(self._recorder.held()))
            self._recorder.emit(events.ParameterMotion, Place(), step=step, parameters=len(self._seen), unmoved=still)

    def _meet(self, module: torch.nn.Module) -> None:
        for name, parameter in module.named_parameters():
            known = self._known.get(id(parameter))
            if isinstance(parameter, torch.nn.UninitializedParameter):
                continue
            if known is None or known() is not parameter:
                reference = self._known[id(parameter)] = weakref.ref(parameter)
                label = f"{type(module).__name__}.{name}"
                self._seen.append(_Seen(reference, label, parameter._version, _sample(parameter)))

    def _still(self, held: set[int]) -> Iterator[events.Still]:
        for seen in self._seen:
            parameter = seen.parameter()
            if parameter is None:
                if seen.last is not None:
                    yield seen.last
                continue
            seen.last = None
            now = _sample(parameter)
            if now.shape == seen.sample.shape and not torch.equal(now, seen.sample):
                continue
            frozen, gradient = not parameter.requires_grad, parameter.grad is not None
            # Where few of its numbers have a gradient, as in an embedding, the sample may stand still by chance.
            if seen.version == parameter._version or frozen or not gradient or id(parameter) not in held:
                seen.last = events.Still(seen.name, parameter.numel(), frozen, id(parameter) in held, gradient)
                yield seen.last


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    flat = local(parameter).detach()
    if flat.layout is not torch.strided:
        return torch.zeros(0)
    flat = flat.reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)].to("cpu", copy=True)
