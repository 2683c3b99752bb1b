"""What a module registers, and what it only keeps: attributes that `parameters()` and `.to()` do not know of.

A module takes along the modules, parameters and buffers that are its attributes, or are registered by name. What lies
in a plain list, dict or tensor attribute stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from torchlint.facts import (
    AttributeSet,
    ClassInfo,
    Collection,
    Evidence,
    GradientUsed,
    Mapping,
    ModeSet,
    Module,
    Optimizer,
    OptimizerBuilt,
    Root,
    UnknownCall,
    Value,
    may_be_same,
)

# Methods by which a class can bring its own idea of what belongs to it.
OWN_BOOKS = frozenset(
    """
    parameters named_parameters modules named_modules children named_children buffers named_buffers state_dict
    load_state_dict _apply to cuda cpu train eval __setattr__ __getattr__ __setstate__ _save_to_state_dict
    """.split()
)
_PLAIN = ("list", "tuple", "set")
_DEPTH = 3  # lists of lists of lists


def own_books(cls: ClassInfo) -> bool:
    """True when a class (or a base in sight) decides for itself what its parameters, modes or moves are."""
    return any(isinstance(one, ClassInfo) and OWN_BOOKS & one.methods.keys() for one in cls.lineage())


def kept(value: Value, depth: int = 0) -> Iterator[Module]:
    """The modules that certainly lie in a plain container."""
    for one in value.options():
        if depth >= _DEPTH:
            return
        items: list[Value] = []
        if isinstance(one, Collection) and one.kind in _PLAIN:
            items = one.items
        elif isinstance(one, Mapping):
            items = list(one.entries.values())
        for item in items:
            for option in item.options():
                if isinstance(option, Module) and option.evidence is Evidence.MADE:
                    yield option
                else:
                    yield from kept(option, depth + 1)


def registered(root: Root, part: Module, container: Value, owner: Value) -> bool:
    """True when a module that lies in a plain `container` is, or may be, known to some module by itself.

    As an attribute, by name, in a container or in another module that was given it, or by code out of sight. `root` is
    the constructor that made it.
    """
    for event in root.of(AttributeSet):
        if any(option is part for option in event.value.options()):
            return True
    for call in root.of(UnknownCall):
        if any(may_be_same(one, part) or any(k is part for k in kept(one)) for one in call.arguments):
            return True
    if any(isinstance(h, Module) and h is not owner for one in (part, *_containers(container)) for h in one.holders):
        return True
    return any(given is owner for one in [*part.arguments, *part.keywords.values()] for given in one.options())


def _containers(value: Value, depth: int = 0) -> Iterator[Value]:
    for one in value.options():
        if isinstance(one, (Collection, Mapping)) and depth < _DEPTH:
            yield one
            for item in one.items if isinstance(one, Collection) else one.entries.values():
                yield from _containers(item, depth + 1)


def set_apart(root: Root, part: Module) -> bool:
    """True when a constructor itself freezes a module, or gives its parameters to an optimizer: kept out on purpose."""
    for event in root.of(ModeSet, GradientUsed):
        target = event.module if isinstance(event, ModeSet) else event.target
        if target is not None and any(option is part for option in target.options()):
            return True
    for built in root.of(OptimizerBuilt):
        for one in built.optimizer.options():
            parameters = one.parameters if isinstance(one, Optimizer) else None
            if parameters is not None and any(may_be_same(o, part) for o in parameters.of):
                return True
    return False


def users(cls: ClassInfo, attribute: str) -> Iterator[frozenset[str]]:
    """The words of the methods, other than constructors, that use an attribute."""
    for one in cls.lineage():
        if isinstance(one, ClassInfo):
            for name, method in one.methods.items():
                if name != "__init__" and attribute in method.words:
                    yield method.words
