"""The first event of an execution: find the orchestrator, check its version, call it (protocol section 9)."""

from __future__ import annotations

from typing import Final

from durabletask.core.errors import NotRegisteredError, VersionMismatchError
from durabletask.core.history import ExecutionStarted
from durabletask.core.versioning import VersionFailureStrategy

from .context import ReplayContext
from .fibers import is_body, spawn
from .run import Run

__all__ = ["start_orchestrator"]

_MISMATCH: Final = "VersionMismatch"  # the name that every SDK of the protocol uses


def start_orchestrator(run: Run, event: ExecutionStarted) -> None:
    """Call the orchestrator of an instance; what is wrong with it fails the orchestration.

    Raises:
        VersionMismatchError: this worker leaves instances of that version to others.
    """
    run.execution.start(event)
    completion = run.completion
    try:
        definition = run.execution.definition = run.options.registry.orchestrator(event.name)
    except NotRegisteredError as error:
        completion.fail(error)
        return
    if not definition.is_built_in and not _accepts_version(run, event):
        return
    try:
        value = definition.read_input(event.input, run.sink.converter.deserialize)
        made = definition.invoke(ReplayContext(run.sink), value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is its outcome
        completion.finish_with_error(error)
        return
    if is_body(made):
        spawn(run.sink, made).subscribe(completion)
    else:
        completion.finish_with(made)


def _accepts_version(run: Run, event: ExecutionStarted) -> bool:
    versioning = run.options.versioning
    if versioning is None or versioning.accepts(event.version):
        return True
    error = VersionMismatchError(
        f"Instance {run.execution.instance_id!r} of orchestrator {event.name!r} has version {event.version or ''!r}; "
        f"this worker has version {versioning.version or ''!r} and accepts {versioning.match_strategy.name}."
    )
    if versioning.failure_strategy is VersionFailureStrategy.REJECT:
        raise error
    run.completion.fail(error, error_type=_MISMATCH)
    return False
