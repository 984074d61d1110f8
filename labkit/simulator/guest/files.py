"""The files of a simulated guest; some of them, below /proc and /sys, are made as they are read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.simulator.files import FileTree, Node, failure
from labkit.simulator.guest.release import RELEASE, VERSION
from labkit.simulator.net.interfaces import Interface
from labkit.simulator.net.neighbours import Neighbours
from labkit.simulator.net.wire import mac_text

if TYPE_CHECKING:
    from labkit.simulator.guest.system import System

FOLDERS = (
    *("/bin", "/dev", "/etc", "/lib", "/mnt", "/proc/net", "/proc/sys/kernel", "/root"),
    *("/run/labkit", "/sbin", "/sys/class/net", "/usr/bin", "/usr/local/bin", "/var/log"),
)
TEXTS = {
    "/etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/hostname": "micro\n",
    "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tmicro\n::1\tlocalhost\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/resolv.conf": "",
    "/etc/shells": "/bin/sh\n/bin/ash\n/bin/dash\n",
}
PROCESSOR = "processor\t: {}\nmodel name\t: QEMU Virtual CPU version 2.5+\n\n"
DEVICES = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
colls carrier compressed
"""
NO_MAC = "00:00:00:00:00:00"
Reader = Callable[[], str]
Writer = Callable[[str], None]


class GuestFiles(FileTree):
    """A tree in which a few files are windows into the system."""

    def __init__(self, system: System) -> None:
        super().__init__(system.clock, user="root", capacity=system.ram // 2)
        self._system = system
        self._live: dict[str, tuple[Reader, Writer | None]] = {}
        for name in ("/home", "/srv"):
            for below in self.names(name):
                self.remove_folder(f"{name}/{below}")
            self.remove_folder(name)
        for folder in FOLDERS:
            self.make_folder(folder, parents=True)
        for path, text in TEXTS.items():
            super().write(path, text.encode())
        self._show_system()

    def read(self, path: str) -> bytes:
        live = self._live.get(self.absolute(path))
        return live[0]().encode() if live is not None else super().read(path)

    def write(
        self, path: str, data: bytes, *, append: bool = False, exclusive: bool = False
    ) -> Node:
        live = getattr(self, "_live", {}).get(self.absolute(path))
        if live is None:
            return super().write(path, data, append=append, exclusive=exclusive)
        if data:
            if live[1] is None:
                raise failure(errno.EACCES, path)
            live[1](data.decode(errors="replace").strip())
        return self.status(path)

    def show(self, path: str, read: Reader, write: Writer | None = None) -> None:
        """Make a file that says what `read` does, and tells `write` what is written to it."""
        self.make_folder(path.rpartition("/")[0], parents=True)
        super().write(path, b"")
        self._live[path] = (read, write)

    def show_interface(self, interface: Interface) -> None:
        """What /sys tells of an interface; the name is the one it has now."""
        folder = f"/sys/class/net/{interface.name}"
        self.show(f"{folder}/address", lambda: f"{interface.mac.hex(':')}\n")
        self.show(f"{folder}/operstate", lambda: f"{interface.state.lower()}\n")
        self.show(f"{folder}/mtu", lambda: f"{interface.mtu}\n")
        self.show(f"{folder}/carrier", lambda: f"{int(interface.has_carrier)}\n")

    # ---- inside

    def _show_system(self) -> None:
        system = self._system
        settings = system.net.settings

        def uptime() -> str:
            seconds = system.guest.uptime
            return f"{seconds:.2f} {seconds * 0.9:.2f}\n"

        self.show("/proc/uptime", uptime)
        self.show("/proc/net/dev", lambda: device_table(system.net.interfaces))
        self.show("/proc/meminfo", lambda: memory(system.ram))
        self.show("/proc/cpuinfo", lambda: "".join(map(PROCESSOR.format, range(system.cores))))
        self.show("/proc/net/arp", lambda: arp_table(system.net.neighbours))
        self.show("/proc/version", lambda: f"Linux version {RELEASE} {VERSION}\n")
        self.show("/proc/sys/kernel/osrelease", lambda: f"{RELEASE}\n")
        self.show("/proc/sys/kernel/hostname", lambda: f"{system.hostname}\n", system.rename)
        self.show("/proc/sysrq-trigger", lambda: "", self._sysrq)
        for name in settings.values:
            self._show_setting(name)

    def _show_setting(self, name: str) -> None:
        settings = self._system.net.settings
        path = f"/proc/sys/{name.replace('.', '/')}"
        self.show(
            path, lambda: f"{settings.values[name]}\n", lambda value: settings.set(name, value)
        )

    def _sysrq(self, key: str) -> None:
        guest = self._system.guest
        if key == "c":
            guest.call_later(0, lambda: guest.panic("sysrq triggered crash"))
        elif key == "b":
            guest.call_later(0, guest.reboot)
        elif key == "o":
            guest.call_later(0, guest.power_off)


def arp_table(neighbours: Neighbours) -> str:
    """/proc/net/arp."""
    text = "IP address       HW type     Flags       HW address            Mask     Device\n"
    for one in neighbours.all():
        if one.ip.version == 4:
            flags = "0x2" if one.mac else "0x0"
            mac = mac_text(one.mac) if one.mac else NO_MAC
            text += f"{one.ip!s:<16} 0x1         {flags}         {mac}     *        "
            text += f"{one.interface.name}\n"
    return text


def device_table(interfaces: list[Interface]) -> str:
    """/proc/net/dev."""
    text = DEVICES
    for one in interfaces:
        c = one.counters
        text += f"{one.name:>6}: {c.rx_bytes:7} {c.rx_packets:7}    0    0    0     0          0"
        text += f" {c.multicast:9} {c.tx_bytes:8} {c.tx_packets:7}    0    0    0     0       0"
        text += "          0\n"
    return text


def memory(size: int) -> str:
    """/proc/meminfo."""
    total = size * 3 // 4 // 1024
    rows = {"MemTotal": total, "MemFree": total // 2, "MemAvailable": total // 2, "Buffers": 0}
    return "".join(f"{f'{name}:':<15} {value:8} kB\n" for name, value in rows.items())
