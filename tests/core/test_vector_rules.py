"""The rules that rewrite vectors do so where a row of the decisions says it, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from proto_json import result_to_json
from vector_compare import differences
from vector_rules import Episode, Vector, adapt
from vector_runner import VectorRunner

_RETRY = {"firstDelaySeconds": 10, "maxAttempts": 3, "coefficient": 2}


def _at(seconds: int, event_id: int = -1, **event: Any) -> dict[str, Any]:
    return {
        "eventId": event_id,
        "timestamp": f"2025-01-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z",
        **event,
    }


def _episode(*events: dict[str, Any], expect: dict[str, Any], **started: Any) -> Episode:
    """The events of one history after its start; the last episode of it is new."""
    instance = {"instanceId": "abc", **started.pop("instance", {})}
    start = {"name": "Main", "orchestrationInstance": instance, **started}
    history = [_at(0, orchestratorStarted={}), _at(0, executionStarted=start), *events]
    boundary = max(i for i, event in enumerate(history) if "orchestratorStarted" in event)
    return Episode(history[:boundary], history[boundary:], expect)


def _completed(action_id: int, result: str) -> dict[str, Any]:
    return {
        "id": action_id,
        "completeOrchestration": {
            "orchestrationStatus": "ORCHESTRATION_STATUS_COMPLETED",
            "result": result,
        },
    }


def _started(event_id: int, child: str, **body: Any) -> dict[str, Any]:
    return _at(0, event_id, subOrchestrationInstanceCreated={"instanceId": child, "name": "C", **body})


_FAILURE = {"errorType": "X", "errorMessage": "x"}
_RETRIED_CHILDREN = [
    {"do": "sub", "name": "C", "version": "2", "retry": _RETRY, "task": "a"},
    {"do": "await", "task": "a", "result": "x"},
    {"do": "sub", "name": "C", "result": "y"},
    {"do": "return", "value": {"var": "y"}},
]

CASES: dict[str, tuple[list[dict[str, Any]], Episode, set[int]]] = {
    "a retried child keeps its id and version, later children take later ids": (
        _RETRIED_CHILDREN,
        _episode(
            _started(1, "abc:0001", version="2"),
            _at(0, orchestratorCompleted={}),
            _at(1, orchestratorStarted={}),
            _at(1, subOrchestrationInstanceFailed={"taskScheduledId": 1, "failureDetails": _FAILURE}),
            _at(1, 2, timerCreated={"fireAt": "2025-01-01T00:00:11Z"}),
            _at(1, orchestratorCompleted={}),
            _at(11, orchestratorStarted={}),
            _at(11, timerFired={"fireAt": "2025-01-01T00:00:11Z", "timerId": 2}),
            _started(1, "abc:0001", input=""),
            _at(11, orchestratorCompleted={}),
            _at(12, orchestratorStarted={}),
            _at(12, subOrchestrationInstanceCompleted={"taskScheduledId": 1, "result": "1"}),
            expect={
                "actions": [{"id": 3, "createSubOrchestration": {"name": "C", "instanceId": "abc:0003"}}]
            },
        ),
        {4},
    ),
    "a delay without a maximum is an hour at most": (
        [{"do": "activity", "name": "A", "retry": {"firstDelaySeconds": 7200, "maxAttempts": 2}}],
        _episode(
            _at(0, 1, taskScheduled={"name": "A"}),
            _at(0, orchestratorCompleted={}),
            _at(1, orchestratorStarted={}),
            _at(1, taskFailed={"taskScheduledId": 1, "failureDetails": _FAILURE}),
            expect={"actions": [{"id": 2, "createTimer": {"fireAt": "2025-01-01T02:00:01Z"}}]},
        ),
        {4},
    ),
    "children are named after the execution": (
        [{"do": "sub", "name": "C"}],
        _episode(
            instance={"executionId": "e1"},
            expect={
                "actions": [{"id": 1, "createSubOrchestration": {"name": "C", "instanceId": "abc:0001"}}]
            },
        ),
        {8},
    ),
    "activities run in the version of the orchestration": (
        [{"do": "activity", "name": "A"}],
        _episode(version="1.5", expect={"actions": [{"id": 1, "scheduleTask": {"name": "A"}}]}),
        {9},
    ),
    "the first of nothing fails": (
        [{"do": "awaitAny", "tasks": [], "winner": "w"}],
        _episode(expect={"actions": []}),
        {2},
    ),
    "a plain vector is left alone": (
        [{"do": "return", "value": 1}],
        _episode(expect={"actions": [_completed(1, "1")]}),
        set(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_meets_the_engine(name: str) -> None:
    """What a rule makes of the peer's expectation is what the engine does."""
    program, episode, rows = CASES[name]
    vector = Vector({"id": name, "instanceId": "abc", "orchestrators": {"Main": program}, "episodes": []})

    adapted = adapt(vector, episode)
    result = VectorRunner(vector, adapted, "async").run_as_given()

    assert rows == adapted.rows
    assert differences(adapted.expect, result_to_json(result)) == []


def test_differences_are_told() -> None:
    """The comparison sees an other id, an other payload, a missing action and an other order."""
    wanted = {"actions": [_completed(2, "[1]"), {"id": 3, "scheduleTask": {"name": "A"}}]}
    found = {"actions": [_completed(1, "[2]")]}

    told = "\n".join(differences(wanted, found))

    assert "actions[0].id" in told
    assert "completeOrchestration.result" in told
    assert "(length)" in told
    assert differences(wanted, {"actions": wanted["actions"][::-1]})
