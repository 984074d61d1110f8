"""What can be done to a simulated machine from outside of every protocol: faults."""

from __future__ import annotations

from collections.abc import Callable

from labkit import rules
from labkit.simulator.guest.guest import Guest
from labkit.simulator.net.nic import Nic
from labkit.simulator.qemu.process import Qemu
from labkit.simulator.worker import Worker


class SimulatedMachine:
    """A machine that runs. What is done here happens now, or after so many simulated seconds.

    The steward sees it as it would see the real thing::

        machine = executor.machine("10.0.10.1", "r1")
        machine.die()            # QEMU is killed, as when memory is short
        machine.panic("words")   # the guest's kernel panics; with panic=1 it then starts anew
        machine.hang()           # the guest answers nothing any more, though QEMU runs
        machine.wake()           # and goes on
        machine.reboot(after=5)  # the guest restarts by itself
        machine.cut("eth1")      # the cable of an interface is broken, though its link is up
        machine.mend("eth1")
    """

    def __init__(self, worker: Worker, qemu: Qemu) -> None:
        self.name = qemu.options.name
        self._worker = worker
        self._qemu = qemu

    def __repr__(self) -> str:
        return f"<SimulatedMachine {self.name} on {self._worker.name}>"

    def die(self, *, after: float = 0.0) -> None:
        """QEMU is killed."""
        self._do(lambda _guest: self._qemu.kill(), after)

    def panic(self, words: str = "simulated", *, after: float = 0.0) -> None:
        """The guest's kernel panics, and says these words."""
        self._do(lambda guest: guest.panic(words), after)

    def hang(self, *, after: float = 0.0) -> None:
        """The guest stands still, though its processor runs."""
        self._do(lambda guest: guest.hang(hung=True), after)

    def wake(self, *, after: float = 0.0) -> None:
        """The guest goes on after `hang`."""
        self._do(lambda guest: guest.hang(hung=False), after)

    def reboot(self, *, after: float = 0.0) -> None:
        """The guest restarts without being asked."""
        self._do(lambda guest: guest.reboot(), after)

    def cut(self, interface: str, *, after: float = 0.0) -> None:
        """Break the cable of an interface: frames get lost, and nobody is told."""
        nic = self._nic(interface)
        self._do(lambda _guest: nic.break_cable(broken=True), after)

    def mend(self, interface: str, *, after: float = 0.0) -> None:
        """Mend it."""
        nic = self._nic(interface)
        self._do(lambda _guest: nic.break_cable(broken=False), after)

    # ---- inside

    def _do(self, work: Callable[[Guest], None], after: float) -> None:
        world = self._worker.world

        def strike() -> None:
            if self._qemu.is_alive and self._qemu.guest is not None:
                work(self._qemu.guest)

        with world.entered():
            if after:
                world.call_later(after, strike)
            else:
                strike()
            world.hear()

    def _nic(self, name: str) -> Nic:
        guest = self._qemu.guest
        found = None if guest is None else guest.system.net.interface(name)
        if found is None or found.nic is None:
            rules.invalid("interface", name, "an interface of the machine such as 'eth1'")
        return found.nic


def find_machine(worker: Worker, name: str) -> SimulatedMachine:
    """The machine of that name which runs on a worker."""
    running = {qemu.options.name: qemu for qemu in worker.qemus.values()}
    if name not in running:
        known = ", ".join(sorted(running)) or "none"
        rules.invalid("name", name, f"the name of a machine that runs on {worker.name} ({known})")
    return SimulatedMachine(worker, running[name])
