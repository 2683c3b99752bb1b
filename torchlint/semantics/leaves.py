"""Leaves of the graph: tensors that gradients are gathered in, and what must not be done to them while it grows."""

from __future__ import annotations

from typing import Any

import libcst as cst

from torchlint.facts import LeafChanged, LeafReplaced, Tensor, Unknown, Value, computed_from, only
from torchlint.semantics.graphs import parameter_behind
from torchlint.semantics.machine import Machine

# In-place by name, and allowed on a leaf.
_ALLOWED = frozenset(
    {"requires_grad_", "detach_", "share_memory_", "resize_", "resize_as_", "set_", "rename_", "retain_grad_"}
)


def leaf_of(value: Value) -> Tensor | Unknown | None:
    """A value as a leaf that certainly requires grad: a parameter, or a tensor that was made to."""
    one = only(value)
    match one:
        case Tensor(parameter=True, made_by="parameter", data=data, tracked=tracked) if tracked is not False:
            return one if data is not None or tracked else None
        case Tensor(leaf=True, parameter=False, operands=()):
            return one
        case Unknown(origin="item"):
            known = parameter_behind(one)
            node = known.site.node if known is not None and known.site is not None else None
            if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
                return one if node.func.attr.value in ("parameters", "named_parameters") else None
    return None


def changed(m: Machine, node: Any, target: Value, how: str, spelling: Any, others: list[Value]) -> None:
    """Something is done to `target` in place."""
    if how in _ALLOWED or m.expects_error or m.quiet:
        return
    leaf = leaf_of(target)
    if leaf is not None:
        by_gradient = any(_gradient_of(leaf, one) for other in others for one in computed_from(other))
        text = " ".join(m.tree.code_for_node(spelling).split())
        m.emit(LeafChanged(*m.at(node), target=leaf, how=how, spelling=text, by_gradient=by_gradient))


def written_into(m: Machine, node: cst.Call, out: Value | None) -> None:
    """`torch.add(a, b, out=w)`."""
    argument = next((a.value for a in node.args if a.keyword is not None and a.keyword.value == "out"), None)
    if out is not None and argument is not None:
        changed(m, node, out, "out=", argument, [])


def _gradient_of(leaf: Value, value: Value) -> bool:
    return isinstance(value, Unknown) and value.origin == "grad" and leaf in value.holders


def replaced(m: Machine, node: cst.Assign, before: Value | None, value: Value) -> LeafReplaced | None:
    """`w = w - lr * w.grad`: a name gets what was computed from the leaf it held, with that leaf's gradient."""
    leaf = leaf_of(before) if before is not None else None
    if not isinstance(leaf, Tensor) or not isinstance(value, (Tensor, Unknown)) or m.expects_error:
        return None
    inside = computed_from(value)
    if leaf not in inside or value is leaf or not any(_gradient_of(leaf, one) for one in inside):
        return None
    event = LeafReplaced(
        *m.at(node), leaf=leaf, total=value, spelling=" ".join(m.tree.code_for_node(node.targets[0].target).split())
    )
    event.value_site = m.site(node.value)
    m.emit(event)
    return event
