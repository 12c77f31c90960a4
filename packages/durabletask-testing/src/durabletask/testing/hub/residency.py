"""Which instances and entities of a hub are in memory, and how the others get there.

``Residency`` is what a hub asks of its storage. In memory everything is resident, always. With a store, memory holds
the live instances; a finished one is fetched from the file when a command is about it, and leaves memory when everything
about it is on disk and no command needs it.

Entities likewise: one with messages or a lock is in memory, and so is one that an open critical section may come to
lock, because any command may pass the lock on to it. The others come and go.

States of a ``StoreResidency``::

    closed ──ready──> loading ──> open ──a commit fails──> failed ──ready──> loading ──> ...
                                   │
                                   └──close──> closed

* open: memory holds every live instance, and each finished one that a command has pinned or the journal still holds.
* failed: memory was ahead of the disk and has been thrown away. Calls that were under way end with the error; the next
  call loads again. ``_loads`` counts how often that happened: code that awaits compares it afterwards, because what it
  saw before may be gone.

A command may touch finished instances only between ``bring`` and ``release``, which pin them; a query holds back all
evictions while it merges file and memory. What must never happen: an instance that leaves memory before its last
change is on disk, since the next command would read its old state from the file.

Everything runs in the hub's event loop. When that is replaced, every call of the old one is gone, so the new loop
finishes the journal and starts from the file.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from durabletask.core.errors import StorageError, TransportError

from .answers import fail_instance
from .engine import Engine
from .entity_ids import is_entity_id
from .events import EventLog
from .journal import CommitLog, ImmediateCommits, Journal, Watch
from .order import Position
from .queries import Selection
from .state import HubState, Instance
from .storage.base import Found, HubStore

__all__ = ["InMemory", "MemoryResidency", "Residency", "Storage", "StoreResidency"]

T = TypeVar("T")
ItemT = TypeVar("ItemT")


class Residency(ABC):
    """The storage of one hub, as the hub uses it."""

    @property
    @abstractmethod
    def commits(self) -> CommitLog:
        """Where the engine puts its changes."""

    @abstractmethod
    def attach(self, engine: Engine) -> None:
        """Serve an engine; called once, before anything else."""

    @abstractmethod
    async def ready(self) -> None:
        """Make sure that the live instances are in memory, in the running event loop.

        Raises:
            StorageError: the storage cannot be read.
            OwnershipError: another process has it.
        """

    @abstractmethod
    def pin(self, instance_ids: Sequence[str], *, with_history: bool = False) -> bool:
        """``bring`` without waiting: whether that was possible, as it mostly is."""

    @abstractmethod
    async def bring(self, instance_ids: Sequence[str], *, with_history: bool = False) -> None:
        """Have these instances and entities in memory, as far as they exist, until ``release`` is called with the same ids.

        Raises:
            StorageError: one of them cannot be read; there is nothing to release.
        """

    @abstractmethod
    def release(self, instance_ids: Sequence[str]) -> None:
        """The command is over; the instances may leave memory."""

    @abstractmethod
    async def descendants(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Ids of instances, of their children, and so on, that a command about all of them must involve."""

    @abstractmethod
    async def select(
        self, selection: Selection[ItemT], start: Position | None, limit: int
    ) -> tuple[list[tuple[Position, ItemT]], bool]:
        """The first instances, or entities, after ``start``, at most ``limit``, and whether there may be more."""

    @abstractmethod
    async def history(self, instance: Instance) -> EventLog:
        """The history of an instance, from wherever it is."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the storage, once everything is written."""


class Storage(ABC):
    """Where a hub keeps its state: ``InMemory()`` or ``Sqlite(path)``.

    Attributes:
        max_finished_instances: how many finished instances the hub keeps; ``None``: all.
    """

    max_finished_instances: int | None = None

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """The storage as the endpoint of a connection string."""

    @abstractmethod
    def residency(self, task_hub: str) -> Residency:
        """How a hub of that name uses this storage."""


class InMemory(Storage):
    """Keeps the state in this process; it ends with it.

    Args:
        max_finished_instances: keep only so many finished instances, the latest; ``None`` keeps all.
    """

    def __init__(self, *, max_finished_instances: int | None = None) -> None:
        self.max_finished_instances = max_finished_instances

    @property
    def endpoint(self) -> str:
        return "memory://"

    def residency(self, task_hub: str) -> Residency:
        return MemoryResidency()


class MemoryResidency(Residency):
    """Everything is in memory."""

    def __init__(self) -> None:
        self._commits = ImmediateCommits()
        self._engine: Engine | None = None

    @property
    def commits(self) -> CommitLog:
        return self._commits

    def attach(self, engine: Engine) -> None:
        self._engine = engine

    async def ready(self) -> None:
        if self._engine is not None:
            self._engine.bind()

    def pin(self, instance_ids: Sequence[str], *, with_history: bool = False) -> bool:
        """They are there."""
        if self._engine is not None:
            self._engine.bind()
        return True

    async def bring(self, instance_ids: Sequence[str], *, with_history: bool = False) -> None:
        self.pin(instance_ids)

    def release(self, instance_ids: Sequence[str]) -> None:
        """They stay."""

    async def descendants(self, instance_ids: Sequence[str]) -> Sequence[str]:
        return instance_ids

    async def select(
        self, selection: Selection[ItemT], start: Position | None, limit: int
    ) -> tuple[list[tuple[Position, ItemT]], bool]:
        await self.ready()
        found = [] if self._engine is None else selection.find(self._engine.state, start, limit + 1)
        return found[:limit], len(found) > limit

    async def history(self, instance: Instance) -> EventLog:
        return instance.history

    async def close(self) -> None:
        """Keep the state: the hub may be used again."""


def _retrieve(done: asyncio.Task[object]) -> None:
    """Take the error of a task whose callers may all be gone, or asyncio reports it as never retrieved."""
    if not done.cancelled():
        done.exception()


def _answer(futures: Iterable[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in futures:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


def _key_of_idle(state: HubState, instance_id: str) -> int | None:
    """The key of an instance that has ended, or of an entity that nothing is to happen to."""
    instance, entity = state.instances.get(instance_id), state.entities.get(instance_id)
    if instance is not None and instance.is_terminal:
        return instance.key
    if entity is not None and entity.is_idle and not state.is_in_section(instance_id):
        return entity.key
    return None


class StoreResidency(Residency):
    """Ties an engine to its part of a store, which ``open_store`` opens."""

    def __init__(self, task_hub: str, open_store: Callable[[], Future[HubStore]]) -> None:
        self._task_hub = task_hub
        self._open_store = open_store
        self._journal = Journal(self._fail, self._settle)
        self._engine: Engine | None = None
        self._store: HubStore | None = None
        self._loading: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loads = 0
        self._pins: dict[str, int] = {}
        self._holds = 0
        self._wanted: dict[bool, dict[str, list[asyncio.Future[None]]]] = {False: {}, True: {}}
        self._unreadable: dict[str, StorageError] = {}
        self._refused: dict[str, TransportError] = {}

    @property
    def commits(self) -> CommitLog:
        return self._journal

    def attach(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The engine that is served."""
        if self._engine is None:
            raise StorageError(f"Task hub {self._task_hub!r} has no engine yet.")
        return self._engine

    # --- coming and going ------------------------------------------------------------------------------------

    async def ready(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if loop is not self._loop:
                self._change_loop(loop)
            if self._journal.is_open:
                return
            if self._loading is None:
                self._loading = loop.create_task(self._load())
                self._loading.add_done_callback(_retrieve)
            loading = self._loading
            try:
                await asyncio.shield(loading)
            finally:
                if loading.done() and self._loading is loading:
                    self._loading = None

    async def _load(self) -> None:
        if self._store is None:
            self._store = await self._read(self._open_store())
        loaded = await self._read(self._store.load())
        self.engine.reset()
        self.engine.state.keys = self._store.keys
        self._unreadable = loaded.unreadable
        self._loads += 1
        self._journal.open(self._store)
        self.engine.restore(loaded.instances, loaded.detached, loaded.entities, loaded.request_ids)
        refused, self._refused = self._refused, {}
        for instance_id, error in refused.items():
            fail_instance(self.engine, instance_id, error)

    def _change_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """The old loop is gone, with every call in it: write what is open, then begin anew from disk."""
        self.engine.bind()
        self._loop = loop
        self._loading = None
        if self._journal.is_open:
            try:
                self._journal.finish()
            except StorageError as error:
                self._fail(error, {})
            self._journal.close()
            self.engine.reset()
        self._pins.clear()
        self._wanted = {False: {}, True: {}}
        self._holds = self.engine.reads = 0

    def _fail(self, error: TransportError, refused: Mapping[str, TransportError]) -> None:
        """Memory is ahead of the disk: throw it away. The next call reads the disk."""
        self._refused.update(refused)
        self._journal.close()
        self.engine.stop(error)
        self.engine.reset()

    async def close(self) -> None:
        if self._loading is not None and asyncio.get_running_loop() is self._loop:
            await asyncio.wait([self._loading])  # or it would open the file after this
        if self._journal.is_open:
            if asyncio.get_running_loop() is self._loop:
                await self._journal.drain()
            else:
                self._journal.finish()
            self._journal.close()
        self.engine.reset()
        store, self._store = self._store, None
        if store is not None:
            await asyncio.wrap_future(store.close())

    async def _read(self, future: Future[T]) -> T:
        """Wait for the store; meanwhile virtual time stands still."""
        engine = self.engine
        engine.reads += 1
        engine.notify_clock()
        try:
            return await asyncio.wrap_future(future)
        finally:
            engine.reads = max(engine.reads - 1, 0)
            if self._loop is not None and self._loop.is_running():
                engine.notify_clock()

    # --- finished instances -----------------------------------------------------------------------------------

    def pin(self, instance_ids: Sequence[str], *, with_history: bool = False) -> bool:
        if not self._journal.is_open or asyncio.get_running_loop() is not self._loop:
            return False
        for instance_id in instance_ids:
            if instance_id in self._unreadable or self._is_missing(instance_id, with_history):
                return False
        self._pin(instance_ids)
        return True

    async def bring(self, instance_ids: Sequence[str], *, with_history: bool = False) -> None:
        while True:
            await self.ready()
            load = self._loads
            for instance_id in instance_ids:
                if instance_id in self._unreadable:
                    raise self._unreadable[instance_id]
            await self._fetch_missing(instance_ids, with_history)
            if self._journal.is_open and self._loads == load:
                return
            self.release(instance_ids)  # a commit failed in the meantime, and memory was thrown away

    def _pin(self, ids: Sequence[str]) -> None:
        for instance_id in ids:
            self._pins[instance_id] = self._pins.get(instance_id, 0) + 1

    async def _fetch_missing(self, ids: Sequence[str], with_history: bool) -> None:
        self._pin(ids)
        try:
            missing = [self._fetch(one, with_history) for one in ids if self._is_missing(one, with_history)]
            if len(missing) == 1:  # of a command about one instance
                await missing[0]
            else:
                await asyncio.gather(*missing)
        except BaseException:
            self.release(ids)
            raise

    def release(self, instance_ids: Sequence[str]) -> None:
        free: list[str] = []
        for instance_id in instance_ids:
            left = self._pins.get(instance_id, 1) - 1
            if left:
                self._pins[instance_id] = left
            else:
                self._pins.pop(instance_id, None)
                free.append(instance_id)
        if free:
            self._evict(free)

    def _is_missing(self, instance_id: str, with_history: bool) -> bool:
        if is_entity_id(instance_id):
            return instance_id not in self.engine.state.entities
        instance = self.engine.state.instances.get(instance_id)
        if instance is None:
            return True
        # A finished instance has a history; if it is empty, it was fetched without.
        return with_history and instance.is_terminal and not len(instance.history)

    def _fetch(self, instance_id: str, with_history: bool) -> asyncio.Future[None]:
        """Fetch one instance together with all others that are requested in this iteration of the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        wanted = self._wanted[with_history]
        if not wanted:
            loop.call_soon(self._fetch_all, with_history)
        wanted.setdefault(instance_id, []).append(future)
        return future

    def _fetch_all(self, with_history: bool) -> None:
        wanted, self._wanted[with_history] = self._wanted[with_history], {}
        # A task of its own: the caller that came first may be cancelled, and the others still need the answer.
        task = asyncio.get_running_loop().create_task(self._fetch_these(wanted, with_history))
        task.add_done_callback(_retrieve)

    async def _fetch_these(self, wanted: dict[str, list[asyncio.Future[None]]], with_history: bool) -> None:
        error: BaseException = StorageError(f"The store of task hub {self._task_hub!r} was closed.")
        found: Found | None = None
        try:
            if self._store is not None:
                with self._journal.watching() as removed:
                    found = await self._read(self._store.find(wanted, with_history=with_history))
                    self._admit_all(found, removed, with_history)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the callers must not wait for ever
            error, found = failure, None
        finally:
            for instance_id, futures in wanted.items():
                outcome = error if found is None else found.unreadable.get(instance_id)
                _answer(futures, outcome)

    def _admit_all(self, found: Found, removed: Watch, with_history: bool) -> None:
        for instance in found.instances.values():
            if not removed.has(instance.key):
                self._admit(instance, with_history)
        state = self.engine.state
        for entity in found.entities.values():
            if entity.entity_id not in state.entities and not removed.has(entity.key):
                state.put_entity(entity)

    def _admit(self, instance: Instance, with_history: bool) -> None:
        present = self.engine.state.instances.get(instance.instance_id)
        # Memory wins: a command may have changed the instance since the file was read. It may only lack its history.
        if present is not None:
            if with_history and present.key == instance.key and self._is_missing(instance.instance_id, True):
                present.history = instance.history
        elif instance.is_terminal:
            self.engine.state.put(instance)

    def _settle(self, instance_ids: Iterable[str]) -> None:
        """A group of commands is on disk, and what it promised is queued and answered."""
        self.engine.advance()
        self._evict(instance_ids)

    def _evict(self, instance_ids: Iterable[str]) -> None:
        journal, state = self._journal, self.engine.state
        if not journal.is_open or self._holds:
            return
        for instance_id in instance_ids:
            key = _key_of_idle(state, instance_id)
            if key is not None and instance_id not in self._pins and not journal.holds(key):
                state.evict(instance_id)

    async def descendants(self, instance_ids: Sequence[str]) -> Sequence[str]:
        known = dict.fromkeys(instance_ids)
        pending = list(known)
        while pending:
            await self.ready()
            if self._store is None:
                break
            found = await self._read(self._store.children(pending))
            for one in pending:
                found += self.engine.state.children_of(one)
            pending = [child for child in dict.fromkeys(found) if child not in known]
            known.update(dict.fromkeys(pending))
        return list(known)

    # --- queries ----------------------------------------------------------------------------------------------

    async def select(
        self, selection: Selection[ItemT], start: Position | None, limit: int
    ) -> tuple[list[tuple[Position, ItemT]], bool]:
        await self.ready()
        load = self._loads
        # Finished instances that are not on disk yet would be in neither of the two halves that are merged below.
        await self._journal.barrier()
        self._holds += 1
        try:
            stored, end = await self._select_stored(selection, start, limit)
            if not self._journal.is_open or self._loads != load:
                raise StorageError(
                    "A commit failed during the query, and the hub reads its store again; try again."
                )
            state = self.engine.state
            present = selection.find(state, start, limit + 1)  # one more shows that there is a further page
            both = [*(pair for pair in present if end is None or pair[0] <= end), *stored]
            found = sorted(both, key=lambda pair: pair[0])
            return found[:limit], end is not None or len(found) > limit
        finally:
            self._holds -= 1
            if not self._holds:
                self._evict([*self.engine.state.instances, *self.engine.state.entities])

    async def _select_stored(
        self, selection: Selection[ItemT], start: Position | None, limit: int
    ) -> tuple[Sequence[tuple[Position, ItemT]], Position | None]:
        """Finished instances from the file, and where the search stopped if there may be more behind."""
        found: list[tuple[Position, ItemT]] = []
        while self._store is not None:
            page, has_more = await self._read(self._store.select(selection, start, limit))
            present = selection.present(self.engine.state)
            # The copy in memory is the newer one, and ``selection.find`` has it.
            found += [pair for pair in page if pair[0].instance_id not in present]
            if not has_more:
                break
            start = page[-1][0]
            if found:
                return found, start
        return found, None

    async def history(self, instance: Instance) -> EventLog:
        if len(instance.history) or self._store is None:
            return instance.history
        events = await self._read(self._store.history(instance.key))
        return EventLog(events)
