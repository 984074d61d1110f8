"""What a command line of qemu-system-x86_64 says, as far as a simulated machine needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Device:
    """An option of several values, such as ``virtio-net-pci,id=nic0,mac=…``."""

    kind: str
    values: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Device:
        first, *rest = text.replace(",,", "\0").split(",")
        pairs = [item.partition("=") for item in rest]
        kind, has_value, value = first.partition("=")
        values = {name.replace("\0", ","): what.replace("\0", ",") for name, _, what in pairs}
        if has_value:
            values[kind] = value
        return cls(kind, values)


@dataclass(slots=True)
class CommandLine:
    """A machine as its command line describes it."""

    name: str = ""
    uuid: str = ""
    memory_mb: int = 128
    cores: int = 1
    halted: bool = False
    kernel: str = ""
    initrd: str = ""
    line: str = ""
    pidfile: str = ""
    has_screen: bool = False
    disks: list[str] = field(default_factory=list)
    nics: list[tuple[str, str]] = field(default_factory=list)  # socket, MAC
    firmware: dict[str, str] = field(default_factory=dict)  # name, file
    lanes: list[tuple[str, str]] = field(default_factory=list)  # socket, name in the guest
    monitor: str = ""
    serial: str = ""
    gateway: str = ""
    address: str = ""  # that its user networking gives


def parse(argv: Sequence[str]) -> CommandLine:
    """Read the options of `labkit.programs.qemu` and those close to them."""
    found = CommandLine()
    sockets: dict[str, str] = {}
    words = list(argv[1:])
    while words:
        option = words.pop(0)
        if option in FLAGS:
            found.halted |= option == "-S"
            continue
        value = words.pop(0) if words else ""
        if option in TEXTS:
            setattr(found, TEXTS[option], value.partition(",")[0])
        elif option in WHOLE:
            setattr(found, WHOLE[option], value)
        else:
            _device(found, option, Device.parse(value), sockets)
    return found


FLAGS = {"-S", "-nodefaults", "-no-user-config", "-enable-kvm", "-no-reboot", "-daemonize"}
TEXTS = {"-name": "name", "-uuid": "uuid", "-pidfile": "pidfile"}
WHOLE = {"-kernel": "kernel", "-initrd": "initrd", "-append": "line"}


def _device(found: CommandLine, option: str, device: Device, sockets: dict[str, str]) -> None:
    values = device.values
    if option == "-m":
        size = device.kind if device.kind != "size" else values["size"]
        found.memory_mb = int(size.rstrip("Mm")) if size.rstrip("Mm").isdigit() else 1024
    elif option == "-smp":
        found.cores = int(device.kind) if device.kind.isdigit() else int(values.get("cpus", "1"))
    elif option == "-qmp":
        found.monitor = device.kind.partition(":")[2]
    elif option == "-vnc":
        found.has_screen = True
    elif option == "-chardev":
        sockets[values.get("id", "")] = values.get("path", "")
    elif option == "-serial":
        found.serial = sockets.get(device.kind.partition(":")[2], "")
    elif option == "-netdev":
        _netdev(found, device, sockets)
    elif option == "-drive":
        found.disks.append(values.get("file", ""))
    elif option == "-fw_cfg":
        found.firmware[values.get("name", "")] = values.get("file", "")
    elif option == "-device" and device.kind == "virtserialport":
        found.lanes.append((sockets.get(values.get("chardev", ""), ""), values.get("name", "")))
    elif option == "-device" and device.kind == "virtio-net-pci":
        found.nics.append((sockets.get(f"net:{values.get('netdev', '')}", ""), values["mac"]))


def _netdev(found: CommandLine, device: Device, sockets: dict[str, str]) -> None:
    values = device.values
    if device.kind == "user":
        found.address = values.get("dhcpstart", "")
    elif device.kind == "stream":
        path = values.get("addr.path", "")
        sockets[f"net:{values.get('id', '')}"] = path
        if values.get("id") == "g0":
            found.gateway = path
