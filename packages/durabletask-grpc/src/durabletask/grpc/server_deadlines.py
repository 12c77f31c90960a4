"""The check before the deadline of a wait: whether its instance exists (protocol section 12.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durabletask.core.errors import TransportError
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

from .incoming_call import Context
from .server_hub import ServedHub

__all__ = ["DeadlineWatch"]


class DeadlineWatch:
    """Looks, shortly before the deadline of a wait, whether its instance exists; if not, cancels the wait.

    Made in the task of the call.
    """

    def __init__(self, hub_of: Callable[[Context], ServedHub], data: bytes, context: Context) -> None:
        self.is_missing: bool = False
        self._hub_of = hub_of
        self._data = data
        self._context = context
        self._call = asyncio.current_task()
        self._looking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """The deadline is near."""
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def stop(self) -> None:
        """The wait is over."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        instance_id = pb.GetInstanceRequest.FromString(self._data).instanceId
        transport = self._hub_of(self._context).transport
        try:
            found = await transport.get_instance(instance_id, include_payloads=False)
        except TransportError:
            return  # the wait itself raises the error
        if found is None and self._call is not None:
            self.is_missing = True
            self._call.cancel()
