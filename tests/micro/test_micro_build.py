"""Building for real, from a mirror: the same bytes for everybody, and whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from labkit.micro import MicroImage, build_micro
from labkit.micro.image import BUILDER, shipped_lock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NOBODY = 65534
GOLDEN = Path(__file__).parents[1] / "golden" / "micro.json"
BUILD = (
    "import os, sys; from pathlib import Path; from labkit.micro import build_micro, find_micro;"
    "find_micro(Path(sys.argv[1]));"  # all of Python is loaded: the other user may not reach it
    "user = int(sys.argv[3]);"
    "user == os.geteuid() or (os.setgroups([]), os.setgid(user), os.setuid(user));"
    "image = build_micro(Path(sys.argv[1]), cache=Path(sys.argv[2]),"
    "    on_event=lambda event: print(event, flush=True));"
    "print(image.kernel_sha256, image.initrd_sha256)"
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> MicroImage:
    return build_micro(tmp_path_factory.mktemp("first"))


def build_command(folder: Path, cache: Path, user: int | None = None) -> list[str]:
    """A build in a process of its own, by another user from where Python has been loaded."""
    number = os.geteuid() if user is None else user
    return [sys.executable, "-c", BUILD, str(folder), str(cache), str(number)]


def test_the_same_inputs_give_the_same_bytes(image: MicroImage, tmp_path: Path) -> None:
    again = build_micro(tmp_path)
    assert (again.kernel_sha256, again.initrd_sha256) == (image.kernel_sha256, image.initrd_sha256)
    assert again.initrd.read_bytes() == image.initrd.read_bytes()
    assert again.kernel.read_bytes() == image.kernel.read_bytes()


def test_a_package_that_is_there_in_part_is_added_whole(tmp_path: Path) -> None:
    """Some of its programs need more libraries; a plugin needs one that it only suggests."""
    added = build_micro(tmp_path, name="tools", add=["iproute2"])
    archive = added.initrd.read_bytes()
    assert all(name in archive for name in (b"usr/bin/arpd", b"libdb-5.3.so", b"tc/q_atm.so"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach; each start of pytest closes its own to them."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_an_ordinary_user_builds_the_same_bytes(image: MicroImage, open_folder: Path) -> None:
    """With another umask, locale, home and time zone, too."""
    folder, cache = open_folder / "data", open_folder / "cache"
    shutil.copytree(platformdirs.user_cache_path("labkit") / "packages", cache)
    folder.mkdir()
    environment = {"HOME": str(open_folder), "LC_ALL": "C", "TZ": "Pacific/Apia"}
    user = None
    if os.geteuid() == 0:
        user = NOBODY
        for path in (open_folder, folder, cache, *cache.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    done = subprocess.run(
        build_command(folder, cache, user),
        env=environment,
        cwd="/",
        umask=0o077,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == [image.kernel_sha256, image.initrd_sha256]


def test_a_build_that_is_interrupted_leaves_nothing(image: MicroImage, tmp_path: Path) -> None:
    cache = platformdirs.user_cache_path("labkit") / "packages"
    command = build_command(tmp_path, cache)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as build:
        assert build.stdout is not None
        assert b"unpack" in build.stdout.readline()
        build.send_signal(signal.SIGINT)
        build.wait(120)
    assert build.returncode != 0
    assert {path.name for path in (tmp_path / "micro").iterdir()} == {"lock"}


def test_what_a_killed_build_left_is_cleared_away(image: MicroImage, tmp_path: Path) -> None:
    left = tmp_path / "micro" / "part-left"
    left.mkdir(parents=True)
    (left / "vmlinux").write_bytes(b"half")
    build_micro(tmp_path)
    assert not left.exists()


def test_two_processes_build_once(image: MicroImage, tmp_path: Path) -> None:
    cache = platformdirs.user_cache_path("labkit") / "packages"
    builds = [
        subprocess.Popen(build_command(tmp_path, cache), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [build.communicate(timeout=300)[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert sorted("unpack" in text for text in said) == [False, True]
    assert {text.splitlines()[-1] for text in said} == {
        f"{image.kernel_sha256} {image.initrd_sha256}"
    }


def test_the_shipped_lock_is_complete(image: MicroImage) -> None:
    """Nothing is looked up to build it: the lock names every package and its checksum."""
    assert image.packages == tuple(shipped_lock().packages.values())


def test_the_image_is_the_same_on_every_machine(
    image: MicroImage, pytestconfig: pytest.Config
) -> None:
    """And whoever changes what the builder makes of the same inputs counts BUILDER up."""
    made = {"key": image.key, "kernel": image.kernel_sha256, "initrd": image.initrd_sha256}
    if pytestconfig.getoption("--update-golden"):
        known = json.loads(GOLDEN.read_text())
        assert known["key"] != image.key or known == made, f"BUILDER is still {BUILDER}"
        GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    assert made == json.loads(GOLDEN.read_text())
