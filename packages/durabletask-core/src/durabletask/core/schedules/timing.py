"""When a schedule is due: at a fixed interval, or at the times of a cron expression in a time zone.

A timing is a pure function of its arguments. ``next_after(moment)`` is the first run strictly after a moment; the other
methods follow from it. All times are aware and in UTC.

A cron expression is read on the wall clock of its time zone. At the changes of daylight saving:

* A time that does not exist (02:30 when clocks go from 02:00 to 03:00) runs once, right after the gap, at 03:00.
* A time that exists twice (02:30 when clocks go from 03:00 back to 02:00) runs once, at the first of the two.
* Wildcards in minutes and hours (``*/30 * * * *``) stay evenly spaced: runs fall into both of the repeated hours.

``cronsim`` does the first two. For wildcards it steps over a change by whole hours. At a change by half an hour (Lord
Howe) it would lose runs of the rest of the day, so it is only asked about spans of time in which the offset is constant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import islice
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from durabletask.core.errors import MissingPackageError

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["SHORTEST_INTERVAL", "CronTiming", "IntervalTiming", "Timing"]

SHORTEST_INTERVAL: Final = timedelta(seconds=1)
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_CRON_FIELDS: Final = (
    "Its fields are: minute, hour, day of month, month, day of week; for example '30 2 * * 1-5'."
)
_LOOK_BACK: Final = tuple(timedelta(seconds=seconds) for seconds in (60, 3600, 86400, 7 * 86400)) + tuple(
    timedelta(days=days) for days in (31, 366, 4 * 366, 8 * 366)
)


class Timing(ABC):
    """The times of a schedule."""

    __slots__ = ()

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime | None:
        """The first run strictly after ``moment``; ``None`` if there is none."""

    @abstractmethod
    def latest_until(self, moment: datetime) -> datetime | None:
        """The last run not after ``moment``; ``None`` if there is none."""

    def upcoming(self, moment: datetime) -> Iterator[datetime]:
        """All runs after ``moment``, in order."""
        run = self.next_after(moment)
        while run is not None:
            yield run
            run = self.next_after(run)

    def take(self, moment: datetime, count: int) -> list[datetime]:
        """The first ``count`` runs after ``moment``."""
        return list(islice(self.upcoming(moment), count))

    def between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """The runs from ``first`` to ``last``, both included."""
        for run in self.upcoming(first - timedelta(microseconds=1)):
            if run > last:
                return
            yield run

    def latest(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """The runs from ``first`` to ``last``, at most the latest ``most``."""
        return list(deque(self.between(first, last), maxlen=most))


class IntervalTiming(Timing):
    """A run at ``anchor`` and then every ``interval``.

    Raises:
        ValueError: the interval is shorter than one second.
    """

    __slots__ = ("anchor", "interval")

    def __init__(self, anchor: datetime, interval: timedelta) -> None:
        if interval < SHORTEST_INTERVAL:
            raise ValueError(f"every={interval} is too short. Use an interval of at least one second.")
        self.anchor: datetime = anchor
        self.interval: timedelta = interval

    def next_after(self, moment: datetime) -> datetime | None:
        """See ``Timing``."""
        if moment < self.anchor:
            return self.anchor
        try:
            return self.anchor + self.interval * ((moment - self.anchor) // self.interval + 1)
        except OverflowError:
            return None

    def latest_until(self, moment: datetime) -> datetime | None:
        """See ``Timing``."""
        if moment < self.anchor:
            return None
        return self.anchor + self.interval * ((moment - self.anchor) // self.interval)

    def latest(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """See ``Timing``. Years of seconds are not iterated over."""
        return super().latest(max(first, last - self.interval * most), last, most)


class CronTiming(Timing):
    """The times of a cron expression with five fields (or six, the first for seconds) in a time zone.

    Raises:
        ValueError: the expression or the name of the time zone is not valid; the message names which.
        MissingPackageError: ``cronsim`` is not installed.
    """

    __slots__ = ("_has_wildcard", "_zone", "expression", "time_zone")

    def __init__(self, expression: str, time_zone: str = "UTC") -> None:
        self.expression: str = expression
        self.time_zone: str = time_zone
        try:
            self._zone: ZoneInfo = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"time_zone={time_zone!r} is not known. Use a name of the IANA database such as 'Europe/Berlin'; "
                "where the system has no such database, as on Windows, the package 'tzdata' provides it."
            ) from error
        self._has_wildcard: bool = self._simulator(datetime(2000, 1, 1, tzinfo=timezone.utc)).fixup_tz is None

    def next_after(self, moment: datetime) -> datetime | None:
        """See ``Timing``."""
        if not self._has_wildcard:
            return self._first_after(moment, self._zone)
        start, offset = moment, self._offset(moment)
        while True:
            found = self._first_after(start, timezone(offset))
            change = None if found is None else self._change(start, found, offset)
            if change is None:
                return found
            start, offset = change - _SECOND, self._offset(change)

    def _first_after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first run strictly after ``moment`` on the wall clock of ``zone``."""
        for run in self._simulator(moment, zone):
            found = run.astimezone(timezone.utc)
            if found > moment:
                return found
        return None

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta()

    def _change(self, start: datetime, end: datetime, offset: timedelta) -> datetime | None:
        """The first second after ``start``, until ``end``, at which the zone has another offset than ``offset``."""
        before = (start + _SECOND).replace(microsecond=0)
        if self._offset(before) != offset:
            return before
        while before < end:
            after = min(before + _DAY, end)
            if self._offset(after) != offset:
                while after - before > _SECOND:
                    middle = before + (after - before) // 2
                    middle = middle.replace(microsecond=0)
                    before, after = (before, middle) if self._offset(middle) != offset else (middle, after)
                return after
            before = after
        return None

    def latest_until(self, moment: datetime) -> datetime | None:
        """See ``Timing``. Cron expressions have no beginning, so there nearly always is one."""
        # CronSim also iterates backwards, but treats the changes of daylight saving differently there.
        for back in _LOOK_BACK:
            latest = None
            for run in self.upcoming(moment - back):
                if run > moment:
                    break
                latest = run
            if latest is not None:
                return latest
        return None

    def _simulator(self, moment: datetime, zone: tzinfo | None = None) -> CronSim:
        try:
            from cronsim import CronSim, CronSimError  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                "Cron schedules need the package 'cronsim': pip install 'durabletask-core[cron]'."
            ) from error
        try:
            return CronSim(self.expression, moment.astimezone(zone or self._zone))
        except CronSimError as error:
            raise ValueError(
                f"cron={self.expression!r} is not a cron expression: {error}. {_CRON_FIELDS}"
            ) from error
