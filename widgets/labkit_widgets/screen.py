"""The screen of a machine, in a cell: VNC over the comm."""

from __future__ import annotations

import threading
from collections.abc import Callable

import traitlets as t

from labkit import rules
from labkit.errors import CommandTimeout, LabkitError
from labkit.executor import Connection
from labkit_widgets.assets import asset
from labkit_widgets.channel import LiveWidget, Message, View
from labkit_widgets.twin import Bundle, Twin

READ_TIMEOUT = 10.0
TWIN_PAUSE = 10.0  # taking a picture and sending it is work
UPDATE_REQUEST, REQUEST_SIZE = 3, 10  # RFB: the client asks for what has changed since
AHEAD = 6  # messages on the way to the page, up to which more is asked for on its behalf
WRITE_TIMEOUT = 5.0  # other widgets wait meanwhile


class Screen(LiveWidget):
    """The screen behind the connection that `connect` makes, which speaks RFB without a password.

    Every view has a connection of its own. `picture` gives the screen as PNG: it is kept in the
    notebook for readers without a kernel. With `read_only`, no key and no pointer is sent.
    """

    _esm = asset("screen.js")
    _css = asset("screen.css")

    read_only = t.Bool(default_value=False).tag(sync=True)

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        name: str,
        picture: Callable[[], bytes] | None = None,
        read_only: bool = False,
    ) -> None:
        if not callable(connect):
            rules.invalid("connect", connect, "a function that connects to a screen")
        self._connect = connect
        self._picture = picture
        self._lines: dict[str, _Line] = {}
        self._twin = Twin(self._static, TWIN_PAUSE)
        super().__init__(name=name, read_only=read_only)

    def __repr__(self) -> str:
        return f"<screen of {self.name}>"

    def save(self) -> None:
        """Bring the picture in the notebook up to date now.

        It happens by itself when it is shown, some seconds after it changes, and at its end.
        """
        self._twin.save()

    # in the notebook

    def _closing(self) -> None:
        if self._lines:
            self._twin.save()

    def _ipython_display_(self) -> None:
        self._display(self._twin if self._picture is not None else None)

    def _static(self) -> Bundle:
        title = f"screen of {self.name}"
        try:
            picture = b"" if self._picture is None else self._picture()
        except LabkitError as error:
            return {"text/plain": f"{title}: {error}"}
        return {"text/plain": title, "image/png": picture}

    # views

    def _opened(self, view: View, message: Message) -> None:
        line = _Line(self, view)
        with self._lock:
            self._lines[view.ch] = line
        line.start()

    def _arrived(self, view: View, data: bytes) -> None:
        line = self._lines.get(view.ch)
        if line is not None:
            line.write(data)

    def _roomy(self, view: View) -> None:
        line = self._lines.get(view.ch)
        if line is not None:
            line.wake()

    def _left(self, view: View) -> None:
        with self._lock:
            line = self._lines.pop(view.ch, None)
        if line is not None:
            line.close()

    def _changed(self) -> None:
        self._twin.changed()


class _Line:
    """A view's connection, read by a thread no faster than the view takes it.

    A machine tells of changes only when it was asked, and looks for them every 30 ms. The way to
    the page and back would often miss that, so each answer is followed by the next question at
    once, in the page's words, while the page keeps up; the page does not repeat it. A still screen
    is asked once, and says nothing.
    """

    def __init__(self, screen: Screen, view: View) -> None:
        self._screen, self._view = screen, view
        self._connection: Connection | None = None
        self._writing = threading.Lock()
        self._question = b""
        self._owed = False  # a question, when the page has caught up
        self._room = threading.Condition()
        self._closed = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="labkit-screen", daemon=True).start()

    def write(self, data: bytes) -> None:
        if len(data) == REQUEST_SIZE and data[0] == UPDATE_REQUEST:
            self._question = bytes((UPDATE_REQUEST, 1)) + data[2:]  # 1: only what has changed
        if self._connection is not None:
            with self._writing:
                self._connection.write(data, WRITE_TIMEOUT)

    def wake(self) -> None:
        """The page has acknowledged something."""
        with self._room:
            self._room.notify_all()
        if self._owed:
            self._ask()

    def _ask(self) -> None:
        """Ask for what changes next, or when the page has caught up."""
        with self._room:
            self._owed = self._view.on_the_way >= AHEAD
            ask = bool(self._question) and not self._owed
        if ask:
            self.write(self._question)

    def close(self) -> None:
        self._closed, self._owed = True, False
        self.wake()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        screen, view = self._screen, self._view
        reason = "the machine's screen has ended"
        try:
            self._connection = screen._connect()
            screen._tell(view, "opened")
            while not self._closed and (data := self._read()):
                self._ask()
                screen._send_bytes(view, data)
                screen._changed()
        except (LabkitError, OSError) as error:
            reason = str(error)
        finally:
            self.close()
            screen._end(view, reason)

    def _read(self) -> bytes:
        with self._room:
            while not self._closed and not self._view.room:
                self._room.wait(READ_TIMEOUT)
                self._screen._drop_stale()
        while not self._closed:
            try:
                assert self._connection is not None
                return self._connection.read(self._view.room, READ_TIMEOUT)
            except CommandTimeout:
                self._screen._drop_stale()
        return b""
