"""Checks of what callers give: a wrong argument is an error that names it, before anything is sent or stored.

Ids, names, tags, versions and reasons become payload columns and message fields of hubs. They must be ``str`` (a
subclass is converted to ``str``), valid Unicode, and free of NUL, which not every store can hold. Durations are
``timedelta`` or numbers of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeVar

from .errors import InvalidArgumentError, InvalidRequestError, nearest_names
from .times import as_utc

__all__ = [
    "as_count",
    "as_duration",
    "as_flag",
    "as_id",
    "as_ids",
    "as_members",
    "as_name",
    "as_number",
    "as_optional_text",
    "as_page_size",
    "as_tags",
    "as_text",
    "as_time",
    "as_timeout",
]

_EnumT = TypeVar("_EnumT", bound=Enum)
_MOST = 2**31 - 1  # what the protocol's integers hold
_LARGE = 10**20


def as_text(value: object, argument: str) -> str:
    """A text that every hub can hold.

    Args:
        value: what was given.
        argument: its name, for the message.

    Raises:
        InvalidArgumentError: it is no ``str``.
        InvalidRequestError: it contains a lone surrogate or NUL.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument} must be a str, not {_shown(value)}.")
    text = str.__str__(value)  # exactly a str, also of a subclass that has a __str__ of its own
    if "\0" in text:
        raise InvalidRequestError(
            f"{argument} contains the NUL character, which task hubs cannot store. Remove it."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{argument} is not valid Unicode: there is a lone surrogate at position {error.start}, as in file names "
            "that are not UTF-8. Convert it: os.fsencode(text).decode('utf-8', 'backslashreplace')."
        ) from None
    return text


def as_optional_text(value: object, argument: str) -> str | None:
    """``None``, or a text as of ``as_text``."""
    return None if value is None else as_text(value, argument)


def as_id(value: object, argument: str = "instance_id") -> str:
    """A text that is not empty, as the id of what is there already; for the rest as ``as_text``."""
    text = as_text(value, argument)
    if not text:
        raise InvalidRequestError(f"{argument} must not be empty.")
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
        raise InvalidArgumentError(f"{argument} must be a mapping of str to str, not {_shown(tags)}.")
    return {
        as_text(name, f"The name of a tag in {argument}"): as_text(value, f"{argument}[{name!a}]")
        for name, value in tags.items()
    }


def as_ids(values: object, argument: str) -> list[str]:
    """Several ids; a ``str`` alone is one id, and not the ids of its letters."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, (bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{argument} must be ids, not {_shown(values)}.")
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
        raise ValueError(f"{argument} must be at least {least}, not {_shown(value)}.")
    return int(value)


def as_page_size(value: object) -> int:
    """The wanted number of rows of a page, as of ``as_count``; no more than the protocol can say."""
    return min(as_count(value, "page_size", least=1), _MOST)


def as_number(value: object, argument: str) -> float:
    """A finite number.

    Raises:
        TypeError: it is no number.
        ValueError: it is infinite, or not a number in the sense of ``float``.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number, not {_shown(value)}.")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        is_finite = False
    if not is_finite:
        raise ValueError(f"{argument} must be finite, not {_shown(value)}.")
    return value


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
    try:
        return timedelta(seconds=as_number(value, argument))
    except OverflowError:
        raise ValueError(f"{argument} is longer than a timedelta can be: {_shown(value)} seconds.") from None


def as_time(value: object, argument: str, now: datetime | None = None) -> datetime | None:
    """A time as aware UTC; naive ones are UTC. With ``now``, also a delay from then (see ``as_duration``).

    Raises:
        InvalidArgumentError: it is something else.
        InvalidRequestError: it is outside of the years 1 to 9999.
    """
    if value is None:
        return None
    is_delay = isinstance(value, (timedelta, int, float)) and not isinstance(value, bool)
    try:
        if isinstance(value, datetime):
            return as_utc(value)
        if now is not None and is_delay:
            return now + as_duration(value, argument)
    except OverflowError:
        raise InvalidRequestError(f"{argument} is outside of the years 1 to 9999.") from None
    wanted = "a datetime" if now is None else "a datetime, a timedelta or a number of seconds"
    raise InvalidArgumentError(f"{argument} must be {wanted}, not {_shown(value)}.")


def as_timeout(value: object, argument: str) -> timedelta | None:
    """How long to wait: as of ``as_duration``, not below zero; ``None`` and infinity mean without end."""
    if value is None or value == math.inf:
        return None
    return max(as_duration(value, argument), timedelta(0))


def as_flag(value: object, argument: str) -> bool:
    """A ``bool``, or 0 or 1.

    Raises:
        InvalidArgumentError: it is something else, for instance the text ``"no"``.
    """
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    raise InvalidArgumentError(f"{argument} must be a bool, not {_shown(value)}.")


def _shown(value: object) -> str:
    """A kind, and the value itself only where it is a number: other values may be data of the user."""
    if value is None or isinstance(value, (bool, float)):
        return f"{value!r}"
    if isinstance(value, int):
        return f"{value!r}" if abs(value) < _LARGE else "an integer of more than 20 digits"
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
