"""In which order things can happen: branches, loops, exits, clean-up, and what a constant test rules out."""

from __future__ import annotations

import pytest
from following import HEADER, follow, paths, root, told

from torchlint.facts import Saved

# Conditions and iterables are names that nothing binds: unknown to the analysis.
STATEMENTS = {
    "straight": ("save('a'); save('b')", "start: a | a: b | b: end"),
    "if": ("if c: save('a')", "start: a end | a: end"),
    "if else": ("if c: save('a')\nelse: save('b')", "start: a b | a: end | b: end"),
    "elif": (
        "if c: save('a')\nelif d: save('b')\nelif e: pass\nelse: save('c')",
        "start: a b c end | a: end | b: end | c: end",
    ),
    "tests run in order": (
        "if save('1'): save('a')\nelif save('2'): save('b')",
        "start: 1 | 1: 2 a | a: end | 2: b end | b: end",
    ),
    "nested if": (
        "if c:\n  save('a')\n  if d: save('b')\n  else: save('c')\nelse: save('d')",
        "start: a d | a: b c | b: end | c: end | d: end",
    ),
    "if expression": ("x = save('a') if c else save('b')", "start: a b | a: end | b: end"),
    "and": ("save('a') and save('b')", "start: a | a: b end | b: end"),
    "and or": ("save('a') and save('b') or save('c')", "start: a | a: b c end | b: c end | c: end"),
    "for": ("for x in y: save('a')", "start: a end | a: a end"),
    "for else": ("for x in y: save('a')\nelse: save('b')", "start: a b | a: a b | b: end"),
    "for else break": (
        "for x in y:\n  save('a')\n  if c: break\nelse: save('b')",
        "start: a b | a: a b end | b: end",
    ),
    "break alone": ("for x in y:\n  save('a')\n  break", "start: a end | a: end"),
    "continue": (
        "for x in y:\n  if c:\n    save('a')\n    continue\n  save('b')",
        "start: a b end | a: a b end | b: a b end",
    ),
    "after break nothing": ("for x in y:\n  break\n  save('never')", "start: end"),
    "nested loops": (
        "for x in y:\n  save('a')\n  for z in x: save('b')\n  save('c')",
        "start: a end | a: b c | b: b c | c: a end",
    ),
    "break leaves the inner loop": (
        "for x in y:\n  for z in x:\n    save('a')\n    break\n  save('b')",
        "start: a b end | a: b | b: a b end",
    ),
    "while": ("while save('t'): save('a')", "start: t | t: a end | a: t"),
    "while else": ("while save('t'): save('a')\nelse: save('b')", "start: t | t: a b | a: t | b: end"),
    "while else break": (
        "while save('t'):\n  if c: break\n  save('a')\nelse: save('b')",
        "start: t | t: a b end | a: t | b: end",
    ),
    "while true": ("while True:\n  save('a')\n  if c: break", "start: a | a: a end"),
    "while one": ("while 1:\n  save('a')\n  if c: break\n  save('b')", "start: a | a: b end | b: a"),
    "while true without end": ("while True: save('a')", "start: a | a: a"),
    "range one": ("for i in range(1): save('a')", "start: a end | a: end"),
    "comprehension": ("[save('a') for x in y if save('t')]", "start: end t | t: a end t | a: end t"),
    "nested comprehension": (
        "{save('k'): save('v') for x in y for z in x}",
        "start: end k | k: v | v: end k",
    ),
    "generator expression": ("sum(save('a') for x in y)", "start: a end | a: a end"),
    "lambda is not run": ("f = lambda: save('a')", "start: end"),
    "def is not run": ("def f(): save('a')", "start: end"),
    "raise": ("if c:\n  save('a')\n  raise E", "start: a end"),
    "exit": ("import sys\nif c:\n  save('a')\n  sys.exit(1)", "start: a end"),
    "quit": ("if c:\n  save('a')\n  quit()", "start: a end"),
    "assert": ("assert save('a'), save('b')", "start: a | a: end"),
    "try": (
        "try:\n  save('a')\n  save('b')\nexcept E: save('c')",
        "start: a c | a: b c | b: c end | c: end",
    ),
    "try else": (
        "try: save('a')\nexcept E: save('b')\nelse: save('c')",
        "start: a b | a: b c | c: end | b: end",
    ),
    "two handlers": (
        "try: save('a')\nexcept E: save('b')\nexcept: save('c')",
        "start: a b c | a: b c end | b: end | c: end",
    ),
    "finally": ("try: save('a')\nfinally: save('z')", "start: a | a: z | z: end"),
    "except finally": (
        "try: save('a')\nexcept E: save('b')\nfinally: save('z')",
        "start: a b | a: b z | b: z | z: end",
    ),
    "raise in a handler": (
        "try: save('a')\nexcept E:\n  save('b')\n  raise",
        "start: a b | a: b end",
    ),
    "raise to a handler": (
        "try:\n  save('a')\n  raise E\nexcept E: save('b')",
        "start: a b | a: b | b: end",
    ),
    "try in a loop": (
        "for x in y:\n  try: save('a')\n  except E: continue\n  save('b')",
        "start: a end | a: a b end | b: a end",
    ),
    "finally before continue": (
        "for x in y:\n  try:\n    if c: continue\n    save('a')\n  finally: save('z')\n  save('b')",
        "start: a end z | a: z | z: b | z: a end z | b: a end z",
    ),
    "finally before break": (
        "for x in y:\n  try:\n    save('a')\n    break\n  finally: save('z')",
        "start: a end | a: z | z: end",
    ),
    "match": (
        "match x:\n  case 1: save('a')\n  case [p, q]: save('b')",
        "start: a b end | a: end | b: end",
    ),
    "match all": ("match x:\n  case 1: save('a')\n  case _: save('b')", "start: a b | a: end | b: end"),
    "match guard": ("match x:\n  case 1 if save('g'): save('a')", "start: end g | g: a end | a: end"),
    "with errors swallowed": (
        "from contextlib import suppress\nwith suppress(E):\n  save('a')\n  if c: raise E\n  save('b')",
        "start: a end | a: b end | b: end",
    ),
    "with an error that is expected": ("import pytest\nwith pytest.raises(E):\n  raise E", "start: end"),
    "with": ("with open(f) as g: save('a')", "start: a | a: end"),
    "annotated": ("x: int = save('a')", "start: a | a: end"),
    "annotated only": ("x: int", "start: end"),
    "walrus": ("if (x := save('a')): save('b')", "start: a | a: b end | b: end"),
    "f-string": ('f\'{save("a")} {x!r:>{save("b")}}\'', "start: a | a: b | b: end"),
    "chained comparison": ("save('a') < save('b') < save('c')", "start: a | a: b | b: c | c: end"),
    "receiver before arguments": ("save('a').x(save('b'), k=save('c'))", "start: a | a: b | b: c | c: end"),
    "subscript": ("x[save('a'):save('b')][save('c')] = save('d')", "start: d | d: a | a: b | b: c | c: end"),
    "await": ("async def f(): await save('a')\nf()", "start: a | a: end"),
    "constant test": ("if False: save('a')\nelse: save('b')", "start: b | b: end"),
    "type checking": ("if TYPE_CHECKING: import a\nsave('a')", "start: a | a: end"),
    "main": ("if __name__ == '__main__': save('a')", "start: a | a: end"),
}


@pytest.mark.parametrize("program, expected", STATEMENTS.values(), ids=STATEMENTS)
def test_statements(program: str, expected: str) -> None:
    assert paths(program) == expected


# `run` is called by the module body; what it returns does not matter.
CALLS = {
    "call": ("def run(): save('a')", "run()", "start: a | a: end"),
    "early return": (
        "def run():\n  if c:\n    save('a')\n    return\n  save('b')",
        "run()",
        "start: a b | a: end | b: end",
    ),
    "return in a loop": (
        "def run():\n  for x in y:\n    save('a')\n    if c: return\n  save('b')",
        "run()",
        "start: a b | a: a b end | b: end",
    ),
    "never returns": ("def run():\n  save('a')\n  raise E", "run()\nsave('never')", "start: a"),
    "caught outside": (
        "def run():\n  save('a')\n  raise E",
        "try: run()\nexcept E: save('b')",
        "start: a b | a: b | b: end",
    ),
    "return through finally": (
        "def run():\n  try:\n    save('a')\n    return\n  finally: save('z')",
        "run()",
        "start: a | a: z | z: end",
    ),
    "two returns through finally": (
        "def run():\n  try:\n    if c:\n      save('a')\n      return\n    save('b')\n    return\n  finally: save('z')",
        "run()",
        "start: a b | a: z | b: z | z: end",
    ),
    "one return through finally": (
        "def run():\n  try:\n    if c: return\n    save('a')\n  finally: save('z')\n  save('b')",
        "run()",
        "start: a z | a: z | z: b | z: end | b: end",
    ),
    "return before the try keeps out of finally": (
        "def run():\n  if c: return\n  try: raise E\n  finally: save('z')",
        "run()",
        "start: end z",
    ),
    "flag": ("def run(train):\n  if train: save('a')\n  else: save('b')", "run(train=False)", "start: b | b: end"),
    "positional flag": ("def run(train):\n  if not train: save('a')", "run(True)", "start: end"),
    "default flag": ("def run(train=True):\n  if train: save('a')\n  save('b')", "run()", "start: a | a: b | b: end"),
    "keyword-only flag": ("def run(*, train=True):\n  if train: save('a')", "run(train=False)", "start: end"),
    "flag compared": (
        "def run(mode):\n  if mode == 'x': save('a')\n  else: save('b')",
        "run('x')",
        "start: a | a: end",
    ),
    "flag by default None": (
        "def run(net=None):\n  if net is None: save('a')\n  else: save('b')",
        "run(A)",
        "start: b | b: end",
    ),
    "flag through two calls": (
        "def inner(flag):\n  if flag: save('a')\ndef run(flag): inner(flag)",
        "run(False)",
        "start: end",
    ),
    "unknown flag": (
        "def run(train):\n  if train: save('a')\n  else: save('b')",
        "run(x)",
        "start: a b | a: end | b: end",
    ),
    "flag that the loop changes": (
        "def run():\n  first = True\n  for x in y:\n    if first: save('a')\n    else: save('b')\n    first = False",
        "run()",
        "start: a b end | a: a b end | b: a b end",
    ),
    "counter that the loop changes": (
        "def run():\n  i = 0\n  for x in y:\n    if i == 3: save('a')\n    i += 1",
        "run()",
        "start: a end | a: a end",
    ),
    "negated flag that the loop changes": (
        "def run():\n  first = True\n  for x in y:\n    later = not first\n    if later: save('a')\n    first = False",
        "run()",
        "start: a end | a: a end",
    ),
    "nothing yet, something in the next round": (
        "def run():\n  best = None\n  for x in y:\n    if best is not None: save('a')\n    best = x",
        "run()",
        "start: a end | a: a end",
    ),
    "module constants decide nothing at module level": (
        "DEBUG = False\nif DEBUG: save('x')\ndef run(): pass",
        "run()",
        "start: end x | x: end",
    ),
    "nested function": (
        "def run():\n  def inner(): save('a')\n  inner()\n  inner()",
        "run()",
        "start: a | a: a | a: end",
    ),
    "lambda": ("run = lambda: save('a')", "run()", "start: a | a: end"),
    "lambda in a function": ("def run():\n  f = lambda x: save('a')\n  f(1)", "run()", "start: a | a: end"),
    "static method": ("class C:\n  @staticmethod\n  def run(): save('a')\nrun = C.run", "run()", "start: a | a: end"),
    "class method": (
        "class C:\n  @classmethod\n  def run(cls): cls.go()\n  @classmethod\n  def go(cls): save('a')",
        "C.run()",
        "start: a | a: end",
    ),
    "property": ("class C:\n  @property\n  def run(self): save('a')", "C().run", "start: a | a: end"),
    "method of a base": ("class B:\n  def run(self): save('a')\nclass C(B): pass", "C().run()", "start: a | a: end"),
    "super": (
        "class B:\n  def run(self): save('a')\nclass C(B):\n  def run(self):\n    super().run()\n    save('b')",
        "C().run()",
        "start: a | a: b | b: end",
    ),
    "call operator": ("class C:\n  def __call__(self): save('a')", "C()()", "start: a | a: end"),
    "constructor": ("class C:\n  def __init__(self): save('a')", "C()", "start: a | a: end"),
    "getattr": ("class C:\n  def run(self): save('a')", "getattr(C(), 'run')()", "start: a | a: end"),
    "one of two": ("def f(): save('a')\ndef g(): save('b')", "(f if c else g)()", "start: a b | a: end | b: end"),
    "from a dict": ("def f(): save('a')", "{'k': f}['k']()", "start: a | a: end"),
    "map": ("def f(x): save('a')", "list(map(f, [1]))", "start: a | a: end"),
    "recursion": ("def run(n):\n  save('a')\n  if n: run(n)", "run(x)", "start: a | a: end"),
    "mutual recursion": (
        "def f():\n  save('a')\n  g()\ndef g():\n  save('b')\n  f()",
        "f()",
        "start: a | a: b | b: end",
    ),
}


@pytest.mark.parametrize("definition, call, expected", CALLS.values(), ids=CALLS)
def test_calls_of_the_file_are_followed(definition: str, call: str, expected: str) -> None:
    assert paths(f"A = nn.Linear(1, 1)\n{definition}\n{call}") == expected


MANAGER = """
from contextlib import contextmanager, ExitStack
@contextmanager
def around(x=None):
    save('enter')
    try:
        yield x
    finally:
        save('leave')
@contextmanager
def plain():
    save('in')
    yield
    save('out')
"""
MANAGERS = {
    "around": ("with around(): save('a')", "start: enter | enter: a | a: leave | leave: end"),
    "plain": ("with plain(): save('a')", "start: in | in: a | a: out | out: end"),
    "two items": (
        "with around(), plain(): save('a')",
        "start: enter | enter: in | in: a | a: out | out: leave | leave: end",
    ),
    "nested": (
        "with plain():\n  with around(): save('a')\n  save('b')",
        "start: in | in: enter | enter: a | a: leave | leave: b | b: out | out: end",
    ),
    "return inside": (
        "def f():\n  with around():\n    save('a')\n    return 1\nf()",
        "start: enter | enter: a | a: leave | leave: end",
    ),
    "continue inside": (
        "for x in y:\n  with around():\n    save('a')\n    continue",
        "start: end enter | enter: a | a: leave | leave: end enter",
    ),
    "break inside": (
        "for x in y:\n  with around():\n    save('a')\n    break\nsave('b')",
        "start: b enter | enter: a | a: leave | leave: b | b: end",
    ),
}


@pytest.mark.parametrize("program, expected", MANAGERS.values(), ids=MANAGERS)
def test_own_context_managers(program: str, expected: str) -> None:
    assert paths(program, header=HEADER + MANAGER) == expected


def test_depth_is_bounded_and_the_rest_may_do_anything() -> None:
    """Past the limit a call is one into code out of sight, which may act on all that the functions there use."""
    chain = "def f0(net): net.eval()\n" + "".join(f"def f{i}(net): f{i - 1}(net)\n" for i in range(1, 20))
    assert told(chain + "f3(A)\nf19(A)") == ["eval A", "f11(A)"]
    chain = "def f0(): A.eval()\n" + "".join(f"def f{i}(): f{i - 1}()\n" for i in range(1, 20))
    assert told(chain + "f3()\nf19()") == ["eval A", "f11(A)"]


def test_loops_around_an_event() -> None:
    """Outermost first, the callers' loops included; a loop that cannot come round again says so."""
    facts = follow(
        """
        def run():
            for a in x:
                save("a")
            while c:
                save("b")
                break
        for b in range(1):
            for d in y:
                run()
        """
    )
    found = {e.value.value: [loop.once for loop in e.loops] for e in root(facts).of(Saved)}  # type: ignore[attr-defined]
    assert found == {"a": [True, False, False], "b": [True, False, True]}


def test_each_event_knows_where_it_was_called_from() -> None:
    facts = follow("def inner(): save('a')\ndef outer(): inner()\nouter()")
    (event,) = root(facts).of(Saved)
    assert [frame.name for frame in event.frame.stack()] == ["inner", "outer", ""]
