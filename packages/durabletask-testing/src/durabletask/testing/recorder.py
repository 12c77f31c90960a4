"""``Recorder``: stands between the worker and the hub of a test environment, and sees every work item.

It records the calls of activities, answers those that have a fake, and knows which items are in flight. Virtual
time may move when it is idle: each item in flight waits at the hub itself, because the code of an activity (or of an
entity) called ``wait_for_...`` of a client. The worker and the fakes change the recorder from one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import ParamSpec, TypeVar

from durabletask.core.errors import SerializationError
from durabletask.core.execution.runner import set_running_item
from durabletask.core.failures import FailureDetails
from durabletask.core.forwarding import UnaryMethod
from durabletask.core.logs import get_logger
from durabletask.core.registry import ActivityDefinition, Registry, name_of
from durabletask.core.replay.annotations import declared_result
from durabletask.core.serialization import DataConverter
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

from .fakes import ActivityCall, FakeActivity, SideEffect, check_fake, definition_of, not_registered
from .wrapping import WrappedTransport

__all__ = ["Recorder"]

P = ParamSpec("P")
T = TypeVar("T")

_BUSY_FOR = 5.0  # real seconds without any change after which the log names what keeps time from moving
_logger = get_logger("durabletask.testing")


class Recorder(WrappedTransport):
    """Sits between worker and hub. Activities with a fake never reach the worker.

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
        self._definitions: dict[str, ActivityDefinition] = {}
        self._known: dict[tuple[str, str | None, int], ActivityCall] = {}
        self._outcomes: dict[int, tuple[str | None, FailureDetails | None]] = {}
        self._waiting: dict[str, list[str]] = {}
        self._changed = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    # --- what is in flight ------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether every work item in flight waits at the hub itself."""
        return self._in_flight.keys() <= self._waiting.keys()

    def is_running(self, token: str | None) -> bool:
        """Whether a token is that of an item in flight."""
        return token in self._in_flight

    async def wait_for_change(self, limit: float | None) -> bool:
        """Wait until a work item was delivered, was answered, or began or ceased to wait.

        Args:
            limit: real seconds; ``None`` waits as long as it takes, and logs what is busy.

        Returns:
            Whether something changed.
        """
        self._changed.clear()
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            done, _ = await asyncio.wait([changed], timeout=_BUSY_FOR if limit is None else limit)
            if done or limit is not None:
                return bool(done)
            _logger.warning(
                "Virtual time stands still: %s in progress for %g real seconds.", self._busy(), _BUSY_FOR
            )
            return await changed
        finally:
            changed.cancel()

    def notify(self) -> None:
        """Wake what waits for a change."""
        self._changed.set()

    @contextmanager
    def waits(self, token: str, instance_id: str) -> Iterator[None]:
        """While the body runs, the code of an item in flight waits for an instance."""
        targets = self._waiting.setdefault(token, [])
        targets.append(instance_id)
        self.notify()
        try:
            yield
        finally:
            targets.remove(instance_id)
            if not targets:
                del self._waiting[token]

    def waits_of(self, instance_id: str) -> str:
        """One line for each activity of an instance that itself waits for another one."""
        return "".join(
            f"\n  activity {known[0].name!r} itself waits for the orchestration {target!r}"
            for token, targets in self._waiting.items()
            for target in targets
            if (known := self._in_flight.get(token)) is not None and known[0].instance_id == instance_id
        )

    def _busy(self) -> str:
        busy = [known for token, known in self._in_flight.items() if token not in self._waiting]
        names = [f"activity {item.name!r} of {item.instance_id!r}" for item, _ in filter(None, busy)]
        return f"{', '.join(names) or 'a work item'} {'are' if len(names) > 1 else 'is'}"

    def lose(self, token: str) -> None:
        """Forget a delivery that will not be answered, because its worker is gone."""
        self._release(token)

    def _take(self, token: str) -> None:
        self._in_flight.setdefault(token, None)
        self._changed.set()

    def _release(self, token: str) -> None:
        self._in_flight.pop(token, None)
        self._changed.set()

    # --- fakes and calls --------------------------------------------------------------------------------------

    def fake(self, activity: object, returns: object, side_effect: SideEffect) -> FakeActivity:
        """Answer the calls of an activity in its place.

        Raises:
            ActivityNotRegisteredError: the fake would never be called.
        """
        check_fake(activity, self._registry)
        name = name_of(activity)
        fake = FakeActivity(name, returns=returns, side_effect=side_effect, data_converter=self._converter)
        self.fakes[name] = fake
        if (definition := definition_of(activity, self._registry)) is not None:
            self._definitions[name] = definition
        return fake

    def _definition(self, name: str) -> ActivityDefinition | None:
        return self._definitions.get(name) or definition_of(name, self._registry)

    def _read(self, payload: str | None, target: object) -> object:
        """A payload as user code gets it; plain JSON values if it does not fit, text if it is no JSON."""
        try:
            return self._converter.deserialize(payload, target)
        except SerializationError:
            return self._read(payload, None) if target is not None else payload

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
        is_known = item.name in self._registry.activity_names or item.name in self._registry.built_in_names[1]
        if fake is None and is_known:
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
        definition = self._definition(item.name)
        call = ActivityCall(
            name=item.name,
            instance_id=item.instance_id,
            task_id=item.task_id,
            started_at=self._now(),
            input=self._read(item.input, definition.input_type if definition is not None else None),
            serialized_input=item.input,
            attempt=self._attempt(item),
            tags=dict(item.tags or {}),
            version=item.version,
        )
        self._known[key] = call
        self.calls.append(call)
        return call

    def _attempt(self, item: ActivityWorkItem) -> int:
        """Which attempt of its call this is. Only a replay of the code can find it, so it is made only after an equal call failed."""
        if _request(item) not in self._failed:
            return 1
        return self._attempts_of(item.instance_id).get(item.task_id, 1)

    async def _answer(self, item: ActivityWorkItem, call: ActivityCall, fake: FakeActivity | None) -> None:
        if id(call) not in self._outcomes:  # a call that is delivered again has the same outcome
            with set_running_item(item.completion_token):
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
                raise not_registered(item.name, self._registry)
            definition = self._definition(item.name)
            wanted = definition.input_type if definition is not None else None
            value = self._converter.deserialize(item.input, wanted) if item.input else None
            return self._converter.serialize(await fake.answer(value)), None
        except Exception as error:  # noqa: BLE001 - what a fake raises is the outcome of the activity
            return None, FailureDetails.from_exception(error)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Record the answer and pass it on."""
        item, call = self._in_flight.get(result.completion_token) or (None, None)
        if item is not None and call is not None and call.ended_at is None:
            definition = self._definition(call.name)
            value = self._read(result.result, declared_result(definition.target) if definition else None)
            call.set_result(value, result.failure, self._now())
            if result.failure is not None:
                self._failed.add(_request(item))
        await super().complete_activity(result)

    async def forward(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call on the hub; an answered or abandoned item is no longer in flight."""
        answer = await super().forward(method, *args, **kwargs)
        token = getattr(args[0], "completion_token", None) if args else None
        if isinstance(token, str):
            self._release(token)
        return answer

    async def stop(self) -> None:
        """Cancel fakes that are still busy."""
        tasks = list(self._answering)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _request(item: ActivityWorkItem) -> tuple[str | None, ...]:
    """What the attempts of one call have in common."""
    return item.instance_id, item.execution_id, item.name, item.input
