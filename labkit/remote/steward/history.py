"""What a serial line has said: a log of two files that never grows beyond its bound."""

from __future__ import annotations

import os

LOG_SIZE = 4 << 20  # of one file; the one before it is kept as well
TAIL = 8 << 10  # kept in memory too: shown in messages, and all there is on a full disk


class History:
    """Bytes with absolute offsets from the first ever said; the oldest are forgotten.

    ``console.log`` is the newest file, ``console.log.1`` the one before; ``console.base`` holds
    the offset of the newest file's first byte, so that offsets outlive the steward.
    """

    def __init__(self, folder: str, *, size: int = LOG_SIZE) -> None:
        self._path = os.path.join(folder, "console.log")
        self._old_path = self._path + ".1"
        self._base_path = os.path.join(folder, "console.base")
        self._size = size
        self._base = _number(self._base_path)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._old: int | None = None
        self._old_size = 0
        self._open_old()
        self._written = os.fstat(self._file).st_size
        self.end = self._base + self._written
        self.tail = self.read(self.end - TAIL, TAIL)[1]
        self.lost = 0  # bytes that found no room on the disk

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is still there."""
        return self._base - self._old_size

    def append(self, data: bytes) -> None:
        """Keep `data`. A full disk costs history, nothing else: the guest must not wait for it."""
        self.tail = (self.tail + data)[-TAIL:]
        try:
            if self._written >= self._size:
                self._rotate()
            view = memoryview(data)
            while view:
                count = os.write(self._file, view)
                view = view[count:]
                self._written += count
                self.end += count
        except OSError:
            self.lost += len(view)

    def read(self, offset: int, limit: int) -> tuple[int, bytes]:
        """At most `limit` bytes from `offset` on, or from the oldest that is there."""
        offset = min(max(offset, self.start, 0), self.end)
        if offset < self._base and self._old is not None:
            size = min(limit, self._base - offset)
            return offset, os.pread(self._old, size, offset - self.start)
        return offset, os.pread(self._file, limit, offset - self._base)

    def clear(self) -> None:
        """Forget everything: another machine begins."""
        self.close()
        for path in (self._path, self._old_path, self._base_path):
            if os.path.lexists(path):
                os.unlink(path)

    def close(self) -> None:
        for descriptor in (self._file, self._old):
            if descriptor is not None:
                os.close(descriptor)
        self._file, self._old = -1, None

    def _rotate(self) -> None:
        base = self._base + self._written
        with open(self._base_path + ".part", "w") as file:
            file.write(str(base))
        fresh = os.open(self._path + ".part", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.replace(self._path, self._old_path)
        os.replace(self._path + ".part", self._path)
        os.replace(self._base_path + ".part", self._base_path)
        os.close(self._file)
        self._file, self._base, self._written = fresh, base, 0
        self._open_old()

    def _open_old(self) -> None:
        if self._old is not None:
            os.close(self._old)
            self._old, self._old_size = None, 0
        try:
            self._old = os.open(self._old_path, os.O_RDONLY)
            self._old_size = os.fstat(self._old).st_size
        except FileNotFoundError:
            pass


def _number(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0
