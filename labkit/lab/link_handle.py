"""One link of a slice: up and down, impairments, captures, measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.captures import Capture
from labkit.errors import LinkError, UsageError
from labkit.lab import reprs, tables
from labkit.links import Links, LinkState
from labkit.markup import Bundle
from labkit.measure import PACKETS, End, OnProgress, measure_link
from labkit.wish import Impairment, LinkWish, split_end
from labkit.wish.links import IMPAIRMENTS

if TYPE_CHECKING:
    from labkit.lab.slice_handle import LabSlice


class LabLink:
    """A link by its name. Its verbs change the wish, and the living link at once."""

    def __init__(self, owner: LabSlice, name: str) -> None:
        self._slice = owner
        self.name = name

    def __repr__(self) -> str:
        if self.name not in self._slice.link_states:
            return f"<Link {self.name}: removed from slice {self._slice.name}>"
        wish = self.wish
        words = tables.impairment_words(wish.impairments, len(wish.ends))
        return f"<Link {wish}: {self.state}{f', {words}' if words else ''}>"

    def _repr_mimebundle_(self, **_options: Any) -> Bundle:
        return reprs.link_bundle(self)

    @property
    def wish(self) -> LinkWish:
        """What is wished of it."""
        return self._slice.wish.link(self.name)

    @property
    def slice(self) -> LabSlice:
        """The slice it belongs to."""
        return self._slice

    @property
    def state(self) -> str:
        """``up``, ``down``, ``disconnected``, ``absent``, as last seen."""
        _ = self.wish  # it may have been removed, which is an error that says so
        return self._slice.link_states[self.name]

    def up(self) -> None:
        """Let packets pass."""
        self._change(up=True)

    def down(self) -> None:
        """Let no packet pass, as with the cable pulled in the middle."""
        self._change(up=False)

    def impair(
        self, *, sends: Mapping[str, Mapping[str, object]] | None = None, **everywhere: object
    ) -> None:
        """Do something to its packets: ``delay="20ms"``, ``jitter``, ``loss="1%"``,
        ``rate="5Mbit"``, ``duplicate``, ``corrupt``.

        In every direction, or by `sends` for those one end sends:
        ``sends={"r1:eth1": {"loss": "10%"}}``. What is not named stays; None takes one away.
        """
        self._change(sends=sends, **everywhere)

    def clear(self) -> None:
        """Take all impairments away."""
        self._change(**dict.fromkeys(IMPAIRMENTS))

    def counters(self) -> LinkState:
        """What passed and what was lost, now."""
        for state in self._links().states():
            if state.name == self.name:
                return state
        raise LinkError(
            f"there are no counters of link {self.name}",
            why="it is not there",
            fix="Deploy the slice first.",
        )

    def capture(self, *, snaplen: int = 262144, where: str = "sent") -> Capture:
        """Capture its packets, for a ``with`` statement; see `labkit.captures.Capture`."""
        return self._slice.capture(self.name, snaplen=snaplen, where=where)

    def measure(
        self, *, packets: int = PACKETS, on_progress: OnProgress | None = None
    ) -> pd.DataFrame:
        """Compare what was asked of it with what packets between its VMs say.

        One row per quantity and direction; see `labkit.measure.measure_link`. Raises `UsageError`
        on the simulator, whose links do just what was asked.
        """
        if not self._slice.engine.is_real:
            raise UsageError(
                f"cannot measure link {self.name}",
                why="it is simulated: it does what was asked, and there is nothing to measure",
                fix='Measure on real machines: labkit.Lab("local").',
            )
        asked = dict(self.wish.impairments)
        ends = []
        for end in self.wish.ends:
            name, interface = split_end(end)
            sends = asked.get(end, Impairment())
            ends.append(End(name, self._slice.get_vm(name).guest, interface, sends))
        return measure_link(self.name, ends, packets=packets, on_progress=on_progress)

    def _links(self) -> Links:
        return self._slice.engine.links(self._slice.id, self._slice.link_host(self.name))

    def _change(self, **settings: Any) -> None:
        self._slice.change_link(self.name, **settings)
