"""Wishes: bad ones are refused in words, changes give new ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import units
from labkit.errors import DuplicateError, InvalidArgument, LabkitError, UnknownFlavor
from labkit.flavors import SIZES
from labkit.model import Flavor
from labkit.promise import promise
from labkit.wish import FileWish, Impairment, LinkWish, Route, Slice, VMWish
from slice_worlds import allocated, two_hosts_and_a_router

TWO = Slice("s").with_vm("a", interfaces=2).with_vm("b", interfaces=2)

BAD: list[tuple[str, type[LabkitError], Callable[[], object], str]] = [
    (
        "unknown VM",
        InvalidArgument,
        lambda: TWO.with_link("a:eth1", "c:eth1"),
        "link 'a-c': end is 'c:eth1': slice 's' has no VM 'c' (it has a, b)",
    ),
    (
        "near VM",
        InvalidArgument,
        lambda: Slice("s").with_vm("router").with_vm("h").with_link("h", "routr"),
        "slice 's' has no VM 'routr': it has router, h. Did you mean 'router'?",
    ),
    (
        "taken interface",
        DuplicateError,
        lambda: TWO.with_link("a:eth1", "b:eth1").with_link("a:eth1", "b:eth2"),
        "link 'a-b-2': end is 'a:eth1': the interface is in link 'a-b' already",
    ),
    (
        "itself",
        DuplicateError,
        lambda: TWO.with_link("a:eth1", "a:eth2"),
        "it would join a to itself",
    ),
    (
        "no free interface",
        InvalidArgument,
        lambda: Slice("s").with_vm("a", interfaces=0).with_vm("b").with_link("a", "b"),
        "all interfaces of a are in links (interfaces=0)",
    ),
    (
        "eth0",
        InvalidArgument,
        lambda: TWO.with_link("a:eth0", "b:eth1"),
        "eth0 of a leads to the internet or nowhere; links begin at eth1",
    ),
    (
        "missing interface",
        InvalidArgument,
        lambda: TWO.with_link("a:eth3", "b:eth1"),
        "a has no interface 'eth3' for it; it has eth1 to eth2",
    ),
    (
        "one end",
        InvalidArgument,
        lambda: TWO.with_link("a"),
        "a link has only the end 'a': a link joins two",
    ),
    ("nothing to join", InvalidArgument, lambda: TWO.with_link(), "a link has no ends"),
    ("no end", InvalidArgument, lambda: TWO.with_link("a:eth1:x", "b"), "such as 'r1:eth1'"),
    ("same VM name", DuplicateError, lambda: TWO.with_vm("a"), "has a VM of this name already"),
    (
        "same link name",
        DuplicateError,
        lambda: TWO.with_link("a", "b", name="x").with_link("a", "b", name="x"),
        "has a link of this name already",
    ),
    ("long names", InvalidArgument, lambda: Slice("s" * 40).with_vm("v" * 20), "56 at most"),
    (
        "equal addresses",
        DuplicateError,
        lambda: (
            Slice("s")
            .with_vm("a", addresses={"eth1": "10.0.0.1/24"})
            .with_vm("b", addresses={"eth1": "10.0.0.1/16"})
            .with_link("a", "b")
        ),
        "address of b:eth1 is '10.0.0.1/16': a:eth1 on the same link 'a-b' has it too",
    ),
    (
        "twice in one VM",
        DuplicateError,
        lambda: TWO.with_vm(
            "c", interfaces=2, addresses={"eth1": "10.1.0.1/24", "eth2": "10.1.0.1/8"}
        ),
        "this machine has the address already",
    ),
    (
        "no prefix",
        InvalidArgument,
        lambda: TWO.with_vm("c", addresses={"eth1": "10.0.0.1"}),
        "c: address of eth1 is '10.0.0.1': an address with its prefix is needed",
    ),
    (
        "network itself",
        InvalidArgument,
        lambda: TWO.with_vm("c", addresses={"eth1": "10.0.0.0/24"}),
        "the address of the network 10.0.0.0/24 itself",
    ),
    (
        "broadcast",
        InvalidArgument,
        lambda: TWO.with_vm("c", addresses={"eth1": "10.0.0.255/24"}),
        "the broadcast address of 10.0.0.0/24",
    ),
    (
        "loopback",
        InvalidArgument,
        lambda: TWO.with_vm("c", addresses={"eth1": "127.0.0.5/8"}),
        "not a loopback",
    ),
    (
        "address on eth0",
        InvalidArgument,
        lambda: TWO.with_vm("c", addresses={"eth0": "10.0.0.1/24"}),
        "eth0 of c leads to the internet",
    ),
    (
        "internet's network",
        InvalidArgument,
        lambda: TWO.with_vm("c", internet=True, addresses={"eth1": "10.60.7.9/24"}),
        "10.60.7.0/24 is the network of eth0, the internet",
    ),
    (
        "route outside",
        InvalidArgument,
        lambda: TWO.with_vm(
            "c", addresses={"eth1": "10.0.0.1/24"}, routes=["default via 10.0.1.9"]
        ),
        "it lies outside the machine's networks (10.0.0.0/24)",
    ),
    (
        "route to itself",
        InvalidArgument,
        lambda: TWO.with_vm(
            "c", addresses={"eth1": "10.0.0.1/24"}, routes=["default via 10.0.0.1"]
        ),
        "this is the machine's own address",
    ),
    (
        "route twice",
        DuplicateError,
        lambda: TWO.with_vm(
            "c",
            addresses={"eth1": "10.0.0.1/24"},
            routes=["default via 10.0.0.2", "0.0.0.0/0 via 10.0.0.3"],
        ),
        "this destination has a route already",
    ),
    (
        "route's words",
        InvalidArgument,
        lambda: TWO.with_vm("c", routes=["10.0.0.0/8 10.0.0.1"]),
        "Write it like '10.0.2.0/24 via 10.0.1.2'",
    ),
    (
        "route's host bits",
        InvalidArgument,
        lambda: TWO.with_vm("c", routes=["10.0.0.1/8 via 10.0.0.2"]),
        "has host bits set",
    ),
    ("route's versions", InvalidArgument, lambda: Route("10.0.0.0/8", "fd00::1"), "IP version"),
    (
        "routes as text",
        InvalidArgument,
        lambda: TWO.with_vm("c", routes="default via 10.0.0.1"),
        "a list of 'NETWORK via GATEWAY' is needed",
    ),
    (
        "unknown flavor",
        UnknownFlavor,
        lambda: TWO.with_vm("c", flavor="mikro"),
        "Did you mean 'micro'?",
    ),
    (
        "unknown setting",
        InvalidArgument,
        lambda: TWO.with_vm("c", adresses={}),
        "Did you mean 'addresses'?",
    ),
    ("bad name", InvalidArgument, lambda: TWO.with_vm("c;rm -rf"), "1 to 63 letters"),
    ("interfaces", InvalidArgument, lambda: TWO.with_vm("c", interfaces=True), "from 0 to 255"),
    ("little memory", InvalidArgument, lambda: TWO.with_vm("c", memory_mb=64), "from 96 to"),
    ("disk of micro", InvalidArgument, lambda: TWO.with_vm("c", disk_gb=1), "has no disk"),
    ("flag", InvalidArgument, lambda: TWO.with_vm("c", internet="yes"), "True or False"),
    (
        "file's path",
        InvalidArgument,
        lambda: TWO.with_vm("c", files={"etc/motd": "x"}),
        "an absolute path",
    ),
    (
        "file's way",
        InvalidArgument,
        lambda: TWO.with_vm("c", files={"/etc/../x": "x"}),
        "an absolute path",
    ),
    ("file without content", InvalidArgument, lambda: FileWish("/x"), "exactly one of"),
    (
        "empty command",
        InvalidArgument,
        lambda: TWO.with_vm("c", commands=[" "]),
        "a line for the machine's shell",
    ),
    (
        "hosts name",
        InvalidArgument,
        lambda: TWO.with_vm("c", hosts={"a b": "10.0.0.1"}),
        "a host name is needed",
    ),
    (
        "hosts address",
        InvalidArgument,
        lambda: TWO.with_vm("c", hosts={"x": "10.0.0.1/24"}),
        "an address without prefix",
    ),
    (
        "no unit",
        InvalidArgument,
        lambda: TWO.with_link("a", "b", delay="20"),
        "link 'a-b': delay is '20': it must be a duration with its unit, such as '20ms'",
    ),
    ("number", InvalidArgument, lambda: TWO.with_link("a", "b", delay=20), "with its unit"),
    ("loss", InvalidArgument, lambda: TWO.with_link("a", "b", loss="101%"), "'0%' to '100%'"),
    ("rate in bytes", InvalidArgument, lambda: TWO.with_link("a", "b", rate="5MB"), "'5Mbit'"),
    ("jitter", InvalidArgument, lambda: TWO.with_link("a", "b", jitter="5ms"), "not be longer"),
    (
        "impairment",
        InvalidArgument,
        lambda: TWO.with_link("a", "b", latency="5ms"),
        "these are known: delay, jitter, loss, rate, duplicate, corrupt",
    ),
    ("near impairment", InvalidArgument, lambda: TWO.with_link("a", "b", los=1), "mean 'loss'?"),
    (
        "impaired end",
        InvalidArgument,
        lambda: TWO.with_link("a:eth1", "b:eth1", sends={"a:eth2": {"loss": "1%"}}),
        "one of its ends is needed: a:eth1, b:eth1",
    ),
    ("no such VM", InvalidArgument, lambda: TWO.without_vm("c"), "has no VM 'c': it has a, b."),
    ("capital letter", InvalidArgument, lambda: TWO["B"], "Did you mean 'b'?"),
    ("no VM at all", InvalidArgument, lambda: Slice("s")["a"], "none yet. Add a VM first."),
    (
        "name said once",
        InvalidArgument,
        lambda: TWO.with_link("a", "b", loss="lots"),
        "link 'a-b': loss is 'lots': it must be a share from '0%' to '100%'. Give another value;",
    ),
    ("no such link", InvalidArgument, lambda: TWO.without_link("x"), "has no link 'x'"),
]


@pytest.mark.parametrize(
    ("error", "make", "words"), [each[1:] for each in BAD], ids=[e[0] for e in BAD]
)
def test_fault_32_15_a_bad_wish_is_refused_in_words(
    error: type[LabkitError], make: Callable[[], object], words: str
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)
    assert caught.value.fix


def test_a_change_gives_a_new_wish() -> None:
    wish = two_hosts_and_a_router()
    changed = wish.with_changed_vm("r", memory_mb=256).with_changed_link("h1-r", delay="5ms")
    assert wish == two_hosts_and_a_router()
    assert (changed["r"].memory_mb, changed["r"].addresses) == (256, wish["r"].addresses)
    assert changed.link("h1-r").impairments[0] == ("h1:eth1", Impairment(delay_ms=5.0))


def test_a_link_change_keeps_what_it_does_not_name() -> None:
    wish = TWO.with_link("a", "b", delay="5ms", sends={"a:eth1": {"loss": "1%"}})
    changed = wish.with_changed_link("a-b", delay=None, rate="1Mbit", up=False).link("a-b")
    assert not changed.up
    assert dict(changed.impairments) == {
        "a:eth1": Impairment(loss=0.01, rate_bit=10**6),
        "b:eth1": Impairment(rate_bit=10**6),
    }


def test_a_removed_vm_takes_its_ends_with_it() -> None:
    wish = TWO.with_vm("c", interfaces=2).with_link("a", "b", "c", name="lan", loss="1%")
    wish = wish.with_link("a", "c")
    left = wish.without_vm("c")
    assert [(link.name, link.ends) for link in left.links] == [("lan", ("a:eth1", "b:eth1"))]
    assert left.without_vm("b").links == ()


def test_sources_are_read_once_and_become_content() -> None:
    wish = Slice("s").with_vm("a", files={"/etc/x": FileWish("/etc/x", source="x.conf")})
    assert wish.resolved(str.encode)["a"].files == (FileWish("/etc/x", b"x.conf"),)


def test_ends_without_a_common_network_are_allowed_and_advised_about() -> None:
    wish = two_hosts_and_a_router().with_changed_vm(
        "h1", addresses={"eth1": "10.0.9.2/24"}, routes=()
    )
    assert wish.advice() == (
        "h1:eth1 has 10.0.9.2/24 and r:eth1 has 10.0.1.1/24: "
        "the ends of link 'h1-r' share no network",
    )
    assert two_hosts_and_a_router().advice() == ()


def test_every_vm_knows_every_other_by_an_address_it_reaches() -> None:
    wish = two_hosts_and_a_router().with_changed_vm("h2", hosts={"www": "10.0.1.2"})
    guests = promise(wish, allocated(wish)).guest_of
    assert dict(guests["h1"].hosts_lines()) == {"10.0.1.2": "h1", "10.0.2.2": "h2", "10.0.1.1": "r"}
    assert ("10.0.2.1", "r") in guests["h2"].hosts_lines()  # not 10.0.1.1, behind the router
    assert guests["h2"].hosts_lines()[0] == ("10.0.1.2", "www")
    alone = wish.with_changed_vm("h1", knows_others=False)
    assert promise(alone, allocated(alone)).guest_of["h1"].hosts_lines() == ()


def test_micro_joins_the_flavors_of_a_wish_and_not_those_of_the_contract() -> None:
    assert (SIZES["micro"].cores, SIZES["micro"].memory_mb, SIZES["micro"].disk_gb) == (
        1,
        128,
        None,
    )
    assert list(SIZES) == ["micro", "cirros", "ubuntu"]
    assert Flavor.names() == ("cirros", "ubuntu")


def test_values_are_checked_when_made_by_hand() -> None:
    with pytest.raises(InvalidArgument, match="its usual spelling is needed"):
        VMWish(name="a", addresses=(("eth1", "fd00:0::1/64"),))
    with pytest.raises(InvalidArgument, match="the order of the ends"):
        LinkWish(
            name="l",
            ends=("a:eth1", "b:eth1"),
            impairments=(("b:eth1", Impairment(loss=1.0)), ("a:eth1", Impairment(loss=1.0))),
        )


@given(st.floats(0, 60_000))
def test_a_duration_survives_its_spelling(value: float) -> None:
    if value == 0 or value > 1e-12:
        assert units.milliseconds(units.spell_milliseconds(value), "delay") == value


@given(st.floats(1e-12, 1))
def test_a_share_survives_its_spelling(value: float) -> None:
    assert units.share(units.spell_share(value), "loss") == value


@given(st.integers(units.LEAST_RATE, units.MOST_RATE))
def test_a_rate_survives_its_spelling(value: int) -> None:
    assert units.bits_per_second(units.spell_rate(value), "rate") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("20ms", 20.0), ("1.5s", 1500.0), ("300us", 0.3), ("300µs", 0.3), ("0ms", 0)],
)
def test_durations_as_people_write_them(text: str, value: float) -> None:
    assert units.milliseconds(text, "delay") == value
