"""``OrchestrationTestEnvironment``: a whole task hub with its worker inside one test, on virtual time.

Nothing is real but the code under test: no network, no waiting. Time stands still while code runs, and moves
in two ways only: ``advance`` moves it, and ``run.result()`` lets it jump from one due time to the next until the
orchestration has ended. A timer of thirty days takes a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TypeVar, cast

from durabletask.core.client import DurableTaskClient
from durabletask.core.diagnosis import Diagnosis, diagnose
from durabletask.core.errors import InstanceNotFoundError
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState
from durabletask.core.registry import Registrations, Registry, name_of
from durabletask.core.replay.options import ReplayOptions
from durabletask.core.replay.session import OrchestrationSession
from durabletask.core.replay.standing import OpenTask, open_tasks
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter
from durabletask.core.transport import Transport
from durabletask.core.versioning import VersioningOptions
from durabletask.core.worker import DurableTaskWorker
from typing_extensions import Self

from .clock import VirtualClock
from .commands import Command, CommandQueue
from .fakes import ActivityCall, FakeActivity, SideEffect
from .faults import Chaos, ChaosTransport, FaultCounts, compare_outcomes
from .hub import InMemoryBackend
from .recorder import Recorder
from .run import OrchestrationRun, StuckOrchestrationError

__all__ = ["OrchestrationTestEnvironment"]

T = TypeVar("T")

_PATIENCE = 1.0  # real seconds that `start` and `advance` give an activity that runs in a thread


class OrchestrationTestEnvironment:
    """A task hub in memory, a worker and a client, for one test. Use with ``async with``.

    Args:
        orchestrators: what the worker can run; as for ``DurableTaskWorker``.
        activities: likewise. Activities that are not given need a fake.
        entities: likewise.
        start_time: the first virtual time; 2026-01-01 UTC by default.
        strict: fail orchestrations for every deviation from their history and for tasks never awaited.
        data_converter: how values become payloads.
        versioning: which versions of orchestrations the worker accepts.
        chaos: faults for everything that runs in this environment.
    """

    def __init__(
        self,
        *,
        orchestrators: Registrations = (),
        activities: Registrations = (),
        entities: Registrations = (),
        start_time: datetime | None = None,
        strict: bool = True,
        data_converter: DataConverter | None = None,
        versioning: VersioningOptions | None = None,
        chaos: Chaos | None = None,
    ) -> None:
        self._orchestrators = _kept(orchestrators)
        self._activities = _kept(activities)
        self._entities = _kept(entities)
        self._start_time = start_time
        self._strict = strict
        self._converter = data_converter or DEFAULT_CONVERTER
        self._versioning = versioning
        self._chaos = chaos
        self._registry = Registry(
            orchestrators=self._orchestrators, activities=self._activities, entities=self._entities
        )
        self._clock = VirtualClock(start_time, auto_advance=False)
        self._hub = InMemoryBackend("test", clock=self._clock)
        self._recorder = Recorder(
            self._hub,
            now=self._clock.now,
            registry=self._registry,
            converter=self._converter,
            attempts_of=self._attempts,
        )
        self._faults = FaultCounts()
        front: Transport = self._recorder
        if chaos is not None:
            front = ChaosTransport(self._recorder, chaos, on_lost=self._recorder.lose)
            self._faults = front.counts
        self._recorder.front = front
        self._client = DurableTaskClient(self._hub, data_converter=self._converter)
        self._worker = DurableTaskWorker(
            front,
            orchestrators=self._orchestrators,
            activities=self._activities,
            entities=self._entities,
            data_converter=self._converter,
            versioning=versioning,
            strict=strict,
            lint=True,
            session_cache_size=0 if chaos is not None and chaos.replay_every_turn else 2000,
        )
        self._commands = CommandQueue()
        self._runs: list[OrchestrationRun] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- life cycle -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the worker."""
        self._loop = asyncio.get_running_loop()
        await self._worker.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the worker, without waiting for what is still open."""
        await self._commands.cancel()
        await self._recorder.stop()
        await self._worker.stop(timeout=0)
        await self._hub.close()

    @property
    def client(self) -> DurableTaskClient:
        """A client of the task hub, for everything that the environment has no short way to."""
        return self._client

    @property
    def hub(self) -> InMemoryBackend:
        """The task hub."""
        return self._hub

    # --- time -----------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._clock.now()

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
        return self._commands.submit(lambda: self._advance(span))

    async def _advance(self, span: timedelta) -> None:
        target = self._clock.now() + span
        while True:
            await self._settle(_PATIENCE)
            due = self._clock.next_due
            if due is None or due > target:
                break
            await self._clock.advance_to(max(due, self._clock.now()))
        await self._clock.advance_to(max(target, self._clock.now()))
        await self._settle(_PATIENCE)

    async def settle(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        await self._commands.drain()
        await self._settle(None)

    async def _settle(self, patience: float | None) -> None:
        while True:
            await self._clock.advance(timedelta(0))
            if self._recorder.is_idle:
                return
            try:
                await asyncio.wait_for(self._recorder.wait_for_change(), patience)
            except asyncio.TimeoutError:
                return  # an activity is busy with something outside

    # --- running --------------------------------------------------------------------------------------------

    async def start(
        self,
        orchestrator: str | Callable[..., object] | type | object,
        input: object = None,  # noqa: A002 - the protocol's word
        *,
        instance_id: str | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        start_at: datetime | timedelta | None = None,
    ) -> OrchestrationRun:
        """Start an orchestration and let it run until it waits for time or for the outside.

        Args:
            orchestrator: function, class or object, or the registered name.
            input: its input.
            instance_id: an id of your choice.
            version: version of the instance.
            tags: tags of the instance.
            start_at: not before this (virtual) time, or this long from now.
        """
        await self._commands.drain()
        created = await self._client.schedule_new_orchestration(
            cast("str", orchestrator),  # any form is fine; the overloads are for callers
            input,
            instance_id=instance_id,
            version=version,
            tags=tags,
            start_at=self.now + start_at if isinstance(start_at, timedelta) else start_at,
        )
        run = OrchestrationRun(self, created)
        self._runs.append(run)
        await self._settle(_PATIENCE)
        return run

    async def run(
        self,
        orchestrator: str | Callable[..., object] | type | object,
        input: object = None,  # noqa: A002 - the protocol's word
        *,
        instance_id: str | None = None,
        events: Iterable[tuple[str, object]] = (),
        chaos: Chaos | None = None,
    ) -> object:
        """Run an orchestration to its end and return its output.

        With ``chaos`` it runs twice in environments of their own, without and with faults, and both must end
        alike.

        Args:
            orchestrator: function, class or object, or the registered name.
            input: its input.
            instance_id: an id of your choice.
            events: external events to raise after the start, in order: name and data.
            chaos: the faults.

        Raises:
            TaskFailedError: the orchestration failed.
            ChaosDivergenceError: it ended differently under chaos; the message has the seed.
        """
        raised = list(events)
        if chaos is None:
            return await (await self._start_with(orchestrator, input, instance_id, raised)).result()
        outcomes = []
        for faults in (None, chaos):
            async with self._twin(faults) as twin:
                run = await twin._start_with(  # noqa: SLF001 - of the same class
                    orchestrator, input, instance_id or "chaos", raised
                )
                outcomes.append((await run.completion(), run.history))
        self._faults.add(twin.faults)
        compare_outcomes(chaos, outcomes[0], outcomes[1], twin.faults)
        return await self.run(orchestrator, input, instance_id=instance_id, events=raised)

    async def _start_with(
        self,
        orchestrator: object,
        input: object,  # noqa: A002
        instance_id: str | None,
        events: Sequence[tuple[str, object]],
    ) -> OrchestrationRun:
        run = await self.start(orchestrator, input, instance_id=instance_id)
        for name, data in events:
            await run.raise_event(name, data)
        return run

    def _twin(self, chaos: Chaos | None) -> OrchestrationTestEnvironment:
        """An environment of the same making, with unused fakes."""
        twin = OrchestrationTestEnvironment(
            orchestrators=self._orchestrators,
            activities=self._activities,
            entities=self._entities,
            start_time=self._start_time,
            strict=self._strict,
            data_converter=self._converter,
            versioning=self._versioning,
            chaos=chaos,
        )
        twin._recorder.fakes.update((name, fake.twin()) for name, fake in self._recorder.fakes.items())
        return twin

    # --- fakes ----------------------------------------------------------------------------------------------

    def fake(
        self, activity: str | object, *, returns: object = None, side_effect: SideEffect = None
    ) -> FakeActivity:
        """Answer the calls of an activity in its place, from now on.

        Args:
            activity: its name, or the function that is registered.
            returns: the result of every call.
            side_effect: a function of the input (plain or ``async``), an exception to raise, or a list with
                one outcome per call, in which exceptions are raised.
        """
        name = name_of(activity)
        fake = FakeActivity(name, returns=returns, side_effect=side_effect, data_converter=self._converter)
        self._recorder.fakes[name] = fake
        return fake

    @property
    def calls(self) -> Sequence[ActivityCall]:
        """Every call of an activity in this environment, in order."""
        return self._recorder.calls

    @property
    def faults(self) -> FaultCounts:
        """How many faults really happened here, and in the runs with ``chaos=``."""
        return self._faults

    @property
    def runs(self) -> Sequence[OrchestrationRun]:
        """What was started here, in order."""
        return self._runs

    # --- for the runs ---------------------------------------------------------------------------------------

    def _command(self, action: Callable[[], Awaitable[object]]) -> Command:
        async def carry_out() -> None:
            await action()
            await self._settle(_PATIENCE)

        return self._commands.submit(carry_out)

    async def _complete(self, instance_id: str, timeout: timedelta) -> OrchestrationState:
        await self._commands.drain()
        deadline = self._clock.now() + timeout
        while True:
            await self._settle(None)
            state = self._state(instance_id)
            if state.is_finished:
                return state
            due = self._clock.next_due
            if due is None:
                raise StuckOrchestrationError(self._why_stuck(state))
            if due > deadline:
                raise TimeoutError(
                    f"Orchestration {instance_id!r} has not ended after {timeout} of virtual time. "
                    f"{self._waits_for(instance_id)}"
                )
            await self._clock.advance_to(max(due, self._clock.now()))

    def _why_stuck(self, state: OrchestrationState) -> str:
        return (
            f"Orchestration {state.instance_id!r} ({state.name}) is {state.runtime_status.name} and nothing is under "
            f"way that could end it. {self._waits_for(state.instance_id)}\n"
            "Raise the event with 'run.raise_event(name, data)', resume what is suspended, or end the test here."
        )

    def _waits_for(self, instance_id: str) -> str:
        tasks = self._pending(instance_id)
        if not tasks:
            return "It waits for nothing that its history shows."
        return "It waits for:" + "".join(f"\n  {task}" for task in tasks)

    def _state(self, instance_id: str) -> OrchestrationState:
        state = self._at_once(self._hub.get_instance(instance_id))
        if state is None:
            raise InstanceNotFoundError(f"Instance {instance_id!r} is not there; was it purged?")
        return state

    def _history(self, instance_id: str) -> list[HistoryEvent]:
        return self._at_once(self._client.get_orchestration_history(instance_id))

    def _explain(self, instance_id: str) -> Diagnosis:
        return diagnose(
            self._state(instance_id),
            self._history(instance_id),
            now=self.now,
            converter=self._converter,
            registry=Registry(orchestrators=self._orchestrators),  # an activity may also be a fake
        )

    def _at_once(self, coroutine: Coroutine[object, None, T]) -> T:
        """The answer of the hub, which is in this process and does not keep anybody waiting."""
        loop = self._loop
        if loop is None or not loop.is_running():  # a plain test, or a report after the test
            return (
                asyncio.run(coroutine)
                if loop is None or loop.is_closed()
                else loop.run_until_complete(coroutine)
            )
        try:
            coroutine.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        coroutine.close()
        raise RuntimeError("The in-memory hub had to wait for an answer.")

    def _attempts(self, instance_id: str) -> Mapping[int, int]:
        return {
            task.task_id: task.attempts + 1
            for task in self._pending(instance_id)
            if task.kind == "activity" and task.task_id is not None
        }

    def _pending(self, instance_id: str) -> list[OpenTask]:
        history = self._history(instance_id)
        if not history:
            return []
        session = OrchestrationSession(
            instance_id,
            ReplayOptions(registry=self._registry, converter=self._converter, versioning=self._versioning),
        )
        try:
            session.replay(history)
            return open_tasks(session)
        finally:
            session.close()


def _kept(registrations: Registrations) -> Registrations:
    """Registrations that can be read more than once."""
    return dict(registrations) if isinstance(registrations, Mapping) else list(registrations)
