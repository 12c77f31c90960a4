"""Runs a batch of entity operations (protocol section 11.4)."""

from __future__ import annotations

from durabletask.core.errors import EntityNotRegisteredError
from durabletask.core.failures import FailureDetails
from durabletask.core.registry import Registry
from durabletask.core.serialization import DataConverter
from durabletask.core.work_items import EntityBatchResult, EntityOperationResult, EntityWorkItem

__all__ = ["EntityExecutor"]


class EntityExecutor:
    """Runs entities of a registry."""

    def __init__(self, registry: Registry, converter: DataConverter) -> None:
        self._registry = registry
        self._converter = converter

    async def execute(self, item: EntityWorkItem) -> EntityBatchResult:
        """Run the batch."""
        failure = FailureDetails.from_exception(
            EntityNotRegisteredError(item.instance_id, self._registry.entity_names)
        )
        return EntityBatchResult(
            instance_id=item.instance_id,
            results=[EntityOperationResult(failure=failure) for _ in item.operations],
            state=item.state,
            operations=item.operations,
            completion_token=item.completion_token,
        )
