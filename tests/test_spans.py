"""Our positions are libcst's own, which take six times as long, on every node of sources chosen to be awkward."""

from __future__ import annotations

from pathlib import Path

import libcst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider

from torchlint.diagnostic import Span
from torchlint.semantics.spans import spans_of
from torchlint.source import Source

AWKWARD = {
    "parentheses": "x = ((a) + (b * (c)))\ny = (\n    1,  # one\n    2,\n)\nassert (yield_)\n",
    "decorators": "@first\n# between\n@second(1)\n\nasync def f(a, /, b=1, *c, d, **e) -> int:\n    return await a\n",
    "comments": "# top\n\nif x:  # why\n    # inside\n    pass  # after\n    # below\n# out\nelse:\n    pass\n",
    "crlf": "def f():\r\n    x = 1\r\n\r\n    return x  # c\r\n",
    "lone carriage returns": "x = 1\ry = 2\r",
    "mixed newlines": "x = 1\r\ny = 2\nz = 3\r\n",
    "form feed": "x = 1\n\x0c\ndef f():\n    pass\n\x0cy = 2\n",
    "multi-line strings": 'x = """a\n  b\n"""\ny = f"""{x!r:>{w}}\n{  z = }"""\ncall("""\n""", k)\n',
    "continued lines": "x = 1 + \\\n    2\nassert x, \\\n    'no'\nwith a as b, \\\n     c as d:\n    pass\n",
    "tabs": "class A:\n\tdef f(self):\n\t\tif x:\n\t\t\treturn\t1\n",
    "non-ASCII": "größe = 'ä→😀'; x = größe  # é\nd = {'é': größe}\n",
    "no newline at the end": "def f():\n    return 1",
    "no newline after a comment": "x = 1\n# end",
    "indented comment at the end": "def f():\n    pass\n    # end\n  # odd\n",
    "one-line suites": "if x: a; b\nfor i in y: pass\nclass A: x = 1; y = 2;\nwhile 1: break\n",
    "statements": (
        "import a.b as c, d\nfrom . import (e as f,\n  g)\nglobal h\ndel h, (i)\nraise X from Y\n"
        "try:\n    pass\nexcept* (A, B) as e:\n    pass\nfinally:\n    pass\n"
        "match p:\n    case {'k': [1, *_], **r} if r: pass\n    case A(b=1) | None as q: pass\n"
        "with (a as b, c): pass\nx: int = 1\nx += 1\nlambda a, *b: (yield)\n"
    ),
    "expressions": (
        "[i async for i in x if i]\n{**a, 'b': 1}\n{1, *s}\nx[1:2, ::3, ...]\na if b else c\nnot a\n"
        "a < b <= c is not d\n"
        "f(*a, **b, c=(d := 1))\n-x ** -y\nawait_(x)[0].y\n'a' 'b'\nprint((yield_ for yield_ in ()))\n"
    ),
    "empty": "",
    "only a comment": "# x\n",
}


# Their ends are past a last newline that the file may lack; no finding stands at one.
SPACE = (libcst.Module, libcst.TrailingWhitespace, libcst.Newline, libcst.EmptyLine)


def every_node(tree: libcst.Module) -> list[libcst.CSTNode]:
    found: list[libcst.CSTNode] = []
    todo: list[libcst.CSTNode] = [tree]
    while todo:
        node = todo.pop()
        if not isinstance(node, SPACE):
            found.append(node)
        todo.extend(node.children)
    return found


def expected(tree: libcst.Module) -> dict[int, Span]:
    positions = MetadataWrapper(tree, unsafe_skip_copy=True).resolve(PositionProvider)
    return {
        id(node): Span(at.start.line, at.start.column + 1, at.end.line, at.end.column + 1)
        for node, at in positions.items()
        if isinstance(node, libcst.CSTNode) and not isinstance(node, SPACE)
    }


@pytest.mark.parametrize("name", AWKWARD)
def test_every_node_stands_where_libcst_says(name: str) -> None:
    tree = libcst.parse_module(AWKWARD[name])
    assert spans_of(tree, {id(n): n for n in every_node(tree)}) == expected(tree)


@pytest.mark.parametrize("name", AWKWARD)
def test_one_node_alone_stands_where_it_stands_among_all(name: str) -> None:
    """A bound taken from a child must be found although that child was not asked for."""
    tree = libcst.parse_module(AWKWARD[name])
    places = expected(tree)
    for node in every_node(tree):
        assert spans_of(tree, {id(node): node}) == {id(node): places[id(node)]}


@pytest.mark.parametrize("path", sorted(Path(libcst.__file__).parent.glob("_nodes/*.py"))[:6], ids=lambda p: p.name)
def test_real_files(path: Path) -> None:
    tree = libcst.parse_module(path.read_text(encoding="utf-8"))
    assert spans_of(tree, {id(n): n for n in every_node(tree)}) == expected(tree)


def test_a_node_of_another_tree_has_no_place() -> None:
    stranger = libcst.Name("x")
    assert spans_of(libcst.parse_module("x = 1\n"), {id(stranger): stranger}) == {}


def test_a_byte_order_mark_takes_no_column() -> None:
    source = Source("a.py", b"\xef\xbb\xbfx = 1\n")
    assert source.span(source.tree.body[0]) == Span(1, 1, 1, 6)


def test_columns_count_characters_of_the_decoded_text() -> None:
    source = Source("a.py", "# coding: latin-1\né = 'é'; x\n".encode("latin-1"))
    line = source.tree.body[0]
    assert isinstance(line, libcst.SimpleStatementLine)
    assert source.span(line.body[1]) == Span(2, 10, 2, 11)


@pytest.mark.parametrize(
    ("text", "row", "column"),
    [
        ("x = 1\n\\\nhere = 2\n", 3, 1),
        ("if a:\n    x\n  \\\n    here\n", 4, 5),
        ("if a:\n    x\n\x0c    here\n", 3, 6),
        ("\x0cif a:\n\x0c    x\n    y\nhere\n", 4, 1),
        ("if a:\r\n\x0c    x\r\n    here\r\n", 3, 5),
    ],
)
def test_what_libcst_does_not_keep_moves_nothing(text: str, row: int, column: int) -> None:
    source = Source("a.py", text.encode())
    assert source.tree.code != text
    (name,) = (n for n in every_node(source.tree) if isinstance(n, libcst.Name) and n.value == "here")
    assert source.span(name) == Span(row, column, row, column + 4)


def test_a_tree_of_another_text_is_refused() -> None:
    tree = libcst.parse_module("x = 1\n")
    with pytest.raises(ValueError, match="does not spell the text"):
        spans_of(tree, {id(tree.body[0]): tree.body[0]}, "y = 1\n")
