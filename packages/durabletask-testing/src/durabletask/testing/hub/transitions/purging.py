"""Purge: finished instances and their histories go (protocol section 12.6)."""

from __future__ import annotations

from collections.abc import Iterable

from durabletask.testing.hub.effects import Transition

from .ending import remove

__all__ = ["purge", "remove_all"]


def purge(tx: Transition, instance_ids: Iterable[str], *, recursive: bool) -> int:
    """Remove finished instances, and with ``recursive`` their finished descendants; return how many."""
    count = 0
    pending = list(instance_ids)
    while pending:
        instance = tx.read(pending.pop())
        if instance is None or not instance.is_terminal:
            continue
        if recursive:
            pending += [child.instance_id for child in tx.children_of(instance.instance_id)]
        remove(tx, instance, tell_waiting=True)
        count += 1
    return count


def remove_all(tx: Transition) -> None:
    """Empty the hub. Not even the activities that were promised are left."""
    for instance in tx.state.instances.values():
        tx.removed.append((instance, True))
    tx.entities.update(dict.fromkeys(tx.state.entities))
    tx.clears_hub = True
