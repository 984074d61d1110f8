"""Real machines and their steward, killed or abused in the middle of something."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import (
    ConnectionLost,
    GuestGone,
    LabError,
    LinkError,
    MachineDied,
    StewardError,
)
from labkit.links import Links
from labkit.machines import Machine
from labkit.remote.shared import LIMIT, LONGEST
from machines_lab import HAS_QEMU, READY, MachinesLab, machines_lab
from steward_host import is_running, wait_until

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]
PORTS = [(1, 0), (2, 0)]
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


def start(lab: MachinesLab, index: int) -> Machine:
    """A machine with one interface and an address on it, ready to ping the other one."""
    setup = f"hostname r{index}\nnic eth0 52:54:00:00:0{index}:00\naddress eth0 10.0.0.{index}/24\n"
    options = lab.options(
        f"r{index}",
        macs=(f"52:54:00:00:0{index}:00",),
        firmware=(("opt/labkit/machine", "setup"),),
    )
    machine = lab.machines.start(index, options, files={"setup": setup})
    machine.guest.wait_ready(READY)
    return machine


@pytest.fixture
def pair(lab: MachinesLab) -> tuple[Machine, Machine]:
    """Two machines on a cable; started again where a test has ended them."""
    Links(lab.steward).set("cable", PORTS, up=True)
    running = {state.index for state in lab.machines.list() if state.is_running}
    one, other = (lab.machines.get(n) if n in running else start(lab, n) for n in (1, 2))
    for machine in (one, other):
        machine.guest.wait_ready(READY)
    wait_until(lambda: one.guest.run("ping -c1 -W2 10.0.0.2").ok, "the cable to work")
    return one, other


def kill(machine: Machine) -> int:
    pid = machine.state().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_machine_killed_while_commands_and_files_are_under_way(
    lab: MachinesLab, pair: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = pair
    begun = threading.Event()
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 * MEBIBYTE)
    with ThreadPoolExecutor(3) as pool:
        waiting = pool.submit(one.guest.run, "sleep 999")
        talking = pool.submit(
            one.guest.run, "while :; do echo x; done", on_output=lambda *_: begun.set()
        )
        sending = pool.submit(one.guest.upload, big, "/dev/null")
        assert begun.wait(READY)
        kill(one)
        for running in (waiting, talking):
            with pytest.raises(GuestGone, match="r1"):
                running.result()
        error = sending.exception()
        assert error is None or isinstance(error, LabError)
    assert one.state().end == "QEMU was ended by signal 9"
    with pytest.raises(MachineDied):
        one.guest.run(["true"])
    assert other.guest.run(["true"]).ok


def test_a_capture_outlives_a_machine_that_is_killed(
    lab: MachinesLab, pair: tuple[Machine, Machine]
) -> None:
    links = Links(lab.steward)
    one, other = pair
    with links.capture("cable") as seen:
        one.guest.run("ping -c2 -i0.2 10.0.0.2", check=True)
        kill(one)
        wait_until(lambda: not links.states()[0].ports[0].connected, "the port to be lost")
        assert not other.guest.run("ping -c1 -W1 10.0.0.1").ok
        again = start(lab, 1)
        wait_until(lambda: again.guest.run("ping -c1 -W2 10.0.0.2").ok, "it to be back")
    pings = seen.packets[seen.packets["icmp_type"] == 8]
    assert pings["source"].iloc[0] == pings["source"].iloc[-1] == "10.0.0.1"
    assert len(pings) >= 3
    assert seen.dropped == 0


def test_a_steward_killed_while_a_capture_runs(
    lab: MachinesLab, pair: tuple[Machine, Machine]
) -> None:
    """Its packets are kept, the machines live, and the links are there again by themselves."""
    links = Links(lab.steward)
    one, _ = pair
    pids = [machine.state().pid for machine in pair]
    seen = links.capture("cable").start()
    one.guest.run("ping -c2 -i0.2 10.0.0.2", check=True)
    seen.assert_seen("icmp", within="20s")
    lab.kill_steward()
    with pytest.raises(ConnectionLost, match="the capture of cable broke off"):
        seen.stop()
    seen.stop()
    assert "ICMP" in set(seen.packets["protocol"])
    for machine in pair:
        machine.guest.wait_ready(READY)
    assert [machine.state().pid for machine in pair] == pids
    with links.capture("cable") as after:
        one.guest.run("ping -c1 -W5 10.0.0.2", check=True)
        after.assert_seen("icmp", within="20s")


def test_the_end_of_a_broken_capture_ends_no_other(
    lab: MachinesLab, pair: tuple[Machine, Machine]
) -> None:
    """The next steward counts its captures anew."""
    links = Links(lab.steward)
    broken = links.capture("cable").start()
    lab.kill_steward()
    lab.machines.list()
    with links.capture("cable") as other:
        with pytest.raises(ConnectionLost):
            broken.stop()
        for machine in pair:
            machine.guest.wait_ready(READY)
        pair[0].guest.run("ping -c1 -W5 10.0.0.2", check=True)
        other.assert_seen("icmp", within="20s")


def _fail_twice(lab: MachinesLab, links: Links) -> float:
    with links.capture("cable"):
        lab.kill_steward()
        return 1 / 0


def test_what_goes_wrong_inside_a_capture_is_told_first(
    lab: MachinesLab, pair: tuple[Machine, Machine]
) -> None:
    links = Links(lab.steward)
    with pytest.raises(ZeroDivisionError):
        _fail_twice(lab, links)
    with pytest.raises(LinkError, match="cannot capture nowhere"):
        links.capture("nowhere").start()


def test_a_flood_on_the_console_costs_bounded_memory(
    lab: MachinesLab, pair: tuple[Machine, Machine]
) -> None:
    """As much as the guest can say while others work; the gigabyte is in test_steward_console."""
    one, other = pair
    pid = lab.steward.facts["pid"]
    other.guest.run(["true"])
    before = resident(pid)
    where = console_end(lab, 1)
    flood = "yes 'All work and no play makes Jack a dull boy' | head -c 100000000 > /dev/console"
    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(one.guest.run, f'timeout 20 sh -c "{flood}"', timeout=120)
        while not flooding.done():
            assert other.guest.run(["true"]).ok
        flooding.result()
    said = console_end(lab, 1) - where
    assert said > 100_000
    assert resident(pid) - before < 16 * MEBIBYTE
    kept = sum(path.stat().st_size for path in (lab.folder / "m1").glob("console.log*"))
    assert kept < 10 * MEBIBYTE
    assert one.guest.run("echo well", timeout=120).text == "well\n"


def console_end(lab: MachinesLab, index: int) -> int:
    """How many bytes the console of a machine has ever said."""
    return int(lab.steward.call("console-read", index=index, limit=1).facts["end"])


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_pidfile_that_a_foreign_process_holds_is_never_touched(lab: MachinesLab) -> None:
    """It looks like a machine that runs: locked, with a living pid. Its uuid is not ours."""
    folder = lab.folder / "m7"
    folder.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "pid")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    try:
        with pytest.raises(LabError, match="it was not touched"):
            lab.machines.start(7, lab.options("r7"))
        lab.kill_steward()
        assert 7 not in {state.index for state in lab.machines.list()}
        assert is_running(holder.pid)
        assert (folder / "pid").read_text() == f"{holder.pid}\n"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        (folder / "pid").unlink()
        folder.rmdir()


HOLDER = """
import fcntl, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.lockf(file, fcntl.LOCK_EX)
os.write(file, b"%d\\n" % os.getpid())
print("held", flush=True)
time.sleep(600)
"""


def test_a_recycled_pid_behind_a_held_lock_is_not_killed(lab: MachinesLab) -> None:
    """We hold the lock ourselves: what is ended would be this very test."""
    machine = start(lab, 8)
    kill(machine)
    wait_until(lambda: not machine.state().is_running, "its end to be seen")
    with (lab.folder / "m8" / "pid").open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        lab.kill_steward()
        assert machine.state().pid is None
        machine.power_off()
        with pytest.raises(LabError):
            lab.machines.start(8, lab.options("r8"))
    machine.forget()


def test_in_the_longest_path_machines_run_and_a_longer_one_is_refused() -> None:
    base = tempfile.mkdtemp(prefix="lk", dir="/tmp")
    longest = LIMIT - len(f"/00c0ffee/{LONGEST}")
    with pytest.raises(StewardError, match="LABKIT_RUN_DIR"):
        MachinesLab(base.ljust(longest + 1, "x"), {})
    assert not Path(base.ljust(longest + 1, "x")).exists()
    folder = base.ljust(longest, "x")
    lab = MachinesLab(folder, {})
    machine = lab.machines.start(65535, lab.options("longest", macs=("52:54:00:00:09:00",)))
    Links(lab.steward).set("a", [(65535, 0)])
    assert Links(lab.steward).attach() == 0
    machine.guest.wait_ready(READY)
    lab.end()
    assert list(Path(folder).iterdir()) == []
    os.rmdir(folder)
    os.rmdir(base)
