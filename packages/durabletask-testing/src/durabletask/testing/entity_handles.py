"""What the entity handles of a test environment stand on; ``env.entity(Counter, "k")`` is a handle as clients have it.

Calls, signals and reads happen after every earlier command of the test. A call lets virtual time run until the answer is
there, and returns when its effects have happened. A signal is a ``Command``. Code inside a work item only sends and waits.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from durabletask.core.entities import EntityId, EntityMetadata

from .commands import Command
from .harness import Harness

__all__ = ["EnvironmentEntities"]

__tracebackhide__ = True  # pytest shows the line of the test instead


class EnvironmentEntities:
    """Takes the place of the client in the entity handles of an environment."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    async def call_entity(
        self, entity_id: EntityId, operation: str, input: object = None, *, return_type: object = None
    ) -> object:
        """Call an operation, however much virtual time it takes.

        Raises:
            TaskFailedError: the operation failed.
            StuckOrchestrationError: nothing is under way that could answer.
        """
        await self._harness.catch_up()
        call = cast(
            "Callable[..., Awaitable[object]]", self._harness.client.call_entity
        )  # the overloads are for callers
        result = await call(entity_id, operation, input, return_type=return_type, timeout=None)
        await self._harness.catch_up()
        return result

    def signal_entity(self, entity_id: EntityId, operation: str, input: object = None) -> Command:
        """Signal an operation."""
        client = self._harness.client
        return self._harness.command(lambda: client.signal_entity(entity_id, operation, input))

    async def get_entity(
        self, entity_id: EntityId, state_type: type[object] | None = None
    ) -> EntityMetadata | None:
        """What is known of an entity."""
        await self._harness.catch_up()
        found: EntityMetadata | None = await self._harness.client.get_entity(entity_id, state_type)
        return found
