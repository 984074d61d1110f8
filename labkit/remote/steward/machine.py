"""One machine: its QEMU, monitor, console and guest, from its start to its end."""

from __future__ import annotations

import os

from .console import Console
from .guest import Guest
from .process import END_FILE, MACHINE_FILE
from .qmp import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Steward
    from .request import Facts

LOOK_EVERY = 0.004  # seconds between two looks for QEMU's monitor; it is there after 20 to 100 ms
FIRST_ANSWER = 30.0  # seconds in which QEMU has to answer at all
LOG_EVERY = 30.0
LOOP_RESETS = 5  # reboots without being ready in between: it never will be
ONE_REBOOT = 0.5  # seconds; the firmware resets the machine some times more before it is content


class Machine:
    """State: starting, running, paused, panicked, stopped (halted inside QEMU), dead."""

    def __init__(self, steward: Steward, index: int, facts: Facts) -> None:
        self.index = index
        self.name: str = facts["name"]
        self.uuid: str = facts["uuid"]
        self.since: float = facts.get("since", steward.loop.time())
        self.state = "starting"
        self.boots = int(facts.get("boots", 1))
        self.resets = 0  # since it was ready last
        self.end: Facts = {}
        self.folder = steward.machine_folder(index)
        self.process = steward.host.process(self.folder, self.uuid)
        history = steward.host.history(self.folder)
        self.console = Console(steward.loop, self.folder, history, self._panicked)
        self.guest = Guest(steward.loop, self.folder, self._ready)
        self.monitor: Monitor | None = None
        self._steward = steward
        self._facts = facts
        self._reason = ""
        self._last_reset = 0.0
        self._on_reset: list[Callable[[], None]] = []
        self._on_end: list[Callable[[], None]] = []

    # beginning

    def start(self, done: Callable[[str, Facts], None]) -> None:
        """Start QEMU; `done` hears "" or a problem. Raises OSError where it cannot be run."""
        self.process.start(self._facts["argv"], self._facts.get("env", {}))
        self._steward.event("machine-started", **self._who(), pid=self.process.pid)
        self._meet(self._steward.loop.now() + FIRST_ANSWER, done)

    def find(self, done: Callable[[str, Facts], None]) -> None:
        """Take over a machine that an earlier steward has started."""
        self.guest.expect()
        self._meet(self._steward.loop.now() + FIRST_ANSWER, done)

    def _meet(self, deadline: float, done: Callable[[str, Facts], None]) -> None:
        if self.process.status is not None:
            self._ended("it ended while it started")
            done("qemu-died", self._last_words())
            return
        try:
            monitor = Monitor(self._steward.loop, self._path("qmp"), self._event, self._gone)
        except OSError as error:
            if self._steward.loop.now() > deadline:
                done("qemu-silent", {"pid": self.process.pid, "reason": error.strerror})
            else:
                again = self._steward.loop.now() + LOOK_EVERY
                self._steward.loop.call_at(again, lambda: self._meet(deadline, done))
            return
        self.monitor = monitor

        def known(answer: Facts) -> None:
            uuid = answer.get("return", {}).get("UUID")
            if "error" in answer:
                self.when_dead(lambda: done("qemu-died", self._last_words()))
            elif uuid != self.uuid:
                monitor.close()
                self._ended("another QEMU answers in its place")
                done("not-ours", {"uuid": uuid, "wanted": self.uuid})
            else:
                monitor.execute("query-status", {}, lambda status: self._join(status, done))

        monitor.execute("query-uuid", {}, known)

    def _join(self, answer: Facts, done: Callable[[str, Facts], None]) -> None:
        """Listen to everything it serves, then let it go."""
        status = answer.get("return", {}).get("status", "")
        try:
            self.console.connect()
            self.guest.connect()
        except OSError as error:
            if self.monitor is None:  # it died meanwhile, and that was told
                done("qemu-died", self._last_words())
            else:
                done("qemu-silent", {"pid": self.process.pid, "reason": error.strerror})
            return
        self.state = {"running": "running", "paused": "paused"}.get(status, "starting")
        self._steward.machine_up(self.index)
        if status == "prelaunch" and self.monitor is not None:
            self.state = "running"
            self.monitor.execute("cont", {}, lambda _answer: None)
        self._watch_log()
        done("", {"pid": self.process.pid})

    def _last_words(self) -> Facts:
        return {"status": self.process.status, "log": self.process.log_tail()}

    # what happens to it

    def _event(self, message: Facts) -> None:
        kind, data = message["event"], message.get("data", {})
        if kind == "RESET":
            self._reset(str(data.get("reason", "")))
        elif kind == "STOP" and self.state in ("running", "starting"):
            self._change("paused")
        elif kind == "RESUME" and self.state in ("paused", "starting"):
            self.guest.forgive()
            self._change("running")
        elif kind == "GUEST_PANICKED":
            self._panicked()
        elif kind == "SHUTDOWN":
            self._reason = str(data.get("reason", ""))

    def _change(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._steward.event("machine-%s" % state, **self._who())

    def _panicked(self) -> None:
        if self.state in ("running", "starting"):
            self._change("panicked")
            self.guest.reset("guest-panicked")

    def _reset(self, reason: str) -> None:
        last, self._last_reset = self._last_reset, self._steward.loop.now()
        if self._last_reset - last < ONE_REBOOT:
            return
        self.boots += 1
        self.resets += 1
        self.guest.reset("guest-rebooted")
        self.state = "running"
        try:
            self._remember()
        except OSError as error:
            self._steward.log("the boot of m%d was not counted: %s" % (self.index, error))
        self._steward.event(
            "machine-rebooted", **self._who(), boots=self.boots, reason=reason, resets=self.resets
        )
        callbacks, self._on_reset = self._on_reset, []
        for callback in callbacks:
            callback()

    def _ready(self, facts: Facts) -> None:
        self.resets = 0
        seconds = self._steward.loop.time() - self.since
        self._steward.event("machine-ready", **self._who(), seconds=seconds, **facts)

    @property
    def loops(self) -> bool:
        """It reboots again and again without becoming ready."""
        return self.resets >= LOOP_RESETS

    def _gone(self) -> None:
        """The monitor's connection broke: QEMU has ended, or is just about to."""
        self.monitor = None
        self._wait_for_end(self._steward.loop.now() + 10)

    def _wait_for_end(self, deadline: float) -> None:
        if self.process.pid is not None and self._steward.loop.now() < deadline:
            again = self._steward.loop.now() + LOOK_EVERY
            self._steward.loop.call_at(again, lambda: self._wait_for_end(deadline))
        else:
            self._ended(_end_reason(self.process.status, self._reason))

    def _ended(self, reason: str) -> None:
        if self.state == "dead":
            return
        self.state = "dead"
        self.end = {
            "reason": reason,
            "status": self.process.status,
            "time": self._steward.loop.time(),
            "log": self.process.log_tail(),
        }
        self.console.disconnect()
        self.guest.close("guest-gone")
        try:
            self._steward.host.write_json(self._path(END_FILE), self.end)
        except OSError as error:  # a full disk: what ended has ended all the same
            self._steward.log("the end of m%d was not kept: %s" % (self.index, error))
        self._steward.event("machine-ended", **self._who(), **self.end)
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            callback()

    # ending

    def when_dead(self, callback: Callable[[], None]) -> None:
        if self.state == "dead":
            callback()
        else:
            self._on_end.append(callback)

    def reboot(self, done: Callable[[], None]) -> bool:
        """Ask the guest to reboot, and tell when it has; False when it cannot hear us."""
        self._on_reset.append(done)
        return self.guest.halt("reboot")

    def power_off(self) -> None:
        """Tell QEMU to end."""
        if self.monitor is not None:
            self.monitor.execute("quit", {}, lambda _answer: None)

    def shut_down(self) -> None:
        """Ask the guest to end: over its lane, or by the power button where nobody listens."""
        if not self.guest.halt("poweroff") and self.monitor is not None:
            self.monitor.execute("system_powerdown", {}, lambda _answer: None)

    def close(self) -> None:
        """Let go of everything and leave QEMU alone."""
        if self.monitor is not None:
            self.monitor.close()
        self.console.close()
        self.guest.close("guest-gone")

    # facts

    def shown(self) -> Facts:
        return {
            **self._who(),
            "uuid": self.uuid,
            "pid": self.process.pid,
            "state": self.state,
            "since": self.since,
            "boots": self.boots,
            "resets": self.resets,
            "ready": self.guest.ready,
            "boot": self.guest.boot,
            "console_tail": self.tail(),
            "end": self.end or None,
            "about": self._facts.get("about", {}),
            "notes": self._facts.get("notes", {}),
        }

    def tail(self) -> str:
        """The last words on the console."""
        return self.console.history.tail.decode(errors="replace")

    def save(self) -> None:
        """Write down what it is, before it is."""
        self._steward.host.remove(self._path(END_FILE))
        self._remember()

    def note(self, notes: Facts) -> None:
        """Keep facts with it until it is started again; a null drops one."""
        merged = {**self._facts.get("notes", {}), **notes}
        self._facts["notes"] = {k: v for k, v in merged.items() if v is not None}
        self._remember()

    def recall_end(self) -> None:
        """It was dead when we came: say what is known of its end."""
        self.state = "dead"
        self.end = self._steward.host.read_json(self._path(END_FILE)) or {
            "reason": "it ended while no steward was there to see it",
            "status": None,
            "time": None,
            "log": self.process.log_tail(),
        }

    def _remember(self) -> None:
        facts = {**self._facts, "since": self.since, "boots": self.boots}
        self._steward.host.write_json(self._path(MACHINE_FILE), facts)

    def _who(self) -> Facts:
        return {"index": self.index, "name": self.name}

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _watch_log(self) -> None:
        if self.state != "dead":
            self.process.bound_log()
            self._steward.loop.call_later(LOG_EVERY, self._watch_log)


def _end_reason(status: int | None, reason: str) -> str:
    if status is not None and status < 0:
        return "QEMU was ended by signal %d" % -status
    if reason == "guest-shutdown":
        return "the guest shut down"
    if reason == "host-qmp-quit":
        return "powered off"
    if status:
        return "QEMU ended with status %d" % status
    return "QEMU ended (%s)" % (reason or "it gave no reason")
