"""What an engine that has prepared models and optimizers has to do in the backward pass and at the step."""

from __future__ import annotations

from torchlint.facts import Engine, Literal, Value, only
from torchlint.rule import Facts

_HALF = ("fp16", "16-mixed", 16, "16")


def scales(engine: Engine) -> bool:
    """True when it certainly scales the loss, for training in float16."""
    found = [only(engine.settings.get(name)) for name in ("mixed_precision", "precision")]
    return any(isinstance(one, Literal) and one.value in _HALF for one in found)


def accumulates(facts: Facts, engine: Engine) -> bool:
    """True when it is told to accumulate gradients over several batches, as far as the program decides that."""
    steps: Value | None = engine.settings.get("gradient_accumulation_steps")
    if steps is None or "accumulate" not in facts.words:
        return False
    return not all(isinstance(one, Literal) and one.value in (1, None) for one in steps.options())
