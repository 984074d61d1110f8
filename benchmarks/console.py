"""What it costs to type on a machine from a notebook, beside a bare QEMU's serial socket.

A real machine behind a real JupyterLab in a real Chromium. Key to echo is timed in the page, from
the key's event to the terminal having read the answer; the bare socket is one QEMU of the same
image whose serial line a blocking client holds. Rounds are interleaved; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.programs import qemu

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import jupyter_in_browser as front
from machines_lab import MachinesLab, machines_lab, micro_kernel

KEYS = 25
SECONDS = 5.0
WAIT = 120.0
SLEEPS = "import threading; threading.Event().wait(600)"
BURNS = "while True: sum(range(1000))"

WATCH_KEYS = """() => {
  const view = document.querySelector('.labkit-terminal').labkit;
  window.echoes = [];
  let pressed = null;
  window.addEventListener('keydown', () => { pressed = performance.now(); }, true);
  view.term.onWriteParsed(() => {
    if (pressed !== null) { window.echoes.push(performance.now() - pressed); pressed = null; }
  });
}"""
WATCH_UPDATES = """() => {
  const rfb = document.querySelector('.labkit-screen').labkit.rfb;
  const update = rfb._framebufferUpdate;
  window.updates = 0;
  rfb._framebufferUpdate = function () {
    const whole = update.call(this);
    if (whole) window.updates += 1;
    return whole;
  };
}"""
SCREEN_MESSAGES = "() => document.querySelector('.labkit-screen').labkit.channel.received.messages"
TIME_PAINT = """async () => {
  const began = performance.now();
  const seen = (selector) => new Promise((done) => {
    const look = () => {
      if (document.querySelector(selector)) done(performance.now() - began);
      else requestAnimationFrame(look);
    };
    look();
  });
  const all = Promise.all([seen('.labkit-terminal .xterm-screen'),
    seen('.labkit-terminal[data-state=connected]')]);
  window.jupyterapp.commands.execute('notebook:run-cell');
  return await all;
}"""


class BareLine:
    """The serial line of a QEMU that nobody else speaks to."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lk", dir="/tmp")
        options = qemu.MachineOptions("bare", str(uuid.uuid4()), 128, kernel=micro_kernel())
        argv = [word for word in qemu.command(options) if word != "-S"]
        self._qemu = subprocess.Popen(
            argv, cwd=self._folder.name, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(WAIT)
        deadline = time.monotonic() + WAIT
        while True:
            try:
                self._line.connect(f"{self._folder.name}/{qemu.SERIAL}")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._until(b"ready in")
        self._line.sendall(b"\n")
        self._until(b"# ")

    def key(self) -> float:
        """Milliseconds from a key to its echo."""
        began = time.perf_counter()
        self._line.sendall(b"x")
        self._until(b"x")
        return (time.perf_counter() - began) * 1000

    def clear(self) -> None:
        self._line.sendall(b"\x15")
        time.sleep(0.3)
        self._line.recv(1 << 16)

    def close(self) -> None:
        self._line.close()
        self._qemu.terminate()
        self._qemu.wait()
        self._folder.cleanup()

    def _until(self, words: bytes) -> None:
        said = b""
        while words not in said:
            said += self._line.recv(1 << 16)


class BareScreen:
    """A client of the machine's screen that does nothing with what it is told."""

    def __init__(self, lab: MachinesLab) -> None:
        self._connection = lab.machines.get(1).open_screen()
        self._rest = bytearray()
        self._take(12)
        self._connection.write(b"RFB 003.008\n", WAIT)
        self._take(self._take(1)[0])
        self._connection.write(b"\1", WAIT)  # no password
        self._take(4)
        self._connection.write(b"\1", WAIT)  # shared
        self._size = struct.unpack("!HH", self._take(4))
        self._take(16)
        self._take(struct.unpack("!I", self._take(4))[0])
        self._connection.write(struct.pack("!BxHi", 2, 1, 0), WAIT)  # plain pixels only
        self.update(incremental=0)

    def update(self, incremental: int = 1) -> None:
        """Ask for what has changed, and wait for it."""
        self._connection.write(struct.pack("!BBHHHH", 3, incremental, 0, 0, *self._size), WAIT)
        while self._take(1)[0] != 0:
            pass
        _, count = struct.unpack("!BH", self._take(3))
        for _ in range(count):
            _, _, width, height, _ = struct.unpack("!HHHHi", self._take(12))
            self._take(width * height * 4)

    def rate(self) -> float:
        """Updates a second, each asked for as soon as the one before is there."""
        began, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < SECONDS:
            self.update()
            count += 1
        return count / passed

    def close(self) -> None:
        self._connection.close()

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._rest += self._connection.read(1 << 16, WAIT)
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data


@contextmanager
def opened(lab: MachinesLab, *cells: str) -> Iterator[front.Notebook]:
    """A notebook whose first cell finds the machine; the others are not run."""
    with (
        tempfile.TemporaryDirectory() as folder,
        front.jupyterlab(Path(folder)) as server,
        front.chromium() as browser,
    ):
        attach = (
            "import live_machine\nfrom labkit_widgets import faces\n"
            f"vm = live_machine.attach({str(lab.folder.parent)!r}, {lab.key!r})"
        )
        path = Path(folder) / "bench.ipynb"
        front.write_notebook(path, attach, *cells)
        notebook = front.open_in(browser, server, path)
        yield notebook
        notebook.close()


def keys(notebook: front.Notebook) -> list[float]:
    """Milliseconds from key to echo in the terminal of the page."""
    page = notebook.page
    page.evaluate("() => { window.echoes = []; }")
    page.locator(".labkit-terminal textarea").focus()
    for _ in range(KEYS):
        before = page.evaluate("() => window.echoes.length")
        page.keyboard.press("x")
        page.wait_for_function("(before) => window.echoes.length > before", arg=before)
        time.sleep(0.1)
    found: list[float] = page.evaluate("() => window.echoes")
    page.keyboard.press("Control+u")
    time.sleep(0.5)
    return found


def told(name: str, values: list[float], rival: list[float]) -> None:
    median, other = statistics.median(values), statistics.median(rival)
    worst = sorted(values)[int(0.9 * (len(values) - 1))]
    print(f"{name:<44} {median:6.1f} ms (9 of 10: {worst:.0f})   bare {other:.1f} ms")


def type_on(lab: MachinesLab, face: str, bare: BareLine, rounds: int) -> None:
    """Key to echo: kernel idle, cell that sleeps, cell that computes; and the first paint."""
    times: dict[str, list[float]] = {"idle": [], "sleeps": [], "burns": [], "bare": []}
    with opened(lab, f"faces.{face}(vm)") as notebook:
        paint(notebook, face)
        notebook.page.evaluate(WATCH_KEYS)
        for _ in range(rounds):
            times["bare"] += [bare.key() for _ in range(KEYS)]
            bare.clear()
            times["idle"] += keys(notebook)
            for name, code in (("sleeps", SLEEPS), ("burns", BURNS)):
                notebook.start_cell(code)
                times[name] += keys(notebook)
                assert notebook.is_running()
                notebook.interrupt()
    told(f"{face}: key to echo, kernel idle", times["idle"], times["bare"])
    told(f"{face}: key to echo, a cell sleeps", times["sleeps"], times["bare"])
    told(f"{face}: key to echo, a cell computes", times["burns"], times["bare"])


def paint(notebook: front.Notebook, face: str) -> None:
    """Run the cell with the terminal, and tell how soon it is seen."""
    page = notebook.page
    notebook.hide_side_bar()
    page.locator(".jp-Cell").first.click()
    notebook.command("notebook:run-cell-and-select-next")
    page.wait_for_function("() => document.querySelector('.jp-InputPrompt').innerText === '[1]:'")
    time.sleep(2)
    painted, connected = page.evaluate(TIME_PAINT)
    name = f"{face}: first paint after the cell was run"
    print(f"{name:<44} {painted:6.1f} ms, connected {connected:.1f} ms")


def watch_screen(lab: MachinesLab, rounds: int) -> None:
    """Updates a second while the screen scrolls, and messages while it is still."""
    guest = lab.machines.get(1).guest
    rates: list[float] = []
    bare: list[float] = []
    with opened(lab, "faces.screen(vm)") as notebook:
        notebook.hide_side_bar()
        notebook.run_all()
        page = notebook.page
        page.wait_for_selector(".labkit-screen[data-state=connected]", timeout=30_000)
        time.sleep(5)
        page.evaluate(WATCH_UPDATES)
        before = page.evaluate(SCREEN_MESSAGES)
        time.sleep(SECONDS)
        still = page.evaluate(SCREEN_MESSAGES) - before
        for _ in range(rounds):
            guest.run("while true; do seq 1 500; done > /dev/tty1 & echo $! > /tmp/scrolls")
            time.sleep(1)
            first, began = page.evaluate("() => window.updates"), time.perf_counter()
            time.sleep(SECONDS)
            last = page.evaluate("() => window.updates")
            rates.append((last - first) / (time.perf_counter() - began))
            raw = BareScreen(lab)
            bare.append(raw.rate())
            raw.close()
            guest.run("kill $(cat /tmp/scrolls)")
            time.sleep(1)
    print(
        f"{'screen of a scrolling console':<44} {statistics.median(rates):6.1f} updates/s"
        f"   bare client beside it {statistics.median(bare):.1f}"
    )
    print(f"{'screen that is still':<44} {still:6d} messages in {SECONDS:.0f} s")


def import_cost(rounds: int) -> None:
    """CPU seconds of importing the widgets, beside ipywidgets and pandas, which they stand on."""

    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    count = 2 * rounds + 1
    ours = statistics.median(seconds("import labkit_widgets") for _ in range(count))
    bare = statistics.median(seconds("import ipywidgets") for _ in range(count))
    print(
        f"{'import labkit_widgets':<44} {ours * 1000:6.0f} ms of CPU"
        f"     ipywidgets alone {bare * 1000:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("type", "screen", "import"))
    chosen = parser.parse_args()
    if chosen.only in (None, "import"):
        import_cost(chosen.rounds)
    if chosen.only == "import":
        return
    with machines_lab() as lab:
        lab.start(screen=True)
        if chosen.only in (None, "type"):
            bare = BareLine()
            for face in ("console", "shell"):
                type_on(lab, face, bare, chosen.rounds)
            bare.close()
        if chosen.only in (None, "screen"):
            watch_screen(lab, chosen.rounds)


if __name__ == "__main__":
    main()
