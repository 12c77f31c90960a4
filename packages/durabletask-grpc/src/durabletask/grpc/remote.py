"""The calls of a transport, in core's types on this side and protobuf on the other.

Calls with one answer are rows of the table in ``rpcs``. Those that need more than one message stand here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import timedelta
from typing import Final, ParamSpec, TypeVar

from durabletask.core.errors import (
    InstanceNotFoundError,
    InvalidRequestError,
    TransportTimeoutError,
    TransportUnavailableError,
)
from durabletask.core.forwarding import UnaryMethod
from durabletask.core.history import HistoryEvent
from durabletask.core.hosting.backoff import Backoff
from durabletask.core.instances import OrchestrationState
from durabletask.core.work_items import OrchestratorResult, WorkItem, WorkItemStreamOptions
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from .calls import SERVER_HEADER, Caller, encode
from .codec.completions import encode_completion
from .codec.history import decode_events
from .proto._generated import orchestrator_service_pb2 as pb
from .rpcs import decode_instance, encode_instance_request, rpc_of
from .stream_relay import StreamRelay
from .work_stream import read_work_items

__all__ = ["RemoteHub"]

_HELLO_TIMEOUT: Final = 30.0
_LONGEST_WAIT: Final = 600.0  # of one call; a longer wait is a row of calls
_RESTART_TIME: Final = 60.0  # seconds for which a wait goes on without a hub
P = ParamSpec("P")
T = TypeVar("T")


class RemoteHub:
    """A task hub on the other side of a connection.

    Args:
        caller: makes the calls.
        call_timeout: deadline in seconds of every call that is no wait and no stream.
        completion_size: bytes above which the answer to an episode is sent in parts.
        silence_limit: a stream without a message for this long is given up.
        is_scanning: whether histories are scanned instead of parsed; see ``codec.scanner``.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        call_timeout: float,
        completion_size: int,
        silence_limit: timedelta,
        is_scanning: bool = True,
    ) -> None:
        self._caller = caller
        self._relays: set[StreamRelay] = set()
        self._timeout = call_timeout
        self._completion_size = completion_size
        self._silence_limit = silence_limit.total_seconds()
        self._is_scanning = is_scanning

    async def hello(self) -> bool:
        """Make sure that the hub answers; whether it is a server of this project."""
        _, call = await self._caller.exchange("Hello", Empty().SerializeToString(), timeout=_HELLO_TIMEOUT)
        return SERVER_HEADER in {str(key) for key, _ in await call.initial_metadata() or ()}

    async def close(self) -> None:
        """Close the channel. A later call opens a new one."""
        await self._caller.channels.close()

    async def call(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call with one answer; see ``ForwardingTransport.forward``."""
        rpc = rpc_of(method)
        request = _build(rpc.name, lambda: rpc.encode(*args, **kwargs))
        timeout = self._timeout
        if rpc.extra_time is not None:
            timeout += rpc.extra_time(*args, **kwargs)
        result = await self._caller.call(rpc.name, request, rpc.decode, timeout=timeout)
        if rpc.token is not None:
            self._settled(rpc.token(*args, **kwargs))
        return result

    async def wait(
        self, rpc: str, instance_id: str, include_payloads: bool, timeout: timedelta | None
    ) -> OrchestrationState | None:
        """Wait for an instance by as many calls as it takes; ``None`` at the time-out.

        Asking again is safe, so a call that is cut by a restart of the hub is repeated while the hub, which has
        answered this transport before, is away for no longer than ``_RESTART_TIME``.

        Raises:
            InstanceNotFoundError: there is none, or it was purged meanwhile.
            TransportError: the hub cannot be reached.
        """
        request = _build(rpc, lambda: encode_instance_request(instance_id, include_payloads=include_payloads))
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + max(timeout.total_seconds(), 0.0)
        pauses, channels = _Pauses(loop.time), self._caller.channels
        closings = channels.closings
        while True:
            rest = _LONGEST_WAIT if deadline is None else deadline - loop.time()
            if rest <= 0:
                return None
            began, limit = loop.time(), min(rest, _LONGEST_WAIT)
            try:
                state = await self._caller.call(rpc, request, decode_instance, timeout=limit)
            except (
                TransportTimeoutError
            ):  # the deadline was ours, or that of the hub for one call; ours decides
                if loop.time() - began < limit * 0.95:
                    await pauses.take(rest)
                continue
            except TransportUnavailableError:
                if channels.closings != closings or not channels.has_succeeded:
                    raise
                if not await pauses.take(rest):
                    raise
                continue
            if state is not None:
                return state
            if loop.time() - began >= limit - _end_of_wait(limit):
                if deadline is not None and limit == rest:
                    return None
                continue
            raise InstanceNotFoundError(
                f"Instance {instance_id!r} is not in task hub {self._caller.task_hub!r} at {self._caller.address.endpoint}; "
                "it was purged, or never created."
            )

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode, in several messages if it is large."""
        rpc = "CompleteOrchestratorTask"
        for part in _build(rpc, lambda: encode_completion(result, self._completion_size)):
            await self._caller.exchange(rpc, encode(rpc, part), timeout=self._timeout)
        self._settled(result.completion_token)

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncGenerator[Sequence[HistoryEvent], None]:
        """The history of an instance, in chunks."""
        rpc = "StreamInstanceHistory"
        request = _build(rpc, lambda: pb.StreamInstanceHistoryRequest(instanceId=instance_id))
        if execution_id is not None:
            request.executionId.value = execution_id
        async with self._caller.stream(
            rpc, encode(rpc, request), silence_limit=self._silence_limit
        ) as chunks:
            async for data in chunks:
                try:
                    events = decode_events(pb.HistoryChunk.FromString(data).events)
                except DecodeError as error:
                    raise self._caller.unreadable(rpc, error) from None
                yield events

    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """A stream of work."""
        return read_work_items(
            self._caller,
            options,
            silence_limit=self._silence_limit,
            relays=self._relays,
            is_scanning=self._is_scanning,
        )

    def _settled(self, completion_token: str) -> None:
        for relay in self._relays:
            relay.settled(completion_token)


class _Pauses:
    """The pauses of one wait between calls that end too early, growing with full jitter.

    A call that lasted longer than the longest pause begins the count anew.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._backoff = Backoff(first=0.2, longest=5.0)
        self._count = 0
        self._began = self._last = now()

    async def take(self, rest: float) -> bool:
        """Pause for no more than ``rest`` seconds; whether the row of early ends is shorter than a restart may take."""
        now = self._now()
        if now - self._last > self._backoff.longest:
            self._count, self._began = 0, now
        delay = min(self._backoff.delay(self._count), rest)
        self._count += 1
        await self._backoff.wait(delay)
        self._last = self._now()
        return self._last - self._began < _RESTART_TIME


def _end_of_wait(limit: float) -> float:
    """The last seconds of a call in which "no such instance" means that the time is over.

    Hubs answer so at the deadline, and ours answers half a second, or a tenth of the time, before it. Earlier in a
    call it means that the instance was purged.
    """
    return max(limit * 0.05, min(limit * 0.2, 0.75))


def _build(rpc: str, make: Callable[[], T]) -> T:
    """A request from core's types; values that the protocol cannot carry are the caller's fault."""
    try:
        return make()
    except InvalidRequestError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"The request for {rpc} cannot be encoded: {error}") from None
