"""The command line of qemu-system-x86_64, from values; every path but images is in its folder.

QEMU runs with its machine's folder as working directory, so that socket paths are short and the
command line is the same wherever that folder lies. It serves every socket; the steward connects.
It starts halted (``-S``): nothing a guest says is lost before somebody listens.
"""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from labkit import rules
from labkit.model import INTERNET_GATEWAY, INTERNET_NETWORK

PROGRAM = "qemu-system-x86_64"
INSTALL = "Install it there (Debian, Ubuntu: apt install qemu-system-x86)."
PID, MONITOR, SERIAL, SCREEN, GATEWAY = "pid", "qmp", "serial", "vnc", "g0"
LANES = ("l0", "l1", "l2")
LANE_NAME = "labkit.{}"  # what the ports are called in the guest
NAME_SERVER = "10.60.7.2"
INTERNET_NETDEVS = ("u0", "uh0", "g0", "gh0")

LEAST_MEMORY_MB = 96  # measured: below it the kernel dies while unpacking, without a word
MOST_MEMORY_MB = 1 << 20
MOST_NICS = 128
_FUNCTIONS = 8  # of a PCI slot
_FIRST_NIC_SLOT = 8
_MAC = re.compile(r"(52:54:00)(:[0-9a-f]{2}){3}")
_KEY = re.compile(r"opt/[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*")
_FILE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Acceleration:
    """Who executes the guest's instructions: the processor (kvm), or QEMU itself (tcg)."""

    kind: Literal["kvm", "tcg"]
    processor: str

    def arguments(self) -> tuple[str, ...]:
        # The default size of the cache of translated code is a quarter of the host's memory.
        how = "kvm" if self.kind == "kvm" else "tcg,thread=multi,tb-size=32"
        return ("-accel", how, "-cpu", self.processor)


KVM = Acceleration("kvm", "host")
TCG = Acceleration("tcg", "qemu64,+rdrand")


@dataclass(frozen=True, slots=True)
class DirectKernel:
    """A kernel, its initial file system and its arguments, loaded by QEMU: no boot loader."""

    kernel: str
    initrd: str
    line: str


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the guest. A read-only one carries data, such as a cloud image's seed."""

    path: str
    format: Literal["qcow2", "raw"] = "qcow2"
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Internet:
    """User networking behind a switch port of its own (socket `GATEWAY`), never behind a NIC.

    Whoever joins that socket to a NIC decides what may pass: slirp itself would let the guest
    reach every service on the host's loopback. `address` is what its DHCP gives.
    """

    address: str


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """One machine as QEMU is to make it. NIC i has the i-th MAC and is served on socket ``nI``.

    `firmware` names entries for the guest (``opt/…``) and the files, in the machine's folder,
    that hold them. The kernel goes before a bootable disk.
    """

    name: str
    uuid: str
    memory_mb: int
    cores: int = 1
    kernel: DirectKernel | None = None
    disks: tuple[Disk, ...] = ()
    macs: tuple[str, ...] = ()
    internet: Internet | None = None
    firmware: tuple[tuple[str, str], ...] = ()
    screen: bool = False
    acceleration: Acceleration = TCG

    def __post_init__(self) -> None:
        rules.name(self.name, "machine name")
        _check_uuid(self.uuid)
        rules.integer(self.memory_mb, "memory_mb", LEAST_MEMORY_MB, MOST_MEMORY_MB)
        rules.integer(self.cores, "cores", 1, 255)
        if self.kernel is None and not self.disks:
            rules.invalid("disks", self.disks, "not empty where there is no kernel to boot")
        if len(self.macs) > MOST_NICS or len(set(self.macs)) != len(self.macs):
            rules.invalid("macs", self.macs, f"at most {MOST_NICS} addresses, each once")
        for mac in self.macs:
            if not _MAC.fullmatch(mac):
                rules.invalid("macs", mac, "lower-case addresses that start with 52:54:00")
        for key, file in self.firmware:
            if not _KEY.fullmatch(key) or not _FILE.fullmatch(file):
                rules.invalid("firmware", (key, file), "('opt/…', plain file name) pairs")
        for path in self._paths():
            if not path.startswith("/") or "\0" in path:
                rules.invalid("path", path, "absolute: QEMU runs in the machine's folder")

    def _paths(self) -> tuple[str, ...]:
        boot = () if self.kernel is None else (self.kernel.kernel, self.kernel.initrd)
        return (*boot, *(disk.path for disk in self.disks))


def command(options: MachineOptions, program: str = PROGRAM) -> tuple[str, ...]:
    """The whole command line; `program` is a name on the host's PATH or a path."""
    return (
        *(program, "-name", options.name, "-uuid", options.uuid, "-S"),
        *("-machine", "q35,sata=off,smbus=off,hpet=off"),
        *options.acceleration.arguments(),
        *("-m", str(options.memory_mb), "-smp", str(options.cores)),
        # No default devices, configuration files or network: a guest has what it is given.
        *("-nodefaults", "-no-user-config", "-nic", "none"),
        *("-pidfile", PID, "-qmp", f"unix:{MONITOR},server=on,wait=off"),
        *_screen(options),
        *_boot(options),
        *("-device", "virtio-rng-pci"),
        *_serial_ports(),
        *_disks(options),
        *_nics(options),
        *_internet(options),
        *_firmware(options),
    )


def socket_names(options: MachineOptions) -> tuple[str, ...]:
    """The sockets QEMU will serve in the machine's folder."""
    names = [MONITOR, SERIAL, *LANES, *(f"n{i}" for i in range(len(options.macs)))]
    if options.internet is not None:
        names.append(GATEWAY)
    if options.screen:
        names.append(SCREEN)
    return tuple(names)


def _escaped(value: str) -> str:
    """A value inside an option of QEMU: a comma would end it."""
    return value.replace(",", ",,")


def _screen(options: MachineOptions) -> tuple[str, ...]:
    if not options.screen:
        return ("-display", "none")
    return ("-device", "VGA,vgamem_mb=4", "-vnc", f"unix:{SCREEN}")


def _boot(options: MachineOptions) -> tuple[str, ...]:
    boot = options.kernel
    if boot is None:
        return ()
    return ("-kernel", boot.kernel, "-initrd", boot.initrd, "-append", boot.line)


def _serial_ports() -> tuple[str, ...]:
    words = ["-chardev", f"socket,id=serial,path={SERIAL},server=on,wait=off"]
    words += ["-serial", "chardev:serial", "-device", "virtio-serial-pci,id=lanes"]
    for number, path in enumerate(LANES):
        name = LANE_NAME.format(number)
        words += ["-chardev", f"socket,id={path},path={path},server=on,wait=off"]
        words += ["-device", f"virtserialport,bus=lanes.0,chardev={path},name={name}"]
    return tuple(words)


def _disks(options: MachineOptions) -> tuple[str, ...]:
    words: list[str] = []
    for number, disk in enumerate(options.disks):
        drive = f"if=none,id=d{number},file={_escaped(disk.path)},format={disk.format}"
        drive += ",readonly=on" if disk.read_only else ",cache=writeback,discard=unmap"
        boots = number == 0 and options.kernel is None
        device = f"virtio-blk-pci,id=vd{number},drive=d{number}{',bootindex=0' if boots else ''}"
        words += ["-drive", drive, "-device", device]
    return tuple(words)


def _nics(options: MachineOptions) -> tuple[str, ...]:
    words: list[str] = []
    for number, mac in enumerate(options.macs):
        slot, function = divmod(number, _FUNCTIONS)
        place = f"multifunction=on,addr={_FIRST_NIC_SLOT + slot:#x}.{function}"
        netdev = f"stream,id=n{number},server=on,addr.type=unix,addr.path=n{number}"
        # Without romfile= each NIC carries firmware to boot from the network.
        device = f"virtio-net-pci,id=nic{number},netdev=n{number},mac={mac},romfile=,{place}"
        words += ["-netdev", netdev, "-device", device]
    return tuple(words)


def _internet(options: MachineOptions) -> tuple[str, ...]:
    if options.internet is None:
        return ()
    words: list[str] = []
    for netdev in internet_netdevs(options.internet, options.name):
        kind, *settings = _flat(netdev)
        words += ["-netdev", ",".join([kind.partition("=")[2], *settings])]
    return tuple(words)


def internet_netdevs(internet: Internet, name: str) -> tuple[dict[str, Any], ...]:
    """The parts of user networking, in the order to make them: as arguments of ``netdev_add``."""
    return (
        {
            "type": "user",
            "id": "u0",
            "net": INTERNET_NETWORK,
            "host": INTERNET_GATEWAY,
            "dns": NAME_SERVER,
            "dhcpstart": internet.address,
            "ipv6": False,
            "hostname": name,
        },
        {"type": "hubport", "id": "uh0", "hubid": 0, "netdev": "u0"},
        {"type": "stream", "id": "g0", "server": True, "addr": {"type": "unix", "path": GATEWAY}},
        {"type": "hubport", "id": "gh0", "hubid": 0, "netdev": "g0"},
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Settings in QEMU's other spelling, ``a=1,b.c=on``."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            word = ("off", "on")[value] if isinstance(value, bool) else value
            yield f"{prefix}{key}={word}"


def _firmware(options: MachineOptions) -> tuple[str, ...]:
    words: list[str] = []
    for key, file in options.firmware:
        words += ["-fw_cfg", f"name={key},file={file}"]
    return tuple(words)


def _check_uuid(value: str) -> None:
    try:
        known = str(uuids.UUID(value)) == value
    except (AttributeError, TypeError, ValueError):
        known = False
    if not known:
        rules.invalid("uuid", value, "a UUID in lower case, as uuid.uuid4() gives it")
