"""The four transports of the project pass the conformance kit: one fixture over all of them."""

from pathlib import Path

import pytest
from conformance_hubs import MemoryHub, SqliteHub, WireHub
from durabletask.testing.conformance import *  # noqa: F403
from durabletask.testing.conformance import ConformanceHub

HUBS = {
    "memory": lambda folder: MemoryHub(),
    "sqlite": SqliteHub,
    "grpc-memory": lambda folder: WireHub(MemoryHub()),
    "grpc-sqlite": lambda folder: WireHub(SqliteHub(folder)),
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.process] if name.startswith("grpc") else []) for name in HUBS
    ]
)
def conformance_hub(request: pytest.FixtureRequest, tmp_path: Path) -> ConformanceHub:
    """A fresh hub per test."""
    return HUBS[request.param](tmp_path)
