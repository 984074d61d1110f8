"""The simulated shell: ``sh -c SCRIPT``, run on the programs of a simulated machine."""

from __future__ import annotations

import fnmatch
import glob
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from labkit.simulator.files import FileTree
from labkit.simulator.machine import (
    BIN_FOLDERS,
    Buffer,
    Nowhere,
    Process,
    Sink,
    Steps,
    encode,
)
from labkit.simulator.shell_syntax import (
    Command,
    Kind,
    Pipeline,
    Redirection,
    ShellSyntaxError,
    Word,
    parse,
)
from labkit.simulator.text_programs import echo_of_the_shell

SYNTAX_ERROR = 2


class _Exit(Exception):
    """The shell ends with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def sh(process: Process) -> Steps[int]:
    """``sh -c SCRIPT [NAME [ARGUMENT...]]``, or a script on standard input."""
    arguments = process.argv[1:]
    if arguments[:1] == ("-c",):
        if len(arguments) < 2:
            return process.fail("0: -c requires an argument", SYNTAX_ERROR)
        script, parameters = arguments[1], arguments[2:] or (process.argv[0],)
    elif not arguments or arguments == ("-s",):
        data = yield from process.read_all()
        script, parameters = data.decode("utf-8", "surrogateescape"), (process.argv[0],)
    else:
        return process.fail("the simulated shell takes -c SCRIPT only", SYNTAX_ERROR)
    return (yield from Shell(process, parameters).run(script))


def script(process: Process) -> Steps[int]:
    """A file that is started as a program: its first line says that it is shell, or nothing."""
    text = process.files.read(process.path(process.argv[0])).decode("utf-8", "surrogateescape")
    return (yield from Shell(process, process.argv).run(text))


class FileSink:
    """Appends to a file."""

    def __init__(self, files: FileTree, path: str) -> None:
        self._files, self._path = files, path

    def write(self, data: bytes, /) -> None:
        self._files.write(self._path, data, append=True)


@dataclass(slots=True)
class _Word:
    """A word under expansion: its characters, and as a pattern in which quoted ones are safe."""

    text: str = ""
    pattern: str = ""
    is_there: bool = False
    has_wildcard: bool = False

    def add(self, text: str, *, quoted: bool) -> None:
        self.text += text
        self.pattern += glob.escape(text) if quoted else text
        self.is_there |= quoted or bool(text)
        self.has_wildcard |= not quoted and any(c in "*?[" for c in text)


@dataclass
class Shell:
    """One shell: its variables, its folder and its last status."""

    process: Process
    parameters: tuple[str, ...]
    status: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = dict(self.process.environment)
        self.builtins: dict[str, Callable[[Process], int | Steps[int]]] = {
            ":": lambda _process: 0,
            "cd": self._cd,
            "command": self._command,
            "echo": echo_of_the_shell,
            "exec": self._exec,
            "exit": self._exit,
            "export": self._export,
            "kill": self._kill,
        }

    def run(self, script: str) -> Steps[int]:
        """Run a script; the status of its last command."""
        try:
            pipelines = parse(script)
        except ShellSyntaxError as error:
            return self.process.fail(f"1: Syntax error: {error}", SYNTAX_ERROR)
        try:
            for pipeline in pipelines:
                if pipeline.joined == "&&" and self.status:
                    continue
                if pipeline.joined == "||" and not self.status:
                    continue
                self.status = yield from self._pipeline(pipeline)
        except _Exit as end:
            return end.status
        return self.status

    def _pipeline(self, pipeline: Pipeline) -> Steps[int]:
        """Commands one after the other, each reading what the one before has written."""
        stdin = self.process.stdin
        for command in pipeline.commands[:-1]:
            between = Buffer()
            yield from self._in_subshell(command, stdin, between)
            between.ended, stdin = True, between
        if len(pipeline.commands) == 1:
            status = yield from self._simple(pipeline.commands[0], stdin, self.process.stdout)
        else:
            last = pipeline.commands[-1]
            status = yield from self._in_subshell(last, stdin, self.process.stdout)
        return int(not status) if pipeline.negated else status

    def _in_subshell(self, command: Command, stdin: Buffer, stdout: Sink) -> Steps[int]:
        folder, variables = self.process.folder, dict(self.variables)
        try:
            return (yield from self._simple(command, stdin, stdout))
        except _Exit as end:
            return end.status
        finally:
            self.process.folder, self.variables = folder, variables

    def _simple(self, command: Command, stdin: Buffer, stdout: Sink) -> Steps[int]:
        values = {name: self._one(word) for name, word in command.assignments}
        argv = [text for word in command.words for text in self._expand(word)]
        streams: list[Buffer | Sink] = [stdin, stdout, self.process.stderr]
        for redirection in command.redirections:
            try:
                self._redirect(redirection, streams)
            except OSError as error:
                verb = "open" if redirection.operator == "<" else "create"
                target = self._one(redirection.target)
                return self._complain(f"1: cannot {verb} {target}: {error.strerror}", 2)
        if not argv:
            self.variables.update(values)
            exported = self.process.environment
            exported.update((name, value) for name, value in values.items() if name in exported)
            return 0
        return (yield from self._start(tuple(argv), values, streams))

    def _start(
        self, argv: tuple[str, ...], values: dict[str, str], streams: list[Buffer | Sink]
    ) -> Steps[int]:
        stdin, stdout, stderr = streams
        assert isinstance(stdin, Buffer)
        environment = {**self.process.environment, **values}
        child = Process(
            self.process.machine,
            argv,
            stdin,
            stdout,
            stderr,
            self.process.folder,
            environment,
            self.process.pid,
        )
        try:
            builtin = self.builtins.get(argv[0])
            if builtin is not None:
                outcome = builtin(child)
                return outcome if isinstance(outcome, int) else (yield from outcome)
            if self.process.machine.program(argv[0]) is None:
                return self._complain(f"1: {argv[0]}: not found", 127, stderr)
            child.pid = next(self.process.machine.pids)
            return (yield from self.process.machine.start(child))
        except OSError as error:  # a redirected stream could not be written
            return self._complain(f"1: {argv[0]}: I/O error: {error.strerror}", 1)

    def _complain(self, message: str, status: int, stderr: Sink | None = None) -> int:
        (stderr or self.process.stderr).write(encode(f"{self.process.argv[0]}: {message}\n"))
        return status

    def _redirect(self, redirection: Redirection, streams: list[Buffer | Sink]) -> None:
        target = self._one(redirection.target)
        if redirection.operator == ">&":
            streams[redirection.descriptor] = streams[int(target)]
            return
        path, files = self.process.path(target), self.process.files
        if redirection.operator == "<":
            data = b"" if path == "/dev/null" else files.read(path)
            streams[0] = Buffer(data, ended=True)
        elif path == "/dev/null":
            streams[redirection.descriptor] = Nowhere()
        else:
            files.write(path, b"", append=redirection.operator == ">>")
            streams[redirection.descriptor] = FileSink(files, path)

    # ---- expansion

    def _one(self, word: Word) -> str:
        """A word where no splitting and no patterns apply."""
        home = self._tilde(word)
        return home + "".join(
            part.text if part.kind in (Kind.PLAIN, Kind.QUOTED) else self._value(part.text)
            for part in self._without_tilde(word, home)
        )

    def _expand(self, word: Word) -> list[str]:
        """A word as the arguments it becomes: variables split, patterns matched."""
        words = [_Word()]
        home = self._tilde(word)
        words[-1].add(home, quoted=bool(home))
        for part in self._without_tilde(word, home):
            if part.kind is Kind.VARIABLE:
                self._split(self._value(part.text), words)
            elif part.kind is Kind.QUOTED_VARIABLE:
                words[-1].add(self._value(part.text), quoted=True)
            else:
                words[-1].add(part.text, quoted=part.kind is Kind.QUOTED)
        return [text for item in words if item.is_there for text in self._matched(item)]

    def _split(self, value: str, words: list[_Word]) -> None:
        pieces = value.split()
        if value[:1].isspace() and words[-1].is_there:
            words.append(_Word())
        for number, piece in enumerate(pieces):
            if number:
                words.append(_Word())
            words[-1].add(piece, quoted=False)
        if pieces and value[-1:].isspace():
            words.append(_Word())

    def _tilde(self, word: Word) -> str:
        text = word[0].text if word and word[0].kind is Kind.PLAIN else ""
        is_home = text.startswith("~/") or (text == "~" and len(word) == 1)
        return self._value("HOME") if is_home else ""

    def _without_tilde(self, word: Word, home: str) -> Word:
        return (type(word[0])(Kind.PLAIN, word[0].text[1:]), *word[1:]) if home else word

    def _value(self, name: str) -> str:
        if name.isdigit():
            return self.parameters[int(name)] if int(name) < len(self.parameters) else ""
        special = {
            "?": str(self.status),
            "$": str(self.process.pid),
            "#": str(len(self.parameters) - 1),
        }
        return special.get(name) or self.variables.get(name, "")

    def _matched(self, word: _Word) -> list[str]:
        """The files a pattern matches; the word itself when there are none."""
        if not word.has_wildcard:
            return [word.text]
        found = [""]
        for part in word.pattern.split("/"):
            found = [name for before in found for name in self._below(before, part)]
        return sorted(name.rstrip("/") for name in found) or [word.text]

    def _below(self, before: str, part: str) -> list[str]:
        """Names that go on from `before`, each ending in a slash."""
        if not glob.has_magic(part):
            name = f"{before}{part}/"
            return [name] if self.process.files.find(self.process.path(name)) else []
        folder = self.process.path(before)
        if not self.process.files.is_folder(folder):
            return []
        return [
            f"{before}{name}/"
            for name in self.process.files.names(folder)
            if fnmatch.fnmatchcase(name, part) and (part[0] == "." or name[0] != ".")
        ]

    # ---- what the shell itself does

    def _cd(self, child: Process) -> int:
        target = child.argv[1] if len(child.argv) > 1 else self._value("HOME")
        path = child.path(target)
        if not child.files.is_folder(path):
            return self._complain(f"1: cd: can't cd to {target}", 2, child.stderr)
        self.process.folder = self.variables["PWD"] = self.process.environment["PWD"] = path
        return 0

    def _command(self, child: Process) -> int | Steps[int]:
        if child.argv[1:2] != ("-v",):
            return self._complain("1: command: only -v is simulated", 2, child.stderr)
        for name in child.argv[2:]:
            if name in self.builtins:
                child.say(name)
            elif child.machine.program(name):
                child.say(posixpath.join(BIN_FOLDERS[2], posixpath.basename(name)))
            else:
                return 127
        return 0

    def _exec(self, child: Process) -> Steps[int]:
        if len(child.argv) < 2:
            return self._complain("1: exec: redirections alone are not simulated", 2, child.stderr)
        streams: list[Buffer | Sink] = [child.stdin, child.stdout, child.stderr]
        raise _Exit((yield from self._start(child.argv[1:], {}, streams)))

    def _exit(self, child: Process) -> int:
        text = child.argv[1] if len(child.argv) > 1 else str(self.status)
        if not text.isdigit():
            raise _Exit(self._complain(f"1: exit: Illegal number: {text}", 2, child.stderr))
        raise _Exit(int(text) & 255)

    def _export(self, child: Process) -> int:
        for text in child.argv[1:]:
            name, has_value, value = text.partition("=")
            if has_value:
                self.variables[name] = value
            self.process.environment[name] = self.variables.get(name, "")
        return 0

    def _kill(self, child: Process) -> int:
        signal = child.argv[1].lstrip("-").removeprefix("SIG") if len(child.argv) > 2 else "TERM"
        if child.argv[-1] != str(self.process.pid):
            return self._complain("1: kill: No such process", 1, child.stderr)
        numbers = {"9": 9, "KILL": 9, "15": 15, "TERM": 15, "1": 1, "HUP": 1, "2": 2, "INT": 2}
        if signal not in numbers:
            return self._complain(f"1: kill: {signal} is not simulated", 2, child.stderr)
        raise _Exit(128 + numbers[signal])
