"""Every test that takes ``hub`` runs against memory and against a SQLite file, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of the hub."""
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def hub(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[InMemoryBackend]:
    """A task hub."""
    store = SqliteStore(tmp_path / "hub.db", "NORMAL") if request.param == "sqlite" else None
    backend = InMemoryBackend(clock=clock, store=store)
    yield backend
    await backend.close()
