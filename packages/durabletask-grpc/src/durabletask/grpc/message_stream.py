"""The answers of a streaming call, as bytes: opened, read, and always closed.

All three streams that a transport reads are a ``MessageStream``: the work items of a worker, the past of one work
item, and the history of an instance. It has two states, open and closed, and three ways to end:

* the hub ends it: the iteration ends;
* it fails, is silent for too long, or its channel is closed: the iteration raises a ``TransportError``;
* the reader leaves the ``async with`` block, for any reason: the call is cancelled.

A stream whose token is refused is opened once more with a new one: before its first message always, after that only
if its messages are independent (work items are; the chunks of a history would start from the first).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from durabletask.core.errors import TransportUnavailableError

import grpc
import grpc.aio

from .interruption import CallEndedError, unless_ended

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken
    from typing_extensions import Self

    from .calls import Caller

__all__ = ["MessageStream"]


class _SilenceWatch:
    """Cancels a call when no message has arrived for too long.

    One timer per stream that is moved when it fires, so that a message costs reading the clock.
    """

    def __init__(self, call: grpc.aio.UnaryStreamCall[bytes, bytes], limit: float) -> None:
        self._call = call
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self.has_expired = False
        self._timer = self._loop.call_later(limit, self._look)

    def alive(self) -> None:
        self._last = self._loop.time()

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        rest = self._last + self._limit - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look)
        else:
            self.has_expired = True
            self._call.cancel()


class MessageStream:
    """One streaming call. Made by ``Caller.stream``; a context manager, and inside it an iterator of bytes.

    Args:
        caller: makes the call.
        rpc: name of the call.
        request: its request.
        silence_limit: seconds without a message after which the call is given up. The time that the reader
            takes for a message does not count.
        token: the token to open the call with; ``None``: one is asked for, if there is a credential.
        is_resumable: the call may be opened again between two messages.
    """

    def __init__(
        self,
        caller: Caller,
        rpc: str,
        request: bytes,
        *,
        silence_limit: float,
        token: AccessToken | None,
        is_resumable: bool,
    ) -> None:
        self._caller = caller
        self._rpc = rpc
        self._request = request
        self._silence_limit = silence_limit
        self._token = token
        self._is_resumable = is_resumable
        self._may_renew = True

    async def __aenter__(self) -> Self:
        """Start the call. That the hub cannot be reached is raised by the first read."""
        if self._token is None:
            self._token = await self._caller.token()
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the call."""
        self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next message."""
        self._watch.alive()
        while True:
            try:
                data = await unless_ended(self._call, self._call.read())
            except grpc.aio.AioRpcError as error:
                if not (self._may_renew and self._caller.may_renew_token(error.code())):
                    raise self._caller.failure(self._rpc, error) from None
            except CallEndedError:
                raise self._ended() from None
            else:
                if data is grpc.aio.EOF:
                    raise StopAsyncIteration
                assert isinstance(data, bytes)  # noqa: S101 - EOF is the only other thing that is read
                self._watch.alive()
                self._may_renew = self._is_resumable
                self._caller.channels.succeeded()
                return data
            self._end()
            self._may_renew = False
            self._token = await self._caller.token(force_new=True)
            self._start()

    def _start(self) -> None:
        channels = self._caller.channels
        start = channels.stream(self._rpc)
        self._call = start(self._request, metadata=self._caller.headers(self._rpc, self._token))
        channels.under_way.add(self._call)
        self._watch = _SilenceWatch(self._call, self._silence_limit)

    def _end(self) -> None:
        self._watch.stop()
        self._call.cancel()
        self._caller.channels.under_way.discard(self._call)

    def _ended(self) -> Exception:
        if not self._watch.has_expired:
            return self._caller.closed(self._rpc)
        self._caller.channels.failed(grpc.StatusCode.UNAVAILABLE)
        return TransportUnavailableError(
            f"The hub at {self._caller.address.endpoint} (task hub {self._caller.task_hub!r}) has been silent for "
            f"{self._silence_limit:g} s during {self._rpc}; the connection is taken for dead."
        )
