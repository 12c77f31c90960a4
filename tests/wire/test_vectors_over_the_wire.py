"""Every replay vector gives the same result when its history travels as bytes, scanned or not."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from durabletask.core.errors import DurableTaskError
from durabletask.core.history import HistoryEvent
from durabletask.core.work_items import OrchestratorWorkItem
from durabletask.grpc.codec.past import EncodedPasts, encode_history_chunks
from durabletask.grpc.codec.work_items import decode_streamed_past, decode_work_item, encode_work_item
from proto_json import result_to_json
from vector_episodes import Vector
from vector_files import vector_files
from vector_runner import VectorRunner

_VECTORS = [Vector(json.loads(path.read_text("utf-8"))) for path in vector_files().values()]


def _outcome(runner: VectorRunner, past: Sequence[HistoryEvent]) -> object:
    try:
        written = result_to_json(runner.run(past, runner.new))
    except DurableTaskError as error:
        return type(error), str(error)
    for action in written["actions"]:
        failure = action.get("completeOrchestration", {}).get("failureDetails", {})
        failure.pop("stackTrace", None)  # shows which function of the engine applied the event
    return written


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("is_scanning", [True, False], ids=["compact", "plain"])
@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector.id)
def test_a_vector_replays_from_bytes_as_from_its_events(
    vector: Vector, is_scanning: bool, is_streamed: bool
) -> None:
    """In one message or fetched as a stream, with the scanner and without it."""
    for episode in vector.episodes():
        runner = VectorRunner(vector, episode, "async")
        item = OrchestratorWorkItem(
            instance_id="i", past_events=runner.past, new_events=runner.new, completion_token="t"
        )
        if is_streamed:
            found, _ = decode_work_item(
                encode_work_item(msgspec.structs.replace(item, past_events=()), EncodedPasts())
            )
            assert isinstance(found, OrchestratorWorkItem)
            found = decode_streamed_past(
                found, [*encode_history_chunks(runner.past, 500)], is_scanning=is_scanning
            )
        else:
            found, _ = decode_work_item(encode_work_item(item, EncodedPasts()), is_scanning=is_scanning)
            assert isinstance(found, OrchestratorWorkItem)

        assert _outcome(runner, found.past_events) == _outcome(runner, runner.past)
