"""`measure` between real machines: what was asked of a link is what their packets meet."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from labkit.errors import LinkError
from labkit.links import Links
from labkit.machines import Machine
from labkit.measure import MEASURE_COLUMNS, End, measure_link
from labkit.wish.links import Impairment
from machines_lab import HAS_QEMU, MachinesLab, machines_lab
from steward_host import wait_until

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_QEMU, reason="qemu-system-x86_64 is not installed"),
]
PORTS = [(1, 0), (2, 0)]
NONE = Impairment()
TRIES = 3  # a host that is busy with other things holds packets up as well


@pytest.fixture(scope="module")
def lab() -> Iterator[MachinesLab]:
    with machines_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def machines(lab: MachinesLab) -> list[Machine]:
    """Three with an interface each; nothing else is set in them."""
    return [lab.start(n, f"r{n}", macs=(f"52:54:00:00:0{n}:00",), firmware=()) for n in range(1, 4)]


@pytest.fixture(scope="module")
def links(lab: MachinesLab, machines: list[Machine]) -> Links:
    links = Links(lab.steward)
    links.set("cable", PORTS, seed=1)
    for machine in machines:
        machine.guest.run("ip link set eth0 up")
    assert links.attach() == 0
    return links


def between(
    machines: list[Machine], out: tuple[Impairment, ...], packets: int = 4000, tries: int = 1
) -> pd.DataFrame:
    ends = [
        End(machine.name, machine.guest, "eth0", sends=sends)
        for machine, sends in zip(machines, out, strict=False)
    ]
    table = measure_link("cable", ends, packets=packets)
    return table if table["ok"].all() or tries == 1 else between(machines, out, packets, tries - 1)


def test_each_direction_is_measured_on_its_own(links: Links, machines: list[Machine]) -> None:
    slow = Impairment(delay_ms=50)
    lossy = Impairment(delay_ms=20, loss=0.3)
    links.set("cable", seed=1, out=dict(zip(PORTS, (slow, lossy), strict=True)))
    table = between(machines[:2], (slow, lossy), tries=TRIES)
    assert list(table.columns) == list(MEASURE_COLUMNS)
    assert table.dtypes.astype(str).to_dict() == MEASURE_COLUMNS
    assert table["ok"].all(), table.to_string()
    assert table["from"].tolist() == ["r1"] * 5 + ["r2"] * 5
    found = table.set_index(["from", "quantity"])["measured"]
    assert found["r1", "delay"] == pytest.approx(50, rel=0.05)
    assert found["r2", "delay"] == pytest.approx(20, abs=1.0)
    assert found["r1", "loss"] == 0.0
    assert found["r2", "loss"] == pytest.approx(30, rel=0.05)


def test_a_rate_is_measured_under_load(links: Links, machines: list[Machine]) -> None:
    one, other = Impairment(rate_bit=5_000_000), Impairment(rate_bit=1_000_000, delay_ms=10)
    links.set("cable", out=dict(zip(PORTS, (one, other), strict=True)))
    table = between(machines[:2], (one, other), packets=500, tries=TRIES)
    found = table.set_index(["from", "quantity"])["measured"]
    assert found["r1", "rate"] == pytest.approx(5, rel=0.05)
    assert found["r2", "rate"] == pytest.approx(1, rel=0.05)
    assert table["ok"].all(), table.to_string()


def test_what_is_worse_than_asked_is_told(links: Links, machines: list[Machine]) -> None:
    is_ = Impairment(delay_ms=30, duplicate=0.2, corrupt=0.1)
    links.set("cable", seed=3, out={PORTS[0]: is_})
    table = between(machines[:2], (Impairment(delay_ms=20), NONE))
    found = table[table["from"] == "r1"].set_index("quantity")
    assert found["deviation"]["delay"] == pytest.approx(10, abs=1.5)
    assert found["measured"]["duplicate"] == pytest.approx(20, rel=0.1)
    assert found["measured"]["corrupt"] == pytest.approx(10, rel=0.15)
    wrong = found.index[~found["ok"].fillna(True)].tolist()
    assert wrong == ["delay", "duplicate", "corrupt"]


def test_nothing_is_left_and_progress_is_told(links: Links, machines: list[Machine]) -> None:
    links.set("cable", out={})
    listing = "ps -o args | grep '[l]uajit'; find / -xdev -newer /run/mark; ip -o address"
    for machine in machines[:2]:
        machine.guest.run("sleep 1.1; touch /run/mark; sleep 1.1", check=True)
    before = [machine.guest.run(listing).text for machine in machines[:2]]
    told: list[tuple[str, float]] = []
    ends = [End(machine.name, machine.guest, "eth0") for machine in machines[:2]]
    measure_link("cable", ends, packets=100, on_progress=lambda *what: told.append(what))
    assert [machine.guest.run(listing).text for machine in machines[:2]] == before
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[-1] == ("measured", 1.0)


def test_every_end_of_a_segment_sends_and_receives(links: Links, machines: list[Machine]) -> None:
    ports = [(1, 0), (2, 0), (3, 0)]
    delays = tuple(Impairment(delay_ms=n) for n in (10, 20, 30))
    links.set("cable", ports, out=dict(zip(ports, delays, strict=True)))
    assert links.attach() == 0
    table = between(machines, delays, packets=300, tries=TRIES)
    links.set("cable", PORTS, out={})
    assert set(table["from"]) == set(table["to"]) == {"r1", "r2", "r3"}
    delay = table[table["quantity"] == "delay"]
    assert delay["ok"].all(), table.to_string()


def test_a_link_that_is_down_loses_all(links: Links, machines: list[Machine]) -> None:
    links.set("cable", up=False)
    table = between(machines[:2], (NONE, NONE), packets=100)
    links.set("cable", up=True)
    found = table.set_index(["from", "quantity"])
    assert found["measured"]["r1", "loss"] == 100.0
    assert not found["ok"]["r1", "loss"]
    assert found["ok"].isna()["r1", "delay"]


def test_a_machine_that_ends_meanwhile_is_an_error(links: Links, machines: list[Machine]) -> None:
    one, other = (machine.guest for machine in machines[:2])
    ends = [End(machine.name, machine.guest, "eth0") for machine in machines[:2]]
    kill = "kill -9 $(ps -o pid,args | awk '/[l]uajit - eth0/ {print $1}')"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(wait_until, lambda: one.run(kill).ok, "it to be killed")
        with pytest.raises(LinkError, match="cannot send packets from r1"):
            measure_link("cable", ends, packets=20_000)
    assert "luajit - " not in other.run("ps -o args").text
