"""The gRPC transport of durabletask: a client of task hubs, and a server for any ``Transport``.

``GrpcTransport`` and ``TaskHubServer`` are found here and imported when they are first asked for.

Importing this package switches gRPC's fork support off (``GRPC_ENABLE_FORK_SUPPORT=0``), unless the variable is set or
gRPC was imported before. With it, a process that forks while a call is open, as a process pool in an activity does,
crashes in a third of all cases. gRPC cannot be used in the forked process either way; see ``channel``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if "grpc" not in sys.modules:
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

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
