"""What a hub with a store does beyond one in memory: loading, fetching finished instances, letting them go.

Memory holds the live instances. A finished one is fetched from the file when a command is about it, and is
let go when everything about it is on disk and no command needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TypeVar

from durabletask.core.errors import StorageError, TransportError
from durabletask.core.history import HistoryEvent

from .engine import Engine
from .journal import Journal
from .paging import Position
from .queries import OrderedIndex, Selection
from .state import Instance
from .store.base import HubStore, Store
from .store.codec import mark_stored

__all__ = ["Durability"]

T = TypeVar("T")


class Durability:
    """Ties an engine to its part of a store."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._hub: HubStore | None = None
        self._journal: Journal | None = None
        self._loading: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pins: dict[str, int] = {}
        self._holds = 0
        self._wanted: dict[bool, dict[str, list[asyncio.Future[None]]]] = {False: {}, True: {}}

    # --- coming and going ------------------------------------------------------------------------------------

    async def ready(self) -> Journal:
        """Make sure that the state is in memory, and return the way to the disk.

        Raises:
            StorageError: the store cannot be read.
            OwnershipError: another process has it.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._change_loop(loop)
        if self._journal is not None:
            return self._journal
        if self._loading is None:
            self._loading = loop.create_task(self._load())
        loading = self._loading
        try:
            await asyncio.shield(loading)
        finally:
            if loading.done() and self._loading is loading:
                self._loading = None
        return await self.ready()

    async def _load(self) -> None:
        if self._hub is None:
            self._hub = await self._read(self._store.open_hub(self._engine.task_hub))
        loaded = await self._read(self._hub.load())
        self._engine.reset(keys=self._hub.keys)
        self._engine.restore(loaded.instances, loaded.detached)
        self._journal = self._engine.journal = Journal(self._hub, self._fail, self._evict)

    def _change_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """The old loop is gone, and with it whoever waited: write what is open, then begin anew from disk."""
        self._engine.bind()
        self._loop = loop
        self._loading = None
        journal, self._journal = self._journal, None
        if journal is not None:
            try:
                journal.finish()
            except StorageError as error:
                self._fail(error)
            self._engine.reset()
        self._pins.clear()
        self._holds = self._engine.reads = 0

    def _fail(self, error: TransportError) -> None:
        """Memory is ahead of the disk: throw it away. The next call reads the disk."""
        self._journal = None
        self._engine.stop(error)
        self._engine.reset()

    async def close(self) -> None:
        """Write what is open and let go of the store."""
        journal, self._journal = self._journal, None
        if journal is not None and asyncio.get_running_loop() is self._loop:
            await journal.drain()
        elif journal is not None:
            journal.finish()
        self._engine.reset()
        hub, self._hub = self._hub, None
        if hub is not None:
            await asyncio.wrap_future(hub.close())

    async def _read(self, future: Future[T]) -> T:
        """Wait for the store; meanwhile virtual time stands still."""
        engine = self._engine
        engine.reads += 1
        engine.notify_clock()
        try:
            return await asyncio.wrap_future(future)
        finally:
            engine.reads = max(engine.reads - 1, 0)
            if self._loop is not None and self._loop.is_running():
                engine.notify_clock()

    # --- finished instances -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def involving(
        self, instance_ids: Sequence[str], *, with_history: bool = False
    ) -> AsyncIterator[Journal]:
        """Have finished instances in memory while the context is open."""
        while True:
            journal = await self.ready()
            await self._bring(instance_ids, with_history)
            if self._journal is journal:
                break
            self._release(instance_ids)  # a commit has failed meanwhile, memory was thrown away
        try:
            yield journal
        finally:
            self._release(instance_ids)

    async def _bring(self, ids: Sequence[str], with_history: bool) -> None:
        for instance_id in ids:
            self._pins[instance_id] = self._pins.get(instance_id, 0) + 1
        try:
            missing = [one for one in ids if self._is_missing(one, with_history)]
            if missing:
                await asyncio.gather(*(self._fetch(one, with_history) for one in missing))
        except BaseException:
            self._release(ids)
            raise

    def _release(self, instance_ids: Iterable[str]) -> None:
        for instance_id in instance_ids:
            left = self._pins.get(instance_id, 1) - 1
            if left:
                self._pins[instance_id] = left
                continue
            self._pins.pop(instance_id, None)
            instance = self._engine.state.instances.get(instance_id)
            if instance is not None:
                self._evict([instance])

    def _is_missing(self, instance_id: str, with_history: bool) -> bool:
        instance = self._engine.state.instances.get(instance_id)
        if instance is None:
            return True
        # A guest without its history: it has ended, so it cannot have none.
        return with_history and instance.is_terminal and not instance.history

    async def _fetch(self, instance_id: str, with_history: bool) -> None:
        """Fetch one instance together with all others that are asked for in this turn of the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        wanted = self._wanted[with_history]
        if not wanted:
            loop.call_soon(self._fetch_all, with_history)
        wanted.setdefault(instance_id, []).append(future)
        await future

    def _fetch_all(self, with_history: bool) -> None:
        wanted, self._wanted[with_history] = self._wanted[with_history], {}
        task = asyncio.get_running_loop().create_task(self._fetch_these(wanted, with_history))
        task.add_done_callback(lambda done: None if done.cancelled() else done.exception())

    async def _fetch_these(self, wanted: dict[str, list[asyncio.Future[None]]], with_history: bool) -> None:
        futures = [future for waiting in wanted.values() for future in waiting if not future.done()]
        try:
            hub = self._hub
            if hub is None:
                raise StorageError(f"The store of task hub {self._engine.task_hub!r} was closed.")
            found = await self._read(hub.find(wanted, with_history=with_history))
        except TransportError as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for instance in found.values():
            self._admit(instance, with_history)
        for future in futures:
            if not future.done():
                future.set_result(None)

    def _admit(self, instance: Instance, with_history: bool) -> None:
        instances = self._engine.state.instances
        present = instances.get(instance.instance_id)
        if present is not None:  # it came meanwhile; only its history may be wanting
            if with_history and present.key == instance.key and not present.history and present.is_terminal:
                present.history = instance.history
                present.stored.events = len(present.history)
            return
        if not instance.is_terminal:
            return
        mark_stored(instance, inbox_base=0)
        instances[instance.instance_id] = instance
        self._invalidate()

    def _evict(self, candidates: Iterable[Instance]) -> None:
        journal, instances = self._journal, self._engine.state.instances
        if journal is None or self._holds:
            return
        for instance in candidates:
            if (
                instance.is_terminal
                and instance.instance_id not in self._pins
                and instances.get(instance.instance_id) is instance
                and not journal.holds(instance)
            ):
                del instances[instance.instance_id]
                self._invalidate()

    def _invalidate(self) -> None:
        self._engine.by_creation.invalidate()
        self._engine.by_completion.invalidate()

    # --- queries ----------------------------------------------------------------------------------------------

    async def select(
        self, selection: Selection, index: OrderedIndex, start: Position | None, limit: int
    ) -> list[tuple[Position, Instance]]:
        """The first instances after ``start``, from memory and file."""
        journal = await self.ready()
        await journal.barrier()
        self._holds += 1
        try:
            stored = await self._select_stored(selection, start, limit)
            if self._journal is not journal:
                raise StorageError(
                    "A commit failed during the query, and the hub reads its store again; try again."
                )
            present = index.select(self._engine.state.instances, selection, start, limit)
            instances = self._engine.state.instances
            both = [*present, *(pair for pair in stored if pair[1].instance_id not in instances)]
            return sorted(both, key=lambda pair: pair[0])[:limit]
        finally:
            self._holds -= 1
            if not self._holds:
                self._evict(list(self._engine.state.instances.values()))

    async def _select_stored(
        self, selection: Selection, start: Position | None, limit: int
    ) -> Sequence[tuple[Position, Instance]]:
        found: list[tuple[Position, Instance]] = []
        while self._hub is not None:
            page = await self._read(self._hub.select(selection, start, limit))
            instances = self._engine.state.instances
            found += [pair for pair in page if pair[1].instance_id not in instances]
            if len(page) < limit or len(found) >= limit:
                break
            start = page[-1][0]
        return found

    async def history(self, instance: Instance) -> list[HistoryEvent]:
        """The history of an instance, from wherever it is."""
        if instance.history or self._hub is None:
            return instance.history
        return await self._read(self._hub.history(instance.key))
