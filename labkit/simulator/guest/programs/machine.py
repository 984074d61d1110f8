"""What the guest's own programs tell of it and do with it: name, time, settings, power."""

from __future__ import annotations

import time
from functools import partial

from labkit.simulator.guest.programs import ip as ip_command
from labkit.simulator.guest.programs import names
from labkit.simulator.guest.programs.arguments import BadUsage, read
from labkit.simulator.guest.release import RELEASE, VERSION
from labkit.simulator.guest.setup import apply
from labkit.simulator.guest.system import system_of
from labkit.simulator.machine import Process, Steps, Wait

HALT_SECONDS = 0.3


def ip(process: Process) -> Steps[int]:
    system = system_of(process)
    words = list(process.argv[1:])
    if "-batch" in words or "-b" in words:
        return (yield from _batch(process, words))
    outcome = ip_command.run(system.net, words, system.show_interfaces)
    process.stdout.write(outcome.out.encode())
    process.stderr.write(outcome.err.encode())
    yield Wait(0.001)
    return outcome.status


def _batch(process: Process, words: list[str]) -> Steps[int]:
    """``ip -batch FILE``: commands, one on a line; ``-`` is standard input."""
    system = system_of(process)
    source = words[-1]
    data = (yield from process.read_all()) if source == "-" else process.files.read(source)
    status = 0
    for line in data.decode().splitlines():
        if line.strip():
            outcome = ip_command.run(system.net, line.split(), system.show_interfaces)
            process.stdout.write(outcome.out.encode())
            process.stderr.write(outcome.err.encode())
            status = outcome.status or status
    return status


def hostname(process: Process) -> int:
    system = system_of(process)
    words = [word for word in process.argv[1:] if not word.startswith("-")]
    if words:
        system.rename(words[0])
    elif "-i" in process.argv:
        process.say(str(names.resolve(system.files, system.hostname) or ""))
    else:
        process.say(system.hostname)
    return 0


def uname(process: Process) -> int:
    facts = {
        "s": "Linux",
        "n": process.machine.hostname,
        "r": RELEASE,
        "v": VERSION,
        "m": "x86_64",
        "o": "GNU/Linux",
    }
    try:
        options, _ = read(list(process.argv[1:]), "asnrvmopi", "")
    except BadUsage as error:
        return process.fail(str(error))
    chosen = facts if "a" in options else {k: v for k, v in facts.items() if k in options}
    process.say(" ".join(chosen.values()) if options else "Linux")
    return 0


def uptime(process: Process) -> int:
    guest = system_of(process).guest
    now = time.strftime("%H:%M:%S", time.gmtime(guest.nanoseconds / 1e9))
    minutes = int(guest.uptime // 60)
    up = f"{minutes} min" if minutes < 60 else f"{minutes // 60:2}:{minutes % 60:02}"
    process.say(f" {now} up {up},  0 users,  load average: 0.00, 0.00, 0.00")
    return 0


def date(process: Process) -> int:
    guest = system_of(process).guest
    form = next((word[1:] for word in process.argv[1:] if word.startswith("+")), "")
    seconds = guest.nanoseconds / 1e9
    text = time.strftime(form or "%a %b %e %H:%M:%S UTC %Y", time.gmtime(seconds))
    process.say(text.replace("%N", f"{guest.nanoseconds % 10**9:09}"))
    return 0


def sysctl(process: Process) -> int:
    settings = system_of(process).net.settings
    try:
        options, rest = read(list(process.argv[1:]), "anweqNr", "p")
    except BadUsage as error:
        return process.fail(str(error))
    status = 0
    for word in sorted(settings.values) if "a" in options else rest:
        name, is_set, value = word.replace("/", ".").partition("=")
        name = name.strip()
        if name not in settings.values:
            process.stderr.write(f"sysctl: error: '{name}' is an unknown key\n".encode())
            status = 1
            continue
        if is_set:
            settings.set(name, value.strip())
        if "q" not in options:
            now = settings.values[name]
            process.say(now if "n" in options else f"{name} = {now}")
    return status


def ps(process: Process) -> int:
    process.say("PID   USER     COMMAND")
    known = {1: "init", **{p.pid: " ".join(p.argv) for p in process.machine.processes.values()}}
    process.say(*(f"{pid:5} root     {line}" for pid, line in sorted(known.items())))
    return 0


def free(process: Process) -> int:
    scale = 1 << 20 if "-m" in process.argv else 1024
    total = process.machine.ram * 3 // 4 // scale
    used, cache = total // 4, total // 3
    process.say(
        "              total        used        free      shared  buff/cache   available",
        f"Mem:    {total:11} {used:11} {total - used - cache:11} {cache * 3 // 4:11} "
        f"{cache:11} {total // 2:11}",
        f"Swap:   {0:11} {0:11} {0:11}",
    )
    return 0


def env(process: Process) -> int:
    process.say(*(f"{name}={value}" for name, value in sorted(process.environment.items())))
    return 0


def busybox(process: Process) -> int | Steps[int]:
    """``busybox APPLET...``, or without one what it is."""
    if len(process.argv) > 1:
        return process.start(*process.argv[1:])
    process.say(
        "BusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) multi-call binary.",
        "BusyBox is copyrighted by many authors between 1998-2015.",
        "Licensed under GPLv2. See source distribution for detailed",
        "copyright notices.",
    )
    return 0


def mount(process: Process) -> int:
    if len(process.argv) > 1:
        return process.fail("mounting is not simulated")
    process.say(
        "rootfs on / type rootfs (rw)",
        "proc on /proc type proc (rw,relatime)",
        "sysfs on /sys type sysfs (rw,relatime)",
        "tmpfs on /tmp type tmpfs (rw,relatime)",
    )
    return 0


def df(process: Process) -> int:
    """``df [-h]``: one file system in memory."""
    total, free = process.files.capacity // 1024, process.files.free // 1024
    used = total - free
    share = f"{-(-used * 100 // total)}%"
    if "-h" in process.argv or "-hm" in process.argv:
        process.say(
            "Filesystem                Size      Used Available Use% Mounted on",
            f"tmpfs                {total / 1024:8.1f}M {used / 1024:8.1f}M {free / 1024:8.1f}M "
            f"{share:>4} /tmp",
        )
    else:
        process.say(
            "Filesystem           1K-blocks      Used Available Use% Mounted on",
            f"tmpfs                {total:9} {used:9} {free:9} {share:>4} /tmp",
        )
    return 0


def id_(process: Process) -> int:
    process.say("uid=0(root) gid=0(root)")
    return 0


def dmesg(process: Process) -> int:
    process.say("[    0.000000] Linux version " + RELEASE)
    return 0


def reboot(process: Process) -> Steps[int]:
    return _end(process, system_of(process).guest.reboot)


def poweroff(process: Process) -> Steps[int]:
    return _end(process, system_of(process).guest.power_off)


def _end(process: Process, work: object) -> Steps[int]:
    assert callable(work)
    guest = system_of(process).guest
    soon = 0.0 if "-f" in process.argv else HALT_SECONDS
    guest.call_later(soon, partial(work))
    yield Wait(0.001)
    return 0


def labkit_setup(process: Process) -> Steps[int]:
    """Settings on standard input, in the language of the first start."""
    text = (yield from process.read_all()).decode()

    def tell(line: str) -> None:
        process.stderr.write(f"labkit: {line}\n".encode())

    return int(not apply(system_of(process), text, tell, fresh=False))
