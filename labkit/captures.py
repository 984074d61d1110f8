"""A running capture of one or more links: its packets as a table, while it goes on and after."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from labkit import markup, units
from labkit.calls import Call, Facts
from labkit.errors import (
    ConnectionLost,
    LabkitError,
    LinkError,
    NotSeen,
    StewardProblem,
    UsageError,
)
from labkit.packets import packets_frame
from labkit.programs.frame_headers import ETHERTYPES, IP_PROTOCOLS
from labkit.programs.pcap import RECORD_SIZE, Packet, Reader
from labkit.steward import Steward

MAX_BYTES = 256 << 20  # of one capture in memory; what comes then is counted as dropped
START_TIMEOUT = 30.0
FOREVER = 10 * 365 * 86_400.0
SHOWN, SHOWN_COLUMNS = 12, ("link", "source", "destination", "protocol", "length", "info")

Row = dict[str, Any]


class Capture:
    """Packets of some links, from entering the ``with`` block to leaving it.

    ``with links.capture("a") as seen:`` then `seen.packets` (a DataFrame, see
    `labkit.packets.packets_frame`), `seen.pcap` and `seen.save` for Wireshark, and
    `seen.assert_seen("icmp", within="5s")`. All of them work while it runs, too. Times are those of
    the switch; packets of several links lie in the order they were seen in.
    """

    def __init__(
        self, steward: Steward, links: tuple[str, ...], *, snaplen: int, where: str
    ) -> None:
        self.links = links
        self.dropped = 0
        self._steward = steward
        self._request: dict[str, Any] = {"links": list(links), "snaplen": snaplen, "where": where}
        self._call: Call | None = None
        self._number = 0
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._pcap = bytearray()
        self._reader = Reader()
        self._seen: list[tuple[str, Packet]] = []
        self._rows: list[Row] = []  # of the first of `_seen`, made when they are looked at
        self._failed: LabkitError | None = None
        self._running = False

    def __repr__(self) -> str:
        state = self._state
        return (
            f"<Capture of {', '.join(self.links)}: {markup.counted(len(self), 'packet')}, {state}>"
        )

    def __str__(self) -> str:
        table = markup.text_table([SHOWN_COLUMNS, *self.last(SHOWN)])
        return "\n".join(filter(None, (repr(self), table, self._left_out)))

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def _left_out(self) -> str:
        """What is not shown, if anything is."""
        return f"The last {SHOWN} of {len(self)}; all: .packets" if len(self) > SHOWN else ""

    @property
    def _state(self) -> str:
        if self._call is None:
            return "not started"
        return "running" if self._running else "stopped"

    def _need_start(self) -> None:
        if self._call is None:
            raise UsageError(
                f"the capture of {', '.join(self.links)} was not started",
                why="it begins with a with block, and nothing was seen before",
                fix="Write: with link.capture() as seen: … Or call its start() and stop().",
            )

    def last(self, count: int, columns: Sequence[str] = SHOWN_COLUMNS) -> list[list[Any]]:
        """Some columns of the last packets, for a look while it goes on."""
        with self._changed:
            rows = self._fresh(max(0, len(self._seen) - count))
        return [[row.get(column, "") for column in columns] for row in rows]

    def _repr_mimebundle_(self, **_options: Any) -> markup.Bundle:
        rows = self.last(SHOWN)
        kind = markup.GOOD if self._running else markup.QUIET
        html = [
            markup.heading(
                f"Capture of {', '.join(self.links)}",
                markup.chip(self._state, kind),
                markup.counted(len(self), "packet"),
                f"{self.dropped} dropped" if self.dropped else "",
            )
        ]
        if rows:
            html.append(markup.table(SHOWN_COLUMNS, rows))
        if self._left_out:
            html.append(markup.note(self._left_out))
        return markup.bundle(str(self), *html)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*([LabkitError] if error is not None else [])):
            self.stop()  # what went wrong inside is the one to be told

    def start(self) -> Self:
        """Begin; every packet that passes after this is seen.

        Raises `LinkError` where there is no such link.
        """
        self._call = self._steward.start("capture-start", **self._request)
        self._running = True
        self._thread = threading.Thread(target=self._read, name="labkit-capture", daemon=True)
        self._thread.start()
        with self._changed:
            begun = self._changed.wait_for(lambda: self._number or self._failed, START_TIMEOUT)
        if self._failed is not None:
            raise self._failed
        if not begun:
            self._call.cancel()
            why = f"the steward did not begin within {START_TIMEOUT:g} s"
            raise LinkError(f"cannot capture {', '.join(self.links)}", why=why)
        return self

    def stop(self) -> None:
        """End it, with every packet that passed before; again is fine.

        Raises `ConnectionLost` when it broke off before; the packets up to there are kept.
        """
        self._need_start()
        if not self._running:
            return
        assert self._thread is not None
        assert self._call is not None
        try:
            with contextlib.suppress(ConnectionLost, StewardProblem):  # its reader tells
                self._call.send(end=True)
        finally:
            self._thread.join()
            self._running = False
        if self._failed is not None:
            raise self._failed

    # what was seen

    @property
    def packets(self) -> pd.DataFrame:
        """The packets so far."""
        self._need_start()
        with self._changed:
            seen = list(self._seen)
        return packets_frame(seen)

    @property
    def pcap(self) -> bytes:
        """The packets so far as a pcap file for Wireshark."""
        self._need_start()
        with self._changed:
            return bytes(self._pcap)

    def save(self, path: str | Path) -> None:
        """Write the packets so far as a pcap file."""
        Path(path).expanduser().write_bytes(self.pcap)

    def take(self, within: float | str, most: int | None = None) -> tuple[bytes, list[Row]]:
        """What has come since the last `take`, as pcap bytes and as rows; it is then forgotten.

        Waits for it at most so long, and takes at most so many packets. A capture whose packets
        are taken may go on for days.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pcap or self._has_ended(), _seconds(within))
            count = len(self._seen) if most is None else min(most, len(self._seen))
            rows = self._fresh(0)[:count]
            left = sum(RECORD_SIZE + len(packet.data) for _, packet in self._seen[count:])
            data = bytes(self._pcap[: len(self._pcap) - left])
            del self._pcap[: len(data)], self._seen[:count], self._rows[:count]
        return data, rows

    def wait_for(self, matches: Callable[[Row], bool], within: float | str) -> Row | None:
        """The first packet, also of those already seen, for which `matches(row)` holds.

        None when none came within so many seconds (or ``"500ms"``, ``"5s"``).
        """
        self._need_start()
        seconds = _seconds(within)
        deadline, position = time.monotonic() + seconds, 0
        while True:
            with self._changed:
                left = deadline - time.monotonic()
                if not self._changed.wait_for(partial(self._grown, position), left):
                    return None
                fresh = self._fresh(position)
            for row in fresh:
                if matches(row):
                    return row
            position += len(fresh)
            if not fresh:
                return None  # it has ended, and all was looked at

    def assert_seen(
        self,
        protocol: str | Callable[[Row], bool],
        *,
        within: float | str = "5s",
        **fields: Any,
    ) -> Row:
        """The first such packet; raises `NotSeen` when none comes in time.

        `protocol` is a name on any layer ("icmp", "tcp", "dns", "ip") or a function of a row;
        `fields` are columns and their values: ``assert_seen("tcp", destination_port=80)``.
        """

        def matches(row: Row) -> bool:
            named = protocol(row) if callable(protocol) else protocol.upper() in names(row)
            return named and all(row.get(name) == value for name, value in fields.items())

        row = self.wait_for(matches, within)
        if row is not None:
            return row
        wanted = "such" if callable(protocol) else protocol.upper()
        told = "".join(f", {name} {value}" for name, value in fields.items())
        with self._changed:
            others = sorted({other["protocol"] for other in self._fresh(0)})
        raise NotSeen(
            f"no {wanted} packet{told} on {', '.join(self.links)} within {_seconds(within):g} s",
            why=f"{markup.counted_were(len(self), 'packet')} seen"
            f"{f': {chr(44).join(others)}' if others else ''}",
            fix="See its `packets`, and whether the link is up and its machines send.",
        )

    # inside

    def _grown(self, known: int) -> bool:
        return len(self._seen) > known or self._has_ended()

    def _has_ended(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def _fresh(self, position: int) -> list[Row]:
        for link, packet in self._seen[len(self._rows) :]:
            self._rows.append({"link": link, **packet.row()})
        return self._rows[position:]

    def _read(self) -> None:
        assert self._call is not None
        try:
            for part in self._call.parts(FOREVER):
                self._take(part.facts, part.data)
        except StewardProblem as error:  # raised where people look: in start() or stop()
            self._failed = LinkError(f"cannot capture {', '.join(self.links)}", why=error.why)
        except ConnectionLost as error:
            self._failed = ConnectionLost(
                f"the capture of {', '.join(self.links)} broke off",
                why=f"{error}; {markup.counted_were(len(self), 'packet')} seen before",
                fix="They are kept. Begin another one.",
            )
        with self._changed:
            self._changed.notify_all()

    def _take(self, facts: Facts, data: bytes) -> None:
        with self._changed:
            if "capture" in facts:
                self._number = facts["capture"]
            names = [name for name, count in facts["links"] for _ in range(count)]
            if len(self._pcap) + len(data) > MAX_BYTES:
                self.dropped += len(names)
                return
            self._pcap += data
            self._seen += zip(names, self._reader.feed(data), strict=True)
            self._changed.notify_all()


def names(row: Row) -> set[str]:
    """The protocols of a packet on all of its layers, in capitals."""
    found = {row["protocol"].upper()}
    if "eth_type" in row:
        found.add(ETHERTYPES.get(row["eth_type"], "ETHERNET").upper())
    if "ip_version" in row:
        found |= {"IP", IP_PROTOCOLS.get(row.get("ip_protocol", -1), "IP").upper()}
    return found


def _seconds(within: float | str) -> float:
    if isinstance(within, str):
        return units.milliseconds(within, "within") / 1000
    return within
