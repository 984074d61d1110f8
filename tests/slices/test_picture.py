"""The picture of a topology: everything in it, plain attributes only."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given

from labkit.picture import topology_svg, topology_text
from labkit.wish import Slice
from slice_worlds import two_hosts_and_a_router, wishes

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@given(wishes())
def test_every_vm_and_every_end_is_in_the_picture(wish: Slice) -> None:
    words = texts(topology_svg(wish))
    for vm in wish.vms:
        assert vm.name in words
    for link in wish.links:
        assert all(end.partition(":")[2] in words for end in link.ends)
    text = topology_text(wish)
    assert all(vm.name in text for vm in wish.vms)


@given(wishes())
def test_it_lies_within_its_frame_and_has_nothing_a_viewer_would_take_out(wish: Slice) -> None:
    svg = topology_svg(wish)
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter(f"{SVG}text"):
        assert 0 <= float(element.attrib["x"]) <= width
        assert 0 <= float(element.attrib["y"]) <= height
    assert not re.search(r"<(style|script|foreignObject)|\b(style|class|on\w+)=", svg)


def test_names_are_escaped_and_states_and_impairments_are_told() -> None:
    wish = two_hosts_and_a_router().with_changed_link("h1-r", delay="20ms", loss="1%")
    wish = wish.with_changed_link("r-h2", up=False)
    words = texts(topology_svg(wish, states={"r": "running", "h1": "<gone>"}))
    assert {"20ms 1%", "down", "running", "<gone>"} <= set(words)


def test_the_text() -> None:
    wish = two_hosts_and_a_router().with_changed_link("h1-r", sends={"r:eth1": {"loss": "1%"}})
    assert topology_text(wish) == (
        "slice net: 3 VMs, 2 links\n"
        "  h1  micro  eth1=10.0.1.2/24\n"
        "  h2  micro  eth1=10.0.2.2/24\n"
        "  r  micro  forwarding  eth1=10.0.1.1/24 eth2=10.0.2.1/24\n"
        "  h1:eth1 -- r:eth1  (r:eth1 sends: 1%)\n"
        "  r:eth2 -- h2:eth1"
    )
