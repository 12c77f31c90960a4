"""The rules that rewrite vectors do so where a row of the decisions says it, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from proto_json import result_to_json
from vector_compare import differences
from vector_episodes import Episode, Vector
from vector_rules import adapt
from vector_runner import VectorRunner, expectation

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


def _failed(action_id: int, **failure: Any) -> dict[str, Any]:
    body = {"orchestrationStatus": "ORCHESTRATION_STATUS_FAILED", "failureDetails": failure}
    return {"id": action_id, "completeOrchestration": body}


def _task_failed(action_id: int, name: str, **details: Any) -> dict[str, Any]:
    failure = {"errorType": name, "errorMessage": name.lower(), **details}
    return _at(1, taskFailed={"taskScheduledId": action_id, "failureDetails": failure})


def _unlock(action_id: int, entity: str) -> dict[str, Any]:
    body = {"criticalSectionId": "s", "parentInstanceId": "abc", "targetInstanceId": entity}
    return {"id": action_id, "sendEntityMessage": {"entityUnlockSent": body}}


def _new(*events: dict[str, Any], at: int = 1) -> tuple[dict[str, Any], ...]:
    """The end of an episode and the events of the next one."""
    return (_at(0, orchestratorCompleted={}), _at(at, orchestratorStarted={}), *events)


def _in_lock(*body: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"do": "lock", "entities": ["@b@1", "@a@1"], "body": list(body)}]


_LOCKED = (
    _at(
        0,
        1,
        entityLockRequested={
            "criticalSectionId": "s",
            "lockSet": ["@a@1", "@b@1"],
            "parentInstanceId": "abc",
        },
    ),
    *_new(_at(1, entityLockGranted={"criticalSectionId": "s"})),
)
_CALL_A = {"do": "callEntity", "entity": "@a@1", "operation": "op", "task": "a"}
_CALLED_A = {
    "id": 2,
    "sendEntityMessage": {
        "entityOperationCalled": {
            "requestId": "b4931a39-5897-5f18-877b-05cbe5869eab",
            "operation": "op",
            "parentInstanceId": "abc",
            "targetInstanceId": "@a@1",
        }
    },
}
_COMPLETED_WITHOUT_RESULT = {
    "id": 4,
    "completeOrchestration": {"orchestrationStatus": "ORCHESTRATION_STATUS_COMPLETED"},
}
_CATCH = {"error": "e", "catch": [{"do": "return", "value": {"var": "e"}}]}
_PEER_ENTITY_FAILURE = "durabletask.entities.entity_operation_failed_exception.EntityOperationFailedException"
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
    "of two failures the first of the list is told, ids being counted in blocks too": (
        [
            {"do": "signalEntity", "entity": "@z@1", "operation": "op"},
            {
                "do": "try",
                "body": [
                    {"do": "activity", "name": "A", "task": "a"},
                    {"do": "activity", "name": "A", "task": "b"},
                    {"do": "awaitAll", "tasks": ["a", "b"]},
                ],
                **_CATCH,
            },
        ],
        _episode(
            _at(
                0,
                1,
                entityOperationSignaled={"requestId": "r", "operation": "op", "targetInstanceId": "@z@1"},
            ),
            _at(0, 2, taskScheduled={"name": "A"}),
            _at(0, 3, taskScheduled={"name": "A"}),
            *_new(_task_failed(3, "B"), _task_failed(2, "A")),
            expect={"actions": [_completed(4, '{"type": "B", "message": "b"}')]},
        ),
        {1},
    ),
    "of members that had failed before the wait both tell the first of the list": (
        [
            {"do": "activity", "name": "A", "task": "a"},
            {"do": "activity", "name": "A", "task": "b"},
            {"do": "timer", "delaySeconds": 1},
            {"do": "try", "body": [{"do": "awaitAll", "tasks": ["a", "b"]}], **_CATCH},
        ],
        _episode(
            _at(0, 1, taskScheduled={"name": "A"}),
            _at(0, 2, taskScheduled={"name": "A"}),
            _at(0, 3, timerCreated={"fireAt": "2025-01-01T00:00:01Z"}),
            *_new(
                _task_failed(2, "B"),
                _task_failed(1, "A"),
                _at(1, timerFired={"fireAt": "2025-01-01T00:00:01Z", "timerId": 3}),
            ),
            expect={"actions": [_completed(4, '{"type": "A", "message": "a"}')]},
        ),
        set(),
    ),
    "of failed entity calls the first of the list is told, as the entity told it": (
        [
            {**_CALL_A, "input": 1},
            {**_CALL_A, "input": 2, "task": "b"},
            {"do": "try", "body": [{"do": "awaitAll", "tasks": ["a", "b"]}], **_CATCH},
        ],
        _episode(
            *(
                _at(
                    0,
                    n,
                    entityOperationCalled={
                        "requestId": f"r{n}",
                        "operation": "op",
                        "targetInstanceId": "@a@1",
                        "input": str(n),
                    },
                )
                for n in (1, 2)
            ),
            *_new(
                *(
                    _at(1, entityOperationFailed={"requestId": f"r{n}", "failureDetails": failure})
                    for n, failure in (
                        (2, {"errorType": "B", "errorMessage": "b"}),
                        (1, {"errorType": "A", "errorMessage": "a"}),
                    )
                )
            ),
            expect={
                "actions": [
                    _completed(
                        3,
                        f'{{"type": "{_PEER_ENTITY_FAILURE}", '
                        "\"message\": \"Operation 'op' on entity '@a@1' failed with error: b\"}",
                    )
                ]
            },
        ),
        {1, 3},
    ),
    "a final failure that is caught goes where the last permitted one would": (
        [{"do": "try", "body": [{"do": "activity", "name": "A", "retry": _RETRY}], **_CATCH}],
        _episode(
            _at(0, 1, taskScheduled={"name": "A"}),
            *_new(_task_failed(1, "X", isNonRetriable=True)),
            expect={"actions": [{"id": 2, "createTimer": {"fireAt": "2025-01-01T00:00:11Z"}}]},
        ),
        {4},
    ),
    "a final failure of a child ends its retries": (
        [{"do": "sub", "name": "C", "retry": _RETRY}],
        _episode(
            _started(1, "abc:0001"),
            *_new(
                _at(
                    1,
                    subOrchestrationInstanceFailed={
                        "taskScheduledId": 1,
                        "failureDetails": {**_FAILURE, "isNonRetriable": True},
                    },
                )
            ),
            expect={"actions": [{"id": 2, "createTimer": {"fireAt": "2025-01-01T00:00:11Z"}}]},
        ),
        {4},
    ),
    "a past that went on after a failure says that it was not final": (
        [{"do": "activity", "name": "A", "retry": _RETRY}],
        _episode(
            _at(0, 1, taskScheduled={"name": "A"}),
            *_new(_task_failed(1, "X", isNonRetriable=True)),
            _at(1, 2, timerCreated={"fireAt": "2025-01-01T00:00:11Z"}),
            *_new(_at(11, timerFired={"fireAt": "2025-01-01T00:00:11Z", "timerId": 2}), at=11),
            expect={"actions": [{"id": 1, "scheduleTask": {"name": "A"}}]},
        ),
        {4},
    ),
    "what is sent again because its confirmation is held back is no new attempt": (
        [{"do": "activity", "name": "A", "retry": _RETRY}],
        _episode(
            *(
                _at(0, executionSuspended={}),
                _at(0, 1, taskScheduled={"name": "A"}),
                *_new(_at(1, executionSuspended={})),
            ),
            expect={"actions": [{"id": 1, "scheduleTask": {"name": "A"}}]},
        ),
        {10},
    ),
    "a first interval of zero is refused": (
        [{"do": "activity", "name": "A", "retry": {**_RETRY, "firstDelaySeconds": 0}}],
        _episode(expect={"actions": [{"id": 1, "scheduleTask": {"name": "A"}}]}),
        {4},
    ),
    "a wait that lost takes no event": (
        [
            {"do": "event", "name": "E", "task": "lost"},
            {"do": "timer", "delaySeconds": 1, "task": "t"},
            {"do": "awaitAny", "tasks": ["lost", "t"], "winner": "w"},
            {"do": "event", "name": "e", "result": "r"},
            {"do": "return", "value": {"var": "r"}},
        ],
        _episode(
            _at(0, 1, timerCreated={"fireAt": "2025-01-01T00:00:01Z"}),
            *_new(
                _at(1, timerFired={"fireAt": "2025-01-01T00:00:01Z", "timerId": 1}),
                _at(1, eventRaised={"name": "E", "input": "5"}),
            ),
            expect={"actions": []},
        ),
        {5},
    ),
    "of two events alike the later one is carried over": (
        [{"do": "event", "name": "E"}, {"do": "continueAsNew", "input": 1, "keepEvents": True}],
        _episode(
            *_new(_at(1, eventRaised={"name": "e"}), _at(1, eventRaised={"name": "E"})),
            expect={
                "actions": [
                    {
                        "id": 1,
                        "completeOrchestration": {
                            "orchestrationStatus": "ORCHESTRATION_STATUS_CONTINUED_AS_NEW",
                            "result": "1",
                            "carryoverEvents": [
                                {
                                    "eventId": -1,
                                    "timestamp": "1970-01-01T00:00:00Z",
                                    "eventRaised": {"name": "e"},
                                }
                            ],
                        },
                    }
                ]
            },
        ),
        {6},
    ),
    "an empty version is no version": (
        [{"do": "activity", "name": "A"}],
        _episode(version="", expect={"actions": [{"id": 1, "scheduleTask": {"name": "A"}}]}),
        set(),
    ),
    "a stray resume is dropped": (
        [{"do": "activity", "name": "A", "result": "r"}, {"do": "return", "value": {"var": "r"}}],
        _episode(
            _at(0, 1, taskScheduled={"name": "A"}),
            *_new(_at(1, executionResumed={}), _at(1, taskCompleted={"taskScheduledId": 1, "result": "7"})),
            expect={"actions": [_failed(2)], "failureKind": "state-error"},
        ),
        {10},
    ),
    "a second suspension is dropped": (
        [{"do": "event", "name": "E"}, {"do": "return", "value": 1}],
        _episode(
            *_new(
                *(_at(1, executionSuspended={}), _at(1, executionSuspended={}), _at(1, executionResumed={})),
                _at(1, eventRaised={"name": "E"}),
            ),
            expect={"actions": []},
        ),
        {10},
    ),
    "room for an unlock is made among ids of actions and children": (
        [*_in_lock(_CALL_A), {"do": "sub", "name": "C", "task": "c"}, {"do": "event", "name": "E"}],
        _episode(
            *_LOCKED,
            expect={
                "actions": [
                    _CALLED_A,
                    _unlock(3, "@b@1"),
                    {"id": 4, "createSubOrchestration": {"name": "C", "instanceId": "abc:0004"}},
                ]
            },
        ),
        {12},
    ),
    "room for an unlock is made in the history": (
        [
            *_in_lock(_CALL_A),
            {"do": "activity", "name": "A", "result": "r"},
            {"do": "return", "value": {"var": "r"}},
        ],
        _episode(
            *_LOCKED,
            _at(1, 2, entityOperationCalled=_CALLED_A["sendEntityMessage"]["entityOperationCalled"]),
            _at(1, 3, entityUnlockSent=_unlock(3, "@b@1")["sendEntityMessage"]["entityUnlockSent"]),
            _at(1, 4, taskScheduled={"name": "A"}),
            *_new(_at(2, taskCompleted={"taskScheduledId": 4, "result": "7"}), at=2),
            expect={"actions": [_completed(5, "7")]},
        ),
        {12},
    ),
    "a section in which every entity is called is unlocked before the completion": (
        [{"do": "lock", "entities": ["@a@1"], "body": [_CALL_A]}, {"do": "return", "value": 1}],
        _episode(
            _at(0, 1, entityLockRequested={"criticalSectionId": "s", "lockSet": ["@a@1"]}),
            *_new(_at(1, entityLockGranted={"criticalSectionId": "s"})),
            expect={"actions": [_CALLED_A, _completed(3, "1")]},
        ),
        {12},
    ),
    "entities are unlocked in the order of the lock set": (
        _in_lock(),
        _episode(
            *_LOCKED, expect={"actions": [_unlock(2, "@b@1"), _unlock(3, "@a@1"), _COMPLETED_WITHOUT_RESULT]}
        ),
        {12},
    ),
    "a failure without details has a type of ours": (
        [{"do": "try", "body": [{"do": "activity", "name": "A"}], **_CATCH}],
        _episode(
            _at(0, 1, taskScheduled={"name": "A"}),
            *_new(_at(1, taskFailed={"taskScheduledId": 1})),
            expect={"actions": [_completed(2, '{"type": "", "message": ""}')]},
        ),
        {21},
    ),
    "a payload that is no JSON fails with a type of ours": (
        [{"do": "activity", "name": "A"}],
        _episode(
            input="{oops",
            expect={
                "actions": [_failed(1, errorType="json.decoder.JSONDecodeError", errorMessage="Expecting")]
            },
        ),
        set(),
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
    assert differences(expectation(vector, adapted, "async"), result_to_json(result)) == []


_VERSIONS: dict[str, tuple[dict[str, Any], str, dict[str, Any], dict[str, Any]]] = {
    "text that the peer reads as a number is text": (
        {"version": "v1.0", "match": "STRICT", "failure": "FAIL"},
        "1.0",
        {"actions": [_completed(1, "1")]},
        {"actions": [_failed(1, errorType="VersionMismatch", isNonRetriable=True)]},
    ),
    "text is compared as text": (
        {"version": "2.0", "match": "CURRENT_OR_OLDER", "failure": "FAIL"},
        "10.0-rc1",
        {"actions": [_failed(1, errorType="VersionMismatch", isNonRetriable=True)]},
        {"actions": [_completed(1, "1")]},
    ),
    "without a match strategy every version is accepted": (
        {"version": "1", "failure": "FAIL"},
        "2",
        {"actions": [_failed(1, errorType="VersionMismatch", isNonRetriable=True)]},
        {"actions": [_completed(1, "1")]},
    ),
    "without a failure strategy the item is left to others": (
        {"version": "1", "match": "STRICT"},
        "2",
        {"actions": []},
        {"abandon": True},
    ),
}


@pytest.mark.parametrize("name", _VERSIONS)
def test_versions_are_compared_as_ours(name: str) -> None:
    """Whether an instance is accepted follows row 9, whatever the peer made of its version."""
    versioning, version, theirs, ours = _VERSIONS[name]
    raw = {"id": name, "instanceId": "abc", "orchestrators": {"Main": [{"do": "return", "value": 1}]}}
    vector = Vector({**raw, "worker": {"versioning": versioning}, "episodes": []})

    adapted = adapt(vector, _episode(version=version, expect=theirs))

    assert adapted.rows == {9}
    assert not differences(ours, expectation(vector, adapted, "async")) or ours == adapted.expect


def test_differences_are_told() -> None:
    """The comparison sees an other id, an other payload, a missing action and an other order."""
    wanted = {"actions": [_completed(2, "[1]"), {"id": 3, "scheduleTask": {"name": "A"}}]}
    found = {"actions": [_completed(1, "[2]")]}

    told = "\n".join(differences(wanted, found))

    assert "actions[0].id" in told
    assert "completeOrchestration.result" in told
    assert "(length)" in told
    assert differences(wanted, {"actions": wanted["actions"][::-1]})
