"""Our systematic choices (``decisions.md``) as rewriting rules over the vectors.

A vector is never edited. Where a row of the decisions makes our behaviour differ from a vector in a way
that can be computed, a rule rewrites a copy of the episode: its history, its expectation, or both. So a
vector that is not known here is still judged by our own choices.

Where the peer goes another way, the vector cannot say what follows on ours. Then a rule gives the episode a
``Reading``: a changed program, worker or history in which the row makes no difference any more, for instance
one in which a retried call has no attempt left instead of a failure that is final. What the engine does there
is what is expected. What cannot be computed at all stands in the table of overrides beside the test.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from vector_episodes import CONFIRMATIONS, RAISE_VALUE_ERROR, Episode, Json, Reading, Vector
from vector_lock_rules import every_locked_entity_is_unlocked
from vector_programs import BLOCKS, failed_operations, kind_of, made_by, outcomes_of_waits, walk
from vector_retry_rules import (
    a_first_interval_is_positive,
    delays_are_an_hour_at_most,
    final_failures_end_the_retries,
    retries_take_new_ids,
)

__all__ = ["RULES", "Rule", "adapt"]

_ACTION_NUMBER = re.compile("[0-9a-f]{4,}")


def _change_values(episode: Episode, change: Callable[[Any], Any]) -> None:
    """Let every value that the expectation has as JSON text be changed, whole values before their parts."""

    def deep(value: Any) -> Any:
        value = change(value)
        if isinstance(value, list):
            return [deep(item) for item in value]
        if isinstance(value, dict):
            return {name: deep(member) for name, member in value.items()}
        return value

    def visit(item: Json) -> None:
        for name, member in item.items():
            if isinstance(member, dict):
                visit(member)
            elif name in ("result", "input", "data", "customStatus") and isinstance(member, str):
                try:
                    old = json.loads(member)
                except ValueError:
                    continue
                if (new := deep(old)) != old:
                    item[name] = json.dumps(new)

    for action in episode.actions:
        visit(action)
    if "customStatus" in episode.expect:
        visit(episode.expect)


def _replacing(old: Any, new: Any) -> Callable[[Any], Any]:
    return lambda value: new if value == old else value


def _caught(failure: Mapping[str, Any]) -> Json:
    """A failure as ``try`` stores it."""
    return {"type": failure.get("errorType", ""), "message": failure.get("errorMessage", "")}


class Rule(NamedTuple):
    """``apply`` changes the episode in place; ``row`` is the row of the decisions that says so."""

    row: int
    says: str
    apply: Callable[[Vector, Episode], None]


# --- row 1 ---------------------------------------------------------------------------------------------------


def _wait_for_all_fails_in_member_order(vector: Vector, episode: Episode) -> None:
    """Of several failed members the vectors tell the first that was seen, we the first in the list."""
    other = [
        (outcome.theirs, outcome.ours)
        for outcome in outcomes_of_waits(vector.program(episode), episode.history)
        if outcome.theirs is not None and outcome.ours is not None and outcome.theirs != outcome.ours
    ]
    for theirs, ours in other:
        before, after = _caught(theirs), _caught(ours)
        _change_values(episode, _replacing(before, after))
        for action in episode.actions:
            failure = action.get("completeOrchestration", {}).get("failureDetails", {})
            if "innerFailure" in failure and _caught(failure["innerFailure"]) == before:
                failure["innerFailure"] = ours


# --- row 2 ---------------------------------------------------------------------------------------------------


def _nothing_to_wait_for(vector: Vector, episode: Episode) -> None:
    """The peer waits for ever for none of nothing: with us all of nothing is there and the first of it an error."""
    empty = [step for step in vector.steps() if step.get("tasks") == []]
    groups = {step["task"] for step in empty if step.get("kind") == "all"}
    waits = [step for step in vector.steps() if step["do"] == "await" and step["task"] in groups]
    waits += [step for step in empty if step["do"] == "awaitAll"]
    results = {step["result"] for step in waits if "result" in step}
    first_of_nothing = [step for step in empty if step["do"] == "awaitAny" or step.get("kind") == "any"]

    def change(step: Mapping[str, Any]) -> list[Any]:
        if any(step is found for found in first_of_nothing):
            return [RAISE_VALUE_ERROR]
        if any(step is found for found in waits):
            return []
        return [_with_values(step, lambda value: [] if _variable(value) in results else value)]

    if waits or first_of_nothing:
        episode.readings.append(Reading(change))


def _variable(value: Any) -> Any:
    return value.get("var") if isinstance(value, dict) and len(value) == 1 else None


def _with_values(item: Any, change: Callable[[Any], Any]) -> Any:
    """A step with its values changed; one without such values stays the same object."""
    changed = change(item)
    if isinstance(changed, list):
        changed = [_with_values(member, change) for member in changed]
    elif isinstance(changed, dict):
        changed = {
            name: member if name in BLOCKS else _with_values(member, change)
            for name, member in changed.items()
        }
    return item if changed == item else changed


# --- row 3 ---------------------------------------------------------------------------------------------------

_ENTITY_WRAPPER = ".EntityOperationFailedException"


def _entity_failures_are_not_wrapped(vector: Vector, episode: Episode) -> None:
    """The peer puts an exception of its own between the task's failure and the entity's."""
    calls = {
        made.body.get("requestId"): made.body
        for _, made in made_by(vector.program(episode), episode.history)
        if made.step == "callEntity"
    }
    told: dict[str, Json] = {}
    for operation in failed_operations(episode.history):
        body = calls.get(operation.request_id)
        if body is not None:
            text = operation.failure.get("errorMessage", "")
            where = f"'{body.get('operation')}' on entity '{body.get('targetInstanceId')}'"
            told[f"Operation {where} failed with error: {text}"] = _caught(operation.failure)

    def unwrap(value: Any) -> Any:
        if isinstance(value, dict) and str(value.get("type", "")).endswith(_ENTITY_WRAPPER):
            return told.get(value.get("message", ""), value)
        return value

    _change_values(episode, unwrap)
    for action in episode.actions:
        failure = action.get("completeOrchestration", {}).get("failureDetails", {})
        wrapper = failure.get("innerFailure", {})
        if wrapper.get("errorType", "").endswith(_ENTITY_WRAPPER):
            told_by_entity = told.get(wrapper.get("errorMessage", ""))
            if "innerFailure" in wrapper:
                failure["innerFailure"] = wrapper["innerFailure"]
            elif told_by_entity is not None:
                failure["innerFailure"] = {
                    "errorType": told_by_entity["type"],
                    "errorMessage": told_by_entity["message"],
                }


# --- row 5 ---------------------------------------------------------------------------------------------------


def _losing_waits_take_no_event(vector: Vector, episode: Episode) -> None:
    """With the peer a wait that lost takes the next event of its name: we do as if it had been cancelled.

    This covers only places where another wait could have had the event: another wait of the name, or the next
    execution. A wait that is awaited or cancelled after it lost is none of this.
    """
    program = list(walk(vector.program(episode)))
    waits = {
        step["task"]: step["name"].casefold() for step in program if step["do"] == "event" and "task" in step
    }
    raised = {e["eventRaised"].get("name", "").casefold() for e in episode.history if "eventRaised" in e}
    is_carried = any(step["do"] == "continueAsNew" and step.get("keepEvents") for step in program)

    def names_of_others(race: Mapping[str, Any]) -> set[str]:
        return {
            step["name"].casefold()
            for step in program
            if step["do"] == "event" and step.get("task") not in race["tasks"]
        }

    def losers(step: Mapping[str, Any]) -> list[str]:
        if step["do"] != "awaitAny" or "winner" not in step:
            return []
        return [
            task
            for task in step["tasks"]
            if waits.get(task) in raised
            and (is_carried or waits[task] in names_of_others(step))
            and not _is_used_later(program, step, task)
        ]

    def change(step: Mapping[str, Any]) -> list[Any]:
        winner = {"var": step.get("winner")}
        return [
            step,
            *(
                {"do": "if", "equals": [winner, t], "then": [], "else": [{"do": "cancel", "task": t}]}
                for t in losers(step)
            ),
        ]

    if any(losers(step) for step in program):
        episode.readings.append(Reading(change))


def _is_used_later(program: Sequence[Mapping[str, Any]], race: Mapping[str, Any], task: str) -> bool:
    """Whether a task is awaited or cancelled after a race, other than where it has won."""
    later = program[next(i for i, step in enumerate(program) if step is race) + 1 :]
    won = [
        id(inner)
        for step in later
        if step["do"] == "if"
        and step["equals"] in ([{"var": race["winner"]}, task], [task, {"var": race["winner"]}])
        for inner in walk(step["then"])
    ]
    return any(
        (step.get("task") == task or task in step.get("tasks", ())) and id(step) not in won for step in later
    )


# --- rows 6, 8, 9 ----------------------------------------------------------------------------------------------


def _carried_names_as_they_arrived(_: Vector, episode: Episode) -> None:
    arrived = [event["eventRaised"] for event in episode.history if "eventRaised" in event]
    for action in episode.actions:
        last = len(
            arrived
        )  # events are read in order, so those that were not read are the last of their name
        for carried in reversed(action.get("completeOrchestration", {}).get("carryoverEvents", [])):
            body = carried["eventRaised"]
            for index in reversed(range(last)):
                found = arrived[index]
                same_name = found.get("name", "").casefold() == body.get("name", "").casefold()
                if same_name and found.get("input") == body.get("input"):
                    last = index
                    if "name" in found:
                        body["name"] = found["name"]
                    break


def _child_ids_from_the_execution_id(vector: Vector, episode: Episode) -> None:
    execution_id = episode.started().get("orchestrationInstance", {}).get("executionId")
    if not execution_id or any("rewindOrchestration" in action for action in episode.actions):
        return  # a history that is rewritten keeps what it says
    created = [event.get("subOrchestrationInstanceCreated") for event in episode.history]
    created += [action.get("createSubOrchestration") for action in episode.actions]
    for body in created:
        prefix, _, number = body.get("instanceId", "").rpartition(":") if body else ("", "", "")
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
        if version and "scheduleTask" in action:  # an empty version is no version
            action["scheduleTask"].setdefault("version", version)


def _compared(left: str | None, right: str | None) -> int:
    """Row 9: numeric with missing parts as zero, else as text; no version is lower than any."""
    found = []
    for text in ((left or "").strip(), (right or "").strip()):
        parts = text.split(".")
        numbers = (
            [int(part) for part in parts]
            if all(part.isascii() and part.isdigit() for part in parts)
            else None
        )
        while numbers and not numbers[-1]:
            numbers.pop()
        found.append((text, numbers))
    (a, x), (b, y) = found
    if a and b and x is not None and y is not None:
        return (x > y) - (x < y)
    return (a > b) - (a < b)


def _accepted_versions_are_ours(vector: Vector, episode: Episode) -> None:
    """The peer compares by PEP 440, refuses everything without a match strategy and forgets to fail without one."""
    versioning = vector.raw.get("worker", {}).get("versioning")
    if versioning is None or episode.started().get("name") not in vector.raw["orchestrators"]:
        return  # not registered is told first
    match = versioning.get("match") or "NONE"
    order = _compared(episode.started().get("version"), versioning.get("version"))
    is_accepted = match == "NONE" or (order == 0 if match == "STRICT" else order <= 0)
    has_ended = any(_is_mismatch(action) for action in episode.actions)
    if is_accepted:
        if has_ended or episode.expect.get("abandon") or not versioning.get("match"):
            episode.readings.append(Reading(versioning={"match": "NONE"}))
    elif (versioning.get("failure") or "REJECT") == "REJECT":
        episode.expect = {"abandon": True}
    elif not has_ended:
        failed = {"errorType": "VersionMismatch", "isNonRetriable": True}
        body = {"orchestrationStatus": "ORCHESTRATION_STATUS_FAILED", "failureDetails": failed}
        episode.expect = {"actions": [{"id": 1, "completeOrchestration": body}]}


def _is_mismatch(action: Json) -> bool:
    failure = action.get("completeOrchestration", {}).get("failureDetails", {})
    return bool(failure.get("errorType") == "VersionMismatch")


# --- rows 10, 11 ---------------------------------------------------------------------------------------------------


def _confirmed_actions_are_not_sent_again(_: Vector, episode: Episode) -> None:
    """The peer holds confirmations back while suspended, and repeats the actions that they confirm."""
    confirmed = {event["eventId"] for event in episode.history if kind_of(event) in CONFIRMATIONS}
    episode.actions[:] = [
        action
        for action in episode.actions
        if action["id"] not in confirmed or "completeOrchestration" in action
    ]


def _useless_suspensions_are_dropped(_: Vector, episode: Episode) -> None:
    """The peer queues a second suspension and fails by a stray resume: we do as if neither had come."""
    dropped: list[Json] = []
    is_suspended = False
    for event in episode.history:
        if "executionSuspended" in event or "executionResumed" in event:
            if is_suspended == ("executionSuspended" in event):
                dropped.append(event)
            is_suspended = "executionSuspended" in event
    has_second = any("executionSuspended" in event for event in dropped)
    if has_second or (dropped and episode.expect.get("failureKind") == "state-error"):
        episode.readings.append(
            Reading(event=lambda event: [] if any(event is found for found in dropped) else [event])
        )


def _nothing_after_completion(_: Vector, episode: Episode) -> None:
    for index, action in enumerate(episode.actions):
        if "completeOrchestration" in action:
            del episode.actions[index + 1 :]
            return


# --- rows 15, 17 -----------------------------------------------------------------------------------------------

_FINAL_KINDS = frozenset({"orchestrator-not-registered", "non-determinism"})


def _engine_failures_are_final(_: Vector, episode: Episode) -> None:
    if episode.expect.get("failureKind") in _FINAL_KINDS:
        for action in episode.actions:
            if "completeOrchestration" in action:
                action["completeOrchestration"]["failureDetails"]["isNonRetriable"] = True


# --- row 21 ----------------------------------------------------------------------------------------------------


_NO_DETAILS = {"type": "durabletask.UnknownFailure", "message": "The hub recorded no details of the failure."}


def _failures_without_details_have_a_type(_: Vector, episode: Episode) -> None:
    """A failure of which the hub recorded no details: empty texts with the peer, a type of our own with us."""
    kinds = ("taskFailed", "subOrchestrationInstanceFailed", "entityOperationFailed")
    if any(
        "failureDetails" not in event[kind] for event in episode.history for kind in kinds if kind in event
    ):
        _change_values(episode, _replacing(_caught({}), _NO_DETAILS))


RULES: Sequence[Rule] = (
    Rule(3, "the failure of an entity operation is not wrapped", _entity_failures_are_not_wrapped),
    Rule(1, "waiting for all tells the first failure in member order", _wait_for_all_fails_in_member_order),
    Rule(2, "all of nothing is there, the first of nothing is a ValueError", _nothing_to_wait_for),
    Rule(21, "a failure without details has a type of its own", _failures_without_details_have_a_type),
    Rule(4, "a failure that is final is not retried", final_failures_end_the_retries),
    Rule(4, "a first interval that is not positive is a ValueError", a_first_interval_is_positive),
    Rule(
        12, "every locked entity is unlocked, in the order of the lock set", every_locked_entity_is_unlocked
    ),
    Rule(4, "every attempt gets a new id and keeps everything else", retries_take_new_ids),
    Rule(4, "a delay is at most an hour unless the policy says more", delays_are_an_hour_at_most),
    Rule(5, "a wait that lost takes no event", _losing_waits_take_no_event),
    Rule(6, "carried events are spelled as they arrived", _carried_names_as_they_arrived),
    Rule(8, "child ids start with the execution id when it is known", _child_ids_from_the_execution_id),
    Rule(8, "entity calls tell the execution id when it is known", _entity_calls_tell_the_execution_id),
    Rule(9, "activities run in the orchestration's version", _activities_inherit_the_version),
    Rule(9, "versions compare as numbers, else as text", _accepted_versions_are_ours),
    Rule(10, "what the history confirms is not sent again", _confirmed_actions_are_not_sent_again),
    Rule(10, "a second suspension and a stray resume are dropped", _useless_suspensions_are_dropped),
    Rule(11, "nothing runs after the completion", _nothing_after_completion),
    Rule(17, "not registered (row 15) and non-determinism are non-retriable", _engine_failures_are_final),
)


def adapt(vector: Vector, episode: Episode) -> Episode:
    """Apply every rule; ``rows`` of the result lists those that changed something."""
    for rule in RULES:
        before = copy.deepcopy((episode.history, episode.expect)), len(episode.readings)
        rule.apply(vector, episode)
        if before != ((episode.history, episode.expect), len(episode.readings)):
            episode.rows.add(rule.row)
    return episode
