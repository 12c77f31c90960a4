"""What travels as bytes is replayed as what does not: a law over random programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from durabletask.core.history import HistoryEvent
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem
from durabletask.grpc.codec.past import EncodedPasts
from durabletask.grpc.codec.work_items import (
    decode_orchestrator_result,
    decode_work_item,
    encode_orchestrator_result,
    encode_work_item,
)
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from model_hub import INSTANCE_ID, ModelHub
from model_hub_sessions import CachedWorker, Worker
from proto_json import result_to_json
from step_laws import law
from step_programs import EVENT_NAMES, programs


def _outline(result: OrchestratorResult) -> object:
    written = result_to_json(result)
    for action in written["actions"]:
        action.get("completeOrchestration", {}).pop("failureDetails", None)  # traces tell lines
    return written


class _OverTheWire:
    """A worker at the far end of a connection: it gets bytes and answers bytes."""

    def __init__(self, worker: Worker, *, is_scanning: bool) -> None:
        self._is_scanning = is_scanning
        self._worker = worker
        self._pasts = EncodedPasts()

    def execute(self, past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> OrchestratorResult:
        item = OrchestratorWorkItem(instance_id=INSTANCE_ID, past_events=past, new_events=new)
        data = encode_work_item(item, self._pasts)
        delivered, _ = decode_work_item(data, is_scanning=self._is_scanning)
        assert isinstance(delivered, OrchestratorWorkItem)
        result = self._worker.execute(delivered.past_events, delivered.new_events)
        answer = encode_orchestrator_result(result).SerializeToString()
        return decode_orchestrator_result(pb.OrchestratorResponse.FromString(answer))


@pytest.mark.parametrize("is_scanning", [True, False], ids=["compact", "plain"])
@law(examples=40)
@given(program=programs(), seed=st.integers(0, 2**16), is_cached=st.booleans())
def test_bytes_are_replayed_as_the_events_they_stand_for(
    is_scanning: bool, program: list[Any], seed: int, is_cached: bool
) -> None:
    """Codec and engine together give the results of the engine alone, with and without a session cache."""
    near = ModelHub(seed, event_names=EVENT_NAMES).run(Worker(program).execute)
    worker = CachedWorker(program) if is_cached else Worker(program)
    far = ModelHub(seed, event_names=EVENT_NAMES).run(_OverTheWire(worker, is_scanning=is_scanning).execute)
    if isinstance(worker, CachedWorker):
        worker.drop()
        assert worker.misses == 0

    assert [_outline(e.result) for e in near.episodes] == [_outline(e.result) for e in far.episodes]
