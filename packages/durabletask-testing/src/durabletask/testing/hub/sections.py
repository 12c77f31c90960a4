"""The critical sections that an execution is in, as data: which entities each has locked or is still to lock.

A section begins with its lock request and ends when every entity of it is unlocked. The history shows both, so a
storage keeps nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from durabletask.core.history import EntityLockGranted, EntityLockRequested, EntityUnlockSent, HistoryEvent

from .entity_ids import fold, targets_of

__all__ = ["Sections", "entered", "granted_in", "open_sections", "unlocked"]

Sections: TypeAlias = Mapping[str, tuple[str, ...]]
"""By id of the section: the entities that are not unlocked yet. Replaced as a whole, never changed."""


def entered(sections: Sections, section_id: str, targets: tuple[str, ...]) -> Sections:
    """The sections with one more."""
    return {**sections, section_id: targets}


def unlocked(sections: Sections, section_id: str, target: str) -> Sections:
    """The sections after one entity was unlocked."""
    left = tuple(one for one in sections.get(section_id, ()) if one != target)
    others = {key: targets for key, targets in sections.items() if key != section_id}
    return {**others, section_id: left} if left else others


def open_sections(history: Iterable[HistoryEvent]) -> Sections:
    """The sections that a history enters and does not leave."""
    sections: Sections = {}
    for event in history:
        if isinstance(event, EntityLockRequested):
            sections = entered(sections, event.critical_section_id, targets_of(event.lock_set))
        elif isinstance(event, EntityUnlockSent):
            sections = unlocked(sections, event.critical_section_id, fold(event.target_instance_id or ""))
    return sections


def granted_in(history: Iterable[HistoryEvent]) -> frozenset[str]:
    """The sections that a history was granted."""
    return frozenset(event.critical_section_id for event in history if isinstance(event, EntityLockGranted))
