"""The system inside a machine: commands and files, over a channel that needs no network."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import secrets
import shlex
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from labkit import rules
from labkit.archives import unpack
from labkit.calls import Call, Facts, Waits
from labkit.errors import (
    CommandError,
    ConnectionLost,
    LabError,
    StewardProblem,
    TransferError,
)
from labkit.executor import MAX_OUTPUT, Result, show
from labkit.machine_problems import translated
from labkit.steward import Steward
from labkit.streams import CallStream, notice

DEFAULT_TIMEOUT = 60.0
READY_TIMEOUT = 120.0
SLACK = 60.0  # the guest keeps the time limit, the steward watches the guest, and we the steward
FOREVER = 10 * 365 * 86_400.0
PIECE = 1 << 18
INLINE = 1 << 19  # bytes of input that are sent without a thread: they fit into the window
TRANSFER_TIMEOUT = 3600.0

SHELL = ("sh", "-l")
TERMINAL = "xterm-256color"
MOST_CELLS = 1000

OnOutput = Callable[[str, str], None]
OnWait = Callable[[str, float], None]


class Shell(CallStream):
    """A program in a terminal in a guest; `status` is how it ended, once it has."""

    @property
    def status(self) -> int | None:
        return None if self.answer is None else int(self.answer["status"])

    def _next(self, timeout: float) -> bytes:
        data = super()._next(timeout)
        if self.answer is not None and "input" not in self.answer:
            return notice(f"it was not started: {self.answer['reason']}")
        return data

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size: the program is told."""
        rules.integer(columns, "columns", 1, MOST_CELLS)
        rules.integer(rows, "rows", 1, MOST_CELLS)
        self.tell(columns=columns, rows=rows)


class Guest:
    """Runs commands in a machine and moves files to and from it. Safe to use from many threads.

    A command is sent once. When the guest reboots, panics, hangs or ends while it runs, the error
    says which, and that its effect is unknown.
    """

    def __init__(self, steward: Steward, index: int, name: str) -> None:
        self.name = name
        self._steward = steward
        self._index = index

    def __repr__(self) -> str:
        return f"<Guest {self.name} on {self._steward.host}>"

    def wait_ready(self, timeout: float = READY_TIMEOUT, *, on_wait: OnWait | None = None) -> float:
        """Wait until commands can be run; answers after how many seconds.

        `on_wait` is told, about every second, what has not happened yet and since when it waits.
        Raises `GuestNotReady` with the console's last words.
        """
        with self._asked("guest-wait", "wait for", timeout=timeout) as call:
            for part in call.parts(timeout + SLACK):
                if on_wait is not None:
                    on_wait(part.facts["waiting_for"], part.facts["seconds"])
            return float(call.result().facts["seconds"])

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str = b"",  # noqa: A002 - as subprocess.run calls it
        timeout: float | None = DEFAULT_TIMEOUT,
        check: bool = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
        while_waiting: Waits | None = None,
    ) -> Result:
        """Run a program (a sequence of arguments) or a line for the guest's shell (a text).

        After `timeout` seconds the guest ends it and its children, and `GuestTimeout` says so.
        `on_output` is given "stdout" or "stderr" and text as it comes. `check`: a status other
        than 0 is an error. `while_waiting` is called several times a second; what it raises ends
        the command.
        """
        argv = _argv(command)
        facts = {"stdin": bool(input), "timeout": timeout, **_request(argv, command, cwd, env)}
        data = input.encode() if isinstance(input, str) else input
        what = f"run {shlex.quote(command) if isinstance(command, str) else show(argv)}"
        with self._asked("guest-run", what, "in", **facts) as call, _fed(call, data):
            streams = _Streams(on_output, what)
            limit = FOREVER if timeout is None else timeout + SLACK
            for part in call.parts(limit, while_waiting=while_waiting):
                streams.add(part.facts, part.data)
            ended = call.result().facts
        if ended["status"] in (126, 127) and "input" not in ended:  # it was never started
            streams.add({"stream": "stderr"}, f"{argv[0]}: {ended['reason']}\n".encode())
        stdout, stderr = streams.finish()
        result = Result(argv, ended["status"], stdout, stderr, ended["seconds"], self.name)
        return result.check() if check else result

    def open_shell(
        self,
        columns: int = 80,
        rows: int = 24,
        *,
        command: str | Sequence[str] = SHELL,
        env: Mapping[str, str] | None = None,
    ) -> Shell:
        """A shell, or another program, in a terminal of its own: bytes both ways."""
        rules.integer(columns, "columns", 1, MOST_CELLS)
        rules.integer(rows, "rows", 1, MOST_CELLS)
        facts: dict[str, Any] = {"stdin": True, "pty": {"columns": columns, "rows": rows}}
        facts["argv"] = list(_argv(command))
        facts["env"] = {"TERM": TERMINAL, **(env or {})}
        with translated(f"cannot open a shell in {self.name}"):
            call = self._steward.start("guest-run", index=self._index, **facts)
        return Shell(call, f"use the shell in {self.name}")

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file in the guest, whole and verified or not at all."""
        self._send(io.BytesIO(data), path, mode)

    def get(self, path: str) -> bytes:
        """Read a file of the guest, verified."""
        data = bytearray()
        self._receive(path, data.extend)
        return bytes(data)

    def upload(self, source: str | Path, target: str) -> None:
        """Copy a file, or a folder with all that is in it, to `target` in the guest."""
        source = Path(source)
        if not source.is_dir():
            with _opened(source) as file:
                self._send(file, target, source.stat().st_mode & 0o777)
            return
        with tempfile.TemporaryFile() as packed, self._spare_file() as there:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(source, arcname=".", filter=_as_root)
            packed.seek(0)
            self._send(packed, there, 0o600)
            unpack = 'mkdir -p "$2" && tar -xf "$1" -C "$2"'
            self.run(["sh", "-c", unpack, "sh", there, target], timeout=None, check=True)

    def download(self, source: str, target: str | Path) -> None:
        """Copy a file, or a folder with all that is in it, from the guest to `target`."""
        target = Path(target)
        if not self.run(["test", "-d", source]).ok:
            part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
            try:
                with part.open("wb") as file:
                    self._receive(source, file.write)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            return
        with tempfile.TemporaryFile() as packed, self._spare_file() as there:
            self.run(["tar", "-cf", there, "-C", source, "."], timeout=None, check=True)
            self._receive(there, packed.write)
            packed.seek(0)
            with tarfile.open(fileobj=packed) as archive:
                unpack(archive, target)

    # inside

    @contextmanager
    def _asked(self, verb: str, what: str, where: str = "", **facts: Any) -> Iterator[Call]:
        """A request to the steward; whatever interrupts us ends it in the guest too."""
        with translated(f"cannot {what} {f'{where} ' if where else ''}{self.name}"):
            call = self._steward.start(verb, index=self._index, **facts)
            try:
                yield call
            except (StewardProblem, ConnectionLost):
                raise
            except BaseException:
                call.cancel()
                raise

    @contextmanager
    def _spare_file(self) -> Iterator[str]:
        path = f"/run/labkit/transfer-{secrets.token_hex(8)}"
        try:
            yield path
        except BaseException:
            with contextlib.suppress(LabError):  # the first error is the one to be told
                self.run(["rm", "-f", path])
            raise
        self.run(["rm", "-f", path])

    def _send(self, file: BinaryIO, path: str, mode: int) -> None:
        hashed, size = hashlib.sha256(), 0
        told: dict[str, Any] = {"path": path, "mode": mode}
        if file.seekable():
            told["size"] = _size(file)
        with self._asked("guest-put", f"write {path}", "in", **told) as call:
            while data := file.read(PIECE):
                hashed.update(data)
                size += len(data)
                call.send(data, timeout=TRANSFER_TIMEOUT)
            call.send(eof=True, size=size, sha256=hashed.hexdigest())
            call.result(TRANSFER_TIMEOUT)

    def _receive(self, path: str, write: Callable[[bytes], object]) -> None:
        hashed, size = hashlib.sha256(), 0
        with self._asked("guest-get", f"read {path}", "in", path=path) as call:
            for part in call.parts(TRANSFER_TIMEOUT):
                hashed.update(part.data)
                size += len(part.data)
                write(part.data)
            there = call.result().facts
        if (there["size"], there["sha256"]) != (size, hashed.hexdigest()):
            raise TransferError(
                f"cannot read {path} in {self.name}",
                why=f"{size} bytes came that differ from the {there['size']} in the guest",
                fix="Try again; if it lasts, please report it.",
            )


class _Streams:
    """Both outputs of a command: whole as bytes, and as text while they come."""

    def __init__(self, listener: OnOutput | None, what: str) -> None:
        self._listener, self._what = listener, what
        self._data = {"stdout": bytearray(), "stderr": bytearray()}
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: make("replace") for name in self._data}

    def add(self, facts: Facts, data: bytes) -> None:
        name = facts.get("stream")
        if name is None:
            return
        self._data[name] += data
        if len(self._data[name]) > MAX_OUTPUT:
            raise CommandError(
                f"cannot {self._what}",
                why=f"its {name} is more than {MAX_OUTPUT >> 20} MiB; it was ended",
                fix="Send its output to a file in the guest, and download that.",
            )
        self._tell(name, data)

    def finish(self) -> tuple[bytes, bytes]:
        for name in self._data:
            self._tell(name, b"", final=True)
        return bytes(self._data["stdout"]), bytes(self._data["stderr"])

    def _tell(self, name: str, data: bytes, *, final: bool = False) -> None:
        text = self._decoders[name].decode(data, final)
        if text and self._listener is not None:
            self._listener(name, text)


@contextmanager
def _fed(call: Call, data: bytes) -> Iterator[None]:
    """Send a command's input while its output is read, so that neither waits for the other."""
    if len(data) <= INLINE:
        if data:
            call.send(data, eof=True)
        yield
        return

    def feed() -> None:
        try:
            for start in range(0, len(data), PIECE):
                call.send(data[start : start + PIECE], timeout=FOREVER)
            call.send(eof=True, timeout=FOREVER)
        except (StewardProblem, ConnectionLost):
            pass  # the reader of its output tells

    thread = threading.Thread(target=feed, name="labkit-input", daemon=True)
    thread.start()
    yield
    thread.join()


def _argv(command: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(command, str):
        return ("sh", "-c", command)
    argv = tuple(command)
    if not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
        rules.invalid("command", command, "a text, or a sequence of texts that is not empty")
    return argv


def _request(
    argv: tuple[str, ...],
    command: str | Sequence[str],
    cwd: str | None,
    env: Mapping[str, str] | None,
) -> dict[str, Any]:
    """What is to run, and where, as the steward is asked for it."""
    facts: dict[str, Any] = {"shell": command} if isinstance(command, str) else {"argv": list(argv)}
    if cwd is not None:
        facts["cwd"] = cwd
    if env:
        facts["env"] = dict(env)
    return facts


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise TransferError(
            f"cannot upload {path}", why=error.strerror or str(error), path=str(path)
        ) from error
    with file:
        yield file


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.name = str(PurePosixPath(info.name))
    return info
