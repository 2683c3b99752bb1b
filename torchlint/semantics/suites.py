"""What an edit must know of the syntax around a place: which statements share a line, where a body begins.

Nothing here looks at text or positions; that is `fix.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import libcst as cst

from torchlint.facts import Site


def line_of(site: Site) -> cst.SimpleStatementLine | cst.SimpleStatementSuite | None:
    """The row of simple statements that `site` stands in (`a; b`, or what follows a colon); None at a compound one."""
    for block in (site.suite, site.statement):
        if isinstance(block, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            return block
    return None


def statement_of(site: Site) -> Any:
    """The statement of `site` as one that has rows of its own, None where it has none."""
    if isinstance(line_of(site), cst.SimpleStatementSuite):
        return None
    for block in (site.statement, site.suite):
        if isinstance(block, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
            return block
    return None


def smalls(statement: Any) -> list[Any]:
    """The simple statements on the line of a statement; none for a compound one."""
    return list(statement.body) if isinstance(statement, (cst.SimpleStatementLine, cst.SimpleStatementSuite)) else []


def is_compound(statement: Any) -> bool:
    return isinstance(statement, cst.BaseCompoundStatement)


def small_of(site: Site) -> tuple[list[Any], int] | None:
    """The simple statements on the line of `site`, and which of them it stands in (-1: in none).

    None at a compound statement.
    """
    line = line_of(site)
    if line is None:
        return None
    shared = smalls(line)
    if len(shared) == 1:
        return shared, 0
    for index, small in enumerate(shared):
        if small is site.statement or any(node is site.node for node in below(small)):
            return shared, index
    return shared, -1


def below(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """`node` and all nodes in it."""
    todo = [node]
    while todo:
        one = todo.pop()
        yield one
        todo.extend(one.children)


def head(statement: Any) -> Any:
    """The node a statement begins with: its first decorator, or itself."""
    decorators = getattr(statement, "decorators", ())
    return decorators[0] if decorators else statement


def block_of(site: Site) -> Any:
    """The body of the function, class or loop at `site`; None where there is none."""
    for owner in (site.node, site.statement):
        body = getattr(owner, "body", None)
        if isinstance(body, (cst.IndentedBlock, cst.SimpleStatementSuite)):
            return body
    return None


def takes_docstring(site: Site) -> bool:
    """True for a function or class."""
    owner = site.node if block_of(site) is getattr(site.node, "body", None) else site.statement
    return isinstance(owner, (cst.FunctionDef, cst.ClassDef))


def is_docstring(statement: Any) -> bool:
    """True for a statement, or a line that begins with one, that is nothing but a string."""
    small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else statement
    match small:
        case cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString() as string):
            return "b" not in getattr(string, "prefix", "")
    return False


def is_function(node: Any) -> bool:
    return isinstance(node, cst.FunctionDef)


def is_expression(node: Any) -> bool:
    return isinstance(node, cst.BaseExpression)


def parentheses(node: Any) -> tuple[Any, Any] | None:
    """The outermost parentheses that belong to an expression."""
    lpar, rpar = getattr(node, "lpar", ()), getattr(node, "rpar", ())
    return (lpar[0], rpar[-1]) if lpar and rpar else None


def strings(statement: Any) -> list[Any]:
    """The string literals in a statement, whose inner rows an edit may not shift."""
    return [n for n in below(statement) if isinstance(n, (cst.SimpleString, *_FORMATTED))]


# Template strings came with Python 3.14 and libcst 1.8.3.
_FORMATTED: tuple[type[Any], ...] = tuple(
    getattr(cst, name) for name in ("FormattedString", "TemplatedString") if hasattr(cst, name)
)


def needs_statement(suite: Any) -> bool:
    """True for a block that is not valid when empty."""
    return isinstance(suite, (cst.IndentedBlock, cst.SimpleStatementSuite)) or suite is None


def indent_unit(source_tree: Any, suite: Any) -> str:
    """One step of indentation, as the block at hand writes it."""
    own: str | None = getattr(suite, "indent", None)
    unit: str = own if own else source_tree.default_indent
    return unit
