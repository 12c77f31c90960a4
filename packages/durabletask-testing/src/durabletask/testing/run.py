"""``OrchestrationRun``: one orchestration in a test environment, to be steered and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Generic, cast

from durabletask.core.diagnosis import Diagnosis
from durabletask.core.errors import SerializationError, TaskCancelledError, TaskFailedError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import HistoryEvent
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.open_tasks import OpenTask

from .commands import Command
from .fakes import ActivityCall
from .harness import LONGEST, Harness, StuckOrchestrationError
from .options import OutputT

__all__ = ["OrchestrationRun", "StuckOrchestrationError"]

__tracebackhide__ = True  # pytest shows the line of the test instead


class OrchestrationRun(Generic[OutputT]):
    """One instance. ``OrchestrationTestEnvironment.start`` makes it.

    Methods that change something (``raise_event``, ``terminate``, ...) are carried out in the order of the calls.
    Await them to see their effects at once; without ``await`` the effects are there when ``result`` is awaited.

    Attributes:
        instance_id: id of the instance.
    """

    def __init__(self, harness: Harness, instance_id: str, output_type: object = None) -> None:
        self.instance_id: str = instance_id
        self._harness = harness
        self._output_type = output_type

    async def result(self, *, timeout: timedelta = LONGEST) -> OutputT:
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
        state = await self.completion(timeout=timeout)
        if state.runtime_status is OrchestrationStatus.COMPLETED:
            return self._output(state)
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

    def _output(self, state: OrchestrationState) -> OutputT:
        if self._output_type is None:
            return cast("OutputT", state.output)
        try:
            return state.output_as(cast("type[OutputT]", self._output_type))
        except SerializationError:
            return cast("OutputT", state.output)

    async def completion(self, *, timeout: timedelta = LONGEST) -> OrchestrationState:
        """The state at the end, however it ended. Like ``result``, without raising for failures."""
        return await self._harness.complete(self.instance_id, timeout)

    # --- steering -------------------------------------------------------------------------------------------

    def raise_event(self, name: str, data: object = None) -> Command:
        """Deliver an external event."""
        client = self._harness.client
        return self._harness.command(lambda: client.raise_orchestration_event(self.instance_id, name, data))

    def terminate(self, output: object = None, *, recursive: bool = True) -> Command:
        """End the orchestration as TERMINATED."""
        client = self._harness.client
        return self._harness.command(
            lambda: client.terminate_orchestration(self.instance_id, output=output, recursive=recursive)
        )

    def suspend(self, reason: str | None = None) -> Command:
        """Suspend the orchestration."""
        client = self._harness.client
        return self._harness.command(lambda: client.suspend_orchestration(self.instance_id, reason=reason))

    def resume(self, reason: str | None = None) -> Command:
        """Resume the orchestration."""
        client = self._harness.client
        return self._harness.command(lambda: client.resume_orchestration(self.instance_id, reason=reason))

    # --- looking --------------------------------------------------------------------------------------------

    @property
    def state(self) -> OrchestrationState:
        """The state of the instance now, as a client sees it."""
        return self._harness.look.state(self.instance_id)

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
        """The history of the present execution, as committed so far."""
        return self._harness.look.history(self.instance_id)

    def calls(self, activity: str | None = None) -> Sequence[ActivityCall]:
        """The calls of activities (of one name) by this instance, in order: inputs, attempts, virtual times."""
        return [
            call
            for call in self._harness.recorder.calls
            if call.instance_id == self.instance_id and activity in {None, call.name}
        ]

    def pending(self) -> Sequence[OpenTask]:
        """What the orchestration waits for now, with ``file:line`` of the code that asked for it."""
        return self._harness.look.pending(self.instance_id)

    def explain(self) -> Diagnosis:
        """Why the orchestration is not finished, with advice; print it, or read its members."""
        return self._harness.explain(self.instance_id)

    def timeline(self) -> str:
        """The history for people: one line per event, with the virtual time since the start.

        Events that nothing waited for are named at the end.
        """
        return self._harness.look.timeline(self.instance_id)

    def __repr__(self) -> str:
        return f"<OrchestrationRun {self.instance_id!r}>"
