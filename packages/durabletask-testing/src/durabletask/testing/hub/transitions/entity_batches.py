"""One batch of an entity: taking it, committing its result (protocol sections 11.4 and 11.5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final, TypeAlias, Union

import msgspec
from durabletask.core.errors import InvalidRequestError
from durabletask.core.history import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityOperationSignaled,
    HistoryEvent,
)
from durabletask.core.logs import get_logger
from durabletask.core.work_items import (
    EntityBatchResult,
    EntityOperationResult,
    EntitySendSignal,
    EntityStartOrchestration,
    EntityWorkItem,
)
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.entity_ids import checked_entity_id
from durabletask.testing.hub.entity_state import Entity
from durabletask.testing.hub.state import ExecutionStart

from .creation import check_new, start
from .ending import FIRE_AND_FORGET, remove
from .entity_messages import deliver
from .locks import proceed

__all__ = ["Batch", "batch_item", "begin_batch", "complete_batch"]

_Operation: TypeAlias = Union[EntityOperationCalled, EntityOperationSignaled]
_MOST_OPERATIONS: Final = 1000  # of one batch, which must end before its lease does
_MOST_BYTES: Final = 3 * 1024 * 1024
"""Of a state and its operations; workers take messages of 4 MiB unless they are configured."""

_logger = get_logger("durabletask.testing.hub")
_encode = msgspec.msgpack.Encoder().encode


class Batch(msgspec.Struct, frozen=True, eq=False):
    """A batch that a worker has: the operations, and how many of them are from the queue of the holder."""

    operations: Sequence[_Operation]
    urgent: int


def begin_batch(entity: Entity) -> Batch:
    """Take the operations at the head, as far as one message can carry them. The first goes however large it is."""
    waiting: chain[HistoryEvent] = chain(entity.urgent, entity.queue if entity.lock is None else ())
    room = _MOST_BYTES - len((entity.state or "").encode())
    operations: list[_Operation] = []
    for message in waiting:
        if isinstance(message, EntityLockRequested) or len(operations) >= _MOST_OPERATIONS:
            break
        room -= len(_encode(message))  # with the names of the fields: more than the message takes
        if room < 0 and operations:
            break
        operations.append(message)  # type: ignore[arg-type]  # nothing else is queued
    return Batch(operations, min(len(entity.urgent), len(operations)))


def batch_item(entity: Entity, batch: Batch, token: str) -> EntityWorkItem:
    """The work item of a batch."""
    return EntityWorkItem(
        instance_id=entity.entity_id, operations=batch.operations, state=entity.state, completion_token=token
    )


def complete_batch(tx: Transition, entity: Entity, batch: Batch, result: EntityBatchResult) -> None:
    """Commit a batch: state, answers, actions. Operations without a result stay at the head of the queue.

    Raises:
        InvalidRequestError: the result makes no sense.
    """
    results = _results_of(entity, batch, result)
    entity = tx.edit_entity(entity)
    from_holder = min(batch.urgent, len(results))
    entity.urgent.drop(from_holder)
    entity.queue.drop(len(results) - from_holder)
    if result.results or result.failure is None:  # otherwise nothing has run
        entity.state = result.state
    entity.modified_at = tx.now
    for operation, outcome in zip(batch.operations, results, strict=False):
        if isinstance(operation, EntityOperationCalled):
            _answer(tx, operation, outcome)
    for action in result.actions:
        if isinstance(action, EntitySendSignal):
            _send_signal(tx, action)
        else:
            _start_orchestration(tx, entity, action)
    proceed(tx, entity)


def _results_of(entity: Entity, batch: Batch, result: EntityBatchResult) -> list[EntityOperationResult]:
    """One result for each operation that is over; the failure of a batch ends all that have none."""
    results, count = list(result.results), len(batch.operations)
    if len(results) > count:
        raise InvalidRequestError(
            f"The batch of entity {entity.entity_id!r} had {count} operations, and its result has {len(results)}."
        )
    if result.failure is not None:
        results += [EntityOperationResult(failure=result.failure)] * (count - len(results))
    return results


def _answer(tx: Transition, call: EntityOperationCalled, outcome: EntityOperationResult) -> None:
    """Answer a call; the answer is dropped when the execution of the caller is over."""
    caller = tx.read(call.parent_instance_id or "")
    if caller is None or caller.is_terminal or caller.execution_id != call.parent_execution_id:
        return
    event: HistoryEvent
    if outcome.failure is not None:
        event = EntityOperationFailed(-1, tx.now, call.request_id, outcome.failure)
    else:
        event = EntityOperationCompleted(-1, tx.now, call.request_id, outcome.result or None)
    tx.edit(caller).inbox.append(event)


def _send_signal(tx: Transition, action: EntitySendSignal) -> None:
    target = checked_entity_id(action.instance_id)
    message = EntityOperationSignaled(
        -1,
        tx.now,
        tx.state.new_id(),
        action.name,
        target,
        action.input,
        action.scheduled_time,
        action.trace_context,
    )
    deliver(tx, target, message)


def _start_orchestration(tx: Transition, entity: Entity, action: EntityStartOrchestration) -> None:
    """Start an orchestration. One that has ended gives its id; one that runs keeps it, and none is started."""
    instance_id = action.instance_id or tx.state.new_id()
    check_new(action.name, instance_id)
    old = tx.read(instance_id)
    if old is not None and not old.is_terminal:
        _logger.info(
            "Entity %r did not start orchestration %r: instance %r runs already.",
            entity.entity_id,
            action.name,
            instance_id,
        )
        return
    if old is not None:
        remove(tx, old, tell_waiting=False)
    start(
        tx,
        ExecutionStart(
            instance_id=instance_id,
            execution_id=tx.state.new_id(),
            name=action.name,
            version=action.version,
            input=action.input,
            tags={FIRE_AND_FORGET: ""},
            trace_context=action.trace_context,
            scheduled_start_at=action.scheduled_time,
        ),
    )
