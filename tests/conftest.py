"""What every test shares: no skip goes unseen where everything can be installed."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import settings

from thorough import examples

pytest_plugins = ["sshd_server", "jupyter_in_browser"]

settings.register_profile("labkit", deadline=None, derandomize=True, max_examples=examples())
settings.load_profile("labkit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fail-on-skip",
        action="store_true",
        help="A skipped test is a failure: for machines where everything can be installed.",
    )
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="Write what comes out into the golden files, to be read as a diff.",
    )


class SkipsFail:
    """Turns skips into failures, and lists them."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.skipped[report.nodeid] = str(reason)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test, reason in self.skipped.items():
            terminalreporter.write_line(f"FAILED (skipped) {test}: {reason}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    # Workers run python3 in nearly every test: this one, and no version manager's script for it.
    programs = f"{sys.base_prefix}/bin"
    if programs not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    # A suite started in the background of a shell ignores Ctrl-C, and so would all it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--fail-on-skip") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipsFail())
