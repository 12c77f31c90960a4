"""The test environment for plain ``def test_...``: the same names, no ``await``.

    from durabletask.testing.sync import OrchestrationTestEnvironment

    def test_order():
        with OrchestrationTestEnvironment(orchestrators=[order]) as env:
            env.fake("charge", returns="receipt")
            run = env.start(order, 7)
            env.advance(days=30)
            assert run.result() == "done"

The environment owns an event loop, which runs while one of its methods does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TypeVar

from durabletask.core.diagnosis import Diagnosis
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.registry import Registrations
from durabletask.core.replay.standing import OpenTask
from durabletask.core.serialization import DataConverter
from durabletask.core.versioning import VersioningOptions
from typing_extensions import Self

from . import environment as _environment
from . import run as _run
from .fakes import ActivityCall, FakeActivity, SideEffect
from .faults import Chaos, FaultCounts

__all__ = ["OrchestrationRun", "OrchestrationTestEnvironment"]

T = TypeVar("T")
_LONG = timedelta(days=3650)


class OrchestrationTestEnvironment:
    """The blocking twin of ``durabletask.testing.environment.OrchestrationTestEnvironment``; see there."""

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
        self._inner = _environment.OrchestrationTestEnvironment(
            orchestrators=orchestrators,
            activities=activities,
            entities=entities,
            start_time=start_time,
            strict=strict,
            data_converter=data_converter,
            versioning=versioning,
            chaos=chaos,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runs: list[OrchestrationRun] = []

    def __enter__(self) -> Self:
        """Start the worker."""
        self._loop = asyncio.new_event_loop()
        self._wait(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the worker, without waiting for what is still open."""
        loop = self._loop
        if loop is None:
            return
        try:
            self._wait(self._inner.__aexit__(kind, error, trace))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            self._loop = None
            loop.close()

    def _wait(self, coroutine: Coroutine[object, object, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("The environment is not started: use it in a 'with' statement.")
        return self._loop.run_until_complete(coroutine)

    def _do(self, action: Callable[[], Awaitable[None]]) -> None:
        async def carry_out() -> None:
            await action()

        self._wait(carry_out())

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._inner.now

    @property
    def calls(self) -> Sequence[ActivityCall]:
        """Every call of an activity in this environment, in order."""
        return self._inner.calls

    @property
    def faults(self) -> FaultCounts:
        """How many faults really happened here, and in the runs with ``chaos=``."""
        return self._inner.faults

    @property
    def runs(self) -> Sequence[OrchestrationRun]:
        """What was started here, in order."""
        return self._runs

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Move virtual time on; everything that falls due on the way happens."""
        self._do(lambda: self._inner.advance(delta, days=days, hours=hours, minutes=minutes, seconds=seconds))

    def settle(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        self._wait(self._inner.settle())

    def start(
        self,
        orchestrator: str | Callable[..., object] | type | object,
        input: object = None,  # noqa: A002 - the protocol's word
        *,
        instance_id: str | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        start_at: datetime | timedelta | None = None,
    ) -> OrchestrationRun:
        """Start an orchestration and let it run until it waits for time or for the outside."""
        started = self._wait(
            self._inner.start(
                orchestrator, input, instance_id=instance_id, version=version, tags=tags, start_at=start_at
            )
        )
        run = OrchestrationRun(self, started)
        self._runs.append(run)
        return run

    def run(
        self,
        orchestrator: str | Callable[..., object] | type | object,
        input: object = None,  # noqa: A002
        *,
        instance_id: str | None = None,
        events: Iterable[tuple[str, object]] = (),
        chaos: Chaos | None = None,
    ) -> object:
        """Run an orchestration to its end and return its output."""
        return self._wait(
            self._inner.run(orchestrator, input, instance_id=instance_id, events=events, chaos=chaos)
        )

    def fake(
        self, activity: str | object, *, returns: object = None, side_effect: SideEffect = None
    ) -> FakeActivity:
        """Answer the calls of an activity in its place, from now on."""
        return self._inner.fake(activity, returns=returns, side_effect=side_effect)


class OrchestrationRun:
    """The blocking twin of ``durabletask.testing.run.OrchestrationRun``; see there."""

    def __init__(self, environment: OrchestrationTestEnvironment, inner: _run.OrchestrationRun) -> None:
        self._environment = environment
        self._inner = inner

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._inner.instance_id

    def result(self, *, timeout: timedelta = _LONG) -> object:
        """The output, as plain JSON values. Lets virtual time run until the orchestration has ended."""
        return self._environment._wait(self._inner.result(timeout=timeout))  # noqa: SLF001 - its other half

    def completion(self, *, timeout: timedelta = _LONG) -> OrchestrationState:
        """The state at the end, however it ended."""
        return self._environment._wait(self._inner.completion(timeout=timeout))  # noqa: SLF001

    def raise_event(self, name: str, data: object = None) -> None:
        """Deliver an external event."""
        self._environment._do(lambda: self._inner.raise_event(name, data))  # noqa: SLF001

    def terminate(self, output: object = None, *, recursive: bool = True) -> None:
        """End the orchestration as TERMINATED."""
        self._environment._do(lambda: self._inner.terminate(output, recursive=recursive))  # noqa: SLF001

    def suspend(self, reason: str | None = None) -> None:
        """Suspend the orchestration."""
        self._environment._do(lambda: self._inner.suspend(reason))  # noqa: SLF001

    def resume(self, reason: str | None = None) -> None:
        """Resume the orchestration."""
        self._environment._do(lambda: self._inner.resume(reason))  # noqa: SLF001

    @property
    def state(self) -> OrchestrationState:
        """The state of the instance now."""
        return self._inner.state

    @property
    def status(self) -> OrchestrationStatus:
        """The status of the instance now."""
        return self._inner.status

    @property
    def custom_status(self) -> object:
        """The custom status now, as plain JSON values."""
        return self._inner.custom_status

    @property
    def history(self) -> list[HistoryEvent]:
        """The history of the present generation, as committed so far."""
        return self._inner.history

    def calls(self, activity: str | None = None) -> Sequence[ActivityCall]:
        """The calls of activities (of one name) by this instance, in order."""
        return self._inner.calls(activity)

    def pending(self) -> Sequence[OpenTask]:
        """What the orchestration waits for now, with ``file:line`` of the code that asked for it."""
        return self._inner.pending()

    def explain(self) -> Diagnosis:
        """Why the orchestration is not finished, with advice."""
        return self._inner.explain()

    def timeline(self) -> str:
        """The history for people."""
        return self._inner.timeline()
