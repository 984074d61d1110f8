"""One step of a plan, done on its host through the slice's steward."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit import rules
from labkit.engines import looking
from labkit.engines.engine import IsStopping, SliceId
from labkit.engines.guest_setup import TEXT_PARTS, setup_text
from labkit.errors import Interrupted, SetupFailed
from labkit.events import GuestWaiting, Listener
from labkit.executor import Result
from labkit.guest import Guest
from labkit.links import Links
from labkit.machines import Machine, Machines
from labkit.plan.steps import (
    ConfigureGuest,
    DeleteLink,
    DeleteOverlay,
    ForgetMachine,
    GrowOverlay,
    MakeOverlay,
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
from labkit.programs import nocloud, qemu, qemu_img
from labkit.remote.steward.egress import GATEWAY_NIC
from labkit.steward import Steward
from labkit.wish import FileWish, Impairment

if TYPE_CHECKING:
    from labkit.engines.hosts import HostsEngine

SETUP_KEY, SETUP_FILE, SEED_FILE = "opt/labkit/machine", "setup", "seed.iso"
READY_SECONDS = 600.0  # a guest that makes progress on a busy host is not given up
COMMAND_SECONDS = 600.0
SHUTDOWN_SECONDS = 60.0
RESIZE_SECONDS = 60.0


class Doer:
    """Does steps of one slice on one host."""

    def __init__(
        self,
        engine: HostsEngine,
        slice_id: SliceId,
        host: str,
        tell: Listener,
        is_stopping: IsStopping,
    ) -> None:
        self._engine = engine
        self._slice = slice_id
        self._host = host
        self._tell = tell
        self._is_stopping = is_stopping

    def do(self, step: Step) -> None:
        """Do a step, or what is left of it when it was begun before."""
        match step:
            case StopSteward():
                self._steward.quit(forget=True)
                self._engine.let_go(self._slice, self._host)
            case StartSteward():
                self._steward.call("hello")
            case RemoveLeftover():
                self._remove_leftover(step)
            case MakeOverlay():
                self._make_overlay(step)
            case GrowOverlay():
                size = rules.disk_bytes(step.disk_gb)
                path = self._engine.disk_path(self._host, step.overlay)
                command = qemu_img.resize(path, size)
                self._engine.executor.run(self._host, command, timeout=RESIZE_SECONDS).check()
            case DeleteOverlay():
                path = self._engine.disk_path(self._host, step.overlay)
                self._engine.disks(self._tell).delete_overlays(self._host, [path])
            case SetLink():
                link = step.link
                links = Links(self._steward)
                out: dict[tuple[int, int], Impairment] = dict(link.impairments)
                links.set(link.name, link.ports, up=link.up, out=out, into={})
            case DeleteLink():
                Links(self._steward).delete(step.name)
            case _:
                self._do_machine(step)

    def _do_machine(self, step: Step) -> None:
        match step:
            case StartMachine():
                self._start(step)
            case StopMachine(how="shutdown"):
                machine = self._machine(step.index, step.name)
                machine.shut_down(SHUTDOWN_SECONDS, while_waiting=self._stop_here(step.name))
            case StopMachine():
                self._machine(step.index, step.name).power_off()
            case ForgetMachine():
                # First what is not looked for once the machine is forgotten.
                self._steward.call("link-delete", link=looking.internet_link(step.index))
                self._machine(step.index, step.name).forget()
            case ResumeMachine():
                self._machine(step.index, step.name).resume()
            case SetInternet():
                self._set_internet(step)
            case ConfigureGuest():
                self._configure(step)
            case _:
                raise AssertionError(step)

    @property
    def _steward(self) -> Steward:
        return self._engine.served(self._slice, self._host)

    def _machine(self, index: int, name: str) -> Machine:
        return Machine(self._steward, self._engine.executor, index, name)

    # disks and files

    def _remove_leftover(self, step: RemoveLeftover) -> None:
        survey = next(
            one
            for one in self._engine.survey()
            if (one.host, one.key) == (self._host, self._slice.key)
        )
        if step.name in survey.strange:
            path = posixpath.join(survey.folder, step.name)
            self._engine.executor.run(self._host, ("rm", "-rf", "--", path)).check()

    def _make_overlay(self, step: MakeOverlay) -> None:
        mark = {
            "slice": self._slice.name,
            "vm": step.name,
            looking.SLICE_MARK: self._slice.uuid,
            looking.STORE: self._slice.store,
        }
        self._engine.disks(self._tell).create_overlay(
            self._host, step.overlay, step.image, disk_gb=step.disk_gb, mark=mark
        )

    # machines

    def _start(self, step: StartMachine) -> None:
        spec, guest, steward = step.machine, step.guest, self._steward
        disks = []
        seed = b""
        if spec.disk_gb is not None:
            disks.append(qemu.Disk(self._engine.disk_path(self._host, spec.overlay)))
        if not spec.agent:
            seed = nocloud.seed_iso(guest, f"{spec.uuid}-{spec.seed}", dialect=spec.dialect)
            path = f"{steward.facts['folder']}/m{step.index}/{SEED_FILE}"
            disks.append(qemu.Disk(path, "raw", read_only=True))
        system = self._engine.system_image(spec, self._tell)
        options = qemu.MachineOptions(
            spec.name,
            spec.uuid,
            spec.memory_mb,
            spec.cores,
            kernel=None if system is None else system.kernel,
            disks=tuple(disks),
            macs=tuple(nic.mac for nic in spec.nics),
            internet=qemu.Internet(spec.internet) if spec.internet else None,
            firmware=((SETUP_KEY, SETUP_FILE),) if spec.agent else (),
            screen=spec.screen,
            acceleration=self._engine.acceleration(self._host, self._tell).acceleration,
        )
        if spec.internet:
            self._join_internet(step.index)
        Machines(steward, self._engine.executor).start(
            step.index,
            options,
            files={SETUP_FILE: setup_text(guest)} if spec.agent else {},
            seed=seed,
            about=looking.about(spec, self._slice.store),
        )

    def _join_internet(self, index: int) -> None:
        ports = [[index, 0], [index, GATEWAY_NIC]]
        name = looking.internet_link(index)
        self._steward.call("link-set", link=name, ports=ports, up=True)

    def _set_internet(self, step: SetInternet) -> None:
        """Another address is another network: the old one goes first, whatever is left of it."""
        machine = self._machine(step.index, step.name)
        self._steward.call("link-delete", link=looking.internet_link(step.index))
        for name in reversed(qemu.INTERNET_NETDEVS):
            machine.remove_netdev(name)
        if step.address is not None:
            for netdev in qemu.internet_netdevs(qemu.Internet(step.address), step.name):
                machine.qmp("netdev_add", **netdev)
            self._join_internet(step.index)
        machine.note(internet=step.address or "")

    # guests

    def _configure(self, step: ConfigureGuest) -> None:
        machine = self._machine(step.index, step.name)
        guest, stop_here = machine.guest, self._stop_here(step.name)
        guest.wait_ready(READY_SECONDS, on_wait=self._waits_for(step.name))
        boot = machine.state().boot_id
        if TEXT_PARTS & set(step.parts):
            text = setup_text(step.guest, step.parts)
            _well(guest.run(["labkit-setup"], input=text), step.name, "its settings")
        if "files" in step.parts:
            for file in step.guest.files:
                _put(guest, file)
        if "commands" in step.parts:
            for command in step.guest.commands:
                stop_here()
                result = guest.run(command, timeout=COMMAND_SECONDS, while_waiting=stop_here)
                _well(result, step.name, f"the command {shlex.quote(command)}")
        self._note_configured(machine, step, boot)

    def _note_configured(self, machine: Machine, step: ConfigureGuest, boot: str) -> None:
        """Keep what was done with the boot it was done in: another boot has none of it."""
        state = machine.state()
        before = state.notes.get(looking.CONFIGURED) or {}
        marks = dict(before["marks"]) if before.get("boot_id") == boot else {}
        marks |= {part: word for part, word in step.guest.marks if part in step.parts}
        machine.note(configured={"boot_id": boot, "marks": [list(pair) for pair in marks.items()]})

    def _waits_for(self, name: str) -> Callable[[str, float], None]:
        stop_here = self._stop_here(name)

        def on_wait(what: str, seconds: float) -> None:
            self._tell(GuestWaiting(self._host, name, what, seconds))
            stop_here()

        return on_wait

    def _stop_here(self, name: str) -> Callable[[], None]:
        def stop_here() -> None:
            if self._is_stopping():
                raise Interrupted(
                    f"work on {name} is not done yet",
                    why="it was told to stop",
                    fix="Deploy again: it goes on from here.",
                )

        return stop_here


def _put(guest: Guest, file: FileWish) -> None:
    folder = posixpath.dirname(file.path)
    guest.run(["mkdir", "-p", folder], check=True)
    guest.put(file.path, file.data or b"", mode=file.mode)


def _well(result: Result, name: str, what: str) -> None:
    if result.ok:
        return
    said = (result.error_text.strip() or result.text.strip()).splitlines()
    raise SetupFailed(
        f"{name} did not take {what}",
        why=f"status {result.returncode}{f', it said: {said[-1][:300]}' if said else ''}",
        fix="Look inside with run(), correct the wish, and deploy again.",
        result=result,
        vm=name,
    )
