"""Our systematic choices (``decisions.md``) as rewriting rules over the vectors.

A vector is never edited. Where a row of the decisions makes our behaviour differ from a vector in a way
that can be computed, a rule rewrites a copy of the episode: its history, its expectation, or both. So a
vector that is not known here is still judged by our own choices. What cannot be computed stands in the
table of overrides beside the test.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from proto_json import time_from_json, time_to_json

__all__ = ["RULES", "Episode", "Rule", "Vector", "adapt", "kind_of"]

Json = dict[str, Any]

_CONFIRMATIONS = frozenset(
    {
        "taskScheduled",
        "timerCreated",
        "subOrchestrationInstanceCreated",
        "eventSent",
        "entityOperationCalled",
        "entityOperationSignaled",
        "entityLockRequested",
        "entityUnlockSent",
    }
)
_ACTION_NUMBER = re.compile("[0-9a-f]{4,}")
_ATTEMPTS = {"taskScheduled": "scheduleTask", "subOrchestrationInstanceCreated": "createSubOrchestration"}
_KEPT_BY_RETRIES = ("name", "version", "input", "tags", "instanceId")


def kind_of(item: Mapping[str, Any]) -> str:
    """The kind of an event or action: its one member that is neither id nor time."""
    return next(name for name in item if name not in ("eventId", "timestamp", "id"))


@dataclass
class Vector:
    """One vector file."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The name of the vector."""
        return str(self.raw["id"])

    @property
    def is_flagged(self) -> bool:
        """Whether the vector says of itself that others behave otherwise."""
        return bool(self.raw.get("quirk") or self.raw.get("divergent"))

    @property
    def instance_id(self) -> str:
        """The instance id handed to the engine."""
        return str(self.raw["instanceId"])

    def steps(self) -> Iterator[Mapping[str, Any]]:
        """Every step of every program, nested ones included."""
        waiting: list[Any] = list(self.raw["orchestrators"].values())
        while waiting:
            found = waiting.pop()
            if isinstance(found, list):
                waiting.extend(found)
            elif isinstance(found, dict):
                if "do" in found:
                    yield found
                waiting.extend(found.values())

    def episodes(self) -> list[Episode]:
        """Fresh copies of the episodes, which rules may change."""
        return [
            Episode(
                copy.deepcopy(e.get("past", [])), copy.deepcopy(e.get("new", [])), copy.deepcopy(e["expect"])
            )
            for e in self.raw["episodes"]
        ]


@dataclass
class Episode:
    """One call of the engine: ``past`` and ``new`` events and what is expected of it."""

    past: list[Json]
    new: list[Json]
    expect: Json
    rows: set[int] = field(default_factory=set)

    @property
    def history(self) -> list[Json]:
        """All events, past first."""
        return self.past + self.new

    @property
    def actions(self) -> list[Json]:
        """The expected actions (empty when something else is expected)."""
        found: list[Json] = self.expect.get("actions", [])
        return found

    def started(self) -> Json:
        """The body of the last ``executionStarted``, empty when there is none."""
        bodies = [event["executionStarted"] for event in self.history if "executionStarted" in event]
        return bodies[-1] if bodies else {}


class Rule(NamedTuple):
    """``apply`` changes the episode in place; ``row`` is the row of the decisions that says so."""

    row: int
    says: str
    apply: Callable[[Vector, Episode], None]


# --- row 1 ---------------------------------------------------------------------------------------------------

_SCHEDULING_STEPS = frozenset({"activity", "sub", "timer", "callEntity"})


def _ids_of_variables(vector: Vector) -> dict[str, int]:
    """The ids of handles of a program without branches: its scheduling steps, counted."""
    counted = [s for s in vector.raw["orchestrators"].get("Main", ()) if s["do"] in _SCHEDULING_STEPS]
    return {step["task"]: number for number, step in enumerate(counted, 1) if "task" in step}


def _wait_for_all_fails_in_member_order(vector: Vector, episode: Episode) -> None:
    """Of several failed members the vectors tell the first in history, we the first in the list."""
    failed: dict[int, Json] = {}
    for event in episode.history:
        body = event.get("taskFailed") or event.get("subOrchestrationInstanceFailed")
        if body:
            failed.setdefault(body["taskScheduledId"], body.get("failureDetails", {}))
    ids = _ids_of_variables(vector)
    for step in vector.steps():
        if step["do"] != "awaitAll" and step.get("kind") != "all":
            continue
        members = [ids.get(name, -1) for name in step["tasks"]]
        theirs = next((failure for number, failure in failed.items() if number in members), None)
        ours = next((failed[number] for number in members if number in failed), None)
        if theirs is not None and ours is not None and theirs != ours:
            _tell_other_failure(episode.actions, theirs, ours)


def _tell_other_failure(actions: list[Json], theirs: Json, ours: Json) -> None:
    caught = [{"type": f.get("errorType", ""), "message": f.get("errorMessage", "")} for f in (theirs, ours)]
    for action in actions:
        body = action.get("completeOrchestration", {})
        if "result" in body and json.loads(body["result"]) == caught[0]:
            body["result"] = json.dumps(caught[1])
        failure = body.get("failureDetails", {})
        if failure.get("innerFailure") == theirs:
            failure["innerFailure"] = ours


# --- row 2 ---------------------------------------------------------------------------------------------------


def _failed(action_id: int, **failure: Any) -> Json:
    body = {"orchestrationStatus": "ORCHESTRATION_STATUS_FAILED", "failureDetails": failure}
    return {"id": action_id, "completeOrchestration": body}


def _waiting_for_the_first_of_nothing_fails(vector: Vector, episode: Episode) -> None:
    """The peer waits for ever; with us the call raises."""
    steps = list(vector.steps())
    is_meant = any(step["do"] == "awaitAny" and not step["tasks"] for step in steps)
    if is_meant and not any(step["do"] == "try" for step in steps) and episode.expect == {"actions": []}:
        last_id = max(event["eventId"] for event in episode.history)
        episode.actions.append(_failed(max(last_id, 0) + 1, errorType="builtins.ValueError"))


# --- row 3 ---------------------------------------------------------------------------------------------------

_ENTITY_WRAPPER = ".EntityOperationFailedException"


def _entity_failures_are_not_wrapped(_: Vector, episode: Episode) -> None:
    """The peer puts an exception of its own between the task's failure and the entity's."""
    recorded = [
        event["entityOperationFailed"].get("failureDetails", {})
        for event in episode.history
        if "entityOperationFailed" in event
    ]
    for action in episode.actions:
        body = action.get("completeOrchestration", {})
        failure = body.get("failureDetails", {})
        wrapper = failure.get("innerFailure", {})
        if wrapper.get("errorType", "").endswith(_ENTITY_WRAPPER) and "innerFailure" in wrapper:
            failure["innerFailure"] = wrapper["innerFailure"]
        if _ENTITY_WRAPPER in body.get("result", ""):
            body["result"] = json.dumps(_unwrap_caught(json.loads(body["result"]), recorded))


def _unwrap_caught(value: Any, recorded: Sequence[Json]) -> Any:
    """Caught wrappers inside a result, as what the entity itself reported."""
    if isinstance(value, list):
        return [_unwrap_caught(item, recorded) for item in value]
    if not isinstance(value, dict):
        return value
    if str(value.get("type", "")).endswith(_ENTITY_WRAPPER):
        for failure in recorded:
            message = failure.get("errorMessage", "")
            if str(value["message"]).endswith(message):
                return {"type": failure.get("errorType", ""), "message": message}
    return {name: _unwrap_caught(member, recorded) for name, member in value.items()}


# --- row 4 ---------------------------------------------------------------------------------------------------


class _Renumbering:
    """Numbers of a history in which retries keep their first id -> numbers in which each takes a new one."""

    def __init__(self, instance_id: str) -> None:
        self._prefix = instance_id + ":"
        self._shift = 0
        self._highest = 0
        self._present: dict[int, int] = {}
        self._first: dict[int, Json] = {}

    def refer(self, body: Json, member: str) -> None:
        """An answer names the latest attempt."""
        if member in body:
            body[member] = self._present.get(body[member], body[member])

    def take(self, old: int, kind: str, body: Json) -> int:
        """The id of an action, given in the order in which actions were made."""
        if old in self._first and kind in self._first[old]:
            self._shift += 1
            new = self._highest + self._shift
            kept = self._first[old][kind]
            for name in _KEPT_BY_RETRIES:
                body.pop(name, None)
                if name in kept:
                    body[name] = kept[name]
        else:
            new = old + self._shift
            self._highest = max(self._highest, old)
            if body.get("instanceId") == f"{self._prefix}{old:04x}":
                body["instanceId"] = f"{self._prefix}{new:04x}"
        self._present[old] = new
        return new

    def confirm(self, event: Json, kind: str) -> None:
        """A confirmation in the history."""
        old, body = event["eventId"], event[kind]
        event["eventId"] = self.take(old, _ATTEMPTS.get(kind, kind), body)
        if kind in _ATTEMPTS:
            self._first.setdefault(old, {_ATTEMPTS[kind]: copy.deepcopy(body)})


def _retries_take_new_ids(vector: Vector, episode: Episode) -> None:
    if not any("retry" in step for step in vector.steps()):
        return
    numbers = _Renumbering(vector.instance_id)
    for event in episode.history:
        kind = kind_of(event)
        if kind in _CONFIRMATIONS:
            numbers.confirm(event, kind)
        elif isinstance(event[kind], dict):
            numbers.refer(event[kind], "taskScheduledId")
            numbers.refer(event[kind], "timerId")
    for action in episode.actions:
        if action["id"] >= 0:
            kind = kind_of(action)
            action["id"] = numbers.take(action["id"], kind, action[kind])


def _non_retriable_failures_end_the_retries(vector: Vector, episode: Episode) -> None:
    """For programs that do not catch: the failure that the peer retries fails the orchestration."""
    steps = list(vector.steps())
    final = [
        event["taskFailed"]["failureDetails"]
        for event in episode.new
        if event.get("taskFailed", {}).get("failureDetails", {}).get("isNonRetriable")
    ]
    is_retried = any("retry" in step for step in steps) and not any(step["do"] == "try" for step in steps)
    if final and is_retried and [kind_of(action) for action in episode.actions] == ["createTimer"]:
        inner = {"errorType": final[0]["errorType"], "errorMessage": final[0]["errorMessage"]}
        episode.actions[0] = _failed(episode.actions[0]["id"], innerFailure=inner)
        episode.expect["failureKind"] = "task-failed"


_LONGEST_DELAY = timedelta(hours=1)


def _delays_are_an_hour_at_most(vector: Vector, episode: Episode) -> None:
    """A policy that says no maximum has one of an hour."""
    policies = [step["retry"] for step in vector.steps() if "retry" in step]
    has_other_timers = any(step["do"] == "timer" for step in vector.steps())
    if has_other_timers or not any("maxDelaySeconds" not in policy for policy in policies):
        return
    clock: datetime | None = None
    longest: dict[int, str] = {}
    for event in episode.history:
        if "orchestratorStarted" in event:
            clock = time_from_json(event["timestamp"])
        elif "timerCreated" in event and clock is not None:
            _shorten(event["timerCreated"], clock)
            longest[event["eventId"]] = event["timerCreated"]["fireAt"]
        elif "timerFired" in event:
            event["timerFired"]["fireAt"] = longest.get(
                event["timerFired"].get("timerId", 0), event["timerFired"]["fireAt"]
            )
    for action in episode.actions:
        if "createTimer" in action and clock is not None:
            _shorten(action["createTimer"], clock)


def _shorten(timer: Json, clock: datetime) -> None:
    timer["fireAt"] = time_to_json(min(time_from_json(timer["fireAt"]), clock + _LONGEST_DELAY))


# --- rows 6, 8, 9 ----------------------------------------------------------------------------------------------


def _carried_names_as_they_arrived(_: Vector, episode: Episode) -> None:
    arrived = [event["eventRaised"] for event in episode.history if "eventRaised" in event]
    for action in episode.actions:
        position = 0
        for carried in action.get("completeOrchestration", {}).get("carryoverEvents", []):
            body = carried["eventRaised"]
            for index in range(position, len(arrived)):
                found = arrived[index]
                same_name = found["name"].casefold() == body["name"].casefold()
                if same_name and found.get("input") == body.get("input"):
                    body["name"], position = found["name"], index + 1
                    break


def _child_ids_from_the_execution_id(vector: Vector, episode: Episode) -> None:
    execution_id = episode.started().get("orchestrationInstance", {}).get("executionId")
    if not execution_id or any("rewindOrchestration" in action for action in episode.actions):
        return  # a history that is rewritten keeps what it says
    created = [event.get("subOrchestrationInstanceCreated") for event in episode.history]
    created += [action.get("createSubOrchestration") for action in episode.actions]
    for body in created:
        prefix, _, number = body["instanceId"].rpartition(":") if body else ("", "", "")
        if body and prefix == vector.instance_id and _ACTION_NUMBER.fullmatch(number):
            body["instanceId"] = f"{execution_id}:{number}"


def _entity_calls_tell_the_execution_id(_: Vector, episode: Episode) -> None:
    execution_id = episode.started().get("orchestrationInstance", {}).get("executionId")
    for action in episode.actions:
        call = action.get("sendEntityMessage", {}).get("entityOperationCalled")
        if call is not None and execution_id:
            call.setdefault("parentExecutionId", execution_id)


def _activities_inherit_the_version(_: Vector, episode: Episode) -> None:
    version = episode.started().get("version")
    for action in episode.actions:
        if version is not None and "scheduleTask" in action:
            action["scheduleTask"].setdefault("version", version)


# --- rows 10, 11, 12 -----------------------------------------------------------------------------------------------


def _confirmed_actions_are_not_sent_again(_: Vector, episode: Episode) -> None:
    """The peer holds confirmations back while suspended, and repeats the actions that they confirm."""
    confirmed = {event["eventId"] for event in episode.history if kind_of(event) in _CONFIRMATIONS}
    episode.actions[:] = [
        action
        for action in episode.actions
        if action["id"] not in confirmed or "completeOrchestration" in action
    ]


def _nothing_after_completion(_: Vector, episode: Episode) -> None:
    for index, action in enumerate(episode.actions):
        if "completeOrchestration" in action:
            del episode.actions[index + 1 :]
            return


def _unlock_of(action: Mapping[str, Any], section: str) -> Json | None:
    body: Json | None = action.get("sendEntityMessage", {}).get("entityUnlockSent")
    return body if body is not None and body["criticalSectionId"] == section else None


def _every_locked_entity_is_unlocked(_: Vector, episode: Episode) -> None:
    for event in episode.history:
        request = event.get("entityLockRequested")
        if request is None:
            continue
        section = request["criticalSectionId"]
        places = [i for i, action in enumerate(episode.actions) if _unlock_of(action, section)]
        if not places:
            continue
        first = places[0]
        model = episode.actions[first]
        unlocks = []
        for offset, entity in enumerate(request["lockSet"]):
            unlock = copy.deepcopy(model)
            unlock["id"] = model["id"] + offset
            unlock["sendEntityMessage"]["entityUnlockSent"]["targetInstanceId"] = entity
            unlocks.append(unlock)
        rest = [a for a in episode.actions[first:] if not _unlock_of(a, section)]
        for action in rest:
            action["id"] += len(unlocks) - len(places)
        episode.actions[first:] = unlocks + rest


# --- rows 15, 17 -----------------------------------------------------------------------------------------------

_FINAL_KINDS = frozenset({"orchestrator-not-registered", "non-determinism"})


def _engine_failures_are_final(_: Vector, episode: Episode) -> None:
    if episode.expect.get("failureKind") in _FINAL_KINDS:
        for action in episode.actions:
            if "completeOrchestration" in action:
                action["completeOrchestration"]["failureDetails"]["isNonRetriable"] = True


RULES: Sequence[Rule] = (
    Rule(1, "waiting for all tells the first failure in member order", _wait_for_all_fails_in_member_order),
    Rule(2, "the first of nothing is a ValueError", _waiting_for_the_first_of_nothing_fails),
    Rule(3, "the failure of an entity operation is not wrapped", _entity_failures_are_not_wrapped),
    Rule(4, "every attempt gets a new id and keeps everything else", _retries_take_new_ids),
    Rule(4, "a failure that is final is not retried", _non_retriable_failures_end_the_retries),
    Rule(4, "a delay is at most an hour unless the policy says more", _delays_are_an_hour_at_most),
    Rule(6, "carried events are spelled as they arrived", _carried_names_as_they_arrived),
    Rule(8, "child ids start with the execution id when it is known", _child_ids_from_the_execution_id),
    Rule(8, "entity calls tell the execution id when it is known", _entity_calls_tell_the_execution_id),
    Rule(9, "activities run in the orchestration's version", _activities_inherit_the_version),
    Rule(10, "what the history confirms is not sent again", _confirmed_actions_are_not_sent_again),
    Rule(11, "nothing runs after the completion", _nothing_after_completion),
    Rule(
        12, "every locked entity is unlocked, in the order of the lock set", _every_locked_entity_is_unlocked
    ),
    Rule(17, "not registered (row 15) and non-determinism are non-retriable", _engine_failures_are_final),
)


def adapt(vector: Vector, episode: Episode) -> Episode:
    """Apply every rule; ``rows`` of the result lists those that changed something."""
    for rule in RULES:
        before = copy.deepcopy((episode.history, episode.expect))
        rule.apply(vector, episode)
        if before != (episode.history, episode.expect):
            episode.rows.add(rule.row)
    return episode
