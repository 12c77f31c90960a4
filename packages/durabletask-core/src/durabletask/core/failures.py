"""Failure details: how an exception travels through a history, and back.

An exception is described once, where it is caught: its type, text, trace and causes become a ``FailureDetails``. The
description is bounded, so that it fits into every message of every hub: long texts and long chains are cut, with a note of the cut.

An exception can describe itself further by attributes, all optional; no base class is needed:

* ``failure_properties``: a mapping, or a method without arguments that returns one. Its items become
  ``FailureDetails.properties``. Values are JSON-like (``None``, bool, int, float, str, lists, mappings); dates, UUIDs,
  decimals, enums and paths become texts; of anything else only the type is kept. Keys that start with ``durabletask.``
  are reserved.
* ``failure_is_final``: true if no retry policy applies.
* ``failure_details``: the ``FailureDetails`` that the exception stands for; it becomes the inner failure.

A group of exceptions has several causes. The first is its inner failure, as the protocol has room for one; the others
travel among the properties. ``FailureDetails.causes`` lists all of them.
"""

from __future__ import annotations

import base64
import enum
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final, cast
from uuid import UUID

import msgspec

__all__ = ["CAUSES_PROPERTY", "RETRY_AFTER_PROPERTY", "FailureDetails", "cut", "qualified_name"]

RETRY_AFTER_PROPERTY: Final = "durabletask.retryAfterSeconds"
"""Key of ``FailureDetails.properties`` under which ``RetryAfter`` travels (seconds, a number)."""

CAUSES_PROPERTY: Final = "durabletask.causes"
"""Key of ``FailureDetails.properties`` under which the causes after the first travel."""

_RESERVED: Final = "durabletask."

# The bounds. A failure is carried several times per level of sub-orchestrations, in messages of at most 4 MiB.
_LONGEST_TYPE: Final = 500
_LONGEST_TEXTS: Final = (10_000, 2_000, 400)  # of a message; a stack trace may be twice as long
_LARGEST: Final = 100_000  # bytes of the whole; if the texts exceed it, the next bound for texts applies
_SLACK: Final = 100  # so that a text which has been cut is not cut again for its remark
_DEEPEST: Final = 10
_MOST_CAUSES: Final = 10
_MOST_VISITED: Final = 1_000  # failures of a tree that a hub has sent

_LONGEST_IN_SHORT: Final = 1_500
_LONGEST_KEY: Final = 100
_LONGEST_VALUE: Final = 2_000
_MOST_ITEMS: Final = 50
_DEEPEST_VALUE: Final = 5
_LARGEST_PROPERTIES: Final = 16_000  # bytes
_EXACT_INTEGERS: Final = 2**53  # numbers on the wire are doubles


def cut(text: str, limit: int) -> str:
    """The beginning of a text that is longer than ``limit``, with a remark of how much is left out."""
    if len(text) <= limit + _SLACK:
        return text
    return f"{text[:limit]}... ({len(text) - limit:,} characters cut)"


def _cut_middle(text: str, limit: int) -> str:
    if len(text) <= limit + _SLACK:
        return text
    half = limit // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half:,} characters cut) ...\n{text[-half:]}"


def qualified_name(error_type: type[BaseException]) -> str:
    """The name of an exception type on the wire, ``module.QualName``."""
    return f"{error_type.__module__}.{error_type.__qualname__}"[:_LONGEST_TYPE]


def _resolve(name: str) -> type[BaseException] | None:
    """The exception class of that qualified name if its module is already imported.

    The name comes from the hub. The lookup reads dictionaries only: it runs no ``__getattr__`` of a module or class.
    """
    parts = name.split(".") if len(name) <= _LONGEST_TYPE else []
    for border in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:border]))
        if module is not None:
            return _class_in(module, parts[border:])
    return None


def _class_in(holder: object, path: list[str]) -> type[BaseException] | None:
    for part in path:
        kind = type(holder)
        if not (issubclass(kind, ModuleType) or issubclass(kind, type)):
            return None
        read = type.__getattribute__ if issubclass(kind, type) else object.__getattribute__
        holder = cast("Callable[[object, str], Mapping[str, object]]", read)(holder, "__dict__").get(part)
    if not issubclass(type(holder), type):
        return None
    found = cast("type", holder)
    return found if BaseException in type.__getattribute__(found, "__mro__") else None


class FailureDetails(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What is known about a failure, on either side of the wire.

    Attributes:
        error_type: qualified name of the exception class, e.g. ``builtins.ValueError``.
        message: text of the exception.
        stack_trace: formatted trace of this exception only (causes have their own).
        inner_failure: the cause, if there was one; of several, the first. See ``causes``.
        is_non_retriable: no retry policy applies. See ``is_final``.
        properties: the exception's own ``failure_properties``, JSON-like. To fill it, give the exception an attribute or
            method ``failure_properties``.
    """

    error_type: str
    message: str
    stack_trace: str | None = None
    inner_failure: FailureDetails | None = None
    is_non_retriable: bool = False
    properties: Mapping[str, object] | None = None

    @property
    def error_message(self) -> str:
        """The same as ``message``."""
        return self.message

    @property
    def root_cause(self) -> FailureDetails:
        """The innermost failure; of several causes, the first."""
        found = self
        while found.inner_failure is not None:
            found = found.inner_failure
        return found

    @property
    def causes(self) -> tuple[FailureDetails, ...]:
        """The failures that led to this one: the cause of an exception, or every member of a group."""
        if self.inner_failure is None:
            return ()
        others = self.properties.get(CAUSES_PROPERTY) if self.properties else None
        if not isinstance(others, (list, tuple)):
            return (self.inner_failure,)
        try:
            return (self.inner_failure, *msgspec.convert(others, list[FailureDetails]))
        except (msgspec.ValidationError, RecursionError):  # not written by this package
            return (self.inner_failure,)

    @property
    def is_final(self) -> bool:
        """Whether no retry policy applies, because of this failure or of one that led to it.

        A failure that asks for a retry itself (``RetryAfter``) is not final whatever it was caused by.
        """
        if self.is_non_retriable:
            return True
        if self.properties and RETRY_AFTER_PROPERTY in self.properties:
            return False
        return any(failure.is_non_retriable for failure in self.walk())

    def in_short(self) -> str:
        """Type and message, and the root cause if the message does not name it, within a line's reasonable length."""
        text = f"{self.error_type}: {cut(self.message, _LONGEST_IN_SHORT)}"
        root = self.root_cause
        if root is self or (
            root.error_type in self.message and root.message[:_LONGEST_IN_SHORT] in self.message
        ):
            return text
        return f"{text} (caused by {root.error_type}: {cut(root.message, _LONGEST_IN_SHORT)})"

    def walk(self) -> Iterator[FailureDetails]:
        """This failure and all that led to it, each before its causes."""
        rest = [self]
        for _ in range(_MOST_VISITED):
            if not rest:
                return
            found = rest.pop()
            yield found
            rest.extend(reversed(found.causes))

    def matches(self, error: type[BaseException] | str) -> bool:
        """Whether this failure (not its causes) is of a type.

        ``error`` may be the class, one of its bases, the qualified name or the bare name. Bases are
        known only when the class of the failure can be found in a module that is already imported.
        """
        if isinstance(error, str):
            return error in (self.error_type, self.error_type.rpartition(".")[2])
        if qualified_name(error) == self.error_type:
            return True
        own = _resolve(self.error_type)
        return own is not None and any(base is error for base in type.__getattribute__(own, "__mro__"))

    def is_caused_by(self, error: type[BaseException] | str) -> bool:
        """Whether this failure or any that led to it is of a type; see ``matches``."""
        return any(failure.matches(error) for failure in self.walk())

    @classmethod
    def from_exception(cls, error: BaseException, *, non_retriable: bool | None = None) -> FailureDetails:
        """Describe an exception and its causes, within the bounds of this module.

        ``non_retriable`` overrides the exception's own ``failure_is_final``.
        """
        described = _describe(error, non_retriable, seen=set(), depth=1)
        for limit in _LONGEST_TEXTS:
            bounded = _bounded(described, limit)
            if len(msgspec.json.encode(bounded)) <= _LARGEST:
                break
        return bounded


# --- bounds -----------------------------------------------------------------------------------------------


def _bounded(failure: FailureDetails, limit: int) -> FailureDetails:
    """The failure with texts and chain cut."""
    chain = [failure]
    while chain[-1].inner_failure is not None:
        chain.append(chain[-1].inner_failure)
    note, lost = "", chain[_DEEPEST - 1 : -1]
    if len(chain) > _DEEPEST:  # the root cause stays: it is what people look for
        chain = [*chain[: _DEEPEST - 1], chain[-1]]
        note = f" ({len(lost)} causes between this one and the root are left out)"
    inner: FailureDetails | None = None
    for depth in range(len(chain) - 1, -1, -1):
        link = chain[depth]
        is_last_before_gap = bool(note) and depth == _DEEPEST - 2
        inner = FailureDetails(
            cut(link.error_type, _LONGEST_TYPE),
            cut(link.message, limit) + (note if is_last_before_gap else ""),
            None if link.stack_trace is None else _cut_middle(link.stack_trace, 2 * limit),
            inner,
            link.is_non_retriable or (is_last_before_gap and any(one.is_final for one in lost)),
            _bounded_causes(link.properties, limit),
        )
    assert inner is not None  # noqa: S101 - the chain has at least one link
    return inner


def _bounded_causes(properties: Mapping[str, object] | None, limit: int) -> Mapping[str, object] | None:
    others = properties.get(CAUSES_PROPERTY) if properties else None
    if properties is None or not isinstance(others, (list, tuple)):
        return properties
    try:
        causes = msgspec.convert(others[: _MOST_CAUSES - 1], list[FailureDetails])
    except (msgspec.ValidationError, RecursionError):
        return {key: value for key, value in properties.items() if key != CAUSES_PROPERTY}
    return {**properties, CAUSES_PROPERTY: _to_builtins([_bounded(cause, limit // 5) for cause in causes])}


def _to_builtins(causes: list[FailureDetails]) -> list[object]:
    return cast("list[object]", msgspec.to_builtins(causes))


# --- description ------------------------------------------------------------------------------------------


def _describe(
    error: BaseException, non_retriable: bool | None, *, seen: set[int], depth: int
) -> FailureDetails:
    seen.add(id(error))
    causes, is_group = _causes_of(error, seen=seen, depth=depth)
    if non_retriable is None:
        is_final_by_member = is_group and any(cause.is_final for cause in causes)
        non_retriable = is_final_by_member or _own(error, "failure_is_final") is True
    properties = _properties_of(error)
    if len(causes) > 1:
        properties[CAUSES_PROPERTY] = _to_builtins(causes[1:])
    return FailureDetails(
        error_type=_type_of(error),
        message=_text_of(error),
        stack_trace=_trace_of(error),
        inner_failure=causes[0] if causes else None,
        is_non_retriable=non_retriable,
        properties=properties or None,
    )


def _causes_of(error: BaseException, *, seen: set[int], depth: int) -> tuple[list[FailureDetails], bool]:
    """The causes of an exception, and whether they are the members of a group."""
    details = _own(error, "failure_details")
    if isinstance(details, FailureDetails):
        others = [_own(other, "failure_details") for other in _sequence(_own(error, "failures"))]
        more = [other for other in others if isinstance(other, FailureDetails) and other is not details]
        return [details, *more[: _MOST_CAUSES - 1]], bool(more)
    found: list[BaseException] = []
    is_group = any(base.__name__ == "BaseExceptionGroup" for base in type(error).__mro__)
    if is_group:
        members = _sequence(_own(error, "exceptions"))
        found = [member for member in members if isinstance(member, BaseException)][:_MOST_CAUSES]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        found.append(cause)
    if depth >= _MOST_LEVELS:
        return [], is_group
    described = [_describe(one, None, seen=seen, depth=depth + 1) for one in found if id(one) not in seen]
    return described, is_group


_MOST_LEVELS: Final = 50  # of causes that are looked at, to find the root


def _sequence(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else ()


def _guarded(call: Callable[[], object]) -> object:
    """The result of code that belongs to an exception; ``None`` if it raises, whatever it raises."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the failure itself is what has to be described
        return None


def _own(error: object, attribute: str) -> object:
    return _guarded(lambda: getattr(error, attribute, None))


def _type_of(error: BaseException) -> str:
    name = _guarded(lambda: _sendable(qualified_name(type(error))))
    return name if isinstance(name, str) else "builtins.Exception"


def _sendable(text: str) -> str:
    """The text without lone surrogates, which have no form on the wire."""
    return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")


def _text_of(error: BaseException) -> str:
    try:
        return _sendable(cut(str(error), _LONGEST_TEXTS[0]))
    except KeyboardInterrupt:
        raise
    except BaseException as failed:  # noqa: BLE001 - user code, which may raise SystemExit too
        return f"(no text: its __str__ raised {type(failed).__name__})"


def _trace_of(error: BaseException) -> str | None:
    text = _guarded(lambda: _formatted(error))
    return _sendable(_cut_middle(text, 2 * _LONGEST_TEXTS[0])) if isinstance(text, str) else None


_MACHINERY: Final = ("durabletask.core.", "concurrent.futures.", "asyncio.")


def _formatted(error: BaseException) -> str:
    """The traceback without the frames of the engine above user code.

    An error of this project also ends at the line of user code: how the engine, or asyncio between the two, came to
    raise it is no help. Without a frame of user code nothing is left out.
    """
    shown = traceback.TracebackException(type(error), error, error.__traceback__)
    modules = [
        str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    own = [index for index, name in enumerate(modules) if not name.startswith(_MACHINERY)]
    if own:
        if type(error).__module__ == "durabletask.core.errors":
            del shown.stack[own[-1] + 1 :]
        del shown.stack[: own[0]]
    return "".join(shown.format(chain=False))


# --- properties -------------------------------------------------------------------------------------------


def _properties_of(error: BaseException) -> dict[str, object]:
    given = _own(error, "failure_properties")
    if callable(given):
        given = _guarded(given)
    if not isinstance(given, Mapping):
        return {}
    # Only errors of this project use the reserved names.
    is_ours = type(error).__module__.startswith("durabletask.")
    found = _guarded(lambda: _small_mapping(cast("Mapping[object, object]", given), _DEEPEST_VALUE, is_ours))
    properties = cast("dict[str, object]", found or {})
    while properties and len(msgspec.json.encode(properties)) > _LARGEST_PROPERTIES:
        largest = max(properties, key=lambda key: len(msgspec.json.encode(properties[key])))
        if largest.startswith(_RESERVED):
            break
        properties[largest] = "(too large, cut)"
    return properties


def _small_mapping(
    given: Mapping[object, object], depth: int, with_reserved: bool = True
) -> dict[str, object]:
    properties: dict[str, object] = {}
    for key, value in given.items():
        name = (
            _sendable(str(key))[:_LONGEST_KEY]
            if isinstance(key, (str, int))
            else f"<{type(key).__qualname__}>"
        )
        if not with_reserved and name.startswith(_RESERVED):
            continue
        if len(properties) >= _MOST_ITEMS:
            properties["..."] = f"({len(given)} items in all)"
            break
        properties[name] = _small_value(value, depth - 1)
    return properties


_TEXTUAL: Final = (UUID, Decimal, PurePath)


def _small_value(value: Any, depth: int) -> object:
    """A JSON-like value within bounds."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _EXACT_INTEGERS else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, str):
        return _sendable(cut(value, _LONGEST_VALUE))
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, _TEXTUAL):
        return cut(str(value), _LONGEST_VALUE)
    if isinstance(value, bytes):
        return cut(base64.b64encode(value[:_LONGEST_VALUE]).decode(), _LONGEST_VALUE)
    if depth > 0 and isinstance(value, Mapping):
        return _small_mapping(value, depth)
    if depth > 0 and isinstance(value, (list, tuple, set, frozenset)):
        items = [_small_value(item, depth - 1) for item in list(value)[:_MOST_ITEMS]]
        return items if len(items) == len(value) else [*items, f"({len(value)} items in all)"]
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
