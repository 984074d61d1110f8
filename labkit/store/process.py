"""Who a process is: a dead owner is told from a living one, also when its id is used again."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """A process: the machine since its last start, the id, and when it began (in clock ticks)."""

    machine: str
    boot: str
    pid: int
    began: str

    @classmethod
    def current(cls) -> Self:
        """The process that asks."""
        return cls(socket.gethostname(), _boot(), os.getpid(), _began(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`."""
        machine, boot, pid, began = text.split("|")
        return cls(machine, boot, int(pid), began)

    def __str__(self) -> str:
        return f"{self.machine}|{self.boot}|{self.pid}|{self.began}"

    @property
    def shown(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.machine}"

    @property
    def is_gone(self) -> bool:
        """Whether it surely does not live any more; of another machine nothing is sure."""
        if self.machine != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return _began(self.pid) != self.began


def _boot() -> str:
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""


def _began(pid: int) -> str:
    """When a process began; a zombie has ended. Empty where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]
