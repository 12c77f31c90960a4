"""Fixtures of the whole suite: the transports of the project, one after another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from durabletask.testing.conformance import ConformanceHub

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
