"""The part of the blocking client that is about export jobs."""

# ruff: noqa: A002 - "format" is what files have

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from durabletask.core.exports import client as _client
from durabletask.core.exports.forms import FormName
from durabletask.core.exports.job import ExportFileFormat, ExportJob, ExportMode, ExportStatus
from durabletask.core.paging import Pages
from durabletask.core.portal import Call
from durabletask.core.requests import Statuses

__all__ = ["Exports"]

_DEFAULT_WAIT = 60.0


class Exports:
    """The blocking twin of ``durabletask.core.exports.client.Exports``: ``client.exports``."""

    def __init__(self, inner: _client.Exports, call: Call) -> None:
        self._inner = inner
        self._call = call

    # <generated from durabletask.core.exports.client.Exports>

    def create(
        self,
        job_id: str,
        *,
        completed_from: datetime,
        completed_to: datetime | None = None,
        statuses: Statuses = (),
        mode: ExportMode = "batch",
        container: str = "exports",
        prefix: str | None = None,
        format: ExportFileFormat = "jsonl",
        page_size: int = 100,
        max_parallel: int = 32,
        readable_by: FormName = "dotnet",
        timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT,
    ) -> ExportJob:
        """Start a job. One of the same id that has ended begins anew; files that it has written are replaced.

        Args:
            job_id: id of the job.
            completed_from: export instances that ended at this time or later.
            completed_to: export instances that ended before this time; needed for a batch.
            statuses: only instances that ended in one of these: COMPLETED, FAILED, TERMINATED; all three by default.
            mode: ``batch`` ends with its window; ``continuous`` goes on with what ends, until the job is deleted.
            container: the blob container, or the folder, below the destination of the workers.
            prefix: begins the name of each file; by default the mode and the id of the job.
            format: ``jsonl``, one event per line in gzip, or ``json``, one array.
            page_size: how many instances to export between two checkpoints, up to 1000.
            max_parallel: how many of them to export at once.
            readable_by: which other SDK is to find the job with its client, or to run it on its workers.
            timeout_in_seconds: how long to wait until a worker has started the job.

        Raises:
            InvalidRequestError: an argument cannot be used; the message names it.
            InvalidOperationError: a job of this id is active.
            TransportTimeoutError: no worker has started the job; it may still start later.
        """
        return self._call(
            lambda: self._inner.create(
                job_id,
                completed_from=completed_from,
                completed_to=completed_to,
                statuses=statuses,
                mode=mode,
                container=container,
                prefix=prefix,
                format=format,
                page_size=page_size,
                max_parallel=max_parallel,
                readable_by=readable_by,
                timeout_in_seconds=timeout_in_seconds,
            )
        )

    def get(self, job_id: str) -> ExportJob | None:
        """A job, or ``None`` when there is none of that id."""
        return self._call(lambda: self._inner.get(job_id))

    def list(
        self,
        *,
        statuses: ExportStatus | str | Sequence[ExportStatus | str] = (),
        job_id_prefix: str = "",
        page_size: int = 100,
    ) -> Pages[ExportJob]:
        """Jobs by id, those of all SDKs: ``for job in client.exports.list()``.

        One whose state cannot be read is left out, with a warning in the log.

        Args:
            statuses: only these; all by default. One or several, as members or by their names.
            job_id_prefix: only ids that begin with this text.
            page_size: how many to ask the hub for at a time.
        """
        return Pages(
            self._inner.list(statuses=statuses, job_id_prefix=job_id_prefix, page_size=page_size), self._call
        )

    def wait(
        self, job_id: str, *, timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT
    ) -> ExportJob | None:
        """Wait until a job has completed or failed; ``None`` at the time-out.

        One whose orchestration was terminated by hand is returned as it is: ACTIVE, though it does not go on.

        Args:
            job_id: id of the job.
            timeout_in_seconds: how long to wait, on the hub's clock; ``None`` for as long as it takes.

        Raises:
            InstanceNotFoundError: there is no such job.
        """
        return self._call(lambda: self._inner.wait(job_id, timeout_in_seconds=timeout_in_seconds))

    def resume(
        self, job_id: str, *, timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT
    ) -> ExportJob:
        """Let a failed job go on after its last checkpoint. Only workers of this SDK can do it.

        Args:
            job_id: id of the job.
            timeout_in_seconds: how long to wait until a worker has started the job.

        Raises:
            InstanceNotFoundError: there is no such job.
            InvalidOperationError: the job has not failed.
            TransportTimeoutError: no worker has started the job; it may still start later.
        """
        return self._call(lambda: self._inner.resume(job_id, timeout_in_seconds=timeout_in_seconds))

    def delete(self, job_id: str, *, timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT) -> None:
        """Stop a job and delete it. Files that it has written stay. No-op when there is none of that id.

        Args:
            job_id: id of the job.
            timeout_in_seconds: how long to wait until a worker has deleted it.

        Raises:
            TransportTimeoutError: no worker has deleted the job; it may still be deleted later.
        """
        self._call(lambda: self._inner.delete(job_id, timeout_in_seconds=timeout_in_seconds))

    # </generated>
