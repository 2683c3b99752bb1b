"""torchlint: finds PyTorch code that trains silently wrong, mends it, and proves each claim by training.

`torchlint.watch(model, optimizer)` watches a training loop from inside; only then is torch imported.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchlint.confirm.watch import Report as Report
    from torchlint.confirm.watch import TorchlintWarning as TorchlintWarning
    from torchlint.confirm.watch import watch as watch

__version__ = "0.1.0"

_NEED_TORCH = ("Report", "TorchlintWarning", "watch")


def __getattr__(name: str) -> object:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from torchlint.confirm import watch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"torchlint.{name} needs torch. Remedy: pip install 'torchlint[confirm]'") from error
    return getattr(watch, name)
