"""The codec reads and writes every event and action of the replay vectors as the vectors mean them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from durabletask.core.history import (
    EPOCH,
    ExecutionStarted,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TimerCreated,
)
from durabletask.grpc.codec.actions import decode_action
from durabletask.grpc.codec.history import decode_event, decode_past
from durabletask.grpc.codec.history_encoding import encode_event
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf import json_format
from proto_json import action_to_json, event_from_json, event_to_json
from vector_files import vector_files


def _episodes() -> Iterator[Mapping[str, Any]]:
    for path in vector_files().values():
        yield from json.loads(path.read_text("utf-8"))["episodes"]


def _unique(items: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({json.dumps(item, sort_keys=True): item for item in items}.values())


_EVENTS = _unique(event for episode in _episodes() for event in [*episode["past"], *episode["new"]])
_ACTIONS = _unique(action for episode in _episodes() for action in episode["expect"].get("actions", []))

TIMED = (OrchestratorStarted, ExecutionStarted, SubOrchestrationInstanceCreated, TimerCreated)


def test_events_survive_the_wire() -> None:
    """An event read from protobuf is the model that its JSON form describes, and is written back the same."""
    for event in _EVENTS:
        message = json_format.ParseDict(event, pb.HistoryEvent())
        decoded = decode_event(message)
        written = pb.HistoryEvent()
        encode_event(written, decoded)

        assert decoded == event_from_json(event)
        assert written == message
        assert event_to_json(decoded) == event


def test_past_events_lose_only_times_without_meaning() -> None:
    """What is read for replay differs from the exact event in the timestamps that replay and tracing ignore."""
    for event in _EVENTS:
        exact = event_from_json(event)
        (past,) = decode_past([json_format.ParseDict(event, pb.HistoryEvent())])
        if not isinstance(exact, TIMED) and getattr(exact, "trace_context", None) is None:
            exact = msgspec.structs.replace(exact, timestamp=EPOCH)

        assert exact == past


def test_actions_survive_the_wire() -> None:
    """An action read from protobuf has the JSON form that the vector gives."""
    for action in _ACTIONS:
        if "completeOrchestration" in action and "failureDetails" in action["completeOrchestration"]:
            continue  # the vectors list only some members of a failure
        message = json_format.ParseDict(action, pb.OrchestratorAction())

        assert action_to_json(decode_action(message)) == action
