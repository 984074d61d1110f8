"""``tcpdump``: one line for each frame on an interface, or a file of them with -w."""

from __future__ import annotations

import struct
import time
from collections import deque

from labkit.simulator.guest.programs.arguments import BadUsage, read
from labkit.simulator.guest.programs.capture_filter import FilterError, Test, compiled
from labkit.simulator.guest.programs.capture_text import line_of
from labkit.simulator.guest.system import System, system_of
from labkit.simulator.machine import Process, Steps, Wait
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.waiting import Signal

VERSION = (
    "tcpdump version 4.99.3",
    "libpcap version 1.10.3 (with TPACKET_V3)",
    "OpenSSL 3.0.20 7 Apr 2026",
)
SNAPLEN = 262144
MAGIC = 0xA1B2C3D4
FLAGS, VALUED = "nNepqtvxXASlUKDOI", "icwsrQZyF"


def tcpdump(process: Process) -> int | Steps[int]:
    if "--version" in process.argv:
        process.say(*VERSION)
        return 0
    words = [word for word in process.argv[1:] if word not in ("--immediate-mode", "-#")]
    try:
        options, rest = read(words, FLAGS, VALUED)
        test = compiled(" ".join(rest))
    except (BadUsage, FilterError) as error:
        return process.fail(str(error))
    system = system_of(process)
    if "D" in options:
        return _list(process, system)
    name = options.get("i") or _first(system)
    chosen = [one for one in system.net.interfaces if name in (one.name, "any")]
    if not chosen:
        return process.fail(f"{name}: No such device exists\n(No such device exists)")
    return Dump(process, options, name, chosen, test).run()


def _first(system: System) -> str:
    return next((one.name for one in system.net.interfaces if not one.is_loopback), "lo")


def _list(process: Process, system: System) -> int:
    for number, one in enumerate(system.net.interfaces[1:], 1):
        process.say(f"{number}.{one.name} [Up, Running, Connected]")
    return 0


class Dump:
    """One run."""

    def __init__(
        self,
        process: Process,
        options: dict[str, str],
        name: str,
        interfaces: list[Interface],
        test: Test,
    ) -> None:
        self._process = process
        self._system = system_of(process)
        self._options = options
        self._name = name
        self._interfaces = interfaces
        self._test = test
        self._seen: deque[tuple[int, bytes]] = deque()
        self._arrived = Signal()
        self._count = 0

    def run(self) -> Steps[int]:
        for one in self._interfaces:
            one.taps.append(self._tap)
        try:
            self._begin()
            wanted = int(self._options.get("c", "0"))
            while not wanted or self._count < wanted:
                if not self._seen:
                    yield Wait(float("inf"), signal=self._arrived)
                    continue
                self._show(*self._seen.popleft())
            self._end()
        finally:
            for one in self._interfaces:
                one.taps.remove(self._tap)
        return 0

    def _tap(self, frame: bytes) -> None:
        if self._test(frame):
            self._seen.append((self._system.guest.nanoseconds, frame))
            self._arrived.fire()

    def _say(self, text: str) -> None:
        self._process.stderr.write(f"{text}\n".encode())

    def _begin(self) -> None:
        if "w" in self._options:
            head = struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, SNAPLEN, 1)
            self._write(head, append=False)
            start = "tcpdump: "
        else:
            self._say("tcpdump: verbose output suppressed, use -v[v]... for full protocol decode")
            start = ""
        self._say(
            f"{start}listening on {self._name}, link-type EN10MB (Ethernet), "
            f"snapshot length {SNAPLEN} bytes"
        )

    def _show(self, stamp: int, frame: bytes) -> None:
        self._count += 1
        if "w" in self._options:
            seconds, rest = divmod(stamp // 1000, 10**6)
            size = len(frame)
            self._write(struct.pack("<IIII", seconds, rest, size, size) + frame, append=True)
            return
        when = time.strftime("%H:%M:%S", time.gmtime(stamp // 10**9))
        clock = "" if "t" in self._options else f"{when}.{stamp // 1000 % 10**6:06} "
        self._process.say(f"{clock}{line_of(frame, with_macs='e' in self._options)}")

    def _write(self, data: bytes, *, append: bool) -> None:
        if self._options["w"] == "-":
            self._process.stdout.write(data)
        else:
            self._system.files.write(self._process.path(self._options["w"]), data, append=append)

    def _end(self) -> None:
        plural = "" if self._count == 1 else "s"
        self._say(f"{self._count} packet{plural} captured")
        self._say(f"{self._count} packet{plural} received by filter")
        self._say("0 packets dropped by kernel")
