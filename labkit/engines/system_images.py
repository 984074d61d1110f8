"""System images that are started without a disk: where a host has their kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from labkit import micro, rules
from labkit.events import Listener, ignore
from labkit.executor import Executor
from labkit.micro import KERNEL_ARGUMENTS, MicroImage
from labkit.programs.qemu import DirectKernel


@dataclass(frozen=True, slots=True)
class SystemImage:
    """A kernel with its system, and the least memory in MB that a machine needs for it."""

    kernel: DirectKernel
    memory_mb: int


class SystemImages(Protocol):
    """Gives hosts the system images they are asked for."""

    def ensure(self, host: str, name: str, tell: Listener) -> SystemImage:
        """The image on that host; made or sent there now if it is not. Raises `UnknownImage`,
        `SystemImageDamaged`."""

    def find(self, host: str, name: str) -> SystemImage | None:
        """The image on that host if it is there. Raises `SystemImageDamaged`."""

    def check(self, name: str) -> None:
        """Raise `UnknownImage` for one that is not there and that `ensure` cannot make."""


class LocalSystemImages:
    """The images in this user's data directory, for a host that is this machine."""

    def ensure(self, host: str, name: str, tell: Listener) -> SystemImage:
        return _usable(micro.ensure(name, on_event=tell))

    def find(self, host: str, name: str) -> SystemImage | None:
        found = micro.find_micro(name=name)
        if found is None:
            return None
        micro.check_whole(found)
        return _usable(found)

    def check(self, name: str) -> None:
        micro.check_known(name)


class SimulatedSystemImages:
    """For simulated hosts: their machines need a kernel that is there, whatever is in it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def ensure(self, host: str, name: str, tell: Listener) -> SystemImage:
        folder = f"/tmp/labkit-system/{rules.name(name, 'image')}"
        self._executor.run(host, ("mkdir", "-p", folder)).check()
        for file in ("vmlinux", "initrd.cpio"):
            self._executor.put(host, f"{folder}/{file}", b"simulated")
        kernel = DirectKernel(f"{folder}/vmlinux", f"{folder}/initrd.cpio", KERNEL_ARGUMENTS)
        return SystemImage(kernel, memory_mb=0)

    def find(self, host: str, name: str) -> SystemImage | None:
        return self.ensure(host, name, ignore)

    def check(self, name: str) -> None:
        micro.check_known(name)  # as it will be where the same wish is deployed for real


def _usable(image: MicroImage) -> SystemImage:
    kernel = DirectKernel(str(image.kernel), str(image.initrd), KERNEL_ARGUMENTS)
    return SystemImage(kernel, image.memory_mib)
