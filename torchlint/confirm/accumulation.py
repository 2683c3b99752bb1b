"""What an Accelerator of the program has been told about accumulating gradients."""

from __future__ import annotations

import sys
from typing import Any


def _state() -> Any:
    """The state that all Accelerators of a process share, None where there is none."""
    kind = getattr(sys.modules.get("accelerate.state"), "GradientState", None)
    return kind() if kind is not None and kind._shared_state else None


def shared_batches() -> int:
    """The number of batches that it accumulates gradients over; 1 without one."""
    state = _state()
    return int(state.num_steps) if state is not None else 1


def holds_back() -> bool:
    """True while more batches are to come before the next step."""
    state = _state()
    return state is not None and not state.sync_gradients
