"""A real OpenSSH server on loopback, with keys, config, home folder and port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PACKAGE = "openssh-server"
PRIVILEGE_FOLDER = Path("/run/sshd")  # sshd refuses to start as root without it
STARTED = 10.0  # seconds within which sshd must listen
HOST = "127.0.0.1"


def find_sshd() -> str | None:
    """Where the sshd program is; it insists on being started by its absolute path."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def make_key(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair at `path` and `path`.pub."""
    arguments = ["-q", "-t", kind, "-N", passphrase, "-C", "labkit-test", "-f", str(path)]
    subprocess.run(["ssh-keygen", *arguments], check=True, stdin=subprocess.DEVNULL)
    return path


class SSHServer:
    """An sshd that runs from `start()` to `stop()`, or for a `with` block.

    Everything it has lies in `folder`. Sessions get `home` as their home folder and `environment`
    on top of sshd's own; `settings` are lines of sshd_config, such as ``{"MaxSessions": "1"}``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.host = HOST
        self.port = free_port()
        self.user = getpass.getuser()
        self.home = folder / "home"
        self.key_file = folder / "user_key"
        self.host_key = folder / "host_key"
        self.known_hosts = folder / "known_hosts"
        self._settings = dict(settings or {})
        self._environment = {"HOME": str(self.home), **(environment or {})}
        self._wait = wait
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return (self.folder / "sshd.log").read_text(errors="replace")

    def start(self) -> None:
        """Start listening; the keys stay the same when it was stopped before."""
        program = find_sshd()
        if program is None:
            raise FileNotFoundError(f"sshd is not installed: apt-get install {PACKAGE}")
        if os.getuid() == 0:
            PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        for key in (self.host_key, self.key_file):
            if not key.exists():
                make_key(key)
        self.authorize(self.key_file)
        self.trust()
        (self.folder / "config").write_text(self._config())
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.folder / "config")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._until(self._listens, f"sshd does not listen on port {self.port}: {self.log}")

    def stop(self) -> None:
        """End the server and every session it has."""
        if self._process is None:
            return
        sessions = self.sessions()
        self._process.kill()
        self._process.wait()
        self._process = None
        for pid in sessions:
            _kill(pid, signal.SIGKILL)

    def authorize(self, key: Path | None) -> None:
        """Let this key in and no other; `None`: no key at all."""
        text = Path(f"{key}.pub").read_text() if key else ""
        authorized = self.folder / "authorized_keys"
        authorized.write_text(text)
        authorized.chmod(0o600)

    def trust(self, *more_ports: int) -> None:
        """Record the host key in `known_hosts`, for further ports (of relays) too."""
        kind, key = Path(f"{self.host_key}.pub").read_text().split()[:2]
        lines = [f"[{HOST}]:{port} {kind} {key}\n" for port in (self.port, *more_ports)]
        self.known_hosts.write_text("".join(lines))

    def change_host_key(self) -> None:
        """Give the server another host key; the recorded one stays in `known_hosts`."""
        recorded = self.known_hosts.read_text()
        self.stop()
        for path in (self.host_key, Path(f"{self.host_key}.pub")):
            path.unlink()
        self.start()
        self.known_hosts.write_text(recorded)

    def sessions(self) -> list[int]:
        """The processes of sshd that serve connections, outermost first."""
        found: list[int] = []
        rows = _processes()
        parents = [self.pid]
        while parents:
            children = [
                pid for pid, (parent, name) in rows.items() if parent in parents and "sshd" in name
            ]
            found += children
            parents = children
        return found

    def signal_sessions(self, number: signal.Signals) -> None:
        """Send a signal to every process of sshd that serves a connection."""
        for pid in self.sessions():
            _kill(pid, number)

    def _config(self) -> str:
        environment = " ".join(f'"{name}={value}"' for name, value in self._environment.items())
        settings = {
            "Port": str(self.port),
            "ListenAddress": HOST,
            "HostKey": str(self.host_key),
            "AuthorizedKeysFile": str(self.folder / "authorized_keys"),
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "PrintMotd": "no",
            "LogLevel": "VERBOSE",
            "SetEnv": environment,
            **self._settings,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + STARTED
        while not holds():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(otherwise)
            self._wait(0.01)


def _processes() -> dict[int, tuple[int, str]]:
    """Parent and name of every process there is."""
    rows: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        rows[int(entry.name)] = (int(rest.split()[1]), name)
    return rows


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
