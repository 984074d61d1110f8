"""Who a worker is: its host key against the known_hosts files. Nothing is ever added to them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import HostKeyChanged, HostKeyUnknown

USER_FILE = Path("~/.ssh/known_hosts")
SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")
SSH_PORT = 22
_HASHED = "|1|"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key as known_hosts and the SSH protocol have it."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ssh and ssh-keygen -l show it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"{self.kind} SHA256:{digest}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the files say of one host."""

    trusted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]


class KnownHosts:
    """The known_hosts files in use: the user's and the system's, or the one that was given."""

    def __init__(self, given: str | Path | None = None) -> None:
        files: Sequence[Path] = (USER_FILE, SYSTEM_FILE) if given is None else (Path(given),)
        self._files = tuple(path.expanduser() for path in files)

    def lookup(self, host: str, port: int) -> Known:
        """The keys recorded for a host. Read anew each time: the user may just have fixed it."""
        name = known_name(host, port)
        keys: dict[str, list[HostKey]] = {"": [], "@revoked": []}
        for file in self._files:
            for marker, names, key in _entries(file):
                if marker in keys and _matches(names, name):
                    keys[marker].append(key)
        return Known(tuple(keys[""]), tuple(keys["@revoked"]))

    def check(self, host: str, port: int, shown: HostKey) -> None:
        """Raise `HostKeyUnknown` or `HostKeyChanged` unless the key is the recorded one."""
        known = self.lookup(host, port)
        if shown in known.trusted and shown not in known.revoked:
            return
        file = shlex.quote(str(self._files[0]))
        name = known_name(host, port)
        where = host if port == SSH_PORT else f"-p {port} {host}"
        add = f"ssh-keyscan {where} >> {file}"
        context = {"host": host, "port": port, "fingerprint": shown.fingerprint}
        if shown in known.revoked:
            raise HostKeyChanged(
                f"the host key of {name} is revoked",
                why=f"it shows {shown.fingerprint}, which is marked @revoked in {file}",
                fix="Give the worker a new host key, and record that.",
                **context,
            )
        if not known.trusted:
            raise HostKeyUnknown(
                f"the host key of {name} is not known",
                why=f"it shows {shown.fingerprint}, and there is no key for it in {self._searched}",
                fix=f"If that is the worker's fingerprint, run: {add}",
                **context,
            )
        recorded = ", ".join(key.fingerprint for key in known.trusted)
        raise HostKeyChanged(
            f"the host key of {name} is not the recorded one",
            why=f"it shows {shown.fingerprint}, recorded is {recorded}; "
            "the worker was set up anew, or another machine answers in its place",
            fix="If you know why it changed, run: "
            f"ssh-keygen -R {shlex.quote(name)} -f {file}; {add}",
            recorded=recorded,
            **context,
        )

    @property
    def _searched(self) -> str:
        return " and ".join(str(file) for file in self._files)


def known_name(host: str, port: int) -> str:
    """How known_hosts calls a host."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def _entries(file: Path) -> Iterator[tuple[str, str, HostKey]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        try:
            blob = base64.b64decode(fields[2], validate=True)
        except binascii.Error:  # a damaged line trusts nobody, as for ssh
            continue
        yield marker, fields[0], HostKey(fields[1], blob)


def _matches(names: str, name: str) -> bool:
    """Whether the first field of a line speaks of this host: hashed, or patterns with ``* ? !``."""
    if names.startswith(_HASHED):
        return _matches_hash(names, name)
    found = False
    for pattern in names.lower().split(","):
        expression = re.escape(pattern.removeprefix("!"))
        expression = expression.replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(expression, name.lower()):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches_hash(names: str, name: str) -> bool:
    salt, _, digest = names.removeprefix(_HASHED).partition("|")
    try:
        key, wanted = base64.b64decode(salt), base64.b64decode(digest)
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.digest(key, name.lower().encode(), "sha1"), wanted)
