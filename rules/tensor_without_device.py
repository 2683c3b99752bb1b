"""TODO one sentence.

## What it finds
TODO
## Why it hurts
TODO
## Example
TODO
## Fix and its safety
TODO
## Known limits
TODO
## Proof
TODO
## References
TODO
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torchlint.facts import Combined, Forward, Site, Tensor, Value
from torchlint.rule import Facts, Finding, Fix, Group, Replace, Safety

if TYPE_CHECKING:
    from torchlint.confirm.probe import Measurement
    from torchlint.confirm.trace import Trace

group = Group.SUSPICIOUS
words = [{"forward"}, {"device", "cuda", "to"}, {"torch"}]
fixable = "sometimes"


_QUIET = {"set_default_device", "set_default_tensor_type"}


def check(facts: Facts) -> Iterator[Finding]:
    if facts.words & _QUIET:
        return
    seen: set[object] = set()
    for root in facts.roots:
        for event in root.of(Combined):
            owner = event.frame.function.owner if event.frame.function else None
            if (
                owner is None
                or owner.module.value != "yes"
                or root.frame.name == "__init__"
                or event.operation == "item"
            ):
                continue
            made = next((o for o in event.operands if isinstance(o, Tensor) and _left_on_cpu(o)), None)
            other = next((o for o in event.operands if _open(o)), None)
            if made is None or other is None or made.fresh is None or made.fresh.node in seen:
                continue
            seen.add(made.fresh.node)
            what = f"`{other.name}`" if other.name else "the input"
            yield Finding(
                made.fresh,
                f"this tensor is made on the CPU, whatever device {what} is on",
                "Once the module is moved to an accelerator, combining the two raises RuntimeError.",
                related=((f"it meets {what} here", event.site),),
                fix=_fix(facts, made.fresh, other),
            )


def _left_on_cpu(value: Tensor) -> bool:
    """True for a tensor with dimensions that a factory made on the CPU by default."""
    return (
        value.device is not None
        and value.device.kind == "cpu"
        and value.fresh is not None
        and value.rank not in (0, None)
    )


def _open(value: Value) -> bool:
    """True for what is certainly a tensor and came in from outside, so that it can be on any device."""
    return isinstance(value, Tensor) and value.device is None and value.fresh is None and value.certain


def _fix(facts: Facts, factory: Site, other: Value) -> Fix | None:
    text = facts.text(factory)
    if not other.name.isidentifier() or not text.endswith(")") or "Tensor(" in text:
        return None
    body = text[:-1].rstrip().removesuffix(",")
    joint = "" if body.endswith("(") else ", "
    return Fix(
        f"Make it where `{other.name}` is",
        Safety.UNSAFE,
        (Replace(factory, f"{body}{joint}device={other.name}.device)"),),
    )


_ = Forward


def probe(trace: Trace) -> Iterator[Measurement]:
    from torchlint.confirm import events
    from torchlint.confirm.probe import Measurement

    what, unit = "operations on tensors of two devices", "errors"
    errors = [error for error in trace.of(events.DeviceError) if error.made_inside]
    for error in errors:
        yield Measurement(what, 1, 0, unit, True, error.inner, f"RuntimeError: {error.message}")
    if not errors:
        for forward in trace.of(events.Forward):
            if forward.device.startswith("cuda"):
                message = f"{forward.kind} and all it was given were on {forward.device}"
                yield Measurement(what, 0, 0, unit, False, forward.place, message)
