"""The part of the blocking client that is about one orchestration."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar, overload

from durabletask.core import orchestration_client as _client
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, ReusePolicy
from durabletask.core.registry import Registrations
from durabletask.core.transport import Transport

from .entities import EntityClient

if TYPE_CHECKING:
    from durabletask.core.context import PlainClass, PlainCode, PlainWithoutInput
    from durabletask.core.diagnosis import Diagnosis

__all__ = ["OrchestrationClient"]

InputT = TypeVar("InputT")

_DEFAULT_WAIT = 60.0


class OrchestrationClient(EntityClient):
    """The blocking twin of ``durabletask.core.orchestration_client.OrchestrationClient``."""

    _inner: _client.OrchestrationClient

    # <generated from durabletask.core.orchestration_client.OrchestrationClient>

    @property
    def transport(self) -> Transport:
        """The connection to the hub."""
        return self._inner.transport

    @overload
    def schedule_new_orchestration(
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
    def schedule_new_orchestration(
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

    def schedule_new_orchestration(
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
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return self._call(
            lambda: self._inner.schedule_new_orchestration(
                any_orchestrator,
                input,
                instance_id=instance_id,
                start_at=start_at,
                version=version,
                tags=tags,
                reuse_policy=reuse_policy,
            )
        )

    def get_orchestration_state(
        self, instance_id: str, *, fetch_payloads: bool = True
    ) -> OrchestrationState | None:
        """The state of an instance, or ``None`` when there is none of that id.

        Args:
            instance_id: id of the instance.
            fetch_payloads: whether input, output and custom status are wanted.
        """
        return self._call(
            lambda: self._inner.get_orchestration_state(instance_id, fetch_payloads=fetch_payloads)
        )

    def wait_for_orchestration_start(
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
        return self._call(
            lambda: self._inner.wait_for_orchestration_start(
                instance_id, fetch_payloads=fetch_payloads, timeout_in_seconds=timeout_in_seconds
            )
        )

    def wait_for_orchestration_completion(
        self,
        instance_id: str,
        *,
        fetch_payloads: bool = True,
        timeout_in_seconds: timedelta | float | None = _DEFAULT_WAIT,
    ) -> OrchestrationState | None:
        """Wait until an instance has ended in whatever way; ``None`` at the time-out.

        Args and Raises: as for ``wait_for_orchestration_start``.
        """
        return self._call(
            lambda: self._inner.wait_for_orchestration_completion(
                instance_id, fetch_payloads=fetch_payloads, timeout_in_seconds=timeout_in_seconds
            )
        )

    def raise_orchestration_event(self, instance_id: str, event_name: str, data: object = None) -> None:
        """Deliver an external event; an instance that has ended drops it.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs drop the event instead).
        """
        self._call(lambda: self._inner.raise_orchestration_event(instance_id, event_name, data))

    def terminate_orchestration(
        self, instance_id: str, output: object = None, *, recursive: bool = True
    ) -> None:
        """Ask an instance to end as TERMINATED. No-op when there is none, or when it has ended.

        Args:
            instance_id: id of the instance.
            output: becomes the output of the instance.
            recursive: also terminate the orchestrations that it has started as its children.
        """
        self._call(lambda: self._inner.terminate_orchestration(instance_id, output, recursive=recursive))

    def suspend_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Suspend an instance: events are kept and handled when it is resumed."""
        self._call(lambda: self._inner.suspend_orchestration(instance_id, reason=reason))

    def resume_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Resume a suspended instance."""
        self._call(lambda: self._inner.resume_orchestration(instance_id, reason=reason))

    def rewind_orchestration(self, instance_id: str, *, reason: str | None = None) -> None:
        """Undo the failures that ended a FAILED instance and let it go on.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance is not FAILED, or its code has answered the failure that ended it.
        """
        self._call(lambda: self._inner.rewind_orchestration(instance_id, reason=reason))

    def restart_orchestration(self, instance_id: str, *, with_new_instance_id: bool = False) -> str:
        """Run an instance that has ended again from its start; returns the id of the new run.

        Raises:
            InstanceNotFoundError: there is no such instance.
            InvalidOperationError: the instance has not ended.
        """
        return self._call(
            lambda: self._inner.restart_orchestration(instance_id, with_new_instance_id=with_new_instance_id)
        )

    def get_orchestration_history(
        self, instance_id: str, *, execution_id: str | None = None
    ) -> list[HistoryEvent]:
        """The whole history of an instance.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs give an empty history instead).
        """
        return self._call(
            lambda: self._inner.get_orchestration_history(instance_id, execution_id=execution_id)
        )

    def download_history(
        self, instance_id: str, path: str | PathLike[str], *, execution_id: str | None = None
    ) -> int:
        """Write the history of an instance to a file and return the number of events.

        The file is one JSON array, one event per line, and always the same for the same history;
        ``decode_history`` reads it.
        """
        return self._call(lambda: self._inner.download_history(instance_id, path, execution_id=execution_id))

    def explain(
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
        return self._call(
            lambda: self._inner.explain(
                instance_id, orchestrators=orchestrators, activities=activities, entities=entities
            )
        )

    # </generated>
