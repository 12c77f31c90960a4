"""Completions of episodes that are too large for one message (protocol section 3.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from msgspec.structs import replace

from .work_items import encode_orchestrator_result

__all__ = ["PartialResults", "encode_completion", "split_completion"]

_OVERHEAD: Final = 16  # of one action inside the message: tag and length, rounded up


def encode_completion(result: OrchestratorResult, limit: int) -> Iterator[pb.OrchestratorResponse]:
    """The answer to an episode, as one message or, when it is larger than ``limit`` bytes, as several.

    An action that is larger than the limit by itself can never be sent; the orchestration then fails, which
    is better than an episode that is tried for ever.
    """
    response = encode_orchestrator_result(result)
    if response.ByteSize() <= limit:
        return iter((response,))
    base = response.ByteSize() - sum(_size(action) for action in response.actions)
    largest = max((_size(action) for action in response.actions), default=0)
    if base + largest > limit:
        return iter((encode_orchestrator_result(_too_large(result, base + largest, limit)),))
    return split_completion(response, limit, max(base, 0))


def _size(action: pb.OrchestratorAction) -> int:
    return action.ByteSize() + _OVERHEAD


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


def _key(response: pb.OrchestratorResponse) -> str:
    return response.completionToken or response.instanceId


class PartialResults:
    """Parts of answers that have not ended yet, as a server collects them.

    Args:
        max_bytes: bound of what is kept of all answers together; the oldest go first, and a worker that
            lost its parts is given the episode again.
    """

    def __init__(self, *, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._parts: dict[str, dict[int, pb.OrchestratorResponse]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, response: pb.OrchestratorResponse) -> pb.OrchestratorResponse | None:
        """Take a message; the whole answer when this was its last part.

        A part that is sent again replaces itself. The parts stay until ``forget``, so that the last one can be sent
        again too.

        Raises:
            InvalidRequestError: a part before the last one is missing.
        """
        key = _key(response)
        if not response.isPartial:
            parts = self._parts.get(key)
            return response if parts is None else self._join(parts, response)
        parts = self._parts.setdefault(key, {})
        index = response.chunkIndex.value if response.HasField("chunkIndex") else len(parts)
        replaced = parts.get(index)
        if replaced is not None:
            self._bytes -= replaced.ByteSize()
        parts[index] = response
        self._bytes += response.ByteSize()
        while self._bytes > self._max_bytes and len(self._parts) > 1:
            self._drop(next(iter(self._parts)))
        return None

    def forget(self, response: pb.OrchestratorResponse) -> None:
        """The answer that ended with this message was carried out."""
        self._drop(_key(response))

    def forget_instance(self, instance_id: str) -> None:
        """An episode is handed out anew: parts that came without a token belong to an attempt that is over."""
        self._drop(instance_id)

    def _drop(self, key: str) -> None:
        self._bytes -= sum(part.ByteSize() for part in self._parts.pop(key, {}).values())

    @staticmethod
    def _join(
        parts: dict[int, pb.OrchestratorResponse], last: pb.OrchestratorResponse
    ) -> pb.OrchestratorResponse:
        count = last.chunkIndex.value if last.HasField("chunkIndex") else len(parts)
        if count < 0:
            raise InvalidRequestError(f"chunkIndex is {count}; it counts parts.")
        # The number is a stranger's: look at no more of them than there are parts.
        missing = next((index for index in range(count) if index not in parts), None)
        if missing is not None:
            raise InvalidRequestError(
                f"The answer to the episode of {last.instanceId!r} has come in {count + 1} parts, of which part "
                f"{missing} is missing (counted from 0). Send all parts again."
            )
        ordered = [parts[index] for index in range(count)]
        whole = pb.OrchestratorResponse()
        whole.CopyFrom(last)
        del whole.actions[:]
        for part in ordered:
            whole.actions.extend(part.actions)
        whole.actions.extend(last.actions)
        first = ordered[0]
        for field in ("numEventsProcessed", "orchestrationTraceContext"):
            whole.ClearField(field)
            if first.HasField(field):
                getattr(whole, field).CopyFrom(getattr(first, field))
        return whole
