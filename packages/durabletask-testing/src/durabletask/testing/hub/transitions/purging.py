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
        instance = tx.state.instances.get(pending.pop())
        if instance is None or not instance.is_terminal:
            continue
        if recursive:
            pending += instance.child_ids
        remove(tx, instance, tell_waiting=True)
        count += 1
    return count


def remove_all(tx: Transition) -> None:
    """Empty the hub."""
    for instance in list(tx.state.instances.values()):
        for activity in instance.activities.values():
            activity.is_cancelled = True  # of a hub that is gone, not even these are left
        instance.activities.clear()
        remove(tx, instance, tell_waiting=True)
    tx.clears_hub = True
