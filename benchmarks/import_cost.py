"""What `import labkit` costs beyond a bare interpreter, in CPU seconds; pandas for comparison."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

STATEMENTS = {
    "bare interpreter": "pass",
    "import labkit": "import labkit",
    "labkit + simulated API": "import labkit; labkit.DeploymentAPI(labkit.SimulatedExecutor())",
    "import paramiko": "import paramiko",
    "import pandas": "import pandas",
}
LIMIT = 0.15


def cpu_seconds(statement: str) -> float:
    process = subprocess.Popen([sys.executable, "-c", statement])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{statement!r} failed")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds + 1):  # the first round warms the caches
        for name, statement in STATEMENTS.items():
            times[name].append(cpu_seconds(statement))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    bare = medians["bare interpreter"]
    print(f"{'':24}{'CPU s':>8}{'beyond bare':>14}   (medians of {rounds} interleaved rounds)")
    for name, median in medians.items():
        print(f"{name:24}{median:8.3f}{median - bare:14.3f}")
    print(f"import labkit: {medians['import labkit'] - bare:.3f} s; the goal is under {LIMIT} s")


if __name__ == "__main__":
    main()
