"""Laws of replay over random programs and a hub that answers in random order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import NonDeterminismError
from durabletask.core.failures import qualified_name
from durabletask.core.history import HistoryEvent
from durabletask.core.work_items import OrchestratorResult
from hypothesis import given
from hypothesis import strategies as st
from model_hub import ModelHub, ModelRun
from model_hub_sessions import CachedWorker, Worker
from step_language import FORMS
from step_laws import law
from step_programs import EVENT_NAMES, programs

_SEEDS = st.integers(0, 2**16)
_FORMS = st.sampled_from(sorted(FORMS))
_INPUTS = st.sampled_from([None, "", "1", '{"n": [1, 2]}'])


def _hub(seed: int) -> ModelHub:
    return ModelHub(seed, event_names=EVENT_NAMES)


def _comparable(result: OrchestratorResult) -> object:
    """A result without the stack traces of failures, which tell lines and not decisions."""
    return (result.custom_status, [_without_traces(action) for action in result.actions])


def _without_traces(action: Any) -> object:
    failure = getattr(action, "failure", None)
    if failure is None:
        return action
    return (
        type(action),
        action.id,
        action.status,
        failure.error_type,
        failure.message,
        failure.is_non_retriable,
    )


def _outline(run: ModelRun) -> list[object]:
    return [_comparable(episode.result) for episode in run.episodes]


@law(examples=60)
@given(program=programs(), seed=_SEEDS, form=_FORMS, input_text=_INPUTS, data=st.data())
def test_any_split_between_past_and_new_gives_the_same_actions(
    program: list[Any], seed: int, form: str, input_text: str | None, data: st.DataObject
) -> None:
    """Where the history is cut into past and new events decides nothing but the replaying flag."""
    worker = Worker(program, form)
    run = _hub(seed).run(worker.execute, input_text)
    episode = run.episodes[data.draw(st.integers(0, len(run.episodes) - 1), label="episode")]
    boundaries = st.lists(st.integers(0, len(episode.events) - 1), min_size=1, max_size=5, unique=True)

    for boundary in data.draw(boundaries, label="boundaries"):
        result = worker.execute(episode.events[:boundary], episode.events[boundary:])
        assert _comparable(episode.result) == _comparable(result)


@law(examples=60)
@given(program=programs(), seed=_SEEDS, form=_FORMS, input_text=_INPUTS)
def test_cached_equals_uncached(program: list[Any], seed: int, form: str, input_text: str | None) -> None:
    """A session that is kept answers as one that replays, and accepts every honest continuation."""
    uncached = _hub(seed).run(Worker(program, form).execute, input_text)
    worker = CachedWorker(program, form)
    cached = _hub(seed).run(worker.execute, input_text)
    worker.drop()

    assert _outline(uncached) == _outline(cached)
    assert worker.misses == 0


@law(examples=50)
@given(program=programs(), seed=_SEEDS, form=_FORMS, input_text=_INPUTS, data=st.data())
def test_an_eviction_at_any_time_changes_nothing(
    program: list[Any], seed: int, form: str, input_text: str | None, data: st.DataObject
) -> None:
    """A session cache that forgets at random gives the results of one that never does."""
    uncached = _hub(seed).run(Worker(program, form).execute, input_text)
    evictions = data.draw(st.sets(st.integers(0, len(uncached.episodes))), label="evicted before")
    worker = CachedWorker(program, form)
    served = 0

    def execute(past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> OrchestratorResult:
        nonlocal served
        if served in evictions:
            worker.drop()
        served += 1
        return worker.execute(past, new)

    forgetful = _hub(seed).run(execute, input_text)
    worker.drop()

    assert _outline(uncached) == _outline(forgetful)


@law(examples=60)
@given(program=programs(), seed=_SEEDS, input_text=_INPUTS)
def test_replaying_a_history_twice_gives_equal_results(
    program: list[Any], seed: int, input_text: str | None
) -> None:
    """Every episode computed again, in either authoring form, gives what it gave."""
    run = _hub(seed).run(Worker(program).execute, input_text)

    for form in FORMS:
        again = Worker(program, form)
        for episode in run.episodes:
            assert _comparable(episode.result) == _comparable(again.execute(episode.past, episode.new))


@law(examples=60)
@given(program=programs(), seed=_SEEDS, form=_FORMS, input_text=_INPUTS, data=st.data())
def test_a_crash_after_any_prefix_resumes_to_the_same_outcome(
    program: list[Any], seed: int, form: str, input_text: str | None, data: st.DataObject
) -> None:
    """A worker that dies before or after computing an episode loses nothing: the next one goes on."""
    calm = _hub(seed).run(CachedWorker(program, form).execute, input_text)
    crash = data.draw(st.integers(0, len(calm.episodes) - 1), label="crash at episode")
    worker = CachedWorker(program, form)
    served = 0

    def execute(past: Sequence[HistoryEvent], new: Sequence[HistoryEvent]) -> OrchestratorResult:
        nonlocal served, worker
        result = worker.execute(past, new)
        if served == crash:  # the result is lost, the hub delivers the item to another worker
            worker.drop()
            worker = CachedWorker(program, form)
            result = worker.execute(past, new)
        served += 1
        return result

    crashed = _hub(seed).run(execute, input_text)
    worker.drop()

    assert calm.outcome is not None or len(calm.episodes) == ModelHub.MAX_EPISODES
    assert _outline(calm) == _outline(crashed)


def _error_types(result: OrchestratorResult) -> list[str]:
    return [
        action.failure.error_type
        for action in result.actions
        if isinstance(action, CompleteOrchestration) and action.failure is not None
    ]


@law(examples=60)
@given(program=programs(), seed=_SEEDS, form=_FORMS)
def test_strict_mode_accepts_what_the_code_itself_did(program: list[Any], seed: int, form: str) -> None:
    """Strict mode finds no non-determinism in a history that the same code produced."""
    run = _hub(seed).run(Worker(program, form).execute)
    strict = Worker(program, form, strict=True)

    for episode in run.episodes:
        assert qualified_name(NonDeterminismError) not in _error_types(
            strict.execute(episode.past, episode.new)
        )
