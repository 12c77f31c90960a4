"""What the arguments of a client's methods become: checked parts of requests. No I/O."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeAlias, Union

from .arguments import as_flag, as_ids, as_members, as_name, as_optional_text, as_text, as_time
from .entities import EntityId
from .errors import InvalidArgumentError, InvalidRequestError
from .instances import (
    OrchestrationStatus,
    PurgeBatch,
    PurgeFilter,
    PurgeRequest,
    ReusePolicy,
    checked_instance_id,
)

__all__ = [
    "Statuses",
    "as_events",
    "batches_of",
    "checked_policy",
    "entity_key",
    "entity_prefix",
    "new_instance_id",
    "purge_requests",
]

Statuses: TypeAlias = Union[OrchestrationStatus, str, Iterable[Union[OrchestrationStatus, str]]]
"""One or several statuses, as members or by their names."""

_BATCH = 500  # instances per call, protocol section 12.6


def new_instance_id(instance_id: object, limit: int | None) -> str:
    """The id of a new instance: the given one, checked, or a random one of 32 hexadecimal digits."""
    if instance_id is None:
        return uuid.uuid4().hex
    return checked_instance_id(as_text(instance_id, "instance_id"), limit)


def checked_policy(policy: object) -> ReusePolicy | None:
    """A reuse policy, or ``None`` for that of the hub."""
    if policy is None or isinstance(policy, ReusePolicy):
        return policy
    raise InvalidArgumentError(
        f"reuse_policy must be a ReusePolicy, for example ReusePolicy.replace_terminal(), not {type(policy).__name__}."
    )


def entity_key(entity_id: object) -> str:
    """The text form of an entity id, with the name in lower case."""
    if isinstance(entity_id, EntityId):
        return as_text(str(entity_id), "entity_id")
    return str(EntityId.parse(as_text(entity_id, "entity_id")))


def entity_prefix(prefix: object) -> str | None:
    """A prefix of entity ids: with the ``@`` at its beginning, and the name in lower case."""
    text = as_optional_text(prefix, "instance_id_prefix")
    if not text:
        return None
    name, separator, key = text.removeprefix("@").partition("@")
    return f"@{name.lower()}{separator}{key}"


def as_events(events: object) -> list[tuple[str, object]]:
    """Names and data of events, in order."""
    if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
        raise InvalidArgumentError("events must be pairs of name and data, for example [('approve', True)].")
    pairs: list[tuple[str, object]] = []
    for index, each in enumerate(events):
        if not (isinstance(each, tuple) and len(each) == 2):
            raise InvalidArgumentError(f"events[{index}] must be a tuple of name and data.")
        pairs.append((as_name(each[0], f"The name of events[{index}]"), each[1]))
    return pairs


def batches_of(instance_ids: object) -> list[list[str]]:
    """Ids in groups that fit into one call."""
    ids = as_ids(instance_ids, "instance_ids")
    return [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]


def purge_requests(
    instance_ids: str | Iterable[str] | None,
    *,
    created_from: datetime | None,
    created_to: datetime | None,
    runtime_statuses: Statuses,
    everything: bool,
    recursive: bool,
) -> list[PurgeRequest]:
    """The requests of one ``purge_orchestrations``: by ids, by a filter, or for everything, and only one of these."""
    recursive = as_flag(recursive, "recursive")
    chosen = PurgeFilter(
        created_from=as_time(created_from, "created_from"),
        created_to=as_time(created_to, "created_to"),
        runtime_statuses=as_members(runtime_statuses, OrchestrationStatus, "runtime_statuses"),
        recursive=recursive,
    )
    batches = None if instance_ids is None else batches_of(instance_ids)
    is_filtered = chosen != PurgeFilter(recursive=recursive)
    if (batches is not None) + is_filtered + as_flag(everything, "everything") != 1:
        raise InvalidRequestError(
            "purge_orchestrations takes either instance_ids, or a filter (created_from, created_to, "
            "runtime_statuses), or everything=True, which removes all instances that have ended."
        )
    if batches is None:
        return [chosen]
    return [PurgeBatch(instance_ids=batch, recursive=recursive) for batch in batches]
