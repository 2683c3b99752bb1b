"""Keeps a program short and still lets it come to everything it does.

At the step limit alone most programs would end in the middle of their first epoch, before they ever evaluate, save, or
train after an evaluation. So an iteration over a DataLoader in which half of the steps were taken ends early, as if the
data had: what follows the epoch runs, and the second epoch takes the other half.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torchlint.confirm import events
from torchlint.confirm.frames import user_place
from torchlint.confirm.trace import Recorder

IDLE = 10  # batches without any step that are given, for each step of the limit


@dataclass(slots=True)
class _Epoch:
    steps: int  # of the program when it began
    batches: int = 0


class Epochs:
    """Ends iterations over DataLoaders early while `installed`."""

    def __init__(self, recorder: Recorder, max_steps: int) -> None:
        self._recorder = recorder
        self._half = max(1, max_steps // 2)
        self._idle = IDLE * max_steps
        self._running: weakref.WeakKeyDictionary[Any, _Epoch] = weakref.WeakKeyDictionary()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Hooks into torch's DataLoader, and takes the hooks out again."""
        from torch.utils.data import DataLoader
        from torch.utils.data.dataloader import _BaseDataLoaderIter

        loader_class: Any = DataLoader
        iterator_class: Any = _BaseDataLoaderIter
        begin, advance = loader_class.__iter__, iterator_class.__next__

        @functools.wraps(begin)
        def begin_epoch(loader: Any) -> Any:
            iterator = begin(loader)
            if not self._recorder.elsewhere:
                self._running[iterator] = _Epoch(self._recorder.steps)
            return iterator

        @functools.wraps(advance)
        def next_batch(iterator: Any) -> Any:
            epoch = self._running.get(iterator)
            if epoch is not None and not self._recorder.elsewhere:
                taken = self._recorder.steps - epoch.steps
                if taken >= self._half or (not taken and epoch.batches >= self._idle):
                    del self._running[iterator]
                    self._recorder.emit(events.EpochCut, user_place(), loader=id(iterator), batches=epoch.batches)
                    raise StopIteration
                epoch.batches += 1
            return advance(iterator)

        loader_class.__iter__, iterator_class.__next__ = begin_epoch, next_batch
        try:
            yield
        finally:
            loader_class.__iter__, iterator_class.__next__ = begin, advance
