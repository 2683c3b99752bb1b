"""A constant decides a test only where nothing can have changed it since: a path that is ruled out wrongly hides a bug
of the user's, or makes one up."""

# ruff: noqa: E501 (programs as they are)
from __future__ import annotations

import pytest
from following import paths

BOTH = "start: a end | a: a end"

CHANGING = {
    "variable": "def run():\n  i = 0\n  for x in y:\n    if i == 3: save('a')\n    i += 1\nrun()",
    "argument": "def run(i):\n  if i == 3: save('a')\ni = 0\nfor x in y:\n  run(i)\n  i += 1",
    "attribute": """
        class T:
            def __init__(self):
                self.i = 0
            def run(self):
                for x in y:
                    if self.i == 3: save('a')
                    self.i += 1
        T().run()""",
    "attribute changed by another method": """
        class T:
            def __init__(self):
                self.i = 0
            def tick(self):
                self.i += 1
            def run(self):
                if self.i == 3: save('a')
        t = T()
        for x in y:
            t.run()
            t.tick()""",
    "global": "i = 0\ndef run():\n  global i\n  if i == 3: save('a')\n  i += 1\nfor x in y: run()",
    "global changed elsewhere": """
        done = False
        def stop():
            global done
            done = True
        def run():
            for x in y:
                if done: save('a')
        run()""",
    "nonlocal": """
        def run():
            i = 0
            def tick():
                nonlocal i
                if i == 3: save('a')
                i += 1
            for x in y: tick()
        run()""",
    "dict": "def run():\n  s = {'i': 0}\n  for x in y:\n    if s['i'] == 3: save('a')\n    s['i'] += 1\nrun()",
    "list": "def run():\n  s = [0]\n  for x in y:\n    if s[0] == 3: save('a')\n    s[0] += 1\nrun()",
    "attribute of a function": "def run():\n  if run.i == 3: save('a')\n  run.i += 1\nrun.i = 0\nfor x in y: run()",
    "flag from a try": """
        def run():
            for x in y:
                good = False
                try:
                    good = f(x)
                except E:
                    pass
                if not good: save('a')
        run()""",
    "set on the way round": "def run():\n  last = None\n  for x in y:\n    if last: save('a')\n    last = x\nrun()",
    "set in a branch": "def run():\n  go = False\n  for x in y:\n    if c: go = True\n    if go: save('a')\nrun()",
}


@pytest.mark.parametrize("program", CHANGING.values(), ids=CHANGING)
def test_what_changes_decides_nothing(program: str) -> None:
    assert paths(program) == BOTH


def test_what_another_method_sets_may_be_set() -> None:
    """Followed alone, a method can come before or after those that nobody in sight calls."""
    program = """
    class T:
        def __init__(self):
            self.opt, self.i = None, 0
        def setup(self):
            self.opt = optim.SGD(x)
        def tick(self):
            self.i = self.i + 1
        def run(self, loss):
            save("start")
            if self.opt is None: save("none")
            if self.i == 3: save("three")
            loss.backward()
            self.opt.step()
    """
    assert paths(program, "run") == (
        "start: start | start: backward ? none three | none: backward ? three | three: backward ? | backward ?: step self.opt"
    )


CONSTANT = {
    "attribute set once": """
        class T:
            def __init__(self, go=False):
                self.go = go
            def run(self):
                if self.go: save('a')
        T().run()""",
    "module constant": "DEBUG = False\ndef run():\n  if DEBUG: save('a')\nrun()",
    "argument": "def run(go):\n  for x in y:\n    if go: save('a')\nrun(False)",
    "tuple": "def run():\n  p = (0, 1)\n  if p[0]: save('a')\nrun()",
    "variable before the loop": "def run():\n  go = False\n  for x in y:\n    if go: save('a')\nrun()",
    "variable bound again at once": "def run():\n  for x in y:\n    go = False\n    if go: save('a')\nrun()",
    "a local that is global elsewhere": "def f():\n  global go2\n  go2 = 1\ndef run():\n  go = 0\n  if go: save('a')\nrun()",
}  # fmt: skip


@pytest.mark.parametrize("program", CONSTANT.values(), ids=CONSTANT)
def test_what_does_not_change_decides(program: str) -> None:
    assert paths(program) == "start: end"
