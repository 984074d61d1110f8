"""Console, shell and screen of a real machine as streams of bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from labkit.errors import CommandTimeout, GuestRebooted, InvalidArgument, MachineError
from labkit.executor import Connection
from labkit.guest import Shell
from labkit.machines import Machine
from machines_lab import HAS_QEMU, READY, MachinesLab, machines_lab

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]

PATIENCE = 60.0


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def machine(lab: MachinesLab) -> Machine:
    return lab.start(screen=True)


@pytest.fixture
def shell(machine: Machine) -> Iterator[Shell]:
    machine.guest.wait_ready(READY)
    shell = machine.guest.open_shell(100, 30)
    until(shell, b"# ")
    yield shell
    shell.close()


def until(stream: Connection, words: bytes) -> bytes:
    """What is said up to some words; it fails when they are not said."""
    said = b""
    while words not in said:
        data = stream.read(1 << 16, PATIENCE)
        assert data, said
        said += data
    return said


def to_the_end(stream: Connection) -> None:
    while stream.read(1 << 16, PATIENCE):
        pass


def test_a_shell_has_a_terminal_with_the_size_it_is_given(shell: Shell) -> None:
    shell.write(b"stty size; echo $TERM; test -t 0 -a -t 2 && echo all-tty\n", PATIENCE)
    said = until(shell, b"all-tty\r\n")
    assert b"30 100\r\n" in said
    assert b"xterm-256color\r\n" in said
    shell.resize(132, 43)
    shell.write(b"stty size\n", PATIENCE)
    until(shell, b"43 132\r\n")


def wait_for_process(machine: Machine, pattern: str, *, runs: bool = True) -> None:
    """Until one whose command line is like that runs, or none does any more."""
    test = f"ps | grep -q '{pattern}'"
    word = "until" if runs else "while"
    machine.guest.run(f"{word} {test}; do sleep 0.1; done", timeout=PATIENCE, check=True)


def test_control_c_interrupts_what_runs_and_the_shell_goes_on(
    machine: Machine, shell: Shell
) -> None:
    shell.write(b"sleep 1000\n", PATIENCE)
    wait_for_process(machine, "slee[p] 1000")  # a shell that begins a command may miss the key
    shell.write(b"\x03", PATIENCE)
    until(shell, b"# ")
    shell.write("echo caf\u00e9-$((40+2))\n".encode(), PATIENCE)
    until(shell, "caf\u00e9-42".encode())


def test_its_end_and_status_are_told(shell: Shell) -> None:
    assert shell.status is None
    shell.write(b"exit 7\n", PATIENCE)
    to_the_end(shell)
    assert shell.status == 7


def test_closing_it_ends_what_runs_in_it(machine: Machine, shell: Shell) -> None:
    shell.write(b"sleep 4321\n", PATIENCE)
    wait_for_process(machine, "slee[p] 4321")
    shell.close()
    assert shell.read(1, PATIENCE) == b""
    wait_for_process(machine, "slee[p] 4321", runs=False)


def test_a_reader_that_waits_is_woken_by_close(shell: Shell) -> None:
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append(shell.read(10, PATIENCE)))
    thread.start()
    shell.close()
    thread.join(PATIENCE)
    assert read == [b""]


def test_a_quiet_shell_can_be_asked_again_after_a_time_limit(shell: Shell) -> None:
    with pytest.raises(CommandTimeout, match="it runs on"):
        shell.read(10, 0.1)
    shell.write(b"echo alive-$((1+1))\n", PATIENCE)
    until(shell, b"alive-2")


def test_a_program_that_is_not_there_is_told_in_words(machine: Machine) -> None:
    shell = machine.guest.open_shell(command=["no-such-program"])
    assert b"not started: No such file" in until(shell, b"]")
    assert shell.read(10, PATIENCE) == b""
    assert shell.status == 127


def test_bad_sizes_are_refused(machine: Machine, shell: Shell) -> None:
    with pytest.raises(InvalidArgument, match="columns"):
        machine.guest.open_shell(0, 24)
    with pytest.raises(InvalidArgument, match="rows"):
        shell.resize(80, 5000)


def test_many_lines_arrive_whole(shell: Shell) -> None:
    shell.write(b"stty -echo; echo sta''rt; seq 1 60000; echo en''d\n", PATIENCE)
    said = until(shell, b"end\r\n").split(b"start\r\n", 1)[1]
    assert said.startswith(b"".join(b"%d\r\n" % number for number in range(1, 60001)))


def test_the_console_goes_on_where_it_was_left(machine: Machine) -> None:
    first = machine.open_console()
    first.write(b"echo one-$((1+0))\n", PATIENCE)
    until(first, b"one-1\r\n")
    first.close()
    second = machine.open_console()
    second.write(b"echo two-$((1+1))\n", PATIENCE)
    said = until(second, b"two-2\r\n")
    assert b"one-1" in said
    assert b"labkit: ready" in said
    third = machine.open_console(after=first.position)
    assert b"one-1" not in until(third, b"two-2\r\n")
    fourth = machine.open_console(after=1 << 40)  # of a machine that was there before
    assert b"one-1" in until(fourth, b"two-2\r\n")
    for stream in (second, third, fourth):
        stream.close()


def test_the_screen_speaks_rfb_and_a_key_shows_on_it(machine: Machine) -> None:
    screen = machine.open_screen()
    assert screen.read(12, PATIENCE) == b"RFB 003.008\n"
    screen.close()
    before = machine.screenshot()
    for key in ("l", "s", "ret"):
        machine.qmp("send-key", keys=[{"type": "qcode", "data": key}])
    while machine.screenshot() == before:
        threading.Event().wait(0.2)


def test_a_reboot_ends_a_shell_with_the_reason(machine: Machine, shell: Shell) -> None:
    machine.reset()
    with pytest.raises(GuestRebooted, match="cannot use the shell in r1"):
        to_the_end(shell)
    machine.guest.wait_ready(READY)


def test_a_machine_without_a_screen_says_how_to_get_one(lab: MachinesLab) -> None:
    machine = lab.start(2, "r2")
    with pytest.raises(MachineError, match=r"it has no screen\. Start it with screen=True"):
        machine.open_screen()
    assert machine.guest.run("ps | grep -c '[l]ib/labkit/screen'").text == "0\n"
