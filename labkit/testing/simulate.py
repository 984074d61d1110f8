"""What there will be once a plan is done: the picture before anything is touched."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from labkit import rules
from labkit.errors import UsageError
from labkit.observed import (
    OFF,
    PAUSED,
    RUNNING,
    Configured,
    Observed,
    ObservedLink,
    ObservedMachine,
    ObservedOverlay,
)
from labkit.plan.steps import (
    ConfigureGuest,
    DeleteLink,
    DeleteOverlay,
    ForgetMachine,
    GrowOverlay,
    MakeOverlay,
    Plan,
    RemoveLeftover,
    ResumeMachine,
    SetInternet,
    SetLink,
    StartMachine,
    StartSteward,
    Step,
    StopMachine,
    StopSteward,
)
from labkit.promise import NicSpec, Port

BOOT = "simulated"


def simulate(plan: Plan, seen: Observed) -> Observed:
    """What will be there after `plan`. Raises `UsageError` when a step lacks what it needs."""
    world = _World(seen)
    for step in plan.steps:
        world.do(step)
    return world.observed(seen)


def _lacks(step: Step, what: str) -> NoReturn:
    raise UsageError(
        f"the plan does not fit what is there: {step.kind} {step.name}",
        why=what,
        fix="Look again and plan again.",
        step=step.kind,
        name=step.name,
    )


class _World:
    """What is there while the steps are done, so that each costs the same in a large lab."""

    def __init__(self, seen: Observed) -> None:
        self.stewards = set(seen.stewards)
        self.folders = set(seen.folders)
        self.machines = {(one.host, one.index): one for one in seen.machines}
        self.links = {(one.host, one.name): one for one in seen.links}
        self.overlays = {(one.host, one.name): one for one in seen.overlays}
        self.leftovers = {(one.host, one.name): one for one in seen.leftovers}
        self.holder = {(link.host, port): link.name for link in seen.links for port in link.ports}

    def observed(self, seen: Observed) -> Observed:
        return Observed(
            stewards=frozenset(self.stewards),
            folders=frozenset(self.folders),
            unreachable=seen.unreachable,
            machines=tuple(self.machines[key] for key in sorted(self.machines)),
            links=tuple(self.links[key] for key in sorted(self.links)),
            overlays=tuple(self.overlays[key] for key in sorted(self.overlays)),
            leftovers=tuple(self.leftovers[key] for key in sorted(self.leftovers)),
        )

    def do(self, step: Step) -> None:
        served = step.host in self.stewards
        if f"steward {step.host}" in step.needs and not served:
            _lacks(step, f"no steward runs on {step.host}")
        match step:
            case StopSteward():
                self._stop_steward(step)
            case StartSteward():
                if served:
                    _lacks(step, "it runs already")
                self.stewards.add(step.host)
                self.folders.add(step.host)
            case RemoveLeftover():
                self.leftovers.pop((step.host, step.name))
            case MakeOverlay() | GrowOverlay() | DeleteOverlay():
                self._disk(step)
            case SetLink():
                self._set_link(step)
            case DeleteLink():
                self._delete_link(step)
            case StartMachine():
                self._start(step)
            case _:
                self._machine(step)

    def _stop_steward(self, step: Step) -> None:
        if any(host == step.host for host, _ in [*self.machines, *self.links]):
            _lacks(step, "it still serves machines or links")
        self.stewards.discard(step.host)
        self.folders.discard(step.host)

    def _disk(self, step: MakeOverlay | GrowOverlay | DeleteOverlay) -> None:
        key = (step.host, step.overlay)
        machine = None if step.index is None else self.machines.get((step.host, step.index))
        if machine is not None and machine.is_alive:
            _lacks(step, f"machine {machine.name} still uses the disk")
        if (key in self.overlays) == isinstance(step, MakeOverlay):
            _lacks(step, "the disk is there already" if key in self.overlays else "no such disk")
        if isinstance(step, DeleteOverlay):
            del self.overlays[key]
            return
        size = rules.disk_bytes(step.disk_gb)
        if isinstance(step, GrowOverlay):
            self.overlays[key] = replace(self.overlays[key], size=size)
        else:
            self.overlays[key] = ObservedOverlay(
                host=step.host, name=step.overlay, image=posixpath.basename(step.image), size=size
            )

    def _start(self, step: StartMachine) -> None:
        machine = step.machine
        key = (step.host, step.index)
        if key in self.machines:
            _lacks(step, f"its folder is that of {self.machines[key].name}")
        disk = machine.overlay if machine.disk_gb is not None else ""
        if disk and (step.host, disk) not in self.overlays:
            _lacks(step, "it has no disk")
        self.machines[key] = ObservedMachine(
            host=step.host,
            index=step.index,
            name=step.name,
            uuid=step.uuid,
            state=RUNNING,
            cores=machine.cores,
            memory_mb=machine.memory_mb,
            image=machine.image,
            overlay=disk,
            screen=machine.screen,
            seed=machine.seed,
            boot_id=BOOT,
            nics=machine.nics,
            internet=machine.internet,
        )

    def _machine(self, step: Step) -> None:
        key, machine = self._known(step)
        match step:
            case StopMachine():
                self.machines[key] = replace(machine, state=OFF, configured=None, boot_id=None)
                self._disconnect(step.host, step.index, machine.nics)
            case ForgetMachine():
                if machine.is_alive:
                    _lacks(step, "it still runs")
                del self.machines[key]
            case ResumeMachine():
                if machine.state != PAUSED:
                    _lacks(step, "it is not paused")
                self.machines[key] = replace(machine, state=RUNNING)
            case SetInternet():
                if machine.internet == step.address:
                    _lacks(step, f"its internet is {step.address or 'off'} already")
                self.machines[key] = replace(machine, internet=step.address)
            case ConfigureGuest():
                self.machines[key] = _configured(step, machine)
            case _:
                _lacks(step, "nobody knows such a step")

    def _known(self, step: Step) -> tuple[tuple[str, int], ObservedMachine]:
        key = (step.host, getattr(step, "index", -1))
        machine = self.machines.get(key)
        if machine is None or machine.uuid != getattr(step, "uuid", None):
            _lacks(step, "there is no such machine")
        if not machine.is_alive and not isinstance(step, ForgetMachine):
            _lacks(step, "the machine does not run")
        return key, machine

    def _disconnect(self, host: str, index: int, nics: Iterable[NicSpec]) -> None:
        for nic in nics:
            port = Port(index, nic.number)
            name = self.holder.get((host, port))
            if name is not None:
                link = self.links[host, name]
                left = tuple(other for other in link.connected if other != port)
                self.links[host, name] = replace(link, connected=left)

    def _set_link(self, step: SetLink) -> None:
        link = step.link
        for port in link.ports:
            self._check_port(step, port)
        old = self.links.get((step.host, step.name))
        for port in old.ports if old else ():
            self.holder.pop((step.host, port), None)
        self.holder |= {(step.host, port): step.name for port in link.ports}
        self.links[step.host, step.name] = ObservedLink(
            host=step.host,
            name=step.name,
            ports=link.ports,
            connected=link.ports,
            impairments=link.impairments,
            up=link.up,
        )

    def _check_port(self, step: SetLink, port: Port) -> None:
        machine = self.machines.get((step.host, port.machine))
        if machine is None or not machine.is_alive:
            _lacks(step, f"machine {port.machine} does not run")
        if port.nic not in {nic.number for nic in machine.nics}:
            _lacks(step, f"{machine.name} has no interface eth{port.nic}")
        holder = self.holder.get((step.host, port), step.name)
        if holder != step.name:
            _lacks(step, f"eth{port.nic} of {machine.name} is in link {holder}")

    def _delete_link(self, step: DeleteLink) -> None:
        link = self.links.pop((step.host, step.name), None)
        if link is None:
            _lacks(step, "there is no such link")
        for port in link.ports:
            self.holder.pop((step.host, port), None)


def _configured(step: ConfigureGuest, machine: ObservedMachine) -> ObservedMachine:
    if machine.state != RUNNING:
        _lacks(step, "the machine does not run")
    boot = machine.boot_id or BOOT
    old = machine.configured
    marks = dict(old.marks) if old is not None and old.boot_id == boot else {}
    marks |= {part: word for part, word in step.guest.marks if part in step.parts}
    return replace(machine, boot_id=boot, configured=Configured(boot, tuple(marks.items())))
