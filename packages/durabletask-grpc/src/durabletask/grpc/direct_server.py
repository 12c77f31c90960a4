"""``DirectServer``: takes calls straight from the completion queue of gRPC, on the event loop.

Theory. gRPC reports everything through one queue: a call has arrived, its request was read, a message was sent, the
call is over. Each operation is started with a tag, a callable that receives the event when the operation ends.
``grpc.aio`` polls the queue in a thread and hands every event to the loop, four hand-overs per call. Here the thread
polls for the first event only. It wakes the loop and blocks on ``_loop_is_done``; the loop then polls the queue itself,
without waiting, until it has been empty for ``_ROUNDS`` rounds, and releases the lock. Events that arrive together cost
two hand-overs together.

Who may call. The thread calls ``poll`` and ``call_soon_threadsafe`` and nothing else. All other methods, and all tags,
run on the loop, so no state needs a lock.

Life. Started, it always has one request for the next call under way. ``stop`` moves it through three states:

* ``_is_stopping``: gRPC accepts no further calls; those that had arrived are served until the grace is over.
* ``_is_closed``: all calls are over. From here on starting an operation would make gRPC abort the process, so events
  that still arrive are dropped.
* ``_is_shut``: the last event of the queue has been taken, and the thread ends.

What must never happen: an exception that leaves ``_take`` with the lock held (the thread would wait for ever), and an
operation that is started after the queue was shut down.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from durabletask.core.logs import get_logger

import grpc

from .incoming_call import CallerLostError, Handler, IncomingCall, RefusedError

if TYPE_CHECKING:
    from .grpc_core import CoreEvent, GrpcCore

__all__ = ["DirectServer"]

_LOGGER: Final = get_logger("durabletask.grpc.server")

_ROUNDS: Final = 3
"""Rounds of the loop without an event before the thread polls again: in the meantime handlers may answer."""
_MOST_EVENTS: Final = 100
"""Events that are taken in one round of the loop, which has other work as well."""


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
        self._is_stopping = False
        self._is_closed = False
        self._is_shut = False
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
        while self._tasks:  # the tasks of calls that are over are being cancelled
            await asyncio.wait(self._tasks)
        self._is_closed = True
        self._queue.shutdown()
        await self._queue_is_over
        self._server.destroy()
        self._thread.join()

    # --- the queue -----------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """The thread: wake the loop with the next event, then wait until the loop has taken what followed."""
        while not self._is_shut:
            event = self._queue.poll(None)
            try:
                self._loop.call_soon_threadsafe(self._take, event)
            except RuntimeError:  # the loop was closed before the server was stopped
                return
            self._loop_is_done.acquire()

    def _take(self, first: CoreEvent | None = None) -> None:
        """Take the events that are there; let the thread poll again after some rounds without any."""
        try:
            self._take_some(first)
        except Exception:
            _LOGGER.exception("The server failed to read the queue of gRPC")
        finally:  # also after Ctrl-C, or the thread would wait for ever
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
            except Exception:  # the events after it are taken all the same
                _LOGGER.exception("The server failed to handle an event of gRPC")

    # --- calls ---------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._server.request_call(self._queue, self._queue, self._arrived)

    def _arrived(self, event: CoreEvent) -> None:
        if not event.success or self._is_closed:  # the request for a call ended because the server stops
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
        elif request is None:  # the client has gone, or its message was too large
            call.refuse(grpc.StatusCode.INVALID_ARGUMENT, "The call came without a request.")
        else:
            call.task = task = self._loop.create_task(_run(handler, request, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _over(self, event: CoreEvent) -> None:
        del event
        self._calls_are_over.set_result(None)


async def _run(handler: Handler, request: bytes, call: IncomingCall) -> None:
    """Serve one call. However its handler ends, the call gets a status."""
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
