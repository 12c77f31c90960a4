"""What a test environment stands on: a hub with its worker, and the rules by which virtual time moves.

``OrchestrationTestEnvironment`` and ``OrchestrationRun`` are views of one ``Harness``. Virtual time moves in three
places only, all of them here:

* ``advance`` moves it by a given span;
* ``complete`` lets it jump from one due time to the next until an instance has ended;
* ``drive`` does the same for a client that waits at the hub (``DrivenHub``), but only while the test itself runs no
  command of the environment: a wait in the background never overtakes ``advance`` or ``start``.

Before time moves, the event loop must have nothing left to run and no work item may be busy. A work item whose own
code waits at this hub is not busy: it waits for time like any client. Code inside a work item therefore never moves
time itself; it only waits, and the call that awaits the outer orchestration moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypedDict, TypeVar, cast

from durabletask.core.built_ins import add_built_ins
from durabletask.core.client import DurableTaskClient
from durabletask.core.diagnosis import Diagnosis
from durabletask.core.execution.runner import running_item
from durabletask.core.exports.registration import add_exports
from durabletask.core.instances import OrchestrationState
from durabletask.core.portal import running_loop
from durabletask.core.registry import Registrations, Registry
from durabletask.core.schedules.registration import add_schedules
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter
from durabletask.core.transport import Transport
from durabletask.core.worker import DurableTaskWorker
from typing_extensions import Unpack

from .clock import VirtualClock
from .commands import Command, CommandQueue
from .entity_fakes import EntityFakes
from .faults import Chaos, ChaosTransport, FaultCounts
from .hub import InMemoryBackend
from .inspection import Inspection
from .options import EnvironmentOptions
from .recorder import Recorder

__all__ = ["LONGEST", "DrivenHub", "Harness", "StuckOrchestrationError"]

__tracebackhide__ = True  # pytest leaves the frames of this module out of tracebacks

T = TypeVar("T")

LONGEST = timedelta(days=3650)
"""How much virtual time a result may take by default."""

_BUSY_LIMIT = 1.0  # real seconds that `start` and `advance` wait for an activity that is busy outside


class _Code(TypedDict):
    orchestrators: Registrations
    activities: Registrations
    entities: Registrations


_DEFAULTS: EnvironmentOptions = {
    "orchestrators": (),
    "activities": (),
    "entities": (),
    "start_time": None,
    "strict": True,
    "data_converter": None,
    "versioning": None,
    "chaos": None,
}


class StuckOrchestrationError(AssertionError):
    """A result was asked for that cannot come: the orchestration waits for something that is not under way."""


_Drive = Callable[[Coroutine[object, object, T], str], Coroutine[object, object, T]]


class DrivenHub(InMemoryBackend):
    """A hub in memory at which waiting lets virtual time run, as ``run.result()`` does."""

    def __init__(self, clock: VirtualClock, drive: _Drive[OrchestrationState | None]) -> None:
        super().__init__("test", clock=clock)
        self._drive = drive

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        waiting = super().wait_for_instance_start(
            instance_id, include_payloads=include_payloads, timeout=timeout
        )
        return await self._drive(waiting, instance_id)

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        waiting = super().wait_for_instance_completion(
            instance_id, include_payloads=include_payloads, timeout=timeout
        )
        return await self._drive(waiting, instance_id)

    async def wait_for_instance_change(self, state: OrchestrationState) -> OrchestrationState:
        found = await self._drive(super().wait_for_instance_change(state), state.instance_id)
        return found or state


class Harness:
    """A hub on a virtual clock with one worker and one client; the arguments are those of the environment."""

    def __init__(self, **options: Unpack[EnvironmentOptions]) -> None:
        given: EnvironmentOptions = {**_DEFAULTS, **options}
        code = _Code(
            orchestrators=_kept(given["orchestrators"]),
            activities=_kept(given["activities"]),
            entities=_kept(given["entities"]),
        )
        self._options: EnvironmentOptions = {**given, **code}
        start_time, versioning, chaos = given["start_time"], given["versioning"], given["chaos"]
        self.converter: DataConverter = self._options["data_converter"] or DEFAULT_CONVERTER
        self.registry: Registry = Registry(**code)
        self.clock: VirtualClock = VirtualClock(start_time, auto_advance=False)
        self.hub: InMemoryBackend = DrivenHub(self.clock, self.drive)
        # What every worker can run, so that the recorder and the fakes leave it to the worker.
        add_built_ins(self.registry)
        add_schedules(self.registry, self.hub)
        add_exports(self.registry, self.hub, None)
        self.client: DurableTaskClient = DurableTaskClient(self.hub, data_converter=self.converter)
        self.look: Inspection = Inspection(self.client, self.registry, self.converter, versioning)
        self.recorder: Recorder = Recorder(
            self.hub,
            now=self.clock.now,
            registry=self.registry,
            converter=self.converter,
            attempts_of=self.look.attempts,
        )
        self.entities: EntityFakes = EntityFakes(
            self.recorder, now=self.clock.now, registry=self.registry, converter=self.converter
        )
        front: Transport = self.entities
        self.faults: FaultCounts = FaultCounts()
        if chaos is not None:
            front = ChaosTransport(self.entities, chaos, on_lost=self.recorder.lose)
            self.faults = front.counts
        self.recorder.front = self.entities.front = front
        self._worker = DurableTaskWorker(
            front,
            **code,
            data_converter=self.converter,
            versioning=versioning,
            strict=self._options["strict"],
            lint=True,
            session_cache_size=0 if chaos is not None and chaos.replay_every_episode else 2000,
        )
        self._commands = CommandQueue()
        self._leaders = 0

    async def start(self) -> None:
        """Start the worker."""
        self.look.loop = running_loop("OrchestrationTestEnvironment")
        await self._worker.start()

    async def stop(self) -> None:
        """Stop the worker, without waiting for what is still open."""
        await self._commands.cancel()
        await self.recorder.stop()
        await self.entities.stop()
        await self._worker.stop(timeout=0)
        await self.hub.close()

    def twin(self, chaos: Chaos | None) -> Harness:
        """A harness of the same making, with the same fakes, unused."""
        options: EnvironmentOptions = {**self._options, "chaos": chaos}
        twin = Harness(**options)
        twin.recorder.fakes.update((name, fake.twin()) for name, fake in self.recorder.fakes.items())
        self.entities.twin_into(twin.entities)
        return twin

    # --- time -----------------------------------------------------------------------------------------------

    def advance(self, span: timedelta) -> Command:
        """Move time on; everything that falls due on the way happens before time goes on."""
        return self._submit(lambda: self._advance(span))

    async def _advance(self, span: timedelta) -> None:
        target = self.clock.now() + span
        while True:
            await self._settle(_BUSY_LIMIT)
            due = self.clock.next_due
            if due is None or due > target:
                break
            await self.clock.advance_to(max(due, self.clock.now()))
        await self.clock.advance_to(max(target, self.clock.now()))
        await self._settle(_BUSY_LIMIT)

    async def settle(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        with self._leading():
            await self._commands.drain()
            await self._settle(None)

    async def _settle(self, limit: float | None) -> None:
        while True:
            await self.clock.advance(timedelta(0))
            if self.recorder.is_idle:
                return
            if not await self.recorder.wait_for_change(limit):
                return  # an activity is busy with something outside

    async def complete(self, instance_id: str, timeout: timedelta) -> OrchestrationState:
        """The state of an instance at its end. Lets time run until then.

        Raises:
            StuckOrchestrationError: it waits for something that is not under way.
            TimeoutError: it takes longer than ``timeout``.
        """
        if self.recorder.is_running(running_item.get()):
            ended = await self.client.wait_for_orchestration_completion(
                instance_id, timeout_in_seconds=timeout.total_seconds()
            )
            if ended is None:
                raise TimeoutError(
                    self.look.why_late(instance_id, timeout, self.recorder.waits_of(instance_id))
                )
            return ended
        with self._leading():
            await self._commands.drain()
            deadline = self.clock.now() + timeout
            while True:
                await self._settle(None)
                state = self.look.state(instance_id)
                if state.is_finished:
                    return state
                due = self.clock.next_due
                if due is None:
                    raise StuckOrchestrationError(
                        self.look.why_stuck(instance_id, self.recorder.waits_of(instance_id))
                    )
                if due > deadline:
                    raise TimeoutError(
                        self.look.why_late(instance_id, timeout, self.recorder.waits_of(instance_id))
                    )
                await self.clock.advance_to(max(due, self.clock.now()))

    async def drive(self, waiting: Coroutine[object, object, T], instance_id: str) -> T:
        """Await the answer of the hub to a client that waits for an instance, and let time run until it comes.

        Raises:
            StuckOrchestrationError: nothing is under way that could end the wait.
        """
        item = running_item.get()
        if item is not None and self.recorder.is_running(item):
            with self.recorder.waits(item, instance_id):
                return await waiting
        task = asyncio.ensure_future(waiting)
        task.add_done_callback(lambda _: self.recorder.notify())
        try:
            while not task.done():
                await self.clock.advance(timedelta(0))
                if task.done():
                    break
                if self._leaders or self._commands.is_busy or not self.recorder.is_idle:
                    await self.recorder.wait_for_change(None)
                elif (due := self.clock.next_due) is not None:
                    await self.clock.advance_to(max(due, self.clock.now()))
                else:
                    raise StuckOrchestrationError(
                        self.look.why_stuck(instance_id, self.recorder.waits_of(instance_id))
                    )
            return task.result()
        finally:
            task.cancel()

    # --- commands -------------------------------------------------------------------------------------------

    def command(self, action: Callable[[], Awaitable[object]]) -> Command:
        """Carry out a call of the client after every earlier command, and let its effects happen."""

        async def carry_out() -> None:
            await action()
            await self._settle(_BUSY_LIMIT)

        return self._submit(carry_out)

    def _submit(self, action: Callable[[], Awaitable[None]]) -> Command:
        command = self._commands.submit(action)
        command.task.add_done_callback(lambda _: self.recorder.notify())
        return command

    @contextmanager
    def _leading(self) -> Iterator[None]:
        """While the body runs, it decides about time, and waits of clients do not move it."""
        self._leaders += 1
        try:
            yield
        finally:
            self._leaders -= 1
            self.recorder.notify()

    def explain(self, instance_id: str) -> Diagnosis:
        """Why an instance is not finished. Only the orchestrators count: an activity may also be a fake."""
        registry = Registry(orchestrators=self._options["orchestrators"])
        return self.look.explain(instance_id, registry)

    def check_started(self) -> None:
        """Refuse what needs the worker, before it runs."""
        if self.look.loop is None:
            raise RuntimeError("The environment is not started: use it in an 'async with' statement.")

    async def catch_up(self) -> None:
        """Let earlier commands and their effects happen, unless the code of a work item asks for it."""
        if not self.recorder.is_running(running_item.get()):
            with self._leading():
                await self._commands.drain()
                await self._settle(_BUSY_LIMIT)

    async def begin(
        self,
        orchestrator: object,
        value: object,
        *,
        instance_id: str | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        start_at: datetime | timedelta | None = None,
    ) -> str:
        """Start an orchestration, let it run until it waits for time or for the outside; returns its id."""
        self.check_started()
        is_inside = self.recorder.is_running(running_item.get())
        with self._leading():
            if not is_inside:
                await self._commands.drain()
            created = await self.client.schedule_new_orchestration(
                cast("str", orchestrator),  # any form is fine; the overloads are for callers
                value,
                instance_id=instance_id,
                version=version,
                tags=tags,
                start_at=self.clock.now() + start_at if isinstance(start_at, timedelta) else start_at,
            )
            if not is_inside:
                await self._settle(_BUSY_LIMIT)
        return created


def _kept(registrations: Registrations) -> Registrations:
    """Registrations that can be read more than once."""
    return dict(registrations) if isinstance(registrations, Mapping) else list(registrations)
