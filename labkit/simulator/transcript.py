"""What was sent to the simulated workers and what came of it, as values."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from labkit.errors import LabkitError
from labkit.simulator.clock import SECOND, Clock


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: when it was sent (simulated seconds), where, and how it ended.

    `status` is None when none came; `error` then is the code of the error, such as
    ``connection-lost``.
    """

    number: int
    time: float
    host: str
    command: str
    status: int | None
    seconds: float
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        outcome = self.error or f"status {self.status}"
        return f"{self.number:3} {self.time:9.3f} s  {self.host}  {self.command}  -> {outcome}"


class Record:
    """A command whose end is still to be written down."""

    def __init__(self, transcript: Transcript, number: int, host: str, line: str) -> None:
        self.host = host
        self.line = line
        self._transcript = transcript
        self._number = number
        self._started = transcript.clock.moment

    def end(self, status: int | None, error: str = "") -> None:
        """Write the end down; only the first one counts."""
        seconds = (self._transcript.clock.moment - self._started) / SECOND
        time = self._started / SECOND
        self._transcript.add(
            Entry(self._number, time, self.host, self.line, status, seconds, error)
        )

    @contextlib.contextmanager
    def noting_errors(self) -> Iterator[None]:
        """Write down the error that ends the command, if one does."""
        try:
            yield
        except LabkitError as error:
            self.end(None, error.code)
            raise
        except KeyboardInterrupt:
            self.end(None, "interrupted")
            raise


class Transcript:
    """The entries of commands that have ended, by their numbers, which count what was sent."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._sent = 0
        self._entries: dict[int, Entry] = {}
        self._lock = threading.Lock()

    def begin(self, host: str, line: str) -> Record:
        with self._lock:
            self._sent += 1
            return Record(self, self._sent, host, line)

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.setdefault(entry.number, entry)

    def entries(self) -> list[Entry]:
        with self._lock:
            return [self._entries[number] for number in sorted(self._entries)]
