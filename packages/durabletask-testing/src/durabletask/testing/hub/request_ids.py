"""Ids of the signals that clients have sent lately, so that a signal that is sent again counts once.

A client that gets no answer sends its signal again, with the same request id; the first may have arrived, and may even
have been run and the entity be gone. So the ids are kept by the hub, not by the entity, and in the storage with the
signal. Orchestrators and entities need no such memory: their messages are committed with the completion of their work
item, which counts once.

The memory is bounded by time and by number, and shrinks in large steps, because each step is a statement of the
storage.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

__all__ = ["RequestId", "RequestIds"]

_KEPT_FOR: Final = timedelta(minutes=10)
_KEPT: Final = 20_000
_STEP: Final = 5_000


class RequestId(NamedTuple):
    """One signal of a client. ``number`` grows with every signal."""

    entity_id: str
    request_id: str
    number: int
    at: datetime


class RequestIds:
    """Request ids in the order of arrival."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], RequestId] = {}

    def knows(self, entity_id: str, request_id: str) -> bool:
        """Whether the signal has arrived."""
        return (entity_id, request_id) in self._known

    def change(self, new: Iterable[RequestId], forgets: int | None = None) -> None:
        """Remember signals, and forget those with a lower number than ``forgets``."""
        for one in new:
            self._known[one.entity_id, one.request_id] = one
        if forgets is not None:
            # A new dictionary: in the old one, the search for the first would pass all that was deleted before it.
            self._known = {key: one for key, one in self._known.items() if one.number >= forgets}

    def outdated(self, now: datetime) -> int | None:
        """The number below which everything may be forgotten; ``None`` while it is not worth a step."""
        known = self._known
        if not known:
            return None
        first = next(iter(known.values()))
        is_full = len(known) >= _KEPT + _STEP
        if not is_full and now - first.at < 2 * _KEPT_FOR:
            return None
        ids = list(known.values())
        surplus = max(len(ids) - _KEPT, 0)
        fresh = (one.number for place, one in enumerate(ids) if place >= surplus and now - one.at < _KEPT_FOR)
        return next(fresh, ids[-1].number + 1)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
