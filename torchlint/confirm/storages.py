"""What is known of a tensor's memory, for as long as that memory lives."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef

V = TypeVar("V")


def storage_key(tensor: torch.Tensor) -> int | None:
    """Names the storage of a tensor; None for a tensor without one of its own (sparse, functorch's, compiled)."""
    if tensor.layout is not torch.strided:
        return None
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


class Storages(Generic[V]):
    """A dictionary by storage. Views of one tensor share an entry, which goes when the storage does.

    A weak reference keeps the address of a dead storage from being used again, so that nothing is inherited by chance.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Any, V]] = {}
        self._sweep_at = 1024

    def get(self, tensor: torch.Tensor) -> V | None:
        """What was put for the storage of `tensor`."""
        key = storage_key(tensor)
        known = self._entries.get(key) if key is not None else None
        return known[1] if known is not None else None

    def put(self, tensor: torch.Tensor, value: V) -> None:
        """Remembers `value` for the storage of `tensor`, where it has one."""
        if tensor.layout is not torch.strided:
            return
        try:
            storage = tensor.untyped_storage()
            key = int(storage._cdata)
        except (NotImplementedError, RuntimeError):
            return
        reference: Any = StorageWeakRef
        self._entries[key] = (reference(storage), value)
        if len(self._entries) > self._sweep_at:
            self._entries = {key: entry for key, entry in self._entries.items() if not entry[0].expired()}
            self._sweep_at = max(1024, 2 * len(self._entries))
