"""One VM of a slice: its power, its console, its screen and the system inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import rules
from labkit.allocate import VMAllocation
from labkit.calls import Part
from labkit.errors import MachineUnknown
from labkit.executor import Result
from labkit.flavors import need_agent
from labkit.guest import DEFAULT_TIMEOUT, READY_TIMEOUT, Guest, OnOutput, OnWait
from labkit.lab import faces, reprs
from labkit.machines import CONSOLE_LIMIT, SHUTDOWN_TIMEOUT, Machine
from labkit.markup import Bundle
from labkit.wish import VMWish

if TYPE_CHECKING:
    from labkit.lab.slice_handle import LabSlice


class LabVM:
    """A VM by its name; the object may be thrown away and made again at any time."""

    def __init__(self, owner: LabSlice, name: str) -> None:
        self._slice = owner
        self.name = name

    def __repr__(self) -> str:
        if self.name not in self._slice:
            return f"<VM {self.name}: removed from slice {self._slice.name}>"
        wish = self.wish
        image = f"image {wish.image}" if wish.image else ""
        addresses = " ".join(f"{interface}={address}" for interface, address in wish.addresses)
        facts = filter(None, [self.state, wish.flavor, image, addresses])
        return f"<VM {self.name}: {', '.join(facts)}>"

    def _repr_mimebundle_(self, **_options: Any) -> Bundle:
        return reprs.vm_bundle(self)

    @property
    def wish(self) -> VMWish:
        """What is wished of it."""
        return self._slice.wish[self.name]

    @property
    def slice(self) -> LabSlice:
        """The slice it belongs to."""
        return self._slice

    @property
    def place(self) -> VMAllocation:
        """What it was promised; raises `MachineUnknown` before it is deployed."""
        for vm in self._slice.record.allocation.vms:
            if vm.name == self.name:
                return vm
        raise MachineUnknown(
            f"{self.name} is not there",
            why=f"slice {self._slice.name!r} was not deployed since it is wished",
            fix="Deploy the slice first.",
            vm=self.name,
        )

    @property
    def state(self) -> str:
        """``running``, ``absent`` … as last seen; `LabSlice.refresh` looks again."""
        _ = self.wish  # it may have been removed, which is an error that says so
        return self._slice.states[self.name]

    @property
    def machine(self) -> Machine:
        """Its machine, for all that is not here."""
        place = self.place
        return self._slice.engine.machine(self._slice.id, place.host, place.index, self.name)

    @property
    def guest(self) -> Guest:
        """The system inside it; raises `NoAgent` where its image has none of labkit's agent."""
        need_agent(self.wish.size, "run commands in", self.name)
        return self.machine.guest

    # inside

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str = b"",  # noqa: A002 - as subprocess.run calls it
        timeout: float | None = DEFAULT_TIMEOUT,
        check: bool = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
    ) -> Result:
        """Run a program, or a line of shell, in it: once. See `labkit.guest.Guest.run`."""
        return self.guest.run(
            command,
            input=input,
            timeout=timeout,
            check=check,
            cwd=cwd,
            env=env,
            on_output=on_output,
        )

    def upload(self, source: str | Path, target: str) -> None:
        """Copy a file or folder into it, verified."""
        self.guest.upload(source, target)

    def download(self, source: str, target: str | Path) -> None:
        """Copy a file or folder from it, verified."""
        self.guest.download(source, target)

    def wait_ready(self, timeout: float = READY_TIMEOUT, *, on_wait: OnWait | None = None) -> float:
        """Wait until commands can be run in it; answers after how many seconds."""
        return self.guest.wait_ready(timeout, on_wait=on_wait)

    # power

    def start(self) -> None:
        """Start it again after it ended: what `LabSlice.deploy` does for all."""
        self._slice.deploy()

    def shut_down(self, timeout: float = SHUTDOWN_TIMEOUT) -> None:
        """Ask its system to end, and wait until it has; raises `MachineStuck`."""
        self.machine.shut_down(timeout)
        self._slice.refresh()

    def power_off(self) -> None:
        """Pull its plug."""
        self.machine.power_off()
        self._slice.refresh()

    def reboot(self, timeout: float = SHUTDOWN_TIMEOUT) -> None:
        """Ask its system to reboot, wait until it is ready again, and set it up as wished.

        A system without labkit's agent is shut down and started again.
        """
        if self.wish.size.agent:
            self.machine.reboot(timeout)
            self.guest.wait_ready()
        else:
            self.machine.shut_down(timeout)
        self._slice.deploy()

    def pause(self) -> None:
        """Hold it where it is."""
        self.machine.pause()
        self._slice.refresh()

    def resume(self) -> None:
        """Let it go on."""
        self.machine.resume()
        self._slice.refresh()

    # console and screen

    def console_log(self, limit: int = CONSOLE_LIMIT) -> str:
        """The last words on its serial console, at most `limit` bytes."""
        rules.integer(limit, "limit", 1, 1 << 20)
        return self.machine.console_log(limit).decode(errors="replace")

    def watch_console(self, *, past: bool = True) -> Iterator[Part]:
        """What its serial console says, as it comes."""
        return self.machine.watch_console(past=past)

    def screenshot(self) -> bytes:
        """Its screen as PNG; it needs ``screen=True`` in its wish."""
        return self.machine.screenshot()

    def console(self, **options: Any) -> object:
        """Its serial console as a terminal in the notebook; `options` are ``rows`` and
        ``read_only``."""
        return faces.show("console", self, **options)

    def shell(self, **options: Any) -> object:
        """A shell in it as a terminal in the notebook; `options` are those of `console`."""
        return faces.show("shell", self, **options)

    def screen(self, **options: Any) -> object:
        """Its screen in the notebook, with keyboard and pointer, or without: ``read_only``."""
        return faces.show("screen", self, **options)
