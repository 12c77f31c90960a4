"""Every method of ``Transport`` passes through the hooks of ``ForwardingTransport``, and over the wire."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from durabletask.core.forwarding import ForwardingTransport
from durabletask.core.transport import Transport
from durabletask.grpc.interruption import CallEndedError, unless_ended, unless_ended_in_a_task
from durabletask.grpc.remote import RemoteHub
from durabletask.grpc.rpcs import rpc_of
from durabletask.grpc.server_calls import UNARY_CALLS
from durabletask.grpc.transport import GrpcTransport

CALLS = [
    name
    for name, member in vars(Transport).items()
    if inspect.isfunction(member) and name not in {"now", "close"}
]
STREAMS = {"stream_history", "work_items"}


class Noting(ForwardingTransport):
    """Remembers the name of the last call."""

    endpoint = "noting://"
    task_hub = "hub"
    last = ""

    async def close(self) -> None: ...

    async def forward(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        inspect.signature(method).bind(self, *args, **kwargs)
        self.last = method.__name__

    async def forward_stream(self, method: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        inspect.signature(method).bind(self, *args, **kwargs)
        self.last = method.__name__
        return
        yield


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_forwarded_under_its_own_name(name: str) -> None:
    """A forward hands on the method that was called, with arguments that fit it."""
    transport = Noting()
    needed = [
        "argument"
        for parameter in list(inspect.signature(getattr(Transport, name)).parameters.values())[1:]
        if parameter.default is parameter.empty
    ]
    answer = getattr(transport, name)(*needed)
    if name in STREAMS:
        assert [chunk async for chunk in answer] == []
    else:
        await answer
    assert transport.last == name


@pytest.mark.parametrize("name", CALLS)
def test_a_call_travels(name: str) -> None:
    """Each call is a row of the table of RPCs, or is written out because it needs more than one message."""
    if name in vars(GrpcTransport) or name in STREAMS:
        assert name in {"connect", *vars(GrpcTransport)} or name in vars(RemoteHub)
    else:
        assert rpc_of(getattr(Transport, name)).name in UNARY_CALLS


class EndableCall:
    """A call that waits until it is ended, from this side or by an answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def cancel(self) -> bool:
        return self.answer.cancel()

    def __await__(self) -> Any:
        return self.answer.__await__()


@pytest.mark.parametrize("wait", [unless_ended, unless_ended_in_a_task])
async def test_a_call_ended_from_this_side_is_no_cancellation(wait: Any) -> None:
    """``CancelledError`` reaches the caller only when the caller is being cancelled, even if both happen at once."""
    call = EndableCall()
    asyncio.get_running_loop().call_soon(call.answer.set_result, 3)
    assert await wait(call, call) == 3

    call = EndableCall()
    asyncio.get_running_loop().call_soon(call.cancel)
    with pytest.raises(CallEndedError):
        await wait(call, call)

    call = EndableCall()
    both = asyncio.ensure_future(wait(call, call))
    await asyncio.sleep(0)
    both.cancel()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert both.cancelled()
