"""What can be done to a simulated machine from outside of every protocol: faults, at once."""

from __future__ import annotations

from labkit import rules
from labkit.simulator.guest.guest import Guest
from labkit.simulator.qemu.process import Qemu
from labkit.simulator.worker import Worker


class SimulatedMachine:
    """A machine that runs. Each of these happens at once, and the steward sees it as it would.

    ::

        machine = executor.machine("10.0.10.1", "r1")
        machine.die()            # QEMU is killed, as when memory is short
        machine.panic("words")   # the guest's kernel panics; with panic=1 it then starts anew
        machine.hang()           # the guest answers nothing any more, though QEMU runs
        machine.wake()           # and goes on
        machine.reboot()         # the guest restarts by itself
        machine.cut("eth1")      # the cable of an interface is broken, though its link is up
        machine.mend("eth1")
    """

    def __init__(self, worker: Worker, qemu: Qemu) -> None:
        self.name = qemu.options.name
        self._worker = worker
        self._qemu = qemu

    def __repr__(self) -> str:
        return f"<SimulatedMachine {self.name} on {self._worker.name}>"

    def die(self, number: int = 9) -> None:
        """QEMU is ended by a signal."""
        self._do(lambda: self._qemu.kill(number))

    def panic(self, words: str = "simulated") -> None:
        """The guest's kernel panics, and says these words."""
        self._do(lambda: self._guest.panic(words))

    def hang(self) -> None:
        """The guest stands still, though its processor runs."""
        self._do(lambda: self._guest.hang(hung=True))

    def wake(self) -> None:
        """The guest goes on after `hang`."""
        self._do(lambda: self._guest.hang(hung=False))

    def reboot(self) -> None:
        """The guest restarts without being asked."""
        self._do(lambda: self._guest.reboot())

    def cut(self, interface: str) -> None:
        """Break the cable of an interface: frames get lost, and nobody is told."""
        self._set_cut(interface, is_cut=True)

    def mend(self, interface: str) -> None:
        """Mend it."""
        self._set_cut(interface, is_cut=False)

    # ---- inside

    @property
    def _guest(self) -> Guest:
        assert self._qemu.guest is not None
        return self._qemu.guest

    def _do(self, work: object) -> None:
        assert callable(work)
        with self._worker.world.entered():
            if self._qemu.is_alive and self._qemu.guest is not None:
                work()
            self._worker.world.hear()

    def _set_cut(self, name: str, *, is_cut: bool) -> None:
        found = self._guest.system.net.interface(name)
        if found is None or found.nic is None:
            rules.invalid("interface", name, "an interface of the machine such as 'eth1'")
        found.nic.is_cut = is_cut


def find_machine(worker: Worker, name: str) -> SimulatedMachine:
    """The machine of that name which runs on a worker."""
    running = {qemu.options.name: qemu for qemu in worker.qemus.values()}
    if name not in running:
        known = ", ".join(sorted(running)) or "none"
        rules.invalid("name", name, f"the name of a machine that runs on {worker.name} ({known})")
    return SimulatedMachine(worker, running[name])
