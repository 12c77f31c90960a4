"""The hub keeps every promise of a transport also when it is reached over gRPC."""

import pytest
from durabletask.testing.conformance import *  # noqa: F403
from wire_hubs import GrpcHub

pytestmark = pytest.mark.process


@pytest.fixture
def conformance_hub() -> GrpcHub:
    """A fresh hub, server and connection per test."""
    return GrpcHub()
