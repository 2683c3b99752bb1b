"""What holds of the graph of events whatever the program is: for every fixture, and for programs made up at random."""

# ruff: noqa: E501 (programs as they are)
from __future__ import annotations

import random
from pathlib import Path

import pytest
from following import HEADER, NETS, follow

from torchlint.facts import Event, Root, Tensor, Value
from torchlint.semantics.build import FileFacts, build
from torchlint.source import Source

FIXTURES = sorted((Path(__file__).resolve().parents[1] / "fixtures").rglob("*.py"))


def check(facts: FileFacts) -> None:
    starts = [root.entry for root in (*facts.roots, *(run for _, run in facts.constructions))]
    assert len({id(start) for start in starts}) == len(starts), "two runs share their start"
    for root in (*facts.roots, *(run for _, run in facts.constructions)):
        own = {id(event) for event in root.events}
        assert len(own) == len(root.events), "an event is told twice"
        assert root.events[0] is root.entry
        reached = everything_after(root.entry)
        assert {id(event) for event in reached} == own, "an event that no path leads to, or a way out of the run"
        for event in reached:
            assert len({id(e) for e in event.next}) == len(event.next), "one way is there twice"
            check_loops(event)
            assert event.frame is root.frame or root.frame in event.frame.stack(), "a frame of another run"


def everything_after(entry: Event) -> list[Event]:
    seen: dict[int, Event] = {}
    todo = [entry]
    while todo:
        event = todo.pop()
        if id(event) not in seen:
            seen[id(event)] = event
            todo.extend(event.next)
    return list(seen.values())


def check_loops(event: Event) -> None:
    """From one event to the next a program goes into loops, out of them, or neither; never from one into its twin."""
    for after in event.next:
        shared = 0
        while shared < min(len(event.loops), len(after.loops)) and event.loops[shared] is after.loops[shared]:
            shared += 1
        entered = after.loops[shared:]
        assert len(entered) <= 1, "two loops are entered at once"


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fixtures(path: Path) -> None:
    check(build(Source.read(path)))


# ------------------------------------------------------------------------------------------------- programs at random

EXPRESSIONS = """
A B opt_a x y self self.net self.o f(A) f(x) g(A,opt_a) A(x) B(A(x)) A.weight [A,B] {'a':A,**x} (A,*y) x[0] nets['a'] nets[x]
(lambda:A.eval()) (lambda*a,**k:f(*a,**k)) A.train() opt_a.zero_grad() loss.backward() torch.zeros(2) x.to('cuda') A.cuda()
torch.no_grad() nn.Sequential(A,B) nn.Linear(1,1) optim.SGD(A.parameters()) C(A) C(A).run() mine(A,f) mine() None True 3 'a'
[f(i)for(i)in(y)if(c)] {i:A(i)for(i)in(y)} sum(A(i)for(i)in(y)) f'{A(x)}' x.grad x+y -x (not(x)) x<y x==3 x==None
(yield) (yield(A)) super().run() getattr(A,'eval')() x.detach().cpu().numpy() nets.items() zip(y,[A,B]) enumerate([A]) f g C
""".split()
TARGETS = "x y A B net opt_a self.net self.o x.y x[0] nets['a'] nets[x] a,b (a,*b) [a,b] A.weight A.weight.grad".split()


class Author:
    """Writes programs that make little sense and no syntax error."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)

    def expression(self) -> str:
        one = self.choose.choice(EXPRESSIONS)
        match self.choose.randrange(8):
            case 0:
                return f"({one} if {self.choose.choice(EXPRESSIONS)} else {self.choose.choice(EXPRESSIONS)})"
            case 1:
                return f"({one} {self.choose.choice(('and', 'or', '+', '*', '<', 'is not'))} {self.choose.choice(EXPRESSIONS)})"
            case 2:
                return f"({one}).{self.choose.choice(('eval', 'step', 'to', 'run', 'backward', 'append', 'net'))}({self.choose.choice(EXPRESSIONS)})"
        return f"({one})"

    def block(self, depth: int, inside: str) -> list[str]:
        lines: list[str] = []
        for _ in range(self.choose.randint(1, 4)):
            lines += self.statement(depth, inside)
        return ["    " + line for line in lines]

    def statement(self, depth: int, inside: str) -> list[str]:
        e, block = self.expression, self.block
        target = self.choose.choice(TARGETS)
        simple = [
            f"{target} = {e()}",
            e(),
            f"x += {e()}",
            f"net = other = {e()}",
            "pass",
            f"assert {e()}",
            "del x",
            "import torch as t2",
        ]
        if "loop" in inside:
            simple += ["break", "continue", f"if {e()}: continue"]
        if "def" in inside:
            simple += ["return", f"return {e()}", f"raise {e()}", "global net, opt_a", f"self.net = {e()}"]
        if depth > 3 or self.choose.random() < 0.5:
            return [self.choose.choice(simple)]
        deeper = depth + 1
        name = self.choose.choice("fgh")
        compound = [
            lambda: [f"if {e()}:", *block(deeper, inside), f"elif {e()}:", *block(deeper, inside), "else:", *block(deeper, inside)],
            lambda: [f"if {e()}:", *block(deeper, inside)],
            lambda: [f"for {self.choose.choice(('i', 'a, b', 'A', 'self.net'))} in {e()}:", *block(deeper, inside + " loop"), "else:", *block(deeper, inside)],
            lambda: [f"while {e()}:", *block(deeper, inside + " loop")],
            lambda: ["while True:", *block(deeper, inside + " loop")],
            lambda: ["try:", *block(deeper, inside), "except E as x:", *block(deeper, inside), "else:", *block(deeper, inside), "finally:", *block(deeper, inside.replace("loop", ""))],
            lambda: ["try:", *block(deeper, inside), "finally:", *block(deeper, inside.replace("loop", ""))],
            lambda: [f"with {e()} as {self.choose.choice(('x', 'A'))}, {e()}:", *block(deeper, inside)],
            lambda: ["with around(A):", *block(deeper, inside)],
            lambda: [f"match {e()}:", "    case [A, *x] if x:", *("    " + line for line in block(deeper, inside)), "    case _:", *("    " + line for line in block(deeper, inside))],
            lambda: [self.choose.choice(("@torch.no_grad()", "@mine", "@property", "@contextmanager")), f"def {name}(self=None, A=A, *args, flag=True, **k):", *block(deeper, "def")],
            lambda: [f"class {self.choose.choice('CD')}({self.choose.choice(('nn.Module', 'C', 'object', 'Base'))}):", "    def __init__(self, net=None, *a):", *("    " + line for line in block(deeper, "def")), "    def run(self, x=None):", *("    " + line for line in block(deeper, "def"))],
        ]  # fmt: skip
        return self.choose.choice(compound)()

    def program(self) -> str:
        lines = ["from contextlib import contextmanager", "@contextmanager", "def around(net):"]
        lines += ["    net.eval()", "    try: yield net", "    finally: net.train()"]
        for _ in range(8):
            lines += self.statement(0, "")
        return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(120))
def test_programs_at_random(seed: int) -> None:
    check(follow(Author(seed).program(), HEADER + NETS))


def test_reading_a_program_twice_says_the_same() -> None:
    """No order of sets or of memory addresses shows through."""

    def story(root: Root) -> list[str]:
        return [type(event).__name__ + "".join(sorted(map(_told, _values(event)))) for event in root.events]

    for seed in range(20):
        program = Author(seed).program()
        once, again = follow(program, HEADER + NETS), follow(program, HEADER + NETS)
        assert [story(run) for run in once.roots] == [story(run) for run in again.roots]


def _values(event: Event) -> list[Value]:
    fields = [getattr(event, name) for name in event.__dataclass_fields__ if name not in ("site", "frame", "next")]
    return [one for one in fields if isinstance(one, Value)]


def _told(value: Value) -> str:
    graph = sorted(one.name for one in value.graph) if isinstance(value, Tensor) else []
    return f"{type(value).__name__} {value.name} {graph}"
