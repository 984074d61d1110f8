"""The pure parts of the VM form: problems, the request, the same in Python, proposals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import VM, Flavor
from labkit.model import make_interfaces
from labkit.vm_request import VMRequest
from labkit_widgets import vm_values
from labkit_widgets.vm_values import VMValues

GOOD = VMValues(
    slice_id="ospf",
    vm_id=1001,
    vm_name="web",
    owner="ana",
    worker_ip="10.0.10.1",
    flavor_name="cirros",
    flavor=Flavor.get("cirros"),
    data_interfaces_count=2,
    internet_enabled=True,
)
MADE = VM(
    vm_id=1001,
    name="web",
    owner="ana",
    worker_ip="10.0.10.1",
    vnc_port=5901,
    interfaces=make_interfaces(1001, 2, internet_enabled=True),
    flavor=Flavor.get("cirros"),
    qcow_image="~/vm_images/web_img.qcow2",
)


def test_good_values_have_no_problem() -> None:
    assert vm_values.problems(GOOD, ()) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vm_name": ""}, "1 to 63 letters"),
        ({"vm_name": "a b"}, "1 to 63 letters"),
        ({"vm_name": "-rf"}, "the first a letter or digit"),
        ({"data_interfaces_count": -1}, "from 0 to 255"),
        ({"data_interfaces_count": 256}, "from 0 to 255"),
        ({"worker_ip": ""}, "an IP address or a host name"),
        ({"worker_ip": "-oProxyCommand=id"}, "an IP address or a host name"),
        ({"owner": "a;b"}, "a user name or mail address"),
        ({"vm_id": 65536}, "from 0 to 65535"),
        ({"slice_id": "../x"}, "1 to 63 letters"),
    ],
)
def test_a_broken_rule_is_named_at_its_argument(change: dict[str, object], message: str) -> None:
    found = vm_values.problems(replace(GOOD, **change), ())  # type: ignore[arg-type]
    assert list(found) == list(change)
    assert message in next(iter(found.values()))


def test_what_an_earlier_vm_has_is_taken() -> None:
    found = vm_values.problems(GOOD, [MADE])
    assert found["vm_id"] == "is taken by web"
    assert "VM 1001 on 10.0.10.1" in found["vm_name"]
    assert "10.60.7.101 is taken by web" in found["internet_enabled"]


def test_a_name_is_free_on_another_worker_and_an_address_without_internet() -> None:
    other = replace(GOOD, vm_id=1101, worker_ip="10.0.10.2", internet_enabled=False)
    assert vm_values.problems(other, [MADE]) == {}
    assert list(vm_values.problems(replace(other, internet_enabled=True), [MADE])) == [
        "internet_enabled"
    ]


@given(
    slice_id=st.text(),
    vm_id=st.integers(),
    vm_name=st.text(),
    owner=st.text(),
    worker_ip=st.text(),
    count=st.integers(),
    internet=st.booleans(),
)
def test_anything_typed_is_a_message_or_a_valid_request(
    slice_id: str,
    vm_id: int,
    vm_name: str,
    owner: str,
    worker_ip: str,
    count: int,
    internet: bool,
) -> None:
    values = VMValues(
        slice_id,
        vm_id,
        vm_name,
        owner,
        worker_ip,
        "cirros",
        Flavor.get("cirros"),
        count,
        internet,
    )
    found = vm_values.problems(values, [MADE])
    assert values.python()
    if found:
        assert all(found.values())
    else:
        VMRequest(**values.arguments())


NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", fullmatch=True)


@given(vm_name=NAMES, slice_id=NAMES, vm_id=st.integers(0, 65535), internet=st.booleans())
def test_the_python_shown_passes_exactly_the_forms_arguments(
    vm_name: str, slice_id: str, vm_id: int, internet: bool
) -> None:
    values = replace(
        GOOD, vm_name=vm_name, slice_id=slice_id, vm_id=vm_id, internet_enabled=internet
    )

    class Recorder:
        def create_vm(self, **arguments: object) -> dict[str, object]:
            return arguments

    names: dict[str, object] = {"api": Recorder()}
    exec(values.python(), names)
    assert names["vm"] == values.arguments()


def test_the_python_of_a_flavor_of_ones_own_spells_it_out() -> None:
    big = {"cores": 2, "ram_gb": 4, "disk_gb": 10, "image": "/srv/images/big.qcow2"}
    python = replace(GOOD, flavor_name="big", flavor=big).python("deployment")
    assert python.startswith("vm = deployment.create_vm(")
    assert '"image": "/srv/images/big.qcow2"' in python
    assert "Flavor.get" not in python
    changed = replace(GOOD, flavor=Flavor.get("cirros") | {"cores": 2}).python()
    assert "Flavor.get" not in changed


@pytest.mark.parametrize(
    ("text", "slice_id"),
    [("", "default"), ("ospf", "ospf"), ("7", 7), ("007", "007"), ("²", "²"), ("9" * 40, "9" * 40)],
)
def test_a_slice_is_a_number_when_it_is_written_as_one(text: str, slice_id: int | str) -> None:
    assert vm_values.slice_of(text) == slice_id


@pytest.mark.parametrize(
    ("name", "taken", "proposed"),
    [
        ("vm1", ["vm1"], "vm2"),
        ("vm1", ["vm1", "vm2", "vm3"], "vm4"),
        ("vm9", ["vm9"], "vm10"),
        ("web", ["web"], "web2"),
        ("7", ["7"], "8"),
        ("a" * 63, ["a" * 63], "a" * 62 + "2"),
    ],
)
def test_the_next_free_name(name: str, taken: list[str], proposed: str) -> None:
    assert vm_values.next_name(name, taken) == proposed


@given(name=NAMES)
def test_the_next_free_name_is_always_valid_and_free(name: str) -> None:
    proposed = vm_values.next_name(name, [name])
    assert proposed != name
    assert "vm_name" not in vm_values.problems(replace(GOOD, vm_name=proposed), ())


@pytest.mark.parametrize(
    ("after", "taken", "proposed"),
    [
        (1001, [1001], 1002),
        (1001, [1001, 1002], 1003),
        (65535, [65535], 0),
        (65535, range(65535), 65535),
        (5, range(65536), 5),
    ],
)
def test_the_next_free_id(after: int, taken: list[int], proposed: int) -> None:
    assert vm_values.next_id(after, taken) == proposed


def test_the_first_id_is_above_all_that_are_taken() -> None:
    assert vm_values.first_id([]) == 1001
    assert vm_values.first_id([7, 3]) == 8


def test_a_flavor_says_what_it_has() -> None:
    label = vm_values.flavor_label("cirros", Flavor.get("cirros"))
    assert label == "cirros: 1 core, 0.5 GB RAM, 1 GB disk"
    big = {"cores": 2, "ram_gb": 4, "disk_gb": 2.2, "image": "/x.img"}
    assert vm_values.flavor_label("big", big) == "big: 2 cores, 4 GB RAM, 2.2 GB disk"


@pytest.mark.parametrize(
    ("given_workers", "records", "offered"),
    [
        (None, [], ("10.0.10.1", "10.0.10.2", "10.0.10.3")),
        (None, [replace(MADE, worker_ip="lab7")], ("lab7",)),
        (["127.0.0.1"], [], ("127.0.0.1",)),
        (["10.0.10.2"], [MADE], ("10.0.10.2", "10.0.10.1")),
    ],
)
def test_the_workers_that_are_offered(
    given_workers: list[str] | None, records: list[VM], offered: tuple[str, ...]
) -> None:
    assert vm_values.known_workers(given_workers, records) == offered


def test_the_owner_is_the_hubs_user_or_a_word_that_is_always_valid() -> None:
    assert vm_values.default_owner({"JUPYTERHUB_USER": "ana@example.org"}) == "ana@example.org"
    assert vm_values.default_owner({"JUPYTERHUB_USER": "ana maria"}) == "student"
    assert vm_values.default_owner({})
