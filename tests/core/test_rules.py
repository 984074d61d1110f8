"""Bad arguments are refused before any effect, with the argument, the value and the rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import rules
from labkit.errors import InvalidArgument

BAD_NAMES = [
    "",
    "a b",
    "it's",
    'a"b',
    "a;b",
    "$(reboot)",
    "`id`",
    "a\nb",
    "*",
    "-rf",
    "../x",
    "a/b",
    "x" * 300,
    "🙂",
    "é",
    ".hidden",
    "a\0b",
    "a\n",
    None,
    7,
    b"web",
    ["web"],
]


@pytest.mark.parametrize("value", BAD_NAMES, ids=repr)
def test_fault_06_and_07_bad_names(value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rules.name(value, "vm_name")
    assert caught.value.context["argument"] == "vm_name"
    assert caught.value.context["value"] == value
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", ["a", "web", "R1.core-2_x", "0", "x" * 63])
def test_good_names(value: str) -> None:
    assert rules.name(value) == value


@given(st.text())
def test_a_name_that_passes_needs_no_quoting(value: str) -> None:
    try:
        rules.name(value)
    except InvalidArgument:
        return
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", value)


@pytest.mark.parametrize("value", [-1, 65536, "2", None, True, 1.0])
def test_fault_12_ids_beyond_two_bytes(value: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=r"vm_id is .*: it must be a whole number from 0 to 65535"
    ):
        rules.vm_id(value)


@pytest.mark.parametrize(
    "value", ["10.0.10.1", "127.0.0.1", "::1", "fe80::1", "worker-1", "w1.lab.example", "a"]
)
def test_good_hosts(value: str) -> None:
    assert rules.host(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-oProxyCommand=x",
        "a b",
        "a;b",
        "$(x)",
        "a\n",
        "x" * 254,
        None,
        5,
        "a..b",
        "@a",
        "999.1.1.1",
        "10.0.10",
    ],
)
def test_bad_hosts(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        rules.host(value)


@pytest.mark.parametrize(
    "value",
    [
        "~/vm_images/*_img.qcow2",
        "~/vm_images/../../etc/x_img.qcow2",
        "-rf_img.qcow2",
        "~/vm_images/-rf_img.qcow2",
        "~/vm_images/cirros.img",
        "/etc/passwd",
        "~/vm_images/a b_img.qcow2",
        "~/vm_images/$(x)_img.qcow2",
        "x_img.qcow2",
        "~/vm_images/",
        "",
        None,
        "~/vm_images/x_img.qcow2\n",
    ],
    ids=repr,
)
def test_fault_05_and_07_paths_that_may_not_be_deleted(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        rules.overlay_path(value)


@pytest.mark.parametrize(
    "value", ["~/vm_images/web_img.qcow2", "/srv/images/r1.a-b_img.qcow2", "~/a/b/x_img.qcow2"]
)
def test_paths_that_may_be_deleted(value: str) -> None:
    assert rules.overlay_path(value) == value


@pytest.mark.parametrize("value", ["/x/nbd:evil", "/x/-b", "/x/", "", "/x/a b.img", None, "/x/.."])
def test_base_image_names_that_qemu_would_misread(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        rules.image_file(value)


@pytest.mark.parametrize("value", ["", "-x", "~/../x", "/a/../b", "~root/x", "/a b", "/a*", None])
def test_bad_folders(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        rules.folder(value)


@pytest.mark.parametrize(
    ("value", "result"), [("~/vm_images/", "~/vm_images"), ("/", "/"), ("~", "~"), ("/a/b", "/a/b")]
)
def test_good_folders(value: str, result: str) -> None:
    assert rules.folder(value) == result


@pytest.mark.parametrize(
    ("disk_gb", "expected"), [(1, 2**30), (2.2, 2362232320), (0.5, 2**29), (1 / 2**31, 512)]
)
def test_disk_sizes_are_whole_sectors_of_2_to_the_30(disk_gb: float, expected: int) -> None:
    assert rules.disk_bytes(disk_gb) == expected


@given(st.floats(min_value=1e-6, max_value=65536))
def test_disk_sizes_round_up(disk_gb: float) -> None:
    size = rules.disk_bytes(disk_gb)
    assert size % 512 == 0
    assert -1 <= size - disk_gb * 2**30 < 513


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "2", None, True])
@pytest.mark.parametrize("rule", [rules.positive])
def test_sizes_are_positive_numbers(rule: Callable[[Any, str], float], value: Any) -> None:
    with pytest.raises(InvalidArgument):
        rule(value, "disk_gb")


@given(st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.lists(st.integers())))
def test_every_rule_returns_its_value_or_says_why(value: Any) -> None:
    for rule in (rules.name, rules.owner, rules.host, rules.vm_id, rules.slice_id, rules.folder):
        refusal = None
        try:
            result = rule(value)
        except InvalidArgument as error:
            refusal = error
        if refusal is not None:
            assert refusal.why
            assert refusal.fix
        else:
            assert result == value or rule is rules.folder
