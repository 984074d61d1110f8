"""Looking at the processes of this machine, waiting for them, and pressing Ctrl-C."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SOON = 10.0  # seconds within which something must have happened

_numbers = itertools.count(1)


def unique_seconds() -> str:
    """A long time to sleep that no other process sleeps: what to look for among processes."""
    return str(10**7 + os.getpid() * 1000 + next(_numbers))


def count_processes(marker: str) -> int:
    """How many processes of this machine have an argument that is or holds `marker`."""
    return sum(marker.encode() in line for line in _command_lines())


def _command_lines() -> Iterator[bytes]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield (entry / "cmdline").read_bytes()
            except OSError:  # it ended meanwhile
                continue


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it holds soon."""
    deadline = time.monotonic() + SOON
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def interrupt_when(holds: Callable[[], bool]) -> threading.Thread:
    """Press Ctrl-C, as it were, as soon as something holds."""
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        if eventually(holds):
            time.sleep(0.1)  # a user does not press it in the very moment of a program's start
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread
