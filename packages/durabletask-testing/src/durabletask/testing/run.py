"""``OrchestrationRun``: one orchestration in a test environment, to be steered and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from durabletask.core.diagnosis import Diagnosis
from durabletask.core.errors import TaskCancelledError, TaskFailedError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.replay.standing import OpenTask

from .fakes import ActivityCall
from .timeline import timeline

if TYPE_CHECKING:
    from .commands import Command
    from .environment import OrchestrationTestEnvironment

__all__ = ["OrchestrationRun", "StuckOrchestrationError"]

_LONG = timedelta(days=3650)


class StuckOrchestrationError(AssertionError):
    """A result was asked for that cannot come: the orchestration waits for something that is not under way."""


class OrchestrationRun:
    """One instance. ``OrchestrationTestEnvironment.start`` makes it.

    What changes something (``raise_event``, ``terminate``, ...) is carried out in the order of the calls. Await
    it to see its effects at once; without ``await`` they are there when ``result`` is awaited.

    Attributes:
        instance_id: id of the instance.
    """

    def __init__(self, environment: OrchestrationTestEnvironment, instance_id: str) -> None:
        self.instance_id: str = instance_id
        self._environment = environment

    async def result(self, *, timeout: timedelta = _LONG) -> object:
        """The output, as plain JSON values. Lets virtual time run until the orchestration has ended.

        Args:
            timeout: how much virtual time it may take.

        Raises:
            TaskFailedError: the orchestration failed; ``details`` say why.
            TaskCancelledError: it was terminated.
            StuckOrchestrationError: it waits for something that will not come by itself, such as an event;
                the message says for what, and where in the code.
            TimeoutError: it takes longer than ``timeout``.
        """
        state = await self.completion(timeout=timeout)
        if state.runtime_status is OrchestrationStatus.COMPLETED:
            return state.output
        if state.runtime_status is OrchestrationStatus.FAILED:
            details = state.failure_details or FailureDetails("durabletask.UnknownFailure", "No details.")
            raise TaskFailedError(
                f"Orchestration {state.name!r} failed: {details.message} ({details.error_type})\n{self.timeline()}",
                details,
                task_name=state.name,
            )
        raise TaskCancelledError(
            f"Orchestration {state.name!r} ended as {state.runtime_status.name}; output: {state.output!r}."
        )

    async def completion(self, *, timeout: timedelta = _LONG) -> OrchestrationState:
        """The state at the end, however it ended. Like ``result``, without raising for failures."""
        return await self._environment._complete(self.instance_id, timeout)  # noqa: SLF001 - its other half

    # --- steering -------------------------------------------------------------------------------------------

    def raise_event(self, name: str, data: object = None) -> Command:
        """Deliver an external event."""
        client = self._environment.client
        return self._environment._command(  # noqa: SLF001
            lambda: client.raise_orchestration_event(self.instance_id, name, data)
        )

    def terminate(self, output: object = None, *, recursive: bool = True) -> Command:
        """End the orchestration as TERMINATED."""
        client = self._environment.client
        return self._environment._command(  # noqa: SLF001
            lambda: client.terminate_orchestration(self.instance_id, output=output, recursive=recursive)
        )

    def suspend(self, reason: str | None = None) -> Command:
        """Suspend the orchestration."""
        client = self._environment.client
        return self._environment._command(  # noqa: SLF001
            lambda: client.suspend_orchestration(self.instance_id, reason=reason)
        )

    def resume(self, reason: str | None = None) -> Command:
        """Resume the orchestration."""
        client = self._environment.client
        return self._environment._command(  # noqa: SLF001
            lambda: client.resume_orchestration(self.instance_id, reason=reason)
        )

    # --- looking --------------------------------------------------------------------------------------------

    @property
    def state(self) -> OrchestrationState:
        """The state of the instance now."""
        return self._environment._state(self.instance_id)  # noqa: SLF001

    @property
    def status(self) -> OrchestrationStatus:
        """The status of the instance now."""
        return self.state.runtime_status

    @property
    def custom_status(self) -> object:
        """The custom status now, as plain JSON values."""
        return self.state.custom_status

    @property
    def history(self) -> list[HistoryEvent]:
        """The history of the present generation, as committed so far."""
        return self._environment._history(self.instance_id)  # noqa: SLF001

    def calls(self, activity: str | None = None) -> Sequence[ActivityCall]:
        """The calls of activities (of one name) by this instance, in order: inputs, attempts, virtual times."""
        return [
            call
            for call in self._environment.calls
            if call.instance_id == self.instance_id and activity in {None, call.name}
        ]

    def pending(self) -> Sequence[OpenTask]:
        """What the orchestration waits for now, with ``file:line`` of the code that asked for it."""
        return self._environment._pending(self.instance_id)  # noqa: SLF001

    def explain(self) -> Diagnosis:
        """Why the orchestration is not finished, with advice; print it, or read its members."""
        return self._environment._explain(self.instance_id)  # noqa: SLF001

    def timeline(self) -> str:
        """The history for people: one line per event, with the virtual time since the start."""
        return timeline(self.state, self.history)

    def __repr__(self) -> str:
        return f"<OrchestrationRun {self.instance_id!r}>"
