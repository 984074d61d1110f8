"""The host a steward runs on: its files, its processes, and what else is asked of the system."""

from __future__ import annotations

import contextlib
import json
import os
import sys

from .egress import HostAddresses
from .history import History
from .process import PID_FILE, Process, locked_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .request import Facts


class Host:
    """This host. A simulation has one of its own in its place."""

    def __init__(self) -> None:
        self.addresses: HostAddresses | frozenset[bytes] = HostAddresses()

    def log(self, line: str) -> None:
        """A line for those who look for a fault: standard error is RUN/steward.log."""
        with contextlib.suppress(OSError):  # a full disk costs a line, nothing else
            sys.stderr.write(line + "\n")

    def random(self, count: int) -> bytes:
        return os.urandom(count)

    # files

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def write(self, path: str, data: bytes, *, sure: bool = True) -> None:
        """Write a file whole or not at all; `sure`: it is on the disk when this returns."""
        with open(path + ".part", "wb") as file:
            file.write(data)
            if sure:
                file.flush()
                os.fsync(file.fileno())
        os.replace(path + ".part", path)

    def read_json(self, path: str) -> Facts | None:
        """A file of ours; None when it is not there or was cut off."""
        try:
            value = json.loads(self.read(path).decode())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def write_json(self, path: str, value: Facts) -> None:
        self.write(path, json.dumps(value, separators=(",", ":")).encode())

    def names(self, folder: str) -> list[str]:
        """What is in a folder, in order."""
        return sorted(os.listdir(folder))

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def make_folder(self, path: str) -> None:
        """A new folder for this user only."""
        os.mkdir(path, 0o700)

    def remove(self, path: str) -> None:
        """Remove a file, or as much of a folder as can be; again is fine."""
        if os.path.isdir(path) and not os.path.islink(path):
            _remove_folder(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def history(self, folder: str) -> History:
        """What the console of the machine in a folder has said."""
        return History(folder)

    # processes

    def has_program(self, name: str) -> bool:
        paths = [os.path.join(folder, name) for folder in os.get_exec_path()]
        return any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)

    def process(self, folder: str, uuid: str) -> Process:
        """The QEMU of the machine in a folder, running or not."""
        return Process(folder, uuid)

    def is_held(self, folder: str) -> bool:
        """Whether some QEMU holds the pidfile of a machine's folder, whoever it is."""
        return locked_by(os.path.join(folder, PID_FILE)) is not None


def _remove_folder(path: str) -> None:
    """As `shutil.rmtree` does, whose compressors would cost the steward half a megabyte."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(path)):
            if entry.is_dir(follow_symlinks=False):
                _remove_folder(entry.path)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
        os.rmdir(path)
