"""The deployment layer on the simulator."""

from __future__ import annotations

import pytest

import labkit
from deployment_contract import DeploymentContract
from labkit import Flavor, SimulatedExecutor


class TestOnTheSimulator(DeploymentContract):
    @pytest.fixture
    def executor(self) -> SimulatedExecutor:
        return SimulatedExecutor()

    @pytest.fixture
    def host(self) -> str:
        return "10.0.10.1"

    @pytest.fixture
    def image(self) -> str:
        return str(Flavor.get("cirros")["image"])


@pytest.mark.parametrize("name", ["cirros", "ubuntu"])
def test_it_works_out_of_the_box_with_both_flavors(name: str) -> None:
    api = labkit.DeploymentAPI(labkit.SimulatedExecutor())
    done, vm = api.create_vm_with_qcow(1, 1, "web", "ana", "10.0.10.1", Flavor.get(name), 2)
    assert done, api.last_error
    assert vm is not None
    assert vm.qcow_image == "~/vm_images/web_img.qcow2"
