"""Disks and base images over a real OpenSSH server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from disk_images import MIB, make_base, needs_qemu_img, qemu_img, sha256
from labkit import events
from labkit.errors import OverlayExists, TransferError, WorkerUnreachable
from labkit.images.library import ImageLibrary
from labkit.images.manager import OverlayRequest, QCOWManager
from labkit.testing.sshd import SSHServer
from sshd_server import MakeServer, remote_executor

pytestmark = [pytest.mark.qemu_img, pytest.mark.ssh, needs_qemu_img]


@pytest.fixture
def server(fresh_sshd: MakeServer) -> SSHServer:
    return fresh_sshd()


@pytest.fixture
def manager(server: SSHServer, tmp_path: Path) -> Iterator[QCOWManager]:
    with remote_executor(server) as executor:
        library = ImageLibrary(tmp_path / "library")
        yield QCOWManager(executor, library=library)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base.img", data=os.urandom(12 * MIB))


def files(server: SSHServer) -> list[str]:
    return sorted(os.listdir(server.home / "vm_images"))


def test_a_base_and_many_disks(server: SSHServer, manager: QCOWManager, base: Path) -> None:
    requests = [OverlayRequest(f"vm{n}", str(base), 1, {"owner": "ana"}) for n in range(30)]
    paths = manager.create_overlays(server.host, requests)
    folder = server.home / "vm_images"
    assert sha256(folder / "base.img") == sha256(base)
    qemu_img("check", folder / "vm7_img.qcow2")
    facts = manager.look(server.host)
    assert len(facts.overlays) == 30
    assert facts.home == str(server.home)
    with pytest.raises(OverlayExists, match="ana"):
        manager.create_overlay(server.host, "vm7", str(base))
    manager.delete_overlays(server.host, paths)
    assert files(server) == [".base.img.sha256", "base.img"]


def test_a_copy_whose_manager_stops_goes_on(
    server: SSHServer, manager: QCOWManager, base: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(event: events.Event) -> None:
        if isinstance(event, events.ImageCopyProgress) and event.sent:
            raise Stop

    library = ImageLibrary(tmp_path / "library")
    with remote_executor(server) as executor, pytest.raises(Stop):
        QCOWManager(executor, on_event=stop, library=library).ensure_base(server.host, str(base))
    assert "base.img" not in files(server)
    manager.ensure_base(server.host, str(base))
    assert files(server) == [".base.img.sha256", "base.img"]
    assert sha256(server.home / "vm_images" / "base.img") == sha256(base)


def test_a_failure_is_told_by_the_workers_last_line(
    server: SSHServer, tmp_path: Path, base: Path
) -> None:
    def change(event: events.Event) -> None:
        if isinstance(event, events.ImageCopyProgress) and not event.sent:
            with base.open("r+b") as file:
                file.seek(9 * MIB)
                file.write(b"changed")

    with remote_executor(server) as executor:
        manager = QCOWManager(executor, on_event=change, library=ImageLibrary(tmp_path / "library"))
        with pytest.raises(TransferError, match="changed here"):
            manager.ensure_base(server.host, str(base))
    assert not (server.home / "vm_images").exists()


def test_a_server_that_is_gone(server: SSHServer, manager: QCOWManager, base: Path) -> None:
    server.stop()
    with pytest.raises(WorkerUnreachable):
        manager.create_overlay(server.host, "vm1", str(base))
    assert manager.delete_image(server.host, "~/vm_images/vm1_img.qcow2") is False
    server.start()
    manager.create_overlay(server.host, "vm1", str(base))
