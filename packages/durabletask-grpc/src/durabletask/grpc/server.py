"""``TaskHubServer``: any ``Transport``, served over gRPC.

The calls are registered as raw handlers, bytes in and bytes out: what cannot be parsed then gets the status
that it deserves, and the past of an instance is sent from the bytes that were sent before.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import os
import socket
from datetime import timedelta
from typing import Final

from durabletask.core.errors import ConfigurationError, TransportUnavailableError

from .aio_server import AioServer
from .calls import SERVER_HEADER
from .channel import SERVICE
from .direct_check import find_core
from .direct_server import DirectServer
from .incoming_call import Context, Handler
from .server_calls import UNARY_CALLS, WAITS, UnarySpec
from .server_deadlines import DeadlineWatch
from .server_hub import Hubs, HubSource, refuse
from .server_streams import LOST_CALLER, send_history, send_work_items

__all__ = ["DEFAULT_MESSAGE_LENGTH", "DEFAULT_STREAM_ABOVE", "HubSource", "TaskHubServer"]

DEFAULT_MESSAGE_LENGTH: Final[int] = 64 * 1024 * 1024
"""Bytes of one message that a server takes by default; clients of this protocol assume at least 4 MiB."""

DEFAULT_STREAM_ABOVE: Final[int] = 1024 * 1024
"""Bytes of a past above which a worker that can fetch it has to."""

_LONGEST_REST: Final = 86400.0 * 365  # seconds; what is longer is no deadline
_MOST_WAITING: Final = 1_000_000  # calls that have arrived and are not taken yet
_MARGIN: Final = 0.5  # seconds before a deadline, for the way back


class TaskHubServer:
    """Serves task hubs. One server may be started once.

    Args:
        hubs: one hub for every caller, or a function that finds the hub by the ``taskhub`` header
            (``default`` when there is none); it may raise any ``TransportError``.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        max_message_length: bytes of one message that is accepted.
        ping_interval: a stream of work items on which nothing was sent for this long gets a sign of life.
        stream_above: bytes of a past above which a worker that can fetch histories has to.
        tls: the private key and the certificate chain, both PEM; ``None`` serves plaintext.
        direct: take calls straight from gRPC's queue, at about half the cost of a call, if that works with the
            installed grpcio (see ``direct_check``); otherwise, and by default, calls are served through the public
            ``grpc.aio``.
    """

    def __init__(
        self,
        hubs: HubSource,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_message_length: int = DEFAULT_MESSAGE_LENGTH,
        ping_interval: timedelta = timedelta(seconds=30),
        stream_above: int = DEFAULT_STREAM_ABOVE,
        tls: tuple[bytes, bytes] | None = None,
        direct: bool = False,
    ) -> None:
        self._hubs = Hubs(hubs)
        self._host = host
        self._port = port
        self._max_message_length = max_message_length
        self._ping_interval = ping_interval.total_seconds()
        self._stream_above = stream_above
        self._tls = tls
        self._direct = direct
        self._server: DirectServer | AioServer | None = None
        self._has_stopped = asyncio.Event()
        self._long_calls: set[asyncio.Task[object]] = set()
        self._is_stopping = False
        version = importlib.metadata.version("durabletask-grpc")
        self._own_name = ((SERVER_HEADER, f"durabletask-python/{version}"),)

    @property
    def host(self) -> str:
        """The address that the server listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port that the server listens on; 0 before ``start`` if any was asked for."""
        return self._port

    @property
    def endpoint(self) -> str:
        """The address for clients."""
        scheme = "http" if self._tls is None else "https"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}"

    async def start(self) -> int:
        """Listen and serve; the port.

        Raises:
            ConfigurationError: the address cannot be listened on, for instance because the port is taken.
        """
        if self._server is not None:
            raise ConfigurationError("This server was started before; make a new one.")
        server = await self._make_server()
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self._port}"
        if self._port:
            _check_free(self._host, self._port)
        try:
            port = server.listen(address, self._tls)
        except RuntimeError:
            port = 0
        if port == 0:
            raise _cannot_listen(address, "gRPC refused it")
        await server.start()
        self._server = server
        self._port = port
        return port

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening; calls under way have ``grace`` seconds, waits and streams end at once."""
        server = self._server
        if server is None:
            return
        if self._is_stopping:
            await self._has_stopped.wait()
            return
        self._is_stopping = True
        stopping = asyncio.ensure_future(server.stop(grace))
        stopping.add_done_callback(lambda _: self._has_stopped.set())
        await asyncio.sleep(0)
        for task in list(self._long_calls):
            task.cancel()
        await asyncio.shield(stopping)  # once begun it goes on, also when the caller is cancelled

    async def wait_stopped(self) -> None:
        """Return when the server has stopped."""
        if self._server is not None:
            await self._has_stopped.wait()

    def wrap_handler(self, rpc: str, handler: Handler) -> Handler:
        """What serves the calls of one RPC; asked once for each when the server starts.

        A subclass may put something before the handler: look at ``context.invocation_metadata()``, count, or end
        the call by ``await context.abort(code, details)``.

        Args:
            rpc: name of the RPC, for instance ``StartInstance``.
            handler: what serves it.
        """
        del rpc
        return handler

    async def _make_server(self) -> DirectServer | AioServer:
        options = [
            ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a lottery
            ("grpc.max_receive_message_length", self._max_message_length),
            ("grpc.max_send_message_length", -1),
            # Clients may send keepalive pings as often as they like: a connection that is ended for its pings
            # (GOAWAY, "too many pings") looks like a hub that is away.
            ("grpc.http2.max_ping_strikes", 0),
            # A machine that vanished, or a process that was stopped, sends no end of its stream.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.ping_timeout_ms", 20_000),
            # Clients do not repeat what is refused for its number, so a burst has to queue.
            ("grpc.server.max_pending_requests", _MOST_WAITING),
            ("grpc.server.max_pending_requests_hard_limit", _MOST_WAITING),
        ]
        unary, streams = self._make_handlers()
        core = await find_core() if self._direct else None
        if core is not None:
            return DirectServer(core, {**unary, **streams}, options)
        return AioServer(unary, streams, options)

    # --- handlers -----------------------------------------------------------------------------------------

    def _make_handlers(self) -> tuple[dict[str, Handler], dict[str, Handler]]:
        """Path of a method -> what serves it: those with one answer, and those with any number of messages."""
        unary: dict[str, Handler] = {}
        for rpc, spec in UNARY_CALLS.items():
            handle = self._unary(rpc, spec)
            if rpc in WAITS:
                handle = self._long(rpc, self._wait(handle))
            unary[SERVICE + rpc] = self.wrap_handler(rpc, handle)
        streams = {"GetWorkItems": self._work_items, "StreamInstanceHistory": self._history}
        return unary, {
            SERVICE + rpc: self.wrap_handler(rpc, self._long(rpc, stream)) for rpc, stream in streams.items()
        }

    def _unary(self, rpc: str, spec: UnarySpec) -> Handler:
        parse, run, hub_of = spec.request.FromString, spec.run, self._hubs.of
        is_hello = rpc == "Hello"

        async def handle(data: bytes, context: Context) -> bytes:
            try:
                if is_hello:
                    await context.send_initial_metadata(self._own_name)
                return await run(hub_of(context), parse(data))
            except Exception as error:  # noqa: BLE001 - every failure of a call becomes its status
                await refuse(context, rpc, error)

        return handle

    def _wait(self, handle: Handler) -> Handler:
        """A wait whose instance is still missing just before the deadline ends with NOT_FOUND (protocol section 12.2)."""

        async def handle_wait(data: bytes, context: Context) -> bytes | None:
            rest: float | None = context.time_remaining()
            if rest is None or rest > _LONGEST_REST:
                return await handle(data, context)
            watch = DeadlineWatch(self._hubs.of, data, context)
            alarm = asyncio.get_running_loop().call_later(rest - min(_MARGIN, rest * 0.1), watch.look)
            try:
                return await handle(data, context)
            except asyncio.CancelledError:
                if not watch.is_missing:
                    raise
                return b""  # exists = false
            finally:
                alarm.cancel()
                watch.stop()

        return handle_wait

    def _long(self, rpc: str, handle: Handler) -> Handler:
        """A call that ends when the server stops, whatever its grace."""

        @functools.wraps(handle)
        async def handle_long(data: bytes, context: Context) -> bytes | None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - handlers run in tasks
            is_late = self._is_stopping
            if is_late:
                await refuse(context, rpc, TransportUnavailableError("The server is shutting down."))
            self._long_calls.add(task)
            try:
                return await handle(data, context)
            except asyncio.CancelledError:
                if not self._is_stopping:
                    raise
                await refuse(context, rpc, TransportUnavailableError("The server is shutting down."))
            finally:
                self._long_calls.discard(task)

        return handle_long

    async def _work_items(self, data: bytes, context: Context) -> None:
        try:
            hub = self._hubs.of(context)
            await send_work_items(
                hub, data, context, ping_interval=self._ping_interval, stream_above=self._stream_above
            )
        except LOST_CALLER:  # the caller is gone; this ends the call without a traceback from gRPC
            raise asyncio.CancelledError from None
        except Exception as error:  # noqa: BLE001 - every failure of a call becomes its status
            await refuse(context, "GetWorkItems", error)

    async def _history(self, data: bytes, context: Context) -> None:
        try:
            await send_history(self._hubs.of(context), data, context)
        except LOST_CALLER:  # the caller is gone; this ends the call without a traceback from gRPC
            raise asyncio.CancelledError from None
        except Exception as error:  # noqa: BLE001 - every failure of a call becomes its status
            await refuse(context, "StreamInstanceHistory", error)


def _check_free(host: str, port: int) -> None:
    """Try the address with a socket of our own, because gRPC writes to stderr what it thinks of a taken one."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(info[0], info[1]) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(info[4])
            probe.listen()
    except OSError as error:
        raise _cannot_listen(f"{host}:{port}", error.strerror or str(error)) from None


def _cannot_listen(address: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot listen on {address}: {reason}. Choose another port or address, or stop the program that has it."
    )
