"""The simulated shell: ``sh -c SCRIPT``, run on the programs of a simulated machine."""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import os
from dataclasses import dataclass, field

from labkit.simulator.files import FileTree
from labkit.simulator.machine import Buffer, Nowhere, Process, Sink, Steps, Wait, encode
from labkit.simulator.shell_arithmetic import ArithmeticFailure
from labkit.simulator.shell_builtins import Builtins, Exit, Leave, Return
from labkit.simulator.shell_expansion import Expansion, ExpansionFailure
from labkit.simulator.shell_parser import parse
from labkit.simulator.shell_syntax import (
    Case,
    Chain,
    Command,
    For,
    Function,
    Group,
    If,
    Loop,
    Pipeline,
    Redirection,
    Script,
    ShellSyntaxError,
    Simple,
)

SYNTAX_ERROR = 2
TURN_SECONDS = 0.00002  # what a turn of a loop takes
Streams = list[Buffer | Sink]


def sh(process: Process) -> Steps[int]:
    """``sh -c SCRIPT [NAME [ARGUMENT...]]``, ``sh FILE``, or a script on standard input."""
    arguments = process.argv[1:]
    while arguments[:1] in (("-e",), ("-x",), ("-l",), ("-i",)):
        arguments = arguments[1:]
    if arguments[:1] in (("-c",), ("-lc",), ("-ec",)):
        if len(arguments) < 2:
            return process.fail("0: -c requires an argument", SYNTAX_ERROR)
        script, parameters = arguments[1], arguments[2:] or (process.argv[0],)
    elif not arguments or arguments == ("-s",):
        data = yield from process.read_all()
        script, parameters = data.decode("utf-8", "surrogateescape"), (process.argv[0],)
    elif arguments[0].startswith("-"):
        return process.fail("the simulated shell takes -c SCRIPT only", SYNTAX_ERROR)
    elif not process.files.is_file(process.path(arguments[0])):
        return process.fail(f"0: cannot open {arguments[0]}: No such file", 127)
    else:
        data = process.files.read(process.path(arguments[0]))
        script, parameters = data.decode("utf-8", "surrogateescape"), arguments
    return (yield from Shell(process, parameters).run(script))


def script(process: Process) -> Steps[int]:
    """A file that is started as a program."""
    text = process.files.read(process.path(process.argv[0])).decode("utf-8", "surrogateescape")
    return (yield from Shell(process, process.argv).run(text))


class FileSink:
    """Appends to a file."""

    def __init__(self, files: FileTree, path: str) -> None:
        self._files, self._path = files, path

    def write(self, data: bytes, /) -> None:
        self._files.write(self._path, data, append=True)


@dataclass
class Shell:
    """One shell: its variables, its folder and its last status."""

    process: Process
    parameters: tuple[str, ...]
    status: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Command] = field(default_factory=dict)
    last_job: int = 0
    stops_at_failure: bool = False
    has_exited: bool = False

    def __post_init__(self) -> None:
        known = {**self.process.environment, "PWD": self.process.folder}
        self.variables = {**known, **self.variables}
        self.expansion = Expansion(self)
        self.builtins = Builtins(self)

    def run(self, text: str) -> Steps[int]:
        """Run a script; the status of its last command."""
        try:
            status = yield from self.evaluate(text)
        except Exit as end:
            self.has_exited = True
            status = end.status
        except (Return, Leave):
            status = self.status
        finally:
            self.builtins.leave_scope()
        last, self.builtins.at_exit = self.builtins.at_exit, ""
        if last:
            yield from self.run(last)
        return status

    def evaluate(self, text: str) -> Steps[int]:
        """Run a script here, as ``eval`` does."""
        try:
            found = parse(text, background=self.process.machine.has_background)
        except (ShellSyntaxError, RecursionError) as error:
            status = self.process.machine.shell_failure
            self.status = self.complain(f"Syntax error: {error}", status)
            return self.status
        return (yield from self._script(found))

    # ---- what the words ask for

    def value(self, name: str) -> str | None:
        if name.isdigit():
            return self.parameters[int(name)] if int(name) < len(self.parameters) else None
        special = {
            "?": str(self.status),
            "$": str(self.process.pid),
            "#": str(len(self.parameters) - 1),
            "!": str(self.last_job or ""),
            "-": "",
        }
        return special.get(name, self.variables.get(name))

    def output(self, body: Script) -> Steps[str]:
        said = Buffer()
        yield from self._apart(body, self.process.stdin, said)
        return bytes(said.data).decode("utf-8", "surrogateescape").rstrip("\n")

    def complain(self, message: str, status: int, stderr: Sink | None = None) -> int:
        """Words of the shell on standard error."""
        text = self.process.machine.shell_words(self.process.argv[0], message)
        (stderr or self.process.stderr).write(encode(f"{text}\n"))
        return status

    # ---- running

    def _script(self, body: Script, *, tested: bool = False) -> Steps[int]:
        for chain in body.chains:
            if chain.in_background:
                self.last_job = self._start_job(chain)
                self.status = 0
            else:
                yield from self._chain(chain, tested=tested)
        return self.status

    def _chain(self, chain: Chain, *, tested: bool) -> Steps[None]:
        last = chain.pipelines[-1]
        for pipeline in chain.pipelines:
            if pipeline.joined == "&&" and self.status:
                continue
            if pipeline.joined == "||" and not self.status:
                continue
            self.status = yield from self._pipeline(pipeline)
            is_judged = not tested and pipeline is last and not pipeline.negated
            if self.status and self.stops_at_failure and is_judged:
                raise Exit(self.status)

    def _start_job(self, chain: Chain) -> int:
        """Let a chain run beside us."""
        process = self.process
        pid = next(process.machine.pids)
        child = dataclasses.replace(
            process, stdin=Buffer(ended=True), pid=pid, leader=process.leader or process.pid
        )
        shell = self._copy(child)
        process.machine.run_beside(child, shell._alone(Script([Chain(chain.pipelines)])))
        return pid

    def _copy(self, process: Process) -> Shell:
        process = dataclasses.replace(process, environment=dict(process.environment))
        return Shell(
            process,
            self.parameters,
            self.status,
            dict(self.variables),
            dict(self.functions),
            self.last_job,
            self.stops_at_failure,
        )

    def _alone(self, body: Script | Command) -> Steps[int]:
        """Run as a shell of its own, which may end."""
        try:
            if isinstance(body, Script):
                return (yield from self._script(body))
            return (yield from self._command(body))
        except Exit as end:
            return end.status
        except (Return, Leave):
            return self.status

    def _apart(self, body: Script | Command, stdin: Buffer, stdout: Sink) -> Steps[int]:
        """In a shell of its own; what it changes is its own."""
        child = dataclasses.replace(self.process, stdin=stdin, stdout=stdout)
        shell = self._copy(child)
        shell.process.pid = self.process.pid  # as $$ says
        self.status = yield from shell._alone(body)
        return self.status

    def _pipeline(self, pipeline: Pipeline) -> Steps[int]:
        commands = pipeline.commands
        if len(commands) == 1:
            status = yield from self._command(commands[0])
        elif self.process.machine.has_background:
            status = yield from self._flow(commands)
        else:
            status = yield from self._one_by_one(commands)
        return int(not status) if pipeline.negated else status

    def _one_by_one(self, commands: list[Command]) -> Steps[int]:
        """Each reads what the one before has written."""
        stdin = self.process.stdin
        for command in commands[:-1]:
            between = Buffer()
            yield from self._apart(command, stdin, between)
            between.ended, stdin = True, between
        return (yield from self._apart(commands[-1], stdin, self.process.stdout))

    def _flow(self, commands: list[Command]) -> Steps[int]:
        """All at once, each reading what the one before is writing."""
        stdin, machine = self.process.stdin, self.process.machine
        others = []
        for command in commands[:-1]:
            between = machine.pipe()
            pid = next(machine.pids)
            child = dataclasses.replace(
                self.process,
                stdin=stdin,
                stdout=between,
                pid=pid,
                leader=self.process.leader or self.process.pid,
            )
            steps = self._copy(child)._alone(command)
            others.append(machine.run_beside(child, steps, between))
            stdin = between
        status = yield from self._apart(commands[-1], stdin, self.process.stdout)
        stdin.abandon()
        for other in others:
            yield from other.wait()
        return status

    def _command(self, command: Command) -> Steps[int]:
        """A command with its redirections."""
        streams: Streams = [self.process.stdin, self.process.stdout, self.process.stderr]
        try:
            for redirection in command.redirections:
                problem = yield from self._redirect(redirection, streams)
                if problem:
                    self.status = problem
                    return problem
            if isinstance(command, Simple):
                return (yield from self.builtins.simple(command, streams))
            return (yield from self._compound(command, streams))
        except (ExpansionFailure, ArithmeticFailure) as failure:
            status = self.process.machine.shell_failure
            raise Exit(self.complain(str(failure), status)) from None

    def _compound(self, command: Command, streams: Streams) -> Steps[int]:
        if isinstance(command, Function):
            self.functions[command.name] = command.body
            return 0
        before = self.process
        stdin, stdout, stderr = streams
        assert isinstance(stdin, Buffer)
        self.process = dataclasses.replace(before, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            return (yield from self._structure(command))
        finally:
            before.folder, before.environment = self.process.folder, self.process.environment
            self.process = before

    def _structure(self, command: Command) -> Steps[int]:
        if isinstance(command, Group):
            if command.is_apart:
                return (
                    yield from self._apart(command.body, self.process.stdin, self.process.stdout)
                )
            return (yield from self._script(command.body))
        if isinstance(command, If):
            return (yield from self._if(command))
        if isinstance(command, Loop):
            return (yield from self._loop(command))
        if isinstance(command, For):
            return (yield from self._for(command))
        assert isinstance(command, Case)
        word = yield from self.expansion.one(command.word)
        for patterns, body in command.branches:
            for pattern in patterns:
                text = yield from self.expansion.pattern(pattern)
                if fnmatch.fnmatchcase(word, text):
                    self.status = 0
                    return (yield from self._script(body))
        return 0

    def _if(self, command: If) -> Steps[int]:
        for condition, body in command.branches:
            if not (yield from self._script(condition, tested=True)):
                return (yield from self._script(body))
        if command.otherwise is not None:
            return (yield from self._script(command.otherwise))
        return 0

    def _loop(self, command: Loop) -> Steps[int]:
        status = 0
        while True:
            yield Wait(TURN_SECONDS)
            holds = not (yield from self._script(command.condition, tested=True))
            if holds == command.until:
                return status
            try:
                status = yield from self._script(command.body)
            except Leave as leave:
                if leave.passes_on():
                    raise
                if leave.ends:
                    return 0

    def _for(self, command: For) -> Steps[int]:
        status = 0
        values = list(self.parameters[1:])
        if command.words is not None:
            values = yield from self.expansion.all(command.words)
        for value in values:
            yield Wait(TURN_SECONDS)
            self.variables[command.name] = value
            try:
                status = yield from self._script(command.body)
            except Leave as leave:
                if leave.passes_on():
                    raise
                if leave.ends:
                    return 0
        return status

    # ---- redirections

    def _redirect(self, redirection: Redirection, streams: Streams) -> Steps[int]:
        """Change a stream; the status to fail with where that cannot be done."""
        target = yield from self.expansion.one(redirection.target)
        operator, descriptor = redirection.operator, redirection.descriptor
        if operator == "<<":
            streams[0] = Buffer(encode(target), ended=True)
            return 0
        if operator in (">&", "<&"):
            closed = Buffer(ended=True) if operator == "<&" else Nowhere()
            streams[descriptor] = closed if target == "-" else streams[int(target)]
            return 0
        path, files = self.process.path(target), self.process.files
        try:
            if operator == "<":
                streams[0] = Buffer(_content(files, path), ended=True)
            elif operator == "&>":
                files.write(path, b"")
                streams[1] = streams[2] = FileSink(files, path)
            elif path == "/dev/null":
                streams[descriptor] = Nowhere()
            else:
                files.write(path, b"", append=operator == ">>")
                streams[descriptor] = FileSink(files, path)
        except OSError as error:
            verb = "open" if operator == "<" else "create"
            number = error.errno or errno.EIO
            message = f"cannot {verb} {target}: {os.strerror(number)}"
            return self.complain(message, self.process.machine.shell_failure)
        return 0


def _content(files: FileTree, path: str) -> bytes:
    return b"" if path == "/dev/null" else files.read(path)
