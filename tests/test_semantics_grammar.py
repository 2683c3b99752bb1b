"""The semantic layer knows every form of the language: a file of them all is read, and a new one is noticed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import libcst as cst
import pytest
from following import HEADER, follow, paths

from torchlint.semantics import expressions, flow
from torchlint.semantics.walk import children, outline

EVERYTHING = '''
"""Docstring."""
from __future__ import annotations
import a.b.c, d as e
from . import f
from ..g.h import (i as j, k,)
from l import *
x: int
x: "list[int]" = 1; y = z = 0x1F + 0b11 - 0o17 * 1_000 / 1e-3 // .5 % 2j @ 3 ** 4
(x, *y), [z, w] = (1, 2, 3), [4, 5]
x += 1; x -= 1; x *= 1; x @= 1; x /= 1; x %= 1; x &= 1; x |= 1; x ^= 1; x <<= 1; x >>= 1; x **= 1; x //= 1
x = a if b else c; x = not a and b or ~c; x = +a - -b; x = a < b <= c != d == e >= f > g is h is not i in j not in k
x = a & b | c ^ d << 1 >> 2; x = "a" 'b' f"{a!r:>{b}}"; x = rb"c".decode(); x = (y := 1); x = ..., ()
x = {1, *a}; x = {1: 2, **b}; x = [*a, *b]; x = {}; x = lambda a, /, b=1, *c, d, e=2, **f: (yield)
x = [a for b in c if d if e for f in g]; x = {a for b in c}; x = {a: b for c, d in e}; x = (a async for b in c)
x = a[1], a[1:2], a[::3], a[1, ..., None], a[*b], a.b.c[d](e, *f, g=h, **i)(j)
f(a for b in c); f(*a, *b, **c, **d); await_ = None
del x, y[0], z.w
del (a, b), [c]
assert x, "y"
pass
if a: b
elif c: d
else: e
for a, (b, *c) in d: continue
else: pass
while a:
    break
else:
    pass
try:
    raise
except (A, B) as e:
    raise C from e
except D:
    pass
except:
    raise E
else:
    pass
finally:
    pass
try:
    pass
except* A as e:
    pass
with a, b as c, d as (e, f): pass
with (a as b, c,): pass
@a.b(c)
@d
def f(a: int, /, b: str = "", *c: int, d, e=1, **g: int) -> list[int]:
    global h
    def i():
        nonlocal a
        return
    yield
    yield a
    x = yield from b
    return x
def f(*, a): return a
def f(a, b=1, *, c): ...
async def f():
    await a
    async with a as b, c: pass
    async for d in e: yield d
    else: pass
    return [a async for b in c if await d]
@a
class C(B, metaclass=M, **k):
    x: int = 1
    @property
    def p(self): return super().p
    class D: pass
class E: pass
def f[T: int = str, *Ts = *tuple[int], **P](x: T) -> T: ...
class C[T](B): ...
type X[T] = list[T]
match a:
    case 1 | -2 | "s" | None | True | b.c: pass
    case [d, *e, _] | (f, *_): pass
    case {"k": g, **h} if i: pass
    case {}: pass
    case J(k, l=m) as n: pass
    case [1, [2, *_]]: pass
    case (o): pass
    case _: pass
print(a) if b else (yield)
'''
LATER = {  # what only later versions of libcst can read
    "TemplatedString": 'x = t"{a!r:>{b}} c"',
    "StarredDictComp": "x = {**a for a in b}; x = [*a for a in b]",
    "LazyImport": "lazy import a as b, c.d",
    "LazyImportFrom": "lazy from .a import b as c",
}
PROGRAM = EVERYTHING + "\n".join(code for form, code in LATER.items() if hasattr(cst, form)) + "\n"


def forms(*bases: type) -> set[type]:
    """The classes of nodes that can stand in a tree."""
    found: set[type] = set()
    todo = list(bases)
    while todo:
        one = todo.pop()
        todo.extend(one.__subclasses__())
        if (
            not inspect.isabstract(one)
            and not one.__name__.startswith("Base")
            and getattr(cst, one.__name__, None) is one
        ):
            found.add(one)
    return found


def nodes(tree: cst.CSTNode) -> Iterator[cst.CSTNode]:
    todo: list[cst.CSTNode] = [tree]
    while todo:
        one = todo.pop()
        yield one
        todo.extend(one.children)


# Layout, and the marks that only say how a node is spelt.
LAYOUT = {cst.Comment, cst.ParenthesizedWhitespace}
WITHOUT_MEANING = {"Pass", "TypeAlias"}


def test_the_program_has_every_form_in_it() -> None:
    seen = {type(node) for node in nodes(cst.parse_module(PROGRAM))}
    missing = forms(cst.CSTNode) - seen - LAYOUT
    assert not missing, f"add to the program: {sorted(one.__name__ for one in missing)}"


def test_every_form_is_read() -> None:
    """A class of libcst that is not known here says nothing and evaluates nothing: decide what it means."""
    known = {*expressions._HANDLERS, *flow._STATEMENTS, *flow._SMALL}
    unknown = forms(cst.BaseExpression, cst.BaseStatement, cst.BaseSmallStatement) - known
    assert {one.__name__ for one in unknown} == WITHOUT_MEANING


def test_a_file_of_every_form_is_followed() -> None:
    facts = follow(PROGRAM, HEADER)
    assert facts.roots[0].complete
    assert {f.name for f in facts.functions} == {"f", "i", "p", "<lambda>"}
    assert {c.name for c in facts.classes} == {"C", "D", "E"}


def test_the_walk_sees_every_name() -> None:
    """Every identifier is among the words of the file, but for type parameters and parameters that nothing uses."""
    tree = cst.parse_module(PROGRAM)
    used = {n.value for n in nodes(tree) if isinstance(n, cst.Name)}
    assert used - outline(tree).words == {"Ts", "P", "tuple", "self"}


def test_children_are_those_of_libcst_without_the_layout() -> None:
    wanted = (cst.BaseExpression, cst.BaseStatement, cst.BaseSmallStatement, cst.BaseSuite)
    skipped = (cst.TypeParameters, cst.AsName, cst.Asynchronous)
    for node in nodes(cst.parse_module(PROGRAM)):
        theirs = [c for c in node.children if isinstance(c, wanted) and not isinstance(c, skipped)]
        if isinstance(node, (cst.Name, cst.TypeVar, cst.TypeVarTuple, cst.ParamSpec, cst.TypeParam)):
            continue
        mine = {id(c) for c in children(node)}
        assert all(id(c) in mine for c in theirs), f"{type(node).__name__}: {[type(c).__name__ for c in theirs]}"


@pytest.mark.parametrize(
    "form, program, expected",
    [
        ("TemplatedString", 't\'{save("a")} {x:{save("b")}}\'', "start: a | a: b | b: end"),
        ("StarredDictComp", "{**save('a') for x in y}", "start: a end | a: a end"),
        ("LazyImport", "lazy import torch as th\nth.save('a')", "start: a | a: end"),
        ("LazyImportFrom", "lazy from torch import save as keep\nkeep('a')", "start: a | a: end"),
    ],
)
def test_forms_of_later_versions(form: str, program: str, expected: str) -> None:
    if not hasattr(cst, form):
        pytest.skip(f"this libcst has no {form}")
    assert paths(program) == expected
