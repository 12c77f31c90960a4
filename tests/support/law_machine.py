"""The base of laws over random programs: a hub, a clock that stands, and one worker that takes items and holds them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from durabletask.core.instances import InstanceQuery
from durabletask.core.work_items import WorkItem, WorkItemStreamOptions
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock
from hypothesis.stateful import RuleBasedStateMachine, rule

T = TypeVar("T")


class LawMachine(RuleBasedStateMachine):
    """Subclasses add the rules of clients, the answers of the worker, and what must hold.

    Attributes:
        durable: whether the hub is on a SQLite file.
        held: items that the worker has taken and not answered.
    """

    durable = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = VirtualClock(auto_advance=False)
        self.hub = self._open()
        self.stream = self.hub.work_items(WorkItemStreamOptions())
        self.reading: asyncio.Task[WorkItem] | None = None
        self.held: list[WorkItem] = []

    def _open(self) -> InMemoryBackend:
        store = SqliteStore(self.folder / "hub.db", "NORMAL") if self.durable else None
        return InMemoryBackend(clock=self.clock, store=store)

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 50))

    async def _settle(self) -> None:
        if self.durable:
            await self.hub.query_instances(InstanceQuery(page_size=1))  # waits for what is being written
        for _ in range(10):
            await asyncio.sleep(0)

    @rule()
    def take(self) -> None:
        self.run(self._take())

    async def _take(self) -> None:
        if self.reading is None:
            self.reading = asyncio.ensure_future(self.stream.__anext__())
        await self._settle()
        if self.reading.done():
            item = self.reading.result()
            self.reading = None
            await self._check_item(item)
            self.held.append(item)

    async def _check_item(self, item: WorkItem) -> None:
        """What must hold for every item that is delivered."""

    @rule()
    def hang_up(self) -> None:
        self.run(self._hang_up())

    async def _hang_up(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
            self.reading = None
        await self.stream.aclose()
        self.stream = self.hub.work_items(WorkItemStreamOptions())

    async def _reopen(self) -> None:
        await self._hang_up()
        await self.hub.close()
        self.hub = self._open()
        self.stream = self.hub.work_items(WorkItemStreamOptions())

    def _close(self) -> None:
        self.run(self.hub.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)
