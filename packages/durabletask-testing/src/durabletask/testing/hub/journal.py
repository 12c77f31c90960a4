"""Group commit: what commands have changed is collected, written together, and only then answered.

While one commit is on its way to the disk, the changes of further commands are collected for the next. A
command whose only effect is an episode that a worker takes at once need not hurry: it waits a moment for
the answer of that episode, so that event and turn share one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

import msgspec
from durabletask.core.errors import StorageError, TransportError

from .effects import Transition
from .state import Activity, Instance
from .store.base import Changes, HubStore
from .store.codec import take_change

__all__ = ["Journal"]

_PATIENCE = 0.002  # seconds that an unhurried change waits for company


class _Batch:
    """Changes that share a commit, and what happens after it."""

    __slots__ = ("after", "attended", "changed", "clears_hub", "detached", "removed", "waiting")

    def __init__(self) -> None:
        self.changed: dict[Instance, None] = {}
        self.removed: list[int] = []
        self.detached: list[Activity] = []
        self.attended: list[int] = []
        self.clears_hub = False
        self.after: list[Callable[[], None]] = []
        self.waiting: list[asyncio.Future[None]] = []


class Journal:
    """The way from one hub's memory to its store.

    ``on_failure`` is told when a commit fails: memory is then ahead of the disk and must be thrown away.
    ``on_commit`` is told which instances are as the store has them.
    """

    def __init__(
        self,
        store: HubStore,
        on_failure: Callable[[TransportError], None],
        on_commit: Callable[[list[Instance]], None],
    ) -> None:
        self.store: HubStore = store
        self._on_failure = on_failure
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._collecting: _Batch | None = None
        self._writing: _Batch | None = None
        self._in_flight: Future[None] | None = None
        self._is_urgent = False
        self._failure: TransportError | None = None
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is not yet on disk."""
        return self._collecting is not None or self._writing is not None

    def add(self, tx: Transition, after: Callable[[], None], *, urgent: bool) -> None:
        """Take over the changes of a command. ``after`` runs when they are on disk."""
        batch = self._collecting
        if batch is None:
            batch = self._collecting = _Batch()
        if tx.clears_hub:
            batch.clears_hub = True
            batch.changed.clear()
            batch.detached.clear()
        for instance, _ in tx.removed:
            batch.changed.pop(instance, None)
            if instance.stored.row:
                batch.removed.append(instance.key)
        batch.changed.update(tx.changed)
        batch.detached += tx.detached
        batch.attended += [activity.detached_key for activity in tx.attended]
        batch.after.append(after)
        if urgent:
            self._is_urgent = True
            if self._writing is None:
                self._flush()
        elif self._alarm is None and not self._is_urgent:
            self._alarm = self._loop.call_later(_PATIENCE, self._hurry)

    async def barrier(self) -> None:
        """Wait until everything that was added is on disk.

        Raises:
            StorageError: it could not be written; nothing of it happened.
        """
        if self._failure is not None:
            raise self._failure
        batch = self._collecting or self._writing
        if batch is not None:
            # A future for each who waits: one that is cancelled takes nobody with it.
            done = self._loop.create_future()
            batch.waiting.append(done)
            await done

    def holds(self, instance: Instance) -> bool:
        """Whether something of the instance is not yet on disk."""
        return any(
            batch is not None and instance in batch.changed for batch in (self._collecting, self._writing)
        )

    def _hurry(self) -> None:
        self._alarm = None
        self._is_urgent = True
        if self._writing is None:
            self._flush()

    def _flush(self) -> None:
        batch = self._collecting
        if batch is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._collecting, self._writing, self._is_urgent = None, batch, False
        try:
            instances = [take_change(instance) for instance in batch.changed]
        except (UnicodeEncodeError, msgspec.MsgspecError) as error:  # text that cannot be written
            self.fail(StorageError(f"A change could not be encoded: {error}. Nothing was acknowledged."))
            return
        self._in_flight = self.store.commit(
            Changes(instances, batch.removed, batch.detached, batch.attended, batch.clears_hub)
        )
        self._in_flight.add_done_callback(self._report)

    def _report(self, done: Future[None]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, done)
        except RuntimeError:  # the loop was closed meanwhile; ``finish`` looks at the result
            return

    def _settle(self, done: Future[None]) -> None:
        batch = self._writing
        if batch is None or done is not self._in_flight:
            return
        error = done.exception()
        if error is not None:
            self.fail(
                error if isinstance(error, TransportError) else StorageError(f"Commit failed: {error!r}")
            )
            return
        self._writing = self._in_flight = None
        if self._is_urgent:
            self._flush()
        _resolve(batch.waiting, None)
        for action in batch.after:
            action()
        self._on_commit(list(batch.changed))

    def fail(self, error: TransportError) -> None:
        """Nothing that is not on disk happened, and this journal is at its end."""
        self._failure = error
        batches = [batch for batch in (self._writing, self._collecting) if batch is not None]
        self._writing = self._collecting = self._in_flight = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for batch in batches:
            _resolve(batch.waiting, error)
        self._on_failure(error)

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

    def _await_flight(self) -> None:
        if self._in_flight is not None:
            self._in_flight.result()
            self._writing = self._in_flight = None


def _resolve(waiting: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
