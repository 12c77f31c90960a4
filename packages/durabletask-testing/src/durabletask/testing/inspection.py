"""What a test environment shows of an instance: state, history, open tasks, unread events, explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TypeVar

from durabletask.core.client import DurableTaskClient
from durabletask.core.diagnosis import Diagnosis, explain
from durabletask.core.entity_waits import standing_of, waited_entities
from durabletask.core.errors import InstanceNotFoundError
from durabletask.core.history import ExecutionCompleted, HistoryEvent
from durabletask.core.hosting.hidden_loop import hide_event_loop
from durabletask.core.instances import OrchestrationState
from durabletask.core.open_tasks import OpenTask
from durabletask.core.registry import Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import DataConverter
from durabletask.core.versioning import VersioningOptions

from .timeline import timeline

__all__ = ["Inspection"]

__tracebackhide__ = True

T = TypeVar("T")


class Inspection:
    """Reads instances of a hub in this process, at once and without moving time.

    Args:
        client: a client of the hub.
        registry: the code, which is replayed to find what an instance waits for.
        converter: how values become payloads.
        versioning: which versions the worker accepts.

    Attributes:
        loop: the event loop of the environment, once it is started.
    """

    def __init__(
        self,
        client: DurableTaskClient,
        registry: Registry,
        converter: DataConverter,
        versioning: VersioningOptions | None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._client = client
        self._registry = registry
        self._converter = converter
        self._versioning = versioning

    def state(self, instance_id: str) -> OrchestrationState:
        """The state of an instance now, as a client sees it.

        Raises:
            InstanceNotFoundError: it is not there.
        """
        state = self._at_once(self._client.get_orchestration_state(instance_id))
        if state is None:
            raise InstanceNotFoundError(f"Instance {instance_id!r} is not there; was it purged?")
        return state

    def history(self, instance_id: str) -> list[HistoryEvent]:
        """The history of the present execution, as committed so far."""
        return self._at_once(self._client.get_orchestration_history(instance_id))

    def pending(self, instance_id: str) -> list[OpenTask]:
        """What an instance waits for."""
        return self._replayed(instance_id, OrchestrationSession.open_tasks)

    def attempts(self, instance_id: str) -> Mapping[int, int]:
        """By task id, which attempt each open activity of an instance is."""
        return {
            task.task_id: task.attempts + 1
            for task in self.pending(instance_id)
            if task.kind == "activity" and task.task_id is not None
        }

    def timeline(self, instance_id: str) -> str:
        """The history for people, with the events that nothing waited for."""
        return timeline(self.state(instance_id), self.history(instance_id)) + self.unread(instance_id)

    def unread(self, instance_id: str) -> str:
        """One line for each name under which events came that nothing waited for."""
        names = dict.fromkeys(
            event.name for event in self._replayed(instance_id, OrchestrationSession.unread_events)
        )
        return "".join(f"\nAn event {name!r} came that nothing waited for." for name in names)

    def explain(self, instance_id: str, registry: Registry) -> Diagnosis:
        """Why an instance is not finished."""
        transport = self._client.transport
        return self._at_once(explain(transport, instance_id, registry=registry, converter=self._converter))

    def why_stuck(self, instance_id: str, waits: str) -> str:
        """The message for a result that cannot come; ``waits`` has what its activities wait for."""
        try:
            state = self.state(instance_id)
        except InstanceNotFoundError:
            return f"There is no instance {instance_id!r}, and nothing is under way that could create it."
        return (
            f"Orchestration {instance_id!r} ({state.name}) is {state.runtime_status.name} and nothing is under "
            f"way that could end it. {self._standing(instance_id, waits)}\n"
            "Raise the event with 'run.raise_event(name, data)', resume what is suspended, or end the test here."
        )

    def why_late(self, instance_id: str, timeout: timedelta, waits: str) -> str:
        """The message for a result that takes too long."""
        return (
            f"Orchestration {instance_id!r} has not ended after {timeout} of virtual time. "
            f"{self._standing(instance_id, waits)}"
        )

    def _standing(self, instance_id: str, waits: str) -> str:
        tasks = self.pending(instance_id)
        if not tasks:
            return "It waits for nothing that its history shows." + self.unread(instance_id)
        entities = self._at_once(waited_entities(self._client.transport, instance_id, tasks))
        shown = ""
        for task in tasks:
            standing = standing_of(task, instance_id, entities)
            shown += f"\n  {task}" + (f"\n    {standing}" if standing else "")
        return f"It waits for:{shown}{waits}{self.unread(instance_id)}"

    def _replayed(self, instance_id: str, look: Callable[[OrchestrationSession], list[T]]) -> list[T]:
        # The end is left out: an engine that sees it does not run the code any more.
        history = [event for event in self.history(instance_id) if not isinstance(event, ExecutionCompleted)]
        if not history:
            return []
        session = OrchestrationSession(
            instance_id,
            ReplayOptions(
                registry=self._registry,
                converter=self._converter,
                versioning=self._versioning,
                isolate=hide_event_loop,
            ),
        )
        try:
            session.replay(history)
            return look(session)
        finally:
            session.close()

    def _at_once(self, coroutine: Coroutine[object, None, T]) -> T:
        """The answer of the hub, which is in this process and answers without waiting."""
        loop = self.loop
        if loop is None or not loop.is_running():  # a plain test, or a report after the test
            return (
                asyncio.run(coroutine)
                if loop is None or loop.is_closed()
                else loop.run_until_complete(coroutine)
            )
        try:
            coroutine.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        coroutine.close()
        raise RuntimeError("The in-memory hub had to wait for an answer.")
