"""Orchestration instances as clients see them: status, state, and the requests that find or change them.

Facts: protocol sections 5 and 12. Payloads (``serialized_*``) are text as the hub stores it; the
properties without the prefix decode them as JSON.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias, TypeVar, Union, cast

import msgspec

from .errors import InvalidRequestError, SerializationError
from .failures import FailureDetails
from .history import TraceContext
from .reprs import WithPayloads

__all__ = [
    "TERMINAL_STATUSES",
    "CreateInstanceRequest",
    "InstanceIdPage",
    "InstanceIdQuery",
    "InstancePage",
    "InstanceQuery",
    "OrchestrationState",
    "OrchestrationStatus",
    "PayloadReader",
    "PurgeBatch",
    "PurgeFilter",
    "PurgeInstance",
    "PurgeRequest",
    "PurgeResult",
    "ReusePolicy",
    "checked_instance_id",
    "decode_payload",
    "is_change",
]

T = TypeVar("T")


class OrchestrationStatus(enum.Enum):  # protocol section 5.2
    """Status of an instance; the values are the numbers of the wire."""

    RUNNING = 0
    COMPLETED = 1
    CONTINUED_AS_NEW = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    PENDING = 6
    SUSPENDED = 7

    def __str__(self) -> str:
        return self.name

    @property
    def is_terminal(self) -> bool:
        """Whether an instance of this status has ended."""
        return self in TERMINAL_STATUSES


TERMINAL_STATUSES = frozenset(
    {
        OrchestrationStatus.COMPLETED,
        OrchestrationStatus.FAILED,
        OrchestrationStatus.CANCELED,
        OrchestrationStatus.TERMINATED,
    }
)
"""The statuses in which an instance stays until it is purged, replaced, restarted or rewound."""


def decode_payload(text: str | None) -> object:
    """A payload as plain JSON values; ``None`` for unset or empty text, the text itself if it is no JSON."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


class PayloadReader(Protocol):
    """The reading half of a data converter."""

    def deserialize(self, payload: str | None, target: object = None) -> object:
        """The value of a payload, converted to ``target``, or plain JSON values without one."""


class OrchestrationState(WithPayloads, frozen=True, kw_only=True):
    """A snapshot of an instance.

    Input, output and custom status are present only when they were asked for. All times are aware UTC.
    ``reader`` is the data converter of the client that made the snapshot, if it made one.
    """

    instance_id: str
    name: str
    runtime_status: OrchestrationStatus
    created_at: datetime
    last_updated_at: datetime
    completed_at: datetime | None = None
    scheduled_start_at: datetime | None = None
    version: str | None = None
    execution_id: str | None = None
    parent_instance_id: str | None = None
    tags: Mapping[str, str] = {}
    serialized_input: str | None = None
    serialized_output: str | None = None
    serialized_custom_status: str | None = None
    failure_details: FailureDetails | None = None
    reader: PayloadReader | None = None

    @property
    def input(self) -> object:
        """The input as plain JSON values."""
        return self._read(self.serialized_input)

    @property
    def output(self) -> object:
        """The output as plain JSON values."""
        return self._read(self.serialized_output)

    @property
    def custom_status(self) -> object:
        """The custom status as plain JSON values."""
        return self._read(self.serialized_custom_status)

    def input_as(self, target: type[T]) -> T:
        """The input converted to a type; ``None`` when there is none."""
        return self._convert(self.serialized_input, target, "input")

    def output_as(self, target: type[T]) -> T:
        """The output converted to a type; ``None`` when there is none."""
        return self._convert(self.serialized_output, target, "output")

    def custom_status_as(self, target: type[T]) -> T:
        """The custom status converted to a type; ``None`` when there is none."""
        return self._convert(self.serialized_custom_status, target, "custom status")

    def _read(self, payload: str | None) -> object:
        if self.reader is None:
            return decode_payload(payload)
        try:
            return self.reader.deserialize(payload)
        except SerializationError:  # for instance the reason given to a terminate call
            return payload

    def _convert(self, payload: str | None, target: type[T], what: str) -> T:
        if self.reader is not None:
            try:
                return cast("T", self.reader.deserialize(payload, target))
            except SerializationError as error:
                subject = f"The {what} of instance {self.instance_id!r} (orchestrator {self.name!r})"
                raise SerializationError(f"{subject}: {error}") from None
        try:
            return cast("T", msgspec.json.decode(payload, type=target) if payload else None)
        except (msgspec.DecodeError, TypeError) as error:
            raise SerializationError(
                f"The {what} of instance {self.instance_id!r} does not fit the type "
                f"{getattr(target, '__name__', target)}. This state comes from a transport, which has no data converter: "
                "get it from a client to read models of pydantic and other types that a converter knows."
            ) from error

    @property
    def is_finished(self) -> bool:
        """Whether the status is terminal."""
        return self.runtime_status.is_terminal


def is_change(before: OrchestrationState, after: OrchestrationState) -> bool:
    """Whether two states of an instance differ in what watching clients are told: status, custom status, execution."""
    return (before.runtime_status, before.serialized_custom_status, before.execution_id) != (
        after.runtime_status,
        after.serialized_custom_status,
        after.execution_id,
    )


class ReusePolicy(msgspec.Struct, frozen=True):  # protocol section 12.1
    """Which old instances of the same id a new one may replace.

    ``ReusePolicy(frozenset())`` means none. A live instance whose status is listed is terminated first.
    """

    replaceable: frozenset[OrchestrationStatus] = frozenset()

    @classmethod
    def replace_terminal(cls) -> ReusePolicy:
        """Replace finished instances only."""
        return cls(TERMINAL_STATUSES)

    @classmethod
    def replace_any(cls) -> ReusePolicy:
        """Replace any instance."""
        return cls(frozenset(OrchestrationStatus))


class CreateInstanceRequest(WithPayloads, frozen=True, kw_only=True):  # decisions row 23
    """A request to create an instance. Without ``instance_id`` the hub generates one.

    ``reuse_policy=None`` leaves the choice to the hub; ours then replaces nothing.
    """

    name: str
    instance_id: str | None = None
    input: str | None = None
    version: str | None = None
    scheduled_start_at: datetime | None = None
    reuse_policy: ReusePolicy | None = None
    execution_id: str | None = None
    tags: Mapping[str, str] = {}
    trace_context: TraceContext | None = None
    request_time: datetime | None = None


class InstanceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter and page of ``query_instances``: from inclusive, to exclusive, no statuses = all."""

    runtime_statuses: Sequence[OrchestrationStatus] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    instance_id_prefix: str | None = None
    include_payloads: bool = False
    page_size: int = 100
    continuation_token: str | None = None


class InstancePage(msgspec.Struct, frozen=True):
    """One page; ``continuation_token=None`` on the last."""

    states: Sequence[OrchestrationState]
    continuation_token: str | None = None


class InstanceIdQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter and page of ``list_instance_ids``: terminal instances by (completion time, id)."""

    runtime_statuses: Sequence[OrchestrationStatus] = ()
    completed_from: datetime | None = None
    completed_to: datetime | None = None
    page_size: int = 100
    last_instance_key: str | None = None


class InstanceIdPage(msgspec.Struct, frozen=True):
    """One page; ``last_instance_key=None`` on the last."""

    instance_ids: Sequence[str]
    last_instance_key: str | None = None


class PurgeInstance(msgspec.Struct, frozen=True, kw_only=True):
    """Purge one instance; a missing or live one counts zero. ``is_orchestration=False``: an entity id."""

    instance_id: str
    recursive: bool = False
    is_orchestration: bool = True


class PurgeBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Purge up to 500 instances by id."""

    instance_ids: Sequence[str]
    recursive: bool = False


class PurgeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Purge terminal instances by creation time and status; ``timeout`` bounds the work of one call."""

    created_from: datetime | None = None
    created_to: datetime | None = None
    runtime_statuses: Sequence[OrchestrationStatus] = ()
    timeout: timedelta | None = None
    recursive: bool = False


PurgeRequest: TypeAlias = Union[PurgeInstance, PurgeBatch, PurgeFilter]
"""Any form of purge."""


class PurgeResult(msgspec.Struct, frozen=True):
    """The number of purged instances. ``is_complete=False``: call again; ``None``: the hub does not report it."""

    deleted_instance_count: int
    is_complete: bool | None = None


def checked_instance_id(instance_id: str, limit: int | None) -> str:
    """An id for a new instance.

    Args:
        instance_id: the id.
        limit: how many characters the hub takes at most, if it has a limit.

    Raises:
        InvalidRequestError: it is empty, is that of an entity, or is too long.
    """
    if not instance_id:
        raise InvalidRequestError("An instance id must not be empty; leave it out to get a random one.")
    if instance_id.startswith("@"):
        raise InvalidRequestError(
            f"The instance id {instance_id!r} begins with '@', which marks entities. Choose another id, or "
            "use signal_entity for an entity."
        )
    if limit is not None and len(instance_id) > limit:
        raise InvalidRequestError(
            f"The instance id {instance_id[:40]!r}... has {len(instance_id)} characters; the hub takes at most {limit}."
        )
    return instance_id
