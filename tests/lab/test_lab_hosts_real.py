"""Hosts that are not what a lab needs: full, bare, badly placed, or robbed of what they had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.errors import (
    BaseImageInvalid,
    BaseImageMissing,
    GuestHung,
    GuestNotReady,
    LabkitError,
    ProgramMissing,
    StewardError,
    StoreError,
)
from labkit.testing.processes import eventually
from real_lab import (
    IN_REACH,
    RealLab,
    again,
    kill,
    processes_in,
    real_lab,
    rows_left,
    well,
)

pytestmark = IN_REACH


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of its own, in the place of a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "small", folder], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, name: str = "filler") -> Path:
    """Leave no byte free."""
    path = folder / name
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return path


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="lk", dir="/tmp"))
    yield made
    shutil.rmtree(made)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")


@needs_root
def test_a_full_run_folder_is_told_and_delete_needs_no_room(folder: Path) -> None:
    with small_disk(folder / "run", 2048) as run, real_lab(folder=folder) as lab:
        filler = fill(run)
        net = lab.pair()
        with pytest.raises(StewardError, match=r"cannot start the steward .*No space left"):
            net.deploy()
        filler.unlink()
        net.deploy()
        well(net)
        filler = fill(run)
        net.change_vm("a", memory_mb=192)
        with pytest.raises(LabkitError, match="No space left"):
            net.deploy()
        net.delete()
        assert list(run.iterdir()) == [filler]
        filler.unlink()


@needs_root
def test_a_full_data_folder_is_told_and_nothing_is_lost(folder: Path) -> None:
    with small_disk(folder / "data", 512) as data, real_lab(folder=folder) as lab:
        net = lab.pair()
        net.deploy()
        wish = net.wish
        filler = fill(data)
        with pytest.raises(StoreError, match="full"):  # noqa: PT012 - as much as there is room for
            for number in range(1000):
                net.change_vm("a", commands=[f"echo {number:01000d}"])
        with pytest.raises(StoreError, match="full"):
            net.delete()
        net.refresh()
        assert set(net.states.values()) == {"running"}
        filler.unlink()
        net.set_wish(wish)
        net.deploy()
        well(net)


def test_without_qemu_nothing_is_done_and_the_message_says_how_to_get_it(folder: Path) -> None:
    bare = folder / "bin"
    bare.mkdir()
    for program in ("cat", "test", "printenv", "mkdir", "qemu-img"):
        (bare / program).symlink_to(shutil.which(program) or "/nowhere")
    (bare / "python3").symlink_to(sys.executable)
    with real_lab({"PATH": str(bare)}) as lab:
        net = lab.pair()
        with pytest.raises(ProgramMissing, match="apt install qemu-system-x86"):
            net.deploy()
        assert not lab.slice_folder(net).exists()


def test_a_run_folder_with_a_long_path_is_refused(folder: Path) -> None:
    long = folder / ("long" * 25)
    with real_lab({"LABKIT_RUN_DIR": str(long)}) as lab:
        net = lab.pair()
        with pytest.raises(StewardError, match=r"path too long: .* Set LABKIT_RUN_DIR"):
            net.deploy()
        assert not long.exists()


def test_a_base_image_that_is_broken_or_absent_is_told_before_anything_is_done(
    folder: Path,
) -> None:
    broken = folder / "broken.qcow2"
    broken.write_bytes(b"QFI\xfb" + bytes(40))
    with real_lab() as lab:
        net = lab.slice("net")
        net.add_vm("a", flavor="cirros", image=str(folder / "absent.img"))
        with pytest.raises(BaseImageMissing, match=r"absent\.img"):
            net.deploy()
        net.change_vm("a", image=str(broken))
        with pytest.raises(BaseImageInvalid, match=r"broken\.qcow2"):
            net.deploy()
        assert not lab.slice_folder(net).exists()


def test_a_disk_that_does_not_boot_is_no_reason_to_wait(folder: Path) -> None:
    """Nothing is known of what runs on a disk that is not ours: its console tells."""
    blank = folder / "blank.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", blank, "16M"], check=True)
    with real_lab() as lab:
        net = lab.slice("net")
        net.add_vm("a", flavor="cirros", image=str(blank), disk_gb=1)
        net.deploy()
        assert dict(net.states) == {"a": "running"}
        disk = lab.disks / f"{net['a'].place.overlay}_img.qcow2"
        assert disk.exists()
        kill(lab.pid(net, "a"))
        kill(lab.steward_pid(net))
        disk.write_bytes(b"broken")
        shown = net.plan()
        said = shown[shown["kind"] == "delete overlay"]["reason"].iloc[0]
        assert said == "it cannot be read; what is on the disk is lost"
        net.deploy()
        assert dict(net.states) == {"a": "running"}
        net.delete()
        assert not disk.exists()
        # The base image is every slice's: it stays, with what is known of it.
        for name in ("blank.qcow2", ".blank.qcow2.sha256"):
            (lab.disks / name).unlink()


def test_a_run_folder_removed_behind_our_back(folder: Path) -> None:
    with real_lab() as lab:
        net = lab.pair()
        net.deploy()
        old = processes_in(lab.folder)
        assert len(old) == 3
        shutil.rmtree(lab.slice_folder(net))
        # Nobody can find these machines again, so they end, and their steward with them.
        assert eventually(lambda: not set(old) & set(processes_in(lab.folder)))
        assert list(net.refresh()["state"]) == ["absent", "absent"]
        again(lab, lambda other: well_again(other))
        net.refresh()
        well(net)


def well_again(lab: RealLab) -> None:
    net = lab.slice("net")
    net.deploy()
    well(net)


def test_a_host_that_was_started_anew_has_nothing_and_gets_all_again() -> None:
    with real_lab() as lab:
        net = lab.pair()
        net.deploy()
        places = [vm.place for vm in net]
        for pid in processes_in(lab.folder):
            kill(pid)
        shutil.rmtree(lab.run_dir)
        lab.run_dir.mkdir()
        assert list(net.refresh()["state"]) == ["absent", "absent"]
        net.deploy()
        assert [vm.place for vm in net] == places
        well(net)
        for pid in processes_in(lab.folder):
            kill(pid)
        shutil.rmtree(lab.run_dir)
        lab.run_dir.mkdir()
        net.delete()
        assert rows_left(lab.store.path) == {}


def test_a_guest_that_cannot_boot_is_told_soon_and_can_be_mended() -> None:
    """A system that reboots again and again: what it says is in the message."""
    with real_lab() as lab:
        net = lab.slice("net")
        net.add_vm("a", commands=["echo rebooting > /dev/console; reboot -f; sleep 60"])
        with pytest.raises(LabkitError, match="rebooted"):
            net.deploy()
        assert dict(net.states) == {"a": "running"}
        net.change_vm("a", commands=[])
        net.deploy()
        assert net["a"].run("true").ok


@pytest.mark.slow
def test_a_guest_that_hangs_is_told_and_started_anew() -> None:
    with real_lab() as lab:
        net = lab.slice("net")
        net.add_vm("a")
        net.deploy()
        with pytest.raises(GuestHung):
            net["a"].run("kill -STOP $PPID; sleep 60", timeout=None)
        with pytest.raises((GuestHung, GuestNotReady)):
            net["a"].run("true", timeout=5)
        net.reset("a")
        assert net["a"].run("true").ok
