"""The VM form without a kernel: what a person sees, presses and gets, on the simulator."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit import DeploymentAPI, Flavor, SimulatedExecutor
from labkit.errors import (
    DiskFull,
    InvalidArgument,
    LabError,
    OverlayExists,
    UsageError,
    WorkerUnreachable,
)
from labkit_widgets import VMForm
from paper_lab import paper_lab

HOST = "10.0.10.1"
Job = Callable[[], None]


def at_once(job: Job) -> None:
    job()


@pytest.fixture
def executor() -> SimulatedExecutor:
    return SimulatedExecutor()


@pytest.fixture
def api(executor: SimulatedExecutor) -> DeploymentAPI:
    return DeploymentAPI(executor)


@pytest.fixture
def form(api: DeploymentAPI) -> VMForm:
    return VMForm(api, owner="ana", runner=at_once)


def widgets(form: VMForm) -> list[Any]:
    """Every widget of the form, from the outside in."""
    found, waiting = [], [form.view]
    while waiting:
        widget = waiting.pop()
        found.append(widget)
        waiting.extend(getattr(widget, "children", ()))
    return found


def fields(form: VMForm) -> list[Any]:
    return [
        form.name,
        form.flavor,
        form.interfaces,
        form.internet,
        form.worker,
        form.owner,
        form.vm_id,
        form.slice,
    ]


def shown(form: VMForm) -> str:
    """All text of the form, as HTML."""
    texts = (getattr(widget, "value", "") for widget in widgets(form))
    return "\n".join(text for text in texts if isinstance(text, str))


# creating


def test_a_vm_is_created_with_the_values_of_the_fields(form: VMForm, api: DeploymentAPI) -> None:
    form.name.value = "web"
    form.flavor.value = "ubuntu"
    form.interfaces.value = 3
    form.internet.value = True
    form.slice.value = "ospf"
    form.create.click()
    assert form.last_error is None
    assert form.vm is not None
    row = form.vms.iloc[0]
    assert (row["name"], row["vm_id"], row["owner"], row["worker_ip"]) == ("web", 1001, "ana", HOST)
    assert (row["interfaces"], row["internet"], row["disk_gb"]) == (4, True, 2.2)
    (overlay,) = api.qcow_manager.look(HOST).overlays
    assert overlay.mark is not None
    assert overlay.mark["slice"] == "ospf"
    assert "<td>web</td>" in shown(form)
    assert "web is created: VM 1001 on 10.0.10.1" in shown(form)


def test_vms_is_the_table_of_the_api(form: VMForm, api: DeploymentAPI) -> None:
    assert len(form.vms) == 0
    form.create.click()
    assert form.vms.equals(api.vms)
    assert list(form.vms.columns) == list(api.vms.columns)


def test_the_next_free_name_and_id_are_proposed(form: VMForm) -> None:
    for _ in range(3):
        form.create.click()
    assert list(form.vms["name"]) == ["vm1", "vm2", "vm3"]
    assert list(form.vms["vm_id"]) == [1001, 1002, 1003]
    assert (form.name.value, form.vm_id.value, form.problems) == ("vm4", 1004, {})


def test_a_new_form_proposes_what_is_free(api: DeploymentAPI) -> None:
    api.create_vm("a", 7, "vm1", "ana", HOST, Flavor.get("cirros"), 0)
    form = VMForm(api, runner=at_once)
    assert (form.name.value, form.vm_id.value) == ("vm2", 8)
    assert form.worker.value == HOST
    assert form.problems == {}


def test_the_progress_of_the_base_image_is_told(form: VMForm, api: DeploymentAPI) -> None:
    stages: list[str] = []
    form._stage.observe(lambda change: stages.append(change["new"]), "value")
    form.create.click()
    text = "\n".join(stages)
    assert 'role="status"' in text
    assert "Asking 10.0.10.1 for the disk of vm1" in text
    assert "Copying cirros-0.6.2-x86_64-disk.img to 10.0.10.1" in text
    assert "whole and verified" in text
    stages.clear()
    form.create.click()
    assert "Copying" not in "\n".join(stages)  # it is there now
    assert form._bar.layout.display == "none"


# validation


def test_a_problem_is_told_at_its_field_and_disables_create(form: VMForm) -> None:
    assert not form.create.disabled
    form.name.value = "a b"
    message = form._messages["vm_name"].value
    assert 'role="alert"' in message
    assert "1 to 63 letters" in message
    assert "labkit-invalid" in form.name._dom_classes
    assert form.create.disabled
    form.name.value = "ab"
    assert form._messages["vm_name"].value == ""
    assert "labkit-invalid" not in form.name._dom_classes
    assert not form.create.disabled


def test_pressing_create_in_spite_of_a_problem_sends_nothing(
    form: VMForm, executor: SimulatedExecutor
) -> None:
    form.interfaces.value = 999
    form.create.click()
    form.wait()
    assert executor.transcript == []
    assert form.vm is None
    assert "from 0 to 255" in shown(form)


def test_what_is_taken_is_told_before_anything_is_sent(form: VMForm) -> None:
    form.create.click()
    form.name.value = "vm1"
    form.vm_id.value = 1001
    assert set(form.problems) == {"vm_name", "vm_id"}
    assert form.create.disabled


def test_a_value_that_arrives_with_the_click_counts(api: DeploymentAPI) -> None:
    jobs: list[Job] = []
    form = VMForm(api, runner=jobs.append)
    form.create.click()
    form.name.value = "late"
    jobs[0]()
    assert list(form.vms["name"]) == ["late"]


def test_a_bad_value_that_arrives_with_the_click_is_refused(
    api: DeploymentAPI, executor: SimulatedExecutor
) -> None:
    jobs: list[Job] = []
    form = VMForm(api, runner=jobs.append)
    form.create.click()
    form.name.value = "a b"
    jobs[0]()
    assert isinstance(form.last_error, UsageError)
    assert "Name must be 1 to 63 letters" in shown(form)
    assert executor.transcript == []


def test_a_double_click_makes_one_vm(api: DeploymentAPI) -> None:
    jobs: list[Job] = []
    form = VMForm(api, runner=jobs.append)
    form.create.click()
    form.create.click()
    assert len(jobs) == 1
    assert form.is_working
    assert form.create.disabled
    assert all(field.disabled for field in fields(form))
    jobs[0]()
    assert len(form.vms) == 1
    form.wait(timeout=0.001)  # raises while there is work
    assert not any(field.disabled for field in [*fields(form), form.create])


# failing


def test_an_unreachable_worker_is_told_in_the_form_and_can_be_tried_again(
    form: VMForm, executor: SimulatedExecutor
) -> None:
    executor.fail(HOST, "unreachable")
    form.create.click()
    failure = form.last_error
    assert isinstance(failure, WorkerUnreachable)
    assert form.vm is None
    assert len(form.vms) == 0
    assert 'role="alert" class="labkit-error"' in shown(form)
    assert "<details>" in shown(form)
    assert (form.name.value, form.vm_id.value) == ("vm1", 1001)
    assert not form.create.disabled
    executor.heal()
    form.create.click()
    assert form.last_error is None
    assert list(form.vms["name"]) == ["vm1"]
    assert "labkit-error" not in shown(form).replace(".labkit-error", "")


@pytest.mark.parametrize(
    ("fault", "kind"), [("no-space", DiskFull), ("missing", labkit.LabError), ("exit", LabError)]
)
def test_every_error_of_the_lab_says_what_and_what_to_do(
    form: VMForm, executor: SimulatedExecutor, fault: str, kind: type[LabError]
) -> None:
    on = "" if fault == "no-space" else "qemu-img"
    executor.fail(HOST, fault, on=on, stderr="oops")
    form.create.click()
    assert isinstance(form.last_error, kind)
    assert html.escape(form.last_error.what) in shown(form)
    assert html.escape(form.last_error.fix) in shown(form)


def test_a_disk_of_somebody_else_is_not_touched(form: VMForm, api: DeploymentAPI) -> None:
    other = DeploymentAPI(api.remote_executor)
    other.create_vm("a", 5, "vm1", "bob", HOST, Flavor.get("cirros"), 0)
    form.create.click()
    assert isinstance(form.last_error, OverlayExists)
    assert "bob" in shown(form)


def test_an_error_that_nobody_expected_is_shown_and_logged(
    caplog: pytest.LogCaptureFixture, api: DeploymentAPI
) -> None:
    class Broken:
        records = ()
        vms = api.vms
        listen = api.listen

        def create_vm(self, *_args: Any, **_values: Any) -> labkit.VM:
            raise ZeroDivisionError("by <zero>")

    form = VMForm(Broken(), runner=at_once)
    form.create.click()
    assert isinstance(form.last_error, ZeroDivisionError)
    assert "ZeroDivisionError: by &lt;zero&gt;" in shown(form)
    assert not form.is_working
    assert "the form failed" in caplog.text


# the same in Python


def test_the_python_shown_makes_an_equal_vm(form: VMForm) -> None:
    form.name.value = "r1"
    form.interfaces.value = 2
    form.internet.value = True
    form.slice.value = "7"
    python = form.python
    form.create.click()
    names: dict[str, Any] = {"api": DeploymentAPI(SimulatedExecutor())}
    exec(python, names)
    assert form.vm is not None
    assert names["vm"].to_dict() == form.vm.to_dict()


def test_the_python_follows_the_fields_and_can_be_selected_at_once(form: VMForm) -> None:
    form.name.value = "follows"
    assert "vm_name=&quot;follows&quot;" in shown(form)
    assert "user-select: all" in shown(form)
    assert (
        VMForm(form.api, api_name="deployment")
        .python.splitlines()[2]
        .startswith("vm = deployment.create_vm(")
    )


# the thread


def test_work_runs_beside_the_caller_and_wait_waits_for_it(api: DeploymentAPI) -> None:
    started, may_go_on = threading.Event(), threading.Event()

    class Slow:
        records = ()
        vms = api.vms
        listen = api.listen

        def create_vm(self, *_args: Any, **values: Any) -> labkit.VM:
            started.set()
            assert may_go_on.wait(30)
            return api.create_vm(**values)

    form = VMForm(Slow())
    form.create.click()
    assert started.wait(30)
    assert form.is_working
    with pytest.raises(LabError, match="still working"):
        form.wait(timeout=0.01)
    may_go_on.set()
    form.wait()
    assert form.vm is not None
    assert not form.is_working


def test_wait_returns_at_once_when_nothing_was_pressed(form: VMForm) -> None:
    form.wait(timeout=0.001)


def test_nobody_listens_any_more_when_the_work_has_ended(
    form: VMForm, api: DeploymentAPI, executor: SimulatedExecutor
) -> None:
    form.create.click()
    before = form._stage.value
    api.create_vm("x", 50, "other", "ana", HOST, Flavor.get("cirros"), 0)
    assert form._stage.value == before
    executor.fail(HOST, "unreachable")
    form.create.click()
    after = form._stage.value
    executor.heal()
    api.create_vm("x", 51, "another", "ana", HOST, Flavor.get("cirros"), 0)
    assert form._stage.value == after


# how it is built


def test_every_field_has_a_label_and_every_widget_a_layout_of_its_own(form: VMForm) -> None:
    assert [field.description for field in fields(form)] == [
        "Name",
        "Flavor",
        "Data interfaces",
        "Internet access",
        "Worker",
        "Owner",
        "VM id",
        "Slice",
    ]
    assert form.create.description == "Create"
    assert form.create.tooltip
    layouts = [widget.layout for widget in widgets(form)]
    assert len({id(layout) for layout in layouts}) == len(layouts)
    styles = [widget.style for widget in fields(form)]
    assert len({id(style) for style in styles}) == len(styles)


def test_every_field_is_validated_while_it_is_typed(form: VMForm) -> None:
    typed = (form.name, form.interfaces, form.worker, form.owner, form.vm_id, form.slice)
    assert all(field.continuous_update for field in typed)


def test_colours_come_from_the_theme(form: VMForm) -> None:
    style = shown(form).split("<style>")[1].split("</style>")[0]
    for line in style.splitlines():
        for rule in line.split(";"):
            if "color" in rule.split(":")[0] or "background" in rule.split(":")[0]:
                assert "var(--jp-" in rule, rule


def test_the_flavor_list_shows_what_each_has(form: VMForm) -> None:
    assert form.flavor.options[0] == ("cirros: 1 core, 0.5 GB RAM, 1 GB disk", "cirros")


def test_flavors_workers_and_owner_can_be_given(api: DeploymentAPI) -> None:
    big = Flavor.get("cirros") | {"cores": 2}
    form = VMForm(
        api,
        flavors={"big": big},
        workers=["10.0.10.9"],
        owner="bob",
        slice_id=7,
        vm_name="r1",
        runner=at_once,
    )
    form.create.click()
    row = form.vms.iloc[0]
    assert (row["cores"], row["worker_ip"], row["owner"]) == (2, "10.0.10.9", "bob")
    assert row["name"] == "r1"


def test_no_python_is_shown_that_would_be_refused(form: VMForm) -> None:
    assert "create_vm" in shown(form)
    form.name.value = "my router"
    assert form.python == ""
    data, _ = form._repr_mimebundle_()
    for text in (shown(form), data["text/plain"], data["text/html"]):
        assert "create_vm" not in text
        assert "once all fields are right" in text
    form.name.value = "router"
    assert "router" in form.python
    assert "router" in shown(form)


def test_where_widgets_cannot_be_shown_there_is_text_and_python(form: VMForm) -> None:
    data, _ = form._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == repr(form)
    assert form.python in data["text/plain"]
    assert "run the notebook to use it" in data["text/html"]


def test_refresh_shows_what_was_deleted_elsewhere(form: VMForm, api: DeploymentAPI) -> None:
    form.create.click()
    api.delete_vm(api.records[0])
    form.refresh()
    assert "No VMs yet" in shown(form)


@pytest.mark.parametrize("wrong", [None, "10.0.10.1", SimulatedExecutor(), 5])
def test_an_object_that_cannot_create_vms_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="VMForm cannot work with") as caught:
        VMForm(wrong)
    assert "create_vm" in caught.value.why
    assert "DeploymentAPI" in caught.value.fix


@pytest.mark.parametrize(
    "options",
    [
        {"workers": "10.0.10.1"},
        {"workers": ["a b"]},
        {"flavors": {}},
        {"flavors": {"x": {"cores": 1}}},
        {"flavors": ["cirros"]},
        {"api_name": "a b"},
    ],
    ids=repr,
)
def test_bad_options_are_named(api: DeploymentAPI, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        VMForm(api, **options)


def test_messages_keep_to_the_route_that_the_browser_chose(form: VMForm) -> None:
    """ipykernel 7.4.0 sends them to the main thread, behind a running cell, if it is let."""
    for widget in (*fields(form), form.create):
        route = getattr(widget.comm, "_reply_subshell_for", None)
        assert route is None or route({}, "chosen") == "chosen"


def test_a_lab_is_refused_and_the_way_to_its_vms_is_told(tmp_path: Path) -> None:
    with paper_lab(tmp_path) as lab:
        for given in (lab, lab.slice("net")):
            with pytest.raises(UsageError, match=r"takes a labkit.DeploymentAPI") as caught:
                VMForm(given)  # type: ignore[arg-type]  # as a user may try
            assert "SliceEditor(lab.slice('net'))" in caught.value.fix
