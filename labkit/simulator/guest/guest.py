"""The system inside a simulated machine, from one start to the next: how it boots and ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from labkit.remote.steward.loop import Timer
from labkit.simulator.guest.agent import Agent
from labkit.simulator.guest.console import Console
from labkit.simulator.guest.programs.catalogue import GUEST_PROGRAMS
from labkit.simulator.guest.setup import apply
from labkit.simulator.guest.system import System
from labkit.simulator.net.nic import Nic

if TYPE_CHECKING:
    from labkit.simulator.qemu.process import Qemu

BOOT_SECONDS, BOOT_VARIES = 2.3, 0.5  # until the agent answers
PROMPT_BEFORE, SETUP_BEFORE = 0.1, 0.4  # seconds before that
SLOW_SECONDS = 40.0
HALT_SECONDS = 0.5
LOOP_AFTER, PANIC_AFTER = 1.2, 1.0
SETUP_KEY = "opt/labkit/machine"
PANIC = "Kernel panic - not syncing: {}"
_PANIC_WAIT = re.compile(r"(?:^|\s)panic=(-?\d+)")


class Guest:
    """One boot. Its time stands still while it is frozen, and it does nothing once it is over."""

    def __init__(self, qemu: Qemu, number: int) -> None:
        self.qemu = qemu
        self.is_over = False
        self.is_frozen = False
        self.is_hung = False
        self._world = qemu.worker.world
        self._began = self._world.now
        self._waiting: list[Callable[[], None]] = []
        self.random = Random(f"{qemu.options.name} {number}")
        self.boot = self.random.randbytes(8).hex()
        self.has_agent = bool(qemu.options.kernel)
        self.system = System(self, GUEST_PROGRAMS)
        self.console = Console(self, qemu.serial)
        self.agent = Agent(self, qemu.lanes)
        for nic in qemu.nics.values():
            self.system.net.plug_in(nic)
        self._world.interactive.append(self._is_watched)
        self._go_on()

    def _is_watched(self) -> bool:
        """Whether a command runs that was typed on a terminal."""
        return not self.is_frozen and (self.console.is_busy or self.agent.is_watched)

    # ---- time

    def now(self) -> float:
        return self._world.now

    @property
    def uptime(self) -> float:
        return self._world.now - self._began

    @property
    def nanoseconds(self) -> int:
        """Its clock: nanoseconds since 1970."""
        return self._world.nanoseconds

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._world.call_later(seconds, partial(self._call, callback))

    def _call(self, callback: Callable[[], None]) -> None:
        if self.is_frozen or self.is_hung:
            self._waiting.append(callback)
        elif not self.is_over:
            callback()

    def freeze(self, *, frozen: bool) -> None:
        """Stop its processor, or let it go on."""
        self.is_frozen = frozen
        self._go_on()

    def hang(self, *, hung: bool) -> None:
        """Let it answer nothing any more, though its processor runs."""
        self.is_hung = hung
        self._go_on()

    def _go_on(self) -> None:
        stands = self.is_frozen or self.is_hung
        for plug in self.qemu.guest_plugs:
            plug.pause(paused=stands)
        self.agent.listen()
        if not stands:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                self._world.call_later(0, partial(self._call, callback))

    def stop(self) -> None:
        """It is over: the machine is off, or begins anew."""
        self.is_over = True
        self.agent.stop()
        self._world.interactive.remove(self._is_watched)
        for nic in self.qemu.nics.values():
            nic.leave()

    # ---- beginning

    def begin(self) -> None:
        seconds = BOOT_SECONDS + BOOT_VARIES * self.random.random()
        worker, name = self.qemu.worker, self.qemu.options.name
        fault = worker.faults.of_boot(worker.name, name)
        kind = fault.kind if fault is not None else ""
        if kind == "slow-boot":
            seconds += SLOW_SECONDS
        if kind == "boot-loop":
            self.call_later(LOOP_AFTER, lambda: self.qemu.reset("guest-reset"))
        elif kind == "boot-panic" or "rdinit=" in self.qemu.options.line:
            words = "No working init found.  Try passing init= option to kernel."
            self.call_later(PANIC_AFTER, lambda: self.panic(words))
        elif kind == "boot-dies":
            self.call_later(PANIC_AFTER, self.qemu.kill)
        elif self.has_agent:
            self.call_later(seconds - SETUP_BEFORE, self._set_up)
            self.call_later(seconds - PROMPT_BEFORE, self._open_console)
            if kind != "never-ready":
                self.call_later(seconds, self._serve)
        else:
            self.call_later(seconds, self._boot_disk)

    def _set_up(self) -> None:
        net = self.system.net
        net.set_up(net.interfaces[0], up=True)
        apply(self.system, self._settings(), self.console.tell)

    def _settings(self) -> str:
        file = self.qemu.options.firmware.get(SETUP_KEY)
        if file is None or not self.qemu.has_file(file):
            return "hostname micro\n"
        return self.qemu.worker.files.read(self.qemu.path(file)).decode()

    def _open_console(self) -> None:
        self.console.start_shell()

    def _serve(self) -> None:
        self.console.tell(f"ready in {self.uptime:.1f} s")
        self.agent.start()

    def _boot_disk(self) -> None:
        """A system of its own, of which we know that it comes up."""
        self.system.rename(self.qemu.options.name)
        for interface in self.system.net.interfaces:
            self.system.net.set_up(interface, up=True)
        self.console.start_login()

    def plug_in(self, nic: Nic) -> None:
        """A card came while it runs."""
        self.system.net.plug_in(nic)

    def unplug(self, nic: Nic) -> None:
        self.system.net.unplug(nic)

    # ---- ending

    def press_power_button(self) -> None:
        """A micro guest has no ear for it; others go down."""
        if not self.has_agent:
            self.call_later(HALT_SECONDS, self.power_off)

    def power_off(self) -> None:
        self.qemu.shut_down("guest-shutdown")

    def reboot(self) -> None:
        self.qemu.reset("guest-reset")

    def panic(self, words: str) -> None:
        """The kernel gives up; it starts anew when its command line says so."""
        stamp = f"[{self.uptime:12.6f}] "
        self.console.write(f"{stamp}{PANIC.format(words)}\n".encode())
        found = _PANIC_WAIT.search(self.qemu.options.line)
        wait = int(found[1]) if found else 0
        if wait:
            self._world.call_later(max(wait, 0), partial(self._restart))
        self.is_hung = True
        self._go_on()

    def _restart(self) -> None:
        if not self.is_over:
            self.qemu.reset("guest-reset")
