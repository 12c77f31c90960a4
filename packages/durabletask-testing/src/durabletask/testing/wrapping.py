"""``WrappedTransport``: a transport in front of another one. Override what should behave differently."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from durabletask.core.forwarding import ForwardingTransport, StreamMethod, UnaryMethod, method_of
from durabletask.core.transport import Transport

__all__ = ["WrappedTransport"]

P = ParamSpec("P")
T = TypeVar("T")


class WrappedTransport(ForwardingTransport):
    """Passes every call on. The base of fault injection, recorders and deliberately broken transports.

    Override single methods, and call ``self.inner`` or ``super()`` in them; override ``forward`` or
    ``forward_stream`` to see every call.

    Args:
        inner: the transport that does the work.
    """

    def __init__(self, inner: Transport) -> None:
        self.inner: Transport = inner

    @property
    def endpoint(self) -> str:
        return self.inner.endpoint

    @property
    def task_hub(self) -> str:
        return self.inner.task_hub

    @property
    def maximum_timer_interval(self) -> timedelta | None:
        return self.inner.maximum_timer_interval

    @property
    def maximum_instance_id_length(self) -> int | None:
        return self.inner.maximum_instance_id_length

    def now(self) -> datetime:
        return self.inner.now()

    async def close(self) -> None:
        await self.inner.close()

    async def forward(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await method_of(self.inner, method)(*args, **kwargs)

    async def forward_stream(
        self, method: StreamMethod[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        stream = method_of(self.inner, method)(*args, **kwargs)
        try:
            async for answer in stream:
                yield answer
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
