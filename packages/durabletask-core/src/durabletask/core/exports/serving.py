"""What workers run for an export job: its entity, its orchestration, and two activities.

The entity keeps the state and starts the orchestration. The orchestration lists a page of instances, exports each of
them, and commits a checkpoint, until the time window is exhausted. It keeps nothing itself: every cycle begins with the
state of the entity, so a deleted or failed job ends it, and a resumed one begins after the last checkpoint. Exporting
an instance again writes the same file.

A page that lists an instance which is purged or running again by the time of its export goes on without it. Any other
failure is tried again, and then fails the job before the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

from durabletask.core.authoring import ActivityContext
from durabletask.core.built_ins import is_helper
from durabletask.core.context import OrchestrationContext
from durabletask.core.destinations import ExportDestination
from durabletask.core.entity_context import EntityContext
from durabletask.core.errors import (
    EntityOperationNotFoundError,
    InstanceNotFoundError,
    InvalidRequestError,
    NonRetryableError,
    NotSupportedError,
    TaskError,
    TaskFailedError,
)
from durabletask.core.history import ExecutionStarted, HistoryEvent
from durabletask.core.instances import InstanceIdQuery, OrchestrationState
from durabletask.core.retry import RetryPolicy
from durabletask.core.tasks import task_all
from durabletask.core.transport import Transport

from . import messages, transitions
from .files import CONTENT_ENCODINGS, encode_file, file_name
from .forms import Form, form_of
from .job import (
    ExportCheckpoint,
    ExportFailure,
    ExportJob,
    ExportSettings,
    ExportStatus,
    check_settings,
)
from .messages import ExportRequest, ExportResult

__all__ = ["HistoryExporter", "PageLister", "call_operation", "run_export", "serve_job"]

_ATTEMPTS: Final = 5
_RETRIES: Final = RetryPolicy(
    first_retry_interval=timedelta(seconds=15),
    max_number_of_attempts=_ATTEMPTS,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(minutes=2),
)
_CYCLES: Final = 5
"""Pages of one execution; continue-as-new keeps its history short."""
_IDLE: Final = timedelta(minutes=1)
"""How long a continuous job waits after the end of a window."""
_SETTLING: Final = timedelta(seconds=5)
"""How old the end of a window is, so that clocks which differ do not make instances appear in it later."""


# --- the entity -------------------------------------------------------------------------------------------------------


async def serve_job(ctx: EntityContext, input: object = None) -> object:  # noqa: A002 - the protocol's word
    """The entity of a job. Operations are found without regard to case and underscores.

    It waits for nothing; a plain function would run in a thread.
    """
    operation = _OPERATIONS.get(ctx.operation.replace("_", "").lower())
    if operation is None:
        raise EntityOperationNotFoundError(
            ctx.operation, form_of(ctx.entity_id.name, None).operations.values()
        )
    return operation(ctx, input)


def _create(ctx: EntityContext, plain: object) -> None:
    job_id, now = ctx.entity_id.key, ctx.current_utc_datetime
    form = form_of(ctx.entity_id.name, plain)
    settings = messages.read_creation(plain)
    check_settings(settings)
    job = messages.read_job(job_id, ctx.get_state())
    _start(ctx, transitions.create(job, settings, now, form.orchestrator_id(job_id)), form)


def _resume(ctx: EntityContext, _: object) -> None:
    job, form = _read(ctx)
    _start(ctx, transitions.resume(job, ctx.current_utc_datetime), form)


def _run(ctx: EntityContext, _: object) -> None:
    job, form = _read(ctx)
    transitions.require_active(job, "run")
    _start(ctx, job, form)


def _start(ctx: EntityContext, job: ExportJob, form: Form) -> None:
    request = messages.write_run(job.job_id, form, job)
    ctx.schedule_new_orchestration(form.orchestrator, request, instance_id=form.orchestrator_id(job.job_id))
    ctx.set_state(messages.write_job(job, form))


def _get(ctx: EntityContext, _: object) -> object:
    return ctx.get_state()


def _commit(ctx: EntityContext, plain: object) -> None:
    progress = messages.read_progress(plain)
    _change(ctx, lambda job: transitions.commit(job, progress, ctx.current_utc_datetime))


def _complete(ctx: EntityContext, _: object) -> None:
    _change(ctx, lambda job: transitions.complete(job, ctx.current_utc_datetime))


def _fail(ctx: EntityContext, plain: object) -> None:
    reason = messages.read_reason(plain)
    _change(ctx, lambda job: transitions.fail(job, reason, ctx.current_utc_datetime))


def _change(ctx: EntityContext, change: Callable[[ExportJob], ExportJob]) -> None:
    """Change the state, unless the job was deleted while its orchestration was working."""
    if ctx.has_state:
        job, form = _read(ctx)
        ctx.set_state(messages.write_job(change(job), form))


def _delete(ctx: EntityContext, _: object) -> None:
    ctx.delete_state()


def _read(ctx: EntityContext) -> tuple[ExportJob, Form]:
    plain = ctx.get_state()
    return messages.read_job(ctx.entity_id.key, plain), form_of(ctx.entity_id.name, plain)


_OPERATIONS: Final[Mapping[str, Callable[[EntityContext, object], object]]] = {
    "create": _create,
    "get": _get,
    "run": _run,
    "commitcheckpoint": _commit,
    "markascompleted": _complete,
    "markcompleted": _complete,
    "markasfailed": _fail,
    "markfailed": _fail,
    "resume": _resume,
    "delete": _delete,
}


# --- orchestrations ---------------------------------------------------------------------------------------------------


async def call_operation(ctx: OrchestrationContext, request: object) -> object:
    """The helper orchestration by which clients call an operation of a job."""
    entity_id, operation, argument = messages.read_call(request)
    result: object = await ctx.call_entity(entity_id, operation, argument)
    return result


async def run_export(ctx: OrchestrationContext, request: object) -> None:
    """The orchestration of a job."""
    job_id, form = messages.read_run(request), form_of(ctx.name, request)

    def call(operation: str, argument: object = None) -> Awaitable[object]:
        return ctx.call_entity(form.entity_id(job_id), form.operations[operation], argument)

    try:
        for _ in range(_CYCLES):
            job = messages.read_job(job_id, await call("get"))
            if job.status is not ExportStatus.ACTIVE or job.settings is None:
                return
            progress, is_exhausted = await _export_page(ctx, job, job.settings, form)
            if progress is not None:
                await call("commit", messages.write_progress(progress, form))
            if is_exhausted and job.settings.mode == "batch":
                await call("complete")
                return
            if is_exhausted:
                await ctx.create_timer(_IDLE)
    except (TaskError, InvalidRequestError) as error:
        await call("fail", messages.write_reason(str(error), form))
        raise
    ctx.continue_as_new(request)


async def _export_page(
    ctx: OrchestrationContext, job: ExportJob, settings: ExportSettings, form: Form
) -> tuple[transitions.Progress | None, bool]:
    """Export the page after the checkpoint: what to commit, and whether the time window is exhausted."""
    checkpoint = job.checkpoint
    since = checkpoint.window_from or settings.completed_from
    until = settings.completed_to or checkpoint.window_to or ctx.current_utc_datetime - _SETTLING
    if until <= since:  # a continuous job that has caught up, or begins in the future
        return None, True
    if until > ctx.current_utc_datetime:  # by the clock of another client
        await ctx.create_timer(until)
    query = InstanceIdQuery(
        runtime_statuses=settings.statuses,
        completed_from=since,
        completed_to=until,
        page_size=settings.page_size,
        last_instance_key=checkpoint.last_instance_key,
    )
    answer: object = await ctx.call_activity(
        form.list_activity, messages.write_list_request(query, form), retry_policy=_RETRIES
    )
    page = messages.read_page(answer)
    key = page.last_instance_key
    # A hub that repeats a key would never end.
    is_exhausted = key is None or key == checkpoint.last_instance_key or not page.instance_ids
    if settings.mode == "batch":
        after = ExportCheckpoint(last_instance_key=key or checkpoint.last_instance_key)
    elif is_exhausted:
        after = ExportCheckpoint(window_from=until)
    else:
        after = ExportCheckpoint(last_instance_key=key, window_from=since, window_to=until)
    ids = [each for each in page.instance_ids if not is_helper(each)]
    exported, skipped, failures = await _export_all(ctx, ids, settings, form)
    if failures:
        return transitions.Progress(failures=failures), False
    is_idle = not page.instance_ids and checkpoint.last_instance_key is None
    progress = transitions.Progress(scanned=len(ids), exported=exported, failures=skipped, checkpoint=after)
    return None if is_idle else progress, is_exhausted


async def _export_all(
    ctx: OrchestrationContext, ids: list[str], settings: ExportSettings, form: Form
) -> tuple[int, tuple[ExportFailure, ...], tuple[ExportFailure, ...]]:
    """Export instances: how many were, which could not be because they are not there, and which failed."""
    if not ids:
        return 0, (), ()
    calls = (
        ctx.call_activity(
            form.export_activity,
            messages.write_export_request(instance_id, settings, form),
            return_type=object,
            retry_policy=_RETRIES,
        )
        for instance_id in ids
    )
    outcomes = await task_all(calls, return_exceptions=True, limit=settings.max_parallel)
    exported = 0
    skipped: list[ExportFailure] = []
    failures: list[ExportFailure] = []
    for instance_id, outcome in zip(ids, outcomes, strict=True):
        attempts = 1
        if isinstance(outcome, BaseException):
            result = ExportResult(instance_id=instance_id, is_done=False, error=_reason(outcome))
            is_final = isinstance(outcome, TaskFailedError) and outcome.details.is_non_retriable
            attempts = 1 if is_final else _ATTEMPTS
        else:
            result = messages.read_export_result(outcome)
        if result.is_done and result.error is None:
            exported += 1
            continue
        failure = ExportFailure(
            instance_id=instance_id,
            reason=result.error or "no reason was given",
            attempt_count=attempts,
            last_attempt=ctx.current_utc_datetime,
        )
        (skipped if result.is_done else failures).append(failure)
    return exported, tuple(skipped), tuple(failures)


def _reason(error: BaseException) -> str:
    return error.details.message if isinstance(error, TaskFailedError) else str(error)


# --- activities -------------------------------------------------------------------------------------------------------


class PageLister:
    """The activity that lists a page of instances that have ended."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def run(self, ctx: ActivityContext, request: object) -> object:
        """List a page; the answer is in the form of the request."""
        try:
            page = await self._transport.list_instance_ids(messages.read_list_request(request))
        except NotSupportedError as error:
            raise NonRetryableError(f"This hub cannot be exported from: {error}") from error
        return messages.write_page(page, form_of(ctx.name, request))


class HistoryExporter:
    """The activity that writes the history of one instance to the destination."""

    def __init__(self, transport: Transport, destination: ExportDestination | None) -> None:
        self._transport = transport
        self._destination = destination

    async def run(self, ctx: ActivityContext, request: object) -> object:
        """Export one instance; the answer is in the form of the request."""
        form = form_of(ctx.name, request)
        return messages.write_export_result(
            await self._export(messages.read_export_request(request), form), form
        )

    async def _export(self, request: ExportRequest, form: Form) -> ExportResult:
        if self._destination is None:
            raise NonRetryableError(
                "The worker has nowhere to export to. Every worker of the task hub needs a destination: "
                "DurableTaskWorker(..., export_to=Directory('exports')), or BlobStorage(...) of "
                "durabletask-azuremanaged."
            )
        instance_id = request.instance_id
        state = await self._transport.get_instance(instance_id, include_payloads=False)
        events = None if state is None else await self._history(instance_id)
        if state is None or events is None:
            return ExportResult(
                instance_id=instance_id, error="the instance was purged before it was exported"
            )
        if not state.is_finished or _is_restarted(state, events):
            return ExportResult(instance_id=instance_id, error="the instance runs again")
        name = file_name(instance_id, state.last_updated_at, request.prefix, request.format)
        content = await asyncio.to_thread(encode_file, events, request.format)
        try:
            await self._destination.write(
                request.container,
                name,
                content,
                content_type=form.content_types[request.format],
                content_encoding=CONTENT_ENCODINGS[request.format],
                metadata={form.id_metadata: instance_id},
            )
        except ValueError as error:
            raise NonRetryableError(str(error)) from error
        return ExportResult(instance_id=instance_id)

    async def _history(self, instance_id: str) -> list[HistoryEvent] | None:
        events: list[HistoryEvent] = []
        try:
            async for chunk in self._transport.stream_history(instance_id):
                events.extend(chunk)
        except InstanceNotFoundError:
            return None
        return events


def _is_restarted(state: OrchestrationState, events: list[HistoryEvent]) -> bool:
    """Whether the history is that of a later execution than the state."""
    started = next((event for event in events if isinstance(event, ExecutionStarted)), None)
    ids = (state.execution_id, None if started is None else started.execution_id)
    return None not in ids and ids[0] != ids[1]
