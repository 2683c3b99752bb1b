"""What rules on losses share: which losses a file computes, what of, and how an operation is taken out of the way."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from torchlint.facts import Loss, Made, Module, Site, Tensor, Unknown, Value
from torchlint.rule import Change, Facts, Fix, Replace, Safety

# Operations whose results are scores: neither probabilities nor their logarithms.
SCORES = frozenset({"linear", "conv", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh"})


def losses(facts: Facts, kind: str) -> Iterator[Loss]:
    """The places where this loss is computed of what can be seen, each with every value that it is given."""
    for root in [*facts.roots, *(root for _, root in facts.forwards)]:
        for loss in root.of(Loss):
            if loss.kind == kind and loss.output is not None:
                yield loss


def certain(facts: Facts, kind: str, wrong: frozenset[str]) -> Iterator[tuple[Loss, list[Made]]]:
    """The losses whose output is on every path the result of one of the operations `wrong`, each place once."""
    seen: set[object] = set()
    for loss in losses(facts, kind):
        if loss.site.node in seen or loss.output is None:
            continue
        makes = facts.made(loss.output)
        if makes is not None and all(made.by in wrong for made in makes):
            seen.add(loss.site.node)
            yield loss, makes


def computed(value: Value | None) -> bool:
    """True when a module has certainly had a part in it."""
    return value is not None and all(
        isinstance(o, (Tensor, Unknown)) and any(isinstance(g, Module) for g in o.graph) for o in value.options()
    )


def untouched(value: Value | None) -> bool:
    """True when it is certainly a tensor, or may be one, that no module or parameter in sight has had a part in."""
    return value is not None and all(
        isinstance(o, (Tensor, Unknown)) and not o.graph and not (isinstance(o, Tensor) and o.parameter)
        for o in value.options()
    )


def title(loss: Loss) -> str:
    """How a message names the loss: `criterion`, or the function."""
    return f"`{loss.spelling}`" if loss.spelling else f"`{loss.kind}`"


def given(facts: Facts, loss: Loss) -> str:
    """How a message names what the loss is given."""
    text = facts.text(loss.output_site) if loss.output_site is not None else ""
    return f"`{text}`" if 0 < len(text) <= 40 else "its input"


def operation_at(facts: Facts, loss: Loss, makes: list[Made]) -> tuple[tuple[str, Site], ...]:
    """Second locations: where the operations stand, when not in the call itself."""
    return tuple(
        (f"the {made.by} is here", made.site) for made in makes if made.site.statement is not loss.site.statement
    )


def without(facts: Facts, loss: Loss, makes: list[Made]) -> Fix | None:
    """The mend that gives the loss what the operation was applied to; None where that cannot be written.

    In the call itself, or by the name that it still has there, or at the end of `forward`.
    """
    if len(makes) != 1 or loss.output_site is None:
        return None
    made = makes[0]
    change: Change | None = None
    if made.operand is not None:
        inner = simple(facts.text(made.operand))
        if made.site.node is loss.output_site.node and inner:
            change = Replace(loss.output_site, inner)
        elif loss.before and facts.text(loss.output_site).isidentifier():
            change = Replace(loss.output_site, loss.before)
        elif inner:
            change = Replace(made.site, inner)
    else:
        identity = facts.spell("torch.nn.Identity")
        change = Replace(made.site, f"{identity}()") if identity is not None else None
    return Fix(f"Take the {made.by} out", Safety.UNSAFE, (change,)) if change is not None else None


def simple(text: str) -> str:
    """An expression so that it can stand anywhere, in parentheses where it needs them; "" when it cannot be moved."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return ""
    return text if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)) else f"({text})"
