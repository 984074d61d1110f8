"""cpio, ar, tar, LZ4 and ELF, read and written in plain Python."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import PackageInvalid
from labkit.micro import cpio, debs, elf, lz4, modules, tree
from labkit.micro.layers import applets, assemble, guest_files, merged
from labkit.micro.tree import Tree

names = st.from_regex(r"(/[a-z0-9é._-]{1,8}){1,3}", fullmatch=True)
nodes = st.one_of(
    st.builds(tree.file, st.binary(max_size=40), st.sampled_from([0o644, 0o755])),
    st.builds(tree.link, st.from_regex(r"[a-z/]{1,9}", fullmatch=True)),
    st.builds(tree.folder),
)


def read_cpio(archive: bytes) -> Tree:
    """A reader written from the format's description, apart from the writer."""
    found: Tree = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, uid, gid, mtime, size, length = (numbers[n] for n in (1, 2, 3, 5, 6, 11))
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert len(archive) % 512 == 0
            return found
        assert (uid, gid, mtime) == (0, 0, 0)
        found["/" + name] = tree.Node(mode, archive[start : start + size])
        at = (start + size + 3) // 4 * 4


@given(st.dictionaries(names, nodes, max_size=8))
def test_an_archive_holds_the_tree_and_does_not_depend_on_its_order(files: Tree) -> None:
    archive = cpio.archive(files)
    assert read_cpio(archive) == files
    assert list(read_cpio(archive)) == sorted(files)
    assert cpio.archive(dict(reversed(files.items()))) == archive


@given(st.dictionaries(names, nodes, max_size=8))
def test_every_file_has_its_folders_before_it(files: Tree) -> None:
    order = list(read_cpio(cpio.archive(tree.with_parents(files))))
    for path in order:
        parent = path.rpartition("/")[0]
        assert not parent or order.index(parent) < order.index(path)


def ar(*members: tuple[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, body in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode() + body
        out += b"\n" * (len(body) % 2)
    return out


def tarball() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, target, body in (
            ("./", tarfile.DIRTYPE, "", b""),
            ("./usr/bin/", tarfile.DIRTYPE, "", b""),
            ("./usr/bin/tool", tarfile.REGTYPE, "", b"program"),
            ("./usr/bin/again", tarfile.LNKTYPE, "./usr/bin/tool", b""),
            ("./usr/bin/link", tarfile.SYMTYPE, "tool", b""),
            ("./dev/null", tarfile.CHRTYPE, "", b""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, target, len(body), 0o755
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_a_package_is_unpacked(suffix: str, pack: type[bytes]) -> None:
    deb = ar(
        ("debian-binary", b"2.0"),
        ("control.tar.xz/", b"odd"),
        (f"data.tar{suffix}", pack(tarball())),
    )
    assert debs.files(deb, "p") == {
        "/usr/bin": tree.folder(),
        "/usr/bin/tool": tree.program(b"program"),
        "/usr/bin/again": tree.program(b"program"),
        "/usr/bin/link": tree.link("tool"),
    }


@pytest.mark.parametrize(
    ("deb", "why"),
    [
        (b"rubbish", "not an ar archive"),
        (ar(("debian-binary", b"2.0")), "no data.tar"),
        (ar(("data.tar.xz", lzma.compress(tarball())))[:-9], "middle of a member"),
        (ar(("data.tar.xz", b"rubbish")), "cannot be read"),
        (ar(("data.tar", b"rubbish" * 200)), "tar archive is broken"),
        (ar(("data.tar.zst", b"")), "packed as zst"),
    ],
)
def test_a_broken_package_says_what_is_wrong(deb: bytes, why: str) -> None:
    with pytest.raises(PackageInvalid, match=f"cannot unpack the package p.*{why}"):
        debs.files(deb, "p")


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "bb.x", "data"]), st.binary(max_size=9)),
        unique_by=lambda m: m[0],
    )
)
def test_members_of_an_archive_come_back(members: list[tuple[str, bytes]]) -> None:
    assert debs.members(ar(*members)) == dict(members)


def length_bytes(number: int) -> bytes:
    return b"\xff" * ((number - 15) // 255) + bytes([(number - 15) % 255]) if number >= 15 else b""


def block(parts: list[tuple[bytes, int, int]], last: bytes) -> tuple[bytes, bytes]:
    """An LZ4 block of (literals, distance, length) and what it must unpack to."""
    packed, plain = b"", bytearray()
    for literals, distance, length in parts:
        plain += literals
        distance = 1 + distance % max(len(plain), 1)
        for _ in range(length):
            plain.append(plain[-distance])
        packed += bytes([min(len(literals), 15) << 4 | min(length - 4, 15)])
        packed += length_bytes(len(literals)) + literals + distance.to_bytes(2, "little")
        packed += length_bytes(length - 4)
    packed += bytes([min(len(last), 15) << 4]) + length_bytes(len(last)) + last
    return packed, bytes(plain) + last


@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=300), st.integers(0, 500), st.integers(4, 600)),
        max_size=5,
    ),
    st.binary(max_size=300),
)
def test_lz4_unpacks_runs_and_overlapping_copies(
    parts: list[tuple[bytes, int, int]], last: bytes
) -> None:
    packed, plain = block(parts, last)
    assert lz4.unpack_block(packed) == plain
    frame = lz4.MAGIC + len(packed).to_bytes(4, "little") + packed
    assert lz4.unpack_frame(frame) == plain
    assert lz4.unpack_frame(frame + b"size") == plain


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        lz4.MAGIC + b"\x09\0\0\0ab",
        lz4.MAGIC + b"\x02\0\0\0\xf0\xff",
        lz4.MAGIC + b"\x05\0\0\0\x10a\x09\0\x01",
    ],
)
def test_broken_lz4_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        lz4.unpack_frame(data)


def test_the_libraries_of_a_real_program_are_found() -> None:
    found = elf.needed(Path(sys.executable).resolve().read_bytes())
    assert any(name.startswith("ld-linux") for name in found)
    assert "libc.so.6" in found


def test_what_is_no_program_needs_nothing() -> None:
    assert elf.needed(b"#!/bin/sh\n" * 20) == []
    assert elf.needed(b"\x7fELF") == []


def wrapper(payload: bytes) -> bytes:
    head = bytearray(0x400)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload


KERNEL = b"\x7fELF\x02" + bytes(range(200))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_kernel_comes_out_of_its_wrapper(pack: type[bytes]) -> None:
    size = len(KERNEL).to_bytes(4, "little")
    assert elf.kernel(wrapper(pack(KERNEL) + size)) == KERNEL


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"x" * 900, "not a Linux kernel"),
        (wrapper(b"\x28\xb5\x2f\xfd"), "packed in a way other"),
        (wrapper(gzip.compress(b"text") + b"size"), "not an ELF file"),
    ],
)
def test_a_kernel_that_cannot_be_taken_out_says_why(image: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        elf.kernel(image)


def test_a_module_loses_its_signature_only() -> None:
    magic = b"~Module signature appended~\n"
    assert modules.unsigned(b"code" + b"sig" + bytes(8) + struct.pack(">I", 3) + magic) == b"code"
    assert modules.unsigned(b"code") == b"code"


def test_modules_are_loaded_after_what_they_need() -> None:
    def module(*needs: str) -> tree.Node:
        return tree.file(b"\0depends=" + ",".join(needs).encode() + b"\0alias=pci:x\0")

    every = {name: module() for name in (*modules.BOOT, *modules.ON_DEMAND)}
    every |= {"virtio_pci": module("virtio", "virtio-ring"), "virtio": module("virtio_ring")}
    every |= {"virtio-ring": module(), "unused": module()}
    found = modules.select({f"/lib/{n}.ko": node for n, node in every.items()}, "6")
    order = found["/usr/lib/labkit/modules"].data.decode().split()
    base = "/usr/lib/modules/6"
    assert order[:3] == [f"{base}/{n}.ko" for n in ("virtio_ring", "virtio", "virtio_pci")]
    lines = found[f"{base}/modules.dep"].data.decode().splitlines()
    assert "virtio_pci.ko: virtio.ko virtio_ring.ko" in lines
    assert f"{base}/unused.ko" not in found


def test_a_kernel_without_a_module_is_refused() -> None:
    with pytest.raises(PackageInvalid, match="has no module virtio_pci"):
        modules.select({}, "6")


def test_the_programs_of_busybox_are_read_from_it() -> None:
    table = b"x\0b\0[\0[[\0ar\0ash\0busybox\0dpkg\0zcat\0ash\0later\0"
    assert applets(table) == ["[", "[[", "ar", "ash", "zcat"]


def test_programs_lie_in_one_folder() -> None:
    assert merged("/sbin/ip") == merged("/bin/ip") == merged("/usr/sbin/ip") == "/usr/bin/ip"
    assert merged("/lib/x/y.so") == "/usr/lib/x/y.so"
    assert merged("/etc/bin/x") == "/etc/bin/x"


def test_packages_without_a_kernel_are_refused() -> None:
    with pytest.raises(PackageInvalid, match="no kernel"):
        assemble(["dash"], lambda _name: {})


def test_every_file_of_the_guest_is_in_the_image() -> None:
    here = Path(str(modules.__file__)).parent / "guest"
    expected = {path.name for path in here.iterdir() if path.suffix != ".md"}
    assert {path.rpartition("/")[2] for path in guest_files()} == expected
