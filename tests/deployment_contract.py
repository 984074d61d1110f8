"""What `DeploymentAPI` promises on every executor: the contract of the deployment layer, as tests.

A subclass gives the fixtures `executor`, `host`, `image` (a base image of 112 MiB on the manager)
and `base_dir`.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from labkit import VM, DeploymentAPI, Flavor
from labkit.errors import (
    BaseImageMissing,
    DiskTooSmall,
    DuplicateError,
    InvalidArgument,
    OverlayExists,
    UsageError,
)
from labkit.executor import Executor
from labkit.vm_request import VMRequest

MIB = 2**20


class DeploymentContract:
    @pytest.fixture
    def executor(self) -> Executor:
        raise NotImplementedError("provide an open executor")

    @pytest.fixture
    def host(self) -> str:
        raise NotImplementedError("provide the address of a worker")

    @pytest.fixture
    def image(self) -> str:
        raise NotImplementedError("provide a base image on the manager")

    @pytest.fixture
    def base_dir(self) -> str:
        return "~/vm_images"

    @pytest.fixture
    def api(self, executor: Executor, image: str, base_dir: str) -> DeploymentAPI:
        return DeploymentAPI(executor, image, base_dir=base_dir)

    def files(self, api: DeploymentAPI, host: str) -> dict[str, int | None]:
        """The overlays on the worker and their sizes in bytes, as the worker tells them."""
        return {item.file: item.size for item in api.qcow_manager.look(host).overlays}

    # the contract, to the letter

    def test_a_vm_of_the_contract(
        self, api: DeploymentAPI, host: str, image: str, base_dir: str
    ) -> None:
        done, vm = api.create_vm_with_qcow(
            7, 1001, "web", "ana", host, Flavor.get("cirros"), 2, True
        )
        assert done, api.last_error
        assert isinstance(vm, VM)
        assert vm.to_dict() == {
            "vm_id": 1001,
            "name": "web",
            "owner": "ana",
            "worker_ip": host,
            "vnc_port": 5901,
            "interfaces": [
                {
                    "name": "eth0",
                    "vlan_id": 400,
                    "mac": "52:54:00:03:e9:00",
                    "ip_config": {
                        "ip": "10.60.7.101",
                        "cidr": "10.60.7.0/24",
                        "gateway": "10.60.7.1",
                    },
                    "link_id": None,
                },
                *(
                    {
                        "name": f"eth{i}",
                        "vlan_id": None,
                        "mac": f"52:54:00:03:e9:{i:02x}",
                        "ip_config": None,
                        "link_id": None,
                    }
                    for i in (1, 2)
                ),
            ],
            "flavor": Flavor.get("cirros") | {"image": image},
            "qcow_image": f"{base_dir}/web_img.qcow2",
            "status": "design",
            "pid": None,
        }
        assert api.last_error is None
        assert self.files(api, host) == {"web_img.qcow2": 2**30}

    def test_ports_count_up_from_5901(self, api: DeploymentAPI, host: str) -> None:
        assert api.vnc_port_counter == 5900
        ports = [
            api.create_vm(1, number, f"vm{number}", "ana", host, Flavor.get("cirros"), 0).vnc_port
            for number in (1, 2, 3)
        ]
        assert ports == [5901, 5902, 5903]
        assert api.vnc_port_counter == 5903

    def test_delete_removes_the_disk_and_the_record(self, api: DeploymentAPI, host: str) -> None:
        vm = api.create_vm(1, 5, "web", "ana", host, Flavor.get("cirros"), 1)
        assert api.delete_vm_dict(vm.to_dict()) is True
        assert self.files(api, host) == {}
        assert len(api.vms) == 0
        assert api.delete_vm_dict(vm.to_dict()) is True  # again is fine

    @pytest.mark.parametrize("vm_dict", [{}, {"qcow_image": None, "worker_ip": "10.0.10.1"}])
    def test_delete_without_an_image_does_nothing(
        self, api: DeploymentAPI, vm_dict: dict[str, Any]
    ) -> None:
        assert api.delete_vm_dict(vm_dict) is True

    # many at once

    def test_many_vms_in_one_request(self, api: DeploymentAPI, host: str) -> None:
        flavor = Flavor.get("cirros")
        made = api.create_vms(
            VMRequest(1, number, f"vm{number}", "ana", host, flavor, 1) for number in range(20)
        )
        assert [vm.vm_id for vm in made] == list(range(20))
        assert list(api.vms["name"]) == [f"vm{number}" for number in range(20)]
        assert len(self.files(api, host)) == 20

    def test_a_batch_is_made_whole_or_not_at_all(self, api: DeploymentAPI, host: str) -> None:
        flavor = Flavor.get("cirros")
        api.create_vm(1, 1, "taken", "ana", host, flavor, 0)
        wanted = [VMRequest(1, 2, "free", "bob", host, flavor, 0)]
        wanted.append(VMRequest(1, 3, "taken", "bob", host, flavor, 0))
        with pytest.raises(OverlayExists):
            api.create_vms(wanted)
        assert list(self.files(api, host)) == ["taken_img.qcow2"]
        assert list(api.vms["vm_id"]) == [1]
        assert api.vnc_port_counter == 5901

    # the faults of the design, by number

    def test_fault_01_a_lone_api_counts_as_the_contract_says(
        self, executor: Executor, image: str, base_dir: str, host: str
    ) -> None:
        for name in ("one", "two"):
            api = DeploymentAPI(executor, image, base_dir=base_dir)
            assert api.create_vm(1, 1, name, "ana", host, Flavor.get("cirros"), 0).vnc_port == 5901

    def test_fault_02_a_failure_takes_no_port(self, api: DeploymentAPI, host: str) -> None:
        flavor = Flavor.get("cirros")
        api.create_vm(1, 1, "web", "ana", host, flavor, 0)
        assert api.create_vm_with_qcow(1, 2, "web", "ana", host, flavor, 0) == (False, None)
        assert api.create_vm(1, 2, "web2", "ana", host, flavor, 0).vnc_port == 5902

    def test_fault_03_and_04_a_disk_is_never_shared_nor_overwritten(
        self, api: DeploymentAPI, host: str
    ) -> None:
        flavor = Flavor.get("cirros")
        first = api.create_vm("course-a", 1, "web", "ana", host, flavor, 0)
        with pytest.raises(OverlayExists, match="ana") as caught:
            api.create_vm("course-b", 2, "web", "bob", host, flavor, 0)
        assert caught.value.fix
        assert [vm.vm_id for vm in api.records] == [first.vm_id]

    def test_fault_05_deleting_one_vm_leaves_the_others(
        self, api: DeploymentAPI, host: str
    ) -> None:
        flavor = Flavor.get("cirros")
        api.create_vm(1, 1, "web", "ana", host, flavor, 0)
        other = api.create_vm(1, 2, "web2", "ana", host, flavor, 0)
        api.delete_vm(api.records[0])
        assert api.records == (other,)
        assert list(self.files(api, host)) == ["web2_img.qcow2"]

    @pytest.mark.parametrize(
        "path", ["~/vm_images/*_img.qcow2", "/etc/passwd", "~/vm_images/../x_img.qcow2", "", 5]
    )
    def test_fault_05_and_07_only_overlays_are_deleted(
        self, api: DeploymentAPI, host: str, path: Any
    ) -> None:
        api.create_vm(1, 1, "web", "ana", host, Flavor.get("cirros"), 0)
        assert api.delete_vm_dict({"qcow_image": path, "worker_ip": host}) is False
        assert isinstance(api.last_error, InvalidArgument)
        assert list(self.files(api, host)) == ["web_img.qcow2"]
        assert len(api.leftovers) == 0

    @pytest.mark.parametrize(
        "name",
        ["a b", "it's", 'a"b', "a;b", "$(id)", "a\nb", "*", "-rf", "../x", "x" * 300, "🙂", None],
    )
    def test_fault_06_and_07_bad_names_change_nothing(
        self, api: DeploymentAPI, host: str, name: Any
    ) -> None:
        answer = api.create_vm_with_qcow(1, 1, name, "ana", host, Flavor.get("cirros"), 0)
        assert answer == (False, None)
        assert isinstance(api.last_error, InvalidArgument)
        assert api.last_error.context["argument"] == "vm_name"
        assert self.files(api, host) == {}

    @pytest.mark.parametrize(
        "change",
        [
            {"vm_id": -1},
            {"vm_id": 65536},
            {"vm_id": "1"},
            {"data_interfaces_count": -1},
            {"data_interfaces_count": 256},
            {"data_interfaces_count": 257},
            {"data_interfaces_count": "2"},
            {"data_interfaces_count": None},
            {"owner": "a;b"},
            {"owner": None},
            {"worker_ip": "-oProxyCommand=id"},
            {"worker_ip": None},
            {"slice_id": None},
            {"flavor": "cirros"},
            {"flavor": {"cores": 1}},
            {"flavor": None},
            {"internet_enabled": "yes"},
        ],
        ids=repr,
    )
    def test_fault_12_and_15_bad_arguments_are_named(
        self, api: DeploymentAPI, host: str, change: dict[str, Any]
    ) -> None:
        (argument,) = change
        good: dict[str, Any] = {
            "slice_id": 1,
            "vm_id": 1,
            "vm_name": "web",
            "owner": "ana",
            "worker_ip": host,
            "flavor": Flavor.get("cirros"),
            "data_interfaces_count": 1,
        }
        with pytest.raises(InvalidArgument, match=argument) as caught:
            api.create_vm(**(good | change))
        assert caught.value.why
        assert caught.value.fix
        assert api.create_vm_with_qcow(**(good | change)) == (False, None)
        assert self.files(api, host) == {}

    def test_fault_08_the_disk_has_the_flavors_size(self, api: DeploymentAPI, host: str) -> None:
        for number, (disk_gb, size) in enumerate([(1, 2**30), (2.2, 2362232320)]):
            flavor = Flavor.get("cirros") | {"disk_gb": disk_gb}
            vm = api.create_vm(1, number, f"vm{number}", "ana", host, flavor, 0)
            assert self.files(api, host)[f"{vm.name}_img.qcow2"] == size

    def test_fault_08_a_disk_is_never_smaller_than_its_base(
        self, api: DeploymentAPI, host: str
    ) -> None:
        flavor = Flavor.get("cirros") | {"disk_gb": 0.1}
        with pytest.raises(DiskTooSmall, match="112"):
            api.create_vm(1, 1, "web", "ana", host, flavor, 0)
        assert self.files(api, host) == {}

    def test_fault_10_the_base_image_path_is_honoured(
        self, executor: Executor, host: str, base_dir: str
    ) -> None:
        api = DeploymentAPI(executor, "/nowhere/other.img", base_dir=base_dir)
        with pytest.raises(BaseImageMissing, match=r"other\.img"):
            api.create_vm(1, 1, "web", "ana", host, Flavor.get("cirros"), 0)

    def test_fault_12_ids_are_unique(self, api: DeploymentAPI, host: str) -> None:
        flavor = Flavor.get("cirros")
        vm = api.create_vm(1, 1, "web", "ana", host, flavor, 0)
        with pytest.raises(DuplicateError, match="'web'"):
            api.create_vm(1, 1, "other", "ana", host, flavor, 0)
        api.delete_vm(vm)
        api.create_vm(1, 1, "other", "ana", host, flavor, 0)

    def test_fault_13_internet_addresses_are_unique(self, api: DeploymentAPI, host: str) -> None:
        flavor = Flavor.get("cirros")
        api.create_vm(1, 1, "one", "ana", host, flavor, 0, True)
        with pytest.raises(DuplicateError, match=r"10\.60\.7\.101"):
            api.create_vm(1, 101, "two", "ana", host, flavor, 0, True)
        api.create_vm(1, 101, "two", "ana", host, flavor, 0)

    def test_fault_13_and_21_one_address_is_given_once_also_to_many_threads(
        self, api: DeploymentAPI, host: str
    ) -> None:
        together = threading.Barrier(4)

        def create(number: int) -> bool:
            together.wait(20)
            name, flavor = f"vm{number}", Flavor.get("cirros")
            return api.create_vm_with_qcow(1, 1 + 100 * number, name, "ana", host, flavor, 0, True)[
                0
            ]

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(create, range(4))) == 1

    def test_fault_14_the_record_pairs_mac_and_address_for_the_dhcp_server(
        self, api: DeploymentAPI, host: str
    ) -> None:
        api.create_vm(1, 1001, "web", "ana", host, Flavor.get("cirros"), 1, True)
        reserved = api.interfaces.dropna(subset=["ip"])[["mac", "ip"]]
        assert reserved.to_numpy().tolist() == [["52:54:00:03:e9:00", "10.60.7.101"]]

    def test_fault_20_a_disk_is_the_same_by_its_absolute_path(
        self, api: DeploymentAPI, host: str
    ) -> None:
        vm = api.create_vm(1, 1, "web", "ana", host, Flavor.get("cirros"), 0)
        folder = api.qcow_manager.look(host).base_dir
        assert vm.qcow_image is not None
        written_out = vm.to_dict() | {"qcow_image": f"{folder}/web_img.qcow2"}
        assert api.delete_vm_dict(written_out) is True
        assert len(api.vms) == 0
        assert self.files(api, host) == {}

    def test_fault_16_the_reason_is_kept_and_logged_once(
        self, api: DeploymentAPI, host: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        flavor = Flavor.get("cirros") | {"disk_gb": 0.1}
        assert api.create_vm_with_qcow(1, 1, "web", "ana", host, flavor, 0) == (False, None)
        assert isinstance(api.last_error, DiskTooSmall)
        (record,) = caplog.records
        assert "web" in record.getMessage()
        assert host in record.getMessage()
        assert api.create_vm_with_qcow(1, 1, "web", "ana", host, Flavor.get("cirros"), 0)[0]
        assert api.last_error is None

    def test_fault_17_an_orphan_can_be_found_and_tells_whose_it_is(
        self, api: DeploymentAPI, executor: Executor, image: str, base_dir: str, host: str
    ) -> None:
        api.create_vm("ospf", 9, "r1", "ana", host, Flavor.get("cirros"), 0)
        after_a_crash = DeploymentAPI(executor, image, base_dir=base_dir)
        (overlay,) = after_a_crash.qcow_manager.look(host).overlays
        assert overlay.mark is not None
        known = {key: overlay.mark[key] for key in ("vm_id", "name", "owner", "slice")}
        assert known == {"vm_id": 9, "name": "r1", "owner": "ana", "slice": "ospf"}

    def test_fault_21_many_threads_share_one_counter(self, api: DeploymentAPI, host: str) -> None:
        together = threading.Barrier(4)

        def create(number: int) -> VM:
            together.wait(20)
            return api.create_vm(1, number, f"vm{number}", "ana", host, Flavor.get("cirros"), 0)

        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(create, range(8)))
        assert sorted(vm.vnc_port for vm in made) == list(range(5901, 5909))

    def test_fault_21_one_id_is_given_once_also_to_many_threads(
        self, api: DeploymentAPI, host: str
    ) -> None:
        together = threading.Barrier(4)

        def create(number: int) -> bool:
            together.wait(20)
            flavor = Flavor.get("cirros")
            return api.create_vm_with_qcow(1, 1, f"vm{number}", "ana", host, flavor, 0)[0]

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(create, range(4))) == 1
        assert len(self.files(api, host)) == 1

    def test_an_object_that_is_no_executor_is_refused(self) -> None:
        with pytest.raises(UsageError, match="is no executor"):
            DeploymentAPI("10.0.10.1")  # type: ignore[arg-type]
