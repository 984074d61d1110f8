"""Reading known_hosts files as OpenSSH does."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path

import pytest

from labkit.errors import HostKeyChanged, HostKeyUnknown
from labkit.ssh.hostkeys import HostKey, KnownHosts

BLOB = b"a public key"
TEXT = base64.b64encode(BLOB).decode()
KEY = HostKey("ssh-ed25519", BLOB)
ANOTHER = HostKey("ssh-ed25519", b"another public key")


def known(tmp_path: Path, *lines: str) -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"{line}\n" for line in lines))
    return KnownHosts(file)


@pytest.mark.parametrize(
    "names",
    [
        "w1.example",
        "W1.Example",
        "other,w1.example",
        "*.example",
        "w?.example",
        "*",
        "*.example,!w2.example",
    ],
)
def test_a_line_that_names_the_host(tmp_path: Path, names: str) -> None:
    known(tmp_path, f"{names} ssh-ed25519 {TEXT} comment").check("w1.example", 22, KEY)


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"# w1.example ssh-ed25519 {TEXT}",
        f"w2.example ssh-ed25519 {TEXT}",
        f"w1xexample ssh-ed25519 {TEXT}",
        f"[w1.example]:2222 ssh-ed25519 {TEXT}",
        f"*.example,!w1.example ssh-ed25519 {TEXT}",
        f"@cert-authority *.example ssh-ed25519 {TEXT}",
        "w1.example ssh-ed25519 not-base64!",
        "w1.example ssh-ed25519",
        "|1|damaged|line ssh-ed25519 " + TEXT,
    ],
)
def test_a_line_that_does_not(tmp_path: Path, line: str) -> None:
    with pytest.raises(HostKeyUnknown, match="not known"):
        known(tmp_path, line).check("w1.example", 22, KEY)


def test_a_port_is_part_of_the_name(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"[10.0.10.1]:2222 ssh-ed25519 {TEXT}")
    hosts.check("10.0.10.1", 2222, KEY)
    with pytest.raises(HostKeyUnknown, match=r"run: ssh-keyscan 10\.0\.10\.1 >> "):
        hosts.check("10.0.10.1", 22, KEY)


def test_names_may_be_hashed(tmp_path: Path) -> None:
    salt = b"0123456789abcdefghij"
    parts = (salt, hmac.digest(salt, b"w1.example", "sha1"))
    names = "|1|" + "|".join(base64.b64encode(part).decode() for part in parts)
    hosts = known(tmp_path, f"{names} ssh-ed25519 {TEXT}")
    hosts.check("w1.example", 22, KEY)
    with pytest.raises(HostKeyUnknown):
        hosts.check("w2.example", 22, KEY)


def test_another_key_is_a_changed_key(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"w1 ssh-ed25519 {TEXT}")
    with pytest.raises(HostKeyChanged) as caught:
        hosts.check("w1", 22, ANOTHER)
    assert KEY.fingerprint in str(caught.value)
    assert ANOTHER.fingerprint in str(caught.value)
    assert f"ssh-keygen -R w1 -f {tmp_path}" in str(caught.value)


def test_a_revoked_key_is_refused_even_where_it_is_recorded(tmp_path: Path) -> None:
    line = f"w1 ssh-ed25519 {TEXT}"
    with pytest.raises(HostKeyChanged, match="revoked"):
        known(tmp_path, line, f"@revoked * ssh-ed25519 {TEXT}").check("w1", 22, KEY)


def test_a_missing_file_knows_nobody(tmp_path: Path) -> None:
    with pytest.raises(HostKeyUnknown, match="absent"):
        KnownHosts(tmp_path / "absent").check("w1", 22, KEY)
