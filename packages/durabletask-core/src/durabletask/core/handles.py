"""``client.start``, ``client.run`` and ``client.get_handle``: orchestrations with the types of their functions.

A handle names an instance, not one execution of it: after continue-as-new, rewind or restart under the same id it goes
on to work. It holds a client and an id, and no state of the instance.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec
from typing_extensions import Never, TypedDict, Unpack

from .arguments import as_id, as_name, as_timeout
from .errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    OrchestrationTerminatedError,
    TaskFailedError,
    TransportTimeoutError,
)
from .failures import FailureDetails
from .history import HistoryEvent
from .instances import OrchestrationState, OrchestrationStatus, ReusePolicy
from .options import check_options
from .orchestration_client import OrchestrationClient
from .registry import Registrations, name_of
from .replay.annotations import declared_result
from .requests import as_events

if TYPE_CHECKING:
    from .context import (
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
    from .diagnosis import Diagnosis

__all__ = ["HandleClient", "InstanceOptions", "OrchestrationHandle"]

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
OutputT_co = TypeVar("OutputT_co", covariant=True)


class InstanceOptions(TypedDict, total=False):
    """Options of a new instance: of ``client.start`` and ``client.run``.

    Attributes:
        instance_id: an id of your choice; by default 32 random hexadecimal digits.
        start_at: not before this time, or not before this long from now (``timedelta`` or seconds).
        version: version of the instance; the client's ``default_version`` by default.
        tags: names and values that tools show.
        reuse_policy: which instances of the same id may be replaced; none by default.
        events: names and data of events to raise right after the creation, in this order. With events, an instance of
            the same id that has not ended and may not be replaced is no error: it gets the events.
    """

    instance_id: str | None
    start_at: datetime | timedelta | float | None
    version: str | None
    tags: Mapping[str, str] | None
    reuse_policy: ReusePolicy | None
    events: Iterable[tuple[str, object]]


class OrchestrationHandle(Generic[OutputT_co]):
    """One orchestration instance, as ``client.start`` and ``client.get_handle`` return it.

    ``OutputT_co`` is what the orchestrator returns; ``Any`` where only its name is known.
    """

    def __init__(self, client: OrchestrationClient, instance_id: str, orchestrator: object = None) -> None:
        self._client = client
        self._instance_id = instance_id
        self._orchestrator = orchestrator

    def __repr__(self) -> str:
        name = "" if self._orchestrator is None else f" of {name_of(self._orchestrator)!r}"
        return f"<orchestration {self._instance_id!r}{name}>"

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._instance_id

    async def result(self, *, timeout: timedelta | float | None = None) -> OutputT_co:
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
        wait = as_timeout(timeout, "timeout")
        state = await self._client.wait_for_orchestration_completion(
            self._instance_id, timeout_in_seconds=wait
        )
        if state is None:
            raise TransportTimeoutError(
                f"Instance {self._instance_id!r} has not ended within {wait}. It goes on; wait again, or terminate it."
            )
        return cast("OutputT_co", _output_of(state, self._orchestrator))

    async def state(self, *, fetch_payloads: bool = True) -> OrchestrationState:
        """The state as it is now.

        Args:
            fetch_payloads: whether input, output and custom status are wanted.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        found = await self._client.get_orchestration_state(self._instance_id, fetch_payloads=fetch_payloads)
        if found is None:
            raise InstanceNotFoundError(
                f"There is no instance {self._instance_id!r}: never started, or purged."
            )
        return found

    async def status(self) -> OrchestrationStatus:
        """The status as it is now.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        return (await self.state(fetch_payloads=False)).runtime_status

    async def watch(self) -> AsyncGenerator[OrchestrationState, None]:
        """The state as it is now, and again whenever status or custom status has changed, until the instance has ended.

        ``async for state in handle.watch(): ...``. Changes that follow each other quickly may be seen as one: hubs in
        this process report each of them, others are asked after pauses that grow to five seconds, and report start and
        end at once.

        Raises:
            InstanceNotFoundError: there is no such instance, or it was purged meanwhile.
        """
        state = await self.state()
        yield state
        while not state.is_finished:
            changed = await self._client.transport.wait_for_instance_change(state)
            state = msgspec.structs.replace(changed, reader=state.reader)
            yield state

    async def raise_event(self, event_name: str, data: object = None) -> None:
        """Deliver an external event; an instance that has ended drops it.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs drop the event instead).
        """
        await self._client.raise_orchestration_event(self._instance_id, event_name, data)

    async def terminate(self, output: object = None, *, recursive: bool = True) -> None:
        """Ask the instance to end as TERMINATED. No-op when it has ended.

        Args:
            output: becomes the output of the instance.
            recursive: also terminate the orchestrations that it has started as its children.
        """
        await self._client.terminate_orchestration(self._instance_id, output, recursive=recursive)

    async def suspend(self, *, reason: str | None = None) -> None:
        """Suspend the instance: events are kept and handled when it is resumed."""
        await self._client.suspend_orchestration(self._instance_id, reason=reason)

    async def resume(self, *, reason: str | None = None) -> None:
        """Resume the instance, if it is suspended."""
        await self._client.resume_orchestration(self._instance_id, reason=reason)

    async def history(self, *, execution_id: str | None = None) -> list[HistoryEvent]:
        """The whole history of the instance.

        Raises:
            InstanceNotFoundError: there is no such instance (some hubs give an empty history instead).
        """
        return await self._client.get_orchestration_history(self._instance_id, execution_id=execution_id)

    async def explain(self, *, activities: Registrations = (), entities: Registrations = ()) -> Diagnosis:
        """Why the instance is not finished, with advice; see ``DurableTaskClient.explain``.

        The orchestrator's code is known, unless the handle was made with a name.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        code = (
            () if self._orchestrator is None or isinstance(self._orchestrator, str) else [self._orchestrator]
        )
        return await self._client.explain(
            self._instance_id, orchestrators=code, activities=activities, entities=entities
        )


class HandleClient(OrchestrationClient):
    """Starts orchestrations and returns handles and results; ``DurableTaskClient`` derives from it."""

    @overload
    async def start(
        self, orchestrator: str, input: object = None, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[Any]: ...
    @overload
    async def start(
        self, orchestrator: AsyncClass[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: AsyncCode[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: YieldingClass[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: YieldingCode[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: PlainClass[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: PlainCode[InputT, OutputT], input: InputT, **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: AsyncWithoutInput[OutputT], **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: YieldingWithoutInput[OutputT], **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: PlainWithoutInput[OutputT], **options: Unpack[InstanceOptions]
    ) -> OrchestrationHandle[OutputT]: ...
    async def start(
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
        check_options(self, InstanceOptions, options)
        given = as_events(options.pop("events", ()))
        events = [(name, self._serialize(data, f"Data of event {name!r}")) for name, data in given]
        try:
            instance_id = await self.schedule_new_orchestration(
                cast("str", orchestrator),  # or code, which the overloads have checked
                input,
                instance_id=options.get("instance_id"),
                start_at=options.get("start_at"),
                version=options.get("version"),
                tags=options.get("tags"),
                reuse_policy=options.get("reuse_policy"),
            )
        except InstanceAlreadyExistsError:
            instance_id = options.get("instance_id") or ""
            found = await self.get_orchestration_state(instance_id, fetch_payloads=False) if events else None
            if found is None or found.is_finished:
                raise
        for name, payload in events:
            await self._raise_event(instance_id, name, payload)
        return OrchestrationHandle(self, instance_id, orchestrator)

    @overload
    async def run(
        self,
        orchestrator: str,
        input: object = None,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> Any: ...
    @overload
    async def run(
        self,
        orchestrator: AsyncClass[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: AsyncCode[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: YieldingClass[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: YieldingCode[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: PlainClass[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: PlainCode[InputT, OutputT],
        input: InputT,
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: AsyncWithoutInput[OutputT],
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: YieldingWithoutInput[OutputT],
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: PlainWithoutInput[OutputT],
        *,
        timeout: timedelta | float | None = None,
        **options: Unpack[InstanceOptions],
    ) -> OutputT: ...
    async def run(
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
        as_timeout(timeout, "timeout")  # before anything is started
        handle = await self.start(cast("str", orchestrator), input, **options)
        return await handle.result(timeout=timeout)

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
        if orchestrator is not None:
            as_name(name_of(orchestrator), "The name of the orchestrator")
        return OrchestrationHandle(self, as_id(instance_id), orchestrator)


def _output_of(state: OrchestrationState, orchestrator: object) -> object:
    what = f"orchestration {state.name!r}, instance {state.instance_id!r}"
    if state.runtime_status is OrchestrationStatus.FAILED:
        details = state.failure_details or FailureDetails(
            "durabletask.UnknownFailure", "The hub recorded no details of the failure."
        )
        raise TaskFailedError.of(details, what, name=state.name)
    if state.runtime_status is not OrchestrationStatus.COMPLETED:
        raise OrchestrationTerminatedError(
            f"The {what}, was ended from outside: {state.runtime_status}.", state.instance_id, state.output
        )
    target = declared_result(orchestrator)
    return state.output if target is None else state.output_as(cast("type[object]", target))
