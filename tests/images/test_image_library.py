"""The image library: what is added is whole, checked, and stays as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import labkit
from disk_images import MIB, make_base, needs_qemu_img, sha256
from labkit.errors import (
    BaseImageInvalid,
    BaseImageMissing,
    DuplicateError,
    ImageError,
    InvalidArgument,
    UnknownImage,
)
from labkit.executor import LocalFiles
from labkit.images.library import ImageLibrary
from labkit.images.source import BaseImages

pytestmark = [pytest.mark.qemu_img, needs_qemu_img]


@pytest.fixture
def library(tmp_path: Path) -> ImageLibrary:
    return ImageLibrary(tmp_path / "library")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = make_base(tmp_path / "my-disk.img")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 3 * MIB)
    return path


def files(library: ImageLibrary) -> list[str]:
    return sorted(
        str(path.relative_to(library.folder))
        for path in library.folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


def test_an_image_is_added_looked_up_and_removed(library: ImageLibrary, base: Path) -> None:
    assert library.list() == ()
    image = library.add("mine", base)
    assert (image.name, image.file) == ("mine", "my-disk.img")
    assert image.sha256 == sha256(base) == sha256(Path(image.path))
    assert (image.size, image.virtual_size) == (base.stat().st_size, 64 * MIB)
    copy = Path(image.path).stat()
    assert copy.st_mode & 0o777 == 0o444
    assert copy.st_blocks * 512 < 2 * MIB
    assert ImageLibrary(library.folder).list() == (image,) == (library.info("mine"),)
    assert library.path("mine") == image.path == f"{library.folder}/mine/my-disk.img"
    library.remove("mine")
    assert library.list() == ()
    assert files(library) == []


def test_the_same_again_is_fine_and_other_content_is_not(library: ImageLibrary, base: Path) -> None:
    image = library.add("mine", base)
    assert library.add("mine", base) == image
    other = make_base(base.with_name("other.img"), data=b"other")
    with pytest.raises(DuplicateError, match="labkit image rm mine"):
        library.add("mine", other)
    assert library.list() == (image,)
    assert files(library) == ["mine/image.json", "mine/my-disk.img"]


def test_what_is_no_image_is_refused(library: ImageLibrary, base: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseImageMissing, match="nowhere"):
        library.add("mine", tmp_path / "nowhere.img")
    with base.open("r+b") as file:
        file.truncate(300_000)
    with pytest.raises(BaseImageInvalid, match="truncated"):
        library.add("mine", base)
    (tmp_path / "page.img").write_text("<html>")
    with pytest.raises(BaseImageInvalid, match="a web page"):
        library.add("mine", tmp_path / "page.img")
    with pytest.raises(ImageError, match="directory"):
        library.add("mine", tmp_path)
    assert library.list() == ()
    assert files(library) == []


@pytest.mark.parametrize("name", ["../x", "a b", "", "x/y", "-rf", ".new"])
def test_names_are_plain(library: ImageLibrary, base: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        library.add(name, base)
    for ask in (library.info, library.path, library.pull, library.remove):
        with pytest.raises(InvalidArgument):
            ask(name)


def test_what_is_not_there_says_what_is(library: ImageLibrary, base: Path) -> None:
    library.add("mine", base)
    for ask in (library.info, library.remove, library.path):
        with pytest.raises(UnknownImage, match=r"the library has mine\. Download one of cirros"):
            ask("yours")
    with pytest.raises(BaseImageMissing, match="labkit image pull cirros") as caught:
        library.path("cirros")
    assert "labkit image add cirros FILE" in str(caught.value)


def test_what_a_crash_left_is_removed(library: ImageLibrary, base: Path) -> None:
    for left in (".new", ".old"):
        (library.folder / left).mkdir(parents=True)
        (library.folder / left / "file").write_text("left")
    library.add("mine", base)
    assert files(library) == ["mine/image.json", "mine/my-disk.img"]


def test_a_damaged_record_is_an_error(library: ImageLibrary, base: Path) -> None:
    image = library.add("mine", base)
    for damage in ("{", "[]", "{}", json.dumps({"file": "x"})):
        (Path(image.path).parent / "image.json").write_text(damage)
        with pytest.raises(ImageError, match="cannot be read"):
            library.info("mine")


def test_the_recorded_sha256_is_used_while_the_file_is_the_same(
    library: ImageLibrary, base: Path
) -> None:
    image = library.add("mine", base)
    assert library.recorded_sha256(image.path) == image.sha256
    assert library.recorded_sha256(str(base)) is None
    record = Path(image.path).parent / "image.json"
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "sha256": "recorded"}))
    found = BaseImages(LocalFiles(), library).find(image.path)
    assert found is not None
    assert found.sha256 == "recorded"
    os.utime(image.path)
    found = BaseImages(LocalFiles(), library).find(image.path)
    assert found is not None
    assert found.sha256 == image.sha256


def test_the_data_directory_can_be_chosen(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(BaseImageMissing):
        labkit.image_path("cirros")
    image = ImageLibrary().add("cirros", base)
    assert labkit.image_path("cirros") == image.path
    assert image.path.startswith(str(tmp_path / "data" / "images"))
    monkeypatch.delenv("LABKIT_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert str(ImageLibrary().folder) == str(tmp_path / "xdg" / "labkit" / "images")
