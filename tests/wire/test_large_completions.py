"""An answer too large for one message goes in parts and arrives whole."""

from __future__ import annotations

import pytest
from durabletask.core.actions import CompleteOrchestration, ScheduleTask
from durabletask.core.errors import InvalidRequestError, ResourceExhaustedError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EPOCH
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestrationTraceContext, OrchestratorResult
from durabletask.grpc.codec.completions import encode_completion
from durabletask.grpc.codec.work_items import decode_orchestrator_result
from durabletask.grpc.partial_results import PartialResults
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb


def _result(sizes: list[int], **more: object) -> OrchestratorResult:
    actions = [ScheduleTask(number, "a", None, "x" * size) for number, size in enumerate(sizes)]
    values: dict[str, object] = {"custom_status": '"s"', "completion_token": "t", **more}
    return OrchestratorResult(instance_id="i", actions=actions, **values)  # type: ignore[arg-type]


def _handed_out(*tokens: str, max_bytes: int = 2**20) -> PartialResults:
    partials = PartialResults(max_bytes=max_bytes)
    for token in tokens or ("t",):
        partials.handed_out(token, "i", set())
    return partials


def _joined(parts: list[pb.OrchestratorResponse]) -> OrchestratorResult:
    partials = _handed_out()
    for part in parts[:-1]:
        assert partials.add(part) is None
    whole = partials.add(parts[-1])
    assert whole is not None
    again = partials.add(parts[-1])  # its answer was lost: the parts before it are still there
    assert again == whole
    partials.forget("t")
    assert len(partials) == 0
    return decode_orchestrator_result(whole)


def test_a_small_answer_is_one_message() -> None:
    """Nothing is marked as partial when there is nothing to split."""
    (part,) = encode_completion(_result([10, 10]), 1000)
    assert not part.isPartial
    assert not part.HasField("chunkIndex")


def test_a_large_answer_is_split_and_joined() -> None:
    """Parts stay below the limit and carry what the protocol wants on each; the server has the whole again."""
    span = OrchestrationTraceContext("s", EPOCH)
    result = _result([300] * 20, num_events_processed=7, trace_context=span)
    parts = list(encode_completion(result, 1000))

    assert len(parts) > 3
    assert all(part.ByteSize() <= 1000 for part in parts)
    assert [part.isPartial for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [part.chunkIndex.value for part in parts] == list(range(len(parts)))
    assert {part.completionToken for part in parts} == {"t"}
    assert {part.customStatus.value for part in parts} == {'"s"'}
    assert [part.numEventsProcessed.value for part in parts] == [7] + [0] * (len(parts) - 1)
    assert [part.HasField("orchestrationTraceContext") for part in parts] == [True] + [False] * (
        len(parts) - 1
    )
    assert _joined(parts) == result


def test_all_events_processed_stays_unset() -> None:
    """Zero on the later parts does not mean that no event was processed."""
    result = _result([300] * 20)
    parts = list(encode_completion(result, 1000))
    assert not parts[0].HasField("numEventsProcessed")
    assert _joined(parts) == result


def test_a_part_sent_twice_counts_once() -> None:
    """A part whose answer was lost is sent again and replaces itself."""
    result = _result([300] * 20)
    parts = list(encode_completion(result, 1000))
    assert _joined([parts[0], parts[0], *parts[1:3], parts[2], *parts[3:]]) == result


def test_a_part_that_is_missing_is_told() -> None:
    """An answer with a gap is refused, by number, and complete once the part has come."""
    result = _result([300] * 20)
    parts = list(encode_completion(result, 1000))
    partials = _handed_out()
    for part in (parts[0], *parts[2:-1]):
        assert partials.add(part) is None
    with pytest.raises(InvalidRequestError, match="part 1 is missing"):
        partials.add(parts[-1])
    assert partials.add(parts[1]) is None
    whole = partials.add(parts[-1])
    assert whole is not None
    assert decode_orchestrator_result(whole) == result


@pytest.mark.parametrize(
    ("index", "words"),
    [(2**31 - 1, "part 1 is missing"), (-1, "it counts parts"), (0, "1 parts came before it")],
)
def test_the_number_of_the_last_part_is_not_trusted(index: int, words: str) -> None:
    """A huge number costs nothing, a negative one drops nothing, and one that is too low is refused."""
    parts = list(encode_completion(_result([300] * 20), 1000))
    partials = _handed_out()
    partials.add(parts[0])
    last = pb.OrchestratorResponse.FromString(parts[-1].SerializeToString())
    last.chunkIndex.value = index
    with pytest.raises(InvalidRequestError, match=words) as caught:
        partials.add(last)
    assert len(str(caught.value)) < 300
    assert len(partials) == 1


def test_a_last_part_alone_is_not_the_answer() -> None:
    """Whether the parts before it never came, were cut, or belong to a token that is over: it is refused."""
    parts = list(encode_completion(_result([300] * 20), 1000))
    with pytest.raises(InvalidRequestError, match="part 0 is missing"):
        _handed_out().add(parts[-1])
    with pytest.raises(InvalidRequestError, match="part 0 is missing"):
        PartialResults().add(parts[-1])
    unnumbered = pb.OrchestratorResponse.FromString(parts[-1].SerializeToString())
    unnumbered.ClearField("chunkIndex")
    partials = _handed_out("t", "other", max_bytes=3000)
    for part in parts[:2]:
        partials.add(part)
    for part in list(encode_completion(_result([300] * 20, completion_token="other"), 1000))[:2]:
        partials.add(part)
    for last in (parts[-1], unnumbered):
        with pytest.raises(InvalidRequestError, match="were discarded"):
            partials.add(last)
    partials.handed_out("t", "i", set())  # delivered again
    assert partials.add(parts[0]) is None


def test_parts_are_kept_for_items_that_were_handed_out_only() -> None:
    """A token that is not in flight, or that belongs to another instance, keeps nothing."""
    parts = list(encode_completion(_result([300] * 20), 1000))
    with pytest.raises(InvalidRequestError, match="not in flight"):
        PartialResults().add(parts[0])
    partials = PartialResults()
    partials.handed_out("t", "another", set())
    for part in (parts[0], parts[-1]):
        with pytest.raises(InvalidRequestError, match="another instance"):
            partials.add(part)
    assert len(partials) == 0


def test_a_last_part_that_is_repeated_after_its_commit_is_done() -> None:
    """Its acknowledgement was lost; there is nothing left to do."""
    parts = list(encode_completion(_result([300] * 20), 1000))
    partials = _handed_out()
    for part in parts:
        partials.add(part)
    partials.committed("t")
    assert partials.add(parts[-1]) is None


def test_parts_end_with_their_delivery() -> None:
    """When a stream ends its items are delivered again: the parts of the attempt are gone, and the stream's list too."""
    partials, stream = PartialResults(), set[str]()
    partials.handed_out("t", "i", stream)
    assert stream == {"t"}
    partials.add(next(encode_completion(_result([300] * 20), 1000)))
    partials.forget("t")
    assert len(partials) == 0
    assert stream == set()


def test_an_action_that_cannot_be_sent_fails_the_orchestration() -> None:
    """One action above the limit would be tried for ever; the instance fails and says why."""
    (part,) = encode_completion(_result([10, 5000]), 1000)
    (action,) = decode_orchestrator_result(part).actions

    assert isinstance(action, CompleteOrchestration)
    assert action.status is OrchestrationStatus.FAILED
    assert action.failure is not None
    assert action.failure.is_non_retriable
    assert "1000" in action.failure.message


def test_a_failure_is_not_replaced_by_one_of_size() -> None:
    """An orchestration that has failed keeps its failure, even when its custom status makes the message too large."""
    failure = FailureDetails("ValueError", "card declined")
    end = CompleteOrchestration(7, OrchestrationStatus.FAILED, failure=failure)
    result = OrchestratorResult(
        instance_id="i", actions=[ScheduleTask(1, "a"), end], custom_status='"' + "x" * 5000 + '"'
    )
    (part,) = encode_completion(result, 1000)
    assert decode_orchestrator_result(part).actions == [end]


def test_parts_that_are_never_finished_are_bounded() -> None:
    """Workers that die between parts cost no more than the bound, and neither does one that never ends its answer."""
    partials = _handed_out(*(f"t{number}" for number in range(100)), max_bytes=3000)
    for number in range(100):
        for part in list(encode_completion(_result([300] * 20, completion_token=f"t{number}"), 1000))[:2]:
            partials.add(part)
    assert len(partials) <= 2
    endless = pb.OrchestratorResponse(instanceId="i", completionToken="t0", isPartial=True)
    with pytest.raises(ResourceExhaustedError):
        _add_for_ever(partials, endless)


def _add_for_ever(partials: PartialResults, part: pb.OrchestratorResponse) -> None:
    for index in range(100):
        part.chunkIndex.value = index
        partials.add(pb.OrchestratorResponse.FromString(part.SerializeToString()))
