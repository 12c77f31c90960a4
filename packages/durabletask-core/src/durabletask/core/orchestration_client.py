"""The part of ``DurableTaskClient`` that is about one orchestration: start, look, wait, steer, history."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, overload

import msgspec

from . import telemetry
from .arguments import as_flag, as_id, as_name, as_optional_text, as_tags, as_text, as_time, as_timeout
from .entity_client import EntityClient
from .history import HistoryEvent, encode_history
from .instances import CreateInstanceRequest, OrchestrationState, ReusePolicy
from .registry import Registrations, Registry, check_input_given, name_of
from .requests import checked_policy, new_instance_id
from .serialization import DataConverter
from .transport import Transport

if TYPE_CHECKING:
    from .context import PlainClass, PlainCode, PlainWithoutInput
    from .diagnosis import Diagnosis

__all__ = ["OrchestrationClient"]

InputT = TypeVar("InputT")

_DEFAULT_WAIT: Final = 60.0


class OrchestrationClient(EntityClient):
    """Starts, reads and steers single orchestrations; ``DurableTaskClient`` derives from it."""

    def __init__(
        self, transport: Transport, converter: DataConverter, *, default_version: str | None = None
    ) -> None:
        super().__init__(transport, converter)
        self._default_version = default_version

    @property
    def transport(self) -> Transport:
        """The connection to the hub."""
        return self._transport

    # --- orchestrations: start, look, wait -----------------------------------------------------------------

    @overload
    async def schedule_new_orchestration(
        self,
        orchestrator: PlainCode[InputT, object] | PlainClass[InputT, object],
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
        orchestrator: str | PlainWithoutInput[object],
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
        await self._raise_event(
            instance_id, event_name, self._serialize(data, f"Data of event {event_name!r}")
        )

    async def _raise_event(self, instance_id: str, event_name: str, payload: str | None) -> None:
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

    # --- parts ---------------------------------------------------------------------------------------------

    def _readable(self, state: OrchestrationState | None) -> OrchestrationState | None:
        return None if state is None else msgspec.structs.replace(state, reader=self._converter)
