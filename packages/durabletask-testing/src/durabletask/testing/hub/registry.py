"""``HubRegistry``: many task hubs by name, in memory or in one store file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from durabletask.testing.clock import Clock, SystemClock

from .local import ACTIVITY_LOCK, ORCHESTRATION_LOCK, LocalTaskHub
from .residency import InMemory, Storage
from .storage.sqlite import Sqlite

__all__ = ["HubRegistry"]


class HubRegistry:
    """Task hubs that are made when they are first asked for.

    Args:
        store_path: one SQLite file for all hubs; ``None`` keeps them in memory.
        synchronous: see ``Sqlite``.
        clock: one clock for all hubs; real time by default.
        max_finished_instances: in memory, how many finished instances each hub keeps.
        orchestration_lock: see ``LocalTaskHub``.
        activity_lock: see ``LocalTaskHub``.
    """

    def __init__(
        self,
        store_path: str | Path | None = None,
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        clock: Clock | None = None,
        max_finished_instances: int | None = None,
        orchestration_lock: timedelta = ORCHESTRATION_LOCK,
        activity_lock: timedelta = ACTIVITY_LOCK,
    ) -> None:
        self.storage: Storage = (
            InMemory(max_finished_instances=max_finished_instances)
            if store_path is None
            else Sqlite(store_path, synchronous)
        )
        self.clock: Clock = clock or SystemClock()
        self._orchestration_lock = orchestration_lock
        self._activity_lock = activity_lock
        self._hubs: dict[str, LocalTaskHub] = {}

    @property
    def hubs(self) -> Mapping[str, LocalTaskHub]:
        """The hubs that were asked for so far, by name."""
        return MappingProxyType(self._hubs)

    def hub(self, name: str) -> LocalTaskHub:
        """The hub of that name, which is new at the first call."""
        hub = self._hubs.get(name)
        if hub is None:
            hub = self._hubs[name] = LocalTaskHub(
                name,
                clock=self.clock,
                storage=self.storage,
                orchestration_lock=self._orchestration_lock,
                activity_lock=self._activity_lock,
            )
        return hub

    async def close(self) -> None:
        """Close every hub, and with the last the store file. Hubs in memory are forgotten."""
        hubs = list(self._hubs.values())
        self._hubs.clear()
        for hub in hubs:
            await hub.close()
