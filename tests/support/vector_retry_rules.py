"""Row 4 of the decisions: new ids for attempts, final failures, limits of a policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from proto_json import time_from_json, time_to_json
from vector_episodes import CONFIRMATIONS, RAISE_VALUE_ERROR, Episode, Json, Reading, Vector
from vector_programs import kind_of, made_by

__all__ = [
    "a_first_interval_is_positive",
    "delays_are_an_hour_at_most",
    "final_failures_end_the_retries",
    "retries_take_new_ids",
]

_ATTEMPTS = {"taskScheduled": "scheduleTask", "subOrchestrationInstanceCreated": "createSubOrchestration"}
_KEPT_BY_RETRIES = ("version", "input", "tags", "instanceId")


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


def retries_take_new_ids(vector: Vector, episode: Episode) -> None:
    if not any("retry" in step for step in vector.steps()):
        return
    numbers = _Renumbering(vector.instance_id)
    is_suspended = False
    failed: list[int] = []  # nothing comes of a failure as long as the orchestration is suspended
    for event in episode.history:
        kind = kind_of(event)
        if kind in ("executionSuspended", "executionResumed"):
            is_suspended = kind == "executionSuspended"
        if kind in CONFIRMATIONS:
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


def final_failures_end_the_retries(vector: Vector, episode: Episode) -> None:
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


def a_first_interval_is_positive(vector: Vector, episode: Episode) -> None:
    """The peer takes zero; with us such a policy is a ValueError."""

    def is_refused(step: Mapping[str, Any]) -> bool:
        return bool(step.get("retry")) and step["retry"]["firstDelaySeconds"] <= 0

    if any(is_refused(step) for step in vector.steps()):
        episode.readings.append(Reading(lambda step: [RAISE_VALUE_ERROR] if is_refused(step) else [step]))


_LONGEST_DELAY = timedelta(hours=1)


def delays_are_an_hour_at_most(vector: Vector, episode: Episode) -> None:
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
