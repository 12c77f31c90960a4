"""What each operation does to an export job. Pure functions from a job to the changed job.

    (none) ──create──> ACTIVE ──complete──> COMPLETED ──create──> ACTIVE
                       ACTIVE ──fail──────> FAILED ──create, resume──> ACTIVE
                       ACTIVE ──commit──> ACTIVE, or FAILED for a page that could not be exported

``create`` begins anew; ``resume`` keeps the checkpoint and what was counted until then. An operation that is not possible in the
present status raises ``InvalidOperationError`` and changes nothing.

The state is bounded: it keeps the most recent failures and counts all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from durabletask.core.errors import InvalidOperationError

from .job import ExportCheckpoint, ExportFailure, ExportJob, ExportSettings, ExportStatus

__all__ = ["MOST_FAILURES", "Progress", "commit", "complete", "create", "fail", "require_active", "resume"]

MOST_FAILURES: Final = 100
"""How many failures a job keeps."""

_NAMED: Final = 10  # failures in the text of the error
_LONGEST_REASON: Final = 500


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a page. Without a checkpoint, a page with failures fails the job."""

    scanned: int = 0
    exported: int = 0
    failures: tuple[ExportFailure, ...] = ()
    checkpoint: ExportCheckpoint | None = None


def create(job: ExportJob, settings: ExportSettings, now: datetime, orchestrator_id: str) -> ExportJob:
    """Begin a job, or begin one that has ended again from its start."""
    if job.status is ExportStatus.ACTIVE:
        raise InvalidOperationError(
            f"Export job {job.job_id!r} is active already. Wait for its end, delete it, or use another id."
        )
    return ExportJob(
        job_id=job.job_id,
        status=ExportStatus.ACTIVE,
        settings=settings,
        created_at=now,
        last_modified_at=now,
        orchestrator_id=orchestrator_id,
    )


def resume(job: ExportJob, now: datetime) -> ExportJob:
    """Let a failed job go on after its last checkpoint. The failures of the page after it are forgotten."""
    if job.status is not ExportStatus.FAILED:
        raise InvalidOperationError(
            f"Export job {job.job_id!r} is {job.status}; only a FAILED job can be resumed."
        )
    # The page that failed the job was not counted as scanned, and is exported again.
    passed_over = job.scanned - job.exported
    kept = max(len(job.failures) - (job.failed - passed_over), 0)
    return msgspec.structs.replace(
        job,
        status=ExportStatus.ACTIVE,
        last_error=None,
        failed=passed_over,
        failures=job.failures[:kept],
        last_modified_at=now,
    )


def require_active(job: ExportJob, operation: str) -> None:
    """Check that a job is active."""
    if job.status is not ExportStatus.ACTIVE:
        raise InvalidOperationError(
            f"Export job {job.job_id!r} is {job.status}; {operation!r} is possible only while it is ACTIVE."
        )


def commit(job: ExportJob, progress: Progress, now: datetime) -> ExportJob:
    """Record what happened to a page, and where the job goes on."""
    require_active(job, "commit")
    failures = tuple(
        msgspec.structs.replace(each, reason=_shortened(each.reason)) for each in progress.failures
    )
    has_failed = progress.checkpoint is None and bool(failures)
    return msgspec.structs.replace(
        job,
        status=ExportStatus.FAILED if has_failed else ExportStatus.ACTIVE,
        last_error=_summary(failures) if has_failed else job.last_error,
        checkpoint=progress.checkpoint or job.checkpoint,
        scanned=job.scanned + progress.scanned,
        exported=job.exported + progress.exported,
        failed=job.failed + len(failures),
        failures=(*job.failures, *failures)[-MOST_FAILURES:],
        last_checkpoint_at=now,
        last_modified_at=now,
    )


def complete(job: ExportJob, now: datetime) -> ExportJob:
    """End a job whose time window is exported."""
    require_active(job, "complete")
    return msgspec.structs.replace(job, status=ExportStatus.COMPLETED, last_error=None, last_modified_at=now)


def fail(job: ExportJob, reason: str | None, now: datetime) -> ExportJob:
    """End a job that cannot go on. The first reason of a failed job is kept."""
    if job.status is ExportStatus.FAILED:
        return job
    require_active(job, "fail")
    return msgspec.structs.replace(
        job, status=ExportStatus.FAILED, last_error=_shortened(reason or ""), last_modified_at=now
    )


def _summary(failures: Sequence[ExportFailure]) -> str:
    named = "; ".join(f"{each.instance_id}: {each.reason}" for each in failures[:_NAMED])
    more = f"; and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    one = len(failures) == 1
    return f"{len(failures)} {'instance' if one else 'instances'} could not be exported. {named}{more}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."
