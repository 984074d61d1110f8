"""What could not be deleted, or may have been made, is known and can be cleaned up."""

from __future__ import annotations

import pytest

from labkit import DeploymentAPI, Flavor, SimulatedExecutor, VMRequest
from labkit.errors import CommandFailed, ConnectionLost, WorkerUnreachable
from labkit.events import Event, OverlayCreated

WORKER, OTHER = "10.0.10.1", "10.0.10.2"
CIRROS = Flavor.get("cirros")


@pytest.fixture
def executor() -> SimulatedExecutor:
    return SimulatedExecutor()


@pytest.fixture
def api(executor: SimulatedExecutor) -> DeploymentAPI:
    api = DeploymentAPI(executor)
    for host in (WORKER, OTHER):  # the base images are there from now on
        api.qcow_manager.ensure_base(host, CIRROS["image"])
    return api


def disks(api: DeploymentAPI, host: str = WORKER) -> list[str]:
    return [overlay.file for overlay in api.qcow_manager.look(host).overlays]


def test_fault_11_a_disk_that_could_not_be_deleted_stays_recorded(
    api: DeploymentAPI, executor: SimulatedExecutor
) -> None:
    vm = api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    executor.fail(WORKER, "unreachable")
    assert api.delete_vm_dict(vm.to_dict()) is False
    assert isinstance(api.last_error, WorkerUnreachable)
    assert list(api.leftovers["qcow_image"]) == [vm.qcow_image]
    assert "cannot connect" in api.leftovers["why"][0]
    assert len(api.clean_up()) == 1  # still unreachable, still known
    executor.heal()
    assert len(api.clean_up()) == 0
    assert len(api.vms) == 0
    assert disks(api) == []


@pytest.mark.parametrize("effect", ["before", "after"])
def test_an_interrupted_creation_is_cleaned_up(
    api: DeploymentAPI, executor: SimulatedExecutor, effect: str
) -> None:
    executor.cut(1, effect=effect)
    with pytest.raises(ConnectionLost):
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    assert list(api.leftovers["qcow_image"]) == ["~/vm_images/web_img.qcow2"]
    assert len(api.clean_up()) == 0
    assert disks(api) == []


@pytest.mark.parametrize("effect", ["before", "after"])
def test_asking_again_settles_an_interrupted_creation(
    api: DeploymentAPI, executor: SimulatedExecutor, effect: str
) -> None:
    executor.cut(1, effect=effect)
    with pytest.raises(ConnectionLost):
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    assert len(api.leftovers) == 0
    assert disks(api) == ["web_img.qcow2"]


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("then", ["ask again", "clean up"])
def test_cut_at_every_command_of_the_first_creation(
    executor: SimulatedExecutor, effect: str, step: int, then: str
) -> None:
    api = DeploymentAPI(executor)  # the base image is copied on the way: three commands
    executor.cut(step, effect=effect)
    with pytest.raises(ConnectionLost):
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    if then == "ask again":
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
        assert disks(api) == ["web_img.qcow2"]
        assert api.vms["vnc_port"].tolist() == [5901]
    else:
        api.clean_up()
        assert disks(api) == []
    assert len(api.leftovers) == 0


class Stop(BaseException):
    """As a notebook's stop button, which is no Exception."""


@pytest.mark.parametrize("then", ["ask again", "clean up"])
def test_fault_17_whatever_interrupts_a_creation_its_disks_are_known(
    executor: SimulatedExecutor, then: str
) -> None:
    raising = [Stop("from a listener")]

    def listener(event: Event) -> None:
        if isinstance(event, OverlayCreated) and raising:
            raise raising.pop()

    api = DeploymentAPI(executor, on_event=listener)
    with pytest.raises(Stop):
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    assert list(api.leftovers["qcow_image"]) == ["~/vm_images/web_img.qcow2"]
    if then == "ask again":
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
        assert disks(api) == ["web_img.qcow2"]
    else:
        api.clean_up()
        assert disks(api) == []
    assert len(api.leftovers) == 0


def test_a_listener_that_fails_stops_no_creation(
    executor: SimulatedExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(_event: Event) -> None:
        raise RuntimeError("from a listener")

    api = DeploymentAPI(executor, on_event=listener)
    api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    assert disks(api) == ["web_img.qcow2"]
    assert len(api.leftovers) == 0
    assert "a listener failed at OverlayCreated" in caplog.text


def test_a_worker_program_that_was_killed_leaves_its_disk_known(
    api: DeploymentAPI, executor: SimulatedExecutor
) -> None:
    executor.fail(WORKER, "exit", on="overlays create", status=137, times=1)
    with pytest.raises(CommandFailed):
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    assert len(api.leftovers) == 1
    assert len(api.clean_up()) == 0


def test_cleaning_up_never_deletes_somebody_elses_disk(
    api: DeploymentAPI, executor: SimulatedExecutor
) -> None:
    executor.cut(1, effect="before")
    with pytest.raises(ConnectionLost):
        api.create_vm(1, 1, "web", "ana", WORKER, CIRROS, 0)
    DeploymentAPI(executor).create_vm(1, 2, "web", "bob", WORKER, CIRROS, 0)
    assert len(api.clean_up()) == 0
    assert disks(api) == ["web_img.qcow2"]


def test_when_one_worker_fails_the_others_disks_are_taken_back(
    api: DeploymentAPI, executor: SimulatedExecutor
) -> None:
    executor.fail(OTHER, "no-space")
    wanted = [
        VMRequest(1, 1, "web", "ana", WORKER, CIRROS, 0),
        VMRequest(1, 2, "db", "ana", OTHER, CIRROS, 0),
    ]
    with pytest.raises(OSError, match="no room"):
        api.create_vms(wanted)
    assert disks(api) == []
    assert len(api.vms) == 0
    assert len(api.leftovers) == 0
    assert api.vnc_port_counter == 5900
