"""The test environment for plain ``def test_...``: the same names, no ``await``.

    from durabletask.testing.sync import OrchestrationTestEnvironment

    def test_order():
        with OrchestrationTestEnvironment(orchestrators=[order]) as env:
            env.fake("charge", returns="receipt")
            run = env.start(order, 7)
            env.advance(days=30)
            assert run.result() == "done"

The environment owns an event loop, which runs while one of its methods does.

``tools/generate_sync.py`` writes the methods between the ``generated`` comments from the async classes.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, overload

from durabletask.core.context import RunsAsync, RunsSync, RunsYielding
from durabletask.core.diagnosis import Diagnosis
from durabletask.core.errors import TaskError
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.open_tasks import OpenTask
from durabletask.core.operations import entity_id_of
from durabletask.core.portal import Call
from durabletask.sync.entities import EntityHandle
from typing_extensions import Self, TypeVar, Unpack

from . import environment as _environment
from . import run as _run
from .entity_fakes import FakeEntity, OperationCall
from .entity_handles import EnvironmentEntities
from .fakes import ActivityCall, FakeActivity, SideEffect
from .faults import FaultCounts
from .harness import LONGEST
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
from .sync_entities import BlockingEntities, EntityTestEnvironment

__all__ = ["EntityTestEnvironment", "OrchestrationRun", "OrchestrationTestEnvironment"]

__tracebackhide__ = True  # pytest shows the line of the test instead

T = TypeVar("T")
EntityT = TypeVar("EntityT")


class OrchestrationTestEnvironment:
    """The blocking twin of ``durabletask.testing.environment.OrchestrationTestEnvironment``; see there."""

    def __init__(self, **options: Unpack[EnvironmentOptions]) -> None:
        self._inner = _environment.OrchestrationTestEnvironment(**options)
        self._runner: asyncio.AbstractEventLoop | None = None
        self._runs: list[OrchestrationRun] = []

    def __enter__(self) -> Self:
        """Start the worker."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._runner = asyncio.new_event_loop()
            self._call(self._inner.__aenter__)
            return self
        raise RuntimeError(
            "The blocking environment cannot be used where an event loop is running. In an async test use "
            "'async with' and durabletask.testing.OrchestrationTestEnvironment."
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the worker, without waiting for what is still open."""
        loop = self._runner
        if loop is None:
            return
        try:
            self._call(lambda: self._inner.__aexit__(kind, error, trace))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            self._runner = None
            loop.close()

    def _call(self, action: Callable[[], Awaitable[T]], /) -> T:
        if self._runner is None:
            raise RuntimeError("The environment is not started: use it in a 'with' statement.")

        async def carry_out() -> T:
            return await action()

        try:
            return self._runner.run_until_complete(carry_out())
        except (AssertionError, TaskError, TimeoutError) as error:
            raise error.with_traceback(None)  # noqa: B904 - the same error, without the frames of asyncio

    @property
    def runs(self) -> Sequence[OrchestrationRun]:
        """What was started here, in order."""
        return self._runs

    @overload
    def entity(self, entity: type[EntityT], key: str) -> EntityHandle[EntityT]: ...
    @overload
    def entity(self, entity: str | Callable[..., object], key: str) -> EntityHandle[Any]: ...
    def entity(self, entity: object, key: str) -> EntityHandle[object]:
        """One entity: ``env.entity(Counter, "k").call.add(3)``, ``.signal.add(3)``, ``.state()``; see the twin.

        Args:
            entity: the entity's class or function, or its registered name.
            key: key of the entity.
        """
        harness = self._inner._harness  # noqa: SLF001
        harness.check_started()
        messages = BlockingEntities(EnvironmentEntities(harness), self._call)
        return EntityHandle(messages, entity, entity_id_of(entity, key))

    # <generated from durabletask.testing.environment.OrchestrationTestEnvironment>

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._inner.now

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Move virtual time on; at every due time on the way all that follows happens before time goes on.

        Args:
            delta: how far; the other arguments are added.
            days: days to add.
            hours: hours to add.
            minutes: minutes to add.
            seconds: seconds to add.
        """
        self._call(
            lambda: self._inner.advance(delta, days=days, hours=hours, minutes=minutes, seconds=seconds)
        )

    def settle(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        self._call(self._inner.settle)

    @overload
    def start(
        self, orchestrator: str, input: object = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun: ...

    @overload
    def start(
        self, orchestrator: type[RunsAsync[InputT, OutputT]], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self, orchestrator: AsyncOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self,
        orchestrator: type[RunsYielding[InputT, OutputT]],
        input: InputT,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self,
        orchestrator: YieldingOrchestrator[InputT, OutputT],
        input: InputT,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self, orchestrator: type[RunsSync[InputT, OutputT]], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self, orchestrator: PlainOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self, orchestrator: AsyncWithoutInput[OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self, orchestrator: YieldingWithoutInput[OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    @overload
    def start(
        self, orchestrator: PlainWithoutInput[OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...

    def start(
        self, orchestrator: object, input: object = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun:
        """Start an orchestration and let it run until it waits for time or for the outside.

        Args:
            orchestrator: function, class or object, or the registered name.
            input: its input.
            options: ``instance_id``, ``version`` and ``tags`` of the instance; ``start_at``: not before this
                (virtual) time, or this long from now.
        """
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return OrchestrationRun(
            self._call(lambda: self._inner.start(any_orchestrator, input, **options)), self._call
        )

    @overload
    def run(self, orchestrator: str, input: object = None, **options: Unpack[RunOptions]) -> Any: ...

    @overload
    def run(
        self, orchestrator: type[RunsAsync[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: AsyncOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: type[RunsYielding[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self,
        orchestrator: YieldingOrchestrator[InputT, OutputT],
        input: InputT,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: type[RunsSync[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: PlainOrchestrator[InputT, OutputT], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: AsyncWithoutInput[OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: YieldingWithoutInput[OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    @overload
    def run(
        self, orchestrator: PlainWithoutInput[OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...

    def run(self, orchestrator: object, input: object = None, **options: Unpack[RunOptions]) -> object:
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
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return self._call(lambda: self._inner.run(any_orchestrator, input, **options))

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
        return self._inner.fake(activity, returns=returns, side_effect=side_effect)

    def fake_entity(self, entity: str | Callable[..., object]) -> FakeEntity:
        """Answer the operations of an entity in its place, for all keys, from now on.

        ``env.fake_entity(Counter).operation(Counter.add, returns=5)``. Locks work as always; the fake has no state. An
        operation that the fake does not have fails; if it was a signal, the environment fails at its end.

        Args:
            entity: its class or function, or its name.

        Raises:
            EntityNotRegisteredError: a name that is not registered, but almost: the fake would never be called.
        """
        return self._inner.fake_entity(entity)

    @property
    def calls(self) -> Sequence[ActivityCall]:
        """Every call of an activity in this environment, in order."""
        return self._inner.calls

    @property
    def entity_calls(self) -> Sequence[OperationCall]:
        """Every call and signal of an entity in this environment, in the order of delivery."""
        return self._inner.entity_calls

    @property
    def faults(self) -> FaultCounts:
        """How many faults really happened here, and in the runs with ``chaos=``."""
        return self._inner.faults

    # </generated>


class OrchestrationRun(Generic[OutputT]):
    """The blocking twin of ``durabletask.testing.run.OrchestrationRun``; see there."""

    def __init__(self, inner: _run.OrchestrationRun[OutputT], call: Call) -> None:
        self._inner = inner
        self._call = call

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._inner.instance_id

    def __repr__(self) -> str:
        return repr(self._inner)

    # <generated from durabletask.testing.run.OrchestrationRun>

    def result(self, *, timeout: timedelta = LONGEST) -> OutputT:
        """The output. Lets virtual time run until the orchestration has ended.

        It is converted to the return annotation of the orchestrator. Without one, when it does not fit, and when the
        orchestrator was started by name, it consists of plain JSON values.

        Args:
            timeout: how much virtual time it may take.

        Raises:
            TaskFailedError: the orchestration failed; ``details`` say why.
            TaskCancelledError: it was terminated.
            StuckOrchestrationError: it waits for something that will not come by itself, such as an event;
                the message says for what, and where in the code.
            TimeoutError: it takes longer than ``timeout``.
        """
        return self._call(lambda: self._inner.result(timeout=timeout))

    def completion(self, *, timeout: timedelta = LONGEST) -> OrchestrationState:
        """The state at the end, however it ended. Like ``result``, without raising for failures."""
        return self._call(lambda: self._inner.completion(timeout=timeout))

    def raise_event(self, name: str, data: object = None) -> None:
        """Deliver an external event."""
        self._call(lambda: self._inner.raise_event(name, data))

    def terminate(self, output: object = None, *, recursive: bool = True) -> None:
        """End the orchestration as TERMINATED."""
        self._call(lambda: self._inner.terminate(output, recursive=recursive))

    def suspend(self, reason: str | None = None) -> None:
        """Suspend the orchestration."""
        self._call(lambda: self._inner.suspend(reason))

    def resume(self, reason: str | None = None) -> None:
        """Resume the orchestration."""
        self._call(lambda: self._inner.resume(reason))

    @property
    def state(self) -> OrchestrationState:
        """The state of the instance now, as a client sees it."""
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
        """The history of the present execution, as committed so far."""
        return self._inner.history

    def calls(self, activity: str | None = None) -> Sequence[ActivityCall]:
        """The calls of activities (of one name) by this instance, in order: inputs, attempts, virtual times."""
        return self._inner.calls(activity)

    def pending(self) -> Sequence[OpenTask]:
        """What the orchestration waits for now, with ``file:line`` of the code that asked for it."""
        return self._inner.pending()

    def explain(self) -> Diagnosis:
        """Why the orchestration is not finished, with advice; print it, or read its members."""
        return self._inner.explain()

    def timeline(self) -> str:
        """The history for people: one line per event, with the virtual time since the start.

        Events that nothing waited for are named at the end.
        """
        return self._inner.timeline()

    # </generated>
