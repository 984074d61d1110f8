"""The VM form: fields, messages at the fields, Create with progress, and the table of VMs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets as w

from labkit import rules
from labkit.errors import LabError, LabkitError, UsageError
from labkit.events import Event, Listener
from labkit.lab import Lab, LabSlice
from labkit.model import VM, Flavor, check_flavor
from labkit_widgets import markup, vm_values
from labkit_widgets.routing import front_end_note, keep_route, kernel_note
from labkit_widgets.vm_progress import Pacer, Stage, stage
from labkit_widgets.vm_values import VMValues

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("labkit")

LATE_VALUES = 0.2  # seconds in which a value that was typed right before the click arrives
LABEL_WIDTH, FIELD_WIDTH = "110px", "440px"  # the field's width holds its label

Job = Callable[[], None]


class Deployer(Protocol):
    """What the form needs; `labkit.DeploymentAPI` has it."""

    @property
    def records(self) -> Sequence[VM]: ...

    @property
    def vms(self) -> pd.DataFrame: ...

    def create_vm(
        self,
        slice_id: int | str,
        vm_id: int,
        vm_name: str,
        owner: str,
        worker_ip: str,
        flavor: Mapping[str, Any],
        data_interfaces_count: int,
        internet_enabled: bool = False,  # noqa: FBT001, FBT002 - as DeploymentAPI has it
    ) -> VM: ...

    def listen(self, listener: Listener) -> Callable[[], None]: ...


def in_thread(job: Job) -> None:
    """Run a form's work in a thread, so that the kernel goes on answering.

    The front end holds back what is typed while an earlier value is on its way, but not a click:
    a click may overtake the last letters. The work begins when they have had time to arrive.
    """
    timer = threading.Timer(LATE_VALUES, job)
    timer.daemon = True
    timer.start()


class VMForm:
    """A form that creates VMs one by one, and shows the Python that does the same.

    `api_or_lab` is a `labkit.DeploymentAPI`, or what has `create_vm`, `records`, `vms` and `listen`
    as it has them. A `labkit.Lab` has none: its VMs are those of its slices, so add them with
    ``lab.slice("net").add_vm("r1")``, or edit the slice: ``SliceEditor(lab.slice("net"))``.

    The fields are `name`, `flavor`, `interfaces`, `internet`, `worker`, `owner`, `vm_id` and
    `slice`, the button is `create`: ipywidgets, so that ``form.name.value = "web"`` and
    ``form.create.click()`` do what a person does; `wait` waits for the end. Then `vm` is the VM
    that was made, or `last_error` says why there is none. `vms` is the table, as `api.vms`.

    `workers` and `flavors` are what is offered; `api_name` is what the api is called in the Python
    that is shown; `runner` runs the work, in a thread if nothing else is said.
    """

    def __init__(
        self,
        api_or_lab: Deployer,
        *,
        vm_name: str = "vm1",
        slice_id: int | str = "",
        owner: str | None = None,
        workers: Sequence[str] | None = None,
        flavors: Mapping[str, Mapping[str, Any] | Flavor] | None = None,
        api_name: str = "api",
        runner: Callable[[Job], object] = in_thread,
    ) -> None:
        self.api = _check_api(api_or_lab)
        self.api_name = _check_identifier(api_name)
        self.vm: VM | None = None
        self.last_error: Exception | None = None
        self._flavors = _check_flavors(flavors)
        self._workers = _check_workers(workers)
        self._runner = runner
        self._claim = threading.Lock()
        self._at_rest = threading.Event()  # cleared from a click to the end of its work
        self._at_rest.set()
        self._looks_busy = False
        self._showing = threading.RLock()  # values may change while the work's thread shows its end
        records = self.api.records
        ids = {vm.vm_id for vm in records}
        names = {vm.name for vm in records}
        self._make_fields(
            vm_name=vm_values.next_name(vm_name, names) if vm_name in names else vm_name,
            vm_id=vm_values.first_id(ids),
            owner=vm_values.default_owner() if owner is None else owner,
            slice_id=str(slice_id),
        )
        self._make_view()
        for field in self._fields.values():
            field.observe(self._changed, "value")
        self.create.on_click(self._clicked)
        self.refresh()

    # what it holds

    @property
    def values(self) -> VMValues:
        """What stands in the fields."""
        name = self.flavor.value
        return VMValues(
            slice_id=self.slice.value,
            vm_id=self.vm_id.value,
            vm_name=self.name.value,
            owner=self.owner.value,
            worker_ip=self.worker.value,
            flavor_name=name,
            flavor=self._flavors[name],
            data_interfaces_count=self.interfaces.value,
            internet_enabled=self.internet.value,
        )

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, by argument of `create_vm`; empty when Create can be pressed."""
        return vm_values.problems(self.values, self.api.records)

    @property
    def python(self) -> str:
        """The Python that does what Create does; empty while a field has a problem."""
        return "" if self.problems else self.values.python(self.api_name)

    @property
    def vms(self) -> pd.DataFrame:
        """The VMs of the api, as its `vms`."""
        return self.api.vms

    @property
    def is_working(self) -> bool:
        """Whether a VM is being made."""
        return not self._at_rest.is_set()

    def wait(self, timeout: float = 60.0) -> None:
        """Return when the work of the last click has ended; raises `LabError` after `timeout`."""
        if not self._at_rest.wait(timeout):
            raise LabError(
                "the form is still working",
                why=f"{timeout:g} s were not enough",
                fix="It goes on by itself: wait again, or look at what it shows.",
            )

    def refresh(self) -> None:
        """Show what is true now, also of VMs that were made or deleted elsewhere."""
        with self._showing:
            found = self.problems
            for argument, message in self._messages.items():
                _set(message, markup.problem(found.get(argument, "")))
                field = self._fields[argument]
                (field.add_class if argument in found else field.remove_class)("labkit-invalid")
            _set(self._code, markup.code(self.python))
            _set(self._table, markup.table(self.vms))
            options = vm_values.known_workers(self._workers, self.api.records)
            _set(self.worker, options, "options")
            for field in self._fields.values():
                _set(field, self._looks_busy, "disabled")
            _set(self.create, self._looks_busy or bool(found), "disabled")
            _set(self.create, "Working" if self._looks_busy else "Create", "description")

    # how it looks

    def _make_fields(self, *, vm_name: str, vm_id: int, owner: str, slice_id: str) -> None:
        workers = vm_values.known_workers(self._workers, self.api.records)
        labels = [(vm_values.flavor_label(key, f), key) for key, f in self._flavors.items()]
        self.name = w.Text(vm_name, description="Name", **_size())
        self.flavor = w.Dropdown(options=labels, description="Flavor", **_size())
        self.interfaces = w.IntText(
            1, description="Data interfaces", continuous_update=True, **_size()
        )
        self.internet = w.Checkbox(value=False, description="Internet access", **_size())
        self.worker = w.Combobox(
            value=next(iter(workers), ""), options=workers, description="Worker", **_size()
        )
        self.owner = w.Text(owner, description="Owner", **_size())
        self.vm_id = w.IntText(vm_id, description="VM id", continuous_update=True, **_size())
        self.slice = w.Text(
            slice_id, description="Slice", placeholder=vm_values.DEFAULT_SLICE, **_size()
        )
        self.create = w.Button(
            description="Create",
            button_style="primary",
            tooltip="Create this VM",
            layout=w.Layout(width="120px", margin="0 0 0 118px"),
        )
        self._fields: dict[str, Any] = {
            "vm_name": self.name,
            "flavor": self.flavor,
            "data_interfaces_count": self.interfaces,
            "internet_enabled": self.internet,
            "worker_ip": self.worker,
            "owner": self.owner,
            "vm_id": self.vm_id,
            "slice_id": self.slice,
        }
        for widget in (*self._fields.values(), self.create):
            keep_route(widget)

    def _make_view(self) -> None:
        self._messages = {key: w.HTML().add_class("labkit-message") for key in self._fields}
        self._bar = w.FloatProgress(0.0, min=0.0, max=1.0, layout=w.Layout(width="160px"))
        self._bar.layout.display = "none"
        self._stage = w.HTML().add_class("labkit-message")
        self._outcome, self._code, self._table = w.HTML(), w.HTML(), w.HTML()
        self._note = w.HTML(markup.note(kernel_note()))
        rows = [
            w.HBox([field, self._messages[key]]).add_class("labkit-row")
            for key, field in self._fields.items()
        ]
        action = w.HBox([self.create, self._bar, self._stage]).add_class("labkit-row")
        action.add_class("labkit-action")
        head = w.HTML(markup.CSS + markup.title("New VM"))
        self.view = w.VBox([head, *rows, action, self._note])
        self.view.children += (self._outcome, self._code, self._table)
        self.view.add_class("labkit-form")

    def _show(self, now: Stage) -> None:
        with self._showing:
            _set(self._stage, markup.status(now.words) if now.words else "")
            _set(self._bar.layout, "none" if now.fraction is None else "", "display")
            if now.fraction is not None:
                _set(self._bar, now.fraction)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self.refresh()
        bundle = self.view._repr_mimebundle_(**options) or {}
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        texts = {"text/plain": repr(self), "text/html": markup.fallback(self.python)}
        return {**data, **texts}, metadata

    def __repr__(self) -> str:
        return f"VMForm: a form that creates VMs. {markup.python_words(self.python)}"

    # what it does

    def _changed(self, _change: object) -> None:
        self.refresh()

    def _clicked(self, _button: object) -> None:
        if note := front_end_note(self.create):
            _set(self._note, markup.note(note))
        if self.problems:
            self.refresh()
            return
        with self._claim:
            if self.is_working:
                return  # the second click of a double click: the browser had no time to disable
            self._at_rest.clear()
        self.vm, self.last_error = None, None
        _set(self._outcome, "")
        self._show(Stage("Starting"))
        self._looks_busy = True
        self.refresh()
        self._runner(self._work)

    def _work(self) -> None:
        """The job of a click: whatever happens is shown in the form, or it would be lost."""
        try:
            self.vm = self._create()
        except LabkitError as error:
            self.last_error = error
        except Exception as error:
            logger.exception("the form failed")
            self.last_error = error
        finally:
            self._end()

    def _create(self) -> VM:
        values = self.values
        for argument, message in vm_values.problems(values, self.api.records).items():
            raise UsageError(
                f"{self._fields[argument].description} {message}",
                why="it changed at the moment of the click",
                fix="Correct it and press Create again; nothing was done.",
            )
        self._show(Stage(f"Asking {values.worker_ip} for the disk of {values.vm_name}"))
        pacer = Pacer()

        def heard(event: Event) -> None:
            now = stage(event) if event.host == values.worker_ip else None
            if now is not None and pacer.lets_through(event):
                self._show(now)

        stop = self.api.listen(heard)
        try:
            return self.api.create_vm(**values.arguments())
        finally:
            stop()

    def _end(self) -> None:
        try:
            if self.vm is not None:
                vm = self.vm
                self._show(Stage(f"{vm.name} is created: VM {vm.vm_id} on {vm.worker_ip}"))
                self._propose_next(vm)
            else:
                self._show(Stage(""))
            if self.last_error is not None:
                _set(self._outcome, markup.error(self.last_error))
            self._looks_busy = False
            self.refresh()
        finally:
            self._at_rest.set()

    def _propose_next(self, vm: VM) -> None:
        """A free name and id, or the form would greet its own success with "taken"."""
        records = self.api.records
        self.name.value = vm_values.next_name(vm.name, {other.name for other in records})
        self.vm_id.value = vm_values.next_id(vm.vm_id, {other.vm_id for other in records})


def _size() -> dict[str, Any]:
    """Style and layout of one field: objects of its own, for a shared one changes all fields."""
    return {"style": {"description_width": LABEL_WIDTH}, "layout": w.Layout(width=FIELD_WIDTH)}


def _set(widget: Any, value: object, trait: str = "value") -> None:
    """Set a trait only when it changes: what is set is sent to the browser."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)


def _check_api(value: Any) -> Deployer:
    missing = [n for n in ("create_vm", "records", "vms", "listen") if not hasattr(value, n)]
    if isinstance(value, Lab | LabSlice):
        name = f"{value.name!r}" if isinstance(value, LabSlice) else "'net'"
        raise UsageError(
            f"VMForm cannot work with {value!r:.80}",
            why="it takes a labkit.DeploymentAPI; the VMs of a lab are those of its slices",
            fix=f"Edit a slice: SliceEditor(lab.slice({name})); or add a VM to it: "
            f"lab.slice({name}).add_vm('r1').",
        )
    if missing:
        raise UsageError(
            f"VMForm cannot work with {value!r:.80}",
            why=f"it has no {', '.join(missing)}",
            fix="Pass a deployment: VMForm(labkit.DeploymentAPI(labkit.SimulatedExecutor())).",
        )
    deployer: Deployer = value
    return deployer


def _check_identifier(value: str) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        rules.invalid("api_name", value, "a Python name such as 'api'")
    return value


def _check_flavors(
    given: Mapping[str, Mapping[str, Any] | Flavor] | None,
) -> dict[str, dict[str, Any]]:
    if given is None:
        return {name: Flavor.get(name) for name in Flavor.names()}
    if not isinstance(given, Mapping) or not given:
        rules.invalid("flavors", given, "a dict of names and flavors, with at least one")
    return {rules.name(name, "flavor name"): check_flavor(f) for name, f in given.items()}


def _check_workers(given: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(given, str):
        rules.invalid("workers", given, "a list of addresses, such as ['10.0.10.1']")
    return None if given is None else tuple(rules.host(one, "workers") for one in given)
