"""Simple commands of the shell: what it does itself, functions, and programs it starts."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.simulator.conditions import test
from labkit.simulator.machine import BIN_FOLDERS, Buffer, Process, Sink, Steps
from labkit.simulator.shell_arithmetic import evaluate
from labkit.simulator.shell_syntax import Simple
from labkit.simulator.text_programs import echo, echo_of_the_shell

if TYPE_CHECKING:
    from labkit.simulator.shell import Shell, Streams

SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15}
NOT_FOUND = 127


class Exit(Exception):
    """The shell ends with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Return(Exception):
    """A function, or a script that was sourced, ends with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Leave(Exception):
    """Loops are left (`ends`) or go on with their next turn; `depth` of them."""

    def __init__(self, depth: int, *, ends: bool) -> None:
        super().__init__(depth)
        self.depth = depth
        self.ends = ends

    def passes_on(self) -> bool:
        """Told by the inner loop: whether an outer one is meant."""
        self.depth -= 1
        return self.depth > 0


class Builtins:
    """Runs the simple commands of one shell."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._scopes: list[dict[str, str | None]] = []
        self.at_exit = ""  # what `trap` has left to do
        self._known: dict[str, Callable[[Process], int | Steps[int]]] = {
            ":": lambda _process: 0,
            "[[": _condition,
            ".": self._source,
            "break": lambda child: self._leave(child, ends=True),
            "cd": self._cd,
            "command": self._command,
            "continue": lambda child: self._leave(child, ends=False),
            "echo": _echo,
            "eval": lambda child: shell.evaluate(" ".join(child.argv[1:])),
            "exec": self._exec,
            "exit": self._exit,
            "export": self._export,
            "kill": self._kill,
            "let": self._let,
            "local": self._local,
            "read": self._read,
            "return": self._return,
            "set": self._set,
            "shift": self._shift,
            "source": self._source,
            "jobs": self._jobs,
            "trap": self._trap,
            "type": self._type,
            "ulimit": lambda _process: 0,
            "umask": lambda _process: 0,
            "unset": self._unset,
            "wait": self._wait,
        }

    def leave_scope(self) -> None:
        self._scopes.clear()

    def simple(self, command: Simple, streams: Streams) -> Steps[int]:
        """Assignments alone, or a builtin, a function or a program."""
        shell = self._shell
        argv = yield from shell.expansion.all(command.words)
        before = shell.status
        values: dict[str, str] = {}
        if not argv:
            shell.status = 0
        for name, word in command.assignments:
            values[name] = yield from shell.expansion.one(word)
        if not argv:
            shell.variables.update(values)
            exported = shell.process.environment
            exported.update((name, value) for name, value in values.items() if name in exported)
            return shell.status
        shell.status = before
        return (yield from self._start(tuple(argv), values, streams))

    def _start(self, argv: tuple[str, ...], values: dict[str, str], streams: Streams) -> Steps[int]:
        shell, stdin = self._shell, streams[0]
        assert isinstance(stdin, Buffer)
        child = dataclasses.replace(
            shell.process,
            argv=argv,
            stdin=stdin,
            stdout=streams[1],
            stderr=streams[2],
            environment={**shell.process.environment, **values},
            leader=shell.process.leader or shell.process.pid,
        )
        try:
            function = shell.functions.get(argv[0])
            if function is not None:
                return (yield from self._call(child))
            builtin = self._known.get(argv[0])
            if builtin is not None:
                outcome = builtin(child)
                return outcome if isinstance(outcome, int) else (yield from outcome)
            if shell.process.machine.program(self._place(child, argv[0])) is None:
                return shell.complain(f"{argv[0]}: not found", NOT_FOUND, streams[2])
            child.argv = (self._place(child, argv[0]), *argv[1:])
            child.pid = next(shell.process.machine.pids)
            return (yield from shell.process.machine.start(child))
        except BrokenPipeError:
            raise
        except OSError as error:  # a redirected stream could not be written
            return shell.complain(f"{argv[0]}: I/O error: {error.strerror}", 1)

    @staticmethod
    def _place(child: Process, name: str) -> str:
        """A program named by a path from here."""
        return child.path(name) if "/" in name and not name.startswith("/") else name

    def _call(self, child: Process) -> Steps[int]:
        """A function: as a command here, with parameters of its own."""
        shell = self._shell
        before, parameters = shell.process, shell.parameters
        shell.process = dataclasses.replace(child, argv=before.argv)
        shell.parameters = (parameters[0], *child.argv[1:])
        self._scopes.append({})
        try:
            return (yield from shell._command(shell.functions[child.argv[0]]))
        except Return as end:
            return end.status
        finally:
            before.folder = shell.process.folder
            shell.process, shell.parameters = before, parameters
            for name, value in (self._scopes.pop() if self._scopes else {}).items():
                if value is None:
                    shell.variables.pop(name, None)
                else:
                    shell.variables[name] = value

    # ---- what the shell itself does

    def _fail(self, child: Process, message: str, status: int) -> int:
        return self._shell.complain(message, status, child.stderr)

    def _cd(self, child: Process) -> int:
        shell = self._shell
        target = child.argv[1] if len(child.argv) > 1 else shell.value("HOME") or "/"
        if target == "-":
            target = shell.value("OLDPWD") or shell.process.folder
            child.say(target)
        path = child.path(target)
        if not child.files.is_folder(path):
            return self._fail(child, f"cd: can't cd to {target}", 2)
        shell.variables["OLDPWD"] = shell.process.folder
        shell.process.folder = shell.variables["PWD"] = shell.process.environment["PWD"] = path
        return 0

    def _command(self, child: Process) -> int | Steps[int]:
        if child.argv[1:2] != ("-v",):
            return self._fail(child, "command: only -v is simulated", 2)
        for name in child.argv[2:]:
            if name in self._known or name in self._shell.functions:
                child.say(name)
            elif child.machine.program(name):
                child.say(posixpath.join(BIN_FOLDERS[2], posixpath.basename(name)))
            else:
                return NOT_FOUND
        return 0

    def _type(self, child: Process) -> int:
        status = 0
        for name in child.argv[1:]:
            if name in self._known:
                child.say(f"{name} is a shell builtin")
            elif child.machine.program(name):
                child.say(f"{name} is {posixpath.join('/sbin', name)}")
            else:
                child.say(f"{name} not found")
                status = 1
        return status

    def _exec(self, child: Process) -> Steps[int]:
        if len(child.argv) < 2:
            return self._fail(child, "exec: redirections alone are not simulated", 2)
        streams: list[Buffer | Sink] = [child.stdin, child.stdout, child.stderr]
        raise Exit((yield from self._start(child.argv[1:], {}, streams)))

    def _exit(self, child: Process) -> int:
        raise Exit(self._number(child, "exit"))

    def _return(self, child: Process) -> int:
        raise Return(self._number(child, "return"))

    def _number(self, child: Process, name: str) -> int:
        text = child.argv[1] if len(child.argv) > 1 else str(self._shell.status)
        if not text.isdigit():
            status = child.machine.shell_failure
            raise Exit(self._fail(child, f"{name}: Illegal number: {text}", status))
        return int(text) & 255

    def _leave(self, child: Process, *, ends: bool) -> int:
        depth = int(child.argv[1]) if len(child.argv) > 1 and child.argv[1].isdigit() else 1
        raise Leave(depth, ends=ends)

    def _export(self, child: Process) -> int:
        shell = self._shell
        for text in child.argv[1:]:
            name, has_value, value = text.partition("=")
            if has_value:
                shell.variables[name] = value
            shell.process.environment[name] = shell.variables.get(name, "")
        return 0

    def _unset(self, child: Process) -> int:
        for name in child.argv[1:]:
            self._shell.variables.pop(name, None)
            self._shell.process.environment.pop(name, None)
        return 0

    def _local(self, child: Process) -> int:
        for text in child.argv[1:]:
            name, has_value, value = text.partition("=")
            if self._scopes:
                self._scopes[-1].setdefault(name, self._shell.variables.get(name))
            if has_value:
                self._shell.variables[name] = value
        return 0

    def _let(self, child: Process) -> int:
        value = 0
        for text in child.argv[1:]:
            value = evaluate(text, self._shell.variables)
        return int(not value)

    def _set(self, child: Process) -> int:
        words = list(child.argv[1:])
        while words and words[0][:1] in ("-", "+") and words[0] != "--":
            word = words.pop(0)
            if "e" in word:
                self._shell.stops_at_failure = word[0] == "-"
        if words[:1] == ["--"]:
            words = words[1:]
            self._shell.parameters = (self._shell.parameters[0], *words)
        elif words:
            self._shell.parameters = (self._shell.parameters[0], *words)
        return 0

    def _shift(self, child: Process) -> int:
        count = int(child.argv[1]) if len(child.argv) > 1 else 1
        name, *rest = self._shell.parameters
        if count > len(rest):
            status = child.machine.shell_failure
            return self._fail(child, "shift: can't shift that many", status)
        self._shell.parameters = (name, *rest[count:])
        return 0

    def _source(self, child: Process) -> Steps[int]:
        if len(child.argv) < 2 or not child.files.is_file(child.path(child.argv[1])):
            name = child.argv[1] if len(child.argv) > 1 else ""
            status = child.machine.shell_failure
            return self._fail(child, f".: cannot open {name}: No such file", status)
        text = child.files.read(child.path(child.argv[1])).decode("utf-8", "surrogateescape")
        try:
            return (yield from self._shell.evaluate(text))
        except Return as end:
            return end.status

    def _read(self, child: Process) -> Steps[int]:
        """``read NAME...``: a line of standard input, split among the names."""
        names = [word for word in child.argv[1:] if not word.startswith("-")] or ["REPLY"]
        line = bytearray()
        while True:
            data = yield from child.read(1)
            if not data or data == b"\n":
                break
            line += data
        pieces = line.decode("utf-8", "surrogateescape").split(None, len(names) - 1)
        for place, name in enumerate(names):
            self._shell.variables[name] = pieces[place].rstrip() if place < len(pieces) else ""
        return int(not data and not line)

    def _kill(self, child: Process) -> int:
        words = list(child.argv[1:])
        number = SIGNALS["TERM"]
        if words and words[0].startswith("-") and words[0] != "--":
            text = words.pop(0)[1:].removeprefix("SIG")
            if text == "s" and words:
                text = words.pop(0).removeprefix("SIG")
            if not text.isdigit() and text not in SIGNALS:
                return self._fail(child, f"kill: {text} is not simulated", 2)
            number = int(text) if text.isdigit() else SIGNALS[text]
        status = 0
        for word in words or [""]:
            target = word.lstrip("%")
            pid = int(target) if target.isdigit() else 0
            if word.startswith("%"):
                pid = self._shell.last_job
            if pid == self._shell.process.pid and pid:
                raise Exit(128 + number)
            if not pid or not child.machine.kill(pid, number):
                status = self._fail(child, "kill: No such process", 1)
        return status

    def _trap(self, child: Process) -> int:
        """``trap SCRIPT EXIT``; signals end a simulated shell without a word."""
        if child.argv[-1] in ("EXIT", "0") and len(child.argv) == 3:
            self.at_exit = "" if child.argv[1] == "-" else child.argv[1]
        return 0

    def _jobs(self, child: Process) -> int:
        leader = self._shell.process.leader or self._shell.process.pid
        for number, job in enumerate(child.machine.jobs(leader), 1):
            child.say(f"[{number}] + Running              {job.pid}")
        return 0

    def _wait(self, child: Process) -> Steps[int]:
        machine, status = child.machine, 0
        asked = [int(word) for word in child.argv[1:] if word.isdigit()]
        leader = self._shell.process.leader or self._shell.process.pid
        for job in machine.jobs(leader):
            if not asked or job.pid in asked:
                status = yield from job.wait()
        return status if asked else 0


def _echo(process: Process) -> int:
    return echo_of_the_shell(process) if process.machine.echo_reads_backslashes else echo(process)


def _condition(process: Process) -> int:
    """``[[ CONDITION ]]``, as far as ``[`` goes."""
    words = [{"==": "="}.get(word, word) for word in process.argv[1:-1]]
    if process.argv[-1] != "]]":
        return process.fail("missing ]]", 2)
    return test(dataclasses.replace(process, argv=("test", *words)))
