"""``AioServer``: the same as ``DirectServer`` on the public ``grpc.aio``, for a gRPC that has changed underneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    from .incoming_call import Handler

__all__ = ["AioServer"]


class AioServer(grpc.GenericRpcHandler):
    """A gRPC server on the loop that runs when it starts.

    Args:
        unary: path of a method -> what serves it, with one answer.
        streams: the same of methods that answer with any number of messages.
        options: channel arguments of gRPC.
    """

    def __init__(
        self,
        unary: Mapping[str, Handler],
        streams: Mapping[str, Handler],
        options: Sequence[tuple[str, object]],
    ) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            **{path: grpc.unary_unary_rpc_method_handler(handler) for path, handler in unary.items()},
            **{path: grpc.unary_stream_rpc_method_handler(handler) for path, handler in streams.items()},
        }
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((self,))

    def listen(self, address: str, tls: tuple[bytes, bytes] | None) -> int:
        """Listen on an address; the port. See ``DirectServer.listen``."""
        if tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, grpc.ssl_server_credentials([tls]))

    async def start(self) -> None:
        """Serve."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Take no more calls; those under way have ``grace`` seconds."""
        await self._server.stop(grace)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Find the handler of a call; part of gRPC's interface for handlers."""
        return self._methods.get(str(handler_call_details.method))
