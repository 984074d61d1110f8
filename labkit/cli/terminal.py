"""A terminal lent to a VM: what is typed goes there, what it says comes here, Ctrl-] leaves."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labkit.errors import CommandTimeout, LabkitError, UsageError
from labkit.executor import Connection

LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh have it
READ_SIZE = 1 << 16
ENDED, RESIZED = 0, 1  # what wakes the thread that sends
READ_TIMEOUT = 3600.0
WRITE_TIMEOUT = 30.0

Resize = Callable[[int, int], None]


def require_terminal(instead: str) -> None:
    """Refuse to lend what is no terminal; `instead` says what to use."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "there is no terminal to type in",
            why="standard input or output is a file or a pipe",
            fix=f"Use {instead} in scripts.",
        )


def size() -> tuple[int, int]:
    """Columns and rows of the terminal; the usual ones where it does not know."""
    found = os.get_terminal_size(sys.stdout.fileno())
    return found.columns or 80, found.lines or 24


def lend(source: Connection, resize: Resize | None = None) -> bool:
    """Let the terminal be the VM's until Ctrl-] is pressed, or it ends; whether it has ended."""
    return Loan(source, sys.stdin.fileno(), sys.stdout.fileno(), resize).run()


class Loan:
    """One connection and a terminal: a thread shows what comes, this one sends what is typed."""

    def __init__(self, source: Connection, keys: int, screen: int, resize: Resize | None) -> None:
        self._source = source
        self._keys = keys
        self._screen = screen
        self._resize = resize
        self._failed: LabkitError | None = None
        self._woken, self._wake = os.pipe()

    def run(self) -> bool:
        """Until it is left (False) or has ended (True); raises what broke it."""
        reader = threading.Thread(target=self._show, name="labkit-terminal", daemon=True)
        try:
            with raw(self._keys), self._told_of_sizes():
                reader.start()
                try:
                    ended = self._send()
                finally:
                    self._source.close()
                    reader.join()
        finally:
            os.close(self._woken)
            os.close(self._wake)
        if self._failed is not None:
            raise self._failed
        return ended

    def _send(self) -> bool:
        while True:
            ready, _, _ = select.select((self._keys, self._woken), (), ())
            if self._woken in ready:
                words = os.read(self._woken, READ_SIZE)
                if ENDED in words:
                    return True
                if self._resize is not None:
                    self._resize(*size())
            if self._keys in ready:
                typed = os.read(self._keys, READ_SIZE)
                before, leave, _ = typed.partition(LEAVE)
                if before:
                    self._source.write(before, WRITE_TIMEOUT)
                if leave or not typed:
                    return False

    def _show(self) -> None:
        """Runs in a thread; what breaks it is raised where people look: in `run`."""
        try:
            while data := self._read():
                view = memoryview(data)
                while view:
                    view = view[os.write(self._screen, view) :]
        except LabkitError as error:
            self._failed = error
        finally:
            os.write(self._wake, bytes([ENDED]))

    def _read(self) -> bytes:
        while True:
            try:
                return self._source.read(READ_SIZE, READ_TIMEOUT)
            except CommandTimeout:
                continue  # a quiet hour

    @contextmanager
    def _told_of_sizes(self) -> Iterator[None]:
        """The window's size follows while it is lent."""
        before = signal.signal(signal.SIGWINCH, lambda *_: self._note_size())
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)

    def _note_size(self) -> None:
        os.write(self._wake, bytes([RESIZED]))


@contextmanager
def raw(keys: int) -> Iterator[None]:
    """A terminal that passes every key on, put back as it was at the end."""
    before = termios.tcgetattr(keys)
    tty.setraw(keys)
    try:
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
