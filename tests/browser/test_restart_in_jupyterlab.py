"""A kernel that is restarted: the machines run on, and the notebook finds them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from live_page import press, wait_shown
from real_lab import real_lab

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.vm, pytest.mark.timeout(300)]

BUILD = """\
net = lab.slice("kept")
if net.vms.empty:
    net.add_vm("h1")
    net.deploy()"""


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

        notebook.run_all()
        expect(panel).to_have_attribute("data-state", "connected", timeout=30_000)
        expect(panel).to_contain_text("1 running", timeout=30_000)
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
