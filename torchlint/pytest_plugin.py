"""The pytest fixture `torchlint_watch`: a test that asks for it fails when a pitfall is confirmed in it.

    def test_it_learns(torchlint_watch):
        train(Net(), steps=5)

    @pytest.mark.torchlint(ignore=["inference-without-no-grad"])
    def test_it_predicts(torchlint_watch): ...

Every step is looked at. pytest loads this module in every run of an environment that has torchlint, so it imports
nothing; torch only comes with the first test that asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torchlint.confirm.result import RuntimeOnly, Verdict
    from torchlint.confirm.watch import Report

FIXTURE = "torchlint_watch"


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known, so that `--strict-markers` takes it."""
    config.addinivalue_line("markers", "torchlint(ignore): rules that torchlint_watch leaves out of this test")


@pytest.fixture
def torchlint_watch(request: pytest.FixtureRequest) -> Iterator[Report]:
    """Watches the test's training and gives the report; the test fails when a pitfall is confirmed in it."""
    try:
        from torchlint.confirm.watch import watch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise pytest.fail.Exception(
            "torchlint_watch needs torch. Remedy: pip install 'torchlint[confirm]'", pytrace=False
        ) from None
    with contextlib.ExitStack() as watching:
        try:
            report = watching.enter_context(watch(every=1, ignore=_ignored(request.node), warn=False))
        except ValueError as error:  # an unknown rule in the marker
            raise pytest.fail.Exception(f"@pytest.mark.torchlint: {error}", pytrace=False) from None
        yield report


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Judges while the test is still being called, so that it is the test that fails and not its teardown."""
    outcome: Any = yield
    arguments = getattr(item, "funcargs", {})
    if FIXTURE not in arguments:
        return
    text = _told(arguments[FIXTURE])
    if not text:
        return
    if outcome.excinfo is None:
        outcome.force_exception(pytest.fail.Exception(text, pytrace=False))
    else:  # its own failure goes first
        item.add_report_section("call", "torchlint", text)


def _ignored(item: Any) -> list[str]:
    """The rules that the test's markers name: `@pytest.mark.torchlint(ignore=["rule"])`, on a class or module too."""
    names: list[str] = []
    for marker in item.iter_markers("torchlint"):
        given = marker.kwargs.get("ignore", ())
        if marker.args or set(marker.kwargs) != {"ignore"}:
            pytest.fail("write @pytest.mark.torchlint(ignore=['missing-zero-grad'])", pytrace=False)
        names += [given] if isinstance(given, str) else given
    return names


def _told(report: Report) -> str:
    """What was confirmed, each with its line and number; empty when nothing was."""
    found = report.confirmed
    if not found:
        return ""
    rules = ", ".join(dict.fromkeys(one.code for one in found))
    return "\n".join([f"torchlint confirmed {rules} in this test", *map(_block, found)])


def _block(one: Verdict | RuntimeOnly) -> str:
    number = one.number
    if number is None:
        return f"\n{one.spot}: {one.code}"
    return (
        f"\n{one.spot}: {one.code}: {number.message}\n"
        f"    {one.spot.source.strip()}\n"
        f"    {number.measure}: {number.value:.6g} {number.unit}, where {number.expected:.6g} is right"
    )
