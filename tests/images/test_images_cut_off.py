"""The connection is cut at every step: asking again arrives, and nothing is made twice or left."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest

from disk_images import HOST, MIB, Worker, make_base, needs_qemu_img, sha256
from labkit import events
from labkit.errors import ConnectionLost, OverlayExists
from labkit.executor import DEFAULT_TIMEOUT, Connection, Executor, ManagerFiles, Result, Stream
from labkit.images.library import ImageLibrary
from labkit.images.manager import OverlayRequest, QCOWManager

pytestmark = [pytest.mark.qemu_img, needs_qemu_img]

When = Literal["before", "after"]


class Cut:
    """Where the connection breaks: at the n-th step, before or after it took effect."""

    def __init__(self, step: int, when: When) -> None:
        self.left, self.when, self.happened = step, when, False

    def step(self) -> Iterator[None]:
        """Around a step: what is yielded to is its effect."""
        self.left -= 1
        hit = self.left == 0
        self.happened = self.happened or hit
        if hit and self.when == "before":
            raise ConnectionLost("cut", why="before it took effect")
        yield
        if hit:
            raise ConnectionLost("cut", why="after it took effect")


class CutStream:
    def __init__(self, stream: Stream, cut: Cut) -> None:
        self.stream, self.cut = stream, cut

    def read(self, size: int, timeout: float) -> bytes:
        data = b""
        for _ in self.cut.step():
            data = self.stream.read(size, timeout)
        return data

    def write(self, data: bytes | memoryview, timeout: float) -> None:
        for _ in self.cut.step():
            self.stream.write(data, timeout)

    def finish(self, timeout: float) -> Result:
        return self.stream.finish(timeout)

    def close(self) -> None:
        self.stream.close()


class CutExecutor:
    """An executor whose connection is cut once."""

    def __init__(self, executor: Executor, cut: Cut) -> None:
        self.executor, self.cut = executor, cut

    @property
    def manager(self) -> ManagerFiles:
        return self.executor.manager

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        result = Result(tuple(argv), 0)
        for _ in self.cut.step():
            result = self.executor.run(host, argv, stdin=stdin, timeout=timeout)
        return result

    def connect(self, host: str, path: str) -> Connection:
        return self.executor.connect(host, path)

    def open(self, host: str, argv: Sequence[str]) -> Stream:
        stream = self.executor.open(host, argv)
        try:
            for _ in self.cut.step():
                pass
        except ConnectionLost:
            stream.close()
            raise
        return CutStream(stream, self.cut)

    def put(self, host: str, path: str, data: bytes, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.executor.put(host, path, data, timeout=timeout)

    def get(self, host: str, path: str, *, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        return self.executor.get(host, path, timeout=timeout)

    def execute_direct(
        self, remote_ip: str, command: str, timeout: float = DEFAULT_TIMEOUT
    ) -> tuple[bool, str]:
        return self.executor.execute_direct(remote_ip, command, timeout)

    def close(self) -> None:
        self.executor.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.img", data=os.urandom(3 * MIB))


# ask for the base, say "need", three or more frames and the end, "done", ask again
STEPS = range(1, 13)
BOTH: tuple[When, ...] = ("before", "after")


@pytest.mark.thorough
@pytest.mark.parametrize("when", BOTH)
@pytest.mark.parametrize("step", STEPS)
def test_asking_again_makes_the_disks_once(
    tmp_path: Path, base: Path, step: int, when: When
) -> None:
    worker, cut, told = Worker(tmp_path / "home"), Cut(step, when), list[events.Event]()
    library = ImageLibrary(tmp_path / "library")
    manager = QCOWManager(CutExecutor(worker.executor, cut), on_event=told.append, library=library)
    requests = [OverlayRequest(name, str(base), 1) for name in ("vm1", "vm2")]
    if cut_off(manager, requests):
        paths = manager.create_overlays(HOST, requests)
        assert paths == ["~/vm_images/vm1_img.qcow2", "~/vm_images/vm2_img.qcow2"]
    else:
        assert not cut.happened
        assert step == STEPS[-1], "the story has fewer steps than the test believes"
    made = [event for event in told if isinstance(event, events.OverlayCreated)]
    assert [event.subject for event in made] == [
        "~/vm_images/vm1_img.qcow2",
        "~/vm_images/vm2_img.qcow2",
    ]
    assert worker.files() == [".base.img.sha256", "base.img", "vm1_img.qcow2", "vm2_img.qcow2"]
    assert sha256(worker.folder / "base.img") == sha256(base)
    assert not list(tmp_path.glob("**/.labkit*"))
    with pytest.raises(OverlayExists):
        QCOWManager(worker.executor, library=library).create_overlays(HOST, requests)


def cut_off(manager: QCOWManager, requests: list[OverlayRequest]) -> bool:
    try:
        manager.create_overlays(HOST, requests)
    except ConnectionLost:
        return True
    return False


def test_what_was_made_before_the_cut_is_adopted(tmp_path: Path, base: Path) -> None:
    worker, told = Worker(tmp_path / "home"), list[events.Event]()
    library = ImageLibrary(tmp_path / "library")
    QCOWManager(worker.executor, library=library).ensure_base(HOST, str(base))
    executor = CutExecutor(worker.executor, Cut(1, "after"))
    manager = QCOWManager(executor, on_event=told.append, library=library)
    assert manager.create_backing_image(HOST, "vm1", str(base), []) == (False, None)
    assert isinstance(manager.last_error, ConnectionLost)
    disk = worker.folder / "vm1_img.qcow2"
    inode = disk.stat().st_ino
    # somebody else does not get it, and the same name with another size is another request
    with pytest.raises(OverlayExists):
        QCOWManager(worker.executor, library=library).create_overlay(HOST, "vm1", str(base))
    with pytest.raises(OverlayExists):
        manager.create_overlay(HOST, "vm1", str(base), disk_gb=2)
    assert manager.create_backing_image(HOST, "vm1", str(base), [])[0]
    assert isinstance(told[-1], events.OverlayCreated)
    assert told[-1].adopted
    assert disk.stat().st_ino == inode


@pytest.mark.parametrize("when", BOTH)
def test_fault_11_a_lost_deletion_is_not_done_until_it_is_known(
    tmp_path: Path, base: Path, when: When
) -> None:
    worker = Worker(tmp_path / "home")
    library = ImageLibrary(tmp_path / "library")
    path = QCOWManager(worker.executor, library=library).create_overlay(HOST, "vm1", str(base))
    manager = QCOWManager(CutExecutor(worker.executor, Cut(1, when)), library=library)
    assert manager.delete_image(HOST, path) is False
    assert isinstance(manager.last_error, ConnectionLost)
    assert manager.delete_image(HOST, path) is True
    assert worker.files() == [".base.img.sha256", "base.img"]
