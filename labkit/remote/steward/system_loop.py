"""The steward's one thread: descriptors that are ready, timers to the fraction of a millisecond."""

from __future__ import annotations

import heapq
import select
import signal
import socket
import sys
import time

from .loop import Loop, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .loop import Callback, Connection, Descriptor

READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class SystemLoop(Loop):
    """The loop of a process: epoll, and the system's clocks."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._number = 0
        self._signals: dict[int, Callback] = {}
        self._woken, self._waker = socket.socketpair()
        self._stopped = False
        for end in (self._woken, self._waker):
            end.settimeout(0)
        self.add_reader(self._woken, self._wake)
        self.now = time.monotonic  # type: ignore[method-assign]  # one call less, each time
        self.time_ns = time.time_ns  # type: ignore[method-assign]

    def connect(self, path: str) -> Connection:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(0)
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        return connection

    # descriptors

    def add_reader(self, descriptor: Descriptor, callback: Callback) -> None:
        number = _number(descriptor)
        known = number in self._readers or number in self._writers
        self._readers[number] = callback
        self._register(number, known=known)

    def add_writer(self, descriptor: Descriptor, callback: Callback) -> None:
        number = _number(descriptor)
        known = number in self._readers or number in self._writers
        self._writers[number] = callback
        self._register(number, known=known)

    def remove_reader(self, descriptor: Descriptor) -> None:
        number = _number(descriptor)
        if self._readers.pop(number, None) is not None:
            self._register(number, known=True)

    def remove_writer(self, descriptor: Descriptor) -> None:
        number = _number(descriptor)
        if self._writers.pop(number, None) is not None:
            self._register(number, known=True)

    def _register(self, number: int, *, known: bool) -> None:
        wanted = READ if number in self._readers else 0
        wanted |= WRITE if number in self._writers else 0
        if not wanted:
            self._epoll.unregister(number)
        elif known:
            self._epoll.modify(number, wanted)
        else:
            self._epoll.register(number, wanted)

    # times and signals

    def call_at(self, when: float, callback: Callback) -> Timer:
        timer = Timer(when, callback)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, timer))
        return timer

    def add_signal(self, number: int, callback: Callback) -> None:
        self._signals[number] = callback
        signal.signal(number, _nothing)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _wake(self) -> None:
        for number in sorted(set(self._woken.recv(4096))):
            if number in self._signals:
                self._signals[number]()

    # life

    def run(self) -> None:
        """Work until `stop()`."""
        while not self._stopped:
            self.turn(None)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Let go of its own descriptors; the loop is of no use after it."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        for end in (self._woken, self._waker, self._epoll):
            end.close()

    def turn(self, limit: float | None) -> None:
        """One round: wait for something to do, `limit` seconds at most, and do it."""
        for number, event in self._wait(limit):
            reader = self._readers.get(number)
            if reader is not None and event & READ:
                self._call(reader, number)
            writer = self._writers.get(number)
            if writer is not None and (event & select.EPOLLOUT or (event & WRITE and not reader)):
                self._call(writer, number)
        self._run_timers()

    def _wait(self, limit: float | None) -> list[tuple[int, int]]:
        # epoll counts in whole milliseconds, select(2) in microseconds but only up to descriptor
        # 1023: so select(2) waits, for the one descriptor of the epoll instance.
        ready = self._epoll.poll(0)
        if ready:
            return ready
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if timers:
            left = max(0.0, timers[0][0] - self.now())
            limit = left if limit is None else min(left, limit)
        select.select((self._epoll,), (), (), limit)
        return self._epoll.poll(0)

    def _run_timers(self) -> None:
        timers, now = self._timers, self.now()
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._call(callback, None)

    def _call(self, callback: Callback, number: int | None) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - the seam: a fault in one part must not end the others
            sys.excepthook(*sys.exc_info())
            if number is not None:  # it would be called again at once, and for ever
                self.remove(number)


def _number(descriptor: Descriptor) -> int:
    return descriptor if isinstance(descriptor, int) else descriptor.fileno()


def _nothing(_number: int, _frame: Any) -> None:
    """Where a signal has a handler of Python, its number arrives at the wake-up descriptor."""
