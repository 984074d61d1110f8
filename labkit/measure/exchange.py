"""Packets between two guests: the program that sends and takes them, from its start to its end."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from labkit.errors import LabError, LinkError
from labkit.executor import NO_SUCH_PROGRAM, Result
from labkit.guest import OnOutput
from labkit.measure.samples import Side, read

CLOCK_US = 20_000
WORDS = ("ready", "sent")  # what the program says before it waits for a signal
SLACK = 60.0  # seconds that a busy machine may take for anything


class Runs(Protocol):
    """What is needed of a guest: `labkit.guest.Guest` has it."""

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str = b"",  # noqa: A002 - as Guest.run calls it
        timeout: float | None = ...,
        on_output: OnOutput | None = None,
    ) -> Result: ...


@dataclass(frozen=True, slots=True)
class Load:
    """What a machine sends: so many packets of a size, `each` of them together, then a pause.

    `late_us`: how much of what it is late by it makes up for; without, bursts are left out.
    """

    count: int
    size: int
    pause_us: float
    each: int = 1
    late_us: float = 0.0

    @property
    def seconds(self) -> float:
        return self.count / self.each * self.pause_us / 1e6


@dataclass(frozen=True, slots=True)
class Place:
    """Where the program runs: a machine's guest, its interface and that one's MAC address."""

    name: str
    guest: Runs
    interface: str
    mac: str


def exchange(places: tuple[Place, Place], loads: tuple[Load, Load], linger: float) -> list[Side]:
    """Let both machines send at once; `linger`: how long the last packet may be under way."""
    run = secrets.randbits(31)
    changed = threading.Condition()
    limit = 3 * max(load.seconds for load in loads) + linger + SLACK
    one, other = places
    programs = [
        _Program(one, other.mac, loads[0], loads[1].size, run, changed),
        _Program(other, one.mac, loads[1], loads[0].size, run, changed),
    ]
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(program.run, limit + 2 * SLACK) for program in programs]
        try:
            _lead(programs, changed, limit, linger)
        finally:
            for program in programs:
                program.end()
    # One that was ended by us has no error of its own to tell.
    first = min(range(2), key=lambda number: programs[number].was_killed)
    running[first].result()
    return [future.result() for future in running]


def _lead(
    programs: Sequence[_Program], changed: threading.Condition, limit: float, linger: float
) -> None:
    """From word to word, as far as both come."""
    for word, seconds in zip(WORDS, (SLACK, limit), strict=True):
        with changed:
            changed.wait_for(
                lambda word=word: (  # type: ignore[misc]
                    all(word in program.said for program in programs)
                    or any(program.ended for program in programs)
                ),
                seconds,
            )
            if word == "sent":
                changed.wait_for(lambda: any(program.ended for program in programs), linger)
        if not all(word in program.said and not program.ended for program in programs):
            return
        for program in programs:
            program.signal()


class _Program:
    """`probe.lua` in one guest."""

    def __init__(
        self,
        place: Place,
        peer: str,
        load: Load,
        peer_size: int,
        run: int,
        changed: threading.Condition,
    ) -> None:
        self.said: dict[str, str] = {}
        self.ended = self.was_killed = False
        self._signals = 0
        self._place = place
        self._argv = ["luajit", "-", place.interface, place.mac, peer]
        numbers = (
            *(run, load.count, load.size, peer_size),
            *(load.pause_us, load.each, load.late_us, CLOCK_US),
        )
        self._argv += [f"{number:g}" if number < 1e6 else f"{number:.0f}" for number in numbers]
        self._changed = changed
        self._clock: list[tuple[float, float]] = []
        self._line = ""

    def run(self, limit: float) -> Side:
        """Run it to its end."""
        source = resources.files("labkit.measure").joinpath("probe.lua").read_bytes()
        try:
            result = self._place.guest.run(
                self._argv, input=source, timeout=limit, on_output=self._hear
            )
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()
        if not result.ok:
            raise self._error(result)
        return read(result.text, self._clock)

    def signal(self) -> None:
        """Tell it to go on to what comes next."""
        self._signals += 1
        self._place.guest.run(["kill", "-USR1", self.said["ready"]])

    def end(self) -> None:
        """See that it ends, whatever it waits for; the first error is the one to be told."""
        if self._signals == len(WORDS):
            return  # it has been told to
        with self._changed:
            self._changed.wait_for(lambda: self.ended or "ready" in self.said, SLACK)
        if not self.ended and "ready" in self.said:
            self.was_killed = True
            with suppress(LabError):
                self._place.guest.run(["kill", "-KILL", self.said["ready"]])

    def _hear(self, stream: str, text: str) -> None:
        now = time.monotonic() * 1e6
        if stream != "stdout":
            return
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "clock":
                self._clock.append((float(rest), now))
            elif word in ("ready", "sent"):
                with self._changed:
                    self.said[word] = rest
                    self._changed.notify_all()

    def _error(self, result: Result) -> LinkError:
        name = self._place.name
        said = result.error_text.strip().splitlines()
        if self.was_killed:
            why = f"it had not come from {' to '.join(WORDS)} in time, and was ended"
            fix = "Send fewer packets, or measure while the machines are less busy."
        elif result.returncode == NO_SUCH_PROGRAM:
            why, fix = f"{name} has no luajit", "Use machines of the micro image at its ends."
        else:
            why = f"status {result.returncode}, {said[-1] if said else 'without a word'}"
            fix = "See whether the interface is there and up."
        return LinkError(f"cannot send packets from {name}", why=why, fix=fix)
