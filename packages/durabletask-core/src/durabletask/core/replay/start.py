"""The first event of a generation: find the orchestrator, check its version, call it (protocol section 9)."""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING, Final

import msgspec

from durabletask.core.errors import NotRegisteredError, VersionMismatchError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EPOCH, ExecutionStarted
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.versioning import VersionFailureStrategy

from .context import ReplayContext
from .fibers import is_body

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["start_orchestrator"]

_MISMATCH: Final = "VersionMismatch"  # the name that every SDK of the protocol uses


def start_orchestrator(ledger: Ledger, event: ExecutionStarted) -> None:
    """Call the orchestrator of an instance; what is wrong with it fails the orchestration.

    Raises:
        VersionMismatchError: this worker leaves instances of that version to others.
    """
    ledger.started = event
    if event.execution_id:
        ledger.execution_id = event.execution_id
    if ledger.clock == EPOCH:
        clock = event.timestamp
        ledger.clock = clock if clock.tzinfo is not None else clock.replace(tzinfo=timezone.utc)
    ledger.started_at = ledger.clock
    try:
        definition = ledger.definition = ledger.registry.orchestrator(event.name)
    except NotRegisteredError as error:
        ledger.fail(error)
        return
    if not _accepts_version(ledger, event):
        return
    try:
        value = definition.read_input(event.input, ledger.converter.deserialize)
        made = definition.invoke(ReplayContext(ledger), value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is its outcome
        ledger.finish_with_error(error)
        return
    if is_body(made):
        ledger.begin(made)
    else:
        ledger.finish_with(made)


def _accepts_version(ledger: Ledger, event: ExecutionStarted) -> bool:
    versioning = ledger.versioning
    if versioning is None or versioning.accepts(event.version):
        return True
    error = VersionMismatchError(
        f"Instance {ledger.instance_id!r} of orchestrator {event.name!r} has version {event.version or ''!r}; this "
        f"worker has version {versioning.version or ''!r} and accepts {versioning.match_strategy.name}."
    )
    if versioning.failure_strategy is VersionFailureStrategy.REJECT:
        raise error
    failure = FailureDetails.from_exception(error)
    ledger.complete(
        OrchestrationStatus.FAILED, failure=msgspec.structs.replace(failure, error_type=_MISMATCH)
    )
    return False
