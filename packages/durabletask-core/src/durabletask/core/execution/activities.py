"""Runs one activity work item and makes the answer (protocol sections 3.3 and 8.14).

Whatever the user's code raises becomes a failure of the task; only the cancellation of a worker that stops
passes through.
"""

from __future__ import annotations

from durabletask.core import telemetry
from durabletask.core.authoring import ActivityContext
from durabletask.core.errors import SerializationError
from durabletask.core.registry import Registry
from durabletask.core.serialization import DataConverter
from durabletask.core.work_items import ActivityResult, ActivityWorkItem

from .runner import UserCodeRunner, set_running_item

__all__ = ["ActivityExecutor"]


class ActivityExecutor:
    """Runs activities of a registry."""

    def __init__(self, registry: Registry, converter: DataConverter, runner: UserCodeRunner) -> None:
        self._registry = registry
        self._converter = converter
        self._runner = runner

    async def execute(self, item: ActivityWorkItem) -> ActivityResult:
        """Run the activity; the answer has its success or failure.

        Raises:
            asyncio.CancelledError: the worker stops; the item is not answered.
        """
        try:
            result = await self._run(item)
        except BaseException as error:  # noqa: BLE001 - the boundary to user code; `failure_of` lets some pass
            return ActivityResult(
                instance_id=item.instance_id,
                task_id=item.task_id,
                failure=self._runner.failure_of(error),
                completion_token=item.completion_token,
            )
        return ActivityResult(
            instance_id=item.instance_id,
            task_id=item.task_id,
            result=result,
            completion_token=item.completion_token,
        )

    async def _run(self, item: ActivityWorkItem) -> str | None:
        definition = self._registry.activity(item.name)
        converter = self._converter
        value = definition.read_input(item.input, converter.deserialize)
        context = ActivityContext(
            item.name,
            item.instance_id,
            item.task_id,
            execution_id=item.execution_id,
            version=item.version,
            tags=item.tags,
        )
        with telemetry.running_activity(item), set_running_item(item.completion_token):
            result = await self._runner.call(definition.invoke, definition.is_async, context, value)
        if result is None:
            return None
        try:
            return converter.serialize(result)
        except SerializationError as error:
            raise SerializationError(
                f"Result of activity {item.name!r} ({definition.location}): {error}"
            ) from None
