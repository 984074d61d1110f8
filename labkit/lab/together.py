"""Many VMs or links of a slice at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from labkit.errors import Interrupted, LabkitError, MachineUnknown
from labkit.executor import Result, fan_out
from labkit.lab.vm_handle import LabVM


def run_on(
    vms: Sequence[LabVM], command: str | Sequence[str], timeout: float | None
) -> dict[str, Result | LabkitError]:
    """What a command answers on each of them, or why it does not; Ctrl-C ends it on all."""
    interrupted = threading.Event()

    def stop_here() -> None:
        if interrupted.is_set():
            raise Interrupted("the command was ended", why="Ctrl-C came while it ran")

    def run(vm: LabVM) -> Result | LabkitError:
        try:
            return vm.guest.run(command, timeout=timeout, while_waiting=stop_here)
        except LabkitError as error:
            return error

    results = fan_out(run, vms, on_interrupt=interrupted.set)
    return dict(zip([vm.name for vm in vms], results, strict=True))


def common_host(hosts: Mapping[str, str]) -> str:
    """The one host of links, from the host of each; raises `MachineUnknown`."""
    found = sorted(set(hosts.values()))
    if len(found) == 1:
        return found[0]
    raise MachineUnknown(
        "these links cannot be captured together",
        why=f"they are on different hosts: {', '.join(found)}",
        fix="Capture those of each host apart.",
    )
