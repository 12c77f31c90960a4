"""Streams of work that outlive their token: the next stream is opened before the hub could end the present one.

A call keeps the token that it was opened with (protocol section 1.3), so before that token expires a second stream is
opened with a newer one. A stream is in one of three states:

* current: its items are passed on, and its end is the end of the relay;
* retired: a newer one is current. Its items are still passed on, and it stays open until everything that arrived on it
  has been completed or abandoned: closing it earlier would make the hub deliver running work to another worker. Its
  end, by the hub too, is not a failure;
* closed.

Each stream is read by a task of its own into one queue that holds a single item, so that an item which the worker does
not ask for stays with the hub. All methods run on the event loop of the worker. An item must be noted as in flight
before it is passed on: its completion may arrive before the next line of the task runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from durabletask.core.errors import TransportError
from durabletask.core.logs import get_logger

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken
    from durabletask.core.work_items import WorkItem

    from .calls import Caller

__all__ = ["StreamRelay"]

_LOGGER = get_logger("durabletask.grpc")
_LEAD: Final = 300.0  # seconds before the end of a token; sources give a newer one from ten minutes before
_SHORTEST_WAIT: Final = 1.0
_RETRY: Final = 30.0


@dataclass(eq=False)
class _Stream:
    task: asyncio.Task[None] | None = None
    outstanding: set[str] = field(default_factory=set)
    is_retired: bool = False


@dataclass(frozen=True)
class _End:
    stream: _Stream
    error: Exception | None


class StreamRelay:
    """Passes on the items of one stream of work after the other.

    Args:
        caller: whose tokens are used.
        open_stream: opens a stream with a token.
        now: the present time in seconds since 1970.
    """

    def __init__(
        self,
        caller: Caller,
        open_stream: Callable[[AccessToken], AsyncGenerator[WorkItem, None]],
        *,
        now: Callable[[], float] = lambda: datetime.now(timezone.utc).timestamp(),
    ) -> None:
        self._caller = caller
        self._open_stream = open_stream
        self._now = now
        self._items: asyncio.Queue[WorkItem | _End] = asyncio.Queue(maxsize=1)
        self._streams: set[_Stream] = set()
        self._current = _Stream()

    async def items(self) -> AsyncGenerator[WorkItem, None]:
        """The items, until the newest stream ends.

        Raises:
            TransportError: it ended by a failure, or there is no token.
        """
        token = await self._token()
        self._start(token)
        renewal = asyncio.get_running_loop().create_task(self._renew(token))
        try:
            while True:
                item = await self._items.get()
                if not isinstance(item, _End):
                    yield item
                elif item.stream is self._current:
                    if item.error is not None:
                        raise item.error
                    return
        finally:
            tasks = [renewal, *(stream.task for stream in self._streams if stream.task is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def settled(self, completion_token: str) -> None:
        """An item was completed or abandoned; a retired stream may have waited for it."""
        for stream in tuple(self._streams):
            stream.outstanding.discard(completion_token)
            _close_if_idle(stream)

    async def _token(self) -> AccessToken:
        token = await self._caller.token()
        assert token is not None  # noqa: S101 - streams are relayed only where there is a credential
        return token

    def _start(self, token: AccessToken) -> None:
        stream = _Stream()
        previous, self._current = self._current, stream
        self._streams.add(stream)
        stream.task = asyncio.get_running_loop().create_task(self._pump(stream, token))
        previous.is_retired = True
        _close_if_idle(previous)

    async def _pump(self, stream: _Stream, token: AccessToken) -> None:
        error: Exception | None = None
        try:
            async with aclosing(self._open_stream(token)) as items:
                async for item in items:
                    stream.outstanding.add(item.completion_token)
                    await self._items.put(item)
        except Exception as raised:  # noqa: BLE001 - raised by `items`, unless the stream is retired
            error = raised
        finally:
            self._streams.discard(stream)
        await self._items.put(_End(stream, error))

    async def _renew(self, token: AccessToken) -> None:
        while True:
            remaining = token.expires_at.timestamp() - self._now()
            if remaining > 0:
                await asyncio.sleep(max(remaining - min(_LEAD, remaining / 2), _SHORTEST_WAIT))
            else:  # there is no newer token, or this machine's clock is wrong; the hub decides
                await asyncio.sleep(_RETRY)
            try:
                newer = await self._token()
            except TransportError as error:
                _LOGGER.warning("The stream of work could not be renewed: %s", error)
                continue
            if newer.value != token.value:
                token = newer
                self._start(token)


def _close_if_idle(stream: _Stream) -> None:
    if stream.is_retired and not stream.outstanding and stream.task is not None:
        stream.task.cancel()
