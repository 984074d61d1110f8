"""Downloads a file over HTTPS into a part file, going on where an earlier attempt was cut."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import ipaddress
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import urlsplit

from labkit import __version__
from labkit.errors import TransferError, UsageError

Progress = Callable[[int, int | None], None]
"""Told how many bytes are here, of how many (None: the server does not say)."""

TIMEOUT = 30.0  # seconds of silence
CHUNK = 1 << 18
MAX_CHECKSUMS = 1 << 20
BY_HAND = "Without a network, copy the file here and add it: labkit image add NAME FILE"
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206


def download(url: str, part: Path, on_progress: Progress) -> None:
    """Complete the part file; it is kept when this fails on the way, so that asking again resumes.

    What it holds is still to be verified.
    """
    with part.open("ab") as file, _alone(file, url), _told(url):
        _fetch(url, file, on_progress)


def published_sha256(url: str, file: str) -> str:
    """The sha256 of a file as its publisher's SHA256SUMS at `url` lists it."""
    with _told(url), _open(url, {}) as response:
        listing = response.read(MAX_CHECKSUMS).decode(errors="replace")
    found = re.search(rf"^([0-9a-f]{{64}})[ \t]+\*?{re.escape(file)}\s*$", listing, re.MULTILINE)
    if found is None:
        raise TransferError(
            f"cannot verify {file}",
            why=f"{url} lists no sha256 for it",
            fix=BY_HAND,
        )
    return found.group(1)


def sha256_of(path: Path) -> str:
    """The sha256 of a file of this machine."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_url(url: str) -> str:
    """An address that nobody on the way can change the content of: https, or this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
        return url
    raise UsageError(
        f"{url} is not an address to download from",
        why="only https is protected on the way",
        fix="Give an https address, or download the file yourself and use labkit image add.",
    )


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be downloaded from, and to no others."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message | http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _open(url: str, headers: dict[str, str]) -> contextlib.closing[http.client.HTTPResponse]:
    agent = {"User-Agent": f"labkit/{__version__}"}
    request = urllib.request.Request(check_url(url), headers={**agent, **headers})
    opener = urllib.request.build_opener(_CheckedRedirects)
    return contextlib.closing(opener.open(request, timeout=TIMEOUT))


def _fetch(url: str, file: BinaryIO, on_progress: Progress) -> None:
    start = file.tell()
    try:
        response = _open(url, {"Range": f"bytes={start}-"} if start else {})
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != RANGE_NOT_SATISFIABLE or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # all of it is here already
        file.truncate(0)  # what is here is of another file
        response = _open(url, {})
    with response as body:
        if body.status != PARTIAL_CONTENT:
            file.truncate(0)
            start = 0
        length = body.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        done = start
        on_progress(done, total)
        while piece := body.read(CHUNK):
            file.write(piece)
            done += len(piece)
            on_progress(done, total)
    if total is not None and done != total:
        raise TransferError(
            f"{url} did not arrive whole",
            why=f"the connection ended after {done} of {total} bytes",
            fix="Ask again: it goes on from there.",
        )


@contextlib.contextmanager
def _alone(file: BinaryIO, url: str) -> Iterator[None]:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TransferError(
            f"{url} is being downloaded already",
            why="another process of this user does it",
            fix="Wait for it, then ask again.",
        ) from None
    yield


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """Every way in which a download fails, as one error that says what to do."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        why = f"the server answers {error.code} {error.reason}"
        raise TransferError(f"cannot download {url}", why=why, fix=BY_HAND) from error
    except urllib.error.URLError as error:
        why = f"{error.reason}"
        raise TransferError(f"cannot download {url}", why=why, fix=BY_HAND) from error
    except http.client.HTTPException as error:
        why = f"the server's answer is broken ({type(error).__name__})"
        raise TransferError(f"cannot download {url}", why=why, fix=BY_HAND) from error
    except TransferError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise TransferError(f"cannot download {url}", why=why, fix=BY_HAND) from error
