"""What containers of layers are given: the same layer several times, or something that is no layer."""

from __future__ import annotations

from typing import Any

import libcst as cst

from torchlint.facts import (
    Api,
    Class,
    Collection,
    Derives,
    Function,
    Misfit,
    Module,
    Repeated,
    Repetition,
    Value,
    only,
)
from torchlint.semantics import vocabulary
from torchlint.semantics.machine import Machine

LISTS = frozenset({"torch.nn.Sequential", "torch.nn.ModuleList"})
# Functions of torch that stand where a layer of the same name could.
_FUNCTIONS = frozenset(
    """
    relu sigmoid tanh softmax log_softmax flatten gelu silu elu selu celu leaky_relu relu6 softplus softsign mish
    hardtanh hardswish dropout max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d adaptive_avg_pool2d
    adaptive_avg_pool1d adaptive_max_pool2d batch_norm layer_norm normalize interpolate linear conv2d conv1d
    logsigmoid glu upsample squeeze unsqueeze
    """.split()
)


def look_into(m: Machine, node: cst.Call, made: Module, path: str) -> None:
    """Tells what is wrong with the arguments of `nn.Sequential(...)` or `nn.ModuleList(...)`."""
    if path not in LISTS or m.expects_error:
        return
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value != "modules":
            return
    given = [*made.arguments, *made.keywords.values()]
    for value in given:
        whole = only(value)
        if isinstance(whole, Collection):
            _repeated(m, node, made, whole)
    starred = any(argument.star for argument in node.args)
    if path == "torch.nn.Sequential" and not starred and len(node.args) == len(made.arguments):
        for argument, value in zip(node.args, made.arguments, strict=True):
            if is_misfit(value):
                m.emit(Misfit(*m.at(argument.value), container=made, value=value, written=True))
        return
    for argument in node.args:
        listed = only(given[0]) if len(given) == 1 else None
        if not isinstance(listed, Collection):
            continue
        elements: list[Any] = list(getattr(argument.value, "elements", ()))
        plain = len(elements) == len(listed.items) and not any(isinstance(e, cst.StarredElement) for e in elements)
        for index, item in enumerate(listed.items):
            if is_misfit(item):
                where = elements[index].value if plain else argument.value
                m.emit(Misfit(*m.at(where), container=made, value=item, written=plain))


def _repeated(m: Machine, node: cst.Call, made: Module, given: Collection) -> None:
    if given.repeats is not None:
        for part in given.items:
            m.emit(Repeated(*m.at(node), container=made, part=part, repetition=given.repeats))


def is_misfit(value: Value) -> bool:
    """True for what is certainly no module: a function of torch or of the file, a class of layers."""
    match only(value):
        case Api(path=path):
            owner, _, last = path.rpartition(".")
            if owner in ("torch", "torch.nn.functional", "torch.special"):
                return last in _FUNCTIONS
            return vocabulary.is_module_api(path)
        case Class(info=info) if info is not None:
            return info.module is Derives.YES and not info.has_metaclass
        case Function(info=info) if info is not None:
            return isinstance(info.node, cst.Lambda) or not info.node.decorators
    return False


def multiplied(m: Machine, node: cst.BinaryOperation, left: Value, right: Value) -> Collection | None:
    """`[layer] * n` with certain layers in it; None for any other product."""
    for value, other, side, times in (
        (left, right, node.left, node.right),
        (right, left, node.right, node.left),
    ):
        one = only(value)
        if not isinstance(one, Collection) or not one.items or isinstance(only(other), Collection):
            continue
        if one.kind in ("list", "tuple") and all(isinstance(only(i), Module) for i in one.items):
            repetition = Repetition(m.site(node), m.site(side), m.site(times))
            return Collection(kind=one.kind, items=list(one.items), open=True, repeats=repetition)
    return None


def comprehended(m: Machine, node: Any, produced: list[Value], own: set[str]) -> Repetition | None:
    """How a comprehension that gives one and the same module in each round repeats it."""
    element = getattr(node, "elt", None)
    if not isinstance(element, cst.Name) or element.value in own or len(produced) != 1:
        return None
    return Repetition(m.site(node)) if isinstance(only(produced[0]), Module) else None
