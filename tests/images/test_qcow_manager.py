"""QCOWManager with the real qemu-img on this machine: what it makes, refuses, keeps and deletes."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from disk_images import HOST, MIB, Worker, make_base, needs_qemu_img, programs_folder, qemu_img
from labkit import events
from labkit.errors import (
    BaseImageDiffers,
    BaseImageInvalid,
    BaseImageMissing,
    CommandError,
    DiskTooSmall,
    DuplicateError,
    ImageError,
    InvalidArgument,
    LabkitError,
    OverlayExists,
    ProgramMissing,
    WorkerUnreachable,
)
from labkit.images.library import ImageLibrary
from labkit.images.manager import OverlayRequest, QCOWManager
from labkit.model import FLAVORS
from labkit.simulator.executor import SimulatedExecutor

pytestmark = [pytest.mark.qemu_img, needs_qemu_img]

GIB = 2**30


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "home")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base.img")


@pytest.fixture
def told() -> list[events.Event]:
    return []


@pytest.fixture
def library(tmp_path: Path) -> ImageLibrary:
    return ImageLibrary(tmp_path / "library")


@pytest.fixture
def manager(worker: Worker, told: list[events.Event], library: ImageLibrary) -> QCOWManager:
    return QCOWManager(worker.executor, on_event=told.append, library=library)


def info(path: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads(qemu_img("info", "--output=json", path))
    return told


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder and the content of each file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


class TestTheSeedsForms:
    def test_create_and_delete(self, manager: QCOWManager, worker: Worker, base: Path) -> None:
        answer = manager.create_backing_image(HOST, "vm1", str(base), [100])
        assert answer == (True, "~/vm_images/vm1_img.qcow2")
        disk = info(worker.folder / "vm1_img.qcow2")
        assert (disk["format"], disk["backing-filename"]) == ("qcow2", "base.img")
        assert disk["backing-filename-format"] == "qcow2"
        assert disk["virtual-size"] == 64 * MIB
        assert manager.delete_image(HOST, "~/vm_images/vm1_img.qcow2") is True
        assert manager.delete_image(HOST, "~/vm_images/vm1_img.qcow2") is True
        assert worker.files() == [".base.img.sha256", "base.img"]

    def test_they_do_not_raise_and_tell_why(
        self, manager: QCOWManager, base: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert manager.create_backing_image(HOST, "a b", str(base), []) == (False, None)
        assert isinstance(manager.last_error, InvalidArgument)
        assert [record.name for record in caplog.records] == ["labkit"]
        assert "create the disk of 'a b' on '127.0.0.1'" in caplog.text
        assert manager.delete_image(HOST, "/etc/passwd") is False
        assert isinstance(manager.last_error, InvalidArgument)
        assert manager.create_backing_image(HOST, "vm1", str(base), [])[0]
        assert manager.last_error is None

    def test_the_disk_is_what_qemu_img_makes(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.create_overlay(HOST, "vm1", str(base), disk_gb=1)
        create = ("create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "qcow2")
        qemu_img(*create, "real.qcow2", "1G", folder=worker.folder)
        made = worker.folder / "vm1_img.qcow2"
        assert made.read_bytes() == (worker.folder / "real.qcow2").read_bytes()
        qemu_img("check", made)


class TestFaults:
    def test_fault_04_never_overwrites_an_overlay(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        mark = {"owner": "ana", "name": "web", "vm_id": 7, "slice": "ospf"}
        manager.create_overlay(HOST, "vm1", str(base), mark=mark)
        disk = worker.folder / "vm1_img.qcow2"
        qemu_img("bench", "-w", "-c", "1", "-f", "qcow2", disk)
        before = everything(worker.home)
        with pytest.raises(OverlayExists) as caught:
            manager.create_overlay(HOST, "vm1", str(base), disk_gb=1)
        for word in ("ana", "web", "VM 7", "ospf", "made from base.img", "another name"):
            assert word in str(caught.value)
        assert everything(worker.home) == before

    def test_fault_04_names_the_user_of_an_overlay_of_another_tool(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.ensure_base(HOST, str(base))
        (worker.folder / "vm1_img.qcow2").write_bytes(b"precious")
        with pytest.raises(OverlayExists, match="the user "):
            manager.create_overlay(HOST, "vm1", str(base))
        (worker.folder / "vm2_img.qcow2").symlink_to("nowhere")
        with pytest.raises(OverlayExists):
            manager.create_overlay(HOST, "vm2", str(base))
        assert (worker.folder / "vm1_img.qcow2").read_bytes() == b"precious"
        assert not (worker.folder / "nowhere").exists()

    def test_fault_05_deleting_one_disk_touches_no_other(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        for name in ("vm", "vm1", "my-vm1"):
            manager.create_overlay(HOST, name, str(base))
        manager.delete_overlays(HOST, ["~/vm_images/vm1_img.qcow2"])
        assert worker.files() == [
            ".base.img.sha256",
            "base.img",
            "my-vm1_img.qcow2",
            "vm_img.qcow2",
        ]

    @pytest.mark.parametrize(
        "path",
        [
            "~/vm_images/*_img.qcow2",
            "~/vm_images/-rf_img.qcow2",
            "~/vm_images/../vm_img.qcow2",
            "~/other/vm_img.qcow2",
            "/etc/vm_img.qcow2",
            "vm_img.qcow2",
            "~/vm_images/base.img",
            "~/vm_images/vm_img.qcow2 /etc/passwd",
            "~/vm_images/sub/vm_img.qcow2",
            "",
        ],
    )
    def test_fault_05_delete_refuses_what_is_elsewhere_or_no_disk(
        self, manager: QCOWManager, worker: Worker, base: Path, path: str
    ) -> None:
        manager.create_overlay(HOST, "vm", str(base))
        for folder in (worker.home / "other", worker.folder / "sub"):
            folder.mkdir()
            (folder / "vm_img.qcow2").touch()
        (worker.home / "vm_img.qcow2").touch()
        before = everything(worker.home)
        with pytest.raises(InvalidArgument):
            manager.delete_overlays(HOST, ["~/vm_images/vm_img.qcow2", path])
        assert manager.delete_image(HOST, path) is False
        assert everything(worker.home) == before

    def test_fault_05_delete_removes_a_link_and_not_what_it_leads_to(
        self, manager: QCOWManager, worker: Worker
    ) -> None:
        worker.folder.mkdir()
        (worker.home / "precious").write_text("x")
        (worker.folder / "vm_img.qcow2").symlink_to(worker.home / "precious")
        (worker.folder / "dir_img.qcow2").mkdir()
        with pytest.raises(ImageError, match="it is a folder"):
            manager.delete_overlays(HOST, ["~/vm_images/dir_img.qcow2"])
        manager.delete_overlays(HOST, ["~/vm_images/vm_img.qcow2"])
        assert worker.files() == ["dir_img.qcow2"]
        assert (worker.home / "precious").exists()

    def test_fault_08_the_size_asked_for_is_given(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        for name, disk_gb, size in (
            ("grown", 2.2, 2362232320),
            ("same", 64 / 1024, 64 * MIB),
            ("base", None, 64 * MIB),
        ):
            manager.create_overlay(HOST, name, str(base), disk_gb=disk_gb)
            assert info(worker.folder / f"{name}_img.qcow2")["virtual-size"] == size
        before = everything(worker.home)
        with pytest.raises(DiskTooSmall, match=r"at least 0\.0625"):
            manager.create_overlay(HOST, "small", str(base), disk_gb=0.01)
        assert everything(worker.home) == before

    def test_fault_09_a_base_cut_off_on_the_worker_is_not_taken(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        worker.folder.mkdir()
        (worker.folder / "base.img").write_bytes(base.read_bytes()[:300_000])
        with pytest.raises(BaseImageInvalid, match="truncated"):
            manager.create_overlay(HOST, "vm1", str(base))
        base.unlink()
        with pytest.raises(BaseImageInvalid, match="truncated"):
            manager.create_overlay(HOST, "vm1", str(base))
        assert worker.files() == ["base.img"]

    def test_fault_11_a_disk_on_an_unreachable_worker_is_not_deleted(self) -> None:
        executor = SimulatedExecutor()
        executor.fail("10.0.10.9", "unreachable")
        manager = QCOWManager(executor)
        assert manager.delete_image("10.0.10.9", "~/vm_images/vm1_img.qcow2") is False
        assert isinstance(manager.last_error, WorkerUnreachable)

    def test_fault_19_a_failed_check_is_an_error(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        worker.folder.write_text("a file where the folder should be")
        with pytest.raises(ImageError, match="vm_images"):
            manager.create_overlay(HOST, "vm1", str(base))
        assert worker.folder.read_text() == "a file where the folder should be"

    def test_fault_20_the_home_folder_is_found_on_the_worker(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        path = manager.create_overlay(HOST, "vm1", str(base))
        assert path.startswith("~/")
        facts = manager.look(HOST)
        assert facts.base_dir == str(worker.folder)
        manager.delete_overlays(HOST, [f"{facts.base_dir}/vm1_img.qcow2"])
        assert manager.look(HOST).overlays == ()
        absolute = QCOWManager(worker.executor, str(worker.home / "else"))
        path = absolute.create_overlay(HOST, "vm1", str(base))
        assert path == f"{worker.home}/else/vm1_img.qcow2"
        assert Path(path).exists()

    def test_fault_22_a_missing_base_says_how_to_get_it(
        self, manager: QCOWManager, library: ImageLibrary, base: Path, worker: Worker
    ) -> None:
        cirros = "/nowhere/cirros-0.6.2-x86_64-disk.img"
        with pytest.raises(BaseImageMissing, match="labkit image pull cirros"):
            manager.create_overlay(HOST, "vm1", cirros)
        library.add("cirros", base)
        with pytest.raises(BaseImageMissing, match=r'use it with .*labkit\.image_path\("ci'):
            manager.ensure_base(HOST, cirros)
        with pytest.raises(BaseImageMissing, match=r"Put the file at /nowhere/mine\.img"):
            manager.create_overlay(HOST, "vm1", "/nowhere/mine.img")
        assert worker.files() == []
        manager.create_overlay(HOST, "vm1", library.path("cirros"))


class TestBaseImages:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "an empty file"),
            (b"<html>not found</html>", "a web page"),
            (bytes(5000), "zeros"),
            (b"QFI\xfb\0\0\0\x03", "truncated"),
        ],
    )
    def test_what_is_no_image_is_refused_before_anything_is_sent(
        self, manager: QCOWManager, worker: Worker, base: Path, content: bytes, reason: str
    ) -> None:
        base.write_bytes(content)
        with pytest.raises(BaseImageInvalid, match=reason):
            manager.create_overlay(HOST, "vm1", str(base))
        assert everything(worker.home) == {}

    def test_one_that_names_another_file_is_refused_here_and_there(
        self, manager: QCOWManager, worker: Worker, tmp_path: Path
    ) -> None:
        evil = tmp_path / "evil.img"
        qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", evil, "1M")
        with pytest.raises(BaseImageInvalid, match="names a backing file, '/etc/shadow'"):
            manager.create_overlay(HOST, "vm1", str(evil))
        worker.folder.mkdir()
        evil.rename(worker.folder / "evil.img")
        with pytest.raises(BaseImageInvalid, match="names a backing file, '/etc/shadow'"):
            manager.create_overlay(HOST, "vm1", str(evil))
        assert worker.files() == ["evil.img"]

    def test_a_folder_and_an_unreadable_path_are_refused(
        self, manager: QCOWManager, tmp_path: Path
    ) -> None:
        (tmp_path / "dir.img").mkdir()
        (tmp_path / "loop.img").symlink_to("loop.img")
        for name in ("dir.img", "loop.img"):
            with pytest.raises(BaseImageInvalid, match=name):
                manager.create_overlay(HOST, "vm1", str(tmp_path / name))

    def test_other_content_by_the_same_name_is_never_replaced(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.create_overlay(HOST, "vm1", str(base))
        before = everything(worker.home)
        make_base(base, data=b"other" * 1000)
        for ask in (manager.ensure_base, lambda *a: manager.create_overlay(a[0], "vm2", a[1])):
            with pytest.raises(BaseImageDiffers, match="another file name"):
                ask(HOST, str(base))
        assert everything(worker.home) == before

    def test_the_workers_base_is_enough(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        worker.folder.mkdir()
        base.rename(worker.folder / "base.img")
        manager.ensure_base(HOST, str(base))
        manager.create_overlay(HOST, "vm1", str(base))
        assert worker.files() == ["base.img", "vm1_img.qcow2"]

    def test_a_base_changed_on_the_worker_is_noticed(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.create_overlay(HOST, "vm1", str(base))
        copy = worker.folder / "base.img"
        assert copy.stat().st_mode & 0o777 == 0o444
        copy.chmod(0o644)
        with copy.open("r+b") as file:
            file.seek(-5, os.SEEK_END)
            file.write(b"XXXXX")
        with pytest.raises(BaseImageDiffers):
            manager.create_overlay(HOST, "vm2", str(base))

    def test_two_images_of_one_file_name_are_refused(
        self, manager: QCOWManager, worker: Worker, base: Path, tmp_path: Path
    ) -> None:
        other = make_base(tmp_path / "other" / "base.img", data=b"other")
        requests = [OverlayRequest("a", str(base)), OverlayRequest("b", str(other))]
        with pytest.raises(InvalidArgument, match="base_image_path"):
            manager.create_overlays(HOST, requests)
        assert worker.files() == []


class TestBatches:
    def test_many_disks_of_several_bases_and_sizes(
        self, manager: QCOWManager, worker: Worker, base: Path, told: list[events.Event]
    ) -> None:
        second = make_base(base.with_name("second.img"), 128 * MIB, b"second" * 1000)
        requests = [
            OverlayRequest(f"vm{n}", str((base, second)[n % 2]), (None, 1, 2)[n % 3], {"vm_id": n})
            for n in range(20)
        ]
        paths = manager.create_overlays(HOST, requests)
        assert paths == [f"~/vm_images/vm{n}_img.qcow2" for n in range(20)]
        by_file = {overlay.file: overlay for overlay in manager.look(HOST).overlays}
        for n, request in enumerate(requests):
            disk = info(worker.folder / request.file)
            wanted = request.size or (64, 128)[n % 2] * MIB
            assert (disk["virtual-size"], disk["backing-filename"]) == (wanted, request.base)
            assert by_file[request.file].size == wanted
            assert (by_file[request.file].mark or {}).items() >= {"vm_id": n}.items()
        made = [event for event in told if isinstance(event, events.OverlayCreated)]
        assert [event.subject for event in made] == paths
        assert not any(event.adopted for event in made)
        manager.delete_overlays(HOST, paths)
        assert len([event for event in told if isinstance(event, events.OverlayDeleted)]) == 20
        assert manager.look(HOST).overlays == ()

    def test_one_that_cannot_be_made_leaves_none(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.create_overlay(HOST, "vm7", str(base))
        before = everything(worker.home)
        with pytest.raises(OverlayExists, match="vm7"):
            manager.create_overlays(HOST, [OverlayRequest(f"vm{n}", str(base)) for n in range(10)])
        with pytest.raises(DiskTooSmall):
            manager.create_overlays(
                HOST, [OverlayRequest(f"v{n}", str(base), 1 if n < 9 else 0.01) for n in range(10)]
            )
        assert everything(worker.home) == before

    def test_a_name_that_is_there_twice_is_refused(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        with pytest.raises(DuplicateError, match="vm1"):
            manager.create_overlays(HOST, [OverlayRequest("vm1", str(base))] * 2)
        assert worker.files() == []

    def test_no_request_is_no_work(self, worker: Worker) -> None:
        manager = QCOWManager(worker.executor)
        worker.executor.close()  # nothing may be asked
        assert manager.create_overlays(HOST, []) == []
        manager.delete_overlays(HOST, [])

    def test_disks_are_private_and_sparse(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.create_overlay(HOST, "vm1", str(base), disk_gb=1000)
        status = (worker.folder / "vm1_img.qcow2").stat()
        assert status.st_mode & 0o777 == 0o600
        assert status.st_blocks * 512 < status.st_size

    def test_threads_that_want_the_same_disk_get_it_once(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        barrier = threading.Barrier(4)

        def attempt(_: int) -> str | LabkitError:
            barrier.wait()
            try:
                return manager.create_overlay(HOST, "vm1", str(base))
            except LabkitError as error:
                return error

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(attempt, range(4)))
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, OverlayExists) for outcome in outcomes) == 3
        assert worker.files() == [".base.img.sha256", "base.img", "vm1_img.qcow2"]

    def test_what_a_killed_request_left_is_removed_by_the_next(
        self, manager: QCOWManager, worker: Worker, base: Path
    ) -> None:
        manager.ensure_base(HOST, str(base))
        for left in (".labkit-0", ".labkit-template", ".labkit.lock", ".labkit-sha256"):
            (worker.folder / left).write_text("left")
        manager.create_overlay(HOST, "vm1", str(base))
        assert worker.files() == [".base.img.sha256", "base.img", "vm1_img.qcow2"]

    def test_a_mark_must_be_plain_and_small(self, base: Path) -> None:
        for mark in ({"x": object()}, {"x": "y" * 3000}):
            with pytest.raises(InvalidArgument, match="mark"):
                OverlayRequest("vm1", str(base), mark=mark)


class TestLook:
    def test_an_empty_worker(self, manager: QCOWManager, worker: Worker) -> None:
        facts = manager.look(HOST)
        assert (facts.worker_ip, facts.home) == (HOST, str(worker.home))
        assert (facts.bases, facts.overlays) == ((), ())
        assert 0 < facts.free <= facts.total
        assert facts.cores >= 1
        assert facts.ram > 0
        assert facts.qemu_img is not None
        assert facts.qemu_img in qemu_img("--version")
        assert worker.files() == []

    def test_what_is_there(self, manager: QCOWManager, worker: Worker, base: Path) -> None:
        manager.create_overlay(HOST, "vm1", str(base), disk_gb=1, mark={"owner": "ana"})
        (worker.folder / "broken_img.qcow2").write_bytes(b"no image")
        (worker.folder / "folder").mkdir()
        facts = manager.look(HOST)
        assert [(fact.file, fact.bytes) for fact in facts.bases] == [
            ("base.img", base.stat().st_size)
        ]
        broken, disk = facts.overlays
        assert (broken.file, broken.base, broken.size, broken.mark) == (
            "broken_img.qcow2",
            None,
            None,
            None,
        )
        assert (disk.file, disk.base, disk.size) == ("vm1_img.qcow2", "base.img", GIB)
        assert disk.mark is not None
        assert disk.mark["owner"] == "ana"


class TestWorkersThatLackSomething:
    def test_qemu_img(self, tmp_path: Path, base: Path, library: ImageLibrary) -> None:
        path = programs_folder(tmp_path / "bin")
        worker = Worker(tmp_path / "home", PATH=path)
        manager = QCOWManager(worker.executor, library=library)
        with pytest.raises(ProgramMissing, match="apt install qemu-utils"):
            manager.create_overlay(HOST, "vm1", str(base))
        assert manager.look(HOST).qemu_img is None
        assert everything(worker.home) == {}

    def test_python(self, tmp_path: Path, base: Path, library: ImageLibrary) -> None:
        (tmp_path / "bin").mkdir()
        worker = Worker(tmp_path / "home")
        bare = Worker(tmp_path / "home", PATH=str(tmp_path / "bin"))
        manager = QCOWManager(bare.executor, library=library)
        for ask in (
            lambda: manager.create_overlay(HOST, "vm1", str(base)),
            lambda: manager.ensure_base(HOST, str(base)),
            lambda: manager.look(HOST),
        ):
            with pytest.raises(ProgramMissing, match="python3"):
                ask()
        assert worker.files() == []

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("echo Welcome!", "no answer"),
            ("echo '[]'", "no answer"),
            ("echo '{\"ok\": 1}'", "no answer"),
            ('echo \'{"ok": false, "problem": {"code": "new"}}\'', "not known here"),
            ("echo SyntaxError >&2; exit 1", "SyntaxError"),
        ],
    )
    def test_a_sound_python(
        self, tmp_path: Path, base: Path, library: ImageLibrary, script: str, reason: str
    ) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "python3").chmod(0o755)
        worker = Worker(tmp_path / "home", PATH=str(tmp_path / "bin"))
        manager = QCOWManager(worker.executor, library=library)
        with pytest.raises(CommandError, match=reason):
            manager.create_overlay(HOST, "vm1", str(base))

    def test_a_qemu_img_that_works(self, tmp_path: Path, base: Path, library: ImageLibrary) -> None:
        path = programs_folder(tmp_path / "bin")
        broken = Path(path, "qemu-img")
        sh = shutil.which("sh")
        broken.write_text(f"#!{sh}\necho 'qemu-img: cannot do it' >&2\nexit 3\n")
        broken.chmod(0o755)
        worker = Worker(tmp_path / "home", PATH=path)
        manager = QCOWManager(worker.executor, library=library)
        with pytest.raises(CommandError, match="status 3, qemu-img: cannot do it"):
            manager.create_overlay(HOST, "vm1", str(base))
        assert worker.files() == [".base.img.sha256", "base.img"]


def test_the_flavors_images_are_in_the_catalogue(library: ImageLibrary) -> None:
    files = {name: image.file for name, image in library.catalogue.items()}
    assert files == {name: Path(flavor.image).name for name, flavor in FLAVORS.items()}


def test_a_bad_base_dir_is_refused(worker: Worker) -> None:
    bad: Callable[[object], QCOWManager] = lambda value: QCOWManager(worker.executor, value)  # type: ignore[arg-type]  # noqa: E731
    for value in ("", "~/a b", "~/../x", "$(id)", "*", None):
        with pytest.raises(InvalidArgument):
            bad(value)
