"""``Transport``: a connection to one task hub. The one extension point of the project.

A transport speaks core's own types; payloads are serialized text. It has a client half and a worker
half. What it must guarantee (the conformance kit of ``durabletask-testing`` checks all of it):

* **Errors.** Every failure is a ``TransportError`` of ``errors.py``; asking for what the hub cannot do
  raises ``NotSupportedError``.
* **Acknowledged means durable.** When a call returns, what it promised survives whatever the hub's own
  durability promises.
* **At least once.** A work item that is neither completed nor abandoned is delivered again when its
  stream ends or its lock expires, with a new completion token. A completion that carries the token of an
  earlier delivery changes nothing.
* **One episode at a time** per instance. The history of one execution id only grows: the past of an item
  is the past and new events of the item before it, then the confirmations of its actions.
* **Order.** Events raised by one caller at one instance arrive in the order in which the calls returned.
* **Time.** All times are aware UTC. Time-outs are measured on the hub's clock, which may be virtual.

The rules behind the operations: protocol sections 12 (clients), 3 and 7 (work items), 11 (entities).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from .entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from .errors import InstanceNotFoundError, NotSupportedError
from .history import HistoryEvent, TraceContext
from .instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeRequest,
    PurgeResult,
    is_change,
)
from .times import utc_now
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

__all__ = ["Transport"]

_SHORTEST_PAUSE: Final = timedelta(seconds=0.1)
_LONGEST_PAUSE: Final = timedelta(seconds=5)


class Transport(ABC):
    """A connection to one task hub.

    Connecting is lazy: a constructor opens nothing, every call may open what it needs. A transport may be
    used again after ``close``. All methods may be called from one event loop only.
    """

    # --- what the transport is -------------------------------------------------------------------------

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Where the hub is, for messages and logs, e.g. ``http://localhost:8080``. Never a secret."""

    @property
    @abstractmethod
    def task_hub(self) -> str:
        """Name of the task hub."""

    @property
    def maximum_timer_interval(self) -> timedelta | None:
        """The longest timer the hub takes; longer ones are split. ``None``: any length."""
        return None

    @property
    def maximum_instance_id_length(self) -> int | None:
        """The longest instance id the hub takes, in characters. ``None``: any length."""
        return None

    def now(self) -> datetime:
        """The present, for what counts from it: the machine's clock, unless the hub has a clock of its own."""
        return utc_now()

    # --- life cycle ---------------------------------------------------------------------------------------

    @abstractmethod
    async def connect(self) -> None:
        """Make sure that the hub answers (the protocol's Hello call)."""

    @abstractmethod
    async def close(self) -> None:
        """Release every resource. Calls in flight end with ``TransportUnavailableError``."""

    # --- client half ----------------------------------------------------------------------------------------

    @abstractmethod
    async def create_instance(self, request: CreateInstanceRequest) -> str:
        """Create an instance and return its id.

        Raises:
            InstanceAlreadyExistsError: the id is in use and may not be replaced.
            InvalidRequestError: the hub refuses the request.
        """

    @abstractmethod
    async def get_instance(
        self, instance_id: str, *, include_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None``."""

    @abstractmethod
    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is no longer PENDING; ``None`` at the time-out.

        An unknown instance is waited for: its creation may be in flight.

        Raises:
            InstanceNotFoundError: the instance was purged meanwhile.
        """

    @abstractmethod
    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        """Wait until the status is terminal; otherwise like ``wait_for_instance_start``."""

    async def wait_for_instance_change(self, state: OrchestrationState) -> OrchestrationState:
        """Wait until status, custom status or execution of an instance differ from ``state``, which has payloads.

        A hub that knows of changes overrides this. Here the hub is asked again after pauses that grow, in which a start
        or an end is still noticed at once.

        Raises:
            InstanceNotFoundError: there is no such instance, or it was purged meanwhile.
        """
        pause = _SHORTEST_PAUSE
        while True:
            wait = self.wait_for_instance_completion
            if state.runtime_status is OrchestrationStatus.PENDING:
                wait = self.wait_for_instance_start
            found = await wait(state.instance_id, timeout=pause) or await self.get_instance(state.instance_id)
            if found is None:
                raise InstanceNotFoundError(
                    f"Instance {state.instance_id!r} was purged while it was watched."
                )
            if is_change(state, found):
                return found
            pause = min(pause * 2, _LONGEST_PAUSE)

    @abstractmethod
    async def raise_event(self, instance_id: str, name: str, data: str | None = None) -> None:
        """Deliver an external event; dropped by a terminal instance.

        Raises:
            InstanceNotFoundError: there is no such instance (hubs may also drop the event).
        """

    @abstractmethod
    async def terminate_instance(
        self, instance_id: str, *, output: str | None = None, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED; no-op when missing or terminal."""

    @abstractmethod
    async def suspend_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance; no-op when terminal or suspended."""

    @abstractmethod
    async def resume_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume an instance; no-op when it is not suspended."""

    @abstractmethod
    async def query_instances(self, query: InstanceQuery) -> InstancePage:
        """One page of instances, ordered by creation time, then id; entities excluded."""

    @abstractmethod
    async def list_instance_ids(self, query: InstanceIdQuery) -> InstanceIdPage:
        """One page of ids of terminal instances, ordered by completion time, then id."""

    @abstractmethod
    async def purge_instances(self, request: PurgeRequest) -> PurgeResult:
        """Remove terminal instances and their histories."""

    @abstractmethod
    async def restart_instance(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run a terminal instance again from its start and return the id of the new run.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance is not terminal.
        """

    @abstractmethod
    async def rewind_instance(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures of a FAILED instance and go on.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance is not FAILED.
        """

    @abstractmethod
    def stream_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """The history of an instance, in chunks.

        Raises:
            InstanceNotFoundError: there is no such instance (a hub may also give an empty stream).
        """

    async def force_terminate_instances(
        self, instance_ids: Sequence[str], *, reason: str | None = None
    ) -> Sequence[str]:
        """End up to 500 instances as TERMINATED without running them; ids that could not."""
        raise NotSupportedError(f"{type(self).__name__} cannot terminate without running the orchestrator.")

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Create the task hub."""
        raise NotSupportedError(f"{type(self).__name__} cannot create task hubs.")

    async def delete_task_hub(self) -> None:
        """Delete the task hub and everything in it."""
        raise NotSupportedError(f"{type(self).__name__} cannot delete task hubs.")

    # --- client half, entities (section 11.8) --------------------------------------------------------------

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
        raise NotSupportedError(f"{type(self).__name__} has no entities.")

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        """The metadata of an entity, or ``None``."""
        raise NotSupportedError(f"{type(self).__name__} has no entities.")

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        """One page of entities, ordered by id."""
        raise NotSupportedError(f"{type(self).__name__} has no entities.")

    async def clean_entity_storage(
        self,
        *,
        remove_empty_entities: bool = True,
        release_orphaned_locks: bool = True,
        continuation_token: str | None = None,
    ) -> CleanEntityStorageResult:
        """Remove empty entities and release locks whose holder is gone; one bounded step."""
        raise NotSupportedError(f"{type(self).__name__} has no entities.")

    # --- worker half (sections 1.4 to 1.6 and 3) -------------------------------------------------------------

    @abstractmethod
    def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """A stream of work. Ends when the hub ends it; closing it returns what is not completed.

        The limits of ``options`` bound how many items of a kind are in flight on this stream.
        """

    @abstractmethod
    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode. A stale token is ignored."""

    @abstractmethod
    async def complete_activity(self, result: ActivityResult) -> None:
        """Answer an activity. A stale token is ignored."""

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Commit an entity batch. A stale token is ignored."""
        raise NotSupportedError(f"{type(self).__name__} has no entities.")

    @abstractmethod
    async def abandon_orchestrator(self, item: OrchestratorWorkItem) -> None:
        """Abandon an episode; the hub delivers it again after a back-off.

        Nothing of ``item`` counts but its ``completion_token``: over the wire there is nothing else.
        """

    @abstractmethod
    async def abandon_activity(self, item: ActivityWorkItem) -> None:
        """Abandon an activity; the hub delivers it again after a back-off. Only its token counts."""

    async def abandon_entity(self, item: EntityWorkItem) -> None:
        """Abandon an entity batch; the hub delivers it again after a back-off."""
        raise NotSupportedError(f"{type(self).__name__} has no entities.")
