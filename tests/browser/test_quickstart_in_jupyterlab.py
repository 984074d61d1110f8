"""The quickstart notebook in a real JupyterLab and a real browser: a VM made through the form."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, expect

from live_page import assert_accessible

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"
MAX_SCREENSHOT = 200 * 1024
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture
def notebook(open_notebook: Callable[[Path], Notebook]) -> Notebook:
    """The quickstart, run from top to bottom, with its form in sight."""
    opened = open_notebook(QUICKSTART)
    opened.run_all()
    opened.hide_side_bar()
    form = opened.page.locator(".labkit-form")
    expect(form).to_have_count(1)
    form.scroll_into_view_if_needed()
    return opened


@pytest.fixture
def form(notebook: Notebook) -> Locator:
    return notebook.page.locator(".labkit-form")


def type_into(form: Locator, label: str, text: str) -> None:
    """As a person does: select what is there, and type over it."""
    field = form.get_by_label(label, exact=True)
    field.focus()
    field.press("ControlOrMeta+a")
    field.press_sequentially(text)


def message_beside(form: Locator, label: str) -> Locator:
    row = form.locator(".labkit-row").filter(has=form.page.get_by_label(label, exact=True))
    return row.get_by_role("alert")


def test_a_vm_is_created_by_keyboard(notebook: Notebook, form: Locator, screenshots: Path) -> None:
    page = notebook.page
    create = form.get_by_role("button", name="Create", exact=True)

    type_into(form, "Name", "my router")
    expect(message_beside(form, "Name")).to_contain_text("1 to 63 letters")
    expect(create).to_be_disabled()
    page.screenshot(path=screenshots / "form_problem.png")

    type_into(form, "Name", "router")
    expect(message_beside(form, "Name")).to_have_count(0)
    form.get_by_label("Flavor").select_option(label="ubuntu: 1 core, 0.5 GB RAM, 2.2 GB disk")
    type_into(form, "Data interfaces", "3")
    internet = form.get_by_label("Internet access")
    expect(internet).to_be_checked()  # the notebook has done it
    internet.press("Space")
    expect(internet).not_to_be_checked()
    internet.press("Space")
    type_into(form, "VM id", "3007")
    python = form.get_by_label("The same in Python")
    for text in (
        'vm_name="router"',
        'labkit.Flavor.get("ubuntu")',
        "data_interfaces_count=3",
        "internet_enabled=True",
        "vm_id=3007",
    ):
        expect(python).to_contain_text(text)
    expect(create).to_be_enabled()
    create.press("Enter")

    row = form.locator("table tbody tr").filter(has_text="router")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("3007")
    expect(row).to_contain_text("10.60.7.107")
    expect(form.get_by_role("status")).to_contain_text("router is created: VM 3007")
    expect(form.get_by_label("Name", exact=True)).to_have_value("router2")
    expect(create).to_be_enabled()
    _tidy_picture(page, form)
    page.screenshot(path=screenshots / "quickstart.png")
    assert (screenshots / "quickstart.png").stat().st_size < MAX_SCREENSHOT
    assert notebook.complaints == []


def test_the_python_that_is_shown_is_selected_by_one_click(
    notebook: Notebook, form: Locator
) -> None:
    form.get_by_label("The same in Python").click()
    selected = str(notebook.page.evaluate("() => window.getSelection().toString()"))
    assert selected.startswith("import labkit")
    assert selected.rstrip().endswith(")")
    assert notebook.complaints == []


def test_the_last_letters_arrive_before_the_click_counts(notebook: Notebook, form: Locator) -> None:
    """The front end holds back what is typed, but not a click; the form waits for the letters."""
    type_into(form, "Name", "switch")
    form.get_by_label("Name", exact=True).press_sequentially("-and-more-letters")
    notebook.page.evaluate("() => document.querySelector('.labkit-form button').click()")
    expect(form.locator("table tbody tr")).to_have_count(1)
    expect(form.locator("table tbody tr")).to_contain_text("switch-and-more-letters")


def test_it_works_while_a_cell_is_running(notebook: Notebook, form: Locator) -> None:
    notebook.start_cell("import threading; threading.Event().wait(120)")
    type_into(form, "Name", "meanwhile")
    form.get_by_role("button", name="Create", exact=True).click()
    expect(form.locator("table tbody tr")).to_contain_text("meanwhile")
    assert notebook.is_running()
    notebook.interrupt()


def test_it_can_be_read_in_the_dark_theme(
    notebook: Notebook, form: Locator, screenshots: Path
) -> None:
    page = notebook.page
    notebook.theme("Dark")
    expect(form).to_have_css("background-color", "rgb(33, 33, 33)")
    assert _contrast(form) >= 4.0
    assert _contrast(form.get_by_label("The same in Python")) >= 4.0
    type_into(form, "Name", "a b")
    problem = message_beside(form, "Name")
    expect(problem).to_be_visible()
    assert _contrast(problem) >= 4.0
    page.screenshot(path=screenshots / "form_dark.png")
    notebook.theme("Light")
    assert notebook.complaints == []


def test_it_can_be_read_by_everyone(notebook: Notebook, form: Locator) -> None:
    page = notebook.page
    assert_accessible(page, ".labkit-form")
    type_into(form, "Name", "a b")
    expect(message_beside(form, "Name")).to_be_visible()
    assert_accessible(page, ".labkit-form")
    type_into(form, "Name", "router")
    form.get_by_role("button", name="Create", exact=True).click()
    expect(form.locator("table tbody tr")).to_contain_text("router")
    for theme in ("Dark", "Light"):
        notebook.theme(theme)
        assert_accessible(page, ".labkit-form")
    assert notebook.complaints == []


def _tidy_picture(page: Page, form: Locator) -> None:
    """No cursor and no hovered button; the form and what leads to it in one view."""
    page.mouse.move(5, 500)
    form.evaluate("(form) => { document.activeElement?.blur(); form.scrollIntoView(false); }")


def _contrast(element: Locator) -> float:
    """The ratio of an element's text to what is behind it, as WCAG defines it."""
    colours = element.evaluate(
        """(element) => {
          const text = getComputedStyle(element).color;
          let behind = 'rgba(0, 0, 0, 0)';
          for (let e = element; e && behind === 'rgba(0, 0, 0, 0)'; e = e.parentElement)
            behind = getComputedStyle(e).backgroundColor;
          return [text, behind];
        }"""
    )
    light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    values = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in values
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
