"""The stages of making a VM, in words and as a fraction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from labkit.events import (
    Event,
    ImageCopied,
    ImageCopyProgress,
    ImageCopyWaiting,
    OverlayCreated,
)

MIB = 2**20
UPDATE_SECONDS = 0.25  # more often costs the browser and the copy, and nobody can read it


@dataclass(frozen=True, slots=True)
class Stage:
    """What is going on; `fraction` is how much of a base image is there, or None."""

    words: str
    fraction: float | None = None


def stage(event: Event) -> Stage | None:
    """What an event means to who waits for a VM; None when nothing."""
    match event:
        case ImageCopyProgress(host, subject, done, total):
            digits = 0 if total >= 10 * MIB else 1
            sizes = f"{done / MIB:.{digits}f} of {total / MIB:.{digits}f} MiB"
            words = f"Copying {subject} to {host}: {sizes}"
            return Stage(words, min(done / total, 1.0) if total else 1.0)
        case ImageCopyWaiting(host, subject, seconds):
            return Stage(f"Waiting: {subject} is being copied to {host} already, {seconds:.0f} s")
        case ImageCopied(host, subject):
            return Stage(f"{subject} is on {host}, whole and verified; making the disk")
        case OverlayCreated(host, subject, _, adopted):
            how = "was made by an earlier request" if adopted else "is made"
            return Stage(f"{subject} {how} on {host}")
    return None


class Pacer:
    """Lets through each new kind of event, and of one kind not more than a person can read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[type[Event] | None, float] = (None, 0.0)

    def lets_through(self, event: Event) -> bool:
        """Whether to show this event now."""
        with self._lock:
            kind, shown = self._last
            now = self._clock()
            if type(event) is kind and now - shown < UPDATE_SECONDS:
                return False
            self._last = (type(event), now)
            return True
