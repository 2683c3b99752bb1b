"""What a loss is given: the last operation that made its first argument, through modules of the file."""

# ruff: noqa: E501 (tables of programs, each on as few lines as it has)
from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from following import follow

from torchlint.engine import analyse
from torchlint.facts import Loss
from torchlint.registry import by_name
from torchlint.source import Source

HEADER = """
import torch
from collections import OrderedDict
from torch import nn
from torch.nn import functional as F
"""
# What `out` is at the end of each program: the operations, "?" when they are not certain.
VALUES = {
    "function": ("out = F.softmax(x, dim=1)", "softmax"),
    "torch's own": ("out = torch.log_softmax(x, 1)", "log_softmax"),
    "method": ("out = nn.Linear(1, 2)(x).softmax(dim=1)", "softmax"),
    "method of what is not known": ("out = x.sigmoid()", "sigmoid"),
    "layer": ("out = nn.Sigmoid()(x)", "sigmoid"),
    "logarithm of probabilities": ("out = torch.log(F.softmax(x, 1))", "log_softmax"),
    "logarithm of anything": ("out = x.log() if c else torch.log(x)", "?"),
    "other shape": ("out = F.softmax(x, 1).view(-1, 3).squeeze().float()", "softmax"),
    "rows": ("out = F.softmax(x, 1)[c]", "softmax"),
    "first rows": ("out = F.softmax(x, 1)[:c]", "softmax"),
    "one class": ("out = F.softmax(x, 1)[:, 1]", "?"),
    "one column": ("out = torch.sigmoid(x)[:, 1]", "sigmoid"),
    "rows of a sequential": ("out = nn.Sequential(nn.Linear(1, 2), nn.Softmax(1))(x)[c]", "softmax"),
    "arithmetic": ("out = 2 * F.softmax(x, 1)", "?"),
    "in place": ("out = F.softmax(x, 1)\nout.mul_(2)", "?"),
    "two paths": ("out = F.relu(x)\nif c: out = torch.sigmoid(x)", "relu sigmoid"),
    "one path unknown": ("out = x\nif c: out = torch.sigmoid(x)", "?"),
    "sequential": ("out = nn.Sequential(nn.Linear(1, 2), nn.Softmax(1))(x)", "softmax"),
    "sequential in sequential": ("out = nn.Sequential(nn.Sequential(nn.Tanh()), nn.Flatten())(x)", "tanh"),
    "sequential of a list": ("out = nn.Sequential(*[nn.Linear(1, 2), nn.Softmax(1)])(x)", "?"),
    "sequential of a list by name": ("l = [nn.Linear(1, 2)]\nl.append(nn.Softmax(1))\nout = nn.Sequential(*l)(x)", "softmax"),
    "sequential of a list that may grow": ("l = [nn.Linear(1, 2)]\nif c: l.append(nn.Softmax(1))\nout = nn.Sequential(*l)(x)", "?"),
    "sequential of a list that grows by +=": ("l = []\nfor i in c: l += [nn.Linear(1, 2)]\nl += [nn.Softmax(1), nn.Identity()]\nout = nn.Sequential(*l)(x)", "softmax"),
    "sequential of a dict": ("out = nn.Sequential(OrderedDict([('a', nn.Linear(1, 2)), ('b', nn.Softmax(1))]))(x)", "softmax"),
    "sequential, layers added": ("n = nn.Sequential()\nn.add_module('a', nn.Linear(1, 2))\nn.add_module('b', nn.Softmax(1))\nout = n(x)", "softmax"),
    "sequential, layer perhaps added": ("n = nn.Sequential(nn.Linear(1, 2))\nif c: n.add_module('b', nn.Softmax(1))\nout = n(x)", "?"),
    "sequential, layer replaced": ("n = nn.Sequential(nn.Linear(1, 2), nn.Softmax(1))\nn[1] = c\nout = n(x)", "?"),
    "torchvision": ("import torchvision\nout = torchvision.models.resnet18()(x)", "linear"),
    "torchvision, new head": ("import torchvision\nn = torchvision.models.resnet18()\nn.fc = nn.Sequential(nn.Linear(1, 2), nn.LogSoftmax(1))\nout = n(x)", "log_softmax"),
}  # fmt: skip
# The same through `forward` of a module of the file; `net` is `Net(...)`.
FORWARDS = {
    "tail": ("return F.softmax(self.fc(x), dim=1)", "Net()", "net(x)", "softmax"),
    "flag given": ("if self.flag: return self.fc(x)\nreturn torch.sigmoid(self.fc(x))", "Net(False)", "net(x)", "sigmoid"),
    "flag by default": ("if self.flag: return self.fc(x)\nreturn torch.sigmoid(self.fc(x))", "Net()", "net(x)", "linear"),
    "flag unknown": ("if self.flag: return self.fc(x)\nreturn torch.sigmoid(self.fc(x))", "Net(c)", "net(x)", "linear sigmoid"),
    "flags unknown": ("if self.flag: return self.fc(x)\nreturn torch.sigmoid(self.fc(x))", "Net(**c)", "net(x)", "linear sigmoid"),
    "training only": ("if self.training: return self.fc(x)\nreturn torch.sigmoid(self.fc(x))", "Net()", "net(x)", "linear sigmoid"),
    "argument of the call": ("return self.fc(x) if raw else torch.sigmoid(self.fc(x))", "Net()", "net(x, False)", "sigmoid"),
    "argument by default": ("return self.fc(x) if raw else torch.sigmoid(self.fc(x))", "Net()", "net(x)", "linear"),
    "first of a pair": ("y = self.fc(x)\nreturn y, F.softmax(y, 1)", "Net()", "net(x)[0]", "linear"),
    "second of a pair": ("y = self.fc(x)\nreturn y, F.softmax(y, 1)", "Net()", "net(x)[1]", "softmax"),
    "pair in a list": ("y = self.fc(x)\nreturn F.softmax(y, 1), y", "Net()", "[(p, q) for p, q in [net(x)]][0][0]", "softmax"),
    "key": ("return {'p': F.softmax(self.fc(x), 1)}", "Net()", "net(x)['p']", "softmax"),
    "another key": ("return {'p': F.softmax(self.fc(x), 1)}", "Net()", "net(x)['q']", "?"),
    "helper": ("return self.helper(x)", "Net()", "net(x)", "tanh"),
    "layer": ("return self.layer(self.fc(x))", "Net()", "net(x)", "softmax"),
    "rows": ("return F.softmax(self.fc(x), 1)", "Net()", "net(x)[c]", "softmax"),
    "last step": ("return self.fc(x)", "Net()", "net(x)[:, -1]", "linear"),
    "classes": ("return F.softmax(self.fc(x), 1)", "Net()", "net(x)[:, 1:]", "?"),
    "rows of a pair": ("return self.fc(x), x", "Net()", "net(x)[c]", "?"),
    "rows of a part": ("return self.fc(x), x", "Net()", "net(x)[0][c]", "linear"),
    "attention": ("return F.softmax(self.fc(x), 1) @ x", "Net()", "net(x)", "?"),
    "attribute set since": ("return self.layer(x)", "Net()\nnet.layer = nn.Tanh()", "net(x)", "tanh"),
    "data parallel": ("return self.layer(x)", "nn.DataParallel(Net())", "net(x)", "softmax"),
    "nothing": ("return x", "Net()", "net(x)", "?"),
}  # fmt: skip


def last_of(program: str) -> str:
    facts = follow(program + "\nF.cross_entropy(out, y)\n", HEADER)
    losses = [event for root in facts.roots for event in root.of(Loss)]
    assert len(losses) == 1
    assert losses[0].output is not None
    found = facts.made(losses[0].output)
    return " ".join(sorted(one.by for one in found)) if found is not None else "?"


@pytest.mark.parametrize("case", VALUES)
def test_the_last_operation_of_a_value_is_known_where_it_is_certain(case: str) -> None:
    program, expected = VALUES[case]
    assert last_of(program) == expected


@pytest.mark.parametrize("case", FORWARDS)
def test_forward_is_followed_on_the_very_object(case: str) -> None:
    body, made, called, expected = FORWARDS[case]
    net = """
class Net(nn.Module):
    def __init__(self, flag=True):
        super().__init__()
        self.flag = flag
        self.fc = nn.Linear(3, 4)
        self.layer = nn.Softmax(dim=1)

    def helper(self, x):
        return torch.tanh(self.fc(x))

    def forward(self, x, raw=True):
"""
    assert last_of(f"{net}{textwrap.indent(body, ' ' * 8)}\n\nnet = {made}\nout = {called}") == expected


def test_parts_of_what_a_module_gives_back_are_told_apart_when_unpacked() -> None:
    net = "class Net(nn.Module):\n  def forward(self, x):\n    return torch.tanh(x), torch.sigmoid(x)\nnet = Net()\n"
    assert last_of(net + "out, other = net(x)") == "tanh"
    assert last_of(net + "other, out = net(x)") == "sigmoid"


def test_a_loss_says_how_what_its_input_was_made_from_is_still_written() -> None:
    facts = follow("p = F.softmax(x, 1)\nF.nll_loss(p, y)\nx = 1\nF.nll_loss(p, y)\nF.nll_loss(p[0], y)", HEADER)
    assert [loss.before for root in facts.roots for loss in root.of(Loss)] == ["x", "", ""]


@pytest.mark.parametrize(("tail", "found"), [("F.softmax(self.fc(x), dim=1)", 1), ("self.fc(x)", 0)])
def test_the_forward_of_a_model_of_another_file_is_followed(tmp_path: Path, tail: str, found: int) -> None:
    model = f"""
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        return {tail}
"""
    (tmp_path / "model.py").write_text(model)
    program = "from torch import nn\nfrom model import Net\n\nnet = Net()\nnn.CrossEntropyLoss()(net(x), y)\n"
    (tmp_path / "train.py").write_text(program)
    told = analyse(Source.read(tmp_path / "train.py"), [by_name()["softmax-before-cross-entropy"]])
    assert [(one.code, one.span.row, one.fix) for one in told] == [("softmax-before-cross-entropy", 5, None)] * found
