"""Which accelerator works on a host: found by really booting a guest once, and remembered there."""

from __future__ import annotations

import contextlib
import json
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from labkit.errors import GuestError, LabError, MachineError, ProgramMissing, TransferError
from labkit.executor import Executor
from labkit.machines import Machines
from labkit.programs import qemu
from labkit.steward import ensure

PROBE_SECONDS = 6.0  # with the processor's help a micro guest answers in less than one
CACHE_FOLDER = "~/.cache/labkit"
CACHE = f"{CACHE_FOLDER}/acceleration.json"
MEMORY_MB = 128
VERSION_TIMEOUT = 10.0
# Changes with the kernel and with each start of the host; a container may come to another one.
HOST_FILES = ("/proc/sys/kernel/osrelease", "/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found on a host, why, and for which QEMU; `remembered` when found earlier."""

    acceleration: qemu.Acceleration
    why: str
    version: str
    remembered: bool = False


def find_acceleration(
    executor: Executor, host: str, kernel: qemu.DirectKernel, *, again: bool = False
) -> Finding:
    """KVM where a guest has answered with it, else TCG. `again`: try even if it is known.

    What KVM promises by its device file is worth nothing: some hosts end QEMU at once, others let
    the guest hang. `kernel` is a guest with labkit's channel: the micro image.
    """
    version = qemu_version(executor, host)
    key = f"{version} | {' | '.join(_text(executor, host, path) for path in HOST_FILES)}"
    known = {} if again else _load(executor, host)
    if known.get("key") == key:
        return Finding(_kind(known), known["why"], version, remembered=True)
    why = _probe(executor, host, kernel)
    fact: dict[str, Any] = {"key": key, "kvm": not why, "why": why or "a guest answered with it"}
    executor.run(host, ["sh", "-c", f"mkdir -p {CACHE_FOLDER}"]).check()
    executor.put(host, CACHE, json.dumps(fact).encode())
    return Finding(_kind(fact), fact["why"], version)


def qemu_version(executor: Executor, host: str) -> str:
    """What QEMU calls itself there; raises `ProgramMissing`."""
    result = executor.run(host, [qemu.PROGRAM, "--version"], timeout=VERSION_TIMEOUT)
    if result.returncode in (126, 127):
        raise ProgramMissing(
            f"cannot start machines on {host}",
            why=f"there is no {qemu.PROGRAM}",
            fix=qemu.INSTALL,
        )
    return result.check().text.splitlines()[0]


def _kind(fact: dict[str, Any]) -> qemu.Acceleration:
    return qemu.KVM if fact["kvm"] else qemu.TCG


def _probe(executor: Executor, host: str, kernel: qemu.DirectKernel) -> str:
    """Boot a guest with KVM; "" when it answered, else why not."""
    if not executor.run(host, ["test", "-r", "/dev/kvm", "-a", "-w", "/dev/kvm"]).ok:
        return "there is no /dev/kvm for this user"
    options = qemu.MachineOptions(
        "kvm-probe", str(uuid.uuid4()), MEMORY_MB, kernel=kernel, acceleration=qemu.KVM
    )
    with ensure(executor, host, secrets.token_hex(4)) as steward:
        machines = Machines(steward, executor)
        try:
            machines.start(0, options).guest.wait_ready(PROBE_SECONDS)
        except (MachineError, GuestError) as error:
            return error.why
        finally:
            with contextlib.suppress(LabError):  # what is told is what was found
                for state in machines.list():
                    machine = machines.get(state.index)
                    if state.is_running:
                        machine.power_off()
                    machine.forget()
            steward.quit(forget=True)
    return ""


def _load(executor: Executor, host: str) -> dict[str, Any]:
    """What was remembered; nothing where it is not there or not ours."""
    try:
        value = json.loads(executor.get(host, CACHE))
    except (TransferError, ValueError):
        return {}
    return value if isinstance(value, dict) and {"key", "kvm", "why"} <= value.keys() else {}


def _text(executor: Executor, host: str, path: str) -> str:
    return executor.run(host, ["cat", path]).check().text.strip()
