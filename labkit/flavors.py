"""The sizes a wish may name: `micro`, which has no disk, beside the flavors of the contract."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from labkit.errors import UnknownFlavor
from labkit.model import FLAVORS

MEMORY_FLOOR_MB = 96  # below it the micro system hangs without a word


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine gets. `disk_gb` is None where the system lives in memory.

    `image` is the name of a system image or the path of a base image on the manager. `agent`
    tells whether the system answers labkit's lanes; a system without it takes its settings only
    when it starts.
    """

    cores: int
    memory_mb: int
    disk_gb: float | None
    image: str
    agent: bool


SIZES: dict[str, Size] = {
    "micro": Size(cores=1, memory_mb=128, disk_gb=None, image="micro", agent=True),
    **{
        name: Size(
            cores=flavor.cores,
            memory_mb=int(flavor.ram_gb * 1024),
            disk_gb=flavor.disk_gb,
            image=flavor.image,
            agent=False,
        )
        for name, flavor in FLAVORS.items()
    },
}


def size(name: str) -> Size:
    """The size called `name`; raises `UnknownFlavor`, listing the names there are."""
    if isinstance(name, str) and name in SIZES:
        return SIZES[name]
    near = difflib.get_close_matches(str(name), SIZES, n=1)
    raise UnknownFlavor(
        f"there is no flavor {name!r}",
        why=f"the flavors are {', '.join(SIZES)}",
        fix=f"Did you mean {near[0]!r}?" if near else "Choose one of them.",
        flavor=name,
    )
