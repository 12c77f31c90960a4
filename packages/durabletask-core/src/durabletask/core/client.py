"""``DurableTaskClient``: starts, queries and steers orchestrations and entities of one task hub."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec
from typing_extensions import Self, Unpack

from . import telemetry
from .arguments import (
    as_flag,
    as_id,
    as_ids,
    as_members,
    as_name,
    as_optional_text,
    as_page_size,
    as_tags,
    as_text,
    as_time,
    as_timeout,
)
from .built_ins import is_helper
from .connection import attach
from .connection_string import ConnectionString
from .entity_client import EntityClient
from .history import HistoryEvent, encode_history
from .instances import (
    CreateInstanceRequest,
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeInstance,
    PurgeResult,
    ReusePolicy,
)
from .options import ClientOptions, check_options
from .paging import AsyncPages, purge_all
from .registry import Registrations, Registry, check_input_given, name_of
from .requests import Statuses, batches_of, checked_policy, new_instance_id, purge_requests
from .serialization import DEFAULT_CONVERTER
from .transport import Transport

if TYPE_CHECKING:
    from .context import RunsSync
    from .diagnosis import Diagnosis
    from .exports.client import Exports
    from .schedules.client import Schedules

__all__ = ["DurableTaskClient"]

InputT = TypeVar("InputT")

_DEFAULT_WAIT = 60.0


class DurableTaskClient(EntityClient):
    """A client of one task hub. Connects when it is first used; ``async with`` closes it at the end.

    Times without a zone are taken as UTC; a number is a duration in seconds. Arguments are checked before anything is
    sent: a wrong one is an ``InvalidRequestError`` that names it, which is also a ``TypeError`` for a wrong type. Every method can raise a ``TransportError``, for example
    ``TransportUnavailableError`` when the endpoint does not answer.

    Args:
        connection: a connection string, or a ``Transport`` (which ``close`` leaves open).
        task_hub: name of the task hub, unless the connection string or the transport knows it.
        credential: source of tokens, instead of ``Authentication=`` (see ``resolve_transport``).
        **options: see ``ClientOptions``.

    Raises:
        ConnectionStringError, MissingPackageError: the connection cannot be used.
        TypeError: an option does not exist.
    """

    def __init__(
        self,
        connection: str | ConnectionString | Transport,
        task_hub: str | None = None,
        *,
        credential: object | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        check_options(self, ClientOptions, options)
        transport, self._owns_transport = attach(
            connection,
            task_hub,
            credential,
            allow_insecure_credential=options.get("allow_insecure_credential", False),
        )
        super().__init__(transport, options.get("data_converter") or DEFAULT_CONVERTER)
        self._default_version = as_optional_text(options.get("default_version"), "default_version")

    def __repr__(self) -> str:
        return f"DurableTaskClient({self._transport.endpoint!r}, {self._transport.task_hub!r})"

    @property
    def transport(self) -> Transport:
        """The connection to the hub."""
        return self._transport

    async def close(self) -> None:
        """Close the connection, if the client made it. The client may be used again afterwards."""
        if self._owns_transport:
            await self._transport.close()

    async def __aenter__(self) -> Self:
        """Nothing is connected yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    # --- orchestrations: start, look, wait -----------------------------------------------------------------

    @overload
    async def schedule_new_orchestration(
        self,
        orchestrator: Callable[[Any, InputT], object]
        | RunsSync[InputT, object]
        | type[RunsSync[InputT, object]],
        input: InputT,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | float | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str: ...
    @overload
    async def schedule_new_orchestration(
        self,
        orchestrator: str | Callable[[Any], object],
        input: object = None,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | float | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str: ...
    async def schedule_new_orchestration(
        self,
        orchestrator: object,
        input: object = None,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | float | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse_policy: ReusePolicy | None = None,
    ) -> str:
        """Start an orchestration and return its instance id.

        Args:
            orchestrator: the orchestrator's function, class or object, or its registered name.
            input: what the orchestrator gets as its input.
            instance_id: an id of your choice; by default 32 random hexadecimal digits. It must not begin
                with ``@`` (those are entities).
            start_at: not before this time, or not before this long from now (``timedelta`` or seconds).
            version: version of the instance; the client's ``default_version`` by default.
            tags: names and values that tools show and that activities of the instance can read.
            reuse_policy: which instances of the same id may be replaced; none by default.

        Raises:
            InstanceAlreadyExistsError: the id is in use and may not be replaced.
            InvalidRequestError: the id or the name cannot be used, or the input is missing.
            SerializationError: the input has no JSON form; the message names the part.
        """
        name = as_name(name_of(orchestrator), "The name of the orchestrator")
        if input is None:
            check_input_given(orchestrator, name)
        instance_id = new_instance_id(instance_id, self._transport.maximum_instance_id_length)
        version = self._default_version if version is None else as_text(version, "version")
        now = self._transport.now()
        with telemetry.creating(name, instance_id, version) as trace_context:
            return await self._transport.create_instance(
                CreateInstanceRequest(
                    name=name,
                    instance_id=instance_id,
                    input=self._serialize(input, f"Input of orchestration {name!r}"),
                    version=version,
                    scheduled_start_at=as_time(start_at, "start_at", now),
                    reuse_policy=checked_policy(reuse_policy),
                    tags=as_tags(tags),
                    trace_context=trace_context,
                    request_time=now,
                )
            )

    async def get_orchestration_state(
        self, instance_id: str, *, fetch_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None`` when there is none of that id.

        Args:
            instance_id: id of the instance.
            fetch_payloads: whether input, output and custom status are wanted.
        """
        return self._readable(
            await self._transport.get_instance(
                as_id(instance_id),
                include_payloads=as_flag(fetch_payloads, "fetch_payloads"),
            )
        )

    async def wait_for_orchestration_start(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has begun to run; ``None`` at the time-out.

        Args:
            instance_id: id of the instance; one that does not exist yet is waited for.
            fetch_payloads: whether input, output and custom status are wanted.
            timeout_in_seconds: how long to wait, on the hub's clock; ``None`` for as long as it takes.

        Raises:
            InstanceNotFoundError: the instance was purged meanwhile.
        """
        return self._readable(
            await self._transport.wait_for_instance_start(
                as_id(instance_id),
                include_payloads=as_flag(fetch_payloads, "fetch_payloads"),
                timeout=as_timeout(timeout_in_seconds, "timeout_in_seconds"),
            )
        )

    async def wait_for_orchestration_completion(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has ended in whatever way; ``None`` at the time-out.

        Args and Raises: as for ``wait_for_orchestration_start``.
        """
        return self._readable(
            await self._transport.wait_for_instance_completion(
                as_id(instance_id),
                include_payloads=as_flag(fetch_payloads, "fetch_payloads"),
                timeout=as_timeout(timeout_in_seconds, "timeout_in_seconds"),
            )
        )

    # --- orchestrations: steer -----------------------------------------------------------------------------

    async def raise_orchestration_event(self, instance_id: str, event_name: str, data: object = None) -> None:
        """Deliver an external event; an instance that has ended drops it.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs drop the event instead).
        """
        instance_id = as_id(instance_id)
        event_name = as_name(event_name, "event_name")
        payload = self._serialize(data, f"Data of event {event_name!r}")
        with telemetry.raising_event(event_name, instance_id):
            await self._transport.raise_event(instance_id, event_name, payload)

    async def terminate_orchestration(
        self, instance_id: str, output: object = None, *, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED. No-op when there is none, or when it has ended.

        Args:
            instance_id: id of the instance.
            output: becomes the output of the instance.
            recursive: also terminate the orchestrations that it has started as its children.
        """
        await self._transport.terminate_instance(
            as_id(instance_id),
            output=self._serialize(output, "Output of the termination"),
            recursive=as_flag(recursive, "recursive"),
        )

    async def suspend_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance: events are kept and handled when it is resumed."""
        await self._transport.suspend_instance(as_id(instance_id), reason=as_optional_text(reason, "reason"))

    async def resume_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume a suspended instance."""
        await self._transport.resume_instance(as_id(instance_id), reason=as_optional_text(reason, "reason"))

    async def rewind_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures that ended a FAILED instance and let it go on.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance is not FAILED, or its code has answered the failure that ended it.
        """
        await self._transport.rewind_instance(as_id(instance_id), reason=as_optional_text(reason, "reason"))

    async def restart_orchestration(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run an instance that has ended again from its start; returns the id of the new run.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance has not ended.
        """
        return await self._transport.restart_instance(
            as_id(instance_id),
            with_new_instance_id=as_flag(with_new_instance_id, "with_new_instance_id"),
        )

    async def force_terminate_orchestrations(
        self, instance_ids: str | Iterable[str], *, reason: str | None = None
    ) -> list[str]:
        """End instances as TERMINATED without running them; returns the ids that could not be ended."""
        left: list[str] = []
        reason = as_optional_text(reason, "reason")
        for batch in batches_of(as_ids(instance_ids, "instance_ids")):
            left += await self._transport.force_terminate_instances(batch, reason=reason)
        return left

    # --- orchestrations: find and remove -------------------------------------------------------------------

    def query_orchestrations(
        self,
        *,
        runtime_statuses: Statuses = (),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        instance_id_prefix: str | None = None,
        fetch_payloads: bool = False,
        page_size: int = 100,
    ) -> AsyncPages[OrchestrationState]:
        """Instances by creation time: ``async for state in client.query_orchestrations(...)``.

        Helper orchestrations, whose ids begin with ``durabletask~``, are left out unless ``instance_id_prefix`` begins
        with that text.

        Args:
            runtime_statuses: only these; all by default. One or several, as members or by their names.
            created_from: created at this time or later.
            created_to: created before this time.
            instance_id_prefix: only ids that begin with this text.
            fetch_payloads: whether input, output and custom status are wanted.
            page_size: how many to ask the hub for at a time.
        """
        query = InstanceQuery(
            runtime_statuses=as_members(runtime_statuses, OrchestrationStatus, "runtime_statuses"),
            created_from=as_time(created_from, "created_from"),
            created_to=as_time(created_to, "created_to"),
            instance_id_prefix=as_optional_text(instance_id_prefix, "instance_id_prefix"),
            include_payloads=as_flag(fetch_payloads, "fetch_payloads"),
            page_size=as_page_size(page_size),
        )
        wants_helpers = is_helper(query.instance_id_prefix or "")

        async def fetch(token: str | None) -> tuple[Sequence[OrchestrationState], str | None]:
            page = await self._transport.query_instances(
                msgspec.structs.replace(query, continuation_token=token)
            )
            states = [
                msgspec.structs.replace(state, reader=self._converter)
                for state in page.states
                if wants_helpers or not is_helper(state.instance_id)
            ]
            return states, page.continuation_token

        return AsyncPages(fetch)

    def list_instance_ids(
        self,
        *,
        runtime_statuses: Statuses = (),
        completed_from: datetime | None = None,
        completed_to: datetime | None = None,
        page_size: int = 100,
    ) -> AsyncPages[str]:
        """Ids of instances that have ended, by completion time; arguments as for ``query_orchestrations``.

        Helper orchestrations, whose ids begin with ``durabletask~``, are left out.
        """
        query = InstanceIdQuery(
            runtime_statuses=as_members(runtime_statuses, OrchestrationStatus, "runtime_statuses"),
            completed_from=as_time(completed_from, "completed_from"),
            completed_to=as_time(completed_to, "completed_to"),
            page_size=as_page_size(page_size),
        )

        async def fetch(token: str | None) -> tuple[Sequence[str], str | None]:
            page = await self._transport.list_instance_ids(
                msgspec.structs.replace(query, last_instance_key=token)
            )
            return [each for each in page.instance_ids if not is_helper(each)], page.last_instance_key

        return AsyncPages(fetch)

    async def purge_orchestration(self, instance_id: str, *, recursive: bool = False) -> PurgeResult:
        """Remove an instance that has ended, with its history; one that is missing or live counts zero.

        Args:
            instance_id: id of the instance.
            recursive: also remove the orchestrations that it has started as its children.
        """
        request = PurgeInstance(instance_id=as_id(instance_id), recursive=as_flag(recursive, "recursive"))
        return await self._transport.purge_instances(request)

    async def purge_orchestrations(
        self,
        instance_ids: str | Iterable[str] | None = None,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        runtime_statuses: Statuses = (),
        everything: bool = False,
        recursive: bool = False,
    ) -> PurgeResult:
        """Remove instances that have ended, given by their ids or by a filter, until none is left.

        Args:
            instance_ids: which ones; without ids the filter decides.
            created_from: created at this time or later.
            created_to: created before this time.
            runtime_statuses: only these (of those that mean an end); all by default. One or several, as members or
                by their names.
            everything: remove every instance that has ended; needed without ids and without a filter.
            recursive: also remove children.

        Raises:
            InvalidRequestError: there are neither ids nor a filter, or both; nothing is removed.
        """
        requests = purge_requests(
            instance_ids,
            created_from=created_from,
            created_to=created_to,
            runtime_statuses=runtime_statuses,
            everything=everything,
            recursive=recursive,
        )
        return await purge_all(self._transport, requests)

    # --- history -------------------------------------------------------------------------------------------

    async def get_orchestration_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> list[HistoryEvent]:
        """The whole history of an instance.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs give an empty history instead).
        """
        events: list[HistoryEvent] = []
        async for chunk in self._transport.stream_history(
            as_id(instance_id), execution_id=as_optional_text(execution_id, "execution_id")
        ):
            events.extend(chunk)
        return events

    async def download_history(
        self, instance_id: str, path: str | PathLike[str], *, execution_id: str | None = None
    ) -> int:
        """Write the history of an instance to a file and return the number of events.

        The file is one JSON array, one event per line, and always the same for the same history;
        ``decode_history`` reads it.
        """
        events = await self.get_orchestration_history(instance_id, execution_id=execution_id)
        lines = [encode_history([event])[1:-1] for event in events]
        text = b"[\n" + b",\n".join(lines) + b"\n]\n"
        await asyncio.get_running_loop().run_in_executor(None, Path(path).write_bytes, text)
        return len(events)

    async def explain(
        self,
        instance_id: str,
        *,
        orchestrators: Registrations = (),
        activities: Registrations = (),
        entities: Registrations = (),
    ) -> Diagnosis:
        """Why an instance is not finished, with advice; print it, or read its members.

        With its code, also the events it waits for and the lines (``file:line``) that wait. For calls and locks of
        entities it shows since when they wait, who holds the entity, and how many messages wait for it.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        from .diagnosis import explain  # noqa: PLC0415 - brings the replay engine along

        registry = Registry(orchestrators=orchestrators, activities=activities, entities=entities)
        instance_id = as_id(instance_id)
        return await explain(self._transport, instance_id, registry=registry, converter=self._converter)

    # --- schedules -----------------------------------------------------------------------------------------

    @property
    def schedules(self) -> Schedules:
        """The schedules of the hub: recurring orchestrations, by cron expression or interval."""
        from .schedules.client import Schedules  # noqa: PLC0415 - brings time zones along

        return Schedules(self, self._transport, self._converter)

    # --- exports -------------------------------------------------------------------------------------------

    @property
    def exports(self) -> Exports:
        """Jobs that write the histories of instances to files."""
        from .exports.client import Exports  # noqa: PLC0415 - most clients have no export jobs

        return Exports(self._transport, self._converter)

    # --- the task hub --------------------------------------------------------------------------------------

    async def create_task_hub(self, *, recreate_if_exists: bool = False) -> None:
        """Create the task hub, where the hub's server allows it."""
        await self._transport.create_task_hub(
            recreate_if_exists=as_flag(recreate_if_exists, "recreate_if_exists")
        )

    async def delete_task_hub(self) -> None:
        """Delete the task hub and everything in it."""
        await self._transport.delete_task_hub()

    # --- parts ---------------------------------------------------------------------------------------------

    def _readable(self, state: OrchestrationState | None) -> OrchestrationState | None:
        return None if state is None else msgspec.structs.replace(state, reader=self._converter)
