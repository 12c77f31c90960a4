"""``HubRegistry``: many task hubs by name, in memory or in one store file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from durabletask.core.errors import InvalidRequestError, ResourceExhaustedError
from durabletask.testing.clock import Clock, SystemClock

from .local import ACTIVITY_LOCK, ORCHESTRATION_LOCK, LocalTaskHub
from .residency import InMemory, Storage
from .storage.sqlite import Sqlite
from .validation import check_text

__all__ = ["MAXIMUM_HUBS", "MAXIMUM_HUB_NAME", "HubRegistry"]

MAXIMUM_HUBS = 1000
"""Hubs of one process, those that hold nothing aside."""

MAXIMUM_HUB_NAME = 256
"""Characters."""


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
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def hubs(self) -> Mapping[str, LocalTaskHub]:
        """The hubs that were asked for so far, by name."""
        return MappingProxyType(self._hubs)

    def hub(self, name: str) -> LocalTaskHub:
        """The hub of that name, which is new at the first call.

        A name comes from the header of any call, so hubs that hold nothing are dropped when there are too many.

        Raises:
            InvalidRequestError: the name is empty, too long, or no valid text.
            ResourceExhaustedError: there are too many hubs with something in them.
        """
        hub = self._hubs.get(name)
        if hub is None:
            check_text("The name of a task hub", name)
            if not name or len(name) > MAXIMUM_HUB_NAME:
                raise InvalidRequestError(
                    f"The name of a task hub has {len(name)} characters; it must have 1 to {MAXIMUM_HUB_NAME}."
                )
            if len(self._hubs) >= MAXIMUM_HUBS:
                self._let_go()
            hub = self._hubs[name] = LocalTaskHub(
                name,
                clock=self.clock,
                storage=self.storage,
                orchestration_lock=self._orchestration_lock,
                activity_lock=self._activity_lock,
            )
        return hub

    def _let_go(self) -> None:
        for name, hub in list(self._hubs.items()):
            if hub.is_unused and name != "default":
                del self._hubs[name]
                closing = asyncio.get_running_loop().create_task(hub.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        if len(self._hubs) >= MAXIMUM_HUBS:
            raise ResourceExhaustedError(
                f"There are {len(self._hubs)} task hubs in use, which is the limit. Check the name of the task hub; delete "
                "hubs that are not needed."
            )

    async def close(self) -> None:
        """Close every hub, and with the last the store file. Hubs in memory are forgotten."""
        hubs = list(self._hubs.values())
        self._hubs.clear()
        for hub in hubs:
            await hub.close()
        await asyncio.gather(*self._closing)
