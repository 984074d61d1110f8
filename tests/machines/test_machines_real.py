"""Real QEMU machines: commands, files, and every way in which one side or the other may end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import (
    CommandFailed,
    GuestGone,
    GuestHung,
    GuestNotReady,
    GuestPanicked,
    GuestRebooted,
    GuestTimeout,
    LabkitError,
    MachineDied,
    MachineExists,
    MachineNotStarted,
    MachineUnknown,
    ProgramMissing,
    TransferError,
)
from labkit.guest import Guest
from labkit.machines import Machine, Machines
from labkit.programs import qemu
from labkit.testing.processes import eventually
from machines_lab import HAS_QEMU, READY, MachinesLab, machines_lab, micro_kernel

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def machine(lab: MachinesLab) -> Machine:
    return lab.start(macs=("52:54:00:00:01:00",), screen=True)


@pytest.fixture
def guest(machine: Machine) -> Guest:
    machine.guest.wait_ready(READY)
    return machine.guest


# commands


def test_arguments_reach_the_program_unchanged(guest: Guest) -> None:
    words = ["a b'c\"d$HOME;`x`\\n\ttab\nnew é €", "", "--", "*"]
    result = guest.run(["printf", "%s|", *words], check=True)
    assert result.text == "|".join(words) + "|"
    assert (result.host, result.stderr) == ("r1", b"")


def test_status_and_streams_are_apart(guest: Guest) -> None:
    result = guest.run("echo out; echo err >&2; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    with pytest.raises(CommandFailed, match="failed on r1: status 3, err"):
        result.check()


def test_unknown_programs_and_signals_are_as_in_a_shell(guest: Guest) -> None:
    missing = guest.run(["nosuch"])
    assert (missing.returncode, missing.stderr) == (127, b"nosuch: No such file or directory\n")
    assert guest.run("kill -9 $$").returncode == 137


def test_input_and_output_flow_together_whole(guest: Guest) -> None:
    data = os.urandom(3 << 20)
    assert guest.run("cat", input=data).stdout == data
    assert guest.run("head -c 5; exec 0<&-; sleep 0.1", input=data).stdout == data[:5]


def test_output_is_told_as_text_while_it_comes(guest: Guest) -> None:
    told: list[tuple[str, str]] = []
    first = threading.Event()

    def listen(stream: str, text: str) -> None:
        told.append((stream, text))
        first.set()

    with ThreadPoolExecutor(1) as pool:
        line = r"printf 'x\303'; read wait <&3; printf '\251\n'"
        command = f"mkfifo /tmp/go; exec 3<>/tmp/go; {line}"
        running = pool.submit(guest.run, command, on_output=listen)
        assert first.wait(READY)
        guest.run("echo > /tmp/go")
        assert running.result().text == "xé\n"
    assert told == [("stdout", "x"), ("stdout", "é\n")]


def test_after_its_time_a_command_is_ended_with_its_children(guest: Guest) -> None:
    with pytest.raises(GuestTimeout, match="ended with its children"):
        guest.run("sleep 77 & sleep 77", timeout=0.5)
    assert guest.run("ps | grep 'slee[p] 77'").stdout == b""


def test_many_commands_at_once_each_get_their_own_answer(guest: Guest) -> None:
    def ask(number: int) -> str:
        return guest.run(["echo", str(number)]).text

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(80)))
    assert answers == [f"{number}\n" for number in range(80)]


# files


def test_files_and_folders_survive_the_way(guest: Guest, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "data.bin").write_bytes(os.urandom(1 << 20))
    (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "run.sh").chmod(0o755)
    guest.upload(source, "/tmp/folder")
    assert guest.run(["/tmp/folder/run.sh"], check=True).text == "ran\n"
    guest.download("/tmp/folder", tmp_path / "back")
    subprocess.run(["diff", "-r", source, tmp_path / "back"], check=True)
    guest.download("/tmp/folder/sub/data.bin", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (source / "sub" / "data.bin").read_bytes()
    assert guest.run("ls /run/labkit/transfer-*").stdout == b""


def test_a_file_that_cannot_be_written_or_read_says_why(guest: Guest, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="cannot write /no/file in r1: No such file"):
        guest.put("/no/file", b"x")
    with pytest.raises(TransferError, match="cannot read /no/file in r1: No such file"):
        guest.download("/no/file", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_fit_is_refused_and_the_guest_lives(
    machine: Machine, guest: Guest, tmp_path: Path
) -> None:
    boots = machine.state().boots
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(TransferError, match=r"100\.0 MB do not fit: there is room for [0-9.]+ MB"):
        guest.upload(large, "/tmp/large")
    assert guest.run("ls /tmp/large*").stdout == b""
    assert machine.state().boots == boots


# the machine


def test_a_second_start_is_refused_and_harms_nothing(lab: MachinesLab, guest: Guest) -> None:
    with pytest.raises(MachineExists, match=r"r1 runs there as process [0-9]+; it was not touched"):
        lab.machines.start(1, lab.options("other"))
    assert guest.run("echo alive").text == "alive\n"


def test_pause_resume_and_a_picture_of_the_screen(machine: Machine, guest: Guest) -> None:
    machine.pause()
    assert machine.state().state == "paused"
    machine.resume()
    assert machine.state().state == "running"
    assert guest.run(["true"]).ok
    assert machine.screenshot().startswith(b"\x89PNG")


def test_the_console_is_read_from_its_first_byte_and_typed_on(
    machine: Machine, guest: Guest
) -> None:
    machine.type(b"echo typed-$((6*7)) > /tmp/typed\n")
    guest.run("until [ -s /tmp/typed ]; do sleep 0.1; done; cat /tmp/typed", check=True)
    assert b"labkit: ready" in machine.console_log()


def test_the_client_may_die_and_the_machine_is_found_again(lab: MachinesLab, guest: Guest) -> None:
    code = (
        "import os, signal, sys; from labkit.local import LocalExecutor;"
        "from labkit.machines import Machines; from labkit.steward import ensure;"
        "executor = LocalExecutor({'LABKIT_RUN_DIR': sys.argv[1]});"
        "steward = ensure(executor, 'localhost', sys.argv[2]);"
        "guest = Machines(steward, executor).get(1).guest;"
        "guest.run('touch /tmp/been');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, lab.folder.parent, lab.key])
    assert done.returncode == -signal.SIGKILL
    assert guest.run(["test", "-e", "/tmp/been"]).ok


def test_a_client_that_dies_takes_its_command_with_it(lab: MachinesLab, guest: Guest) -> None:
    code = (
        "import sys; from labkit.local import LocalExecutor;"
        "from labkit.machines import Machines; from labkit.steward import ensure;"
        "executor = LocalExecutor({'LABKIT_RUN_DIR': sys.argv[1]});"
        "steward = ensure(executor, 'localhost', sys.argv[2]);"
        "guest = Machines(steward, executor).get(1).guest;"
        "begun = lambda *_: print('begun', flush=True);"
        "guest.run('echo begun; sleep 88', timeout=None, on_output=begun)"
    )
    command = [sys.executable, "-c", code, str(lab.folder.parent), lab.key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"begun\n"
        client.kill()
    guest.run("while ps | grep -q 'slee[p] 88'; do sleep 0.2; done", timeout=READY, check=True)


def test_the_steward_may_be_killed_and_takes_up_its_machines_again(
    lab: MachinesLab, machine: Machine, guest: Guest
) -> None:
    guest.run("touch /tmp/kept")
    before = machine.state()
    lab.kill_steward()
    assert guest.run(["test", "-e", "/tmp/kept"]).ok  # starts another one, which meets the guest
    after = machine.state()
    assert (after.pid, after.uuid, after.boots) == (before.pid, before.uuid, before.boots)
    assert b"labkit: ready" in machine.console_log()


def test_a_reboot_is_an_error_for_what_ran_and_then_it_is_ready_again(
    machine: Machine, guest: Guest
) -> None:
    boots = machine.state().boots
    with pytest.raises(GuestRebooted, match="its effect is unknown"):
        guest.run("reboot -f; sleep 60")
    guest.wait_ready(READY)
    assert machine.state().boots == boots + 1
    machine.reboot()
    guest.wait_ready(READY)
    assert guest.run("ls /tmp").stdout == b""
    assert machine.state().boots == boots + 2


def test_a_panic_is_told_with_the_consoles_words(machine: Machine, guest: Guest) -> None:
    with pytest.raises(GuestPanicked, match="sysrq"):
        guest.run("echo c > /proc/sysrq-trigger; sleep 60")
    guest.wait_ready(READY)
    assert guest.run(["true"]).ok


@pytest.mark.slow
def test_a_hanging_guest_is_told_apart_from_a_slow_command(machine: Machine, guest: Guest) -> None:
    machine.pause()
    with pytest.raises(GuestHung, match="the machine is paused"):
        guest.run(["true"], timeout=None)
    machine.resume()
    assert guest.run(["true"]).ok


def test_fault_23_a_machine_killed_from_outside_is_seen_and_started_again(
    lab: MachinesLab,
) -> None:
    machine = lab.start(2, "r2")
    pid = machine.state().pid
    assert pid is not None
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        running = pool.submit(
            machine.guest.run, "echo begun; sleep 999", on_output=lambda *_: begun.set()
        )
        assert begun.wait(READY)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(GuestGone, match=r"cannot run .* in r2: "):
            running.result()
    assert machine.state().end == "QEMU was ended by signal 9"
    with pytest.raises(MachineDied):
        machine.guest.run(["true"])
    again = lab.start(2, "r2")
    assert lab.machines.get(1).state().is_running
    again.shut_down()
    assert again.state().end == "the guest shut down"
    again.forget()
    with pytest.raises(MachineUnknown):
        again.state()


# what never starts


def test_qemus_own_message_is_told_when_it_ends_at_once(lab: MachinesLab) -> None:
    kernel = qemu.DirectKernel("/nowhere/vmlinux", "/nowhere/initrd", "")
    with pytest.raises(MachineNotStarted, match="/nowhere/vmlinux"):
        lab.machines.start(3, lab.options("r3", kernel=kernel))
    lab.machines.get(3).forget()


def test_without_qemu_the_message_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    with machines_lab(PATH=str(tmp_path)) as lab:
        with pytest.raises(ProgramMissing, match="apt install qemu-system-x86"):
            lab.machines.start(1, lab.options())
        assert lab.machines.list() == ()


@pytest.mark.slow
def test_a_guest_that_reboots_in_a_loop_is_not_waited_for_to_the_end(lab: MachinesLab) -> None:
    made = micro_kernel()
    kernel = qemu.DirectKernel(made.kernel, made.initrd, "console=ttyS0 panic=-1 rdinit=/nothing")
    machine = lab.machines.start(4, lab.options("r4", kernel=kernel))
    with pytest.raises(GuestNotReady, match="rebooted 5 times without getting ready"):
        machine.guest.wait_ready(500)
    machine.power_off()
    machine.forget()


def test_fault_23_a_stale_pidfile_with_a_recycled_pid_harms_nobody() -> None:
    """The number in it belongs to somebody else by now: here, to this very test."""
    with machines_lab() as lab:
        folder = lab.folder / "m5"
        folder.mkdir()
        facts = {"name": "r5", "uuid": str(uuid.uuid4()), "argv": ["false"]}
        (folder / "machine.json").write_text(json.dumps(facts))
        (folder / "pid").write_text(f"{os.getpid()}\n")
        lab.kill_steward()
        machine = lab.machines.get(5)
        state = machine.state()
        assert (state.state, state.pid) == ("off", None)
        machine.power_off()
        machine.forget()
        assert not folder.exists()


def test_a_machine_that_had_not_begun_when_its_steward_came_is_taken_over_later() -> None:
    """The steward was killed when QEMU was just being started, and had not locked its pidfile."""
    with machines_lab() as lab:
        folder = lab.folder / "m5"
        folder.mkdir(mode=0o700)
        options = lab.options("r5")
        argv = list(qemu.command(options))
        facts = {"name": "r5", "uuid": options.uuid, "argv": argv}
        (folder / "machine.json").write_text(json.dumps(facts))
        lab.kill_steward()
        machine = lab.machines.get(5)
        assert machine.state().state == "off"
        with subprocess.Popen(argv, cwd=folder, start_new_session=True) as process:
            assert eventually(lambda: machine.state().pid == process.pid)
            machine.guest.wait_ready(READY)
            machine.power_off()
        machine.forget()
        assert not folder.exists()


def test_waiting_tells_what_it_waits_for(lab: MachinesLab) -> None:
    machine = lab.machines.start(6, lab.options("r6"))
    told: list[str] = []
    with pytest.raises(GuestNotReady, match="cannot wait for r6: after 0 s"):
        machine.guest.wait_ready(0.1, on_wait=lambda stage, _seconds: told.append(stage))
    assert told == ["the kernel has not said a word yet"]
    check_refused(lambda: machine.guest.run(["true"]), "agent does not answer")
    machine.power_off()
    assert machine.state().end == "powered off"
    machine.forget()


def check_refused(work: Callable[[], object], said: str) -> None:
    with pytest.raises(LabkitError, match=said):
        work()


def test_objects_may_be_made_again(lab: MachinesLab, machine: Machine) -> None:
    again = Machines(lab.steward, lab.executor).get(machine.index)
    assert again.state().uuid == machine.state().uuid
