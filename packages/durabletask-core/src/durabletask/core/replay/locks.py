"""Entities from the orchestrator's side: calls, signals and critical sections (protocol section 11.6)."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING

from durabletask.core.actions import CallEntity, RequestEntityLock, UnlockEntity
from durabletask.core.context import EntityLock, EntityLockTask
from durabletask.core.entities import EntityId
from durabletask.core.errors import EntityLockError

from .calls import task_failure
from .locations import here
from .tasks import RESULT, EngineTask

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["CriticalSection", "EntityCall", "LockRequest"]


class EntityCall(EngineTask[object]):
    """A two-way call of an entity."""

    __slots__ = ("_request_id", "_result_type", "action")

    sink: Ledger

    def __init__(
        self, ledger: Ledger, action: CallEntity, result_type: object, code: CodeType | None, lasti: int
    ) -> None:
        super().__init__(ledger, code, lasti)
        self.action = action
        self._request_id = action.request_id
        self._result_type = result_type
        ledger.pending[action.id] = self
        ledger.entity_calls[action.request_id] = self

    def use_request_id(self, request_id: str) -> None:
        """Listen to the request id that the history records."""
        self.sink.entity_calls.pop(self._request_id, None)
        self._request_id = request_id
        self.sink.entity_calls[request_id] = self

    def settle(self, state: int, value: object) -> None:
        section = self.sink.section
        if section is not None:
            section.call_ended(self)
        super().settle(state, value)

    def withdraw(self) -> None:
        self.sink.pending.pop(self.action.id, None)
        self.sink.entity_calls.pop(self._request_id, None)

    def decode(self, raw: object) -> object:
        return self.sink.decode(raw, self._result_type, f"Result of {self.describe()}")

    def explain(self, raw: object) -> BaseException:
        return task_failure(raw, self.describe(), self.action.operation, self.action.id)

    def describe(self) -> str:
        return f"operation {self.action.operation!r} of entity {self.action.target_instance_id!r}"


class CriticalSection(EntityLock):
    """The one critical section an orchestration may be in, from its request to its release."""

    __slots__ = (
        "_busy",
        "_entities",
        "_id",
        "_is_granted",
        "_is_released",
        "_ledger",
        "_request",
        "_targets",
    )

    def __init__(self, ledger: Ledger, section_id: str, entities: tuple[EntityId, ...], request: int) -> None:
        self._ledger = ledger
        self._id = section_id
        self._entities = entities
        self._targets = frozenset(map(str, entities))
        self._request = request
        self._busy: dict[str, EntityCall] = {}
        self._is_granted = False
        self._is_released = False

    @property
    def entities(self) -> tuple[EntityId, ...]:
        """The locked entities in the order in which they were locked."""
        return self._entities

    def grant(self) -> None:
        """The hub has locked all entities."""
        self._is_granted = True

    def check_call(self, target: str) -> None:
        """Refuse a call that the rules of the section forbid."""
        if not self._is_granted:
            raise EntityLockError(
                f"Entity {target!r} was called at {here()} before its lock was granted: await 'ctx.lock_entities(...)' "
                "first."
            )
        if target not in self._targets:
            raise EntityLockError(
                f"Entity {target!r} was called at {here()} inside a critical section that does not lock it. Lock it as "
                "well, or call it before or after the section."
            )
        if target in self._busy:
            raise EntityLockError(
                f"Entity {target!r} was called at {here()} while an earlier call of it is in flight in the same critical "
                "section. Await the first call before making the second."
            )

    def check_signal(self, target: str) -> None:
        """Refuse a signal to a locked entity."""
        if target in self._targets:
            raise EntityLockError(
                f"Entity {target!r} was signalled at {here()} inside a critical section that locks it. Call it instead, "
                "or signal it after the section."
            )

    def call_started(self, target: str, call: EntityCall) -> None:
        """A call is in flight."""
        self._busy[target] = call

    def call_ended(self, call: EntityCall) -> None:
        """A call is no longer in flight."""
        target = call.action.target_instance_id
        if self._busy.get(target) is call:
            del self._busy[target]

    def release(self) -> None:
        """Unlock every entity, also one with a call in flight; a request that was never sent is withdrawn."""
        if self._is_released:
            return
        ledger = self._ledger
        ledger.check_open("A critical section")
        self._is_released = True
        if ledger.section is self:
            ledger.section = None
        ledger.lock_requests.pop(self._id, None)
        if not self._is_granted and ledger.pending.pop(self._request, None) is not None:
            return
        for entity in self._entities:
            ledger.propose(
                UnlockEntity(
                    id=ledger.next_id(),
                    critical_section_id=self._id,
                    target_instance_id=str(entity),
                    parent_instance_id=ledger.instance_id,
                )
            )


class LockRequest(EngineTask[EntityLock], EntityLockTask):
    """The wait for the locks of a critical section."""

    __slots__ = ("_section", "_section_id", "action")

    sink: Ledger

    def __init__(
        self,
        ledger: Ledger,
        action: RequestEntityLock,
        section: CriticalSection,
        code: CodeType | None,
        lasti: int,
    ) -> None:
        super().__init__(ledger, code, lasti)
        self.action = action
        self._section = section
        self._section_id = action.critical_section_id
        ledger.pending[action.id] = self
        ledger.lock_requests[action.critical_section_id] = self

    def use_section_id(self, section_id: str) -> None:
        """Listen to the id that the history records."""
        self.sink.lock_requests.pop(self._section_id, None)
        self._section_id = self._section._id = section_id
        self.sink.lock_requests[section_id] = self

    def granted(self) -> None:
        """All entities are locked."""
        self._section.grant()
        self.settle(RESULT, self._section)

    def withdraw(self) -> None:
        self._section.release()

    def describe(self) -> str:
        return f"lock of {', '.join(self.action.lock_set)}"
