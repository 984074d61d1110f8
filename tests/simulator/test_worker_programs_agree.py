"""The simulated worker programs give the answers of the real ones, told the same story."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from labkit import remote
from labkit.executor import Executor, Stream
from labkit.local import LocalExecutor
from labkit.simulator import qcow2_files
from labkit.simulator.executor import SimulatedExecutor

pytestmark = [
    pytest.mark.qemu_img,
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="apt install qemu-utils"),
]

BASE = "base.img"
SIZE = 64 * 2**20
CONTENT = qcow2_files.make_with_data(SIZE, {n: bytes([n + 1]) * 65536 for n in range(40)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = qcow2_files.make(SIZE)
SECONDS = 10.0
MIB = 2**20
VARYING = ("free", "total", "cores", "ram", "python", "qemu_img", "home", "user", "modified")


class Worker:
    """One side of the story: a host, a folder on it, and all the answers it gave."""

    def __init__(self, executor: Executor, host: str, folder: str) -> None:
        self.executor, self.host, self.folder = executor, host, folder
        self.answers: list[Any] = []

    def ask(self, verb: str, **request: Any) -> None:
        data = json.dumps({"verb": verb, "base_dir": self.folder, **request}).encode()
        result = self.executor.run(self.host, remote.program("overlays"), stdin=data)
        self.answers.append(settled(json.loads(result.check().stdout)))

    def create(self, *overlays: dict[str, Any], sha256: str | None = None) -> None:
        self.ask("create", bases={BASE: sha256}, overlays=list(overlays))

    def receive(self, content: bytes, upto: int | None = None, *, sha256: str = "") -> None:
        """Send content as a base image; with `upto` hang up at that offset."""
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        arguments = (self.folder, BASE, sha256, str(len(content)), "10")
        with self.receiving(*arguments) as stream:
            first = line_of(stream)
            self.answers.append(first)
            if first["state"] == "need":
                rest = content[first["offset"] : upto]
                stream.write(struct.pack("<QQ", first["offset"], len(rest)) + rest, SECONDS)
                if upto is None:
                    stream.write(struct.pack("<QQ", len(content), 0), SECONDS)
                    self.answers.append(line_of(stream))
            self.answers.append(stream.finish(SECONDS).returncode)

    def receiving(self, *arguments: str) -> closing[Stream]:
        return closing(self.executor.open(self.host, remote.program("receive", *arguments)))

    def note_files(self) -> None:
        listing = self.executor.run(self.host, ("ls", "-A", self.folder))
        self.answers.append((listing.returncode, sorted(listing.text.split())))

    def note_content(self, file: str) -> None:
        content = self.executor.get(self.host, f"{self.folder}/{file}")
        self.answers.append(hashlib.sha256(content).hexdigest())


def line_of(stream: Stream) -> Any:
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.read(1, SECONDS)
        assert byte, f"it ended: {stream.finish(SECONDS)}"
        line += byte
    return settled(json.loads(line))


def settled(value: Any) -> Any:
    """The answer with the type in place of what no two machines have in common."""
    if isinstance(value, dict):
        return {
            key: type(item).__name__ if key in VARYING else settled(item)
            for key, item in value.items()
        }
    return [settled(item) for item in value] if isinstance(value, list) else value


def overlay(name: str, size: int | None = None, token: str = "t1") -> dict[str, Any]:
    mark = {"token": token, "vm": name}
    return {"file": f"{name}_img.qcow2", "base": BASE, "size": size, "mark": mark}


def overlays_come_and_go(worker: Worker) -> None:
    worker.ask("look")
    worker.create(overlay("a"))
    worker.receive(CONTENT)
    worker.note_files()
    worker.create(overlay("a"), overlay("b", 2**30), sha256=SHA256)
    worker.note_content("a_img.qcow2")
    worker.note_content("b_img.qcow2")
    worker.ask("look")
    worker.note_files()
    paths = [f"{worker.folder}/{name}_img.qcow2" for name in "abc"]
    worker.ask("delete", paths=paths)
    worker.ask("delete", paths=paths)
    worker.note_files()


def an_overlay_is_never_overwritten(worker: Worker) -> None:
    worker.receive(CONTENT)
    worker.create(overlay("a"))
    worker.create(overlay("a"))
    worker.create(overlay("a"), overlay("b"))
    worker.create(overlay("c"), overlay("a", token="t2"))
    worker.create(overlay("a", 2**30))
    worker.create(overlay("d"), overlay("d"))
    worker.note_files()


def what_cannot_be_made_is_not_begun(worker: Worker) -> None:
    worker.receive(CONTENT)
    worker.create(overlay("a"), overlay("b", 512))
    worker.create(overlay("a"), sha256="0" * 64)
    worker.ask("create", bases={BASE: None, "../x": None}, overlays=[])
    worker.ask("create", bases={"absent.img": None}, overlays=[])
    worker.note_files()


def outside_is_outside(worker: Worker) -> None:
    worker.receive(CONTENT)
    worker.create(overlay("a"))
    inside = f"{worker.folder}/a_img.qcow2"
    for path in ("/etc/a_img.qcow2", f"{worker.folder}/../a_img.qcow2", "a_img.qcow2"):
        worker.ask("delete", paths=[inside, path])
    worker.ask("delete", paths=[inside, f"{worker.folder}/{BASE}"])
    worker.ask("delete", paths=[f"{worker.folder}/*_img.qcow2"])
    worker.note_files()


def a_copy_goes_on_where_it_was_cut(worker: Worker) -> None:
    worker.receive(CONTENT, upto=MIB + MIB // 2)
    worker.note_files()
    worker.receive(CONTENT)
    worker.receive(CONTENT)
    worker.note_content(BASE)
    worker.note_files()


def other_content_is_refused(worker: Worker) -> None:
    worker.receive(CONTENT, sha256=hashlib.sha256(OTHER).hexdigest())
    worker.note_files()
    worker.receive(CONTENT)
    worker.receive(OTHER)
    worker.note_content(BASE)
    worker.note_files()


def a_bad_base_is_named_as_such(worker: Worker) -> None:
    worker.receive(CONTENT)
    backed = qcow2_files.make(SIZE, "/etc/passwd")
    for content in (CONTENT[:100_000], CONTENT[:50], b"", b"no image at all" * 100, backed):
        worker.executor.run(worker.host, ("rm", "-f", f"{worker.folder}/{BASE}"))
        worker.executor.put(worker.host, f"{worker.folder}/{BASE}", content)
        worker.create(overlay("a"))
        worker.create(overlay("a"), sha256=SHA256)
    worker.note_files()


def frames_out_of_order_are_refused(worker: Worker) -> None:
    arguments = (worker.folder, BASE, SHA256, str(len(CONTENT)), "10")
    with worker.receiving(*arguments) as stream:
        worker.answers.append(line_of(stream))
        stream.write(struct.pack("<QQ", len(CONTENT), 1) + b"x", SECONDS)
        worker.answers.append(line_of(stream))
        worker.answers.append(stream.finish(SECONDS).returncode)
    worker.note_files()


def two_managers_take_turns(worker: Worker) -> None:
    arguments = (worker.folder, BASE, SHA256, str(len(CONTENT)), "10")
    with worker.receiving(*arguments) as first:
        worker.answers.append(line_of(first))  # it has its turn
        with worker.receiving(*arguments) as second:
            states = [line_of(second)["state"]]
            worker.answers += states
            first.close()
            while states[-1] == "waiting":
                states.append(line_of(second)["state"])
            worker.answers.append(states[-1])


def an_idle_manager_is_dropped(worker: Worker) -> None:
    arguments = (worker.folder, BASE, SHA256, str(len(CONTENT)), "0.2")
    with worker.receiving(*arguments) as stream:
        worker.answers += [line_of(stream), line_of(stream)]


STORIES = (
    overlays_come_and_go,
    an_overlay_is_never_overwritten,
    what_cannot_be_made_is_not_begun,
    outside_is_outside,
    a_copy_goes_on_where_it_was_cut,
    other_content_is_refused,
    a_bad_base_is_named_as_such,
    frames_out_of_order_are_refused,
    two_managers_take_turns,
    an_idle_manager_is_dropped,
)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalExecutor]:
    with LocalExecutor({"HOME": str(tmp_path)}) as executor:
        yield executor


@pytest.mark.thorough
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_same_story_gives_the_same_answers(
    local: LocalExecutor, tmp_path: Path, story: Callable[[Worker], None]
) -> None:
    folder = str(tmp_path / "vm_images")
    real = Worker(local, "localhost", folder)
    story(real)
    with SimulatedExecutor() as executor:
        executor.worker("10.0.10.1").files.make_folder(str(tmp_path), parents=True)
        simulated = Worker(executor, "10.0.10.1", folder)
        story(simulated)
    assert simulated.answers == real.answers


def test_answers_are_written_alike(local: LocalExecutor, tmp_path: Path) -> None:
    request = json.dumps({"verb": "delete", "base_dir": "/srv", "paths": ["/etc/x"]}).encode()
    with SimulatedExecutor() as executor:
        said = [
            executor_.run(host, remote.program("overlays"), stdin=request).stdout
            for executor_, host in ((local, "localhost"), (executor, "10.0.10.1"))
        ]
    assert said[0] == said[1] != b""
