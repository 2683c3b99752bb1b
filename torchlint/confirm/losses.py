"""What a loss function was given, in numbers: are these scores, probabilities or logarithms of probabilities?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

FUNCTIONS = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "kl_div",
    "poisson_nll_loss",
    "hinge_embedding_loss",
    "soft_margin_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
)
SOFTMAXES = ("softmax", "log_softmax", "softmin")
CALLS_PER_LINE = 6
CALLS_PER_WEIGHT = 2
LARGEST = 10_000_000  # elements that are looked through
# Nodes of the graph that leave the numbers as they are.
_RESHAPING = frozenset(
    {"View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Flatten", "Permute", "Transpose", "T"}
    | {"ToCopy", "Clone", "Alias", "Expand", "Index", "IndexSelect", "Select", "Slice"}
)


def measure(output: Any, target: Any) -> dict[str, Any] | None:
    """The numbers of `events.LossComputed` for these two tensors; None for what is no output of numbers."""
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return None
    if not output.numel() or output.numel() > LARGEST or output.is_complex():
        return None
    numbers = output.detach().double()
    dim = 1 if numbers.dim() > 1 else 0
    classes = numbers.shape[dim] if numbers.dim() else 1
    return {
        "classes": classes,
        "rows": numbers.numel() // classes,
        "lowest": float(numbers.min()),
        "highest": float(numbers.max()),
        "mass": float((numbers.sum(dim) - 1).abs().max()),
        "evidence": float(numbers.logsumexp(dim).abs().median()),
        "node": _node(output.grad_fn),
        "output_shape": tuple(output.shape),
        "target_shape": tuple(target.shape),
        "output_dtype": str(output.dtype),
        "target_dtype": str(target.dtype),
        "output_tracked": output.requires_grad,
        "target_tracked": target.requires_grad,
    }


def _node(node: Any) -> str:
    """The operation that made a tensor's numbers, as autograd names it: "Softmax"."""
    while node is not None:
        name = str(node.name()).rpartition(":")[2].partition("Backward")[0]
        if name not in _RESHAPING or not node.next_functions:
            return name
        node = node.next_functions[0][0]
    return ""


def merged(vector: torch.Tensor, inputs: Iterator[torch.Tensor]) -> int:
    """How many samples a vector was made of by reshaping, where `inputs` are what the outermost module was given.

    1 where it is no such vector, or where that cannot be told: only pictures have so many dimensions that one must be
    the batch.
    """
    if vector.dim() != 1:
        return 1
    batch = next((one for one in inputs if one.dim() > 3 and one.shape[0] > 1), None)
    if batch is None:
        return 1
    base: Any = vector._base  # what it is a view of, where autograd records nothing
    sizes = tuple(base.shape) if base is not None and base.numel() == vector.numel() else _sizes(vector.grad_fn)
    return int(batch.shape[0]) if sizes[:1] == (batch.shape[0],) else 1


_ELEMENTWISE = frozenset({"Relu", "Tanh", "Sigmoid", "Gelu", "Silu", "Elu", "LeakyRelu", "NativeDropout", "Mul"})


def _sizes(node: Any) -> tuple[int, ...]:
    """The shape that a vector had before it was made one; empty where autograd does not know."""
    while node is not None:
        sizes = getattr(node, "_saved_self_sym_sizes", None)
        if sizes is not None:
            return tuple(int(one) for one in sizes)
        name = str(node.name()).rpartition(":")[2].partition("Backward")[0]
        if name not in _ELEMENTWISE or not node.next_functions:
            return ()
        node = node.next_functions[0][0]
    return ()
