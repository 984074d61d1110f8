"""Work on a slice as people see it go on in a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

import pytest
from rich.console import Console

from labkit.cli.progress import MOST_LINES, MOST_TAILS, log_line, render, watching
from labkit.events import (
    Event,
    GuestWaiting,
    ImageBuildStage,
    ImageBuilt,
    ImageCopyProgress,
    PackageProgress,
    PlanMade,
    StepBegun,
    StepDone,
    StepFailed,
)
from labkit.progress import LATE, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def after(events: Iterable[Event], clock: Clock | None = None) -> Progress:
    progress = Progress(clock or Clock())
    for event in events:
        progress.heard(event)
    return progress


def shown(progress: Progress, tails: dict[str, str] | None = None) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(render(progress.work, tails or {}))
    return captured.get()


def test_it_tells_steps_what_each_vm_waits_for_and_how_long_it_takes() -> None:
    clock = Clock()
    started = [
        PlanMade("h", "net", 4, 12.0),
        StepBegun("h", "r1", "start machine", "it is new"),
        StepDone("h", "r1", "start machine", 0.2),
        StepBegun("h", "r1", "configure guest", "it is new"),
    ]
    progress = after(started, clock)
    clock.now += 5
    progress.heard(GuestWaiting("h", "r1", "the kernel has not said a word yet", 5.0))
    text = shown(progress)
    assert "1 of 4 steps" in text
    assert "about 7 s left" in text
    assert "boots: the kernel has not said a word yet" in text
    assert text.split("r1")[1].split("\n")[0].split()[-2:] == ["5", "s"]
    clock.now += 10
    assert "longer than usual (12 s)" in shown(progress)
    progress.heard(StepDone("h", "r1", "configure guest", 15.0))
    assert "r1" not in shown(progress)


def test_the_console_of_a_late_guest_is_shown_below() -> None:
    waits = [
        PlanMade("h", "net", 4, None),
        *(GuestWaiting("h", f"r{number}", "its agent", LATE + number) for number in range(1, 5)),
        GuestWaiting("h", "h1", "its agent", LATE - 1),
    ]
    tails = {name: f"{name}: no root [device]\nwaits" for name in ("r1", "r2", "r3", "r4", "h1")}
    text = shown(after(waits), tails)
    assert "r4 is late: its agent, 24 s. On its console:\n    r4: no root [device]\n" in text
    assert text.count("is late") == MOST_TAILS
    assert "h1" not in text


def test_a_log_tells_once_what_a_late_guest_has_said(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(console=lambda name: f"{name}: no root device") as watch:
        watch(GuestWaiting("h", "r1", "its agent", LATE))
        for _ in range(3):
            watch.look()
    said = capsys.readouterr().err
    assert said.count("r1 is late: its agent, 20 s. On its console:") == 1
    assert "    r1: no root device\n" in said


def test_a_second_round_counts_on() -> None:
    done = StepDone("h", "x", "start steward", 0.1)
    text = shown(after([PlanMade("h", "net", 1, None), done, PlanMade("h", "net", 2, None)]))
    assert "1 of 3 steps" in text
    assert "left" not in text


def test_many_vms_do_not_fill_the_screen() -> None:
    names = [f"r{number}" for number in range(MOST_LINES + 30)]
    begun = [StepBegun("h", name, "start machine", "it is new") for name in names]
    assert "and 30 more" in shown(after(begun))


def test_images_on_their_way_are_told() -> None:
    progress = after([ImageBuildStage("h", "micro", "unpack")])
    assert "unpacking its packages" in shown(progress)
    progress.heard(PackageProgress("h", "linux", 3 << 20, 9 << 20))
    progress.heard(PackageProgress("h", "iproute2", 1 << 20, 1 << 20))
    assert "4.0 MiB" in shown(progress)
    progress.heard(ImageBuilt("h", "micro", 5, 3.0))
    progress.heard(ImageCopyProgress("h", "base.qcow2", 50, 200, 50))
    text = shown(progress)
    assert "system image" not in text
    assert "25%" in text


def test_a_log_has_a_line_for_what_has_happened_and_none_for_what_goes_on() -> None:
    events: list[Event] = [
        PlanMade("h", "net", 4, 12.4),
        PlanMade("h", "net", 1, 0.4),
        StepBegun("h", "r1", "start machine", "it is new"),
        GuestWaiting("h", "r1", "the kernel has not said a word yet", 5.0),
        StepDone("h", "r1", "start machine", 0.25),
        StepFailed("h", "r2", "start machine", 0.25, "no memory"),
    ]
    assert [log_line(event) for event in events] == [
        "4 steps, usually 12 s",
        "1 step",
        None,
        None,
        "r1: start machine, 0.2 s",
        "r2: start machine failed: no memory",
    ]


DEPLOYING = """
import sys
import labkit
net = labkit.Lab("sim").slice("net")
net.add_vm("r1")
if "heard" in sys.argv:
    net.listen(lambda event: None)
net.deploy()
"""


@pytest.mark.parametrize(("words", "is_shown"), [((), True), (("heard",), False)])
def test_python_on_a_terminal_shows_a_deployment_that_nobody_else_watches(
    words: tuple[str, ...], is_shown: bool
) -> None:
    hand, terminal = os.openpty()
    with os.fdopen(terminal, "wb") as end:
        subprocess.run((sys.executable, "-c", DEPLOYING, *words), stderr=end, check=True)
        os.write(terminal, b"-end-")
        said = b""
        while b"-end-" not in said:
            said += os.read(hand, 65536)
    os.close(hand)
    assert (b"of 3 steps" in said) == is_shown
