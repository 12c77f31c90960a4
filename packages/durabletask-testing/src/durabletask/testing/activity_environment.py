"""``ActivityTestEnvironment``: one activity, without a hub."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from durabletask.core.authoring import ActivityContext
from durabletask.core.registry import Registry, name_of
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter

__all__ = ["ActivityTestEnvironment"]


class ActivityTestEnvironment:
    """Calls activities as a worker would: input and result go through the data converter.

    Args:
        instance_id: id of the orchestration that seems to call.
        task_id: id of the action that seems to call.
        version: version of the call.
        tags: tags of the call.
        data_converter: how values become payloads.
    """

    def __init__(
        self,
        *,
        instance_id: str = "test",
        task_id: int = 1,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        data_converter: DataConverter | None = None,
    ) -> None:
        self._instance_id = instance_id
        self._task_id = task_id
        self._version = version
        self._tags = tags
        self._converter = data_converter or DEFAULT_CONVERTER

    async def run(self, activity: Callable[..., object] | type | object, input: object = None) -> object:  # noqa: A002
        """Call an activity and return its result, as the plain JSON values that an orchestrator gets.

        What the activity raises comes out as it is. A plain function runs in a thread.

        Args:
            activity: function, class or object.
            input: its input.
        """
        invoke = self._prepare(activity, input)
        result = (
            await asyncio.get_running_loop().run_in_executor(None, invoke)
            if not _is_async(activity)
            else invoke()
        )
        if inspect.isawaitable(result):
            result = await cast("Awaitable[object]", result)
        return self._by_value(result)

    def call(self, activity: Callable[..., object] | type | object, input: object = None) -> object:  # noqa: A002
        """The same for tests without an event loop; an ``async def`` activity gets a loop of its own."""
        result = self._prepare(activity, input)()
        if inspect.isawaitable(result):
            awaitable = cast("Awaitable[object]", result)

            async def finish() -> object:
                return await awaitable

            result = asyncio.run(finish())
        return self._by_value(result)

    def _prepare(self, activity: object, value: object) -> Callable[[], object]:
        name = name_of(activity)
        definition = Registry(activities={name: activity}).activity(name)
        context = ActivityContext(
            name, self._instance_id, self._task_id, version=self._version, tags=self._tags
        )
        given = self._converter.deserialize(self._converter.serialize(value), definition.input_type)
        return lambda: definition.invoke(context, given)

    def _by_value(self, result: object) -> object:
        return self._converter.deserialize(self._converter.serialize(result))


def _is_async(activity: object) -> bool:
    name = name_of(activity)
    return Registry(activities={name: activity}).activity(name).is_async
