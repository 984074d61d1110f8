"""Tables have the documented columns and dtypes, whatever is in them."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from labkit import VM, Flavor, interfaces_frame, vms_frame
from labkit.frames import INTERFACES_COLUMNS, VMS_COLUMNS
from labkit.model import make_interfaces


def make_vm(vm_id: int, *, internet: bool, pid: int | None = None) -> VM:
    return VM(
        vm_id,
        f"vm{vm_id}",
        "ana",
        "10.0.10.1",
        5900 + vm_id,
        make_interfaces(vm_id, 1, internet_enabled=internet),
        Flavor.get("ubuntu"),
        f"~/vm_images/vm{vm_id}_img.qcow2",
        pid=pid,
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_columns_and_dtypes_do_not_depend_on_the_rows(count: int) -> None:
    vms = [make_vm(number, internet=number % 2 == 0) for number in range(count)]
    frame = vms_frame(vms)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == VMS_COLUMNS
    assert len(frame) == count
    interfaces = interfaces_frame(vms)
    assert {str(k): str(d) for k, d in interfaces.dtypes.items()} == INTERFACES_COLUMNS
    assert len(interfaces) == 2 * count


def test_a_row_says_what_the_vm_is() -> None:
    row = vms_frame([make_vm(1, internet=True, pid=42)]).iloc[0]
    assert row["name"] == "vm1"
    assert row["ip"] == "10.60.7.101"
    assert row["internet"]
    assert row["interfaces"] == 2
    assert row["disk_gb"] == 2.2
    assert row["image"] == "focal-server-cloudimg-amd64.img"
    assert row["pid"] == 42


def test_what_is_not_there_is_missing() -> None:
    row = vms_frame([make_vm(1, internet=False)]).iloc[0]
    assert row["ip"] is pd.NA
    assert row["pid"] is pd.NA
    assert not row["internet"]


def test_dicts_are_taken_as_well() -> None:
    vm = make_vm(3, internet=True)
    pd.testing.assert_frame_equal(vms_frame([vm.to_dict()]), vms_frame([vm]))


def test_tables_are_plain_dataframes_to_work_with() -> None:
    frame = vms_frame([make_vm(number, internet=True) for number in range(4)])
    assert type(frame) is pd.DataFrame
    assert frame.groupby("worker_ip")["ram_gb"].sum().to_dict() == {"10.0.10.1": 2.0}


def test_the_documented_columns_are_the_columns() -> None:
    documented = re.findall(
        r"^\s+(\w+)\s+(int64|Int64|string|float64|bool)\b", vms_frame.__doc__ or "", re.MULTILINE
    )
    assert dict(documented) == VMS_COLUMNS
