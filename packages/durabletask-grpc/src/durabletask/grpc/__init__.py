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
    from .address import ChannelOptions as ChannelOptions
    from .incoming_call import Context as Context
    from .incoming_call import Handler as Handler
    from .server import TaskHubServer as TaskHubServer
    from .transport import GrpcTransport as GrpcTransport
else:
    from durabletask.core.lazy import lazy_names

    __all__, __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "address": ("ChannelOptions",),
            "incoming_call": ("Context", "Handler"),
            "server": ("TaskHubServer",),
            "transport": ("GrpcTransport",),
        },
    )
