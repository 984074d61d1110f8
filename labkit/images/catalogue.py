"""The base images labkit knows by name: where their publishers keep them, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image to download. `file` is the name the flavors use.

    Either `sha256` is pinned, where the address always holds the same bytes, or `checksums` is
    the address of the publisher's SHA256SUMS, where it holds the newest build.
    """

    name: str
    file: str
    url: str
    sha256: str | None = None
    checksums: str | None = None


_CIRROS = "https://download.cirros-cloud.net/0.6.2"
_FOCAL = "https://cloud-images.ubuntu.com/focal/current"

CATALOGUE: Mapping[str, KnownImage] = {
    image.name: image
    for image in (
        KnownImage(
            "cirros",
            "cirros-0.6.2-x86_64-disk.img",
            f"{_CIRROS}/cirros-0.6.2-x86_64-disk.img",
            # the publisher lists MD5 sums only; this is the sum many projects pin for the file
            sha256="07e44a73e54c94d988028515403c1ed762055e01b83a767edf3c2b387f78ce00",
        ),
        KnownImage(
            "ubuntu",
            "focal-server-cloudimg-amd64.img",
            f"{_FOCAL}/focal-server-cloudimg-amd64.img",
            checksums=f"{_FOCAL}/SHA256SUMS",
        ),
    )
}
