"""What a worse cable does to the frames of one direction: pure arithmetic on a given clock.

Each frame is met in this order: loss, corruption, duplication, rate, delay with jitter.

- ``loss``, ``duplicate``, ``corrupt``: probability of each frame on its own, 0 to 1. Corruption
  turns one bit behind the Ethernet header, as the receiver would never see a broken header.
- ``rate_bit``: bits of the frame (Ethernet header included) per second. A frame that would have to
  wait for more than `QUEUE_SECONDS` before its first bit leaves is dropped.
- ``delay_ms``, ``jitter_ms``: delay + an even draw from -jitter to +jitter, never below 0. Draws
  are independent, so jitter lets frames overtake one another; without it order is kept.

Draws come from a generator of the direction's own, made from the link's seed: the same frames
through the same settings fare the same again.
"""

from __future__ import annotations

import heapq
from random import Random

from .request import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

QUEUE_SECONDS = 0.2
MAX_HELD = 32 << 20  # bytes under way in a direction; more is dropped, so that memory is bounded
PREFIX = 4  # of QEMU's framing: the length in front of each frame
ETHERNET_HEADER = 14

LIMITS = {
    "delay_ms": 60_000.0,
    "jitter_ms": 60_000.0,
    "loss": 1.0,
    "duplicate": 1.0,
    "corrupt": 1.0,
    "rate_bit": 1e12,
}


def checked(facts: Any, where: str) -> dict[str, float]:
    """The settings of a direction that are not 0; refuses what is not one."""
    if not isinstance(facts, dict):
        raise Problem("bad-request", argument=where, wanted="an object of impairments")
    for name, value in facts.items():
        if name not in LIMITS:
            known = ", ".join(sorted(LIMITS))
            raise Problem("bad-request", argument=where, value=name, wanted="one of " + known)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value <= LIMITS[name]:
            wanted = "a number from 0 to %g" % LIMITS[name]
            argument = "%s.%s" % (where, name)
            raise Problem("bad-request", argument=argument, value=repr(value)[:80], wanted=wanted)
    return {name: float(value) for name, value in facts.items() if value}


class Line:
    """One direction of a link with its impairments, and the frames that are under way in it.

    Frames are bytes that begin with QEMU's length; times are seconds of any one clock.
    """

    def __init__(self, settings: dict[str, float], seed: int) -> None:
        self.reseed(seed)
        self._held: list[tuple[float, int, bytes]] = []
        self._held_bytes = 0
        self._number = 0
        self._free = 0.0  # when the last bit of what was accepted has left, at `rate_bit`
        self.dropped = {"loss": 0, "rate": 0, "overflow": 0}
        self.change(settings)

    def reseed(self, seed: int) -> None:
        """Let the draws begin anew; what is under way and counted stays."""
        self._random = Random(seed).random

    def change(self, settings: dict[str, float]) -> None:
        """New settings for the frames that come from now on; those under way keep theirs."""
        self.settings = settings
        self._delay = settings.get("delay_ms", 0.0) / 1000
        self._jitter = settings.get("jitter_ms", 0.0) / 1000
        self._loss = settings.get("loss", 0.0)
        self._duplicate = settings.get("duplicate", 0.0)
        self._corrupt = settings.get("corrupt", 0.0)
        self._second = 8 / settings["rate_bit"] if settings.get("rate_bit") else 0.0  # of a byte
        if not self._second:
            self._free = 0.0

    @property
    def idle(self) -> bool:
        """Whether frames need not pass through it: nothing is set, and none is under way."""
        return not (self.settings or self._held)

    @property
    def due(self) -> float | None:
        """When the next frame arrives, or None when none is under way."""
        return self._held[0][0] if self._held else None

    def push(self, now: float, frame: bytes) -> None:
        """A frame enters at `now`."""
        if self._loss and self._random() < self._loss:
            self.dropped["loss"] += 1
            return
        if self._corrupt and self._random() < self._corrupt:
            frame = self._corrupted(frame)
        copies = 2 if self._duplicate and self._random() < self._duplicate else 1
        for _ in range(copies):
            self._send(now, frame)

    def _send(self, now: float, frame: bytes) -> None:
        if self._held_bytes > MAX_HELD:
            self.dropped["overflow"] += 1
            return
        left = now
        if self._second:
            if self._free - now > QUEUE_SECONDS:
                self.dropped["rate"] += 1
                return
            left = self._free = max(now, self._free) + (len(frame) - PREFIX) * self._second
        delay = self._delay
        if self._jitter:
            delay = max(0.0, delay + (2 * self._random() - 1) * self._jitter)
        self._number += 1
        self._held_bytes += len(frame)
        heapq.heappush(self._held, (left + delay, self._number, frame))

    def _corrupted(self, frame: bytes) -> bytes:
        first = min(PREFIX + ETHERNET_HEADER, len(frame) - 1)
        bit = int(self._random() * (len(frame) - first) * 8)
        changed = bytearray(frame)
        changed[first + bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def pop(self, now: float) -> list[bytes]:
        """The frames that have arrived by `now`, in the order they arrive."""
        held = self._held
        frames = []
        while held and held[0][0] <= now:
            frames.append(heapq.heappop(held)[2])
        self._held_bytes -= sum(map(len, frames))
        return frames

    def clear(self) -> int:
        """Lose what is under way, as when the cable is pulled; how many frames that were."""
        count = len(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._free = 0.0
        return count
