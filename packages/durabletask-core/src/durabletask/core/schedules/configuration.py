"""Arguments and operation inputs, checked and made into a configuration.

``as_request`` makes the input of the operations ``create_schedule`` and ``update_schedule`` from the arguments of the
client; ``merged`` makes a configuration from such an input, or from that of another SDK. The client runs both before
it sends anything and the entity runs ``merged``, so each rule stands here once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Final, get_args

import msgspec
from typing_extensions import TypedDict

from durabletask.core.arguments import (
    as_count,
    as_duration,
    as_flag,
    as_name,
    as_optional_text,
    as_text,
    as_time,
)
from durabletask.core.built_ins import HELPER_PREFIX, is_helper
from durabletask.core.errors import InvalidArgumentError, InvalidRequestError, nearest_names
from durabletask.core.instances import checked_instance_id
from durabletask.core.times import as_utc

from .state import Overlap, Plain, ScheduleConfiguration, ScheduleOptions, folded, to_timespan

__all__ = ["ScheduleArguments", "as_request", "as_schedule_id", "merged"]

_LONGEST_ID: Final = 85  # "@cron-schedule@" and the id are the id of an entity, of at most 100 characters
_LONGEST: Final = timedelta(days=366).total_seconds()
_OVERLAPS: Final = get_args(Overlap)


class ScheduleArguments(TypedDict, total=False):
    """When and how a schedule runs.

    Attributes:
        cron: a cron expression of five fields, for example ``"0 2 * * *"``. Needs ``durabletask-core[cron]``.
        time_zone: IANA name of the time zone in which the expression is read (``"UTC"``).
        every: the interval, instead of ``cron``; a number is seconds.
        start_at: no run before this time; an interval counts from it, otherwise from the creation.
        end_at: no run after this time; the schedule then deletes itself.
        instance_id: pattern of the ids of the runs (``"{schedule}-{time}"``). ``{time}`` stands for the time of the
            run, ``{schedule}`` for the id of the schedule. A run whose id is in use is not started.
        overlap: what happens to a run that is due while the one before it has not ended: ``"skip"`` drops it (the
            default), ``"buffer_one"`` starts one when the other has ended, ``"allow"`` starts it, ``"terminate_other"``
            terminates the other first.
        catch_up: start all missed runs that are not older than this. By default only the latest of them is started.
        jitter: each start is delayed by a random part of this.
        limit: how many runs are started at their scheduled times.
        pause_on_failure: pause the schedule when a run does not complete.
        start_immediately_if_late: whether an interval whose start has passed runs at once for the first time.
        version: version of the orchestrations that are started.
    """

    cron: str | None
    time_zone: str
    every: timedelta | float | None
    start_at: datetime | None
    end_at: datetime | None
    instance_id: str | None
    overlap: Overlap
    catch_up: timedelta | float
    jitter: timedelta | float
    limit: int | None
    pause_on_failure: bool
    start_immediately_if_late: bool
    version: str | None


# --- arguments to the input of an operation --------------------------------------------------------------------


def as_schedule_id(value: object) -> str:
    """The id of a schedule.

    Raises:
        InvalidRequestError: it is no text, empty, too long, or contains ``@``, which some SDKs cannot read.
    """
    schedule_id = as_name(value, "schedule_id")
    if "@" in schedule_id:
        raise InvalidRequestError(f"schedule_id={schedule_id!r} contains '@'. Choose an id without it.")
    if len(schedule_id) > _LONGEST_ID:
        raise InvalidRequestError(
            f"schedule_id={schedule_id[:40]!r}... has {len(schedule_id)} characters; at most {_LONGEST_ID} are allowed."
        )
    return schedule_id


def as_request(arguments: Mapping[str, object]) -> Plain:
    """The input of an operation, in the form of the Python SDKs; ``options`` and ``cleared`` are ours.

    Args:
        arguments: members of ``ScheduleArguments``; what is left out does not change.

    Raises:
        InvalidRequestError: an argument has the wrong type or value; the message names it.
    """
    request: Plain = {"options": {}, "cleared": []}
    try:
        for name, value in arguments.items():
            _PLACES[name](request, name, value)
    except InvalidRequestError:
        raise
    except TypeError as error:
        raise InvalidArgumentError(str(error)) from None
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    return request


def _put_every(request: Plain, name: str, value: object) -> None:
    if value is None:
        request["cleared"].append("interval")
    else:
        request["interval_seconds"] = as_duration(value, name).total_seconds()


def _put_time(request: Plain, name: str, value: object) -> None:
    time = as_time(value, name)
    request[name] = None if time is None else time.isoformat()
    if time is None:
        request["cleared"].append(name)


def _put_flag(request: Plain, name: str, value: object) -> None:
    request[name] = as_flag(value, name)


def _option(check: Callable[[object, str], object]) -> Callable[[Plain, str, object], None]:
    def put(request: Plain, name: str, value: object) -> None:
        request["options"][_OPTIONS[name]] = check(value, name)

    return put


def _as_seconds(value: object, name: str) -> float:
    return as_duration(value, name).total_seconds()


def _as_limit(value: object, name: str) -> int | None:
    return None if value is None else as_count(value, name, least=1)


def _as_overlap(value: object, name: str) -> str:
    text = as_text(value, name)
    if text in _OVERLAPS:
        return text
    near = nearest_names(text, _OVERLAPS, limit=1)
    advice = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(map(repr, _OVERLAPS))}."
    raise InvalidRequestError(f"{name}={text!r} does not exist. {advice}")


_OPTIONS: Final = {each.name: each.encode_name for each in msgspec.structs.fields(ScheduleOptions)}
_PLACES: Final[Mapping[str, Callable[[Plain, str, object], None]]] = {
    "cron": _option(as_optional_text),
    "time_zone": _option(as_text),
    "every": _put_every,
    "start_at": _put_time,
    "end_at": _put_time,
    "instance_id": _option(as_optional_text),
    "overlap": _option(_as_overlap),
    "catch_up": _option(_as_seconds),
    "jitter": _option(_as_seconds),
    "limit": _option(_as_limit),
    "pause_on_failure": _option(as_flag),
    "start_immediately_if_late": _put_flag,
    "version": _option(as_optional_text),
}


# --- the input of an operation to a configuration --------------------------------------------------------------


def merged(given: object, old: ScheduleConfiguration) -> ScheduleConfiguration:
    """``old`` with the members of an operation's input.

    Names are found without regard to case and underscores. Null means: as before; ``cleared`` names the members that
    are to have no value.

    Raises:
        InvalidRequestError: a member does not fit, or the result cannot run.
    """
    if not isinstance(given, dict):
        raise InvalidRequestError("The configuration of a schedule is an object.")
    changes: Plain = dict.fromkeys(given.get("cleared") or ())
    try:
        for name, value in given.items():
            if value is not None:
                changes.update(_change(str(name), value, old))
        configuration = msgspec.structs.replace(old, **changes)
    except (TypeError, ValueError, OverflowError) as error:  # msgspec names the member
        raise InvalidRequestError(f"The configuration of schedule {old.schedule_id!r}: {error}") from None
    _check(configuration)
    return configuration


def _change(name: str, value: object, old: ScheduleConfiguration) -> Plain:
    member = _MEMBERS.get(folded(name))
    if folded(name) == "intervalseconds":
        return {"interval": to_timespan(timedelta(seconds=msgspec.convert(value, float)))}
    if member == "orchestration_input":
        # In PascalCase it is the text of the payload, in snake_case the value.
        is_text = "_" not in name and isinstance(value, str)
        return {member: value if is_text else msgspec.json.encode(value).decode()}
    if member == "options":
        options = {**msgspec.to_builtins(old.options), **msgspec.convert(value, Plain)}
        return {member: msgspec.convert(options, ScheduleOptions)}
    if member in {"start_at", "end_at"}:
        return {member: as_utc(msgspec.convert(value, datetime))}
    if member == "start_immediately_if_late":
        return {member: msgspec.convert(value, bool)}
    if member in {"orchestration_name", "orchestration_instance_id", "interval"}:
        return {member: msgspec.convert(value, str)}
    return {}  # the id, which is the key of the entity, and members that are not known


_MEMBERS: Final = {folded(name): name for name in ScheduleConfiguration.__struct_fields__}


def _check(configuration: ScheduleConfiguration) -> None:
    """Refuse a configuration that cannot run. The messages name the arguments of the client."""
    options = configuration.options
    of = f"Schedule {configuration.schedule_id!r}"
    if not configuration.orchestration_name:
        raise InvalidRequestError(f"{of} has no orchestrator. Give the orchestrator, or its name.")
    if (options.cron is None) == (configuration.interval is None):
        both = "both cron= and every=" if options.cron else "neither cron= nor every="
        raise InvalidRequestError(f"{of} has {both}. Give one of them.")
    if options.cron is None and options.time_zone != "UTC":
        raise InvalidRequestError(f"{of}: time_zone= applies to cron= only. Leave it out for every=.")
    if options.cron is not None and configuration.start_immediately_if_late:
        raise InvalidRequestError(
            f"{of}: start_immediately_if_late= applies to every= only. To run at once, call trigger()."
        )
    for name, value in (("catch_up", options.catch_up), ("jitter", options.jitter)):
        if not 0 <= value <= _LONGEST:
            raise InvalidRequestError(f"{of}: {name}={value:g} is not between zero and a year, in seconds.")
    _check_ids(configuration, of)
    if options.limit is not None and options.limit < 1:
        raise InvalidRequestError(f"{of}: limit={options.limit} is below 1. Use None for no limit.")
    start, end = configuration.start_at, configuration.end_at
    if start is not None and end is not None and start > end:
        raise InvalidRequestError(
            f"{of} ends before it starts: start_at={start.isoformat()}, end_at={end.isoformat()}."
        )
    try:
        configuration.timing(start or datetime(2000, 1, 1, tzinfo=timezone.utc))
    except ValueError as error:
        raise InvalidRequestError(f"{of}: {error}") from None


def _check_ids(configuration: ScheduleConfiguration, of: str) -> None:
    """Refuse ids of runs that cannot be used."""
    options = configuration.options
    unknown = set(re.findall(r"\{\w*\}", options.instance_id or "")) - {"{time}", "{schedule}"}
    if unknown:
        raise InvalidRequestError(
            f"{of}: instance_id={options.instance_id!r} contains {min(unknown)}. Use {{time}} and {{schedule}}."
        )
    if options.instance_id is not None and "{time}" not in options.instance_id:
        raise InvalidRequestError(
            f"{of}: instance_id={options.instance_id!r} is the same for every run. Put '{{time}}' into it."
        )
    run_id = configuration.run_id(datetime(2000, 1, 1, tzinfo=timezone.utc))
    if is_helper(checked_instance_id(run_id, None) or ""):
        raise InvalidRequestError(
            f"{of}: ids of runs must not begin with {HELPER_PREFIX!r}, which is reserved."
        )
