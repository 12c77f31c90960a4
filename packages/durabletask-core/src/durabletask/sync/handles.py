"""The part of the blocking client that is about handles."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from typing_extensions import Never, Unpack

from durabletask.core import handles as _handles
from durabletask.core.handles import InstanceOptions
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.portal import Call
from durabletask.core.registry import Registrations

from .orchestrations import OrchestrationClient

if TYPE_CHECKING:
    from durabletask.core.context import (
        AsyncClass,
        AsyncCode,
        AsyncWithoutInput,
        PlainClass,
        PlainCode,
        PlainWithoutInput,
        YieldingClass,
        YieldingCode,
        YieldingWithoutInput,
    )
    from durabletask.core.diagnosis import Diagnosis

__all__ = ["HandleClient", "OrchestrationHandle"]

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
OutputT_co = TypeVar("OutputT_co", covariant=True)


class OrchestrationHandle(Generic[OutputT_co]):
    """The blocking twin of ``durabletask.OrchestrationHandle``: same arguments, results and errors."""

    def __init__(self, inner: _handles.OrchestrationHandle[OutputT_co], call: Call) -> None:
        self._inner = inner
        self._call = call

    def __repr__(self) -> str:
        return repr(self._inner)

    def watch(self) -> Generator[OrchestrationState, None]:
        """The state as it is now, and again whenever it has changed; see ``durabletask.OrchestrationHandle.watch``."""
        states = self._inner.watch()
        try:
            while (state := self._call(lambda: anext(states, None))) is not None:
                yield state
        finally:
            self._call(states.aclose)

    # <generated from durabletask.core.handles.OrchestrationHandle>

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._inner.instance_id

    def result(self, *, timeout: timedelta | float | None = None) -> OutputT_co:
        """Wait until the instance has ended, and return its output as the type that the orchestrator returns.

        An instance that does not exist yet is waited for.

        Args:
            timeout: how long to wait, on the hub's clock; by default for as long as it takes.

        Raises:
            TaskFailedError: the orchestration failed; ``details`` has what the hub recorded.
            OrchestrationTerminatedError: it was terminated.
            TransportTimeoutError: it has not ended in time; also a ``TimeoutError``. It goes on.
            SerializationError: the output does not fit the return annotation.
            InstanceNotFoundError: the instance was purged meanwhile.
        """
        return self._call(lambda: self._inner.result(timeout=timeout))

    def state(self, *, fetch_payloads: bool = True) -> OrchestrationState:
        """The state as it is now.

        Args:
            fetch_payloads: whether input, output and custom status are wanted.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        return self._call(lambda: self._inner.state(fetch_payloads=fetch_payloads))

    def status(self) -> OrchestrationStatus:
        """The status as it is now.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        return self._call(self._inner.status)

    def raise_event(self, event_name: str, data: object = None) -> None:
        """Deliver an external event; an instance that has ended drops it.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs drop the event instead).
        """
        self._call(lambda: self._inner.raise_event(event_name, data))

    def terminate(self, output: object = None, *, recursive: bool = True) -> None:
        """Ask the instance to end as TERMINATED. No-op when it has ended.

        Args:
            output: becomes the output of the instance.
            recursive: also terminate the orchestrations that it has started as its children.
        """
        self._call(lambda: self._inner.terminate(output, recursive=recursive))

    def suspend(self, *, reason: str | None = None) -> None:
        """Suspend the instance: events are kept and handled when it is resumed."""
        self._call(lambda: self._inner.suspend(reason=reason))

    def resume(self, *, reason: str | None = None) -> None:
        """Resume the instance, if it is suspended."""
        self._call(lambda: self._inner.resume(reason=reason))

    def history(self, *, execution_id: str | None = None) -> list[HistoryEvent]:
        """The whole history of the instance.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs give an empty history instead).
        """
        return self._call(lambda: self._inner.history(execution_id=execution_id))

    def explain(self, *, activities: Registrations = (), entities: Registrations = ()) -> Diagnosis:
        """Why the instance is not finished, with advice; see ``DurableTaskClient.explain``.

        The orchestrator's code is known, unless the handle was made with a name.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        return self._call(lambda: self._inner.explain(activities=activities, entities=entities))

    # </generated>


class HandleClient(OrchestrationClient):
    """The blocking twin of ``durabletask.core.handles.HandleClient``."""

    _inner: _handles.HandleClient

    # <generated from durabletask.core.handles.HandleClient>

    @overload
    def start(
        self, orchestrator: str, input: object = None, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[Any]: ...

    @overload
    def start(
        self, orchestrator: AsyncClass[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: AsyncCode[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: YieldingClass[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: YieldingCode[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: PlainClass[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: PlainCode[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: AsyncWithoutInput[OutputT], **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: YieldingWithoutInput[OutputT], **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def start(
        self, orchestrator: PlainWithoutInput[OutputT], **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...

    def start(
        self, orchestrator: object, input: object = None, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[object]:
        """Start an orchestration and return its handle.

        Events are raised after the creation. When one of them cannot be raised, the instance has been started all the
        same, and the error is raised here. With an ``instance_id`` of your own the call can then be repeated; events
        that were raised before are raised again.

        Args:
            orchestrator: the orchestrator's function, class or object, or its registered name.
            input: what the orchestrator gets as its input.
            **options: see ``InstanceOptions``.

        Raises:
            InstanceAlreadyExistsError: the id is in use and may not be replaced; with events, only if that instance
                has ended.
            InvalidRequestError: the id or the name cannot be used, or the input is missing.
            SerializationError: the input or the data of an event has no JSON form; nothing was sent.
        """
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return OrchestrationHandle(
            self._call(lambda: self._inner.start(any_orchestrator, input, **options)), self._call
        )

    @overload
    def run(
        self,
        orchestrator: str,
        input: object = None,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> Any: ...

    @overload
    def run(
        self,
        orchestrator: AsyncClass[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: AsyncCode[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: YieldingClass[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: YieldingCode[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: PlainClass[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: PlainCode[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: AsyncWithoutInput[OutputT],
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: YieldingWithoutInput[OutputT],
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: PlainWithoutInput[OutputT],
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...

    def run(
        self,
        orchestrator: object,
        input: object = None,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> object:
        """Start an orchestration, wait until it has ended, and return its output.

        Args:
            orchestrator: the orchestrator's function, class or object, or its registered name.
            input: what the orchestrator gets as its input.
            timeout: how long to wait, on the hub's clock; by default for as long as it takes. The orchestration goes on
                after a time-out.
            **options: see ``InstanceOptions``.

        Raises: as ``start``, and as ``OrchestrationHandle.result``.
        """
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return self._call(lambda: self._inner.run(any_orchestrator, input, timeout=timeout, **options))

    @overload
    def get_handle(self, instance_id: str, orchestrator: str | None = None) -> OrchestrationHandle[Any]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: AsyncClass[Never, OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: AsyncCode[Never, OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: YieldingClass[Never, OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: YieldingCode[Never, OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: PlainClass[Never, OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: PlainCode[Never, OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: AsyncWithoutInput[OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: YieldingWithoutInput[OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    @overload
    def get_handle(
        self, instance_id: str, orchestrator: PlainWithoutInput[OutputT]
    ) -> OrchestrationHandle[OutputT]: ...

    def get_handle(self, instance_id: str, orchestrator: object = None) -> OrchestrationHandle[object]:
        """The handle of an instance that was started elsewhere. The hub is not asked.

        Args:
            instance_id: id of the instance.
            orchestrator: the orchestrator's function, class or object, which gives the result its type; or its name.
        """
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return OrchestrationHandle(self._inner.get_handle(instance_id, any_orchestrator), self._call)

    # </generated>
