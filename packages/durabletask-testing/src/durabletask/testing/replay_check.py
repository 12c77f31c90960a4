"""Does today's code still replay yesterday's histories?

``assert_replays`` is for tests, ``python -m durabletask.testing.replay`` for the command line and CI. A history
file is what ``DurableTaskClient.download_history`` writes, or an export of other SDKs of the protocol; see
``history_files``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias, Union

import msgspec
from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import DurableTaskError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    ExecutionCompleted,
    ExecutionStarted,
    HistoryEvent,
    OrchestratorStarted,
)
from durabletask.core.hosting.hidden_loop import hide_event_loop
from durabletask.core.instances import OrchestrationStatus, decode_payload
from durabletask.core.registry import Registrations, Registry
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter

from .history_files import is_history_file, read_history

__all__ = [
    "PathArgument",
    "ReplayOutcome",
    "ReplayReport",
    "assert_replays",
    "check_file",
    "check_replay",
    "history_files",
]

__tracebackhide__ = True  # pytest shows the line of the test instead

PathArgument: TypeAlias = Union[str, "PathLike[str]"]
"""A file or a folder."""

ReplayOutcome: TypeAlias = Literal["replays", "diverges", "unreadable"]
"""How a history fared."""

_ENGINE = "durabletask.core.errors."
_TASK_FAILED = f"{_ENGINE}TaskFailedError"


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one history.

    Attributes:
        source: the file, or another name of the history.
        outcome: the verdict.
        orchestrator: name of the orchestrator.
        events: how many events the history has.
        reason: what is wrong, side by side with the history; empty when nothing is.
    """

    source: str
    outcome: ReplayOutcome
    orchestrator: str = ""
    events: int = 0
    reason: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the history replays."""
        return self.outcome == "replays"

    def __str__(self) -> str:
        """For people."""
        if self.is_ok:
            return f"ok    {self.source} ({self.orchestrator}, {self.events} events)"
        return (
            f"FAIL  {self.source} ({self.orchestrator or 'unknown'}): {self.outcome}\n{_indent(self.reason)}"
        )


def check_replay(
    history: Sequence[HistoryEvent],
    orchestrators: Registrations,
    *,
    source: str = "history",
    data_converter: DataConverter | None = None,
) -> ReplayReport:
    """Replay one history, strictly, and report what happened.

    The code must make every action that the history records, at the same point and with the same arguments, and
    none that it does not record. A history that ended must end alike: same status, result and failure.

    Args:
        history: the events, of one execution.
        orchestrators: today's code, as for ``DurableTaskWorker``.
        source: name of the history in the report.
        data_converter: how payloads become values.
    """
    started = next((event for event in history if isinstance(event, ExecutionStarted)), None)
    if started is None:
        return ReplayReport(
            source=source,
            outcome="unreadable",
            events=len(history),
            reason="The history has no ExecutionStarted event, so there is nothing to run.",
        )
    registry = Registry(orchestrators=orchestrators)
    try:
        reason = _replay(started, history, registry, data_converter or DEFAULT_CONVERTER)
    except (DurableTaskError, ValueError) as error:  # events that no hub would have written
        return ReplayReport(
            source=source,
            outcome="unreadable",
            orchestrator=started.name,
            events=len(history),
            reason=f"The history cannot be replayed: {error}",
        )
    return ReplayReport(
        source=source,
        outcome="diverges" if reason else "replays",
        orchestrator=started.name,
        events=len(history),
        reason=reason,
    )


def assert_replays(
    paths: PathArgument | Iterable[PathArgument],
    orchestrators: Registrations,
    *,
    data_converter: DataConverter | None = None,
) -> Sequence[ReplayReport]:
    """Fail unless every history replays; returns the reports.

    Args:
        paths: history files, or folders of them, or several of both.
        orchestrators: today's code, as for ``DurableTaskWorker``.
        data_converter: how payloads become values.

    Raises:
        AssertionError: a history does not replay; the message shows code and history side by side.
        FileNotFoundError: there is no such file, or a folder has no histories.
    """
    reports = [check_file(path, orchestrators, data_converter) for path in history_files(paths)]
    failed = [report for report in reports if not report.is_ok]
    if failed:
        raise AssertionError(
            f"{len(failed)} of {len(reports)} histories do not replay with today's code:\n"
            + "\n".join(map(str, failed))
            + "\nInstances that are in flight would fail at the next episode. Keep the old code for them (a new name or "
            "version for the new one), or make the change where no running instance has passed."
        )
    return reports


def check_file(
    path: Path, orchestrators: Registrations, converter: DataConverter | None = None
) -> ReplayReport:
    """Replay one history file; one that cannot be read has the outcome ``unreadable``."""
    try:
        history = read_history(path)
    except (ValueError, OSError) as error:
        return ReplayReport(source=str(path), outcome="unreadable", reason=str(error))
    return check_replay(history, orchestrators, source=str(path), data_converter=converter)


def history_files(paths: PathArgument | Iterable[PathArgument]) -> list[Path]:
    """The history files among ``paths`` and in the folders among them.

    Raises:
        FileNotFoundError: there is no such file, or a folder has no histories.
    """
    given = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
    found: list[Path] = []
    for item in map(Path, given):
        if not item.exists():
            raise FileNotFoundError(f"There is no file or folder {item}.")
        inside = sorted(filter(is_history_file, item.rglob("*"))) if item.is_dir() else [item]
        if not inside:
            raise FileNotFoundError(f"There is no history (.json or .jsonl, perhaps with .gz) in {item}.")
        found += inside
    if not found:
        raise FileNotFoundError("No history was named: there is nothing to check.")
    return found


def _replay(
    started: ExecutionStarted,
    history: Sequence[HistoryEvent],
    registry: Registry,
    converter: DataConverter,
) -> str:
    """What is wrong; empty when nothing is."""
    session = OrchestrationSession(
        started.instance_id,
        ReplayOptions(registry=registry, converter=converter, strict=True, isolate=hide_event_loop),
        execution_id=started.execution_id,
    )
    past, new = _split(history)
    recorded = next((event for event in reversed(history) if isinstance(event, ExecutionCompleted)), None)
    try:
        session.replay(past)
        result = session.advance(new)
    finally:
        session.close()
    ended = next((a for a in result.actions if isinstance(a, CompleteOrchestration)), None)
    return _verdict(ended, recorded)


def _split(history: Sequence[HistoryEvent]) -> tuple[Sequence[HistoryEvent], Sequence[HistoryEvent]]:
    """The past and the last episode. The completion is left out: the code has to make it again."""
    body = [event for event in history if not isinstance(event, ExecutionCompleted)]
    starts = [index for index, event in enumerate(body) if isinstance(event, OrchestratorStarted)]
    last = starts[-1] if starts else 0
    return body[:last], body[last:]


def _verdict(ended: CompleteOrchestration | None, recorded: ExecutionCompleted | None) -> str:
    if recorded is None:
        return _unexpected_end(ended)
    status = OrchestrationStatus(recorded.status)
    if ended is None:
        return f"The history ended as {status.name}; the code is still waiting at that point."
    differences = [
        f"{what}: history has {before!r}, the code made {after!r}"
        for what, before, after, are_equal in (
            ("status", status.name, ended.status.name, status is ended.status),
            ("result", recorded.result, ended.result, _same_value(recorded.result, ended.result)),
            (
                "failure",
                _short(recorded.failure),
                _short(ended.failure),
                _same_failure(recorded.failure, ended.failure),
            ),
        )
        if not are_equal
    ]
    if differences and ended.failure is not None and _is_about_replay(ended.failure):
        return ended.failure.message
    return "\n".join(differences)


def _same_value(recorded: str | None, made: str | None) -> bool:
    """Payloads count by value: another SDK may put its spaces elsewhere."""
    return recorded == made or decode_payload(recorded) == decode_payload(made)


def _same_failure(recorded: FailureDetails | None, made: FailureDetails | None) -> bool:
    """Each SDK wraps the failure of a task in words and a type of its own; the message of the cause is in all of them."""
    if recorded is None or made is None:
        return recorded is made
    if made.error_type == _TASK_FAILED and not _is_about_replay(recorded):
        return made.root_cause.message in recorded.message
    return _short(recorded) == _short(made)


def _unexpected_end(ended: CompleteOrchestration | None) -> str:
    if ended is None:
        return ""
    if ended.failure is not None and _is_about_replay(ended.failure):
        return ended.failure.message
    detail = _short(ended.failure) or ended.result
    return (
        f"The history is of an orchestration that still runs; the code ends as {ended.status.name}: {detail}"
    )


def _is_about_replay(failure: FailureDetails) -> bool:
    """Whether the engine, not the code, ended the orchestration. That a task failed is no finding of the engine."""
    return failure.error_type.startswith(_ENGINE) and failure.error_type != _TASK_FAILED


def _short(failure: FailureDetails | None) -> str | None:
    return None if failure is None else f"{failure.error_type}: {failure.message}"


def _indent(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines())
