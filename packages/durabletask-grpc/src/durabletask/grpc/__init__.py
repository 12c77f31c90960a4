"""The gRPC transport of durabletask: a client of task hubs, and a server for any ``Transport``.

``GrpcTransport`` and ``TaskHubServer`` are found here and imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .address import ChannelOptions
    from .incoming_call import Context, Handler
    from .server import TaskHubServer
    from .transport import GrpcTransport

__all__ = ["ChannelOptions", "Context", "GrpcTransport", "Handler", "TaskHubServer"]

_HOMES = {
    "ChannelOptions": "address",
    "Context": "incoming_call",
    "GrpcTransport": "transport",
    "Handler": "incoming_call",
    "TaskHubServer": "server",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only when something is asked for

    return getattr(import_module(f"{__name__}.{home}"), name)
