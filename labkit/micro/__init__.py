"""The micro image: a small real Linux for lab machines, and how a machine is started from it.

``ensure()`` answers it: as it was built before or installed as a wheel, else built now.
``build_micro()`` makes it from Debian packages, without root and without Debian's programs, and
keeps it in the user's data directory; the same inputs give the same bytes. ``find_micro()`` looks
for it and downloads nothing. All answer a `MicroImage`: paths of `kernel` and `initrd`, their
sha256, the packages, and `memory_mib`, the least memory a machine needs for it.

A machine is started with these options of QEMU (besides its own: name, links, QMP)::

    -machine q35,sata=off,smbus=off,hpet=off -cpu qemu64,+rdrand
    -m MEMORY                                   at least image.memory_mib
    -kernel KERNEL -initrd INITRD -append KERNEL_ARGUMENTS
    -device virtio-rng-pci
    -device virtio-serial-pci,id=vser0
    -chardev socket,id=l0,path=D/l0,server=on,wait=off
    -device virtserialport,bus=vser0.0,chardev=l0,name=labkit.0     and so on for labkit.1, labkit.2
    -serial chardev:...                         the console: a root shell on ttyS0
    -fw_cfg name=opt/labkit/machine,file=F      name, interfaces, addresses, routes; may be absent
    -netdev ... -device virtio-net-pci,netdev=...,mac=...,romfile=

``guest/PROTOCOL.md`` is the contract of the three ports, of ``opt/labkit/machine`` and of the
console. A machine without a network device, without the fw_cfg file or without the ports boots too.
In the guest are busybox, ip, bridge, tc, ping, traceroute, tcpdump, nuttcp, mksh as ``sh``, dash
and luajit; all programs are in ``/usr/bin``, which ``/bin`` and ``/sbin`` are links to.
"""

from __future__ import annotations

from labkit.micro.build import build_micro, ensure, refresh_lock
from labkit.micro.image import (
    MICRO,
    MicroImage,
    check_known,
    find_micro,
    list_micro,
    remove_micro,
)
from labkit.micro.whole import check_whole

__all__ = [
    "KERNEL_ARGUMENTS",
    "MICRO",
    "MicroImage",
    "build_micro",
    "check_known",
    "check_whole",
    "ensure",
    "find_micro",
    "list_micro",
    "refresh_lock",
    "remove_micro",
]

# Each is there for a reason: a serial console, a new start after a panic, and start-up work of the
# kernel left out that a lab machine under software emulation never needs (a third of its time).
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet loglevel=3 panic=1 reboot=t mitigations=off no_timer_check tsc=reliable "
    "nokaslr random.trust_cpu=on cryptomgr.notests init_on_alloc=0 8250.nr_uarts=1 lsm= audit=0 "
    "noreplace-smp"
)
