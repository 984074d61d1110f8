"""Bytes both ways between a widget and its views, over the comm: named streams, flow control.

The other side is ``widgets/js/src/channel.js``, which says what the messages are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import anywidget
import traitlets as t

from labkit.errors import LabkitError
from labkit_widgets.routing import front_end_note, keep_route, kernel_note
from labkit_widgets.twin import Twin, publish

logger = logging.getLogger("labkit")

PIECE = 64 * 1024  # bytes of one message at most
WINDOW_BYTES = 1024 * 1024
# Beyond 1000 messages, of all widgets together, the kernel's socket drops them without a word; and
# few in flight let small pieces grow together while the page is busy.
WINDOW_MESSAGES = 12
STALE = 45.0  # seconds without a sign of life: a reloaded page says no goodbye
AWAY = "the view was away for too long"  # the page then opens a new stream

Message = Mapping[str, Any]


class View:
    """One view of a widget, in a page: what it was sent and has not acknowledged."""

    def __init__(self, ch: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.ch = ch
        self._clock = clock
        self._bytes = self._messages = 0
        self.asked = self.greeted = False  # for a stream; that it has one
        self.heard()

    @property
    def room(self) -> int:
        """How many bytes it may be sent now, in one message; 0: wait for an acknowledgement."""
        if self._messages >= WINDOW_MESSAGES:
            return 0
        return max(0, min(PIECE, WINDOW_BYTES - self._bytes))

    @property
    def on_the_way(self) -> int:
        """Messages it was sent and has not acknowledged."""
        return self._messages

    @property
    def is_stale(self) -> bool:
        """It has given no sign of life for long: its page is gone."""
        return self._clock() - self._heard > STALE

    def heard(self) -> None:
        self._heard = self._clock()

    def sent(self, size: int) -> None:
        self._bytes += size
        self._messages += 1

    def took(self, size: int, messages: int) -> None:
        self._bytes = max(0, self._bytes - size)
        self._messages = max(0, self._messages - messages)


class LiveWidget(anywidget.AnyWidget):
    """A widget whose views each have a stream; what flows in it is for subclasses.

    They are told in the thread that the front end's messages come in, and must not block it for
    long: other widgets are answered there too.
    """

    name = t.Unicode().tag(sync=True)
    note = t.Unicode().tag(sync=True)  # what stands in the way of working well here
    has_twin = t.Bool(default_value=False).tag(sync=True)
    _made = False  # a widget that could not be made is closed, too
    _kinds: ClassVar[Sequence[str]] = ("open", "data", "ack", "beat", "close", "size")

    def __init__(self, **values: Any) -> None:
        self._views: dict[str, View] = {}
        self._lock = threading.RLock()
        super().__init__(note=kernel_note(), **values)
        keep_route(self)
        self.on_msg(self._heard)
        self._made = True

    # for subclasses

    def _opened(self, view: View, message: Message) -> None:
        """A view wants a stream: answer `_tell(view, "opened")`, now or later, or `_end` it."""
        raise NotImplementedError

    def _arrived(self, view: View, data: bytes) -> None:
        """A view has sent bytes."""
        raise NotImplementedError

    def _roomy(self, view: View) -> None:
        """A view has acknowledged something: it may be sent more."""

    def _resized(self, view: View, message: Message) -> None:
        """A view has another size."""

    def _left(self, view: View) -> None:
        """A view is gone."""

    def _all_views(self) -> list[View]:
        with self._lock:
            return list(self._views.values())

    # in the notebook

    def _display(self, twin: Twin | None) -> None:
        """Display the live view, and what stands for it where there is no kernel."""
        self.has_twin = twin is not None
        bundle = super()._repr_mimebundle_()
        assert bundle is not None
        data, metadata = bundle
        # Viewers of saved notebooks show both outputs: the twin has the words.
        publish({**data, "text/plain": repr(self) if twin is None else ""}, metadata)
        if twin is not None:
            twin.show()

    # to the page

    def _send_bytes(self, view: View, data: bytes) -> None:
        view.sent(len(data))
        self._tell(view, "data", [data])

    def _tell(
        self, view: View, kind: str, buffers: list[bytes] | None = None, **facts: Any
    ) -> None:
        if self.comm is not None:  # else the widget was closed
            self.send({"k": kind, "ch": view.ch, **facts}, buffers)

    def _end(self, view: View, reason: str) -> None:
        """End a view's stream; the page says why."""
        with self._lock:
            if self._views.pop(view.ch, None) is None:
                return
        self._tell(view, "closed", reason=reason)
        self._left(view)

    # from the page

    def _heard(self, _widget: object, message: Any, buffers: Sequence[Any]) -> None:
        kind, ch = message.get("k"), message.get("ch")
        if kind not in self._kinds or not isinstance(ch, str):
            logger.warning("a view sent what is no message: %.200r", message)
            return
        with self._lock:
            view = self._views.get(ch)
        if kind == "open":
            view = View(ch)
            with self._lock:
                self._views[ch] = view
        elif view is None:
            if kind != "close":
                self._tell(View(ch), "closed", reason=AWAY)
            return
        view.heard()
        try:
            self._handle(kind, view, message, buffers)
        except (LabkitError, OSError) as error:  # whatever it is, only this view ends of it
            self._end(view, str(error))

    def _handle(self, kind: str, view: View, message: Any, buffers: Sequence[Any]) -> None:
        if kind == "open":
            self._drop_stale()
            self._opened(view, message)
        elif kind == "data":
            for buffer in buffers:
                self._arrived(view, bytes(buffer))
        elif kind == "ack":
            with self._lock:
                view.took(int(message["n"]), int(message["m"]))
            self._roomy(view)
        elif kind == "beat":
            self._tell(view, "beat")
            self._drop_stale()
            if not self.note:
                self.note = front_end_note(self)
        elif kind == "size":
            self._resized(view, message)
        elif kind == "close":
            with self._lock:
                self._views.pop(view.ch, None)
            self._left(view)

    def _drop_stale(self) -> None:
        for view in self._all_views():
            if view.is_stale:
                self._end(view, AWAY)

    def _closing(self) -> None:
        """It is about to be closed, for the first time."""

    def close(self) -> None:
        """End it and all its views; again is fine."""
        if self._made:
            self._made = False
            self._closing()
            for view in self._all_views():
                self._end(view, "it was closed")
        super().close()
