"""The commands of qemu-img are as the real one wants them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from disk_images import needs_qemu_img
from labkit.programs import qemu_img


def test_create() -> None:
    command = ("qemu-img", "create", "-q", "-f", "qcow2", "--", "-a b.img", "512")
    assert qemu_img.create("-a b.img", 512) == command


@pytest.mark.qemu_img
@needs_qemu_img
def test_the_real_one_takes_it(tmp_path: Path) -> None:
    subprocess.run(qemu_img.create("-a b.img", 3 * 2**20), cwd=tmp_path, check=True)
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", "--", "-a b.img"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert json.loads(told.stdout)["virtual-size"] == 3 * 2**20
