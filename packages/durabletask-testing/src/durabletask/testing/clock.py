"""Time as a task hub sees it: real (``SystemClock``) or virtual (``VirtualClock``).

A hub reads the time and asks to be woken; it never sleeps by itself. The virtual clock jumps to the next due time
when nothing can happen before it: no hub on the clock is busy (has work that is runnable or in flight), and the
event loop has nothing left to run, so no call is about to come. A timer of thirty days then takes a millisecond,
and two runs of a test see the same times.

States of a virtual clock: *held* (``advance`` is in progress; time moves only there), *probing* (a callback in the
event loop counts quiet rounds until it may jump), *at rest* (a hub is busy, nothing is due, or ``auto_advance`` is
off). ``notify`` starts a probe where a jump has become possible; the probe ends itself. Time never goes back, and
no hub is woken before its due time.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["Clock", "Sleeper", "SystemClock", "VirtualClock"]

_LONGEST_SLEEP = 60.0  # seconds; the wall clock may be set while the loop's monotonic clock sleeps
_QUIET_ROUNDS = 3  # rounds of the event loop without anything to run, each of which also polls its sockets
_DISK_PAUSE = 0.0005  # seconds between two looks at a file operation
_ROUNDS_IF_OPAQUE = 25  # the same for loops that do not show their queue


class Sleeper(Protocol):
    """What a clock knows of a task hub."""

    def next_due(self) -> datetime | None:
        """When the hub wants to be woken; ``None``: never."""

    def is_busy(self) -> bool:
        """Whether work is runnable or in flight, so that virtual time must stand still."""

    def is_using_disk(self) -> bool:
        """Whether a call waits for the hub's own file; ``advance`` waits for that, since it always ends."""

    def wake(self, now: datetime) -> None:
        """The time has come (or a little later)."""


class Clock(ABC):
    """A source of time for task hubs. Used from one event loop at a time."""

    @abstractmethod
    def now(self) -> datetime:
        """The present, aware UTC; never earlier than an earlier answer."""

    @abstractmethod
    def notify(self, sleeper: Sleeper) -> None:
        """Take note that the due time or the busyness of a hub may have changed (also: a new hub)."""

    @abstractmethod
    def detach(self, sleeper: Sleeper) -> None:
        """Forget a hub."""


class SystemClock(Clock):
    """Real time. One timer of the event loop per hub, for its earliest due time.

    Time follows the machine's clock. When that is set back, time goes on from where it was at the speed of the
    monotonic clock, until the machine's clock is ahead again: timers and time-outs do not wait for it.
    """

    def __init__(self) -> None:
        self._last = datetime.now(timezone.utc)
        self._read_at = time.monotonic()
        self._alarms: dict[Sleeper, tuple[datetime, asyncio.AbstractEventLoop, asyncio.TimerHandle]] = {}

    def now(self) -> datetime:
        """The time of the machine, or what it would be if the machine's clock had not been set back."""
        now, read_at = datetime.now(timezone.utc), time.monotonic()
        if now < self._last:
            now = self._last + timedelta(seconds=read_at - self._read_at)
        self._last, self._read_at = now, read_at
        return now

    def notify(self, sleeper: Sleeper) -> None:
        """Set the alarm of a hub."""
        due = sleeper.next_due()
        alarm = self._alarms.get(sleeper)
        if alarm is not None and (due is None or alarm[0] <= due) and not alarm[1].is_closed():
            return  # an alarm that rings too early does no harm, setting another costs more
        if alarm is not None:
            alarm[2].cancel()
            del self._alarms[sleeper]
        if due is not None:
            loop = asyncio.get_running_loop()
            delay = min(max((due - self.now()).total_seconds(), 0.0), _LONGEST_SLEEP)
            self._alarms[sleeper] = (due, loop, loop.call_later(delay, self._ring, sleeper))

    def detach(self, sleeper: Sleeper) -> None:
        """Cancel the alarm of a hub."""
        alarm = self._alarms.pop(sleeper, None)
        if alarm is not None:
            alarm[2].cancel()

    def _ring(self, sleeper: Sleeper) -> None:
        self._alarms.pop(sleeper, None)
        sleeper.wake(self.now())
        self.notify(sleeper)


class VirtualClock(Clock):
    """Time that moves only on request, or when nothing else can happen.

    Args:
        start: the first time; naive values are taken as UTC.
        auto_advance: jump to the next due time when every hub is idle and the event loop has nothing to
            run. While work waits for a worker (none connected, or none that accepts it) time stands still.
    """

    def __init__(self, start: datetime | None = None, *, auto_advance: bool = True) -> None:
        self._now = _aware(start) if start is not None else datetime(2026, 1, 1, tzinfo=timezone.utc)
        self._auto_advance = auto_advance
        self._holds = 0
        self._sleepers: dict[Sleeper, None] = {}
        self._changes = 0
        self._probing_on: asyncio.AbstractEventLoop | None = None

    def now(self) -> datetime:
        """The virtual present."""
        return self._now

    @property
    def next_due(self) -> datetime | None:
        """The earliest time at which a hub wants to be woken; ``None``: never."""
        return self._earliest()

    @property
    def auto_advance(self) -> bool:
        """Whether time jumps by itself just now."""
        return self._auto_advance and not self._holds

    @contextmanager
    def hold(self) -> Iterator[None]:
        """While this context is open, time does not jump by itself (``advance`` still moves it)."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._changes += 1
            self._start_probe()

    async def advance(self, delta: timedelta) -> None:
        """Move on by ``delta``, stopping at every due time on the way; see ``advance_to``."""
        await self.advance_to(self._now + delta)

    async def advance_to(self, moment: datetime) -> None:
        """Move on to ``moment``.

        At every due time on the way the hubs are woken, and the event loop runs until it has nothing left
        to do before time goes on. Work that is in flight elsewhere (threads, other processes) is not
        waited for.

        Raises:
            ValueError: ``moment`` lies in the past.
        """
        target = _aware(moment)
        if target < self._now:
            raise ValueError(
                f"Virtual time is {self._now.isoformat()}; it cannot go back to {target.isoformat()}."
            )
        with self.hold():
            await self._settle()
            while (due := self._earliest()) is not None and due <= target:
                self._jump(due)
                await self._settle()
            self._now = max(self._now, target)
            await self._settle()

    def notify(self, sleeper: Sleeper) -> None:
        """Look again whether time may jump, once the event loop is idle."""
        self._sleepers[sleeper] = None
        self._changes += 1
        self._start_probe()

    def detach(self, sleeper: Sleeper) -> None:
        """Forget a hub."""
        self._sleepers.pop(sleeper, None)

    # --- jumping by itself --------------------------------------------------------------------------------

    def _may_jump(self) -> bool:
        if not self.auto_advance or any(sleeper.is_busy() for sleeper in self._sleepers):
            return False
        return self._earliest() is not None

    def _start_probe(self) -> None:
        probing = self._probing_on
        if (probing is None or probing.is_closed()) and self._may_jump():
            loop = asyncio.get_running_loop()
            self._probing_on = loop
            _enter(loop)
            loop.call_soon(self._probe, loop, self._changes, 0)

    def _probe(self, loop: asyncio.AbstractEventLoop, changes: int, quiet: int) -> None:
        if not self._may_jump():
            self._probing_on = None
            _leave(loop)
            return
        if changes != self._changes or not _is_quiet(loop):
            quiet = -1  # something ran or is about to: count anew
        elif quiet >= _rounds(loop):
            self._jump(self._earliest())
            quiet = -1
        loop.call_soon(self._probe, loop, self._changes, quiet + 1)

    def _earliest(self) -> datetime | None:
        return min(
            (due for sleeper in self._sleepers if (due := sleeper.next_due()) is not None), default=None
        )

    def _jump(self, due: datetime | None) -> None:
        if due is None:
            return
        self._now = max(self._now, due)
        for sleeper in list(self._sleepers):
            wanted = sleeper.next_due()
            if wanted is not None and wanted <= self._now:
                sleeper.wake(self._now)

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        _enter(loop)
        try:
            changes, quiet = self._changes, 0
            while quiet <= _rounds(loop):
                await asyncio.sleep(0)
                is_still = changes == self._changes and _is_quiet(loop)
                if any(sleeper.is_using_disk() for sleeper in self._sleepers):
                    is_still = False
                    await asyncio.sleep(_DISK_PAUSE)
                quiet = quiet + 1 if is_still else 0
                changes = self._changes
        finally:
            _leave(loop)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


# Clocks that are looking at a loop leave a callback in its queue themselves; it must not count as work.
_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


def _enter(loop: asyncio.AbstractEventLoop) -> None:
    _watchers[loop] = _watchers.get(loop, 0) + 1


def _leave(loop: asyncio.AbstractEventLoop) -> None:
    _watchers[loop] = _watchers.get(loop, 1) - 1


def _ready_count(loop: asyncio.AbstractEventLoop) -> int | None:
    ready = getattr(loop, "_ready", None)  # the standard loops show their queue, others do not
    return None if ready is None else len(ready)


def _is_quiet(loop: asyncio.AbstractEventLoop) -> bool:
    count = _ready_count(loop)
    return count is None or count < _watchers.get(loop, 1)


def _rounds(loop: asyncio.AbstractEventLoop) -> int:
    return _ROUNDS_IF_OPAQUE if _ready_count(loop) is None else _QUIET_ROUNDS
