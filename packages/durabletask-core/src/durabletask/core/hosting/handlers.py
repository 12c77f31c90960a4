"""What happens to each kind of work item: run it, send the answer, or give the item back."""

from __future__ import annotations

import asyncio
import logging

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import DurableTaskError, VersionMismatchError
from durabletask.core.execution.activities import ActivityExecutor
from durabletask.core.execution.entities import EntityExecutor
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
)

from .delivery import Delivery
from .loop import give_back
from .turns import TurnRunner

__all__ = ["WorkItemHandlers"]


class WorkItemHandlers:
    """The handlers of a worker's lanes.

    Each runs an item to its end: it answers, or gives the item back when the worker stops or when this
    worker is not the one to answer. None raises.

    Attributes:
        orchestrations: episodes answered.
        activities: activities answered.
        entities: entity batches answered.
        abandoned: items given back.
    """

    def __init__(
        self,
        transport: Transport,
        delivery: Delivery,
        *,
        turns: TurnRunner,
        activities: ActivityExecutor,
        entities: EntityExecutor,
        logger: logging.Logger,
    ) -> None:
        self._transport = transport
        self._delivery = delivery
        self._turns = turns
        self._activity_executor = activities
        self._entity_executor = entities
        self._logger = logger
        self.orchestrations: int = 0
        self.activities: int = 0
        self.entities: int = 0
        self.abandoned: int = 0

    async def handle_orchestration(self, item: OrchestratorWorkItem) -> None:
        """Run one turn and answer it."""
        subject = item.instance_id
        try:
            result = self._run_turn(item)
            if result is not None:
                self._tell_failure(subject, result)
                is_taken = await self._delivery.send(
                    self._transport.complete_orchestrator,
                    result,
                    subject=subject,
                    instead=lambda error: _failed_turn(item, error),
                )
                self.orchestrations += is_taken
                return
        except asyncio.CancelledError:
            pass
        except Exception:
            self._logger.exception("The turn of %s broke down in the worker; it is given back.", subject)
        self.abandoned += 1
        await give_back(lambda: self._transport.abandon_orchestrator(item), self._logger, subject)

    def _tell_failure(self, subject: str, result: OrchestratorResult) -> None:
        for action in result.actions:
            if isinstance(action, CompleteOrchestration) and action.failure is not None:
                failure = action.failure
                self._logger.warning(
                    "Orchestration %s failed: %s: %s", subject, failure.error_type, failure.message
                )

    def _run_turn(self, item: OrchestratorWorkItem) -> OrchestratorResult | None:
        try:
            return self._turns.run(item)
        except VersionMismatchError as error:
            self._logger.info("%s is left to another worker: %s", item.instance_id, error)
            return None
        except DurableTaskError as error:  # the history itself is at fault; another try would not help
            return _failed_turn(item, error)

    async def handle_activity(self, item: ActivityWorkItem) -> None:
        """Run one activity and answer it."""
        try:
            result = await self._activity_executor.execute(item)
            if result.failure is not None:
                self._logger.warning(
                    "Activity %s of %s failed: %s: %s",
                    item.name,
                    item.instance_id,
                    result.failure.error_type,
                    result.failure.message,
                )
            is_taken = await self._delivery.send(
                self._transport.complete_activity,
                result,
                subject=f"activity {item.name} of {item.instance_id}",
                instead=lambda error: _failed_activity(item, error),
            )
            self.activities += is_taken
        except asyncio.CancelledError:
            pass
        except Exception:
            self._logger.exception("Activity %s broke down in the worker; it is given back.", item.name)
        else:
            return
        self.abandoned += 1
        await give_back(lambda: self._transport.abandon_activity(item), self._logger, item.name)

    async def handle_entity(self, item: EntityWorkItem) -> None:
        """Run one batch of entity operations and answer it."""
        subject = item.instance_id
        try:
            result = await self._entity_executor.execute(item)
            is_taken = await self._delivery.send(
                self._transport.complete_entity,
                result,
                subject=subject,
                instead=lambda error: _failed_batch(item, error),
            )
            self.entities += is_taken
        except asyncio.CancelledError:
            pass
        except Exception:
            self._logger.exception("The batch of %s broke down in the worker; it is given back.", subject)
        else:
            return
        self.abandoned += 1
        await give_back(lambda: self._transport.abandon_entity(item), self._logger, subject)


def _failed_turn(item: OrchestratorWorkItem, error: Exception) -> OrchestratorResult:
    """The answer of protocol section 3.2 for a failure outside user code."""
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
