"""Vectors and their episodes, as rules may change them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vector_programs import BLOCKS, walk

__all__ = ["CONFIRMATIONS", "OWN_WORDS", "RAISE_VALUE_ERROR", "Episode", "Json", "Reading", "Vector"]

Json = dict[str, Any]

CONFIRMATIONS = frozenset(
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
"""Kinds of the events that a hub writes for actions."""


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

RAISE_VALUE_ERROR: Mapping[str, Any] = {"do": "raise", "message": OWN_WORDS}


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
