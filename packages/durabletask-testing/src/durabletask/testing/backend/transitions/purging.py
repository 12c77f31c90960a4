"""Purge: finished instances and their histories go (protocol section 12.6)."""

from __future__ import annotations

from collections.abc import Iterable

from durabletask.core.history import SubOrchestrationInstanceCreated
from durabletask.testing.backend.effects import Transition

from .ending import remove

__all__ = ["children_of", "purge"]


def purge(tx: Transition, instance_ids: Iterable[str], *, recursive: bool) -> int:
    """Remove finished instances, and with ``recursive`` their finished descendants; return how many."""
    count = 0
    pending = list(instance_ids)
    while pending:
        instance = tx.state.instances.get(pending.pop())
        if instance is None or not instance.is_terminal:
            continue
        if recursive:
            pending += children_of(tx, instance.instance_id)
        remove(tx, instance, tell_waiting=True)
        count += 1
    return count


def children_of(tx: Transition, instance_id: str) -> list[str]:
    """Ids of the children that an instance has created in its present execution."""
    instance = tx.state.instances.get(instance_id)
    events = instance.history if instance is not None else ()
    return [event.instance_id for event in events if isinstance(event, SubOrchestrationInstanceCreated)]
