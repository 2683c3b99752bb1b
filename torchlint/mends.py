"""Changes that several rules propose."""

from __future__ import annotations

from torchlint.facts import Forward, Loop, Site
from torchlint.rule import InsertFirst


def train_first(forward: Forward, loop: Loop) -> InsertFirst | None:
    """`model.train()` where a round of training begins: at the top of the loop, or of the function that trains.

    None where the model has no name there.
    """
    place = place_for(forward, loop)
    return InsertFirst(place, (f"{forward.spelling}.train()",)) if place is not None else None


def place_for(forward: Forward, loop: Loop) -> Site | None:
    function = forward.frame.function
    if not forward.spelling:
        return None
    if forward.frame is loop.frame:
        return loop.site
    if function is not None and forward.spelling.partition(".")[0] in function.parameters:
        return function.site
    return None
