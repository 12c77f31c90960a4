"""The example transport passes the base level when its clients and its workers are two processes at one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from durabletask.testing.conformance import *  # noqa: F403
from durabletask.testing.conformance import ConformanceHub
from polling_hubs import OtherProcess, TwoProcessHub

pytestmark = [pytest.mark.process, pytest.mark.extended]


@pytest.fixture(scope="module")
def other_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherProcess]:
    """One process for the workers of all tests; every test has a file of its own."""
    other = OtherProcess(tmp_path_factory.mktemp("hubs"))
    yield other
    other.end()


@pytest.fixture
def conformance_hub(tmp_path: Path, other_process: OtherProcess) -> ConformanceHub:
    """A fresh file per test."""
    return TwoProcessHub(tmp_path, other_process)
