"""The micro image: a small real Linux for lab machines, and how a machine is started from it."""

from __future__ import annotations

from labkit.micro.build import MicroImage, build_micro, find_micro, refresh_lock

__all__ = ["KERNEL_ARGUMENTS", "MicroImage", "build_micro", "find_micro", "refresh_lock"]

# Each is there for a reason: a serial console, a new start after a panic, and start-up work of the
# kernel left out that a lab machine under software emulation never needs (a third of its time).
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet loglevel=3 panic=1 reboot=t mitigations=off no_timer_check tsc=reliable "
    "nokaslr random.trust_cpu=on cryptomgr.notests init_on_alloc=0 8250.nr_uarts=1 lsm= audit=0 "
    "noreplace-smp"
)
