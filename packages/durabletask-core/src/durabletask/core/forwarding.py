"""``ForwardingTransport``: a transport whose calls all pass through two hooks.

``forward`` receives every call with one answer and ``forward_stream`` every call with a stream of answers, each
with the method of ``Transport`` that was called. A subclass decides in the hooks where calls go, and overrides a
method only where that one call differs.

The method is given as the function of ``Transport`` itself (``Transport.get_instance``), so type checkers relate
arguments and results to it. It is a name and is never called: a hook looks it up on another transport with
``method_of``, or in a table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from .entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from .history import HistoryEvent, TraceContext
from .instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    PurgeRequest,
    PurgeResult,
)
from .transport import Transport
from .work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

__all__ = ["ForwardingTransport", "StreamMethod", "UnaryMethod", "method_of"]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")

UnaryMethod: TypeAlias = Callable[Concatenate[Transport, P], Coroutine[object, object, T]]
"""A method of ``Transport`` with one answer, e.g. ``Transport.get_instance``."""

StreamMethod: TypeAlias = Callable[Concatenate[Transport, P], AsyncIterator[T]]
"""A method of ``Transport`` with a stream of answers, e.g. ``Transport.work_items``."""


def method_of(target: object, method: Callable[Concatenate[Transport, P], F]) -> Callable[P, F]:
    """The method of the same name and form that ``target`` has, which is a transport or looks like one."""
    bound: Callable[P, F] = getattr(target, method.__name__)
    return bound


class ForwardingTransport(Transport):
    """A transport that forwards every call. The base of transports that stand in front of something else.

    ``endpoint``, ``task_hub`` and ``close`` remain to be written, and the two hooks.
    """

    @abstractmethod
    async def forward(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call with one answer.

        Args:
            method: the method of ``Transport`` that was called, as a name for it.
            *args: its arguments.
            **kwargs: its keyword arguments.
        """

    @abstractmethod
    def forward_stream(
        self, method: StreamMethod[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """Make a call with a stream of answers; the arguments are as those of ``forward``."""

    async def connect(self) -> None:
        await self.forward(Transport.connect)

    # --- client half ----------------------------------------------------------------------------------------

    async def create_instance(self, request: CreateInstanceRequest) -> str:
        return await self.forward(Transport.create_instance, request)

    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        return await self.forward(Transport.get_instance, instance_id, include_payloads=include_payloads)

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return await self.forward(
            Transport.wait_for_instance_start, instance_id, include_payloads=include_payloads, timeout=timeout
        )

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        return await self.forward(
            Transport.wait_for_instance_completion,
            instance_id,
            include_payloads=include_payloads,
            timeout=timeout,
        )

    async def wait_for_instance_change(self, state: OrchestrationState) -> OrchestrationState:
        return await self.forward(Transport.wait_for_instance_change, state)

    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        await self.forward(Transport.raise_event, instance_id, name, data)

    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        await self.forward(Transport.terminate_instance, instance_id, output=output, recursive=recursive)

    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        await self.forward(Transport.suspend_instance, instance_id, reason=reason)

    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        await self.forward(Transport.resume_instance, instance_id, reason=reason)

    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        return await self.forward(Transport.query_instances, query)

    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        return await self.forward(Transport.list_instance_ids, query)

    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        return await self.forward(Transport.purge_instances, request)

    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        return await self.forward(
            Transport.restart_instance, instance_id, with_new_instance_id=with_new_instance_id
        )

    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        await self.forward(Transport.rewind_instance, instance_id, reason=reason)

    def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        return self.forward_stream(Transport.stream_history, instance_id, execution_id=execution_id)

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        return await self.forward(Transport.force_terminate_instances, instance_ids, reason=reason)

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        await self.forward(Transport.create_task_hub, recreate_if_exists=recreate_if_exists)

    async def delete_task_hub(self) -> None:
        await self.forward(Transport.delete_task_hub)

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
        await self.forward(
            Transport.signal_entity,
            instance_id,
            operation,
            input=input,
            request_id=request_id,
            scheduled_time=scheduled_time,
            trace_context=trace_context,
        )

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        return await self.forward(Transport.get_entity, instance_id, include_state=include_state)

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        return await self.forward(Transport.query_entities, query)

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        return await self.forward(
            Transport.clean_entity_storage,
            remove_empty_entities=remove_empty_entities,
            release_orphaned_locks=release_orphaned_locks,
            continuation_token=continuation_token,
        )

    # --- worker half ----------------------------------------------------------------------------------------

    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        return self.forward_stream(Transport.work_items, options)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        await self.forward(Transport.complete_orchestrator, result)

    async def complete_activity(self, result: ActivityResult) -> None:
        await self.forward(Transport.complete_activity, result)

    async def complete_entity(self, result: EntityBatchResult) -> None:
        await self.forward(Transport.complete_entity, result)

    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        await self.forward(Transport.abandon_orchestrator, item)

    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        await self.forward(Transport.abandon_activity, item)

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        await self.forward(Transport.abandon_entity, item)
