"""The gRPC channel of a transport, and when to make a new one.

A channel of ``grpc.aio`` belongs to the event loop in which it was made. A transport is often built before
there is a loop, so the channel is made by the first call, and made anew in another loop.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final, Protocol, TypeAlias

from durabletask.core.errors import ConfigurationError
from durabletask.core.logs import get_logger

import grpc
import grpc.aio

from .address import Address, ChannelOptions
from .status import is_connection_failure

__all__ = ["SERVICE", "ChannelHolder", "Metadata", "StreamCall", "UnaryCall"]

SERVICE: Final[str] = "/TaskHubSidecarService/"
"""Prefix of the paths of all RPCs."""

_LOGGER: Final = get_logger("durabletask.grpc")
_FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"
_OFF: Final = frozenset({"0", "false", "no", ""})

Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Headers of a call."""


class _Forks:
    """Whether this process was forked from one that had used gRPC, whose threads are missing here."""

    def __init__(self) -> None:
        self._is_used = False
        self._is_cut_off = False
        self._has_warned = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.warn, after_in_child=self._forked)

    def warn(self) -> None:
        """Log, once, that this process forks although gRPC's fork support, which crashes, is on."""
        if not self._is_used or self._has_warned or os.environ.get(_FORK_SUPPORT, "1").lower() in _OFF:
            return
        self._has_warned = True
        _LOGGER.warning(
            "This process forks while gRPC is in use and gRPC's fork support is on; the forked process may crash. Set "
            "%s=0 before grpc is imported (or import durabletask.grpc before grpc, which does), or start processes "
            "with 'spawn', for instance ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')).",
            _FORK_SUPPORT,
        )

    def _forked(self) -> None:
        self._is_cut_off = self._is_used

    def check(self) -> None:
        """Note that gRPC is used; an error where every call would wait for ever."""
        if self._is_cut_off:
            raise ConfigurationError(
                "This process was forked from one that had already talked to a task hub, and gRPC does not work across "
                "a fork. Talk to the hub only after the fork (in a hook of the server such as post_fork), or start "
                "processes with 'spawn'."
            )
        self._is_used = True


_forks = _Forks()


class UnaryCall(Protocol):
    """A call with one answer; bytes in, bytes out."""

    def __call__(
        self, request: bytes, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """Start the call."""


class StreamCall(Protocol):
    """A call with a stream of answers; bytes in, bytes out."""

    def __call__(
        self, request: bytes, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        """Start the call."""


class ChannelHolder:
    """The current channel, the calls made of it, and the count of failures that ends it.

    After ``failure_limit`` connection failures in a row a new channel is made, at most once per
    ``renewal_interval`` seconds; the old one is closed ``grace`` seconds later, so that calls on it end by
    themselves.
    """

    def __init__(
        self,
        address: Address,
        options: ChannelOptions,
        *,
        failure_limit: int = 5,
        renewal_interval: float = 30.0,
        grace: float = 30.0,
    ) -> None:
        self._address = address
        self._options = options
        self._failure_limit = failure_limit
        self._renewal_interval = renewal_interval
        self._grace = grace
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unary: dict[str, UnaryCall] = {}
        self._streams: dict[str, StreamCall] = {}
        self._failures = 0
        self.has_succeeded: bool = False
        """Whether any call was answered so far."""
        self._renewed_at = float("-inf")
        self._retiring: set[asyncio.Task[None]] = set()
        self.under_way: set[grpc.aio.Call] = set()
        """Calls that ``close`` has to end: each call is added at its start and removed at its end."""
        self.closings: int = 0
        """How many times ``close`` was called."""

    def unary(self, rpc: str) -> UnaryCall:
        """The call of that name on the current channel."""
        channel = self._current()
        call = self._unary.get(rpc)
        if call is None:
            call = self._unary[rpc] = channel.unary_unary(SERVICE + rpc)
        return call

    def stream(self, rpc: str) -> StreamCall:
        """The streaming call of that name on the current channel."""
        channel = self._current()
        call = self._streams.get(rpc)
        if call is None:
            call = self._streams[rpc] = channel.unary_stream(SERVICE + rpc)
        return call

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = 0
        self.has_succeeded = True

    def failed(self, status: grpc.StatusCode) -> None:
        """A call failed; enough connection failures in a row make a new channel."""
        if not is_connection_failure(status):
            self._failures = 0
            return
        self._failures += 1
        if self._failures < self._failure_limit or self._loop is None:
            return
        now = self._loop.time()
        if now - self._renewed_at >= self._renewal_interval:
            self._renewed_at = now
            self._failures = 0
            self._retire()

    async def close(self) -> None:
        """Close every channel; a later call opens a new one."""
        channel, loop = self._channel, self._loop
        self.closings += 1
        self._forget()
        retiring, self._retiring = self._retiring, set()
        current = asyncio.get_running_loop()
        for task in retiring:
            if task.get_loop() is current:
                task.cancel()
        if channel is not None and loop is current:
            for call in list(self.under_way):  # not every version of gRPC ends streams when a channel closes
                call.cancel()
            await channel.close()
        await asyncio.gather(*(t for t in retiring if t.get_loop() is current), return_exceptions=True)

    def _current(self) -> grpc.aio.Channel:
        _forks.check()
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:
            self._forget()
            arguments = self._options.arguments(self._address)
            target = self._address.target
            if self._address.is_secure:
                credentials = grpc.ssl_channel_credentials(self._options.root_certificates)
                self._channel = grpc.aio.secure_channel(target, credentials, options=arguments)
            else:
                self._channel = grpc.aio.insecure_channel(target, options=arguments)
            self._loop = loop
        return self._channel

    def _forget(self) -> None:
        self._channel = None
        self._loop = None
        self._unary.clear()
        self._streams.clear()

    def _retire(self) -> None:
        channel = self._channel
        self._forget()
        if channel is not None:
            task = asyncio.get_running_loop().create_task(self._close_later(channel))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _close_later(self, channel: grpc.aio.Channel) -> None:
        try:
            await asyncio.sleep(self._grace)
        finally:
            await channel.close()
