"""The live panel of a slice: its picture, its machines and links, the work on it, and buttons."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w
from IPython.display import publish_display_data

from labkit.errors import LabError, LabkitError, UnknownSlice, UsageError
from labkit.events import Converged, Event, GaveUp, MachineTold, PlanMade
from labkit.lab import Lab, LabSlice, faces, reprs
from labkit.lab.console_tail import console_tail
from labkit.pace import PERIOD, Teller
from labkit.progress import Progress
from labkit.wish import Slice
from labkit_widgets import panel_state
from labkit_widgets.panel_changes import Changes
from labkit_widgets.panel_links import Captures, LinkChanges
from labkit_widgets.panel_state import Facts
from labkit_widgets.panel_view import PanelView
from labkit_widgets.progress import failure_words, is_watched
from labkit_widgets.twin import Twin

logger = logging.getLogger("labkit")

LOOK_PERIOD = 1.5  # seconds between looks at the lab: each asks every host of the slice
WISH_PERIOD = 1.0  # seconds until a wish that changed in a cell is shown
TAIL_PERIOD = 2.0
MOST_PANELS = 4  # of a lab, in one cell
TWIN_PAUSE = 5.0  # what is saved may lag behind what is shown
FACES = ("shell", "console", "screen")
POWER: Mapping[str, str] = {
    "pause": "pausing",
    "resume": "resuming",
    "reboot": "rebooting",
    "power_off": "powering off",
}


def show_lab(lab: Lab) -> bool:
    """Display a lab in the running cell: a table of its slices, and the panels of the first."""
    publish_display_data(reprs.lab_bundle(lab))
    for name in lab.store.names()[:MOST_PANELS]:
        show_panel(lab.slice(name))
    return True


def show_panel(slice_: LabSlice) -> bool:
    """Display a slice in the running cell: live for a person, else what is saved anyway."""
    if not is_watched():
        for bundle in (reprs.picture_bundle(slice_), reprs.tables_bundle(slice_)):
            publish_display_data(bundle)
        return True
    panel = slice_.views.get("panel")
    if not isinstance(panel, SlicePanel):
        panel = slice_.views["panel"] = SlicePanel(slice_)
    panel.display()
    return True


class SlicePanel:
    """A slice, live in a cell: ``SlicePanel(net)``, or simply ``net`` as a cell's last line.

    `captures` has what its capture buttons have recorded, by link; `wait` waits for the end of
    what its buttons have begun.
    """

    def __init__(self, slice_: LabSlice, *, period: float = PERIOD) -> None:
        self.slice = slice_
        self._lock = threading.RLock()
        self._progress = Progress()
        self._events = deque(panel_state.event_rows(slice_.told), maxlen=panel_state.MOST_EVENTS)
        self._chosen: tuple[str, str] = ("", "")
        self._problem: Facts = {}
        self._job = ""
        self._frozen: Slice | None = None  # what is shown while it is taken away
        self._tails: dict[str, str] = {}
        self._docked: dict[str, Any] = {}
        self._at_rest = threading.Event()
        self._at_rest.set()
        self.captures = Captures(slice_)
        self._link_changes = LinkChanges(slice_, self._news)
        self._changes = Changes(slice_)
        self._live = PanelView(slice_.name, self._hears, self._news, self._values())
        self._dock = w.VBox([]).add_class("labkit-dock")
        self.view = w.VBox([self._live, self._dock]).add_class("labkit-panel-box")
        self._twins = [
            Twin(lambda: reprs.picture_bundle(slice_), TWIN_PAUSE),
            Twin(lambda: reprs.tables_bundle(slice_), TWIN_PAUSE),
        ]
        self._teller = Teller(self._tell, period=period)
        self._teller.every = WISH_PERIOD
        self._looker = Teller(self._look, period=LOOK_PERIOD)
        self._deaf = slice_.listen(self._heard)

    def __repr__(self) -> str:
        return f"<Panel of slice {self.slice.name}: live where the notebook runs>"

    def _ipython_display_(self) -> None:
        self.display()

    def display(self) -> None:
        """Display it in the running cell, and beside it what stands for it without a kernel."""
        bundle = self.view._repr_mimebundle_() or {}
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        publish_display_data({**data, "text/plain": repr(self)}, metadata)
        for twin in self._twins:
            twin.show()

    def save(self) -> None:
        """Bring what is saved in the notebook up to date now; it happens by itself, too."""
        for twin in self._twins:
            twin.save()

    def wait(self, timeout: float = 600.0) -> None:
        """Return when what a button has begun has ended; raises `LabError` after `timeout`."""
        if not self._at_rest.wait(timeout):
            raise LabError(
                f"the panel of {self.slice.name} is still {self._job}",
                why=f"{timeout:g} s were not enough",
                fix="It goes on by itself: wait again, or look at what it shows.",
            )

    def close(self) -> None:
        """End the panel and what it shows; the slice stays as it is."""
        self._deaf()
        self.captures.stop_all()
        for key in list(self._docked):
            self._undock(key)
        self._looker.close()
        self._teller.close()
        self.save()
        self._live.close()
        self.view.close()
        self.slice.views.pop("panel", None)

    # what is shown

    def _news(self) -> None:
        self._teller.changed()

    def _heard(self, event: Event) -> None:
        self._progress.heard(event)
        row = panel_state.event_row(time.time(), event)
        if row is not None:
            self._events.append(row)
        if isinstance(event, PlanMade):
            self._changes.is_old = True
        if isinstance(event, MachineTold | Converged | GaveUp):
            self._looker.changed()
        self._teller.changed()

    def _look(self) -> None:
        """Look at the lab, not while it is being changed: then its steps tell."""
        work = self._progress.work
        self._tails = {one.vm: console_tail(self.slice, one.vm) for one in work.late}
        self._looker.every = TAIL_PERIOD if self._tails else None
        if work.state != "working":
            try:
                self.slice.refresh()
                self._progress.looked()
                self._changes.is_gone = self._changes.is_old = False
            except UnknownSlice:
                self._progress.looked()
                self._changes.is_gone = True
            except LabkitError as error:
                self._problem = panel_state.problem(error, "looking at the slice")
        self._teller.changed()

    def _tell(self) -> None:
        """Send the page what has changed since the last time."""
        if self._progress.work.late and not self._looker.every:
            self._looker.changed()
        changed = self._live.put(self._values()) if self._live.is_seen else 1
        if changed:
            for twin in self._twins:
                twin.changed()

    def _values(self) -> Facts:
        wish = self._frozen or self.slice.wish
        work = self._progress.work
        vms, links = panel_state.states_now(self.slice, wish, work)
        return {
            "head": panel_state.head(wish, vms, is_real=self.slice.engine.is_real),
            "todo": self._changes.facts(),
            "svg": reprs.slice_svg(wish, vms, links),
            "vms": panel_state.vm_rows(self.slice, wish, vms),
            "links": panel_state.link_rows(wish, links),
            "events": list(self._events)[::-1],
            "work": panel_state.work_facts(
                work, self._tails, self._job, told=self._problem.get("what", "")
            ),
            "problem": self._problem,
            "chosen": self._chosen_facts(vms, links),
            "dock": [{"key": key, "title": key} for key in self._docked],
        }

    def _chosen_facts(self, vms: Mapping[str, str], links: Mapping[str, str]) -> Facts:
        kind, name = self._chosen
        if kind == "vm" and name in vms and name in self.slice:
            return panel_state.chosen_vm(self.slice, name, vms[name])
        if kind == "link" and name in links and self.slice.wish.links:
            trouble = self._link_changes.troubles.get(name, "")
            facts = self.captures.facts(name)
            return panel_state.chosen_link(self.slice, name, links[name], facts, trouble)
        return {}

    # what people do in a page

    def _hears(self, message: Mapping[str, Any]) -> None:
        """Do what was clicked: begin it, that is, for the page is not to wait."""
        acts: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "choose": self._choose,
            "deploy": lambda _: self._begin("deploying", self.slice.deploy),
            "reset": lambda m: self._reset(m.get("names") or []),
            "delete": lambda _: self._delete(),
            "stop": lambda _: self.slice.cancel(),
            "dismiss": lambda _: self._dismiss(),
            "open": lambda m: self._aside(f"opening the {m['face']} of {m['name']}", self._open, m),
            "close": lambda m: self._undock(m["key"]),
            "power": lambda m: self._aside(f"{POWER[m['verb']]} {m['name']}", self._power, m),
            "link": lambda m: self._link_changes.set(m["name"], m["settings"]),
            "capture": lambda m: self._aside(f"capturing {m['name']}", self._capture, m),
        }
        acts[message["what"]](message)
        self._news()

    def _choose(self, message: Mapping[str, Any]) -> None:
        self._chosen = (message.get("kind", ""), message.get("name", ""))

    def _dismiss(self) -> None:
        self._problem = {}

    def _delete(self) -> None:
        self._begin("deleting", self.slice.delete, frozen=self.slice.wish)

    def _reset(self, names: list[str]) -> None:
        doing = f"resetting {', '.join(names)}" if names else "resetting"
        self._begin(doing, lambda: self.slice.reset(*names))

    def _power(self, message: Mapping[str, Any]) -> None:
        getattr(self.slice[message["name"]], message["verb"])()

    def _capture(self, message: Mapping[str, Any]) -> None:
        verb = self.captures.start if message["on"] else self.captures.stop
        verb(message["name"])
        self._teller.every = PERIOD if self.captures.running else WISH_PERIOD

    def _open(self, message: Mapping[str, Any]) -> None:
        """Show a shell, console or screen below; a second click on the same shows it again."""
        face, name = message["face"], message["name"]
        make = faces.find(face) if face in FACES else None
        if make is None:
            raise UsageError(f"there is no {face} to open", why="no view of this name is installed")
        key = f"{face} of {name}"
        if key not in self._docked:
            self._docked[key] = make(self.slice[name])
            self._lay_dock()

    def _undock(self, key: str) -> None:
        found = self._docked.pop(key, None)
        if found is not None:
            self._lay_dock()
            found.close()

    def _lay_dock(self) -> None:
        self._dock.children = tuple(self._docked.values())

    # work

    def _begin(
        self, doing: str, work: Callable[[], object], *, frozen: Slice | None = None
    ) -> None:
        """Begin work on the whole slice, one at a time: a second click finds it busy."""
        with self._lock:
            if self._job:
                return
            self._job, self._problem, self._frozen = doing, {}, frozen
            self._at_rest.clear()
        self._progress.begin()
        self._teller.every = WISH_PERIOD
        threading.Thread(
            target=self._work, args=(doing, work), name="labkit-panel", daemon=True
        ).start()

    def _work(self, doing: str, work: Callable[[], object]) -> None:
        failure = self._tried(doing, work)
        with self._lock:
            self._progress.end(failure)
            self._job, self._frozen = "", None
        self._looker.changed()
        self._news()
        self._at_rest.set()

    def _aside(
        self, doing: str, work: Callable[[Mapping[str, Any]], None], message: Mapping[str, Any]
    ) -> None:
        """Do something small that may take a while."""

        def run() -> None:
            self._tried(doing, lambda: work(message))
            self._looker.changed()
            self._news()

        threading.Thread(target=run, name="labkit-panel", daemon=True).start()

    def _tried(self, doing: str, work: Callable[[], object]) -> str:
        """Work whose error is shown, or it would be lost in its thread; the answer is its words."""
        try:
            work()
        except LabkitError as error:
            self._problem = panel_state.problem(error, doing)
            return failure_words(error)
        except Exception as error:
            logger.exception("the panel failed while %s", doing)
            self._problem = panel_state.problem(error, doing)
            return failure_words(error)
        return ""
