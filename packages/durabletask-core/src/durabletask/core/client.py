"""``DurableTaskClient``: starts, queries and steers orchestrations and entities of one task hub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import msgspec
from typing_extensions import Self, Unpack

from .arguments import (
    as_flag,
    as_id,
    as_ids,
    as_members,
    as_optional_text,
    as_page_size,
    as_time,
)
from .built_ins import is_helper
from .connection import attach
from .connection_string import ConnectionString
from .handles import HandleClient
from .instances import (
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationState,
    OrchestrationStatus,
    PurgeInstance,
    PurgeResult,
)
from .options import ClientOptions, check_options
from .paging import AsyncPages, purge_all
from .requests import Statuses, batches_of, purge_requests
from .serialization import DEFAULT_CONVERTER
from .transport import Transport

if TYPE_CHECKING:
    from .exports.client import Exports
    from .schedules.client import Schedules

__all__ = ["DurableTaskClient"]

InputT = TypeVar("InputT")

_DEFAULT_WAIT = 60.0


class DurableTaskClient(HandleClient):
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
        super().__init__(
            transport,
            options.get("data_converter") or DEFAULT_CONVERTER,
            default_version=as_optional_text(options.get("default_version"), "default_version"),
        )

    def __repr__(self) -> str:
        return f"DurableTaskClient({self._transport.endpoint!r}, {self._transport.task_hub!r})"

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

    async def force_terminate_orchestrations(
        self, instance_ids: str | Iterable[str], *, reason: str | None = None
    ) -> list[str]:
        """End instances as TERMINATED without running them; returns the ids that could not be ended."""
        left: list[str] = []
        reason = as_optional_text(reason, "reason")
        for batch in batches_of(as_ids(instance_ids, "instance_ids")):
            left += await self._transport.force_terminate_instances(batch, reason=reason)
        return left

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
