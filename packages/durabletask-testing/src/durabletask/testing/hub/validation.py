"""What comes in from outside is checked here, before a command begins.

A value that a hub accepts must be storable and readable again, on every storage alike. So all checks are here and
none in a storage: the types of fields, times with a zone, text that is valid Unicode, and for ids, names, versions,
tags and reasons also no NUL and a bounded length. Values are not quoted in messages, ids and names aside.

Types and text of an answer are checked by encoding and decoding it: that is what a storage will do, and msgspec does
it faster than a look at each field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec
from durabletask.core.actions import (
    CallEntity,
    CompleteOrchestration,
    CreateTimer,
    OrchestratorAction,
    RewindOrchestration,
    SignalEntity,
)
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import CreateInstanceRequest
from durabletask.core.work_items import (
    ActivityResult,
    EntityBatchResult,
    EntitySendSignal,
    EntityStartOrchestration,
    OrchestrationTraceContext,
    OrchestratorResult,
)

__all__ = [
    "MAXIMUM_NAME",
    "check_activity_result",
    "check_entity_result",
    "check_new_instance",
    "check_result",
    "check_text",
    "check_time",
]

MAXIMUM_NAME = 8192
"""Characters of an id, a name, a version, a tag."""

_NAMES = frozenset({"name", "instance_id", "version", "tags", "new_version", "execution_id", "operation"})
T = TypeVar("T")

_WITH_TIMES = frozenset({CreateTimer, CallEntity, SignalEntity, CompleteOrchestration, RewindOrchestration})
_NUL = b"\\u0000"
_json = msgspec.json.Encoder()


class _Answer(msgspec.Struct, array_like=True):
    """The parts of an orchestrator's result that are kept."""

    actions: Sequence[OrchestratorAction]
    custom_status: str | None
    trace_context: OrchestrationTraceContext | None


class _BatchAnswer(msgspec.Struct, array_like=True):
    """The parts of the result of a batch that are kept, its actions aside."""

    instance_id: str
    completion_token: str
    results: Sequence[tuple[str | None, FailureDetails | None]]
    state: str | None
    failure: FailureDetails | None


_answers = msgspec.json.Decoder(_Answer)
_batch_answers = msgspec.json.Decoder(_BatchAnswer)
_signals = msgspec.json.Decoder(EntitySendSignal)
_starts = msgspec.json.Decoder(EntityStartOrchestration)
_activity_results = msgspec.json.Decoder(ActivityResult)
_requests = msgspec.json.Decoder(CreateInstanceRequest)


def check_text(what: str, value: str | None, *, is_name: bool = True) -> None:
    """Refuse text that cannot be kept.

    Raises:
        InvalidRequestError: it is no string, no valid Unicode, or as a name has a NUL or is too long.
    """
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidRequestError(f"{what} must be a str, not {type(value).__name__}.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"{what} is not valid Unicode: there is a lone surrogate at position {error.start}. File names that are "
                "not UTF-8 have such characters; convert them, for instance with os.fsencode and base64."
            ) from None
    if is_name and "\0" in value:
        raise InvalidRequestError(f"{what} contains a NUL character.")
    if is_name and len(value) > MAXIMUM_NAME:
        raise InvalidRequestError(f"{what} has {len(value)} characters; at most {MAXIMUM_NAME} are allowed.")


def check_tags(what: str, tags: Mapping[str, str] | None) -> None:
    """Refuse tags that are not text.

    Raises:
        InvalidRequestError: a key or a value is no text that can be kept.
    """
    for key, value in (tags or {}).items():
        check_text(f"A key of {what}", key)
        if value is None:
            raise InvalidRequestError(f"{what}[{key!r}] must be a str, not NoneType.")
        check_text(f"{what}[{key!r}]", value)


def check_time(what: str, value: datetime | None) -> None:
    """Refuse a time without a zone.

    Raises:
        InvalidRequestError: it has none, or is no time.
    """
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidRequestError(f"{what} must be a datetime, not {type(value).__name__}.")
    if value.tzinfo is None:
        raise InvalidRequestError(f"{what} has no time zone; give an aware datetime, for instance in UTC.")


def check_new_instance(request: CreateInstanceRequest) -> None:
    """Refuse a request whose values cannot be kept.

    Raises:
        InvalidRequestError: a field has a wrong type or text; the message names it.
    """
    try:
        data = _json.encode(request)
        _requests.decode(data)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        data = b""
    check_time("start_at", request.scheduled_start_at)
    if data and len(data) <= MAXIMUM_NAME and _NUL not in data:
        return
    check_text("The name of an orchestration", request.name)
    check_text("instance_id", request.instance_id)
    check_text("version", request.version)
    check_text("execution_id", request.execution_id)
    check_text("input", request.input, is_name=False)
    check_tags("tags", request.tags)
    if not data:
        _round_trip(f"The request to create {request.instance_id!r}", request, _requests)


def check_result(result: OrchestratorResult) -> None:
    """Refuse an answer to an episode whose values cannot be kept.

    Raises:
        InvalidRequestError: a field has a wrong type or text; the message names the action.
    """
    answer = _Answer(result.actions, result.custom_status, result.trace_context)
    try:
        data = _json.encode(answer)
        _answers.decode(data)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        data = b""
    # In a short text without NUL no name can be too long or have one; times are looked at where there are any.
    if not data or len(data) > MAXIMUM_NAME or _NUL in data or _has_times(result.actions):
        _check_actions(result, is_readable=bool(data))
        if not data:
            _round_trip(f"The result for instance {result.instance_id!r}", answer, _answers)


def _has_times(actions: Sequence[OrchestratorAction]) -> bool:
    for action in actions:
        kind = type(action)
        if kind in _WITH_TIMES and (kind is not CompleteOrchestration or action.carryover_events):  # type: ignore[union-attr]
            return True
    return False


def _check_actions(result: OrchestratorResult, *, is_readable: bool) -> None:
    for place, action in enumerate(result.actions):
        subject = f"The result for instance {result.instance_id!r}: action {place} ({type(action).__name__})"
        _check_action(subject, action, is_readable=is_readable)


def check_activity_result(result: ActivityResult) -> None:
    """Refuse an answer of an activity whose values cannot be kept.

    Raises:
        InvalidRequestError: a field has a wrong type or text.
    """
    try:
        _activity_results.decode(_json.encode(result))
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        subject = f"The result of activity {result.task_id} of instance {result.instance_id!r}"
        _round_trip(subject, result, _activity_results)


def check_entity_result(result: EntityBatchResult) -> None:
    """Refuse an answer to a batch whose values cannot be kept.

    Raises:
        InvalidRequestError: a field has a wrong type or text; the message names it.
    """
    subject = f"The result for entity {result.instance_id!r}"
    kept = _BatchAnswer(
        result.instance_id,
        result.completion_token,
        [(outcome.result, outcome.failure) for outcome in result.results],
        result.state,
        result.failure,
    )
    for text in (result.state, *(outcome.result for outcome in result.results)):
        check_text(f"{subject}: a value", text, is_name=False)
    _round_trip(subject, kept, _batch_answers)
    for place, action in enumerate(result.actions):
        if not isinstance(action, (EntitySendSignal, EntityStartOrchestration)):
            raise InvalidRequestError(f"{subject}: action {place} is no action of an entity.")
        named = f"{subject}: action {place} ({type(action).__name__})"
        _check_fields(named, action)
        if isinstance(action, EntitySendSignal):
            _round_trip(named, action, _signals)
        else:
            _round_trip(named, action, _starts)


def _check_action(subject: str, action: OrchestratorAction, *, is_readable: bool) -> None:
    if not isinstance(action, msgspec.Struct):
        raise InvalidRequestError(f"{subject} is no action.")
    _check_fields(subject, action)
    if is_readable:
        return
    for field in action.__struct_fields__:
        value = getattr(action, field)
        if isinstance(value, str):
            check_text(f"{subject}: {field}", value, is_name=field in _NAMES)
    _round_trip(subject, action, msgspec.json.Decoder(OrchestratorAction))


def _check_fields(subject: str, value: msgspec.Struct) -> None:
    """The rules that types do not express, for an action or an event, and all events in it."""
    for field in value.__struct_fields__:
        part = getattr(value, field)
        if part is None or part == ():
            continue
        if field in _NAMES:
            if isinstance(part, Mapping):
                check_tags(f"{subject}: {field}", part)
            else:
                check_text(f"{subject}: {field}", part)
        elif isinstance(part, datetime):
            check_time(f"{subject}: {field}", part)
        elif isinstance(part, (list, tuple)):
            _check_all(f"{subject}: {field}", part)


def _check_all(subject: str, parts: Sequence[object] | Iterable[object]) -> None:
    for place, part in enumerate(parts):
        if isinstance(part, msgspec.Struct):
            _check_fields(f"{subject}[{place}] ({type(part).__name__})", part)


def _round_trip(subject: str, value: object, decoder: msgspec.json.Decoder[T]) -> None:
    try:
        decoder.decode(_json.encode(value))
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{subject} has text that is not valid Unicode: a lone surrogate at position {error.start} of a text."
        ) from None
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(f"{subject} cannot be kept: {error}.") from None
