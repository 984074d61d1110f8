"""The JavaScript of the widgets, as bundles that an installation brings."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"


def asset(name: str) -> Path:
    """The path of a bundle; ImportError where the installation has none."""
    path = STATIC / name
    if not path.is_file():
        raise ImportError(
            f"labkit_widgets has no {name}: its JavaScript was never built here. Install labkit "
            "with pip (pip install -e '.[notebook]' in a clone): that builds it."
        )
    return path
