"""What names, attributes and containers hold, and whom events therefore concern."""

# ruff: noqa: E501, ISC004 (tables of programs, each on as few lines as it has)
from __future__ import annotations

import pytest
from following import HEADER, NETS, follow, name, root, told

from torchlint.facts import OptimizerBuilt, Saved

# In these programs `A` and `B` are models, `opt_a` and `opt_b` their optimizers, `x`, `c` and `unknown` nothing we know.
NAMES = {
    "alias": ("net = A\nnet.eval()", ["eval A"]),
    "rebound": ("net = A\nnet = B\nnet.eval()", ["eval B"]),
    "tuple": ("p, q = A, B\nq.eval()", ["eval B"]),
    "swap": ("p, q = A, B\np, q = q, p\np.eval()", ["eval B"]),
    "nested tuple": ("(p, (q, r)) = A, (B, 1)\nq.eval()", ["eval B"]),
    "list target": ("[p, q] = [A, B]\nq.eval()", ["eval B"]),
    "starred head": ("p, *rest = A, B, 1\np.eval()", ["eval A"]),
    "starred rest": ("p, *rest = A, B, B\nrest[0].eval()", ["eval B"]),
    "starred middle": ("p, *rest, q = A, 1, 2, B\nq.eval()", ["eval B"]),
    "chained": ("p = q = A\nq.eval()", ["eval A"]),
    "walrus": ("(net := A).eval()\nnet.train()", ["eval A", "train A"]),
    "annotated": ("net: nn.Module = A\nnet.eval()", ["eval A"]),
    "conditional": ("net = A if c else B\nnet.eval()", ["eval A|B"]),
    "or": ("net = unknown or A\nnet.eval()", ["eval unknown", "eval A"]),
    "one path": ("net = A\nif c: net = B\nnet.eval()", ["eval A|B"]),
    "both paths": ("if c: net = A\nelse: net = B\nnet.eval()", ["eval A|B"]),
    "path that ends": ("net = A\nif c:\n  net = B\n  raise E\nnet.eval()", ["eval A"]),
    "the same on all paths": ("if c: net = A\nelse: net = A\nnet.eval()", ["eval A"]),
    "bound in a try": ("try: net = A\nexcept E: net = B\nnet.eval()", ["eval A|B"]),
    "after a loop": ("net = A\nfor i in x: net = B\nnet.eval()", ["eval A|B"]),
    "after a break": ("net = A\nfor i in x:\n  if c:\n    net = B\n    break\nnet.eval()", ["eval A|B"]),
    "after a continue": ("net = A\nfor i in x:\n  if c:\n    net = B\n    continue\nnet.eval()", ["eval A|B"]),
    "next round": ("net = A\nfor i in x:\n  net.eval()\n  net = B", ["eval A|B"]),
    "next round after a continue": (
        "net = A\nfor i in x:\n  net.eval()\n  if c:\n    net = B\n    continue",
        ["eval A|B"],
    ),
    "deleted": ("net = A\ndel net\nA.eval()", ["eval A"]),
    "match capture": ("net = A\nmatch unknown:\n  case [net]: net.eval()", ["eval net"]),
    "match subject": ("match A:\n  case net: net.eval()", ["eval A"]),
    "for over a list": ("for net in [A, B]: net.eval()", ["eval A", "eval B"]),
    "for over unknown": ("for net in unknown: net.eval()", ["eval unknown[]"]),
    "comprehension": ("[net.eval() for net in (A, B)]", ["eval A|B"]),
    "comprehension keeps its names": ("net = A\n[net for net in [B]]\nnet.eval()", ["eval A"]),
    "enumerate": ("for i, net in enumerate([A, B]): net.eval()", ["eval A", "eval B"]),
    "zip": ("for o, net in zip([opt_a, opt_b], [A, B]):\n  o.step()", ["step opt_a", "step opt_b"]),
    "zip of one": ("for o, net in zip([opt_a], [A]):\n  net.eval()\n  o.step()", ["eval A", "step opt_a"]),
    "dict": ("nets = {'a': A, 'b': B}\nnets['b'].eval()", ["eval B"]),
    "dict call": ("nets = dict(a=A, b=B)\nnets['b'].eval()", ["eval B"]),
    "dict get": ("nets = {'a': A}\nnets.get('a').eval()", ["eval A"]),
    "dict set": ("nets = {}\nnets['a'] = A\nnets['a'].eval()", ["eval A"]),
    "dict unknown key": ("nets = {'a': A, 'b': B}\nnets[unknown].eval()", ["eval A|B"]),
    "dict values": ("nets = {'a': A, 'b': B}\nfor net in nets.values(): net.eval()", ["eval A", "eval B"]),
    "dict items": ("nets = {'a': A}\nfor k, net in nets.items(): net.eval()", ["eval A"]),
    "dict comprehension": ("nets = {k: A for k in x}\nnets['a'].eval()", ["eval A", "eval ?"]),
    "list index": ("nets = [A, B]\nnets[1].eval()\nnets[-2].eval()", ["eval B", "eval A"]),
    "list unknown index": ("nets = [A, B]\nnets[x].eval()", ["eval A|B"]),
    "list append": ("nets = []\nnets.append(A)\nnets[0].eval()", ["eval A", "eval ?"]),
    "list of lists": ("nets = [[A], [B]]\nnets[1][0].eval()", ["eval B"]),
    "list sum": ("nets = [A] + [B]\nnets[1].eval()", ["eval B"]),
    "list augmented": ("nets = [A]\nnets += [B]\nnets[1].eval()", ["eval B"]),
    "tuple in a call": ("def f(net, o): o.step()\nf(*(A, opt_a))", ["step opt_a"]),
    "next iter": ("net = next(iter([A]))\nnet.eval()", ["eval A"]),
    "chained receivers": ("net = nn.Linear(1, 1).cuda().train()\nnet.eval()", ["move net cuda", "train net", "eval net"]),
    "getattr": ("getattr(A, 'eval')()", ["getattr(A.eval)"]),
}  # fmt: skip


@pytest.mark.parametrize("program, expected", NAMES.values(), ids=NAMES)
def test_names(program: str, expected: list[str]) -> None:
    assert told(program) == expected


FUNCTIONS = {
    "argument": ("def f(net): net.eval()\nf(B)", ["eval B"]),
    "keyword": ("def f(x, net): net.eval()\nf(net=B, x=A)", ["eval B"]),
    "default": ("def f(net=A): net.eval()\nf()", ["eval A"]),
    "default is what the name means outside": ("net = A\ndef f(net, other=net): other.eval()\nf(B)", ["eval A"]),
    "keyword-only": ("def f(*, net): net.eval()\nf(net=B)", ["eval B"]),
    "positional-only": ("def f(net, /): net.eval()\nf(B)", ["eval B"]),
    "args": ("def f(*nets):\n  for n in nets: n.eval()\nf(A, B)", ["eval A", "eval B"]),
    "args index": ("def f(*nets): nets[1].eval()\nf(A, B)", ["eval B"]),
    "args passed on": ("def g(net): net.eval()\ndef f(*a, **k): g(*a, **k)\nf(B)", ["eval B"]),
    "kwargs": ("def f(**k): k['net'].eval()\nf(net=B)", ["eval B"]),
    "kwargs passed on": ("def g(net): net.eval()\ndef f(**k): g(**k)\nf(net=B)", ["eval B"]),
    "returned": ("def f(): return B\nf().eval()", ["eval B"]),
    "returned argument": ("def f(net): return net\nf(A).eval()", ["eval A"]),
    "returned pair": ("def f(): return A, opt_a\nnet, o = f()\no.step()", ["step opt_a"]),
    "returned on two paths": ("def f():\n  if c: return A\n  return B\nf().eval()", ["eval A|B"]),
    "returned by flag": ("def f(flag):\n  if flag: return A\n  return B\nf(False).eval()", ["eval B"]),
    "made at each call": (
        "def f(): return nn.Linear(1, 1)\np = f()\nq = f()\nq.eval()",
        ["eval q"],
    ),
    "closure": ("def f():\n  net = B\n  def g(): net.eval()\n  g()\nf()", ["eval B"]),
    "closure sees what comes later": ("def f():\n  net = A\n  def g(): net.eval()\n  net = B\n  g()\nf()", ["eval B"]),
    "closure returned": ("def f(net):\n  def g(): net.eval()\n  return g\nf(B)()", ["eval B"]),
    "two closures": ("def f(net):\n  def g(): net.eval()\n  return g\np = f(A)\nq = f(B)\np()", ["eval A"]),
    "lambda": ("f = lambda net: net.eval()\nf(B)", ["eval B"]),
    "lambda closure": ("def f(net): return lambda: net.eval()\nf(B)()", ["eval B"]),
    "lambda default": ("f = lambda net=A: net.eval()\nf()", ["eval A"]),
    "global read": ("def f(): A.eval()\nf()", ["eval A"]),
    "global written": ("net = None\ndef f():\n  global net\n  net = B\nf()\nnet.eval()", ["eval B"]),
    "global written on a path": ("net = A\ndef f():\n  global net\n  if c: net = B\nf()\nnet.eval()", ["eval A|B"]),
    "a local hides a global": ("net = A\ndef f():\n  net = B\nf()\nnet.eval()", ["eval A"]),
    "nonlocal": (
        "def f():\n  net = A\n  def g():\n    nonlocal net\n    net = B\n  g()\n  net.eval()\nf()",
        ["eval B"],
    ),
    "closure of a step": (
        "def closure():\n  opt_a.zero_grad()\n  loss = A(x).sum()\n  loss.backward()\n  return loss\nopt_a.step(closure)",
        ["zero opt_a", "A()", "backward A", "step opt_a"],
    ),
    "lambda for a step": ("opt_a.step(lambda: A(x).sum().backward())", ["A()", "backward A", "step opt_a"]),
    "partial": ("from functools import partial\ndef f(net): net.eval()\npartial(f, B)()", ["partial(?)"]),
    "generator": ("def f():\n  yield A\n  yield B\nfor net in f(): net.eval()", ["eval A|B"]),
    "map": ("def f(net): net.eval()\nlist(map(f, [A]))", ["eval A"]),
    "function as an argument": ("def g(f): f()\ndef h(): A.eval()\ng(h)", ["eval A"]),
    "bound method as an argument": ("def g(f): f()\ng(A.eval)", ["f(A.eval)"]),
}


@pytest.mark.parametrize("program, expected", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(program: str, expected: list[str]) -> None:
    assert told(program) == expected


CLASS = """
class T:
    count = 0
    def __init__(self, net, o=None):
        self.net = net
        self.o = o
        self.parts = [net]
        self.setup()
    def setup(self):
        self.later = self.net
    def run(self):
        self.net.eval()
    @property
    def first(self):
        return self.parts[0]
    @classmethod
    def make(cls, net):
        return cls(net)
    @staticmethod
    def off(net):
        net.eval()
    def chain(self):
        return self
class S(T):
    def __init__(self, net):
        super().__init__(net, opt_a)
    def run(self):
        super().run()
        self.o.step()
"""
OBJECTS = {
    "attribute": ("T(A).net.eval()", ["eval A"]),
    "method": ("T(B).run()", ["eval B"]),
    "attribute set by another method": ("T(B).later.eval()", ["eval B"]),
    "attribute in a list": ("T(B).parts[0].eval()", ["eval B"]),
    "property": ("T(B).first.eval()", ["eval B"]),
    "class method": ("T.make(B).net.eval()", ["eval B"]),
    "static method": ("T.off(B)", ["eval B"]),
    "static method of an object": ("T(A).off(B)", ["eval B"]),
    "through the class": ("T.run(T(B))", ["eval B"]),
    "returns itself": ("T(A).chain().chain().net.eval()", ["eval A"]),
    "two objects": ("p, q = T(A), T(B)\np.run()\nq.run()", ["eval A", "eval B"]),
    "base": ("S(B).net.eval()", ["super", "eval B"]),
    "override calls the base": ("S(B).run()", ["super", "eval B", "step opt_a"]),
    "set from outside": ("t = T(A)\nt.net = B\nt.run()", ["eval B"]),
    "set on a path": ("t = T(A)\nif c: t.net = B\nt.run()", ["eval A|B"]),
    "setattr": ("t = T(A)\nsetattr(t, 'net', B)\nt.run()", ["eval B"]),
    "getattr": ("getattr(T(A), 'net').eval()", ["eval A"]),
    "tuple of attributes": ("t = T(A)\nt.p, t.q = A, B\nt.q.eval()", ["eval B"]),
    "bound method kept": ("go = T(B).run\ngo()", ["eval B"]),
    "object in an object": ("class W:\n  def __init__(self): self.t = T(B)\nW().t.run()", ["eval B"]),
    "enter and exit": (
        "class C:\n  def __init__(self, n): self.n = n\n  def __enter__(self):\n    self.n.eval()\n    return self.n\n"
        "  def __exit__(self, *e): self.n.train()\nwith C(A) as net: net(x)",
        ["eval A", "A()", "train A"],
    ),
    "exit when it returns": (
        "class C:\n  def __init__(self, n): self.n = n\n  def __enter__(self): self.n.eval()\n"
        "  def __exit__(self, *e): self.n.train()\ndef f():\n  with C(A): return A(x)\nf()",
        ["eval A", "A()", "train A"],
    ),
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n  net: nn.Module\n  o: object = None\n"
        "C(B).net.eval()",
        ["eval B"],
    ),
    "named tuple": (
        "from typing import NamedTuple\nclass C(NamedTuple):\n  net: nn.Module\nC(B).net.eval()",
        ["eval B"],
    ),
}


@pytest.mark.parametrize("program, expected", OBJECTS.values(), ids=OBJECTS)
def test_objects(program: str, expected: list[str]) -> None:
    assert told(program, header=HEADER + NETS + CLASS) == expected


MODULES = {
    "child": (
        "class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.fc = nn.Linear(1, 1)\n"
        "net = Net()\nnet.fc.eval()",
        ["eval net.fc"],
    ),
    "child twice": (
        "class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.fc = nn.Linear(1, 1)\n"
        "net = Net()\np, q = net.fc, net.fc\nq.eval()",
        ["eval net.fc"],
    ),
    "child of a base": (
        "class Base(nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.fc = nn.Linear(1, 1)\n"
        "class Net(Base): pass\nNet().fc.eval()",
        ["eval fc"],
    ),
    "own method": (
        "class Net(nn.Module):\n  def freeze(self): self.eval()\nnet = Net()\nnet.freeze()",
        ["eval net"],
    ),
    "own train": (
        "class Net(nn.Module):\n  def train(self, mode=True):\n    super().train(mode)\n    self.bn.eval()\n"
        "net = Net()\nnet.train()",
        ["train net", "eval net.bn"],
    ),
    "call": ("A(x)", ["A()"]),
    "forward": ("A.forward(x)", ["A.forward"]),
    "wrapped": ("net = nn.DataParallel(A)\nnet.eval()", ["eval A"]),
    "unwrapped": ("net = nn.DataParallel(A)\nnet.module.eval()", ["eval A"]),
    "compiled": ("net = torch.compile(A)\nnet.eval()", ["eval A"]),
    "moved": ("net = A.cuda()\nnet.eval()", ["move A cuda", "eval A"]),
    "copied": ("import copy\nnet = copy.deepcopy(A)\nnet.eval()", ["eval net"]),
    "sequential": ("net = nn.Sequential(A, B)\nnet[1].eval()", ["eval B"]),
    "module list": ("nets = nn.ModuleList([A, B])\nfor n in nets: n.eval()", ["eval A|B"]),
    "item set": ("net = nn.Sequential(A)\nnet[0] = B\nnet[0].eval()", ["set net.[0]", "eval B"]),
    "add module": ("A.add_module('b', B)\nA.b.eval()", ["set A.b", "eval B"]),
}


@pytest.mark.parametrize("program, expected", MODULES.values(), ids=MODULES)
def test_modules(program: str, expected: list[str]) -> None:
    assert told(program) == expected


IMPORTS = {
    "import": "import torch\nnet = torch.nn.Linear(1, 1)\nopt = torch.optim.SGD(net.parameters())",
    "import as": "import torch as th\nnet = th.nn.Linear(1, 1)\nopt = th.optim.SGD(net.parameters())",
    "submodule": "import torch.optim\nimport torch.nn\nnet = torch.nn.Linear(1, 1)\nopt = torch.optim.SGD(net.parameters())",
    "submodule as": "import torch.nn as N, torch.optim as O\nnet = N.Linear(1, 1)\nopt = O.SGD(net.parameters())",
    "from": "from torch import nn, optim\nnet = nn.Linear(1, 1)\nopt = optim.SGD(net.parameters())",
    "from as": "from torch.nn import Linear as L\nfrom torch.optim import SGD as S\nnet = L(1, 1)\nopt = S(net.parameters())",
    "deep": "from torch.nn.modules.linear import Linear\nfrom torch.optim.sgd import SGD\nnet = Linear(1, 1)\n"
    "opt = SGD(net.parameters())",
    "assigned": "import torch\nL, S = torch.nn.Linear, torch.optim.SGD\nnet = L(1, 1)\nopt = S(net.parameters())",
    "star": "from torch.nn import *\nimport torch\nnet = Linear(1, 1)\nopt = torch.optim.SGD(net.parameters())",
    "in a function": "def f():\n  from torch import nn, optim\n  net = nn.Linear(1, 1)\n  opt = optim.SGD(net.parameters())\nf()",
    "in a try": "try:\n  import torch as th\nexcept ImportError:\n  th = None\nnet = th.nn.Linear(1, 1)\n"
    "opt = th.optim.SGD(net.parameters())",
    "in an if": "if c:\n  import torch\nnet = torch.nn.Linear(1, 1)\nopt = torch.optim.SGD(net.parameters())",
    "two ways": "try:\n  from torch.nn import Linear\nexcept ImportError:\n  from torch.nn.modules import Linear\nimport torch\n"
    "net = Linear(1, 1)\nopt = torch.optim.SGD(net.parameters())",
    "getattr": "import torch\nnet = torch.nn.Linear(1, 1)\nopt = getattr(torch.optim, 'SGD')(net.parameters())",
    "from a table": "import torch\nkinds = {'sgd': torch.optim.SGD}\nnet = torch.nn.Linear(1, 1)\n"
    "opt = kinds['sgd'](net.parameters())",
}  # fmt: skip


@pytest.mark.parametrize("program", IMPORTS.values(), ids=IMPORTS)
def test_imports(program: str) -> None:
    """However torch is imported, the optimizer is one, over the parameters of that model."""
    facts = follow(program, header="")
    (built,) = root(facts).of(OptimizerBuilt)
    (optimizer,) = built.optimizer.options()
    assert optimizer.api == "torch.optim.SGD"  # type: ignore[attr-defined]
    assert [name(one) for one in optimizer.parameters.of] == ["net"]  # type: ignore[attr-defined]


NOT_TORCH = {
    "no import": "SGD(A)",
    "another package": "from mine import SGD\nSGD(A)",
    "relative": "from .torch.optim import SGD\nSGD(A)",
    "own class": "class SGD: pass\nSGD()",
    "own star": "from mine import *\nSGD(A)",
    "both stars": "from torch.optim import *\nfrom mine import *\nSGD(A)",
    "rebound": "from torch.optim import SGD\nSGD = print\nSGD(A)",
}


@pytest.mark.parametrize("program", NOT_TORCH.values(), ids=NOT_TORCH)
def test_what_only_looks_like_torch(program: str) -> None:
    assert not list(root(follow(program, header="")).of(OptimizerBuilt))


PARAMETERS = {
    "all": ("A.parameters()", ["A"], False, True),
    "list": ("list(A.parameters())", ["A"], False, True),
    "model": ("A", ["A"], False, True),
    "one tensor": ("[A.weight]", ["A.weight"], False, True),
    "chain": ("chain(A.parameters(), B.parameters())", ["A", "B"], False, True),
    "sum": ("list(A.parameters()) + list(B.parameters())", ["A", "B"], False, True),
    "starred": ("[*A.parameters(), *B.parameters()]", ["A", "B"], False, True),
    "groups": ("[{'params': A.parameters()}, {'params': B.parameters(), 'lr': 1}]", ["A", "B"], False, True),
    "group of a list": ("[{'params': [A.weight]}]", ["A.weight"], False, True),
    "filter": ("filter(lambda p: p.requires_grad, A.parameters())", ["A"], False, False),
    "comprehension": ("[p for p in A.parameters() if p.requires_grad]", ["A"], False, False),
    "named": ("[p for n, p in A.named_parameters() if 'bias' not in n]", ["A"], False, False),
    "either": ("A.parameters() if c else B.parameters()", ["A", "B"], True, True),
    "with unknown ones": ("[{'params': A.parameters()}, {'params': unknown}]", ["A"], True, True),
    "keyword": ("params=A.parameters()", ["A"], False, True),
    "unknown": ("unknown", None, None, None),
}


@pytest.mark.parametrize("given, of, is_open, whole", PARAMETERS.values(), ids=PARAMETERS)
def test_whose_parameters(given: str, of: list[str] | None, is_open: bool | None, whole: bool | None) -> None:
    facts = follow(f"from itertools import chain\nopt = optim.SGD({given})", HEADER + NETS)
    optimizer = list(root(facts).of(OptimizerBuilt))[-1].optimizer
    found = optimizer.parameters  # type: ignore[attr-defined]
    if of is None:
        assert found is None
    else:
        assert ([name(one) for one in found.of], found.open, found.whole) == (of, is_open, whole)


@pytest.mark.parametrize(
    "way",
    [
        "params = []\nfor net in (A, B): params += list(net.parameters())",
        "params = []\nparams.extend(A.parameters())\nparams.extend(B.parameters())",
        "params = list(A.parameters())\nparams += list(B.parameters())",
        "params = list(A.parameters())\nparams.extend(B.parameters())",
        "params = [p for net in (A, B) for p in net.parameters()]",
    ],
)
def test_parameters_gathered_in_steps(way: str) -> None:
    """Both models at least; whether the list holds more may stay open."""
    facts = follow(way + "\nopt = optim.SGD(params)", HEADER + NETS)
    found = list(root(facts).of(OptimizerBuilt))[-1].optimizer.parameters  # type: ignore[attr-defined]
    assert found is None or found.open or {name(one) for one in found.of} == {"A", "B"}


UNKNOWN_PARAMETERS = {
    "annotated module": ("net: nn.Module", "save(net)", "Module"),
    "annotated text": ("net: 'nn.Module'", "save(net)", "Module"),
    "annotated optional": ("net: nn.Module | None", "save(net)", "Module"),
    "annotated Optional": ("net: Optional[nn.Module]", "save(net)", "Module"),
    "annotated optimizer": ("o: optim.Optimizer", "save(o)", "Optimizer"),
    "annotated tensor": ("o: torch.Tensor", "save(o)", "Tensor"),
    "annotated loader": ("o: torch.utils.data.DataLoader", "save(o)", "Loader"),
    "annotated device": ("o: torch.device", "save(o)", "Device"),
    "annotated own class": ("o: Net", "save(o)", "Module"),
    "annotated by what only a checker imports": ("o: TensorOfCheckers", "save(o)", "Tensor"),
    "annotated number": ("model: int", "model()\n  save(model)", "Unknown"),
    "used as an optimizer": ("thing", "thing.zero_grad()\n  thing.step()\n  save(thing)", "Optimizer"),
    "called like one and stepped": ("my_opt", "my_opt.step()\n  save(my_opt)", "Optimizer"),
    "stepped only": ("thing", "thing.step()\n  save(thing)", "Unknown"),
    "used as a module": ("thing", "thing.eval()\n  thing(1)\n  save(thing)", "Module"),
    "called like one and called": ("model", "model(1)\n  save(model)", "Module"),
    "called like one only": ("model", "save(model)", "Unknown"),
    "a model that steps": ("model", "model(1)\n  model.backward(1)\n  model.step()\n  save(model)", "Module"),
    "used as a tensor": ("thing", "thing.unsqueeze(0)\n  save(thing)", "Tensor"),
    "nothing": ("thing", "save(thing)", "Unknown"),
}


@pytest.mark.parametrize("parameter, body, kind", UNKNOWN_PARAMETERS.values(), ids=UNKNOWN_PARAMETERS)
def test_what_a_parameter_is_taken_for(parameter: str, body: str, kind: str) -> None:
    """Annotation, then use, then name; a name alone is not enough."""
    facts = follow(
        f"if TYPE_CHECKING: from torch import Tensor as TensorOfCheckers\nfrom typing import Optional\nclass Net(nn.Module): pass\ndef run({parameter}):\n  torch.no_grad()\n  {body}"
    )
    (event,) = root(facts, "run").of(Saved)
    assert type(event.value).__name__ == kind


def test_no_name_is_evidence_where_another_framework_is_imported() -> None:
    program = "def run(model, opt):\n  torch.no_grad()\n  opt.zero_grad()\n  opt.step()\n  model(1)\n  save(model)\n  save(opt)"
    (model, opt) = [type(e.value).__name__ for e in root(follow(program), "run").of(Saved)]
    assert (model, opt) == ("Module", "Optimizer")
    (model, opt) = [type(e.value).__name__ for e in root(follow("import mxnet\n" + program), "run").of(Saved)]
    assert (model, opt) == ("Unknown", "Unknown")
