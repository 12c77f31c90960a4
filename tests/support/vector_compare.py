"""The comparison rules of ``vectors/README.md``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from durabletask.core import errors
from durabletask.core.failures import qualified_name
from vector_episodes import OWN_WORDS

__all__ = ["ENGINE_ERRORS", "FAILURE_KINDS", "differences"]

Json = Mapping[str, Any]

_JSON_TEXT = frozenset({"result", "input", "data", "output", "customStatus"})
_FAILURES = frozenset({"failureDetails", "innerFailure"})
_PEER_PREFIX = "durabletask."

FAILURE_KINDS: Mapping[str, type[BaseException]] = {
    "task-failed": errors.TaskFailedError,
    "non-determinism": errors.NonDeterminismError,
    "state-error": errors.OrchestrationStateError,
    "orchestrator-not-registered": errors.OrchestratorNotRegisteredError,
    "invalid-operation": errors.EntityLockError,
    "serialization": errors.SerializationError,
    "serialisation": errors.SerializationError,
    "serialization-error": errors.SerializationError,
    "type-error": errors.ForeignAwaitableError,
}
"""Neutral names of failures made by the engine -> our classes. Other kinds are compared by type name."""

ENGINE_ERRORS: Mapping[str, type[BaseException]] = {
    "state-error": errors.OrchestrationStateError,
    "value-error": errors.OrchestrationStateError,
}
"""Neutral names of errors that the engine call itself raises -> our classes."""

_MALFORMED = "json.decoder.JSONDecodeError"
"""What the peer fails with when a payload is no JSON. Where a task failed so, the name is the task's own."""

_PEER_TYPES: Mapping[str, str] = {
    error.__name__: qualified_name(error)
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.DurableTaskError)
}


def _json_text(text: str) -> object:
    try:
        return ("json", json.loads(text))
    except ValueError:
        return ("text", text)


class _Comparison:
    def __init__(self, failure_kind: str | None, known_execution_ids: Collection[str]) -> None:
        self._failure_kind = failure_kind
        self._known = known_execution_ids
        self.found: list[str] = []

    def differ(self, where: str, expected: object, actual: object) -> None:
        self.found.append(f"{where}: expected {expected!r}, got {actual!r}")

    def anything(self, where: str, expected: Any, actual: Any) -> None:
        name = where.rpartition(".")[2]
        if isinstance(expected, dict) and isinstance(actual, dict):
            compare = self.failure if name in _FAILURES else self.members
            compare(where, expected, actual)
        elif isinstance(expected, list) and isinstance(actual, list):
            self.items(where, expected, actual)
        elif expected == OWN_WORDS:
            if not isinstance(actual, str) or not actual:
                self.differ(where, "words of our own", actual)
        elif expected == "<new>":
            if not isinstance(actual, str) or not actual or actual in self._known:
                self.differ(where, "a fresh id", actual)
        elif name in _JSON_TEXT and isinstance(expected, str) and isinstance(actual, str):
            if bool(expected) != bool(actual) or _json_text(expected) != _json_text(actual):
                self.differ(where, expected, actual)
        elif expected != actual or isinstance(expected, bool) != isinstance(actual, bool):
            self.differ(where, expected, actual)

    def members(self, where: str, expected: Json, actual: Json) -> None:
        for name in dict.fromkeys([*expected, *actual]):
            if name == "parentTraceContext" and name not in expected:
                continue  # the vectors were made with tracing off
            if name not in actual:
                self.differ(f"{where}.{name}", expected[name], "nothing")
            elif name not in expected:
                self.differ(f"{where}.{name}", "nothing", actual[name])
            else:
                self.anything(f"{where}.{name}", expected[name], actual[name])

    def items(self, where: str, expected: list[Any], actual: list[Any]) -> None:
        for index, (left, right) in enumerate(zip(expected, actual, strict=False)):
            self.anything(f"{where}[{index}]", left, right)
        if len(expected) != len(actual):
            self.differ(f"{where} (length)", expected, actual)

    def failure(self, where: str, expected: Json, actual: Json) -> None:
        """Only the listed members; class names of the peer are mapped, its wording is not compared."""
        peer_type = expected.get("errorType", "")
        is_outer = where.endswith(".failureDetails")
        ours = FAILURE_KINDS.get(self._failure_kind or "") if is_outer else None
        if is_outer and peer_type == _MALFORMED:
            ours = errors.SerializationError
        if ours is not None:
            wanted: str | None = qualified_name(ours)
        elif peer_type.startswith(_PEER_PREFIX):
            wanted = _PEER_TYPES.get(peer_type.rpartition(".")[2])
        else:
            wanted = peer_type or None
        if wanted is not None and actual.get("errorType") != wanted:
            self.differ(f"{where}.errorType", wanted, actual.get("errorType"))
        is_engine_made = ours is not None or peer_type.startswith(_PEER_PREFIX)
        for name, value in expected.items():
            if name in ("stackTrace", "errorType") or (name == "errorMessage" and is_engine_made):
                continue
            if name == "innerFailure" and ours is errors.SerializationError:
                continue  # what the parser says of itself
            default: object = {} if name == "innerFailure" else False if name == "isNonRetriable" else None
            self.anything(f"{where}.{name}", value, actual.get(name, default))


def differences(
    expect: Json, actual: Json, *, known_execution_ids: Collection[str] = frozenset()
) -> list[str]:
    """Where ``actual`` (``proto_json.result_to_json``) is not what the episode expects; empty when it is."""
    comparison = _Comparison(expect.get("failureKind"), known_execution_ids)
    wanted = {name: expect[name] for name in ("actions", "customStatus") if name in expect}
    comparison.members("result", wanted, actual)
    return comparison.found
