"""Base images arrive whole or not at all: cut, resumed, from several managers, on a full disk."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from disk_images import HOST, MIB, Worker, make_base, needs_qemu_img, sha256
from labkit import events, remote
from labkit.errors import DiskFull, ImageError, ProgramMissing, TransferError
from labkit.executor import LocalFiles, ManagerFiles, Stream
from labkit.images.copy import copy_base
from labkit.images.library import ImageLibrary
from labkit.images.manager import OverlayRequest, QCOWManager
from labkit.images.source import BaseImage, BaseImages
from labkit.local import LocalExecutor

pytestmark = [pytest.mark.qemu_img, pytest.mark.thorough, needs_qemu_img]

FOLDER = "~/vm_images"


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "home")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """20 MiB that do not compress, in an image with a hole at its end."""
    path = make_base(tmp_path / "base.img", 64 * MIB, os.urandom(20 * MIB))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 5 * MIB + 123)
    return path


def found(path: Path, files: ManagerFiles | None = None) -> BaseImage:
    image = BaseImages(files or LocalFiles(), ImageLibrary(path.parent / "library")).find(str(path))
    assert image is not None
    return image


def part_of(worker: Worker, image: BaseImage) -> Path:
    return worker.folder / f".{image.file}.{image.sha256[:16]}.part"


def test_the_copy_is_the_same_and_keeps_its_holes(worker: Worker, base: Path) -> None:
    told: list[events.Event] = []
    sent = copy_base(worker.executor, HOST, FOLDER, found(base), told.append)
    copy = worker.folder / "base.img"
    assert sha256(copy) == sha256(base)
    assert copy.stat().st_blocks * 512 < 22 * MIB
    assert 20 * MIB < sent < 22 * MIB
    progress = [event for event in told if isinstance(event, events.ImageCopyProgress)]
    assert (progress[0].done, progress[0].sent) == (0, 0)
    assert (progress[-1].done, progress[-1].sent) == (base.stat().st_size, sent)
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert 3 <= len(progress) < 20
    assert isinstance(told[-1], events.ImageCopied)
    assert told[-1].sha256 == sha256(base)
    assert worker.files() == [".base.img.sha256", "base.img"]


def test_what_is_there_is_not_sent_again(worker: Worker, base: Path) -> None:
    assert copy_base(worker.executor, HOST, FOLDER, found(base)) > 0
    assert copy_base(worker.executor, HOST, FOLDER, found(base)) == 0
    (worker.folder / ".base.img.sha256").unlink()
    assert copy_base(worker.executor, HOST, FOLDER, found(base)) == 0
    assert worker.files() == [".base.img.sha256", "base.img"]


class Dies(Exception):
    """The manager's end, as far as the worker can tell."""


def test_fault_09_a_cut_copy_goes_on_where_it_was(worker: Worker, base: Path) -> None:
    image = found(base)

    def die(event: events.Event) -> None:
        if isinstance(event, events.ImageCopyProgress) and event.sent > 8 * MIB:
            raise Dies

    with pytest.raises(Dies):
        copy_base(worker.executor, HOST, FOLDER, image, die)
    assert not (worker.folder / "base.img").exists()
    there = part_of(worker, image).stat().st_size
    assert there > 0
    told: list[events.Event] = []
    sent = copy_base(worker.executor, HOST, FOLDER, image, told.append)
    assert isinstance(told[0], events.ImageCopyProgress)
    assert told[0].done == there // MIB * MIB
    assert sent < 21 * MIB - told[0].done + 1
    assert sha256(worker.folder / "base.img") == image.sha256
    assert worker.files() == [".base.img.sha256", "base.img"]


def test_fault_09_a_damaged_part_is_found_and_sent_anew(worker: Worker, base: Path) -> None:
    image = found(base)
    worker.folder.mkdir()
    part_of(worker, image).write_bytes(b"x" * 3 * MIB)
    with pytest.raises(TransferError, match="sha256 is wrong"):
        copy_base(worker.executor, HOST, FOLDER, image)
    assert worker.files() == []
    copy_base(worker.executor, HOST, FOLDER, image)
    assert sha256(worker.folder / "base.img") == image.sha256


def test_a_part_longer_than_the_image_is_sent_anew(worker: Worker, base: Path) -> None:
    image = found(base)
    worker.folder.mkdir()
    part_of(worker, image).write_bytes(bytes(40 * MIB))
    copy_base(worker.executor, HOST, FOLDER, image)
    assert sha256(worker.folder / "base.img") == image.sha256


def test_a_file_that_changes_while_it_is_sent_does_not_arrive(worker: Worker, base: Path) -> None:
    image = found(base)
    with base.open("r+b") as file:
        file.seek(10 * MIB)
        file.write(b"changed")
    with pytest.raises(TransferError, match="changed here"):
        copy_base(worker.executor, HOST, FOLDER, image)
    assert worker.files() == []


def test_parts_of_other_content_are_removed_at_the_end(worker: Worker, base: Path) -> None:
    worker.folder.mkdir()
    (worker.folder / ".base.img.0123456789abcdef.part").write_bytes(b"of an older build")
    (worker.folder / ".base.img.x.0123456789abcdef.part").write_bytes(b"of another image")
    copy_base(worker.executor, HOST, FOLDER, found(base))
    assert worker.files() == [
        ".base.img.sha256",
        ".base.img.x.0123456789abcdef.part",
        "base.img",
    ]


def push(home: str, path: str, queue: multiprocessing.Queue[object], *, hang: bool) -> None:
    """A manager process of its own; with `hang` it stops half-way and waits to be killed."""

    def listen(event: events.Event) -> None:
        if hang and isinstance(event, events.ImageCopyProgress) and event.sent > 8 * MIB:
            queue.put("half")
            signal.pause()

    queue.put(copy_base(LocalExecutor({"HOME": home}), HOST, FOLDER, found(Path(path)), listen))


def test_three_managers_at_once_send_it_once(worker: Worker, base: Path) -> None:
    queue: multiprocessing.Queue[object] = multiprocessing.get_context("spawn").Queue()
    managers = [
        multiprocessing.get_context("spawn").Process(
            target=push, args=(str(worker.home), str(base), queue), kwargs={"hang": False}
        )
        for _ in range(3)
    ]
    for manager in managers:
        manager.start()
    sent = sorted(queue.get(timeout=50) for _ in managers)  # type: ignore[type-var]
    for manager in managers:
        manager.join()
    assert sent[:2] == [0, 0]
    assert isinstance(sent[2], int)
    assert sent[2] > 20 * MIB
    assert sha256(worker.folder / "base.img") == sha256(base)
    assert worker.files() == [".base.img.sha256", "base.img"]


def test_a_killed_manager_leaves_a_part_that_the_next_one_completes(
    worker: Worker, base: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[object] = context.Queue()
    first = context.Process(
        target=push, args=(str(worker.home), str(base), queue), kwargs={"hang": True}
    )
    first.start()
    assert queue.get(timeout=50) == "half"
    told: list[events.Event] = []
    waits = threading.Event()

    def listen(event: events.Event) -> None:
        told.append(event)
        if isinstance(event, events.ImageCopyWaiting):
            waits.set()

    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(copy_base, worker.executor, HOST, FOLDER, found(base), listen)
        assert waits.wait(50)
        first.kill()
        first.join()
        sent = second.result(50)
    assert 0 < sent < 14 * MIB
    assert sha256(worker.folder / "base.img") == sha256(base)
    assert worker.files() == [".base.img.sha256", "base.img"]


def converse(worker: Worker, image: BaseImage, idle: str = "30") -> Stream:
    arguments = (FOLDER, image.file, image.sha256, str(image.size), idle)
    return worker.executor.open(HOST, remote.program("receive", *arguments))


def test_who_waits_for_another_and_hangs_up_leaves_nothing(worker: Worker, base: Path) -> None:
    image = found(base)
    with contextlib.closing(converse(worker, image)) as first:
        assert b"need" in first.read(1000, 30)
        with contextlib.closing(converse(worker, image)) as second:
            assert b"waiting" in second.read(1000, 30)
            assert second.finish(30).returncode == 75
        assert first.finish(30).returncode == 75
    assert not worker.folder.exists()


def test_a_silent_manager_is_dropped_and_its_part_kept(worker: Worker, base: Path) -> None:
    image = found(base)
    with contextlib.closing(converse(worker, image, idle="0.2")) as stream:
        assert b"need" in stream.read(1000, 30)
        stream.write((0).to_bytes(8, "little") + (9 * MIB).to_bytes(8, "little"), 30)
        stream.write(base.read_bytes()[: 3 * MIB], 30)
        assert b'"idle"' in stream.read(1000, 30)
    assert worker.files() == [part_of(worker, image).name]
    assert part_of(worker, image).stat().st_size == 3 * MIB
    copy_base(worker.executor, HOST, FOLDER, image)
    assert sha256(worker.folder / "base.img") == image.sha256


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_receiver_that_is_ended_keeps_what_it_has(
    worker: Worker, base: Path, number: signal.Signals
) -> None:
    image = found(base)
    arguments = (FOLDER, image.file, image.sha256, str(image.size), "30")
    process = subprocess.Popen(
        remote.program("receive", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "HOME": str(worker.home)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert b"need" in process.stdout.readline()
        process.stdin.write((0).to_bytes(8, "little") + (9 * MIB).to_bytes(8, "little"))
        process.stdin.write(base.read_bytes()[: 2 * MIB])
        process.stdin.flush()
        while part_of(worker, image).stat().st_size < 2 * MIB:
            os.sched_yield()
        process.send_signal(number)
        assert process.wait() == 128 + number
    assert worker.files() == [part_of(worker, image).name]


def test_a_worker_without_python(tmp_path: Path, base: Path) -> None:
    (tmp_path / "bin").mkdir()
    worker = Worker(tmp_path / "home", PATH=str(tmp_path / "bin"))
    with pytest.raises(ProgramMissing, match="apt install python3"):
        copy_base(worker.executor, HOST, FOLDER, found(base))


def test_a_receiver_that_breaks_says_why(tmp_path: Path, base: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    worker = Worker(tmp_path / "home", PATH=str(tmp_path / "bin"))
    for script, reason in (
        ("echo 'Traceback' >&2; echo 'MemoryError' >&2; exit 1", "status 1, MemoryError"),
        ("echo Welcome; exit 0", "answers b'Welcome'"),
    ):
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        with pytest.raises(TransferError, match=reason):
            copy_base(worker.executor, HOST, FOLDER, found(base))


def fill(path: Path, room: int) -> None:
    """Fill the file system up to `room` bytes."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - room)


class TestOnASmallDisk:
    """A worker whose image folder is a file system of 12 MiB."""

    @pytest.fixture
    def small(self, worker: Worker) -> Iterator[Worker]:
        worker.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "labkit", str(worker.folder)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a file system of 12 MiB can be mounted by root only")
        yield worker
        subprocess.run(["umount", str(worker.folder)], check=True)

    def test_a_copy_that_cannot_fit_is_not_begun(self, small: Worker, base: Path) -> None:
        with pytest.raises(DiskFull, match="20 MiB are needed, 1"):
            copy_base(small.executor, HOST, FOLDER, found(base))
        assert small.files() == []

    def test_a_disk_that_fills_on_the_way(self, small: Worker, base: Path) -> None:
        image = found(base)
        with contextlib.closing(converse(small, image)) as stream:
            assert b"need" in stream.read(1000, 30)
            stream.write((0).to_bytes(8, "little") + (21 * MIB).to_bytes(8, "little"), 30)
            with contextlib.suppress(TransferError):  # it ends while we write
                stream.write(base.read_bytes()[: 21 * MIB], 30)
            assert b'"disk-full"' in stream.read(1000, 30)
        assert small.files() == []

    def test_overlays_are_made_all_or_none(self, small: Worker, tmp_path: Path) -> None:
        manager = QCOWManager(small.executor, library=ImageLibrary(tmp_path / "library"))
        base = make_base(tmp_path / "tiny.img", data=b"x")
        kept = manager.create_overlay(HOST, "kept", str(base))
        before = small.files()
        filler = small.folder / "filler"
        for room in (300 * 1024, 0):  # for some of them; for none, not even for the lock
            fill(filler, room)
            requests = [OverlayRequest(f"vm{n}", str(base)) for n in range(100)]
            with pytest.raises(DiskFull, match="are free"):
                manager.create_overlays(HOST, requests)
            assert small.files() == sorted([*before, "filler"])
        filler.unlink()
        manager.delete_overlays(HOST, [kept])
        assert len(manager.create_overlays(HOST, requests)) == 100


def test_a_folder_that_cannot_be_written(worker: Worker, base: Path) -> None:
    worker.home.joinpath("file").write_text("in the way")
    with pytest.raises(ImageError, match="Not a directory"):
        copy_base(worker.executor, HOST, "~/file/vm_images", found(base))
    assert worker.home.joinpath("file").read_text() == "in the way"


def test_an_image_is_hashed_once_while_it_stays_the_same(base: Path, tmp_path: Path) -> None:
    class Counting(LocalFiles):
        opened = 0

        def open(self, path: str) -> BinaryIO:
            self.opened += 1
            return super().open(path)

    files = Counting()
    images = BaseImages(files, ImageLibrary(tmp_path / "library"))
    first = images.find(str(base))
    assert first == images.find(str(base))
    assert files.opened == 1
    os.utime(base, ns=(0, 0))
    assert images.find(str(base)) == first
    assert files.opened == 2
    base.unlink()
    assert images.find(str(base)) is None


def test_the_sha256_is_the_files(base: Path) -> None:
    assert found(base).sha256 == hashlib.sha256(base.read_bytes()).hexdigest()
