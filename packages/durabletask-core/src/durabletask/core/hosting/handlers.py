"""Takes a work item to its end: runs it, sends the result, or abandons the item.

One function handles every kind of item; ``WorkItemHandlers.table`` has what differs between the kinds. An item that
was taken is always answered or abandoned, also when the worker stops and when the worker itself has a bug.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeAlias, TypeVar, cast

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import DurableTaskError, TransportError, VersionMismatchError
from durabletask.core.execution.activities import ActivityExecutor
from durabletask.core.execution.entities import EntityExecutor
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EntityOperationSignaled
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
)

from .episodes import EpisodeRunner
from .result_sender import ResultSender
from .watchdog import Watchdog

__all__ = ["Handler", "WorkItemHandlers"]

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")

Handler: TypeAlias = Callable[[WorkItem], Coroutine[object, object, None]]
"""Takes one work item, of the kind it is listed under, to its end. It does not raise."""


@dataclass(frozen=True, kw_only=True)
class _Kind(Generic[_ItemT, _ResultT]):
    """What differs between the kinds of work items.

    Attributes:
        subject: names an item in the log.
        execute: runs an item; ``None`` means that another worker has to do it.
        complete: sends a result; a method of the transport.
        fail: makes the result for an item that cannot be answered otherwise.
        abandon: returns an item to the hub; a method of the transport.
    """

    subject: Callable[[_ItemT], str]
    execute: Callable[[_ItemT], Awaitable[_ResultT | None]]
    complete: Callable[[_ResultT], Awaitable[None]]
    fail: Callable[[_ItemT, Exception], _ResultT]
    abandon: Callable[[_ItemT], Awaitable[None]]


class WorkItemHandlers:
    """The handlers of a worker, by the type of the work item.

    Attributes:
        table: one handler for each type of work item.
        answered: how many items the hub accepted a result for, by type.
        abandoned: how many items were abandoned.
    """

    def __init__(
        self,
        transport: Transport,
        sender: ResultSender,
        *,
        episodes: EpisodeRunner,
        activities: ActivityExecutor,
        entities: EntityExecutor,
        logger: logging.Logger,
    ) -> None:
        self._sender = sender
        self._episodes = episodes
        self._activities = activities
        self._entities = entities
        self._logger = logger
        self._watchdog = Watchdog(logger)
        self.answered: Counter[type] = Counter()
        self.abandoned: int = 0
        orchestrator = _Kind(
            subject=lambda item: item.instance_id,
            execute=self._run_episode,
            complete=transport.complete_orchestrator,
            fail=_failed_episode,
            abandon=transport.abandon_orchestrator,
        )
        activity = _Kind(
            subject=lambda item: f"activity {item.name} of {item.instance_id}",
            execute=self._run_activity,
            complete=transport.complete_activity,
            fail=_failed_activity,
            abandon=transport.abandon_activity,
        )
        entity = _Kind(
            subject=lambda item: item.instance_id,
            execute=self._run_batch,
            complete=transport.complete_entity,
            fail=_failed_batch,
            abandon=transport.abandon_entity,
        )
        self.table: Mapping[type, Handler] = {
            OrchestratorWorkItem: cast("Handler", partial(self._handle, orchestrator)),
            ActivityWorkItem: cast("Handler", partial(self._handle, activity)),
            EntityWorkItem: cast("Handler", partial(self._handle, entity)),
        }

    def close(self) -> None:
        """Release what the handlers keep. No item may be in flight."""
        self._watchdog.close()

    async def _handle(self, kind: _Kind[_ItemT, _ResultT], item: _ItemT) -> None:
        subject = kind.subject(item)
        try:
            result = await kind.execute(item)
            if result is not None:
                is_accepted = await self._sender.send(
                    kind.complete, result, subject=subject, instead=partial(kind.fail, item)
                )
                self.answered[type(item)] += is_accepted
                return
        except asyncio.CancelledError:
            pass
        except (Exception, SystemExit):
            # A task that ends with SystemExit would end the event loop, and with it all other items.
            self._logger.exception("The worker failed to run %s; the item is abandoned.", subject)
        self.abandoned += 1
        try:
            await kind.abandon(item)
        except TransportError as error:
            # The hub takes the item back by itself at the end of the stream.
            self._logger.info("Could not abandon %s: %s", subject, error)

    async def _run_episode(self, item: OrchestratorWorkItem) -> OrchestratorResult | None:
        self._watchdog.begin(item.instance_id)
        try:
            result = self._episodes.run(item)
        except VersionMismatchError as error:
            self._logger.info("%s is left to another worker: %s", item.instance_id, error)
            return None
        except DurableTaskError as error:  # the history itself is wrong; another try would not help
            result = _failed_episode(item, error)
        finally:
            self._watchdog.end()
        for action in result.actions:
            if isinstance(action, CompleteOrchestration) and action.failure is not None:
                self._log_failure(f"Orchestration {item.instance_id}", action.failure)
        return result

    async def _run_activity(self, item: ActivityWorkItem) -> ActivityResult:
        result = await self._activities.execute(item)
        if result.failure is not None:
            self._log_failure(f"Activity {item.name} of {item.instance_id}", result.failure)
        return result

    async def _run_batch(self, item: EntityWorkItem) -> EntityBatchResult:
        batch = await self._entities.execute(item)
        for operation, result in zip(batch.operations, batch.results, strict=False):
            # The caller of a call gets its failure; nothing waits for the outcome of a signal.
            if result.failure is not None and isinstance(operation, EntityOperationSignaled):
                self._log_failure(f"Signal {operation.operation} of {item.instance_id}", result.failure)
        return batch

    def _log_failure(self, subject: str, failure: FailureDetails) -> None:
        self._logger.warning("%s failed: %s", subject, failure.in_short())


def _failed_episode(item: OrchestratorWorkItem, error: Exception) -> OrchestratorResult:
    """The result for a failure outside user code (protocol section 3.2)."""
    completion = CompleteOrchestration(
        id=-1,
        status=OrchestrationStatus.FAILED,
        failure=FailureDetails.from_exception(error, non_retriable=True),
    )
    return OrchestratorResult(
        instance_id=item.instance_id,
        actions=(completion,),
        completion_token=item.completion_token,
        trace_context=item.trace_context,
    )


def _failed_activity(item: ActivityWorkItem, error: Exception) -> ActivityResult:
    return ActivityResult(
        instance_id=item.instance_id,
        task_id=item.task_id,
        failure=FailureDetails.from_exception(error, non_retriable=True),
        completion_token=item.completion_token,
    )


def _failed_batch(item: EntityWorkItem, error: Exception) -> EntityBatchResult:
    return EntityBatchResult(
        instance_id=item.instance_id,
        results=(),
        state=item.state,
        failure=FailureDetails.from_exception(error, non_retriable=True),
        operations=item.operations,
        completion_token=item.completion_token,
    )
