"""Tasks of entities: calls, and the wait for the locks of a critical section (protocol section 11.6)."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING, cast

from durabletask.core.actions import CallEntity, OrchestratorAction, RequestEntityLock
from durabletask.core.entities import EntityId
from durabletask.core.entity_calls import EntityLock, EntityLockTask
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EventSent, HistoryEvent
from durabletask.core.instances import decode_payload
from durabletask.core.open_tasks import OpenTask

from .calls import task_failure
from .tasks import RAW_FAILURE, RESULT, EngineTask

if TYPE_CHECKING:
    from .sections import CriticalSection
    from .sink import Sink

__all__ = ["EntityCall", "LockRequest"]


class EntityCall(EngineTask[object]):
    """A two-way call of an entity."""

    __slots__ = ("_request_id", "_result_type", "action")

    def __init__(
        self, sink: Sink, action: CallEntity, result_type: object, code: CodeType | None, lasti: int
    ) -> None:
        super().__init__(sink, code, lasti)
        self.action: CallEntity = action
        self._request_id = action.request_id
        self._result_type = result_type
        sink.work.add(self)
        sink.work.entity_calls[action.request_id] = self

    def confirmed(self, event: HistoryEvent) -> None:
        entity_calls = self.sink.work.entity_calls
        entity_calls.pop(self._request_id, None)
        self._request_id = _recorded_id(event, "request_id") or self._request_id
        entity_calls[self._request_id] = self

    def failed(self, failure: FailureDetails | None) -> None:
        """The operation failed."""
        self.settle(RAW_FAILURE, failure)

    def settle(self, state: int, value: object) -> None:
        section = self.sink.section
        if section is not None:
            section.call_ended(self.action.target_instance_id, self)
        super().settle(state, value)

    def withdraw(self) -> None:
        self.sink.work.withdraw(self.action.id)
        self.sink.work.entity_calls.pop(self._request_id, None)

    def decode(self, raw: object) -> object:
        return self.deserialize(raw, self._result_type)

    def explain(self, raw: object) -> BaseException:
        return task_failure(raw, self.describe(), self.action.operation, self.action.id)

    def attach(self, action: OrchestratorAction) -> None:
        self.action = cast("CallEntity", action)

    def describe(self) -> str:
        return f"operation {self.action.operation!r} of entity {self.action.target_instance_id!r}"

    def open_task(self) -> OpenTask:
        return OpenTask(
            kind="entity",
            name=self.action.operation,
            location=self.location,
            task_id=self.action.id,
            target=self.action.target_instance_id,
            is_awaited=self.is_awaited,
        )


class _HeldLock(EntityLock):
    """What ``async with ctx.lock_entities(...)`` gives."""

    __slots__ = ("_section", "_sink")

    def __init__(self, sink: Sink, section: CriticalSection) -> None:
        self._sink = sink
        self._section = section

    @property
    def entities(self) -> tuple[EntityId, ...]:
        return self._section.entities

    def release(self) -> None:
        _release(self._sink, self._section)


def _release(sink: Sink, section: CriticalSection) -> None:
    if section.is_released:
        return
    sink.check_open("A critical section")
    if sink.section is section:
        sink.section = None
    section.release(sink.work, sink.execution.instance_id)


class LockRequest(EngineTask[EntityLock], EntityLockTask):
    """The wait for the locks of a critical section."""

    __slots__ = ("_section", "action")

    def __init__(
        self,
        sink: Sink,
        action: RequestEntityLock,
        section: CriticalSection,
        code: CodeType | None,
        lasti: int,
    ) -> None:
        super().__init__(sink, code, lasti)
        self.action: RequestEntityLock = action
        self._section = section
        sink.section = section
        sink.work.add(self)
        sink.work.lock_requests[action.critical_section_id] = self

    def confirmed(self, event: HistoryEvent) -> None:
        section, lock_requests = self._section, self.sink.work.lock_requests
        lock_requests.pop(section.section_id, None)
        section.section_id = _recorded_id(event, "critical_section_id") or section.section_id
        lock_requests[section.section_id] = self

    def granted(self) -> None:
        """All entities are locked."""
        self._section.grant()
        self.settle(RESULT, _HeldLock(self.sink, self._section))

    def withdraw(self) -> None:
        _release(self.sink, self._section)

    def describe(self) -> str:
        return f"lock of {', '.join(self.action.lock_set)}"

    def open_task(self) -> OpenTask:
        return OpenTask(
            kind="lock",
            name=", ".join(self.action.lock_set),
            location=self.location,
            task_id=self.action.id,
            lock_set=self.action.lock_set,
            is_awaited=self.is_awaited,
        )


def _recorded_id(event: HistoryEvent, attribute: str) -> str | None:
    """The id that answers will carry; in the legacy shape it is in the JSON of the message."""
    if not isinstance(event, EventSent):
        return cast("str | None", getattr(event, attribute, None))
    message = decode_payload(event.input)
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, str) else None
