"""Simulated machines for tests, with the handles of `machines_lab.MachinesLab`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from labkit.errors import ConnectionLost
from labkit.machines import Machine, Machines
from labkit.programs import qemu
from labkit.simulator.executor import SimulatedExecutor
from labkit.steward import Steward, ensure

HOST = "10.0.10.1"
KEY = "51b1ab1e"
FOLDER = "/tmp/system"
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=1"
READY = 60.0


class SimulatedLab:
    """A steward on a simulated worker, with machines that boot a simulated micro image."""

    def __init__(self, executor: SimulatedExecutor | None = None) -> None:
        self.executor = executor or SimulatedExecutor()
        self.executor.run(HOST, ("mkdir", "-p", FOLDER)).check()
        for name in ("vmlinux", "initrd.cpio"):
            self.executor.put(HOST, f"{FOLDER}/{name}", b"simulated")
        self.steward: Steward = ensure(self.executor, HOST, KEY)
        self.machines = Machines(self.steward, self.executor)
        self.events: list[dict[str, Any]] = []
        self.steward.listen(lambda event: self.events.append(dict(event)))

    def options(self, name: str = "r1", **changes: Any) -> qemu.MachineOptions:
        kernel = qemu.DirectKernel(f"{FOLDER}/vmlinux", f"{FOLDER}/initrd.cpio", KERNEL_ARGUMENTS)
        settings: dict[str, Any] = {"memory_mb": 128, "kernel": kernel, **changes}
        return qemu.MachineOptions(name, str(uuid.uuid4()), **settings)

    def start(self, index: int = 1, name: str = "r1", **changes: Any) -> Machine:
        machine = self.machines.start(index, self.options(name, **changes))
        machine.guest.wait_ready(READY)
        return machine

    def kill_steward(self) -> None:
        """As the kernel does when memory is short; the next request starts another one."""
        self.executor.kill_steward(HOST, KEY)
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
def simulated_lab(executor: SimulatedExecutor | None = None) -> Iterator[SimulatedLab]:
    """A lab; at its end nothing of it is left on the worker."""
    lab = SimulatedLab(executor)
    try:
        yield lab
    finally:
        lab.executor.heal()
        lab.end()
        worker = lab.executor.worker(HOST)
        folder = worker.run_folder
        left = worker.files.names(folder) if worker.files.is_folder(folder) else []
        lab.executor.close()
        assert left == []
