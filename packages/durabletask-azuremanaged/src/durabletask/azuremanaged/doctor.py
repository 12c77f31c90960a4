"""Checks each step of the connection to a task hub.

The steps are in the order of a connection, so the first that fails is the one to fix.
Steps that depend on it are skipped; the token is requested in any case, since it comes from another host.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import socket
import ssl
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING

from durabletask.core.connection import AccessToken, CredentialProvider, resolve_transport
from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import (
    ConfigurationError,
    DurableTaskError,
    PermissionDeniedError,
    TaskHubNotFoundError,
    TransportUnavailableError,
    UnauthenticatedError,
)
from durabletask.core.instances import InstanceQuery

from .credentials import AUTHENTICATIONS, from_connection_string
from .sources import redacted

if TYPE_CHECKING:
    from durabletask.core.transport import Transport

__all__ = ["Check", "Doctor", "Outcome"]


class Outcome(Enum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was examined.
        outcome: how it ended.
        detail: what was found.
        advice: what to do, if it failed.
    """

    name: str
    outcome: Outcome
    detail: str
    advice: str = ""


class _Skip(Exception):  # noqa: N818 - no error: the reason why there is nothing to check
    pass


# First match wins; an exception names its own fix otherwise.
_ADVICE: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "Check the spelling of 'Endpoint' (portal: Overview > Endpoint) and the DNS of this network."),
    (ssl.SSLCertVerificationError, ("The certificate is not trusted here. Behind a proxy that opens TLS, name its "
     "certificate authority in GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.")),
    (ssl.SSLError, "The port answers, but not with TLS. A local hub is plaintext: use http:// in 'Endpoint'."),
    (asyncio.TimeoutError, "No answer in time: a firewall, a proxy, or a wrong port. The scheduler is on port 443."),
    (TimeoutError, "No answer in time: a firewall, a proxy, or a wrong port. The scheduler is on port 443."),
    (ConnectionError, "Nothing listens there. Check host and port; for a local hub start 'durabletask-emulator'."),
    (OSError, "Check host, port and network."),
    (TaskHubNotFoundError, "Create the task hub, or correct 'TaskHub' (portal: Task hubs of the scheduler)."),
    (UnauthenticatedError, "Check which identity the token is for (above), its tenant, and the clock of this machine."),
    (PermissionDeniedError, ("Give the identity a Durable Task role (for example 'Durable Task Data Contributor') on "
     "the task hub; a new assignment takes a few minutes.")),
    (TransportUnavailableError, "The host answers, but not as a task hub. Check scheme and port of 'Endpoint'."),
)  # fmt: skip


class Doctor:
    """Checks one connection string.

    Args:
        connection_string: the text; ``None`` means the environment variables.
        task_hub: name of the task hub, when the string does not hold it.
        timeout: seconds for each examination.
    """

    def __init__(
        self, connection_string: str | None = None, task_hub: str | None = None, *, timeout: float = 30.0
    ) -> None:
        self._text = connection_string
        self._task_hub = task_hub
        self._timeout = timeout
        self._failed: set[str] = set()
        self._connection: ConnectionString | None = None
        self._provider: CredentialProvider | None = None
        self._transport: Transport | None = None

    async def examine(self, report: Callable[[Check], None]) -> bool:
        """Run all checks and report each when it is done; return whether nothing failed."""
        table: tuple[tuple[str, tuple[str, ...], Callable[[], Awaitable[str]]], ...] = (
            ("connection string", (), self._parse),
            ("DNS", ("connection string",), self._dns),
            ("TCP", ("DNS",), self._tcp),
            ("TLS", ("TCP",), self._tls),
            ("token", ("connection string",), self._token),
            ("Hello", ("TLS", "token"), self._hello),
            ("task hub", ("Hello",), self._hub),
            ("query", ("task hub",), self._query),
        )
        try:
            for name, needs, examination in table:
                report(await self._finding(name, needs, examination))
        finally:
            if self._transport is not None:
                await self._transport.close()
            elif self._provider is not None:
                await self._provider.close()
        return not self._failed

    async def _finding(
        self, name: str, needs: tuple[str, ...], examination: Callable[[], Awaitable[str]]
    ) -> Check:
        missing = [need for need in needs if need in self._failed]
        if missing:
            self._failed.add(name)
            return Check(name, Outcome.SKIPPED, f"needs: {missing[0]}")
        try:
            detail = await asyncio.wait_for(examination(), self._timeout)
        except _Skip as reason:
            return Check(name, Outcome.SKIPPED, str(reason))
        except (DurableTaskError, OSError, asyncio.TimeoutError) as error:
            self._failed.add(name)
            return _failure(name, error, self._timeout)
        return Check(name, Outcome.OK, detail)

    # --- the checks: what was found, or an exception ------------------------------------------------------

    async def _parse(self) -> str:
        text = self._text
        found = ConnectionString.from_env() if text is None else ConnectionString.parse(text)
        found = found.with_task_hub(self._task_hub)
        if found.authentication in AUTHENTICATIONS:
            self._provider = from_connection_string(found)
            stated = replace(found, authentication=None)
            self._transport = resolve_transport(stated, credential=self._provider)
        else:
            self._transport = resolve_transport(found)
        self._connection = found
        return str(found)

    def _remote(self) -> ConnectionString:
        connection = self._connection
        if connection is None or connection.is_embedded:
            raise _Skip("the hub is in this process")
        return connection

    async def _dns(self) -> str:
        connection = self._remote()
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
        addresses = sorted({str(entry[4][0]) for entry in found})
        return f"{connection.host} is {', '.join(addresses[:4])}"

    async def _tcp(self) -> str:
        connection = self._remote()
        _, writer = await asyncio.open_connection(connection.host, connection.port)
        peer = writer.get_extra_info("peername")
        await _hang_up(writer)
        return f"connected to {peer[0]} port {peer[1]}"

    async def _tls(self) -> str:
        connection = self._remote()
        if not connection.is_secure:
            raise _Skip(f"{connection.scheme}:// is plaintext")
        # The variable that gRPC itself reads.
        roots = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH") or None
        context = ssl.create_default_context(cafile=roots)
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(connection.host, connection.port, ssl=context)
        channel = writer.get_extra_info("ssl_object")
        version, certificate = channel.version(), channel.getpeercert() or {}
        await _hang_up(writer)
        return f"{version}, certificate valid until {certificate.get('notAfter', 'unknown')}"

    async def _token(self) -> str:
        if self._provider is None:
            raise _Skip("Authentication=None sends no token")
        token = await self._provider.get_token()
        left = (token.expires_at - datetime.now(timezone.utc)).total_seconds() / 60
        if left <= 0:
            raise UnauthenticatedError(
                f"The token expired at {token.expires_at:%H:%M:%S} UTC, before it arrived; the clock of this machine "
                f"says {datetime.now(timezone.utc):%H:%M:%S} UTC."
            )
        return f"valid for {left:.0f} min{_claims(token)}"

    async def _hello(self) -> str:
        transport = self._opened()
        with suppress(TaskHubNotFoundError):  # an answer, too; the next check is about the task hub
            await transport.connect()
        return f"{transport.endpoint} answers"

    async def _hub(self) -> str:
        transport = self._opened()
        await transport.connect()
        await transport.get_instance(f"durabletask-check-{uuid.uuid4().hex}", include_payloads=False)
        return f"task hub {transport.task_hub!r} exists and may be read"

    async def _query(self) -> str:
        page = await self._opened().query_instances(InstanceQuery(page_size=1))
        return "at least one instance" if page.states else "no instances yet"

    def _opened(self) -> Transport:
        if self._transport is None:
            raise ConfigurationError("There is no transport.")
        return self._transport


def _failure(name: str, error: BaseException, timeout: float) -> Check:
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    if isinstance(error, ConfigurationError) or name == "token":
        advice = ""  # these messages end with what to do
    detail = redacted(str(error)) or f"no answer within {timeout:g} s"
    return Check(name, Outcome.FAILED, detail, advice)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return  # the other side was faster


def _claims(token: AccessToken) -> str:
    """The subject of a token, if it is a JSON web token: audience, tenant and identity, which are no secrets."""
    parts = token.value.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return ""
    if not isinstance(claims, dict):
        return ""
    shown = {"aud": "audience", "tid": "tenant", "appid": "client", "oid": "object"}
    return "".join(
        f", {label} {claims[key]}" for key, label in shown.items() if isinstance(claims.get(key), str)
    )
