"""What tests of the wire share."""

from __future__ import annotations

import pytest
import wire_server


@pytest.fixture(params=[pytest.param(True, id="direct"), pytest.param(False, id="aio")])
def both_servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of the test take calls from gRPC's queue, and through ``grpc.aio``."""
    monkeypatch.setattr(wire_server, "DIRECT", request.param)
