"""The sizes a wish may name: `micro`, which has no disk, beside the flavors of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from labkit.errors import NoAgent, UnknownFlavor
from labkit.model import FLAVORS
from labkit.near import did_you_mean

Dialect = Literal["cloud-config", "script"]

MEMORY_FLOOR_MB = 96  # below it the micro system hangs without a word


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine gets. `disk_gb` is None where the system lives in memory.

    `image` is the name of a system image or the path of a base image on the manager. `agent`
    tells whether the system answers labkit's lanes; a system without it takes its settings only
    when it starts, written in its `dialect`: "script" where it has no cloud-init.
    """

    cores: int
    memory_mb: int
    disk_gb: float | None
    image: str
    agent: bool
    dialect: Dialect = "cloud-config"


_DIALECTS: dict[str, Dialect] = {"cirros": "script"}
SIZES: dict[str, Size] = {
    "micro": Size(cores=1, memory_mb=128, disk_gb=None, image="micro", agent=True),
    **{
        name: Size(
            cores=flavor.cores,
            memory_mb=int(flavor.ram_gb * 1024),
            disk_gb=flavor.disk_gb,
            image=flavor.image,
            agent=False,
            dialect=_DIALECTS.get(name, "cloud-config"),
        )
        for name, flavor in FLAVORS.items()
    },
}


@dataclass(frozen=True, slots=True)
class Ability:
    """Something one may want of a machine, and how it is had with and without labkit's agent.

    An empty text means that it cannot be had.
    """

    what: str
    with_agent: str
    without_agent: str


_BY_LANES = "at once, over its own channel"
_AT_START = "when it starts, from a cloud-init NoCloud seed"
ABILITIES: tuple[Ability, ...] = (
    Ability("start, power off, pause, resume", "yes", "yes"),
    Ability("shut down, reboot", "asked over its channel", "asked by the power button (ACPI)"),
    Ability("console, screen", "yes", "yes"),
    Ability("links, impairments, capture", "yes", "yes"),
    Ability("know when it is ready", "its agent says so", ""),
    Ability("run commands", _BY_LANES, ""),
    Ability("upload and download files", _BY_LANES, ""),
    Ability("addresses, routes, hosts, files, commands of the wish", _BY_LANES, _AT_START),
    Ability("change them while it runs", _BY_LANES, ""),
)


def need_agent(size: Size, what: str, vm: str) -> None:
    """Raise `NoAgent` where `what` ("run commands in", "copy files to") needs an agent in `vm`."""
    if size.agent:
        return
    raise NoAgent(
        f"cannot {what} {vm}",
        why=f"its image {size.image} has no agent of labkit, which answers without a network",
        fix="Use its console or screen; or give it files and commands in the wish, which it takes "
        "from its seed when it starts; or choose flavor micro, whose image has the agent.",
        vm=vm,
        image=size.image,
    )


def size(name: str) -> Size:
    """The size called `name`; raises `UnknownFlavor`, listing the names there are."""
    if isinstance(name, str) and name in SIZES:
        return SIZES[name]
    raise UnknownFlavor(
        f"there is no flavor {name!r}",
        why=f"the flavors are {', '.join(SIZES)}",
        fix=did_you_mean(name, SIZES, "Choose one of them."),
        flavor=name,
    )
