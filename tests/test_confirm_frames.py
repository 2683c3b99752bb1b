"""Whose code is on the stack, read from frames and bytecode. No torch here."""

from __future__ import annotations

import collections
import json
import sys

import pytest

from torchlint.confirm.events import Place
from torchlint.confirm.frames import discards, initialises_later, innermost_user, is_users, user_place


def thrown_away() -> list[bool]:
    """Whether each call below is a statement of its own, as seen from within the call."""
    seen: list[bool] = []

    def note(*_: object) -> list[int]:
        seen.append(discards(sys._getframe(1)))
        return [1]

    note()  # away
    kept = note()
    note(1, 2)  # away
    note().append(1)
    if note():
        note(kept)  # away
    print(note(), file=sys.stderr)
    (note())  # away
    for _ in note():
        pass
    note()[0]
    [note() for _ in range(1)]
    lambda: note()
    return seen


def test_calls_whose_result_is_thrown_away() -> None:
    assert thrown_away() == [True, False, True, False, False, True, False, True, False, False, False]


def test_only_an_init_that_is_yet_to_come_counts() -> None:
    seen: dict[str, bool] = {}

    class Base:
        def __init__(self) -> None:
            pass

        def note(self, name: str) -> None:
            seen[name] = initialises_later(self)

    class Early(Base):
        def __init__(self) -> None:
            self.note("early")
            super().__init__()
            self.note("late")

    class Never(Early):
        def __init__(self) -> None:
            self.note("never")

    class Uncalled(Base):
        def __init__(self) -> None:
            self.note("uncalled")
            super().__init__  # noqa: B018

    class InHelper(Base):
        def __init__(self) -> None:
            self.build()
            Base.__init__(self)

        def build(self) -> None:
            self.note("helper")

    class Other:
        def __init__(self) -> None:
            Never()
            super().__init__()

    for kind in (Early, Never, Uncalled, InHelper, Other):
        kind()
    never = Never()
    never.note("afterwards")
    assert seen == {
        "early": True,
        "late": False,
        "never": False,
        "uncalled": False,
        "helper": True,
        "afterwards": False,
    }


def test_libraries_are_not_the_users_code() -> None:
    assert is_users(__file__)
    for library in (
        json.__file__,
        collections.__file__,
        pytest.__file__,
        sys.modules["torchlint.confirm.frames"].__file__,
    ):
        assert library is not None
        assert not is_users(library)
    assert not is_users("<string>")


def test_the_place_is_the_users_innermost_line() -> None:
    places: list[Place] = []
    json.loads("[1]", parse_int=lambda text: places.append(user_place(sys._getframe(1))))
    assert [place.file for place in places] == [__file__]
    assert places[0].function == "test_the_place_is_the_users_innermost_line"
    try:
        json.loads("{")
    except ValueError as error:
        assert innermost_user(error.__traceback__).function == "test_the_place_is_the_users_innermost_line"
