"""What the steward's parts need of the loop that calls them: connections, times, signals."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class HasFileno(Protocol):
        def fileno(self) -> int: ...

    class Connection(HasFileno, Protocol):
        """A non-blocking stream: a socket, or what stands for one in a simulation."""

        def recv(self, size: int, /) -> bytes: ...
        def recv_into(self, buffer: memoryview, /) -> int: ...
        def send(self, data: bytes | bytearray | memoryview, /) -> int: ...
        def sendmsg(self, buffers: Iterable[bytes | memoryview], /) -> int: ...
        def close(self) -> None: ...

    Callback = Callable[[], None]
    Descriptor = int | HasFileno

SCRATCH = 1 << 19


class Timer:
    """A callback that is to come; `cancel()` forgets it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Calls back when a descriptor is ready or a time has come; nothing it calls may block.

    Sockets must be non-blocking, and a reader must bear being called when there is nothing to
    read (`BlockingIOError`). Where the other side has closed, the reader is called if there is
    one, else the writer. One call should do a bounded piece of work: the rest comes next turn.

    This class says what a steward needs of its loop; `system_loop.SystemLoop` is real.
    """

    def __init__(self) -> None:
        self.scratch = bytearray(SCRATCH)  # for what is read within one call
        self.scratch_view = memoryview(self.scratch)

    def now(self) -> float:
        """Seconds of a clock that is never set."""
        raise NotImplementedError

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        raise NotImplementedError

    def time(self) -> float:
        """Seconds since 1970."""
        return self.time_ns() / 1e9

    def connect(self, path: str) -> Connection:
        """Connect to a unix socket of this host; raises OSError when nobody listens."""
        raise NotImplementedError

    def add_reader(self, descriptor: Descriptor, callback: Callback) -> None:
        """Call back whenever there is something to read; replaces an earlier callback."""
        raise NotImplementedError

    def add_writer(self, descriptor: Descriptor, callback: Callback) -> None:
        """Call back whenever there is room to write; remove it when there is nothing to say."""
        raise NotImplementedError

    def remove_reader(self, descriptor: Descriptor) -> None:
        raise NotImplementedError

    def remove_writer(self, descriptor: Descriptor) -> None:
        raise NotImplementedError

    def remove(self, descriptor: Descriptor) -> None:
        """Forget a descriptor; to be called before it is closed. Again is fine."""
        self.remove_reader(descriptor)
        self.remove_writer(descriptor)

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call back once at a time of `now()`, never before it."""
        raise NotImplementedError

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        return self.call_at(self.now() + seconds, callback)

    def call_soon(self, callback: Callback) -> Timer:
        """Call back in the next turn."""
        return self.call_at(self.now(), callback)

    def add_signal(self, number: int, callback: Callback) -> None:
        """Call back, as ordinary work of the loop, after a signal came."""
        raise NotImplementedError
