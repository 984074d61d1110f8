"""How far a slice is from its wish, as a panel tells it: worked out of what was seen last."""

from __future__ import annotations

from labkit.errors import LabkitError, UnknownSlice
from labkit.lab import LabSlice
from labkit.lab.converging import look_back
from labkit.observed import Observed
from labkit.store import Record
from labkit_widgets.panel_state import Facts

MOST_REASONS = 8


class Changes:
    """What a deployment would change, planned anew when the wish or what was seen is another.

    It looks at nothing itself: the panel's own looks are enough.
    """

    def __init__(self, slice_: LabSlice) -> None:
        self._slice = slice_
        self._of: tuple[Record, Observed | None] | None = None
        self._facts: Facts = {}
        self.is_gone = False  # a look has found that the slice was deleted
        self.is_old = False  # what was seen last was there before the work that was done since

    def facts(self) -> Facts:
        """``changes`` is their number, None where it cannot be told; ``reasons`` are some whys;
        ``deployed`` says whether anything is there, ``gone`` whether the slice was deleted,
        ``old`` that a look must tell first."""
        record, seen = self._slice.record, self._slice.seen
        if self._of is None or self._of[0] is not record or self._of[1] is not seen:
            self._facts = _compared(record, seen)
            self._of = record, seen
        gone = self.is_gone or self._was_deleted()
        return {**self._facts, "gone": gone, "old": self.is_old and not gone}

    def _was_deleted(self) -> bool:
        """Asked only where nothing is left: no event tells that a cell has deleted it."""
        record, seen = self._slice.record, self._slice.seen
        if record.wish.vms or seen is None or not seen.is_nothing:
            return False
        try:
            self._slice.reread()
        except UnknownSlice:
            return True
        return False


def _compared(record: Record, seen: Observed | None) -> Facts:
    there = seen is None or not seen.is_nothing
    unknown: Facts = {"changes": None, "reasons": [], "deployed": there}
    if seen is None:
        return unknown
    try:
        plan = look_back(record, seen)
    except LabkitError:
        return unknown  # deploying it tells what is wrong with the wish
    reasons = dict.fromkeys(f"{step.name}: {step.reason}" for step in plan.steps)
    return {
        "changes": len(plan.things),
        "reasons": list(reasons)[:MOST_REASONS],
        "deployed": there,
    }
