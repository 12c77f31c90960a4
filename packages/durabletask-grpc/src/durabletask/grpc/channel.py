"""The gRPC channel of a transport: address, TLS, options, and when to make a new one.

A channel of ``grpc.aio`` belongs to the event loop in which it was made. A transport is often built before
there is a loop, so the channel is made by the first call, and made anew in another loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

import grpc
import grpc.aio
from durabletask.core.errors import ConfigurationError

from .status import is_connection_failure

__all__ = ["Address", "ChannelHolder", "ChannelOptions", "Metadata", "StreamCall", "UnaryCall"]

SERVICE: Final[str] = "/TaskHubSidecarService/"
"""Prefix of the paths of all RPCs."""

Metadata = tuple[tuple[str, str], ...]
"""Headers of a call."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "grpc": 4001, "grpcs": 443}
_TLS: Final = frozenset({"https", "grpcs"})


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


@dataclass(frozen=True)
class Address:
    """Where a hub is.

    Attributes:
        endpoint: the address as text, with its scheme, for messages.
        target: ``host:port`` for gRPC.
        is_secure: TLS is used.
        is_local: the host is this machine.
    """

    endpoint: str
    target: str
    is_secure: bool
    is_local: bool

    @classmethod
    def parse(cls, endpoint: str) -> Address:
        """Read ``scheme://host[:port]``; without a scheme it is ``https`` (protocol sections 1.2 and 2.1).

        Raises:
            ConfigurationError: the text is no such address; the message says what is wrong with it.
        """
        text = endpoint.strip()
        if "://" not in text:
            text = f"https://{text}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"The endpoint {endpoint!r} is not an address: {error}.") from None
        scheme = parts.scheme.lower()
        if scheme not in _DEFAULT_PORTS:
            raise ConfigurationError(
                f"The endpoint {endpoint!r} has the scheme {scheme!r}; gRPC hubs use http, https, grpc or grpcs."
            )
        host = parts.hostname
        if not host or parts.username is not None or parts.path not in {"", "/"} or parts.query:
            raise ConfigurationError(
                f"The endpoint {endpoint!r} must be scheme://host or scheme://host:port and nothing more."
            )
        shown = f"[{host}]" if ":" in host else host
        target = f"{shown}:{port or _DEFAULT_PORTS[scheme]}"
        return cls(text.rstrip("/"), target, scheme in _TLS, _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class ChannelOptions:
    """How a channel behaves.

    Attributes:
        max_receive_message_length: bytes of one message from the hub; -1 is no limit. A work item may
            carry a whole history.
        max_send_message_length: bytes of one message to the hub; -1 is no limit.
        keepalive_time: ping the connection after this long without traffic; ``None``: never.
        keepalive_timeout: the connection is lost when a ping is not answered for this long.
        keepalive_without_calls: ping also while no call is open.
        root_certificates: PEM of the certificate authorities to trust; ``None``: those of gRPC.
        extra: more gRPC channel arguments, as they are; they win over the above.
    """

    max_receive_message_length: int = -1
    max_send_message_length: int = -1
    keepalive_time: timedelta | None = None
    keepalive_timeout: timedelta = timedelta(seconds=20)
    keepalive_without_calls: bool = False
    root_certificates: bytes | None = None
    extra: Sequence[tuple[str, int | str]] = ()

    def arguments(self, address: Address) -> list[tuple[str, int | str]]:
        """The arguments for gRPC."""
        found: dict[str, int | str] = {
            "grpc.max_receive_message_length": self.max_receive_message_length,
            "grpc.max_send_message_length": self.max_send_message_length,
            # A hub that comes up is found soon; the callers do their own backing off.
            "grpc.initial_reconnect_backoff_ms": 100,
            "grpc.min_reconnect_backoff_ms": 1000,
            "grpc.max_reconnect_backoff_ms": 3000,
            # Channels do not share connections, so that a new channel is a new connection.
            "grpc.use_local_subchannel_pool": 1,
        }
        if address.is_local:
            found["grpc.enable_http_proxy"] = 0
        if self.keepalive_time is not None:
            found["grpc.keepalive_time_ms"] = _milliseconds(self.keepalive_time)
            found["grpc.keepalive_timeout_ms"] = _milliseconds(self.keepalive_timeout)
            found["grpc.keepalive_permit_without_calls"] = int(self.keepalive_without_calls)
            found["grpc.http2.max_pings_without_data"] = 0
        found.update(self.extra)
        return list(found.items())


def _milliseconds(value: timedelta) -> int:
    return value // timedelta(milliseconds=1)


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
        self._renewed_at = float("-inf")
        self._retiring: set[asyncio.Task[None]] = set()
        self.generation = 0
        """Changes whenever calls of an older channel may have been ended by closing it."""

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
        self._forget()
        retiring, self._retiring = self._retiring, set()
        current = asyncio.get_running_loop()
        for task in retiring:
            if task.get_loop() is current:
                task.cancel()
        if channel is not None and loop is current:
            self.generation += 1
            await channel.close()
        await asyncio.gather(*(t for t in retiring if t.get_loop() is current), return_exceptions=True)

    def _current(self) -> grpc.aio.Channel:
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
            self.generation += 1
            await channel.close()
