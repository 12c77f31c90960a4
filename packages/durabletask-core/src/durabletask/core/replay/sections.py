"""The critical section: the entities that an orchestration has locked, or asked to lock.

States: requested (its lock request is pending or open), granted, released. An orchestration has at most one section
that is not released. The rules of a granted section: call only locked entities, each with one call at a time; do not
signal them; start no sub-orchestration. A section that was requested and not granted allows no calls at all.

Releasing unlocks every entity, also one with a call in flight. If the lock request was never sent, it is withdrawn
and nothing is unlocked.
"""

from __future__ import annotations

from durabletask.core.actions import UnlockEntity
from durabletask.core.entities import EntityId
from durabletask.core.errors import EntityLockError

from .locations import here
from .open_work import OneWay, OpenWork

__all__ = ["CriticalSection"]


class CriticalSection:
    """See the module."""

    __slots__ = ("_busy", "_is_granted", "_request", "_targets", "entities", "is_released", "section_id")

    def __init__(self, section_id: str, entities: tuple[EntityId, ...], request: int) -> None:
        self.section_id: str = section_id
        self.entities: tuple[EntityId, ...] = entities
        self._targets = frozenset(map(str, entities))
        self._request = request  # id of the action that asks for the locks
        self._busy: dict[str, object] = {}  # the call in flight of each entity
        self._is_granted = False
        self.is_released: bool = False

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

    def check_child(self) -> None:
        """Refuse a sub-orchestration: it would wait forever for an entity that this section locks."""
        raise EntityLockError(
            f"A sub-orchestration was started at {here()} inside a critical section. Start it before or after the section: "
            "if it used a locked entity, the two would wait for each other forever."
        )

    def call_started(self, target: str, call: object) -> None:
        """A call is in flight."""
        self._busy[target] = call

    def call_ended(self, target: str, call: object) -> None:
        """A call is no longer in flight; calls from outside the section are ignored."""
        if self._busy.get(target) is call:
            del self._busy[target]

    def release(self, work: OpenWork, instance_id: str) -> None:
        """Unlock every entity; a second release does nothing."""
        if self.is_released:
            return
        self.is_released = True
        work.lock_requests.pop(self.section_id, None)
        if not self._is_granted and work.withdraw(self._request):
            return
        for entity in self.entities:
            work.add(
                OneWay(
                    UnlockEntity(
                        id=work.next_id(),
                        critical_section_id=self.section_id,
                        target_instance_id=str(entity),
                        parent_instance_id=instance_id,
                    )
                )
            )
