"""Answers to episodes that arrive in several messages, as a server collects them (protocol section 3.6).

A large answer comes as numbered parts; all but the last are marked as partial. The server keeps the parts until the
last one arrives, joins them, and commits the whole. An answer must never be committed with a part left out, because
the worker receives a success and does not repeat its work.

A completion token is in one of these states:

* in flight (``handed_out``), with the parts that have arrived so far;
* cut: its parts were thrown away because all of them together exceed the bound. The state stays as a mark, so that the
  last part is refused instead of being taken for the whole;
* committed (``committed``): a last part that is sent again, because its acknowledgement was lost, is answered as done;
* unknown: never delivered here, or over (``forget``). Parts of it are refused, and so is a last part that counts others
  before it.

What is kept is bounded by the number of items in flight and by ``max_bytes``, which a worker cannot raise:
parts are kept only for tokens that were delivered to workers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from durabletask.core.errors import InvalidRequestError, ResourceExhaustedError
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

__all__ = ["PartialResults"]

_OVERHEAD: Final = 200  # bytes of memory of a part beside its content, so that empty parts count too
_COMMITTED: Final = 1000  # tokens that are remembered after their commit


@dataclass
class _Answer:
    """What has come of the answer to one item."""

    instance_id: str
    stream: set[str]
    parts: dict[int, pb.OrchestratorResponse] = field(default_factory=dict)
    size: int = 0
    is_cut: bool = False


class PartialResults:
    """Parts of answers that are not complete yet.

    Args:
        max_bytes: bound of what is kept of all answers together. Above it the oldest answers are cut, and an answer
            that exceeds it alone is refused.
    """

    def __init__(self, *, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._answers: dict[str, _Answer] = {}
        self._committed: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """The number of answers of which parts are kept."""
        return sum(1 for answer in self._answers.values() if answer.parts)

    def handed_out(self, token: str, instance_id: str, stream: set[str]) -> None:
        """An item is delivered to a worker.

        Args:
            token: its completion token.
            instance_id: the instance whose episode it is.
            stream: the tokens in flight on the stream that delivers it; kept up to date here.
        """
        self._answers[token] = _Answer(instance_id, stream)
        stream.add(token)

    def committed(self, token: str) -> None:
        """The answer to an item was carried out."""
        answer = self._answers.get(token)
        if answer is not None and answer.parts:
            self._committed[token] = None
            if len(self._committed) > _COMMITTED:
                self._committed.popitem(last=False)
        self.forget(token)

    def forget(self, token: str) -> None:
        """An item was abandoned, or the stream that delivered it has ended."""
        answer = self._answers.pop(token, None)
        if answer is not None:
            self._bytes -= answer.size
            answer.stream.discard(token)

    def add(self, response: pb.OrchestratorResponse) -> pb.OrchestratorResponse | None:
        """Take a message; the whole answer when this was its last part.

        A part that is sent again replaces itself. The parts stay until ``committed`` or ``forget``, so that the last
        one can be sent again too.

        Raises:
            InvalidRequestError: a part before the last one is missing, or the token belongs to another instance.
            ResourceExhaustedError: the answer exceeds the bound.
        """
        token = response.completionToken
        if token in self._committed:
            return None
        answer = self._answers.get(token)
        if answer is not None and answer.instance_id != response.instanceId:
            raise InvalidRequestError(
                f"The completion token belongs to an item of another instance than {response.instanceId!r}. Send back "
                "the token of the item that is answered."
            )
        if not response.isPartial:
            return _joined(answer, response)
        if answer is None:
            raise InvalidRequestError(
                f"A part of an answer of {response.instanceId!r} has a completion token that is not in flight: its "
                "item was answered, abandoned, or is delivered again."
            )
        index = response.chunkIndex.value if response.HasField("chunkIndex") else len(answer.parts)
        if index < 0:
            raise InvalidRequestError(f"chunkIndex is {index}; it counts parts.")
        self._keep(token, answer, index, response)
        return None

    def _keep(self, token: str, answer: _Answer, index: int, part: pb.OrchestratorResponse) -> None:
        replaced = answer.parts.get(index)
        growth = _size(part) - (0 if replaced is None else _size(replaced))
        if answer.is_cut or answer.size + growth > self._max_bytes:
            self._cut(answer)
            raise ResourceExhaustedError(
                f"The parts of the answer of {part.instanceId!r} exceed the {self._max_bytes} bytes that are kept of "
                "unfinished answers. Pass large values by reference."
            )
        answer.parts[index] = part
        answer.size += growth
        self._bytes += growth
        for other_token, other in self._answers.items():
            if self._bytes <= self._max_bytes:
                break
            if other_token != token and other.parts:
                self._cut(other)

    def _cut(self, answer: _Answer) -> None:
        self._bytes -= answer.size
        answer.parts, answer.size, answer.is_cut = {}, 0, True


def _size(part: pb.OrchestratorResponse) -> int:
    return part.ByteSize() + _OVERHEAD


def _joined(answer: _Answer | None, last: pb.OrchestratorResponse) -> pb.OrchestratorResponse:
    """The whole answer.

    Raises:
        InvalidRequestError: parts are missing, or there are more than the last one counts.
    """
    parts = {} if answer is None else answer.parts
    if answer is not None and answer.is_cut:
        raise InvalidRequestError(
            f"Earlier parts of the answer to the episode of {last.instanceId!r} were discarded to keep within the "
            "bound of unfinished answers. Abandon the item; it is delivered again."
        )
    count = last.chunkIndex.value if last.HasField("chunkIndex") else len(parts)
    if count < 0:
        raise InvalidRequestError(f"chunkIndex is {count}; it counts parts.")
    # The number comes from outside: look at no more of them than there are parts.
    missing = next((index for index in range(count) if index not in parts), None)
    if missing is not None:
        raise InvalidRequestError(
            f"The answer to the episode of {last.instanceId!r} has come in {count + 1} parts, of which part "
            f"{missing} is missing (counted from 0). Send all parts again."
        )
    if len(parts) > count:
        raise InvalidRequestError(
            f"The last part of the answer to the episode of {last.instanceId!r} has the chunkIndex {count}, but "
            f"{len(parts)} parts came before it. Number the parts from 0, the last one with the highest number."
        )
    if not parts:
        return last
    whole = pb.OrchestratorResponse()
    whole.CopyFrom(last)
    del whole.actions[:]
    for index in range(count):
        whole.actions.extend(parts[index].actions)
    whole.actions.extend(last.actions)
    for name in ("numEventsProcessed", "orchestrationTraceContext"):
        whole.ClearField(name)
        if parts[0].HasField(name):
            getattr(whole, name).CopyFrom(getattr(parts[0], name))
    return whole
