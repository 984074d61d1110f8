"""The screen of a real machine in a real JupyterLab: typed on, seen to change, kept."""

from __future__ import annotations

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
QUIET = "() => document.querySelectorAll('.labkit-screen')[0].labkit.channel.received.messages"


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
