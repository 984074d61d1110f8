"""The wheel with the built image: installed in a fresh environment, it boots without a mirror."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from labkit.micro import MicroImage
from labkit.micro.image import shipped_lock
from micro_guest import Machine

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
ASK = (
    "import json; from labkit.micro import ensure; one = ensure();"
    "print(json.dumps([str(one.kernel), str(one.initrd), one.kernel_sha256, one.initrd_sha256]))"
)


def pack(folder: Path) -> Path:
    command = [sys.executable, str(ROOT / "tools" / "wheel_image.py"), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def wheel(image: MicroImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("dist"))


def test_the_same_image_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert pack(tmp_path).read_bytes() == wheel.read_bytes()


def test_licences_and_sources_of_every_package_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        sources = json.loads(files.read("labkit_micro_image/sources.json"))
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = files.read(metadata).decode()
    folder = metadata.rpartition("/")[0]
    for package in shipped_lock().packages:
        assert f"{folder}/licenses/{package}/copyright" in names
        assert f"License-File: {package}/copyright\n" in text
    assert f"{folder}/licenses/common-licenses/GPL-2" in names
    assert {one["package"] for one in sources} == set(shipped_lock().packages)
    by_name = {one["package"]: one for one in sources}
    assert by_name["libc6"]["source"] == "glibc"
    assert by_name["busybox-static"]["source_version"] < by_name["busybox-static"]["version"]
    assert all(one["source"] and one["source_version"] for one in sources)


def test_the_installed_image_boots_where_no_mirror_is(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    # labkit and what it needs come from where this test runs; the image from the wheel alone
    paths = f"{ROOT}\n{sysconfig.get_path('purelib')}\n"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "labkit-of-the-test.pth").write_text(paths)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LABKIT_MIRROR": "http://127.0.0.1:9/debian",
    }
    asked = subprocess.run(
        [python, "-c", ASK], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    kernel, initrd, *sums = json.loads(asked.stdout)
    assert Path(kernel).is_relative_to(site)
    assert [
        hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (kernel, initrd)
    ] == sums
    found = MicroImage("micro", Path(kernel), Path(initrd), sums[0], sums[1], "", ())
    with Machine(found) as machine:
        assert machine.lane().run("echo booted").out == b"booted\n"
