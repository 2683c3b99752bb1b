"""What a loss function was given, in numbers: are these scores, probabilities or logarithms of probabilities?"""

from __future__ import annotations

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
LARGEST = 10_000_000  # elements that are looked through
# Nodes of the graph that leave the numbers as they are.
_RESHAPING = frozenset(
    {"View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Flatten", "Permute", "Transpose", "T"}
    | {"ToCopy", "Clone", "Alias", "Expand"}
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
