"""How a connection string becomes a ``Transport``, and where tokens come from (protocol sections 2.2, 2.3).

Transports and credentials of other distributions are found by entry points, see ``plugins.py``; the grammar is
in ``connection_string.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, cast

from .connection_string import ANONYMOUS, CONNECTION_STRING_VARIABLE, TASK_HUB_VARIABLE, ConnectionString
from .errors import ConfigurationError, ConnectionStringError
from .plugins import (
    AUTHENTICATION_PACKAGES,
    CREDENTIAL_ADAPTER,
    CREDENTIALS_GROUP,
    SCHEME_PACKAGES,
    TRANSPORTS_GROUP,
    load_plugin,
)
from .transport import Transport

__all__ = [
    "CONNECTION_STRING_VARIABLE",
    "CREDENTIALS_GROUP",
    "TASK_HUB_VARIABLE",
    "TRANSPORTS_GROUP",
    "AccessToken",
    "ConnectionString",
    "CredentialFactory",
    "CredentialProvider",
    "TransportFactory",
    "attach",
    "require_protection",
    "resolve_transport",
]


@dataclass(frozen=True)
class AccessToken:
    """A bearer token. Its text never appears in ``repr`` or ``str``.

    Attributes:
        value: the token, to be sent as ``authorization: Bearer <value>``.
        expires_at: when the hub stops accepting it, aware UTC. A stream that lives longer must be reopened
            with a newer token before this time.
        refresh_at: from when on ``get_token`` would rather give a newer one; ``None`` when unknown.
    """

    value: str = field(repr=False)
    expires_at: datetime
    refresh_at: datetime | None = None


class CredentialProvider(ABC):
    """Where a transport gets its tokens from: caches, refreshes, and may be called for every request."""

    @abstractmethod
    async def get_token(self, *, force_new: bool = False) -> AccessToken:
        """A token that is valid now.

        Args:
            force_new: ask the source even if the cached token looks valid; a transport does so once after
                the hub has answered UNAUTHENTICATED.

        Raises:
            UnauthenticatedError: no token can be had; the message says why and what to do.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release every resource. A later ``get_token`` fetches a new token."""

    @property
    def transport_options(self) -> Mapping[str, object]:
        """What the hubs that take these tokens are known to need, as options of a remote transport.

        Options that the caller of ``resolve_transport`` gives win over these.
        """
        return {}


class TransportFactory(Protocol):
    """What an entry point of ``durabletask.transports`` is."""

    def __call__(
        self,
        connection_string: ConnectionString,
        task_hub: str,
        *,
        credential: CredentialProvider | None,
        **options: object,
    ) -> Transport:
        """Make a transport; must not connect yet.

        ``options`` holds ``allow_insecure_credential=True`` if the user allows tokens to travel unprotected.
        """


class CredentialFactory(Protocol):
    """What an entry point of ``durabletask.credentials`` is."""

    def __call__(self, connection_string: ConnectionString) -> CredentialProvider:
        """Make a provider; must not ask for a token yet."""


def resolve_transport(
    connection_string: str | ConnectionString,
    task_hub: str | None = None,
    *,
    credential: object | None = None,
    allow_insecure_credential: bool = False,
    **options: object,
) -> Transport:
    """The transport that a connection string asks for. Nothing is connected and no token is fetched yet.

    Args:
        connection_string: text or its typed form.
        task_hub: name of the task hub, when the string does not hold it.
        credential: a ``CredentialProvider``, or an object that an installed package can adapt (a sync or async
            ``TokenCredential`` of azure-core), instead of ``Authentication=``. With ``Authentication=None`` it
            is not used, so that one program runs locally and in Azure with nothing but another string.
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
        **options: handed to the transport.

    Raises:
        ConnectionStringError: the text cannot be used.
        MissingPackageError: the scheme or the Authentication value needs a package that is not installed.
        ConfigurationError: the parts contradict each other, or a token would travel unprotected.
    """
    if not isinstance(connection_string, ConnectionString):
        connection_string = ConnectionString.parse(connection_string)
    connection_string = connection_string.with_task_hub(task_hub)
    provider = _resolve_credential(connection_string, credential)
    if provider is not None and not connection_string.is_embedded:
        if allow_insecure_credential:
            options["allow_insecure_credential"] = True
        else:
            require_protection(connection_string)
        options = {**provider.transport_options, **options}
    factory = cast(
        "TransportFactory",
        load_plugin(
            TRANSPORTS_GROUP,
            connection_string.scheme,
            f"Endpoint={connection_string.scheme}://",
            SCHEME_PACKAGES.get(connection_string.scheme),
        ),
    )
    return factory(connection_string, connection_string.task_hub or "", credential=provider, **options)


def _resolve_credential(
    connection_string: ConnectionString, credential: object | None
) -> CredentialProvider | None:
    authentication = connection_string.authentication
    if authentication == ANONYMOUS:
        return None
    if credential is not None:
        if authentication is not None:
            raise ConfigurationError(
                f"The connection string says Authentication={authentication} and a credential argument is given. "
                "Remove one of them."
            )
        if isinstance(credential, CredentialProvider):
            return credential
        return _adapt(credential, connection_string)
    if authentication is None:
        if connection_string.is_local:
            return None
        raise ConnectionStringError(
            f"The connection string has no 'Authentication', which {connection_string.endpoint} needs. Add "
            "Authentication=DefaultAzure (or another value), Authentication=None for a hub without sign-in, or "
            "give a credential argument."
            + (
                f" A plaintext hub on this machine, such as durabletask-emulator, is at http://{connection_string.host}:"
                f"{connection_string.port} and needs none."
                if connection_string.is_loopback
                else ""
            )
        )
    factory = cast(
        "CredentialFactory",
        load_plugin(
            CREDENTIALS_GROUP,
            authentication,
            f"Authentication={authentication}",
            AUTHENTICATION_PACKAGES.get(authentication),
        ),
    )
    return factory(connection_string)


def _adapt(credential: object, connection_string: ConnectionString) -> CredentialProvider:
    if isinstance(credential, (str, type)) or not callable(getattr(credential, "get_token", None)):
        shown = (
            f"the class {credential.__name__}" if isinstance(credential, type) else type(credential).__name__
        )
        raise ConfigurationError(
            f"The credential argument must be an object with a get_token method, such as "
            f"azure.identity.DefaultAzureCredential(), not {shown}."
        )
    adapter = load_plugin(
        CREDENTIALS_GROUP, CREDENTIAL_ADAPTER, "A credential argument", "durabletask-azuremanaged"
    )
    return cast("_Adapter", adapter)(credential, connection_string)


class _Adapter(Protocol):
    def __call__(self, credential: object, connection_string: ConnectionString) -> CredentialProvider: ...


def attach(
    connection: str | ConnectionString | Transport,
    task_hub: str | None,
    credential: object | None,
    *,
    allow_insecure_credential: bool = False,
) -> tuple[Transport, bool]:
    """The transport of a client or worker, and whether it was made here and is closed with its owner.

    Raises:
        ConfigurationError: the connection cannot be used, or the parts contradict each other.
    """
    if not isinstance(connection, Transport):
        made = resolve_transport(
            connection,
            task_hub,
            credential=credential,
            allow_insecure_credential=allow_insecure_credential,
        )
        return made, True
    if task_hub is not None and task_hub != connection.task_hub:
        raise ConfigurationError(
            f"The transport is for task hub {connection.task_hub!r}, the argument says {task_hub!r}. Leave the "
            "argument out."
        )
    return connection, False


def require_protection(connection_string: ConnectionString) -> None:
    """See that tokens do not travel unprotected; for transports that can be built without ``resolve_transport``.

    Raises:
        ConfigurationError: the endpoint is plaintext and not on this machine.
    """
    if connection_string.is_secure or connection_string.is_loopback:
        return
    raise ConfigurationError(
        f"A credential would travel unprotected: {connection_string.endpoint} is plaintext and "
        f"{connection_string.host} is not this machine. Use https://, or Authentication=None, or pass "
        "allow_insecure_credential=True if the network in between is trusted."
    )
