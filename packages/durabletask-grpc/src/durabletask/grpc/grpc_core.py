"""What ``DirectServer`` uses of gRPC beneath its two Python servers, and whether the installed gRPC has it.

``grpc.Server`` and ``grpc.aio.Server`` are Python code over one extension module. Both hand every message from
thread to thread several times, and those hand-overs cost more than all the rest of a call.

The extension module is not a public interface and may change in any minor version. So no other module names it, the
parts are typed here as protocols, and ``load`` looks for every name before anything is used. ``direct_check`` decides
whether a server uses what ``load`` returns.

This module imports nothing of gRPC: the emulator asks ``is_tested_grpcio`` before gRPC is imported.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "NO_METADATA",
    "TESTED_GRPCIO",
    "Batch",
    "CoreCall",
    "CoreEvent",
    "CoreQueue",
    "CoreServer",
    "GrpcCore",
    "is_tested_grpcio",
    "load",
]

_MODULE: Final = "grpc._cython.cygrpc"
NO_METADATA: Final[tuple[tuple[str, str], ...]] = ()

TESTED_GRPCIO: Final[tuple[tuple[int, int], tuple[int, int]]] = ((1, 63), (1, 85))
"""First and last minor version of grpcio that the tests cover (``hatch run wire-range:test``)."""

Tag: TypeAlias = "Callable[[CoreEvent], None]"
"""What is called when an operation has ended: it travels through the queue with the operation."""

Batch: TypeAlias = "tuple[CoreOperation, ...]"
"""Operations that are started together and end together."""


class CoreOperation(Protocol):
    """One operation of a call. Which methods it has depends on its kind."""

    def message(self) -> bytes | None:
        """The message that was received; ``None`` if none came."""

    def cancelled(self) -> bool:
        """Whether the call ended before its status was sent."""


class CallDetails(Protocol):
    """What a call is for."""

    method: bytes
    deadline: float
    """Seconds since 1970; infinite when there is none."""


class CoreCall(Protocol):
    """A call of a client."""

    def start_server_batch(self, operations: Batch, tag: Tag) -> int:
        """Begin operations; 0, or the number of an error, and then ``tag`` is never called."""


class CoreEvent(Protocol):
    """An operation, or a batch, has ended."""

    completion_type: int
    success: bool
    tag: Tag
    call: CoreCall
    call_details: CallDetails
    invocation_metadata: Sequence[tuple[str, str | bytes]]
    batch_operations: Sequence[CoreOperation]


class CoreQueue(Protocol):
    """Where ended operations arrive."""

    def poll(self, deadline: float | None) -> CoreEvent:
        """The next event, at the latest at the deadline (seconds since 1970); 0: what is there already."""

    def shutdown(self) -> None:
        """Accept no further operations; the last event signals that none is left."""


class CoreServer(Protocol):
    """Listens, and receives calls."""

    def register_completion_queue(self, queue: CoreQueue) -> None:
        """Set where events arrive; call it before ``start``."""

    def add_http2_port(self, address: bytes, credentials: object = None) -> int:
        """Listen on an address; the port, or 0."""

    def start(self) -> None:
        """Take connections."""

    def request_call(self, call_queue: CoreQueue, server_queue: CoreQueue, tag: Tag) -> object:
        """Ask for the next call."""

    def shutdown(self, queue: CoreQueue, tag: Tag) -> None:
        """Stop listening; the tag is called when no call is left."""

    def cancel_all_calls(self) -> None:
        """End the calls that are left, after ``shutdown``."""

    def destroy(self) -> None:
        """Free what the server holds, after ``shutdown``."""


class GrpcCore(NamedTuple):
    """The parts of gRPC that a server is made of."""

    server: Callable[[Sequence[tuple[str, object]], bool], CoreServer]
    queue: Callable[[], CoreQueue]
    queue_is_empty: int
    """``completion_type`` of an event that only signals that the deadline has passed."""
    queue_is_shut: int
    send_headers: Callable[[Sequence[tuple[str, str]], int], CoreOperation]
    send_message: Callable[[bytes, int], CoreOperation]
    send_status: Callable[[Sequence[tuple[str, str]], int, bytes, int], CoreOperation]
    receive_message: Callable[[int], CoreOperation]
    receive_close: Callable[[int], CoreOperation]
    tls: Callable[[bytes, bytes], object]
    """From private key and certificate chain, both PEM, to what a server listens with."""


def is_tested_grpcio() -> bool:
    """Whether the installed grpcio is one of the versions that the tests cover."""
    try:
        version = importlib.metadata.version("grpcio")
        minor = tuple(int(part) for part in version.split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    first, last = TESTED_GRPCIO
    return first <= minor <= last


@functools.lru_cache(maxsize=1)
def load() -> GrpcCore | None:
    """The parts; ``None`` when the installed gRPC lacks one of them."""
    try:
        module = importlib.import_module(_MODULE)
        return _parts(module)
    except (ImportError, AttributeError):
        return None


_NEEDED: Final = {
    "Server": (
        "register_completion_queue",
        "add_http2_port",
        "start",
        "request_call",
        "shutdown",
        "cancel_all_calls",
        "destroy",
    ),
    "CompletionQueue": ("poll", "shutdown"),
    "CompletionType": ("queue_timeout", "queue_shutdown"),
    "Call": ("start_server_batch",),
    "SendInitialMetadataOperation": (),
    "SendMessageOperation": (),
    "SendStatusFromServerOperation": (),
    "ReceiveMessageOperation": ("message",),
    "ReceiveCloseOnServerOperation": ("cancelled",),
    "server_credentials_ssl": (),
    "SslPemKeyCertPair": (),
}
"""Names of the module that are used, and what is used of each."""


def _parts(module: ModuleType) -> GrpcCore:
    for name, members in _NEEDED.items():
        for member in members:
            getattr(getattr(module, name), member)
    credentials, pair = module.server_credentials_ssl, module.SslPemKeyCertPair
    return GrpcCore(
        server=module.Server,
        queue=module.CompletionQueue,
        queue_is_empty=module.CompletionType.queue_timeout,
        queue_is_shut=module.CompletionType.queue_shutdown,
        send_headers=module.SendInitialMetadataOperation,
        send_message=module.SendMessageOperation,
        send_status=module.SendStatusFromServerOperation,
        receive_message=module.ReceiveMessageOperation,
        receive_close=module.ReceiveCloseOnServerOperation,
        tls=lambda key, chain: credentials(
            None, [pair(key, chain)], False
        ),  # asks clients for no certificate
    )
