"""The picture of a topology: everything in it, nothing on top of another, plain attributes only."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.picture import topology_svg, topology_text
from labkit.picture_layout import Point
from labkit.picture_looks import LINE, LINK_LOOKS, PLAIN, VM_LOOKS, WORDS
from labkit.picture_text import Rect, text_width
from labkit.templates import TEMPLATES, template
from labkit.wish import Slice
from slice_worlds import two_hosts_and_a_router, wishes
from thorough import examples

SVG = "{http://www.w3.org/2000/svg}"
STATES = st.sampled_from([*VM_LOOKS, "ready", "io-error"])
LINK_STATES = st.sampled_from([*LINK_LOOKS, "odd"])


@st.composite
def shapes(draw: st.DrawFn) -> Slice:
    """Templates of every size, and random topologies that hang together or do not."""
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(TEMPLATES)))
        most = min(TEMPLATES[name].most, 30)
        return template(name, draw(st.integers(TEMPLATES[name].least, most)), "net")
    count = draw(st.integers(1, 25))
    wish = Slice("net")
    for number in range(count):
        wish = wish.with_vm(f"v{number}" * draw(st.integers(1, 5)), interfaces=30)
    names = [vm.name for vm in wish.vms]
    ends = st.lists(st.sampled_from(names), unique=True, min_size=2, max_size=4)
    for vms in draw(st.lists(ends, max_size=25)) if count > 1 else []:
        wish = wish.with_link(*vms, delay=draw(st.sampled_from([None, "20ms"])))
    return wish


def root_of(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in root_of(svg).iter(f"{SVG}text")]


def groups(svg: str, kind: str) -> dict[str, ElementTree.Element]:
    found = root_of(svg).iter(f"{SVG}g")
    return {g.attrib[f"data-{kind}"]: g for g in found if f"data-{kind}" in g.attrib}


def box_of(element: ElementTree.Element) -> Rect:
    x, y, width, height = (float(element.attrib[key]) for key in ("x", "y", "width", "height"))
    return Rect(x, y, x + width, y + height)


def room_of(text: ElementTree.Element) -> Rect:
    """Where a text stands: letters are less high than their font's size."""
    size = float(text.attrib["font-size"])
    width = text_width(text.text or "", size)
    middle = float(text.attrib["x"])
    if text.get("text-anchor") != "middle":
        middle += width / 2
    return Rect.around(Point(middle, float(text.attrib["y"]) - size * 0.35), width, size * 0.8)


def cards(svg: str) -> list[Rect]:
    rects = [g.find(f"{SVG}rect") for kind in ("vm", "link") for g in groups(svg, kind).values()]
    return [box_of(rect) for rect in rects if rect is not None]


@given(wishes())
def test_every_vm_and_every_end_is_in_the_picture(wish: Slice) -> None:
    svg = topology_svg(wish)
    words = texts(svg)
    for vm in wish.vms:
        assert vm.name in words
    told = root_of(svg).findtext(f"{SVG}desc") or ""
    for link in wish.links:
        assert all(end.partition(":")[2] in words for end in link.ends)
        assert all(end in told for end in link.ends)
    text = topology_text(wish)
    assert all(vm.name in text for vm in wish.vms)


@given(shapes())
@settings(max_examples=examples(60))
def test_no_word_covers_another_and_no_card_another(wish: Slice) -> None:
    svg = topology_svg(wish, states=dict.fromkeys([wish.vms[0].name], "running"))
    words = [room_of(text) for text in root_of(svg).iter(f"{SVG}text")]
    assert not any(one.meets(two) for one, two in combinations(words, 2))
    boxes = [box_of(g[1]) for g in groups(svg, "vm").values()]
    assert not any(one.meets(two) for one, two in combinations(boxes, 2))
    for link in groups(svg, "link").values():
        for text in link.iter(f"{SVG}text"):
            assert not any(room_of(text).meets(box) for box in boxes)


@given(shapes(), STATES, LINK_STATES)
@settings(max_examples=examples(60))
def test_it_lies_within_its_frame_and_has_nothing_a_viewer_would_take_out(
    wish: Slice, state: str, link_state: str
) -> None:
    svg = topology_svg(
        wish,
        states={vm.name: state for vm in wish.vms},
        link_states={link.name: link_state for link in wish.links},
    )
    root = root_of(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (root.attrib["width"], root.attrib["height"]) == tuple(
        root.attrib["viewBox"].split()[2:]
    )
    frame = Rect(left, top, left + width, top + height)
    for text in root.iter(f"{SVG}text"):
        room = room_of(text)
        assert frame.left <= room.left
        assert frame.top <= room.top
        assert room.right <= frame.right
        assert room.bottom <= frame.bottom
    assert not re.search(r"<(style|script|foreignObject)|\b(style|class|on\w+)=", svg)


@given(shapes(), st.data())
@settings(max_examples=examples(60))
def test_places_do_not_depend_on_states(wish: Slice, data: st.DataObject) -> None:
    vms = st.dictionaries(st.sampled_from([vm.name for vm in wish.vms]), STATES)
    states = data.draw(vms)
    link_states = {link.name: data.draw(LINK_STATES) for link in wish.links}
    design = topology_svg(wish)
    assert drawn_at(topology_svg(wish, states=states, link_states=link_states)) == drawn_at(design)


def drawn_at(svg: str) -> dict[str, list[Rect]]:
    """Where the cards of VMs and switches and the words of links are."""
    found = {f"vm {name}": [box_of(g[1])] for name, g in groups(svg, "vm").items()}
    for name, link in groups(svg, "link").items():
        found[f"link {name}"] = [box_of(rect) for rect in link.iter(f"{SVG}rect")]
        found[f"link {name}"] += [room_of(text) for text in link.iter(f"{SVG}text")]
    return found


@pytest.mark.parametrize("state", [None, *VM_LOOKS])
@pytest.mark.parametrize("name", ["line", "routed"])
def test_a_chain_of_four_is_one_row_in_every_state(name: str, state: str | None) -> None:
    wish = template(name, 4, "net")
    for shown in (wish, wish.with_changed_vm("r1", internet=True)):
        states = None if state is None else {vm.name: state for vm in wish.vms}
        svg = topology_svg(shown, states=states)
        assert len({box_of(g[1]).top for g in groups(svg, "vm").values()}) == 1


def test_a_word_that_is_too_long_for_its_card_is_cut_and_told_in_full() -> None:
    wish = Slice("net").with_vm("only")
    svg = topology_svg(wish, states={"only": "guest-mowing-the-meadow"})
    (shown,) = (text for text in texts(svg) if text.startswith("guest"))
    assert shown.endswith("…")
    assert "only: guest-mowing-the-meadow, micro" in svg


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_pictures_of_up_to_fifty_vms_are_no_wider_than_a_page(name: str) -> None:
    for count in {TEMPLATES[name].least, TEMPLATES[name].usual, TEMPLATES[name].most}:
        root = root_of(topology_svg(template(name, count, "net")))
        assert float(root.attrib["width"]) <= 980
        assert float(root.attrib["height"]) <= 980


def test_a_chain_is_a_row_and_one_wish_has_one_picture() -> None:
    wish = template("line", 3, "net")
    rows = {box_of(g[1]).top for g in groups(topology_svg(wish), "vm").values()}
    assert len(rows) == 1
    assert topology_svg(wish) == topology_svg(template("line", 3, "net"))


def test_a_live_page_finds_vms_and_links_and_their_states() -> None:
    wish = two_hosts_and_a_router().with_changed_link("r-h2", up=False)
    svg = topology_svg(
        wish, states={"r": "running", "h1": "io-error"}, link_states={"h1-r": "traffic"}
    )
    vms, links = groups(svg, "vm"), groups(svg, "link")
    assert {name: g.attrib["data-state"] for name, g in vms.items()} == {
        "h1": "unknown",
        "h2": "design",
        "r": "running",
    }
    assert {name: g.attrib["data-state"] for name, g in links.items()} == {
        "h1-r": "traffic",
        "r-h2": "down",
    }
    assert vms["r"].attrib["id"] == "net-vm-r"
    assert links["h1-r"].attrib["id"] == "net-link-h1-r"


def test_states_and_impairments_are_told_in_words_and_escaped() -> None:
    wish = two_hosts_and_a_router().with_changed_link("h1-r", delay="20ms", loss="1%")
    wish = wish.with_changed_link("r-h2", up=False)
    svg = topology_svg(wish, states={"r": "running", "h1": "<gone>"})
    assert {"20ms 1%", "down", "running", "<gone>", "not deployed", "link impaired"} <= set(
        texts(svg)
    )
    told = root_of(svg).findtext(f"{SVG}desc") or ""
    assert "r: running, micro, forwarding, eth1 10.0.1.1/24" in told
    assert "Link r-h2 joins r:eth2 and h2:eth1, down." in told
    assert root_of(svg).findtext(f"{SVG}title") == "Slice net: 3 VMs, 2 links"


def test_what_one_end_sends_is_shown_with_an_arrow_its_way() -> None:
    wish = two_hosts_and_a_router()
    to_the_right = wish.with_changed_link("h1-r", sends={"h1:eth1": {"loss": "1%"}})
    to_the_left = wish.with_changed_link("h1-r", sends={"r:eth1": {"loss": "1%"}})
    assert "→ 1%" in texts(topology_svg(to_the_right))
    assert "← 1%" in texts(topology_svg(to_the_left))


def test_the_legend_has_what_the_picture_has() -> None:
    wish = two_hosts_and_a_router()
    assert groups(topology_svg(wish), "legend") == {}
    svg = topology_svg(wish, states={"r": "running"})
    assert list(groups(svg, "legend")) == ["vm-running", "vm-design", "link-up"]


def test_states_differ_in_colour_in_shape_and_in_word() -> None:
    looks = VM_LOOKS.values()
    assert len({look.sign for look in looks}) == len({look.word for look in looks}) == len(looks)
    assert len({look.colour for look in looks}) == len(looks)
    lines = LINK_LOOKS.values()
    assert len({(look.dashes, look.beads) for look in lines}) == len(lines)


def test_colours_can_be_read_on_light_pages_and_on_dark_ones() -> None:
    colours = {look.colour for look in VM_LOOKS.values()} | {PLAIN}
    colours |= {look.colour for key, look in LINK_LOOKS.items() if key in ("impaired", "down")}
    for colour in colours:  # white words stand on these
        assert contrast(colour, "#ffffff") >= 4.5
    for colour in colours | {LINE} | {look.colour for look in LINK_LOOKS.values()}:
        assert contrast(colour, "#ffffff") >= 3
        assert contrast(colour, "#0d1117") >= 3
    for page in ("#ffffff", "#0d1117", "#111111"):
        assert contrast(WORDS, page) >= 4.25


def contrast(one: str, two: str) -> float:
    """As WCAG defines it."""
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_nothing_and_one_are_pictures_too() -> None:
    assert texts(topology_svg(Slice("net"))) == ["no VMs yet"]
    assert texts(topology_svg(Slice("net").with_vm("only"))) == ["only", "micro"]


def test_the_text() -> None:
    wish = two_hosts_and_a_router().with_changed_link("h1-r", sends={"r:eth1": {"loss": "1%"}})
    assert topology_text(Slice("s").with_vm("a")).startswith("slice s: 1 VM, 0 links\n")
    assert topology_text(wish) == (
        "slice net: 3 VMs, 2 links\n"
        "  h1  micro  eth1=10.0.1.2/24\n"
        "  h2  micro  eth1=10.0.2.2/24\n"
        "  r  micro  forwarding  eth1=10.0.1.1/24 eth2=10.0.2.1/24\n"
        "  h1:eth1 -- r:eth1  (r:eth1 sends: 1%)\n"
        "  r:eth2 -- h2:eth1"
    )
