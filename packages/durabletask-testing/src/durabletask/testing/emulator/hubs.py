"""The task hubs of an emulator: made when they are first named, all in one store."""

from __future__ import annotations

from pathlib import Path

from durabletask.core.errors import NotSupportedError
from durabletask.core.transport import Transport
from durabletask.testing.backend import InMemoryBackend

__all__ = ["EmulatorHubs"]


class EmulatorHubs:
    """Finds a task hub by its name.

    Args:
        store: the file that holds them all; ``None``: they live in memory.
    """

    def __init__(self, store: Path | None = None) -> None:
        if store is not None:
            raise NotSupportedError("Task hubs in a file are not available yet; leave out --store.")
        self._hubs: dict[str, InMemoryBackend] = {}

    def __call__(self, task_hub: str) -> Transport:
        """The hub of that name."""
        hub = self._hubs.get(task_hub)
        if hub is None:
            hub = self._hubs[task_hub] = InMemoryBackend(task_hub)
        return hub

    async def close(self) -> None:
        """Close every hub."""
        for hub in self._hubs.values():
            await hub.close()
