"""Downloads from a package mirror: to a cache, resumed, checked, safe for several processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from labkit.errors import DiskFull, MirrorUnreachable, PackageInvalid, PackageMissing
from labkit.events import Listener, PackageProgress
from labkit.markup import counted
from labkit.micro.packages import Package
from labkit.micro.sources import Mirror

_TIMEOUT = 60
_CHUNK = 1 << 18
_NOT_FOUND = (403, 404, 410)


class PackageCache:
    """A folder of package files; a file is there whole and checked, or not at all."""

    def __init__(
        self, folder: Path, mirrors: Callable[[], Sequence[Mirror]], on_event: Listener
    ) -> None:
        self.folder = folder
        self._mirrors = mirrors
        self._on_event = on_event

    def get(self, package: Package) -> bytes:
        """The content of a package file, from here or from the first mirror that has it."""
        path = self.folder / f"{package.sha256[:16]}-{package.file}"
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == package.sha256:
                return content
        with full_disk_is_said(self.folder), exclusive(self.folder / "lock"):
            if path.exists() and _sha256(path) == package.sha256:
                return path.read_bytes()  # another process was quicker
            return self._download(package, path)

    def _download(self, package: Package, path: Path) -> bytes:
        part = path.with_name(f"{path.name}.part")
        for mirror in self._mirrors():
            url = f"{mirror.url}/{package.path}"
            # a second try without what an earlier one left: that may have been the broken part
            for _attempt in range(2 if part.exists() else 1):
                if not self._fill(url, package, part):
                    break
                if _sha256(part) == package.sha256:
                    part.replace(path)
                    return path.read_bytes()
                part.unlink()
            else:
                raise PackageInvalid(
                    f"the mirror's file of {package.name} is not the one in the lock",
                    why="its sha256 is another one",
                    fix="Try another mirror, or: labkit image build micro --refresh",
                    package=package.name,
                    url=url,
                )
        raise PackageMissing(
            f"{package.name} {package.version} is not on the mirror any more",
            why="mirrors keep only the newest version of a package",
            fix="Take the newest versions with: labkit image build micro --refresh",
            package=package.name,
            version=package.version,
        )

    def _fill(self, url: str, package: Package, part: Path) -> bool:
        """Download what is missing of a file; False when this mirror does not have it."""
        have = part.stat().st_size if part.exists() else 0
        if have >= package.size:
            return True
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        response = _open(request)
        if response is None:
            return False
        with response, part.open("ab" if response.status == 206 else "wb") as file:
            done = file.tell()
            self._on_event(PackageProgress("localhost", package.name, done, package.size))
            for chunk in _chunks(response, url):
                file.write(chunk)
                done += len(chunk)
                self._on_event(PackageProgress("localhost", package.name, done, package.size))
        return True


def fetch(url: str) -> bytes | None:
    """A whole small file of a mirror, or None when it has no such file."""
    response = _open(urllib.request.Request(url))
    if response is None:
        return None
    with response:
        return b"".join(_chunks(response, url))


def _open(request: urllib.request.Request) -> http.client.HTTPResponse | None:
    """The answer to a request, or None when there is no such file."""
    url = request.full_url
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _NOT_FOUND:
            return None
        _unreachable(url, f"it answers {error.code} {error.reason}", error)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        _unreachable(url, str(getattr(error, "reason", error)), error)
    assert isinstance(response, http.client.HTTPResponse)  # of http and https
    return response


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except (http.client.HTTPException, OSError) as error:
        _unreachable(url, f"the connection broke: {error}", error)
    if response.length:  # reading in parts, an early end is no error by itself
        _unreachable(url, f"the connection ended {counted(response.length, 'byte')} too early")


def _unreachable(url: str, why: str, cause: Exception | None = None) -> NoReturn:
    raise MirrorUnreachable(
        f"cannot get {url}",
        why=why,
        fix="Look at the network and the mirror's address, then try again: it goes on from here.",
        url=url,
    ) from cause


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[BinaryIO]:
    """Hold a lock file: other processes wait until this one is done.

    `on_wait` is called when another one holds it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(path, file):  # one that was removed meanwhile keeps nobody out
                yield file
                return


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def full_disk_is_said(folder: Path) -> Iterator[None]:
    """Say in our words that there is no room below `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"no room for the micro image below {folder}",
            why=os.strerror(error.errno),
            fix="Free some space, or set XDG_CACHE_HOME and XDG_DATA_HOME to a larger disk.",
            folder=str(folder),
        ) from error
