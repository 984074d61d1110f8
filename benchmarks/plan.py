"""What planning costs: allocate, promise and plan wishes of growing size; it must be linear."""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from labkit.allocate import allocate, empty
from labkit.observed import Observed
from labkit.plan import plan
from labkit.promise import Promise, promise
from labkit.room import Host
from labkit.testing.simulate import simulate
from labkit.wish import Slice, VMWish
from labkit.wish.links import LinkWish
from labkit.wish.vms import vm_wish

SIZES = (250, 500, 1000, 2000)
LIMIT_SECONDS = 1.0
UUID = "6f0c4d4e-3f1c-4c57-8a3f-0d4a5c5f2a11"
HOSTS = [Host("here", cores=64, memory_mb=10**9)]
T = TypeVar("T")


def ring(size: int) -> Slice:
    """A ring of routers, each with two addresses, three routes and two links."""
    vms: list[VMWish] = []
    links: list[LinkWish] = []
    for n in range(size):
        after = (n + 1) % size
        net, previous = f"10.{n // 250}.{n % 250}", (n - 1) % size
        before = f"10.{previous // 250}.{previous % 250}"
        vms.append(
            vm_wish(
                f"r{n}",
                interfaces=2,
                forwarding=True,
                addresses={"eth1": f"{net}.1/24", "eth2": f"{before}.2/24"},
                routes=[f"default via {net}.2", f"172.16.0.0/12 via {before}.1"],
            )
        )
        links.append(LinkWish(name=f"l{n}", ends=(f"r{n}:eth1", f"r{after}:eth2")))
    return Slice("ring", tuple(vms), tuple(links))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    gc.collect()
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def measure(wish: Slice) -> dict[str, float]:
    """CPU seconds of each stage, for a new lab and for one where a single VM has changed."""
    start = empty(wish.name, UUID)
    times: dict[str, float] = {}
    times["allocate"], allocation = timed(lambda: allocate(wish, start, HOSTS))
    times["promise"], wanted = timed(lambda: promise(wish, allocation))
    times["plan, all new"], found = timed(lambda: plan(wanted, Observed()))
    times["order of steps"], _ = timed(lambda: found.after)
    times["simulate"], seen = timed(lambda: simulate(found, Observed()))
    changed = promise(wish.with_changed_vm("r0", memory_mb=256), allocation)
    times["plan, one changed"], few = timed(lambda: plan(changed, seen))
    if {step.name for step in few.steps} != {"r0", "l0", f"l{len(wish.vms) - 1}"}:
        raise SystemExit("the plan of a small change is not small")
    gone = Promise(wish.name)
    times["plan and simulate, delete"], end = timed(lambda: simulate(plan(gone, seen), seen))
    if not end.is_nothing:
        raise SystemExit("the plan of a deletion leaves something")
    times["whole new plan"] = times["allocate"] + times["promise"] + times["plan, all new"]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    wishes = {size: ring(size) for size in SIZES}
    measured: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            measured[size].append(measure(wishes[size]))
    stages = list(measured[SIZES[0]][0])
    medians = {
        size: {stage: statistics.median(one[stage] for one in each) for stage in stages}
        for size, each in measured.items()
    }
    print(f"{'CPU s, median of ' + str(rounds):28}" + "".join(f"{size:>8} VMs" for size in SIZES))
    for stage in stages:
        print(f"{stage:28}" + "".join(f"{medians[size][stage]:12.4f}" for size in SIZES))
    whole = [medians[size]["whole new plan"] for size in SIZES]
    ratios = ", ".join(f"{b / a:.2f}" for a, b in pairwise(whole))
    print(f"each doubling costs x {ratios} (2.00 is linear)")
    print(f"1000 VMs: {whole[2]:.3f} s; the goal is under {LIMIT_SECONDS:g} s")


if __name__ == "__main__":
    main()
