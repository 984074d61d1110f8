"""QEMU's process of one machine: starting it, proving that it lives and whose it is, ending it.

A machine is alive when its pidfile is locked (QEMU holds the lock as long as it lives) and the
process of that id was started with its uuid; never by a name, never by a bare process id.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess

MAX_LOG = 1 << 20
LOG_TAIL = 4000
MACHINE_FILE, END_FILE, LOG_FILE, PID_FILE = "machine.json", "end.json", "qemu.log", "pid"


class Process:
    """The QEMU of the machine in `folder`, ours to wait for or started by an earlier steward."""

    def __init__(self, folder: str, uuid: str) -> None:
        self.folder = folder
        self.uuid = uuid
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, argv: list[str], environment: dict[str, str]) -> None:
        """Start it; raises OSError when the program cannot be run."""
        path = os.path.join(self.folder, LOG_FILE)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **environment},
                start_new_session=True,  # it outlives this process and hears none of its signals
            )
        finally:
            os.close(log)

    @property
    def pid(self) -> int | None:
        """Its id while it is proven to live."""
        if self._child is not None:
            return self._child.pid if self.status is None else None
        pid = locked_by(os.path.join(self.folder, PID_FILE))
        return pid if pid is not None and is_machine(pid, self.uuid) else None

    @property
    def status(self) -> int | None:
        """How our own child ended; None while it runs, or when it is not our child."""
        return None if self._child is None else self._child.poll()

    def kill(self) -> bool:
        """End it at once; False when there is no process that is proven to be this machine."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def log_tail(self) -> str:
        """The end of what QEMU said."""
        try:
            with open(os.path.join(self.folder, LOG_FILE), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
                return file.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def bound_log(self) -> None:
        """Empty a log that has grown too large; QEMU appends, so it goes on from the start."""
        path = os.path.join(self.folder, LOG_FILE)
        try:
            if os.stat(path).st_size > MAX_LOG:
                os.truncate(path, 0)
        except FileNotFoundError:
            pass


def locked_by(path: str) -> int | None:
    """The process id in a pidfile that its writer still holds locked.

    A pidfile that nobody locks is a left-over, and its number may be anybody's by now.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            text = os.pread(file, 32, 0).strip()
            return int(text) if text.isdigit() else None
        return None
    finally:
        os.close(file)


def is_machine(pid: int, uuid: str) -> bool:
    """Whether a process was started as the machine of this uuid."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            words = file.read()
    except OSError:
        return False
    return b"\0-uuid\0%s\0" % uuid.encode() in words
