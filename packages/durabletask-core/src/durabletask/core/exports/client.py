"""``client.exports``: creates, watches and deletes export jobs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from durabletask.core.arguments import as_members, as_name, as_page_size, as_timeout
from durabletask.core.built_ins import run_helper
from durabletask.core.entities import EntityMetadata, EntityQuery
from durabletask.core.errors import (
    InstanceNotFoundError,
    InvalidOperationError,
    InvalidRequestError,
    TransportTimeoutError,
)
from durabletask.core.instances import (
    OrchestrationStatus,
    PurgeInstance,
)
from durabletask.core.logs import get_logger
from durabletask.core.paging import AsyncPages
from durabletask.core.requests import Statuses
from durabletask.core.serialization import DataConverter
from durabletask.core.transport import Transport

from . import messages
from .forms import FORMS, Form, FormName, form_of
from .job import ExportFileFormat, ExportJob, ExportMode, ExportStatus, new_settings
from .names import HELPER

__all__ = ["Exports"]

_logger = get_logger("durabletask.exports")

_DEFAULT_WAIT = 60.0
_LONGEST_ID = 83  # "@exportjobentity@" and the id are the id of an entity, of at most 100 characters
_FAMILIES = (FORMS["dotnet"], FORMS["python"])


class Exports:
    """Export jobs of a task hub: ``client.exports``.

    A job writes the histories of instances that have ended to the destination of the workers
    (``DurableTaskWorker(..., export_to=...)``), one file for each instance. It is an entity with an orchestration, and
    survives whatever those survive.
    """

    def __init__(self, transport: Transport, converter: DataConverter) -> None:
        self._transport = transport
        self._converter = converter

    async def create(
        self,
        job_id: str,
        *,
        completed_from: datetime,
        completed_to: datetime | None = None,
        statuses: Statuses = (),
        mode: ExportMode = "batch",
        container: str = "exports",
        prefix: str | None = None,
        format: ExportFileFormat = "jsonl",  # noqa: A002 - what files have
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
        job_id = _as_job_id(job_id)
        if readable_by not in FORMS:
            raise InvalidRequestError(f"readable_by must be one of {', '.join(FORMS)}, not {readable_by!a}.")
        form, now = FORMS[readable_by], self._transport.now()
        settings = new_settings(
            mode=mode,
            completed_from=completed_from,
            completed_to=completed_to,
            statuses=statuses,
            container=container,
            prefix=f"{mode}-{job_id}" if prefix is None else prefix,
            format=format,
            page_size=page_size,
            max_parallel=max_parallel,
            now=now,
        )
        await self._check_free(job_id, form)
        argument = messages.write_creation(job_id, settings, form, now)
        await self._start(job_id, form, "create", argument, timeout_in_seconds)
        return await self._existing(job_id)

    async def get(self, job_id: str) -> ExportJob | None:
        """A job, or ``None`` when there is none of that id."""
        found = await self._find(_as_job_id(job_id))
        return None if found is None else found[0]

    def list(
        self,
        *,
        statuses: ExportStatus | str | Sequence[ExportStatus | str] = (),
        job_id_prefix: str = "",
        page_size: int = 100,
    ) -> AsyncPages[ExportJob]:
        """Jobs by id, those of all SDKs: ``async for job in client.exports.list()``.

        One whose state cannot be read is left out, with a warning in the log.

        Args:
            statuses: only these; all by default. One or several, as members or by their names.
            job_id_prefix: only ids that begin with this text.
            page_size: how many to ask the hub for at a time.
        """
        wanted = as_members(statuses, ExportStatus, "statuses")
        query = EntityQuery(page_size=as_page_size(page_size))
        prefixes = [form.entity_id(job_id_prefix) for form in _FAMILIES]

        async def fetch(token: str | None) -> tuple[Sequence[ExportJob], str | None]:
            number, _, inner = (token or "0,").partition(",")
            page = await self._transport.query_entities(
                msgspec.structs.replace(
                    query, instance_id_prefix=prefixes[int(number)], continuation_token=inner or None
                )
            )
            jobs = [
                job
                for job in map(self._listed, page.entities)
                if job is not None and job.settings is not None and (not wanted or job.status in wanted)
            ]
            if page.continuation_token:
                return jobs, f"{number},{page.continuation_token}"
            following = int(number) + 1
            return jobs, f"{following}," if following < len(prefixes) else None

        return AsyncPages(fetch)

    async def wait(
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
        job = await self._existing(_as_job_id(job_id))
        if job.is_finished or job.orchestrator_id is None:
            return job
        ended = await self._transport.wait_for_instance_completion(
            job.orchestrator_id,
            include_payloads=False,
            timeout=as_timeout(timeout_in_seconds, "timeout_in_seconds"),
        )
        return None if ended is None else await self._existing(job_id)

    async def resume(
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
        found = await self._find(_as_job_id(job_id))
        if found is None:
            raise _missing(job_id)
        job, form = found
        if job.status is not ExportStatus.FAILED:
            raise InvalidOperationError(
                f"Export job {job_id!r} is {job.status}; only a FAILED job can be resumed."
            )
        await self._start(job_id, form, "resume", None, timeout_in_seconds)
        return await self._existing(job_id)

    async def delete(
        self, job_id: str, *, timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT
    ) -> None:
        """Stop a job and delete it. Files that it has written stay. No-op when there is none of that id.

        Args:
            job_id: id of the job.
            timeout_in_seconds: how long to wait until a worker has deleted it.

        Raises:
            TransportTimeoutError: no worker has deleted the job; it may still be deleted later.
        """
        found = await self._find(_as_job_id(job_id))
        if found is None:
            return
        job, form = found
        timeout = as_timeout(timeout_in_seconds, "timeout_in_seconds")
        if not await self._operate(job_id, form, "delete", None, timeout):
            raise _not_done(job_id, "deleted", timeout)
        orchestrator_id = job.orchestrator_id or form.orchestrator_id(job_id)
        if await self._transport.get_instance(orchestrator_id, include_payloads=False) is not None:
            with suppress(InstanceNotFoundError):  # deleted by others, too
                await self._transport.terminate_instance(orchestrator_id, recursive=False)
                await self._transport.wait_for_instance_completion(
                    orchestrator_id, include_payloads=False, timeout=timeout
                )
            await self._transport.purge_instances(PurgeInstance(instance_id=orchestrator_id))
        if form.name == "python":  # the signal may be on its way
            await self._transport.purge_instances(
                PurgeInstance(instance_id=form.entity_id(job_id), is_orchestration=False)
            )

    # --- parts ---------------------------------------------------------------------------------------------

    async def _find(self, job_id: str) -> tuple[ExportJob, Form] | None:
        for family in _FAMILIES:
            entity = await self._transport.get_entity(family.entity_id(job_id))
            if entity is not None and entity.serialized_state is not None:
                plain = self._converter.deserialize(entity.serialized_state)
                job = messages.read_job(job_id, plain)
                if job.settings is not None:
                    return job, form_of(family.entity, plain)
        return None

    async def _check_free(self, job_id: str, form: Form) -> None:
        found = await self._find(job_id)
        if found is not None and (found[0].status is ExportStatus.ACTIVE or found[1].entity != form.entity):
            raise InvalidOperationError(
                f"There is an export job {job_id!r} already; it is {found[0].status}. Delete it, or use another id."
            )

    async def _existing(self, job_id: str) -> ExportJob:
        found = await self._find(job_id)
        if found is None:
            raise _missing(job_id)
        return found[0]

    def _listed(self, entity: EntityMetadata) -> ExportJob | None:
        try:
            return messages.read_job(
                entity.entity_id.key, self._converter.deserialize(entity.serialized_state)
            )
        except InvalidRequestError:
            _logger.warning(
                "%s is left out: its state cannot be read. get() raises the reason.", entity.entity_id
            )
            return None

    async def _start(
        self,
        job_id: str,
        form: Form,
        operation: str,
        argument: object,
        timeout_in_seconds: timedelta | float | None,
    ) -> None:
        """Call an operation that starts the orchestration of a job, and wait until it has started."""
        timeout = as_timeout(timeout_in_seconds, "timeout_in_seconds")
        orchestrator_id = form.orchestrator_id(job_id)
        # That of an earlier run has ended, and hubs may refuse to replace it.
        await self._transport.purge_instances(PurgeInstance(instance_id=orchestrator_id))
        is_called = await self._operate(job_id, form, operation, argument, timeout)
        if not is_called or not await self._transport.wait_for_instance_start(
            orchestrator_id, include_payloads=False, timeout=timeout
        ):
            raise _not_done(job_id, "started", timeout)

    async def _operate(
        self, job_id: str, form: Form, operation: str, argument: object, timeout: timedelta | None
    ) -> bool:
        """Call an operation as the clients of the other SDKs do; ``False`` at the time-out.

        By the helper orchestration. Workers of Python have none: they get a signal, which is not waited for.

        Raises:
            InvalidOperationError: the entity refuses it.
        """
        entity_id = form.entity_id(job_id)
        if form.name == "python":
            payload = self._converter.serialize(argument)
            await self._transport.signal_entity(
                entity_id, form.operations[operation], input=payload, request_id=str(uuid.uuid4())
            )
            return True
        call = messages.write_call(entity_id, operation, argument, form)
        state = await run_helper(self._transport, HELPER, self._converter.serialize(call), timeout)
        if state is None:
            return False
        if state.runtime_status is not OrchestrationStatus.COMPLETED:
            failure = state.failure_details
            reason = "it was stopped" if failure is None else failure.message
            raise InvalidOperationError(f"Export job {job_id!r}: {operation!r} failed: {reason}")
        return True


def _as_job_id(value: object) -> str:
    job_id = as_name(value, "job_id")
    if len(job_id) > _LONGEST_ID:
        raise InvalidRequestError(
            f"job_id={job_id[:40]!r}... has {len(job_id)} characters; at most {_LONGEST_ID} are allowed."
        )
    return job_id


def _missing(job_id: str) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"There is no export job {job_id!r}.")


def _not_done(job_id: str, what: str, timeout: timedelta | None) -> TransportTimeoutError:
    return TransportTimeoutError(
        f"No worker has {what} export job {job_id!r} within {timeout}. Is a worker running for this task hub? It may "
        f"still be {what} later; get() shows it."
    )
