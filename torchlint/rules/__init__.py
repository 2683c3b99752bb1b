"""The rules: in a checkout they stand in `rules/` beside this package, in a wheel in this folder."""

from pathlib import Path

_checkout = Path(__file__).resolve().parents[2]
if (_checkout / "pyproject.toml").is_file() and (_checkout / "rules").is_dir():
    __path__.append(str(_checkout / "rules"))
