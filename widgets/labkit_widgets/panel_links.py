"""What a panel does with links: impairments as they are dragged, and captures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from labkit.captures import Capture
from labkit.errors import LabkitError
from labkit.lab import LabSlice
from labkit_widgets.panel_state import CONTROLS, Facts, capture_facts

Changed = Callable[[], None]


class LinkChanges:
    """Applies what was set last, link by link; what was overtaken meanwhile is left out."""

    def __init__(self, slice_: LabSlice, changed: Changed) -> None:
        self._slice = slice_
        self._changed = changed
        self._lock = threading.Lock()
        self._wanted: dict[str, dict[str, Any]] = {}
        self._busy: set[str] = set()
        self.troubles: dict[str, str] = {}

    def set(self, name: str, settings: Facts) -> None:
        """Want settings of a link: texts of `CONTROLS` (nothing: none of it), or ``up``."""
        found = {key: settings[key] or None for key in CONTROLS if key in settings}
        if "up" in settings:
            found["up"] = bool(settings["up"])
        with self._lock:
            self._wanted.setdefault(name, {}).update(found)
            if name in self._busy:
                return
            self._busy.add(name)
        threading.Thread(target=self._apply, args=(name,), name="labkit-link", daemon=True).start()

    def _apply(self, name: str) -> None:
        while True:
            with self._lock:
                settings = self._wanted.pop(name, None)
                if settings is None:
                    self._busy.discard(name)
                    return
            try:
                self._do(name, settings)
                self.troubles.pop(name, None)
            except LabkitError as error:
                self.troubles[name] = str(error)
            self._changed()

    def _do(self, name: str, settings: dict[str, Any]) -> None:
        link = self._slice.get_link(name)
        up = settings.pop("up", None)
        if settings:
            link.impair(**settings)
        if up is not None:
            (link.up if up else link.down)()


class Captures:
    """The captures that a panel has begun, by link; they can be read and saved after their end."""

    def __init__(self, slice_: LabSlice) -> None:
        self._slice = slice_
        self.found: dict[str, Capture] = {}
        self.running: set[str] = set()

    def start(self, name: str) -> None:
        """Begin a new one on a link."""
        self.found[name] = self._slice.get_link(name).capture().start()
        self.running.add(name)

    def stop(self, name: str) -> None:
        """End that of a link."""
        if name in self.running:
            self.running.discard(name)
            self.found[name].stop()

    def stop_all(self) -> None:
        for name in list(self.running):
            self.stop(name)

    def facts(self, name: str) -> Facts:
        """What the page shows of it."""
        return capture_facts(self.found.get(name), is_running=name in self.running)
