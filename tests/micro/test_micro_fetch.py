"""Downloads: resumed, checked, shared by processes, and every failure in words."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.errors import DiskFull, MirrorUnreachable, PackageInvalid, PackageMissing
from labkit.events import Event, Listener, PackageProgress, ignore
from labkit.micro.fetch import PackageCache, fetch, full_disk_is_said
from labkit.micro.packages import Package
from labkit.micro.sources import Mirror

CONTENT = bytes(range(256)) * 4096


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(start[1]) if start and self.server.ranges else 0
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : self.server.cut or None])

    def log_message(self, *_arguments: object) -> None:
        """Nothing is printed."""


class Site(http.server.ThreadingHTTPServer):
    """A mirror on loopback that can break its answers off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        self.cut = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def package(site: Site) -> Package:
    site.files["/pool/p_1.deb"] = CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Package("p", "1", "pool/p_1.deb", digest, len(CONTENT))


def cache(folder: Path, *urls: str, on_event: Listener = ignore) -> PackageCache:
    return PackageCache(folder, lambda: [Mirror(url) for url in urls], on_event)


def test_a_package_comes_once_and_tells_its_progress(
    site: Site, package: Package, tmp_path: Path
) -> None:
    events: list[Event] = []
    assert cache(tmp_path, site.url, on_event=events.append).get(package) == CONTENT
    assert cache(tmp_path, site.url).get(package) == CONTENT
    assert len(site.asked) == 1
    assert events[0] == PackageProgress("localhost", "p", 0, len(CONTENT))
    assert events[-1] == PackageProgress("localhost", "p", len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_was(
    site: Site, package: Package, tmp_path: Path, ranges: bool
) -> None:
    site.cut = 300_000
    with pytest.raises(MirrorUnreachable, match="try again: it goes on from here"):
        cache(tmp_path, site.url).get(package)
    site.cut, site.ranges = 0, ranges
    assert cache(tmp_path, site.url).get(package) == CONTENT
    assert site.asked[1][1] is not None


def test_a_damaged_part_is_downloaded_anew(site: Site, package: Package, tmp_path: Path) -> None:
    folder = cache(tmp_path, site.url)
    (tmp_path / f"{package.sha256[:16]}-p_1.deb.part").write_bytes(b"x" * 500)
    assert folder.get(package) == CONTENT


def test_a_damaged_file_in_the_cache_is_downloaded_anew(
    site: Site, package: Package, tmp_path: Path
) -> None:
    folder = cache(tmp_path, site.url)
    folder.get(package)
    (tmp_path / f"{package.sha256[:16]}-p_1.deb").write_bytes(b"x" * 500)
    assert folder.get(package) == CONTENT


def test_another_file_on_the_mirror_is_refused(
    site: Site, package: Package, tmp_path: Path
) -> None:
    site.files["/pool/p_1.deb"] = CONTENT[::-1]
    with pytest.raises(PackageInvalid, match="not the one in the lock"):
        cache(tmp_path, site.url).get(package)
    assert not list(tmp_path.glob("*.deb*"))


def test_a_package_that_is_gone_names_the_way_out(
    site: Site, package: Package, tmp_path: Path
) -> None:
    site.files.clear()
    with pytest.raises(PackageMissing, match="labkit image build micro --refresh"):
        cache(tmp_path, site.url).get(package)


def test_the_next_mirror_is_asked(site: Site, package: Package, tmp_path: Path) -> None:
    assert cache(tmp_path, f"{site.url}/none", site.url).get(package) == CONTENT


def test_no_answer_is_said(package: Package, tmp_path: Path) -> None:
    with pytest.raises(MirrorUnreachable, match=r"cannot get http://127\.0\.0\.1:9/"):
        cache(tmp_path, "http://127.0.0.1:9").get(package)


def test_several_at_once_download_once(site: Site, package: Package, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _n: cache(tmp_path, site.url).get(package), range(4)))
    assert found == [CONTENT] * 4
    assert len(site.asked) == 1


def test_a_small_file_is_read_or_absent(site: Site) -> None:
    site.files["/x"] = b"text"
    assert fetch(f"{site.url}/x") == b"text"
    assert fetch(f"{site.url}/y") is None


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="no room for the micro image"), full_disk_is_said(tmp_path):
        Path("/dev/full").write_bytes(b"x")
