"""No sequence of events, however malformed, makes the engine loop, hang or raise an undocumented error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, get_args

import msgspec
from durabletask.core import actions as a
from durabletask.core import history as h
from durabletask.core.errors import OrchestrationStateError, VersionMismatchError
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.work_items import OrchestratorResult
from hypothesis import given
from hypothesis import strategies as st
from model_hub import INSTANCE_ID, ModelHub
from model_hub_sessions import Worker
from step_language import FORMS
from step_laws import law
from step_programs import EVENT_NAMES, programs

_DOCUMENTED = (OrchestrationStateError, VersionMismatchError)
_TEXTS = st.sampled_from([None, "", "1", "null", '"text"', '{"result": "1"}', "{not json", "[", "\udcff"])
_NAMES = st.sampled_from(["Main", "Nope", "A", "B", *EVENT_NAMES, "op", "release", ""])
_IDS = st.integers(-2, 6)
_REQUESTS = st.sampled_from(["d8b3c97b-3cfa-5cf1-a844-c97d0429dc53", "unknown", ""])
_TIMES = st.integers(-5, 200).map(lambda seconds: h.EPOCH + timedelta(days=20_000, seconds=seconds))
_FAILURES = st.none() | st.builds(
    FailureDetails, error_type=st.sampled_from(["", "app.Boom", "builtins.ValueError"]), message=st.just("m")
)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "event_id": _IDS,
    "task_scheduled_id": _IDS,
    "timer_id": _IDS,
    "status": st.integers(-1, 9),
    "timestamp": _TIMES,
    "fire_at": _TIMES,
    "scheduled_time": st.none() | _TIMES,
    "scheduled_start": st.none(),
    "name": _NAMES,
    "operation": _NAMES,
    "kind": _NAMES,
    "instance_id": st.sampled_from([INSTANCE_ID, f"{INSTANCE_ID}:0001", "@counter@a", "peer", ""]),
    "target_instance_id": st.sampled_from([None, "@counter@a", "nonsense"]),
    "parent_instance_id": st.sampled_from([None, INSTANCE_ID]),
    "execution_id": st.sampled_from([None, "run-0", "other"]),
    "parent_execution_id": st.none(),
    "orchestration_span_id": st.none(),
    "request_id": _REQUESTS,
    "critical_section_id": _REQUESTS,
    "lock_set": st.sampled_from(
        [(), ("@counter@a",), ("@counter@a", "@counter@a", "@other@a"), ("nonsense",)]
    ),
    "position": st.integers(-1, 2),
    "input": _TEXTS,
    "result": _TEXTS,
    "output": _TEXTS,
    "data": _TEXTS,
    "reason": _TEXTS,
    "version": st.sampled_from([None, "", "1.0", "zebra"]),
    "failure": _FAILURES,
    "parent": st.none(),
    "trace_context": st.none(),
    "tags": st.sampled_from([None, {}, {"k": "v"}]),
    "recurse": st.booleans(),
}


def _events_of(event_type: type[Any]) -> st.SearchStrategy[h.HistoryEvent]:
    members = {field.name: _FIELDS[field.name] for field in msgspec.structs.fields(event_type)}
    return st.builds(event_type, **members)


_ANY_EVENT: st.SearchStrategy[h.HistoryEvent] = st.one_of(
    [_events_of(event_type) for event_type in get_args(h.HistoryEvent)]
)
_HISTORIES = st.lists(_ANY_EVENT, max_size=15)

Mutation = Callable[[list[h.HistoryEvent], int, h.HistoryEvent], None]


def _remove(events: list[h.HistoryEvent], at: int, _: h.HistoryEvent) -> None:
    del events[at]


def _repeat(events: list[h.HistoryEvent], at: int, _: h.HistoryEvent) -> None:
    events.append(events[at])


def _double(events: list[h.HistoryEvent], at: int, _: h.HistoryEvent) -> None:
    events.insert(at, events[at])


def _swap(events: list[h.HistoryEvent], at: int, _: h.HistoryEvent) -> None:
    events[at], events[-1] = events[-1], events[at]


def _insert(events: list[h.HistoryEvent], at: int, event: h.HistoryEvent) -> None:
    events.insert(at, event)


def _replace(events: list[h.HistoryEvent], at: int, event: h.HistoryEvent) -> None:
    events[at] = event


def _renumber(events: list[h.HistoryEvent], at: int, event: h.HistoryEvent) -> None:
    changes: dict[str, Any] = {"event_id": event.event_id}
    for member in ("task_scheduled_id", "timer_id"):
        if hasattr(events[at], member):
            changes[member] = event.event_id
    events[at] = msgspec.structs.replace(events[at], **changes)


_MUTATIONS: list[Mutation] = [_remove, _repeat, _double, _swap, _insert, _replace, _renumber]


def _attempt(worker: Worker, events: Sequence[h.HistoryEvent], boundary: int) -> OrchestratorResult | None:
    """One episode; a documented error gives nothing, any other one fails the law."""
    try:
        return worker.execute(events[:boundary], events[boundary:])
    except _DOCUMENTED:
        return None


def _assert_well_formed(result: OrchestratorResult) -> None:
    completions = [x for x in result.actions if isinstance(x, a.CompleteOrchestration)]
    assert len(completions) <= 1
    assert not completions or result.actions[-1] is completions[0]
    repeated = [number for number, count in Counter(x.id for x in result.actions).items() if count > 1]
    assert not repeated
    for completion in completions:
        has_failed = completion.status is OrchestrationStatus.FAILED
        assert has_failed == (completion.failure is not None)


@law(examples=60)
@given(program=programs(size=8), form=st.sampled_from(sorted(FORMS)), events=_HISTORIES, data=st.data())
def test_random_events_give_a_result_or_a_documented_error(
    program: list[Any], form: str, events: list[h.HistoryEvent], data: st.DataObject
) -> None:
    """Events that no hub would send fail the orchestration or the call, never the worker."""
    boundary = data.draw(st.integers(0, len(events)), label="boundary")

    result = _attempt(Worker(program, form), events, boundary)

    if result is not None:
        _assert_well_formed(result)


@law(examples=60)
@given(
    program=programs(size=8),
    form=st.sampled_from(sorted(FORMS)),
    seed=st.integers(0, 2**16),
    mutations=st.lists(
        st.tuples(st.sampled_from(_MUTATIONS), st.integers(0, 200), _ANY_EVENT), min_size=1, max_size=4
    ),
    data=st.data(),
)
def test_mutated_histories_give_a_result_or_a_documented_error(
    program: list[Any],
    form: str,
    seed: int,
    mutations: list[tuple[Mutation, int, h.HistoryEvent]],
    data: st.DataObject,
) -> None:
    """A valid history with a few damages is judged, not crashed on; and always judged the same way."""
    worker = Worker(program, form)
    run = ModelHub(seed, event_names=EVENT_NAMES).run(worker.execute)
    events = list(run.history or run.episodes[-1].events)
    for mutate, at, event in mutations:
        if events:
            mutate(events, at % len(events), event)
    boundary = data.draw(st.integers(0, len(events)), label="boundary")

    result = _attempt(worker, events, boundary)
    again = _attempt(worker, events, boundary)

    assert (result is None) == (again is None)
    if result is not None and again is not None:
        _assert_well_formed(result)
        assert [x.id for x in result.actions] == [x.id for x in again.actions]


@law(examples=60)
@given(
    program=programs(size=8),
    seed=st.integers(0, 2**16),
    later=st.lists(_HISTORIES, min_size=1, max_size=4),
    data=st.data(),
)
def test_a_kept_session_survives_any_continuation(
    program: list[Any], seed: int, later: list[list[h.HistoryEvent]], data: st.DataObject
) -> None:
    """Whatever is delivered to a kept session, it accepts it or asks to be dropped."""
    worker = Worker(program)
    run = ModelHub(seed, event_names=EVENT_NAMES).run(worker.execute)
    episode = run.episodes[data.draw(st.integers(0, len(run.episodes) - 1), label="episode")]
    session = worker.session()
    past = [*episode.past]
    new = [*episode.new]
    try:
        session.replay(past)
        for noise in later:
            result = session.advance(new)
            _assert_well_formed(result)
            past += [*new, *noise]
            if session.is_complete or not session.resume(past):
                break
            new = list(episode.new)
    except _DOCUMENTED:
        pass
    finally:
        session.close()
