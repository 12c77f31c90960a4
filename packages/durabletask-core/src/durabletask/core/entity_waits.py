"""What the hub shows of the entities that an instance waits for, and the sentences of a diagnosis about them.

A history shows that a call or a lock was requested and not answered, and when. Who holds an entity, and how many
messages wait for it, is known to the hub only, so ``waited_entities`` asks for it. The answer is newer than the
history it belongs to: an operation may have completed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from .errors import InstanceNotFoundError, NotSupportedError
from .history import EPOCH, EntityLockGranted, EntityLockRequested
from .instances import OrchestrationStatus
from .open_tasks import OpenTask
from .transport import Transport

__all__ = ["WaitedEntity", "advice_for_entity", "standing_of", "waited_entities"]


class WaitedEntity(msgspec.Struct, frozen=True, kw_only=True):
    """An entity that an instance waits for, as the hub shows it.

    Attributes:
        entity_id: ``@name@key``.
        is_known: whether the hub has the entity; some hubs leave out those that have no state.
        messages: how many operations and lock requests wait for it.
        locked_by: instance id of the orchestration that holds its lock.
        holder_status: status of that orchestration; ``None`` if there is no such instance.
        locked_since: when the holder was granted its locks; ``None`` while it waits for others of them.
    """

    entity_id: str
    is_known: bool = True
    messages: int = 0
    locked_by: str | None = None
    holder_status: OrchestrationStatus | None = None
    locked_since: datetime | None = None

    @property
    def is_orphaned(self) -> bool:
        """Whether the lock is held by an orchestration that has ended or does not exist."""
        return self.locked_by is not None and (self.holder_status is None or self.holder_status.is_terminal)


async def waited_entities(
    transport: Transport, instance_id: str, waits: Sequence[OpenTask]
) -> dict[str, WaitedEntity]:
    """The entities of the open calls and locks of an instance, by id; empty if the hub has no entities.

    Of a lock set it asks for those that the instance holds and the next one, because locks are taken in order.
    """
    found: dict[str, WaitedEntity] = {}
    try:
        for task in waits:
            called = (task.target,) if task.kind == "entity" and task.target else ()
            for entity_id in task.lock_set or called:
                if entity_id not in found:
                    found[entity_id] = await _look_at(transport, entity_id)
                if found[entity_id].locked_by != instance_id:
                    break
    except NotSupportedError:
        return {}
    return found


async def _look_at(transport: Transport, entity_id: str) -> WaitedEntity:
    entity = await transport.get_entity(entity_id, include_state=False)
    if entity is None:
        return WaitedEntity(entity_id=entity_id, is_known=False)
    holder = entity.locked_by or None
    status = since = None
    if holder is not None:
        state = await transport.get_instance(holder, include_payloads=False)
        if state is not None:
            status = state.runtime_status
            with suppress(InstanceNotFoundError):  # it was purged in between
                since = await _locked_since(transport, holder, entity_id)
    return WaitedEntity(
        entity_id=entity_id,
        messages=entity.backlog_queue_size,
        locked_by=holder,
        holder_status=status,
        locked_since=since,
    )


async def _locked_since(transport: Transport, holder: str, entity_id: str) -> datetime | None:
    """When the holder was granted the latest lock set that has the entity."""
    section, since = None, None
    async for chunk in transport.stream_history(holder):
        for event in chunk:
            if isinstance(event, EntityLockRequested) and entity_id in event.lock_set:
                section, since = event.critical_section_id, None
            elif isinstance(event, EntityLockGranted) and event.critical_section_id == section:
                since = event.timestamp if event.timestamp > EPOCH else None
    return since


# --- sentences ----------------------------------------------------------------------------------------------


def standing_of(task: OpenTask, instance_id: str, entities: Mapping[str, WaitedEntity]) -> str:
    """What the hub shows about the wait of an instance for a call or a lock; empty if that is nothing."""
    entity = _obstacle(task, instance_id, entities)
    if entity is None:
        return ""
    held = [each for each in task.lock_set if _is_held(each, instance_id, entities)]
    text = f"It holds {', '.join(map(repr, held))}. " if held else ""
    if not entity.is_known:
        return f"{text}The hub shows no entity {entity.entity_id!r}."
    if entity.locked_by is None:
        text += f"Entity {entity.entity_id!r} is not locked"
    elif entity.locked_by == instance_id:
        text += f"It holds the lock of {entity.entity_id!r}"
    else:
        status = entity.holder_status.name if entity.holder_status is not None else "not there any more"
        since = f" since {entity.locked_since.isoformat()}" if entity.locked_since is not None else ""
        text += f"Entity {entity.entity_id!r} is locked by {entity.locked_by!r}{since}, which is {status}"
    count = entity.messages
    return f"{text}; {count} message{' waits' if count == 1 else 's wait'} for it."


def advice_for_entity(
    task: OpenTask,
    instance_id: str,
    entities: Mapping[str, WaitedEntity],
    unknown: Callable[[str], str],
) -> str:
    """What to do about a wait for a call or a lock.

    Args:
        task: the wait.
        instance_id: the instance that waits.
        entities: what the hub shows; empty if it was not asked.
        unknown: the sentence for an entity of a name that the given code does not have; empty if it has it.
    """
    entity = _obstacle(task, instance_id, entities)
    if entity is None:
        return _without_hub(task)
    if entity.locked_by not in {None, instance_id}:
        if entity.is_orphaned:
            return f"The holder of {entity.entity_id!r} is gone: client.clean_entity_storage() releases its lock."
        return f"Explain the holder of {entity.entity_id!r}: client.explain({entity.locked_by!r})."
    if text := unknown(entity.entity_id[1:].partition("@")[0]):
        return text
    if not entity.is_known:
        return (
            f"If entity {entity.entity_id!r} was purged, this wait may never end: terminate or restart the "
            "orchestration. If not, the answer may be on its way: look again."
        )
    return (
        f"Operations of {entity.entity_id!r} are queued or running: check the workers that have this entity."
    )


def _obstacle(task: OpenTask, instance_id: str, entities: Mapping[str, WaitedEntity]) -> WaitedEntity | None:
    """The entity that a wait is for: of a lock set, the first one that the instance does not hold."""
    if task.kind == "entity":
        return entities.get(task.target or "")
    waiting = [each for each in task.lock_set if not _is_held(each, instance_id, entities)]
    return entities.get((waiting or task.lock_set)[0]) if task.lock_set else None


def _is_held(entity_id: str, instance_id: str, entities: Mapping[str, WaitedEntity]) -> bool:
    entity = entities.get(entity_id)
    return entity is not None and entity.locked_by == instance_id


def _without_hub(task: OpenTask) -> str:
    if task.kind == "entity":
        return (
            f"Entity {task.target!r} has not answered: client.get_entity({task.target!r}) shows which orchestration "
            "has it locked and how much waits for it; check that a worker has this entity."
        )
    return (
        f"Another orchestration may hold one of {task.name}: client.get_entity(id) names it; "
        "client.clean_entity_storage() takes locks from orchestrations that are gone."
    )
