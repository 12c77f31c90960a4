"""Whether a server may take calls straight from gRPC's queue, in this process, with the installed gRPC.

``DirectServer`` uses an extension module that is not public. Three things must hold before it does, and any that does
not is a reason to serve through ``grpc.aio`` instead:

1. grpcio is of a version with which the tests have run (``grpc_core.TESTED_GRPCIO``). A changed meaning of a low-level operation
   would not raise an error but end the process, so an unknown version is not tried.
2. The module has every name that is used (``grpc_core.load``).
3. A server made of it answers a client on the loopback interface: one call with an answer, one with a stream, one that
   is refused. This takes a few milliseconds, once per process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from typing import TYPE_CHECKING, Final

from durabletask.core.logs import get_logger

import grpc
import grpc.aio

from . import grpc_core
from .direct_server import DirectServer

if TYPE_CHECKING:
    from .channel import StreamCall, UnaryCall
    from .grpc_core import GrpcCore
    from .incoming_call import Context

__all__ = ["find_core"]

_LOGGER: Final = get_logger("durabletask.grpc.server")

_TIMEOUT: Final = 5.0  # seconds of each call of the self-test, and of its connection
_ECHO, _STREAM, _REFUSE = "/SelfTest/Echo", "/SelfTest/Stream", "/SelfTest/Refuse"

_verdicts: dict[GrpcCore, str] = {}
"""Outcome of the self-test for each core: the reason against it, or an empty text."""


async def find_core() -> GrpcCore | None:
    """The parts of gRPC to make a ``DirectServer`` of; ``None`` when one should not be made, which is logged."""
    core = None
    first, last = grpc_core.TESTED_GRPCIO
    if not grpc_core.is_tested_grpcio():
        version = importlib.metadata.version("grpcio")
        reason = (
            f"grpcio {version} is not one of the tested versions {first[0]}.{first[1]} to {last[0]}.{last[1]}"
        )
    else:
        core = grpc_core.load()
        reason = "the installed grpcio lacks a part that is needed" if core is None else await _verdict(core)
    if reason:
        _LOGGER.info("Calls are served through grpc.aio, at about twice the CPU time per call: %s.", reason)
        return None
    return core


async def _verdict(core: GrpcCore) -> str:
    if core not in _verdicts:
        try:
            await _self_test(core)
        except Exception as error:  # noqa: BLE001 - any failure is a reason to serve in the other way
            _verdicts[core] = f"the self-test failed ({type(error).__name__}: {error})"
        else:
            _verdicts[core] = ""
    return _verdicts[core]


async def _self_test(core: GrpcCore) -> None:
    """Serve three calls.

    Raises:
        Exception: of any kind, when one of them is not served as it should be.
    """
    server = DirectServer(core, {_ECHO: _echo, _STREAM: _stream, _REFUSE: _refuse}, ())
    port = server.listen("127.0.0.1:0", None)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=(("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)),
        ) as channel:
            echo: UnaryCall = channel.unary_unary(_ECHO)
            stream: StreamCall = channel.unary_stream(_STREAM)
            refused: UnaryCall = channel.unary_unary(_REFUSE)
            answer = await echo(b"request", timeout=_TIMEOUT, metadata=(("self-test", "header"),))
            messages = [message async for message in stream(b"", timeout=_TIMEOUT)]
            status = await refused(b"", timeout=_TIMEOUT).code()
    finally:
        with contextlib.suppress(asyncio.TimeoutError):
            # Cancelling the connection at once would make gRPC write a line about it to stderr.
            await asyncio.wait_for(server.stop(1), _TIMEOUT)
    found = (answer, messages, status)
    if found != (b"requestheader", [b"1", b"2"], grpc.StatusCode.NOT_FOUND):
        raise RuntimeError(f"calls were answered with {found}")


async def _echo(request: bytes, call: Context) -> bytes:
    headers = {key: str(value) for key, value in call.invocation_metadata() or ()}
    return request + headers["self-test"].encode()


async def _stream(request: bytes, call: Context) -> None:
    del request
    await call.send_initial_metadata(())
    await call.write(b"1")
    await call.write(b"2")


async def _refuse(request: bytes, call: Context) -> None:
    del request
    await call.abort(grpc.StatusCode.NOT_FOUND, "as it should be")
