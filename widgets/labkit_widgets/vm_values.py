"""What the VM form holds, as values: its problems, its request, the same in Python, proposals."""

from __future__ import annotations

import getpass
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit import rules
from labkit.errors import InvalidArgument
from labkit.model import VM, Flavor, internet_address

DEFAULT_WORKERS = ("10.0.10.1", "10.0.10.2", "10.0.10.3")
DEFAULT_SLICE = "default"
DEFAULT_OWNER = "student"
FIRST_ID = 1001
MAX_NAME = 63
NUMBERED = re.compile(r"(.*?)([0-9]{1,9})", re.DOTALL)
ARGUMENTS = (  # of DeploymentAPI.create_vm, in its order
    "slice_id",
    "vm_id",
    "vm_name",
    "owner",
    "worker_ip",
    "flavor",
    "data_interfaces_count",
    "internet_enabled",
)
CODE_LINES = ((0, 3), (3, 5), (5, 6), (6, 8))  # which arguments share a line


@dataclass(frozen=True, slots=True)
class VMValues:
    """What stands in the fields, as it was typed; `slice_id` is text and may be empty."""

    slice_id: str
    vm_id: int
    vm_name: str
    owner: str
    worker_ip: str
    flavor_name: str
    flavor: Mapping[str, Any]
    data_interfaces_count: int
    internet_enabled: bool

    def arguments(self) -> dict[str, Any]:
        """The arguments of `DeploymentAPI.create_vm`, by name and in its order."""
        special = {"slice_id": slice_of(self.slice_id), "flavor": dict(self.flavor)}
        return {name: special.get(name, getattr(self, name)) for name in ARGUMENTS}

    def python(self, api_name: str = "api") -> str:
        """The Python that does what the form does with these values."""
        texts = {name: _literal(value) for name, value in self.arguments().items()}
        start = ""
        if self.flavor_name in Flavor.names() and Flavor.get(self.flavor_name) == self.flavor:
            start = "import labkit\n\n"
            texts["flavor"] = f"labkit.Flavor.get({_literal(self.flavor_name)})"
        parts = [f"{name}={text}," for name, text in texts.items()]
        lines = "".join(f"    {' '.join(parts[slice(*ends)])}\n" for ends in CODE_LINES)
        return f"{start}vm = {api_name}.create_vm(\n{lines})"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{_literal(key)}: {_literal(item)}' for key, item in value.items())}}}"
        )
    return repr(value)


def slice_of(text: str) -> int | str:
    """A slice as the API takes it: a number when it is written as one; empty is the default."""
    if text.isascii() and text.isdecimal() and len(text) < 19 and str(int(text)) == text:
        return int(text)
    return text or DEFAULT_SLICE


def problems(values: VMValues, records: Iterable[VM]) -> dict[str, str]:
    """What is wrong, by argument; empty when the VM can be asked for."""
    found: dict[str, str] = {}
    for argument, check in _checks(values):
        try:
            check()
        except InvalidArgument as error:
            found[argument] = f"must be {error.context['rule']}"
    for argument, message in _taken(values, records):
        found.setdefault(argument, message)
    return found


def _checks(values: VMValues) -> Iterator[tuple[str, Callable[[], object]]]:
    count, most = values.data_interfaces_count, rules.MAX_INTERFACES - 1
    yield "vm_name", lambda: rules.name(values.vm_name, "vm_name")
    yield (
        "data_interfaces_count",
        lambda: rules.integer(count, "data_interfaces_count", 0, most),
    )
    yield "worker_ip", lambda: rules.host(values.worker_ip)
    yield "owner", lambda: rules.owner(values.owner)
    yield "vm_id", lambda: rules.vm_id(values.vm_id)
    yield "slice_id", lambda: rules.slice_id(slice_of(values.slice_id))


def _taken(values: VMValues, records: Iterable[VM]) -> Iterator[tuple[str, str]]:
    """What a VM made earlier already has: its id, its disk on the worker, its address."""
    address = internet_address(values.vm_id)["ip"] if values.internet_enabled else None
    for vm in records:
        if vm.vm_id == values.vm_id:
            yield "vm_id", f"is taken by {vm.name}"
        if (vm.name, vm.worker_ip) == (values.vm_name, values.worker_ip):
            yield "vm_name", f"is taken: VM {vm.vm_id} on {vm.worker_ip} has this name"
        config = vm.interfaces[0].ip_config if vm.interfaces else None
        if address and config and config["ip"] == address:
            yield "internet_enabled", f"{address} is taken by {vm.name}: give another VM id"


def next_name(name: str, taken: Collection[str]) -> str:
    """The next free name: vm1, vm2 …; web, web2 …"""
    match = NUMBERED.fullmatch(name)
    stem, number = (match[1], int(match[2])) if match else (name, 1)
    names = (f"{stem[: MAX_NAME - len(str(n))]}{n}" for n in itertools.count(number + 1))
    return next(name for name in names if name not in taken)


def next_id(after: int, taken: Collection[int]) -> int:
    """The next free id above `after`, or else the lowest free one."""
    ids = itertools.chain(range(max(after, 0) + 1, rules.MAX_VM_ID + 1), range(rules.MAX_VM_ID))
    return next((number for number in ids if number not in taken), after)


def first_id(taken: Collection[int]) -> int:
    """The id to propose in a new form."""
    return next_id(max(taken, default=FIRST_ID - 1), taken)


def flavor_label(name: str, flavor: Mapping[str, Any]) -> str:
    """A flavor as the dropdown shows it."""
    cores = flavor["cores"]
    return (
        f"{name}: {cores} core{'' if cores == 1 else 's'}, "
        f"{flavor['ram_gb']:g} GB RAM, {flavor['disk_gb']:g} GB disk"
    )


def known_workers(given: Sequence[str] | None, records: Iterable[VM]) -> tuple[str, ...]:
    """The workers to choose from: those given, else those in use, else the usual ones."""
    used = [vm.worker_ip for vm in records]
    first = list(given) if given is not None else used or list(DEFAULT_WORKERS)
    return tuple(dict.fromkeys([*first, *used]))


def default_owner(environment: Mapping[str, str] = os.environ) -> str:
    """Who works here: the hub's user, else the system's, else "student"."""
    try:
        user = environment.get("JUPYTERHUB_USER") or getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        return DEFAULT_OWNER
    return user if rules.OWNER.fullmatch(user) else DEFAULT_OWNER
