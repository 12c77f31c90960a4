"""``DirectServer``: takes calls straight from the queue of gRPC, on the event loop.

A thread waits for the queue and does nothing else: with the first event it wakes the loop, and then it waits until
the loop has taken everything that followed. So whatever arrives together costs two hand-overs together, and all
state belongs to the loop alone. (``grpc.aio`` makes a hand-over for every event, of which a call has four.)
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import grpc

from .incoming_call import CallerLostError, Handler, IncomingCall, RefusedError

if TYPE_CHECKING:
    from .grpc_core import CoreEvent, GrpcCore

__all__ = ["DirectServer"]

_LOGGER: Final = logging.getLogger("durabletask.grpc.server")

_ROUNDS: Final = 3
"""Of the loop without an event, before the thread waits again: handlers may answer meanwhile."""
_MOST_EVENTS: Final = 100
"""In one round of the loop, which has other work as well."""


class DirectServer:
    """A gRPC server. Everything but the waiting happens on the loop that runs when it starts.

    Args:
        core: what it is made of.
        handlers: path of a method -> what serves it.
        options: channel arguments of gRPC.
    """

    def __init__(
        self, core: GrpcCore, handlers: Mapping[str, Handler], options: Sequence[tuple[str, object]]
    ) -> None:
        self._core = core
        self._handlers = handlers
        self._server = core.server(options, False)
        self._queue = core.queue()
        self._server.register_completion_queue(self._queue)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop_is_done = threading.Lock()  # locked while the loop takes events
        self._is_stopping = False  # no more calls
        self._is_closed = False  # no more operations either: gRPC would end the process
        self._is_shut = False  # and the last event has come
        self._idle_rounds = 0

    def listen(self, address: str, tls: tuple[bytes, bytes] | None) -> int:
        """Listen on an address; the port.

        Args:
            address: host and port; 0 takes a free port.
            tls: private key and certificate chain, both PEM.

        Raises:
            RuntimeError: gRPC cannot.
        """
        credentials = () if tls is None else (self._core.tls(*tls),)
        return self._server.add_http2_port(address.encode(), *credentials)

    async def start(self) -> None:
        """Serve."""
        self._loop = asyncio.get_running_loop()
        self._calls_are_over: asyncio.Future[None] = self._loop.create_future()
        self._queue_is_over: asyncio.Future[None] = self._loop.create_future()
        self._server.start()
        self._ask()
        self._loop_is_done.acquire()
        self._thread = threading.Thread(target=self._wait, name="durabletask-grpc-server", daemon=True)
        self._thread.start()

    async def stop(self, grace: float) -> None:
        """Take no more calls; those under way have ``grace`` seconds. Returns when all of them are over."""
        self._is_stopping = True
        self._server.shutdown(self._queue, self._over)
        alarm = self._loop.call_later(grace, self._server.cancel_all_calls)
        await self._calls_are_over
        alarm.cancel()
        while self._tasks:  # their calls are over: they are being cancelled
            await asyncio.wait(self._tasks)
        self._is_closed = True
        self._queue.shutdown()
        await self._queue_is_over
        self._server.destroy()
        self._thread.join()

    # --- the queue -----------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """What the thread does."""
        while not self._is_shut:
            event = self._queue.poll(None)
            try:
                self._loop.call_soon_threadsafe(self._take, event)
            except RuntimeError:  # the loop was closed under a server that nobody stopped
                return
            self._loop_is_done.acquire()

    def _take(self, first: CoreEvent | None = None) -> None:
        """Take the events that are there; hand back to the thread after some rounds without any."""
        try:
            self._take_some(first)
        except Exception:
            _LOGGER.exception("The server failed to read the queue of gRPC")
        finally:  # whatever it was, Ctrl-C too: the thread must not wait for ever
            if self._is_shut or self._idle_rounds >= _ROUNDS:
                self._loop_is_done.release()
            else:
                self._loop.call_soon(self._take)

    def _take_some(self, first: CoreEvent | None) -> None:
        self._idle_rounds += 1
        for _ in range(_MOST_EVENTS):
            event, first = self._queue.poll(0) if first is None else first, None
            if event.completion_type == self._core.queue_is_empty:
                return
            self._idle_rounds = 0
            if event.completion_type == self._core.queue_is_shut:
                self._is_shut = True
                self._queue_is_over.set_result(None)
                return
            try:
                event.tag(event)
            except Exception:  # the others must not suffer
                _LOGGER.exception("The server failed to handle an event of gRPC")

    # --- calls ---------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._server.request_call(self._queue, self._queue, self._arrived)

    def _arrived(self, event: CoreEvent) -> None:
        if not event.success:  # the server stops
            return
        if self._is_closed:
            return
        if not self._is_stopping:
            self._ask()
        IncomingCall(self._core, event, self._loop).receive(self._begin)

    def _begin(self, call: IncomingCall, request: bytes | None) -> None:
        if self._is_closed:
            return
        handler = self._handlers.get(call.method)
        if handler is None:
            call.refuse(grpc.StatusCode.UNIMPLEMENTED, f"There is no method {call.method}.")
        elif request is None:  # the client went away, or what it sent was too large
            call.refuse(grpc.StatusCode.INVALID_ARGUMENT, "The call came without a request.")
        else:
            call.task = task = self._loop.create_task(_run(handler, request, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _over(self, event: CoreEvent) -> None:
        del event
        self._calls_are_over.set_result(None)


async def _run(handler: Handler, request: bytes, call: IncomingCall) -> None:
    """Serve one call: however its handler ends, the call gets its status."""
    try:
        answer = await handler(request, call)
    except RefusedError as refused:
        call.refuse(refused.code, refused.details)
    except (asyncio.CancelledError, CallerLostError):
        call.refuse(grpc.StatusCode.CANCELLED, "The call was cancelled.")
    except Exception:
        _LOGGER.exception("%s failed unexpectedly", call.method)
        call.refuse(grpc.StatusCode.INTERNAL, "The server failed unexpectedly; its log has the details.")
    else:
        call.answer(answer)
