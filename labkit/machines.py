"""The machines of a slice on one host: starting them, finding them again, ending them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from labkit import rules
from labkit.calls import Facts, Part, Waits
from labkit.errors import MachineError, MachineUnknown
from labkit.executor import DEFAULT_TIMEOUT, Connection, Executor
from labkit.guest import Guest
from labkit.machine_problems import tail_of, translated
from labkit.observed import OFF
from labkit.programs import qemu
from labkit.steward import Steward
from labkit.streams import CallStream

START_TIMEOUT = 90.0
SHUTDOWN_TIMEOUT = 60.0
SLACK = 30.0
MAX_INDEX = 65535
CONSOLE_LIMIT = 1 << 16
CONSOLE_PAST = 1 << 18
SCREENSHOT = "screen.png"
_DEAD = "dead"  # a steward's word for a machine that is off, whatever has ended it


@dataclass(frozen=True, slots=True)
class MachineState:
    """What was seen of a machine. `state`: starting, running, paused, panicked or off.

    `boots` counts the starts of its guest; `ready`: its guest answers, since the boot `boot_id`;
    `end` says why it is off. `about` and `notes` are what was kept with it.
    """

    index: int
    name: str
    uuid: str
    pid: int | None
    state: str
    since: float
    boots: int
    ready: bool
    console_tail: str
    end: str | None
    boot_id: str = ""
    about: Facts = field(default_factory=dict)
    notes: Facts = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Its QEMU lives, whatever its guest does."""
        return self.state != OFF

    @classmethod
    def from_facts(cls, facts: Facts) -> Self:
        keep = (
            "index",
            "name",
            "uuid",
            "pid",
            "state",
            "since",
            "boots",
            "ready",
            "about",
            "notes",
        )
        end = facts["end"]["reason"] if facts["end"] else None
        tail = tail_of(facts["console_tail"])
        known = {key: facts[key] for key in keep}
        if known["state"] == _DEAD:
            known["state"] = OFF
        return cls(**known, console_tail=tail, end=end, boot_id=facts["boot"] or "")


class Machines:
    """The machines that one steward serves; `index` is a machine's place in its slice."""

    def __init__(self, steward: Steward, executor: Executor) -> None:
        self._steward = steward
        self._executor = executor

    def start(
        self,
        index: int,
        options: qemu.MachineOptions,
        *,
        files: Mapping[str, str] | None = None,
        seed: bytes = b"",
        about: Facts | None = None,
        program: str = qemu.PROGRAM,
    ) -> Machine:
        """Start a machine; answers once QEMU runs and its console and guest are listened to.

        `files` are written beside it first, for `options.firmware` to name, and `seed` as
        ``seed.iso``. `about` is kept with it and shown in its `MachineState`.
        """
        rules.integer(index, "index", 0, MAX_INDEX)
        facts: dict[str, Any] = {"name": options.name, "uuid": options.uuid}
        facts["argv"] = list(qemu.command(options, program))
        facts["files"] = dict(files or {})
        facts["about"] = dict(about or {})
        with translated(f"cannot start {options.name} on {self._steward.host}"):
            self._steward.call(
                "machine-start", data=seed, timeout=START_TIMEOUT, index=index, **facts
            )
        return self._machine(index, options.name)

    def list(self, *, revive: bool = True) -> tuple[MachineState, ...]:
        """All machines, those that are off too until they are forgotten; by index.

        `revive` is that of `Steward.start`.
        """
        facts = self._steward.call("machine-list", revive=revive).facts
        return tuple(MachineState.from_facts(machine) for machine in facts["machines"])

    def get(self, index: int) -> Machine:
        """The machine in a place; raises `MachineUnknown`."""
        for state in self.list():
            if state.index == index:
                return self._machine(index, state.name)
        raise MachineUnknown(
            f"there is no machine {index} on {self._steward.host}",
            why="none was started there, or it was forgotten",
            index=index,
        )

    def _machine(self, index: int, name: str) -> Machine:
        return Machine(self._steward, self._executor, index, name)


class Machine:
    """One machine, by its place; the object may be thrown away and made again at any time."""

    def __init__(self, steward: Steward, executor: Executor, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.guest = Guest(steward, index, name)
        self._steward = steward
        self._executor = executor

    def __repr__(self) -> str:
        return f"<Machine {self.name} on {self._steward.host}>"

    def state(self) -> MachineState:
        """What it does now."""
        for facts in self._steward.call("machine-list").facts["machines"]:
            if facts["index"] == self.index:
                return MachineState.from_facts(facts)
        raise MachineUnknown(
            f"there is no {self.name} on {self._steward.host}", why="it was forgotten"
        )

    def pause(self) -> None:
        """Halt its processor; nothing is lost."""
        self._qmp("pause", "stop")

    def resume(self) -> None:
        """Go on after `pause`."""
        self._qmp("resume", "cont")

    def reboot(self, timeout: float = SHUTDOWN_TIMEOUT) -> None:
        """Ask the guest to reboot, and wait until it has begun; then `guest.wait_ready()`."""
        self._ask("reboot", "guest-reboot", timeout, timeout=timeout)

    def reset(self) -> None:
        """Press its reset button: for a guest that does not listen."""
        self._qmp("reset", "system_reset")

    def shut_down(
        self, timeout: float = SHUTDOWN_TIMEOUT, *, while_waiting: Waits | None = None
    ) -> None:
        """Ask the guest to end, and wait until its QEMU has; `MachineStuck` when it has not.

        `while_waiting` is called several times a second; what it raises ends the waiting.
        """
        with translated(f"cannot shut down {self.name}"):
            facts: dict[str, Any] = {"index": self.index, "how": "shutdown", "timeout": timeout}
            call = self._steward.start("machine-stop", **facts)
            call.result(timeout + SLACK, while_waiting=while_waiting)

    def power_off(self) -> None:
        """Pull its plug, and wait until its QEMU has ended."""
        self._ask("power off", "machine-stop", how="off", timeout=DEFAULT_TIMEOUT)

    def note(self, **notes: Any) -> None:
        """Keep facts with it until it is started again; None drops one."""
        self._ask("keep notes with", "machine-note", notes=notes)

    def forget(self) -> None:
        """Remove what is left of a machine that is off: its folder, its console's history."""
        self._ask("forget", "machine-forget")

    def screenshot(self) -> bytes:
        """A picture of its screen as PNG; the machine must have one (`MachineOptions.screen`)."""
        try:
            self._qmp("take a picture of", "screendump", filename=SCREENSHOT, format="png")
        except MachineError as error:
            if "no graphical" not in error.why.lower() and "console" not in error.why.lower():
                raise
            raise self._no_screen("take a picture of") from error
        path = f"{self._steward.facts['folder']}/m{self.index}/{SCREENSHOT}"
        return self._executor.get(self._steward.host, path)

    def console_log(self, limit: int = CONSOLE_LIMIT) -> bytes:
        """The last `limit` bytes (at most 1 MiB) that its serial console said."""
        rules.integer(limit, "limit", 1, 1 << 20)
        return self._ask("read the console of", "console-read", limit=limit).data

    def watch_console(self, *, past: bool = True) -> Iterator[Part]:
        """What its console says, as it comes, until it ends; begins with the `past`.

        A part's facts have ``skipped`` where bytes were said too fast to be kept for us.
        """
        facts: dict[str, Any] = {"from": 0} if past else {}
        with translated(f"cannot watch the console of {self.name}"):
            call = self._steward.start("console-attach", index=self.index, **facts)
            try:
                yield from call
            except GeneratorExit:
                call.cancel()
                raise

    def type(self, data: bytes) -> None:
        """Type on its serial console."""
        with translated(f"cannot type on the console of {self.name}"):
            call = self._steward.start("console-attach", index=self.index)
            call.send(data)
            call.cancel()

    def open_console(self, *, past: int = CONSOLE_PAST, after: int | None = None) -> CallStream:
        """Its serial console as bytes both ways; begins with at most `past` bytes of before.

        `after` is the `position` where an earlier stream ended: what was read there is left out.
        Any number may be open at once.
        """
        rules.integer(past, "past", 0, 1 << 30)
        known = self._ask("open the console of", "console-read", limit=1).facts
        start, end = known["start"], known["end"]
        place = max(start, end - past)
        if after is not None and place < after <= end:  # else it is another machine's, or long ago
            place = after
        with translated(f"cannot open the console of {self.name}"):
            call = self._steward.start("console-attach", index=self.index, **{"from": place})
        return CallStream(call, f"use the console of {self.name}")

    def open_screen(self) -> Connection:
        """Its screen as bytes both ways, in the protocol of VNC (RFB); any number at once."""
        if not self._qmp("open the screen of", "query-vnc")["enabled"]:
            raise self._no_screen("open the screen of")
        path = f"{self._steward.facts['folder']}/m{self.index}/{qemu.SCREEN}"
        return self._executor.connect(self._steward.host, path)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """A command of QEMU's monitor, and what it returns."""
        return self._qmp("command", command, **arguments)

    def remove_netdev(self, name: str) -> None:
        """Take away a network backend that no NIC uses; one that is not there is fine."""
        try:
            self.qmp("netdev_del", id=name)
        except MachineError as error:
            if "not found" not in error.why:
                raise

    def _qmp(self, doing: str, command: str, **arguments: Any) -> Any:
        facts = self._ask(doing, "machine-qmp", execute=command, arguments=arguments).facts
        return facts["return"]

    def _no_screen(self, doing: str) -> MachineError:
        return MachineError(
            f"cannot {doing} {self.name}",
            why="it has no screen",
            fix="Start it with screen=True, or read its serial console.",
        )

    def _ask(self, doing: str, verb: str, wait: float = DEFAULT_TIMEOUT, **facts: Any) -> Part:
        with translated(f"cannot {doing} {self.name}"):
            call = self._steward.start(verb, index=self.index, **facts)
            return call.result(wait + SLACK)
