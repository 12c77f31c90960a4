"""Fetch, dispatch, complete: the loop between a transport and the executors.

One stream of work is open at a time. Items run in tasks of their own, each kind in a lane with a limit, and
go on while the stream is being reopened; their answers are sent by whatever connection the transport has.
A stream that ends is reopened (protocol section 4.2): at once after one that brought work, otherwise after
a back-off with full jitter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress

from durabletask.core.errors import TransportError
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityWorkItem,
    EntityWorkItem,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

from .backoff import Backoff
from .limits import Lane

__all__ = ["Handler", "WorkItemLoop", "give_back"]

Handler = Callable[[object], Coroutine[object, object, None]]
"""Runs one work item to its end, errors included."""


class WorkItemLoop:
    """The work of one worker.

    Args:
        transport: where work comes from.
        options: what is said when a stream is opened; its limits also hold here.
        handlers: what to do with each kind of item.
        backoff: waits between attempts to connect.
        logger: where attempts are told.

    Attributes:
        connects: how many streams were opened and brought something.
        failures: failed attempts to connect since the last success.
    """

    def __init__(
        self,
        transport: Transport,
        options: WorkItemStreamOptions,
        handlers: Mapping[type, Handler],
        *,
        backoff: Backoff,
        logger: logging.Logger,
    ) -> None:
        self._transport = transport
        self._options = options
        self._backoff = backoff
        self._logger = logger
        limits: dict[type, int] = {
            OrchestratorWorkItem: options.max_orchestrations,
            ActivityWorkItem: options.max_activities,
            EntityWorkItem: options.max_entities,
        }
        self._lanes = {kind: Lane(limits.get(kind, 0), handle) for kind, handle in handlers.items()}
        self._is_draining = False
        self.connects: int = 0
        self.failures: int = 0

    async def serve(self) -> None:
        """Serve until cancelled."""
        while True:
            brought_work, reason = await self._serve_stream()
            if brought_work:
                continue
            delay = self._backoff.delay(self.failures)
            self.failures += 1
            self._logger.warning(
                "No work from task hub %r at %s: %s Trying again in %.1f s (attempt %d failed).",
                self._transport.task_hub,
                self._transport.endpoint,
                reason,
                delay,
                self.failures,
            )
            await self._backoff.wait(delay)

    async def _serve_stream(self) -> tuple[bool, str]:
        """Serve one stream to its end: whether it brought anything, and why it ended."""
        brought_work = False
        reason = "the hub ended the stream."
        now = asyncio.get_running_loop().time
        opened_at = now()
        try:
            await self._transport.connect()
            stream = self._transport.work_items(self._options)
            try:
                async for item in stream:
                    if not brought_work:
                        brought_work = True
                        self.connects += 1
                        self.failures = 0
                    if not self._is_draining:  # else the hub takes it back when the stream is closed
                        self._dispatch(item)
            finally:
                with suppress(TransportError):
                    await stream.aclose()
        except TransportError as error:
            reason = str(error)
        except Exception as error:  # a transport that breaks its promise must not end the worker
            reason = f"unexpected {type(error).__qualname__}: {error}."
            self._logger.exception("The transport of task hub %r failed.", self._transport.task_hub)
        if not brought_work and now() - opened_at > self._backoff.longest:
            self.failures = 0  # a quiet stream that lived long is no sign of a hub that is down
        if brought_work:
            self._logger.info(
                "The stream of work from task hub %r at %s ended: %s Reconnecting.",
                self._transport.task_hub,
                self._transport.endpoint,
                reason,
            )
        return brought_work, reason

    def _dispatch(self, item: WorkItem) -> None:
        lane = self._lanes.get(type(item))
        if lane is None:
            self._logger.error("A work item of kind %s was not expected; it is left to the hub.", type(item))
        else:
            lane.submit(item)

    @property
    def running(self) -> int:
        """How many items are in progress."""
        return sum(len(lane.running) for lane in self._lanes.values())

    async def drain(self, timeout: float) -> bool:
        """Take no more items and wait for those in progress; whether all ended within ``timeout`` seconds."""
        self._is_draining = True
        tasks = self._begin_end()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        return self.running == 0

    async def abort(self, timeout: float) -> None:
        """Cancel what is in progress; the handlers give their items back."""
        self._is_draining = True
        tasks = self._begin_end()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def _begin_end(self) -> set[asyncio.Task[None]]:
        tasks: set[asyncio.Task[None]] = set()
        for lane in self._lanes.values():
            lane.waiting.clear()
            tasks |= lane.running
        return tasks


async def give_back(abandon: Callable[[], Awaitable[None]], logger: logging.Logger, subject: str) -> None:
    """Abandon an item; when that fails, the hub takes it back by itself at the end of the stream."""
    try:
        await abandon()
    except TransportError as error:
        logger.info("Could not give back %s: %s", subject, error)
