"""Real machines for tests: the micro image, a steward of their own, short folders, sure ends."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labkit.errors import ConnectionLost
from labkit.local import LocalExecutor
from labkit.machines import Machine, Machines
from labkit.micro import KERNEL_ARGUMENTS, build_micro
from labkit.programs import qemu
from labkit.steward import Steward, ensure

HOST = "localhost"
HAS_QEMU = shutil.which(qemu.PROGRAM) is not None
READY = 240.0  # seconds; beside other work a boot may take a minute


def micro_kernel() -> qemu.DirectKernel:
    """The micro image: the one in LABKIT_TEST_IMAGE, or built (and kept) now."""
    given = os.environ.get("LABKIT_TEST_IMAGE")
    if given:
        folder = Path(given)
        return qemu.DirectKernel(
            str(folder / "vmlinux"), str(folder / "initrd.cpio"), KERNEL_ARGUMENTS
        )
    image = build_micro()
    return qemu.DirectKernel(str(image.kernel), str(image.initrd), KERNEL_ARGUMENTS)


class MachinesLab:
    """A steward with machines of the micro image."""

    def __init__(self, folder: str, environment: dict[str, str]) -> None:
        self.key = secrets.token_hex(4)
        self.executor = LocalExecutor({"LABKIT_RUN_DIR": folder, **environment})
        self.steward: Steward = ensure(self.executor, HOST, self.key)
        self.machines = Machines(self.steward, self.executor)
        self.events: list[dict[str, Any]] = []
        self.steward.listen(lambda event: self.events.append(dict(event)))

    @property
    def folder(self) -> Path:
        return Path(self.steward.facts["folder"])

    def options(self, name: str = "r1", **changes: Any) -> qemu.MachineOptions:
        settings: dict[str, Any] = {"memory_mb": 128, "kernel": micro_kernel(), **changes}
        return qemu.MachineOptions(name, str(uuid.uuid4()), **settings)

    def start(self, index: int = 1, name: str = "r1", **changes: Any) -> Machine:
        machine = self.machines.start(index, self.options(name, **changes))
        machine.guest.wait_ready(READY)
        return machine

    def kill_steward(self) -> None:
        """As the kernel does when memory is short; the next request starts another one."""
        os.kill(self.steward.facts["pid"], signal.SIGKILL)
        with suppress(ConnectionLost):  # what was asked of it while it died
            self.machines.list()

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]

    def end(self) -> None:
        for state in self.machines.list():
            machine = self.machines.get(state.index)
            if state.is_running:
                machine.power_off()
            machine.forget()
        self.steward.quit(forget=True)


@contextmanager
def machines_lab(**environment: str) -> Iterator[MachinesLab]:
    """A lab below a short folder; at its end nothing of it is left."""
    folder = tempfile.mkdtemp(prefix="lk", dir="/tmp")
    lab = MachinesLab(folder, environment)
    try:
        yield lab
    finally:
        lab.end()
        left = [str(path) for path in Path(folder).rglob("*")]
        shutil.rmtree(folder)
        assert left == [str(Path(folder) / lab.key)] or left == [], left
