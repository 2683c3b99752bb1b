"""DataLoaders: what they were built with, in which order they can give their data, and who seeds their workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import libcst as cst

from torchlint.facts import (
    ClassInfo,
    Collection,
    Derives,
    FirstBatch,
    Function,
    Instance,
    Loader,
    LoaderBuilt,
    Seeded,
    Tensor,
    Unknown,
    Value,
    only,
)
from torchlint.semantics.machine import Machine

if TYPE_CHECKING:
    from torchlint.semantics.calls import Arguments

_POSITIONS = ("dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "num_workers", "collate_fn")
_SEED_WORDS = frozenset({"seed", "manual_seed"})
SEEDING = frozenset(
    {
        "numpy.random.seed",
        "random.seed",
        "torch.manual_seed",
        "torch.random.manual_seed",
        "torch.cuda.manual_seed",
        "torch.cuda.manual_seed_all",
    }
)


def build(m: Machine, node: cst.Call, arguments: Arguments) -> Loader:
    """`DataLoader(...)`: tells of it, and of what a `worker_init_fn` of this file would do."""
    made = Loader(
        born=m.clock,
        repeated=m.loops,
        site=m.site(node),
        dataset=arguments.get(0, "dataset"),
        arguments=arguments.positional,
        keywords=arguments.keywords,
    )
    given = {**dict(zip(_POSITIONS, arguments.positional, strict=False)), **arguments.keywords}
    sites = dict(zip(_POSITIONS, map(m.site, arguments.nodes), strict=False))
    sites |= {a.keyword.value: m.site(a.value) for a in node.args if a.keyword is not None}
    m.emit(
        LoaderBuilt(
            *m.at(node),
            loader=made,
            given=given,
            sites=sites,
            last_argument=m.site(node.args[-1].value) if node.args else None,
            open=arguments.starred,
            indexed=_indexed(m, made.dataset),
        )
    )
    function = only(given["worker_init_fn"]) if "worker_init_fn" in given else None
    if isinstance(function, Function) and function.info is not None and function.info.words & _SEED_WORDS:
        from torchlint.semantics.functions import enter

        worker = Unknown(name="worker_id", origin="worker")
        m.branch([partial(_ignoring, enter, m, function, [worker], {}, node), _nothing])
    return made


def _ignoring(function: Any, *arguments: Any) -> None:
    function(*arguments)


def _nothing() -> None:
    pass


def first_batch(m: Machine, node: cst.Call, argument: cst.BaseExpression, value: Value) -> None:
    """`next(iter(loader))`: tells of it, where `argument` is the iterator that is made for it."""
    match argument:
        case cst.Call(func=cst.Name(value="iter"), args=[_]) if isinstance(loader := only(value), Loader):
            m.emit(FirstBatch(*m.at(node), loader=loader))


def seeds(m: Machine, node: cst.Call, path: str, arguments: Arguments) -> None:
    """A generator is seeded."""
    given = arguments.all()
    m.emit(
        Seeded(
            *m.at(node),
            function=path,
            seed=given[0] if given else None,
            argument=m.site(node.args[0].value) if node.args else None,
        )
    )


def _indexed(m: Machine, dataset: Value | None) -> bool:
    """True when a dataset certainly gives its samples by index, each the same each time up to augmentation."""
    return dataset is not None and all(_by_index(m, one) for one in dataset.options())


def _by_index(m: Machine, one: Value) -> bool:
    match one:
        case Tensor(certain=True):
            return not _made_up(one)
        case Unknown(origin="torchvision"):
            return True
        case Collection(kind="dataset", items=items):
            return not one.open and bool(items) and not _made_up(items[0])
        case Instance(cls=cls) if cls is not None:
            return _reads_its_index(cls)
    return False


def _made_up(value: Value) -> bool:
    """True for numbers that are made here: they are in no order that could matter."""
    one = only(value)
    return isinstance(one, Tensor) and one.factory.rpartition(".")[2] in _MAKING


_MAKING = frozenset({"rand", "randn", "randint", "zeros", "ones", "full", "linspace", "arange", "eye", "randperm"})
_DRAWING = frozenset(
    {
        "rand",
        "randn",
        "randint",
        "random",
        "choice",
        "shuffle",
        "sample",
        "permutation",
        "randperm",
        "uniform",
        "normal",
    }
)


def _reads_its_index(cls: ClassInfo) -> bool:
    """True for a Dataset of the file whose `__getitem__` uses the index, and draws nothing itself."""
    if "torch.utils.data.Dataset" not in cls.lineage() or cls.module is Derives.YES:
        return False
    getter = cls.method("__getitem__")
    if getter is None or len(getter.parameters) != 2 or cls.words & _DRAWING:
        return False
    return cls.method("__iter__") is None and getter.parameters[1] in getter.words
