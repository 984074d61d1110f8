"""All programs of a simulated micro guest, by name."""

from __future__ import annotations

from collections.abc import Mapping

from labkit.simulator.command_line import checked
from labkit.simulator.guest.programs import editing, files, legacy, machine, text
from labkit.simulator.guest.programs.dhcp import udhcpc
from labkit.simulator.guest.programs.netcat import nc
from labkit.simulator.guest.programs.nuttcp import nuttcp
from labkit.simulator.guest.programs.ping import ping
from labkit.simulator.guest.programs.tcpdump import tcpdump
from labkit.simulator.guest.programs.traceroute import traceroute
from labkit.simulator.guest.programs.web import httpd, wget
from labkit.simulator.machine import Program
from labkit.simulator.programs import PROGRAMS
from labkit.simulator.shell import sh

OWN: Mapping[str, Program] = {
    "ash": sh,
    "awk": editing.awk,
    "dash": sh,
    "halt": machine.poweroff,
    "id": machine.id_,
    "labkit-setup": machine.labkit_setup,
    "mksh": sh,
    "ping6": ping,
    "traceroute6": traceroute,
    **{
        program.__name__: program
        for program in (
            *(httpd, nc, nuttcp, ping, sh, tcpdump, traceroute, udhcpc, wget, editing.sed),
            *(files.basename, files.cat, files.chmod, files.dirname, files.find, files.kill),
            *(files.killall, files.ls, files.mktemp, files.pidof, files.tar, files.timeout),
            *(files.which, files.xargs, legacy.arp, legacy.arping, legacy.ifconfig),
            *(machine.busybox, machine.df, machine.mount),
            *(legacy.netstat, legacy.nslookup, legacy.route, machine.date, machine.dmesg),
            *(machine.env, machine.free, machine.hostname, machine.ip, machine.poweroff),
            *(machine.ps, machine.reboot, machine.sysctl, machine.uname, machine.uptime),
            *(text.cut, text.grep, text.head, text.rev, text.seq, text.sort, text.tail),
            *(text.tee, text.tr, text.uniq, text.wc, text.yes),
        )
    },
    "md5sum": text.md5sum,
    "sha1sum": text.sha1sum,
    "sha256sum": text.sha256sum,
}
GUEST_PROGRAMS: Mapping[str, Program] = {
    **PROGRAMS,
    **{name: checked(program) for name, program in OWN.items()},
}
