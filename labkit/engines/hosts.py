"""The engine on hosts: QEMU machines and a switch, served by one steward per slice and host."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from labkit import remote, steward
from labkit.acceleration import Finding, find_acceleration, qemu_version
from labkit.allocate import Allocation
from labkit.calls import Facts
from labkit.check_states import OK
from labkit.engines import looking
from labkit.engines.belongings import find_belongings, remove_belonging
from labkit.engines.checking import Checker
from labkit.engines.doing import Doer
from labkit.engines.engine import OUT_OF_REACH, Belonging, Check, IsStopping, SliceId, Survey
from labkit.engines.system_images import SystemImage, SystemImages
from labkit.errors import ConnectionLost, NoRoom, WorkerUnreachable
from labkit.events import Listener, ignore
from labkit.executor import Executor, fan_out
from labkit.images.manager import QCOWManager
from labkit.links import Links
from labkit.machines import Machine, Machines
from labkit.micro import MICRO
from labkit.observed import Observed
from labkit.plan import Plan, Step
from labkit.plan.steps import MakeOverlay, StartMachine
from labkit.promise import MachineSpec
from labkit.room import Host
from labkit.rules import GIB, overlay_file
from labkit.steward import Steward

RESERVED_MB = 256  # of a host's memory, for everything that is no machine
SURVEY_TIMEOUT = 60.0


class HostsEngine:
    """Hosts behind one executor: this machine, workers over SSH, or simulated ones."""

    def __init__(
        self,
        name: str,
        executor: Executor,
        hosts: Sequence[str],
        images: SystemImages,
        *,
        is_real: bool,
        base_dir: str = "~/vm_images",
    ) -> None:
        self.name = name
        self.is_real = is_real
        self.executor = executor
        self._base_dir = base_dir
        self._hosts = tuple(hosts)
        self._images = images
        self._lock = threading.Lock()
        self._stewards: dict[tuple[str, str], Steward] = {}
        self._disks: dict[Listener, QCOWManager] = {}
        self._folders: dict[str, str] = {}
        self._found: dict[str, Finding] = {}
        self._sizes: dict[str, Host] = {}

    def __repr__(self) -> str:
        return f"<HostsEngine {self.name}: {', '.join(self._hosts)}>"

    # looking

    def hosts(self, *, with_disks: bool) -> tuple[Host, ...]:
        sized = self._with_disk if with_disks else self._host
        return tuple(fan_out(sized, self._hosts))

    def _with_disk(self, host: str) -> Host:
        """A host with the room for disks: what is free, and what labkit's disks fill already."""
        found = self._host(host)
        if not found.reachable:
            return found
        try:
            facts = self.disks().look(host)
        except OUT_OF_REACH:
            return replace(found, reachable=False)
        room = facts.free + sum(overlay.bytes for overlay in facts.overlays)
        return replace(found, disk_gb=round(room / GIB, 1))

    def _host(self, host: str) -> Host:
        """What a host can give is asked once: its size does not change, and whether it can be
        reached is seen whenever it is looked at."""
        if host not in self._sizes:
            try:
                facts = self.survey_host(host, [])
            except OUT_OF_REACH:
                return Host(host, cores=0, memory_mb=0, reachable=False)
            memory = max(0, (facts["memory"] >> 20) - RESERVED_MB)
            self._sizes[host] = Host(host, cores=facts["cores"], memory_mb=memory)
        return self._sizes[host]

    def observe(self, slice_id: SliceId, allocation: Allocation) -> Observed:
        hosts = list(dict.fromkeys([*self._hosts, *(vm.host for vm in allocation.everyone)]))
        parts = fan_out(lambda host: self._look(slice_id, host, allocation), hosts)
        return Observed(
            stewards=frozenset().union(*(part.stewards for part in parts)),
            folders=frozenset().union(*(part.folders for part in parts)),
            unreachable=frozenset().union(*(part.unreachable for part in parts)),
            machines=tuple(one for part in parts for one in part.machines),
            links=tuple(one for part in parts for one in part.links),
            overlays=tuple(one for part in parts for one in part.overlays),
            leftovers=tuple(one for part in parts for one in part.leftovers),
        )

    def _look(self, slice_id: SliceId, host: str, allocation: Allocation) -> Observed:
        try:
            seen = self._look_at_folder(slice_id, host)
            overlays: tuple[Any, ...] = ()
            if any(vm.disk_gb and vm.host == host for vm in allocation.everyone):
                overlays = looking.overlays_seen(host, self.disks().look(host), allocation)
        except OUT_OF_REACH:
            return Observed(unreachable=frozenset({host}))
        return Observed(**seen, overlays=overlays)

    def _look_at_folder(self, slice_id: SliceId, host: str) -> dict[str, Any]:
        told = self._told(host, self._connected(slice_id, host))
        if told is not None:
            return told
        found = self.survey_host(host, [slice_id.key])["slices"]
        if not found:
            return {}
        facts = found[0]
        told = self._told(host, self._find(slice_id, host))
        if told is None:
            machines = tuple(looking.machine_found(host, one) for one in facts["machines"])
            told = {"folders": frozenset({host}), "machines": machines}
        return {**told, "leftovers": looking.leftovers_seen(host, facts["strange"])}

    def _told(self, host: str, served: Steward | None) -> dict[str, Any] | None:
        """What a steward tells of its slice; None where it has ended: none is started for it."""
        if served is None:
            return None
        try:
            states = Machines(served, self.executor).list(revive=False)
            links = Links(served).states(revive=False)
        except (ConnectionLost, WorkerUnreachable):
            return None
        return {
            "stewards": frozenset({host}),
            "folders": frozenset({host}),
            "machines": tuple(looking.machine_seen(host, state) for state in states),
            "links": looking.links_seen(host, links),
        }

    def survey(self) -> tuple[Survey, ...]:
        return tuple(one for each in fan_out(self._survey_all, self._hosts) for one in each)

    def _survey_all(self, host: str) -> list[Survey]:
        try:
            found = self.survey_host(host, None)["slices"]
        except OUT_OF_REACH:
            return []
        return [looking.survey_of(host, facts) for facts in found]

    def survey_host(self, host: str, keys: list[str] | None) -> dict[str, Any]:
        """What the worker program `survey` says of these slices, or of all."""
        question = json.dumps({"keys": keys}).encode()
        command = remote.program("survey")
        result = self.executor.run(host, command, stdin=question, timeout=SURVEY_TIMEOUT)
        return dict(json.loads(result.check().stdout))

    # health

    def checks(self, tell: Listener) -> tuple[Check, ...]:
        if not self.is_real:
            detail = "all of it is in this program's memory"
            return tuple(Check(host, "simulator", OK, detail) for host in self._hosts)
        each = fan_out(lambda host: Checker(self, host, tell).checks(), self._hosts)
        return tuple(check for checks in each for check in checks)

    def belongings(self) -> tuple[Belonging, ...]:
        if not self.is_real:
            return ()
        each = fan_out(lambda host: find_belongings(self, host), self._hosts)
        return tuple(one for found in each for one in found)

    def remove(self, belonging: Belonging) -> None:
        remove_belonging(self, belonging)

    def health(self, host: str, *, end: Sequence[str] = ()) -> dict[str, Any]:
        """What the worker program of this name says; it first ends stray machines by uuid."""
        question = json.dumps({"end": list(end)}).encode()
        command = remote.program("health")
        result = self.executor.run(host, command, stdin=question, timeout=SURVEY_TIMEOUT)
        return dict(json.loads(result.check().stdout))

    # doing

    def check(self, plan: Plan) -> None:
        starts = [step.machine for step in plan.steps if isinstance(step, StartMachine)]
        for image in dict.fromkeys(one.image for one in starts if one.disk_gb is None):
            self._images.check(image)

    def prepare(self, plan: Plan, tell: Listener) -> None:
        starts = [step for step in plan.steps if isinstance(step, StartMachine)]
        for host in dict.fromkeys(step.host for step in starts):
            qemu_version(self.executor, host)
        for step in starts:
            self._check_memory(step.machine, tell)
        for host in dict.fromkeys(step.host for step in starts):
            self.acceleration(host, tell)
        for disk in plan.steps:
            if isinstance(disk, MakeOverlay):
                self.disks(tell).ensure_base(disk.host, disk.image)

    def acceleration(self, host: str, tell: Listener, *, again: bool = False) -> Finding:
        """What executes machines there, found by really starting one; remembered by the host."""
        if again or host not in self._found:
            kernel = self._images.ensure(host, MICRO, tell).kernel
            self._found[host] = find_acceleration(self.executor, host, kernel, again=again)
        return self._found[host]

    def _check_memory(self, machine: MachineSpec, tell: Listener) -> None:
        image = self.system_image(machine, tell)
        if image is not None and machine.memory_mb < image.memory_mb:
            raise NoRoom(
                f"{machine.name} cannot be started with {machine.memory_mb} MB of memory",
                why=f"the image {machine.image} needs at least {image.memory_mb} MB",
                fix=f"Give it memory_mb={image.memory_mb} or more. Nothing was done.",
                vm=machine.name,
            )

    def find_image(self, host: str) -> SystemImage | None:
        """The micro image there, if it is; nothing is built."""
        return self._images.find(host, MICRO)

    def system_image(self, machine: MachineSpec, tell: Listener) -> SystemImage | None:
        """The kernel a machine is started with, if it has no disk to start from."""
        if machine.disk_gb is not None:
            return None
        return self._images.ensure(machine.host, machine.image, tell)

    def do(self, slice_id: SliceId, step: Step, tell: Listener, is_stopping: IsStopping) -> None:
        Doer(self, slice_id, step.host, tell, is_stopping).do(step)

    def disks(self, tell: Listener = ignore) -> QCOWManager:
        """The hosts' disks; one manager for each listener, so that it hears of its own only."""
        with self._lock:
            if tell not in self._disks:
                self._disks[tell] = QCOWManager(self.executor, self._base_dir, on_event=tell)
            return self._disks[tell]

    def disk_path(self, host: str, overlay: str) -> str:
        """The absolute path of a disk."""
        if host not in self._folders:
            self._folders[host] = self.disks().look(host).base_dir
        return f"{self._folders[host]}/{overlay_file(overlay)}"

    # reaching

    def machine(self, slice_id: SliceId, host: str, index: int, name: str) -> Machine:
        return Machine(self.served(slice_id, host), self.executor, index, name)

    def links(self, slice_id: SliceId, host: str) -> Links:
        return Links(self.served(slice_id, host))

    def listen(
        self, slice_id: SliceId, host: str, listener: Callable[[Facts], None]
    ) -> Callable[[], None]:
        served = self._connected(slice_id, host) or self._find(slice_id, host)
        if served is None:
            raise WorkerUnreachable(
                f"nothing can be heard of slice {slice_id.name} on {host}",
                why="its steward has ended",
                fix="Deploy again, or run a command on one of its machines: both start it.",
            )
        served.listen(listener, revive=False)
        return lambda: served.ignore(listener)

    def served(self, slice_id: SliceId, host: str) -> Steward:
        """The slice's steward on a host, started where it does not run."""
        with self._lock:
            found = self._stewards.get((slice_id.key, host))
        if found is not None:
            return found  # where its connection broke, it makes another, or starts it again
        return self._keep(slice_id, host, steward.ensure(self.executor, host, slice_id.key))

    def let_go(self, slice_id: SliceId, host: str) -> None:
        """Forget a steward that has ended."""
        with self._lock:
            old = self._stewards.pop((slice_id.key, host), None)
        if old is not None:
            old.close()

    def _connected(self, slice_id: SliceId, host: str) -> Steward | None:
        with self._lock:
            found = self._stewards.get((slice_id.key, host))
        return found if found is not None and found.is_connected else None

    def _find(self, slice_id: SliceId, host: str) -> Steward | None:
        found = steward.find(self.executor, host, slice_id.key)
        return None if found is None else self._keep(slice_id, host, found)

    def _keep(self, slice_id: SliceId, host: str, served: Steward) -> Steward:
        """Share one connection; of two that were made at once the first stays."""
        with self._lock:
            kept = self._stewards.setdefault((slice_id.key, host), served)
        if kept is not served:
            served.close()
        return kept

    def close(self) -> None:
        with self._lock:
            stewards, self._stewards = list(self._stewards.values()), {}
        for one in stewards:
            one.close()
        self.executor.close()
