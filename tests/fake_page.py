"""A page's side of a live widget, and a machine's side of a connection, without either."""

from __future__ import annotations

import queue
import threading
from typing import Any

from labkit.errors import CommandTimeout
from labkit_widgets.channel import LiveWidget

PATIENCE = 10.0


class FakeLine:
    """A `Connection` whose other side is the test; `typed` is what was written to it."""

    def __init__(self) -> None:
        self.typed = bytearray()
        self.sizes: list[tuple[int, int]] = []
        self.reads = 0
        self.closed = threading.Event()
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._said.put(piece)

    def read(self, size: int, timeout: float) -> bytes:
        try:
            data = self._said.get(timeout=timeout)
        except queue.Empty:
            raise CommandTimeout("nothing came", timeout=timeout) from None
        assert len(data) <= size
        self.reads += 1
        return data

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        self.typed += data

    def close(self) -> None:
        self.closed.set()
        self._said.put(b"")


class ShellLine(FakeLine):
    """One that can be told a size."""

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))


class FakePage:
    """The views of a widget: what they were sent, in order, by view."""

    def __init__(self) -> None:
        self.widget: LiveWidget | None = None
        self._changed = threading.Condition()
        self._got: list[tuple[dict[str, Any], list[bytes]]] = []

    def receive(self, content: dict[str, Any], buffers: list[bytes] | None) -> None:
        with self._changed:
            self._got.append((content, list(buffers or [])))
            self._changed.notify_all()

    def say(self, ch: str, kind: str, *buffers: bytes, **facts: Any) -> None:
        assert self.widget is not None
        message = {"k": kind, "ch": ch, **facts}
        self.widget._heard(self.widget, message, [memoryview(one) for one in buffers])

    def open(self, ch: str = "a", columns: int = 80, rows: int = 24) -> None:
        self.say(ch, "open", columns=columns, rows=rows)
        self.wait(ch, "opened")

    def told(self, ch: str, kind: str) -> list[dict[str, Any]]:
        with self._changed:
            return [got for got, _ in self._got if got["ch"] == ch and got["k"] == kind]

    def wait(self, ch: str, kind: str, count: int = 1) -> dict[str, Any]:
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.told(ch, kind)) >= count, PATIENCE)
            assert done, f"{ch} was not told {kind}: {[got for got, _ in self._got]}"
        return self.told(ch, kind)[-1]

    def data(self, ch: str = "a") -> bytes:
        with self._changed:
            parts = [b"".join(b) for got, b in self._got if got["ch"] == ch and got["k"] == "data"]
        return b"".join(parts)

    def sees(self, text: bytes, ch: str = "a") -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: text in self.data(ch), PATIENCE)
            assert done, self.data(ch)[-1000:]
