"""The slice editor in a real JupyterLab and a real browser: by keyboard, read out, and quick."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, expect

from labkit import spec
from live_page import assert_accessible

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELL = """\
from labkit_widgets.editor import SliceEditor
from labkit.wish import Slice
from slice_handle_fake import SliceInMemory
net = SliceInMemory(Slice("ospf"))
editor = SliceEditor(net)
editor
"""
# From the letter to the message at the field, in the page: what a person waits for.
MEASURE = """async () => {
  const input = document.querySelector('.labkit-editor input.address');
  const message = input.nextElementSibling;
  const times = [];
  for (let round = 0; round < 20; round++) {
    const text = round % 2 ? '10.0.1.1/24' : '10.0.1.1/99';
    const told = new Promise((done) => {
      const watcher = new MutationObserver(() => {
        watcher.disconnect();
        done(performance.now());
      });
      watcher.observe(message, {childList: true, characterData: true, subtree: true});
    });
    input.focus();
    input.value = text;
    const start = performance.now();
    input.dispatchEvent(new Event('input'));
    times.push(await told - start);
    await new Promise((done) => setTimeout(done, 50));
  }
  return times;
}"""
START_CELL = "import threading; threading.Event().wait(120)"
READ_CLIPBOARD = "() => navigator.clipboard.readText()"


@pytest.fixture
def notebook(open_cells: Callable[..., Notebook]) -> Notebook:
    """A notebook with the editor of an empty slice, run."""
    opened = open_cells(CELL)
    opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(opened.page.locator(".labkit-editor")).to_have_count(1)
    return opened


@pytest.fixture
def editor(notebook: Notebook) -> Locator:
    return notebook.page.locator(".labkit-editor")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, label: str) -> None:
    """Press Tab until the element of this name has the focus, as a person without a mouse does."""
    for _ in range(80):
        name = page.evaluate(
            "() => document.activeElement.getAttribute('aria-label')"
            " ?? document.activeElement.textContent"
        )
        if name == label:
            return
        press(page, "Tab")
    raise AssertionError(f"Tab does not lead to {label!r}")


def type_over(page: Page, text: str) -> None:
    press(page, "ControlOrMeta+a")
    page.keyboard.type(text)


def shoot(notebook: Notebook, editor: Locator, path: Path) -> None:
    notebook.page.set_viewport_size({"width": 1280, "height": 1900})
    notebook.page.mouse.move(5, 500)
    editor.screenshot(path=path)


def test_a_line_of_three_is_built_and_deployed_by_keyboard(
    notebook: Notebook, editor: Locator, screenshots: Path
) -> None:
    page = notebook.page
    shoot(notebook, editor, screenshots / "editor_empty.png")
    editor.get_by_label("Template", exact=True).focus()
    tab_to(page, "Add VM")
    for count in (1, 2, 3):
        press(page, "Enter")
        expect(editor.locator("g[data-vm]")).to_have_count(count)
    expect(editor.get_by_role("status").first).to_have_text("vm3 is added.")

    node = editor.locator("g[data-vm]")
    node.first.focus()
    press(page, "c")
    expect(editor.get_by_role("status").first).to_contain_text("Connecting vm1")
    press(page, "ArrowRight", "Enter")
    expect(editor.locator("g[data-link=vm1-vm2]")).to_have_count(1)
    expect(node.nth(1)).to_be_focused()
    press(page, "c", "ArrowRight", "Enter")
    expect(editor.locator("g[data-link=vm2-vm3]")).to_have_count(1)
    expect(editor.get_by_label("Interfaces of vm2")).to_have_value("2")  # one more, by itself

    node.first.focus()
    press(page, "e")
    expect(editor.get_by_label("Name of vm1", exact=True)).to_be_focused()
    type_over(page, "my router")
    expect(editor.get_by_role("alert")).to_contain_text("1 to 63 letters")
    expect(editor.get_by_role("button", name="Preview plan")).to_be_disabled()
    expect(editor.locator("g[data-vm=vm1]")).to_have_count(1)  # the last valid picture
    shoot(notebook, editor, screenshots / "editor_problem.png")
    type_over(page, "core")
    expect(editor.get_by_role("alert")).to_have_count(0)
    expect(editor.locator("g[data-link=core-vm2]")).to_have_count(1)  # called after its VMs
    tab_to(page, "Address of core eth1")
    page.keyboard.type("10.0.1.1/33")
    expect(editor.get_by_role("alert")).to_contain_text("an address with its prefix is needed")
    press(page, "Backspace", "Backspace")
    page.keyboard.type("24")
    expect(editor.get_by_role("alert")).to_have_count(0)
    tab_to(page, "Delay of core-vm2")
    page.keyboard.type("20ms")

    tab_to(page, "Preview plan")
    press(page, "Enter")
    expect(editor.locator("table.result caption")).to_have_text("What Deploy will do")
    shoot(notebook, editor, screenshots / "editor_plan.png")
    press(page, "Tab")
    expect(editor.get_by_role("button", name="Deploy: do")).to_be_focused()
    press(page, "Enter")
    expect(editor.locator("table.result tbody tr")).to_have_count(3)
    expect(editor.get_by_role("status").first).to_have_text("Deployed: 3 VMs.")

    tab_to(page, "Copy Python")
    press(page, "Enter")
    expect(editor.get_by_text("Copied.")).to_be_visible()
    copied = page.evaluate(READ_CLIPBOARD)
    assert 'net.add_vm("core", flavor="micro", interfaces=1, addresses=' in copied
    assert 'net.link("core:eth1", "vm2:eth1", name="core-vm2", delay="20ms")' in copied
    press(page, "Shift+Tab", "Enter")
    tab_to(page, "Copy YAML")
    press(page, "Enter")
    expect(editor.get_by_text("Copied.")).to_be_visible()
    wish = spec.from_yaml(page.evaluate(READ_CLIPBOARD))
    assert [vm.name for vm in wish.vms] == ["core", "vm2", "vm3"]
    assert [link.name for link in wish.links] == ["core-vm2", "vm2-vm3"]
    assert notebook.complaints == []


def test_templates_undo_and_removal(notebook: Notebook, editor: Locator) -> None:
    page = notebook.page
    editor.get_by_label("Template", exact=True).select_option(label="Star")
    editor.get_by_label("Number of VMs in the template").fill("8")
    editor.get_by_role("button", name="Use template").click()
    expect(editor.locator("g[data-vm]")).to_have_count(8)
    editor.locator("g[data-vm=r8]").click()
    expect(editor.locator("tr[aria-current]").get_by_label("Name of r8")).to_have_value("r8")
    press(page, "Delete")
    expect(editor.locator("g[data-vm]")).to_have_count(7)
    editor.get_by_label("Name of r2", exact=True).focus()
    page.keyboard.type("x")
    press(page, "ControlOrMeta+z")
    expect(editor.get_by_label("Name of r2", exact=True)).to_have_value("r2")
    press(page, "ControlOrMeta+z")
    expect(editor.locator("g[data-vm]")).to_have_count(8)
    press(page, "ControlOrMeta+Shift+z")
    expect(editor.locator("g[data-vm]")).to_have_count(7)
    assert page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == 1
    assert notebook.complaints == []


def test_links_are_impaired_and_become_switches(notebook: Notebook, editor: Locator) -> None:
    editor.get_by_role("button", name="Use template").click()
    editor.get_by_role("button", name="More of r1-r2").click()
    editor.get_by_label("Each direction of r1-r2 by itself").check()
    editor.get_by_label("Loss of what r2:eth1 sends").fill("200%")
    expect(editor.get_by_role("alert")).to_contain_text("a share from '0%' to '100%'")
    editor.get_by_label("Loss of what r2:eth1 sends").fill("2%")
    expect(editor.locator("g[data-link=r1-r2]")).to_have_attribute("data-state", "impaired")
    editor.get_by_label("VM to add to r1-r2").select_option(label="r3")
    editor.get_by_role("button", name="Add to this link").first.click()
    expect(editor.locator("g[data-link=segment]")).to_have_count(1)
    expect(editor.get_by_label("The same in Python")).to_contain_text('"r3:eth2"')
    assert notebook.complaints == []


def test_it_answers_while_a_cell_runs(notebook: Notebook, editor: Locator) -> None:
    notebook.start_cell(START_CELL)
    editor.get_by_role("button", name="Add VM").click()
    expect(editor.locator("g[data-vm]")).to_have_count(1)
    assert notebook.is_running()
    notebook.interrupt()


def test_two_views_agree_also_after_the_page_is_loaded_anew(
    open_cells: Callable[..., Notebook],
) -> None:
    notebook = open_cells(CELL, "editor")
    page = notebook.page
    views = page.locator(".labkit-editor")
    expect(views).to_have_count(2)
    views.first.get_by_role("button", name="Use template").click()
    for view in (views.first, views.last):
        expect(view.locator("g[data-vm]")).to_have_count(3)
    views.last.get_by_label("Name of r1", exact=True).fill("core")
    expect(views.first.get_by_label("Name of core", exact=True)).to_have_value("core")
    notebook.save()
    notebook.reload()
    expect(views.last.locator("g[data-vm=core]")).to_have_count(1, timeout=60_000)
    views.last.get_by_role("button", name="Add VM").click()
    expect(views.first.locator("g[data-vm]")).to_have_count(4)
    assert notebook.complaints == []


def test_fifty_vms_stay_quick(notebook: Notebook, editor: Locator, screenshots: Path) -> None:
    editor.get_by_label("Template", exact=True).select_option(label="LAN")
    editor.get_by_label("Number of VMs in the template").fill("50")
    editor.get_by_role("button", name="Use template").click()
    expect(editor.locator("g[data-vm]")).to_have_count(50)
    times = notebook.page.evaluate(MEASURE)
    (screenshots / "editor_times_50.json").write_text(json.dumps(times))
    shoot(notebook, editor, screenshots / "editor_50.png")
    saved = notebook.save()["cells"][0]["outputs"][0]["data"]
    assert "<svg" in "".join(saved["image/svg+xml"])  # what a page without a kernel shows
    assert len(times) == 20
    assert notebook.complaints == []


def test_it_is_quick_and_can_be_read_by_everyone(
    notebook: Notebook, editor: Locator, screenshots: Path
) -> None:
    page = notebook.page
    editor.get_by_label("Template", exact=True).select_option(label="Two hosts and routers")
    editor.get_by_label("Number of VMs in the template").fill("4")
    editor.get_by_role("button", name="Use template").click()
    expect(editor.locator("g[data-vm]")).to_have_count(4)
    editor.get_by_label("Delay of r1-r2").fill("20ms")
    editor.get_by_label("Loss of r1-r2").fill("1%")
    editor.get_by_label("Internet of h1").check()
    editor.get_by_role("button", name="More of h1", exact=True).click()
    editor.get_by_role("button", name="More of r1-r2", exact=True).click()
    editor.locator("g[data-vm=r1]").click()
    editor.get_by_role("button", name="Preview plan").click()
    expect(editor.locator("table.result")).to_be_visible()
    assert_accessible(page, ".labkit-editor")
    shoot(notebook, editor, screenshots / "editor_light.png")
    notebook.theme("Dark")
    assert_accessible(page, ".labkit-editor")
    shoot(notebook, editor, screenshots / "editor_dark.png")
    notebook.theme("Light")
    times = page.evaluate(MEASURE)
    (screenshots / "editor_times.json").write_text(json.dumps(times))
    assert len(times) == 20
    assert notebook.complaints == []
