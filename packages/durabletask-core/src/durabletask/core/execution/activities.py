"""Runs one activity work item and makes the answer (protocol sections 3.3 and 8.14).

``async def`` activities run on the event loop, plain functions in a bounded pool of threads with a copy of
the caller's context variables. Whatever the user's code raises becomes a failure of the task; only the
cancellation of the surrounding task (a worker that stops) passes through.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from durabletask.core.authoring import ActivityContext
from durabletask.core.errors import ActivityNotRegisteredError, SerializationError
from durabletask.core.failures import FailureDetails
from durabletask.core.registry import ActivityDefinition, Registry
from durabletask.core.serialization import DataConverter
from durabletask.core.work_items import ActivityResult, ActivityWorkItem

__all__ = ["ActivityExecutor"]


class ActivityExecutor:
    """Runs activities of a registry.

    Attributes:
        max_threads: how many plain functions run at once; more wait for a thread.
        is_stopping: a cancellation is the worker's, who stops, and not a failure of the activity.
    """

    def __init__(self, registry: Registry, converter: DataConverter, *, max_threads: int) -> None:
        self._registry = registry
        self._converter = converter
        self.max_threads: int = max_threads
        self.is_stopping: bool = False
        self._threads: ThreadPoolExecutor | None = None

    async def execute(self, item: ActivityWorkItem) -> ActivityResult:
        """Run the activity; the answer tells success or failure.

        Raises:
            asyncio.CancelledError: the surrounding task was cancelled; the item is not answered.
        """
        try:
            result = await self._run(item)
        except asyncio.CancelledError as error:
            if self.is_stopping:  # otherwise the user's own code raised it
                raise
            return _failed(item, error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to user code
            return _failed(item, error)
        return ActivityResult(
            instance_id=item.instance_id,
            task_id=item.task_id,
            result=result,
            completion_token=item.completion_token,
        )

    async def _run(self, item: ActivityWorkItem) -> str | None:
        definition = self._registry.activity(item.name)
        converter = self._converter
        if item.input:
            try:
                value = converter.deserialize(item.input, definition.input_type)
            except SerializationError as error:
                raise SerializationError(
                    f"Input of activity {item.name!r} ({definition.location}): {error}"
                ) from error
        else:
            value = None
        context = ActivityContext(
            item.name,
            item.instance_id,
            item.task_id,
            execution_id=item.execution_id,
            version=item.version,
            tags=item.tags,
        )
        if definition.is_async:
            result = await cast("Awaitable[object]", definition.invoke(context, value))
        else:
            result = await self._run_in_thread(definition, context, value)
        if result is None:
            return None
        try:
            return converter.serialize(result)
        except SerializationError as error:
            raise SerializationError(
                f"Result of activity {item.name!r} ({definition.location}): {error}"
            ) from error

    async def _run_in_thread(
        self, definition: ActivityDefinition, context: ActivityContext, value: object
    ) -> object:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.max_threads, thread_name_prefix="durabletask-activity")
        variables = contextvars.copy_context()
        result = await asyncio.get_running_loop().run_in_executor(
            self._threads, variables.run, _call, definition, context, value
        )
        # A plain function may hand back a coroutine (functools.partial of one, a decorator, ...).
        return await cast("Awaitable[object]", result) if inspect.isawaitable(result) else result

    def close(self) -> None:
        """Let go of the threads. One that is busy goes on until its function returns."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def _call(definition: ActivityDefinition, context: ActivityContext, value: object) -> object:
    try:
        return definition.invoke(context, value)
    except StopIteration as error:  # a future cannot carry it
        raise RuntimeError(f"Activity {definition.name!r} raised StopIteration") from error


def _failed(item: ActivityWorkItem, error: BaseException) -> ActivityResult:
    if not isinstance(error, ActivityNotRegisteredError):
        error = _without_own_frames(error)
    return ActivityResult(
        instance_id=item.instance_id,
        task_id=item.task_id,
        failure=FailureDetails.from_exception(error),
        completion_token=item.completion_token,
    )


def _without_own_frames(error: BaseException) -> BaseException:
    """The error with a trace that begins in user code."""
    trace = error.__traceback__
    first = trace
    while first is not None and "durabletask.core" in first.tb_frame.f_globals.get("__name__", ""):
        first = first.tb_next
    return error.with_traceback(first if first is not None else trace)
