"""The four transports of the project as hubs of the conformance kit."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durabletask.core.transport import Transport
from durabletask.testing.backend import InMemoryBackend
from durabletask.testing.clock import VirtualClock
from durabletask.testing.conformance import Capabilities, ConformanceHub


class LocalCapabilities(Capabilities):
    """What our own hub does: everything but, where it is not there yet, the capabilities listed here."""

    scheduled_start = True
    replace_live_instances = True
    payload_gating = True
    recursive_terminate = True
    recursive_purge = True
    filtered_purge = True
    list_instance_ids = True
    restart = True
    rewind = True
    force_terminate = True
    send_event = True
    terminate_action = True
    carry_over_events = True
    requires_history = True
    limits = True
    filters = True
    lock_expiry = True
    cancels_calls_on_close = True


class MemoryHub(ConformanceHub):
    """``InMemoryBackend`` on a virtual clock that the kit moves."""

    name = "memory"
    capabilities = LocalCapabilities()
    unit = timedelta(seconds=1)
    patience = 2.0
    lock_timeout = timedelta(minutes=2)

    def __init__(self) -> None:
        self.clock = VirtualClock(auto_advance=False)
        self.backend: Transport | None = None

    async def open(self) -> Transport:
        self.backend = InMemoryBackend("conformance", clock=self.clock)
        return self.backend

    async def close(self) -> None:
        if self.backend is not None:
            await self.backend.close()

    async def advance(self, by: timedelta) -> None:
        await self.clock.advance(by)

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)
