"""Scripted faults: what shall go wrong, on which worker, at which command, how often."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit import remote, rules
from labkit.errors import (
    AuthenticationRefused,
    ConnectionLost,
    HostKeyChanged,
    HostKeyUnknown,
    WorkerError,
    WorkerUnreachable,
)
from labkit.executor import show

EVERYWHERE = "*"
CONNECTING = {  # nothing is sent
    "unreachable": "no connection to the worker can be made",
    "key-refused": "the worker accepts none of the keys",
    "host-key-unknown": "the worker's host key is in no known_hosts file",
    "host-key-changed": "the worker shows another host key than the recorded one",
}
SENDING = {  # a command is sent; its effect is unknown to the sender
    "lost-before": "the connection breaks before the command takes effect",
    "lost-after": "the connection breaks after the command took effect",
}
STREAMING = {"cut-transfer": "the connection breaks after `after` bytes were written to a stream"}
WORKING = {  # a program does not do its work
    "hang": "the program never ends",
    "exit": "the program ends at once with `status` and `stderr`",
    "missing": "the worker does not have the program",
    "no-space": "the worker's disk is full",
    "read-only": "the worker's disk is mounted read-only",
}
RECEIVING = {"corrupt-transfer": "a base image arrives with a flipped bit"}
BOOTING = {  # a machine's guest does not start as it should; `on` is the machine's name
    "slow-boot": "the guest takes 40 s more to get ready",
    "never-ready": "the guest boots, but its agent never answers",
    "boot-loop": "the guest reboots again and again",
    "boot-panic": "the guest's kernel panics while it boots",
    "boot-dies": "QEMU is killed while the guest boots",
}
KINDS = {**BOOTING, **CONNECTING, **SENDING, **STREAMING, **WORKING, **RECEIVING}
ERROR_NUMBERS = {"no-space": errno.ENOSPC, "read-only": errno.EROFS}
REMOTE = "python3 labkit:"


@dataclass(slots=True)
class Fault:
    """One scripted fault; `times` counts down, None is until it is healed."""

    kind: str
    host: str = EVERYWHERE
    on: str = ""
    times: int | None = None
    skip: int = 0
    status: int = 1
    stderr: str = ""
    after: int = 0

    @property
    def error_number(self) -> int:
        return ERROR_NUMBERS.get(self.kind, 0)

    def __str__(self) -> str:
        where = "every worker" if self.host == EVERYWHERE else self.host
        often = "" if self.times is None else f", {self.times} more"
        return f"{self.kind} on {where}{f' at {self.on!r}' if self.on else ''}{often}"


class Faults:
    """The faults that are scripted, in the order in which they were."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Faults {'; '.join(map(str, self._faults)) or 'none'}>"

    def add(self, fault: Fault) -> None:
        if fault.kind not in KINDS:
            rules.invalid("fault", fault.kind, f"one of {', '.join(KINDS)}")
        if fault.host != EVERYWHERE:
            rules.host(fault.host, "host")
        if fault.times is not None:
            rules.integer(fault.times, "times", 1, 10**9)
        rules.integer(fault.skip, "skip", 0, 10**9)
        rules.integer(fault.status, "status", 0, 255)
        rules.integer(fault.after, "after", 0, 2**63)
        if fault.kind == "missing" and not fault.on:
            rules.invalid("on", fault.on, "the name of the program that is missing")
        with self._lock:
            self._faults.append(fault)

    def heal(self, host: str = EVERYWHERE) -> None:
        """Forget the faults of a host, or all of them."""
        with self._lock:
            self._faults = [] if host == EVERYWHERE else [f for f in self._faults if f.host != host]

    def of_connection(self, host: str, line: str, *, is_stream: bool) -> Fault | None:
        """The fault that hits a command on its way: its line contains `on`."""
        kinds = (*CONNECTING, *SENDING, *(STREAMING if is_stream else ()))
        return self._take(kinds, host, lambda on: on in line)

    def of_program(self, host: str, line: str) -> Fault | None:
        """The fault that hits a program on the worker: its line begins with `on`."""
        return self._take(tuple(WORKING), host, lambda on: _begins(line, on))

    def hide(self, host: str, name: str) -> bool:
        """Whether a program is missing, asked without starting it."""
        return self._take(("missing",), host, lambda on: _begins(name, on)) is not None

    def of_boot(self, host: str, machine: str) -> Fault | None:
        """The fault that hits a machine's guest when it starts."""
        return self._take(tuple(BOOTING), host, lambda on: on in ("", machine))

    def of_content(self, host: str) -> Fault | None:
        """The fault that hits bytes that are received."""
        return self._take(tuple(RECEIVING), host, lambda _on: True)

    def _take(
        self, kinds: tuple[str, ...], host: str, matches: Callable[[str], bool]
    ) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.kind not in kinds or fault.host not in (host, EVERYWHERE):
                    continue
                if not matches(fault.on):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault
        return None


def _begins(line: str, on: str) -> bool:
    words = on.split()
    return line.split()[: len(words)] == words or (
        line.startswith(REMOTE) and line.removeprefix(REMOTE).split()[: len(words)] == words
    )


def readable(argv: Sequence[str], stdin: bytes | bytearray = b"") -> str:
    """A command on one line; labkit's own worker programs by their names and verbs."""
    name = remote.name_of(argv)
    if name is None:
        return show(argv)
    words = list(argv[4:])
    if name == "overlays":
        words = [_verb(stdin), *words]
    return f"{REMOTE}{name} {show(words)}".rstrip()


def _verb(stdin: bytes | bytearray) -> str:
    try:
        return str(json.loads(stdin)["verb"])
    except (ValueError, KeyError, TypeError):
        return "?"


FINGERPRINTS = (
    "ssh-ed25519 SHA256:simulatedsimulatedsimulatedsimulatedsimulat",
    "ssh-ed25519 SHA256:recordedrecordedrecordedrecordedrecordedrec",
)


def refusal(kind: str, host: str, user: str = "ubuntu") -> WorkerError:
    """What `RemoteExecutor` raises when it cannot connect; nothing was sent."""
    if kind == "key-refused":
        return AuthenticationRefused(
            f"{host} does not let {user} in",
            why="key ~/.ssh/id_ed25519: refused",
            fix=f"Put a key of yours there: ssh-copy-id -p 22 {user}@{host}",
            host=host,
            user=user,
            tried=("key ~/.ssh/id_ed25519: refused",),
        )
    if kind != "unreachable":
        return _distrusted(kind, host)
    return WorkerUnreachable(
        f"cannot connect to {user}@{host}",
        why="no answer from port 22 within 10 s",
        fix="Check that it is up and its address is right; "
        f"ssh -p 22 {user}@{host} true says more.",
        host=host,
        port=22,
        attempts=1,
    )


def _distrusted(kind: str, host: str) -> WorkerError:
    shown, recorded = FINGERPRINTS
    add = f"ssh-keyscan {host} >> ~/.ssh/known_hosts"
    if kind == "host-key-unknown":
        return HostKeyUnknown(
            f"the host key of {host} is not known",
            why=f"it shows {shown}, and there is no key for it in "
            "~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts",
            fix=f"If that is the worker's fingerprint, run: {add}",
            host=host,
            port=22,
            fingerprint=shown,
        )
    return HostKeyChanged(
        f"the host key of {host} is not the recorded one",
        why=f"it shows {shown}, recorded is {recorded}; "
        "the worker was set up anew, or another machine answers in its place",
        fix=f"If you know why it changed, run: ssh-keygen -R {host} -f ~/.ssh/known_hosts; {add}",
        host=host,
        port=22,
        fingerprint=shown,
        recorded=recorded,
    )


def lost(host: str, line: str, argv: Sequence[str]) -> ConnectionLost:
    """What `RemoteExecutor` raises when the connection breaks after a command was sent."""
    return ConnectionLost(
        f"the connection to {host} was lost while {line} ran",
        why="it broke, so its effect is unknown",
        fix="Look at the worker first, then decide; labkit sends no command a second time.",
        host=host,
        argv=tuple(argv),
    )
