"""Waits for external events (protocol section 8.6, decisions rows 5 and 6); see ``mailbox`` for who gets an event."""

from __future__ import annotations

from datetime import datetime
from types import CodeType
from typing import TYPE_CHECKING

from durabletask.core.open_tasks import OpenTask

from .tasks import FAILURE, PENDING, RAW_RESULT, EngineTask, Waiter
from .timers import Timer

if TYPE_CHECKING:
    from .sink import Sink

__all__ = ["EventWait"]


class EventWait(EngineTask[object], Waiter):
    """A wait for one event. It is *parked* when an event arrived while its result could reach no code."""

    __slots__ = ("_data_type", "_is_parked", "_timer", "event_name", "is_read")

    def __init__(self, sink: Sink, name: str, data_type: object, code: CodeType | None, lasti: int) -> None:
        super().__init__(sink, code, lasti)
        self.event_name: str = name
        self._data_type = data_type
        self._is_parked = False
        self._timer: Timer | None = None
        self.is_read: bool = False

    def limit_to(self, fire_at: datetime) -> None:
        """Fail with a ``TimeoutError`` at that time."""
        self._timer = Timer(self.sink, fire_at, self.code, self.lasti, owner=self)
        self._timer.subscribe(self)

    def claim(self) -> bool:
        """See ``MailboxWait``."""
        if self.state != PENDING:
            return False
        self._is_parked = not self.is_live
        return not self._is_parked

    def deliver(self, payload: str | None) -> None:
        """See ``MailboxWait``."""
        self._stop_timer()
        self.settle(RAW_RESULT, payload)

    def wake(self, task: EngineTask[object]) -> None:
        """The time is over."""
        self._timer = None
        if self.state == PENDING:
            self.settle(FAILURE, TimeoutError(f"No event named {self.event_name!r} arrived in time."))

    def subscribe(self, waiter: Waiter) -> bool:
        is_new = super().subscribe(waiter)
        if self._is_parked:
            self._is_parked = False
            self.sink.work.mailbox.enter(self)
        return is_new

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.unsubscribe(self)
            self._timer.cancel()
            self._timer = None

    def withdraw(self) -> None:
        self._stop_timer()

    def reached_code(self) -> None:
        self.is_read = True

    def decode(self, raw: object) -> object:
        self.is_read = True  # also if it cannot be decoded: the next execution could not decode it either
        return self.deserialize(raw, self._data_type)

    def payload_name(self) -> str:
        return f"Data of the event {self.event_name!r}"

    def describe(self) -> str:
        return f"wait for the event {self.event_name!r}"

    def open_task(self) -> OpenTask | None:
        if self._is_parked:
            return None
        return OpenTask(
            kind="event",
            name=self.event_name,
            location=self.location,
            due=self._timer.fire_at if self._timer is not None else None,
            is_awaited=self.is_awaited,
        )
