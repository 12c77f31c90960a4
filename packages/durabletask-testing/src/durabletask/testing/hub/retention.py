"""How many ended instances a hub keeps."""

from __future__ import annotations

from collections import deque

from .state import HubState, Instance

__all__ = ["Retention"]


class Retention:
    """Drops the instances that ended first when more than ``limit`` have ended; ``None`` keeps all."""

    def __init__(self, state: HubState, limit: int | None) -> None:
        self._state = state
        self._limit = limit
        self._ended: deque[tuple[str, int]] = deque()

    def add(self, instance: Instance) -> None:
        """Note that an instance has ended."""
        entry = instance.instance_id, instance.key
        if self._limit is None or entry in self._ended:
            return
        self._ended.append(entry)
        while len(self._ended) > self._limit:
            instance_id, key = self._ended.popleft()
            oldest = self._state.instances.get(instance_id)
            # The id may have been purged, or used again, since.
            if oldest is not None and oldest.key == key and oldest.is_terminal:
                self._state.drop(oldest)

    def clear(self) -> None:
        """Forget all ended instances."""
        self._ended.clear()
