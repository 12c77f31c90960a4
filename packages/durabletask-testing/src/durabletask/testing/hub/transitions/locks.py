"""Locks pass from entity to entity (protocol section 11.5).

The request of a critical section visits the entities of its lock set in order. It waits in the queue of each; at the
head of a free entity it locks it and is forwarded to the next, and after the last the holder learns that it was granted.
So it is in exactly one queue until it is granted, and all callers that use one order of entities cannot deadlock.

``Instance.sections`` names what an execution has locked or may come to lock. Every way out of an execution ends in
``leave_sections``, so an ended execution holds nothing and waits for nothing. A request whose section is not open is
never granted.
"""

from __future__ import annotations

import msgspec
from durabletask.core.history import EntityLockGranted, EntityLockRequested
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.entity_state import Entity, Lock
from durabletask.testing.hub.sections import entered, granted_in, open_sections, unlocked
from durabletask.testing.hub.state import Instance

__all__ = ["enter_section", "leave_sections", "proceed", "regain_sections", "release", "unlock"]


def enter_section(tx: Transition, instance: Instance, section_id: str, targets: tuple[str, ...]) -> None:
    """Ask for the locks of a critical section; a second request of a section changes nothing."""
    if section_id in instance.sections:
        return
    instance.sections = entered(instance.sections, section_id, targets)
    request = EntityLockRequested(-1, tx.now, section_id, targets, 0, instance.instance_id)
    entity = _forward(tx, request)
    if entity is not None:
        proceed(tx, entity)


def regain_sections(tx: Transition, instance: Instance) -> None:
    """Ask again for the locks of a history that was rewritten: they were released when the execution ended.

    The code believes that it has those that the history grants, so it runs when it has them.
    """
    sections = open_sections(instance.history)
    instance.regains = granted_in(instance.history) & sections.keys()
    for section_id, targets in sections.items():
        enter_section(tx, instance, section_id, targets)


def unlock(tx: Transition, instance: Instance, section_id: str, target: str) -> None:
    """Unlock one entity of a section, or withdraw the request that waits there."""
    if target in instance.sections.get(section_id, ()):
        instance.sections = unlocked(instance.sections, section_id, target)
        release(tx, section_id, target)


def leave_sections(tx: Transition, instance: Instance) -> None:
    """Unlock everything that an execution holds, and withdraw what it asks for."""
    sections, instance.sections, instance.regains = instance.sections, {}, frozenset()
    for section_id, targets in sections.items():
        for target in targets:
            release(tx, section_id, target)


def release(tx: Transition, section_id: str, target: str) -> None:
    """Take a section off one entity."""
    entity = tx.read_entity(target)
    if entity is None:
        return
    if entity.lock is not None and entity.lock.section_id == section_id:
        entity = tx.edit_entity(entity)
        entity.lock = None
    elif not tx.edit_entity(entity).withdraw(section_id):
        return
    proceed(tx, tx.edit_entity(entity))


def proceed(tx: Transition, entity: Entity) -> None:
    """Lock an entity for the request at its head, if it is free, and whatever follows from that elsewhere.

    A loop and not a recursion: lock sets may be long.
    """
    waiting = [entity]
    while waiting:
        entity = waiting.pop()
        while entity.lock is None and entity.urgent.head is None:
            request = entity.queue.head
            if not isinstance(request, EntityLockRequested):
                break
            entity.queue.drop(1)
            if not _is_open(tx, request):
                continue
            entity.lock = Lock(request.parent_instance_id or "", request.critical_section_id)
            following = _forward(tx, msgspec.structs.replace(request, position=request.position + 1))
            if following is not None:
                waiting.append(following)


def _is_open(tx: Transition, request: EntityLockRequested) -> bool:
    holder = tx.read(request.parent_instance_id or "")
    return holder is not None and request.critical_section_id in holder.sections


def _forward(tx: Transition, request: EntityLockRequested) -> Entity | None:
    """Queue a request at the next entity, or grant it after the last."""
    if request.position < len(request.lock_set):
        entity = tx.open_entity(request.lock_set[request.position])
        entity.queue.append(request)
        return entity
    holder = tx.read(request.parent_instance_id or "")
    if holder is None:
        return None
    holder = tx.edit(holder)
    if request.critical_section_id in holder.regains:
        holder.regains -= {request.critical_section_id}
    else:
        holder.inbox.append(EntityLockGranted(-1, tx.now, request.critical_section_id))
    return None
