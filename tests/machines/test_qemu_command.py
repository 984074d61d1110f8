"""The command line of QEMU, held to golden files, and the options that are refused before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labkit.errors import InvalidArgument
from labkit.programs import qemu

GOLDEN = Path(__file__).parents[1] / "golden" / "qemu"
UUID = "6f1c3a52-0b8e-4a57-9d43-2f6f0b6f4c11"
KERNEL = qemu.DirectKernel("/images/vmlinux", "/images/initrd.cpio", "console=ttyS0 quiet")


def options(**changes: Any) -> qemu.MachineOptions:
    settings: dict[str, Any] = {"name": "r1", "uuid": UUID, "memory_mb": 128, "kernel": KERNEL}
    return qemu.MachineOptions(**{**settings, **changes})


CASES = {
    "micro": options(),
    "router": options(
        cores=2,
        macs=tuple(f"52:54:00:00:01:{number:02x}" for number in range(10)),
        firmware=(("opt/labkit/machine", "setup"),),
    ),
    "cloud": options(
        kernel=None,
        memory_mb=512,
        disks=(
            qemu.Disk("/home/a,b/vm_images/vm1_img.qcow2"),
            qemu.Disk("/run/seed.iso", "raw", read_only=True),
        ),
        macs=("52:54:00:00:02:00",),
        internet=qemu.Internet("10.60.7.137"),
        screen=True,
        acceleration=qemu.KVM,
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_command_line_is_the_golden_one(name: str, pytestconfig: pytest.Config) -> None:
    text = "\n".join(qemu.command(CASES[name])) + "\n"
    path = GOLDEN / f"{name}.txt"
    if pytestconfig.getoption("--update-golden"):
        path.write_text(text)
    assert text == path.read_text()


def test_fault_26_a_machine_without_interfaces_has_no_network() -> None:
    words = qemu.command(options())
    assert words[words.index("-nic") + 1] == "none"
    assert "-netdev" not in words


def test_fault_27_the_screen_is_a_unix_socket_in_a_private_folder() -> None:
    words = qemu.command(options(screen=True))
    assert words[words.index("-vnc") + 1] == "unix:vnc"
    assert not any("0.0.0.0" in word or "tcp" in word.split(":") for word in words)


def test_no_interface_is_ever_joined_to_user_networking_directly() -> None:
    words = qemu.command(options(macs=("52:54:00:00:02:00",), internet=qemu.Internet("10.60.7.9")))
    assert [word for word in words if word.startswith("virtio-net")] == [
        "virtio-net-pci,id=nic0,netdev=n0,mac=52:54:00:00:02:00,romfile=,"
        "multifunction=on,addr=0x8.0"
    ]
    assert "hubport,id=uh0,hubid=0,netdev=u0" in words


def test_every_socket_is_named_and_short() -> None:
    case = CASES["cloud"]
    names = qemu.socket_names(case)
    assert names == ("qmp", "serial", "l0", "l1", "l2", "n0", "g0", "vnc")
    line = " ".join(qemu.command(case))
    assert all(f"path={name}" in line or f"unix:{name}" in line for name in names)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory_mb": 64}, "memory_mb is 64: it must be a whole number from 96"),
        ({"name": "-evil"}, "machine name"),
        ({"uuid": "UUID"}, "uuid"),
        ({"cores": 0}, "cores"),
        ({"kernel": None}, "disks"),
        ({"macs": ("52:54:00:00:00:00",) * 2}, "macs"),
        ({"macs": ("02:00:00:00:00:00,netdev=x",)}, "macs"),
        ({"disks": (qemu.Disk("vm.qcow2"),)}, "path"),
        ({"firmware": (("opt/x", "../y"),)}, "firmware"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        options(**changes)
