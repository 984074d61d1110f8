"""The steps of a plan: frozen, each with its reason in words and what else it touches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from labkit import markup
from labkit.promise import GuestSpec, LinkSpec, MachineSpec, Port

Action = Literal["+", "~", "-"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do on `host` to the thing `name`, and why.

    `action` says what it means to the thing: made, changed or removed. `touches` are the links
    that suffer from it.
    """

    host: str
    name: str
    reason: str
    action: Action = "+"
    touches: tuple[str, ...] = ()

    kind: ClassVar[str]

    @property
    def needs(self) -> tuple[str, ...]:
        """What must be in order before it, as keys."""
        return (f"steward {self.host}",)

    @property
    def changes(self) -> tuple[str, ...]:
        """What it changes, as keys: steps that share none may go at the same time."""
        raise NotImplementedError


def machine_key(host: str, index: int) -> str:
    return f"machine {host} {index}"


def port_key(host: str, port: Port) -> str:
    return f"port {host} {port.machine} {port.nic}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _StewardStep(Step):
    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    @property
    def changes(self) -> tuple[str, ...]:
        return (f"steward {self.host}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSteward(_StewardStep):
    """Make the slice's run folder and start the process that serves the slice there."""

    kind: ClassVar[str] = "start steward"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSteward(_StewardStep):
    """End the serving process and remove the run folder: nothing of the slice is left in it."""

    kind: ClassVar[str] = "stop steward"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveLeftover(Step):
    """Remove what nothing accounts for; it is no machine, so no steward is asked."""

    kind: ClassVar[str] = "remove leftover"

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    @property
    def changes(self) -> tuple[str, ...]:
        return (f"leftover {self.host} {self.name}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DiskStep(Step):
    """A step on a VM's disk, which must be no running machine's; needs no steward."""

    overlay: str
    index: int | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return () if self.index is None else (machine_key(self.host, self.index),)

    @property
    def changes(self) -> tuple[str, ...]:
        return (f"overlay {self.host} {self.overlay}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeOverlay(_DiskStep):
    """Make a VM's disk on top of its base image."""

    kind: ClassVar[str] = "make overlay"
    image: str
    disk_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowOverlay(_DiskStep):
    """Make the disk of a machine that does not run larger; its content stays."""

    kind: ClassVar[str] = "grow overlay"
    disk_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOverlay(_DiskStep):
    """Delete a VM's disk with its content."""

    kind: ClassVar[str] = "delete overlay"


@dataclass(frozen=True, slots=True, kw_only=True)
class _MachineStep(Step):
    index: int
    uuid: str

    @property
    def changes(self) -> tuple[str, ...]:
        return (machine_key(self.host, self.index),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMachine(_MachineStep):
    """Start a machine; `guest` is for a system that takes its settings only then."""

    kind: ClassVar[str] = "start machine"
    machine: MachineSpec
    guest: GuestSpec

    @property
    def needs(self) -> tuple[str, ...]:
        return (f"steward {self.host}", f"overlay {self.host} {self.machine.overlay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMachine(_MachineStep):
    """End a machine, known by its uuid: orderly (``shutdown``) or at once (``off``)."""

    kind: ClassVar[str] = "stop machine"
    how: Literal["shutdown", "off"] = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetMachine(_MachineStep):
    """Remove the folder of a machine that has ended."""

    kind: ClassVar[str] = "forget machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeMachine(_MachineStep):
    """Let a paused machine go on."""

    kind: ClassVar[str] = "resume machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInternet(_MachineStep):
    """Connect eth0 of a running machine to the internet, which gives it `address`, or cut it."""

    kind: ClassVar[str] = "set internet"
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureGuest(_MachineStep):
    """Wait for the guest and make the settings of `parts` in it, in the order of `PARTS`."""

    kind: ClassVar[str] = "configure guest"
    guest: GuestSpec
    parts: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return (f"steward {self.host}", machine_key(self.host, self.index))

    @property
    def changes(self) -> tuple[str, ...]:
        return (f"guest {self.host} {self.index}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLink(Step):
    """Make a link, or change it while it runs."""

    kind: ClassVar[str] = "set link"
    link: LinkSpec

    @property
    def needs(self) -> tuple[str, ...]:
        machines = (machine_key(self.host, port.machine) for port in self.link.ports)
        return (f"steward {self.host}", *machines)

    @property
    def changes(self) -> tuple[str, ...]:
        ports = (port_key(self.host, port) for port in self.link.ports)
        return (f"link {self.host} {self.name}", *ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteLink(Step):
    """Serve a link no more; its machines stay as they are."""

    kind: ClassVar[str] = "delete link"
    ports: tuple[Port, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        ports = (port_key(self.host, port) for port in self.ports)
        return (f"link {self.host} {self.name}", *ports)


@dataclass(frozen=True)
class Plan:
    """What is to be done, in an order that works.

    With `look_again` a host could not be looked at whole before its steward runs: after this
    plan look and plan once more. `unreachable` are hosts of which nothing is known and on which
    nothing is done.
    """

    steps: tuple[Step, ...] = ()
    look_again: bool = False
    unreachable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def summary(self) -> str:
        """How much is made, changed and removed, in words."""
        words = {"+": "to make", "~": "to change", "-": "to remove"}
        counts = {sign: sum(step.action == sign for step in self.steps) for sign in words}
        told = [f"{count} {words[sign]}" for sign, count in counts.items() if count]
        told += [f"{host} cannot be reached" for host in self.unreachable]
        return ", ".join(told) or "nothing to do"

    @property
    def things(self) -> tuple[str, ...]:
        """What it makes, changes or removes, each once, as ``VM r1`` or ``link core``.

        What serves the slice on a host counts only where nothing else is to do.
        """
        found = dict.fromkeys(map(_thing, self.steps))
        others = dict.fromkeys(
            _thing(one) for one in self.steps if not isinstance(one, _StewardStep)
        )
        return tuple(others or found)

    def _repr_mimebundle_(self, **_options: Any) -> markup.Bundle:
        rows = [
            (step.action, step.kind, step.name, step.reason, ", ".join(step.touches), step.host)
            for step in self.steps
        ]
        text = markup.text_table([row[:4] for row in rows])
        html = [markup.heading("Plan", "", self.summary)]
        if rows:
            html.append(markup.table(("", "step", "of", "because", "touches", "host"), rows))
        return markup.bundle(f"Plan: {self.summary}\n{text}".rstrip(), *html)

    @cached_property
    def after(self) -> tuple[tuple[int, ...], ...]:
        """For each step the numbers of the earlier steps that must be done before it begins."""
        changed: dict[str, int] = {}
        used: dict[str, list[int]] = {}
        found = []
        for number, step in enumerate(self.steps):
            waits = {changed[key] for key in (*step.needs, *step.changes) if key in changed}
            for key in step.changes:
                waits.update(used.pop(key, ()))
                changed[key] = number
            for key in step.needs:
                used.setdefault(key, []).append(number)
            found.append(tuple(sorted(waits)))
        return tuple(found)


def _thing(step: Step) -> str:
    if isinstance(step, _StewardStep):
        return f"host {step.name}"
    if isinstance(step, SetLink | DeleteLink):
        return f"link {step.name}"
    return f"{'leftover' if isinstance(step, RemoveLeftover) else 'VM'} {step.name}"
