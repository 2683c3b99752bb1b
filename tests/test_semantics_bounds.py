"""Every file is read in bounded work, whatever it looks like: counted in steps and events, not in seconds."""

# ruff: noqa: E501 (programs as they are)
from __future__ import annotations

from collections.abc import Callable

import pytest
from following import HEADER, NETS, follow

from torchlint import registry
from torchlint.effects import may_clear
from torchlint.facts import Root, Value, walk
from torchlint.semantics.build import FileFacts
from torchlint.semantics.machine import EVENT_LIMIT, ITEM_LIMIT, STEP_LIMIT


def work(facts: FileFacts) -> tuple[int, int, int]:
    """Expressions evaluated, events told, and ways from one event to the next."""
    events = [e for r in facts.roots for e in r.events]
    return facts.machine.steps, len(events), sum(len(e.next) for e in events)


def body(*lines: str) -> str:
    return "".join(f"  {line}\n" for line in lines)


# Each makes a program of size n; work may grow with n, and not faster.
LINEAR: dict[str, Callable[[int], str]] = {
    "ifs": lambda n: "".join(f"if c{i}: save('{i}')\n" for i in range(n)),
    "ifs with two arms": lambda n: "".join(f"if c{i}: save('a')\nelse: save('b')\n" for i in range(n)),
    "elifs": lambda n: "if c: save('a')\n" + "".join(f"elif c{i}: save('{i}')\n" for i in range(n)) + "save('z')\n",
    "two chains of elifs": lambda n: (
        ("if c: save('a')\n" + "".join(f"elif c{i}: save('{i}')\n" for i in range(n))) * 2 + "save('z')\n"
    ),
    "loops": lambda n: "for x in y: save('a')\n" * n,
    "loops left early": lambda n: "for x in y:\n  if c: break\n  save('a')\n" * n,
    "tries": lambda n: "try: save('a')\nexcept E: save('b')\nfinally: save('c')\n" * n,
    "a try around many": lambda n: "try:\n" + "  save('a')\n" * n + "except E: save('b')\nexcept F: save('c')\n",
    "matches": lambda n: "match x:\n" + "".join(f"  case {i}: save('{i}')\n" for i in range(n)) + "save('z')\n",
    "ands": lambda n: "x = " + " and ".join(f"save('{i}')" for i in range(n // 4)) + "\n",
    "calls of one helper": lambda n: "def f(net):\n  net.eval()\n  net(x)\n" + "f(A)\n" * n,
    "returns": lambda n: "def f():\n" + "".join(f"  if c{i}: return save('{i}')\n" for i in range(n)) + "f()\nsave('z')\n",
    "models": lambda n: "".join(f"n{i} = nn.Linear(1, 1)\nn{i}.eval()\n" for i in range(n)),
    "choices": lambda n: "net = A\n" + "".join(f"if c{i}: net = nn.Linear({i}, 1)\n" for i in range(n)) + "net(x)\n",
    "strings": lambda n: "TABLE = [" + ", ".join(f"'{i}'" for i in range(n)) + "]\nfor x in TABLE: save(x)\n",
    "unknown code": lambda n: "".join(f"x{i} = unknown(A, opt_a)\n" for i in range(n)),
    "attributes": lambda n: "class T: pass\nt = T()\n" + "".join(f"t.a{i} = A\nif c: t.b = A\n" for i in range(n)),
    "nested tuples": lambda n: "x = " + "(" * (n // 4) + "A" + ",)" * (n // 4) + "\n",
    "closures": lambda n: "".join(f"def f{i}(): A.eval()\nunknown(f{i})\n" for i in range(n)),
}  # fmt: skip


@pytest.mark.parametrize("program", LINEAR.values(), ids=LINEAR)
def test_work_grows_with_the_program(program: Callable[[int], str]) -> None:
    """Four times the program is at most five times the work, and no more ways than a few for each event."""
    small, large = (work(follow(program(n), HEADER + NETS)) for n in (60, 240))
    assert all(b <= 5 * a for a, b in zip(small, large, strict=True)), (small, large)


EXPLOSIVE = {
    "mutual recursion": "".join(
        f"def f{i}(net):\n" + body("net.eval()", *(f"f{j}(net)" for j in range(30))) for i in range(30)
    )
    + "f0(A)\n",
    "each calls the next twice": "".join(f"def f{i}(net):\n" + body(*[f"f{i + 1}(net)"] * 10) for i in range(12))
    + "def f12(net): net.eval()\nf0(A)\n",
    "classes that build each other": "".join(
        f"class C{i}(nn.Module):\n  def __init__(self):\n    super().__init__()\n"
        + "".join(f"    self.c{j} = C{j}()\n    self.c{j}.eval()\n" for j in range(12))
        for i in range(12)
    )
    + "C0()\n",
    "loops in loops": "".join("  " * i + f"for x{i} in y:\n" for i in range(15)) + "  " * 15 + "save('a')\n",
    "loops over models in loops": "".join("  " * i + f"for n{i} in (A, B):\n" for i in range(15))
    + "  " * 15
    + "n3.eval()\n",
    "ifs in ifs": "".join("  " * i + f"if c{i}:\n" for i in range(15)) + "  " * 15 + "save('a')\n",
    "clean-up in clean-up": "def f():\n"
    + "".join(f"{' ' * i}try:\n{' ' * i}  if c: return A.eval()\n{' ' * i}finally:\n" for i in range(1, 19))
    + " " * 19
    + "A.eval()\nf()\n",
    "contexts in contexts": "from contextlib import contextmanager\n@contextmanager\ndef around(net):\n"
    + body("net.eval()", "try: yield net", "finally: net.train()")
    + "".join("  " * i + "with around(A):\n" for i in range(12))
    + "  " * 12
    + "A(x)\n",
    "lambdas": "f = lambda: A.eval()\n" + "".join(f"f{i} = lambda g=f: (g(), g())\nf = f{i}\n" for i in range(30)) + "f()\n",
    "properties": "class T:\n"
    + "".join(f"  @property\n  def p{i}(self): return self.p{i + 1}.x(self.p{i + 1}, save('a'))\n" for i in range(20))
    + "T().p0\n",
    "a list that holds itself": "x = []\nx.append(x)\nx.append(A)\nfor i in x:\n  for j in i: j.eval()\nunknown(x)\n",
    "a list of numbers that holds itself": "x = []\nx.append(x)\ny = torch.tensor(x)\n(y - A(1)).backward()\n"
    "torch.stack(x).detach()\nF.mse_loss(x, A(1)).backward()\n",
    "a dict that holds itself": "x = {}\nx['x'] = x\nx['x']['x']['x'].eval()\nunknown(x)\nx['n'] = A\nunknown(x)\n",
    "an attribute taken from another of the kind": (
        "class T:\n  def __init__(self):\n    self.o = None\n  def begin(self, parent: 'T'):\n"
        "    self.o = parent.o\n    self.p = parent.p\n  def run(self):\n    self.o.backward()\n    self.p.step()\n    self.p.eval()\n"
    ),
    "a constructor given another of the kind": (
        "class T:\n  def __init__(self, parent: 'T'):\n    self.o = parent.o if parent else 1\n    self.p = parent.q\n"
        "  def begin(self, parent: 'T'): self.q = parent.p.eval()\n  def run(self):\n    self.o.eval()\n    self.q.eval()\n"
    ),
    "a class that is its own base": "class C(C): pass\nclass D(E): pass\nclass E(D): pass\nclass D(E): pass\nD().eval()\n",
}  # fmt: skip


@pytest.mark.parametrize("program", EXPLOSIVE.values(), ids=EXPLOSIVE)
def test_no_program_costs_more_than_the_limits(program: str) -> None:
    """Past the limits nothing more is followed into; what is left costs as much as the text is long."""
    facts = follow(program, HEADER + NETS)
    steps, events, ways = work(facts)
    assert steps <= STEP_LIMIT + 40 * len(program)
    assert events <= EVENT_LIMIT * len(facts.roots) + len(program)
    assert ways <= 10 * events


def test_a_root_that_a_limit_cut_short_says_so() -> None:
    facts = follow(EXPLOSIVE["mutual recursion"], HEADER + NETS)
    assert not facts.roots[0].complete


def test_tables_of_numbers_are_not_kept() -> None:
    """They cost a step for each number, and no more wherever they are used."""
    facts = follow(f"TABLE = [{'1, ' * 50_000}]\nfor x in TABLE: save(x)\n" + "unknown(TABLE, TABLE[x])\n" * 100)
    assert facts.machine.steps < 52_000
    assert len(facts.machine.module.locals["TABLE"].items) <= ITEM_LIMIT  # type: ignore[attr-defined]


def test_a_table_of_models_is_kept_whole() -> None:
    facts = follow(f"nets = [{'nn.Linear(1, 1), ' * (2 * ITEM_LIMIT)}]\n")
    assert len(facts.machine.module.locals["nets"].items) == 2 * ITEM_LIMIT  # type: ignore[attr-defined]


def test_a_walk_over_paths_visits_each_event_once_a_state() -> None:
    """300 branches are 2 to the power of 300 paths."""
    facts = follow("".join(f"if c{i}: opt_a.zero_grad()\nelse: A.eval()\n" for i in range(300)), HEADER + NETS)
    run: Root = facts.roots[0]
    optimizer = facts.machine.module.locals["opt_a"]
    visits = 0

    def after(state: bool, event: object) -> bool:
        nonlocal visits
        visits += 1
        return state or may_clear(event, optimizer)  # type: ignore[arg-type]

    met = walk([run.entry], False, after)
    assert visits == sum(map(len, met.values())) <= 2 * len(run.events)


def test_who_holds_what_is_looked_up_once_for_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events ask for it: 60 predictions on paths with 240 calls into code that has the model."""
    program = "A.eval()\nfor x in y:\n" + body(*(["mine(A)", "t.add(A, B)", "A(x)", "B(x)", "B.eval()"] * 60))
    facts = follow(program, HEADER + NETS)
    asked: list[int] = []
    look_up = Value.with_holders

    def counting(value: Value) -> list[Value]:
        asked.append(id(value))
        return look_up(value)

    monkeypatch.setattr(Value, "with_holders", counting)
    for rule in registry.load():
        list(rule.check(facts))
    assert asked
    assert len(asked) == len(set(asked))
