"""``GrpcTransport``: a task hub on the other side of a gRPC connection.

This module has the options and the life cycle; ``remote`` has the calls. It is imported by the first of
them, because gRPC takes a good part of a tenth of a second to import.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, cast

from durabletask.core.connection import require_protection
from durabletask.core.connection_string import ConnectionString
from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import (
    ConfigurationError,
)
from durabletask.core.history import HistoryEvent, TraceContext
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    PurgeRequest,
    PurgeResult,
)
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

from .address import Address, ChannelOptions

if TYPE_CHECKING:
    from durabletask.core.connection import CredentialProvider

    from .remote import RemoteHub

__all__ = [
    "DEFAULT_COMPLETION_SIZE",
    "DEFAULT_MAXIMUM_TIMER_INTERVAL",
    "SILENCE_LIMIT",
    "GrpcTransport",
    "from_connection_string",
]

DEFAULT_COMPLETION_SIZE: Final[int] = 4_089_446
"""Bytes of a completion message up to which it is sent as one: a little under gRPC's usual 4 MiB."""

SILENCE_LIMIT: Final[timedelta] = timedelta(seconds=120)
"""A stream without any message for this long is dead; hubs send pings well below it."""

DEFAULT_MAXIMUM_TIMER_INTERVAL: Final[timedelta] = timedelta(days=3)
"""The longest timer that is asked of a hub of which nothing is known."""

_OPTIONS: Final = frozenset(
    {
        "allow_insecure_credential",
        "call_timeout",
        "completion_size",
        "maximum_instance_id_length",
        "maximum_timer_interval",
        "options",
        "silence_limit",
        "user_agent",
    }
)


class GrpcTransport(Transport):
    """A connection to a task hub over gRPC. Building it opens nothing.

    It belongs to whatever event loop uses it; in another loop it opens another channel.

    Args:
        endpoint: ``http://``, ``https://``, ``grpc://`` or ``grpcs://`` address; ``https``/``grpcs`` use TLS.
        task_hub: name of the task hub.
        credential: where bearer tokens come from; ``None`` sends none.
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
        call_timeout: deadline of every call that is no wait and no stream.
        maximum_timer_interval: the longest timer the hub takes. ``"auto"``: three days, any length once
            ``connect`` has found a server of this project.
        maximum_instance_id_length: the longest instance id the hub takes; ``None``: any length.
        completion_size: bytes above which the answer to an episode is sent in parts.
        silence_limit: a stream of work items without a sign of life for this long is given up.
        options: of the gRPC channel.
        user_agent: the ``x-user-agent`` header.

    Raises:
        ConfigurationError: the endpoint is no address of a hub, or tokens would travel unprotected.
    """

    def __init__(
        self,
        endpoint: str,
        task_hub: str = "default",
        *,
        credential: CredentialProvider | None = None,
        allow_insecure_credential: bool = False,
        call_timeout: timedelta = timedelta(seconds=30),
        maximum_timer_interval: timedelta | Literal["auto"] | None = "auto",
        maximum_instance_id_length: int | None = None,
        completion_size: int = DEFAULT_COMPLETION_SIZE,
        silence_limit: timedelta = SILENCE_LIMIT,
        options: ChannelOptions | None = None,
        user_agent: str | None = None,
    ) -> None:
        self._address = Address.parse(endpoint)
        if credential is not None and not allow_insecure_credential:
            require_protection(ConnectionString(endpoint=endpoint))
        self._task_hub = task_hub
        self._credential = credential
        self._timer_interval = maximum_timer_interval
        self._takes_any_timer = False
        self._maximum_instance_id_length = maximum_instance_id_length
        self._make_remote = partial(
            _make_remote,
            address=self._address,
            task_hub=task_hub,
            credential=credential,
            options=options or ChannelOptions(),
            user_agent=user_agent,
            call_timeout=call_timeout.total_seconds(),
            completion_size=completion_size,
            silence_limit=silence_limit,
        )
        self._remote: RemoteHub | None = None

    def __repr__(self) -> str:
        return f"GrpcTransport({self.endpoint!r}, {self.task_hub!r})"

    # --- what the transport is ----------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The address of the hub, with its scheme."""
        return self._address.endpoint

    @property
    def task_hub(self) -> str:
        """Name of the task hub."""
        return self._task_hub

    @property
    def maximum_timer_interval(self) -> timedelta | None:
        """The longest timer the hub takes; read it after ``connect``."""
        if self._timer_interval != "auto":
            return self._timer_interval
        return None if self._takes_any_timer else DEFAULT_MAXIMUM_TIMER_INTERVAL

    @property
    def maximum_instance_id_length(self) -> int | None:
        """The longest instance id the hub takes."""
        return self._maximum_instance_id_length

    # --- life cycle -----------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Make sure that the hub answers (Hello, with a deadline of 30 s)."""
        self._takes_any_timer = await (await self._open()).hello()

    async def close(self) -> None:
        """Close the channel and the credential. A later call opens a new channel."""
        if self._remote is not None:
            await self._remote.close()
        if self._credential is not None:
            await self._credential.close()

    async def _open(self) -> RemoteHub:
        """The calls. The first one imports gRPC, in a thread: the event loop has better things to do."""
        if self._remote is None:
            if not _is_imported():
                # Always in a thread: it may also have to wait for the thread of another transport.
                await asyncio.to_thread(importlib.import_module, "durabletask.grpc.remote")
            if self._remote is None:
                self._remote = self._make_remote()
        return self._remote

    # --- client half ----------------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        """Create an instance and return its id."""
        return await (await self._open()).create_instance(request)

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None``."""
        return await (await self._open()).get_instance(instance_id, include_payloads=include_payloads)

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is no longer PENDING; ``None`` at the time-out."""
        return await (await self._open()).wait_for_instance_start(
            instance_id, include_payloads=include_payloads, timeout=timeout
        )

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is terminal; ``None`` at the time-out."""
        return await (await self._open()).wait_for_instance_completion(
            instance_id, include_payloads=include_payloads, timeout=timeout
        )

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        """Deliver an external event."""
        await (await self._open()).raise_event(instance_id, name, data)

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED."""
        await (await self._open()).terminate_instance(instance_id, output=output, recursive=recursive)

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance."""
        await (await self._open()).suspend_instance(instance_id, reason=reason)

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume an instance."""
        await (await self._open()).resume_instance(instance_id, reason=reason)

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """One page of instances."""
        return await (await self._open()).query_instances(query)

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        """One page of ids of terminal instances."""
        return await (await self._open()).list_instance_ids(query)

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        """Remove terminal instances."""
        return await (await self._open()).purge_instances(request)

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run a terminal instance again from its start."""
        return await (await self._open()).restart_instance(
            instance_id, with_new_instance_id=with_new_instance_id
        )

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures of a FAILED instance and go on."""
        await (await self._open()).rewind_instance(instance_id, reason=reason)

    async def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """The history of an instance, in chunks."""
        remote = await self._open()
        async with aclosing(remote.stream_history(instance_id, execution_id=execution_id)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        """End instances as TERMINATED without running them; the ids that could not."""
        return await (await self._open()).force_terminate_instances(instance_ids, reason=reason)

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Create the task hub."""
        await (await self._open()).create_task_hub(recreate_if_exists=recreate_if_exists)

    async def delete_task_hub(self) -> None:
        """Delete the task hub."""
        await (await self._open()).delete_task_hub()

    # --- client half, entities ------------------------------------------------------------------------------

    async def signal_entity(
        self,
        instance_id: str,
        operation: str,
        *,
        input: str | None = None,  # noqa: A002 - the protocol's word
        request_id: str | None = None,
        scheduled_time: datetime | None = None,
        trace_context: TraceContext | None = None,
    ) -> None:
        """Send a one-way message to an entity."""
        await (await self._open()).signal_entity(
            instance_id,
            operation,
            input=input,
            request_id=request_id,
            scheduled_time=scheduled_time,
            trace_context=trace_context,
        )

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        """The metadata of an entity, or ``None``."""
        return await (await self._open()).get_entity(instance_id, include_state=include_state)

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """One page of entities."""
        return await (await self._open()).query_entities(query)

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release orphaned locks; one bounded step."""
        return await (await self._open()).clean_entity_storage(
            remove_empty_entities=remove_empty_entities,
            release_orphaned_locks=release_orphaned_locks,
            continuation_token=continuation_token,
        )

    # --- worker half ----------------------------------------------------------------------------------------

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """A stream of work."""
        remote = await self._open()
        async with aclosing(remote.work_items(options)) as items:
            async for item in items:
                yield item

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode, in several messages if it is large."""
        await (await self._open()).complete_orchestrator(result)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Answer an activity."""
        await (await self._open()).complete_activity(result)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Commit an entity batch."""
        await (await self._open()).complete_entity(result)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """Give an episode back unchanged."""
        await (await self._open()).abandon_orchestrator(item)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """Give an activity back."""
        await (await self._open()).abandon_activity(item)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """Give an entity batch back."""
        await (await self._open()).abandon_entity(item)


def _is_imported() -> bool:
    """Whether the calls are imported, and not just being imported by another thread."""
    return hasattr(sys.modules.get("durabletask.grpc.remote"), "RemoteHub")


def _make_remote(
    *,
    address: Address,
    task_hub: str,
    credential: CredentialProvider | None,
    options: ChannelOptions,
    user_agent: str | None,
    call_timeout: float,
    completion_size: int,
    silence_limit: timedelta,
) -> RemoteHub:
    from .calls import Caller  # noqa: PLC0415 - imports gRPC
    from .remote import RemoteHub  # noqa: PLC0415 - imports gRPC

    return RemoteHub(
        Caller(address, task_hub, credential, options, user_agent),
        call_timeout=call_timeout,
        completion_size=completion_size,
        silence_limit=silence_limit,
    )


def from_connection_string(
    connection_string: ConnectionString,
    task_hub: str,
    *,
    credential: CredentialProvider | None = None,
    **options: object,
) -> GrpcTransport:
    """The entry point of the schemes ``http``, ``https``, ``grpc`` and ``grpcs``.

    Args:
        connection_string: its ``endpoint`` is used.
        task_hub: name of the task hub.
        credential: where bearer tokens come from.
        **options: as of ``GrpcTransport``.

    Raises:
        ConfigurationError: the endpoint is no address of a hub, or an option is not known.
    """
    make = cast("Callable[..., GrpcTransport]", GrpcTransport)
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"A gRPC transport has no option {unknown[0]!r}; it has {', '.join(sorted(_OPTIONS))}."
        )
    return make(connection_string.endpoint, task_hub or "default", credential=credential, **options)
