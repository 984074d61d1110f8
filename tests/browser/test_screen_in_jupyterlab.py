"""The screen of a real machine in a real JupyterLab: typed on, seen to change, kept."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect

from machines_lab import MachinesLab

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.vm, pytest.mark.timeout(300)]

PICTURE = """(number) => {
  const canvas = document.querySelectorAll('.labkit-screen canvas')[number];
  const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const data = new Uint32Array(image.data.buffer);
  let hash = 0;
  for (const one of data) hash = (hash * 31 + one) | 0;
  return hash;
}"""
CHANGED = f"([number, before]) => ({PICTURE})(number) !== before"
RECEIVED = "() => document.querySelector('.labkit-screen').labkit.channel.received.messages"


def connected(notebook: Notebook, number: int = 0) -> Locator:
    screen = notebook.page.locator(".labkit-screen").nth(number)
    expect(screen).to_have_attribute("data-state", "connected", timeout=30_000)
    notebook.page.wait_for_function(
        "(number) => document.querySelectorAll('.labkit-screen canvas')[number].width > 300",
        arg=number,
    )
    screen.scroll_into_view_if_needed()
    return screen


def picture(notebook: Notebook, number: int = 0) -> int:
    return int(notebook.page.evaluate(PICTURE, number))


def changes(notebook: Notebook, before: int, number: int = 0) -> None:
    notebook.page.wait_for_function(CHANGED, arg=[number, before], timeout=30_000)


@pytest.fixture
def screen(open_cells: Callable[..., Notebook], attach: str) -> Notebook:
    return open_cells(attach, "screen = faces.screen(vm)\nscreen")


def test_the_machine_is_typed_on_and_its_screen_changes(
    screen: Notebook, machines: MachinesLab, screenshots: Path
) -> None:
    view = connected(screen)
    before = picture(screen)
    view.locator("canvas").click()
    # Only keys without Shift: the browser's driver presses none.
    screen.page.keyboard.type("touch /tmp/typed; ls /\n", delay=20)
    changes(screen, before)
    guest = machines.machines.get(1).guest
    guest.run("until [ -e /tmp/typed ]; do sleep 0.1; done; rm /tmp/typed", check=True)
    screen.page.screenshot(path=screenshots / "screen_light.png")
    screen.theme("Dark")
    screen.page.screenshot(path=screenshots / "screen_dark.png")
    screen.theme("Light")
    assert screen.complaints == []


def test_a_second_view_is_live_and_the_first_outlives_it(screen: Notebook) -> None:
    connected(screen).locator(".labkit-name").click()
    screen.command("notebook:create-output-view")
    expect(screen.page.locator(".labkit-screen")).to_have_count(2)
    second = connected(screen, 1)
    before = picture(screen, 1)
    second.locator("canvas").click()
    screen.page.keyboard.type("ls /\n", delay=20)
    changes(screen, before, 1)
    screen.command("application:close")
    expect(screen.page.locator(".labkit-screen")).to_have_count(1)
    first, before = connected(screen), picture(screen)
    first.locator("canvas").click()
    screen.page.keyboard.type("ls /\n", delay=20)
    changes(screen, before)
    assert screen.complaints == []


def test_it_is_there_again_after_the_page_was_loaded_anew_and_while_a_cell_runs(
    screen: Notebook,
) -> None:
    connected(screen)
    screen.save()
    screen.reload()
    view = connected(screen)
    screen.start_cell("import threading; threading.Event().wait(300)")
    before = picture(screen)
    view.locator("canvas").click()
    screen.page.keyboard.type("ls /etc\n", delay=20)
    changes(screen, before)
    assert screen.is_running()
    screen.interrupt()
    assert screen.complaints == []


def test_nothing_is_sent_while_the_screen_is_still(screen: Notebook) -> None:
    connected(screen)
    page = screen.page
    page.evaluate(
        f"() => {{ window.last = [0, 0]; window.looks = setInterval(() => {{"
        f" const n = ({RECEIVED})();"
        " if (n !== window.last[0]) window.last = [n, performance.now()]; }, 50); }"
    )
    # For three seconds on end no message at all: what was shown before has been sent by then.
    page.wait_for_function("() => performance.now() - window.last[1] > 3000", timeout=30_000)
    page.evaluate("() => clearInterval(window.looks)")


def test_a_picture_is_in_the_saved_notebook_and_not_twice_on_the_page(screen: Notebook) -> None:
    connected(screen)
    screen.run_code("screen.save()")
    image = screen.page.locator(".jp-RenderedImage")
    expect(image).to_have_count(1)
    expect(image).to_be_hidden()
    live, kept = screen.save()["cells"][1]["outputs"]
    assert "".join(live["data"]["text/plain"]) == ""
    assert base64.b64decode(kept["data"]["image/png"]).startswith(b"\x89PNG")
    screen.page.evaluate("() => document.querySelector('.labkit-screen').labkit.remove()")
    expect(image).to_be_visible()
    assert screen.complaints == []


def test_read_only_sends_no_key(
    open_cells: Callable[..., Notebook], attach: str, machines: MachinesLab
) -> None:
    notebook = open_cells(attach, "faces.screen(vm, read_only=True)")
    view = connected(notebook)
    expect(view).to_contain_text("read-only")
    expect(view.get_by_role("button", name="Ctrl+Alt+Del")).to_have_count(0)
    before = picture(notebook)
    view.locator("canvas").click()
    notebook.page.keyboard.type("ls\n", delay=20)
    machines.machines.get(1).guest.run("echo seen > /dev/tty1")
    changes(notebook, before)
    typed = machines.machines.get(1).guest.run("tr -d ' ' < /dev/vcs1 | grep -c '#ls$' || true")
    assert typed.text.strip() == "0", "keys went through"
    assert notebook.complaints == []


def test_ctrl_alt_delete_reboots_the_guest(screen: Notebook, machines: MachinesLab) -> None:
    view = connected(screen)
    machine = machines.machines.get(1)
    boots = machine.state().boots
    view.get_by_role("button", name="Ctrl+Alt+Del").click()
    while machine.state().boots == boots:
        screen.page.wait_for_timeout(200)
    machine.guest.wait_ready(60)
    expect(view).to_have_attribute("data-state", "connected")
    assert screen.complaints == []
