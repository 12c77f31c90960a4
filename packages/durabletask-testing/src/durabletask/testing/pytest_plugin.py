"""The pytest plugin: fixtures for tests of orchestrations, seeds for chaos, the conformance report.

Every test run of a project that has the package installed loads this module, so it imports nothing of the
project before a fixture asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .backend import InMemoryBackend
    from .clock import VirtualClock
    from .conformance import ConformanceReport

__all__ = ["durable_env", "task_hub", "virtual_clock"]

pytest.register_assert_rewrite("durabletask.testing.conformance")

_CONFORMANCE_PROPERTY = "durabletask_conformance"  # the same as conformance.spec.RESULT_PROPERTY


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    group = parser.getgroup("durabletask")
    group.addoption(
        "--conformance-report",
        metavar="FILE",
        default=None,
        help="write the report of the transport conformance kit to FILE, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers of the plugin."""
    config.addinivalue_line(
        "markers", "chaos(seeds): run a test that uses the fixture 'durable_env' once per chaos seed"
    )
    config.pluginmanager.register(_ConformanceCollector(), "durabletask-conformance")


# --- fixtures ---------------------------------------------------------------------------------------------


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A virtual clock that jumps to the next due time when nothing else can happen."""
    from .clock import VirtualClock  # noqa: PLC0415 - see the head of the module

    return VirtualClock()


@pytest.fixture
def task_hub(virtual_clock: VirtualClock) -> InMemoryBackend:
    """An empty in-memory task hub on the virtual clock: a transport for clients and workers."""
    from .backend import InMemoryBackend  # noqa: PLC0415

    return InMemoryBackend("test", clock=virtual_clock)


# --- conformance report -------------------------------------------------------------------------------------


class _ConformanceCollector:
    """Collects the outcomes of spec tests; works in the controlling process of xdist too."""

    def __init__(self) -> None:
        self._report: ConformanceReport | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        label = dict(report.user_properties).get(_CONFORMANCE_PROPERTY)
        if not isinstance(label, dict) or (report.when != "call" and report.passed):
            return
        if self._report is None:
            from .conformance.report import ConformanceReport  # noqa: PLC0415

            self._report = ConformanceReport()
        outcome = "failed" if report.failed else "skipped" if report.skipped else "passed"
        self._report.add(label, outcome, report.nodeid.partition("::")[2])

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if self._report is None:
            return
        terminalreporter.section("transport conformance")
        for line in self._report.as_text().splitlines():
            terminalreporter.write_line(line)
        target = config.getoption("--conformance-report")
        if target:
            Path(target).write_bytes(self._report.as_json())
            terminalreporter.write_line(f"report written to {target}")
