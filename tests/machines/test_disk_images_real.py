"""A machine that boots from an overlay of a disk image, by a boot loader, and reads its seed.

The image does not read its seed by itself, so the test does what cloud-init and cirros do: finds
the disk by its label, mounts it, and runs user-data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootable_disk import make_bootable_disk
from labkit.images.library import ImageLibrary
from labkit.images.manager import QCOWManager
from labkit.machines import Machine
from labkit.programs import nocloud
from labkit.programs.qemu import Disk
from labkit.promise import GuestSpec, promise
from labkit.wish import Slice
from machines_lab import HAS_QEMU, HOST, READY, MachinesLab, machines_lab
from slice_worlds import allocated

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def base_image(lab: MachinesLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bootable_disk(lab, tmp_path_factory.mktemp("base"))


def wanted() -> GuestSpec:
    wish = (
        Slice("net")
        .with_vm(
            "web",
            flavor="cirros",
            interfaces=2,
            forwarding=True,
            addresses={"eth1": ["10.0.1.1/24", "fd00::1/64"], "eth2": "10.0.2.1/24"},
            routes=["10.9.0.0/16 via 10.0.2.254"],
            hosts={"gateway": "10.0.2.254"},
            files={"/etc/labkit/note": "Hello é\n" * 2000},
            commands=["hostname > /run/was-run"],
        )
        .with_vm("h1", addresses={"eth1": "10.0.1.2/24"})
        .with_link("web:eth1", "h1:eth1")
    )
    return promise(wish, allocated(wish)).guest_of["web"]


@pytest.fixture(scope="module")
def machine(
    lab: MachinesLab, base_image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Machine:
    folder = tmp_path_factory.mktemp("disks")
    library = ImageLibrary(folder / "library")
    entry = library.add("micro-disk", base_image)
    manager = QCOWManager(lab.executor, str(folder / "vms"), library=library)
    overlay = manager.create_overlay(HOST, "web", entry.path, disk_gb=1)
    seed = folder / "seed.iso"
    seed.write_bytes(nocloud.seed_iso(wanted(), "web-1", dialect="script"))
    disks = (Disk(overlay), Disk(str(seed), "raw", read_only=True))
    macs = tuple(mac for _, mac in reversed(wanted().macs))  # their order must not matter
    return lab.start(2, "web", kernel=None, disks=disks, macs=macs)


def test_it_boots_from_the_overlay_by_its_own_boot_loader(machine: Machine) -> None:
    line = machine.guest.run("cat /proc/cmdline").text
    assert "from=disk" in line
    assert "BOOT_IMAGE=vmlinuz" in line
    assert machine.guest.run("cat /sys/block/vda/size").text == f"{2**30 // 512}\n"


def test_the_seed_is_found_by_its_label_and_whole(machine: Machine) -> None:
    find = 'mkdir -p /run/seed && mount -o ro "$(findfs LABEL=cidata)" /run/seed'
    machine.guest.run(f"modprobe isofs; {find}", check=True)
    listed = machine.guest.run("ls /run/seed").text.split()
    assert listed == ["meta-data", "network-config", "user-data"]
    one = wanted()
    assert machine.guest.get("/run/seed/meta-data").decode() == nocloud.meta_data(one, "web-1")
    assert machine.guest.get("/run/seed/network-config").decode() == nocloud.network_config(one)


def test_the_settings_in_the_seed_take_effect(machine: Machine) -> None:
    guest = machine.guest
    guest.run("mkdir -p /run/seed; mountpoint -q /run/seed || mount LABEL=cidata /run/seed")
    result = guest.run(["ash", "/run/seed/user-data"])  # the shell of cirros, too
    assert (result.returncode, result.stderr) == (0, b"")
    assert guest.run("hostname; cat /run/was-run").text == "web\nweb\n"
    for name, mac in wanted().macs:
        assert guest.run(["cat", f"/sys/class/net/{name}/address"]).text == f"{mac}\n"
    addresses = guest.run("ip -br address show eth1").text.split()
    assert {"10.0.1.1/24", "fd00::1/64"} <= set(addresses)
    assert "10.9.0.0/16 via 10.0.2.254 dev eth2" in guest.run("ip route").text
    assert guest.run("cat /proc/sys/net/ipv4/ip_forward").text == "1\n"
    assert guest.get("/etc/labkit/note") == "Hello é\n".encode() * 2000
    hosts = guest.run("cat /etc/hosts").text
    assert "10.0.1.2\th1\n" in hosts
    assert "10.0.2.254\tgateway\n" in hosts


def test_what_it_writes_stays_and_the_base_image_is_not_touched(
    machine: Machine, base_image: Path
) -> None:
    before = hashlib.sha256(base_image.read_bytes()).hexdigest()
    guest = machine.guest
    guest.run("mount /dev/vda /mnt && echo kept > /mnt/kept && umount /mnt", check=True)
    machine.reboot()
    guest.wait_ready(READY)
    assert "from=disk" in guest.run("cat /proc/cmdline").text
    assert guest.run("mount -o ro /dev/vda /mnt && cat /mnt/kept; umount /mnt").text == "kept\n"
    assert hashlib.sha256(base_image.read_bytes()).hexdigest() == before
