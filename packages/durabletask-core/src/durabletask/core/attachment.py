"""How a client or worker gets at its transport: given, or made from a connection string."""

from __future__ import annotations

from .connection import resolve_transport
from .connection_string import ConnectionString
from .errors import ConfigurationError
from .transport import Transport

__all__ = ["attach"]


def attach(
    connection: str | ConnectionString | Transport,
    task_hub: str | None,
    credential: object | None,
    *,
    allow_insecure_credential: bool = False,
) -> tuple[Transport, bool]:
    """The transport, and whether it was made here and is to be closed with its user.

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
