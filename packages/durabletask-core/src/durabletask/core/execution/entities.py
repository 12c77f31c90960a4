"""Runs a batch of entity operations (protocol section 11.4).

Each operation commits its state and messages, or undoes both when it fails; later operations still run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Final, cast

from durabletask.core import telemetry
from durabletask.core.entities import EntityId
from durabletask.core.entity_context import EntityContext, TaskEntity, declared_state_of
from durabletask.core.entity_state import DeclaredState
from durabletask.core.errors import SerializationError
from durabletask.core.history import EntityOperationCalled, EntityOperationSignaled
from durabletask.core.registry import Definition, EntityDefinition, Registry
from durabletask.core.serialization import DataConverter
from durabletask.core.times import utc_now
from durabletask.core.work_items import EntityBatchResult, EntityOperationResult, EntityWorkItem

from .runner import UserCodeRunner, set_running_item

__all__ = ["EntityExecutor"]

_MOST_SECONDS: Final = 5.0  # of a batch; the operation that runs then is the last one
_MOST_BYTES: Final = 3 * 1024 * 1024
"""Of the results of a batch and its state; hubs take messages of 4 MiB unless they are configured."""


class EntityExecutor:
    """Runs entities of a registry."""

    def __init__(
        self,
        registry: Registry,
        converter: DataConverter,
        runner: UserCodeRunner,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._registry = registry
        self._now = now
        self._converter = converter
        self._runner = runner

    async def execute(self, item: EntityWorkItem) -> EntityBatchResult:
        """Run the operations in order; the answer has the success or failure of each.

        It ends early when it would not fit into a message, or takes long: its callers wait for it, and its lease ends some
        time. The hub delivers the other operations again.

        Raises:
            asyncio.CancelledError: the worker stops; the item is not answered.
        """
        entity_id = EntityId.parse(item.instance_id)
        context = EntityContext(entity_id, self._converter, item.state, now=self._now)
        with set_running_item(item.completion_token):
            results, size, end = list[EntityOperationResult](), 0, monotonic() + _MOST_SECONDS
            for operation in item.operations:
                outcome = await self._run(operation, entity_id, context)
                results.append(outcome)
                size += len((outcome.result or "").encode())
                if size + len(context._text or "") > _MOST_BYTES or monotonic() >= end:  # noqa: SLF001
                    break
        return EntityBatchResult(
            instance_id=item.instance_id,
            results=results,
            actions=context._actions,  # noqa: SLF001 - the context is the executor's own
            state=context._text,  # noqa: SLF001
            operations=item.operations,
            completion_token=item.completion_token,
        )

    async def _run(
        self,
        operation: EntityOperationCalled | EntityOperationSignaled,
        entity_id: EntityId,
        context: EntityContext,
    ) -> EntityOperationResult:
        started_at = utc_now()
        result, failure = None, None
        try:
            definition = self._registry.entity(entity_id.name)
            with (
                telemetry.running_operation(entity_id, operation.operation, operation.trace_context),
                context._running(operation.operation),  # noqa: SLF001
            ):
                result = await self._call(definition, operation.input, context)
        except BaseException as error:  # noqa: BLE001 - the boundary to user code; `failure_of` lets some pass
            failure = self._runner.failure_of(error)
        return EntityOperationResult(
            result=result, failure=failure, started_at=started_at, ended_at=utc_now()
        )

    async def _call(
        self, definition: EntityDefinition, payload: str | None, context: EntityContext
    ) -> str | None:
        called: Definition = definition
        receiver: object = context
        declared: DeclaredState | None = None
        if isinstance(definition.target, type):
            called = definition.operation(context.operation)
            entity = cast("TaskEntity[object]", definition.target())
            entity._context = context  # noqa: SLF001
            receiver = entity
            if called.function is not TaskEntity.delete:  # which works on a state that cannot be read, too
                declared = declared_state_of(definition.target)
            if declared is not None:
                declared.load(entity, context)
        value = called.read_input(payload, self._converter.deserialize)
        is_async = inspect.iscoroutinefunction(called.function)
        result = await self._runner.call(called.invoke, is_async, receiver, value)
        if declared is not None:
            declared.store(receiver, context)
        try:
            return self._converter.serialize(result)
        except SerializationError as error:
            subject = f"operation {context.operation!r} of entity {definition.name!r} ({called.location})"
            raise SerializationError(f"Result of {subject}: {error}") from None
