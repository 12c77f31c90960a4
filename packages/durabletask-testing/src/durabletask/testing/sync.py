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

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from durabletask.core.context import RunsAsync, RunsSync, RunsYielding
from durabletask.core.diagnosis import Diagnosis
from durabletask.core.errors import TaskError
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.replay.standing import OpenTask
from typing_extensions import Self, Unpack
from typing_extensions import TypeVar as TypeVarWithDefault

from . import environment as _environment
from . import run as _run
from .fakes import ActivityCall, FakeActivity, SideEffect
from .faults import FaultCounts
from .harness import LONGEST, EnvironmentOptions, RunOptions, StartOptions

__all__ = ["OrchestrationRun", "OrchestrationTestEnvironment"]

__tracebackhide__ = True  # pytest shows the line of the test instead

T = TypeVar("T")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
RunOutputT = TypeVarWithDefault("RunOutputT", default=Any)


class _Loop:
    """The event loop of one environment. It runs while it waits for a coroutine, and at no other time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._loop = asyncio.new_event_loop()
        else:
            raise RuntimeError(
                "The blocking environment cannot be used where an event loop is running. In an async test use "
                "'async with' and durabletask.testing.OrchestrationTestEnvironment."
            )

    def wait(self, coroutine: Coroutine[object, object, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("The environment is not started: use it in a 'with' statement.")
        try:
            return self._loop.run_until_complete(coroutine)
        except (AssertionError, TaskError, TimeoutError) as error:
            raise error.with_traceback(None)  # noqa: B904 - the same error, without the frames of asyncio

    def do(self, action: Callable[[], Awaitable[None]]) -> None:
        async def carry_out() -> None:
            await action()

        self.wait(carry_out())

    def close(self, last: Coroutine[object, object, None]) -> None:
        loop = self._loop
        if loop is None:
            last.close()
            return
        try:
            self.wait(last)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            self._loop = None
            loop.close()


class OrchestrationTestEnvironment:
    """The blocking twin of ``durabletask.testing.environment.OrchestrationTestEnvironment``; see there."""

    def __init__(self, **options: Unpack[EnvironmentOptions]) -> None:
        self._inner = _environment.OrchestrationTestEnvironment(**options)
        self._loop = _Loop()
        self._runs: list[OrchestrationRun] = []

    def __enter__(self) -> Self:
        """Start the worker."""
        self._loop.open()
        self._loop.wait(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the worker, without waiting for what is still open."""
        self._loop.close(self._inner.__aexit__(kind, error, trace))

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
    def runs(self) -> Sequence[OrchestrationRun[Any]]:
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
        self._loop.do(
            lambda: self._inner.advance(delta, days=days, hours=hours, minutes=minutes, seconds=seconds)
        )

    def settle(self) -> None:
        """Wait until everything that can happen without time passing has happened."""
        self._loop.wait(self._inner.settle())

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
        self,
        orchestrator: Callable[[Any, InputT], Awaitable[OutputT]] | RunsAsync[InputT, OutputT],
        input: InputT,
        **options: Unpack[StartOptions],
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
        orchestrator: Callable[[Any, InputT], Generator[Any, Any, OutputT]] | RunsYielding[InputT, OutputT],
        input: InputT,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    def start(
        self, orchestrator: type[RunsSync[InputT, OutputT]], input: InputT, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    def start(
        self,
        orchestrator: Callable[[Any, InputT], OutputT] | RunsSync[InputT, OutputT],
        input: InputT,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    def start(
        self,
        orchestrator: Callable[[Any], Awaitable[OutputT]],
        input: None = None,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    def start(
        self,
        orchestrator: Callable[[Any], Generator[Any, Any, OutputT]],
        input: None = None,
        **options: Unpack[StartOptions],
    ) -> OrchestrationRun[OutputT]: ...
    @overload
    def start(
        self, orchestrator: Callable[[Any], OutputT], input: None = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[OutputT]: ...
    def start(
        self, orchestrator: Any, input: object = None, **options: Unpack[StartOptions]
    ) -> OrchestrationRun[Any]:
        """Start an orchestration and let it run until it waits for time or for the outside."""
        run: OrchestrationRun = OrchestrationRun(
            self._loop, self._loop.wait(self._inner.start(orchestrator, input, **options))
        )
        self._runs.append(run)
        return run

    @overload
    def run(self, orchestrator: str, input: object = None, **options: Unpack[RunOptions]) -> Any: ...
    @overload
    def run(
        self, orchestrator: type[RunsAsync[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    def run(
        self,
        orchestrator: Callable[[Any, InputT], Awaitable[OutputT]] | RunsAsync[InputT, OutputT],
        input: InputT,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    def run(
        self, orchestrator: type[RunsYielding[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    def run(
        self,
        orchestrator: Callable[[Any, InputT], Generator[Any, Any, OutputT]] | RunsYielding[InputT, OutputT],
        input: InputT,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    def run(
        self, orchestrator: type[RunsSync[InputT, OutputT]], input: InputT, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    @overload
    def run(
        self,
        orchestrator: Callable[[Any, InputT], OutputT] | RunsSync[InputT, OutputT],
        input: InputT,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    def run(
        self,
        orchestrator: Callable[[Any], Awaitable[OutputT]],
        input: None = None,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    def run(
        self,
        orchestrator: Callable[[Any], Generator[Any, Any, OutputT]],
        input: None = None,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    def run(
        self, orchestrator: Callable[[Any], OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> OutputT: ...
    def run(self, orchestrator: Any, input: object = None, **options: Unpack[RunOptions]) -> Any:
        """Run an orchestration to its end and return its output."""
        return self._loop.wait(self._inner.run(orchestrator, input, **options))

    def fake(
        self, activity: str | object, *, returns: object = None, side_effect: SideEffect = None
    ) -> FakeActivity:
        """Answer the calls of an activity in its place, from now on."""
        return self._inner.fake(activity, returns=returns, side_effect=side_effect)


class OrchestrationRun(Generic[RunOutputT]):
    """The blocking twin of ``durabletask.testing.run.OrchestrationRun``; see there."""

    def __init__(self, loop: _Loop, inner: _run.OrchestrationRun[RunOutputT]) -> None:
        self._loop = loop
        self._inner = inner

    @property
    def instance_id(self) -> str:
        """Id of the instance."""
        return self._inner.instance_id

    def result(self, *, timeout: timedelta = LONGEST) -> RunOutputT:
        """The output. Lets virtual time run until the orchestration has ended."""
        return self._loop.wait(self._inner.result(timeout=timeout))

    def completion(self, *, timeout: timedelta = LONGEST) -> OrchestrationState:
        """The state at the end, however it ended."""
        return self._loop.wait(self._inner.completion(timeout=timeout))

    def raise_event(self, name: str, data: object = None) -> None:
        """Deliver an external event."""
        self._loop.do(lambda: self._inner.raise_event(name, data))

    def terminate(self, output: object = None, *, recursive: bool = True) -> None:
        """End the orchestration as TERMINATED."""
        self._loop.do(lambda: self._inner.terminate(output, recursive=recursive))

    def suspend(self, reason: str | None = None) -> None:
        """Suspend the orchestration."""
        self._loop.do(lambda: self._inner.suspend(reason))

    def resume(self, reason: str | None = None) -> None:
        """Resume the orchestration."""
        self._loop.do(lambda: self._inner.resume(reason))

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
        """The history of the present execution, as committed so far."""
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
