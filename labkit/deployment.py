"""The deployment layer of the contract: VM records with their disks made on the workers."""

from __future__ import annotations

import itertools
import logging
import posixpath
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labkit import events, rules
from labkit.deployment_disks import Disks
from labkit.errors import DuplicateError, LabkitError, UsageError
from labkit.executor import Executor, fan_out
from labkit.images.manager import OverlayRequest, QCOWManager
from labkit.markup import counted
from labkit.model import (
    VM,
    Flavor,
    check_flavor,
    internet_address,
    mac_addresses,
    make_interfaces,
)
from labkit.vm_request import VMRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

logger = logging.getLogger("labkit")

FIRST_VNC_PORT = 5901
LAST_PORT = 65535


class DeploymentAPI:
    """Creates and deletes VM records and their disks on workers (contract part 1).

    Each method comes twice: `create_vm_with_qcow` and `delete_vm_dict` answer with tuples and
    booleans and never raise, and set `last_error`: why it was a False, or None. `create_vm`,
    `create_vms` and `delete_vm` raise typed errors instead. Safe to use from many threads.

    `base_image_path` replaces the image path of every flavor. `on_event` is told what happens to
    images on the way (`labkit.events`). `base_dir` is the images' folder on the workers.
    """

    def __init__(
        self,
        remote_executor: Executor,
        base_image_path: str | None = None,
        *,
        base_dir: str = "~/vm_images",
        on_event: events.Listener = events.ignore,
    ) -> None:
        _check_executor(remote_executor)
        if base_image_path is not None:
            rules.image_file(base_image_path)
        self.remote_executor = remote_executor
        self.base_image_path = base_image_path
        self._listeners = events.Listeners(on_event)
        self.qcow_manager = QCOWManager(remote_executor, base_dir, on_event=self._listeners)
        self.vnc_port_counter = FIRST_VNC_PORT - 1
        self.last_error: Exception | None = None
        self._lock = threading.Lock()
        self._vms: dict[int, VM] = {}
        self._in_progress: dict[int, VMRequest] = {}
        self._disks = Disks(self.qcow_manager)

    def __repr__(self) -> str:
        return f"<DeploymentAPI on {self.remote_executor!r}: {counted(len(self._vms), 'VM')}>"

    # what there is

    @property
    def vms(self) -> pd.DataFrame:
        """The VMs made and not deleted through this object; columns as `labkit.vms_frame`."""
        from labkit.frames import vms_frame  # noqa: PLC0415 - pandas only when a table is wanted

        return vms_frame(self.records)

    @property
    def interfaces(self) -> pd.DataFrame:
        """The interfaces of those VMs; columns as `labkit.interfaces_frame`."""
        from labkit.frames import interfaces_frame  # noqa: PLC0415 - as above

        return interfaces_frame(self.records)

    @property
    def leftovers(self) -> pd.DataFrame:
        """Disks that should not be there and may be: ``worker_ip, qcow_image, why``.

        They could not be deleted, or the connection broke while they were made. `clean_up` tries
        again; asking for the same VM again adopts its disk.
        """
        from labkit.frames import LEFTOVERS_COLUMNS, frame  # noqa: PLC0415 - as above

        items = self._disks.leftovers.items()
        rows = ({"worker_ip": host, "qcow_image": path, "why": why} for (host, path), why in items)
        return frame(rows, LEFTOVERS_COLUMNS)

    @property
    def records(self) -> tuple[VM, ...]:
        """The same VMs as values, in the order they were made."""
        with self._lock:
            return tuple(self._vms.values())

    def listen(self, listener: events.Listener) -> Callable[[], None]:
        """Tell `listener` too what happens, from any thread, until the returned function is called.

        What it raises ends the work it hears of.
        """
        return self._listeners.add(listener)

    # the seed's forms

    def generate_unique_macs(self, vm_id: int, count: int = 3) -> list[str]:
        """``52:54:00``, two bytes of `vm_id`, one of index: for 1001, ``52:54:00:03:e9:00`` first.

        Raises `InvalidArgument` for an id outside 0 to 65535 or a count outside 0 to 256.
        """
        return mac_addresses(vm_id, count)

    def create_vm_with_qcow(
        self,
        slice_id: int | str,
        vm_id: int,
        vm_name: str,
        owner: str,
        worker_ip: str,
        flavor: Mapping[str, Any] | Flavor,
        data_interfaces_count: int,
        internet_enabled: bool = False,  # noqa: FBT001, FBT002 - the contract's signature
    ) -> tuple[bool, VM | None]:
        """``(True, VM)`` with status ``design``, or ``(False, None)`` and `last_error`."""
        with self._never_raising("create", vm_name, worker_ip) as answer:
            answer.vm = self.create_vm(
                slice_id,
                vm_id,
                vm_name,
                owner,
                worker_ip,
                flavor,
                data_interfaces_count,
                internet_enabled,
            )
        return answer.vm is not None, answer.vm

    def delete_vm_dict(self, vm_dict: Mapping[str, Any]) -> bool:
        """Delete the disk of a VM as `VM.to_dict()` gives it; True also when it has none."""
        name = vm_dict.get("name") if isinstance(vm_dict, Mapping) else vm_dict
        host = vm_dict.get("worker_ip") if isinstance(vm_dict, Mapping) else None
        with self._never_raising("delete", name, host) as answer:
            self.delete_vm(vm_dict)
            answer.done = True
        return answer.done

    # the raising twins

    def create_vm(
        self,
        slice_id: int | str,
        vm_id: int,
        vm_name: str,
        owner: str,
        worker_ip: str,
        flavor: Mapping[str, Any] | Flavor,
        data_interfaces_count: int,
        internet_enabled: bool = False,  # noqa: FBT001, FBT002 - as its twin
    ) -> VM:
        """Make one VM's disk on a worker, and its record with status ``design``.

        `vm_id` (0 to 65535) gives the MAC addresses and must be unique; `vm_name` names the disk
        and must be unique on the worker. `data_interfaces_count` (0 to 255) are added to eth0;
        with `internet_enabled` eth0 is on the internet segment. `flavor` is such as
        ``Flavor.get("cirros")``; the record's flavor tells the image that was really used.
        `slice_id` is kept with the disk. See `create_vms` for the errors.
        """
        request = VMRequest(
            slice_id,
            vm_id,
            vm_name,
            owner,
            worker_ip,
            flavor,
            data_interfaces_count,
            internet_enabled,
        )
        return self.create_vms([request])[0]

    def create_vms(self, requests: Iterable[VMRequest]) -> list[VM]:
        """Make the disks and records of many VMs: all of them, or none.

        The workers are asked in parallel, each once for all of its disks. Raises `UsageError`
        before any effect (an id or name taken, a bad argument); `ImageError`, `CommandError` or
        `WorkerError` when a disk could not be made. The disks that were made on other workers are
        then deleted again; one that could not be is listed in `leftovers`.
        """
        wanted = list(requests)
        with self._reserved(wanted):
            paths = self._create_disks(wanted)
            with self._lock:
                made = [
                    self._vm(request, path) for request, path in zip(wanted, paths, strict=True)
                ]
                self._vms.update((vm.vm_id, vm) for vm in made)
            self._disks.settled((vm.worker_ip, vm.qcow_image or "") for vm in made)
        return made

    def delete_vm(self, vm: VM | Mapping[str, Any]) -> None:
        """Delete a VM's disk and forget the VM. A VM without a disk is only forgotten.

        Raises `UsageError` for what is no VM or no overlay's path. When the worker does not answer
        or cannot delete, raises its error; the disk is then listed in `leftovers`.
        """
        value = vm.to_dict() if isinstance(vm, VM) else vm
        if not isinstance(value, Mapping):
            rules.invalid("vm", value, "a VM of api.records, or a dict as VM.to_dict() gives it")
        path = value.get("qcow_image")
        if path is None:
            self._forget(value)
            return
        host = rules.host(value.get("worker_ip"))
        self._disks.delete(host, [rules.overlay_path(path, "qcow_image")])
        self._forget(value)

    def clean_up(self) -> pd.DataFrame:
        """Try to delete the `leftovers` again; returns those that are still left.

        Of a disk whose making was interrupted only what was made by that very request is deleted.
        """
        for host, group in itertools.groupby(sorted(self._disks.leftovers), key=lambda one: one[0]):
            with self._never_raising("delete leftovers", "disks", host):
                for path in self._disks.clean_up(host, [path for _, path in group]):
                    self._forget({"worker_ip": host, "qcow_image": path})
        return self.leftovers

    # how

    def _create_disks(self, wanted: Sequence[VMRequest]) -> list[str]:
        groups: dict[str, list[VMRequest]] = {}
        for request in wanted:
            groups.setdefault(request.worker_ip, []).append(request)
        outcomes = fan_out(lambda host: self._create_on(host, groups[host]), list(groups))
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        paths: dict[int, str] = {}
        for host, outcome in zip(groups, outcomes, strict=True):
            if isinstance(outcome, Exception):
                continue
            if failed:
                self._disks.take_back(host, outcome)
            else:
                paths.update(
                    (request.vm_id, path)
                    for request, path in zip(groups[host], outcome, strict=True)
                )
        if failed:
            raise failed[0]
        return [paths[request.vm_id] for request in wanted]

    def _create_on(self, host: str, group: Sequence[VMRequest]) -> list[str] | Exception:
        overlays = [
            OverlayRequest(
                request.vm_name,
                self.base_image_path or check_flavor(request.flavor)["image"],
                disk_gb=check_flavor(request.flavor)["disk_gb"],
                mark={
                    "vm_id": request.vm_id,
                    "name": request.vm_name,
                    "owner": request.owner,
                    "slice": request.slice_id,
                },
            )
            for request in group
        ]
        return self._disks.create(host, overlays)

    def _vm(self, request: VMRequest, path: str) -> VM:
        self.vnc_port_counter += 1
        flavor = check_flavor(request.flavor)
        return VM(
            vm_id=request.vm_id,
            name=request.vm_name,
            owner=request.owner,
            worker_ip=request.worker_ip,
            vnc_port=self.vnc_port_counter,
            interfaces=make_interfaces(
                request.vm_id,
                request.data_interfaces_count,
                internet_enabled=request.internet_enabled,
            ),
            flavor={**flavor, "image": self.base_image_path or flavor["image"]},
            qcow_image=path,
        )

    def _forget(self, value: Mapping[str, Any]) -> None:
        disk = _disk(value.get("worker_ip"), value.get("qcow_image"))
        with self._lock:
            for vm_id, vm in list(self._vms.items()):
                if _disk(vm.worker_ip, vm.qcow_image) == disk:
                    del self._vms[vm_id]

    @contextmanager
    def _reserved(self, wanted: Sequence[VMRequest]) -> Iterator[None]:
        """Hold the ids while their disks are made, so that no second request takes them."""
        with self._lock:
            self._check_free(wanted)
            self._in_progress.update((request.vm_id, request) for request in wanted)
        try:
            yield
        finally:
            with self._lock:
                for request in wanted:
                    self._in_progress.pop(request.vm_id, None)

    def _check_free(self, wanted: Sequence[VMRequest]) -> None:
        if self.vnc_port_counter + len(self._in_progress) + len(wanted) > LAST_PORT:
            raise UsageError(
                "there are no VNC ports left",
                why=f"{self.vnc_port_counter} was the last one given, {LAST_PORT} is the highest",
                fix="Make a new DeploymentAPI.",
            )
        ids = {vm_id: vm.name for vm_id, vm in self._vms.items()}
        ids |= {vm_id: request.vm_name for vm_id, request in self._in_progress.items()}
        addresses = {
            vm.interfaces[0].ip_config["ip"]: vm.name
            for vm in self._vms.values()
            if vm.interfaces[0].ip_config
        }
        addresses |= {
            internet_address(vm_id)["ip"]: request.vm_name
            for vm_id, request in self._in_progress.items()
            if request.internet_enabled
        }
        for request in wanted:
            if request.vm_id in ids:
                raise _taken("vm_id", request.vm_id, ids[request.vm_id])
            ids[request.vm_id] = request.vm_name
            if request.internet_enabled:
                address = internet_address(request.vm_id)["ip"]
                if address in addresses:
                    raise _taken("internet address", address, addresses[address])
                addresses[address] = request.vm_name

    @contextmanager
    def _never_raising(self, verb: str, name: object, host: object) -> Iterator[_Answer]:
        """The seam of the seed's forms: whatever goes wrong is logged once and kept."""
        answer = _Answer()
        try:
            yield answer
        except LabkitError as error:
            self.last_error = error
            logger.warning("cannot %s %s on %s: %s", verb, name, host, error)
        except Exception as error:
            self.last_error = error
            logger.exception("cannot %s %s on %s", verb, name, host)
        else:
            self.last_error = None


class _Answer:
    """What a form that never raises has to say."""

    vm: VM | None = None
    done: bool = False


def _disk(host: object, path: str | None) -> tuple[object, str]:
    """Which disk a path means: ``~`` may be written out, all of them lie in one folder."""
    return host, posixpath.basename(path or "")


def _taken(argument: str, value: object, holder: str) -> DuplicateError:
    return DuplicateError(
        f"{argument} {value} is taken",
        why=f"the VM {holder!r} has it",
        fix="Choose another vm_id, or delete that VM first; nothing was done.",
        argument=argument,
        value=value,
    )


def _check_executor(value: object) -> None:
    missing = [name for name in ("run", "open", "manager") if not hasattr(value, name)]
    if missing:
        raise UsageError(
            f"{value!r:.80} is no executor",
            why=f"it has no {', '.join(missing)}",
            fix="Pass labkit.SimulatedExecutor(), labkit.LocalExecutor() or "
            "labkit.RemoteExecutor('ubuntu').",
        )
