"""``ConformanceHub``: what an adopter hands to the kit. One subclass, one fixture."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta

from durabletask.core.errors import NotSupportedError
from durabletask.core.transport import Transport

from .capabilities import Capabilities

__all__ = ["ConformanceHub"]


class ConformanceHub(ABC):
    """One task hub under test. The kit opens it once per test, and closes it.

    The defaults are those of a hub on real time; a hub on a virtual clock overrides ``advance`` and sets a
    large ``unit``.

    Attributes:
        name: what the report calls the transport.
        capabilities: what it does beyond the base.
        unit: the smallest span of time that tests distinguish. Tests use a handful of units.
        patience: real seconds after which something that must come counts as missing.
        settle_seconds: real seconds after which something that must not come counts as absent.
        abandon_delay: how long an abandoned item may stay away, on the hub's clock.
        lock_timeout: after how long an item that is not completed is delivered again, on the hub's clock;
            needed for the capability ``lock_expiry``.
    """

    name: str = "transport"
    capabilities: Capabilities = Capabilities()
    unit: timedelta = timedelta(milliseconds=250)
    patience: float = 5.0
    settle_seconds: float = 0.05
    abandon_delay: timedelta = timedelta(seconds=1)
    lock_timeout: timedelta | None = None

    @abstractmethod
    async def open(self) -> Transport:
        """A transport connected to a new, empty task hub."""

    async def open_another(self) -> Transport:
        """One more transport to the hub that ``open`` made; the capability ``several_connections``."""
        raise NotSupportedError(f"{self.name} does not offer a second connection to its task hub.")

    async def restart(self) -> Transport:
        """Stop the hub as a crash would, start it on the same storage; the capability ``durable``."""
        raise NotSupportedError(f"{self.name} does not survive a restart.")

    async def close(self) -> None:  # noqa: B027 - many hubs hold no resources
        """Give everything back: transports, servers, files."""

    async def advance(self, by: timedelta) -> None:
        """Let time pass on the hub's clock. On real time: sleep."""
        await asyncio.sleep(by.total_seconds())

    async def settle(self) -> None:
        """Let everything that is under way arrive."""
        await asyncio.sleep(self.settle_seconds)
