"""What is labkit's on a host, from what the host tells."""

from __future__ import annotations

from typing import Any, cast

from labkit.engines import Belonging
from labkit.engines.belongings import find_belongings
from labkit.engines.hosts import HostsEngine
from labkit.images.values import OverlayFacts, WorkerFacts

HOST = "h"


class Told:
    """An engine whose host has told these facts."""

    def __init__(self, slices: list[dict[str, Any]], overlays: list[OverlayFacts]) -> None:
        self._slices, self._overlays = slices, overlays

    def health(self, host: str) -> dict[str, Any]:
        return {"ages": {one["key"]: 3600.0 for one in self._slices}, "strays": []}

    def survey_host(self, host: str, keys: list[str] | None) -> dict[str, Any]:
        return {"slices": self._slices}

    def disks(self) -> Told:
        return self

    def look(self, host: str) -> WorkerFacts:
        return WorkerFacts(
            host, "/home/ana", "/disks", 1, 2, 2, 4, "3.11", "7.2", (), tuple(self._overlays)
        )

    def belongings(self) -> list[Belonging]:
        return find_belongings(cast(HostsEngine, self), HOST)


def machine(**about: object) -> dict[str, Any]:
    return {"index": 0, "name": "m", "uuid": "u", "pid": 7, "about": about}


def test_a_run_folder_is_of_the_stores_that_its_machines_name() -> None:
    machines = [machine(), machine(store="/old.db"), machine(store="/new.db"), machine(store=3)]
    folder = {"key": "0badcafe", "folder": "/run/0badcafe", "steward": 8, "strange": []}
    (found,) = Told([folder | {"machines": machines}], []).belongings()
    assert (found.kind, found.owner, found.young) == ("run folder", "0badcafe", False)
    assert found.stores == ("/old.db", "/new.db")
    (none,) = Told([folder | {"machines": []}], []).belongings()
    assert none.stores == ()


def test_a_disk_is_of_the_slice_and_store_of_its_mark() -> None:
    mark = {"slice": "net", "vm": "h1", "slice_uuid": "s-1", "store": "/data/labkit.db"}
    disks = [
        OverlayFacts("a_img.qcow2", 1, "base.img", 2, mark),
        OverlayFacts("b_img.qcow2", 1, "base.img", 2, {"owner": "ana"}),
        OverlayFacts("c_img.qcow2", 1, "base.img", 2, None),
    ]
    (found,) = Told([], disks).belongings()
    assert (found.kind, found.name) == ("disk", "/disks/a_img.qcow2")
    assert (found.owner, found.stores) == ("s-1", ("/data/labkit.db",))
