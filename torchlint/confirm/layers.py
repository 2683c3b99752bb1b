"""What a layer is like: whether its mode matters, and where the program builds it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn

from torchlint.confirm.events import Place
from torchlint.confirm.frames import is_users


def inits(module: nn.Module) -> Iterator[Place]:
    """Where the program defines the constructors of a module's class and of its bases."""
    for kind in type(module).__mro__:
        code = getattr(vars(kind).get("__init__"), "__code__", None)
        if code is not None and is_users(code.co_filename):
            yield Place(code.co_filename, code.co_firstlineno, code.co_name)


@functools.cache
def _uses_mode(kind: Any) -> bool:
    """Whether a class of the program reads `self.training` in its own forward."""
    code = getattr(inspect.getattr_static(kind, "forward", None), "__code__", None)
    return code is not None and is_users(code.co_filename) and "training" in code.co_names


def depends_on_mode(layer: nn.Module) -> bool:
    """Whether a layer itself computes something else in training mode."""
    match layer:
        case nn.modules.dropout._DropoutNd():
            return layer.p > 0
        case nn.modules.batchnorm._NormBase():
            return layer.track_running_stats
        case nn.RNNBase() | nn.MultiheadAttention():
            return layer.dropout > 0
        case nn.RReLU():
            return True
        case _:
            kind: Any = type(layer)
            return _uses_mode(kind)
