"""The terminal: a serial console or a shell of a machine, in a cell."""

from __future__ import annotations

import threading
from collections.abc import Callable

import traitlets as t

from labkit import rules
from labkit.executor import Connection
from labkit_widgets.assets import asset
from labkit_widgets.channel import LiveWidget, Message, View
from labkit_widgets.feed import Feed
from labkit_widgets.sources import ByteSource
from labkit_widgets.transcript import LINES, Transcript, as_html
from labkit_widgets.twin import Bundle, Twin

COLUMNS, ROWS = 80, 24
MOST_COLUMNS, MOST_ROWS = 500, 200
TWIN_PAUSE = 2.0
FIRST_WORDS = 0.5  # seconds that a cell waits for them, so that a notebook says the same each time

Connect = Callable[[int, int], Connection]


class Terminal(LiveWidget):
    """A terminal on the connection that `connect` makes, given columns and rows, when it is shown.

    All views share the connection and are told the past first. What was shown is kept as text in
    the notebook, and is `transcript`. With `read_only`, nothing that is typed is sent.

    `resizable`: the connection is a `ByteSource`, which is told the terminal's size. Else, as on
    a serial line, the terminal keeps the 80 columns that the other side takes it to have.
    """

    _esm = asset("terminal.js")
    _css = asset("terminal.css")

    what = t.Unicode().tag(sync=True)
    columns = t.Int(COLUMNS).tag(sync=True)
    rows = t.Int(ROWS).tag(sync=True)
    resizable = t.Bool(default_value=False).tag(sync=True)
    read_only = t.Bool(default_value=False).tag(sync=True)
    screen_reader = t.Bool(default_value=False).tag(sync=True)

    def __init__(
        self,
        connect: Connect,
        *,
        name: str,
        what: str = "terminal",
        rows: int = ROWS,
        resizable: bool = False,
        read_only: bool = False,
        screen_reader: bool = False,
    ) -> None:
        if not callable(connect):
            rules.invalid("connect", connect, "a function of columns and rows")
        rules.integer(rows, "rows", 2, MOST_ROWS)
        self._size = (COLUMNS, rows)  # as the other side knows it
        self._sending = threading.RLock()  # what a view is sent stays in order
        self._transcript = Transcript()
        self._spoke = threading.Event()  # the other side has said something, or has ended
        self._twin = Twin(self._static, TWIN_PAUSE)
        self._feed = Feed(
            lambda: connect(*self._size),
            self._sending,
            on_open=self._greet_all,
            on_data=self._feed_data,
            on_end=self._feed_end,
            on_wait=self._drop_stale,
        )
        super().__init__(
            name=name,
            what=what,
            rows=rows,
            resizable=resizable,
            read_only=read_only,
            screen_reader=screen_reader,
        )

    def __repr__(self) -> str:
        return f"<{self.what} of {self.name}>"

    # for programs

    @property
    def transcript(self) -> str:
        """What was shown, as text: at most the last 1000 lines."""
        with self._sending:
            return "\n".join(self._transcript.lines(LINES))

    def start(self) -> None:
        """Connect without showing it; what comes is kept."""
        self._feed.open()

    def type(self, text: str) -> None:
        """Type on it, as a person does, whatever `read_only` says."""
        self._feed.write(text.encode())

    def save(self) -> None:
        """Bring the text in the notebook up to date now; it happens every 2 seconds by itself."""
        self._twin.save()

    # in the notebook

    def _closing(self) -> None:
        self._feed.close()
        self._twin.save()

    def _ipython_display_(self) -> None:
        self._feed.open()
        self._spoke.wait(FIRST_WORDS)
        self._display(self._twin)

    def _static(self) -> Bundle:
        title = f"{self.what} of {self.name}"
        with self._sending:
            lines = self._transcript.lines() or ["(nothing was shown)"]
        return {"text/plain": "\n".join([title, "", *lines]), "text/html": as_html(title, lines)}

    # views, in the thread of the page's messages

    def _opened(self, view: View, message: Message) -> None:
        if self.resizable:
            self._resized(view, message)
        with self._sending:
            view.asked = True
            if self._feed.source is not None:
                self._greet(view)
            self._feed.open()

    def _arrived(self, view: View, data: bytes) -> None:
        if not self.read_only and self._feed.source is not None:
            self._feed.write(data)

    def _roomy(self, view: View) -> None:
        with self._sending:
            self._pump(view)

    def _resized(self, view: View, message: Message) -> None:
        """The view that was sized last is the one that the other side draws for."""
        columns = min(max(int(message["columns"]), 2), MOST_COLUMNS)
        rows = min(max(int(message["rows"]), 2), MOST_ROWS)
        if not self.resizable or (columns, rows) == self._size:
            return
        self._size = (columns, rows)
        source = self._feed.source
        if isinstance(source, ByteSource):
            source.resize(columns, rows)
        for other in self._all_views():
            if other is not view:
                self._tell(other, "size", columns=columns, rows=rows)

    def _left(self, view: View) -> None:
        self._feed.leave(view.ch)

    # bytes

    def _greet(self, view: View) -> None:
        with self._sending:
            if view.greeted:
                return
            view.greeted = True
            self._feed.join(view.ch)
            self._tell(view, "opened")
            self._pump(view)

    def _pump(self, view: View) -> None:
        while (room := view.room) and (data := self._feed.take(view.ch, room)):
            self._send_bytes(view, data)

    # the feed's thread

    def _greet_all(self) -> None:
        for view in self._all_views():
            self._greet(view)

    def _feed_data(self, data: bytes) -> None:
        with self._sending:
            self._transcript.add(data)
            for view in self._all_views():
                self._pump(view)
        self._spoke.set()
        self._twin.changed()

    def _feed_end(self, reason: str) -> None:
        for view in self._all_views():
            if view.asked:
                self._end(view, reason)
        self._spoke.set()
        self._twin.save()
