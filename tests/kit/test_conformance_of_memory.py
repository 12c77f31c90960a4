"""The in-memory hub passes its own conformance kit."""

import pytest
from conformance_hubs import MemoryHub
from durabletask.testing.conformance import *  # noqa: F403


@pytest.fixture
def conformance_hub() -> MemoryHub:
    """A fresh hub per test."""
    return MemoryHub()
