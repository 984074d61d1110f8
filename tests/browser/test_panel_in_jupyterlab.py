"""The live panel of a slice in a real JupyterLab: watched, clicked, kept in the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect

from live_page import assert_accessible, press, wait_shown
from real_lab import real_lab

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LAB = """\
import pathlib, tempfile
from paper_lab import paper_lab
lab = paper_lab(pathlib.Path(tempfile.mkdtemp()), pause={pause})
net = lab.slice("ospf")"""
WISH = """\
net.add_vm("r1", interfaces=3, internet=True, forwarding=True, addresses={"eth1": "10.0.1.1/24"})
net.add_vm("r2", interfaces=3, forwarding=True, addresses={"eth1": "10.0.1.2/24"})
net.add_vm("r3", interfaces=3, forwarding=True)
net.add_vm("h1", addresses={"eth1": "10.0.9.1/24"})
net.link("r1:eth1", "r2:eth1", name="core")
net.link("r2:eth2", "r3:eth1", name="wan", delay="20ms", loss="1%")
net.link("r1:eth3", "r3:eth3", "h1:eth1", name="lan")
net"""


MANY = """\
for number in range(50):
    net.add_vm(f"h{number:02d}", interfaces=2)
for number in range(0, 50, 5):
    net.link(*[f"h{number + place:02d}:eth1" for place in range(5)], name=f"lan{number:02d}")
for number in range(0, 45, 5):
    net.link(f"h{number:02d}:eth2", f"h{number + 6:02d}:eth2")
net"""
# Counts what the kernel sends about widgets, and how late the page's own timer comes.
WATCH = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  const seen = window.labkitSeen = { messages: 0, displays: 0, late: 0, from: performance.now() };
  kernel.iopubMessage.connect((_, message) => {
    if (message.header.msg_type.startsWith('comm_')) seen.messages += 1;
    if (message.header.msg_type === 'update_display_data') seen.displays += 1;
  });
  let last = performance.now();
  window.labkitTimer = setInterval(() => {
    const now = performance.now();
    seen.late = Math.max(seen.late, now - last - 10);
    last = now;
  }, 10);
}"""
WATCHED = """() => {
  clearInterval(window.labkitTimer);
  const seen = window.labkitSeen;
  return { ...seen, seconds: (performance.now() - seen.from) / 1000 };
}"""


@pytest.fixture
def panel_of(open_cells: Callable[..., Notebook]) -> Callable[..., tuple[Notebook, Locator]]:
    """A notebook whose cells show a panel of a slice on paper."""

    def open_panel(
        *cells: str, pause: float = 0.15, front_end: str = "lab/tree"
    ) -> tuple[Notebook, Locator]:
        notebook = open_cells(LAB.format(pause=pause), *cells, front_end=front_end)
        panel = notebook.page.locator(".labkit-panel").first
        expect(panel).to_have_attribute("data-state", "connected", timeout=30_000)
        return notebook, panel

    return open_panel


OpenPanel = Callable[..., tuple["Notebook", Locator]]


SIMULATED = """\
import labkit
net = labkit.Lab("sim").slice("pair")
net.add_vm("h1", addresses={"eth1": "10.0.0.1/24"})
net.add_vm("h2", addresses={"eth1": "10.0.0.2/24"}, screen=True)
net.link("h1", "h2", name="wire")
net"""


def deployed(panel: Locator) -> None:
    press(panel, "Deploy")
    expect(panel.get_by_role("progressbar")).to_have_attribute(
        "aria-valuenow", "100", timeout=60_000
    )
    expect(panel).to_contain_text("running), ", timeout=30_000)


def test_it_is_live_though_the_cells_behind_it_run_for_long(panel_of: OpenPanel) -> None:
    """Run All: a page's first word may wait behind all cells, and is then overtaken by others."""
    notebook, panel = panel_of("net.add_vm('r1')\nnet", "import time; time.sleep(12)")
    deployed(panel)
    assert notebook.complaints == []


def test_a_slice_is_deployed_watched_and_deleted(panel_of: OpenPanel, screenshots: Path) -> None:
    notebook, panel = panel_of("lab.engine.held.add('start machine')", WISH)
    page = notebook.page
    r1 = panel.locator("g[data-vm=r1]")
    expect(r1).to_have_attribute("data-state", "design")
    page.screenshot(path=screenshots / "panel_design.png")

    press(panel, "Deploy")
    expect(r1).to_have_attribute("data-state", "starting")
    expect(panel.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    page.screenshot(path=screenshots / "panel_deploying.png")
    notebook.run_code("lab.engine.held.clear()")
    expect(r1).to_have_attribute("data-state", "running", timeout=30_000)
    expect(panel).to_contain_text("4 running", timeout=30_000)
    expect(panel.locator("g[data-link=core]")).to_have_attribute("data-state", "up")

    press(panel, "Delete…")
    page.screenshot(path=screenshots / "panel_confirm.png")
    press(panel, "Cancel")
    expect(panel).to_contain_text("4 running")
    press(panel, "Delete…")
    press(panel, "Delete")
    expect(panel).to_contain_text("The slice is gone: nothing is deployed", timeout=30_000)
    expect(panel).not_to_contain_text("As wished")
    expect(panel).to_contain_text("It was deleted.")
    page.screenshot(path=screenshots / "panel_deleted.png")
    assert notebook.complaints == []


def test_it_says_what_is_left_to_deploy(panel_of: OpenPanel, screenshots: Path) -> None:
    notebook, panel = panel_of(WISH, pause=0.0)
    button = panel.get_by_role("button", name="Deploy", exact=True)
    expect(button).to_have_class(re.compile("labkit-go"))
    deployed(panel)
    expect(panel.get_by_text("As wished", exact=True)).to_be_visible()
    expect(button).not_to_have_class(re.compile("labkit-go"))
    notebook.run_code("wish = net.wish; net.get_link('core').down()")
    expect(panel.locator("g[data-link=core]")).to_have_attribute("data-state", "down")
    expect(panel.get_by_text("to deploy")).to_have_count(0)
    notebook.run_code("net.set_wish(wish)")
    expect(panel.get_by_text("1 change to deploy", exact=True)).to_be_visible()
    expect(panel.get_by_text("core: it goes up")).to_be_visible()
    expect(button).to_have_class(re.compile("labkit-go"))
    notebook.page.screenshot(path=screenshots / "panel_todo.png")
    press(panel, "Deploy")
    expect(panel.get_by_text("As wished", exact=True)).to_be_visible()
    assert notebook.complaints == []


def test_a_click_shows_facts_and_what_can_be_done(panel_of: OpenPanel, screenshots: Path) -> None:
    notebook, panel = panel_of(WISH, pause=0.0)
    deployed(panel)
    r1 = panel.locator("g[data-vm=r1]")
    side = panel.get_by_role("complementary")
    r1.click()
    expect(side).to_contain_text("10.60.7.101")
    notebook.page.screenshot(path=screenshots / "panel_vm.png")
    press(panel, "Pause")
    expect(r1).to_have_attribute("data-state", "paused")
    press(panel, "Resume")
    expect(r1).to_have_attribute("data-state", "running")

    panel.locator("g[data-link=wan]").press("Enter")
    delay = panel.get_by_label("Delay", exact=True)
    expect(delay).to_have_value("20ms")
    delay.fill("soon")
    delay.press("Enter")
    expect(side.get_by_role("alert")).to_contain_text("soon")
    delay.fill("40ms")
    delay.press("Enter")
    expect(side.get_by_role("alert")).to_be_hidden()
    expect(panel.get_by_label("Delay, slider")).to_have_value("40")
    panel.get_by_label("Loss, slider").fill("5")
    panel.get_by_role("tab", name="Links").click()
    expect(panel.locator("tr[data-name=wan]")).to_contain_text("delay 40ms, loss 5%")
    notebook.page.screenshot(path=screenshots / "panel_link.png")
    notebook.theme("Dark")
    notebook.page.screenshot(path=screenshots / "panel_link_dark.png")
    panel.get_by_role("tab", name="Events").click()
    notebook.page.screenshot(path=screenshots / "panel_events_dark.png")
    notebook.theme("Light")
    press(panel, "Take down")
    expect(panel.locator("g[data-link=wan]")).to_have_attribute("data-state", "down")
    assert notebook.complaints == []


def test_it_goes_on_while_a_cell_is_busy_and_shows_what_cells_do(
    panel_of: OpenPanel, screenshots: Path
) -> None:
    notebook, panel = panel_of(WISH)
    notebook.start_cell("import threading; threading.Event().wait(60)")
    deployed(panel)
    assert notebook.is_running()
    notebook.interrupt()

    notebook.start_cell("net.add_vm('h2'); net.deploy()")
    expect(panel.locator("g[data-vm=h2]")).to_have_attribute("data-state", "running")
    assert notebook.complaints == []


def test_what_failed_is_told_with_its_cure(panel_of: OpenPanel, screenshots: Path) -> None:
    broken = """\
from labkit.errors import MachineNotStarted
lab.engine.fails["start machine", "r2"] = MachineNotStarted(
    "r2 does not start", why="QEMU said: no space left", fix="Make room, then deploy again.")"""
    notebook, panel = panel_of(broken, WISH)
    press(panel, "Deploy")
    alert = panel.get_by_role("alert").first
    expect(alert).to_contain_text("While deploying: r2 does not start", timeout=30_000)
    expect(alert).to_contain_text("Make room, then deploy again.")
    expect(panel).to_contain_text("Ended early")
    notebook.page.screenshot(path=screenshots / "panel_failed.png")
    press(panel, "Close this message")
    expect(alert).to_be_hidden()
    assert notebook.complaints == []


def test_the_file_keeps_a_picture_and_tables_and_the_page_hides_them(
    panel_of: OpenPanel,
) -> None:
    notebook, panel = panel_of(WISH, pause=0.0)
    deployed(panel)
    assert panel.page.locator(".jp-RenderedSVG").count() == 1
    expect(panel.page.locator(".jp-RenderedSVG")).to_be_hidden()
    panel.page.wait_for_timeout(6_000)  # what is saved may lag behind by so much
    live, picture, tables = notebook.save()["cells"][1]["outputs"]
    assert "live where the notebook runs" in "".join(live["data"]["text/plain"])
    assert 'data-state="running"' in "".join(picture["data"]["image/svg+xml"])
    assert "text/html" not in picture["data"]
    assert "r1 " in "".join(picture["data"]["text/plain"])
    assert "✓ running" in "".join(tables["data"]["text/html"])
    assert "<script" not in "".join(tables["data"]["text/html"])
    assert notebook.complaints == []


def test_a_second_view_and_a_reloaded_page_show_the_same(panel_of: OpenPanel) -> None:
    notebook, _ = panel_of(WISH, "net", pause=0.0)
    panels = notebook.page.locator(".labkit-panel")
    expect(panels).to_have_count(2)
    deployed(panels.nth(1))
    for place in range(2):
        state = panels.nth(place).locator("g[data-vm=r1]")
        expect(state).to_have_attribute("data-state", "running")
    notebook.save()
    notebook.reload()
    expect(panels.first).to_have_attribute("data-state", "connected", timeout=30_000)
    expect(panels.first.locator("g[data-vm=r1]")).to_have_attribute("data-state", "running")
    press(panels.first, "Reset…")
    press(panels.first, "Reset")
    expect(panels.first).to_contain_text("As wished", timeout=30_000)
    assert notebook.complaints == []


def test_fifty_machines_stay_fluid(panel_of: OpenPanel, screenshots: Path) -> None:
    notebook, panel = panel_of(MANY, pause=0.4)
    page = notebook.page
    page.evaluate(WATCH)
    press(panel, "Deploy")
    expect(panel.get_by_text("As wished", exact=True)).to_be_visible(timeout=120_000)
    seen = page.evaluate(WATCHED)
    page.screenshot(path=screenshots / "panel_50.png")
    told = f"{seen}"
    (screenshots / "panel_50.txt").write_text(told)
    assert (seen["messages"] + seen["displays"]) / seen["seconds"] <= 5, told
    assert notebook.complaints == []


def test_a_cell_that_deploys_shows_its_progress(panel_of: OpenPanel, screenshots: Path) -> None:
    notebook, panel = panel_of(WISH, "vms = net.deploy()", pause=0.3)
    expect(panel.locator("g[data-vm=r1]")).to_have_attribute("data-state", "running")
    shown = notebook.page.locator(".jp-Cell").nth(2).locator(".jp-RenderedHTMLCommon")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("as wished")
    notebook.page.screenshot(path=screenshots / "progress_done.png")
    assert notebook.complaints == []


def test_a_shell_opens_in_the_panel_and_packets_are_captured(
    panel_of: OpenPanel, screenshots: Path
) -> None:
    notebook, panel = panel_of(SIMULATED)
    page = notebook.page
    deployed(panel)
    panel.locator("g[data-vm=h1]").click()
    press(panel, "Shell")
    terminal = page.locator(".labkit-terminal")
    expect(terminal).to_have_attribute("data-state", "connected", timeout=30_000)
    expect(panel.get_by_role("button", name="Close the shell of h1")).to_be_visible()
    terminal.locator("textarea").focus()
    page.keyboard.type("hostname\n")
    wait_shown(page, "\nh1\n")

    panel.locator("g[data-link=wire]").press("Enter")
    press(panel, "Capture")
    expect(panel.get_by_role("button", name="Stop capture")).to_be_visible()
    terminal.locator("textarea").focus()
    page.keyboard.type("ping -c 3 10.0.0.2\n")
    packets = panel.get_by_role("table", name="Last packets")
    expect(packets.get_by_text("ICMP").first).to_be_visible(timeout=30_000)
    terminal.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "panel_shell_and_capture.png")
    notebook.theme("Dark")
    page.screenshot(path=screenshots / "panel_shell_and_capture_dark.png")
    notebook.theme("Light")
    press(panel, "Stop capture")
    expect(panel.get_by_role("button", name="Capture", exact=True)).to_be_visible()
    press(panel, "Close the shell of h1")
    expect(terminal).to_have_count(0)
    assert notebook.complaints == []


def test_a_click_that_opens_a_view_goes_on_into_it(panel_of: OpenPanel) -> None:
    notebook, panel = panel_of(SIMULATED, "text = 'elsewhere'")
    page = notebook.page
    page.set_viewport_size({"width": 1250, "height": 560})
    deployed(panel)
    panel.locator("g[data-vm=h2]").click()
    press(panel, "Shell")
    terminal, console = (
        page.get_by_label(f"{face} of h2", exact=True) for face in ("shell", "console")
    )
    expect(terminal.locator("textarea")).to_be_focused(timeout=30_000)
    expect(terminal.get_by_text("Copy all")).to_be_in_viewport()
    page.keyboard.type("hostname\n")
    wait_shown(page, "\nh2\n")

    press(panel, "Console")
    expect(console.locator("textarea")).to_be_focused(timeout=30_000)
    expect(console.get_by_text("Copy all")).to_be_in_viewport()
    press(panel, "Shell")  # it is there already
    expect(terminal.locator("textarea")).to_be_focused()

    notebook.save()
    notebook.reload()
    expect(terminal).to_have_attribute("data-state", "connected", timeout=30_000)
    expect(terminal.locator("textarea")).not_to_be_focused()
    assert notebook.complaints == []


def test_it_can_be_read_by_everyone(panel_of: OpenPanel) -> None:
    notebook, panel = panel_of(WISH, pause=0.0)
    page = notebook.page
    assert_accessible(page, ".labkit-panel")
    deployed(panel)
    for place in ("g[data-vm=r1]", "g[data-link=wan]"):
        panel.locator(place).press("Enter")
        for name in ("VMs", "Links", "Events"):
            panel.get_by_role("tab", name=name).click()
            assert_accessible(page, ".labkit-panel")
    press(panel, "Delete…")
    assert_accessible(page, ".labkit-panel")
    press(panel, "Cancel")
    notebook.theme("Dark")
    assert_accessible(page, ".labkit-panel")
    notebook.theme("Light")
    assert notebook.complaints == []


def test_it_works_in_notebook_7_and_no_key_is_a_shortcut(
    panel_of: OpenPanel, screenshots: Path
) -> None:
    notebook, panel = panel_of(WISH, pause=0.0, front_end="notebooks")
    cells = notebook.page.locator(".jp-Cell").count()
    notebook.start_cell("import threading; threading.Event().wait(60)")
    deployed(panel)
    assert notebook.is_running()
    notebook.interrupt()
    r1 = panel.locator("g[data-vm=r1]")
    r1.press("Enter")
    for key in "abxdd":
        r1.press(key)
    press(panel, "Pause")
    expect(r1).to_have_attribute("data-state", "paused")
    expect(notebook.page.locator(".jp-Cell")).to_have_count(cells)
    notebook.page.screenshot(path=screenshots / "panel_notebook7.png")
    assert notebook.complaints == []


REAL = """\
net = lab.slice("campus")
net.add_vm("r1", interfaces=2, internet=True, forwarding=True,
           addresses={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"})
net.add_vm("h1", addresses={"eth1": "10.0.1.2/24"}, routes=["default via 10.0.1.1"], screen=True)
net.add_vm("h2", addresses={"eth1": "10.0.2.2/24"}, routes=["default via 10.0.2.1"])
net.link("h1:eth1", "r1:eth1", name="left")
net.link("r1:eth2", "h2:eth1", name="right", delay="20ms")
net"""


@pytest.mark.vm
@pytest.mark.timeout(600)
def test_real_machines_are_deployed_used_and_deleted(
    open_cells: Callable[..., Notebook], screenshots: Path
) -> None:
    with real_lab() as lab:
        attach = "import pathlib, real_lab\n"
        attach += f"lab = real_lab.RealLab(pathlib.Path({str(lab.folder)!r}))"
        notebook = open_cells(attach, REAL)
        page = notebook.page
        panel = page.locator(".labkit-panel")
        expect(panel).to_have_attribute("data-state", "connected", timeout=30_000)
        press(panel, "Deploy")
        expect(panel).to_contain_text("starting", timeout=60_000)
        page.screenshot(path=screenshots / "panel_real_deploying.png")
        expect(panel.get_by_text("As wished", exact=True)).to_be_visible(timeout=240_000)
        expect(panel).to_contain_text("3 running")
        panel.locator("g[data-vm=h1]").click()
        press(panel, "Shell")
        terminal = page.locator(".labkit-terminal")
        expect(terminal.locator("textarea")).to_be_focused(timeout=60_000)
        press(panel, "Screen")
        expect(page.locator(".labkit-screen canvas")).to_be_focused(timeout=60_000)
        press(panel, "Close the screen of h1")
        panel.locator("g[data-link=right]").press("Enter")
        press(panel, "Capture")
        expect(panel.get_by_role("button", name="Stop capture")).to_be_visible(timeout=30_000)
        terminal.locator("textarea").focus()
        page.keyboard.type("ping -c 3 10.0.2.2\n")
        wait_shown(page, "3 packets transmitted")
        expect(panel.get_by_text("ICMP").first).to_be_visible()
        page.set_viewport_size({"width": 1100, "height": 1500})
        page.mouse.move(1, 1)
        page.locator(".jp-Cell").nth(1).screenshot(path=screenshots / "panel_real.png")
        press(panel, "Stop capture")
        press(panel, "Close the shell of h1")
        press(panel, "Delete…")
        press(panel, "Delete")
        expect(panel).to_contain_text("The slice is gone", timeout=120_000)
        assert notebook.complaints == []
