"""The simulated images are real QCOW2 files, and the simulated qemu-img treats them as such."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from labkit.model import FLAVORS
from labkit.programs.qcow2 import check_base
from labkit.simulator import qcow2_files
from labkit.simulator.executor import SimulatedExecutor
from labkit.simulator.manager import BASE_SIZES

HOST = "10.0.10.1"
real_qemu_img = [
    pytest.mark.qemu_img,
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="apt install qemu-utils"),
]


def qemu_img(folder: Path, *arguments: str) -> bytes:
    command = ("qemu-img", *arguments)
    return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout


class TestAgainstTheRealOne:
    pytestmark = real_qemu_img

    @pytest.mark.parametrize("size", [512, 2**20, 2**29, 2**29 + 512, 2361393152, 5 * 2**40])
    @pytest.mark.parametrize("backing", [None, "base.img", "a-long-name-" * 8])
    def test_an_empty_image_is_the_same_byte_for_byte(
        self, tmp_path: Path, size: int, backing: str | None
    ) -> None:
        if backing:
            qemu_img(tmp_path, "create", "-q", "-f", "qcow2", backing, "1M")
        base = ("-b", backing, "-F", "qcow2") if backing else ()
        qemu_img(tmp_path, "create", "-q", "-f", "qcow2", *base, "real", str(size))
        real = (tmp_path / "real").read_bytes()
        assert qcow2_files.make(size, backing) == real

    @pytest.mark.parametrize("name", FLAVORS)
    def test_the_base_images_are_whole(self, tmp_path: Path, name: str) -> None:
        content = SimulatedExecutor().manager.open(FLAVORS[name].image).read()
        (tmp_path / "base.img").write_bytes(content)
        check = json.loads(qemu_img(tmp_path, "check", "--output=json", "base.img"))
        assert (check["check-errors"], check.get("leaks", 0)) == (0, 0)
        info = json.loads(qemu_img(tmp_path, "info", "--output=json", "base.img"))
        assert (info["format"], info["virtual-size"]) == ("qcow2", BASE_SIZES[name])

    def test_data_reads_back_as_it_was_put_in(self, tmp_path: Path) -> None:
        clusters = {0: b"first" * 100, 8192: b"second" * 100}
        image = qcow2_files.make_with_data(2**30, clusters)
        (tmp_path / "image").write_bytes(image)
        qemu_img(tmp_path, "check", "image")
        qemu_img(tmp_path, "convert", "-f", "qcow2", "-O", "raw", "image", "raw")
        with (tmp_path / "raw").open("rb") as raw:
            assert raw.read(500) == clusters[0]
            raw.seek(8192 * 65536)
            assert raw.read(600) == clusters[8192]

    def test_a_simulated_overlay_is_accepted(self, tmp_path: Path) -> None:
        executor = SimulatedExecutor()
        script = (
            "qemu-img create -f qcow2 base 1M && qemu-img create -f qcow2 -b base -F qcow2 o 2G"
        )
        executor.run(HOST, ("sh", "-c", script)).check()
        for name in ("base", "o"):
            (tmp_path / name).write_bytes(executor.get(HOST, f"~/{name}"))
        qemu_img(tmp_path, "check", "o")
        info = json.loads(qemu_img(tmp_path, "info", "--output=json", "o"))
        assert (info["virtual-size"], info["backing-filename"]) == (2**31, "base")

    @pytest.mark.parametrize(
        "line",
        [
            "qemu-img create -f qcow2 a 1G",
            "qemu-img create -f qcow2 -b base -F qcow2 a",
            "qemu-img create -f qcow2 -b base -F qcow2 a 2.2G",
            "qemu-img create -f qcow2 -b absent -F qcow2 a",
            "qemu-img create -f qcow2 -b base a",
            "qemu-img create -f qcow2 a",
            "qemu-img create -q -f qcow2 a 100k; qemu-img check a",
            "qemu-img check absent",
            "qemu-img info absent",
            "qemu-img create -q -f qcow2 no/such/folder 1M",
        ],
    )
    def test_it_says_what_the_real_one_says(self, tmp_path: Path, line: str) -> None:
        qemu_img(tmp_path, "create", "-q", "-f", "qcow2", "base", "64M")
        real = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True)
        executor = SimulatedExecutor()
        executor.worker(HOST).files.write("~/base", qcow2_files.make(64 * 2**20))
        simulated = executor.run(HOST, ("sh", "-c", line))
        assert simulated.returncode == real.returncode
        assert bool(simulated.stderr) == bool(real.stderr)
        assert simulated.text.splitlines()[:1] == real.stdout.decode().splitlines()[:1]


def test_the_manager_has_a_usable_base_image_for_every_flavor() -> None:
    manager = SimulatedExecutor().manager
    assert sorted(manager.paths()) == sorted(flavor.image for flavor in FLAVORS.values())
    for name, flavor in FLAVORS.items():
        content = manager.open(flavor.image).read()
        assert check_base(io.BytesIO(content), len(content)).size == BASE_SIZES[name]
        assert BASE_SIZES[name] <= flavor.to_dict()["disk_gb"] * 2**30


def test_the_managers_files_can_be_changed_and_their_identity_tells() -> None:
    manager = SimulatedExecutor().manager
    path = FLAVORS["cirros"].image
    seen = {manager.identity(path)}
    manager.truncate(path, 1000)
    seen.add(manager.identity(path))
    manager.add(path, b"x" * 1000)
    seen.add(manager.identity(path))
    assert len(seen) == 3
    manager.remove(path)
    assert manager.identity(path) is None
    with pytest.raises(FileNotFoundError):
        manager.open(path)
    manager.add_base("~/images/mine.img")
    assert manager.identity("/root/images/mine.img") == manager.identity("~/images/mine.img")


def test_extents_leave_out_holes_and_nothing_else() -> None:
    manager = SimulatedExecutor().manager
    content = b"a" * 5000 + bytes(100_000) + b"b" + bytes(5000)
    manager.add("/tmp/sparse", content)
    file = manager.open("/tmp/sparse")
    extents = list(manager.extents(file, 0))
    rebuilt = bytearray(len(content))
    for offset, length in extents:
        rebuilt[offset : offset + length] = content[offset : offset + length]
    assert bytes(rebuilt) == content
    assert sum(length for _, length in extents) < 20_000
    assert list(manager.extents(file, 100_000)) == extents[1:]
    assert list(manager.extents(file, len(content))) == []


def test_check_finds_a_file_that_is_cut_off() -> None:
    executor = SimulatedExecutor()
    image = qcow2_files.make_with_data(2**20, {0: b"data"})
    executor.worker(HOST).files.write("~/image", image[:-1])
    assert executor.run(HOST, ("qemu-img", "check", "image")).returncode == 2
