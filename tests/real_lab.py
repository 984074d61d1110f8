"""Labs of real machines in short folders of their own, of which at the end nothing may be left."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.engines import HostsEngine
from labkit.engines.system_images import LocalSystemImages
from labkit.lab import Lab, LabSlice
from labkit.local import LocalExecutor
from labkit.programs import qemu
from labkit.store import Store
from labkit.testing.processes import eventually
from memory_lab import rows_left

HOST = "localhost"
IN_REACH = [
    pytest.mark.vm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which(qemu.PROGRAM) is None, reason="qemu-system-x86_64 is not installed"
    ),
]


class RealLab(Lab):
    """A lab on this machine, all of it in one folder: `run`, `data` and `disks`."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.run_dir, self.data_dir, self.disks = (folder / n for n in ("run", "data", "disks"))
        settings = {"LABKIT_RUN_DIR": str(self.run_dir), **(environment or {})}
        executor = LocalExecutor(settings)
        self.hosts_engine = HostsEngine(
            "local", executor, (HOST,), LocalSystemImages(), is_real=True, base_dir=str(self.disks)
        )
        store = Store(self.data_dir / "labkit.db")
        super().__init__("local", engine=self.hosts_engine, store=store)

    def pair(self, name: str = "net") -> LabSlice:
        """Two hosts on a cable; the second one in the internet's network too."""
        net = self.slice(name)
        net.add_vm("a", addresses={"eth1": "10.0.0.1/24"})
        net.add_vm("b", addresses={"eth1": "10.0.0.2/24"}, internet=True)
        net.link("a", "b")
        return net

    def slice_folder(self, net: LabSlice) -> Path:
        return self.run_dir / net.record.key

    def machine_folder(self, net: LabSlice, name: str) -> Path:
        return self.slice_folder(net) / f"m{net[name].place.index}"

    def pid(self, net: LabSlice, name: str) -> int:
        """The process of a VM."""
        found = net[name].machine.state().pid
        assert found is not None
        return found

    def steward_pid(self, net: LabSlice) -> int:
        pids = [one.steward for one in self.engine.survey() if one.key == net.record.key]
        assert pids
        assert pids[0] is not None
        return pids[0]


def kill(pid: int) -> None:
    """As the kernel does when memory is short; answers when it is gone."""
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def pings(net: LabSlice, of: str = "a", to: str = "10.0.0.2") -> bool:
    """Whether a packet comes back; the link may still be connecting."""
    return eventually(lambda: net[of].run(f"ping -c1 -W1 {to}").ok)


def well(net: LabSlice) -> None:
    """Everything is as it is wished, seen from inside too."""
    assert set(net.states.values()) == {"running"}
    assert set(net.link_states.values()) == {"up"}
    assert net.plan().empty
    assert pings(net)


def processes_in(folder: Path) -> list[int]:
    """Processes that run in a folder or were started with it in an argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            place = str((entry / "cwd").readlink())
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if place.startswith(f"{folder}/") or f"{folder}/".encode() in words:
            found.append(int(entry.name))
    return found


def sockets_in(folder: Path) -> list[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [line for line in lines if f" {folder}/" in line]


def check_nothing_is_left(folder: Path) -> None:
    """No process, no socket, no file, no row."""
    assert eventually(lambda: processes_in(folder) == []), processes_in(folder)
    assert sockets_in(folder) == []
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())
    store = ["data/labkit.db", "data/labkit.db-shm", "data/labkit.db-wal"]
    assert [name for name in files if name not in store] == []
    assert sorted(p.name for p in (folder / "run").glob("*")) == []
    assert rows_left(folder / "data" / "labkit.db") == {}


@contextmanager
def real_lab(
    environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[RealLab]:
    """A lab whose slices are deleted at the end, and nothing of them is left."""
    given = folder
    folder = folder or Path(tempfile.mkdtemp(prefix="lk", dir="/tmp"))
    for name in ("run", "disks"):
        (folder / name).mkdir(exist_ok=True)
    try:
        with RealLab(folder, environment) as lab:
            yield lab
            delete_all(lab)
        check_nothing_is_left(folder)
    finally:
        for pid in processes_in(folder):  # of a test that failed
            os.kill(pid, signal.SIGKILL)
        if given is None:
            shutil.rmtree(folder)


def delete_all(lab: Lab) -> None:
    for name in lab.store.names():
        lab.slice(name).delete()


def again(lab: RealLab, work: Callable[[RealLab], object]) -> None:
    """Do something as another process would: with nothing but what is on the disk."""
    with RealLab(lab.folder) as other:
        work(other)
