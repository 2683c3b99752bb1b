"""Edits in the manner of the file, and a mending loop that leaves no file worse than it found it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import libcst as cst
import pytest

from torchlint import fix as fixes
from torchlint.diagnostic import Diagnostic, Remedy, Safety, Severity, Span, TextEdit
from torchlint.facts import Site
from torchlint.rule import (
    Around,
    Change,
    Decorate,
    Fix,
    InsertAfter,
    InsertBefore,
    InsertFirst,
    Remove,
    Replace,
    Wrap,
)
from torchlint.source import Source


def site_of(source: Source, name: str) -> Site:
    """The place of the first name `name` that is used, or of the function, class or loop so called."""
    found: list[Site] = []

    def visit(node: cst.CSTNode, statement: object, suite: object) -> None:
        if isinstance(node, (cst.IndentedBlock, cst.Module)):
            for child in node.body:
                visit(child, child, node)
            return
        if isinstance(node, cst.SimpleStatementSuite):
            for child in node.body:
                visit(child, child, node)
            return
        match node:
            case cst.FunctionDef() | cst.ClassDef() if node.name.value == name:
                found.append(Site(node, statement, suite))
            case cst.Name() if node.value == name:
                found.append(Site(node, statement, suite))
            case cst.For() | cst.While() if name == "LOOP":
                found.append(Site(node, statement, suite))
            case _:
                pass
        for child in node.children:
            visit(child, statement, suite)

    visit(source.tree, None, None)
    assert found, f"no {name} in the example"
    return found[0]


def expression_of(source: Source, code: str) -> Site:
    """The place of the expression that reads `code` and holds the name `here`."""
    where = site_of(source, "here")
    todo: list[cst.CSTNode] = [where.statement]
    while todo:
        node = todo.pop(0)
        if isinstance(node, cst.BaseExpression) and source.tree.code_for_node(node) == code:
            return Site(node, where.statement, where.suite)
        todo.extend(node.children)
    raise AssertionError(f"no expression {code!r}")


Make = Callable[[Source], Change]


def fixed(text: str, *makers: Make) -> str | None:
    """The text after one fix of these changes; None when it is refused."""
    source = Source("a.py", text.encode())
    fix = Fix("mend it", Safety.SAFE, tuple(make(source) for make in makers))
    source.locate(fixes.nodes(fix))
    located = len(source.spans)
    remedy = fixes.build(source, fix)
    assert len(source.spans) == located, "nodes() left out a node whose place is needed: that costs a pass"
    if remedy is None:
        return None
    new, applied = fixes.apply(text, [remedy])
    assert applied == [0]
    ast.parse(new)
    return new


def before(name: str, *lines: str) -> Make:
    return lambda source: InsertBefore(site_of(source, name), lines or ("new()",))


def after(name: str, *lines: str) -> Make:
    return lambda source: InsertAfter(site_of(source, name), lines or ("new()",))


def first(name: str, *lines: str) -> Make:
    return lambda source: InsertFirst(site_of(source, name), lines or ("new()",))


def wrap(name: str) -> Make:
    return lambda source: Wrap(site_of(source, name), "with torch.no_grad():")


def remove(name: str) -> Make:
    return lambda source: Remove(site_of(source, name))


def decorate(name: str, text: str = "@torch.no_grad()") -> Make:
    return lambda source: Decorate(site_of(source, name), text)


def replace(code: str, text: str) -> Make:
    return lambda source: Replace(expression_of(source, code), text)


def around(code: str, left: str, right: str) -> Make:
    return lambda source: Around(expression_of(source, code), left, right)


CASES: dict[str, tuple[str, Make, str | None]] = {
    # ---- new statements before one
    "before": ("x = 1\nhere()\n", before("here"), "x = 1\nnew()\nhere()\n"),
    "before, in two spaces": ("for i in y:\n  here()\n", before("here"), "for i in y:\n  new()\n  here()\n"),
    "before, in tabs": (
        "if a:\n\tif b:\n\t\there()\n",
        before("here", "if c:", "    new()"),
        "if a:\n\tif b:\n\t\tif c:\n\t\t\tnew()\n\t\there()\n",
    ),
    "before, CRLF": ("if a:\r\n    here()\r\n", before("here"), "if a:\r\n    new()\r\n    here()\r\n"),
    "before, in the middle of a long statement": ("a(1,\n  here,\n)\n", before("here"), "new()\na(1,\n  here,\n)\n"),
    "before, comments stay": (
        "x = 1\n\n# why\n# so\nhere()\n",
        before("here"),
        "x = 1\n\nnew()\n# why\n# so\nhere()\n",
    ),
    "before, a comment of another depth": (
        "if a:\n# odd\n    here()\n",
        before("here"),
        "if a:\n# odd\n    new()\n    here()\n",
    ),
    "before, a cell marker": ("# %% train\nhere()\n", before("here"), "# %% train\nnew()\nhere()\n"),
    "before, the encoding": (
        "# -*- coding: utf-8 -*-\nhere()\n",
        before("here"),
        "# -*- coding: utf-8 -*-\nnew()\nhere()\n",
    ),
    "before, a decorated function": ("@here\n@b\ndef f(): pass\n", before("f"), "new()\n@here\n@b\ndef f(): pass\n"),
    "before, without a last newline": ("here()", before("here"), "new()\nhere()"),
    "before, a form feed": ("x = 1\n\x0chere()\n", before("here"), "x = 1\nnew()\n\x0chere()\n"),
    "before, first on a shared line": ("here(); b()\n", before("here"), "new()\nhere(); b()\n"),
    "before, second on a shared line": ("a(); here(); b()\n", before("here"), "a(); new(); here(); b()\n"),
    "before, behind a colon": ("for a in b: here(); c()\n", before("here"), "for a in b: new(); here(); c()\n"),
    "before, behind a colon, a compound one": ("if a: here()\n", before("here", "if c:", "    d()"), None),
    "before, at a loop": (
        "if a:\n    for i in b:\n        c()\n",
        before("LOOP"),
        "if a:\n    new()\n    for i in b:\n        c()\n",
    ),
    "before, non-ASCII": ("if ä:\n    é = here('→')\n", before("here"), "if ä:\n    new()\n    é = here('→')\n"),
    # ---- and after
    "after": ("here()\nx = 1\n", after("here"), "here()\nnew()\nx = 1\n"),
    "after, a trailing comment stays": ("here()  # why\nx\n", after("here"), "here()  # why\nnew()\nx\n"),
    "after, without a last newline": ("if a:\n    here()", after("here"), "if a:\n    here()\n    new()"),
    "after, without a last newline, CRLF": ("a\r\nhere()", after("here"), "a\r\nhere()\r\nnew()"),
    "after, a long statement": ("if a:\n  here(\n1,\n)\n", after("here"), "if a:\n  here(\n1,\n)\n  new()\n"),
    "after, last on a shared line": ("a(); here()\n", after("here"), "a(); here()\nnew()\n"),
    "after, first on a shared line": ("here(); a()\n", after("here"), "here(); new(); a()\n"),
    "after, behind a colon": ("if x: here()\ny\n", after("here"), "if x: here(); new()\ny\n"),
    "after, a loop and what is said in it": (
        "for i in a:\n    b()\n    # said inside\n# said below\nc()\n",
        after("LOOP"),
        "for i in a:\n    b()\n    # said inside\nnew()\n# said below\nc()\n",
    ),
    "after, a loop with else": (
        "for i in a:\n    b()\nelse:\n    c()\nd()\n",
        after("LOOP"),
        "for i in a:\n    b()\nelse:\n    c()\nnew()\nd()\n",
    ),
    # ---- first in a body
    "first": ("def f(self):\n    return 1\n", first("f"), "def f(self):\n    new()\n    return 1\n"),
    "first, a docstring": (
        'def f():\n    """A.\n\n    B."""\n\n    return 1\n',
        first("f"),
        'def f():\n    """A.\n\n    B."""\n    new()\n\n    return 1\n',
    ),
    "first, nothing but a docstring": ('class f:\n\t"""A."""\n', first("f"), 'class f:\n\t"""A."""\n\tnew()\n'),
    "first, bytes are no docstring": ('def f():\n    b"""A."""\n', first("f"), 'def f():\n    new()\n    b"""A."""\n'),
    "first, comments stay": (
        "def f():  # why\n    # so\n    a()\n",
        first("f"),
        "def f():  # why\n    new()\n    # so\n    a()\n",
    ),
    "first, behind a colon": ("def f(): return 1\n", first("f"), "def f(): new(); return 1\n"),
    "first, a docstring behind a colon": ('def f(): "A."; b()\n', first("f"), 'def f(): "A."; new(); b()\n'),
    "first, a docstring that shares its row": (
        'def f():\n    "A."; b()\n',
        first("f"),
        'def f():\n    "A."; new(); b()\n',
    ),
    "first, in a loop": ("while a:\n    'no docstring'\n", first("LOOP"), "while a:\n    new()\n    'no docstring'\n"),
    "first, before an inner function": (
        "def f():\n    @d\n    def g(): pass\n",
        first("f"),
        "def f():\n    new()\n    @d\n    def g(): pass\n",
    ),
    # ---- expressions
    "replace": ("x = here + 1\n", replace("here", "there"), "x = there + 1\n"),
    "replace, looser": ("x = here * 2\n", replace("here", "a + b"), "x = (a + b) * 2\n"),
    "replace, as loose": ("x = here + 2\n", replace("here", "a + b"), "x = a + b + 2\n"),
    "replace, in brackets": ("x = f(here, 2)\n", replace("here", "a if b else c"), "x = f(a if b else c, 2)\n"),
    "replace, its own parentheses": ("x = (here) * 2\n", replace("(here)", "a + b"), "x = (a + b) * 2\n"),
    "replace, next to a keyword": ("def f(): return-here\n", replace("-here", "a"), "def f(): return(a)\n"),
    "replace, a tuple": ("f(here)\n", replace("here", "a, b"), "f((a, b))\n"),
    "replace, a comment would go": ("f(here(\n  1,  # why\n))\n", replace("here(\n  1,  # why\n)", "a"), None),
    "replace, in a block": ("if a:\n\tx = -here\n", replace("here", "a ** b"), "if a:\n\tx = -a ** b\n"),
    "replace, in an elif": (
        "if a:\n    b\nelif here and c:\n    d\n",
        replace("here", "x or y"),
        "if a:\n    b\nelif (x or y) and c:\n    d\n",
    ),
    "around": ("save(here, p)\n", around("here", "", ".state_dict()"), "save(here.state_dict(), p)\n"),
    "around, a sum": ("save(here + b)\n", around("here + b", "", ".cpu()"), "save((here + b).cpu())\n"),
    "around, its own parentheses": ("y = (here + b)\n", around("(here + b)", "", ".cpu()"), "y = (here + b).cpu()\n"),
    "around, a prefix": ("y = here ** 2\n", around("here", "-", ""), "y = (-here) ** 2\n"),
    "around, a prefix and a sum": ("y = here + b\n", around("here + b", "-", ""), "y = -(here + b)\n"),
    "around, a call": ("y = here + b\n", around("here + b", "f(", ", 1)"), "y = f(here + b, 1)\n"),
    "around, an assignment": (
        "if a:\n    here.to(d)\n",
        around("here.to(d)", "here = ", ""),
        "if a:\n    here = here.to(d)\n",
    ),
    "around, an await": (
        "async def f():\n    await here\n",
        around("await here", "", ".x"),
        "async def f():\n    (await here).x\n",
    ),
    "around, behind a colon": (
        "if a: here.to(d); b\n",
        around("here.to(d)", "here = ", ""),
        "if a: here = here.to(d); b\n",
    ),
    "around, over several rows": (
        "f(\n  here(  # why\n  ),\n)\n",
        around("here(  # why\n  )", "", ".x"),
        "f(\n  here(  # why\n  ).x,\n)\n",
    ),
    "around, nonsense": ("f(here)\n", around("here", "]", ""), None),
    # ---- decorators
    "decorate": ("def f(): pass\n", decorate("f"), "@torch.no_grad()\ndef f(): pass\n"),
    "decorate, without @": ("async def f(): pass\n", decorate("f", "a.b"), "@a.b\nasync def f(): pass\n"),
    "decorate, below the others": (
        "class A:\n\t@staticmethod\n\t# why\n\tdef f(): pass\n",
        decorate("f"),
        "class A:\n\t@staticmethod\n\t# why\n\t@torch.no_grad()\n\tdef f(): pass\n",
    ),
    "decorate, a class": ("class f: pass\n", decorate("f"), None),
    # ---- under a new header
    "wrap": ("x\nif a:\n  here()\ny\n", wrap("here"), "x\nif a:\n  with torch.no_grad():\n    here()\ny\n"),
    "wrap, a loop": (
        "for i in here:\n\ta(\n  1)\n\n\t# why\nelse:\n\tb()\n\t# so\nc()\n",
        wrap("LOOP"),
        "with torch.no_grad():\n\tfor i in here:\n\t\ta(\n\t  1)\n\n\t\t# why\n\telse:\n\t\tb()\n\t\t# so\nc()\n",
    ),
    "wrap, strings stay": (
        'here("""a\n  b\n""", """c\n""", f"""{\n  d}\n""",\n  e)\n',
        wrap("here"),
        'with torch.no_grad():\n    here("""a\n  b\n""", """c\n""", f"""{\n  d}\n""",\n      e)\n',
    ),
    "wrap, continued rows": (
        "a = here + \\\n  'b\\\n  c'\n",
        wrap("here"),
        "with torch.no_grad():\n    a = here + \\\n      'b\\\n  c'\n",
    ),
    "wrap, CRLF, no last newline": (
        "a\r\nhere(\r\n)",
        wrap("here"),
        "a\r\nwith torch.no_grad():\r\n    here(\r\n    )",
    ),
    "wrap, a decorated function": (
        "@d\ndef f():\n    a()\n",
        wrap("f"),
        "with torch.no_grad():\n    @d\n    def f():\n        a()\n",
    ),
    "wrap, a comment above": ("# why\nhere()\n", wrap("here"), "# why\nwith torch.no_grad():\n    here()\n"),
    "wrap, a shared row": ("here(); a()\n", wrap("here"), None),
    "wrap, behind a colon": ("if a: here()\n", wrap("here"), None),
    # ---- out
    "remove, what is said beside it stays": ("a()\nhere()  # why\nb()\n", remove("here"), "a()\n# why\nb()\n"),
    "remove": ("a()\nhere()\nb()\n", remove("here"), "a()\nb()\n"),
    "remove, over several rows": ("a()\nhere(\n\n)\n\nb()\n", remove("here"), "a()\n\nb()\n"),
    "remove, the only one": ("if a:\n    here(1,\n 2)  # why\nb\n", remove("here"), "if a:\n    pass  # why\nb\n"),
    "remove, the only one of a file": ("here()\n", remove("here"), ""),
    "remove, the last row": ("a()\nhere()", remove("here"), "a()"),
    "remove, behind a colon": ("if a: here()\n", remove("here"), "if a: pass\n"),
    "remove, first of a shared row": ("here(); a(); b()\n", remove("here"), "a(); b()\n"),
    "remove, last of a shared row": ("if x: a(); here()  # c\n", remove("here"), "if x: a()  # c\n"),
    "remove, a decorated function": ("a\n@d\ndef f():\n    b\nc\n", remove("f"), "a\nc\n"),
}


@pytest.mark.parametrize("name", CASES)
def test_change(name: str) -> None:
    text, make, expected = CASES[name]
    assert fixed(text, make) == expected


def test_an_elif_has_nothing_before_or_after_it() -> None:
    source = Source("a.py", b"if a:\n    b\nelif c:\n    d\nelse:\n    e\n")
    outer = source.tree.body[0]
    assert isinstance(outer, cst.If)
    place = Site(outer.orelse, outer.orelse, source.tree)
    for change in (
        InsertBefore(place, ("new()",)),
        InsertAfter(place, ("new()",)),
        Wrap(place, "with a:"),
        Remove(place),
    ):
        assert fixes.build(source, Fix("", Safety.SAFE, (change,))) is None


def test_changes_of_one_fix_go_together() -> None:
    text = "for i in a:\n    here()\n    there()\n"
    assert fixed(text, before("here", "one()"), before("here", "two()"), after("there"), wrap("there")) == (
        "for i in a:\n    one()\n    two()\n    here()\n    with torch.no_grad():\n        there()\n    new()\n"
    )


def test_changes_of_one_fix_that_contradict_each_other_make_none() -> None:
    assert fixed("x = here\n", replace("here", "a"), replace("here", "b")) is None
    assert fixed("if a:\n    here()\n", wrap("here"), remove("here")) is None


def test_one_impossible_change_refuses_the_whole_fix() -> None:
    assert fixed("a()\nif x: here()\n", before("a"), wrap("here")) is None


def test_columns_of_edits_count_characters() -> None:
    source = Source("a.py", "é = '😀', here\n".encode())
    remedy = fixes.build(source, Fix("", Safety.SAFE, (Replace(expression_of(source, "here"), "x"),)))
    assert remedy is not None
    assert remedy.edits == (TextEdit(Span(1, 10, 1, 14), "x"),)


# ------------------------------------------------------------------------------------------------------------- applying


def edit(row: int, column: int, end_row: int, end_column: int, content: str) -> TextEdit:
    return TextEdit(Span(row, column, end_row, end_column), content)


def remedy(*edits: TextEdit, safety: Safety = Safety.SAFE) -> Remedy:
    return Remedy(safety, "mend it", edits)


def test_equal_insertions_are_made_once_and_both_count() -> None:
    insertion = edit(2, 1, 2, 1, "new\n")
    assert fixes.apply("a\nb\n", [remedy(insertion), remedy(insertion)]) == ("a\nnew\nb\n", [0, 1])


def test_of_two_that_touch_the_first_wins() -> None:
    assert fixes.apply("abcd\n", [remedy(edit(1, 1, 1, 3, "X")), remedy(edit(1, 2, 1, 4, "Y"))]) == ("Xcd\n", [0])
    assert fixes.apply("abcd\n", [remedy(edit(1, 2, 1, 2, "X")), remedy(edit(1, 2, 1, 2, "Y"))]) == ("aXbcd\n", [0])


def test_a_remedy_is_applied_whole_or_not_at_all() -> None:
    both = remedy(edit(1, 2, 1, 3, "Y"), edit(2, 1, 2, 2, "Z"))
    assert fixes.apply("abcd\ne\n", [remedy(edit(1, 1, 1, 3, "X")), both]) == ("Xcd\ne\n", [0])


# -------------------------------------------------------------------------------------------------------------- mending


def finding(code: str, row: int, fix: Remedy | None = None) -> Diagnostic:
    return Diagnostic(code, "correctness", Severity.ERROR, f"{code} here", "a.py", Span(row, 1, row, 2), fix=fix)


def linter(*marks: tuple[str, str, Safety]) -> Callable[[Source], list[Diagnostic]]:
    """Reports every mark; the fix writes another word for it."""

    def lint(source: Source) -> list[Diagnostic]:
        found = []
        for number, row in enumerate(source.text.split("\n"), 1):
            for mark, instead, safety in marks:
                for place in re.finditer(mark, row):
                    change = edit(number, place.start() + 1, number, place.end() + 1, instead)
                    found.append(finding(mark, number, remedy(change, safety=safety)))
        return found

    return lint


def mended(text: str, *marks: tuple[str, str, Safety], unsafe: bool = False) -> fixes.Mended:
    return fixes.mend(Source("a.py", text.encode()), linter(*marks), unsafe)


def test_mends_to_a_fixpoint() -> None:
    result = mended("bad + bad\n-bad-bad\nx = [bad,bad]\n", ("-?bad", "+good", Safety.SAFE))
    assert result.source.text == "+good + +good\n+good+good\nx = [+good,+good]\n"
    assert result.remaining == []
    # The second of the second row touches the first, and had to wait.
    assert [d.span.row for d in result.applied] == [1, 1, 2, 3, 3, 2]


def test_unsafe_fixes_only_when_asked_and_displayed_ones_never() -> None:
    marks = (("bad", "good", Safety.UNSAFE), ("odd", "even", Safety.DISPLAY))
    quiet = mended("bad\nodd\n", *marks)
    assert (quiet.source.text, quiet.changed, len(quiet.remaining)) == ("bad\nodd\n", False, 2)
    assert mended("bad\nodd\n", *marks, unsafe=True).source.text == "good\nodd\n"


def test_a_fix_that_does_not_parse_is_taken_back_and_the_others_stay() -> None:
    result = mended("bad\nodd\nbad\nodd\n", ("bad", "good", Safety.SAFE), ("odd", "(", Safety.SAFE))
    assert result.source.text == "good\nodd\ngood\nodd\n"
    assert len(result.applied) == 2
    assert {d.code for d, _ in result.refused} == {"odd"}
    assert all("does not parse" in reason for _, reason in result.refused)
    assert [d.code for d in result.remaining] == ["odd", "odd"]


def test_a_fix_that_brings_another_finding_is_taken_back() -> None:
    result = mended(
        "bad\nodd\n", ("bad", "worse", Safety.SAFE), ("worse", "worst", Safety.SAFE), ("odd", "even", Safety.SAFE)
    )
    assert result.source.text == "bad\neven\n"
    assert [(d.code, reason) for d, reason in result.refused] == [("bad", "would bring a new finding, worse")]


def test_a_fix_that_leaves_its_finding_is_taken_back() -> None:
    result = mended("bad\n", ("bad", "bad + bad", Safety.SAFE))
    assert result.source.text == "bad\n"
    assert len(result.refused) == 1


def test_a_fix_that_the_encoding_cannot_hold_is_taken_back() -> None:
    source = Source("a.py", b"# coding: latin-1\n\xe9 = bad\n")
    result = fixes.mend(source, linter(("bad", "'→'", Safety.SAFE)))
    assert result.source is source
    assert "iso-8859-1" in result.refused[0][1]


def test_a_byte_order_mark_and_foreign_newlines_are_kept() -> None:
    source = Source("a.py", b"\xef\xbb\xbfx = bad\r\ny = bad\n")
    assert fixes.mend(source, linter(("bad", "1", Safety.SAFE))).source.data == b"\xef\xbb\xbfx = 1\r\ny = 1\n"


# -------------------------------------------------------------------------------- many places of a file


class Undo(ast.NodeTransformer):
    """Takes the changes of the test below out of a tree again, and counts them."""

    def __init__(self) -> None:
        self.undone = 0

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if ast.unparse(node) == "new()":
            self.undone += 1
            return None
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if ast.unparse(node.items[0]) == "torch.no_grad()":
            self.undone += 1
            return node.body
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "around":
            self.undone += 1
            return node.func.value
        return node


def sites(tree: cst.Module) -> list[Site]:
    """A place for every statement, and for every call that is read."""
    found: list[Site] = []
    todo: list[tuple[cst.CSTNode, object, object]] = [(child, child, tree) for child in tree.body]
    while todo:
        node, statement, suite = todo.pop()
        if isinstance(node, (cst.IndentedBlock, cst.SimpleStatementSuite)):
            todo.extend((child, child, node) for child in node.body)
            continue
        if node is statement or isinstance(node, cst.Call):
            found.append(Site(node, statement, suite))
        todo.extend((child, statement, suite) for child in node.children)
    return found


ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", ["tests/test_spans.py", "torchlint/semantics/edits.py", "dev.py"])
def test_no_change_alters_the_code_around_it(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    meaning = ast.dump(ast.parse(text))
    source = Source(path, text.encode())
    wanted: list[Fix] = []
    for site in sites(source.tree):
        changes: list[Change] = [Around(site, "", ".around()")]
        if site.node is site.statement:
            changes = [
                InsertBefore(site, ("new()",)),
                InsertAfter(site, ("new()",)),
                Wrap(site, "with torch.no_grad():"),
            ]
        wanted.extend(Fix("mend it", Safety.SAFE, (change,)) for change in changes)
    wanted = wanted[:: len(wanted) // 100]  # a hundred of them tell as much as thousands
    source.locate(node for fix in wanted for node in fixes.nodes(fix))
    built = 0
    for fix in wanted:
        made = fixes.build(source, fix)
        if made is None:
            continue
        built += 1
        undo = Undo()
        mended_tree = undo.visit(ast.parse(fixes.apply(text, [made])[0]))
        assert undo.undone == 1, fix
        assert ast.dump(mended_tree) == meaning, fix
    assert built > 0.95 * len(wanted)
