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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from proto_json import time_from_json, time_to_json
from vector_programs import BLOCKS, failed_operations, kind_of, made_by, outcomes_of_waits, walk

__all__ = ["OWN_WORDS", "RULES", "Episode", "Reading", "Rule", "Vector", "adapt", "kind_of"]

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
_KEPT_BY_RETRIES = ("version", "input", "tags", "instanceId")


@dataclass
class Vector:
    """One vector file."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The name of the vector."""
        return str(self.raw["id"])

    @property
    def is_quirk(self) -> bool:
        """Whether the vector calls what it shows a defect or an accident of the peer."""
        return bool(self.raw.get("quirk"))

    @property
    def instance_id(self) -> str:
        """The instance id handed to the engine."""
        return str(self.raw["instanceId"])

    def steps(self) -> Iterator[Mapping[str, Any]]:
        """Every step of every program, nested ones included."""
        for program in self.raw["orchestrators"].values():
            yield from walk(program)

    def program(self, episode: Episode) -> Sequence[Mapping[str, Any]]:
        """The program that the episode starts."""
        program: Sequence[Mapping[str, Any]] = self.raw["orchestrators"].get(
            episode.started().get("name", "Main"), ()
        )
        return program

    def episodes(self) -> list[Episode]:
        """Fresh copies of the episodes, which rules may change."""
        return [
            Episode(
                copy.deepcopy(e.get("past", [])), copy.deepcopy(e.get("new", [])), copy.deepcopy(e["expect"])
            )
            for e in self.raw["episodes"]
        ]


OWN_WORDS = "<our own words>"
"""Stands in an expectation where a message of ours is not compared."""

_RAISE_VALUE_ERROR: Mapping[str, Any] = {"do": "raise", "message": OWN_WORDS}


def _as_it_is(item: Any) -> list[Any]:
    return [item]


class Reading(NamedTuple):
    """Another way to write an episode, in which a row of the decisions makes no difference.

    ``step`` and ``event`` give what stands in the place of one; ``versioning`` changes that of the worker.
    """

    step: Callable[[Mapping[str, Any]], list[Any]] = _as_it_is
    event: Callable[[Json], list[Json]] = _as_it_is
    versioning: Mapping[str, Any] = {}


@dataclass
class Episode:
    """One call of the engine: ``past`` and ``new`` events and what is expected of it."""

    past: list[Json]
    new: list[Json]
    expect: Json
    rows: set[int] = field(default_factory=set)
    readings: list[Reading] = field(default_factory=list)

    @property
    def history(self) -> list[Json]:
        """All events, past first."""
        return self.past + self.new

    @property
    def actions(self) -> list[Json]:
        """The expected actions (empty when something else is expected)."""
        found: list[Json] = self.expect.get("actions", [])
        return found

    def other_writing(self, vector: Vector) -> Vector | None:
        """A vector of one episode that shows what is expected of this one, if it has readings."""
        if not self.readings:
            return None
        raw = copy.copy(dict(vector.raw))
        past, new = self.past, self.new
        for reading in self.readings:
            raw["orchestrators"] = {
                name: _rewritten(program, reading.step) for name, program in raw["orchestrators"].items()
            }
            past = [found for event in past for found in reading.event(event)]
            new = [found for event in new for found in reading.event(event)]
            if reading.versioning:
                worker = raw.get("worker", {})
                raw["worker"] = {
                    **worker,
                    "versioning": {**worker.get("versioning", {}), **reading.versioning},
                }
        raw["episodes"] = [{"past": past, "new": new, "expect": {}}]
        return Vector(raw)

    def started(self) -> Json:
        """The body of the last ``executionStarted``, empty when there is none."""
        bodies = [event["executionStarted"] for event in self.history if "executionStarted" in event]
        return bodies[-1] if bodies else {}


def _rewritten(
    steps: Sequence[Mapping[str, Any]], change: Callable[[Mapping[str, Any]], list[Any]]
) -> list[Any]:
    """A program with some steps changed; what is not changed stays the same object."""
    found: list[Any] = []
    for step in steps:
        for changed in change(step):
            inner = {block: _rewritten(changed[block], change) for block in BLOCKS if block in changed}
            found.append({**changed, **inner} if inner else changed)
    return found


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
            return [_RAISE_VALUE_ERROR]
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


# --- row 4 ---------------------------------------------------------------------------------------------------


class _Renumbering:
    """Numbers of a history in which retries keep their first id -> numbers in which each takes a new one."""

    def __init__(self, instance_id: str) -> None:
        self._prefix = instance_id + ":"
        self._shift = 0
        self._highest = 0
        self._present: dict[int, int] = {}
        self._first: dict[int, Json] = {}
        self._failed: set[int] = set()

    def refer(self, body: Json, member: str) -> None:
        """An answer names the latest attempt."""
        if member in body:
            body[member] = self._present.get(body[member], body[member])

    def fail(self, old: int) -> None:
        """After a failure there may be another attempt; without one it is the same that is told again."""
        self._failed.add(old)

    def take(self, old: int, kind: str, body: Json) -> int:
        """The id of an action, given in the order in which actions were made."""
        if kind in self._first.get(old, ()):
            if old not in self._failed:
                return self._present[old]
            self._failed.remove(old)
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
    is_suspended = False
    failed: list[int] = []  # nothing comes of a failure as long as the orchestration is suspended
    for event in episode.history:
        kind = kind_of(event)
        if kind in ("executionSuspended", "executionResumed"):
            is_suspended = kind == "executionSuspended"
        if kind in _CONFIRMATIONS:
            numbers.confirm(event, kind)
        elif isinstance(event[kind], dict):
            if kind in ("taskFailed", "subOrchestrationInstanceFailed"):
                failed.append(event[kind].get("taskScheduledId", 0))
            numbers.refer(event[kind], "taskScheduledId")
            numbers.refer(event[kind], "timerId")
        while failed and not is_suspended:
            numbers.fail(failed.pop())
    for action in episode.actions:
        if action["id"] >= 0:
            kind = kind_of(action)
            action["id"] = numbers.take(action["id"], kind, action[kind])


def _final_failures_end_the_retries(vector: Vector, episode: Episode) -> None:
    """The peer goes on after a final failure: we do as if it was that of the last attempt that is permitted.

    A past in which the peer went on cannot be ours; there the failures are told as not final.
    """
    retried = {
        made.id: step
        for step, made in made_by(vector.program(episode), episode.history)
        if step.get("retry") is not None
    }
    attempts: dict[int, int] = {}
    last: dict[int, int] = {}
    final: list[Json] = []
    for position, event in enumerate(episode.history):
        body = event.get("taskFailed") or event.get("subOrchestrationInstanceFailed") or {}
        number = body.get("taskScheduledId", 0)
        if number not in retried:
            continue
        attempts[number] = attempts.get(number, 0) + 1
        is_last = attempts[number] >= retried[number]["retry"]["maxAttempts"]
        if is_last or not body.get("failureDetails", {}).get("isNonRetriable"):
            continue
        if position < len(episode.past):
            del body["failureDetails"]["isNonRetriable"]
        else:
            final.append(event)
            last.setdefault(id(retried[number]), attempts[number])
    if not final:
        return

    def end(step: Mapping[str, Any]) -> list[Any]:
        permitted = last.get(id(step))
        return [step if permitted is None else {**step, "retry": {**step["retry"], "maxAttempts": permitted}}]

    def not_final(event: Json) -> list[Json]:
        if not any(event is found for found in final):
            return [event]
        event = copy.deepcopy(event)
        del event[kind_of(event)]["failureDetails"]["isNonRetriable"]
        return [event]

    episode.readings.append(Reading(end, not_final))


def _a_first_interval_is_positive(vector: Vector, episode: Episode) -> None:
    """The peer takes zero; with us such a policy is a ValueError."""

    def is_refused(step: Mapping[str, Any]) -> bool:
        return bool(step.get("retry")) and step["retry"]["firstDelaySeconds"] <= 0

    if any(is_refused(step) for step in vector.steps()):
        episode.readings.append(Reading(lambda step: [_RAISE_VALUE_ERROR] if is_refused(step) else [step]))


_LONGEST_DELAY = timedelta(hours=1)


def _delays_are_an_hour_at_most(vector: Vector, episode: Episode) -> None:
    """A policy that says no maximum has one of an hour."""
    long = {
        delay
        for step in vector.steps()
        if step.get("retry") and step["retry"].get("maxDelaySeconds") is None
        for delay in _delays(step["retry"])
        if delay > _LONGEST_DELAY
    }
    clock: datetime | None = None
    shorter: dict[int, str] = {}
    for item in [*episode.history, *episode.actions]:
        timer = item.get("timerCreated") or item.get("createTimer")
        if "orchestratorStarted" in item:
            clock = time_from_json(item["timestamp"])
        elif timer and clock is not None and time_from_json(timer["fireAt"]) - clock in long:
            timer["fireAt"] = time_to_json(clock + _LONGEST_DELAY)
            shorter[item.get("eventId", 0)] = timer["fireAt"]
        elif "timerFired" in item and item["timerFired"].get("timerId") in shorter:
            item["timerFired"]["fireAt"] = shorter[item["timerFired"]["timerId"]]


def _delays(policy: Mapping[str, Any]) -> Iterator[timedelta]:
    for exponent in range(policy["maxAttempts"] - 1):
        yield timedelta(seconds=policy["firstDelaySeconds"] * (policy.get("coefficient") or 1) ** exponent)


# --- row 5 ---------------------------------------------------------------------------------------------------


def _losing_waits_take_no_event(vector: Vector, episode: Episode) -> None:
    """With the peer a wait that lost takes the next event of its name: we do as if it had been cancelled.

    This tells only where somebody else could have had the event: another wait of the name, or the next
    generation. A wait that is awaited or cancelled after it lost is none of this.
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
        last = len(arrived)  # events are read in order, so those that nobody read are the last of their name
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


# --- rows 10, 11, 12 -----------------------------------------------------------------------------------------------


def _confirmed_actions_are_not_sent_again(_: Vector, episode: Episode) -> None:
    """The peer holds confirmations back while suspended, and repeats the actions that they confirm."""
    confirmed = {event["eventId"] for event in episode.history if kind_of(event) in _CONFIRMATIONS}
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


def _every_locked_entity_is_unlocked(vector: Vector, episode: Episode) -> None:
    """The peer forgets the entities with a call in flight, and unlocks the others in the order of their last calls."""
    requests = [event for event in episode.history if "entityLockRequested" in event]
    for request in requests:
        _unlock_all(vector, episode, request)


def _unlock_all(vector: Vector, episode: Episode, request: Json) -> None:
    lock_set = request["entityLockRequested"].get("lockSet", [])
    section = request["entityLockRequested"].get("criticalSectionId", "")
    shown = [item for item in _items(episode) if _unlock_in(item).get("criticalSectionId") == section]
    numbers = sorted({_number(item) for item in shown})
    targets = {_unlock_in(item).get("targetInstanceId") for item in shown}
    if numbers and (targets.isdisjoint(lock_set) or numbers[-1] - numbers[0] >= len(numbers)):
        return  # the program locks something else than the history
    first = numbers[0] if numbers else _end_of_section(vector, episode, request)
    if first is None or any(_releases(event, section) for event in episode.history):
        return
    surplus = numbers[len(lock_set) :]  # a call made before the section, answered inside it
    for events in (episode.past, episode.new, episode.actions):
        events[:] = [item for item in events if not (_unlock_in(item) and _number(item) in surplus)]
    if surplus:
        _shift(vector, episode, surplus[-1] + 1, -len(surplus))
    shown = [item for item in shown if _number(item) not in surplus]
    numbers = numbers[: len(lock_set)]
    missing = len(lock_set) - len(numbers)
    confirmed = [item for item in shown if "eventId" in item]
    at = numbers[-1] + 1 if numbers else first
    later = [_number(item) for item in _items(episode) if _number(item) >= at]
    is_forgotten = missing > 0 and (not later or min(later) < at + missing)
    if is_forgotten:
        _shift(vector, episode, at, missing)
    unlocks = {first + offset: entity for offset, entity in enumerate(lock_set)}
    for item in shown:
        _unlock_in(item)["targetInstanceId"] = unlocks[_number(item)]
    for number in sorted(unlocks.keys() - set(numbers)):
        body = {
            "criticalSectionId": section,
            "parentInstanceId": vector.instance_id,
            "targetInstanceId": unlocks[number],
        }
        message = {"entityUnlockSent": body}
        if confirmed and is_forgotten:  # the hub would have confirmed it with the others
            event = {"eventId": number, "timestamp": request["timestamp"], **message}
            _insert_after(episode, confirmed[-1], event)
            confirmed.append(event)
        else:
            _insert(episode, number, message, request["timestamp"])


def _items(episode: Episode) -> list[Json]:
    """Everything with an id: confirmations, then expected actions."""
    return [event for event in episode.history if kind_of(event) in _CONFIRMATIONS] + episode.actions


def _number(item: Json) -> int:
    number: int = item["eventId"] if "eventId" in item else item["id"]
    return number


def _unlock_in(item: Json) -> Json:
    found: Json = (
        item.get("entityUnlockSent") or item.get("sendEntityMessage", {}).get("entityUnlockSent") or {}
    )
    return found


def _releases(event: Json, section: str) -> bool:
    """Whether an event is an unlock in the legacy shape (protocol section 11.7)."""
    sent = event.get("eventSent", {})
    return sent.get("name") == "release" and section in sent.get("input", "")


def _end_of_section(vector: Vector, episode: Episode, request: Json) -> int | None:
    """The first id after a section that has ended although the peer unlocked nothing."""
    program = list(walk(vector.program(episode)))
    pairs = made_by(vector.program(episode), episode.history + episode.actions)
    lock = next((step for step, made in pairs if made.id == request["eventId"]), None)
    if lock is None or not any("entityLockGranted" in event for event in episode.history):
        return None
    inside = {id(step) for step in walk(lock["body"])} | {id(lock)}
    last = max(made.id for step, made in pairs if id(step) in inside)
    start = next(i for i, step in enumerate(program) if step is lock)
    after = {id(step) for step in program[start:]} - inside
    has_ended = any(id(step) in after for step, _ in pairs) or any(
        "completeOrchestration" in action for action in episode.actions
    )
    return (
        min((_number(item) for item in _items(episode) if _number(item) > last), default=None)
        if has_ended
        else None
    )


def _shift(vector: Vector, episode: Episode, first: int, by: int) -> None:
    """Make room for ids, or close a gap: everything from ``first`` on is ``by`` higher."""
    for event in episode.history:
        body = event[kind_of(event)]
        for member in ("taskScheduledId", "timerId"):
            if body.get(member, -1) >= first:
                body[member] += by
    for item in _items(episode):
        old = _number(item)
        if old >= first:
            item["eventId" if "eventId" in item else "id"] = old + by
            body = item[kind_of(item)]
            if body.get("instanceId") == f"{vector.instance_id}:{old:04x}":
                body["instanceId"] = f"{vector.instance_id}:{old + by:04x}"


def _insert_after(episode: Episode, known: Json, event: Json) -> None:
    for events in (episode.past, episode.new):
        for index, found in enumerate(events):
            if found is known:
                events.insert(index + 1, event)
                return


def _insert(episode: Episode, number: int, message: Json, timestamp: str) -> None:
    """Put an entity message where its id belongs: into the history if what follows at once is there."""
    for events in (episode.past, episode.new):
        for index, event in enumerate(events):
            if kind_of(event) in _CONFIRMATIONS and event["eventId"] == number + 1:
                events.insert(index, {"eventId": number, "timestamp": timestamp, **message})
                return
    place = next(
        (i for i, action in enumerate(episode.actions) if action["id"] > number), len(episode.actions)
    )
    episode.actions.insert(place, {"id": number, "sendEntityMessage": message})


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
    Rule(4, "a failure that is final is not retried", _final_failures_end_the_retries),
    Rule(4, "a first interval that is not positive is a ValueError", _a_first_interval_is_positive),
    Rule(
        12, "every locked entity is unlocked, in the order of the lock set", _every_locked_entity_is_unlocked
    ),
    Rule(4, "every attempt gets a new id and keeps everything else", _retries_take_new_ids),
    Rule(4, "a delay is at most an hour unless the policy says more", _delays_are_an_hour_at_most),
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
