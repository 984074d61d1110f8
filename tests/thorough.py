"""How thorough tests are: all that they can in CI (THOROUGH=1), a quick part while you work."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("THOROUGH"))
QUICK_SHARE = 8


def examples(number: int = 100) -> int:
    """With how many examples a property is tried, of so many in CI."""
    return number if THOROUGH else max(5, number // QUICK_SHARE)
