"""Allocations as rows and rows as allocations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from labkit import spec
from labkit.allocate import Allocation, LinkAllocation, Taken, VMAllocation
from labkit.model import mac_addresses
from labkit.store.schema import links, slices, vlan_pools, vms
from labkit.wish import Slice

VM_FIELDS = tuple(VMAllocation.__dataclass_fields__)
LINK_FIELDS = tuple(LinkAllocation.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Record:
    """A slice as it is stored, in the file `store`.

    `key` names its run folder; `version` counts changes of the wish.
    """

    id: int
    key: str
    version: int
    wish: Slice
    allocation: Allocation
    store: str

    @property
    def name(self) -> str:
        return self.wish.name

    @property
    def holds_anything(self) -> bool:
        """Whether something is promised to the slice, or may still be there."""
        held = self.allocation
        return bool(held.everyone or held.links or held.leaving_links)


def read_slice(connection: Connection, name: str) -> Record | None:
    """A slice with all that was promised to it."""
    row = connection.execute(select(slices).where(slices.c.name == name)).one_or_none()
    if row is None:
        return None
    wish = spec.from_json(row.wish)
    store = str(connection.engine.url.database)
    return Record(row.id, row.key, row.version, wish, _allocation(connection, row), store)


def _allocation(connection: Connection, row: Any) -> Allocation:
    found: dict[int, list[VMAllocation]] = {0: [], 1: []}
    query = select(vms).where(vms.c.slice_id == row.id).order_by(vms.c.position)
    for vm in connection.execute(query).mappings():
        found[vm["leaving"]].append(VMAllocation(**{key: vm[key] for key in VM_FIELDS}))
    joined: dict[int, list[LinkAllocation]] = {0: [], 1: []}
    query = select(links).where(links.c.slice_id == row.id).order_by(links.c.position)
    for link in connection.execute(query).mappings():
        joined[link["leaving"]].append(LinkAllocation(**{key: link[key] for key in LINK_FIELDS}))
    pools = select(vlan_pools.c.first).where(vlan_pools.c.slice_id == row.id)
    return Allocation(
        slice=row.name,
        uuid=row.uuid,
        vms=tuple(found[0]),
        leaving=tuple(found[1]),
        links=tuple(joined[0]),
        leaving_links=tuple(joined[1]),
        pools=tuple(connection.scalars(pools.order_by(vlan_pools.c.first))),
    )


def write_allocation(connection: Connection, slice_id: int, allocation: Allocation) -> None:
    """Put an allocation in the place of the slice's former one; a clash is an IntegrityError."""
    for table in (vms, links, vlan_pools):
        connection.execute(delete(table).where(table.c.slice_id == slice_id))
    rows = [
        {
            **asdict(vm),
            "slice_id": slice_id,
            "mac_prefix": mac_addresses(vm.vm_id, 1)[0].rpartition(":")[0],
            "position": position,
            "leaving": int(position >= len(allocation.vms)),
        }
        for position, vm in enumerate(allocation.everyone)
    ]
    everything = (*allocation.links, *allocation.leaving_links)
    link_rows = [
        {
            **asdict(link),
            "slice_id": slice_id,
            "position": position,
            "leaving": int(position >= len(allocation.links)),
        }
        for position, link in enumerate(everything)
    ]
    pool_rows = [{"first": first, "slice_id": slice_id} for first in allocation.pools]
    for table, each in ((vms, rows), (links, link_rows), (vlan_pools, pool_rows)):
        if each:
            connection.execute(insert(table), each)


def taken_by_others(connection: Connection, slice_id: int | None) -> Taken:
    """What all slices but this one have."""
    others = vms.c.slice_id != (-1 if slice_id is None else slice_id)
    query = select(vms.c.vm_id, vms.c.host, vms.c.vnc_port, vms.c.address, vms.c.overlay)
    rows = connection.execute(query.where(others)).all()
    sums = connection.execute(
        select(vms.c.host, func.sum(vms.c.memory_mb), func.sum(vms.c.disk_gb))
        .where(others)
        .group_by(vms.c.host)
    ).all()
    mine = -1 if slice_id is None else slice_id
    pools = select(vlan_pools.c.first).where(vlan_pools.c.slice_id != mine)
    numbers = select(links.c.link_id).where(links.c.slice_id != mine)
    return Taken(
        vm_ids=frozenset(row.vm_id for row in rows),
        vnc_ports=frozenset((row.host, row.vnc_port) for row in rows),
        addresses=frozenset(row.address for row in rows if row.address),
        overlays=frozenset(row.overlay for row in rows),
        link_ids=frozenset(connection.scalars(numbers)),
        pools=frozenset(connection.scalars(pools)),
        memory_mb={host: memory for host, memory, _ in sums},
        disk_gb={host: disk for host, _, disk in sums},
    )
