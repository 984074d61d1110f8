"""Console and shell of a real machine in a real JupyterLab: echoed, kept, found again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.vm, pytest.mark.timeout(300)]

SHOWS = """([number, text]) => {
  const view = document.querySelectorAll('.labkit-terminal')[number]?.labkit;
  if (!view) return false;
  const buffer = view.term.buffer.active;
  const lines = [];
  for (let i = 0; i < buffer.length; i++) lines.push(buffer.getLine(i).translateToString(true));
  return lines.join('\\n').includes(text);
}"""
_numbers = itertools.count(1)


def shown(notebook: Notebook, text: str, number: int = 0) -> None:
    """Wait until a terminal shows a text."""
    notebook.page.wait_for_function(SHOWS, arg=[number, text], timeout=30_000)


def connected(notebook: Notebook, number: int = 0) -> Locator:
    terminal = notebook.page.locator(".labkit-terminal").nth(number)
    expect(terminal).to_have_attribute("data-state", "connected", timeout=30_000)
    terminal.scroll_into_view_if_needed()
    return terminal


def asked(notebook: Notebook, terminal: Locator, number: int = 0) -> None:
    """Type a sum, and see the result: that is no echo of the page's own."""
    place = next(_numbers)
    terminal.locator("textarea").focus()
    notebook.page.keyboard.type(f"echo sum-$(({place}*1000+{place}))\n")
    shown(notebook, f"sum-{place}00{place}" if place < 10 else f"sum-{place}0{place}", number)


@pytest.fixture
def console(open_cells: Callable[..., Notebook], attach: str) -> Notebook:
    return open_cells(attach, "console = faces.console(vm)\nconsole")


def test_what_is_typed_is_answered(console: Notebook, screenshots: Path) -> None:
    terminal = connected(console)
    shown(console, "labkit: ready")  # from before it was opened
    asked(console, terminal)
    console.page.keyboard.type(
        "printf 'caf\\xc3\\xa9 \\033[32mgreen\\033[0m \\033[1;31mred\\033[0m\\n'\n"
    )
    shown(console, "café green red")
    console.page.screenshot(path=screenshots / "console_light.png")
    console.theme("Dark")
    console.page.screenshot(path=screenshots / "console_dark.png")
    console.theme("Light")
    assert console.complaints == []
