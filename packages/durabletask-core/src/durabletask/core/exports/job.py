"""What an export job is: its settings, its progress, and the checks of both."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast

import msgspec

from durabletask.core.arguments import as_members, as_name, as_optional_text, as_time
from durabletask.core.errors import InvalidArgumentError, InvalidRequestError
from durabletask.core.instances import OrchestrationStatus

__all__ = [
    "EXPORTABLE",
    "ExportCheckpoint",
    "ExportFailure",
    "ExportFileFormat",
    "ExportJob",
    "ExportMode",
    "ExportSettings",
    "ExportStatus",
    "check_settings",
    "new_settings",
]

ExportMode: TypeAlias = Literal["batch", "continuous"]
"""``batch`` exports a time window and ends; ``continuous`` follows the hub until the job is deleted."""

ExportFileFormat: TypeAlias = Literal["jsonl", "json"]
"""``jsonl``: one event per line, compressed with gzip; ``json``: one array, uncompressed."""

EXPORTABLE: Final = (
    OrchestrationStatus.COMPLETED,
    OrchestrationStatus.FAILED,
    OrchestrationStatus.TERMINATED,
)
"""The statuses that a job can ask for."""

_MOST_INSTANCES: Final = 1000


class ExportStatus(enum.Enum):
    """Status of an export job."""

    PENDING = "Pending"
    ACTIVE = "Active"
    FAILED = "Failed"
    COMPLETED = "Completed"

    def __str__(self) -> str:
        return self.name


class ExportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a job exports, and where to.

    Attributes:
        mode: whether the job ends with its time window.
        completed_from: instances that ended at this time or later.
        completed_to: instances that ended before this time; ``None`` in a continuous job.
        statuses: instances that ended in one of these statuses.
        container: the blob container, or the folder, below the destination of the worker.
        prefix: begins the name of each file; a ``/`` follows it.
        format: format of the files.
        page_size: how many instances are exported between two checkpoints.
        max_parallel: how many of them are exported at once.
    """

    mode: ExportMode
    completed_from: datetime
    completed_to: datetime | None = None
    statuses: tuple[OrchestrationStatus, ...] = EXPORTABLE
    container: str
    prefix: str | None = None
    format: ExportFileFormat = "jsonl"
    page_size: int = 100
    max_parallel: int = 32


class ExportCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job goes on after what it has exported.

    A continuous job exports one time window after the other. The windows are half-open and adjacent, so no instance
    is in two of them and none between them.

    Attributes:
        last_instance_key: the hub's key of the last instance exported; ``None`` at the beginning of a window.
        window_from: beginning of the current window; ``None`` for that of the settings.
        window_to: end of the current window; ``None`` while it has not begun.
    """

    last_instance_key: str | None = None
    window_from: datetime | None = None
    window_to: datetime | None = None


class ExportFailure(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that was not exported, and why."""

    instance_id: str
    reason: str
    attempt_count: int
    last_attempt: datetime


class ExportJob(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of an export job. All times are aware UTC.

    Attributes:
        job_id: id of the job.
        status: status of the job.
        settings: what it exports; ``None`` while it has not been created.
        checkpoint: where it goes on.
        created_at: time of its creation.
        last_modified_at: time of the last change.
        last_checkpoint_at: time of the last checkpoint.
        last_error: why it failed.
        scanned: instances that the hub has listed.
        exported: instances whose history was written.
        failed: instances that were not exported.
        failures: the most recent of those.
        orchestrator_id: id of the orchestration that does the work.
    """

    job_id: str
    status: ExportStatus = ExportStatus.PENDING
    settings: ExportSettings | None = None
    checkpoint: ExportCheckpoint = ExportCheckpoint()
    created_at: datetime | None = None
    last_modified_at: datetime | None = None
    last_checkpoint_at: datetime | None = None
    last_error: str | None = None
    scanned: int = 0
    exported: int = 0
    failed: int = 0
    failures: tuple[ExportFailure, ...] = ()
    orchestrator_id: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the job has completed or failed."""
        return self.status in {ExportStatus.COMPLETED, ExportStatus.FAILED}


def new_settings(
    *,
    mode: object,
    completed_from: object,
    completed_to: object,
    statuses: object,
    container: object,
    prefix: object,
    format: object,  # noqa: A002 - the word of the API
    page_size: object,
    max_parallel: object,
    now: datetime,
) -> ExportSettings:
    """The settings of a new job from the arguments of a call.

    Raises:
        InvalidRequestError: a value cannot be used; the message names it. For a wrong type an
            ``InvalidArgumentError``.
    """
    if format not in {"jsonl", "json"}:
        raise InvalidRequestError(f"format must be 'jsonl' or 'json', not {format!a}.")
    since = as_time(completed_from, "completed_from")
    if since is None:
        raise InvalidRequestError(
            "completed_from is missing: give the time from which on instances are exported."
        )
    settings = ExportSettings(
        mode=cast("ExportMode", mode),
        completed_from=since,
        completed_to=as_time(completed_to, "completed_to"),
        statuses=as_members(statuses, OrchestrationStatus, "statuses") or EXPORTABLE,
        container=as_name(container, "container"),
        prefix=as_optional_text(prefix, "prefix") or None,
        format=format,
        page_size=_count(page_size, "page_size"),
        max_parallel=_count(max_parallel, "max_parallel"),
    )
    check_settings(settings)
    if mode == "batch" and settings.completed_to is not None and settings.completed_to > now:
        raise InvalidRequestError(
            f"completed_to ({settings.completed_to.isoformat()}) is in the future; it is {now.isoformat()}. Instances "
            "that end after the export would be missing: use an earlier time, or mode='continuous'."
        )
    return settings


def check_settings(settings: ExportSettings) -> None:
    """Check the settings of a new job, which another SDK may have made.

    Raises:
        InvalidRequestError: a value cannot be used; the message names it.
    """
    if settings.mode not in {"batch", "continuous"}:
        raise InvalidRequestError(f"mode must be 'batch' or 'continuous', not {settings.mode!a}.")
    if settings.mode == "batch":
        _check_window(settings.completed_from, settings.completed_to)
    elif settings.completed_to is not None:
        raise InvalidRequestError(
            "completed_to must be left out with mode='continuous': the job goes on until it is deleted."
        )
    wrong = [status.name for status in settings.statuses if status not in EXPORTABLE]
    if wrong:
        raise InvalidRequestError(
            f"statuses can be {', '.join(status.name for status in EXPORTABLE)}, and not {', '.join(wrong)}: only "
            "instances that have ended are exported."
        )
    for name in ("page_size", "max_parallel"):
        value: int = getattr(settings, name)
        if not 1 <= value <= _MOST_INSTANCES:
            raise InvalidRequestError(f"{name} must be from 1 to {_MOST_INSTANCES}, not {value}.")


def _check_window(since: datetime, until: datetime | None) -> None:
    if until is None:
        raise InvalidRequestError(
            "completed_to is missing: a job with mode='batch' needs the end of its time window. Without an end, use "
            "mode='continuous'."
        )
    if until <= since:
        raise InvalidRequestError(
            f"completed_to ({until.isoformat()}) must be later than completed_from ({since.isoformat()})."
        )


def _count(value: object, argument: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{argument} must be an int, not {type(value).__name__}.")
    return value
