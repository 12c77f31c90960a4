"""A call as its handler sees it: ``Context``, and ``IncomingCall``, the form of it that ``DirectServer`` makes.

An ``IncomingCall`` has two batches of operations under way from its arrival on: the read of its request, and the
notice of its end. The handler's sends are batches of their own, one after the other. Headers go out once: by
``send_initial_metadata``, or in the batch of the first message or of the status.

``_has_ended`` is set once, by ``answer``, by ``refuse``, or when the notice arrives that the caller has gone; after that
no batch is started. All methods run on the loop of the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, TypeAlias

import grpc

from .grpc_core import NO_METADATA

if TYPE_CHECKING:
    from .grpc_core import Batch, CoreEvent, GrpcCore

__all__ = ["CallerLostError", "Context", "Handler", "IncomingCall", "RefusedError", "fitting_details"]


class Context(Protocol):
    """The part of a call that handlers use; ``grpc.aio.ServicerContext`` has it too.

    Headers can be sent once, at the latest with the first message. ``Hello`` and ``GetWorkItems`` send them
    themselves.
    """

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """The headers that the client sent."""

    def time_remaining(self) -> float | None:
        """Seconds up to the deadline; infinite, or ``None``, when the client has set none."""

    async def send_initial_metadata(self, initial_metadata: Sequence[tuple[str, str]]) -> None:
        """Send the headers of the answer now, instead of with the first message."""

    async def write(self, message: bytes) -> None:
        """Send a message of the answer; returns when the next one can be sent."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status other than OK. The details are cut to what a header can carry."""


Handler: TypeAlias = "Callable[[bytes, Context], Coroutine[object, object, bytes | None]]"
"""Serves a call: returns the bytes of the answer, or writes them to the call and returns ``None``."""

_OK: Final[int] = grpc.StatusCode.OK.value[0]
_LONGEST_DETAILS: Final = 2000  # bytes; details travel in a header, whose size is bounded
_FLAGS: Final = 0  # no buffer hints, no special compression


class CallerLostError(Exception):
    """The caller has gone; what is written cannot arrive."""


class RefusedError(Exception):
    """Ends a handler: the call gets this status.

    Args:
        code: the status.
        details: why, for people.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class IncomingCall:
    """A call of a client; for its handler a ``Context``.

    Args:
        core: the operations.
        arrival: the event with which the call arrived.
        loop: where its handler runs.
    """

    __slots__ = (
        "_call",
        "_core",
        "_deadline",
        "_has_ended",
        "_has_headers",
        "_loop",
        "_metadata",
        "method",
        "task",
    )

    def __init__(self, core: GrpcCore, arrival: CoreEvent, loop: asyncio.AbstractEventLoop) -> None:
        self._core = core
        self._call = arrival.call
        self._deadline = arrival.call_details.deadline
        self._metadata = arrival.invocation_metadata
        self._loop = loop
        self._has_headers = False
        self._has_ended = False
        self.method: str = arrival.call_details.method.decode("latin-1")
        self.task: asyncio.Task[None] | None = None
        """Runs the handler."""

    # --- for handlers --------------------------------------------------------------------------------------

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """See ``Context``."""
        return self._metadata

    def time_remaining(self) -> float:
        """See ``Context``."""
        return max(self._deadline - time.time(), 0.0)

    async def send_initial_metadata(self, initial_metadata: Sequence[tuple[str, str]]) -> None:
        """See ``Context``.

        Raises:
            RuntimeError: they were sent before.
            CallerLostError: the caller has gone.
        """
        if self._has_headers:
            raise RuntimeError(f"The headers of this call of {self.method} were sent before.")
        self._has_headers = True
        await self._send((self._core.send_headers(initial_metadata, _FLAGS),))

    async def write(self, message: bytes) -> None:
        """See ``Context``.

        Raises:
            CallerLostError: the caller has gone.
        """
        await self._send((*self._headers(), self._core.send_message(message, _FLAGS)))

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """See ``Context``.

        Raises:
            ValueError: the status is OK.
        """
        if code is grpc.StatusCode.OK:
            raise ValueError("A call is not aborted with the status OK: return its answer instead.")
        raise RefusedError(code, details)

    # --- for the server ------------------------------------------------------------------------------------

    def receive(self, received: Callable[[IncomingCall, bytes | None], None]) -> None:
        """Start to read the request, and ask for a notice when the call is over."""

        def arrived(event: CoreEvent) -> None:
            received(self, event.batch_operations[0].message())

        self._call.start_server_batch((self._core.receive_message(_FLAGS),), arrived)
        self._call.start_server_batch((self._core.receive_close(_FLAGS),), self._closed)

    def answer(self, message: bytes | None) -> None:
        """End the call well, with a message or with those that were written."""
        core = self._core
        messages = () if message is None else (core.send_message(message, _FLAGS),)
        self._end((*self._headers(), *messages, core.send_status(NO_METADATA, _OK, b"", _FLAGS)))

    def refuse(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with another status."""
        text = fitting_details(details).encode("utf-8", "replace")
        status = self._core.send_status(NO_METADATA, code.value[0], text, _FLAGS)
        self._end((*self._headers(), status))

    def _end(self, batch: Batch) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._call.start_server_batch(batch, _ignore)

    def _headers(self) -> Batch:
        if self._has_headers:
            return ()
        self._has_headers = True
        return (self._core.send_headers(NO_METADATA, _FLAGS),)

    async def _send(self, batch: Batch) -> None:
        if self._has_ended:
            raise CallerLostError
        sent: asyncio.Future[bool] = self._loop.create_future()

        def ended(event: CoreEvent) -> None:
            if not sent.done():  # a handler may have been cancelled meanwhile
                sent.set_result(event.success)

        if self._call.start_server_batch(batch, ended) != 0 or not await sent:
            raise CallerLostError

    def _closed(self, event: CoreEvent) -> None:
        """The call is over. If the caller ended it, the handler is cancelled."""
        if event.batch_operations[0].cancelled():
            self._has_ended = True
            if self.task is not None:
                self.task.cancel()


def fitting_details(details: str) -> str:
    """The text of a status, cut to what a header can carry: it travels percent-encoded."""
    size = 0
    for index, character in enumerate(details):
        is_plain = " " <= character <= "~" and character != "%"
        size += 1 if is_plain else 3 * len(character.encode("utf-8", "replace"))
        if size > _LONGEST_DETAILS:
            return f"{details[:index]}..."
    return details


def _ignore(event: CoreEvent) -> None:
    """The tag of a last batch, whose end changes nothing."""
