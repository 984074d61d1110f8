"""A 1 GiB base image, half of it holes, to a worker: labkit against `zstd -1 | ssh zstd -d`.

Both start from nothing in each round, connecting included, in turns on one OpenSSH server on
loopback. labkit's time includes the verification on the worker; it is measured with the image's
sha256 known, as for every image of the library and every second copy, and unknown. Usage:
``python benchmarks/image_copy.py [--mib N] [--rounds N] [--folder DIR]``
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from labkit.executor import LocalFiles
from labkit.images.copy import copy_base
from labkit.images.library import ImageLibrary
from labkit.images.source import BaseImages
from labkit.ssh.executor import RemoteExecutor
from labkit.testing.sshd import SSHServer

KNOWN, UNKNOWN, ZSTD = "labkit, sha256 known", "labkit, to be hashed first", "zstd -1 | ssh zstd -d"
BOUND = 1.2  # labkit may take this many times as long
MIB = 2**20


def make_image(folder: Path, mib: int) -> Path:
    """A qcow2 image whose file has `mib` MiB: random data and holes, 16 MiB each in turns."""
    image = folder / "base.img"
    size = f"{mib}M"
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"]
    subprocess.run([*create, image, size], check=True)
    with image.open("r+b") as file:
        for at in range(16, mib, 32):  # behind the tables at the start
            file.seek(at * MIB)
            file.write(os.urandom(16 * MIB))
        file.truncate(max(mib * MIB, image.stat().st_size))
    return image


def labkit_way(server: SSHServer, image: Path, images: BaseImages) -> None:
    with RemoteExecutor(
        server.user, port=server.port, key_file=server.key_file, known_hosts=server.known_hosts
    ) as executor:
        found = images.find(str(image))
        assert found is not None
        assert copy_base(executor, server.host, "~/vm_images", found) > 0


def zstd_way(server: SSHServer, image: Path) -> None:
    options = (f"UserKnownHostsFile={server.known_hosts}", "IdentitiesOnly=yes", "BatchMode=yes")
    ssh = ["ssh", "-F", "none", "-p", str(server.port), "-i", str(server.key_file)]
    ssh += [word for option in options for word in ("-o", option)]
    line = "mkdir -p ~/vm_images && zstd -q -d -f -o ~/vm_images/base.img"
    compress = subprocess.Popen(["zstd", "-q", "-1", "-c", image], stdout=subprocess.PIPE)
    with compress:
        command = [*ssh, f"{server.user}@{server.host}", line]
        subprocess.run(command, stdin=compress.stdout, check=True)
    assert compress.returncode == 0


def measure(server: SSHServer, image: Path, way: Callable[[], None]) -> float:
    for left in server.home.glob("vm_images/*base.img*"):
        left.unlink()
    started = time.perf_counter()
    way()
    seconds = time.perf_counter() - started
    copy = server.home / "vm_images" / "base.img"
    subprocess.run(["cmp", copy, image], check=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default="/dev/shm", help="where both ends keep their files")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        SSHServer(Path(folder)) as server,
    ):
        image = make_image(Path(folder), options.mib)
        library = ImageLibrary(Path(folder, "library"))
        images = BaseImages(LocalFiles(), library)
        images.find(str(image))
        ways: dict[str, Callable[[], None]] = {
            KNOWN: lambda: labkit_way(server, image, images),
            UNKNOWN: lambda: labkit_way(server, image, BaseImages(LocalFiles(), library)),
            ZSTD: lambda: zstd_way(server, image),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            for name in list(ways)[:: 1 if number % 2 else -1]:
                times[name].append(measure(server, image, ways[name]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{options.mib} MiB in {options.folder}, medians of {options.rounds} interleaved rounds")
    for name, median in medians.items():
        spread = f"{min(times[name]):.2f} to {max(times[name]):.2f}"
        print(f"{name:28}{median:7.2f} s{median / medians[ZSTD]:7.2f} x zstd   ({spread})")
    print(f"labkit is to take at most {BOUND} x zstd's time, verification included")


if __name__ == "__main__":
    main()
