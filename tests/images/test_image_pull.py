"""Downloads into the image library, from a server on this machine that fails in every way."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from disk_images import make_base, needs_qemu_img, sha256
from labkit.errors import BaseImageInvalid, TransferError, UnknownImage, UsageError
from labkit.images.catalogue import CATALOGUE, KnownImage
from labkit.images.download import check_url, published_sha256
from labkit.images.library import ImageLibrary

pytestmark = [pytest.mark.qemu_img, needs_qemu_img]

FILE = "disk.img"


class Server(ThreadingHTTPServer):
    """Serves `content` by path; knows how to cut, to redirect and to ignore ranges."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cut_at: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.end_headers()
            return
        if self.path not in self.server.content:
            self.send_error(404)
            return
        body = self.server.content[self.path]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and self.server.ranges:
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            self.send_response(206)
            body = body[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_at])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "original" / FILE, data=bytes(range(256)) * 2000)


@pytest.fixture
def library(tmp_path: Path, server: Server, base: Path) -> ImageLibrary:
    content = base.read_bytes()
    server.content[f"/{FILE}"] = content
    listing = f"{'0' * 64} *other.img\n{sha256(base)} *{FILE}\n{'1' * 64} *x{FILE}\n"
    server.content["/SHA256SUMS"] = listing.encode()
    url = f"{server.address}/{FILE}"
    known = (
        KnownImage("listed", FILE, url, checksums=f"{server.address}/SHA256SUMS"),
        KnownImage("pinned", FILE, url, sha256=sha256(base)),
        KnownImage("wrong", FILE, url, sha256="f" * 64),
        KnownImage("absent", FILE, f"{server.address}/absent", sha256="f" * 64),
        KnownImage("unlisted", "no.img", url, checksums=f"{server.address}/SHA256SUMS"),
    )
    return ImageLibrary(tmp_path / "library", catalogue={image.name: image for image in known})


def left(library: ImageLibrary) -> list[str]:
    return sorted(
        str(path.relative_to(library.folder))
        for path in library.folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    )


@pytest.mark.parametrize("name", ["listed", "pinned"])
def test_an_image_is_downloaded_verified_and_added(
    library: ImageLibrary, server: Server, base: Path, name: str
) -> None:
    told: list[tuple[int, int | None]] = []
    image = library.pull(name, on_progress=lambda done, total: told.append((done, total)))
    assert (image.name, image.file, image.sha256) == (name, FILE, sha256(base))
    assert image.source == f"{server.address}/{FILE}"
    size = base.stat().st_size
    assert told[0] == (0, size)
    assert told[-1] == (size, size)
    assert left(library) == [f"{name}/disk.img", f"{name}/image.json"]
    server.asked.clear()
    assert library.pull(name) == image
    assert server.asked == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_goes_on_or_starts_anew(
    library: ImageLibrary, server: Server, base: Path, ranges: bool
) -> None:
    server.cut_at, server.ranges = 300_000, ranges
    with pytest.raises(TransferError, match="after 300000 of "):
        library.pull("pinned")
    assert left(library) == [".downloads/disk.img"]
    server.cut_at = None
    assert library.pull("pinned").sha256 == sha256(base)
    assert server.asked[-1] == (f"/{FILE}", "bytes=300000-")
    assert left(library) == ["pinned/disk.img", "pinned/image.json"]


def test_a_complete_download_that_was_not_added_is_not_repeated(
    library: ImageLibrary, server: Server, base: Path
) -> None:
    part = library.folder / ".downloads" / FILE
    part.parent.mkdir(parents=True)
    part.write_bytes(base.read_bytes())
    assert library.pull("pinned").sha256 == sha256(base)
    part.parent.mkdir(parents=True)
    part.write_bytes(base.read_bytes() * 2)  # of a longer, older build
    assert library.pull("listed").sha256 == sha256(base)


def test_the_wrong_checksum_deletes_the_download(library: ImageLibrary) -> None:
    with pytest.raises(TransferError, match="is not the right file"):
        library.pull("wrong")
    assert left(library) == []
    assert library.list() == ()


def test_what_is_no_image_is_not_added(
    library: ImageLibrary, server: Server, tmp_path: Path
) -> None:
    page = b"<html>log in to the campus network first</html>"
    server.content[f"/{FILE}"] = page
    with pytest.raises(TransferError, match="is not the right file"):
        library.pull("pinned")
    pinned = KnownImage(
        "page", FILE, f"{server.address}/{FILE}", sha256=hashlib.sha256(page).hexdigest()
    )
    library = ImageLibrary(tmp_path / "other", catalogue={"page": pinned})
    with pytest.raises(BaseImageInvalid, match="a web page"):
        library.pull("page")


def test_a_missing_file_and_a_missing_checksum(library: ImageLibrary) -> None:
    with pytest.raises(TransferError, match="the server answers 404"):
        library.pull("absent")
    with pytest.raises(TransferError, match=r"lists no sha256"):
        library.pull("unlisted")
    assert [path for path in left(library) if "downloads" not in path] == []


def test_without_a_network_it_says_how_to_add_a_file_by_hand(
    tmp_path: Path, library: ImageLibrary
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{FILE}"
        with pytest.raises(TransferError, match="labkit image add NAME FILE"):
            library.pull("pinned", url=url)


def test_a_mirror_must_have_the_same_file(
    library: ImageLibrary, server: Server, base: Path
) -> None:
    server.content["/mirror"] = base.read_bytes()
    assert library.pull("pinned", url=f"{server.address}/mirror").source.endswith("/mirror")
    server.content["/evil"] = make_base(base.with_name("evil.img"), data=b"evil").read_bytes()
    with pytest.raises(TransferError, match="is not the right file"):
        library.pull("listed", url=f"{server.address}/evil")


def test_only_protected_addresses_are_followed(library: ImageLibrary, server: Server) -> None:
    for url in ("http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "x", ""):
        with pytest.raises(UsageError):
            check_url(url)
    server.redirects["/moved"] = "http://example.org/disk.img"
    with pytest.raises(UsageError, match="only https"):
        library.pull("pinned", url=f"{server.address}/moved")
    server.redirects["/moved"] = f"{server.address}/{FILE}"
    assert library.pull("pinned", url=f"{server.address}/moved")


def test_two_downloads_of_one_file_do_not_mix(library: ImageLibrary) -> None:
    import fcntl

    part = library.folder / ".downloads" / FILE
    part.parent.mkdir(parents=True)
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TransferError, match="already"):
            library.pull("pinned")


def test_an_unknown_name(library: ImageLibrary) -> None:
    with pytest.raises(UnknownImage, match="Download one of listed, pinned"):
        library.pull("nothing")


def test_checksum_lists_of_publishers_are_read(server: Server) -> None:
    server.content["/sums"] = f"{'a' * 64}  x.img\n{'b' * 64} *y.img\r\n".encode()
    assert published_sha256(f"{server.address}/sums", "x.img") == "a" * 64
    assert published_sha256(f"{server.address}/sums", "y.img") == "b" * 64


def test_every_known_image_can_be_verified() -> None:
    for image in CATALOGUE.values():
        assert check_url(image.url).endswith(f"/{image.file}")
        assert (image.sha256 is None) != (image.checksums is None)
