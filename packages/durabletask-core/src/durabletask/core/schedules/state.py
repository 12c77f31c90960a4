"""What a schedule entity stores, in the form that all SDKs of the protocol share (protocol section 14).

Interval schedules live on the entity ``@schedule@<id>``. The members in PascalCase are those of the other SDKs: a
schedule made by one of them is run and changed here, and the reverse. The members ``Options`` and ``Progress`` exist
only in this SDK. Workers of other SDKs ignore them, and drop them when they write the state. A schedule without them
is one with the defaults of the family: runs may overlap, and only the latest missed run is started.

Cron schedules live on ``@cron-schedule@<id>``, an entity that other SDKs do not have. They would misread a schedule
without an interval.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from durabletask.core.times import as_utc

from .timing import CronTiming, IntervalTiming, Timing

__all__ = [
    "Overlap",
    "Plain",
    "ScheduleConfiguration",
    "ScheduleOptions",
    "ScheduleProgress",
    "ScheduleState",
    "ScheduleStatus",
    "folded",
    "read_state",
    "to_timedelta",
    "to_timespan",
    "write_state",
]

Overlap: TypeAlias = Literal["skip", "buffer_one", "allow", "terminate_other"]
"""What happens to a run that is due while the one before it has not ended."""

Plain: TypeAlias = dict[str, Any]
"""A JSON object."""

_TIMESPAN: Final = re.compile(r"(-)?(?:(\d+)\.)?(\d+):(\d+):(\d+)(?:\.(\d{1,7}))?")


class ScheduleStatus(IntEnum):
    """Status of a schedule, with the numbers that the state holds."""

    UNINITIALIZED = 0
    ACTIVE = 1
    PAUSED = 2

    def __str__(self) -> str:
        return self.name


class ScheduleOptions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """The settings that the other SDKs do not have; the defaults are their behaviour.

    Attributes:
        cron: the expression of a cron schedule.
        time_zone: IANA name of the time zone in which the expression is read.
        instance_id: pattern of the ids of the runs, with ``{time}`` and ``{schedule}``.
        overlap: what happens to a run that is due while the one before it has not ended.
        catch_up: seconds; missed runs that are not older are all started. 0: only the latest is started.
        jitter: seconds; each start is delayed by a random part of it.
        limit: how many runs are started at their scheduled times; ``None``: no limit.
        pause_on_failure: whether a run that does not complete pauses the schedule.
        version: version of the orchestrations that are started.
    """

    cron: str | None = None
    time_zone: str = "UTC"
    instance_id: str | None = None
    overlap: Overlap = "allow"
    catch_up: float = 0.0
    jitter: float = 0.0
    limit: int | None = None
    pause_on_failure: bool = False
    version: str | None = None

    @property
    def watches_runs(self) -> bool:
        """Whether the end of a run matters to the schedule."""
        return self.overlap != "allow" or self.pause_on_failure


class ScheduleConfiguration(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What is started, and when. ``interval`` is a text such as ``1.02:30:00``; ``None`` for a cron schedule."""

    schedule_id: str
    orchestration_name: str
    interval: str | None = None
    orchestration_input: str | None = None
    orchestration_instance_id: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    start_immediately_if_late: bool = False
    options: ScheduleOptions = ScheduleOptions()

    def timing(self, created_at: datetime) -> Timing:
        """The times of the schedule; without a start of its own, an interval counts from ``created_at``.

        Raises:
            ValueError: interval, expression or time zone are not valid.
        """
        if self.options.cron is not None:
            return CronTiming(self.options.cron, self.options.time_zone)
        return IntervalTiming(self.start_at or created_at, to_timedelta(self.interval or "00:00:00"))

    def run_id(self, moment: datetime) -> str:
        """Instance id of the run of a moment; the same moment always has the same id."""
        if self.orchestration_instance_id:  # of another SDK: one id for all runs
            return self.orchestration_instance_id
        pattern = self.options.instance_id or "{schedule}-{time}"
        return pattern.replace("{time}", moment.isoformat()).replace("{schedule}", self.schedule_id)


class ScheduleProgress(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """What has happened so far.

    Attributes:
        started: how many runs were started at their scheduled times.
        skipped: how many runs were not, because the one before had not ended.
        running: runs that have not ended, as instance id -> id of the helper that watches it. Only kept where the end
            of a run matters.
        ended: ids of helpers that have ended, until the next helper purges them.
        buffered: the run that waits for the end of the one before (``overlap="buffer_one"``).
        last_failure: instance id of the last watched run that did not complete.
        last_trigger: time of the last run that was triggered.
    """

    started: int = 0
    skipped: int = 0
    running: dict[str, str] = {}
    ended: tuple[str, ...] = ()
    buffered: datetime | None = None
    last_failure: str | None = None
    last_trigger: datetime | None = None


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The whole state. ``execution_token`` changes whenever signals that are under way become stale."""

    status: int = ScheduleStatus.UNINITIALIZED
    execution_token: str = ""
    last_run_at: datetime | None = None
    next_run_at: datetime | None = None
    schedule_created_at: datetime | None = None
    schedule_last_modified_at: datetime | None = None
    schedule_configuration: ScheduleConfiguration | None = None
    progress: ScheduleProgress = ScheduleProgress()


def to_timespan(interval: timedelta) -> str:
    """``[d.]hh:mm:ss[.fffffff]``, the form in which states hold an interval."""
    hours, rest = divmod(interval.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    days = f"{interval.days}." if interval.days else ""
    fraction = f".{interval.microseconds:06}0" if interval.microseconds else ""
    return f"{days}{hours:02}:{minutes:02}:{seconds:02}{fraction}"


def to_timedelta(text: str) -> timedelta:
    """The reverse of ``to_timespan``.

    Raises:
        ValueError: the text has another form.
    """
    found = _TIMESPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an interval of the form [d.]hh:mm:ss[.fffffff].")
    sign, days, hours, minutes, seconds, fraction = found.groups()
    span = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int((fraction or "").ljust(7, "0")[:6]),
    )
    return -span if sign else span


def read_state(plain: object, schedule_id: str = "") -> ScheduleState:
    """The state from the plain values of its payload; ``None`` is the state of a schedule that does not exist.

    Members may also be spelled in snake_case or camelCase, as earlier versions of other SDKs write them. Unknown
    members are ignored, and null is the same as a member that is missing.

    Args:
        plain: the values.
        schedule_id: key of the entity, for a state that does not repeat it.

    Raises:
        ValueError: it is no state of a schedule.
    """
    if plain is None:
        return ScheduleState()
    values = _renamed(plain, ScheduleState)
    configuration = _renamed_member(values, "ScheduleConfiguration", ScheduleConfiguration)
    _renamed_member(configuration, "Options", ScheduleOptions)
    configuration.setdefault("ScheduleId", schedule_id)
    _renamed_member(values, "Progress", ScheduleProgress)
    status = values.get("Status")
    if isinstance(status, str):
        names = ScheduleStatus.__members__
        values["Status"] = names.get(status.upper(), ScheduleStatus.UNINITIALIZED).value
    try:
        return _aware(msgspec.convert(values, ScheduleState))
    except msgspec.ValidationError as error:
        raise ValueError(f"The state of the schedule cannot be read: {error}") from None


def _renamed(plain: object, kind: type[msgspec.Struct]) -> Plain:
    """The members of ``plain`` that ``kind`` has, under its names; null is left out."""
    if not isinstance(plain, dict):
        raise ValueError(f"The state of a schedule is an object, not {type(plain).__name__}.")
    names = {folded(field.encode_name): field.encode_name for field in msgspec.structs.fields(kind)}
    return {
        names[folded(name)]: value
        for name, value in plain.items()
        if value is not None and folded(name) in names
    }


def _renamed_member(values: Plain, name: str, kind: type[msgspec.Struct]) -> Plain:
    """Rename the members of a member that is an object. Returns it."""
    if isinstance(values.get(name), dict):
        values[name] = renamed = _renamed(values[name], kind)
        return renamed
    return {}


def folded(name: str) -> str:
    """A name without regard to case and underscores: ``CreateSchedule`` and ``create_schedule`` are the same."""
    return name.replace("_", "").casefold()


def _aware(state: ScheduleState) -> ScheduleState:
    """Times as aware UTC; those without an offset, which some SDKs write, are in UTC."""
    configuration = state.schedule_configuration
    if configuration is not None:
        configuration = msgspec.structs.replace(configuration, **_utc_times(configuration))
    return msgspec.structs.replace(state, schedule_configuration=configuration, **_utc_times(state))


def _utc_times(part: ScheduleState | ScheduleConfiguration) -> dict[str, datetime]:
    return {
        name: as_utc(value)
        for name in part.__struct_fields__
        if isinstance(value := getattr(part, name), datetime)
    }


def write_state(state: ScheduleState) -> Plain:
    """The plain values of a state's payload."""
    plain: Plain = msgspec.to_builtins(state)
    if not plain["Progress"]:
        del plain["Progress"]
    configuration = plain["ScheduleConfiguration"]
    if configuration is not None and not configuration["Options"]:
        del configuration["Options"]
    return plain
