"""What events do to models and optimizers: modes, gradients, devices, and what code out of sight may do."""

# ruff: noqa: E501 (programs as they are)
from __future__ import annotations

import pytest
from following import HEADER, NETS, follow, name, root, told

from torchlint.effects import may_clear, may_feed, mode_after
from torchlint.facts import Backward, Combined, Event, Forward, Optimizer, Saved, Tensor, UnknownCall, Value, walk
from torchlint.semantics.build import FileFacts

# ------------------------------------------------------------------------------------------------------ grad contexts

GRAD = {
    "default": ("A(x)", "default"),
    "no_grad": ("with torch.no_grad(): A(x)", "off"),
    "no_grad as a name": ("with nograd: A(x)", "off"),
    "inference_mode": ("with torch.inference_mode(): A(x)", "off"),
    "inference_mode False": ("with torch.inference_mode(False): A(x)", "default"),
    "inference_mode mode=True": ("with torch.inference_mode(mode=True): A(x)", "off"),
    "inference_mode unknown": ("with torch.inference_mode(c): A(x)", "unknown"),
    "enable_grad": ("with torch.no_grad():\n  with torch.enable_grad(): A(x)", "on"),
    "set_grad_enabled False": ("with torch.set_grad_enabled(False): A(x)", "off"),
    "set_grad_enabled True": ("with torch.set_grad_enabled(True): A(x)", "on"),
    "set_grad_enabled unknown": ("with torch.set_grad_enabled(phase == 'train'): A(x)", "unknown"),
    "set_grad_enabled as a statement": ("torch.set_grad_enabled(False)\nA(x)", "off"),
    "set_grad_enabled on a path": ("if c: torch.set_grad_enabled(False)\nA(x)", "unknown"),
    "set_grad_enabled on both paths": ("if c: torch.set_grad_enabled(False)\nelse: torch.set_grad_enabled(False)\nA(x)", "off"),
    "set_grad_enabled in a function": ("def f(): torch.set_grad_enabled(False)\nf()\nA(x)", "off"),
    "set_grad_enabled by a flag": ("def f(train):\n  with torch.set_grad_enabled(train): A(x)\nf(False)", "off"),
    "after": ("with torch.no_grad(): pass\nA(x)", "default"),
    "after a return inside": ("def f():\n  with torch.no_grad():\n    if c: return\nf()\nA(x)", "default"),
    "after a break inside": ("for i in y:\n  with torch.no_grad(): break\nA(x)", "default"),
    "after an error inside": ("try:\n  with torch.no_grad(): raise E\nexcept E: A(x)", "default"),
    "several items": ("with open(f) as g, torch.no_grad(), other: A(x)", "off"),
    "second item wins": ("with torch.no_grad(), torch.enable_grad(): A(x)", "on"),
    "autocast": ("with torch.autocast('cuda'): A(x)", "default"),
    "in a called function": ("def f(): A(x)\nwith torch.no_grad(): f()", "off"),
    "in a closure": ("def f():\n  def g(): A(x)\n  with torch.no_grad(): g()\nf()", "off"),
    "decorator": ("@torch.no_grad()\ndef f(): A(x)\nf()", "off"),
    "decorator without a call": ("@torch.no_grad\ndef f(): A(x)\nf()", "off"),
    "decorator inference_mode False": ("@torch.inference_mode(False)\ndef f(): A(x)\nf()", "default"),
    "decorator inference_mode": ("@torch.inference_mode(mode=True)\ndef f(): A(x)\nf()", "off"),
    "decorator enable_grad": ("@torch.enable_grad()\ndef f(): A(x)\nwith torch.no_grad(): f()", "on"),
    "decorator on a method": ("class T:\n  @torch.no_grad()\n  def f(self): A(x)\nT().f()", "off"),
    "decorator ends with the call": ("@torch.no_grad()\ndef f(): pass\nf()\nA(x)", "default"),
    "two decorators": ("import functools\n@functools.lru_cache\n@torch.no_grad()\ndef f(): A(x)\nf()", "off"),
    "unknown decorator": ("@mine\ndef f(): A(x)\nf()", "unknown"),
    "unknown decorator called like one": ("@mine.no_grad_when_fast\ndef f(): A(x)\nf()", "unknown"),
    "plain decorator": ("@staticmethod\ndef f(): A(x)\nf()", "default"),
    "exit stack": ("from contextlib import ExitStack\nwith ExitStack() as s:\n  s.enter_context(torch.no_grad())\n  A(x)", "off"),
    "after an exit stack": ("from contextlib import ExitStack\nwith ExitStack() as s:\n  s.enter_context(torch.no_grad())\nA(x)", "default"),
    "exit stack on a path": ("from contextlib import ExitStack\nwith ExitStack() as s:\n  if c: s.enter_context(torch.no_grad())\n  A(x)", "unknown"),
    "own context manager": ("from contextlib import contextmanager\n@contextmanager\ndef calm():\n  with torch.no_grad(): yield\nwith calm(): A(x)", "off"),
    "unknown context": ("with mine(): A(x)", "default"),
    "unknown context called like one": ("with mine.inference(): A(x)", "unknown"),
    "conditional context": ("with torch.no_grad() if c else nullcontext(): A(x)", "unknown"),
    "lambda": ("f = lambda: A(x)\nwith torch.no_grad(): f()", "off"),
    "comprehension": ("with torch.no_grad(): [A(i) for i in y]", "off"),
}  # fmt: skip


@pytest.mark.parametrize("program, expected", GRAD.values(), ids=GRAD)
def test_whether_autograd_records(program: str, expected: str) -> None:
    facts = follow("nograd = torch.no_grad()\n" + program, HEADER + NETS)
    assert [forward.grad.value for forward in root(facts).of(Forward)] == [expected]


# -------------------------------------------------------------------------------------------------------------- modes

MODES = {
    "new": ("", {"train"}),
    "eval": ("A.eval()", {"eval"}),
    "train": ("A.eval()\nA.train()", {"train"}),
    "train False": ("A.train(False)", {"eval"}),
    "train mode=False": ("A.train(mode=False)", {"eval"}),
    "train unknown": ("A.eval()\nA.train(c)", {"unknown"}),
    "train of a flag": ("def f(flag): A.train(flag)\nf(False)", {"eval"}),
    "train of a flag that changes": ("def f():\n  flag = False\n  for i in y:\n    A.train(flag)\n    flag = True\nf()", {"train", "unknown"}),
    "another model": ("B.eval()", {"train"}),
    "on one path": ("if c: A.eval()", {"train", "eval"}),
    "on both paths": ("if c: A.eval()\nelse: A.eval()", {"eval"}),
    "in a loop": ("for i in y: A.eval()", {"train", "eval"}),
    "in a loop over it": ("for net in (A, B): net.eval()", {"eval"}),
    "one of two": ("(A if c else B).eval()", {"unknown"}),
    "all in a comprehension": ("[net.eval() for net in (A, B)]", {"train", "unknown"}),
    "in a function": ("def f(net): net.eval()\nf(A)", {"eval"}),
    "in a method": ("class T:\n  def __init__(self, net): self.net = net\n  def stop(self): self.net.eval()\nT(A).stop()", {"eval"}),
    "in a constructor": ("class T:\n  def __init__(self, net): self.net = net.eval()\nT(A)", {"eval"}),
    "through a wrapper": ("net = nn.DataParallel(A)\nnet.eval()", {"eval"}),
    "through what it is part of": ("net = nn.Sequential(A, B)\nnet.eval()", {"eval"}),
    "through an own module": ("class Net(nn.Module):\n  def __init__(self, a):\n    super().__init__()\n    self.a = a\nNet(A).eval()", {"eval"}),
    "only a part of it": ("net = nn.Sequential(A)\nB.eval()", {"train"}),
    "in unseen code": ("mine(A)", {"unknown"}),
    "in unseen code that has it": ("t = mine.Trainer(A)\nA.eval()\nt.run()", {"unknown"}),
    "in unseen code that was given it": ("t = mine.Trainer()\nt.add(A)\nA.eval()\nt.run()", {"unknown"}),
    "in a callback": ("def f(): A.eval()\nmine(f)", {"unknown"}),
    "through the class": ("nn.Module.eval(A)", {"unknown"}),
    "in a lambda callback": ("mine(lambda: A.eval())", {"unknown"}),
    "in a bound callback": ("mine(A.eval)", {"unknown"}),
    "in a partial": ("from functools import partial\ndef f(net): net.eval()\ng = partial(f, A)\ng()", {"unknown"}),
    "unseen code without it": ("mine(B)", {"train"}),
    "harmless code": ("print(A)\nlen(A)\nstr(A)", {"train"}),
    "saving and loading": ("torch.save(A.state_dict(), f)\nA.load_state_dict(torch.load(f))", {"train"}),
    "moved": ("A.eval()\nA.cuda()\nA.to(x).float()", {"eval"}),
    "kept in a dict": ("nets = {'a': A}\nnets['a'].eval()", {"eval"}),
    "kept in a dict under an unknown key": ("nets = {'a': A, 'b': B}\nnets[k].eval()", {"unknown"}),
    "kept in a list that grows": ("nets = []\nnets.append(A)\nnets.append(B)\nfor n in nets: n.eval()", {"train", "unknown"}),
    "module list": ("nets = nn.ModuleList([A, B])\nfor n in nets: n.eval()", {"train", "unknown"}),
    "module list as one": ("nets = nn.ModuleList([A, B])\nnets.eval()", {"eval"}),
    "apply": ("A.apply(lambda m: m.eval())", {"train", "unknown"}),
    "modules": ("for m in A.modules(): m.eval()", {"train", "unknown"}),
    "evaluating with": ("class C:\n  def __init__(self, n): self.n = n\n  def __enter__(self): self.n.eval()\n  def __exit__(self, *e): self.n.train()\nwith C(A): pass", {"train"}),
    "evaluating with unseen": ("with mine(A):\n  A.eval()", {"unknown"}),
    "finally": ("try:\n  A.eval()\n  y()\nfinally: A.train()", {"train"}),
    "finally after a return": ("def f():\n  try:\n    A.eval()\n    return A(y)\n  finally: A.train()\nf()", {"train"}),
    "recursion": ("def f(net):\n  net.eval()\n  f(net)\nf(A)", {"unknown"}),
    "starred into a function": ("def f(a, b): b.eval()\nf(*unknown, A)", {"unknown"}),
    "keywords into a function": ("def f(**k): k['net'].eval()\nf(net=A)", {"eval"}),
    "copied": ("import copy\nteacher = copy.deepcopy(A)\nteacher.eval()", {"train"}),
    "generator": ("def f():\n  A.eval()\n  yield\nfor i in f(): pass", {"eval"}),
    "global": ("def f():\n  global net\n  net = A\nf()\nnet.eval()", {"eval"}),
}  # fmt: skip


@pytest.mark.parametrize("program, expected", MODES.values(), ids=MODES)
def test_the_mode_of_a_model(program: str, expected: set[str]) -> None:
    """The modes that `A` can be in when it is called at last."""
    facts = follow(program + "\nsave('end')", HEADER + NETS)
    model = facts.machine.module.locals["A"]
    (end,) = [e for e in root(facts).of(Saved) if name(e.value) == "'end'"]
    met = walk([root(facts).entry], "train", lambda mode, event: mode_after(mode, event, model))
    assert met[end] == expected


# ---------------------------------------------------------------------------------------------------------- gradients


def events(facts: FileFacts, what: str, clears: str) -> list[str]:
    """The answers of `may_clear`, or `may_feed`, for each event of the program, for an optimizer by name."""
    optimizer = facts.machine.module.locals[clears]
    before = len(root(follow("", HEADER + NETS)).events)
    found: list[Event] = root(facts).events[before:]
    if what == "clear":
        return [type(e).__name__ for e in found if may_clear(e, optimizer)]
    return [type(e).__name__ for e in found if isinstance(e, Backward) and may_feed(e, optimizer)]


CLEARING = {
    "optimizer": "opt_a.zero_grad()",
    "optimizer set_to_none": "opt_a.zero_grad(set_to_none=True)",
    "model": "A.zero_grad()",
    "model around it": "net = nn.Sequential(A)\nnet.zero_grad()",
    "wrapped model": "net = nn.DataParallel(A)\nnet.zero_grad()",
    "grad None of each parameter": "for p in A.parameters(): p.grad = None",
    "grad None of each in the groups": "for g in opt_a.param_groups:\n  for p in g['params']: p.grad = None",
    "grad zero of each parameter": "for p in A.parameters(): p.grad.zero_()",
    "grad of one parameter": "A.weight.grad = None",
    "grad through data": "for p in A.parameters(): p.grad.data.zero_()",
    "helper": "def clear(o): o.zero_grad()\nclear(opt_a)",
    "lambda": "clear = lambda: opt_a.zero_grad()\nclear()",
    "closure": "def f(o):\n  def g(): o.zero_grad()\n  return g\nf(opt_a)()",
    "partial": "from functools import partial\ndef clear(o): o.zero_grad()\npartial(clear, opt_a)()",
    "unseen": "mine(opt_a)",
    "unseen with a callback": "mine(opt_a.zero_grad)",
    "unseen with a function": "def f(): opt_a.zero_grad()\nmine(f)",
    "unseen with what holds it": "t = mine(opt_a)\nt.run()",
    "unseen with a list": "mine([opt_a])",
    "unseen with a dict": "mine(**{'o': opt_a})",
    "all of a list": "for o in [opt_a, opt_b]: o.zero_grad()",
    "all in a comprehension": "[o.zero_grad() for o in (opt_a, opt_b)]",
    "by key": "opts = {'a': opt_a}\nopts[k].zero_grad()",
    "map": "list(map(lambda o: o.zero_grad(), [opt_a]))",
    "another optimizer of the model": "other = optim.SGD(A.parameters())\nother.zero_grad()",
    "optimizer of unknown parameters": "other = optim.SGD(unknown)\nother.zero_grad()",
    "rebuilt": "opt_a = optim.SGD(A.parameters())",
    "kept in an object": "class T: pass\nt = T()\nt.o = opt_a\nt.o.zero_grad()",
    "method of an object": "class T:\n  def __init__(self, o): self.o = o\n  def zero(self): self.o.zero_grad()\nT(opt_a).zero()",
    "fabric": "fabric.optimizer_zero_grad(opt_a)",
    "helper of another name": "reset_grad(opt_a)",
    "helper that says so": "utils.zero_grads(A)",
    "imported helper that says so": "from utils import clear_gradients\nclear_gradients(A)",
    "exec": "exec('opt_a.zero_grad()')",
}


@pytest.mark.parametrize("program", CLEARING.values(), ids=CLEARING)
def test_what_may_clear_gradients(program: str) -> None:
    assert events(follow(program, HEADER + NETS), "clear", "opt_a")


NOT_CLEARING = {
    "another optimizer": "opt_b.zero_grad()",
    "another model": "B.zero_grad()",
    "another model's parameters": "for p in B.parameters(): p.grad = None",
    "stepping": "opt_a.step()",
    "backward": "A(x).sum().backward()",
    "unseen code with the model alone": "mine(A)",  # evaluates, logs or saves it; with the optimizer, it may be the step
    "unseen code with others": "mine(B, opt_b)",
    "unseen code with a number": "mine(A(x).item())",
    "printing": "print(A, opt_a)",
    "clipping": "nn.utils.clip_grad_norm_(A.parameters(), 1)",
    "learning rate": "for g in opt_a.param_groups: g['lr'] = 1",
    "scheduler": "s = optim.lr_scheduler.StepLR(opt_a, 1)\ns.step()",
    "mode": "A.train()",
    "saving": "torch.save({'a': A.state_dict(), 'o': opt_a.state_dict()}, f)",
}


@pytest.mark.parametrize("program", NOT_CLEARING.values(), ids=NOT_CLEARING)
def test_what_does_not_clear_gradients(program: str) -> None:
    assert events(follow(program, HEADER + NETS), "clear", "opt_a") == []


BACKWARD = {
    "output": ("A(x).sum().backward()", "A"),
    "loss": ("loss = nn.MSELoss()(A(x), y)\nloss.backward()", "A"),
    "functional loss": ("F.mse_loss(A(x), y).backward()", "A"),
    "two models": ("B(A(x)).sum().backward()", "A+B"),
    "detached": ("B(A(x).detach()).sum().backward()", "B"),
    "without gradients": ("with torch.no_grad(): h = A(x)\nB(h).sum().backward()", "B"),
    "sum": ("(A(x).sum() + B(x).sum()).backward()", "A+B"),
    "one path": ("loss = A(x).sum()\nif c: loss = loss + B(x).sum()\nloss.backward()", "A+B"),
    "augmented": ("loss = 0\nloss += A(x).sum()\nloss.backward()", "A"),
    "augmented in a loop": ("loss = 0\nfor i in y: loss += A(i).sum()\nloss.backward()", "A"),
    "list": ("losses = []\nfor i in y: losses.append(A(i).sum())\nsum(losses).backward()", "A"),
    "stack": ("torch.stack([A(x), B(x)]).mean().backward()", "A+B"),
    "dict": ("d = {'a': A(x).sum(), 'b': B(x).sum()}\nd['b'].backward()", "B"),
    "dict values": ("d = {'a': A(x).sum(), 'b': B(x).sum()}\nsum(d.values()).backward()", "A+B"),
    "comprehension": ("sum(net(x).sum() for net in (A, B)).backward()", "A+B"),
    "returned": ("def f(): return A(x).sum()\nf().backward()", "A"),
    "returned pair": ("def f(): return A(x).sum(), B(x).sum()\np, q = f()\nq.backward()", "B"),
    "attribute": ("class T: pass\nt = T()\nt.loss = A(x).sum()\nt.loss.backward()", "A"),
    "output of several": ("p, q = A(x)\nq.sum().backward()", "A"),
    "unknown function": ("mine(A(x)).backward()", "A"),
    "scaled": ("s = torch.amp.GradScaler()\ns.scale(A(x).sum()).backward()", "A"),
    "divided": ("(A(x).sum() / 4).backward()", "A"),
    "accelerator": ("accelerator.backward(A(x).sum())", "A"),
    "autograd": ("torch.autograd.backward(A(x).sum())", "A"),
    "autograd list": ("torch.autograd.backward([A(x).sum(), B(x).sum()])", "A+B"),
    "unknown": ("unknown.backward()", "?"),
    "own loss": ("class L(nn.Module): pass\nL()(A(x), y).backward()", "?+A"),
    "parameter": ("w = nn.Parameter(torch.zeros(3))\n(w * 2).sum().backward()", "w"),
    "copied back": ("h = A(x)\nh = h.clone().view(1).float().cuda()\nh.sum().backward()", "A"),
    "compared": ("(A(x) > 0).float().sum().backward()", "?"),
    "item": ("z = torch.tensor(A(x).item())\nB(z).sum().backward()", "B"),
    "indexed": ("A(x)[0].backward()", "A"),
    "direct forward": ("A.forward(x).sum().backward()", "A"),
}  # fmt: skip


@pytest.mark.parametrize("program, roots", BACKWARD.values(), ids=BACKWARD)
def test_what_a_backward_pass_reaches(program: str, roots: str) -> None:
    facts = follow("import torch.nn.functional as F\n" + program, HEADER + NETS)
    found = {name(one) for backward in root(facts).of(Backward) for one in backward.roots or ()}
    assert list(root(facts).of(Backward))
    assert ("+".join(sorted(found)) or "?") == roots


FEEDING = {
    "own model": ("A(x).sum().backward()", True),
    "another": ("B(x).sum().backward()", False),
    "both": ("B(A(x)).sum().backward()", True),
    "unknown": ("unknown.backward()", True),
    "a part": ("net = nn.Sequential(A)\nnet(x).sum().backward()", True),
    "after detach": ("B(A(x).detach()).sum().backward()", False),
}


@pytest.mark.parametrize("program, feeds", FEEDING.values(), ids=FEEDING)
def test_which_gradients_a_backward_pass_feeds(program: str, feeds: bool) -> None:
    assert bool(events(follow(program, HEADER + NETS), "feed", "opt_a")) is feeds


STEPS = {
    "plain": ("opt_a.step()", ["step opt_a"]),
    "scaler": ("s = torch.cuda.amp.GradScaler()\ns.step(opt_a)", ["step opt_a"]),
    "xla": ("import torch_xla.core.xla_model as xm\nxm.optimizer_step(opt_a)", ["step opt_a"]),
    "scheduler": ("s = optim.lr_scheduler.StepLR(opt_a, 1)\ns.step()", ["schedule s"]),
    "own scheduler": ("class S(optim.lr_scheduler.LRScheduler): pass\ns = S(opt_a)\ns.step()", ["schedule s"]),
    "own optimizer": ("class O(optim.Optimizer): pass\no = O(A.parameters())\no.step()", ["built o", "step o"]),
    "derived optimizer": ("class O(optim.SGD): pass\no = O(A.parameters())\no.step()", ["built o", "step o"]),
    "gym": ("import gym\nenv = gym.make('x')\nenv.step(1)", []),
    "profiler": ("with torch.profiler.profile() as p: p.step()", []),
    "group": ("opt_a.add_param_group({'params': B.parameters()})", ["group opt_a"]),
    "prepared": ("net, o = accelerator.prepare(A, opt_a)\no.step()", ["step opt_a"]),
    "either": ("(opt_a if c else opt_b).step()", ["step opt_a|opt_b"]),
    "next round": ("o = opt_a\nfor i in y:\n  o.step()\n  o = opt_b", ["step opt_a|opt_b"]),
    "self": ("class T:\n  def __init__(self): self.o = optim.SGD(A.parameters())\n  def go(self): self.o.step()\nT().go()", ["built o", "step o"]),
}  # fmt: skip


@pytest.mark.parametrize("program, expected", STEPS.values(), ids=STEPS)
def test_steps(program: str, expected: list[str]) -> None:
    assert told(program) == expected


# ------------------------------------------------------------------------------------------------- code out of sight

TOUCHES = {
    "argument": ("mine(A)", {"A", "opt_a"}),
    "optimizer": ("mine(opt_a)", {"opt_a"}),
    "method of unknown": ("thing.run(B)", {"B", "opt_b"}),
    "in a list": ("mine([A])", {"A", "opt_a"}),
    "in a nested dict": ("mine({'x': [{'y': B}]})", {"B", "opt_b"}),
    "an object that has it": ("class T: pass\nt = T()\nt.net = A\nmine(t)", {"A", "opt_a"}),
    "a model that has it": ("net = nn.Sequential(A)\nmine(net)", {"A", "opt_a"}),
    "a trainer that was given it": ("t = mine.Trainer(A)\nt.run()", {"A", "opt_a"}),
    "a chain of unknown": ("mine.make(A).with_more().run()", {"A", "opt_a"}),
    "an attribute of what has it": ("t = mine.Trainer(A)\nt.loop.run()", {"A", "opt_a"}),
    "a function that uses it": ("def f(): B.eval()\nmine(f)", {"B", "opt_b"}),
    "a function that calls one that uses it": ("def g(): B.eval()\ndef f(): g()\nmine(f)", {"B", "opt_b"}),
    "a method": ("class T:\n  def __init__(self): self.net = B\n  def go(self): pass\nmine(T().go)", {"B", "opt_b"}),
    "on a path": ("t = mine.T()\nif c: t.net = A\nt.run()", {"A", "opt_a"}),
    "number": ("mine(1, 'x', c)", set()),
    "its output": ("mine(A(x))", set()),
}


@pytest.mark.parametrize("program, expected", TOUCHES.values(), ids=TOUCHES)
def test_what_unseen_code_touches(program: str, expected: set[str]) -> None:
    """By the last call. Whoever has a model has its parameters, and so may act on its optimizer's gradients."""
    facts = follow(program, HEADER + NETS)
    calls = list(root(facts).of(UnknownCall))
    known = {word: facts.machine.module.locals[word] for word in ("A", "B", "opt_a", "opt_b")}
    touched = {word for word, value in known.items() if calls and _touches(calls[-1], value)}
    assert touched == expected


def _touches(call: UnknownCall, value: Value) -> bool:
    if isinstance(value, Optimizer) and value.parameters is not None:
        return call.touches(value, *value.parameters.of)
    return call.touches(value)


# ------------------------------------------------------------------------------------------------------------ devices

DEVICES = {
    "factory": ("t = torch.zeros(2, 3)", "cpu"),
    "factory on a device": ("t = torch.zeros(2, device='cuda')", "cuda"),
    "factory on a device by index": ("t = torch.zeros(2, device=0)", "cuda"),
    "factory on a number of it": ("t = torch.zeros(2, device='cuda:1')", "cuda"),
    "factory on None": ("t = torch.zeros(2, device=None)", "cpu"),
    "factory on a chosen one": ("d = 'cuda' if torch.cuda.is_available() else 'cpu'\nt = torch.zeros(2, device=d)", "open"),
    "factory on torch.device": ("t = torch.zeros(2, device=torch.device('cuda', 0))", "cuda"),
    "factory on a chosen torch.device": ("d = torch.device('cuda' if c else 'cpu')\nt = torch.zeros(2, device=d)", "open"),
    "factory on another's": ("t = torch.zeros(2, device=x.device)", "tensor"),
    "factory on unknown": ("t = torch.zeros(2, device=unknown)", None),
    "factory on args.device": ("t = torch.zeros(2, device=args.device)", "tensor"),
    "keywords": ("t = torch.zeros(2, **k)", None),
    "to": ("t = torch.zeros(2).to('cuda')", "cuda"),
    "to a dtype": ("t = torch.zeros(2).to(torch.float)", "cpu"),
    "to like another": ("t = torch.zeros(2).to(x)", None),
    "to unknown": ("t = torch.zeros(2).to(unknown)", None),
    "cuda": ("t = torch.zeros(2).cuda()", "cuda"),
    "cpu": ("t = torch.zeros(2).cuda().cpu()", "cpu"),
    "type_as": ("t = torch.zeros(2).type_as(x)", None),
    "view": ("t = torch.zeros(2).view(1, 2).float()", "cpu"),
    "item": ("t = torch.zeros(2)[0]", "cpu"),
    "like": ("t = torch.zeros_like(torch.zeros(2).cuda())", "cuda"),
    "like unknown": ("t = torch.zeros_like(x)", None),
    "new": ("t = torch.zeros(2).cuda().new_zeros(3)", "cuda"),
    "sum of two": ("t = torch.zeros(2) + torch.ones(2)", "cpu"),
    "sum with a number": ("t = torch.zeros(2).cuda() + 1", "cuda"),
    "sum with unknown": ("t = torch.zeros(2) + x", None),
    "cat": ("t = torch.cat([torch.zeros(2), torch.ones(2)])", "cpu"),
    "numpy": ("t = torch.from_numpy(x)", "cpu"),
    "data of a tensor": ("t = torch.tensor(x)", None),
    "data of numbers": ("t = torch.tensor([1, 2])", "cpu"),
    "on one path": ("t = torch.zeros(2)\nif c: t = t.cuda()", None),
    "on both paths": ("if c: t = torch.zeros(2).cuda()\nelse: t = torch.ones(2).cuda()", "cuda"),
    "default device": ("torch.set_default_device('cuda')\nt = torch.zeros(2)", None),
    "with a device": ("with torch.device('cuda'): t = torch.zeros(2)", "cuda"),
    "after with a device": ("with torch.device('cuda'): pass\nt = torch.zeros(2)", "cpu"),
    "helper": ("def f(v): return v.cuda()\nt = f(torch.zeros(2))", "cuda"),
    "output of a model": ("net = nn.Linear(1, 1).cuda()\nt = net(torch.zeros(2).cuda())", "cuda"),
    "output where they differ": ("net = nn.Linear(1, 1).cuda()\nt = net(torch.zeros(2))", None),
    "output of a moved model on a path": ("net = nn.Linear(1, 1)\nif c: net.cuda()\nt = net(x)", None),
    "output of a handed out model": ("net = nn.Linear(1, 1)\nmine(net)\nt = net(x)", None),
    "deepcopy": ("import copy\nt = copy.deepcopy(torch.zeros(2).cuda())", "cuda"),
    "batch of tensors": ("from torch.utils.data import DataLoader, TensorDataset\nfor t, u in DataLoader(TensorDataset(torch.zeros(2), torch.ones(2))): pass", "cpu"),
    "batch of tensors elsewhere": ("from torch.utils.data import DataLoader, TensorDataset\nfor t, u in DataLoader(TensorDataset(torch.zeros(2).cuda(), torch.ones(2).cuda())): pass", None),
    "batch of an own dataset": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nfor t in DataLoader(D()): pass", "cpu"),
    "batch of an own dataset that moves": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset):\n  def __getitem__(self, i): return x.cuda()\nfor t in DataLoader(D()): pass", None),
    "batch of a collated one": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nfor t in DataLoader(D(), collate_fn=f): pass", None),
    "batch of unknown": ("from torch.utils.data import DataLoader\nfor t in DataLoader(unknown): pass", None),
    "batch of a prepared loader": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nl = accelerator.prepare(DataLoader(D()))\nfor t in l: pass", "open"),
    "batch by enumerate": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nfor i, t in enumerate(DataLoader(D())): pass", "cpu"),
    "batch by tqdm": ("from tqdm import tqdm\nfrom torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nfor t in tqdm(DataLoader(D())): pass", "cpu"),
    "batch by next": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nt = next(iter(DataLoader(D())))", "cpu"),
    "batch in two": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nfor t, u in DataLoader(D()): pass", "cpu"),
    "batch moved": ("from torch.utils.data import DataLoader, Dataset\nclass D(Dataset): pass\nfor t in DataLoader(D()): t = t.cuda()", "cuda"),
    "data": ("t = torch.zeros(2)\nt.data = mine", None),
}  # fmt: skip


@pytest.mark.parametrize("program, expected", DEVICES.values(), ids=DEVICES)
def test_where_a_tensor_is(program: str, expected: str | None) -> None:
    from torchlint.semantics.expressions import device_of

    if "for t" in program:
        program = program.replace(": pass", ": last = t").replace("t = t.cuda()", "last = t.cuda()")
    else:
        program += "\nlast = t"
    facts = follow(program + "\nsave(last)", HEADER + NETS)
    events = list(root(facts).of(Saved))
    device = device_of(events[-1].value)
    assert (device.kind if device else None) == expected


MODULE_DEVICES = {
    "new": ("", "cpu"),
    "cuda": ("net.cuda()", "cuda"),
    "to": ("net.to('cuda:0')", "cuda"),
    "back": ("net.cuda()\nnet.cpu()", "cpu"),
    "to a dtype": ("net.to(torch.half)", "cpu"),
    "on a path": ("if c: net.cuda()", None),
    "through what it is part of": ("nn.Sequential(net).cuda()", None),
    "handed out": ("mine(net)", None),
    "prepared": ("net = accelerator.prepare(net)", "open"),
    "copied": ("import copy\nnet.cuda()\nnet = copy.deepcopy(net)", "cuda"),
}


@pytest.mark.parametrize("program, expected", MODULE_DEVICES.values(), ids=MODULE_DEVICES)
def test_where_a_module_is(program: str, expected: str | None) -> None:
    facts = follow(f"net = nn.Linear(1, 1)\n{program}\nnet(x)", HEADER + NETS)
    forward = list(root(facts).of(Forward))[-1]
    model = forward.module.options()[0]
    from torchlint.semantics.calls import module_device

    device = module_device(facts.machine, model)  # type: ignore[arg-type]
    assert (device.kind if device else None) == expected


RANKS = {
    "shape": ("torch.zeros(2, 3)", 2),
    "shape as a tuple": ("torch.zeros((2, 3, 4))", 3),
    "no shape": ("torch.zeros(())", 0),
    "number": ("torch.tensor(1.0)", 0),
    "list": ("torch.tensor([1, 2])", 1),
    "nested list": ("torch.tensor([[1], [2]])", 2),
    "arange": ("torch.arange(3)", 1),
    "eye": ("torch.eye(3)", 2),
    "full": ("torch.full((2, 2), 1)", 2),
    "randint": ("torch.randint(0, 9, (2, 2))", 2),
    "unsqueezed": ("torch.tensor(1.0).unsqueeze(0)", 1),
    "summed": ("torch.zeros(2, 3).sum()", 0),
}


@pytest.mark.parametrize("made, rank", RANKS.values(), ids=RANKS)
def test_dimensions(made: str, rank: int) -> None:
    facts = follow(f"save({made})")
    (event,) = root(facts).of(Saved)
    assert isinstance(event.value, Tensor)
    assert event.value.rank == rank


def test_where_tensors_meet() -> None:
    facts = follow(
        "t = torch.zeros(2).cuda()\nu = torch.ones(2)\nt + u\ntorch.cat([t, u])\nt += u\nF.mse_loss(t, u)\nt + 1"
    )
    met = [(e.operation, [d and d.kind for d in e.devices]) for e in root(facts).of(Combined)]
    both: list[object] = ["cuda", "cpu"]
    assert met == [("Add", both), ("cat", both), ("in-place", both), ("Add", ["cuda", None])]


def test_a_buffer_moves_with_its_module() -> None:
    facts = follow(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("kept", torch.zeros(3))
                self.plain = torch.zeros(3)
            def forward(self, x):
                torch.no_grad()
                save(self.kept)
                save(self.plain)
        """
    )
    kept, plain = (e.value for e in root(facts, "forward").of(Saved))
    assert isinstance(kept, Tensor)
    assert isinstance(plain, Tensor)
    assert (kept.device, plain.device and plain.device.kind) == (None, "cpu")
    assert (kept.fresh is None, plain.fresh is None) == (True, False)
