"""The slice editor: VMs and links in picture and table, plan and deploy, the same as code."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anywidget
import traitlets as t

from labkit.errors import LabError, LabkitError, UsageError
from labkit.events import Event, Listener
from labkit.pace import Teller
from labkit.picture import topology_svg
from labkit.progress import Progress
from labkit.wish import Slice
from labkit_widgets.editor_state import EditorState, choices
from labkit_widgets.progress import ONCE_A_SECOND
from labkit_widgets.progress_words import line
from labkit_widgets.routing import keep_route

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("labkit")

HERE = Path(__file__).parent
PLAN_COLUMNS = ("action", "kind", "name", "reason", "touches")
VM_COLUMNS = ("name", "state", "flavor", "addresses", "internet", "host")
ELSEWHERE = "The slice was changed elsewhere; this is what it is now. Undo brings back your draft."
DOING = {"plan": "Working out what there is to do", "deploy": "Deploying"}

Job = Callable[[], None]


class SliceHandle(Protocol):
    """What the editor needs of a slice in a lab; ``lab.slice(name)`` has it."""

    @property
    def wish(self) -> Slice: ...

    def set_wish(self, wish: Slice) -> None: ...

    def plan(self) -> pd.DataFrame: ...

    def deploy(self) -> pd.DataFrame: ...


def in_thread(job: Job) -> None:
    """Run the editor's work in a thread, so that the page goes on being answered."""
    threading.Thread(target=job, name="labkit-editor", daemon=True).start()


class _Page(anywidget.AnyWidget):
    """The traits that the page shows, and its JavaScript."""

    _esm = HERE / "editor.js"
    _css = HERE / "editor.css"
    choices = t.Dict().tag(sync=True)
    view = t.Dict().tag(sync=True)
    svg = t.Unicode().tag(sync=True)
    python = t.Unicode().tag(sync=True)
    yaml = t.Unicode().tag(sync=True)
    work = t.Dict().tag(sync=True)


class SliceEditor:
    """A slice to be edited in a notebook: ``SliceEditor(lab.slice("ospf"))``.

    What is right is wished at once, as if it were typed as Python, and nothing is done before
    Deploy. ``SliceEditor(name="ospf")`` is for a wish without a lab. `wish` is always valid: while
    a field has a problem, it is the last one without. `problems` tells what is wrong; `do` does
    what a person does on the page; `wait` waits for the end of the plan or the deployment, then
    `last_error` says why there is none.
    """

    def __init__(
        self,
        slice_handle: SliceHandle | None = None,
        *,
        name: str | None = None,
        runner: Callable[[Job], object] = in_thread,
    ) -> None:
        if (slice_handle is None) == (name is None):
            raise UsageError(
                "SliceEditor does not know what to edit",
                why="exactly one of a slice and a name is needed",
                fix="Write SliceEditor(lab.slice('ospf')), or SliceEditor(name='ospf').",
            )
        self._handle = slice_handle
        self._runner = runner
        self._lock = threading.RLock()
        self._at_rest = threading.Event()
        self._at_rest.set()
        wish = Slice(name) if slice_handle is None and name else _wish_of(slice_handle)
        self._state = EditorState(wish, renamable=slice_handle is None)
        self._seen = wish  # what the handle was last known to want
        self._busy = ""
        self._progress = Progress()
        self._drawn: Slice | None = None  # the wish that picture and code on the page are of
        self._planned: Slice | None = None  # the wish that the last plan is of
        self.last_plan: pd.DataFrame | None = None
        self._table: dict[str, Any] | None = None
        self.last_error: Exception | None = None
        self.widget = _Page(choices={**choices(), "has_lab": slice_handle is not None})
        keep_route(self.widget)
        self.widget.on_msg(self._received)
        self._show()

    # what it holds

    @property
    def wish(self) -> Slice:
        """What is wished: the last draft without a problem."""
        return self._state.wish

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong with what is typed, by field; empty when nothing is."""
        return self._state.problems

    @property
    def python(self) -> str:
        """The Python that makes the wish and deploys it."""
        return self._state.texts()["python"]

    @property
    def yaml(self) -> str:
        """The wish as YAML."""
        return self._state.texts()["yaml"]

    @property
    def view(self) -> dict[str, Any]:
        """What the page shows, as plain values; its keys are those that `do` takes."""
        return self._state.view()

    @property
    def is_working(self) -> bool:
        """Whether a plan is worked out, or the slice deployed."""
        return not self._at_rest.is_set()

    def wait(self, timeout: float = 600.0) -> None:
        """Return when no work is going on; raises `LabError` after `timeout`."""
        if not self._at_rest.wait(timeout):
            raise LabError(
                "the editor is still working",
                why=f"{timeout:g} s were not enough",
                fix="It goes on by itself: wait again, or look at what it shows.",
            )

    def do(self, what: str, **rest: Any) -> None:
        """Do what a person does on the page: ``do("connect", one="v1", two="v2")``."""
        self._received(self.widget, {"do": what, **rest}, [])

    def refresh(self) -> None:
        """Take over what the slice wants now, if that was changed elsewhere."""
        with self._lock:
            self._take_over()
            self._show()

    # what it does

    def _received(self, _widget: object, message: dict[str, Any], _buffers: object) -> None:
        with self._lock:
            if message.get("do") in DOING:
                self._start(str(message["do"]))
            elif not self._take_over():
                self._state.do(message)
                if message.get("final", True):
                    self._commit()
            self._show()

    def _take_over(self) -> bool:
        """Whether the slice was changed elsewhere, and is what is edited from now on."""
        if self._handle is None or self._handle.wish == self._seen:
            return False
        self._seen = self._handle.wish
        self._state.replace(self._seen, ELSEWHERE)
        return True

    def _commit(self) -> bool:
        """Want what is typed, where it is right; tell if the slice does so now."""
        if self._handle is None or not self._state.is_valid:
            return False
        if self._state.wish != self._seen:
            try:
                self._handle.set_wish(self._state.wish)
            except LabkitError as error:
                self.last_error = error
                return False
            self._seen = self._handle.wish
            self.last_error = None
        return True

    def _start(self, what: str) -> None:
        if self._busy or self._handle is None or not self._commit():
            return
        self._busy, self.last_error, self._table = what, None, None
        self._state.said = ""
        self._at_rest.clear()
        handle, wish = self._handle, self._state.wish
        self._runner(lambda: self._work(what, handle, wish))

    def _work(self, what: str, handle: SliceHandle, wish: Slice) -> None:
        """The job of a click: whatever happens is shown on the page, or it would be lost."""
        found: pd.DataFrame | None = None
        failure: Exception | None = None
        try:
            with self._followed(handle):
                found = handle.plan() if what == "plan" else handle.deploy()
        except LabkitError as error:
            failure = error
        except Exception as error:
            logger.exception("the editor failed")
            failure = error
        with self._lock:
            self._end(what, wish, found, failure)

    @contextmanager
    def _followed(self, handle: SliceHandle) -> Iterator[None]:
        """Show how far the work is, where the slice tells of it."""
        listen: Callable[[Listener], Callable[[], None]] | None = getattr(handle, "listen", None)
        self._progress = Progress()
        if listen is None:
            yield
            return
        teller = Teller(self._show_work)

        def heard(event: Event) -> None:
            self._progress.heard(event)
            teller.changed()

        deaf = listen(heard)
        try:
            teller.every = ONCE_A_SECOND
            yield
        finally:
            deaf()
            teller.close()

    def _end(
        self, what: str, wish: Slice, found: pd.DataFrame | None, failure: Exception | None
    ) -> None:
        self._busy, self.last_error = "", failure
        self._planned = wish if what == "plan" and found is not None else None
        self.last_plan = found if self._planned is not None else None
        if found is not None:
            self._table = {
                "of": what,
                **_cells(found, PLAN_COLUMNS if what == "plan" else VM_COLUMNS),
            }
            self._state.said = _outcome(what, len(found))
        try:
            self._show()
        finally:
            self._at_rest.set()

    # how it looks

    def _show(self) -> None:
        # First: a person waits for the messages.
        self._tell(view=self._state.view(), work=self._work_facts())
        if self._state.wish != self._drawn:
            self._drawn = self._state.wish
            self._tell(svg=self._svg(), **self._state.texts())

    def _work_facts(self) -> dict[str, Any]:
        busy = DOING.get(self._busy, "")
        return {
            "busy": ": ".join(filter(None, [busy, line(self._progress.work) if busy else ""])),
            "error": _told(self.last_error),
            "table": self._table,
            "is_current": self._planned == self._state.wish,
        }

    def _show_work(self) -> None:
        if self._lock.acquire(blocking=False):  # who holds it shows all of it anyway
            try:
                self._tell(work=self._work_facts())
            finally:
                self._lock.release()

    def _tell(self, **values: object) -> None:
        """Send to the page what has changed, in one message."""
        with self.widget.hold_sync():
            for name, value in values.items():
                if getattr(self.widget, name) != value:
                    setattr(self.widget, name, value)

    def _svg(self) -> str:
        return topology_svg(self._state.wish)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self.refresh()
        bundle: Any = self.widget._repr_mimebundle_(**options) or {}
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        # Where widgets cannot be shown, the picture is.
        return {**data, "text/plain": repr(self), "image/svg+xml": self._svg()}, metadata

    def __repr__(self) -> str:
        title = f"SliceEditor: an editor of slice {self.wish.name}"
        return f"{title}. The same in Python:\n\n{self.python}"


def _wish_of(handle: Any) -> Slice:
    missing = [n for n in ("wish", "set_wish", "plan", "deploy") if not hasattr(handle, n)]
    if missing:
        raise UsageError(
            f"SliceEditor cannot edit {handle!r:.80}",
            why=f"it has no {', '.join(missing)}",
            fix="Pass a slice: SliceEditor(lab.slice('ospf')), or SliceEditor(name='ospf').",
        )
    wish: Slice = handle.wish
    return wish


def _cells(found: pd.DataFrame, wanted: tuple[str, ...]) -> dict[str, Any]:
    """A table as the page shows it: the columns that matter and are not empty, as texts."""
    shown = found[[column for column in wanted if column in found.columns]].astype(object)
    shown = shown.where(shown.notna(), "").astype(str)
    columns = [column for column in shown.columns if (shown[column] != "").any()]
    return {"columns": columns, "rows": shown[columns].to_numpy().tolist()}


def _outcome(what: str, count: int) -> str:
    if what == "deploy":
        return f"Deployed: {count} VM{'' if count == 1 else 's'}."
    if not count:
        return "There is nothing to do: the lab is as you want it."
    return f"{count} step{'' if count == 1 else 's'} to do; nothing was done yet."


def _told(error: Exception | None) -> dict[str, str] | None:
    if error is None:
        return None
    if isinstance(error, LabkitError):
        return {"what": error.what, "why": error.why, "fix": error.fix}
    return {
        "what": f"{type(error).__name__}: {error}",
        "why": "labkit did not expect this",
        "fix": "Please report it; the kernel's log has the details.",
    }
