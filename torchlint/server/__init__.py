"""`torchlint server`: the language server that editors start. The only modules that import pygls and lsprotocol.

documents.py holds the open texts, settings.py says which rules look at each, checks.py turns texts into findings in a
thread of its own, messages.py turns findings into what an editor shows; actions.py and hover.py answer what is asked
about them, and wiring.py ties all of it to the protocol.
"""

from __future__ import annotations


class MissingError(Exception):
    """A package that the server needs is not installed; the message says how to get it."""


def run() -> int:
    """Serves the editor at the other end of standard input and output until it leaves; returns the exit status.

    Raises MissingError.
    """
    try:
        from torchlint.server import wiring
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol", "attrs", "cattrs"):
            raise
        raise MissingError(
            f"`torchlint server` needs pygls ({error.name} is missing). Remedy: pip install 'torchlint[server]'"
        ) from error
    return wiring.serve()
