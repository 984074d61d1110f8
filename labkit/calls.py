"""Requests to a steward: many at once on one connection, each answered on its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from labkit.errors import (
    ClosedError,
    CommandTimeout,
    ConnectionLost,
    StewardProblem,
    TransferError,
    WorkerError,
    WorkerUnreachable,
)
from labkit.executor import DEFAULT_TIMEOUT, Connection
from labkit.remote.steward.control import HEADER, MAX_BYTES
from labkit.remote.steward.request import WINDOW

WRITE_TIMEOUT = 30.0
FOREVER = 86_400.0
MAX_ANSWER = 64 << 20  # bytes of one frame; more is no answer of a steward
PAUSE = 0.2  # seconds between two questions whether to wait on
CREDIT = WINDOW // 4  # taken bytes are reported in lumps of about this size

Facts = Mapping[str, Any]
Listener = Callable[[Facts], None]
Waits = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an answer: plain facts, and bytes."""

    facts: Facts
    data: bytes = field(default=b"", repr=False)


class Call:
    """A request that runs. One thread reads its parts, any may cancel it or send more."""

    def __init__(self, link: Link, number: int, verb: str) -> None:
        self._link = link
        self._number = number
        self._verb = verb
        self._parts: queue.SimpleQueue[Part | Exception | None] = queue.SimpleQueue()
        self._room = WINDOW
        self._room_changed = threading.Condition()
        self._taken = 0
        self._ended: Part | Exception | None = None

    def __iter__(self) -> Iterator[Part]:
        return self.parts(FOREVER)

    def parts(self, timeout: float, *, while_waiting: Waits | None = None) -> Iterator[Part]:
        """The parts as they come, up to the answer; raises what `result` raises.

        `while_waiting` is called several times a second while nothing comes; what it raises ends
        the waiting, and nothing else.
        """
        deadline = time.monotonic() + timeout
        while True:
            pause = deadline if while_waiting is None else time.monotonic() + PAUSE
            try:
                part = self._next(min(deadline, pause))
            except queue.Empty:
                if while_waiting is not None and pause < deadline:
                    while_waiting()
                    continue
                self.cancel()
                raise self._late(timeout, "it was cancelled") from None
            if part is None:
                return
            yield part
            self._took(len(part.data))

    def take(self, timeout: float) -> Part | None:
        """The next part, None after the last; `CommandTimeout` when none came: it runs on."""
        try:
            part = self._next(time.monotonic() + timeout)
        except queue.Empty:
            raise self._late(timeout, "it runs on") from None
        if part is not None:
            self._took(len(part.data))
        return part

    def result(
        self, timeout: float = DEFAULT_TIMEOUT, *, while_waiting: Waits | None = None
    ) -> Part:
        """The answer, once it is there; parts that were not read are dropped.

        Raises `StewardProblem` for what the steward refuses, `ConnectionLost` when the connection
        broke (whether it was done is unknown), `CommandTimeout` after `timeout` seconds (it is
        then cancelled).
        """
        for _ in self.parts(timeout, while_waiting=while_waiting):
            pass
        assert isinstance(self._ended, Part)
        return self._ended

    def send(self, data: bytes = b"", *, timeout: float = WRITE_TIMEOUT, **facts: Any) -> None:
        """More input for it; waits while the steward has not used what it was sent before."""
        rest = memoryview(data)
        while True:
            piece = rest[: min(MAX_BYTES, WINDOW // 2)]
            with self._room_changed:
                size = len(piece)
                if not self._room_changed.wait_for(partial(self._may_send, size), timeout):
                    self.cancel()
                    raise self._late(timeout, "what was sent before is not used; it was cancelled")
                self._room -= size
            rest = rest[len(piece) :]
            if not self._link.send({"id": self._number, "more": {} if rest else facts}, piece):
                raise lost(self._link.where)
            if not rest:
                return

    def cancel(self) -> None:
        """End it; `parts` and `result` then raise a `StewardProblem` "cancelled".

        Never raises for a connection that is gone: the steward ends what ran on it by itself.
        """
        self._tell({"cancel": True})

    # what the reader thread tells

    def arrived(self, facts: Facts, data: bytes) -> bool:
        """A frame for this request; whether it was the last."""
        if "took" in facts:
            with self._room_changed:
                self._room += facts["took"]
                self._room_changed.notify_all()
            return False
        if "part" in facts:
            self._parts.put(Part(facts["part"], data))
            return False
        if "ok" in facts:
            self.end(Part(facts["ok"], data))
        else:
            self.end(problem_error(self._link.where, self._verb, facts["problem"]))
        return True

    def end(self, outcome: Part | Exception) -> None:
        with self._room_changed:
            self._ended = outcome
            self._room_changed.notify_all()
        self._parts.put(None)

    # inside

    def _may_send(self, size: int) -> bool:
        if isinstance(self._ended, Exception):
            raise self._ended
        return self._room >= size or self._ended is not None

    def _next(self, deadline: float) -> Part | None:
        part = self._parts.get(timeout=max(0.0, deadline - time.monotonic()))
        if part is not None:
            assert isinstance(part, Part)
            return part
        self._parts.put(None)  # for whoever asks again
        if isinstance(self._ended, Exception):
            raise self._ended
        return None

    def _took(self, size: int) -> None:
        self._taken += size
        if self._taken >= CREDIT and self._ended is None:
            taken, self._taken = self._taken, 0
            self._tell({"took": taken})

    def _tell(self, facts: Facts) -> None:
        """Say what matters only while it runs: whoever reads its parts learns of a lost link."""
        if self._ended is None:
            with contextlib.suppress(ConnectionLost):
                self._link.send({"id": self._number, **facts}, b"")

    def _late(self, timeout: float, outcome: str) -> CommandTimeout:
        return CommandTimeout(
            f"{self._verb} did not end on {self._link.where}",
            why=f"it took longer than it was given; {outcome}",
            fix="Give it a longer timeout, or find out what it waits for.",
            timeout=timeout,
        )


def problem_error(where: str, verb: str, problem: Facts) -> StewardProblem:
    """What the steward answered, as an error; callers that know better translate its code."""
    code = problem["code"]
    facts = ", ".join(f"{name} {value}" for name, value in problem.items() if name != "code")
    return StewardProblem(
        f"{verb} was not done on {where}",
        why=f"{code.replace('-', ' ')}{f': {facts}' if facts else ''}",
        problem=dict(problem),
    )


class Link:
    """One connection, its reader thread and the requests that run on it."""

    def __init__(self, connection: Connection, where: str, listener: Listener) -> None:
        self.where = where
        self.alive = True
        self._connection = connection
        self._listener = listener
        self._calls: dict[int, Call] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="labkit-steward", daemon=True)
        self._thread.start()

    def start(self, verb: str, facts: Facts, data: bytes) -> Call:
        """Send a request; `WorkerUnreachable` when nothing of it was sent, as the link is gone."""
        number = next(self._numbers)
        call = Call(self, number, verb)
        with self._lock:
            if self.alive:  # else the reader has ended, and nobody would tell of the loss
                self._calls[number] = call
        try:
            sent = self.send({"id": number, "do": verb, **facts}, data)
        except BaseException:
            self._forget(number)
            raise
        if not sent:
            self._forget(number)
            raise WorkerUnreachable(f"cannot ask {self.where} to {verb}", why="it hung up")
        return call

    def send(self, facts: Facts, data: bytes | memoryview) -> bool:
        """Write a frame, whole; False, and nothing written, when the connection is gone.

        Whatever stops a write in the middle ends the connection, `ConnectionLost`: nothing can
        be read behind half a frame.
        """
        text = json.dumps(facts, separators=(",", ":")).encode()
        frame = b"".join((HEADER.pack(len(text), len(data)), text, data))
        with self._writing:
            if not self.alive:
                return False
            try:
                self._connection.write(frame, WRITE_TIMEOUT)
            except (TransferError, CommandTimeout, ConnectionLost, ClosedError) as error:
                self._hang_up()
                raise lost(self.where) from error
            except BaseException:  # Ctrl-C
                self._hang_up()
                raise
        return True

    def close(self) -> None:
        self._hang_up()
        if threading.current_thread() is not self._thread:
            self._thread.join(WRITE_TIMEOUT)

    def _hang_up(self) -> None:
        self.alive = False
        self._connection.close()  # it wakes the reader, which tells those who wait

    def _forget(self, number: int) -> None:
        with self._lock:
            self._calls.pop(number, None)

    def wait_closed(self, timeout: float = WRITE_TIMEOUT) -> None:
        """Until the other side has closed it; raises `CommandTimeout` when it does not."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise CommandTimeout(
                f"{self.where} has not ended",
                why=f"it was told to, and its connection is open after {timeout:g} s",
                fix="Look at the state of the slice, then ask again.",
                timeout=timeout,
            )

    def _run(self) -> None:
        try:
            while True:
                sizes = HEADER.unpack(self._read(HEADER.size))
                if max(sizes) > MAX_ANSWER:
                    return
                facts = json.loads(self._read(sizes[0]))
                self._arrived(facts, self._read(sizes[1]))
        except (WorkerError, TransferError, ValueError, struct.error):
            pass  # all told below: every way to end is a lost connection for those who wait
        finally:
            with self._lock:
                self.alive = False
                calls = list(self._calls.values())
                self._calls.clear()
            self._connection.close()
            for call in calls:
                call.end(lost(self.where))

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self._connection.read(min(size - len(data), 1 << 20), FOREVER)
            except CommandTimeout:
                continue  # a quiet day
            if not piece:
                raise lost(self.where)
            data += piece
        return bytes(data)

    def _arrived(self, facts: dict[str, Any], data: bytes) -> None:
        if "event" in facts:
            self._listener(facts["event"])
            return
        with self._lock:
            call = self._calls.get(facts["id"])
        if call is not None and call.arrived(facts, data):
            self._forget(facts["id"])


def lost(where: str) -> ConnectionLost:
    return ConnectionLost(
        f"the connection to {where} broke",
        why="whether what was asked took effect is unknown",
        fix="Look at the state of the slice before asking again.",
    )
