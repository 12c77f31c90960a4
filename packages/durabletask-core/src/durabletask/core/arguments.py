"""Checks of what callers give: a wrong argument is an error that names it, before anything is sent or stored.

Ids, names, tags, versions and reasons become payload columns and message fields of hubs. They must be ``str`` (a
subclass is converted to ``str``), valid Unicode, and free of NUL, which not every store can hold. Durations are
``timedelta`` or numbers of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from typing import TypeVar

from .errors import InvalidRequestError, nearest_names

__all__ = [
    "as_count",
    "as_duration",
    "as_ids",
    "as_members",
    "as_name",
    "as_tags",
    "as_text",
    "as_time",
]

_EnumT = TypeVar("_EnumT", bound=Enum)


def as_text(value: object, argument: str) -> str:
    """A text that every hub can hold.

    Args:
        value: what was given.
        argument: its name, for the message.

    Raises:
        InvalidRequestError: it is no ``str``, has a lone surrogate or NUL.
    """
    if not isinstance(value, str):
        raise InvalidRequestError(f"{argument} must be a str, not {_shown(value)}.")
    text = str.__str__(value)  # a member of a str Enum has a __str__ of its own
    if type(text) is not str:
        text = "".join(text)
    if "\0" in text:
        raise InvalidRequestError(
            f"{argument} contains the NUL character, which task hubs cannot store. Remove it."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{argument} is not valid Unicode: position {error.start} holds a lone surrogate, as in file names that "
            "are not UTF-8. Convert it first, for example: "
            "os.fsencode(text).decode('utf-8', 'backslashreplace')."
        ) from None
    return text


def as_name(value: object, argument: str) -> str:
    """A text with at least one visible character; for the rest as ``as_text``."""
    text = as_text(value, argument)
    if not text.strip():
        raise InvalidRequestError(f"{argument} must not be empty.")
    return text


def as_tags(tags: object, argument: str = "tags") -> dict[str, str]:
    """Tags as a new ``dict`` of texts; ``None`` is none."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        raise InvalidRequestError(f"{argument} must be a mapping of str to str, not {_shown(tags)}.")
    return {
        as_text(name, f"The name of a tag in {argument}"): as_text(value, f"{argument}[{name!a}]")
        for name, value in tags.items()
    }


def as_ids(values: object, argument: str) -> list[str]:
    """Several ids; one id alone is a mistake that would be read as its letters."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidRequestError(f"{argument} must be a list of ids, not {_shown(values)}.")
    return [as_name(value, f"{argument}[{index}]") for index, value in enumerate(values)]


def as_members(values: object, kind: type[_EnumT], argument: str) -> tuple[_EnumT, ...]:
    """Members of an enumeration: one or several, as members or by their names.

    Raises:
        InvalidRequestError: a value is neither; the message has the nearest name.
    """
    if values is None:
        return ()
    if isinstance(values, (kind, str)) or not isinstance(values, Iterable):
        values = (values,)
    return tuple(_as_member(value, kind, argument) for value in values)


def _as_member(value: object, kind: type[_EnumT], argument: str) -> _EnumT:
    if isinstance(value, kind):
        return value
    names = {member.name.casefold(): member for member in kind}
    if isinstance(value, str):
        member = names.get(value.casefold())
        if member is not None:
            return member
        known = [each.name for each in kind]
        near = nearest_names(value, known, limit=1)
        advice = f"Did you mean {near[0]!r}?" if near else f"Names are: {', '.join(known)}."
        raise InvalidRequestError(f"{argument} has no member {value!a}. {advice}")
    raise InvalidRequestError(
        f"{argument} must hold members of {kind.__name__} or their names, not {_shown(value)}."
    )


def as_count(value: object, argument: str, *, least: int = 0) -> int:
    """A whole number from ``least`` on.

    Raises:
        ValueError, TypeError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {_shown(value)}.")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, not {value}.")
    return int(value)


def as_duration(value: object, argument: str) -> timedelta:
    """A duration: a ``timedelta``, or a number of seconds.

    Raises:
        TypeError: it is neither.
        ValueError: the number is not finite, or longer than a ``timedelta`` can be.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a timedelta or a number of seconds, not {_shown(value)}.")
    if not math.isfinite(value):
        raise ValueError(f"{argument} must be finite, not {value}.")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise ValueError(f"{argument} is longer than a timedelta can be: {value} seconds.") from None


def as_time(value: object, argument: str, now: datetime | None = None) -> datetime | None:
    """A time as aware UTC; naive ones are UTC. With ``now`` also a delay from then, as ``as_duration`` takes it.

    Raises:
        InvalidRequestError: it is something else, or outside of the years 1 to 9999.
    """
    if value is None:
        return None
    try:
        if isinstance(value, datetime):
            aware = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
            return aware if aware.tzinfo is timezone.utc else aware.astimezone(timezone.utc)
        if now is not None and not isinstance(value, date):
            return now + as_duration(value, argument)
    except OverflowError:
        raise InvalidRequestError(f"{argument} is outside of the years 1 to 9999.") from None
    except (TypeError, ValueError) as error:
        if now is None:
            raise InvalidRequestError(f"{argument}: {error}") from None
        raise InvalidRequestError(
            f"{argument} must be a datetime, a timedelta or a number of seconds, not {_shown(value)}."
        ) from None
    wanted = "a datetime" if now is None else "a datetime, a timedelta or a number of seconds"
    raise InvalidRequestError(f"{argument} must be {wanted}, not {_shown(value)}.")


def _shown(value: object) -> str:
    """A kind, and the value itself only where it is a number: other values may be data of the user."""
    if value is None or isinstance(value, (bool, int, float)):
        return f"{value!r}"
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
