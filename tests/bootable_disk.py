"""A disk image with a system on it, made here: by a guest, so that no root is needed on the host.

A file system with extlinux, Debian's kernel and the micro system, which stands for the systems of
others as far as disk, boot and seed go.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from labkit.events import ignore
from labkit.micro import KERNEL_ARGUMENTS, MicroImage, build_micro
from labkit.micro.shelf import Shelf
from labkit.programs.qemu import DirectKernel, Disk
from machines_lab import MachinesLab

BOOT = f"""\
SERIAL 0
DEFAULT linux
LABEL linux
  KERNEL vmlinuz
  INITRD initrd
  APPEND {KERNEL_ARGUMENTS} from=disk
"""


def make_bootable_disk(lab: MachinesLab, folder: Path) -> Path:
    """A qcow2 image that boots by itself."""
    maker = build_micro(folder, name="maker", add=["extlinux"])
    disk = folder / "micro-disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "96M"], check=True)
    kernel = DirectKernel(str(maker.kernel), str(maker.initrd), KERNEL_ARGUMENTS)
    machine = lab.start(1, "maker", kernel=kernel, disks=(Disk(str(disk)),))
    guest = machine.guest
    guest.run("mke2fs /dev/vda && mount /dev/vda /mnt", check=True)
    guest.put("/mnt/vmlinuz", packed_kernel(maker))
    guest.upload(maker.initrd, "/mnt/initrd")
    guest.put("/mnt/extlinux.conf", BOOT.encode())
    guest.run("extlinux --install /mnt && umount /mnt", check=True)
    machine.shut_down()
    machine.forget()
    return disk


def packed_kernel(image: MicroImage) -> bytes:
    """The kernel as boot loaders want it; labkit starts the unpacked one."""
    (package,) = (one for one in image.packages if one.name.startswith("linux-image-"))
    files = Shelf(None, None, ignore).unpack(package)
    return files["/boot/vmlinuz-" + package.name.removeprefix("linux-image-")].data
