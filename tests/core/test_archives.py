"""Archives of guests are unpacked inside their target, on old Pythons as on new ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from labkit.archives import checked, unpack
from labkit.errors import TransferError


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> tarfile.TarFile:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, to, 0o755
    return info


def test_files_folders_and_links_inside_arrive(tmp_path: Path) -> None:
    with packed(
        (member(".", tarfile.DIRTYPE), b""),
        (member("./a", tarfile.DIRTYPE), b""),
        (member("./a/file"), b"content"),
        (member("./link", tarfile.SYMTYPE, "a/file"), b""),
    ) as archive:
        assert len(list(checked(archive))) == 4
        unpack(archive, tmp_path)
    assert (tmp_path / "link").read_bytes() == b"content"


@pytest.mark.parametrize(
    "bad",
    [
        member("../out"),
        member("/etc/passwd"),
        member("a/../../out"),
        member("link", tarfile.SYMTYPE, "../../out"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "../out"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.linkname}",
)
def test_what_would_leave_the_target_is_refused(bad: tarfile.TarInfo) -> None:
    with packed((bad, b"")) as archive, pytest.raises(TransferError, match="cannot unpack"):
        list(checked(archive))


def test_a_file_behind_a_link_is_refused() -> None:
    behind = (member("link", tarfile.SYMTYPE, "a"), b""), (member("link/file"), b"x")
    with packed(*behind) as archive, pytest.raises(TransferError, match="outside"):
        list(checked(archive))


def test_the_filter_of_new_pythons_refuses_too(tmp_path: Path) -> None:
    with packed((member("../out"), b"x")) as archive, pytest.raises(TransferError):
        unpack(archive, tmp_path / "target")
    assert not (tmp_path / "out").exists()
