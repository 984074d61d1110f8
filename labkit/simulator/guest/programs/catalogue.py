"""All programs of a simulated micro guest, by name."""

from __future__ import annotations

from collections.abc import Mapping

from labkit.simulator.command_line import checked
from labkit.simulator.guest.programs import machine
from labkit.simulator.guest.programs.ping import ping
from labkit.simulator.machine import Program
from labkit.simulator.programs import PROGRAMS

OWN: Mapping[str, Program] = {
    "date": machine.date,
    "dmesg": machine.dmesg,
    "env": machine.env,
    "free": machine.free,
    "halt": machine.poweroff,
    "hostname": machine.hostname,
    "id": machine.id_,
    "ip": machine.ip,
    "labkit-setup": machine.labkit_setup,
    "ping": ping,
    "ping6": ping,
    "poweroff": machine.poweroff,
    "ps": machine.ps,
    "reboot": machine.reboot,
    "sysctl": machine.sysctl,
    "uname": machine.uname,
    "uptime": machine.uptime,
}
GUEST_PROGRAMS: Mapping[str, Program] = {
    **PROGRAMS,
    **{name: checked(program) for name, program in OWN.items()},
}
