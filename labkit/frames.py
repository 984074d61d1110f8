"""Values as tables: pandas DataFrames with stable columns and dtypes, also when empty."""

from __future__ import annotations

import math
import posixpath
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from labkit import markup
from labkit.model import VM

VMS_COLUMNS = {
    "vm_id": "int64",
    "name": "string",
    "status": "string",
    "owner": "string",
    "worker_ip": "string",
    "vnc_port": "int64",
    "cores": "int64",
    "ram_gb": "float64",
    "disk_gb": "float64",
    "interfaces": "int64",
    "internet": "bool",
    "ip": "string",
    "image": "string",
    "qcow_image": "string",
    "pid": "Int64",
}

INTERFACES_COLUMNS = {
    "vm_id": "int64",
    "vm": "string",
    "interface": "string",
    "mac": "string",
    "vlan_id": "Int64",
    "ip": "string",
    "cidr": "string",
    "gateway": "string",
    "link_id": "Int64",
}

LEFTOVERS_COLUMNS = {"worker_ip": "string", "qcow_image": "string", "why": "string"}


def frame(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a DataFrame that has exactly these columns and dtypes, whatever the rows."""
    table = pd.DataFrame(list(rows), columns=list(columns), dtype=object)
    return table.astype(dict(columns))


class Report(pd.DataFrame):
    """A DataFrame of sentences, shown whole where pandas would cut them off at 50 characters.

    What is chosen from it, by rows or columns, is a plain DataFrame again. With an index of its
    own, or columns without names, it is shown as pandas shows it.
    """

    MOST_ROWS = 60

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        if not self._is_plain:
            return super().__repr__()
        rows = [list(self.columns), *self._shown_rows()]
        width = shutil.get_terminal_size().columns
        return f"{markup.text_table(rows, indent='', width=width)}\n{self._more()}".rstrip()

    def _repr_html_(self) -> str | None:
        if not self._is_plain:
            return super()._repr_html_()  # type: ignore[misc,no-any-return]
        more = self._more()
        table = markup.table(list(self.columns), self._shown_rows())
        return f"<div>{table}{markup.note(more) if more else ''}</div>"

    @property
    def _is_plain(self) -> bool:
        named = self.columns.is_unique and all(isinstance(one, str) for one in self.columns)
        return named and isinstance(self.index, pd.RangeIndex)

    def _shown_rows(self) -> list[list[str]]:
        return [
            [_shown(column, cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.head(self.MOST_ROWS).itertuples(index=False)
        ]

    def _more(self) -> str:
        if self.empty:
            return str(self.attrs.get("nothing", ""))
        left = len(self) - self.MOST_ROWS
        return f"and {markup.counted(left, 'more row')}; .to_string() shows all" if left > 0 else ""


def _shown(column: str, cell: object) -> str:
    missing = cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))
    text = "" if missing else str(cell)
    return markup.state_cell(text) if column == "state" and text else text


def report(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], *, nothing: str
) -> Report:
    """As `frame`, for tables that people read; `nothing` is what an empty one says."""
    table = Report(frame(rows, columns))
    table.attrs["nothing"] = nothing
    return table


def _vm(value: VM | Mapping[str, Any]) -> VM:
    return value if isinstance(value, VM) else VM.from_dict(value)


def vms_frame(vms: Iterable[VM | Mapping[str, Any]]) -> pd.DataFrame:
    """One row per VM (objects, or dicts as `VM.to_dict()` gives them).

    ============  =======  ==========================================================
    column        dtype    meaning
    ============  =======  ==========================================================
    vm_id         int64    0 to 65535
    name          string
    status        string   ``design``, ``running`` …
    owner         string
    worker_ip     string   the host the VM lies on
    vnc_port      int64
    cores         int64    of the flavor
    ram_gb        float64  2^30 bytes
    disk_gb       float64  2^30 bytes
    interfaces    int64    how many, eth0 included
    internet      bool     whether eth0 is on the internet segment
    ip            string   eth0's recorded address, or missing
    image         string   file name of the base image
    qcow_image    string   path of the overlay on the worker
    pid           Int64    process on the worker while it runs, or missing
    ============  =======  ==========================================================
    """
    return frame((_vm_row(_vm(vm)) for vm in vms), VMS_COLUMNS)


def _vm_row(vm: VM) -> dict[str, Any]:
    first = vm.interfaces[0].ip_config if vm.interfaces else None
    return {
        "vm_id": vm.vm_id,
        "name": vm.name,
        "status": vm.status,
        "owner": vm.owner,
        "worker_ip": vm.worker_ip,
        "vnc_port": vm.vnc_port,
        "cores": vm.flavor["cores"],
        "ram_gb": vm.flavor["ram_gb"],
        "disk_gb": vm.flavor["disk_gb"],
        "interfaces": len(vm.interfaces),
        "internet": first is not None,
        "ip": first["ip"] if first else None,
        "image": posixpath.basename(vm.flavor["image"]),
        "qcow_image": vm.qcow_image,
        "pid": vm.pid,
    }


def interfaces_frame(vms: Iterable[VM | Mapping[str, Any]]) -> pd.DataFrame:
    """One row per interface of the VMs.

    ``vm_id`` int64, ``vm`` (name), ``interface`` and ``mac`` string, ``vlan_id`` Int64,
    ``ip``, ``cidr``, ``gateway`` string, ``link_id`` Int64; what is not set is missing.
    """
    rows = (
        {
            "vm_id": vm.vm_id,
            "vm": vm.name,
            "interface": interface.name,
            "mac": interface.mac,
            "vlan_id": interface.vlan_id,
            "link_id": interface.link_id,
            **(interface.ip_config or {"ip": None, "cidr": None, "gateway": None}),
        }
        for vm in map(_vm, vms)
        for interface in vm.interfaces
    )
    return frame(rows, INTERFACES_COLUMNS)
