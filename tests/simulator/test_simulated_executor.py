"""The simulated workers remember, keep time and a transcript, and do the same every time."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit import remote
from labkit.errors import CommandTimeout, InvalidArgument, LabkitError
from labkit.simulator.clock import Clock
from labkit.simulator.executor import SimulatedExecutor

HOST, OTHER = "10.0.10.1", "10.0.10.2"


def test_workers_remember_and_are_apart() -> None:
    executor = SimulatedExecutor()
    executor.put(HOST, "~/note", b"mine")
    assert executor.execute_direct(HOST, "cat ~/note") == (True, "mine")
    assert executor.execute_direct(OTHER, "cat ~/note")[0] is False
    assert executor.worker(HOST).files.read("~/note") == b"mine"


def test_closing_keeps_the_files_and_ends_the_streams() -> None:
    executor = SimulatedExecutor()
    executor.put(HOST, "~/note", b"mine")
    stream = executor.open(HOST, ("sleep", "1000"))
    executor.close()
    assert executor.worker(HOST).processes == {}
    stream.close()
    assert executor.worker(HOST).files.read("~/note") == b"mine"


def test_time_is_simulated() -> None:
    executor = SimulatedExecutor()
    result = executor.run(HOST, ("sleep", "3600"), timeout=7200)
    assert 3600 <= result.seconds < 3601
    with pytest.raises(CommandTimeout):
        executor.run(HOST, ("sleep", "30"), timeout=0.2)
    assert 3600 < float(executor.clock) < 3602


def test_a_stream_is_idle_as_time_passes() -> None:
    executor = SimulatedExecutor()
    stream = executor.open(HOST, ("sh", "-c", "sleep 100; printf up"))
    executor.run(HOST, ("sleep", "99"), timeout=1000)
    assert stream.read(10, 2) == b"up"


def story(executor: SimulatedExecutor) -> list[str]:
    executor.fail(OTHER, "hang", on="cat", times=1)
    executor.cut(5, effect="after")
    for host in (HOST, OTHER):
        for command in ("echo $$; echo a >f", "cat f", "ls -l; df", "rm -r . ; qemu-img info f"):
            executor.execute_direct(host, command)
            try:
                executor.run(host, ("cat", "f"))
                executor.put(host, "~/g", command.encode())
            except LabkitError:
                continue
    return [str(entry) for entry in executor.transcript]


def test_the_same_story_gives_the_same_transcript() -> None:
    first, second = SimulatedExecutor(), SimulatedExecutor()
    assert story(first) == story(second)
    assert first.transcript == second.transcript
    assert float(first.clock) == float(second.clock) > 0
    for host in (HOST, OTHER):
        assert list(first.worker(host).files.walk()) == list(second.worker(host).files.walk())


def test_the_transcript_is_readable() -> None:
    executor = SimulatedExecutor()
    request = {"verb": "look", "base_dir": "~/vm_images"}
    executor.run(HOST, remote.program("overlays"), stdin=json.dumps(request).encode())
    executor.open(HOST, remote.program("receive", "~/x", "a.img", "0" * 64, "5", "1")).close()
    executor.run(HOST, ("sh", "-c", "exit 3"))
    executor.put(HOST, "~/a file", b"")
    with pytest.raises(CommandTimeout):
        executor.run(HOST, ("sleep", "9"), timeout=1)
    entries = executor.transcript
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.command for entry in entries] == [
        "python3 labkit:overlays look",
        f"python3 labkit:receive '~/x' a.img {'0' * 64} 5 1",
        "sh -c 'exit 3'",
        "put '~/a file'",
        "sleep 9",
    ]
    assert [entry.status for entry in entries] == [0, 137, 3, 0, None]
    assert entries[-1].error == "command-timeout"
    assert entries[0].to_dict() == {
        "number": 1,
        "time": 0.0,
        "host": HOST,
        "command": "python3 labkit:overlays look",
        "status": 0,
        "seconds": entries[0].seconds,
        "error": "",
    }
    assert str(entries[2]).endswith("10.0.10.1  sh -c 'exit 3'  -> status 3")


def test_what_a_notebook_shows_is_short_and_stable() -> None:
    executor = SimulatedExecutor()
    executor.run(HOST, ("true",))
    assert repr(executor) == "<SimulatedExecutor, 1 worker>"
    assert repr(executor.worker(OTHER)) == "<Machine 10.0.10.2>"
    assert repr(executor) == "<SimulatedExecutor, 2 workers>"
    assert repr(executor.manager) == "<SimulatedManager 2 files>"


def test_many_threads_on_one_worker_lose_nothing() -> None:
    executor = SimulatedExecutor()

    def work(number: int) -> None:
        executor.run(HOST, ("sh", "-c", f"echo {number} >>all; echo {number} >{number}")).check()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    lines = executor.get(HOST, "~/all").decode().split()
    assert sorted(lines, key=int) == [str(number) for number in range(40)]
    assert sorted(entry.number for entry in executor.transcript) == list(range(1, 42))


def test_a_program_can_be_taken_away() -> None:
    executor = SimulatedExecutor()
    del executor.worker(HOST).programs["qemu-img"]
    assert executor.run(HOST, ("qemu-img", "--version")).returncode == 127
    assert executor.run(OTHER, ("qemu-img", "--version")).returncode == 0


@pytest.mark.parametrize("pace", [-1, float("nan"), "fast"])
def test_a_pace_that_makes_no_sense_is_refused(pace: float) -> None:
    with pytest.raises(InvalidArgument):
        SimulatedExecutor(pace=pace)


def test_the_clock_only_goes_forward() -> None:
    clock = Clock()
    clock.advance(1.5)
    clock.move(0, 1000)
    assert float(clock) == 1.5
    with pytest.raises(InvalidArgument):
        clock.advance(-1)


def test_the_simulator_needs_no_pytest_and_no_pandas() -> None:
    code = "import sys, labkit; labkit.SimulatedExecutor(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pytest", "pandas", "paramiko", "IPython"} & set(done.stdout.split())
