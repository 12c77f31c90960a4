"""The gRPC transport of durabletask: a client of task hubs, and a server for any ``Transport``.

``GrpcTransport`` and ``TaskHubServer`` are found here and imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .address import ChannelOptions
    from .server import TaskHubServer
    from .transport import GrpcTransport

__all__ = ["ChannelOptions", "GrpcTransport", "TaskHubServer"]

_HOMES = {"ChannelOptions": "address", "GrpcTransport": "transport", "TaskHubServer": "server"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only when something is asked for

    return getattr(import_module(f"{__name__}.{home}"), name)
