"""The qcow2 reader judges images of the real qemu-img, cut-off ones, and arbitrary bytes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disk_images import MIB, make_base, needs_qemu_img, qemu_img
from labkit.programs.qcow2 import Header, NotUsable, check_base, read_header, what_it_seems
from labkit.simulator import qcow2_files

pytestmark = [pytest.mark.qemu_img, needs_qemu_img]

CONTENT = bytes(range(1, 256)) * 12_000  # 3 MB without a zero, compressible


def judge(path: Path) -> Header:
    with path.open("rb") as file:
        return check_base(file, path.stat().st_size)


def convert(path: Path, *options: str, size: int = 40 * MIB) -> Path:
    """A raw disk with data at its start and its very end, as qcow2 with these options."""
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        file.write(CONTENT)
        file.seek(size - 700)
        file.write(b"e" * 700)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, raw, path)
    return path


OPTIONS: list[tuple[str, ...]] = [
    (),
    ("-o", "compat=0.10"),
    ("-o", "cluster_size=512"),
    ("-o", "cluster_size=2M"),
    ("-o", "extended_l2=on"),
    ("-o", "preallocation=metadata"),
    ("-o", "preallocation=full"),
    ("-o", "refcount_bits=64"),
    ("-c",),
    ("-c", "-o", "compression_type=zstd"),
    ("-c", "-o", "cluster_size=4096"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("size", [40 * MIB, 40 * MIB + 1536])
def test_a_whole_image_is_usable(tmp_path: Path, options: tuple[str, ...], size: int) -> None:
    image = convert(tmp_path / "image.qcow2", *options, size=size)
    info = json.loads(qemu_img("info", "--output=json", image))
    header = judge(image)
    assert header.size == info["virtual-size"] == size
    assert 1 << header.cluster_bits == info["cluster-size"]
    assert (header.version == 2) == (info["format-specific"]["data"]["compat"] == "0.10")
    assert header.backing_file is None


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_a_truncated_image_is_not(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = convert(tmp_path / "image.qcow2", *options)
    length = image.stat().st_size
    cluster = 1 << judge(image).cluster_bits
    # what QEMU may leave off is less than the last cluster
    for keep in (length - cluster - 1, length // 2, length // 10, 70_000, 110, 103, 71, 4, 3, 1):
        if keep < length - cluster:
            with image.open("r+b") as file:
                file.truncate(keep)
            with pytest.raises(NotUsable):
                judge(image)


@pytest.mark.parametrize("megabytes", [0, 1, 3, 1000, 10**7])
def test_an_empty_disk_of_any_size_is_usable(tmp_path: Path, megabytes: int) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "empty.qcow2", f"{megabytes}M")
    assert judge(tmp_path / "empty.qcow2").size == megabytes * MIB


def test_an_overlay_tells_its_base(tmp_path: Path) -> None:
    make_base(tmp_path / "base.img")
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", "base.img", "-F", "qcow2", overlay, "1G")
    with overlay.open("rb") as file:
        header = read_header(file)
    assert (header.backing_file, header.backing_format) == ("base.img", "qcow2")
    assert header.size == 1024 * MIB


def backed(path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", path, "1M")


def external(path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={path}.data", path, "1M")


def patched(path: Path, offset: int, value: bytes) -> None:
    """An empty image with these bytes in its header."""
    qemu_img("create", "-f", "qcow2", path, "1M")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)


def encrypted(path: Path) -> None:
    patched(path, 35, b"\x02")  # LUKS; qemu-img needs an idle machine to make such an image


def corrupt(path: Path) -> None:
    patched(path, 79, b"\x02")


def from_the_future(path: Path) -> None:
    patched(path, 72, b"\x80")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (backed, "names a backing file, '/etc/shadow'"),
        (external, "its data is in another file"),
        (encrypted, "encrypted"),
        (corrupt, "corrupt"),
        (from_the_future, "a feature of qcow2 that labkit does not know"),
    ],
)
def test_an_image_that_does_not_stand_alone_is_refused(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / "image.qcow2")
    with pytest.raises(NotUsable, match=reason):
        judge(tmp_path / "image.qcow2")


@pytest.mark.parametrize(
    ("start", "meaning"),
    [
        (b"", "an empty file"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"\xfd7zXZ\0", "an xz archive"),
        (b" \n<!DOCTYPE HTML><html>", "a web page"),
        (b"<html><body>404", "a web page"),
        (b"KDMV", "a VMDK image"),
        (bytes(0x8001) + b"CD001", "a CD image"),
        (bytes(510) + b"\x55\xaa", "a raw disk image"),
        (bytes(0x438) + b"\x53\xef" + bytes(100), "a raw ext file system"),
        (bytes(4096), "zeros"),
        (b"anything", "something else"),
    ],
)
def test_what_is_no_image_is_named(start: bytes, meaning: str) -> None:
    assert what_it_seems(start).startswith(meaning)
    with pytest.raises(NotUsable, match=meaning):
        check_base(io.BytesIO(start), len(start))


IMAGE = qcow2_files.make_with_data(20 * MIB, {0: b"data" * 1000, 200: b"more"})


@given(st.binary(max_size=300))
@example(b"QFI\xfb")
@example(b"QFI\xfb" + b"\xff" * 200)
@example(b"QFI\xfb\0\0\0\x03" + bytes(96))
def test_arbitrary_bytes_are_judged_without_a_crash(data: bytes) -> None:
    for content in (data, b"QFI\xfb" + data, b"QFI\xfb\0\0\0\x03" + data):
        with pytest.raises(NotUsable):
            check_base(io.BytesIO(content), len(content))


@given(
    st.lists(st.tuples(st.integers(0, 111), st.integers(0, 255)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, len(IMAGE) - 1), st.integers(0, 255)), max_size=20),
)
def test_a_damaged_image_is_judged_without_a_crash(
    header: list[tuple[int, int]], rest: list[tuple[int, int]]
) -> None:
    image = bytearray(IMAGE)
    for place, value in header + rest:
        image[place] = value
    with contextlib.suppress(NotUsable):
        assert check_base(io.BytesIO(image), len(image)).backing_file is None


@given(st.integers(0, len(IMAGE) - 1))
def test_a_cut_is_found_wherever_it_is(length: int) -> None:
    cluster = 65536
    if length >= len(IMAGE) - cluster:
        return
    with pytest.raises(NotUsable):
        check_base(io.BytesIO(IMAGE[:length]), length)
