"""What the steward says of machines and guests, as the errors that users catch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from labkit import markup
from labkit.errors import (
    GuestError,
    GuestGone,
    GuestHung,
    GuestNotReady,
    GuestPanicked,
    GuestRebooted,
    GuestRefused,
    GuestTimeout,
    LabError,
    MachineDied,
    MachineError,
    MachineExists,
    MachineNotStarted,
    MachineStuck,
    MachineUnknown,
    ProgramMissing,
    StewardProblem,
    TransferError,
)
from labkit.programs import qemu

TAIL_LINES = 6
MOST_LINES = 10_000
_Say = Callable[[dict[str, Any]], str]


def tail_of(console: str, lines: int = TAIL_LINES) -> str:
    """The last lines on a console as they read, without its escape sequences."""
    found = markup.readable(console, most=MOST_LINES).split("\n")
    return "\n".join([line for line in found if line.strip()][-lines:])


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Problems of the steward, raised inside, become errors about `what` was tried."""
    try:
        yield
    except StewardProblem as error:
        problem = error.context["problem"]
        known = _PROBLEMS.get(problem["code"])
        if known is None:
            raise
        kind, why, fix = known
        context = {name: value for name, value in problem.items() if name != "code"}
        advice = " ".join(text for text in (fix, _tail(kind, problem)) if text)
        raise kind(what, why=why(problem), fix=advice, **context) from error


def _tail(kind: type[LabError], problem: dict[str, Any]) -> str:
    """The console's last words, where they may tell why."""
    tail = tail_of(problem.get("console_tail") or "")
    if not tail or not issubclass(kind, GuestError | MachineDied | MachineStuck):
        return ""
    return f"Its console says last:\n{tail}"


def _died(problem: dict[str, Any]) -> str:
    end = problem.get("end") or {}
    log = f"; QEMU said: {end['log'].splitlines()[-1]}" if end.get("log") else ""
    return f"{end.get('reason') or 'its QEMU has ended'}{log}"


def _not_started(problem: dict[str, Any]) -> str:
    lines = (problem.get("log") or "").splitlines()
    return f"QEMU ended with status {problem.get('status')}: {lines[-1] if lines else 'no message'}"


def _not_ready(problem: dict[str, Any]) -> str:
    if "waited" not in problem:
        return f"it is {problem.get('state')}, and its agent does not answer"
    return f"after {problem['waited']:.0f} s {problem.get('stage', '')}"


def _hung(problem: dict[str, Any]) -> str:
    return f"it answers nothing any more, not even a ping; the machine is {problem.get('state')}"


def _rebooted(problem: dict[str, Any]) -> str:
    return f"the guest rebooted meanwhile (boot {problem.get('boots')}); its effect is unknown"


def _refused(problem: dict[str, Any]) -> str:
    text = problem.get("text") or ""
    if not text and "limit" in problem:
        text = f"{problem['size']} bytes of arguments, at most {problem['limit']} are taken"
    return f"{problem.get('reason', 'it is too long')}{f', {text}' if text else ''}"


def _said(text: str) -> _Say:
    return lambda _problem: text


_RESTART = "Start it again; its disk, if it has one, is as it was."
_LOOK = "Look at its state before you ask again."
_SPACE = "Make room there, or set LABKIT_RUN_DIR to a folder that you may write to."
_SHORTER = "Set LABKIT_RUN_DIR on that host to a folder with a shorter path."

_PROBLEMS: dict[str, tuple[type[LabError], _Say, str]] = {
    "already-running": (
        MachineExists,
        lambda p: f"{p['name']} runs there as process {p['pid']}; it was not touched",
        "Use it as it is, or power it off first.",
    ),
    "not-ours": (
        MachineExists,
        _said("another QEMU holds that place; it was not touched"),
        "Find out whose it is; labkit ends only what it can prove to be its own.",
    ),
    "still-running": (MachineExists, _said("it is still running"), "Power it off first."),
    "no-machine": (
        MachineUnknown,
        lambda p: f"there is none with index {p['index']}; there are {p['machines']}",
        "",
    ),
    "path-too-long": (
        MachineNotStarted,
        lambda p: f"the socket's path {p['path']} would be longer than {p['limit']} bytes",
        _SHORTER,
    ),
    "not-writable": (MachineNotStarted, lambda p: f"{p['path']}: {p['reason']}", _SPACE),
    "program-missing": (ProgramMissing, lambda p: f"there is no {p['program']}", qemu.INSTALL),
    "qemu-died": (MachineNotStarted, _not_started, ""),
    "qemu-silent": (
        MachineStuck,
        lambda p: f"its QEMU (process {p.get('pid')}) does not answer",
        "Try again on a less busy host, or power it off.",
    ),
    "qmp-error": (MachineError, lambda p: f"QEMU answered: {p['reason']}", ""),
    "machine-dead": (MachineDied, _died, _RESTART),
    "stop-timeout": (
        MachineStuck,
        lambda p: f"it had not ended after {p['timeout']:g} s",
        "Give it more time, or power it off.",
    ),
    "guest-not-ready": (GuestNotReady, _not_ready, "Wait longer, or read its whole console."),
    "guest-loops": (
        GuestNotReady,
        lambda p: f"it rebooted {p['resets']} times without getting ready",
        "Read its console; then power it off and start it with another image or more memory.",
    ),
    "guest-timeout": (
        GuestTimeout,
        lambda p: f"it took longer than {p['timeout']:g} s; it was ended with its children",
        "Give it a longer timeout, or find out what it waits for.",
    ),
    "guest-rebooted": (GuestRebooted, _rebooted, _LOOK),
    "guest-restarted": (GuestRebooted, _said("the guest's agent was restarted meanwhile"), _LOOK),
    "guest-panicked": (GuestPanicked, _said("its kernel panicked"), _LOOK),
    "guest-hung": (GuestHung, _hung, "Resume it if it is paused; else reboot it."),
    "guest-gone": (GuestGone, _died, _RESTART),
    "guest-refused": (GuestRefused, _refused, ""),
    "too-long": (GuestRefused, _refused, "Put long text into a file by upload()."),
    "guest-lost-bytes": (
        GuestError,
        lambda p: (
            f"{markup.counted_were(p['sent'] - p['got'], 'byte')} lost on the way, of its "
            f"{p['stream']}"
        ),
        "This is a fault of labkit or of QEMU; please report it.",
    ),
    "guest-file": (
        TransferError,
        lambda p: p["text"] or p["reason"],
        "The target is as it was before.",
    ),
}
