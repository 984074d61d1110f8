"""What labkit adds to bare QEMUs of the same image and command line: time, memory, file transfer.

A bare QEMU is started by Popen (ten at once: by one shell script) and spoken to over the same
channel by the shortest client that can. Rounds are interleaved; figures are medians.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shlex
import socket
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit.links import Links
from labkit.local import LocalExecutor
from labkit.machines import Machine, Machines
from labkit.micro import KERNEL_ARGUMENTS, build_micro
from labkit.programs import qemu
from labkit.steward import Steward, ensure

AT_ONCE = 10
MACHINES = (1, 3, 10)
TRANSFERS = 7
MEGABYTES = 16
COMMANDS = 50
WAIT = 120.0
MEMORY, ROOMY = 128, 256  # megabytes; a file and the one it replaces lie in memory together


def options(
    kernel: qemu.DirectKernel, macs: tuple[str, ...] = (), memory: int = MEMORY
) -> qemu.MachineOptions:
    name = f"vm{secrets.token_hex(2)}"
    return qemu.MachineOptions(name, str(uuid.uuid4()), memory, kernel=kernel, macs=macs)


class Bare:
    """A QEMU by itself, and a blocking client of its first lane."""

    def __init__(self, kernel: qemu.DirectKernel, folder: str, memory: int = MEMORY) -> None:
        self.folder = tempfile.mkdtemp(dir=folder)
        command = qemu.command(options(kernel, memory=memory))
        self.argv = [word for word in command if word != "-S"]
        self._in = bytearray()
        self._number = 0

    def start(self) -> None:
        subprocess.Popen(
            self.argv, cwd=self.folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode = 0

    def meet(self) -> None:
        deadline = time.monotonic() + WAIT
        while True:
            self.lane = socket.socket(socket.AF_UNIX)
            try:
                self.lane.connect(f"{self.folder}/l0")
                break
            except OSError:
                self.lane.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.003)
        self.lane.settimeout(WAIT)
        self.lane.sendall(bytes(65792) + b"LK hello me 0\n\n")
        while True:
            verb, token, payload = self._frame(skip=True)
            if (verb, token) == (b"hello", b"me"):
                pairs = dict(item.split(b"=", 1) for item in payload.split(b"\0") if item)
                self.agent = pairs[b"agent"].decode()
                return

    def run(self, program: str = "true") -> None:
        token = self._send("run", f"arg={program}\0".encode())
        while self._frame()[:2] != (b"exit", token):
            pass

    def put(self, data: bytes) -> None:
        token, room, view = self._send("put", b"path=/tmp/bare\0"), 262144, memoryview(data)
        while view:
            while room < min(65536, len(view)):
                verb, _, payload = self._frame()
                room += int(payload) if verb == b"credit" else 0
            piece = view[:65536]
            self._send("in", piece, token)
            view, room = view[65536:], room - len(piece)
        end = f"size={len(data)}\0sha256={hashlib.sha256(data).hexdigest()}\0"
        self._send("eof", end.encode(), token)
        while self._frame()[:2] != (b"done", token):
            pass

    def get(self) -> None:
        token = self._send("get", b"path=/tmp/bare\0")
        while self._frame()[:2] != (b"done", token):
            pass

    @property
    def pid(self) -> int:
        return int(Path(self.folder, qemu.PID).read_text())

    def end(self) -> None:
        self.lane.close()
        os.kill(self.pid, 15)
        while Path(self.folder, qemu.PID).exists():
            time.sleep(0.01)

    def _send(self, verb: str, payload: bytes | memoryview, token: bytes = b"") -> bytes:
        if not token:
            self._number += 1
            token = f"{self.agent}-b{self._number}".encode()
        head = b"LK %s %s %d\n" % (verb.encode(), token, len(payload))
        self.lane.sendall(b"".join((head, payload, b"\n")))
        return token

    def _frame(self, *, skip: bool = False) -> tuple[bytes, bytes, bytes]:
        while True:
            while self._in and self._in[0] in (0, 10):
                del self._in[: len(self._in) - len(self._in.lstrip(b"\0\n"))]
            head, newline, _ = self._in.partition(b"\n")
            if newline:
                words = bytes(head).split()
                if len(words) == 4 and words[0] == b"LK":
                    end = len(head) + 1 + int(words[3])
                    if len(self._in) > end:
                        payload = bytes(self._in[len(head) + 1 : end])
                        del self._in[: end + 1]
                        return words[1], words[2], payload
                elif skip:
                    del self._in[: len(head) + 1]
                    continue
            data = self.lane.recv(1 << 18)
            if not data:
                raise SystemExit("a bare QEMU has ended")
            self._in += data


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(values: list[float]) -> float:
    return statistics.median(values)


def pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has no PSS")


class Bench:
    def __init__(self, folder: str) -> None:
        image = build_micro()
        self.folder = folder
        self.kernel = qemu.DirectKernel(str(image.kernel), str(image.initrd), KERNEL_ARGUMENTS)
        self.executor = LocalExecutor({"LABKIT_RUN_DIR": folder})
        self.steward: Steward = ensure(self.executor, "localhost", secrets.token_hex(4))
        self.machines = Machines(self.steward, self.executor)

    def ours(self, index: int = 0, memory: int = MEMORY) -> Machine:
        machine = self.machines.start(index, options(self.kernel, memory=memory))
        machine.guest.wait_ready(WAIT)
        machine.guest.run(["true"])
        return machine

    def bare(self, memory: int = MEMORY) -> Bare:
        machine = Bare(self.kernel, self.folder, memory)
        machine.start()
        machine.meet()
        machine.run()
        return machine

    def first_command(self, rounds: int) -> None:
        ours, bare = [], []
        for turn in range(rounds + 1):  # the first warms the page cache
            ours.append(seconds(lambda: self.ours()))
            self.machines.get(0).power_off()
            made: list[Bare] = []
            bare.append(seconds(lambda made=made: made.append(self.bare())))  # type: ignore[misc]
            made[0].end()
            if not turn:
                ours.clear()
                bare.clear()
        report("start to first command", median(ours), median(bare), "s", 1.1)

    def at_once(self, rounds: int) -> None:
        ours: list[float] = []
        bare: list[float] = []
        for _ in range(rounds):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                ours.append(seconds(lambda: list(pool.map(self.ours, range(AT_ONCE)))))
                if not bare:
                    self.memory()
                for index in range(AT_ONCE):
                    self.machines.get(index).power_off()
                several = [Bare(self.kernel, self.folder) for _ in range(AT_ONCE)]
                script = "\n".join(f"cd {b.folder}; {shlex.join(b.argv)} &" for b in several)
                began = time.perf_counter()
                subprocess.run(
                    ["sh", "-c", script],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )
                list(pool.map(lambda machine: (machine.meet(), machine.run()), several))
                bare.append(time.perf_counter() - began)
                if len(bare) == 1:
                    each = sum(pss_mb(machine.pid) for machine in several) / AT_ONCE
                    report(f"memory of a machine, {AT_ONCE} run", self.pss, each, "MB", 1.1)
                for machine in several:
                    machine.end()
        report(f"{AT_ONCE} at once to first command", median(ours), median(bare), "s", 1.15)

    def memory(self) -> None:
        pids = [state.pid for state in self.machines.list() if state.pid]
        self.pss = sum(map(pss_mb, pids)) / len(pids)

    def own_cost(self) -> None:
        """The process that serves the slice: consoles, lanes, and a switch that joins them all."""
        links = Links(self.steward)
        started = 0
        for count in MACHINES:
            for index in range(started, count):
                mac = f"52:54:00:00:{index:02x}:00"
                machine = self.machines.start(index, options(self.kernel, macs=(mac,)))
                machine.guest.wait_ready(WAIT)
                machine.guest.run("ip link set eth0 up")
            started = count
            links.set("all", [(index, 0) for index in range(count)])
            for index in range(count):
                self.machines.get(index).guest.run("ping -c2 -i0.2 ff02::1%eth0")
            cost = pss_mb(self.steward.facts["pid"])
            name = f"own cost, {count} machine{'s' * (count > 1)} on a link"
            print(f"{name:34}{cost:8.1f} MB = {cost / count:.1f} MB per machine; goal 10, falling")
        links.delete("all")
        for index in range(started):
            self.machines.get(index).power_off()

    def commands_and_files(self) -> None:
        ours, bare = self.ours(memory=ROOMY).guest, self.bare(ROOMY)
        mine, theirs = [], []
        for _ in range(COMMANDS):
            mine.append(seconds(lambda: ours.run(["true"])) * 1000)
            theirs.append(seconds(bare.run) * 1000)
        report("run(['true'])", median(mine), median(theirs), "ms", None)
        print(f"{'':34}{median(mine) - median(theirs):8.2f} ms beyond the guest; goal 10")
        data = os.urandom(MEGABYTES * 10**6)
        up: tuple[list[float], list[float]] = ([], [])
        down: tuple[list[float], list[float]] = ([], [])
        for _ in range(TRANSFERS):
            up[0].append(seconds(lambda: ours.put("/tmp/ours", data)))
            up[1].append(seconds(lambda: bare.put(data)))
            down[0].append(seconds(lambda: ours.get("/tmp/ours")))
            down[1].append(seconds(bare.get))
        for name, (first, second), goal in (("upload", up, 1.2), ("download", down, None)):
            speeds = f"{MEGABYTES / median(first):.0f} and {MEGABYTES / median(second):.0f} MB/s"
            report(f"{name}, {speeds}", median(first), median(second), "s", goal)
        bare.end()
        self.machines.get(0).power_off()

    def end(self) -> None:
        for state in self.machines.list():
            self.machines.get(state.index).power_off()
            self.machines.get(state.index).forget()
        self.steward.quit(forget=True)


def report(name: str, ours: float, bare: float, unit: str, goal: float | None) -> None:
    verdict = f"goal {goal}" if goal else ""
    print(f"{name:34}{ours:8.2f} {unit}, bare {bare:.2f} {unit}: x {ours / bare:.2f}  {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="lk", dir="/tmp") as folder:
        bench = Bench(folder)
        try:
            bench.commands_and_files()
            bench.first_command(rounds)
            bench.own_cost()
            bench.at_once(max(3, rounds // 3))
        finally:
            bench.end()


if __name__ == "__main__":
    main()
