"""What clients, the entity, the orchestration and the activities of a job say to each other, as JSON.

Reading takes every form; a message is written in the form of its job, which is that of the SDK that created it. The
window in the checkpoint of a continuous job is of this SDK, and so are the failures outside of the form of Python.
Other SDKs ignore both.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeAlias, cast

import msgspec

from durabletask.core.arguments import as_time
from durabletask.core.entities import EntityId
from durabletask.core.errors import InvalidRequestError
from durabletask.core.instances import InstanceIdPage, InstanceIdQuery, OrchestrationStatus

from .forms import Form, Plain, folded, snake, spelled
from .job import (
    EXPORTABLE,
    ExportCheckpoint,
    ExportFailure,
    ExportFileFormat,
    ExportJob,
    ExportMode,
    ExportSettings,
    ExportStatus,
)
from .transitions import Progress

__all__ = [
    "ExportRequest",
    "ExportResult",
    "read_call",
    "read_creation",
    "read_export_request",
    "read_export_result",
    "read_job",
    "read_list_request",
    "read_page",
    "read_progress",
    "read_reason",
    "read_run",
    "write_call",
    "write_creation",
    "write_export_request",
    "write_export_result",
    "write_job",
    "write_list_request",
    "write_page",
    "write_progress",
    "write_reason",
    "write_run",
]

_SCHEMA_VERSION: Final = "1.0"
_STATUSES: Final = (ExportStatus.PENDING, ExportStatus.ACTIVE, ExportStatus.FAILED, ExportStatus.COMPLETED)
_MODES: Final[dict[int, ExportMode]] = {1: "batch", 2: "continuous"}


def _read(plain: object, what: str) -> Plain:
    value = folded(plain)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} must be an object, not {type(plain).__name__}.")
    return value


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _time(value: object) -> datetime | None:
    return None if value is None else as_time(msgspec.convert(value, datetime), "a time")


# --- the state of the entity ------------------------------------------------------------------------------------------


def write_job(job: ExportJob, form: Form) -> Plain:
    """The state of a job's entity."""
    state: Plain = {
        "status": _STATUSES.index(job.status) if form.is_numbered else job.status.value,
        "config": None if job.settings is None else _write_settings(job.settings, form),
        "checkpoint": _write_checkpoint(job.checkpoint),
        "created_at": _text(job.created_at),
        "last_modified_at": _text(job.last_modified_at),
        "last_checkpoint_time": _text(job.last_checkpoint_at),
        "last_error": job.last_error,
        "scanned_instances": job.scanned,
        "exported_instances": job.exported,
        "failed_instances": job.failed,
        "failures": [_write_failure(each) for each in job.failures],
        "orchestrator_instance_id": job.orchestrator_id,
    }
    if form.name == "python":
        state["schema_version"] = _SCHEMA_VERSION
    return spelled(state, form)


def read_job(job_id: str, plain: object) -> ExportJob:
    """A job from the state of its entity; one without a state has not been created.

    Raises:
        InvalidRequestError: this is no state of a job.
    """
    if plain is None:
        return ExportJob(job_id=job_id)
    state = _read(plain, f"The state of export job {job_id!r}")
    config = state.get("config")
    try:
        return ExportJob(
            job_id=job_id,
            status=_read_status(state.get("status")),
            settings=None if config is None else _read_settings(config, config["filter"]),
            checkpoint=_read_checkpoint(state.get("checkpoint")),
            created_at=_time(state.get("created_at")),
            last_modified_at=_time(state.get("last_modified_at")),
            last_checkpoint_at=_time(state.get("last_checkpoint_time")),
            last_error=state.get("last_error"),
            scanned=state.get("scanned_instances") or 0,
            exported=state.get("exported_instances") or 0,
            failed=state.get("failed_instances") or 0,
            failures=tuple(_read_failure(each) for each in state.get("failures") or ()),
            orchestrator_id=state.get("orchestrator_instance_id"),
        )
    except _MALFORMED as error:
        raise InvalidRequestError(f"The state of export job {job_id!r} cannot be read: {error!r}.") from error


_MALFORMED: Final = (LookupError, TypeError, ValueError, AttributeError)  # ValueError: also that of msgspec


def _read_status(value: object) -> ExportStatus:
    if isinstance(value, int):
        return _STATUSES[value]
    return ExportStatus.__members__.get(str(value).upper(), ExportStatus.PENDING)  # JavaScript: NotStarted


def _write_settings(settings: ExportSettings, form: Form) -> Plain:
    return {
        "mode": _write_mode(settings.mode, form),
        "filter": _write_filter(settings),
        "destination": {"container": settings.container, "prefix": settings.prefix},
        "format": _write_format(settings.format, form),
        "max_instances_per_batch": settings.page_size,
        "max_parallel_exports": settings.max_parallel,
    }


def _write_mode(mode: ExportMode, form: Form) -> int | str:
    return {mode: number for number, mode in _MODES.items()}[mode] if form.is_numbered else mode.capitalize()


def _write_filter(settings: ExportSettings) -> Plain:
    return {
        "completed_time_from": _text(settings.completed_from),
        "completed_time_to": _text(settings.completed_to),
        "runtime_status": [status.value for status in settings.statuses],
    }


def _write_format(kind: ExportFileFormat, form: Form) -> Plain:
    suffix = "Gzip" if kind == "jsonl" and form.name == "python" else ""
    return {"kind": kind.capitalize() + suffix, "schema_version": _SCHEMA_VERSION}


def _read_settings(config: Plain, window: Plain) -> ExportSettings:
    """The settings in ``config``, which may say the time window in a member of its own."""
    mode, destination = config.get("mode"), config["destination"]
    since = _time(window.get("completed_time_from"))
    if since is None:
        raise ValueError("CompletedTimeFrom is missing")
    return ExportSettings(
        mode=_MODES[mode] if isinstance(mode, int) else cast("ExportMode", str(mode).lower()),
        completed_from=since,
        completed_to=_time(window.get("completed_time_to")),
        statuses=_read_statuses(window.get("runtime_status")) or EXPORTABLE,
        container=destination["container"],
        prefix=destination.get("prefix"),
        format=_read_format(config.get("format")),
        page_size=config.get("max_instances_per_batch") or 100,
        max_parallel=config.get("max_parallel_exports") or 32,
    )


def _read_statuses(values: list[object] | None) -> tuple[OrchestrationStatus, ...]:
    return tuple(
        OrchestrationStatus(each) if isinstance(each, int) else OrchestrationStatus[str(each).upper()]
        for each in values or ()
    )


def _read_format(plain: Plain | None) -> ExportFileFormat:
    kind = str((plain or {}).get("kind") or "jsonl").lower()
    if kind not in {"json", "jsonl", "jsonlgzip"}:
        raise ValueError(f"the format {kind!a} is unknown")
    return "json" if kind == "json" else "jsonl"


def _write_checkpoint(checkpoint: ExportCheckpoint) -> Plain:
    written: Plain = {"last_instance_key": checkpoint.last_instance_key}
    if checkpoint.window_from is not None:
        written["window_from"] = _text(checkpoint.window_from)
        written["window_to"] = _text(checkpoint.window_to)
    return written


def _read_checkpoint(plain: Plain | None) -> ExportCheckpoint:
    plain = plain or {}
    return ExportCheckpoint(
        last_instance_key=plain.get("last_instance_key"),
        window_from=_time(plain.get("window_from")),
        window_to=_time(plain.get("window_to")),
    )


def _write_failure(failure: ExportFailure) -> Plain:
    return {
        "instance_id": failure.instance_id,
        "reason": failure.reason,
        "attempt_count": failure.attempt_count,
        "last_attempt": _text(failure.last_attempt),
    }


def _read_failure(plain: Plain) -> ExportFailure:
    return msgspec.convert(plain, ExportFailure, strict=False)


# --- operations -------------------------------------------------------------------------------------------------------


def write_creation(job_id: str, settings: ExportSettings, form: Form, now: datetime) -> Plain:
    """The input of the operation that creates a job."""
    if form.name == "python":
        return {"config": _write_settings(settings, form), "created_at": _text(now)}
    config = _write_settings(settings, form)
    return spelled({"job_id": job_id, **config.pop("filter"), **config}, form)


def read_creation(plain: object) -> ExportSettings:
    """The settings in the input of the operation that creates a job; they are not checked yet.

    Raises:
        InvalidRequestError: this is no such input.
    """
    request = _read(plain, "The input of 'create'")
    try:
        config = request.get("config") or request
        return _read_settings(config, config.get("filter") or config)
    except _MALFORMED as error:
        raise InvalidRequestError(f"The input of 'create' cannot be read: {error!r}.") from error


def write_progress(progress: Progress, form: Form) -> Plain:
    """The input of the operation that commits a checkpoint."""
    failures = [_write_failure(each) for each in progress.failures]
    checkpoint = None if progress.checkpoint is None else _write_checkpoint(progress.checkpoint)
    if form.name == "python":
        return {
            "scanned_delta": progress.scanned,
            "exported_delta": progress.exported,
            "failed_delta": len(failures),
            "failures": failures,
            "mark_failed_on_batch": checkpoint is None,
            **(checkpoint or {}),
        }
    counts = {"scanned_instances": progress.scanned, "exported_instances": progress.exported}
    return spelled({**counts, "checkpoint": checkpoint, "failures": failures}, form)


def read_progress(plain: object) -> Progress:
    """The input of the operation that commits a checkpoint.

    Raises:
        InvalidRequestError: this is no such input.
    """
    request = _read(plain, "The input of 'commit'")
    checkpoint = request if "last_instance_key" in request else request.get("checkpoint")
    try:
        return Progress(
            scanned=request.get("scanned_delta") or request.get("scanned_instances") or 0,
            exported=request.get("exported_delta") or request.get("exported_instances") or 0,
            failures=tuple(_read_failure(each) for each in request.get("failures") or ()),
            checkpoint=None if checkpoint is None else _read_checkpoint(checkpoint),
        )
    except _MALFORMED as error:
        raise InvalidRequestError(f"The input of 'commit' cannot be read: {error!r}.") from error


def write_reason(reason: str, form: Form) -> Plain | str:
    """The input of the operation that fails a job."""
    return {"reason": reason} if form.name == "python" else reason


def read_reason(plain: object) -> str | None:
    """The input of the operation that fails a job."""
    reason = plain.get("reason") if isinstance(plain, dict) else plain
    return None if reason is None else str(reason)


# --- orchestrations ---------------------------------------------------------------------------------------------------

Call: TypeAlias = tuple[str, str, object]
"""Entity id, operation, input."""


def write_call(entity_id: str, operation: str, argument: object, form: Form) -> Plain:
    """The input of the helper orchestration that calls an operation for a client."""
    request = spelled({"entity_id": entity_id, "operation_name": form.operations[operation]}, form)
    return {**request, "Input" if form.name == "dotnet" else "input": argument}


def read_call(plain: object) -> Call:
    """The input of the helper orchestration."""
    if not isinstance(plain, dict):
        raise InvalidRequestError("The input of the operation must be an object.")
    request = {
        snake(name): value for name, value in plain.items()
    }  # the members of the input stay as they are
    return _entity_id(request.get("entity_id")), str(request.get("operation_name")), request.get("input")


def write_run(job_id: str, form: Form, job: ExportJob) -> Plain:
    """The input of the orchestration that does the work."""
    if form.name == "python":
        config = None if job.settings is None else _write_settings(job.settings, form)
        return {"job_id": job_id, "config": config}
    return spelled({"job_entity_id": form.entity_id(job_id), "processed_cycles": 0}, form)


def read_run(plain: object) -> str:
    """The id of the job from the input of the orchestration that does the work."""
    request = _read(plain, "The input of the export")
    if "job_id" in request:
        return str(request["job_id"])
    return EntityId.parse(_entity_id(request.get("job_entity_id"))).key


def _entity_id(value: object) -> str:
    """An id in its text form, which some SDKs write as an object."""
    if isinstance(value, dict):
        name, key = (folded(value)[each] for each in ("name", "key"))
        return f"@{name}@{key}"
    return str(value)


# --- activities -------------------------------------------------------------------------------------------------------


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The input of the activity that exports one instance."""

    instance_id: str
    container: str
    prefix: str | None = None
    format: ExportFileFormat = "jsonl"


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of that activity. With ``is_done`` and an error, there is nothing that could be exported."""

    instance_id: str
    is_done: bool = True
    error: str | None = None


def write_list_request(query: InstanceIdQuery, form: Form) -> Plain:
    """The input of the activity that lists a page of instances."""
    times = {
        "completed_time_from": _text(query.completed_from),
        "completed_time_to": _text(query.completed_to),
    }
    if form.name == "python":
        return {
            **times,
            "runtime_status": [status.name for status in query.runtime_statuses],
            "page_size": query.page_size,
            "continuation_token": query.last_instance_key,
        }
    rest = {
        "runtime_status": [status.value for status in query.runtime_statuses],
        "last_instance_key": query.last_instance_key,
        "max_instances_per_batch": query.page_size,
    }
    return spelled({**times, **rest}, form)


def read_list_request(plain: object) -> InstanceIdQuery:
    """The input of the activity that lists a page of instances."""
    request = _read(plain, "The input of the listing")
    return InstanceIdQuery(
        runtime_statuses=_read_statuses(request.get("runtime_status")),
        completed_from=_time(request.get("completed_time_from")),
        completed_to=_time(request.get("completed_time_to")),
        page_size=request.get("page_size") or request.get("max_instances_per_batch") or 100,
        last_instance_key=request.get("continuation_token") or request.get("last_instance_key"),
    )


def write_page(page: InstanceIdPage, form: Form) -> Plain:
    """The answer of that activity."""
    ids, key = list(page.instance_ids), page.last_instance_key
    if form.name == "python":
        return {"instance_ids": ids, "continuation_token": key}
    return spelled(
        {"instance_ids": ids, "next_checkpoint": None if key is None else {"last_instance_key": key}}, form
    )


def read_page(plain: object) -> InstanceIdPage:
    """The answer of that activity."""
    answer = _read(plain, "The page of instances")
    key = answer.get("continuation_token") or (answer.get("next_checkpoint") or {}).get("last_instance_key")
    return InstanceIdPage([str(each) for each in answer.get("instance_ids") or ()], key)


def write_export_request(instance_id: str, settings: ExportSettings, form: Form) -> Plain:
    """The input of the activity that exports one instance."""
    config = _write_settings(settings, form)
    return spelled(
        {"instance_id": instance_id, "destination": config["destination"], "format": config["format"]}, form
    )


def read_export_request(plain: object) -> ExportRequest:
    """The input of the activity that exports one instance."""
    request = _read(plain, "The input of the export")
    destination = request.get("destination") or {}
    return ExportRequest(
        instance_id=str(request["instance_id"]),
        container=str(destination.get("container") or ""),
        prefix=destination.get("prefix"),
        format=_read_format(request.get("format")),
    )


def write_export_result(result: ExportResult, form: Form) -> Plain:
    """The answer of that activity."""
    return spelled(
        {"instance_id": result.instance_id, "success": result.is_done, "error": result.error}, form
    )


def read_export_result(plain: object) -> ExportResult:
    """The answer of that activity."""
    answer = _read(plain, "The answer of the export")
    return ExportResult(
        instance_id=str(answer.get("instance_id")),
        is_done=bool(answer.get("success")),
        error=answer.get("error"),
    )
