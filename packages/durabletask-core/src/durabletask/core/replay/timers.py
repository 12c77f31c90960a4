"""Durable timers: absolute fire times, split where the hub takes only short ones (protocol section 8.7)."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import CodeType
from typing import TYPE_CHECKING

from durabletask.core.actions import CreateTimer
from durabletask.core.open_tasks import OpenTask

from .tasks import PENDING, RESULT, EngineTask

if TYPE_CHECKING:
    from .sink import Sink

__all__ = ["Timer"]

_ROUNDING = timedelta(minutes=1)  # a hub may keep times less finely; no part of a split timer is that short


class Timer(EngineTask[None]):
    """A timer, or the first of several that together reach a far fire time.

    ``owner`` is the task that the timer is a part of: a call that waits for its next attempt, or a wait for an
    event with a time-out.
    """

    __slots__ = ("_owner", "action", "fire_at")

    def __init__(
        self,
        sink: Sink,
        fire_at: datetime,
        code: CodeType | None = None,
        lasti: int = 0,
        owner: EngineTask[object] | None = None,
    ) -> None:
        super().__init__(sink, code, lasti)
        self.fire_at: datetime = fire_at
        self._owner = owner
        self._create(sink.execution.clock)

    @property
    def whole(self) -> EngineTask[object]:
        return self if self._owner is None else self._owner

    def fired(self, fire_at: datetime) -> None:
        """The hub's timer fired: go on to the next part, or end.

        The fire time that the hub recorded decides, not the part that this worker would ask for: the worker that
        asked may have had another longest interval.
        """
        if self.state != PENDING:
            return
        is_part = self.action.fire_at < self.fire_at
        if fire_at < self.fire_at and (is_part or self.fire_at - fire_at > _ROUNDING):
            self.sink.work.withdraw(self.action.id)  # in case the history does not confirm what it fires
            self._create(fire_at)
        else:
            self.settle(RESULT, None)

    def _create(self, start: datetime) -> None:
        work = self.sink.work
        longest = self.sink.options.maximum_timer_interval
        fire_at = self.fire_at
        if longest is not None and fire_at - start > longest:
            fire_at = start + longest
        self.action: CreateTimer = CreateTimer(id=work.next_id(), fire_at=fire_at)
        work.pending[self.action.id] = work.timers[self.action.id] = self

    def withdraw(self) -> None:
        self.sink.work.withdraw(self.action.id)
        self.sink.work.timers.pop(self.action.id, None)

    def describe(self) -> str:
        return f"timer until {self.fire_at.isoformat()}"

    def open_task(self) -> OpenTask:
        return OpenTask(
            kind="timer",
            name=self.fire_at.isoformat(),
            location=self.location,
            task_id=self.action.id,
            due=self.fire_at,
            is_awaited=self.is_awaited,
        )
