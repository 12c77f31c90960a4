"""Reading and writing the rows of an SQLite store. Each function runs in a transaction of ``sqlite``.

What cannot be read costs its own instance only, so rows are decoded one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain

import msgspec
from durabletask.core.errors import StorageError
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import TERMINAL_STATUSES
from durabletask.core.logs import get_logger
from durabletask.testing.hub.events import EventLog
from durabletask.testing.hub.order import Position
from durabletask.testing.hub.queries import Selection
from durabletask.testing.hub.state import Instance
from durabletask.testing.hub.tasks import Activity

from . import codec
from .base import Changes, Found, Loaded

__all__ = ["children", "fill_parents", "find", "history", "load", "select", "write_changes"]

_logger = get_logger("durabletask.testing.hub")

_COLUMNS = "key, id, status, created, completed, body"
_FULL_READ = 4 * 1024 * 1024  # bytes of rows after which a selection stops early
_LOOKUP = 500  # ids in one SELECT
_TOGETHER = 100  # rows in one statement; an old SQLite takes 999 values in one
_UNREADABLE = (ValueError, TypeError, OverflowError, msgspec.MsgspecError)
_Row = tuple[int, str, int, int, "int | None", bytes]


def write_changes(connection: sqlite3.Connection, hub: int, changes: Changes) -> None:
    """Write the changes of one hub."""
    if changes.clears_hub:
        _clear(connection, hub)
    for table in ("instances", "history", "inbox") if changes.removed else ():
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
    detached = [(key, hub, activity) for key, activity in changes.detached]
    _insert(connection, "INSERT INTO detached (key, hub, activity)", detached)
    _delete(connection, "detached", "key = ?", [(key,) for key in changes.attended])


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
    for table in ("history", "inbox"):
        connection.execute(
            f"DELETE FROM {table} WHERE key IN (SELECT key FROM instances WHERE hub = ?)",  # noqa: S608
            (hub,),
        )
    for table in ("instances", "detached"):
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
        f"What is stored of instance {instance_id!r} cannot be read: {error}. The other instances of the hub are not "
        "affected. The rows stay in the file as they are."
    )


class _Loading:
    """Live instances while they are read. What fails for one of them ends that one."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.instances: dict[int, Instance] = {}
        self.broken: dict[int, StorageError] = {}

    def add(self, key: int, read: Callable[[], None]) -> None:
        if key in self.broken:
            return
        try:
            read()
        except _UNREADABLE as error:
            self.broken[key] = _unreadable(self.names[key], error)
            self.instances.pop(key, None)
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


def load(connection: sqlite3.Connection, hub: int) -> Loaded:
    """Read the live instances of a hub."""
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
    unreadable = {loading.names[key]: error for key, error in loading.broken.items()}
    return Loaded(list(loading.instances.values()), _load_detached(connection, hub), unreadable)


def _load_detached(connection: sqlite3.Connection, hub: int) -> dict[Activity, int]:
    detached: dict[Activity, int] = {}
    for key, data in connection.execute(
        "SELECT key, activity FROM detached WHERE hub = ? ORDER BY key", (hub,)
    ).fetchall():
        with suppress(*_UNREADABLE):  # nothing waits for it, and there is no instance to report it at
            detached[codec.decode_activity(data)] = key
    return detached


def find(connection: sqlite3.Connection, hub: int, instance_ids: list[str], with_history: bool) -> Found:
    """Read instances by id."""
    found = Found({}, {})
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
    connection: sqlite3.Connection, hub: int, selection: Selection, start: Position | None, limit: int
) -> tuple[list[tuple[Position, Instance]], bool]:
    """Read finished instances in order, as far as one answer should go, and whether there may be more."""
    statuses = (selection.statuses or TERMINAL_STATUSES) & TERMINAL_STATUSES
    if not statuses:
        return [], False
    column = "completed" if selection.by_completion else "created"
    where, values = ["hub = ?", "completed IS NOT NULL"], [hub]
    where.append(f"status IN ({', '.join(str(status.value) for status in statuses)})")
    prefix = selection.prefix.encode("utf-8", "surrogatepass")  # as bytes: substr ends a text at a NUL
    conditions: list[tuple[bool, str, tuple[object, ...]]] = [
        (selection.since is not None, f"{column} >= ?", (selection.since,)),
        (selection.before is not None, f"{column} < ?", (selection.before,)),
        (bool(prefix), "substr(CAST(id AS BLOB), 1, ?) = ?", (len(prefix), prefix)),
    ]
    if start is not None:
        conditions.append((True, f"({column}, id) > (?, ?)", (start.time, start.instance_id)))
    parameters: list[object] = list(values)
    for applies, text, given in conditions:
        if applies:
            where.append(text)
            parameters += given
    query = (
        f"SELECT {_COLUMNS} FROM instances WHERE {' AND '.join(where)} "  # noqa: S608 - values are bound
        f"ORDER BY {column}, id"
    )
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
