"""A terminal's bytes, both ways, over one lasting request to a steward."""

from __future__ import annotations

import threading
from typing import Any

from labkit.calls import Call, Facts
from labkit.errors import CommandTimeout, ConnectionLost, StewardProblem
from labkit.machine_problems import translated
from labkit.markup import counted_were


class CallStream:
    """A `labkit.executor.Connection` on a request: its parts are read, more is written to it.

    What the other side could not keep, or did not take, is told in the bytes themselves, as a
    line in brackets: they are for a person to read. `position` is where the next byte lies.
    """

    def __init__(self, call: Call, what: str) -> None:
        self.position = 0
        self.answer: Facts | None = None  # how it ended, once it has by itself
        self._call = call
        self._what = what
        self._rest = memoryview(b"")
        self._closed = threading.Event()

    def read(self, size: int, timeout: float) -> bytes:
        """Up to `size` bytes as soon as there are any; empty at the end."""
        while not self._rest:
            if self._closed.is_set() or self.answer is not None:
                return b""
            self._rest = memoryview(self._next(timeout))
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        """Write all of `data`."""
        with translated(f"cannot {self._what}"):
            self._call.send(bytes(data), timeout=timeout)

    def tell(self, **facts: Any) -> None:
        """Say something besides bytes to the other side."""
        with translated(f"cannot {self._what}"):
            self._call.send(**facts)

    def close(self) -> None:
        """End it, and wake up a thread that reads; again is fine."""
        if self._closed.is_set():
            return
        self._closed.set()
        try:
            self._call.cancel()
        except (ConnectionLost, CommandTimeout):
            return  # it has ended with the connection

    def _next(self, timeout: float) -> bytes:
        try:
            with translated(f"cannot {self._what}"):
                part = self._call.take(timeout)
        except (StewardProblem, ConnectionLost):
            if self._closed.is_set():
                return b""
            raise
        if part is None:
            self.answer = self._call.result().facts
            return b""
        facts, data = part.facts, part.data
        if "from" in facts:
            self.position = facts["from"] + len(data)
        if facts.get("refused"):
            return notice(
                f"{counted_were(facts['refused'], 'byte')} not taken: the guest does not read"
            )
        if facts.get("skipped"):
            return notice(f"{counted_were(facts['skipped'], 'byte')} not kept") + data
        return data


def notice(text: str) -> bytes:
    """A line of our own among what a terminal shows."""
    return f"\r\n[{text}]\r\n".encode()
