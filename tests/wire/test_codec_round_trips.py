"""Every model of core survives the wire, unset and empty told apart."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from durabletask.core.actions import CompleteOrchestration, OrchestratorActionBase
from durabletask.core.entities import CleanEntityStorageResult, EntityMetadata, EntityPage, EntityQuery
from durabletask.core.errors import InvalidRequestError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EPOCH,
    EntityOperationCalled,
    EntityOperationSignaled,
    ExecutionStarted,
    HistoryEventBase,
    OrchestratorStarted,
    SubOrchestrationInstanceCreated,
    TaskCompleted,
    TaskScheduled,
    TimerCreated,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdPage,
    InstanceIdQuery,
    InstancePage,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
    PurgeResult,
)
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkerCapability,
    WorkItemStreamOptions,
)
from durabletask.grpc.codec import entities, instances, values, work_items
from durabletask.grpc.codec.actions import ACTION_DECODERS, decode_action, encode_action
from durabletask.grpc.codec.history import DECODERS, decode_event, decode_past
from durabletask.grpc.codec.history_encoding import ENCODERS, encode_event
from durabletask.grpc.codec.past import EncodedPasts
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from model_strategies import INT32, TEXT, kinds_of, of_hint, of_model

EVENTS = kinds_of(HistoryEventBase)
ACTIONS = kinds_of(OrchestratorActionBase)
COUNTS = st.integers(1, 2**31 - 1)
NOT_EMPTY = TEXT.filter(bool)


def over_the_wire(message: Message) -> Any:
    """What the other side parses."""
    return type(message).FromString(message.SerializeToString())


TIMED = {OrchestratorStarted, ExecutionStarted, SubOrchestrationInstanceCreated, TimerCreated}


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_events_survive(kind: type[HistoryEventBase], data: st.DataObject) -> None:
    """Every kind of event comes back equal, and for replay equal but for the time of recording."""
    event = data.draw(of_model(kind))
    message = pb.HistoryEvent()
    encode_event(message, event)
    message = over_the_wire(message)

    assert decode_event(message) == event
    (past,) = decode_past([message])
    assert type(past) is kind
    is_kept = kind in TIMED or (isinstance(event, TaskScheduled) and event.trace_context is not None)
    assert past.timestamp == (event.timestamp if is_kept else EPOCH)


@pytest.mark.parametrize("kind", ACTIONS, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_actions_survive(kind: type[OrchestratorActionBase], data: st.DataObject) -> None:
    """Every kind of action comes back equal."""
    fixed = {"carryover_events": st.lists(of_model(TaskCompleted), min_size=1, max_size=2)}
    action = data.draw(of_model(kind, **(fixed if kind is CompleteOrchestration else {})))
    message = pb.OrchestratorAction()
    encode_action(message, action)

    assert decode_action(over_the_wire(message)) == action


def test_tables_are_complete() -> None:
    """Every member of the oneofs can be read, and every kind of core can be written."""
    event_members = {field.name for field in pb.HistoryEvent.DESCRIPTOR.oneofs[0].fields}
    action_members = {field.name for field in pb.OrchestratorAction.DESCRIPTOR.oneofs[0].fields}

    assert set(DECODERS) == event_members | {None}
    assert set(EVENTS) <= set(ENCODERS)
    assert set(ACTION_DECODERS) == action_members


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
def test_work_items_survive(data: st.DataObject) -> None:
    """A worker reads what a server wrote, the past included."""
    kind = data.draw(st.sampled_from([OrchestratorWorkItem, ActivityWorkItem, EntityWorkItem]))
    is_new = {"is_legacy": st.just(False), "execution_id": st.none() | NOT_EMPTY}
    item = data.draw(of_model(kind, **(is_new if kind is EntityWorkItem else {})))
    found, needs_past = work_items.decode_work_item(work_items.encode_work_item(item, EncodedPasts()))

    assert not needs_past
    assert type(found) is kind
    if isinstance(item, OrchestratorWorkItem) and isinstance(found, OrchestratorWorkItem):
        assert len(found.past_events) == len(item.past_events)
        assert [type(event) for event in found.past_events] == [type(event) for event in item.past_events]
        assert found.new_events == item.new_events
        assert (found.instance_id, found.execution_id) == (item.instance_id, item.execution_id)
        assert (found.trace_context, found.completion_token) == (item.trace_context, item.completion_token)
    else:
        assert found == item


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
def test_results_survive(data: st.DataObject) -> None:
    """A server reads what a worker answered."""
    episode = data.draw(
        of_model(
            OrchestratorResult,
            actions=st.lists(st.one_of(*[of_model(each) for each in ACTIONS[:4]]), max_size=3),
            num_events_processed=st.none() | COUNTS,
        )
    )
    activity = data.draw(of_model(ActivityResult))

    assert (
        work_items.decode_orchestrator_result(over_the_wire(work_items.encode_orchestrator_result(episode)))
        == episode
    )
    assert (
        work_items.decode_activity_result(over_the_wire(work_items.encode_activity_result(activity)))
        == activity
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(of_model(EntityBatchResult, instance_id=st.just(""), results=st.just([]), operations=st.just([])))
def test_entity_results_survive(result: EntityBatchResult) -> None:
    """The answer to an entity batch comes back equal, but for the entity, which the token names."""
    assert entities.decode_entity_result(over_the_wire(entities.encode_entity_result(result))) == result


@settings(max_examples=15, deadline=None, derandomize=True)
@given(of_model(EntityOperationResult))
def test_entity_outcomes_survive(outcome: EntityOperationResult) -> None:
    """A failure decides; a success keeps unset and empty results apart."""
    batch = EntityBatchResult(instance_id="", results=[outcome], operations=[])
    (found,) = entities.decode_entity_result(over_the_wire(entities.encode_entity_result(batch))).results

    assert found.failure == outcome.failure
    assert outcome.failure is not None or found.result == outcome.result
    assert (found.started_at, found.ended_at) == (outcome.started_at, outcome.ended_at)


def test_entity_answers_name_their_callers() -> None:
    """A call carries where its answer goes, a signal carries nothing."""
    call = EntityOperationCalled(-1, EPOCH, "r1", "", parent_instance_id="p", parent_execution_id="e")
    signal = EntityOperationSignaled(-1, EPOCH, "r2", "")
    batch = EntityBatchResult(instance_id="", results=[], operations=[call, signal])

    found = entities.decode_entity_result(over_the_wire(entities.encode_entity_result(batch)))

    assert found.operations == [call, signal]


PAIRS: list[tuple[type[Any], dict[str, st.SearchStrategy[Any]], Any, Any]] = [
    (
        CreateInstanceRequest,
        {
            "instance_id": st.none() | NOT_EMPTY,
            "execution_id": st.none() | NOT_EMPTY,
            "scheduled_start_at": st.none() | of_hint(datetime).filter(lambda at: at != EPOCH),
        },
        instances.encode_create_request,
        instances.decode_create_request,
    ),
    (
        InstanceQuery,
        {
            "runtime_statuses": st.lists(of_hint(OrchestrationStatus)).map(tuple),
            "page_size": COUNTS,
            "instance_id_prefix": st.none() | NOT_EMPTY,
            "continuation_token": st.none() | NOT_EMPTY,
        },
        instances.encode_query,
        instances.decode_query,
    ),
    (
        InstanceIdQuery,
        {
            "runtime_statuses": st.lists(of_hint(OrchestrationStatus)).map(tuple),
            "page_size": COUNTS,
            "last_instance_key": st.none() | NOT_EMPTY,
        },
        instances.encode_id_query,
        instances.decode_id_query,
    ),
    (
        InstancePage,
        {"continuation_token": st.none() | NOT_EMPTY},
        instances.encode_page,
        instances.decode_page,
    ),
    (
        InstanceIdPage,
        {"last_instance_key": st.none() | NOT_EMPTY},
        instances.encode_id_page,
        instances.decode_id_page,
    ),
    (
        PurgeInstance,
        {"instance_id": TEXT.map("@{}".format)},
        instances.encode_purge_request,
        instances.decode_purge_request,
    ),
    (PurgeBatch, {}, instances.encode_purge_request, instances.decode_purge_request),
    (
        PurgeFilter,
        {"runtime_statuses": st.lists(of_hint(OrchestrationStatus)).map(tuple)},
        instances.encode_purge_request,
        instances.decode_purge_request,
    ),
    (
        PurgeResult,
        {"deleted_instance_count": INT32},
        instances.encode_purge_result,
        instances.decode_purge_result,
    ),
    (
        EntityQuery,
        {
            "page_size": COUNTS,
            "instance_id_prefix": st.none() | NOT_EMPTY,
            "continuation_token": st.none() | NOT_EMPTY,
        },
        entities.encode_entity_query,
        entities.decode_entity_query,
    ),
    (
        EntityPage,
        {"continuation_token": st.none() | NOT_EMPTY},
        entities.encode_entity_page,
        entities.decode_entity_page,
    ),
    (
        CleanEntityStorageResult,
        {"continuation_token": st.none() | NOT_EMPTY},
        entities.encode_clean_result,
        entities.decode_clean_result,
    ),
    (
        WorkItemStreamOptions,
        {
            "max_orchestrations": COUNTS,
            "max_activities": COUNTS,
            "max_entities": COUNTS,
            "capabilities": st.frozensets(
                st.sampled_from(
                    [
                        WorkerCapability.HISTORY_STREAMING,
                        WorkerCapability.SCHEDULED_TASKS,
                        WorkerCapability.LARGE_PAYLOADS,
                    ]
                )
            ),
        },
        work_items.encode_stream_options,
        work_items.decode_stream_options,
    ),
]


@pytest.mark.parametrize(
    ("model", "fixed", "encode", "decode"), PAIRS, ids=lambda each: getattr(each, "__name__", "")
)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_requests_and_pages_survive(
    model: type[Any], fixed: dict[str, st.SearchStrategy[Any]], encode: Any, decode: Any, data: st.DataObject
) -> None:
    """What clients ask and what they are answered comes back equal."""
    value = data.draw(of_model(model, **fixed))
    assert decode(over_the_wire(encode(value))) == value


@settings(max_examples=15, deadline=None, derandomize=True)
@given(of_model(OrchestrationState), of_model(EntityMetadata))
def test_snapshots_survive(state: OrchestrationState, entity: EntityMetadata) -> None:
    """States of instances and entities come back equal."""
    message, other = pb.OrchestrationState(), pb.EntityMetadata()
    instances.encode_state(message, state)
    entities.encode_metadata(other, entity)

    assert instances.decode_state(over_the_wire(message)) == state
    assert entities.decode_metadata(over_the_wire(other)) == entity


def test_unset_and_empty_text_differ() -> None:
    """``None`` and an empty string are two things."""
    for result in (None, ""):
        message = pb.HistoryEvent()
        encode_event(message, TaskCompleted(-1, EPOCH, 1, result))
        found = decode_event(over_the_wire(message))
        assert isinstance(found, TaskCompleted)
        assert found.result == result


def test_naive_times_are_utc() -> None:
    """A time without zone is not shifted by the zone of the machine."""
    message = pb.HistoryEvent()
    encode_event(message, OrchestratorStarted(-1, datetime(2030, 1, 1, 12)))  # noqa: DTZ001
    assert decode_event(message).timestamp == datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def test_impossible_times_are_refused() -> None:
    """A time outside the calendar is the sender's fault, in a history as well."""
    message = pb.HistoryEvent(orchestratorStarted=pb.OrchestratorStartedEvent())
    message.timestamp.seconds = 2**62
    with pytest.raises(InvalidRequestError):
        decode_event(message)
    with pytest.raises(InvalidRequestError):
        decode_past([message])


def test_events_of_the_future_are_kept_as_unknown() -> None:
    """An event whose kind this version does not know is not lost."""
    message = pb.HistoryEvent.FromString(pb.HistoryEvent(eventId=5).SerializeToString() + b"\xfa\x0c\x00")
    found = decode_event(message)
    assert type(found).__name__ == "UnknownEvent"
    assert found.event_id == 5


def test_a_start_time_of_the_epoch_is_none() -> None:
    """One SDK sends the epoch as start time when there is none."""
    request = pb.CreateInstanceRequest(name="n")
    request.scheduledStartTimestamp.SetInParent()
    assert instances.decode_create_request(request).scheduled_start_at is None


def test_deep_failures_do_not_exhaust_the_stack() -> None:
    """A chain of causes as deep as protobuf lets through is read and written."""
    failure: FailureDetails | None = None
    for depth in range(90):
        failure = FailureDetails(f"t{depth}", "m", inner_failure=failure)
    assert failure is not None
    message = pb.TaskFailureDetails()
    values.encode_failure(message, failure)
    assert values.decode_failure(over_the_wire(message)) == failure


@given(st.timedeltas())
def test_durations_survive(value: timedelta) -> None:
    """Durations of either sign come back equal."""
    request = PurgeFilter(timeout=value)
    found = instances.decode_purge_request(instances.encode_purge_request(request))
    assert isinstance(found, PurgeFilter)
    assert found.timeout == value
