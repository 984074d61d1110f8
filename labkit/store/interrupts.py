"""Ctrl-C waits while the store is at work: a transaction is short, and must end as it began."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[None]:
    """Let a Ctrl-C that comes meanwhile have its effect at the end.

    Python raises it between any two instructions of the main thread, also on the way out of a
    ``with``: a transaction would be left open, and the traceback that a notebook keeps would hold
    its connection, and the connection the lock of the file.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True

    before = signal.getsignal(signal.SIGINT)
    if before is None:  # it is not Python's, and cannot be put back
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)
