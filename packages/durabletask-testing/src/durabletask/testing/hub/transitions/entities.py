"""What clients ask of entities: signal, purge, clean (protocol sections 11.8 and 12.6)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from durabletask.core.actions import SignalEntity
from durabletask.core.history import EntityOperationSignaled, TraceContext
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.entity_state import Entity
from durabletask.testing.hub.request_ids import RequestId

from .entity_messages import deliver
from .locks import release

__all__ = ["purge_entities", "release_orphaned_lock", "signal_entity"]


def signal_entity(tx: Transition, signal: SignalEntity, trace_context: TraceContext | None) -> None:
    """Signal an entity for a client. A signal that has arrived before is dropped; one without a request id never."""
    target, request_id = signal.target_instance_id, signal.request_id
    if request_id:
        if tx.state.request_ids.knows(target, request_id):
            return
        tx.request_ids.append(RequestId(target, request_id, tx.state.take_key(), tx.now))
        tx.forgets = tx.state.request_ids.outdated(tx.now)
    message = EntityOperationSignaled(
        -1,
        tx.now,
        request_id or tx.state.new_id(),
        signal.operation,
        target,
        signal.input,
        signal.scheduled_time,
        trace_context,
    )
    deliver(tx, target, message)


def purge_entities(tx: Transition, entity_ids: Iterable[str]) -> int:
    """Delete the states of entities; return how many there were.

    Messages and lock stay, and with them an entity without state. It has a new number, so a batch in flight counts no
    more: it had the old state, and is delivered again without.
    """
    count = 0
    for entity_id in entity_ids:
        entity = tx.read_entity(entity_id)
        if entity is None or entity.state is None:
            continue
        tx.add_entity(_emptied(tx, tx.edit_entity(entity)))
        count += 1
    return count


def _emptied(tx: Transition, entity: Entity) -> Entity:
    return msgspec.structs.replace(entity, key=tx.state.take_key(), state=None, modified_at=tx.now)


def release_orphaned_lock(tx: Transition, entity_id: str) -> bool:
    """Unlock an entity whose holder is not in the critical section any more; whether it was locked so."""
    entity = tx.read_entity(entity_id)
    if entity is None or entity.lock is None:
        return False
    holder = tx.read(entity.lock.holder)
    if holder is not None and entity.lock.section_id in holder.sections:
        return False
    release(tx, entity.lock.section_id, entity_id)
    return True
