"""The loop that reads work items from a transport and starts their handlers.

    connecting ──> streaming ──the stream ends──> connecting (at once, or after a back-off)
         │              │
         └──────────────┴──drain, abort──> draining: items in flight go on, new ones are left to the hub

One stream of work items is open at a time (protocol section 4.2). Each item runs in a task of its own, in the lane of
its kind, which has a limit. Items keep running while the stream is being reopened; their results go through the
transport, whichever connection it has by then.

The back-off has full jitter, so that the workers of a hub that restarts do not return all at once. It begins anew, and a
stream that brought work is reopened at once, only when the stream has lasted for a while: a hub that ends every stream
after its first item must not be called hundreds of times a second.

The worker calls ``serve`` in one task and ends it by cancellation, after ``drain`` or ``abort``. What must never
happen: an error of a transport or of one item that ends ``serve``, because the worker would stay idle without a sign.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
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
from .handlers import Handler
from .limits import Lane

__all__ = ["WorkItemLoop"]


class WorkItemLoop:
    """The loop of one worker.

    Args:
        transport: source of the work items.
        options: sent when a stream is opened; the limits are enforced here, too.
        handlers: by type of work item.
        backoff: waits between attempts to connect.
        logger: logs attempts to connect.

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
        now = self._backoff.now
        while True:
            opened_at = now()
            brought_work, reason = await self._serve_stream()
            lasted = now() - opened_at
            # An idle stream has to last longer before it counts as a success: a proxy may accept every connection
            # and cut it after some seconds although there is no hub behind it.
            if lasted >= (self._backoff.first if brought_work else self._backoff.longest):
                self.failures = 0  # the hub was there; an idle stream of that age is no failure either
                if brought_work:
                    continue
            delay = self._backoff.delay(self.failures)
            self.failures += 1
            self._logger.warning(
                "%s from task hub %r at %s: %s Trying again in %.1f s (attempt %d failed).",
                f"A stream of work ended after {lasted:.1f} s" if brought_work else "No work",
                self._transport.task_hub,
                self._transport.endpoint,
                reason,
                delay,
                self.failures,
            )
            await self._backoff.wait(delay)

    async def _serve_stream(self) -> tuple[bool, str]:
        """Serve one stream to its end; return whether it brought anything, and why it ended."""
        brought_work = False
        reason = "the hub ended the stream."
        try:
            await self._transport.connect()
            stream = self._transport.work_items(self._options)
            try:
                async for item in stream:
                    if not brought_work:
                        brought_work = True
                        self.connects += 1
                    if not self._is_draining:  # otherwise the hub takes it back when the stream is closed
                        self._dispatch(item)
            finally:
                with suppress(TransportError):
                    await stream.aclose()
        except TransportError as error:
            reason = str(error)
        except Exception as error:  # a transport with a bug must not end the worker
            reason = f"unexpected {type(error).__qualname__}: {error}."
            self._logger.exception("The transport of task hub %r failed.", self._transport.task_hub)
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
        """How many items are in flight."""
        return sum(len(lane.running) for lane in self._lanes.values())

    async def drain(self, timeout: float) -> bool:
        """Take no more items and wait for those in flight; return whether all ended within ``timeout`` seconds."""
        tasks = self._take_no_more()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        return self.running == 0

    async def abort(self, timeout: float) -> None:
        """Cancel the items in flight; their handlers abandon them."""
        tasks = self._take_no_more()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def _take_no_more(self) -> set[asyncio.Task[None]]:
        """Stop taking items and drop those that wait in a lane; return the tasks of those in flight."""
        self._is_draining = True
        tasks: set[asyncio.Task[None]] = set()
        for lane in self._lanes.values():
            lane.waiting.clear()
            tasks |= lane.running
        return tasks
