"""Where the documentation is published: the one place that knows, for every report that links a rule's page."""

from __future__ import annotations

from torchlint import builtin

BASE = ""  # ends in `/`, such as "https://OWNER.github.io/torchlint/"; empty as long as the site has no public address


def page(code: str) -> str | None:
    """The address of a rule's page; None where there is none."""
    return f"{BASE}rules/{code}/" if BASE and code not in builtin.CODES else None
