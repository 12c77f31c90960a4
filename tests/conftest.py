"""Fixtures of the whole suite: the transports of the project, one after another."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from other_products import NotInstallableError

if TYPE_CHECKING:
    from durabletask.testing.conformance import ConformanceHub

# The same examples every time, and none that fails because the machine is busy.
settings.register_profile(
    "suite", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

_HUBS = {
    "memory": [],
    "sqlite": [],
    "grpc-memory": [pytest.mark.process],
    "grpc-sqlite": [pytest.mark.process, pytest.mark.extended],
    "real-time": [pytest.mark.extended],
}


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, marks in _HUBS.items()])
def conformance_hub(request: pytest.FixtureRequest, tmp_path: Path) -> ConformanceHub:
    """A fresh hub per test, for every transport of the project: ``await hub.open()`` gives the transport."""
    from conformance_hubs import MemoryHub, RealTimeHub, SqliteHub, WireHub

    makers = {
        "memory": MemoryHub,
        "sqlite": lambda: SqliteHub(tmp_path),
        "grpc-memory": lambda: WireHub(MemoryHub()),
        "grpc-sqlite": lambda: WireHub(SqliteHub(tmp_path)),
        "real-time": RealTimeHub,
    }
    return makers[request.param]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what waits for processes; leave out long runs, unless ``-m`` or the profile of the laws names them."""
    items.sort(key=lambda item: item.get_closest_marker("process") is None)
    profile = config.getoption("--hypothesis-profile", default=None) or os.environ.get("DURABLETASK_LAWS")
    if "extended" in config.option.markexpr or profile == "extended":
        return
    slow = [item for item in items if item.get_closest_marker("extended")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("extended")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a `network` test whose fixtures cannot install what they need."""
    return (yield from _skip_without_network(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a `network` test that cannot install what it needs."""
    return (yield from _skip_without_network(item))


def _skip_without_network(item: pytest.Item) -> Generator[None, object, object]:
    try:
        return (yield)
    except NotInstallableError as error:
        if item.get_closest_marker("network") is None or os.environ.get("DURABLETASK_NETWORK") == "required":
            raise
        pytest.skip(f"no network: {error}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were left out because no package registry answered."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("no network: " in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(
            f"{count} tests of other products were skipped: they are not installed and no package registry answered "
            "(DURABLETASK_NETWORK=required makes this an error)",
            yellow=True,
        )
