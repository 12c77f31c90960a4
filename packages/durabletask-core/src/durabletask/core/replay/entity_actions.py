"""What the context of an orchestrator does with entities: calls, signals, proxies and critical sections."""

# ruff: noqa: A002 - "input" is the protocol's word; the abstract class documents the methods

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from sys import _getframe
from types import CodeType
from typing import TYPE_CHECKING

from typing_extensions import TypeIs

from durabletask.core.actions import CallEntity, RequestEntityLock, SignalEntity
from durabletask.core.entities import EntityId
from durabletask.core.entity_calls import EntityCalls, EntityLockTask, HasEntityId
from durabletask.core.errors import EntityLockError
from durabletask.core.operations import EntityProxy, entity_id_of, operation_of
from durabletask.core.tasks import Task

from . import misuse
from .annotations import declared_result
from .entities import EntityCall, LockRequest
from .locations import here
from .sections import CriticalSection

if TYPE_CHECKING:
    from .sink import Sink

__all__ = ["EntityActions"]


class EntityActions(EntityCalls):
    """See ``EntityCalls``."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def entity(self, entity: object, key: str) -> EntityProxy:  # type: ignore[override]
        entity_id = entity_id_of(entity, key)
        target = str(entity_id)

        def call(name: str, method: object, value: object) -> Task[object]:
            return self._call(target, name, value, declared_result(method), _place(3))

        def signal(name: str, _method: object, value: object) -> None:
            self._signal(target, name, value, None, _place(3))

        return EntityProxy(entity, entity_id, call, signal)

    def call_entity(  # type: ignore[override]
        self, entity: EntityId | str, operation: object, input: object = None, *, return_type: object = None
    ) -> Task[object]:
        name, method = operation_of(operation)
        return self._call(entity, name, input, return_type or declared_result(method), _place())

    def _call(
        self,
        entity: EntityId | str,
        operation: object,
        value: object,
        return_type: object,
        place: tuple[CodeType, int],
    ) -> Task[object]:
        sink = self._sink
        sink.check_open("call_entity")
        target, name, payload = self._check_operation(entity, operation, value)
        action_id = sink.work.next_id()
        if sink.section is not None:
            sink.section.check_call(target)
        action = CallEntity(
            id=action_id,
            request_id=sink.new_uuid(),
            operation=name,
            target_instance_id=target,
            input=payload,
            parent_instance_id=sink.execution.instance_id,
            parent_execution_id=sink.execution.execution_id,
        )
        call = EntityCall(sink, action, return_type, *place)
        if sink.section is not None:
            sink.section.call_started(target, call)
        return call

    def signal_entity(
        self,
        entity: EntityId | str,
        operation: object,
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
        signal_time: datetime | timedelta | float | None = None,
    ) -> None:
        name, _ = operation_of(operation)
        self._signal(entity, name, input, signal_time if at is None else at, _place())

    def _signal(
        self,
        entity: EntityId | str,
        operation: object,
        value: object,
        at: datetime | timedelta | float | None,
        place: tuple[CodeType, int],
    ) -> None:
        sink = self._sink
        sink.check_open("signal_entity")
        target, name, payload = self._check_operation(entity, operation, value)
        action_id = sink.work.next_id()
        if sink.section is not None:
            sink.section.check_signal(target)
        action = SignalEntity(
            id=action_id,
            request_id=sink.new_uuid(),
            operation=name,
            target_instance_id=target,
            input=payload,
            scheduled_time=None if at is None else sink.execution.time_of(at),
        )
        sink.send(action, *place)

    def _check_operation(
        self, entity: EntityId | str, operation: object, value: object
    ) -> tuple[str, str, str | None]:
        """The id of an entity as text, the operation, and the payload of its input."""
        name = misuse.check_text(operation, "The operation of an entity")
        target = str(_entity_id(entity))
        what = f"The input of operation {name!r} of entity {target!r}"
        return target, name, misuse.encode(self._sink.converter, value, what)

    def lock_entities(
        self, *entities: EntityId | str | HasEntityId | Iterable[EntityId | str | HasEntityId]
    ) -> EntityLockTask:
        sink = self._sink
        sink.check_open("lock_entities")
        wanted: set[str] = set()
        for each in entities:
            wanted.update(
                {str(_entity_id(each))} if _is_entity(each) else (str(_entity_id(one)) for one in each)
            )
        if not wanted:
            raise ValueError("lock_entities needs at least one entity.")
        lock_set = tuple(sorted(wanted))
        action_id = sink.work.next_id()
        if sink.section is not None:
            raise EntityLockError(
                f"lock_entities was called at {here()} inside a critical section. Lock all entities at once, or leave "
                "the first section before entering the second."
            )
        section_id = sink.new_uuid()
        action = RequestEntityLock(
            id=action_id,
            critical_section_id=section_id,
            lock_set=lock_set,
            parent_instance_id=sink.execution.instance_id,
        )
        members = tuple(EntityId.parse(text) for text in lock_set)
        section = CriticalSection(section_id, members, action_id)
        return LockRequest(sink, action, section, *_place())


def _place(depth: int = 2) -> tuple[CodeType, int]:
    """The line of user code that called the context's method, so many frames from here."""
    frame = _getframe(depth)
    return frame.f_code, frame.f_lasti


def _is_entity(value: object) -> TypeIs[EntityId | str | HasEntityId]:
    return isinstance(value, (str, EntityId)) or hasattr(value, "entity_id")


def _entity_id(entity: EntityId | str | HasEntityId) -> EntityId:
    if isinstance(entity, str):
        return EntityId.parse(entity)
    return entity if isinstance(entity, EntityId) else entity.entity_id
