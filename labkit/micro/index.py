"""A mirror's index of packages, read and checked against the release file beside it."""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Callable, Sequence

from labkit.errors import MirrorMissing, PackageInvalid
from labkit.micro.packages import Index
from labkit.micro.sources import SETTING, Mirror

INDEX_FILE = "main/binary-amd64/Packages.xz"
Fetch = Callable[[str], bytes | None]


def read_index(mirrors: Sequence[Mirror], fetch: Fetch) -> Index:
    """The newest packages of the Debian archives among `mirrors`; others are left out.

    The checksums hold against a mirror in mid-update and a broken transfer. The release file's
    signature is not looked at: the lock file is what pins the image.
    """
    texts = [
        text
        for mirror in mirrors
        for suite in mirror.suites
        if (text := _packages(f"{mirror.url}/dists/{suite}", fetch)) is not None
    ]
    if not texts:
        raise MirrorMissing(
            "there is no mirror to take Debian packages from",
            why="none of the package sources of this machine is a Debian archive",
            fix=f"Set {SETTING} to the address of a Debian mirror, as 'http://HOST/debian'.",
            mirrors=[mirror.url for mirror in mirrors],
        )
    return Index(texts)


def _packages(base: str, fetch: Fetch) -> str | None:
    signed = fetch(f"{base}/InRelease")
    release = (signed or b"").decode("utf-8", "replace")
    if not re.search(r"^Origin: Debian$", release, re.M):
        return None
    packed = fetch(f"{base}/{INDEX_FILE}") or b""
    digest = hashlib.sha256(packed).hexdigest()
    if not re.search(rf"^ {digest} +{len(packed)} {re.escape(INDEX_FILE)}$", release, re.M):
        raise PackageInvalid(
            f"the index at {base} is not the one its release file names",
            why="the checksum differs: the mirror may be in the middle of an update",
            fix="Try again in some minutes, or take another mirror.",
            url=f"{base}/{INDEX_FILE}",
        )
    return lzma.decompress(packed).decode("utf-8", "replace")
