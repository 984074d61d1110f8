"""Which accelerator works is found by a real boot, once, and remembered with its circumstances."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from labkit.acceleration import CACHE, find_acceleration
from labkit.errors import ProgramMissing
from labkit.local import LocalExecutor
from machines_lab import HAS_QEMU, HOST, micro_kernel

needs_qemu = pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed")


@pytest.mark.vm
@pytest.mark.timeout(600)
@needs_qemu
def test_what_was_found_is_remembered_until_the_host_or_qemu_changes(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lk", dir="/tmp") as folder:
        executor = LocalExecutor({"HOME": str(tmp_path), "LABKIT_RUN_DIR": folder})
        first = find_acceleration(executor, HOST, micro_kernel())
        second = find_acceleration(executor, HOST, micro_kernel())
        assert (first.remembered, second.remembered) == (False, True)
        assert (first.acceleration, first.why) == (second.acceleration, second.why)
        assert first.why
        assert first.version.startswith("QEMU emulator version ")
        cache = tmp_path / CACHE.removeprefix("~/")
        cache.write_text(cache.read_text().replace("QEMU emulator", "Another QEMU"))
        assert not find_acceleration(executor, HOST, micro_kernel()).remembered
        cache.write_text("{")
        assert not find_acceleration(executor, HOST, micro_kernel()).remembered


def test_without_qemu_nothing_is_tried(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="there is no qemu-system-x86_64"):
        find_acceleration(LocalExecutor({"PATH": str(tmp_path)}), HOST, micro_kernel())
