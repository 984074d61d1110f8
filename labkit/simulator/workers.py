"""What a simulated worker is made of: its programs, its size, and how far away it is."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from labkit import remote
from labkit.simulator.command_line import checked
from labkit.simulator.disks import expanded, overlays_program
from labkit.simulator.faults import Faults
from labkit.simulator.machine import Process, Program, Steps
from labkit.simulator.programs import PROGRAMS
from labkit.simulator.qemu_img import qemu_img
from labkit.simulator.reception import receive_program
from labkit.simulator.steward.steward import start_program
from labkit.simulator.steward.survey import survey_program
from labkit.simulator.worker import Worker
from labkit.simulator.world import World

CONNECT_SECONDS = 0.08  # a new connection
ROUND_TRIP_SECONDS = 0.008  # a command on a kept one, its own work not counted
SILENCE_SECONDS = 10.0  # until a worker that does not answer is given up


def python3(process: Process) -> int | Steps[int]:
    """Runs labkit's own worker programs, and says so when it is asked for another."""
    programs: dict[str, Program] = {
        "overlays": overlays_program,
        "receive": receive_program,
        "start": start_program,
        "survey": survey_program,
    }
    name = remote.name_of(("python3", *process.argv[1:]))
    if name is None:
        return process.fail("only labkit's worker programs are simulated", 2)
    if name not in programs:
        return process.fail(f"labkit:{name} is not simulated", 2)
    return programs[name](process)


def qemu(process: Process) -> int:
    """Machines are started by a steward; here one only asks for the version."""
    if process.argv[1:] != ("--version",):
        return process.fail("machines are simulated where a steward starts them", 2)
    process.say("QEMU emulator version 7.2.22 (simulated)")
    return 0


WORKER_PROGRAMS: Mapping[str, Program] = {
    **PROGRAMS,
    "python3": python3,
    "qemu-img": checked(qemu_img),
    "qemu-system-x86_64": qemu,
}


def make_worker(host: str, world: World, faults: Faults) -> Worker:
    """A worker by this address. Its name is made of it: ``worker-10-0-10-1``."""
    is_address = host.replace(".", "").isdigit() or ":" in host
    name = f"worker-{host.replace('.', '-').replace(':', '-')}" if is_address else host
    return Worker(host, world, WORKER_PROGRAMS, name, faults)


def put_file(process: Process) -> Steps[int]:
    """Standard input into a file, whole or not at all."""
    data = yield from process.read_all()
    path = process.path(expanded(process.files, process.argv[1]))
    folder, name = posixpath.split(path)
    part = posixpath.join(folder, f".{name}.{process.pid}.part")
    try:
        process.files.write(part, data)
        process.files.rename(part, path)
    except OSError as error:
        if process.files.is_file(part):
            process.files.remove(part)
        return process.fail(str(error.strerror))
    return 0


def get_file(process: Process) -> int:
    """A file to standard output."""
    try:
        path = process.path(expanded(process.files, process.argv[1]))
        process.stdout.write(process.files.read(path))
    except OSError as error:
        return process.fail(str(error.strerror))
    return 0
