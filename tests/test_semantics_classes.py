"""What classes derive from, what modules are built of, how a file writes a name, and what its neighbours say."""

# ruff: noqa: E501 (programs as they are)
from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from following import HEADER, NETS, follow, label, name, root

from torchlint.facts import AttributeSet, Class, Derives, Module, SuperInit
from torchlint.semantics.build import FileFacts, build
from torchlint.source import Source


def derives(facts: FileFacts, cls: str) -> Derives:
    (found,) = [c for c in facts.classes if c.name == cls]
    return found.module


DERIVES = {
    "nn.Module": ("from torch import nn\nclass C(nn.Module): pass", Derives.YES),
    "torch.nn.Module": ("import torch\nclass C(torch.nn.Module): pass", Derives.YES),
    "torch alias": ("import torch as th\nclass C(th.nn.Module): pass", Derives.YES),
    "Module": ("from torch.nn import Module\nclass C(Module): pass", Derives.YES),
    "Module alias": ("from torch.nn import Module as M\nclass C(M): pass", Derives.YES),
    "star": ("from torch.nn import *\nclass C(Module): pass", Derives.YES),
    "two stars": ("from torch.nn import *\nfrom mine import *\nclass C(Module): pass", Derives.YES),
    "deep path": ("from torch.nn.modules.module import Module\nclass C(Module): pass", Derives.YES),
    "another torch.nn class": ("from torch import nn\nclass C(nn.Linear): pass", Derives.YES),
    "sequential": ("from torch import nn\nclass C(nn.Sequential): pass", Derives.YES),
    "loss": ("from torch.nn.modules.loss import _Loss\nclass C(_Loss): pass", Derives.YES),
    "lightning": ("import pytorch_lightning as pl\nclass C(pl.LightningModule): pass", Derives.YES),
    "lightning 2": ("import lightning.pytorch as pl\nclass C(pl.LightningModule): pass", Derives.YES),
    "lightning 3": ("from lightning import LightningModule\nclass C(LightningModule): pass", Derives.YES),
    "transformers": ("from transformers import PreTrainedModel\nclass C(PreTrainedModel): pass", Derives.YES),
    "file class": ("from torch import nn\nclass B(nn.Module): pass\nclass C(B): pass", Derives.YES),
    "file class twice removed": ("from torch import nn\nclass A(nn.Module): pass\nclass B(A): pass\nclass C(B): pass", Derives.YES),
    "second base": ("from torch import nn\nclass M: pass\nclass C(M, nn.Module): pass", Derives.YES),
    "with unknown": ("from torch import nn\nfrom mine import M\nclass C(M, nn.Module): pass", Derives.YES),
    "generic": ("from torch import nn\nfrom typing import Generic\nclass C(nn.Module, Generic[T]): pass", Derives.YES),
    "assigned": ("from torch import nn\nBase = nn.Module\nclass C(Base): pass", Derives.YES),
    "in a try": ("try:\n  from torch.nn import Module\nexcept ImportError:\n  Module = object\nclass C(Module): pass", Derives.YES),
    "in a function": ("from torch import nn\ndef f():\n  torch.save(1)\n  class C(nn.Module): pass\nf()", Derives.YES),
    "in a function that nothing calls": ("from torch import nn\ndef f():\n  class C(nn.Module): pass", Derives.YES),
    "in a class": ("from torch import nn\nclass A:\n  class C(nn.Module): pass", Derives.YES),
    "in an if": ("from torch import nn\nif x:\n  class C(nn.Module): pass", Derives.YES),
    "conditional base": ("from torch import nn\nclass C(nn.Module if x else object): pass", Derives.UNKNOWN),
    "nothing": ("class C: pass", Derives.NO),
    "object": ("class C(object): pass", Derives.NO),
    "exception": ("class C(Exception): pass", Derives.NO),
    "another builtin exception": ("class C(ValueError): pass", Derives.NO),
    "abc": ("from abc import ABC\nclass C(ABC): pass", Derives.NO),
    "enum": ("import enum\nclass C(enum.Enum): pass", Derives.NO),
    "generic alone": ("from typing import Generic\nclass C(Generic[T]): pass", Derives.NO),
    "dataset": ("from torch.utils.data import Dataset\nclass C(Dataset): pass", Derives.NO),
    "typed dataset": ("from torch.utils.data import Dataset\nclass C(Dataset[int]): pass", Derives.NO),
    "optimizer": ("from torch.optim import Optimizer\nclass C(Optimizer): pass", Derives.NO),
    "function": ("import torch\nclass C(torch.autograd.Function): pass", Derives.NO),
    "test case": ("import unittest\nclass C(unittest.TestCase): pass", Derives.NO),
    "file class that is none": ("class B: pass\nclass C(B): pass", Derives.NO),
    "unknown": ("from mine import B\nclass C(B): pass", Derives.UNKNOWN),
    "unbound": ("class C(B): pass", Derives.UNKNOWN),
    "relative": ("from .nn import Module\nclass C(Module): pass", Derives.UNKNOWN),
    "file class of unknown": ("from mine import B\nclass A(B): pass\nclass C(A): pass", Derives.UNKNOWN),
    "made by a call": ("class C(make()): pass", Derives.UNKNOWN),
    "keras": ("import keras\nclass C(keras.Model): pass", Derives.UNKNOWN),
    "namesake": ("from mine import nn\nclass C(nn.Module): pass", Derives.UNKNOWN),
    "its own base": ("class C(C): pass", Derives.UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("program, expected", DERIVES.values(), ids=DERIVES)
def test_what_a_class_derives_from(program: str, expected: Derives) -> None:
    assert derives(follow(program, ""), "C") is expected


def test_a_class_of_unknown_bases_is_open_even_where_it_is_never_reached() -> None:
    facts = follow("def f():\n  class C(Base): pass\nclass D(Base): pass\nclass E: pass\nclass F(nn.Module): pass")
    assert {c.name: c.closed for c in facts.classes} == {"C": False, "D": False, "E": True, "F": True}


def test_methods_are_found_nearest_first() -> None:
    facts = follow(
        """
        class A:
            def f(self): save('A')
            def g(self): save('A')
        class B:
            def g(self): save('B')
            @property
            def p(self): save('get')
            @p.setter
            def p(self, value): save('set')
        class C(B, A):
            def h(self): save('C')
        c = C()
        c.f(), c.g(), c.h(), c.p
        """
    )
    assert [label(e) for e in root(facts).events if label(e)] == ["A", "B", "C", "get"]


# -------------------------------------------------------------------------------------------- how modules are built

PARTS = {
    # class body or expression for `net` -> depends on the mode, has parameters
    "linear": ("net = nn.Linear(1, 1)", False, True),
    "relu": ("net = nn.ReLU()", False, False),
    "dropout": ("net = nn.Dropout(0.5)", True, False),
    "dropout by default": ("net = nn.Dropout()", True, False),
    "dropout of nothing": ("net = nn.Dropout(0.0)", False, False),
    "dropout keyword": ("net = nn.Dropout(p=0)", False, False),
    "dropout unknown": ("net = nn.Dropout(rate)", None, False),
    "batch norm": ("net = nn.BatchNorm2d(1)", True, True),
    "layer norm": ("net = nn.LayerNorm(1)", False, True),
    "loss": ("net = nn.MSELoss()", False, False),
    "lstm": ("net = nn.LSTM(1, 1)", False, True),
    "lstm with dropout": ("net = nn.LSTM(1, 1, 2, dropout=0.5)", True, True),
    "lstm with unknown dropout": ("net = nn.LSTM(1, 1, 2, dropout=rate)", None, True),
    "transformer layer": ("net = nn.TransformerEncoderLayer(8, 1)", True, True),
    "transformer layer without": ("net = nn.TransformerEncoderLayer(8, 1, dropout=0.0)", False, True),
    "attention": ("net = nn.MultiheadAttention(8, 1)", False, True),
    "sequential": ("net = nn.Sequential(nn.Linear(1, 1), nn.ReLU())", False, True),
    "sequential with dropout": ("net = nn.Sequential(nn.ReLU(), nn.Dropout())", True, False),
    "sequential of a list": ("net = nn.Sequential(*[nn.Linear(1, 1), nn.BatchNorm1d(1)])", True, True),
    "sequential of unknown": ("net = nn.Sequential(*layers)", None, False),
    "sequential with unknown": ("net = nn.Sequential(nn.Linear(1, 1), unknown)", None, True),
    "sequential of a growing list": ("layers = []\nlayers.append(nn.BatchNorm1d(1))\nnet = nn.Sequential(*layers)", True, True),
    "nested sequential": ("net = nn.Sequential(nn.Sequential(nn.Dropout()))", True, False),
    "module list": ("net = nn.ModuleList([nn.Dropout()])", True, False),
    "module dict": ("net = nn.ModuleDict({'a': nn.BatchNorm1d(1)})", True, True),
    "torchvision": ("import torchvision\nnet = torchvision.models.resnet18()", True, True),
    "unknown": ("net = unknown", None, False),
    "unknown made": ("net = mine.Net()", None, False),
    "one of two": ("net = nn.Linear(1, 1) if c else nn.Dropout()", True, False),
    "one of two unknown": ("net = nn.Linear(1, 1) if c else unknown", None, False),
    "wrapped": ("net = nn.DataParallel(nn.BatchNorm1d(1))", True, True),
    "copied": ("import copy\nnet = copy.deepcopy(nn.BatchNorm1d(1))", True, True),
}  # fmt: skip


@pytest.mark.parametrize("program, mode, parameters", PARTS.values(), ids=PARTS)
def test_what_a_module_is_built_of(program: str, mode: bool | None, parameters: bool) -> None:
    facts = follow(program)
    value = facts.machine.module.locals["net"]
    assert (facts.depends_on_mode(value), facts.has_parameters(value)) == (mode, parameters)


CLASS_PARTS = {
    # lines of __init__, lines of forward -> depends on the mode, has parameters
    "nothing": ("pass", "return x", False, False),
    "linear": ("self.fc = nn.Linear(1, 1)", "return self.fc(x)", False, True),
    "dropout": ("self.d = nn.Dropout(0.5)", "return self.d(x)", True, False),
    "dropout of the default": ("self.d = nn.Dropout(rate)", "return self.d(x)", True, False),
    "batch norm in a list": ("self.l = nn.ModuleList([nn.BatchNorm1d(1) for i in range(3)])", "return x", True, True),
    "functional dropout": ("pass", "return F.dropout(x, training=self.training)", True, False),
    "parameter": ("self.w = nn.Parameter(torch.zeros(1))", "return x", False, True),
    "own part": ("self.part = Part()", "return x", True, True),
    "helper of the file": ("self.part = block(3)", "return x", True, True),
    "helper method": ("self.part = self.make()", "return x", False, True),
    "part not given": ("self.part = part", "return x", False, False),
    "unknown part": ("self.part = mine.Part()", "return x", None, False),
    "unknown helper": ("self.part = make_part()", "return x", None, False),
    "part class given": ("self.part = kind(3)", "return x", None, False),
    "numbers and printing": ("self.n = int(3)\nprint(len('x'))", "return x.view(x.size(0), -1)", False, False),
    "torchvision": ("self.part = torchvision.models.resnet18()", "return x", True, True),
}  # fmt: skip


@pytest.mark.parametrize("init, forward, mode, parameters", CLASS_PARTS.values(), ids=CLASS_PARTS)
def test_what_an_own_module_is_built_of(init: str, forward: str, mode: bool | None, parameters: bool) -> None:
    program = f"""
import torchvision
import torch.nn.functional as F
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(1)
def block(n):
    return nn.Sequential(nn.Linear(n, n), nn.BatchNorm1d(n))
class Net(nn.Module):
    def __init__(self, rate=0.5, part=None, kind=None):
        super().__init__()
{textwrap.indent(init, " " * 8)}
    {"def make(self): return nn.Linear(1, 1)" if "self.make" in init else ""}
    def forward(self, x):
{textwrap.indent(forward, " " * 8)}
net = Net()
"""
    facts = follow(program)
    value = facts.machine.module.locals["net"]
    assert (facts.depends_on_mode(value), facts.has_parameters(value)) == (mode, parameters)


@pytest.mark.parametrize(
    "call, mode",
    [("Net()", False), ("Net(part=nn.Dropout())", True), ("Net(part=nn.ReLU())", False), ("Net(0.5)", True), ("Net(rate=0.5)", True), ("Net(rate=0)", False), ("Net(x)", None), ("Net(*x)", None)],
)  # fmt: skip
def test_what_a_module_is_told_counts(call: str, mode: bool | None) -> None:
    facts = follow(
        f"""
        class Net(nn.Module):
            def __init__(self, rate=0.0, part=None):
                super().__init__()
                self.d = nn.Dropout(rate)
                self.part = part
        net = {call}
        """
    )
    assert facts.depends_on_mode(facts.machine.module.locals["net"]) is mode


def test_a_module_that_holds_its_own_kind() -> None:
    facts = follow("class Net(nn.Module):\n  def __init__(self):\n    self.inner = Net()\nnet = Net()")
    value = facts.machine.module.locals["net"]
    assert (facts.depends_on_mode(value), facts.has_parameters(value)) == (False, False)


# --------------------------------------------------------------------------------------------------- constructors


def test_constructors_are_followed_on_an_object_of_their_own() -> None:
    facts = follow(
        """
        class Base(nn.Module):
            def __init__(self):
                super().__init__()
                self.base = nn.Linear(1, 1)
        class Net(Base):
            def __init__(self, n):
                self.early = n
                super().__init__()
                self.setup()
            def setup(self):
                self.late = nn.Linear(1, 1)
        class Plain:
            def __init__(self):
                self.x = 1
        """
    )
    constructions = {cls.name: run for cls, run in facts.constructions}
    assert set(constructions) == {"Base", "Net"}
    run = constructions["Net"]
    assert [label(e) for e in run.of(AttributeSet, SuperInit)] == [
        "set self.early",
        "super",
        "super",
        "set self.base",
        "set self.late",
    ]
    assert len({id(e.owner) for e in run.of(AttributeSet)}) == 1


@pytest.mark.parametrize(
    "call, expected",
    [
        ("super().__init__()", 1),
        ("super(Net, self).__init__()", 1),
        ("nn.Module.__init__(self)", 1),
        ("torch.nn.Module.__init__(self)", 1),
        ("Mixin.__init__(self)", 1),
        ("self.begin()", 1),
        ("if c: super().__init__()", 1),
        ("super().reset()", 0),
        ("pass", 0),
    ],
)
def test_calls_that_initialise_the_base(call: str, expected: int) -> None:
    facts = follow(
        f"""
        class Mixin:
            pass
        class Net(Mixin, nn.Module):
            def __init__(self):
                {call}
                self.fc = nn.Linear(1, 1)
            def begin(self):
                super().__init__()
        """
    )
    (cls, run) = facts.constructions[0]
    assert cls.name == "Net"
    assert len(list(run.of(SuperInit))) == expected


# --------------------------------------------------------------------------------------------------------- spelling

SPELLINGS = {
    "import": ("import torch", "torch.no_grad"),
    "import as": ("import torch as th", "th.no_grad"),
    "from": ("from torch import no_grad", "no_grad"),
    "from as": ("from torch import no_grad as still", "still"),
    "shortest": ("import torch\nfrom torch import no_grad", "no_grad"),
    "submodule": ("import torch.nn", "torch.no_grad"),
    "only a part": ("from torch import nn", None),
    "submodule as": ("import torch.nn as nn", None),
    "nothing": ("import os", None),
    "another": ("from mine import torch", None),
    "assigned": ("import torch\nstill = torch.no_grad", "still"),
    "in a try": ("try:\n  import torch\nexcept ImportError:\n  pass", "torch.no_grad"),
    "perhaps": ("try:\n  import torch\nexcept ImportError:\n  torch = None", None),
    "rebound": ("import torch\ntorch = 1", None),
    "in a function": ("def f():\n  import torch\n  torch.save(1)\nf()", None),
    "star": ("from torch import *", None),
}


@pytest.mark.parametrize("program, expected", SPELLINGS.values(), ids=SPELLINGS)
def test_how_a_file_writes_a_name(program: str, expected: str | None) -> None:
    assert follow(program, "").spell("torch.no_grad") == expected


def test_what_a_name_means_in_a_function() -> None:
    facts = follow(
        "import torch\nglob = 1\ndef f(given):\n  local = 1\n  def inner(): deep = 1\n  for loop in given: pass"
    )
    (function, _) = sorted(facts.functions, key=lambda f: f.name)
    known = ["glob", "torch", "given", "local", "loop", "inner", "deep", "nothing"]
    assert [facts.binds(function, word) for word in known] == [True, True, True, True, True, True, False, False]
    assert [facts.binds(None, word) for word in known] == [True, True] + [False] * 6


def test_the_text_of_a_place_is_on_one_line() -> None:
    facts = follow("save(\n    'a',\n)")
    event = root(facts).events[-1]
    assert facts.text(event.site) == "save( 'a', )"


# --------------------------------------------------------------------------------------------------------- neighbours

NEIGHBOURS = {
    "beside": ("import helpers", "helpers.py"),
    "beside from": ("from helpers import f", "helpers.py"),
    "package": ("import tools", "tools/__init__.py"),
    "in a package": ("from tools import extra", "tools/extra.py"),
    "deep": ("import tools.extra", "tools/extra.py"),
    "deep name": ("from tools.extra import f", "tools/extra.py"),
    "relative": ("from . import helpers", "helpers.py"),
    "relative name": ("from .helpers import f", "helpers.py"),
    "star": ("from helpers import *", "helpers.py"),
    "relative star": ("from .helpers import *", "helpers.py"),
    "above": ("from .. import top", "../top.py"),
    "above by its full name": ("from project.pkg import helpers", "helpers.py"),
    "in a function": ("def main():\n  from helpers import f\n  f(torch.save(1))\nmain()", "helpers.py"),
    "in a try": ("try:\n  from helpers import f\nexcept ImportError:\n  f = None", "helpers.py"),
    "in an if": ("if x:\n  import helpers", "helpers.py"),
}


@pytest.mark.parametrize("program, where", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_a_file_sees_what_it_imports_from(tmp_path: Path, program: str, where: str) -> None:
    here = tmp_path / "project" / "pkg"
    for file in ("helpers.py", "tools/__init__.py", "tools/extra.py", "../top.py", "unrelated.py"):
        (here / file).parent.mkdir(parents=True, exist_ok=True)
        (here / file).write_text("def g(): pass\n")
    (here / where).write_text("def f(opt): opt.zero_grad()\n")
    facts = build(Source(str(here / "train.py"), (program + "\n").encode()))
    assert facts.elsewhere("zero_grad")
    assert not facts.elsewhere("set_epoch")
    (here / where).write_text("def f(opt): pass\n")
    (here / "unrelated.py").write_text("def f(opt): opt.zero_grad()\n")
    assert not build(Source(str(here / "train.py"), (program + "\n").encode())).elsewhere("zero_grad")


def test_a_missing_or_unreadable_neighbour_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "huge.py").write_bytes(b"zero_grad" + b" " * 1_000_001)
    (tmp_path / "folder.py").mkdir()
    program = b"import gone, huge, folder\nfrom . import gone\nfrom ........ import far\n"
    assert not build(Source(str(tmp_path / "train.py"), program)).elsewhere("zero_grad")
    assert not build(Source("<stdin>", program)).elsewhere("zero_grad")


# -------------------------------------------------------------------------------------------------------- followed runs


def test_each_function_that_nothing_calls_is_a_root() -> None:
    """Once each, and those that others call only as part of these."""
    facts = follow(
        """
        def helper(net): net.eval()
        def evaluate(net): helper(net)
        def unrelated(): return 1
        class T:
            def fit(self): self.step()
            def step(self):
                self.loss.backward()
                self.opt.step()
        def recursive(net):
            net.eval()
            recursive(net)
        """
    )
    assert sorted(r.frame.name for r in facts.roots) == ["", "evaluate", "fit", "recursive"]


def test_what_the_module_body_calls_is_no_root_of_its_own() -> None:
    facts = follow("def evaluate(net): net.eval()\nevaluate(A)", HEADER + NETS)
    assert [r.frame.name for r in facts.roots] == [""]


def test_values_have_identity() -> None:
    """Two names of one model are one value, two models of one class are two."""
    facts = follow("class Net(nn.Module): pass\np = Net()\nq = p\nr = Net()")
    p, q, r = (facts.machine.module.locals[word] for word in "pqr")
    assert p is q is not r
    assert isinstance(p, Module)
    assert isinstance(facts.machine.module.locals["Net"], Class)
    assert (name(p), name(r)) == ("p", "r")
