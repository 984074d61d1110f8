"""The deployment layer with the real qemu-img: on this machine, and over a real OpenSSH server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deployment_contract import DeploymentContract
from labkit import LocalExecutor

pytestmark = [pytest.mark.qemu_img, pytest.mark.thorough]


@pytest.fixture
def image(tmp_path: Path) -> str:
    """An empty qcow2 disk of 112 MiB, as large as cirros'."""
    if shutil.which("qemu-img") is None:
        pytest.skip("no qemu-img: apt install qemu-utils")
    path = tmp_path / "manager" / "base.img"
    path.parent.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "112M"], check=True)
    return str(path)


class TestOnThisMachine(DeploymentContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> LocalExecutor:
        home = tmp_path / "home"
        home.mkdir()
        return LocalExecutor(environment={"HOME": str(home)})

    @pytest.fixture
    def host(self) -> str:
        return "127.0.0.1"

    @pytest.fixture
    def image(self, image: str) -> str:
        return image

    def test_the_overlay_is_what_qemu_img_makes(
        self, executor: LocalExecutor, image: str, tmp_path: Path
    ) -> None:
        from labkit import DeploymentAPI, Flavor

        DeploymentAPI(executor, image).create_vm(
            1, 1, "web", "ana", "localhost", Flavor.get("cirros"), 0
        )
        folder = tmp_path / "home" / "vm_images"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "qcow2"]
        subprocess.run([*command, "by_hand.qcow2", "1G"], check=True, cwd=folder)
        made = (folder / "web_img.qcow2").read_bytes()
        assert made == (folder / "by_hand.qcow2").read_bytes()
        subprocess.run(["qemu-img", "check", "-q", folder / "web_img.qcow2"], check=True)
