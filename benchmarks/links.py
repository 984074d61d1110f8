"""Our links beside QEMU's own: throughput and round trips against a ``dgram`` pair, impairments.

Both pairs of machines are of the same image, command line and steward, but for their network: a
wrapper around QEMU joins the rival's two NICs by ``-netdev dgram`` and unix sockets, with no
process between. Rounds are interleaved; figures are medians. Then what is asked of a link is
compared with what `labkit.measure` finds.
"""

from __future__ import annotations

import argparse
import re
import secrets
import shutil
import statistics
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labkit.guest import Guest
from labkit.links import Links
from labkit.local import LocalExecutor
from labkit.machines import Machine, Machines
from labkit.measure import End, measure_link
from labkit.micro import KERNEL_ARGUMENTS, build_micro
from labkit.programs import qemu
from labkit.steward import Steward, ensure
from labkit.wish.links import Impairment

WAIT = 240.0
SECONDS = 4  # of a TCP stream
PINGS = 40
PORTS = [(1, 0), (2, 0)]
PACKETS, PACKETS_TO_LOSE = 2000, 20_000
LOST = 1000  # packets at least, so that chance moves a loss by some 3 % or less
WRAPPER = """#!/bin/sh
# QEMU with the network of NIC 0 between two unix sockets of datagrams
case $PWD in */m3) own=d3 other=d4 ;; *) own=d4 other=d3 ;; esac
net="dgram,id=n0,local.type=unix,local.path=../$own,remote.type=unix,remote.path=../$other"
for word do
  shift
  case $word in stream,id=n0,*) word=$net ;; esac
  set -- "$@" "$word"
done
exec {qemu} "$@"
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two machines on one cable: 10.0.0.1 and 10.0.0.2."""

    name: str
    one: Guest
    other: Guest

    def mbit(self, *, reverse: bool) -> float:
        """TCP from the one to the other, or back."""
        way = ["-r"] if reverse else []
        command = ["nuttcp", "-fparse", *way, f"-T{SECONDS}", "10.0.0.2"]
        said = self.one.run(command, timeout=WAIT, check=True).text
        return float(_found(r"rate_Mbps=([\d.]+)", said))

    def trips(self) -> list[float]:
        """Round trips in ms."""
        command = ["ping", "-n", f"-c{PINGS}", "-i0.02", "10.0.0.2"]
        said = self.one.run(command, timeout=WAIT, check=True).text
        return [float(value) for value in re.findall(r"time=([\d.]+) ms", said)]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"nothing like {pattern} in {text!r}")
    return match.group(1)


class Bench:
    """Four machines: 1 and 2 on a link of ours, 3 and 4 on QEMU's own."""

    def __init__(self, folder: str) -> None:
        image = build_micro()
        self.kernel = qemu.DirectKernel(str(image.kernel), str(image.initrd), KERNEL_ARGUMENTS)
        executor = LocalExecutor({"LABKIT_RUN_DIR": folder})
        self.steward: Steward = ensure(executor, "localhost", secrets.token_hex(4))
        self.machines = Machines(self.steward, executor)
        self.links = Links(self.steward)
        wrapper = Path(folder, "qemu")
        program = shutil.which(qemu.PROGRAM)
        if program is None:
            raise SystemExit(f"{qemu.PROGRAM} is not installed")
        wrapper.write_text(WRAPPER.replace("{qemu}", program))
        wrapper.chmod(0o700)
        self.wrapper = str(wrapper)

    def pair(self, name: str, first: int, program: str) -> Pair:
        guests = []
        for number in (1, 2):
            machine = self._start(first + number - 1, number, program)
            machine.guest.wait_ready(WAIT)
            guests.append(machine.guest)
        guests[1].run(["nuttcp", "-S"], check=True)
        guests[0].run(["ping", "-c3", "-i0.2", "10.0.0.2"], timeout=WAIT, check=True)
        return Pair(name, *guests)

    def _start(self, index: int, number: int, program: str) -> Machine:
        mac = f"52:54:00:00:0{index}:00"
        setup = f"hostname vm{index}\nnic eth0 {mac}\naddress eth0 10.0.0.{number}/24\n"
        options = qemu.MachineOptions(
            f"vm{index}",
            str(uuid.uuid4()),
            128,
            kernel=self.kernel,
            macs=(mac,),
            firmware=(("opt/labkit/machine", "setup"),),
        )
        return self.machines.start(index, options, files={"setup": setup}, program=program)

    def speed(self, rounds: int) -> None:
        self.links.set("cable", PORTS)
        pairs = (
            self.pair("labkit", 1, qemu.PROGRAM),
            self.pair("dgram", 3, self.wrapper),
        )
        works: dict[str, tuple[str, Callable[[Pair], float]]] = {
            "TCP": ("Mbit/s", lambda pair: pair.mbit(reverse=False)),
            "TCP, back": ("Mbit/s", lambda pair: pair.mbit(reverse=True)),
            "round trip, median": ("ms", lambda pair: statistics.median(pair.trips())),
            "round trip, least": ("ms", lambda pair: min(pair.trips())),
        }
        found: dict[tuple[str, str], list[float]] = {}
        for turn in range(rounds):
            for name, (_, work) in works.items():
                for pair in pairs if turn % 2 else pairs[::-1]:
                    found.setdefault((name, pair.name), []).append(work(pair))
        for name, (unit, _) in works.items():
            ours = statistics.median(found[name, "labkit"])
            theirs = statistics.median(found[name, "dgram"])
            goal = "goal 1" if unit == "Mbit/s" else ""
            line = f"{name:20}{ours:8.2f} {unit}, dgram {theirs:.2f} {unit}: "
            print(f"{line}x {ours / theirs:.2f}  {goal}", flush=True)
        for index in (3, 4):
            self.machines.get(index).power_off()

    def impairments(self) -> None:
        """Both directions at once, each as asked; loss needs many packets."""
        tables = []
        for impairment in asked():
            out = dict.fromkeys(PORTS, impairment)
            self.links.set("cable", out=out, seed=1)
            ends = [
                End(name, self.machines.get(index).guest, "eth0", sends=impairment)
                for name, index in (("vm1", 1), ("vm2", 2))
            ]
            loss = impairment.loss
            packets = max(PACKETS_TO_LOSE, int(LOST / loss)) if loss else PACKETS
            table = measure_link("cable", ends, packets=packets)
            wanted = [name for name in impairment.texts() if name != "jitter"]
            tables.append(table[table["quantity"].isin(wanted)])
        self.links.set("cable", out={})
        table = pd.concat(tables, ignore_index=True)
        share = 100 * table["deviation"].abs() / table["asked"]
        print(table.drop(columns="link").assign(percent=share.round(2)).round(3).to_string())

    def end(self) -> None:
        for state in self.machines.list():
            if state.is_running:
                self.machines.get(state.index).power_off()
            self.machines.get(state.index).forget()
        self.steward.quit(forget=True)


def asked() -> Iterator[Impairment]:
    for delay in (5, 20, 50, 100):
        yield Impairment(delay_ms=delay)
    for loss in (0.01, 0.1, 0.3):
        yield Impairment(loss=loss)
    for rate in (1, 5, 20):
        yield Impairment(rate_bit=rate * 10**6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="lk", dir="/tmp") as folder:
        bench = Bench(folder)
        try:
            bench.speed(rounds)
            bench.impairments()
        finally:
            bench.end()


if __name__ == "__main__":
    main()
