"""Group commit: what commands have changed is collected, written together, and only then answered.

    prepare ──> add ──> collecting ──> writing ──> after (the effects that were promised)
                            │             │
                            └── failed <──┴── the storage cannot be written

* ``prepare`` encodes the changes of one command while the hub is still as it was. What cannot be encoded ends that
  command there.
* While one group is being written, further commands collect in the next. A command whose only effect is an episode
  that a worker takes at once may wait for ``commit_delay``: the answer of that episode then shares its commit.
* When a group fails, its commands are written again one by one, and only those that fail by themselves are refused.
  When the first of them fails as well, the disk is at fault: everything fails.
* After any failure memory is ahead of the disk. ``on_failure`` must throw it away, and the journal is at its end;
  every later ``barrier`` raises the error. ``on_failure`` also gets the instances whose episodes the store refuses, with
  the errors: their workers would repeat them for ever, so they must be failed.
* Commands that were collected behind a refused one were decided on a state that never came to be. They get a
  ``SupersededError`` and are run again on what the store has.

Nothing may be answered, and no activity delivered, between ``add`` and ``after``. All methods run in the event loop
of the hub; only ``_report`` runs on the storage's thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from durabletask.core.errors import StorageError, TransportError

from .effects import Transition
from .storage.base import Commit, HubStore
from .storage.codec import encode_commit

__all__ = ["COMMIT_DELAY", "CommitLog", "ImmediateCommits", "Journal", "SupersededError", "Watch"]

COMMIT_DELAY = 0.002
"""Seconds that a change without an urgent effect waits for others to share its commit."""


class SupersededError(StorageError):
    """Nothing is wrong with the command, but an earlier one could not be stored. It may be run again at once."""


class CommitLog(ABC):
    """The way of a hub's changes to its storage."""

    @property
    @abstractmethod
    def is_busy(self) -> bool:
        """Whether something is not yet on disk."""

    @property
    @abstractmethod
    def must_wait(self) -> bool:
        """Whether there is anything that ``barrier`` would wait for, or raise."""

    @abstractmethod
    def prepare(self, tx: Transition) -> Commit | None:
        """Encode the changes of a command; ``None`` if nothing is to be written.

        Raises:
            StorageError: they cannot be encoded.
        """

    @abstractmethod
    def add(self, commit: Commit, after: Callable[[], None], *, is_urgent: bool) -> None:
        """Take over the changes of a command. ``after`` runs when they are on disk."""

    @abstractmethod
    async def barrier(self, *, own: bool = False) -> None:
        """Wait until everything that was added is on disk, or with ``own`` what was added last.

        Raises:
            StorageError: it could not be written; nothing of it happened.
        """

    @abstractmethod
    def holds(self, key: int) -> bool:
        """Whether something of an instance or an entity is not yet on disk."""


class ImmediateCommits(CommitLog):
    """Changes of a hub in memory: what is done is committed."""

    @property
    def is_busy(self) -> bool:
        return False

    @property
    def must_wait(self) -> bool:
        return False

    def prepare(self, tx: Transition) -> None:
        """Nothing is to be written."""

    def add(self, commit: Commit, after: Callable[[], None], *, is_urgent: bool) -> None:
        after()

    async def barrier(self, *, own: bool = False) -> None:
        """Return."""

    def holds(self, key: int) -> bool:
        return False


class _Entry:
    """The changes of one command, and what happens after their commit."""

    __slots__ = ("after", "commit")

    def __init__(self, commit: Commit, after: Callable[[], None]) -> None:
        self.commit = commit
        self.after = after


class _Group:
    """Commands that share a commit."""

    __slots__ = ("entries", "keys", "waiting")

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.keys: dict[int, str] = {}
        self.waiting: list[tuple[asyncio.Future[None], int | None]] = []

    def add(self, entry: _Entry) -> None:
        self.entries.append(entry)
        self.keys.update(entry.commit.ids())


class Watch:
    """Collects the numbers of the instances and entities that are removed while a read of the storage is in flight."""

    __slots__ = ("_has_all", "_keys")

    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._has_all = False

    def add(self, commit: Commit) -> None:
        """A command has removed something."""
        self._keys.update(commit.removed)
        self._has_all |= commit.clears_hub

    def has(self, key: int) -> bool:
        """Whether what the read may have found is gone."""
        return self._has_all or key in self._keys


class Journal(CommitLog):
    """The way from one hub's memory to its store.

    Args:
        on_failure: throws memory away.
        on_commit: gets the ids of the instances and entities that are as the store has them.
    """

    def __init__(
        self,
        on_failure: Callable[[TransportError, dict[str, TransportError]], None],
        on_commit: Callable[[list[str]], None],
    ) -> None:
        self.store: HubStore | None = None
        self._on_failure = on_failure
        self._on_commit = on_commit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._collecting: _Group | None = None
        self._writing: _Group | None = None
        self._in_flight: Future[list[Exception | None]] | None = None
        self._is_urgent = False
        self._watches: list[Watch] = []
        self._failure: TransportError | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def open(self, store: HubStore) -> None:
        """Begin, or begin again after a failure, in the running event loop."""
        self.store, self._loop, self._failure = store, asyncio.get_running_loop(), None
        self._collecting = self._writing = self._in_flight = self._alarm = None
        self._is_urgent = False

    @property
    def is_open(self) -> bool:
        """Whether changes can be added."""
        return self.store is not None and self._failure is None

    @property
    def is_busy(self) -> bool:
        return self._collecting is not None or self._writing is not None

    @property
    def must_wait(self) -> bool:
        return self.is_busy or self._failure is not None

    def prepare(self, tx: Transition) -> Commit | None:
        return encode_commit(tx)

    def add(self, commit: Commit, after: Callable[[], None], *, is_urgent: bool) -> None:
        for watch in self._watches:
            watch.add(commit)
        if self._collecting is None:
            self._collecting = _Group()
        self._collecting.add(_Entry(commit, after))
        if is_urgent:
            self._is_urgent = True
            if self._writing is None:
                self._flush()
        elif self._alarm is None and not self._is_urgent:
            self._set_alarm()

    async def barrier(self, *, own: bool = False) -> None:
        if self._failure is not None:
            raise self._failure
        group = self._collecting or self._writing
        if group is not None:
            # Each caller has a future of its own, so that a cancelled one affects no other.
            done = asyncio.get_running_loop().create_future()
            group.waiting.append((done, len(group.entries) - 1 if own else None))
            await done

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Collect what is removed while the body reads the storage, and what is not yet removed there."""
        watch = Watch()
        for group in (self._writing, self._collecting):
            for entry in () if group is None else group.entries:
                watch.add(entry.commit)
        self._watches.append(watch)
        try:
            yield watch
        finally:
            self._watches.remove(watch)

    def holds(self, key: int) -> bool:
        return any(group is not None and key in group.keys for group in (self._collecting, self._writing))

    def _set_alarm(self) -> None:
        """See to it that the present group does not wait for long.

        The alarm stays when its group is written early, and is set again if it then finds another group: a timer for
        each group would cost more than most groups.
        """
        if self._loop is not None:
            self._alarm = self._loop.call_later(COMMIT_DELAY, self._ring, self._collecting)

    def _ring(self, group: _Group | None) -> None:
        self._alarm = None
        if self._collecting is None or self._is_urgent:
            return
        if self._collecting is group:
            self._hurry()
        else:
            self._set_alarm()

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _hurry(self) -> None:
        self._is_urgent = True
        if self._writing is None:
            self._flush()

    def _flush(self) -> None:
        group = self._collecting
        if group is None or self.store is None:
            return
        self._collecting, self._writing, self._is_urgent = None, group, False
        try:
            self._in_flight = self.store.commit([entry.commit for entry in group.entries])
        except TransportError as error:
            self._fail(error, {})
            return
        self._in_flight.add_done_callback(self._report)

    def _report(self, done: Future[list[Exception | None]]) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._settle, done)
        except RuntimeError:  # the loop was closed meanwhile; ``finish`` looks at the result
            return

    def _settle(self, done: Future[list[Exception | None]]) -> None:
        group = self._writing
        if group is None or done is not self._in_flight:
            return
        error = done.exception()
        if error is not None:
            self._fail(_as_transport_error(error), {})
            return
        outcomes = done.result()
        if any(outcomes):
            self._refuse(group, outcomes)
            return
        self._writing = self._in_flight = None
        if self._is_urgent:
            self._flush()
        _resolve(group.waiting, None)
        for entry in group.entries:
            entry.after()
        self._on_commit(list(group.keys.values()))

    def _refuse(self, group: _Group, outcomes: list[Exception | None]) -> None:
        """Some commands of a group cannot be stored. The others are, and are answered."""
        refused: dict[str, TransportError] = {}
        superseded = SupersededError(
            "An earlier change could not be stored, and the hub reads its store again; try again."
        )
        for entry, outcome in zip(group.entries, outcomes, strict=True):
            if outcome is None:
                entry.after()
            else:
                error = _as_transport_error(outcome)
                refused |= {change.instance_id: error for change in entry.commit.instances if change.runs}
        for done, own in group.waiting:
            outcome = superseded if own is None else outcomes[own]
            _resolve([(done, own)], None if outcome is None else _as_transport_error(outcome))
        group.waiting.clear()
        self._fail(superseded, refused)

    def _fail(self, error: TransportError, refused: dict[str, TransportError]) -> None:
        """Nothing that is not on disk happened, and this journal is at its end."""
        self._failure = error
        groups = [group for group in (self._writing, self._collecting) if group is not None]
        self._writing = self._collecting = self._in_flight = None
        self._cancel_alarm()
        for group in groups:
            _resolve(group.waiting, error)
        self._on_failure(error, refused)

    async def drain(self) -> None:
        """Write everything that was added."""
        while self.is_busy:
            self._hurry()
            await self.barrier()

    def finish(self) -> None:
        """Write everything that was added, waiting for the disk: the event loop of the hub is gone.

        Raises:
            StorageError: it could not be written.
        """
        self._await_flight()
        self._alarm = None
        self._flush()
        self._await_flight()

    def close(self) -> None:
        """Take no more changes. What was added must have been written."""
        self.store = None
        self._cancel_alarm()

    def _await_flight(self) -> None:
        if self._in_flight is not None:
            for outcome in self._in_flight.result():
                if outcome is not None:
                    raise outcome
            self._writing = self._in_flight = None


def _as_transport_error(error: BaseException) -> TransportError:
    return error if isinstance(error, TransportError) else StorageError(f"Commit failed: {error!r}")


def _resolve(waiting: list[tuple[asyncio.Future[None], int | None]], error: Exception | None) -> None:
    for future, _ in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
