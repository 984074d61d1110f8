"""Packs the built micro image as the wheel labkit-micro-image, with licences and sources named.

``python tools/wheel_image.py [FOLDER]`` writes it into FOLDER (default: dist). The same image gives
the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import labkit
from labkit.events import ignore
from labkit.micro import MICRO, MicroImage, ensure
from labkit.micro.image import (
    ENTRY_POINTS,
    INITRD_FILE,
    KERNEL_FILE,
    LOCK_FILE,
    RECORD_FILE,
)
from labkit.micro.packages import Lock, Package, write_lock
from labkit.micro.shelf import Shelf

MODULE = "labkit_micro_image"
DIST_INFO = f"{MODULE}-{labkit.__version__}.dist-info"
LICENSES = f"{DIST_INFO}/licenses"
COMMON = "/usr/share/common-licenses/"  # the texts that Debian's copyright files refer to
EPOCH = (1980, 1, 1, 0, 0, 0)

SOURCES = """\
# Where the sources are

The files `{kernel}` and `{initrd}` hold programs of the Debian packages below, unchanged but for
the kernel, which is unpacked, and its modules, which have lost their signatures. `sources.json` has
the same facts for programs. On a Debian system, `apt-get source SOURCE=VERSION` gets the source of
each; versions that the archive no longer has are kept by Debian's snapshot service. What else is in
`{initrd}` comes from labkit {version} (Apache-2.0), folder `labkit/micro/guest`, and `labkit image
build` makes both files from these packages again, the same bytes.

| package | version | source | its version | built using |
|---|---|---|---|---|
"""

METADATA = """\
Metadata-Version: 2.4
Name: labkit-micro-image
Version: {version}
Summary: The micro image of labkit, built: a kernel and an initramfs made from Debian packages.
Requires-Python: >=3.11
Classifier: Operating System :: POSIX :: Linux
Classifier: Topic :: System :: Emulators
{license_files}Description-Content-Type: text/markdown

{sources}"""


def contents(image: MicroImage, shelf: Shelf) -> dict[str, bytes]:
    """The files of the wheel, all but the list of them."""
    lock = Lock({package.name: package for package in image.packages})
    made_of = {
        "key": image.key,
        "kernel_sha256": image.kernel_sha256,
        "initrd_sha256": image.initrd_sha256,
    }
    sources = [source_of(package, shelf) for package in image.packages]
    table = SOURCES.format(kernel=KERNEL_FILE, initrd=INITRD_FILE, version=labkit.__version__)
    table += "".join(
        f"| {' | '.join(one[name] for name in ('package', 'version', 'source'))} | "
        f"{one['source_version']} | {one['built_using']} |\n"
        for one in sources
    )
    licenses = dict(sorted(license_files(image.packages, shelf)))
    lines = "".join(f"License-File: {name}\n" for name in licenses)
    metadata = METADATA.format(version=labkit.__version__, license_files=lines, sources=table)
    return {
        f"{MODULE}/__init__.py": b'"""The files of the micro image; labkit looks for them."""\n',
        f"{MODULE}/{KERNEL_FILE}": image.kernel.read_bytes(),
        f"{MODULE}/{INITRD_FILE}": image.initrd.read_bytes(),
        f"{MODULE}/{RECORD_FILE}": (json.dumps(made_of, indent=1) + "\n").encode(),
        f"{MODULE}/{LOCK_FILE}": write_lock(lock).encode(),
        f"{MODULE}/SOURCES.md": table.encode(),
        f"{MODULE}/sources.json": (json.dumps(sources, indent=1) + "\n").encode(),
        **{f"{LICENSES}/{name}": content for name, content in licenses.items()},
        f"{DIST_INFO}/METADATA": metadata.encode(),
        f"{DIST_INFO}/WHEEL": b"Wheel-Version: 1.0\nGenerator: labkit\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        f"{DIST_INFO}/entry_points.txt": f"[{ENTRY_POINTS}]\n{MICRO} = {MODULE}\n".encode(),
    }


def source_of(package: Package, shelf: Shelf) -> dict[str, str]:
    """Which source a package was built from, as its control file tells."""
    control = shelf.control(package)
    source, _, version = control.get("Source", package.name).partition(" ")
    return {
        "package": package.name,
        "version": package.version,
        "path": package.path,
        "sha256": package.sha256,
        "source": source,
        "source_version": version.strip("()") or package.version,
        "built_using": control.get("Built-Using", control.get("Static-Built-Using", "")),
    }


def license_files(packages: tuple[Package, ...], shelf: Shelf) -> Iterator[tuple[str, bytes]]:
    """The copyright file of each package, and the licences these refer to."""
    for package in packages:
        yield f"{package.name}/copyright", copyright_of(package, shelf)
    common = shelf.unpack(shelf.find("base-files"))
    for path, node in common.items():
        if path.startswith(COMMON) and (node.is_file or node.is_link):
            target = posixpath.join(COMMON, node.data.decode()) if node.is_link else path
            yield f"common-licenses/{posixpath.basename(path)}", common[target].data
    yield "labkit/LICENSE", (Path(__file__).parents[1] / "LICENSE").read_bytes()


def copyright_of(package: Package, shelf: Shelf) -> bytes:
    """What a package says of its licences; its folder may be a link to another package's."""
    tree = shelf.unpack(package)
    folder = f"/usr/share/doc/{package.name}"
    if folder in tree and tree[folder].is_link:
        return copyright_of(shelf.find(posixpath.basename(tree[folder].data.decode())), shelf)
    return tree[f"{folder}/copyright"].data


def record(files: dict[str, bytes]) -> bytes:
    """The list of a wheel's files and their checksums."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{DIST_INFO}/RECORD,,\n"]).encode()


def write_wheel(folder: Path) -> Path:
    """Build the image if it is not there, and pack it."""
    files = contents(ensure(), Shelf(None, None, ignore))
    files[f"{DIST_INFO}/RECORD"] = record(files)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{MODULE}-{labkit.__version__}-py3-none-any.whl"
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    part.replace(path)
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{write_wheel(Path(*sys.argv[1:] or ['dist']))}\n")
