"""A real JupyterLab with folders of its own, a real Chromium, and a notebook opened in both."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)
from playwright.sync_api import TimeoutError as PlaywrightTimeout

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWPORT = ViewportSize(width=1280, height=1000)
START_SECONDS, OPEN_SECONDS, PATIENCE_SECONDS = 60, 60, 30
LAB = "lab/tree"
# What the page is at: `READY` and `ALL_RAN` are asked of it, and who waited in vain is told it.
# Synchronous on purpose: a promise counts as true at once.
STATE = """() => {
  const app = window.jupyterapp;
  const open = app && [...app.shell.widgets('main')].find((w) => w.context && w.content?.widgets);
  const session = open?.context.sessionContext;
  const kernel = session?.session?.kernel;
  return {
    canRun: Boolean(app?.commands.isEnabled('notebook:run-all-cells')), // it has the focus, too
    ran: window.labkitRan,
    document: open?.context.isReady,
    session: session?.isReady,
    kernel: kernel?.status,
    connection: kernel?.connectionStatus,
    cells: open?.content.widgets.length,
    counts: open?.content.widgets.filter((cell) => cell.model.type === 'code')
      .map((cell) => cell.model.executionCount),
    dialogs: [...document.querySelectorAll('.jp-Dialog')].map((one) => one.innerText),
  };
}"""
READY = "(s) => s.canRun && s.document && s.session && s.kernel === 'idle' && s.cells > 0"
# The promise is not returned: behind a dialog it would be waited for without an end.
RUN_ALL = """() => {
  window.labkitRan = false;
  window.jupyterapp.commands.execute('notebook:run-all-cells')
    .then(() => { window.labkitRan = true; });
}"""
ALL_RAN = "(s) => s.ran && s.counts.every((count) => count !== null)"
SAVE = """() => [...window.jupyterapp.shell.widgets('main')]
  .find((w) => w.context?.sessionContext).context.save()"""
RESTART = """() => [...window.jupyterapp.shell.widgets('main')]
  .find((w) => w.context?.sessionContext).context.sessionContext.session.kernel.restart()"""
CLOSE = """async () => {
  for (const open of [...window.jupyterapp.shell.widgets('main')]) {
    await open.context?.sessionContext?.shutdown();
    open.dispose();
  }
}"""
HIDE_SIDE_BAR = """() => {
  const { shell, commands } = window.jupyterapp;
  if (!shell.leftCollapsed) commands.execute('application:toggle-left-area');
}"""
OPEN = "(path) => { window.jupyterapp.commands.execute('docmanager:open', { path }); }"
# The kernel's state tells nothing here: a widget's message makes it idle while the cell runs on.
START_CODE = """(code) => {
  const open = [...window.jupyterapp.shell.widgets('main')].find((w) => w.context?.sessionContext);
  window.labkitKernel = open.context.sessionContext.session.kernel;
  window.labkitCell = '';
  const cell = window.labkitKernel.requestExecute({code});
  cell.onIOPub = (message) => {
    if (message.header.msg_type === 'stream') window.labkitCell = 'running';
  };
  cell.done.finally(() => { window.labkitCell = 'ended'; });
}"""
# What a page may say on its console without anything being wrong: what Notebook 7 says of itself,
# with an empty notebook too; and what JupyterLab says when a widget speaks to a page that was just
# loaded anew and does not know its widgets yet, or when a notebook is closed before it had all
# that it asks a kernel at its opening.
ALLOWED_NOISE = (
    re.compile(r"^Comm not found for comm id "),
    re.compile(r"Canceled future for \w+ message before replies were done"),
    re.compile(r"^Cannot read properties of undefined \(reading 'schema'\)"),
    re.compile(r"^Command 'filebrowser:open-path' not registered"),
)


@dataclass
class Server:
    """A running JupyterLab: where it is, and the folder that it shows."""

    url: str
    root: Path


@dataclass
class Notebook:
    """A notebook opened in a page, and what the page complained about."""

    page: Page
    path: Path
    complaints: list[str] = field(default_factory=list)
    has_own_page: bool = False

    def run_all(self) -> None:
        """Run every cell and wait for the last one."""
        self.page.evaluate(RUN_ALL)
        self.wait_for(ALL_RAN)

    def wait_for(self, what: str) -> None:
        """Wait until the page's state is as wanted."""
        try:
            self.page.wait_for_function(f"() => ({what})(({STATE})())", timeout=OPEN_SECONDS * 1000)
        except PlaywrightTimeout as error:
            state = json.dumps(self.page.evaluate(STATE), indent=1)
            picture = screenshots_folder(self.path.parent) / f"{self.path.stem}.png"
            self.page.screenshot(path=picture)
            raise AssertionError(
                f"in vain waited for {what}:\n{state}\n{picture}\n{self.complaints}"
            ) from error

    def start_cell(self, code: str) -> None:
        """Run code in the kernel, outside of any cell, and return once it runs."""
        self.page.evaluate(START_CODE, f"print('started', flush=True)\n{code}")
        self.page.wait_for_function("() => window.labkitCell !== ''")

    def run_code(self, code: str) -> None:
        """Run code in the kernel to its end, outside of any cell."""
        self.start_cell(code)
        self.page.wait_for_function("() => window.labkitCell === 'ended'")

    def is_running(self) -> bool:
        """Whether what `start_cell` started still runs."""
        return bool(self.page.evaluate("() => window.labkitCell === 'running'"))

    def interrupt(self) -> None:
        """Interrupt what `start_cell` started, and wait for its end."""
        self.page.evaluate("() => { window.labkitKernel.interrupt(); }")
        self.page.wait_for_function("() => window.labkitCell === 'ended'")

    def save(self) -> dict[str, Any]:
        """Save the notebook; answers what is in its file."""
        self.page.evaluate(SAVE)
        content: dict[str, Any] = json.loads(self.path.read_text())
        return content

    def reload(self) -> None:
        """Load the page anew, as F5 does; the kernel lives on."""
        self.has_own_page = True  # JupyterLab now opens anew what was closed in it before
        self.page.reload()
        self.wait_for(READY)

    def restart(self) -> None:
        """Restart the kernel."""
        self.page.evaluate(RESTART)
        self.wait_for(READY)

    def theme(self, name: str) -> None:
        """ "Dark" or "Light"."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name}"})
        light = "true" if name == "Light" else "false"
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", light)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def close(self) -> None:
        """End the kernel and close the notebook."""
        self.page.evaluate(CLOSE)
        if self.has_own_page:
            self.page.close()

    def hide_side_bar(self) -> None:
        self.page.evaluate(HIDE_SIDE_BAR)

    def command(self, name: str, arguments: dict[str, str] | None = None) -> None:
        self.page.evaluate(
            "([name, args]) => { window.jupyterapp.commands.execute(name, args); }",
            [name, arguments or {}],
        )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab for all tests."""
    with jupyterlab(tmp_path_factory.mktemp("jupyterlab")) as running:
        yield running


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Server]:
    """JupyterLab on a free port of loopback, without a token, with no settings of this user."""
    root = folder / "root"
    root.mkdir()
    settings = folder / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = folder / "log"
    with log.open("wb") as output, _jupyterlab(folder, root, port, output) as process:
        try:
            _wait_for(url, process, log)
            yield Server(url, root)
        finally:
            process.terminate()


def _jupyterlab(folder: Path, root: Path, port: int, output: BinaryIO) -> subprocess.Popen[bytes]:
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "config/lab/user-settings",
        "JUPYTERLAB_WORKSPACES_DIR": "config/lab/workspaces",
    }
    options = (
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        f"--ServerApp.root_dir={root}",
    )
    environment = os.environ | {name: str(folder / path) for name, path in own.items()}
    environment["PYTHONPATH"] = str(Path(__file__).parent)  # for what a test's notebook needs
    return subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    pause = threading.Event()
    for _ in range(START_SECONDS * 5):
        try:
            with urllib.request.urlopen(f"{url}/api", timeout=5):
                return
        except OSError:
            if process.poll() is not None:
                break
            pause.wait(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """One Chromium for all tests."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}: sudo apt install chromium")
    with chromium() as running:
        yield running


@contextmanager
def chromium() -> Iterator[BrowserContext]:
    """A Chromium without a window, and one profile in it: JupyterLab is fetched once for all."""
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield running.new_context(viewport=VIEWPORT)
        running.close()


@pytest.fixture
def open_notebook(
    browser: BrowserContext, server: Server, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Opens a copy of a notebook file and waits for its kernel."""
    opened: list[Notebook] = []
    failures = request.session.testsfailed

    def open_copy(path: Path, front_end: str = LAB) -> Notebook:
        notebook = open_in(browser, server, path, front_end)
        opened.append(notebook)
        return notebook

    yield open_copy
    for notebook in opened:
        notebook.close()
    if request.session.testsfailed > failures:  # who knows what its page is at
        for page in browser.pages:
            page.close()


def open_in(browser: BrowserContext, server: Server, path: Path, front_end: str = LAB) -> Notebook:
    """A copy of a notebook file, opened; its kernel is ready.

    JupyterLab is loaded once, and the notebooks are opened in it one after the other: loading it
    takes longer than most tests. Another front end gets a page of its own.
    """
    shutil.copy(path, server.root)
    is_lab = front_end == LAB
    loaded = browser.pages[0] if browser.pages and is_lab else None
    page = loaded or browser.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    page.set_viewport_size(VIEWPORT)
    notebook = Notebook(page, server.root / path.name, has_own_page=not is_lab)
    page.on("pageerror", lambda error: _note(str(error), "", notebook.complaints))
    page.on("console", lambda message: _heard(message, notebook.complaints))
    if loaded is None:
        page.goto(f"{server.url}/{front_end}/{path.name}?reset")
    else:
        page.evaluate(OPEN, path.name)
    notebook.wait_for(READY)
    return notebook


@pytest.fixture
def open_cells(open_notebook: Callable[..., Notebook], tmp_path: Path) -> Callable[..., Notebook]:
    """Opens a notebook of the given code cells, and runs them."""

    def open_them(*cells: str, front_end: str = LAB) -> Notebook:
        path = tmp_path / f"{secrets.token_hex(4)}.ipynb"
        write_notebook(path, *cells)
        opened = open_notebook(path, front_end)
        if front_end == LAB:
            opened.hide_side_bar()
        opened.run_all()
        return opened

    return open_them


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook file with code cells."""
    common: dict[str, Any] = {
        "cell_type": "code",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    made = {
        "cells": [common | {"id": f"cell{n}", "source": code} for n, code in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(made))


def _heard(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type == "error":
        _note(message.text, message.location.get("url", ""), complaints)


def _note(text: str, source: str, complaints: list[str]) -> None:
    if not any(one.search(text) for one in ALLOWED_NOISE):
        complaints.append(f"{text} ({source})")


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where screenshots go."""
    return screenshots_folder(tmp_path)


def screenshots_folder(otherwise: Path) -> Path:
    """Where screenshots go: the folder named by LABKIT_SCREENSHOTS, or another one."""
    folder = Path(os.environ.get("LABKIT_SCREENSHOTS", otherwise))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
