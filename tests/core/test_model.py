"""The values of the contract, to the letter."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import VM, Flavor, Interface, Link
from labkit.errors import InvalidArgument, UnknownFlavor
from labkit.model import check_flavor, mac_addresses, make_interfaces


def make_vm(**changes: Any) -> VM:
    values: dict[str, Any] = {
        "vm_id": 1001,
        "name": "web",
        "owner": "ana",
        "worker_ip": "10.0.10.1",
        "vnc_port": 5901,
        "interfaces": make_interfaces(1001, 2, internet_enabled=True),
        "flavor": Flavor.get("cirros"),
        "qcow_image": "~/vm_images/web_img.qcow2",
    }
    return VM(**(values | changes))


def test_macs_of_the_contract() -> None:
    assert mac_addresses(1001) == ["52:54:00:03:e9:00", "52:54:00:03:e9:01", "52:54:00:03:e9:02"]
    assert mac_addresses(5, 0) == []


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(1, 256))
def test_fault_12_macs_never_repeat(one: int, other: int, count: int) -> None:
    first, second = mac_addresses(one, count), mac_addresses(other, count)
    assert len(set(first)) == count
    assert one == other or not set(first) & set(second)


@pytest.mark.parametrize("vm_id", [-1, 65536, "1", None, True])
def test_fault_12_ids_that_would_repeat_are_refused(vm_id: Any) -> None:
    with pytest.raises(InvalidArgument, match="vm_id"):
        mac_addresses(vm_id)


@pytest.mark.parametrize("count", [-1, 257, "2", None])
def test_fault_12_interface_256_is_refused(count: Any) -> None:
    with pytest.raises(InvalidArgument, match="count"):
        mac_addresses(1, count)


def test_interfaces_with_internet() -> None:
    first, *rest = make_interfaces(1042, 2, internet_enabled=True)
    assert first.to_dict() == {
        "name": "eth0",
        "vlan_id": 400,
        "mac": "52:54:00:04:12:00",
        "ip_config": {"ip": "10.60.7.142", "cidr": "10.60.7.0/24", "gateway": "10.60.7.1"},
        "link_id": None,
    }
    assert [(i.name, i.mac, i.vlan_id, i.ip_config, i.link_id) for i in rest] == [
        ("eth1", "52:54:00:04:12:01", None, None, None),
        ("eth2", "52:54:00:04:12:02", None, None, None),
    ]


def test_interfaces_without_internet() -> None:
    (only,) = make_interfaces(7, 0, internet_enabled=False)
    assert only == Interface("eth0", None, "52:54:00:00:07:00", None, None)


def test_flavors_of_the_contract() -> None:
    assert Flavor.get("cirros") == {
        "cores": 1,
        "ram_gb": 0.5,
        "disk_gb": 1,
        "image": "/tmp/vm_images/cirros-0.6.2-x86_64-disk.img",
    }
    assert Flavor.get("ubuntu") == {
        "cores": 1,
        "ram_gb": 0.5,
        "disk_gb": 2.2,
        "image": "/tmp/vm_images/focal-server-cloudimg-amd64.img",
    }


def test_a_flavor_dict_is_the_callers_own() -> None:
    Flavor.get("cirros")["cores"] = 64
    assert Flavor.get("cirros")["cores"] == 1


@pytest.mark.parametrize("name", ["windows", "", None, 3, []])
def test_an_unknown_flavor_lists_the_known(name: Any) -> None:
    with pytest.raises(UnknownFlavor, match="cirros, ubuntu"):
        Flavor.get(name)


@pytest.mark.parametrize(
    "change",
    [
        {"cores": 0},
        {"cores": "1"},
        {"ram_gb": -1},
        {"disk_gb": None},
        {"disk_gb": 1e7},
        {"image": None},
        {"image": "/tmp/-x"},
    ],
)
def test_fault_15_a_bad_flavor_names_the_key(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(InvalidArgument, match=key):
        check_flavor(Flavor.get("cirros") | change)


@pytest.mark.parametrize("key", ["cores", "ram_gb", "disk_gb", "image"])
def test_a_flavor_without_a_key_is_refused(key: str) -> None:
    flavor = Flavor.get("cirros")
    del flavor[key]
    with pytest.raises(InvalidArgument, match=key):
        check_flavor(flavor)


def test_to_dict_has_the_keys_of_the_contract_in_order() -> None:
    vm = make_vm()
    assert list(vm.to_dict()) == [
        "vm_id",
        "name",
        "owner",
        "worker_ip",
        "vnc_port",
        "interfaces",
        "flavor",
        "qcow_image",
        "status",
        "pid",
    ]
    assert list(vm.interfaces[0].to_dict()) == ["name", "vlan_id", "mac", "ip_config", "link_id"]
    link = Link(1, 100, 1001, "eth1", 1002, "eth1")
    assert list(link.to_dict()) == [
        "link_id",
        "vlan_id",
        "vm1_id",
        "vm1_interface",
        "vm2_id",
        "vm2_interface",
    ]


def test_to_dict_is_plain_and_its_own() -> None:
    vm = make_vm()
    as_dict = vm.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    as_dict["flavor"]["cores"] = 99
    as_dict["interfaces"][0]["ip_config"]["ip"] = "1.2.3.4"
    assert vm == make_vm()


def test_dicts_and_values_convert_both_ways() -> None:
    vm = make_vm(status="running", pid=4711)
    assert VM.from_dict(vm.to_dict()) == vm
    assert VM.from_dict(json.loads(json.dumps(vm.to_dict()))) == vm
    link = Link(1, None, 1001, "eth1", 1002, "eth2")
    assert Link.from_dict(link.to_dict()) == link


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_vm().status = "running"  # type: ignore[misc]
