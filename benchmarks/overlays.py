"""100 disks on one worker: labkit, the seed's way over ssh, and a shell loop on the worker itself.

All start from nothing in each round, connecting included, in turns on one OpenSSH server on
loopback. The seed's way is measured on fewer disks and scaled, since it takes long. Usage:
``python benchmarks/overlays.py [--disks N] [--rounds N] [--seed-disks N]``
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from labkit.images.library import ImageLibrary
from labkit.images.manager import OverlayRequest, QCOWManager
from labkit.ssh.executor import RemoteExecutor
from labkit.testing.sshd import SSHServer

LABKIT, SEED, LOOP = "labkit over ssh", "the seed's way", "local shell loop"
SEED_BOUND = 60  # the seed's way must take at least this many times as long
LOOP_BOUND = 1.0  # labkit may take this many times as long as the local loop
CREATE = "qemu-img create -f qcow2 -b base.img -F qcow2"


def labkit_way(server: SSHServer, base: Path, disks: int, library: ImageLibrary) -> None:
    with RemoteExecutor(
        server.user, port=server.port, key_file=server.key_file, known_hosts=server.known_hosts
    ) as executor:
        manager = QCOWManager(executor, library=library)
        requests = [OverlayRequest(f"vm{n}", str(base), 1) for n in range(disks)]
        assert len(manager.create_overlays(server.host, requests)) == disks


def seed_way(server: SSHServer, disks: int) -> None:
    """One ssh process that looks for the base, and one that runs qemu-img, for each disk."""
    options = (f"UserKnownHostsFile={server.known_hosts}", "IdentitiesOnly=yes", "BatchMode=yes")
    ssh = ["ssh", "-F", "none", "-p", str(server.port), "-i", str(server.key_file)]
    ssh += [word for option in options for word in ("-o", option)]
    for n in range(disks):
        for line in (
            "test -f ~/vm_images/base.img",
            f"cd ~/vm_images && {CREATE} vm{n}_img.qcow2 1G",
        ):
            command = [*ssh, f"{server.user}@{server.host}", line]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def loop_way(server: SSHServer, disks: int) -> None:
    script = f"for n in $(seq {disks}); do {CREATE} vm${{n}}_img.qcow2 1G || exit; done"
    folder = shlex.quote(str(server.home / "vm_images"))
    command = ["sh", "-c", f"cd {folder} && {script}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(server: SSHServer, way: Callable[[], None]) -> float:
    for disk in server.home.glob("vm_images/*_img.qcow2"):
        disk.unlink()
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed-disks", type=int, default=10)
    options = parser.parse_args()
    disks, seed_disks = options.disks, options.seed_disks
    with tempfile.TemporaryDirectory() as folder, SSHServer(Path(folder)) as server:
        base = Path(folder, "base.img")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "112M"], check=True)
        library = ImageLibrary(Path(folder, "library"))
        labkit_way(server, base, 1, library)  # the base is there before anyone starts
        ways: dict[str, tuple[Callable[[], None], float]] = {
            LABKIT: (lambda: labkit_way(server, base, disks, library), 1),
            SEED: (lambda: seed_way(server, seed_disks), disks / seed_disks),
            LOOP: (lambda: loop_way(server, disks), 1),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            for name in list(ways)[:: 1 if number % 2 else -1]:
                way, scale = ways[name]
                times[name].append(measure(server, way) * scale)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = medians[LABKIT]
    print(f"{disks} disks, medians of {options.rounds} interleaved rounds", end="; ")
    print(f"the seed's way on {seed_disks}, scaled")
    for name, median in medians.items():
        spread = f"{min(times[name]):.3f} to {max(times[name]):.3f}"
        print(f"{name:18}{median:9.3f} s{median / ours:8.2f} x labkit   ({spread})")
    print(f"seed / labkit: {medians[SEED] / ours:.0f}, to be at least {SEED_BOUND}")
    print(f"labkit / loop: {ours / medians[LOOP]:.2f}, to be at most {LOOP_BOUND:g}")


if __name__ == "__main__":
    main()
