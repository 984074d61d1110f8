"""A kernel that is restarted or lost: the machines run on, and the notebook finds them again."""

from __future__ import annotations

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

BUILD = """\
net = lab.slice("kept")
if net.vms.empty:
    net.add_vm("h1")
    net.deploy()"""

SIMULATED = """\
import labkit
net = labkit.Lab("sim").slice("pair")
net.add_vm("h1", addresses={"eth1": "10.0.0.1/24"}, screen=True)
net.add_vm("h2", addresses={"eth1": "10.0.0.2/24"})
net.link("h1", "h2", name="wire")
net.deploy()
net"""
DIE = """() => { window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel
  .requestExecute({ code: 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)' }); }"""
# What can be pressed or typed into, but for the tabs, which need no kernel.
PRESSABLE = "button:not([role=tab]):visible, input:visible, g[role=button]:visible"
BREAK = """() => document.querySelector('.labkit-panel').labkit.channel
  ._finish('the kernel does not answer')"""
GONE = "The kernel is gone: run the cell again"


def pressable(panel: Locator) -> list[Locator]:
    return panel.locator(PRESSABLE).all()


def expect_stale(panel: Locator, why: str) -> None:
    """Nothing can be pressed, each button says why, and what is shown is told to be old."""
    expect(panel).to_have_attribute("data-state", "closed", timeout=60_000)
    expect(panel.get_by_role("alertdialog")).to_be_hidden()
    expect(panel.get_by_text("this is what was seen last")).to_be_visible()
    for one in pressable(panel):
        if one.text_content() != "Reconnect":
            expect(one).to_be_disabled()
    for button in panel.locator("button:not([role=tab]):disabled:visible").all():
        expect(button).to_have_attribute("title", why)


def expect_live(panel: Locator) -> None:
    expect(panel).to_have_attribute("data-state", "connected", timeout=30_000)
    expect(panel.get_by_text("this is what was seen last")).to_be_hidden()
    for name in ("Deploy", "Reset…", "Delete…"):
        expect(panel.get_by_role("button", name=name, exact=True).first).to_be_enabled()


@pytest.mark.parametrize("end", ["restart", "death"])
def test_nothing_can_be_pressed_while_the_kernel_is_gone(
    open_cells: Callable[..., Notebook], screenshots: Path, end: str
) -> None:
    notebook = open_cells(SIMULATED)
    page = notebook.page
    panel = page.locator(".labkit-panel")
    expect(panel).to_contain_text("2 running", timeout=30_000)
    expect_live(panel)
    panel.locator("g[data-vm=h1]").click()
    expect(panel.get_by_role("button", name="Screen", exact=True)).to_be_enabled()
    press(panel, "Delete…")
    expect(panel.get_by_role("alertdialog")).to_be_visible()
    page.screenshot(path=screenshots / f"panel_before_{end}.png")

    if end == "restart":
        notebook.restart()
    else:
        page.evaluate(DIE)
        page.locator(".jp-Dialog button").click()  # JupyterLab tells that it died
    expect_stale(panel, GONE)
    page.screenshot(path=screenshots / f"panel_after_{end}.png")
    assert_accessible(page, ".labkit-panel")
    notebook.theme("Dark")
    page.screenshot(path=screenshots / f"panel_after_{end}_dark.png")
    assert_accessible(page, ".labkit-panel")
    notebook.theme("Light")

    notebook.run_all()
    expect_live(panel)
    panel.locator("g[data-vm=h1]").click()
    expect(panel.get_by_role("button", name="Shell", exact=True)).to_be_enabled()


def test_a_panel_that_reaches_its_kernel_again_is_as_before(
    open_cells: Callable[..., Notebook], screenshots: Path
) -> None:
    notebook = open_cells(SIMULATED)
    page = notebook.page
    panel = page.locator(".labkit-panel")
    expect(panel).to_contain_text("2 running", timeout=30_000)
    panel.locator("g[data-link=wire]").press("Enter")
    expect(panel.get_by_label("Delay", exact=True)).to_be_enabled()
    page.evaluate(BREAK)
    expect_stale(panel, "The kernel does not answer")
    page.screenshot(path=screenshots / "panel_unanswered.png")

    press(panel, "Reconnect")
    expect_live(panel)
    assert all(one.is_enabled() for one in pressable(panel))
    panel.locator("g[data-vm=h1]").click()
    expect(panel.get_by_role("button", name="Shell", exact=True)).to_be_enabled()
    page.evaluate(BREAK)
    expect_stale(panel, "The kernel does not answer")
    notebook.save()
    notebook.reload()
    expect_live(panel)
    assert notebook.complaints == []


@pytest.mark.vm
def test_a_slice_is_found_again_after_its_kernel_was_restarted(
    open_cells: Callable[..., Notebook],
) -> None:
    with real_lab() as lab:
        attach = "import pathlib, real_lab\n"
        attach += f"lab = real_lab.RealLab(pathlib.Path({str(lab.folder)!r}))"
        notebook = open_cells(attach, BUILD, "net")
        page = notebook.page
        panel = page.locator(".labkit-panel")
        expect(panel).to_contain_text("1 running", timeout=30_000)
        boots = lab.slice("kept")["h1"].machine.state().boots

        notebook.restart()
        expect(panel).to_have_attribute("data-state", "closed", timeout=30_000)
        status = panel.get_by_role("status").first
        expect(status).to_have_text("the kernel is gone: run the cell again")
        expect_stale(panel, GONE)
        expect(panel).to_contain_text("The machines run on without the kernel.")

        notebook.run_all()
        expect(panel).to_have_attribute("data-state", "connected", timeout=30_000)
        expect(panel).to_contain_text("1 running", timeout=30_000)
        expect_live(panel)
        assert lab.slice("kept")["h1"].machine.state().boots == boots
        panel.locator("g[data-vm=h1]").click()
        press(panel, "Console")
        terminal = page.locator(".labkit-terminal")
        expect(terminal).to_have_attribute("data-state", "connected", timeout=30_000)
        wait_shown(page, "labkit: ready")  # from before the restart
        terminal.locator("textarea").focus()
        page.keyboard.type("echo sum-$((40+2))\n")
        wait_shown(page, "sum-42")
        assert notebook.complaints == []
