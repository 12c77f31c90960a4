"""``Sqlite``: any number of task hubs in one SQLite file.

A writer thread commits, a reader thread looks things up; the event loop touches neither the file nor a lock. Rows are
only added, but for the one row of an instance: histories grow by one row per episode.

What cannot be read costs its own instance only: every function that reads rows decodes them one by one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, Literal, TypeVar

from durabletask.core.errors import ConfigurationError, StorageError
from durabletask.core.history import HistoryEvent
from durabletask.core.logs import get_logger
from durabletask.testing.hub.entity_state import FIRST_DELAYED
from durabletask.testing.hub.order import Position
from durabletask.testing.hub.queries import Selection
from durabletask.testing.hub.residency import Residency, Storage, StoreResidency

from .base import Changes, Commit, Found, HubStore, Loaded
from .ownership import OwnerLock
from .rows import children as _children
from .rows import fill_parents as _fill_parents
from .rows import find as _find
from .rows import history as _history
from .rows import load as _load
from .rows import select as _select
from .rows import write_changes as _write_changes

__all__ = ["Sqlite"]

T = TypeVar("T")

_logger = get_logger("durabletask.testing.hub")

_CONTENT_ERRORS = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
_APPLICATION_ID = 0x44544B48  # "DTKH", in the header of the file
_MIGRATIONS: Final = (
    """
    CREATE TABLE hubs (hub INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE instances (
        key INTEGER PRIMARY KEY, hub INTEGER NOT NULL, id TEXT NOT NULL, status INTEGER NOT NULL,
        created INTEGER NOT NULL, completed INTEGER, body BLOB NOT NULL, UNIQUE (hub, id)
    );
    CREATE INDEX live ON instances (hub) WHERE completed IS NULL;
    CREATE INDEX by_creation ON instances (hub, created, id) WHERE completed IS NOT NULL;
    CREATE INDEX by_completion ON instances (hub, completed, id) WHERE completed IS NOT NULL;
    CREATE TABLE history (
        key INTEGER NOT NULL, first INTEGER NOT NULL, events BLOB NOT NULL, PRIMARY KEY (key, first)
    ) WITHOUT ROWID;
    CREATE TABLE inbox (
        key INTEGER NOT NULL, number INTEGER NOT NULL, event BLOB NOT NULL, PRIMARY KEY (key, number)
    ) WITHOUT ROWID;
    CREATE TABLE detached (key INTEGER PRIMARY KEY, hub INTEGER NOT NULL, activity BLOB NOT NULL);
    CREATE INDEX detached_of ON detached (hub);
    """,
    """
    ALTER TABLE instances ADD COLUMN parent TEXT;
    CREATE INDEX children ON instances (hub, parent) WHERE parent IS NOT NULL;
    """,
    """
    CREATE TABLE entities (
        key INTEGER PRIMARY KEY, hub INTEGER NOT NULL, id TEXT NOT NULL, modified INTEGER NOT NULL,
        has_state INTEGER NOT NULL, is_locked INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (hub, id)
    );
    CREATE INDEX locked ON entities (hub) WHERE is_locked;
    CREATE TABLE request_ids (
        number INTEGER PRIMARY KEY, hub INTEGER NOT NULL, entity TEXT NOT NULL, request TEXT NOT NULL, at INTEGER NOT NULL
    );
    CREATE INDEX request_ids_of ON request_ids (hub);
    """,
)
_FORGET_EMPTY_HUBS = """
    DELETE FROM hubs WHERE NOT EXISTS (SELECT 1 FROM instances WHERE instances.hub = hubs.hub)
    AND NOT EXISTS (SELECT 1 FROM detached WHERE detached.hub = hubs.hub)
    AND NOT EXISTS (SELECT 1 FROM entities WHERE entities.hub = hubs.hub)
    AND NOT EXISTS (SELECT 1 FROM request_ids WHERE request_ids.hub = hubs.hub)
"""
_STATEMENTS = 512  # that are kept prepared: one for every number of rows


class Sqlite(Storage):
    """One SQLite file in WAL mode, owned by one process at a time.

    Nothing is opened before the first hub needs it; the last hub that closes closes the file.

    Args:
        path: the file; it is made if it does not exist.
        synchronous: ``FULL`` survives the loss of power, ``NORMAL`` the loss of the process.

    Raises:
        ConfigurationError: ``path`` is ``:memory:``, which is no file.
    """

    def __init__(self, path: str | Path, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        if synchronous not in {"FULL", "NORMAL"}:
            raise ValueError(f"synchronous must be 'FULL' or 'NORMAL', not {synchronous!r}.")
        if Path(path).name == ":memory:":
            raise ConfigurationError(
                "':memory:' is not a file, and its contents would not outlive a connection. Use the endpoint memory:// "
                "(or InMemory()) for a hub in memory, or give the path of a file."
            )
        self.path: Path = Path(path).resolve()  # one owner, under whatever name
        self.synchronous: str = synchronous
        self._guard = threading.Lock()
        self._file: _OpenFile | None = None
        self._hubs = 0
        self._closed: Future[None] | None = None

    @property
    def endpoint(self) -> str:
        return f"sqlite:///{self.path}"

    def residency(self, task_hub: str) -> Residency:
        return StoreResidency(task_hub, lambda: self.open_hub(task_hub))

    def open_hub(self, task_hub: str) -> Future[HubStore]:
        """Take part in the file, opening it if need be.

        Raises:
            OwnershipError: another process has it (through the future).
            StorageError: it cannot be opened (through the future).
        """
        with self._guard:
            if self._file is not None and self._file.process != os.getpid():
                self._file, self._hubs, self._closed = None, 0, None  # of the parent, before a fork
            if self._file is None:
                self._file = _OpenFile(self.path, self.synchronous, self._closed)
            self._hubs += 1
            file = self._file
        opened: Future[HubStore] = Future()

        def finish(done: Future[None]) -> None:
            error = done.exception()
            if not opened.set_running_or_notify_cancel():
                self._leave(file)  # the loop that waited for it has ended
            elif error is not None:
                # Only after the lock is released, so that the caller may open the file again at once.
                self._leave(file).add_done_callback(lambda _: opened.set_exception(error))
            else:
                opened.set_result(_SqliteHub(file, task_hub, lambda: self._leave(file)))

        file.on_writer(lambda _: None).add_done_callback(finish)  # opens the file
        return opened

    def _leave(self, file: _OpenFile) -> Future[None]:
        with self._guard:
            # A hub that a forked process inherited leaves the file to its parent.
            if file is self._file and file.process == os.getpid():
                self._hubs -= 1
                if self._hubs == 0:
                    self._file, self._closed = None, file.close()
                    return self._closed
        done: Future[None] = Future()
        done.set_result(None)
        return done


class _OpenFile:
    """Connections, threads and the lock of one open file. Opened on the writer thread, at its first task."""

    def __init__(self, path: Path, synchronous: str, predecessor: Future[None] | None) -> None:
        self.process: int = os.getpid()
        self._path = path
        self._synchronous = synchronous
        self._identity: tuple[int, int] | None = None
        self._predecessor = predecessor
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="durabletask-store-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="durabletask-store-reader")
        self._lock: OwnerLock | None = None
        self._write_connection: sqlite3.Connection | None = None
        self._read_connection: sqlite3.Connection | None = None
        self.keys: Iterator[int] = count(1)

    def on_writer(self, task: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run a task in a transaction on the writer thread."""
        self._check_process()
        return self._writer.submit(self._guarded, self._write, task, "written")

    def on_reader(self, task: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run a task on the reader thread."""
        self._check_process()
        return self._reader.submit(self._guarded, self._read, task, "read")

    def _check_process(self) -> None:
        if self.process != os.getpid():
            raise StorageError(
                f"The store {self._path} was opened by process {self.process} before it forked this one, and its threads "
                "did not come along. Open a hub of its own after the fork; one process owns a store."
            )

    def attempt(self, task: Callable[[sqlite3.Connection], None]) -> Exception | None:
        """Run a task in a transaction, on the writer thread only; the error is its outcome."""
        try:
            self._guarded(self._write, task, "written")
        except Exception as error:  # noqa: BLE001 - whatever it is
            return error
        return None

    def _guarded(
        self,
        run: Callable[[Callable[[sqlite3.Connection], T]], T],
        task: Callable[[sqlite3.Connection], T],
        what: str,
    ) -> T:
        try:
            return run(task)
        except sqlite3.Error as error:
            raise StorageError(
                f"The store {self._path} could not be {what}: {error}. Nothing of this was acknowledged. Check that "
                "the disk has room and that the file and its folder may be written to; the hub tries again with the "
                "next call."
            ) from error

    def _write(self, task: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._write_connection
        if connection is None:
            connection = self._open()
        self._check_file()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = task(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # some errors have rolled back already
                connection.execute("ROLLBACK")
            raise
        return result

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that has no name any more; what it holds would be lost."""
        try:
            found = self._path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StorageError(
                f"The store {self._path} was deleted or replaced while it was in use. Nothing of this was acknowledged. "
                "Stop this process before the file is removed, and start it again."
            )

    def _read(self, task: Callable[[sqlite3.Connection], T]) -> T:
        if self._read_connection is None:
            self._read_connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        return task(self._read_connection)

    def _open(self) -> sqlite3.Connection:
        if self._predecessor is not None:
            self._predecessor.result()
        self._lock = self._lock or OwnerLock(self._path)
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
        try:
            self._migrate(connection)
            found = self._path.stat()
            if found.st_nlink > 1:
                raise StorageError(
                    f"The store {self._path} has {found.st_nlink} names (hard links), and its lock is bound to one. "
                    "Remove the other names, or copy the file."
                )
            self._identity = (found.st_dev, found.st_ino)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute(_FORGET_EMPTY_HUBS)  # at no other time: open hubs know their numbers
            keys = {"instances": "key", "detached": "key", "entities": "key", "request_ids": "number"}
            tops = [f"SELECT max({key}) FROM {table}" for table, key in keys.items()]  # noqa: S608
            tops.append(f"SELECT max(number) - {FIRST_DELAYED} FROM inbox WHERE number >= {FIRST_DELAYED}")  # noqa: S608
            numbers = connection.execute(" UNION ALL ".join(tops)).fetchall()
            self.keys = count(1 + max(key or 0 for (key,) in numbers))
        except BaseException:
            connection.close()
            raise
        self._write_connection = connection
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != _APPLICATION_ID:
            raise StorageError(
                f"{self._path} is an SQLite database, but not a store of task hubs; give another path."
            )
        if version > len(_MIGRATIONS):
            raise StorageError(
                f"The store {self._path} was written by a newer version of this package (layout {version}, this one "
                f"knows {len(_MIGRATIONS)}); upgrade durabletask-testing."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        if version < len(_MIGRATIONS):
            # One transaction, which executescript leaves open; on an error the caller closes the connection.
            connection.executescript(f"BEGIN IMMEDIATE; {' '.join(_MIGRATIONS[version:])}")
            if tables and version < 2:
                _fill_parents(connection)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
            connection.execute("COMMIT")

    def close(self) -> Future[None]:
        """Finish what is queued, then close."""
        self._reader.submit(self._close_reader)
        closed = self._writer.submit(self._close_writer)
        self._reader.shutdown(wait=False)
        self._writer.shutdown(wait=False)
        return closed

    def _close_reader(self) -> None:
        if self._read_connection is not None:
            self._read_connection.close()

    def _close_writer(self) -> None:
        self._reader.shutdown(wait=True)
        if self._write_connection is not None:
            with suppress(sqlite3.Error):
                self._write_connection.close()
        if self._lock is not None:
            self._lock.release()


class _SqliteHub(HubStore):
    """One hub of the file."""

    def __init__(self, file: _OpenFile, task_hub: str, leave: Callable[[], Future[None]]) -> None:
        self._file = file
        self._task_hub = task_hub
        self._number: int | None = None
        self._leave = leave
        self.keys: Iterator[int] = file.keys

    def close(self) -> Future[None]:
        return self._leave()

    def commit(self, commits: Sequence[Commit]) -> Future[list[Exception | None]]:
        written: Future[list[Exception | None]] = Future()
        together = self._file.on_writer(self._writing(commits))

        def check(done: Future[None]) -> None:
            error = done.exception()
            if error is None:
                written.set_result([None] * len(commits))
            elif len(commits) == 1 and _is_of_content(error):
                written.set_result([_as_outcome(error)])
            elif len(commits) == 1:
                written.set_exception(error)
            else:
                self._write_singly(commits, written)

        together.add_done_callback(check)
        return written

    def _writing(self, commits: Sequence[Commit]) -> Callable[[sqlite3.Connection], None]:
        def write(connection: sqlite3.Connection) -> None:
            if self._number is None:  # a hub that is only read makes no row
                connection.execute("INSERT OR IGNORE INTO hubs (name) VALUES (?)", (self._task_hub,))
            number = self._number or _hub_number(connection, self._task_hub)
            _write_changes(connection, number, Changes(commits))

        return write

    def _on_reader(self, task: Callable[[sqlite3.Connection, int], T]) -> Future[T]:
        def read(connection: sqlite3.Connection) -> T:
            if (
                self._number is None
            ):  # kept only when it is committed, so that a roll-back cannot lend it to another
                self._number = _hub_number(connection, self._task_hub) or None
            return task(connection, self._number or 0)

        return self._file.on_reader(read)

    def _write_singly(self, commits: Sequence[Commit], written: Future[list[Exception | None]]) -> None:
        """Write each commit for itself, on the writer's thread. One that follows a failed one of its instance fails."""
        outcomes: list[Exception | None] = []
        spoiled: set[int] = set()
        for commit in commits:
            keys = {*commit.removed, *commit.ids()}
            error: Exception | None = None
            if spoiled & keys:
                error = StorageError("An earlier change of the same instance could not be stored; try again.")
            else:
                error = self._file.attempt(self._writing([commit]))
            if error is not None:
                spoiled |= keys
            outcomes.append(error)
        first = outcomes[0]
        if first is not None and all(outcome is not None for outcome in outcomes):
            written.set_exception(first)
        else:
            written.set_result(outcomes)

    def load(self) -> Future[Loaded]:
        return self._on_reader(_load)

    def find(self, instance_ids: Iterable[str], *, with_history: bool) -> Future[Found]:
        wanted = list(instance_ids)
        return self._on_reader(lambda connection, hub: _find(connection, hub, wanted, with_history))

    def children(self, instance_ids: Iterable[str]) -> Future[list[str]]:
        wanted = list(instance_ids)
        return self._on_reader(lambda connection, hub: _children(connection, hub, wanted))

    def select(
        self, selection: Selection[T], start: Position | None, limit: int
    ) -> Future[tuple[list[tuple[Position, T]], bool]]:
        return self._on_reader(lambda connection, hub: _select(connection, hub, selection, start, limit))

    def history(self, key: int) -> Future[list[HistoryEvent]]:
        return self._file.on_reader(lambda connection: _history(connection, key))


def _hub_number(connection: sqlite3.Connection, task_hub: str) -> int:
    """The number of a hub; 0 if nothing was ever written for it."""
    row = connection.execute("SELECT hub FROM hubs WHERE name = ?", (task_hub,)).fetchone()
    return 0 if row is None else int(row[0])


def _is_of_content(error: BaseException) -> bool:
    """Whether what was written is at fault, and not the disk or the file."""
    if isinstance(error, StorageError):
        return isinstance(error.__cause__, _CONTENT_ERRORS)
    return True


def _as_outcome(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else StorageError(f"Commit failed: {error!r}")
