"""Reading and writing the rows of an SQLite store. Each function runs in a transaction of ``sqlite``.

What cannot be read costs its own instance only, so rows are decoded one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from typing import TypeVar, cast

import msgspec
from durabletask.core.errors import StorageError
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import TERMINAL_STATUSES
from durabletask.core.logs import get_logger
from durabletask.testing.hub.entity_ids import is_entity_id
from durabletask.testing.hub.entity_state import Entity, entity_position
from durabletask.testing.hub.events import EventLog
from durabletask.testing.hub.order import Position, microseconds
from durabletask.testing.hub.queries import EntitySelection, InstanceSelection, Selection
from durabletask.testing.hub.request_ids import RequestId
from durabletask.testing.hub.sections import open_sections
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Activity

from . import codec
from .base import Changes, Found, Loaded

__all__ = ["children", "fill_parents", "find", "history", "load", "select", "write_changes"]

_logger = get_logger("durabletask.testing.hub")

T = TypeVar("T")

_COLUMNS = "key, id, status, created, completed, body"
_ENTITY_COLUMNS = "key, id, modified, body"
_FULL_READ = 4 * 1024 * 1024  # bytes of rows after which a selection stops early
_LOOKUP = 500  # ids in one SELECT
_TOGETHER = 100  # rows in one statement; an old SQLite takes 999 values in one
_UNREADABLE = (ValueError, TypeError, OverflowError, msgspec.MsgspecError)
_Row = tuple[int, str, int, int, "int | None", bytes]
_EntityRow = tuple[int, str, int, bytes]


def write_changes(connection: sqlite3.Connection, hub: int, changes: Changes) -> None:
    """Write the changes of one hub."""
    if changes.clears_hub:
        _clear(connection, hub)
    for table in ("instances", "entities", "history", "inbox") if changes.removed else ():
        _delete(connection, table, "key = ?", [(key,) for key in changes.removed])
    instances = changes.instances.values()
    _delete(connection, "history", "key = ?", [(one.key,) for one in instances if one.drops_history])
    read = [(one.key, one.dropped.stop) for one in instances if one.dropped]
    _delete(connection, "inbox", "key = ? AND number < ?", read)
    rows = [(*one.row, hub) for one in instances if one.row is not None]
    _insert(connection, f"INSERT OR REPLACE INTO instances ({_COLUMNS}, parent, hub)", rows)
    runs = [(one.key, first, events) for one in instances for first, events in one.runs]
    _insert(connection, "INSERT INTO history (key, first, events)", runs)
    events = [(one.key, number, event) for one in instances for number, event in one.inbox.items()]
    _insert(connection, "INSERT INTO inbox (key, number, event)", events)
    _write_entities(connection, hub, changes)
    detached = [(key, hub, activity) for key, activity in changes.detached]
    _insert(connection, "INSERT INTO detached (key, hub, activity)", detached)
    _delete(connection, "detached", "key = ?", [(key,) for key in changes.attended])


def _write_entities(connection: sqlite3.Connection, hub: int, changes: Changes) -> None:
    entities = changes.entities.values()
    gone = [(one.key, numbers.start, numbers.stop) for one in entities for numbers in one.dropped]
    _delete(connection, "inbox", "key = ? AND number >= ? AND number < ?", gone)
    rows = [(*one.row, hub) for one in entities if one.row is not None]
    columns = "key, id, modified, has_state, is_locked, body, hub"
    _insert(connection, f"INSERT OR REPLACE INTO entities ({columns})", rows)
    messages = [(one.key, number, event) for one in entities for number, event in one.messages.items()]
    _insert(connection, "INSERT INTO inbox (key, number, event)", messages)
    ids = [
        (one.number, hub, one.entity_id, one.request_id, microseconds(one.at)) for one in changes.request_ids
    ]
    _insert(connection, "INSERT INTO request_ids (number, hub, entity, request, at)", ids)
    if changes.forgets is not None:
        connection.execute("DELETE FROM request_ids WHERE hub = ? AND number < ?", (hub, changes.forgets))


# Many rows in one statement: ``executemany`` releases the GIL for every row, and beside a busy event
# loop it waits longer to get it back than the row takes.


def _insert(connection: sqlite3.Connection, into: str, rows: Sequence[tuple[object, ...]]) -> None:
    for first in range(0, len(rows), _TOGETHER):
        some = rows[first : first + _TOGETHER]
        marks = f"({', '.join('?' * len(some[0]))})"
        statement = f"{into} VALUES {', '.join([marks] * len(some))}"
        connection.execute(statement, list(chain.from_iterable(some)))


def _delete(
    connection: sqlite3.Connection, table: str, where: str, values: Sequence[tuple[object, ...]]
) -> None:
    for first in range(0, len(values), _TOGETHER):
        some = values[first : first + _TOGETHER]
        either = " OR ".join([f"({where})"] * len(some))
        statement = f"DELETE FROM {table} WHERE {either}"  # noqa: S608 - our names
        connection.execute(statement, list(chain.from_iterable(some)))


def _clear(connection: sqlite3.Connection, hub: int) -> None:
    for table, owners in (("history", "instances"), ("inbox", "instances"), ("inbox", "entities")):
        connection.execute(
            f"DELETE FROM {table} WHERE key IN (SELECT key FROM {owners} WHERE hub = ?)",  # noqa: S608
            (hub,),
        )
    for table in ("instances", "detached", "entities", "request_ids"):
        connection.execute(f"DELETE FROM {table} WHERE hub = ?", (hub,))  # noqa: S608 - our names


def fill_parents(connection: sqlite3.Connection) -> None:
    """Rows of an earlier layout have the parent in their body only."""
    for key, body in connection.execute("SELECT key, body FROM instances").fetchall():
        with suppress(*_UNREADABLE):
            parent = codec.parent_of(body)
            if parent is not None:
                connection.execute("UPDATE instances SET parent = ? WHERE key = ?", (parent, key))


def _unreadable(instance_id: str, error: Exception) -> StorageError:
    return StorageError(
        f"What is stored of {_kind(instance_id)} {instance_id!r} cannot be read: {error}. The others of the hub are not "
        "affected. The rows stay in the file as they are."
    )


def _kind(instance_id: str) -> str:
    return "entity" if is_entity_id(instance_id) else "instance"


class _Loading:
    """Live instances and entities while they are read. What fails for one of them ends that one."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.instances: dict[int, Instance] = {}
        self.entities: dict[int, Entity] = {}
        self.broken: dict[int, StorageError] = {}

    def add(self, key: int, read: Callable[[], None]) -> None:
        if key in self.broken:
            return
        try:
            read()
        except _UNREADABLE as error:
            self.broken[key] = _unreadable(self.names[key], error)
            self.instances.pop(key, None)
            self.entities.pop(key, None)
            _logger.error("%s", self.broken[key])

    def add_row(self, row: _Row) -> None:
        self.instances[row[0]] = codec.instance_of(row)

    def add_history(self, key: int, events: bytes) -> None:
        self.instances[key].history.extend(codec.decode_events(events))

    def add_inbox(self, key: int, number: int, event: bytes) -> None:
        instance = self.instances[key]
        if not len(instance.inbox):
            instance.inbox = EventLog(first=number)
        instance.inbox.append(codec.decode_event(event))

    def add_entity(self, row: _EntityRow) -> None:
        self.entities[row[0]] = codec.entity_of(row)

    def add_message(self, key: int, number: int, event: bytes) -> None:
        codec.place_message(self.entities[key], number, event)


def load(connection: sqlite3.Connection, hub: int) -> Loaded:
    """Read the live instances of a hub, and the entities that must be in memory."""
    live = "SELECT key FROM instances WHERE hub = ? AND completed IS NULL"
    loading = _Loading()
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM instances WHERE hub = ? AND completed IS NULL ORDER BY created, id",  # noqa: S608
        (hub,),
    ):
        loading.names[row[0]] = row[1]
        loading.add(row[0], partial(loading.add_row, row))
    for key, events in connection.execute(
        f"SELECT key, events FROM history WHERE key IN ({live}) ORDER BY key, first",  # noqa: S608
        (hub,),
    ):
        loading.add(key, partial(loading.add_history, key, events))
    for key, number, event in connection.execute(
        f"SELECT key, number, event FROM inbox WHERE key IN ({live}) ORDER BY key, number",  # noqa: S608
        (hub,),
    ):
        loading.add(key, partial(loading.add_inbox, key, number, event))
    _load_entities(connection, hub, loading)
    unreadable = {loading.names[key]: error for key, error in loading.broken.items()}
    return Loaded(
        list(loading.instances.values()),
        list(loading.entities.values()),
        _load_detached(connection, hub),
        _load_request_ids(connection, hub),
        unreadable,
    )


def _load_entities(connection: sqlite3.Connection, hub: int, loading: _Loading) -> None:
    """Entities with messages or a lock, and those that a critical section may come to lock."""
    busy = f"SELECT {_ENTITY_COLUMNS} FROM entities WHERE hub = ? AND (is_locked OR key IN (SELECT key FROM inbox))"  # noqa: S608
    query = f"SELECT {_ENTITY_COLUMNS} FROM entities WHERE hub = ? AND id"  # noqa: S608 - our names
    sections = [
        targets for one in loading.instances.values() for targets in open_sections(one.history).values()
    ]
    wanted = list(dict.fromkeys(chain.from_iterable(sections)))
    busy_rows: Iterator[_EntityRow] = connection.execute(busy, (hub,))
    for row in chain(busy_rows, cast("Iterator[_EntityRow]", _in_parts(connection, query, hub, wanted))):
        loading.names[row[0]] = row[1]
        loading.add(row[0], partial(loading.add_entity, row))
    for key, number, event in connection.execute(
        "SELECT key, number, event FROM inbox WHERE key IN (SELECT key FROM entities WHERE hub = ?) ORDER BY key, number",
        (hub,),
    ):
        loading.add(key, partial(loading.add_message, key, number, event))


def _load_request_ids(connection: sqlite3.Connection, hub: int) -> list[RequestId]:
    rows = connection.execute(
        "SELECT entity, request, number, at FROM request_ids WHERE hub = ? ORDER BY number", (hub,)
    )
    return [RequestId(entity, request, number, codec.moment(at)) for entity, request, number, at in rows]


def _load_detached(connection: sqlite3.Connection, hub: int) -> dict[Activity, int]:
    detached: dict[Activity, int] = {}
    for key, data in connection.execute(
        "SELECT key, activity FROM detached WHERE hub = ? ORDER BY key", (hub,)
    ).fetchall():
        with suppress(*_UNREADABLE):  # nothing waits for it, and there is no instance to report it at
            detached[codec.decode_activity(data)] = key
    return detached


def find(connection: sqlite3.Connection, hub: int, instance_ids: list[str], with_history: bool) -> Found:
    """Read instances and idle entities by id."""
    found = Found({}, {}, {})
    entity_ids = [one for one in instance_ids if is_entity_id(one)]
    instance_ids = [one for one in instance_ids if not is_entity_id(one)]
    query = f"SELECT {_ENTITY_COLUMNS} FROM entities WHERE hub = ? AND id"  # noqa: S608 - our names
    for entity_row in cast("Iterator[_EntityRow]", _in_parts(connection, query, hub, entity_ids)):
        _find_entity(entity_row, found)
    query = f"SELECT {_COLUMNS} FROM instances WHERE hub = ? AND id"  # noqa: S608 - our names
    for row in _in_parts(connection, query, hub, instance_ids):
        instance_id = row[1]
        try:
            instance = codec.instance_of(row)
            if with_history:
                instance.history = EventLog(history(connection, instance.key))
            found.instances[instance_id] = instance
        except _UNREADABLE as error:
            found.unreadable[instance_id] = _unreadable(instance_id, error)
    return found


def _find_entity(row: _EntityRow, found: Found) -> None:
    try:
        found.entities[row[1]] = codec.entity_of(row)
    except _UNREADABLE as error:
        found.unreadable[row[1]] = _unreadable(row[1], error)


def children(connection: sqlite3.Connection, hub: int, instance_ids: list[str]) -> list[str]:
    """Ids of the children of instances."""
    rows = _in_parts(connection, "SELECT key, id FROM instances WHERE hub = ? AND parent", hub, instance_ids)
    return [row[1] for row in rows]


def _in_parts(connection: sqlite3.Connection, query: str, hub: int, ids: list[str]) -> Iterator[_Row]:
    """Rows of a query that ends in a column, for ids in that column."""
    for first in range(0, len(ids), _LOOKUP):
        some = ids[first : first + _LOOKUP]
        marks = ", ".join("?" * len(some))
        yield from connection.execute(f"{query} IN ({marks})", (hub, *some)).fetchall()


def history(connection: sqlite3.Connection, key: int) -> list[HistoryEvent]:
    """Read a history."""
    rows = connection.execute("SELECT events FROM history WHERE key = ? ORDER BY first", (key,))
    return [event for (events,) in rows for event in codec.decode_events(events)]


def select(
    connection: sqlite3.Connection, hub: int, selection: Selection[T], start: Position | None, limit: int
) -> tuple[list[tuple[Position, T]], bool]:
    """Read finished instances, or entities, as far as one answer should go, and whether there may be more."""
    if isinstance(selection, EntitySelection):
        found = _select_entities(connection, hub, selection, start, limit)
        return cast("tuple[list[tuple[Position, T]], bool]", found)
    if isinstance(selection, InstanceSelection):
        return cast(
            "tuple[list[tuple[Position, T]], bool]",
            _select_instances(connection, hub, selection, start, limit),
        )
    raise TypeError(type(selection).__name__)


_Condition = tuple[bool, str, tuple[object, ...]]


def _select_entities(
    connection: sqlite3.Connection, hub: int, selection: EntitySelection, start: Position | None, limit: int
) -> tuple[list[tuple[Position, Entity]], bool]:
    conditions: list[_Condition] = [
        (True, "hub = ?", (hub,)),
        (not selection.includes_transient, "has_state", ()),
        *_common("modified", selection.since, selection.before, selection.prefix),
        (start is not None, "id > ?", (start and start.instance_id,)),
    ]
    query, parameters = _query(f"{_ENTITY_COLUMNS} FROM entities", conditions, "id")
    found: list[tuple[Position, Entity]] = []
    size = 0
    with closing(connection.execute(query, parameters)) as rows:
        for row in rows:
            if len(found) >= limit or size > _FULL_READ:
                return found, True
            try:
                entity = codec.entity_of(row)
            except _UNREADABLE as error:
                _logger.error("%s", _unreadable(row[1], error))
                continue
            found.append((entity_position(entity.entity_id), entity))
            size += len(row[3])
    return found, False


def _common(time: str, since: int | None, before: int | None, id_prefix: str) -> list[_Condition]:
    prefix = id_prefix.encode("utf-8", "surrogatepass")  # as bytes: substr ends a text at a NUL
    return [
        (since is not None, f"{time} >= ?", (since,)),
        (before is not None, f"{time} < ?", (before,)),
        (bool(prefix), "substr(CAST(id AS BLOB), 1, ?) = ?", (len(prefix), prefix)),
    ]


def _query(what: str, conditions: list[_Condition], order: str) -> tuple[str, list[object]]:
    used = [(text, given) for applies, text, given in conditions if applies]
    where = " AND ".join(text for text, _ in used)
    return f"SELECT {what} WHERE {where} ORDER BY {order}", [one for _, given in used for one in given]


def _select_instances(
    connection: sqlite3.Connection, hub: int, selection: InstanceSelection, start: Position | None, limit: int
) -> tuple[list[tuple[Position, Instance]], bool]:
    statuses = (selection.statuses or TERMINAL_STATUSES) & TERMINAL_STATUSES
    if not statuses:
        return [], False
    column = "completed" if selection.by_completion else "created"
    after = None if start is None else (start.time, start.instance_id)
    conditions: list[_Condition] = [
        (True, "hub = ?", (hub,)),
        (True, "completed IS NOT NULL", ()),
        (True, f"status IN ({', '.join(str(status.value) for status in statuses)})", ()),
        *_common(column, selection.since, selection.before, selection.prefix),
        (after is not None, f"({column}, id) > (?, ?)", after or ()),
    ]
    query, parameters = _query(f"{_COLUMNS} FROM instances", conditions, f"{column}, id")
    found: list[tuple[Position, Instance]] = []
    size = 0
    with closing(connection.execute(query, parameters)) as rows:
        for row in rows:
            if len(found) >= limit or size > _FULL_READ:
                return found, True
            try:
                instance = codec.instance_of(row)
            except _UNREADABLE as error:
                _logger.error("%s", _unreadable(row[1], error))
                continue
            found.append((selection.position(instance), instance))
            size += len(row[5])
    return found, False
