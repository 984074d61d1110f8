"""Disk images for tests, made by the real qemu-img, and a worker on this machine to put them on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.local import LocalExecutor

HOST = "127.0.0.1"
MIB = 2**20
needs_qemu_img = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="apt install qemu-utils"
)


def qemu_img(*arguments: object, folder: Path | None = None) -> str:
    """What the real qemu-img prints."""
    command = ["qemu-img", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def make_base(path: Path, size: int = 64 * MIB, data: bytes = b"data" * 50_000) -> Path:
    """A base image of `size` whose disk begins with `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        file.write(data)
        file.truncate(size)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    raw.unlink()
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Worker:
    """This machine as a worker whose home folder is `home`."""

    def __init__(self, home: Path, **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.host = home, HOST
        self.folder = home / "vm_images"
        self.executor = LocalExecutor({"HOME": str(home), **environment})

    def files(self) -> list[str]:
        """Everything in the image folder, hidden files too."""
        return sorted(os.listdir(self.folder)) if self.folder.exists() else []


def programs_folder(folder: Path, *programs: str) -> str:
    """A value for PATH that holds python3 and these programs only."""
    folder.mkdir()
    (folder / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    for program in programs:
        where = shutil.which(program)
        assert where is not None
        (folder / program).symlink_to(where)
    return str(folder)
