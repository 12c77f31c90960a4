"""Client and worker from host address, task hub and credential instead of a connection string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from durabletask.core.client import DurableTaskClient
from durabletask.core.connection import CredentialProvider, resolve_transport
from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import ConfigurationError, ConnectionStringError
from durabletask.core.options import ClientOptions, WorkerOptions, check_options
from durabletask.core.worker import DurableTaskWorker
from typing_extensions import Unpack

from .credentials import from_credential
from .token_cache import SCHEDULER_OPTIONS

if TYPE_CHECKING:
    from durabletask.core.transport import Transport

__all__ = ["DurableTaskSchedulerClient", "DurableTaskSchedulerWorker", "scheduler_transport"]


def scheduler_transport(
    *,
    host_address: str,
    taskhub: str,
    token_credential: object | None,
    secure_channel: bool = True,
    resource_id: str | None = None,
    allow_insecure_credential: bool = False,
    transport_options: Mapping[str, object] | None = None,
) -> Transport:
    """A transport to a task hub of the scheduler, or of its local emulator. Nothing is connected yet.

    Timers are never split, and instance ids are checked against the scheduler's limit, also without a credential.

    Args:
        host_address: ``https://name.region.durabletask.io``, or ``host:port``. A scheme decides about TLS.
        taskhub: name of the task hub.
        token_credential: a sync or async ``TokenCredential``; ``None`` for a hub without sign-in.
        secure_channel: whether to use TLS when the address has no scheme.
        resource_id: the resource to request tokens for; ``None`` means that of the cloud.
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
        transport_options: passed to the transport.

    Raises:
        ConfigurationError: an argument cannot be used; the message names it.
    """
    if not host_address.strip():
        raise ConfigurationError("host_address is empty. Write 'https://<name>.<region>.durabletask.io'.")
    if "=" in host_address:
        raise ConfigurationError(
            "host_address looks like a connection string. Give that to DurableTaskClient and DurableTaskWorker of "
            "'durabletask', or the bare address here."
        )
    if not taskhub or not taskhub.strip():
        raise ConnectionStringError("taskhub is empty. Give the name of the task hub.")
    address = host_address.strip()
    if "://" not in address and not secure_channel:
        address = f"http://{address}"
    authentication = "None" if token_credential is None else None
    connection = ConnectionString(endpoint=address, task_hub=taskhub, authentication=authentication)
    credential = token_credential
    if credential is not None and resource_id is not None and not isinstance(credential, CredentialProvider):
        credential = from_credential(credential, connection, resource_id=resource_id)
    return resolve_transport(
        connection,
        None,
        credential=credential,
        allow_insecure_credential=allow_insecure_credential,
        **{**SCHEDULER_OPTIONS, **(transport_options or {})},
    )


class DurableTaskSchedulerClient(DurableTaskClient):
    """A ``DurableTaskClient`` from host address, task hub and credential.

    Args:
        host_address: ``https://name.region.durabletask.io``, or ``host:port``. A scheme decides about TLS.
        taskhub: name of the task hub.
        token_credential: a sync or async ``TokenCredential``; ``None`` for a hub without sign-in.
        secure_channel: whether to use TLS when the address has no scheme.
        resource_id: the resource to request tokens for; ``None`` means that of the cloud.
        transport_options: passed to the transport.
        **options: as of ``DurableTaskClient``, see ``ClientOptions``.
    """

    def __init__(
        self,
        *,
        host_address: str,
        taskhub: str,
        token_credential: object | None,
        secure_channel: bool = True,
        resource_id: str | None = None,
        transport_options: Mapping[str, object] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        check_options(self, ClientOptions, options)
        transport = scheduler_transport(
            host_address=host_address,
            taskhub=taskhub,
            token_credential=token_credential,
            secure_channel=secure_channel,
            resource_id=resource_id,
            allow_insecure_credential=options.get("allow_insecure_credential", False),
            transport_options=transport_options,
        )
        super().__init__(transport, **options)
        self._owns_transport = True


class DurableTaskSchedulerWorker(DurableTaskWorker):
    """A ``DurableTaskWorker`` from host address, task hub and credential.

    Args:
        host_address: ``https://name.region.durabletask.io``, or ``host:port``. A scheme decides about TLS.
        taskhub: name of the task hub.
        token_credential: a sync or async ``TokenCredential``; ``None`` for a hub without sign-in.
        secure_channel: whether to use TLS when the address has no scheme.
        resource_id: the resource to request tokens for; ``None`` means that of the cloud.
        transport_options: passed to the transport.
        **options: as of ``DurableTaskWorker``, see ``WorkerOptions``.
    """

    def __init__(
        self,
        *,
        host_address: str,
        taskhub: str,
        token_credential: object | None,
        secure_channel: bool = True,
        resource_id: str | None = None,
        transport_options: Mapping[str, object] | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        check_options(self, WorkerOptions, options)
        transport = scheduler_transport(
            host_address=host_address,
            taskhub=taskhub,
            token_credential=token_credential,
            secure_channel=secure_channel,
            resource_id=resource_id,
            allow_insecure_credential=options.get("allow_insecure_credential", False),
            transport_options=transport_options,
        )
        super().__init__(transport, **options)
        self._owns_transport = True
