"""A slice without a lab, for editors: what is wished, planned and deployed, in memory."""

from __future__ import annotations

import threading

import pandas as pd

from labkit.errors import LabkitError
from labkit.frames import frame
from labkit.observed import Observed
from labkit.plan import plan
from labkit.plan_frame import plan_frame
from labkit.testing.simulate import simulate
from labkit.wish import Slice
from slice_worlds import promised


class SliceInMemory:
    """Plans and deploys as a lab with one large host does. `refusal` and `failure` are raised."""

    def __init__(self, wish: Slice) -> None:
        self._wish = wish
        self.saved: list[Slice] = []
        self.seen = Observed()
        self.refusal: LabkitError | None = None
        self.failure: Exception | None = None
        self.may_end = threading.Event()
        self.may_end.set()

    @property
    def wish(self) -> Slice:
        return self._wish

    def set_wish(self, wish: Slice) -> None:
        if self.refusal is not None:
            raise self.refusal
        self._wish = wish
        self.saved.append(wish)

    def plan(self) -> pd.DataFrame:
        self._work()
        return plan_frame(plan(promised(self._wish, seen=self.seen), self.seen))

    def deploy(self) -> pd.DataFrame:
        self._work()
        self.seen = simulate(plan(promised(self._wish, seen=self.seen), self.seen), self.seen)
        rows = ({"name": vm.name, "state": "running", "host": pd.NA} for vm in self._wish.vms)
        return frame(rows, {"name": "string", "state": "string", "host": "string"})

    def _work(self) -> None:
        self.may_end.wait()
        if self.failure is not None:
            raise self.failure
