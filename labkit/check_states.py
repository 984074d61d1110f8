"""The words a check has for what it found; see `labkit.Lab.doctor`."""

from __future__ import annotations

from typing import Final, Literal

CheckState = Literal["ok", "note", "bad"]

OK: Final = "ok"
NOTE: Final = "note"  # it works, and this is good to know
BAD: Final = "bad"
