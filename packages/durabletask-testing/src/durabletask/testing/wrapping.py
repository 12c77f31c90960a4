"""``WrappedTransport``: a transport in front of another one. Override what should behave differently."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime, timedelta

from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
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

__all__ = ["WrappedTransport"]


class WrappedTransport(Transport):
    """Passes every call on. The base of fault injection, recorders and deliberately broken transports.

    Args:
        inner: the transport that does the work.
    """

    def __init__(self, inner: Transport) -> None:
        self.inner: Transport = inner

    @property
    def endpoint(self) -> str:
        """As the inner transport says."""
        return self.inner.endpoint

    @property
    def task_hub(self) -> str:
        """As the inner transport says."""
        return self.inner.task_hub

    @property
    def maximum_timer_interval(self) -> timedelta | None:
        """As the inner transport says."""
        return self.inner.maximum_timer_interval

    @property
    def maximum_instance_id_length(self) -> int | None:
        """As the inner transport says."""
        return self.inner.maximum_instance_id_length

    def now(self) -> datetime:
        """As the inner transport says."""
        return self.inner.now()

    async def connect(self) -> None:
        """Passed on."""
        await self.inner.connect()

    async def close(self) -> None:
        """Passed on."""
        await self.inner.close()

    # --- client half ----------------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        """Passed on."""
        return await self.inner.create_instance(request)

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        """Passed on."""
        return await self.inner.get_instance(instance_id, include_payloads=include_payloads)

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Passed on."""
        return await self.inner.wait_for_instance_start(
            instance_id, include_payloads=include_payloads, timeout=timeout
        )

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Passed on."""
        return await self.inner.wait_for_instance_completion(
            instance_id, include_payloads=include_payloads, timeout=timeout
        )

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        """Passed on."""
        await self.inner.raise_event(instance_id, name, data)

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        """Passed on."""
        await self.inner.terminate_instance(instance_id, output=output, recursive=recursive)

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Passed on."""
        await self.inner.suspend_instance(instance_id, reason=reason)

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Passed on."""
        await self.inner.resume_instance(instance_id, reason=reason)

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """Passed on."""
        return await self.inner.query_instances(query)

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        """Passed on."""
        return await self.inner.list_instance_ids(query)

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        """Passed on."""
        return await self.inner.purge_instances(request)

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Passed on."""
        return await self.inner.restart_instance(instance_id, with_new_instance_id=with_new_instance_id)

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Passed on."""
        await self.inner.rewind_instance(instance_id, reason=reason)

    def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """Passed on."""
        return self.inner.stream_history(instance_id, execution_id=execution_id)

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        """Passed on."""
        return await self.inner.force_terminate_instances(instance_ids, reason=reason)

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Passed on."""
        await self.inner.create_task_hub(recreate_if_exists=recreate_if_exists)

    async def delete_task_hub(self) -> None:
        """Passed on."""
        await self.inner.delete_task_hub()

    # --- client half, entities --------------------------------------------------------------------------------

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
        """Passed on."""
        await self.inner.signal_entity(
            instance_id,
            operation,
            input=input,
            request_id=request_id,
            scheduled_time=scheduled_time,
            trace_context=trace_context,
        )

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        """Passed on."""
        return await self.inner.get_entity(instance_id, include_state=include_state)

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """Passed on."""
        return await self.inner.query_entities(query)

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """Passed on."""
        return await self.inner.clean_entity_storage(
            remove_empty_entities=remove_empty_entities,
            release_orphaned_locks=release_orphaned_locks,
            continuation_token=continuation_token,
        )

    # --- worker half --------------------------------------------------------------------------------------------

    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """Passed on."""
        return self.inner.work_items(options)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Passed on."""
        await self.inner.complete_orchestrator(result)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Passed on."""
        await self.inner.complete_activity(result)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Passed on."""
        await self.inner.complete_entity(result)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """Passed on."""
        await self.inner.abandon_orchestrator(item)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """Passed on."""
        await self.inner.abandon_activity(item)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """Passed on."""
        await self.inner.abandon_entity(item)
