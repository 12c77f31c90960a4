"""Where a hub is and how the channel to it behaves; without gRPC, which takes its time to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import ConfigurationError

__all__ = ["Address", "ChannelOptions", "check_header"]

_SCHEMES: Final = frozenset({"http", "https", "grpc", "grpcs"})


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
    def parse(cls, endpoint: str) -> Address:  # protocol sections 1.2 and 2.1
        """Read ``scheme://host[:port]``; without a scheme it is ``https``.

        Raises:
            ConfigurationError: the text is no such address; the message says what is wrong with it.
        """
        found = ConnectionString(endpoint=endpoint)
        if found.scheme not in _SCHEMES:
            raise ConfigurationError(
                f"The endpoint {endpoint!r} has the scheme {found.scheme!r}; hubs that speak gRPC have "
                "http, https, grpc or grpcs."
            )
        host = f"[{found.host}]" if ":" in found.host else found.host
        return cls(found.endpoint, f"{host}:{found.port}", found.is_secure, found.is_loopback)


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


def check_header(value: str, what: str) -> str:
    """A text that is sent as a header.

    Raises:
        ConfigurationError: it has a character that a header cannot carry.
    """
    wrong = next((index for index, character in enumerate(value) if not " " <= character <= "~"), None)
    if wrong is not None:
        raise ConfigurationError(
            f"{what} {value!r} has the character {value[wrong]!r} at position {wrong}; over gRPC it is sent in a "
            "header, which takes printable ASCII characters only."
        )
    return value


def _milliseconds(value: timedelta) -> int:
    return value // timedelta(milliseconds=1)
