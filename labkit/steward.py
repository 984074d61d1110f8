"""The client of a host's steward: starts it, connects, and runs many requests on one connection.

A request is sent once. When the connection breaks while it runs, `ConnectionLost` says that its
effect is unknown; the next request connects again, and starts the steward again where it is gone.
"""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import Any, Self

import labkit
from labkit import remote, rules
from labkit.calls import Call, Facts, Link, Listener, Part
from labkit.errors import (
    ClosedError,
    ConnectionLost,
    StewardError,
    StewardOutdated,
    WorkerUnreachable,
)
from labkit.executor import DEFAULT_TIMEOUT, Executor
from labkit.remote import pack
from labkit.remote.shared import RUN_KEY
from labkit.remote.steward.control import PROTOCOL

START_TIMEOUT = 60.0


def ensure(executor: Executor, host: str, key: str) -> Steward:
    """The steward of a slice, started if it does not run. Safe to call from many places at once."""
    facts = _start(executor, host, key, pack.steward())
    return Steward(executor, host, key, facts)


def find(executor: Executor, host: str, key: str) -> Steward | None:
    """The steward of a slice if it runs."""
    answer = _start(executor, host, key, b"")
    return Steward(executor, host, key, answer) if answer else None


def _start(executor: Executor, host: str, key: str, program: bytes) -> Facts:
    if not isinstance(key, str) or not RUN_KEY.fullmatch(key):
        rules.invalid("key", key, "8 hexadecimal digits")
    command = remote.program("start", key, pack.steward_build(), labkit.__version__)
    result = executor.run(host, command, stdin=program, timeout=START_TIMEOUT).check()
    try:
        answer = json.loads(result.stdout)
    except ValueError as error:
        raise StewardError(
            f"cannot start the steward on {host}",
            why=f"its starter answered {result.text[:200]!r}",
            fix="See whether the shell's start files print something on that host.",
        ) from error
    if not answer["ok"]:
        raise _start_error(host, answer["problem"])
    facts: Facts = answer.get("steward", {})
    if facts and facts["protocol"] != PROTOCOL:
        raise StewardOutdated(
            f"cannot use the steward of slice {key} on {host}",
            why=f"it is of labkit {facts['version']}, this is labkit {labkit.__version__}, and "
            "they do not understand one another",
            fix=f"Shut its machines down with the other labkit, then end process {facts['pid']} "
            "there; this labkit will start its own.",
            steward=facts,
        )
    return facts


def _start_error(host: str, problem: Facts) -> StewardError:
    fixes = {
        "path-too-long": "Set LABKIT_RUN_DIR on that host to a folder with a short path.",
        "folder-unsafe": "Remove that folder, or set LABKIT_RUN_DIR on that host to one of yours.",
        "not-writable": "Make room or set LABKIT_RUN_DIR on that host to a folder of yours.",
        "start-busy": "Try again; if it lasts, look for a hanging labkit on that host.",
        "start-failed": "See its log, and whether python3 is 3.8 or newer on that host.",
    }
    code = problem["code"]
    why = ", ".join(f"{name} {value}" for name, value in problem.items() if name != "code")
    return StewardError(
        f"cannot start the steward on {host}",
        why=f"{code.replace('-', ' ')}: {why}",
        fix=fixes.get(code, ""),
        problem=problem,
    )


class Steward:
    """The steward of one slice on one host. Safe to use from many threads."""

    def __init__(self, executor: Executor, host: str, key: str, facts: Facts) -> None:
        self.host = host
        self.key = key
        self.facts = facts
        self._executor = executor
        self._listeners: list[Listener] = []
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Steward {self.key} on {self.host}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(
        self,
        verb: str,
        *,
        data: bytes = b"",
        timeout: float = DEFAULT_TIMEOUT,
        revive: bool = True,
        **facts: Any,
    ) -> Part:
        """Ask for something and wait for the answer; errors are those of `Call.result`."""
        return self.start(verb, data=data, revive=revive, **facts).result(timeout)

    def start(self, verb: str, *, data: bytes = b"", revive: bool = True, **facts: Any) -> Call:
        """Ask for something that streams or lasts.

        Where the steward has ended it is started again; without `revive` that is
        `WorkerUnreachable`, as who only looks must change nothing.
        """
        link = self._connected(revive=revive)
        try:
            return link.start(verb, facts, data)
        except WorkerUnreachable:  # it hung up just now, and nothing was sent
            return self._connected(revive=revive).start(verb, facts, data)

    def listen(self, listener: Listener, *, revive: bool = True) -> None:
        """Tell a function of all events, in the reader thread: it must be quick, never raise.

        `revive` is that of `start`; where it raises, the function is told nothing.
        """
        with self._lock:
            self._listeners.append(listener)
            if self._link is not None and self._link.alive and len(self._listeners) > 1:
                return
        try:
            self.call("subscribe", revive=revive)
        except BaseException:
            self.ignore(listener)
            raise

    def ignore(self, listener: Listener) -> None:
        """Tell it no more."""
        with self._lock:
            self._listeners.remove(listener)

    def quit(self, *, forget: bool = False, force: bool = False) -> None:
        """End the steward; refused while machines run, unless by `force` (they then live on).

        `forget`: its memory of links goes too, as when the slice is deleted.
        """
        link = self._connected()
        link.start("quit", {"forget": forget, "force": force}, b"").result()
        link.wait_closed()
        self.close()

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands, as far as is known without asking."""
        link = self._link
        return link is not None and link.alive and not self._closed

    def close(self) -> None:
        """Let go of the connection; the steward lives on. Again is fine."""
        with self._lock:
            self._closed = True
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def _told(self, event: Facts) -> None:
        for listener in tuple(self._listeners):
            listener(event)

    def _connected(self, *, revive: bool = True) -> Link:
        with self._lock:
            if self._closed:
                raise ClosedError(f"{self!r} is closed", fix="Use labkit.steward.ensure again.")
            if self._link is None or not self._link.alive:
                self._link = self._connect(revive=revive)
            return self._link

    def _connect(self, *, revive: bool) -> Link:
        """Connect to where it was; where it is gone, start it again."""
        for attempt in range(1 + revive):
            if attempt:
                self.facts = _start(self._executor, self.host, self.key, pack.steward())
            try:
                return self._greeted()
            except (WorkerUnreachable, ConnectionLost):
                continue  # nothing but a greeting was sent
        path = f"{self.facts['folder']}/control"
        where = f"the steward of slice {self.key} on {self.host}"
        raise WorkerUnreachable(f"cannot connect to {where}", why="it has ended", path=path)

    def _greeted(self) -> Link:
        where = f"the steward of slice {self.key} on {self.host}"
        connection = self._executor.connect(self.host, f"{self.facts['folder']}/control")
        link = Link(connection, where, self._told)
        try:
            link.start("hello", {}, b"").result()
            if self._listeners:
                link.start("subscribe", {}, b"").result()
        except BaseException:
            link.close()
            raise
        return link
