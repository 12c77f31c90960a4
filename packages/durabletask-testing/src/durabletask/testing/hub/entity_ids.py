"""Ids of entities as they come in from outside (protocol section 11.1)."""

from __future__ import annotations

from collections.abc import Iterable

from durabletask.core.entities import MAXIMUM_ENTITY_ID
from durabletask.core.errors import InvalidRequestError

from .validation import check_text

__all__ = ["checked_entity_id", "fold", "is_entity_id", "refuse_entity_id", "targets_of"]


def is_entity_id(instance_id: str) -> bool:
    """Whether an id is one of an entity; no orchestration can have it."""
    return instance_id[:1] == "@"


def fold(entity_id: str) -> str:
    """The id with its name in lower case; the key stays as it is."""
    name, separator, key = entity_id[1:].partition("@")
    return f"@{name.lower()}{separator}{key}"


def checked_entity_id(entity_id: str) -> str:
    """The id as the hub knows it.

    Raises:
        InvalidRequestError: it is none.
    """
    check_text("The id of an entity", entity_id)
    name, separator, _ = entity_id[1:].partition("@")
    if not is_entity_id(entity_id) or not separator:
        raise InvalidRequestError(
            f"{entity_id[:MAXIMUM_ENTITY_ID]!r} is not an entity id; the form is '@name@key'."
        )
    if not name:
        raise InvalidRequestError(
            f"The entity id {entity_id[:MAXIMUM_ENTITY_ID]!r} has no name; the form is '@name@key'."
        )
    folded = fold(entity_id)
    if len(folded) > MAXIMUM_ENTITY_ID:
        raise InvalidRequestError(
            f"The entity id {folded[:40]!r}... has {len(folded)} characters; at most {MAXIMUM_ENTITY_ID} are allowed."
        )
    return folded


def targets_of(lock_set: Iterable[str]) -> tuple[str, ...]:
    """The entities of a lock set in its order, each once."""
    return tuple(dict.fromkeys(map(fold, lock_set)))


def refuse_entity_id(instance_id: str, what: str) -> None:
    """Refuse a command for orchestrations that is given the id of an entity.

    Raises:
        InvalidRequestError: it is.
    """
    if is_entity_id(instance_id):
        raise InvalidRequestError(
            f"Cannot {what} {instance_id[:MAXIMUM_ENTITY_ID]!r}: ids that begin with '@' belong to entities, and this is for "
            "orchestrations. Signal the entity, or purge it."
        )
