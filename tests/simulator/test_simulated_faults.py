"""What can be scripted to go wrong, and what a caller then sees."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import pytest

from labkit import remote
from labkit.errors import (
    AuthenticationRefused,
    CommandTimeout,
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    InvalidArgument,
    LabkitError,
    TransferError,
    WorkerUnreachable,
)
from labkit.executor import DEFAULT_TIMEOUT, Stream
from labkit.model import FLAVORS
from labkit.simulator.executor import SimulatedExecutor

HOST, OTHER = "10.0.10.1", "10.0.10.2"
FOLDER = "~/vm_images"
BASE = "cirros.img"


@pytest.fixture
def executor() -> SimulatedExecutor:
    return SimulatedExecutor()


def overlays(executor: SimulatedExecutor, verb: str, **request: Any) -> Any:
    data = json.dumps({"verb": verb, "base_dir": FOLDER, **request}).encode()
    result = executor.run(HOST, remote.program("overlays"), stdin=data)
    return json.loads(result.check().stdout)


def create(executor: SimulatedExecutor, *names: str, token: str = "t") -> Any:
    items = [
        {"file": f"{name}_img.qcow2", "base": BASE, "size": None, "mark": {"token": token}}
        for name in names
    ]
    return overlays(executor, "create", bases={BASE: None}, overlays=items)


def give_base(executor: SimulatedExecutor) -> bytes:
    content = executor.manager.open(FLAVORS["cirros"].image).read()
    executor.worker(HOST).files.make_folder(FOLDER)
    executor.worker(HOST).files.write(f"{FOLDER}/{BASE}", content)
    return content


def start_receiving(executor: SimulatedExecutor, content: bytes) -> tuple[Stream, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    arguments = (FOLDER, BASE, sha256, str(len(content)), "10")
    stream = executor.open(HOST, remote.program("receive", *arguments))
    return stream, json.loads(stream.read(1000, DEFAULT_TIMEOUT))


def frame(content: bytes, offset: int = 0) -> bytes:
    rest = content[offset:]
    head = struct.pack("<QQ", offset, len(rest))
    return head + rest + struct.pack("<QQ", len(content), 0)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unreachable", WorkerUnreachable),
        ("key-refused", AuthenticationRefused),
        ("host-key-unknown", HostKeyUnknown),
        ("host-key-changed", HostKeyChanged),
    ],
)
def test_a_worker_that_lets_nobody_in(
    executor: SimulatedExecutor, fault: str, error: type[LabkitError]
) -> None:
    executor.fail(HOST, fault)
    calls = (
        lambda: executor.run(HOST, ("touch", "x")),
        lambda: executor.open(HOST, ("touch", "x")),
        lambda: executor.put(HOST, "~/x", b""),
        lambda: executor.get(HOST, "~/x"),
    )
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert caught.value.fix
        assert HOST in str(caught.value)
    assert executor.worker(HOST).files.find("~/x") is None
    assert executor.run(OTHER, ("true",)).ok
    executor.heal(HOST)
    assert executor.run(HOST, ("true",)).ok


def test_only_the_workers_that_were_named_are_there() -> None:
    executor = SimulatedExecutor(workers=[HOST])
    assert executor.run(HOST, ("true",)).ok
    with pytest.raises(WorkerUnreachable, match=OTHER):
        executor.run(OTHER, ("true",))


@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_cut_hits_the_command_that_was_named(executor: SimulatedExecutor, effect: str) -> None:
    executor.cut(2, effect=effect)
    executor.run(HOST, ("touch", "one"))
    with pytest.raises(ConnectionLost, match=r"its effect is unknown"):
        executor.run(OTHER, ("touch", "two"))
    assert executor.worker(OTHER).files.is_file("~/two") == (effect == "after")
    assert executor.run(OTHER, ("true",)).ok


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_after_a_cut_at_any_command_asking_again_makes_nothing_twice(at: int, effect: str) -> None:
    def story(executor: SimulatedExecutor) -> None:
        content = executor.manager.open(FLAVORS["cirros"].image).read()
        stream, first = start_receiving(executor, content)
        if first["state"] == "need":
            stream.write(frame(content, first["offset"]), DEFAULT_TIMEOUT)
            assert json.loads(stream.read(1000, DEFAULT_TIMEOUT)) == {"state": "done"}
        assert stream.finish(DEFAULT_TIMEOUT).ok
        assert create(executor, "a", "b")["ok"]
        executor.put(HOST, "~/note", b"done")

    executor, clean = SimulatedExecutor(), SimulatedExecutor()
    story(clean)
    executor.cut(at, effect=effect)
    if at == len(clean.transcript) + 1:
        story(executor)
    else:
        with pytest.raises(ConnectionLost):
            story(executor)
        story(executor)
    paths = [path for path, _ in clean.worker(HOST).files.walk()]
    assert [path for path, _ in executor.worker(HOST).files.walk()] == paths


def test_a_program_that_fails(executor: SimulatedExecutor) -> None:
    executor.fail(HOST, "exit", on="ls", status=5, stderr="ls: no more\n", times=1, skip=1)
    assert executor.run(HOST, ("ls",)).returncode == 0
    result = executor.run(HOST, ("ls", "-l"))
    assert (result.returncode, result.error_text) == (5, "ls: no more\n")
    assert executor.run(HOST, ("ls",)).returncode == 0


def test_a_program_that_a_worker_program_starts_can_fail(executor: SimulatedExecutor) -> None:
    give_base(executor)
    executor.fail(HOST, "exit", on="qemu-img create", stderr="qemu-img: oops\n", times=1)
    problem = create(executor, "a")["problem"]
    assert (problem["code"], problem["status"]) == ("qemu-img-failed", 1)
    assert problem["stderr"] == "qemu-img: oops"
    assert create(executor, "a")["ok"]


def test_a_missing_program(executor: SimulatedExecutor) -> None:
    give_base(executor)
    executor.fail(HOST, "missing", on="qemu-img")
    assert executor.run(HOST, ("qemu-img", "--version")).returncode == 127
    assert create(executor, "a")["problem"] == {"code": "qemu-img-missing"}
    assert overlays(executor, "look")["qemu_img"] is None
    executor.heal()
    assert create(executor, "a")["ok"]


def test_a_program_that_hangs_ends_at_its_time_limit(executor: SimulatedExecutor) -> None:
    executor.fail(HOST, "hang", on="overlays create", times=1)
    give_base(executor)
    before = float(executor.clock)
    with pytest.raises(CommandTimeout, match="it was ended"):
        create(executor, "a")
    assert float(executor.clock) - before >= DEFAULT_TIMEOUT
    assert overlays(executor, "look")["overlays"] == []
    assert create(executor, "a")["ok"]


def test_a_qemu_img_that_hangs_leaves_nothing_behind(executor: SimulatedExecutor) -> None:
    give_base(executor)
    executor.fail(HOST, "hang", on="qemu-img", times=1)
    with pytest.raises(CommandTimeout):
        create(executor, "a")
    assert executor.worker(HOST).files.names(FOLDER) == [BASE]


@pytest.mark.parametrize("scripted", [True, False])
def test_a_full_disk_leaves_nothing_behind(executor: SimulatedExecutor, scripted: bool) -> None:
    give_base(executor)
    files = executor.worker(HOST).files
    if scripted:
        executor.fail(HOST, "no-space", times=1)
    else:
        files.capacity -= files.free - 300_000  # room for one overlay, not for two
    problem = create(executor, "a", "b")["problem"]
    assert problem["code"] == "disk-full"
    assert problem["dir"] == "/home/ubuntu/vm_images"
    assert files.names(FOLDER) == [BASE]


def test_a_disk_that_cannot_be_written(executor: SimulatedExecutor) -> None:
    give_base(executor)
    executor.fail(HOST, "read-only")
    problem = create(executor, "a")["problem"]
    assert problem["code"] == "not-writable"
    assert "Read-only file system" in problem["reason"]
    with pytest.raises(TransferError, match="Read-only"):
        executor.put(HOST, "~/x", b"")
    executor.heal()
    executor.worker(HOST).files.change_owner(FOLDER, "root")
    assert "Permission denied" in create(executor, "a")["problem"]["reason"]


def test_fault_09_a_transfer_cut_off_goes_on_later(executor: SimulatedExecutor) -> None:
    content = bytes(range(256)) * 10_000
    executor.fail(HOST, "cut-transfer", after=1_500_000, times=1)
    stream, first = start_receiving(executor, content)
    assert first["offset"] == 0
    with pytest.raises(ConnectionLost):
        stream.write(frame(content), DEFAULT_TIMEOUT)
    with pytest.raises(ConnectionLost):
        stream.read(1, DEFAULT_TIMEOUT)
    stream.close()
    assert not executor.worker(HOST).files.is_file(f"{FOLDER}/{BASE}")
    stream, first = start_receiving(executor, content)
    assert first["offset"] == 2**20
    stream.write(frame(content, 2**20), DEFAULT_TIMEOUT)
    assert json.loads(stream.read(1000, DEFAULT_TIMEOUT)) == {"state": "done"}
    assert executor.get(HOST, f"{FOLDER}/{BASE}") == content


def test_fault_09_a_corrupted_transfer_is_no_base_image(executor: SimulatedExecutor) -> None:
    content = b"content" * 1000
    executor.fail(HOST, "corrupt-transfer", times=1)
    stream, _ = start_receiving(executor, content)
    stream.write(frame(content), DEFAULT_TIMEOUT)
    answer = json.loads(stream.read(1000, DEFAULT_TIMEOUT))
    assert (answer["state"], answer["code"]) == ("failed", "corrupt")
    stream.close()
    assert executor.worker(HOST).files.find(FOLDER) is None


@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_stream_loses_its_start_or_its_end(executor: SimulatedExecutor, effect: str) -> None:
    def send() -> None:
        stream, _ = start_receiving(executor, b"content")
        stream.write(frame(b"content"), DEFAULT_TIMEOUT)
        stream.read(1000, DEFAULT_TIMEOUT)

    executor.cut(1, effect=effect)
    with pytest.raises(ConnectionLost):
        send()
    assert executor.worker(HOST).files.is_file(f"{FOLDER}/{BASE}") == (effect == "after")


def test_without_marks_an_overlay_is_made_and_never_adopted(executor: SimulatedExecutor) -> None:
    give_base(executor)
    executor.worker(HOST).files.has_attributes = False
    made = create(executor, "a")
    assert made["overlays"][0]["marked"] is False
    assert create(executor, "a")["problem"]["code"] == "overlay-exists"


@pytest.mark.parametrize(
    ("host", "fault", "options"),
    [
        (HOST, "gremlins", {}),
        ("no host", "hang", {}),
        (HOST, "missing", {}),
        (HOST, "hang", {"times": 0}),
        (HOST, "hang", {"skip": -1}),
        (HOST, "exit", {"status": 256}),
        (HOST, "cut-transfer", {"after": -1}),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    executor: SimulatedExecutor, host: str, fault: str, options: dict[str, int]
) -> None:
    with pytest.raises(InvalidArgument):
        executor.fail(host, fault, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("at", "effect"), [(0, "before"), (1, "during")])
def test_a_cut_that_makes_no_sense_is_refused(
    executor: SimulatedExecutor, at: int, effect: str
) -> None:
    with pytest.raises(InvalidArgument):
        executor.cut(at, effect=effect)


def test_the_scripted_faults_can_be_read(executor: SimulatedExecutor) -> None:
    assert repr(executor.faults) == "<Faults none>"
    executor.fail(HOST, "exit", on="ls", times=2)
    executor.fail("*", "unreachable")
    assert repr(executor.faults) == (
        "<Faults exit on 10.0.10.1 at 'ls', 2 more; unreachable on every worker>"
    )


def test_a_part_file_is_not_there_when_put_fails(executor: SimulatedExecutor) -> None:
    files = executor.worker(HOST).files
    files.capacity = files.capacity - files.free
    with pytest.raises(TransferError, match="No space left") as caught:
        executor.put(HOST, "~/x", b"data")
    assert (
        caught.value.fix == f"Free space on {HOST} (df shows where there is none), then try again."
    )
    assert files.names("~") == []
