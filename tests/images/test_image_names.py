"""Whatever the names and paths: exactly the disk that was asked for, or an error and no effect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from disk_images import HOST, Worker, make_base, needs_qemu_img
from labkit.errors import InvalidArgument, LabkitError
from labkit.images.library import ImageLibrary
from labkit.images.manager import QCOWManager
from thorough import examples

pytestmark = [pytest.mark.qemu_img, needs_qemu_img]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def manager(home: Path) -> QCOWManager:
    make_base(home / "here" / "base.img")
    executor = Worker(home / "home").executor
    manager = QCOWManager(executor, library=ImageLibrary(home / "library"))
    manager.ensure_base(HOST, str(home / "here" / "base.img"))
    return manager


def tree(home: Path) -> set[str]:
    return {os.path.join(folder, name) for folder, _, files in os.walk(home) for name in files}


text = st.text(max_size=20) | st.from_regex(r"[a-zA-Z0-9_.*;$`'\" /~-]{1,20}", fullmatch=True)
good = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,62}", fullmatch=True)
few = settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])


@few
@given(good | text)
@example("-rf")
@example("*")
@example("a\n")
@example("x" * 63)
@example("x" * 64)
def test_fault_06_any_vm_name(manager: QCOWManager, home: Path, name: str) -> None:
    before = tree(home)
    wanted = str(home / "home" / "vm_images" / f"{name}_img.qcow2")
    try:
        path = manager.create_overlay(HOST, name, str(home / "here" / "base.img"))
    except InvalidArgument:
        assert tree(home) == before
    else:
        assert path == f"~/vm_images/{name}_img.qcow2"
        assert tree(home) - before == {wanted}
        manager.delete_overlays(HOST, [path])
        assert tree(home) == before


@few
@given(text.map(lambda name: f"~/vm_images/{name}") | text.map(lambda name: f"{name}_img.qcow2"))
@example("~/vm_images/*_img.qcow2")
@example("~/vm_images/*")
def test_fault_07_any_path_to_delete(manager: QCOWManager, home: Path, path: str) -> None:
    kept = manager.create_overlay(HOST, "kept", str(home / "here" / "base.img"))
    before = tree(home)
    manager.delete_image(HOST, path)
    assert tree(home) == before
    manager.delete_overlays(HOST, [kept])


@few
@given(text)
def test_any_base_path(manager: QCOWManager, home: Path, path: str) -> None:
    before = tree(home)
    with pytest.raises(LabkitError):
        manager.create_overlay(HOST, "vm", path)
    assert tree(home) == before


@few
@given(text)
@example("$(id)")
@example("")
def test_any_worker(manager: QCOWManager, home: Path, worker: str) -> None:
    before = tree(home)
    with pytest.raises(LabkitError):
        manager.create_overlay(worker, "vm", str(home / "here" / "base.img"))
    assert tree(home) == before
