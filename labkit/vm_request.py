"""What is asked for when VMs are created: the arguments of one VM as a checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit import rules
from labkit.model import Flavor, check_flavor


@dataclass(frozen=True, slots=True)
class VMRequest:
    """What `DeploymentAPI.create_vms` takes: the arguments of one VM, checked when it is made."""

    slice_id: int | str
    vm_id: int
    vm_name: str
    owner: str
    worker_ip: str
    flavor: Mapping[str, Any] | Flavor
    data_interfaces_count: int
    internet_enabled: bool = False

    def __post_init__(self) -> None:
        rules.slice_id(self.slice_id)
        rules.vm_id(self.vm_id)
        rules.name(self.vm_name, "vm_name")
        rules.owner(self.owner)
        rules.host(self.worker_ip)
        check_flavor(self.flavor)
        rules.integer(
            self.data_interfaces_count, "data_interfaces_count", 0, rules.MAX_INTERFACES - 1
        )
        rules.boolean(self.internet_enabled, "internet_enabled")
