"""The replay vectors of the protocol, judged by their own rules and by our decisions.

``DURABLETASK_VECTORS`` names a folder with more. ``vectors_extra`` holds vectors of the same form for what those in
``tests/vectors`` leave open; what they expect is what another SDK of the protocol was seen to do (rules of ours apply
as to the others) or, where their notes say so, our own choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from durabletask.core.errors import VersionMismatchError
from durabletask.core.work_items import OrchestratorResult
from proto_json import result_to_json
from step_language import FORMS
from vector_compare import ENGINE_ERRORS, differences
from vector_episodes import Episode, Vector
from vector_files import ADDED, EXTRA, FOLDER, vector_files
from vector_rules import adapt
from vector_runner import VectorRunner, expectation


def _completed(action_id: int, status: str, **members: Any) -> Mapping[str, Any]:
    body = {"orchestrationStatus": f"ORCHESTRATION_STATUS_{status}", **members}
    return {"id": action_id, "completeOrchestration": body}


class Override(NamedTuple):
    """Our expectation beside a vector's own, and the row of the decisions that says so."""

    row: int
    expect: Mapping[str, Any]


OVERRIDES: Mapping[tuple[str, int], Override] = {
    ("009-when-all-empty", 0): Override(2, {"actions": [_completed(1, "COMPLETED", result="[]")]}),
    ("067-resume-not-suspended", 0): Override(
        10, {"actions": [{"id": 2, "scheduleTask": {"name": "B", "input": "1"}}]}
    ),
}
"""What rules cannot compute; ``vector_rules.RULES`` has what they can (rows 1 to 6, 8 to 12, 15, 17, 21)."""

AS_THE_VECTOR: Mapping[str, int] = {
    "006-when-all-failure": 1,
    "020-activity-failure": 3,
    "031-sub-failed": 3,
    "081-entity-call-failed": 3,
    "022-retry-success": 4,
    "023-retry-exhausted": 4,
    "024-retry-max-delay": 4,
    "025-retry-non-retriable": 4,
    "043-event-fifo": 5,
    "050-can-drop-events": 7,
    "051-can-keep-events": 7,
    "060-suspend-resume": 10,
    "062-suspend-first-batch": 10,
    "066-double-suspend": 10,
    "065-terminate-then-completion": 11,
    "084d-parallel-call-in-lock": 12,
    "074-name-case": 13,
    "110-unregistered": 15,
    "113-new-uuid": 16,
}
"""Flagged vectors whose row says that they hold, as they stand or after the rules. Another quirk that differs, and
that no rule speaks of, is reported as an expected failure: its flag says that an implementation should differ."""


def _load(path: Path) -> Vector:
    return Vector(json.loads(path.read_text("utf-8")))


_VECTORS = {name: _load(path) for name, path in vector_files().items()}
_OUR_VECTORS = [_load(path) for path in sorted(EXTRA.glob("*.json"))]
_CASES = [
    pytest.param(vector, index, form, id=f"{name}-{index}-{form}")
    for name, vector in _VECTORS.items()
    for index in range(len(vector.raw["episodes"]))
    for form in FORMS
]
_every_episode = pytest.mark.parametrize(("vector", "index", "form"), _CASES)


class _Case:
    """One episode with the expectation that is ours."""

    def __init__(self, vector: Vector, index: int, form: str) -> None:
        self.vector = vector
        self.index = index
        self.episode = adapt(vector, vector.episodes()[index])
        self.override = OVERRIDES.get((vector.id, index))
        self.expect = self.override.expect if self.override else expectation(vector, self.episode, form)
        self.runner = VectorRunner(vector, self.episode, form)

    def check(self, run: Callable[[], OrchestratorResult], how: str) -> None:
        found = self._problems(run)
        if found and self._may_differ():
            pytest.xfail(f"{self.vector.id} is a quirk and no row of the decisions names it: {found}")
        assert not found, f"{self.vector.id}[{self.index}] {how}:\n" + "\n".join(found)

    def _may_differ(self) -> bool:
        """A quirk of which no row says anything may differ; a divergence holds as it stands or as a rule says."""
        is_decided = self.override or self.episode.rows or self.vector.id in AS_THE_VECTOR
        return self.vector.is_quirk and not is_decided

    def _problems(self, run: Callable[[], OrchestratorResult]) -> list[str]:
        wanted: type[BaseException] | None = None
        if self.expect.get("abandon"):
            wanted = VersionMismatchError
        elif "engineError" in self.expect:
            wanted = ENGINE_ERRORS.get(self.expect["engineError"], Exception)
        try:
            result = run()
        except Exception as error:
            if wanted is not None and isinstance(error, wanted):
                return []
            if self._may_differ():
                return [f"raised {error!r}"]
            raise
        if wanted is not None:
            return [f"expected {wanted.__name__}, got {result!r}"]
        return differences(
            self.expect, result_to_json(result), known_execution_ids=_execution_ids(self.episode)
        )


def _execution_ids(episode: Episode) -> set[str]:
    found = episode.started().get("orchestrationInstance", {}).get("executionId")
    return {found} if found else set()


def test_no_vector_is_missing() -> None:
    """The vectors of the repository are those of its index, and an added folder has some."""
    index = re.findall(r"^\| (\d+\S+) \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)

    assert [path.stem for path in sorted(FOLDER.glob("*.json"))] == sorted(index)
    assert ADDED is None or list(ADDED.glob("*.json")), f"{ADDED} holds no vector"


@_every_episode
def test_episode_as_given(vector: Vector, index: int, form: str) -> None:
    """An episode gives the actions, status or error that the vector (or our row) says."""
    case = _Case(vector, index, form)
    case.check(case.runner.run_as_given, "as given")


@_every_episode
def test_episode_with_every_split(vector: Vector, index: int, form: str) -> None:
    """The boundary between past and new events changes nothing."""
    case = _Case(vector, index, form)
    runner = case.runner
    if not runner.can_be_split:
        pytest.skip("a rewind or an empty batch gives the boundary a meaning of its own")
    for boundary in range(len(runner.past) + len(runner.new)):
        case.check(lambda at=boundary: runner.run_split_at(at), f"split at {boundary}")


@_every_episode
def test_episode_in_a_kept_session(vector: Vector, index: int, form: str) -> None:
    """A session that lived through the earlier episodes answers as one that replays them."""
    case = _Case(vector, index, form)
    if not case.runner.can_be_split:
        pytest.skip("a rewind or an empty batch needs the history as it is")
    case.check(case.runner.run_kept_alive, "kept alive")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("vector", _OUR_VECTORS, ids=lambda vector: vector.id)
def test_vector_of_ours(vector: Vector, form: str) -> None:
    """Every episode of our own vectors holds: as given, with other boundaries, and in a kept session."""
    for index in range(len(vector.raw["episodes"])):
        case = _Case(vector, index, form)
        runner = case.runner
        case.check(runner.run_as_given, "as given")
        if runner.can_be_split:
            case.check(runner.run_kept_alive, "kept alive")
            case.check(lambda run=runner: run.run_split_at(0), "all of it new")
            case.check(
                lambda run=runner: run.run_split_at(len(run.past) + len(run.new) - 1), "all but one past"
            )


@pytest.mark.parametrize("name", sorted({name for name, _ in OVERRIDES} | set(AS_THE_VECTOR)))
def test_table_names_real_vectors(name: str) -> None:
    """No row of the tables is left over from a vector that is gone."""
    assert name in _VECTORS


_FAN_OUT = [
    {"do": "activity", "name": "W", "input": 1, "task": "t1"},
    {"do": "activity", "name": "W", "input": 2, "task": "t2"},
    {
        "do": "try",
        "body": [{"do": "awaitAll", "tasks": ["t1", "t2"], "result": "r"}],
        "catch": [{"do": "return", "value": {"var": "e"}}],
        "error": "e",
    },
    {"do": "return", "value": {"var": "r"}},
]


@pytest.mark.parametrize("form", FORMS)
def test_fail_fast_twin_of_006(form: str) -> None:
    """task_all fails with the first failure in history order while other members still run (row 1)."""
    started = {"name": "Main", "orchestrationInstance": {"instanceId": "abc"}}
    time = {"timestamp": "2025-01-01T00:00:00Z"}
    failure = {"errorType": "E2", "errorMessage": "boom"}
    vector = Vector({"id": "006-fail-fast", "instanceId": "abc", "orchestrators": {"Main": _FAN_OUT}})
    episode = Episode(
        past=[
            {"eventId": -1, **time, "orchestratorStarted": {}},
            {"eventId": -1, **time, "executionStarted": started},
            {"eventId": 1, **time, "taskScheduled": {"name": "W", "input": "1"}},
            {"eventId": 2, **time, "taskScheduled": {"name": "W", "input": "2"}},
            {"eventId": -1, **time, "orchestratorCompleted": {}},
        ],
        new=[
            {"eventId": -1, **time, "orchestratorStarted": {}},
            {"eventId": -1, **time, "taskFailed": {"taskScheduledId": 2, "failureDetails": failure}},
        ],
        expect={"actions": [_completed(3, "COMPLETED", result='{"type": "E2", "message": "boom"}')]},
    )
    runner = VectorRunner(vector, episode, form, fail_fast=True)

    for result in (runner.run_as_given(), runner.run_kept_alive()):
        assert not differences(episode.expect, result_to_json(result))
