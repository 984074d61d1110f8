"""The panel without a browser: what it tells a page, how seldom, and what clicks do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import MachineNotStarted
from labkit.lab import Lab, LabSlice
from labkit.progress import Work
from labkit.wish import FileWish
from labkit_widgets import panel_state
from labkit_widgets.panel import SlicePanel
from paper_lab import PaperEngine, paper_lab

PATIENCE = 30.0


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return paper_lab(tmp_path)


@pytest.fixture
def net(lab: Lab) -> LabSlice:
    net = lab.slice("ospf")
    net.add_vm("r1", interfaces=2, internet=True)
    net.add_vm("r2", interfaces=2)
    net.link("r1:eth1", "r2:eth1", name="core", loss="1%")
    return net


@pytest.fixture
def panel(net: LabSlice) -> Iterator[SlicePanel]:
    panel = SlicePanel(net, period=0.05)
    yield panel
    panel.close()


def click(panel: SlicePanel, what: str, **facts: Any) -> None:
    """What a page sends."""
    panel._live._heard(panel._live, {"k": "open", "ch": "page"}, [])
    panel._live._heard(panel._live, {"k": "do", "ch": "page", "what": what, **facts}, [])


def shown(panel: SlicePanel, holds: Callable[[Any], bool]) -> None:
    """Wait until what the page was sent is so."""
    end = time.monotonic() + PATIENCE
    while not holds(panel._live):
        assert time.monotonic() < end, json.dumps(panel._live.get_state()["work"])
        threading.Event().wait(0.02)


def states(live: Any) -> list[str]:
    return [row["state"] for row in live.vms]


def test_a_click_deploys_and_the_states_follow(panel: SlicePanel, net: LabSlice) -> None:
    assert states(panel._live) == ["not deployed"] * 2
    click(panel, "deploy")
    shown(panel, lambda live: states(live) == ["running"] * 2 and live.work["state"] == "done")
    panel.wait(PATIENCE)
    assert net.states == {"r1": "running", "r2": "running"}
    assert 'data-state="running"' in panel._live.svg
    assert panel._live.head["summary"] == "2 VMs (2 running), 1 link"
    assert panel._live.events[0]["event"] in ("as wished", "start machine", "configure guest")


def test_all_it_sends_is_json(panel: SlicePanel) -> None:
    click(panel, "deploy")
    panel.wait(PATIENCE)
    click(panel, "choose", kind="link", name="core")
    shown(panel, lambda live: live.chosen.get("name") == "core")
    for name in ("head", "vms", "links", "events", "work", "chosen", "looks", "dock"):
        json.dumps(getattr(panel._live, name))


def test_what_cells_do_is_shown_as_well(panel: SlicePanel, net: LabSlice) -> None:
    net.add_vm("r3")
    shown(panel, lambda live: len(live.vms) == 3)
    net.deploy()
    shown(panel, lambda live: states(live) == ["running"] * 3)


def test_a_machine_that_dies_by_itself_is_seen(panel: SlicePanel, net: LabSlice, lab: Lab) -> None:
    net.deploy()
    assert isinstance(lab.engine, PaperEngine)
    lab.engine.set_state(net.id.key, "r2", "off")
    shown(panel, lambda live: states(live) == ["running", "off"])


def test_power_buttons_do_what_they_say(panel: SlicePanel, net: LabSlice) -> None:
    net.deploy()
    click(panel, "choose", kind="vm", name="r1")
    shown(panel, lambda live: live.chosen.get("state") == "running")
    assert ["internet", "10.60.7.101"] in panel._live.chosen["facts"]
    click(panel, "power", name="r1", verb="pause")
    shown(panel, lambda live: live.chosen["is_paused"])
    click(panel, "power", name="r1", verb="resume")
    shown(panel, lambda live: not live.chosen["is_paused"])


def test_links_take_the_last_of_what_was_dragged(panel: SlicePanel, net: LabSlice) -> None:
    net.deploy()
    click(panel, "choose", kind="link", name="core")
    for number in range(1, 31):
        click(panel, "link", name="core", settings={"delay": f"{number}ms"})
    shown(panel, lambda live: live.chosen.get("values", {}).get("delay") == "30ms")
    assert dict(net.wish.link("core").impairments)["r1:eth1"].texts() == {
        "delay": "30ms",
        "loss": "1%",
    }
    click(panel, "link", name="core", settings=dict.fromkeys(panel_state.CONTROLS, ""))
    shown(panel, lambda live: not any(live.chosen["values"].values()))


def test_events_say_what_was_set(panel: SlicePanel, net: LabSlice) -> None:
    net.deploy()
    link = net.get_link("core")
    for change in (link.down, link.up, link.clear, lambda: link.impair(delay="80ms")):
        change()
    shown(panel, lambda live: live.events[0]["detail"] == "delay 80ms")
    rows = [(row["event"], row["detail"]) for row in panel._live.events[:4]]
    said = ["delay 80ms", "cleared", "up", "down"]
    assert rows == [("set link", one) for one in said]
    first = next(row for row in panel._live.events if row["event"] == "start machine")
    assert first["detail"].startswith("it is new")


def test_a_value_that_is_none_is_refused_at_its_field(panel: SlicePanel, net: LabSlice) -> None:
    click(panel, "choose", kind="link", name="core")
    click(panel, "link", name="core", settings={"delay": "soon"})
    shown(panel, lambda live: "soon" in live.chosen.get("trouble", ""))
    click(panel, "link", name="core", settings={"delay": "5ms"})
    shown(panel, lambda live: not live.chosen["trouble"])
    assert panel._live.problem == {}


def test_an_error_is_shown_with_its_cure_until_it_is_dismissed(panel: SlicePanel, lab: Lab) -> None:
    error = MachineNotStarted("r2 does not start", why="no space", fix="Make room.")
    assert isinstance(lab.engine, PaperEngine)
    lab.engine.fails["start machine", "r2"] = error
    click(panel, "deploy")
    shown(panel, lambda live: bool(live.problem))
    assert panel._live.problem == {
        "doing": "deploying",
        "what": "r2 does not start",
        "why": "no space",
        "do": "Make room.",
    }
    shown(panel, lambda live: live.work["state"] == "failed")
    click(panel, "dismiss")
    shown(panel, lambda live: not live.problem)


def test_work_is_done_one_at_a_time_and_can_be_stopped(tmp_path: Path) -> None:
    net = paper_lab(tmp_path, pause=0.5).slice("slow")
    for number in range(4):
        net.add_vm(f"r{number}")
    panel = SlicePanel(net, period=0.05)
    click(panel, "deploy")
    click(panel, "delete")  # finds it busy
    shown(panel, lambda live: "start" in live.work["words"])
    click(panel, "stop")
    panel.wait(PATIENCE)
    shown(panel, lambda live: live.work["state"] == "failed" and bool(live.problem))
    assert len(net) == 4
    assert panel._live.problem["what"].startswith("work on slice 'slow' was stopped")
    panel.close()


def test_while_it_is_deleted_it_shows_what_leaves(tmp_path: Path) -> None:
    net = paper_lab(tmp_path, pause=0.3).slice("leaves")
    net.add_vm("r1")
    net.deploy()
    panel = SlicePanel(net, period=0.05)
    click(panel, "delete")
    shown(panel, lambda live: live.work["job"] == "deleting")
    assert [row["name"] for row in panel._live.vms] == ["r1"]
    panel.wait(PATIENCE)
    shown(panel, lambda live: live.vms == [])
    panel.close()


def test_it_says_how_many_changes_are_to_be_deployed(panel: SlicePanel, net: LabSlice) -> None:
    assert panel._live.todo == {
        "changes": 3,
        "reasons": panel._live.todo["reasons"],
        "deployed": False,
        "gone": False,
        "old": False,
    }
    click(panel, "deploy")
    panel.wait(PATIENCE)
    shown(panel, lambda live: live.todo["changes"] == 0 and not live.todo["old"])
    assert panel._live.todo["deployed"]
    net.change_vm("r2", forwarding=True)
    net.remove_link("core")
    shown(panel, lambda live: live.todo["changes"] == 2)
    assert "core: no longer wished" in panel._live.todo["reasons"]


def test_what_was_seen_before_the_work_is_not_told_as_changes(tmp_path: Path) -> None:
    net = paper_lab(tmp_path, pause=0.3).slice("net")
    net.add_vm("r1")
    panel = SlicePanel(net, period=0.05)
    told: list[tuple[str, Any]] = []

    def tell(_change: object) -> None:
        told.append((panel._live.work["state"], panel._live.todo))

    panel._live.observe(tell, names=["work", "todo"])
    click(panel, "dismiss")
    net.deploy()
    shown(panel, lambda live: live.work["state"] == "done" and not live.todo["old"])
    done = [todo for state, todo in told if state == "done" and not todo["old"]]
    assert [todo["changes"] for todo in done if todo["changes"]] == []
    assert panel._live.todo["changes"] == 0
    panel.close()


def test_a_link_that_is_down_and_wished_up_is_a_change_and_costs_no_look(
    net: LabSlice, lab: Lab
) -> None:
    assert isinstance(lab.engine, PaperEngine)
    net.deploy()
    wish = net.wish
    net.get_link("core").down()
    panel = SlicePanel(net, period=0.05)
    assert panel._live.todo["changes"] == 0
    looks = lab.engine.looks
    net.set_wish(wish)  # the cell is run again
    click(panel, "dismiss")
    shown(panel, lambda live: live.todo["changes"] == 1)
    assert panel._live.todo["reasons"] == ["core: it goes up"]
    assert lab.engine.looks == looks
    panel.close()


def test_a_wish_that_cannot_be_planned_has_no_number_of_changes(
    panel: SlicePanel, net: LabSlice
) -> None:
    net.deploy()
    net.change_vm("r1", files={"/etc/motd": FileWish("/etc/motd", source="/nowhere/motd")})
    shown(panel, lambda live: live.todo["changes"] is None)


@pytest.mark.parametrize("by", ["panel", "cell"])
def test_a_slice_that_was_deleted_is_said_to_be_gone(
    panel: SlicePanel, net: LabSlice, by: str
) -> None:
    click(panel, "deploy")
    panel.wait(PATIENCE)
    if by == "panel":
        click(panel, "delete")
        panel.wait(PATIENCE)
    else:
        net.delete()
    shown(panel, lambda live: live.todo["gone"])
    assert panel._live.todo == {
        "changes": 0,
        "reasons": [],
        "deployed": False,
        "gone": True,
        "old": False,
    }


def test_reset_starts_a_vm_anew(panel: SlicePanel, net: LabSlice) -> None:
    net.deploy()
    click(panel, "reset", names=["r1"])
    shown(panel, lambda live: live.work["state"] == "done" and live.work["steps"] > 0)
    panel.wait(PATIENCE)
    assert net.states == {"r1": "running", "r2": "running"}


@pytest.mark.thorough
def test_fifty_machines_make_few_messages(tmp_path: Path) -> None:
    net = paper_lab(tmp_path, pause=0.2).slice("many")
    for number in range(50):
        net.add_vm(f"h{number:02d}")
    panel = SlicePanel(net)
    sent: list[float] = []
    panel._live.observe(lambda _: sent.append(time.monotonic()), names="work")
    click(panel, "dismiss")
    began = time.monotonic()
    net.deploy()
    seconds = time.monotonic() - began
    assert len(net.told) > 150
    assert len(sent) <= seconds * 4 + 2
    panel.close()


def test_a_page_that_is_gone_is_told_nothing(panel: SlicePanel, net: LabSlice) -> None:
    click(panel, "dismiss")
    panel._live._heard(panel._live, {"k": "close", "ch": "page"}, [])
    before = panel._live.vms
    net.deploy()
    threading.Event().wait(0.5)
    assert panel._live.vms is before
    click(panel, "dismiss")  # another page
    shown(panel, lambda live: states(live) == ["running"] * 2)


def test_an_unknown_face_is_refused_in_the_panel(panel: SlicePanel, net: LabSlice) -> None:
    net.deploy()
    click(panel, "open", face="window", name="r1")
    shown(panel, lambda live: "there is no window to open" in live.problem.get("what", ""))


def test_states_of_running_work_come_before_what_was_seen(net: LabSlice) -> None:
    work = Work(vms={"r1": "starting", "gone": "running"}, links={"core": "up"})
    vms, links = panel_state.states_now(net, net.wish, work)
    assert vms == {"r1": "starting", "r2": "absent"}
    assert links == {"core": "up"}
