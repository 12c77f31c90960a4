"""Durable timers: absolute fire times, split where the hub takes only short ones (protocol section 8.7)."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import CodeType
from typing import TYPE_CHECKING

from durabletask.core.actions import CreateTimer

from .tasks import PENDING, RESULT, EngineTask

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Timer"]

_ROUNDING = timedelta(minutes=1)  # a hub may keep times less finely; no part of a split timer is that short


class Timer(EngineTask[None]):
    """A timer, or the first of several that together reach a far fire time."""

    __slots__ = ("_fire_at", "action")

    sink: Ledger

    def __init__(
        self, ledger: Ledger, fire_at: datetime, code: CodeType | None = None, lasti: int = 0
    ) -> None:
        super().__init__(ledger, code, lasti)
        self._fire_at = fire_at
        self._create(ledger.clock)

    def fired(self, fire_at: datetime) -> None:
        """The hub's timer fired: go on to the next part, or end.

        What the hub recorded decides and not what would be asked for today: the worker that asked may have
        known another longest interval.
        """
        if self.state != PENDING:
            return
        is_part = self.action.fire_at < self._fire_at
        if fire_at < self._fire_at and (is_part or self._fire_at - fire_at > _ROUNDING):
            self.sink.pending.pop(self.action.id, None)  # unless the history confirmed it, as it should have
            self._create(fire_at)
        else:
            self.settle(RESULT, None)

    def _create(self, start: datetime) -> None:
        ledger = self.sink
        longest = ledger.maximum_timer_interval
        fire_at = self._fire_at
        if longest is not None and fire_at - start > longest:
            fire_at = start + longest
        self.action = CreateTimer(id=ledger.next_id(), fire_at=fire_at)
        ledger.pending[self.action.id] = ledger.timers[self.action.id] = self

    def withdraw(self) -> None:
        self.sink.pending.pop(self.action.id, None)
        self.sink.timers.pop(self.action.id, None)

    def describe(self) -> str:
        return f"timer until {self._fire_at.isoformat()}"
