"""The second half of `labkit demo`: a network of machines, pings through it, and their packets."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import labkit
from labkit.cli import show
from labkit.cli.interrupting import noted_interrupts
from labkit.cli.progress import watching

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Lab, LabSlice

VMS_SHOWN = ("name", "state", "memory_mb", "addresses")
LINKS_SHOWN = ("name", "state", "ends")
PACKETS_SHOWN = ("time", "source", "destination", "protocol", "info")
EXCHANGE = ("ARP", "ICMP")
CODE = """\
   net = labkit.Lab().slice("demo")
   net.add_vm("h1", addresses={"eth1": "10.0.1.1/24"}, routes=["default via 10.0.1.254"])
   net.add_vm("h2", addresses={"eth1": "10.0.2.1/24"}, routes=["default via 10.0.2.254"])
   net.add_vm("r", interfaces=2, forwarding=True,
              addresses={"eth1": "10.0.1.254/24", "eth2": "10.0.2.254/24"})
   net.link("h1", "r")
   net.link("r", "h2")
   net.deploy()"""


def lab_story(profile: str) -> None:
    """Two hosts with a router between them: deployed, used, looked at, taken down."""
    show.say("\n[bold]5.[/bold] Two hosts and a router between them:")
    show.say(f"[dim]{show.escape(CODE)}[/dim]")
    with labkit.Lab(profile) as lab, _own_slice(lab) as net:
        if lab.is_real:
            _build_image()
        with watching(net.listen) as progress:
            net.deploy()
        _say_what_is_real(lab, progress.seconds or 0.0)
        show.frame("VMs (net.vms)", net.vms, VMS_SHOWN)
        show.frame("Links (net.links)", net.links, LINKS_SHOWN)
        _ping(net)
        show.say("\n[bold]7.[/bold] All of it is taken down:")
    show.say(f"Slice {net.name} is gone: no machine, no file of it is left.")


def _build_image() -> None:
    """The system of the machines, if this user has none yet: the one thing that takes long."""
    from labkit.micro import build_micro, find_micro  # noqa: PLC0415 - keeps `labkit version` quick

    if find_micro() is None:
        show.say("Their system is built from Debian packages now, this one time:")
        with watching() as progress:
            built = build_micro(on_event=progress)
        show.say(f"It is kept: {built.folder} ({show.size(built.size)}).\n")


@contextmanager
def _own_slice(lab: Lab) -> Iterator[LabSlice]:
    """A slice that nobody else has, gone at the end however it ends."""
    net = lab.slice(f"demo-{secrets.token_hex(3)}")
    try:
        _wish(net)
        yield net
    finally:
        with noted_interrupts():  # a second Ctrl-C must not leave machines behind
            net.delete()


def _wish(net: LabSlice) -> None:
    net.add_vm("h1", addresses={"eth1": "10.0.1.1/24"}, routes=["default via 10.0.1.254"])
    net.add_vm("h2", addresses={"eth1": "10.0.2.1/24"}, routes=["default via 10.0.2.254"])
    addresses = {"eth1": "10.0.1.254/24", "eth2": "10.0.2.254/24"}
    net.add_vm("r", interfaces=2, forwarding=True, addresses=addresses)
    net.link("h1", "r")
    net.link("r", "h2")


def _say_what_is_real(lab: Lab, seconds: float) -> None:
    if not lab.is_real:
        show.say("[bold]Simulated:[/bold] no machine runs; the packets are computed.\n")
        return
    show.say(
        f"[bold]Real:[/bold] three virtual machines, each with a Linux kernel of its own, started "
        f"in {seconds:.0f} s\nby your user: no root, no service, no port opened. Their kernels "
        "send the packets below.\n[bold]Not real:[/bold] the cables, which are a process of "
        "labkit's.\n"
    )


def _ping(net: LabSlice) -> None:
    link, target = net.get_link("h1-r"), "10.0.2.1"
    show.say("\n[bold]6.[/bold] h1 pings h2, and the link between h1 and r is captured:")
    show.say(
        '[dim]   with net.get_link("h1-r").capture() as seen:\n'
        f'       net["h1"].run("ping -c 2 {target}")\n'
        "   seen.packets[/dim]"
    )
    with link.capture() as seen:
        result = net["h1"].run(["ping", "-c", "2", target])
        seen.assert_seen("icmp", within="30s", icmp_type=0, icmp_sequence=2)
    show.say(show.escape(result.check().text.strip()))
    packets = seen.packets
    exchange = packets[packets["protocol"].isin(EXCHANGE)]
    show.frame("\nPackets (seen.packets)", _since_the_first(exchange), PACKETS_SHOWN)


def _since_the_first(packets: pd.DataFrame) -> pd.DataFrame:
    """With times as people compare them."""
    since = (packets["time"] - packets["time"].min()).dt.total_seconds()
    return packets.assign(time=[f"{seconds * 1000:.1f} ms" for seconds in since])
