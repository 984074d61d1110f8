"""A VM of a slice that starts from a disk image: its overlay, its seed, what it keeps, its end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootable_disk import make_bootable_disk
from labkit import Lab, LabSlice
from labkit.engines import HostsEngine
from labkit.engines.system_images import LocalSystemImages
from labkit.errors import NoAgent
from labkit.local import LocalExecutor
from labkit.programs import nocloud
from labkit.store import Store
from machines_lab import HAS_QEMU, READY, machines_lab

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSlice]:
    """A slice with one VM on a disk; at the end nothing of it is left."""
    folder = tmp_path_factory.mktemp("disks")
    with machines_lab() as maker:
        image = make_bootable_disk(maker, folder)
    with tempfile.TemporaryDirectory(prefix="lk", dir="/tmp") as run:
        executor = LocalExecutor({"LABKIT_RUN_DIR": run})
        images = LocalSystemImages()
        disks = str(folder / "vms")
        engine = HostsEngine("test", executor, ("localhost",), images, is_real=True, base_dir=disks)
        with Lab(engine=engine, store=Store(folder / "labkit.db")) as lab:
            net = lab.slice("disks")
            net.add_vm(
                "srv",
                flavor="cirros",
                image=str(image),
                memory_mb=128,
                addresses={"eth1": "10.0.1.1/24"},
                files={"/etc/note": "hello"},
            )
            net.deploy()
            yield net
            net.delete()
            assert not list(Path(disks).glob("*_img.qcow2"))
            assert not list(Path(run).iterdir())


def test_it_runs_and_says_what_cannot_be_asked_of_it(net: LabSlice) -> None:
    assert dict(net.states) == {"srv": "running"}
    with pytest.raises(NoAgent, match="cannot run commands in srv"):
        net["srv"].run("true")


def test_its_disk_and_its_run_folder_say_where_its_slice_is_written_down(net: LabSlice) -> None:
    said = {one.kind: (one.owner, one.stores) for one in net.engine.belongings()}
    stores = (net.record.store,)
    assert said == {
        "disk": (net.record.allocation.uuid, stores),
        "run folder": (net.record.key, stores),
    }


def test_its_settings_are_on_its_seed(net: LabSlice) -> None:
    guest = net["srv"].machine.guest  # this one has the agent after all, for the test to look
    guest.wait_ready(READY)
    find = 'mkdir -p /run/seed && mount -o ro "$(findfs LABEL=cidata)" /run/seed'
    guest.run(f"modprobe isofs; {find}", check=True)
    wanted = net.engine.observe(net.id, net.record.allocation).machines[0]
    meta = guest.get("/run/seed/meta-data").decode()
    assert f"{wanted.uuid}-{wanted.seed}" in meta
    assert "10.0.1.1/24" in guest.get("/run/seed/network-config").decode()
    assert nocloud.LABEL == "cidata"


def test_its_disk_has_the_flavor_s_size_and_outlives_a_power_cut(net: LabSlice) -> None:
    guest = net["srv"].machine.guest
    guest.wait_ready(READY)
    assert guest.run("cat /sys/block/vda/size").text == f"{2**30 // 512}\n"
    guest.run("mount /dev/vda /mnt && echo kept > /mnt/kept && umount /mnt && sync", check=True)
    net["srv"].power_off()
    assert "it has ended" in set(net.plan().reason)
    net.deploy()
    guest = net["srv"].machine.guest
    guest.wait_ready(READY)
    assert guest.run("mount -o ro /dev/vda /mnt && cat /mnt/kept").text == "kept\n"


def test_starting_anew_gives_it_a_fresh_disk(net: LabSlice) -> None:
    net.reset("srv")
    guest = net["srv"].machine.guest
    guest.wait_ready(READY)
    assert not guest.run("mount -o ro /dev/vda /mnt && cat /mnt/kept").ok
