"""What every part of the steward is given: the loop, the control socket, the folder, the memory."""

from __future__ import annotations

import json
import os
import time

from .request import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .control import Control
    from .host import Host
    from .loop import Loop

# in the run folder: what only a living steward has, and what is kept for the next one
FILES = ("control", "steward.json")
MEMORY = (
    "state.json",
    "state.json.part",
    "steward.log",
    "steward.log.1",
    "steward.pyz",
    "start.lock",
    "lock",
)


class Damaged(Exception):
    """The steward's memory cannot be read; it is never thrown away by itself."""


class State:
    """What the steward must know again after it was killed, in a small file of its own.

    A part owns a section, a JSON value; each change writes the whole file, atomically.
    """

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._path = path
        self._sections: dict[str, Any] = {}
        try:
            self._sections = json.loads(host.read(path).decode())
        except ValueError as error:
            raise Damaged("%s is damaged (%s)" % (path, error)) from error
        except FileNotFoundError:
            pass

    def get(self, section: str) -> Any:
        """What was last put there, or None."""
        return self._sections.get(section)

    def put(self, section: str, value: Any) -> None:
        if self._sections.get(section) == value:
            return
        sections = {**self._sections, section: json.loads(json.dumps(value))}
        text = json.dumps(sections, separators=(",", ":"))
        try:
            self._host.write(self._path, text.encode(), sure=False)
        except OSError as error:
            raise Problem("not-writable", path=self._path, reason=error.strerror) from error
        self._sections = sections


class Steward:
    """The parts' common ground; each part is made with it and registers its verbs in `control`."""

    def __init__(self, folder: str, loop: Loop, control: Control, host: Host) -> None:
        self.folder = folder
        self.host = host
        self.loop = loop
        self.control = control
        self.state = State(host, os.path.join(folder, "state.json"))
        self.on_machine_up: list[Callable[[int], None]] = []
        self.running: list[Callable[[], list[int]]] = []
        self.on_quit: list[Callable[[], None]] = []
        self.on_homeless: list[Callable[[], None]] = []
        self.on_log: list[Callable[[], None]] = []

    def machine_folder(self, index: int) -> str:
        """RUN/mN, the folder of one machine."""
        return os.path.join(self.folder, "m%d" % index)

    def log(self, text: str) -> None:
        """A line in RUN/steward.log, which is bounded."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.loop.time()))
        self.host.log("%s %s" % (stamp, text))
        for callback in self.on_log:
            callback()

    def event(self, kind: str, **facts: Any) -> None:
        """Tell the clients that subscribed: ``{"event": {"kind": KIND, "time": T, ...}}``."""
        self.control.event({"kind": kind, "time": self.loop.time(), **facts})

    def machine_up(self, index: int) -> None:
        """To be called when QEMU of a machine has answered: its sockets can be connected now."""
        for callback in self.on_machine_up:
            callback(index)

    def running_machines(self) -> list[int]:
        """The machines that are alive: `quit` refuses while there are any."""
        return sorted(index for part in self.running for index in part())
