"""The steward as one file: all of its modules in a zip that python3 runs as it is."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from importlib import resources

_MAIN = b"import sys\n\nfrom steward.__main__ import main\n\nsys.exit(main(sys.argv))\n"


@functools.cache
def steward() -> bytes:
    """The zip; the same sources give the same bytes (stored: no zlib has a say in them)."""
    folder = resources.files("labkit.remote.steward")
    files = {
        f"steward/{file.name}": file.read_bytes()
        for file in folder.iterdir()
        if file.name.endswith(".py")
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, text in sorted({**files, "__main__.py": _MAIN}.items()):
            entry = zipfile.ZipInfo(name)  # dated 1980
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return packed.getvalue()


def steward_build() -> str:
    """What names these very sources: the SHA-256 of the zip."""
    return hashlib.sha256(steward()).hexdigest()
