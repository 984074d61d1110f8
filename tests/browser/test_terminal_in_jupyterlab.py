"""Console and shell of a real machine in a real JupyterLab: echoed, kept, found again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect

from live_page import shows, wait_shown

if TYPE_CHECKING:
    from jupyter_in_browser import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.vm, pytest.mark.timeout(300)]

SIZE = """() => {
  const { term } = document.querySelector('.labkit-terminal').labkit;
  return [term.rows, term.cols];
}"""
# What the terminal is sent, as text.
GATHER = """() => {
  const view = document.querySelector('.labkit-terminal').labkit;
  const decoder = new TextDecoder();
  window.gathered = '';
  const handle = view.channel.onmessage;
  view.channel.onmessage = (event) => {
    window.gathered += decoder.decode(new Uint8Array(event.data), { stream: true });
    return handle(event);
  };
}"""
_numbers = itertools.count(1)


def shown(notebook: Notebook, text: str, number: int = 0) -> None:
    wait_shown(notebook.page, text, number)


def connected(notebook: Notebook, number: int = 0) -> Locator:
    terminal = notebook.page.locator(".labkit-terminal").nth(number)
    expect(terminal).to_have_attribute("data-state", "connected", timeout=30_000)
    terminal.scroll_into_view_if_needed()
    return terminal


def asked(notebook: Notebook, terminal: Locator, number: int = 0) -> str:
    """Type a sum, and see the result: that is no echo of the page's own."""
    place = next(_numbers)
    terminal.locator("textarea").focus()
    notebook.page.keyboard.type(f"echo sum-$((7000+{place}))\n")
    answer = f"sum-{7000 + place}"
    shown(notebook, answer, number)
    return answer


@pytest.fixture
def console(open_cells: Callable[..., Notebook], attach: str) -> Notebook:
    return open_cells(attach, "console = faces.console(vm)\nconsole")


@pytest.fixture
def shell(open_cells: Callable[..., Notebook], attach: str) -> Notebook:
    return open_cells(attach, "shell = faces.shell(vm)\nshell")


def test_the_console_answers_what_is_typed(console: Notebook, screenshots: Path) -> None:
    terminal = connected(console)
    shown(console, "labkit: ready")  # from before it was opened
    asked(console, terminal)
    colours = "printf 'caf\\xc3\\xa9 \\033[32mgreen\\033[0m \\033[1;31mred\\033[0m\\n'\n"
    console.page.keyboard.type(colours)
    shown(console, "café green red")
    console.page.screenshot(path=screenshots / "console_light.png")
    console.theme("Dark")
    console.page.screenshot(path=screenshots / "console_dark.png")
    console.theme("Light")
    assert console.complaints == []


def test_a_second_view_shows_the_same_and_lives_on_alone(console: Notebook) -> None:
    first = connected(console)
    answer = asked(console, first)
    first.locator(".labkit-name").click()
    console.command("notebook:create-output-view")
    expect(console.page.locator(".labkit-terminal")).to_have_count(2)
    second = connected(console, 1)
    shown(console, answer, 1)
    asked(console, second, 1)
    console.command("application:close")  # the second view's tab
    expect(console.page.locator(".labkit-terminal")).to_have_count(1)
    asked(console, connected(console))
    assert console.complaints == []


def test_it_is_there_again_after_the_page_was_loaded_anew(console: Notebook) -> None:
    answer = asked(console, connected(console))
    console.save()
    console.reload()
    terminal = connected(console)
    shown(console, answer)
    asked(console, terminal)
    assert console.complaints == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import threading; threading.Event().wait(300)", id="sleeps"),
        pytest.param("while True: sum(range(1000))", id="computes"),
    ],
)
def test_it_answers_while_a_cell_runs_and_survives_its_interrupt(
    console: Notebook, code: str
) -> None:
    terminal = connected(console)
    console.start_cell(code)
    asked(console, terminal)
    assert console.is_running()
    console.interrupt()
    asked(console, terminal)
    assert console.complaints == []


def test_what_was_shown_is_in_the_saved_notebook_and_not_twice_on_the_page(
    console: Notebook, screenshots: Path
) -> None:
    answer = asked(console, connected(console))
    console.run_code("console.save()")
    twin = console.page.locator(".labkit-twin")
    expect(twin).to_contain_text(answer)
    expect(twin).to_be_hidden()  # the live one is there
    live, kept = console.save()["cells"][1]["outputs"]
    assert "".join(live["data"]["text/plain"]) == ""
    for kind in ("text/plain", "text/html"):
        assert answer in "".join(kept["data"][kind])
    console.page.evaluate("() => document.querySelector('.labkit-terminal').labkit.remove()")
    expect(twin).to_be_visible()
    console.page.screenshot(path=screenshots / "console_saved.png")
    assert console.complaints == []


def test_when_the_kernel_is_gone_it_says_so(console: Notebook, screenshots: Path) -> None:
    connected(console)
    console.run_code("pass")  # finds the kernel
    console.page.evaluate("() => window.labkitKernel.restart()")
    terminal = console.page.locator(".labkit-terminal")
    expect(terminal).to_have_attribute("data-state", "closed", timeout=30_000)
    expect(terminal.get_by_role("status")).to_have_text("the kernel is gone: run the cell again")
    expect(terminal.get_by_role("button", name="Reconnect")).to_be_hidden()
    console.page.screenshot(path=screenshots / "console_closed.png")


def test_a_shell_takes_the_width_of_the_page_and_tells_the_guest(
    shell: Notebook, screenshots: Path
) -> None:
    terminal = connected(shell)
    asked(shell, terminal)
    shell.page.keyboard.type("stty size\n")
    size = shell.page.evaluate(SIZE)
    assert size[1] > 100
    shown(shell, f"{size[0]} {size[1]}")
    shell.page.screenshot(path=screenshots / "shell.png")
    shell.page.set_viewport_size({"width": 900, "height": 900})
    shell.page.wait_for_function(f"(before) => ({SIZE})()[1] < before", arg=size[1])
    size = shell.page.evaluate(SIZE)
    shell.page.keyboard.type("stty size\n")
    shown(shell, f"{size[0]} {size[1]}")
    shell.page.keyboard.type("exit\n")
    expect(terminal).to_have_attribute("data-state", "closed")
    terminal.get_by_role("button", name="Reconnect").click()
    asked(shell, connected(shell))
    assert shell.complaints == []


def test_text_is_copied_and_pasted(shell: Notebook) -> None:
    terminal = connected(shell)
    answer = asked(shell, terminal)
    page = shell.page
    page.evaluate(
        "(text) => { const view = document.querySelector('.labkit-terminal').labkit;"
        " const buffer = view.term.buffer.active;"
        " for (let row = 0; row < buffer.length; row++)"
        "  if (buffer.getLine(row).translateToString(true) === text)"
        "   view.term.select(0, row, text.length); }",
        answer,
    )
    terminal.locator("textarea").focus()
    page.keyboard.press("Control+c")  # copies, for there is a selection: interrupts nothing
    page.keyboard.type("echo pasted-")
    page.keyboard.press("Control+v")
    page.keyboard.press("Enter")
    shown(shell, f"pasted-{answer}")
    page.keyboard.type("echo be''gun; sleep 100\n")
    shown(shell, "begun")
    page.keyboard.press("Control+c")  # interrupts, for nothing is selected
    asked(shell, terminal)
    assert shell.complaints == []


def test_read_only_shows_all_and_sends_nothing(
    open_cells: Callable[..., Notebook], attach: str
) -> None:
    notebook = open_cells(
        attach, "faces.console(vm, read_only=True)", "console = faces.console(vm)\nconsole"
    )
    reader, writer = connected(notebook), connected(notebook, 1)
    expect(reader).to_contain_text("read-only")
    reader.locator("textarea").focus()
    notebook.page.keyboard.type("echo un''wanted\n")
    answer = asked(notebook, writer, 1)
    shown(notebook, answer, 0)
    assert not shows(notebook.page, "unwanted", 1)
    assert notebook.complaints == []


def test_no_key_is_taken_for_a_shortcut_and_shift_escape_leaves(console: Notebook) -> None:
    terminal = connected(console)
    cells = console.page.locator(".jp-Cell").count()
    terminal.locator("textarea").focus()
    console.page.keyboard.type("abxdd")
    console.page.keyboard.press("Control+u")
    asked(console, terminal)
    expect(console.page.locator(".jp-Cell")).to_have_count(cells)
    console.page.keyboard.press("Shift+Escape")
    expect(terminal.get_by_role("button", name="Copy all")).to_be_focused()
    assert console.complaints == []


def test_sixty_thousand_lines_arrive_whole(shell: Notebook) -> None:
    terminal = connected(shell)
    terminal.locator("textarea").focus()
    shell.page.evaluate(GATHER)
    shell.page.keyboard.type("stty -echo; seq 1 60000; echo en''d\n")
    shell.page.wait_for_function("() => window.gathered.includes('end\\r\\n')", timeout=120_000)
    lines = shell.page.evaluate("() => window.gathered").replace("\r", "").split("\n")
    start = lines.index("1")
    assert lines[start : start + 60000] == [str(number) for number in range(1, 60001)]
    assert shell.complaints == []


def test_it_works_in_notebook_7_and_no_key_is_a_shortcut(
    open_cells: Callable[..., Notebook], attach: str, screenshots: Path
) -> None:
    notebook = open_cells(attach, "console = faces.console(vm)\nconsole", front_end="notebooks")
    terminal = connected(notebook)
    cells = notebook.page.locator(".jp-Cell").count()
    terminal.locator("textarea").focus()
    notebook.page.keyboard.type("abxdd")
    notebook.page.keyboard.press("Control+u")
    asked(notebook, terminal)
    notebook.start_cell("import threading; threading.Event().wait(300)")
    asked(notebook, terminal)
    assert notebook.is_running()
    notebook.interrupt()
    expect(notebook.page.locator(".jp-Cell")).to_have_count(cells)
    notebook.page.screenshot(path=screenshots / "notebook7.png")
    assert notebook.complaints == []
