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
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
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
START_SECONDS, OPEN_SECONDS = 60, 60
BEGIN_SECONDS, BEGIN_TRIES = 5, 6
# A synchronous predicate on purpose: a promise counts as true at once.
READY = """() => {
  const app = window.jupyterapp;
  if (!app || !app.commands.hasCommand('notebook:run-all-cells')) return false;
  const notebook = [...app.shell.widgets('main')].find((w) => w.context && w.content?.widgets);
  if (!notebook) return false;
  const session = notebook.context.sessionContext;
  return notebook.context.isReady && session.isReady
    && session.session?.kernel?.status === 'idle' && notebook.content.widgets.length > 0;
}"""
HAS_BEGUN = """() => {
  const notebook = [...window.jupyterapp.shell.widgets('main')].find((w) => w.content?.widgets);
  const code = notebook.content.widgets.filter((cell) => cell.model.type === 'code');
  return code.some((cell) => cell.model.executionCount !== null)
    || notebook.context.sessionContext.session.kernel.status === 'busy';
}"""
ALL_RAN = """() => {
  const notebook = [...window.jupyterapp.shell.widgets('main')].find((w) => w.content?.widgets);
  const code = notebook.content.widgets.filter((cell) => cell.model.type === 'code');
  return code.every((cell) => cell.model.executionCount !== null)
    && notebook.context.sessionContext.session.kernel.status === 'idle';
}"""
SAVE = """() => [...window.jupyterapp.shell.widgets('main')]
  .find((w) => w.context?.sessionContext).context.save()"""
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
# loaded anew and does not know its widgets yet.
ALLOWED_NOISE = (
    re.compile(r"^Comm not found for comm id "),
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

    def run_all(self) -> None:
        """Run every cell and wait for the last one."""
        # The command is for the notebook that has the focus; for a moment after it was opened
        # that may be none, and then the command does nothing.
        for _ in range(BEGIN_TRIES):
            # The promise is not returned: behind a dialog it would be waited for without an end.
            self.command("notebook:run-all-cells")
            try:
                self.page.wait_for_function(HAS_BEGUN, timeout=BEGIN_SECONDS * 1000)
            except PlaywrightTimeout:
                continue
            break
        self.page.wait_for_function(ALL_RAN, timeout=OPEN_SECONDS * 1000)

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
        self.page.reload()
        self.page.wait_for_function(READY, timeout=OPEN_SECONDS * 1000)

    def theme(self, name: str) -> None:
        """ "Dark" or "Light"."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name}"})
        light = "true" if name == "Light" else "false"
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", light)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def close(self) -> None:
        """End the kernel and close the page."""
        self.page.evaluate(
            "async () => { for (const w of window.jupyterapp.shell.widgets('main'))"
            " { await w.context?.sessionContext?.shutdown(); } }"
        )
        self.page.close()

    def hide_side_bar(self) -> None:
        self.command("application:toggle-left-area")

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
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}: sudo apt install chromium")
    with chromium() as running:
        yield running


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield running
        running.close()


@pytest.fixture
def open_notebook(browser: Browser, server: Server) -> Iterator[Callable[..., Notebook]]:
    """Opens a copy of a notebook file in a page of its own and waits for its kernel."""
    opened: list[Notebook] = []

    def open_copy(path: Path, front_end: str = "lab/tree") -> Notebook:
        notebook = open_in(browser, server, path, front_end)
        opened.append(notebook)
        return notebook

    yield open_copy
    for notebook in opened:
        notebook.close()


def open_in(browser: Browser, server: Server, path: Path, front_end: str = "lab/tree") -> Notebook:
    """A copy of a notebook file, opened in a page of its own; its kernel is ready."""
    shutil.copy(path, server.root)
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(15_000)
    notebook = Notebook(page, server.root / path.name)
    page.on("pageerror", lambda error: _note(str(error), "", notebook.complaints))
    page.on("console", lambda message: _heard(message, notebook.complaints))
    page.goto(f"{server.url}/{front_end}/{path.name}?reset")
    try:
        page.wait_for_function(READY, timeout=OPEN_SECONDS * 1000)
    except PlaywrightTimeout:  # as a person would; what is tested comes after it
        page.reload()
        page.wait_for_function(READY, timeout=OPEN_SECONDS * 1000)
    return notebook


@pytest.fixture
def open_cells(open_notebook: Callable[..., Notebook], tmp_path: Path) -> Callable[..., Notebook]:
    """Opens a notebook of the given code cells, and runs them."""

    def open_them(*cells: str, front_end: str = "lab/tree") -> Notebook:
        path = tmp_path / f"{secrets.token_hex(4)}.ipynb"
        write_notebook(path, *cells)
        opened = open_notebook(path, front_end)
        if front_end == "lab/tree":
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
    """Where screenshots go: the folder named by LABKIT_SCREENSHOTS, or one that pytest keeps."""
    folder = Path(os.environ.get("LABKIT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
