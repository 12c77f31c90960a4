"""The ear at the task hub of a test environment: calls of activities, work in flight, and the fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime

from durabletask.core.errors import ActivityNotRegisteredError
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import decode_payload
from durabletask.core.registry import Registry
from durabletask.core.serialization import DataConverter
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

from .fakes import ActivityCall, FakeActivity
from .wrapping import WrappedTransport

__all__ = ["Recorder"]


class Recorder(WrappedTransport):
    """Sits between worker and hub. Activities that have a fake never reach the worker.

    Args:
        inner: the hub.
        now: the virtual time.
        registry: what the worker can run.
        converter: how values become payloads.
        attempts_of: by task id, which attempt each open activity of an instance is.

    Attributes:
        calls: every call of an activity, in the order of the first delivery.
        fakes: the fakes by name.
        front: through what fakes answer: the outermost transport, so that faults meet them too.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        now: Callable[[], datetime],
        registry: Registry,
        converter: DataConverter,
        attempts_of: Callable[[str], Mapping[int, int]],
    ) -> None:
        super().__init__(inner)
        self.calls: list[ActivityCall] = []
        self.fakes: dict[str, FakeActivity] = {}
        self.front: Transport = self
        self._now = now
        self._registry = registry
        self._converter = converter
        self._attempts_of = attempts_of
        self._in_flight: dict[str, tuple[ActivityWorkItem, ActivityCall] | None] = {}
        self._failed: set[tuple[str | None, ...]] = set()
        self._known: dict[tuple[str, str | None, int], ActivityCall] = {}
        self._outcomes: dict[int, tuple[str | None, FailureDetails | None]] = {}
        self._changed = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    # --- what is in flight ------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no work item is in the hands of the worker or of a fake."""
        return not self._in_flight

    async def wait_for_change(self) -> None:
        """Wait until a work item was delivered or answered."""
        self._changed.clear()
        await self._changed.wait()

    def lose(self, token: str) -> None:
        """Nobody will answer this delivery: its worker is gone."""
        self._release(token)

    def _take(self, token: str) -> None:
        self._in_flight.setdefault(token, None)
        self._changed.set()

    def _release(self, token: str) -> None:
        self._in_flight.pop(token, None)
        self._changed.set()

    # --- worker half --------------------------------------------------------------------------------------------

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """The hub's stream without the activities that are faked."""
        stream = self.inner.work_items(options)
        try:
            async for item in stream:
                self._take(item.completion_token)
                if isinstance(item, ActivityWorkItem) and self._intercept(item):
                    continue
                yield item
        finally:
            await stream.aclose()

    def _intercept(self, item: ActivityWorkItem) -> bool:
        call = self._note(item)
        self._in_flight[item.completion_token] = (item, call)
        fake = self.fakes.get(item.name)
        if fake is None and item.name in self._registry.activity_names:
            return False
        if fake is not None and call.deliveries == 1:
            fake.calls.append(call)
        task = asyncio.ensure_future(self._answer(item, call, fake))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return True

    def _note(self, item: ActivityWorkItem) -> ActivityCall:
        key = (item.instance_id, item.execution_id, item.task_id)
        call = self._known.get(key)
        if call is not None and call.ended_at is None:
            call.deliveries += 1
            return call
        value = decode_payload(item.input)
        call = ActivityCall(
            name=item.name,
            instance_id=item.instance_id,
            task_id=item.task_id,
            started_at=self._now(),
            input=value,
            attempt=self._attempt(item),
            tags=dict(item.tags or {}),
            version=item.version,
        )
        self._known[key] = call
        self.calls.append(call)
        return call

    def _attempt(self, item: ActivityWorkItem) -> int:
        """Which attempt of its call this is. Only the code knows: it is asked where an equal call has failed."""
        if _request(item) not in self._failed:
            return 1
        return self._attempts_of(item.instance_id).get(item.task_id, 1)

    async def _answer(self, item: ActivityWorkItem, call: ActivityCall, fake: FakeActivity | None) -> None:
        if id(call) not in self._outcomes:  # a call that is delivered again has the same outcome
            self._outcomes[id(call)] = await self._outcome(item, fake)
        result, failure = self._outcomes[id(call)]
        await self.front.complete_activity(
            ActivityResult(
                instance_id=item.instance_id,
                task_id=item.task_id,
                result=result,
                failure=failure,
                completion_token=item.completion_token,
            )
        )

    async def _outcome(
        self, item: ActivityWorkItem, fake: FakeActivity | None
    ) -> tuple[str | None, FailureDetails | None]:
        try:
            if fake is None:
                raise _not_registered(item.name, self._registry)
            return self._converter.serialize(await fake.answer(decode_payload(item.input))), None
        except Exception as error:  # noqa: BLE001 - whatever a fake raises is the outcome of the activity
            return None, FailureDetails.from_exception(error)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Note the answer and pass it on."""
        item, call = self._in_flight.get(result.completion_token) or (None, None)
        if item is not None and call is not None and call.ended_at is None:
            call.set_result(result.result, result.failure, self._now())
            if result.failure is not None:
                self._failed.add(_request(item))
        await self.inner.complete_activity(result)
        self._release(result.completion_token)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Passed on."""
        await self.inner.complete_orchestrator(result)
        self._release(result.completion_token)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Passed on."""
        await self.inner.complete_entity(result)
        self._release(result.completion_token)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """Passed on."""
        await self.inner.abandon_orchestrator(item)
        self._release(item.completion_token)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """Passed on."""
        await self.inner.abandon_activity(item)
        self._release(item.completion_token)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """Passed on."""
        await self.inner.abandon_entity(item)
        self._release(item.completion_token)

    async def stop(self) -> None:
        """Cancel fakes that are still busy."""
        tasks = list(self._answering)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _request(item: ActivityWorkItem) -> tuple[str | None, ...]:
    """What the attempts of one call have in common."""
    return item.instance_id, item.execution_id, item.name, item.input


def _not_registered(name: str, registry: Registry) -> ActivityNotRegisteredError:
    error = ActivityNotRegisteredError(name, registry.activity_names)
    hint = f"{error} In a test, give the environment the activity, or a stand-in: env.fake({name!r}, returns=...)."
    error.args = (hint,)
    return error
