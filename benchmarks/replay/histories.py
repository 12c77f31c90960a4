"""Histories as the bytes of a ``WorkItem``, the way a server sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

__all__ = ["SHAPES", "chain", "chain_turns", "fan_out"]

_INSTANCE_ID = "benchmark-instance"
_START = 1_760_000_000


def _event(events: list[pb.HistoryEvent], second: int, event_id: int = -1) -> pb.HistoryEvent:
    event = pb.HistoryEvent(eventId=event_id)
    event.timestamp.seconds = _START + second
    event.timestamp.nanos = (second * 617_283_900 + 123_456_700) % 1_000_000_000
    events.append(event)
    return event


def _start(events: list[pb.HistoryEvent], orchestrator: str, count: int) -> None:
    _event(events, 0).orchestratorStarted.SetInParent()
    started = _event(events, 0).executionStarted
    started.name = orchestrator
    started.input.value = str(count)
    started.orchestrationInstance.instanceId = _INSTANCE_ID
    started.orchestrationInstance.executionId.value = "4f1c2f0c54c04d0d8d4d5f2f5d6e7f80"


def _scheduled(events: list[pb.HistoryEvent], second: int, number: int) -> None:
    body = _event(events, second, number).taskScheduled
    body.name = "work"
    body.input.value = str(number - 1)


def _completed(events: list[pb.HistoryEvent], second: int, number: int) -> None:
    body = _event(events, second).taskCompleted
    body.taskScheduledId = number
    body.result.value = str(number)


def _item(past: list[pb.HistoryEvent], new: list[pb.HistoryEvent]) -> bytes:
    item = pb.WorkItem(completionToken="token")
    item.orchestratorRequest.instanceId = _INSTANCE_ID
    item.orchestratorRequest.pastEvents.extend(past)
    item.orchestratorRequest.newEvents.extend(new)
    return item.SerializeToString()


def chain_turns(count: int) -> Iterator[bytes]:
    """Every work item of a chain of ``count`` activities, each with its whole past."""
    past: list[pb.HistoryEvent] = []
    new: list[pb.HistoryEvent] = []
    _start(new, "chain", count)
    for number in range(1, count + 1):
        yield _item(past, new)
        past += new
        _scheduled(past, number, number)
        _event(past, number).orchestratorCompleted.SetInParent()
        new = []
        _event(new, number).orchestratorStarted.SetInParent()
        _completed(new, number, number)
    yield _item(past, new)


def chain(count: int) -> tuple[bytes, int]:
    """The last work item of a chain (one activity per episode), and how many events it carries."""
    past: list[pb.HistoryEvent] = []
    new: list[pb.HistoryEvent] = []
    _start(new, "chain", count)
    for number in range(1, count + 1):
        past += new
        _scheduled(past, number, number)
        _event(past, number).orchestratorCompleted.SetInParent()
        new = []
        _event(new, number).orchestratorStarted.SetInParent()
        _completed(new, number, number)
    return _item(past, new), len(past) + len(new)


def fan_out(count: int) -> tuple[bytes, int]:
    """The last work item of a fan-out (all activities in one episode, answered in one episode)."""
    past: list[pb.HistoryEvent] = []
    _start(past, "fan_out", count)
    for number in range(1, count + 1):
        _scheduled(past, 1, number)
    _event(past, 1).orchestratorCompleted.SetInParent()
    _event(past, 2).orchestratorStarted.SetInParent()
    for number in range(1, count):
        _completed(past, 2, number)
    _event(past, 2).orchestratorCompleted.SetInParent()
    new: list[pb.HistoryEvent] = []
    _event(new, 3).orchestratorStarted.SetInParent()
    _completed(new, 3, count)
    return _item(past, new), len(past) + len(new)


SHAPES: dict[str, Callable[[int], tuple[bytes, int]]] = {"chain": chain, "fan_out": fan_out}
"""Shape of a history -> (bytes of the work item, number of events)."""
