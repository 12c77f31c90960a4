"""Completions of episodes that are too large for one message (protocol section 3.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from msgspec.structs import replace

from .work_items import encode_orchestrator_result

__all__ = ["encode_completion", "split_completion"]

_OVERHEAD: Final = 16  # of one action inside the message: tag and length, rounded up


def encode_completion(result: OrchestratorResult, limit: int) -> Iterator[pb.OrchestratorResponse]:
    """The answer to an episode, as one message or, when it is larger than ``limit`` bytes, as several.

    An action that is larger than the limit by itself can never be sent; the orchestration then fails, which
    is better than an episode that is tried for ever. One that has failed anyway keeps its own failure.
    """
    response = encode_orchestrator_result(result)
    if response.ByteSize() <= limit:
        return iter((response,))
    base = response.ByteSize() - sum(_size(action) for action in response.actions)
    largest = max((_size(action) for action in response.actions), default=0)
    if base + largest > limit:
        failed = encode_orchestrator_result(_only_failure(result))
        if failed.actions and failed.ByteSize() <= limit:
            return iter((failed,))
        return iter((encode_orchestrator_result(_too_large(result, base + largest, limit)),))
    return split_completion(response, limit, max(base, 0))


def _size(action: pb.OrchestratorAction) -> int:
    return action.ByteSize() + _OVERHEAD


def _only_failure(result: OrchestratorResult) -> OrchestratorResult:
    """The end of an orchestration that fails, without all else that it would send; no action if it does not fail."""
    ends = [
        CompleteOrchestration(action.id, action.status, failure=action.failure)
        for action in result.actions
        if isinstance(action, CompleteOrchestration) and action.failure is not None
    ]
    return replace(result, actions=ends, custom_status=None)


def _too_large(result: OrchestratorResult, size: int, limit: int) -> OrchestratorResult:
    message = (
        f"One action of this episode, or its custom status, makes a message of {size} bytes; the limit is "
        f"{limit}. Pass large values by reference, or use a store for large payloads."
    )
    failure = FailureDetails(
        error_type="durabletask.core.errors.ResourceExhaustedError", message=message, is_non_retriable=True
    )
    number = max((action.id for action in result.actions), default=0)
    completion = CompleteOrchestration(number, OrchestrationStatus.FAILED, failure=failure)
    return replace(result, actions=[completion], custom_status=None)


def split_completion(
    response: pb.OrchestratorResponse, limit: int, base: int
) -> Iterator[pb.OrchestratorResponse]:
    """Parts of an answer, in order, all but the last marked as partial."""
    chunks: list[list[pb.OrchestratorAction]] = [[]]
    size = base
    for action in response.actions:
        needed = _size(action)
        if chunks[-1] and size + needed > limit:
            chunks.append([])
            size = base
        chunks[-1].append(action)
        size += needed
    for index, actions in enumerate(chunks):
        part = pb.OrchestratorResponse(
            instanceId=response.instanceId,
            completionToken=response.completionToken,
            requiresHistory=response.requiresHistory,
            isPartial=index < len(chunks) - 1,
            actions=actions,
        )
        part.chunkIndex.value = index
        if response.HasField("customStatus"):
            part.customStatus.value = response.customStatus.value
        if index == 0:
            if response.HasField("numEventsProcessed"):
                part.numEventsProcessed.value = response.numEventsProcessed.value
            if response.HasField("orchestrationTraceContext"):
                part.orchestrationTraceContext.CopyFrom(response.orchestrationTraceContext)
        else:
            part.numEventsProcessed.value = 0
        yield part
