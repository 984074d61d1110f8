"""Work on a slice as people see it go on."""

from __future__ import annotations

from rich.console import Console

from labkit.cli.progress import MOST_LINES, Progress, log_line
from labkit.events import (
    Converged,
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


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(progress: Progress) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(progress.render())
    return captured.get()


def test_it_tells_steps_what_each_vm_waits_for_and_how_long_it_takes() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress(PlanMade("h", "net", 4, 12.0))
    progress(StepBegun("h", "r1", "start machine", "it is new"))
    progress(StepDone("h", "r1", "start machine", 0.2))
    progress(StepBegun("h", "r1", "configure guest", "it is new"))
    clock.now += 5
    progress(GuestWaiting("h", "r1", "the kernel has not said a word yet", 5.0))
    text = shown(progress)
    assert "1 of 4 steps" in text
    assert "about 7 s left" in text
    assert "boots: the kernel has not said a word yet" in text
    assert text.split("r1")[1].split("\n")[0].split()[-2:] == ["5", "s"]
    clock.now += 10
    assert "longer than the usual 12 s" in shown(progress)
    progress(StepDone("h", "r1", "configure guest", 15.0))
    progress(Converged("h", "net", 15.2))
    assert "r1" not in shown(progress)
    assert progress.seconds == 15.2


def test_a_second_round_counts_on() -> None:
    progress = Progress(Clock())
    progress(PlanMade("h", "net", 1, None))
    progress(StepDone("h", "x", "start steward", 0.1))
    progress(PlanMade("h", "net", 2, None))
    assert "1 of 3 steps" in shown(progress)
    assert "left" not in shown(progress)


def test_many_vms_do_not_fill_the_screen() -> None:
    progress = Progress(Clock())
    for number in range(MOST_LINES + 30):
        progress(StepBegun("h", f"r{number}", "start machine", "it is new"))
    assert "and 30 more" in shown(progress)


def test_images_on_their_way_are_told() -> None:
    progress = Progress(Clock())
    progress(ImageBuildStage("h", "micro", "unpack"))
    assert "unpacking its packages" in shown(progress)
    progress(PackageProgress("h", "linux", 3 << 20, 9 << 20))
    progress(PackageProgress("h", "iproute2", 1 << 20, 1 << 20))
    assert "4.0 MiB" in shown(progress)
    progress(ImageBuilt("h", "micro", 5, 3.0))
    progress(ImageCopyProgress("h", "base.qcow2", 50, 200, 50))
    text = shown(progress)
    assert "micro" not in text
    assert "25%" in text


def test_a_log_has_a_line_for_what_has_happened_and_none_for_what_goes_on() -> None:
    events: list[Event] = [
        PlanMade("h", "net", 4, 12.4),
        StepBegun("h", "r1", "start machine", "it is new"),
        GuestWaiting("h", "r1", "the kernel has not said a word yet", 5.0),
        StepDone("h", "r1", "start machine", 0.25),
        StepFailed("h", "r2", "start machine", 0.25, "no memory"),
    ]
    assert [log_line(event) for event in events] == [
        "4 steps, usually 12 s",
        None,
        None,
        "r1: start machine, 0.2 s",
        "r2: start machine failed: no memory",
    ]
