"""Getting in with a key: the given one, or those of the agent and ~/.ssh. Nobody is ever asked."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko

from labkit.errors import AuthenticationRefused

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class Silence(Exception):
    """The worker did not answer while a key was offered: that says nothing about the key."""


class Keys:
    """The keys to offer, in order, and the story of each for the error message."""

    def __init__(self, key_file: str | Path | None) -> None:
        self._given = key_file is not None
        files = (key_file,) if key_file is not None else DEFAULT_FILES
        self._files = [Path(file).expanduser() for file in files]
        self.story: list[str] = []
        self.locked: Path | None = None

    def offer(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Each key with its name. The agent is asked first, or when the given file is locked."""
        if not self._given:
            yield from self._agent()
        for file in self._files:
            key = self._load(file)
            if key is not None:
                yield f"key {file}", key
        if self._given and self.locked:
            yield from self._agent()

    def _load(self, file: Path) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(file)
        except FileNotFoundError:
            if self._given:
                self.story.append(f"key {file}: there is no such file")
        except (TypeError, paramiko.PasswordRequiredException):  # TypeError: from cryptography
            self.locked = self.locked or file
            self.story.append(f"key {file}: it is locked by a passphrase")
        except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
            self.story.append(f"key {file}: cannot be read ({error})")
        return None

    def _agent(self) -> Iterator[tuple[str, paramiko.PKey]]:
        try:
            agent = paramiko.Agent()
        except (OSError, paramiko.SSHException) as error:
            self.story.append(f"agent: no answer ({error})")
            return
        try:
            keys = agent.get_keys()
            if not keys:
                self.story.append("agent: none is running, or it holds no keys")
            for key in keys:
                yield f"agent key {key.comment or key.get_name()}", key
        finally:
            agent.close()


def authenticate(
    transport: paramiko.Transport, user: str, host: str, port: int, key_file: str | Path | None
) -> None:
    """Log in with the first key that the worker accepts.

    Raises `AuthenticationRefused` with all that was tried, `Silence` when the worker went quiet.
    """
    keys = Keys(key_file)
    for name, key in keys.offer():
        started = time.monotonic()
        try:
            wanted = transport.auth_publickey(user, key)
        except paramiko.BadAuthenticationType as error:
            keys.story.append(f"{name}: the worker takes no keys, only {error.allowed_types}")
            break
        except (paramiko.SSHException, OSError, EOFError) as error:
            answered = isinstance(error, paramiko.AuthenticationException)
            late = time.monotonic() - started >= transport.auth_timeout
            if transport.is_active() and answered and not late:
                keys.story.append(f"{name}: refused")
                continue
            if late or not any(line.endswith(": refused") for line in keys.story):
                raise Silence("no answer while logging in" if late else str(error)) from error
            keys.story.append(f"{name}: the worker hung up after so many keys")
            break
        if not wanted:
            return
        keys.story.append(f"{name}: accepted, but the worker wants {', '.join(wanted)} as well")
    raise _refused(keys, user, host, port)


def _refused(keys: Keys, user: str, host: str, port: int) -> AuthenticationRefused:
    fix = f"Put a key of yours there: ssh-copy-id -p {port} {user}@{host}"
    if not any(": " in line and not line.startswith("agent") for line in keys.story):
        fix = f"Make a key with ssh-keygen, then put it there: ssh-copy-id -p {port} {user}@{host}"
    if keys.locked:
        fix = f"Unlock the key for this login session: ssh-add {shlex.quote(str(keys.locked))}"
    return AuthenticationRefused(
        f"{host} does not let {user} in",
        why="; ".join(keys.story) or "there is no key to offer, neither in an agent nor in ~/.ssh",
        fix=fix,
        host=host,
        user=user,
        tried=tuple(keys.story),
    )
