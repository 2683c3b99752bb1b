"""Puts the rules and their fixtures into the wheel's `torchlint` package; in a checkout they stand beside it.

A hook rather than a static `force-include`, because that one also applies to editable installs: it would leave copies
in site-packages that go stale and that type checkers take for the package itself.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class InsideThePackage(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"].update({"rules": "torchlint/rules", "fixtures": "torchlint/fixtures"})
