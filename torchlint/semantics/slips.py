"""Slips of the pen: a method that is named where its result is meant, and names that torch's types do not have."""

from __future__ import annotations

from typing import Any

import libcst as cst

from torchlint import methods
from torchlint.facts import (
    ClassInfo,
    FlagAssigned,
    Module,
    NoSuchMethod,
    Optimizer,
    Scaler,
    Scheduler,
    Tensor,
    Uncalled,
    Unknown,
    Value,
    only,
)
from torchlint.semantics import vocabulary
from torchlint.semantics.functions import setters
from torchlint.semantics.graphs import parameter_behind
from torchlint.semantics.machine import Machine, graph_of

# Methods that are called for what they do, by what has them: named alone as a statement they do nothing.
_MODULE_ACTS = frozenset({"eval", "train", "zero_grad", "cuda", "cpu", "half", "float", "double"})
_OPTIMIZER_ACTS = frozenset({"step", "zero_grad"})
_TENSOR_ACTS = frozenset({"backward"})
_HANDED_ON = frozenset({"item", "tolist", "detach", "cpu", "mean", "sum"})


def named_alone(m: Machine, node: cst.Attribute, owner: Value) -> None:
    """`model.eval` and no call, as a statement."""
    name = node.attr.value
    if m.expects_error or not all(_acts(m, o, name) for o in owner.options()):
        return
    m.emit(Uncalled(*m.at(node), owner=owner, method=name, spelling=_text(m, node), use="statement"))


def _acts(m: Machine, owner: Value, name: str) -> bool:
    match owner:
        case Module(cls=cls):
            return name in _MODULE_ACTS and (cls is None or cls.method(name) is None) and not m.field_of(owner, name)
        case Optimizer():
            return name in _OPTIMIZER_ACTS
        case Scheduler() | Scaler():
            return name in ("step", "update")
        case Tensor():
            return name in _TENSOR_ACTS
        case Unknown(name=known, origin=origin):
            if m.lookalike or origin in ("number", "library", "string"):
                return False
            if name in ("eval", "train"):
                return vocabulary.named_like_model(known)
            if name == "step":
                return vocabulary.named_like_optimizer(known) or "scheduler" in known.lower()
            return name in ("backward", "zero_grad")
    return False


def method_of(m: Machine, owner: Value, name: str, node: Any) -> Unknown | None:
    """`owner.name` as a value, where that is a method of torch's whose result is wanted; None for anything else."""
    match owner:
        case Module(cls=cls) if name == "state_dict" and (cls is None or cls.method(name) is None):
            pass
        case Optimizer() if name == "state_dict":
            pass
        case Tensor(certain=True) if name in _HANDED_ON:
            pass
        case Unknown() if name == "item" and graph_of(owner):
            pass
        case _:
            return None
    return Unknown(
        name=f"{owner.name}.{name}",
        site=m.site(node) if isinstance(node, cst.Attribute) else None,
        origin="method",
        holds=not isinstance(owner, (Tensor, Unknown)),
        holders=[owner] if isinstance(owner, (Module, Optimizer)) else [],
    )


def handed_on(m: Machine, values: list[Value], use: str) -> None:
    """A method goes where a number or a tensor belongs."""
    for value in values:
        one = only(value)
        if isinstance(one, Unknown) and one.origin == "method" and one.site is not None and not m.expects_error:
            name = one.name.rpartition(".")[2]
            if name not in _HANDED_ON:
                continue
            _, frame, loops, grad = m.at(one.site.node)
            m.emit(
                Uncalled(
                    one.site, frame, loops, grad, owner=one, method=name, spelling=_text(m, one.site.node), use=use
                )
            )


# What a test asks an object with that may be of several kinds.
_ASKS = frozenset({"isinstance", "issubclass", "hasattr", "getattr", "callable", "type", "is_tensor"})


def checked(m: Machine, node: cst.Call, receiver: Value, name: str) -> None:
    """A method is called on something of torch's: tells when there is none of that name, but one alike."""
    if m.expects_error or m.doubtful is node or name.startswith("_") or not isinstance(node.func, cst.Attribute):
        return
    kind = _kind(m, receiver)
    if not kind or methods.exists(kind, name) or _set_by_constructor(receiver, name) or _told_apart(m, node.func.value):
        return
    if name.startswith("_") or m.active.left & _ASKS or any(words & _ASKS for words in m.tests):
        return  # torch's own private names; or the program asks, or has asked, what it has been given
    cls = receiver.cls if isinstance(receiver, Module) else None
    if cls is not None and (setters(m, cls, name) or m.selves.get(cls) is receiver):
        return  # an attribute that the class sets; a method that classes which derive from it may have
    meant = methods.nearest(kind, name)
    if meant:
        m.emit(
            NoSuchMethod(
                *m.at(node),
                owner=receiver,
                method=name,
                nearest=meant,
                kind=kind,
                spelling=_text(m, node.func),
                name_site=m.site(node.func.attr),
            )
        )


def _set_by_constructor(receiver: Value, name: str) -> bool:
    """True when a constructor speaks of the name, even where it was not followed to its end."""
    lineage = receiver.cls.lineage() if isinstance(receiver, Module) and receiver.cls is not None else []
    inits = [one.methods.get("__init__") for one in lineage if not isinstance(one, str)]
    return any(init is not None and name in init.words for init in inits)


def _told_apart(m: Machine, owner: cst.BaseExpression) -> bool:
    """True inside a test for the type of `owner`: it may be one that has more methods."""
    return isinstance(owner, cst.Name) and any({"isinstance", owner.value} <= test for test in m.tests)


def _kind(m: Machine, receiver: Value) -> str:
    """What kind of thing of torch's a value certainly is, with no methods but torch's own; "" for anything else."""
    match receiver:
        case Tensor(made_by=made_by, certain=True) if made_by in ("operation", "loss") or made_by.startswith("torch."):
            return "tensor"
        case Tensor(made_by=made_by, certain=True, operands=[first, *_]) if made_by in methods.TENSOR_METHODS:
            return "tensor" if _kind(m, first) == "tensor" else ""
        case Optimizer(api=api) if api.startswith("torch.optim."):
            return "optimizer"
        case Module(cls=None, api=api) if api.startswith("torch.nn."):
            return "module"
        case Module(cls=cls) if cls is not None and cls.closed and not cls.words & {"__getattr__", "setattr"}:
            return "module"
    return ""


def _text(m: Machine, node: Any) -> str:
    return " ".join(m.tree.code_for_node(node).split())


# ------------------------------------------------------------------------------------------------------ requires_grad


def flag_set(m: Machine, owner: Value, name: str, value: Value, node: Any, target: Any) -> None:
    """`owner.name = value`: tells where that is `requires_grad` of a module, or a name that is much like it."""
    if not isinstance(target, cst.Attribute) or m.quiet:
        return
    module = name == "requires_grad" and all(isinstance(o, Module) and not _own_flag(m, o) for o in owner.options())
    if not module and not (methods.like_requires_grad(name) and all(_has_the_flag(o, name) for o in owner.options())):
        return
    alone = isinstance(node, cst.Assign) and len(node.targets) == 1
    m.emit(
        FlagAssigned(
            *m.at(node),
            owner=owner,
            name=name,
            value=value,
            spelling=_text(m, target.value),
            name_site=m.site(target.attr),
            value_site=m.site(node.value) if alone else None,
            module=module,
        )
    )


def flags_given(m: Machine, node: cst.Call) -> None:
    """Tells of keywords of a call into torch that are much like `requires_grad`."""
    for argument in node.args:
        if argument.keyword is not None and methods.like_requires_grad(argument.keyword.value):
            m.emit(
                FlagAssigned(
                    *m.at(node),
                    name=argument.keyword.value,
                    spelling=_text(m, node.func),
                    name_site=m.site(argument.keyword),
                    keyword=True,
                )
            )


def _own_flag(m: Machine, module: Module) -> bool:
    """True for a module whose class has a `requires_grad` of its own."""
    cls = module.cls
    if cls is None:
        return False
    if cls.method("requires_grad") is not None:
        return True
    from torchlint.semantics.functions import uses_in

    own = [info for one in cls.lineage() if isinstance(one, ClassInfo) for info in one.methods.values()]
    return any("requires_grad" in uses_in(m, info).get(info.parameters[0], ()) for info in own if info.parameters)


def _has_the_flag(owner: Value, name: str) -> bool:
    """True for what has `requires_grad`, or `requires_grad_`, and no attribute of that other name."""
    match owner:
        case Tensor(certain=True):
            return True
        case Module(cls=cls):
            return cls is None or (cls.closed and name not in cls.words)
        case Unknown():
            return parameter_behind(owner) is not None
    return False
