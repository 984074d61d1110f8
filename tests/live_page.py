"""What tests do on a page with labkit's live views: press, read a terminal, ask axe-core."""

from __future__ import annotations

import json

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

# Whether the terminal of a number shows a text; xterm.js draws only the rows that are in sight.
_SHOWS = """([number, text]) => {
  const view = document.querySelectorAll('.labkit-terminal')[number]?.labkit;
  if (!view) return false;
  const buffer = view.term.buffer.active;
  const lines = [];
  for (let i = 0; i < buffer.length; i++) lines.push(buffer.getLine(i).translateToString(true));
  return lines.join('\\n').includes(text);
}"""


def press(inside: Locator, name: str) -> None:
    """Press the button of a name."""
    inside.get_by_role("button", name=name, exact=True).click()


def shows(page: Page, text: str, number: int = 0) -> bool:
    """Whether a terminal shows a text now."""
    return bool(page.evaluate(_SHOWS, [number, text]))


def wait_shown(page: Page, text: str, number: int = 0) -> None:
    """Wait until a terminal shows a text."""
    page.wait_for_function(_SHOWS, arg=[number, text], timeout=60_000)


def assert_accessible(page: Page, selector: str) -> None:
    """No violation that axe-core calls serious or critical."""
    found = Axe().run(page, context=selector).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not bad, json.dumps(bad, indent=1)
