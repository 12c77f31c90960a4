"""``ActivityTestEnvironment``: one activity, without a hub."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, TypeVar, Union, cast, overload

from durabletask.core.authoring import ActivityContext
from durabletask.core.context import RunsAsync, RunsSync
from durabletask.core.errors import SerializationError
from durabletask.core.registry import ActivityDefinition, name_of
from durabletask.core.replay.annotations import declared_result
from durabletask.core.retry import tags_of_retry
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter

__all__ = ["ActivityTestEnvironment"]

__tracebackhide__ = True  # pytest shows the line of the test and the activity

T = TypeVar("T")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")

_Async: TypeAlias = Union[Callable[[ActivityContext, InputT], Awaitable[OutputT]], RunsAsync[InputT, OutputT]]
_Plain: TypeAlias = Union[Callable[[ActivityContext, InputT], OutputT], RunsSync[InputT, OutputT]]


class ActivityTestEnvironment:
    """Calls activities as a worker would: input and result go through the data converter.

    Args:
        instance_id: id of the orchestration that seems to call.
        task_id: id of the action that seems to call.
        version: version of the call.
        tags: tags of the call.
        attempt: which attempt of the call it seems to be.
        data_converter: how values become payloads.
    """

    def __init__(
        self,
        *,
        instance_id: str = "test",
        task_id: int = 1,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        attempt: int = 1,
        data_converter: DataConverter | None = None,
    ) -> None:
        self._instance_id = instance_id
        self._task_id = task_id
        self._version = version
        self._tags = tags if attempt == 1 else tags_of_retry(tags, attempt=attempt, first_task_id=task_id)
        self._converter = data_converter or DEFAULT_CONVERTER

    @overload
    async def run(self, activity: type[RunsAsync[InputT, OutputT]], input: InputT) -> OutputT: ...
    @overload
    async def run(self, activity: _Async[InputT, OutputT], input: InputT) -> OutputT: ...
    @overload
    async def run(self, activity: type[RunsSync[InputT, OutputT]], input: InputT) -> OutputT: ...
    @overload
    async def run(self, activity: _Plain[InputT, OutputT], input: InputT) -> OutputT: ...
    @overload
    async def run(
        self, activity: Callable[[ActivityContext], Awaitable[OutputT]], input: None = None
    ) -> OutputT: ...
    @overload
    async def run(self, activity: Callable[[ActivityContext], OutputT], input: None = None) -> OutputT: ...
    async def run(self, activity: object, input: object = None) -> object:
        """Call an activity and return its result, as an orchestrator gets it: converted to the return annotation.

        Exceptions of the activity are raised unchanged. A plain function runs in a thread.

        Args:
            activity: function, class or object.
            input: its input.
        """
        definition = ActivityDefinition(name_of(activity), activity)
        invoke = self._prepare(definition, input)
        if definition.is_async:
            result = invoke()
        else:
            result = await asyncio.get_running_loop().run_in_executor(None, invoke)
        if inspect.isawaitable(result):
            result = await cast("Awaitable[object]", result)
        return self._by_value(definition, result)

    @overload
    def call(self, activity: type[RunsAsync[InputT, OutputT]], input: InputT) -> OutputT: ...
    @overload
    def call(self, activity: _Async[InputT, OutputT], input: InputT) -> OutputT: ...
    @overload
    def call(self, activity: type[RunsSync[InputT, OutputT]], input: InputT) -> OutputT: ...
    @overload
    def call(self, activity: _Plain[InputT, OutputT], input: InputT) -> OutputT: ...
    @overload
    def call(
        self, activity: Callable[[ActivityContext], Awaitable[OutputT]], input: None = None
    ) -> OutputT: ...
    @overload
    def call(self, activity: Callable[[ActivityContext], OutputT], input: None = None) -> OutputT: ...
    def call(self, activity: object, input: object = None) -> object:
        """The same for tests without an event loop; an ``async def`` activity gets a loop of its own."""
        definition = ActivityDefinition(name_of(activity), activity)
        result = self._prepare(definition, input)()
        if inspect.isawaitable(result):
            result = asyncio.run(_finish(cast("Awaitable[object]", result)))
        return self._by_value(definition, result)

    def _prepare(self, definition: ActivityDefinition, value: object) -> Callable[[], object]:
        context = ActivityContext(
            definition.name, self._instance_id, self._task_id, version=self._version, tags=self._tags
        )
        given = definition.read_input(self._converter.serialize(value), self._converter.deserialize)
        return lambda: definition.invoke(context, given)

    def _by_value(self, definition: ActivityDefinition, result: object) -> object:
        payload = self._converter.serialize(result)
        try:
            return self._converter.deserialize(payload, declared_result(definition.target))
        except SerializationError:  # it does not fit the annotation
            return self._converter.deserialize(payload)


async def _finish(awaitable: Awaitable[T]) -> T:
    return await awaitable
