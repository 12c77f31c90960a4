"""``OrchestrationTestEnvironment``: a whole task hub with its worker inside one test, on virtual time.

Everything but the code under test is simulated: there is no network and no waiting. Time stands still while code
runs. ``advance`` moves it, and waiting for the end of an orchestration lets it jump from one due time to the next.
A timer of thirty days takes a millisecond. ``harness`` has the rules.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar, overload

from durabletask.core.client import DurableTaskClient
from durabletask.core.context import RunsAsync, RunsSync, RunsYielding
from durabletask.core.entity_client import EntityHandle
from durabletask.core.operations import entity_id_of
from durabletask.core.options import check_options
from durabletask.core.replay.annotations import declared_result
from typing_extensions import Self, Unpack

from .commands import Command
from .entity_fakes import FakeEntity, OperationCall
from .entity_handles import EnvironmentEntities
from .fakes import ActivityCall, FakeActivity, SideEffect
from .faults import Chaos, FaultCounts, compare_outcomes
from .harness import Harness
from .hub import InMemoryBackend
from .options import (
    AsyncOrchestrator,
    AsyncWithoutInput,
    EnvironmentOptions,
    InputT,
    OutputT,
    PlainOrchestrator,
    PlainWithoutInput,
    RunOptions,
    StartOptions,
    YieldingOrchestrator,
    YieldingWithoutInput,
)
from .run import OrchestrationRun

__all__ = ["OrchestrationTestEnvironment"]

__tracebackhide__ = True  # pytest shows the line of the test instead

EntityT = TypeVar("EntityT")


class OrchestrationTestEnvironment:
    """A task hub in memory, a worker and a client, for one test. Use with ``async with``.

    Args:
        orchestrators: what the worker can run; as for ``DurableTaskWorker``.
        activities: likewise. Activities that are not given need a fake.
        entities: likewise.
        start_time: the first virtual time; 2026-01-01 UTC by default.
        strict: fail orchestrations for every deviation from their history and for tasks never awaited; the default.
        data_converter: how values become payloads.
        versioning: which versions of orchestrations the worker accepts.
        chaos: faults for everything that runs in this environment.
    """

    def __init__(self, **options: Unpack[EnvironmentOptions]) -> None:
        check_options(self, EnvironmentOptions, options)
        self._harness = Harness(**options)
        self._runs: list[OrchestrationRun] = []

    # --- life cycle -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the worker."""
        await self._harness.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the worker, without waiting for what is still open.

        Raises:
            AssertionError: a faked entity was sent a signal that it has no operation for.
        """
        await self._harness.stop()
        if error is None:
            self._harness.entities.check()

    @property
    def client(self) -> DurableTaskClient:
        """A client of the task hub, for everything that the environment has no short way to.

        Its waits let virtual time run, as ``run.result()`` does.
        """
        return self._harness.client

    @property
    def hub(self) -> InMemoryBackend:
        """The task hub."""
        return self._harness.hub

    # --- time -----------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._harness.clock.now()

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> Command:
        """Move virtual time on; at every due time on the way all that follows happens before time goes on.

        Args:
            delta: how far; the other arguments are added.
            days: days to add.
            hours: hours to add.
            minutes: minutes to add.
            seconds: seconds to add.
        """
        span = (delta or timedelta(0)) + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if span < timedelta(0):
            raise ValueError(f"Virtual time cannot go back by {-span}.")
        return self._harness.advance(span)

    async def settle(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        await self._harness.settle()

    # --- running --------------------------------------------------------------------------------------------

    # Functions, generators and classes have overloads of their own, as in ``OrchestrationContext``.

    @overload
    async def start(
        self, orchestrator: str, input: object = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun: ...
    @overload
    async def start(
        self, orchestrator: type[RunsAsync[InputT, OutputT]], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: AsyncOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self,
        orchestrator: type[RunsYielding[InputT, OutputT]],
        input: InputT,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self,
        orchestrator: YieldingOrchestrator[InputT, OutputT],
        input: InputT,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: type[RunsSync[InputT, OutputT]], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: PlainOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: AsyncWithoutInput[OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: YieldingWithoutInput[OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    async def start(
        self, orchestrator: PlainWithoutInput[OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    async def start(
        self, orchestrator: object, input: object = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun:
        """Start an orchestration and let it run until it waits for time or for the outside.

        Args:
            orchestrator: function, class or object, or the registered name.
            input: its input.
            options: ``instance_id``, ``version`` and ``tags`` of the instance; ``start_at``: not before this
                (virtual) time, or this long from now.
        """
        created = await self._harness.begin(orchestrator, input, **options)
        run: OrchestrationRun = OrchestrationRun(self._harness, created, declared_output(orchestrator))
        self._runs.append(run)
        return run

    @overload
    async def run(self, orchestrator: str, input: object = None, **options: Unpack[RunOptions]) -> Any: ...
    @overload
    async def run(
        self, orchestrator: type[RunsAsync[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: AsyncOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: type[RunsYielding[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self,
        orchestrator: YieldingOrchestrator[InputT, OutputT],
        input: InputT,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: type[RunsSync[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: PlainOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: AsyncWithoutInput[OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: YieldingWithoutInput[OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    async def run(
        self, orchestrator: PlainWithoutInput[OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    async def run(self, orchestrator: object, input: object = None, **options: Unpack[RunOptions]) -> object:
        """Run an orchestration to its end and return its output; see ``OrchestrationRun.result``.

        With ``chaos`` it runs twice in environments of their own, without and with faults, and both must end
        alike.

        Args:
            orchestrator: function, class or object, or the registered name.
            input: its input.
            options: ``instance_id`` of the instance; ``events`` to raise after the start, in order, as pairs of
                name and data; ``chaos``: the faults.

        Raises:
            TaskFailedError: the orchestration failed.
            ChaosDivergenceError: it ended differently under chaos; the message has the seed.
        """
        return await self._run(orchestrator, input, **options)

    async def _run(
        self,
        orchestrator: object,
        input: object,
        *,
        instance_id: str | None = None,
        events: Iterable[tuple[str, object]] = (),
        chaos: Chaos | None = None,
    ) -> object:
        raised = list(events)
        if chaos is not None:
            name = instance_id or "chaos"
            await _compare(self._harness, chaos, orchestrator, input, instance_id=name, events=raised)
        run = await _start(self._harness, orchestrator, input, instance_id, raised)
        self._runs.append(run)
        return await run.result()

    # --- entities -------------------------------------------------------------------------------------------

    @overload
    def entity(self, entity: type[EntityT], key: str) -> EntityHandle[EntityT]: ...
    @overload
    def entity(self, entity: str | Callable[..., object], key: str) -> EntityHandle[Any]: ...
    def entity(self, entity: object, key: str) -> EntityHandle[object]:
        """One entity, as ``client.entity`` gives it: ``await env.entity(Counter, "k").call.add(3)``, ``.signal``, ``.state()``.

        A call returns when everything that follows from it without time passing has happened. An awaited signal does so,
        too; without ``await`` its effects are there with the next result. A signal at a later time comes through
        ``env.client.signal_entity(..., at=...)`` and is delivered when ``advance`` reaches its time.

        Args:
            entity: the entity's class or function, or its registered name.
            key: key of the entity.
        """
        self._harness.check_started()
        return EntityHandle(EnvironmentEntities(self._harness), entity, entity_id_of(entity, key))

    # --- fakes ----------------------------------------------------------------------------------------------

    def fake(
        self, activity: str | object, *, returns: object = None, side_effect: SideEffect = None
    ) -> FakeActivity:
        """Answer the calls of an activity in its place, from now on.

        Args:
            activity: its function, or its name.
            returns: the result of every call.
            side_effect: a function of the input (plain or ``async``), an exception to raise, or a list with
                one outcome per call, in which exceptions are raised. The function gets the input as the activity
                does, converted to the annotation.

        Raises:
            ActivityNotRegisteredError: a name that is not registered, but almost: the fake would never be called.
        """
        return self._harness.recorder.fake(activity, returns, side_effect)

    def fake_entity(self, entity: str | Callable[..., object]) -> FakeEntity:
        """Answer the operations of an entity in its place, for all keys, from now on.

        ``env.fake_entity(Counter).operation(Counter.add, returns=5)``. Locks work as always; the fake has no state. An
        operation that the fake does not have fails; if it was a signal, the environment fails at its end.

        Args:
            entity: its class or function, or its name.

        Raises:
            EntityNotRegisteredError: a name that is not registered, but almost: the fake would never be called.
        """
        return self._harness.entities.fake(entity)

    @property
    def calls(self) -> Sequence[ActivityCall]:
        """Every call of an activity in this environment, in order."""
        return self._harness.recorder.calls

    @property
    def entity_calls(self) -> Sequence[OperationCall]:
        """Every call and signal of an entity in this environment, in the order of delivery."""
        return self._harness.entities.calls

    @property
    def faults(self) -> FaultCounts:
        """How many faults really happened here, and in the runs with ``chaos=``."""
        return self._harness.faults

    @property
    def runs(self) -> Sequence[OrchestrationRun]:
        """What was started here, in order."""
        return self._runs


def declared_output(orchestrator: object) -> object:
    """The type of an orchestrator's output; ``None`` for a name, and without an annotation."""
    return None if isinstance(orchestrator, str) else declared_result(orchestrator)


async def _start(
    harness: Harness,
    orchestrator: object,
    value: object,
    instance_id: str | None,
    events: Sequence[tuple[str, object]],
) -> OrchestrationRun:
    created = await harness.begin(orchestrator, value, instance_id=instance_id)
    run: OrchestrationRun = OrchestrationRun(harness, created, declared_output(orchestrator))
    for name, data in events:
        await run.raise_event(name, data)
    return run


async def _compare(
    harness: Harness,
    chaos: Chaos,
    orchestrator: object,
    value: object,
    *,
    instance_id: str,
    events: Sequence[tuple[str, object]],
) -> None:
    """Run an orchestration without and with faults, and compare the ends."""
    outcomes, counts = [], FaultCounts()
    for faults in (None, chaos):
        twin = harness.twin(faults)
        await twin.start()
        try:
            run = await _start(twin, orchestrator, value, instance_id, events)
            outcomes.append((await run.completion(), run.history))
        finally:
            await twin.stop()
        counts = twin.faults
    harness.faults.add(counts)
    compare_outcomes(chaos, outcomes[0], outcomes[1], counts)
