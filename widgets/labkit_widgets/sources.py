"""Where the bytes of a terminal come from and go to."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from labkit.executor import Connection


@runtime_checkable
class ByteSource(Connection, Protocol):
    """A connection to something that is shown in a terminal and can be told its size.

    A plain `labkit.executor.Connection` will do as well, as that to a serial line, which has no
    way to say how large its terminal is.
    """

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
