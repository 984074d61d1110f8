"""The panel's widget: plain values to its pages, and what people click there from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets as t

from labkit_widgets.assets import asset
from labkit_widgets.channel import LiveWidget, Message, View
from labkit_widgets.panel_state import Facts, looks


class PanelView(LiveWidget):
    """Shows what its traits hold. `hears` is given what is done in a page, `opens` told of pages.

    Both are called in the thread of the pages' messages, and must return soon.
    """

    _esm = asset("panel.js")
    _css = asset("panel.css")
    _kinds = (*LiveWidget._kinds, "do")

    looks = t.Dict().tag(sync=True)
    head = t.Dict().tag(sync=True)
    todo = t.Dict().tag(sync=True)
    svg = t.Unicode().tag(sync=True)
    vms: Any = t.List().tag(sync=True)
    links: Any = t.List().tag(sync=True)
    events: Any = t.List().tag(sync=True)
    work = t.Dict().tag(sync=True)
    problem = t.Dict().tag(sync=True)
    chosen = t.Dict().tag(sync=True)
    dock: Any = t.List().tag(sync=True)

    def __init__(
        self, name: str, hears: Callable[[Message], None], opens: Callable[[], None], values: Facts
    ) -> None:
        self._hears = hears
        self._opens = opens
        self._was_opened = False
        super().__init__(name=name, looks=looks(), **values)

    @property
    def is_seen(self) -> bool:
        """Whether a page shows it, or is about to: its first message may wait behind a cell."""
        return not self._was_opened or bool(self._all_views())

    def put(self, values: Facts) -> int:
        """Send what has changed, in one message; answers with the number of changed values."""
        news = {name: value for name, value in values.items() if getattr(self, name) != value}
        if news:
            with self.hold_sync():
                for name, value in news.items():
                    setattr(self, name, value)
        return len(news)

    def _opened(self, view: View, message: Message) -> None:
        self._was_opened = True
        self._tell(view, "opened")
        self._opens()

    def _handle(self, kind: str, view: View, message: Any, buffers: Any) -> None:
        if kind == "do":
            self._hears(message)
        else:
            super()._handle(kind, view, message, buffers)
