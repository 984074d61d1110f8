"""Images that are there: found, listed, removed, installed as a wheel; without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from labkit.cli import main
from labkit.errors import (
    InvalidArgument,
    MirrorUnreachable,
    PackageInvalid,
    SystemImageDamaged,
    UnknownImage,
)
from labkit.events import Event, ImageBuildStage, ImageBuilt
from labkit.micro import build_micro, ensure, find_micro, list_micro, remove_micro
from labkit.micro.fetch import exclusive
from labkit.micro.image import ENTRY_POINTS, LOCK_FILE, key_of, shipped_lock
from labkit.micro.packages import Lock, write_lock
from labkit.micro.whole import STAMPS

NO_MIRROR = "http://127.0.0.1:9/debian"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing: no image, no packages, no mirror."""
    monkeypatch.setenv("LABKIT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LABKIT_MIRROR", NO_MIRROR)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data" / "micro"


def place(folder: Path, lock: Lock, *, key: str | None = None) -> None:
    """Files as a build leaves them."""
    folder.mkdir(parents=True)
    record = {"key": key or key_of(lock)}
    for file, name, content in (("vmlinux", "kernel", b"k"), ("initrd.cpio", "initrd", b"i")):
        (folder / file).write_bytes(content * 100)
        record[f"{name}_sha256"] = hashlib.sha256(content * 100).hexdigest()
    (folder / "image.json").write_text(json.dumps(record))


def built(home: Path, lock: Lock) -> None:
    place(home / key_of(lock)[:16], lock)
    if lock != shipped_lock():
        (home / LOCK_FILE).write_text(write_lock(lock))


def with_added(*names: str) -> Lock:
    packages = shipped_lock().packages
    return Lock(packages, names, names)


def install(site: Path, lock: Lock, *, key: str | None = None) -> None:
    """What pip leaves of a wheel with an image."""
    place(site / "some_image", lock, key=key)
    (site / "some_image" / "__init__.py").write_text("raise SystemExit('it was run')\n")
    (site / "some_image" / LOCK_FILE).write_text(write_lock(lock))
    info = site / "some_image-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: some-image\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nmicro = some_image\n")


def test_the_golden_sums_are_those_of_the_image_that_is_built_now() -> None:
    """They are checked against a real build by the slow tests, which also write them."""
    golden = json.loads((Path(__file__).parents[1] / "golden" / "micro.json").read_text())
    update = "pytest tests/micro/test_micro_build.py --update-golden"
    assert golden["key"] == key_of(shipped_lock()), f"the image has changed: run {update}"


def test_what_was_built_is_found_and_nothing_is_made(data: Path) -> None:
    assert find_micro() is None
    built(data / "micro", shipped_lock())
    events: list[Event] = []
    image = ensure(on_event=events.append)
    assert (image, events) == (find_micro(), [])
    assert image.kernel.read_bytes() == b"k" * 100
    assert (image.size, image.memory_mib) == (200, 64)
    assert build_micro(on_event=events.append) == image
    (event,) = events
    assert isinstance(event, ImageBuilt)
    assert event.cached


def test_an_image_whose_files_have_changed_is_not_started_but_built_again(data: Path) -> None:
    built(data / "micro", shipped_lock())
    image = ensure()
    image.initrd.write_bytes(b"i" * 99)
    for _ in range(2):
        with pytest.raises(SystemImageDamaged, match=r"initrd\.cpio is not what was built") as told:
            ensure()
    assert "labkit image build micro" in told.value.fix
    assert list_micro() == (image,)
    with pytest.raises(MirrorUnreachable):  # it is built from the start
        build_micro()
    assert find_micro() is None


def test_an_image_that_was_compared_is_not_read_again(data: Path) -> None:
    built(data / "micro", shipped_lock())
    image = ensure()
    seen = image.kernel.stat()
    image.kernel.touch()
    assert ensure() == image
    assert image.kernel.stat().st_mtime_ns > seen.st_mtime_ns
    image.kernel.unlink()
    with pytest.raises(SystemImageDamaged, match="it is gone"):
        ensure()


def test_a_folder_that_cannot_be_written_is_no_hindrance(data: Path) -> None:
    built(data / "micro", shipped_lock())
    (data / STAMPS).write_text("in the way")
    assert ensure() == ensure()


def test_an_image_of_ones_own_keeps_its_packages(data: Path) -> None:
    built(data / "web", with_added("jq"))
    assert ensure("web") == build_micro(name="web") == find_micro(name="web")


def test_a_name_that_was_never_built_is_unknown() -> None:
    with pytest.raises(UnknownImage, match="labkit image build web --add PACKAGE"):
        ensure("web")


def test_micro_itself_has_no_packages_added() -> None:
    with pytest.raises(InvalidArgument, match="a name of your own"):
        build_micro(add=["jq"])
    with pytest.raises(InvalidArgument, match="the name of a Debian package"):
        build_micro(name="web", add=["Not a package"])


def test_without_a_mirror_the_way_out_is_said(data: Path) -> None:
    with pytest.raises(MirrorUnreachable, match="install the wheel labkit-micro-image of labkit"):
        ensure()
    assert not list(data.glob("*/part-*"))


def test_images_are_listed_and_removed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "list"]) == 0
    assert "is built when a VM needs it" in capsys.readouterr().out
    built(data / "micro", shipped_lock())
    built(data / "web", with_added("jq"))
    assert [image.name for image in list_micro()] == ["micro", "web"]
    assert main(["image", "list"]) == 0
    shown = capsys.readouterr().out
    assert "web" in shown
    assert "64 MiB" in shown
    assert main(["image", "rm", "web"]) == 0
    assert [image.name for image in list_micro()] == ["micro"]
    assert main(["image", "rm", "web"]) == 2
    remove_micro(name="micro")
    assert list_micro() == ()
    with pytest.raises(UnknownImage):
        remove_micro(name="micro")


def test_the_command_line_shows_what_was_there(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(data / "micro", shipped_lock())
    assert main(["image", "build"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "micro was there already" in shown
    assert "64 MiB of memory" in shown
    assert f"{hashlib.sha256(b'k' * 100).hexdigest()} vmlinux" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["micro", "--add", "jq"], 2, "a name of your own"),
        (["web", "--add", "Not a package"], 2, "the name of a Debian package"),
        (["web", "--add", "jq"], 1, "cannot get http://127.0.0.1:9/debian"),
        (["micro", "--mirror", "nonsense"], 2, "an address such as 'http://HOST/debian'"),
        (["a/b"], 2, "name"),
    ],
)
def test_what_cannot_be_built_is_said(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", "build", *arguments]) == code
    assert words in capsys.readouterr().err


def test_the_shell_completes_names(data: Path) -> None:
    built(data / "web", with_added("jq"))
    words = {"COMP_WORDS": "labkit image build w", "COMP_CWORD": "3"}
    program = [sys.executable, "-c", "from labkit.cli import main; main([])"]
    done = subprocess.run(
        program,
        env={**os.environ, "_LABKIT_COMPLETE": "bash_complete", **words},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["plain,web"]


# installed images


def test_an_installed_image_is_used_without_running_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", shipped_lock())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert ensure().folder == tmp_path / "site" / "some_image"
    assert [image.name for image in list_micro()] == ["micro"]


def test_an_installed_image_that_is_damaged_is_to_be_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", shipped_lock())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    ensure().kernel.write_bytes(b"K" * 100)
    with pytest.raises(SystemImageDamaged, match="Install its wheel again"):
        ensure()


def test_what_was_built_here_goes_before_what_is_installed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", shipped_lock())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    built(data / "micro", shipped_lock())
    assert ensure().folder.parent == data / "micro"


def test_an_installed_image_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", shipped_lock(), key="of another version")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_micro() is None
    with pytest.raises(MirrorUnreachable, match="the one that is installed is of another version"):
        ensure()


def test_a_broken_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", shipped_lock())
    (tmp_path / "site" / "some_image").rename(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(PackageInvalid, match="Install its wheel again"):
        ensure()


# several at once, and those that were interrupted


def test_whoever_comes_second_says_that_it_waits(data: Path) -> None:
    built(data / "micro", shipped_lock())
    events: list[Event] = []
    waits = threading.Event()

    def listen(event: Event) -> None:
        events.append(event)
        waits.set()

    with exclusive(data / "micro" / "lock"):
        other = threading.Thread(target=lambda: build_micro(on_event=listen))
        other.start()
        assert waits.wait(60)
    other.join()
    assert events[0] == ImageBuildStage("localhost", "micro", "wait")
    assert isinstance(events[1], ImageBuilt)


def test_a_lock_whose_file_was_removed_keeps_nobody_out(tmp_path: Path) -> None:
    path, waits, order = tmp_path / "home" / "lock", threading.Event(), list[str]()

    def second() -> None:
        with exclusive(path, waits.set):
            order.append("second")

    other = threading.Thread(target=second)
    with exclusive(path):
        other.start()
        assert waits.wait(60)
        path.unlink()
        with exclusive(path):
            order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert path.exists()
