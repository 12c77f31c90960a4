"""Programs of vectors laid beside a history: which step made which id, and how it ended there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from proto_json import time_from_json

__all__ = [
    "BLOCKS",
    "Made",
    "Outcome",
    "failed_operations",
    "kind_of",
    "made_by",
    "outcomes_of_waits",
    "walk",
]

Json = dict[str, Any]
Step = Mapping[str, Any]

BLOCKS = ("body", "catch", "then", "else")
_STEP_OF = {
    "taskScheduled": "activity",
    "scheduleTask": "activity",
    "subOrchestrationInstanceCreated": "sub",
    "createSubOrchestration": "sub",
    "timerCreated": "timer",
    "createTimer": "timer",
    "entityOperationCalled": "callEntity",
    "entityOperationSignaled": "signalEntity",
    "entityLockRequested": "lock",
    "eventSent": "sendEvent",
    "sendEvent": "sendEvent",
}
_OPERATORS = frozenset({"var", "input", "concat", "sum", "obj"})


def kind_of(item: Mapping[str, Any]) -> str:
    """The kind of an event or action: its one member that is neither id nor time."""
    return next(name for name in item if name not in ("eventId", "timestamp", "id"))


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """Every step in the order of the program, nested ones included."""
    for step in steps:
        yield step
        for block in BLOCKS:
            yield from walk(step.get(block, ()))


# --- which step made which id ------------------------------------------------------------------------------


class Made(NamedTuple):
    """What the history or the expectation shows of one id: the step that makes such things, and the body."""

    id: int
    step: str
    body: Mapping[str, Any]


def _made(items: Sequence[Json]) -> list[Made]:
    found: dict[int, Made] = {}
    clock = ""
    for item in items:
        if "orchestratorStarted" in item:
            clock = item["timestamp"]
        number, kind = item.get("eventId", item.get("id")), kind_of(item)
        body = item[kind]
        if kind == "sendEntityMessage":
            kind = kind_of(body)
            body = body[kind]
        if "fireAt" in body and clock:
            seconds = (time_from_json(body["fireAt"]) - time_from_json(clock)).total_seconds()
            body = {**body, "delaySeconds": seconds}
        if kind in _STEP_OF and number is not None and number >= 0:
            found.setdefault(number, _without_legacy_shape(Made(number, _STEP_OF[kind], body)))
    return [found[number] for number in sorted(found)]


def _without_legacy_shape(made: Made) -> Made:
    """An entity message that the history records as a sent event (protocol section 11.7)."""
    if made.step != "sendEvent" or not str(made.body.get("instanceId", "")).startswith("@"):
        return made
    message = _parsed(made.body.get("input"))
    if not isinstance(message, dict) or not message.get("op"):
        return made
    body = {
        "targetInstanceId": made.body.get("instanceId"),
        "operation": message["op"],
        "requestId": message.get("id"),
        **({"input": message["input"]} if message.get("input") else {}),
    }
    return Made(made.id, "signalEntity" if message.get("signal") else "callEntity", body)


def _parsed(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _is_literal(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_literal, value))
    return not (isinstance(value, dict) and len(value) == 1 and _OPERATORS & value.keys())


def _likeness(step: Step, made: Made) -> int:
    """0: the step did not make it; 2: name and written input are the same."""
    if step["do"] != made.step:
        return 0
    body = made.body
    if made.step in ("activity", "sub") and step["name"] != body.get("name"):
        return 0
    if made.step in ("callEntity", "signalEntity") and (
        step["entity"].casefold() != body.get("targetInstanceId", "").casefold()
        or step["operation"] != body.get("operation")
    ):
        return 0
    delay = step.get("delaySeconds")
    if made.step == "timer" and _is_literal(delay) and delay != body.get("delaySeconds", delay):
        return 0  # between two attempts of a call, or a part of a long one
    given = step.get("input")
    return 2 if _is_literal(given) and given == _parsed(body.get("input")) else 1


def made_by(program: Sequence[Step], items: Sequence[Json]) -> list[tuple[Step, Made]]:
    """Steps and what they made, in the order of both: the likeliest way to lay one beside the other.

    Ids rise in the order in which steps ran, and no step runs twice. Steps that did not run make nothing;
    timers between the attempts of a call are made by no step. ``items`` are a history and actions after it.
    """
    steps = [step for step in walk(program) if step["do"] in _STEP_OF.values()]
    made = _made(items)

    @lru_cache(None)
    def best(i: int, j: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        if i == len(steps) or j == len(made):
            return 0, ()
        likeness = _likeness(steps[i], made[j])
        choices = [best(i + 1, j), best(i, j + 1)]
        if likeness:
            score, rest = best(i + 1, j + 1)
            choices.insert(0, (score + likeness, ((i, j), *rest)))
        return max(choices, key=lambda choice: choice[0])

    return [(steps[i], made[j]) for i, j in best(0, 0)[1]]


# --- how it ended ------------------------------------------------------------------------------------------


class FailedOperation(NamedTuple):
    """An operation of an entity that failed, in either shape."""

    request_id: str
    position: int
    failure: Json


def failed_operations(history: Sequence[Json]) -> Iterator[FailedOperation]:
    """Every answer of an entity that is a failure."""
    for position, event in enumerate(history):
        kind = kind_of(event)
        body = event[kind]
        if kind == "entityOperationFailed":
            yield FailedOperation(body.get("requestId", ""), position, body.get("failureDetails", {}))
        answer = _parsed(body.get("input")) if kind == "eventRaised" else None
        if isinstance(answer, dict) and (answer.get("exceptionType") or answer.get("failureDetails")):
            told = answer.get("failureDetails") or {}
            text = told.get("ErrorMessage", _parsed(answer.get("result")))
            failure = {
                "errorType": told.get("ErrorType") or answer.get("exceptionType"),
                "errorMessage": text if isinstance(text, str) else "",
            }
            yield FailedOperation(body.get("name", ""), position, failure)


class Outcome(NamedTuple):
    """When something was over, and its failure: as the peer tells it and as we do."""

    position: int
    theirs: Json | None = None
    ours: Json | None = None


def _answers(history: Sequence[Json], pairs: Sequence[tuple[Step, Made]]) -> dict[int, Outcome]:
    """The last answer for each id."""
    requests = {made.body.get("requestId"): made.id for _, made in pairs if made.step == "callEntity"}
    sections = {made.body.get("criticalSectionId"): made.id for _, made in pairs if made.step == "lock"}
    found: dict[int, Outcome] = {}
    for position, event in enumerate(history):
        kind = kind_of(event)
        body = event[kind]
        number = body.get("taskScheduledId", body.get("timerId", requests.get(body.get("requestId"))))
        if kind == "entityLockGranted":
            number = sections.get(body.get("criticalSectionId"))
        if kind == "eventRaised":
            number = requests.get(body.get("name"))
        if number is not None:
            failure = body.get("failureDetails", {}) if kind.endswith("Failed") else None
            found[number] = Outcome(position, failure, failure)
    for operation in failed_operations(history):
        if operation.request_id in requests:
            failure = operation.failure
            found[requests[operation.request_id]] = Outcome(operation.position, failure, failure)
    return found


def outcomes_of_waits(program: Sequence[Step], history: Sequence[Json]) -> Iterator[Outcome]:
    """How each wait for all, and each group of that kind, ended.

    The peer tells the failure that it saw first: members that had ended when the group was made in the order
    of the list, then the others in the order of history. We tell the first failure of the list (row 1).
    """
    pairs = made_by(program, history)
    numbers = {id(step): made.id for step, made in pairs}
    answers = _answers(history, pairs)
    raised = {
        position: event["eventRaised"].get("name", "").casefold()
        for position, event in enumerate(history)
        if "eventRaised" in event
    }
    known: dict[str, Outcome | None] = {}
    now = 0

    def of_step(step: Step) -> Outcome | None:
        if step["do"] == "event":
            position = next((p for p, name in raised.items() if name == step["name"].casefold()), None)
            if position is not None:
                del raised[position]
            return None if position is None else Outcome(position)
        return answers.get(numbers.get(id(step), -1))

    for step in walk(program):
        outcome: Outcome | None = None
        if "tasks" in step:
            members = [known.get(name) for name in step["tasks"]]
            ended = [member for member in members if member is not None]
            if step["do"] == "awaitAny" or step.get("kind") == "any":
                outcome = Outcome(min(member.position for member in ended)) if ended else None
            elif ended and len(ended) == len(members):
                failed = [member for member in ended if member.theirs is not None]
                outcome = Outcome(max(member.position for member in ended))
                if failed:
                    first = min(failed, key=lambda member: max(member.position, now))
                    outcome = Outcome(outcome.position, first.theirs, failed[0].ours)
                yield outcome
        elif step["do"] == "await":
            outcome = known.get(step["task"])
        elif step["do"] in ("activity", "sub", "timer", "event", "callEntity", "lock"):
            outcome = of_step(step)
        if "task" in step and step["do"] not in ("await", "cancel"):
            known[step["task"]] = outcome
        elif outcome is not None:
            now = max(now, outcome.position)
