"""Allocations: never twice, stable, and refused with the sum before anything is done."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.allocate import Allocation, Taken, allocate, empty, vlan_pools
from labkit.errors import NoRoom
from labkit.model import INTERNET_VLAN
from labkit.room import OVERHEAD_MB, Host
from labkit.wish import Slice, VMWish
from slice_worlds import HOSTS, SLICE_UUID, allocated, two_hosts_and_a_router, wishes


def other_slices(allocations: Iterable[Allocation]) -> Taken:
    """What these slices have, as the store would tell it."""
    everything = list(allocations)
    vms = [vm for one in everything for vm in one.everyone]
    return Taken(
        vm_ids=frozenset(vm.vm_id for vm in vms),
        vnc_ports=frozenset((vm.host, vm.vnc_port) for vm in vms),
        addresses=frozenset(vm.address for vm in vms if vm.address),
        overlays=frozenset(vm.overlay for vm in vms),
        link_ids=frozenset(link.link_id for one in everything for link in one.links),
        pools=frozenset(pool for one in everything for pool in one.pools),
    )


def all_different(values: Iterable[Hashable]) -> bool:
    listed = [value for value in values if value is not None]
    return len(set(listed)) == len(listed)


@given(st.lists(wishes(), max_size=4))
def test_faults_1_3_5_12_13_24_nothing_is_given_twice(wished: list[Slice]) -> None:
    held: list[Allocation] = []
    for number, wish in enumerate(wished):
        start = empty("net", str(uuid.uuid5(uuid.UUID(SLICE_UUID), str(number))))
        held.append(allocate(wish, start, HOSTS, other_slices(held)))
    vms = [vm for one in held for vm in one.everyone]
    for name in ("vm_id", "uuid", "vnc_port", "address", "overlay"):
        assert all_different(getattr(vm, name) for vm in vms), name
    assert all_different(mac for vm in vms for mac in vm.macs(5))
    assert all_different(link.vlan for one in held for link in one.links)
    assert all_different(link.link_id for one in held for link in one.links)
    assert all_different(pool for one in held for pool in one.pools)
    for one in held:
        assert all_different(vm.index for vm in one.everyone)


@given(wishes(), wishes(), wishes())
def test_what_was_given_stays_while_others_come_and_go(
    first: Slice, second: Slice, third: Slice
) -> None:
    kept = allocated(first)
    for wish in (second, third):
        before = {vm.name: vm for vm in kept.vms}
        links_before = {link.name: link for link in kept.links}
        kept = allocated(wish, kept)
        for vm in kept.vms:
            if vm.name in before:
                old = before[vm.name]
                same = (old.vm_id, old.host, old.index, old.uuid, old.vnc_port, old.overlay)
                assert (vm.vm_id, vm.host, vm.index, vm.uuid, vm.vnc_port, vm.overlay) == same
                assert old.address in (None, vm.address)
        for link in kept.links:
            assert links_before.get(link.name, link) == link
        assert allocated(wish, kept) == kept


@given(wishes(), wishes())
def test_what_is_still_there_is_not_given_to_others(first: Slice, second: Slice) -> None:
    kept = allocated(first)
    ids = {vm.vm_id for vm in kept.vms}
    names = {link.name for link in kept.links}
    new = allocate(second, kept, HOSTS, still_there=ids, links_still_there=names)
    for field in ("vm_id", "index", "uuid", "vnc_port", "address", "overlay"):
        assert all_different(getattr(vm, field) for vm in new.everyone), field
    assert all_different(link.vlan for link in (*new.links, *new.leaving_links))
    assert {vm.vm_id for vm in new.everyone} >= ids
    gone = allocate(second, new, HOSTS)
    assert not gone.leaving
    assert not gone.leaving_links
    assert gone.vms == new.vms


@given(wishes(), st.randoms())
def test_the_order_of_a_wish_does_not_move_what_was_given(
    wish: Slice, chance: st.DataObject
) -> None:
    kept = allocated(wish)
    vms = sorted(wish.vms, key=lambda vm: hash((vm.name, repr(chance))))
    again = allocated(Slice(wish.name, tuple(vms), wish.links[::-1]), kept)
    assert sorted(again.vms, key=lambda vm: vm.vm_id) == sorted(kept.vms, key=lambda vm: vm.vm_id)
    assert set(again.links) == set(kept.links)


def test_fault_24_no_pool_overlaps_another_or_holds_the_internet_vlan() -> None:
    pools = list(vlan_pools())
    vlans = [vlan for first in pools for vlan in range(first, first + 20)]
    assert pools[0] == 100
    assert len(vlans) == len(set(vlans))
    assert INTERNET_VLAN not in vlans
    assert max(vlans) <= 4094


def test_a_pool_that_is_used_up_is_followed_by_another() -> None:
    wish = Slice("net").with_vms(VMWish(name=f"v{n}", interfaces=25) for n in range(2))
    for n in range(1, 26):
        wish = wish.with_link(f"v0:eth{n}", f"v1:eth{n}")
    found = allocated(wish)
    assert found.pools == (100, 120)
    assert allocated(wish.emptied(), found).pools == ()


def test_fault_13_the_formula_is_the_first_choice_and_a_free_address_the_next() -> None:
    wish = Slice("net").with_vms(VMWish(name=f"v{n}", internet=True) for n in range(241))
    addresses = [vm.address or "" for vm in allocated(wish).vms]
    assert addresses[0] == "10.60.7.101"
    last = {int(address.rpartition(".")[2]) for address in addresses}
    assert last == set(range(10, 251))
    with pytest.raises(NoRoom, match="all 241 addresses"):
        allocated(wish.with_vm("one-more", internet=True))


def test_an_address_is_kept_while_the_internet_is_off() -> None:
    wish = Slice("net").with_vm("a", internet=True)
    kept = allocated(wish)
    off = allocated(wish.with_changed_vm("a", internet=False), kept)
    assert off.vms == kept.vms


def test_fault_3_ids_are_passed_over_where_disks_would_share_a_name() -> None:
    taken = other_slices([allocated(Slice("a").with_vm("1-b"))])
    assert taken.overlays == {"a-1-1-b"}
    found = allocate(
        Slice("a-1").with_vm("b"), empty("a-1", SLICE_UUID), HOSTS, Taken(overlays=taken.overlays)
    )
    assert [(vm.vm_id, vm.overlay) for vm in found.vms] == [(2, "a-1-2-b")]


def test_fault_1_ports_in_use_on_the_host_are_passed_over() -> None:
    taken = Taken(vnc_ports=frozenset({("here", 5901), ("here", 5903), ("there", 5902)}))
    found = allocate(two_hosts_and_a_router(), empty("net", SLICE_UUID), HOSTS, taken)
    assert [vm.vnc_port for vm in found.vms] == [5902, 5904, 5905]


def test_fault_31_a_wish_that_does_not_fit_is_refused_with_the_sum() -> None:
    small = [Host("laptop", cores=2, memory_mb=500)]
    with pytest.raises(NoRoom) as caught:
        allocate(two_hosts_and_a_router(), empty("net", SLICE_UUID), small)
    needed = 3 * (128 + OVERHEAD_MB)
    assert f"its 3 VMs need {needed} MB of memory" in str(caught.value)
    assert "laptop can give 500 MB" in str(caught.value)
    assert caught.value.context == {"needed": needed, "free": 500}


def test_a_wish_of_one_vm_that_does_not_fit_is_told_as_one() -> None:
    with pytest.raises(NoRoom, match=r"its VM needs 192 MB of memory \(64 MB for QEMU included\)"):
        allocate(Slice("s").with_vm("a"), empty("s", SLICE_UUID), [Host("h", 2, memory_mb=100)])


def test_fault_31_what_other_slices_have_counts() -> None:
    host = [Host("laptop", cores=2, memory_mb=1000)]
    taken = Taken(memory_mb={"laptop": 600})
    with pytest.raises(NoRoom, match="laptop can give 400 MB"):
        allocate(two_hosts_and_a_router(), empty("net", SLICE_UUID), host, taken)


def test_fault_31_what_runs_already_is_never_refused_but_growth_is() -> None:
    wish = two_hosts_and_a_router()
    kept = allocated(wish)
    smaller = [Host("here", cores=2, memory_mb=100)]
    assert allocate(wish, kept, smaller) == kept
    with pytest.raises(NoRoom, match="does not fit"):
        allocate(wish.with_changed_vm("r", memory_mb=512), kept, smaller)


@pytest.mark.parametrize(
    ("vm", "host", "why"),
    [
        (VMWish(name="a", cores=4), Host("h", 2, 9999), "h has 2 cores, and 4 are wished"),
        (VMWish(name="a", cores=4), Host("h", 1, 9999), "h has 1 core, and 4 are wished"),
        (VMWish(name="a"), Host("h", 2, 9999, reachable=False), "does not fit"),
        (VMWish(name="a", host="x"), Host("h", 2, 9999), "there is no host 'x'; the hosts are h"),
        (
            VMWish(name="a", flavor="ubuntu"),
            Host("h", 2, 9999, disk_gb=2),
            "h has 2 GB of disk left, and 2.2 are needed",
        ),
    ],
)
def test_fault_30_31_a_vm_that_fits_nowhere_hears_why(vm: VMWish, host: Host, why: str) -> None:
    with pytest.raises(NoRoom, match=why):
        allocate(Slice("s", (vm,)), empty("s", SLICE_UUID), [host])


def test_a_pinned_vm_goes_where_it_is_pinned_and_leaves_where_it_was() -> None:
    hosts = [Host("one", 2, 9999), Host("two", 2, 9999)]
    wish = Slice("s").with_vm("a")
    kept = allocate(wish, empty("s", SLICE_UUID), hosts)
    assert kept.vms[0].host == "one"
    pinned = wish.with_changed_vm("a", host="two")
    moved = allocate(pinned, kept, hosts, still_there=[kept.vms[0].vm_id])
    assert (moved.vms[0].host, moved.leaving) == ("two", kept.vms)
    assert moved.vms[0].vm_id != kept.vms[0].vm_id


def test_a_link_between_hosts_is_refused() -> None:
    hosts = [Host("one", 2, 9999), Host("two", 2, 9999)]
    wish = Slice("s").with_vm("a", host="one").with_vm("b", host="two").with_link("a", "b")
    with pytest.raises(NoRoom, match="a on one, b on two"):
        allocate(wish, empty("s", SLICE_UUID), hosts)


def test_a_slice_stays_together_while_there_is_room() -> None:
    hosts = [Host("one", 2, 400), Host("two", 2, 9999)]
    wish = Slice("s").with_vm("a").with_vm("b").with_vm("c")
    found = allocate(wish, empty("s", SLICE_UUID), hosts)
    assert [vm.host for vm in found.vms] == ["one", "one", "two"]
