"""Calls of activities and sub-orchestrations: pending actions, open tasks, and their retries.

A call that fails under a retry policy starts a timer and, when it fires, asks again under a new id; to the code it
stays one task. Its action is made when it is first looked at: in a replay most actions are confirmed by id and name
alone, and a struct for each would cost more than the rest of the call.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from types import CodeType
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from durabletask.core.actions import CreateSubOrchestration, OrchestratorAction, ScheduleTask
from durabletask.core.errors import SerializationError, TaskFailedError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import HistoryEvent, SubOrchestrationInstanceCreated
from durabletask.core.open_tasks import OpenTask
from durabletask.core.retry import tags_of_retry

from .observed import UNSEEN
from .tasks import FAILURE, PENDING, RAW_FAILURE, RAW_RESULT, RESULT, EngineTask, Waiter
from .timers import Timer

if TYPE_CHECKING:
    from durabletask.core.retry import RetryPolicy

    from .open_work import OpenCall
    from .sink import Sink

__all__ = ["ActivityTask", "ChildTask", "task_failure"]

_NO_DETAILS = FailureDetails("durabletask.UnknownFailure", "The hub recorded no details of the failure.")


class _Retries:
    """How often a call has failed so far, with its policy."""

    __slots__ = ("attempts", "first_id", "policy", "started_at", "timer")

    def __init__(self, policy: RetryPolicy, started_at: datetime) -> None:
        self.policy: RetryPolicy = policy
        self.started_at: datetime = started_at
        self.attempts: int = 0
        self.first_id: int | None = None
        self.timer: Timer | None = None

    def next_attempt(self, failure: FailureDetails, now: datetime) -> datetime | None:
        """When to try again after one more failure; ``None`` for never."""
        self.attempts += 1
        return self.policy.next_attempt(failure, attempts=self.attempts, started_at=self.started_at, now=now)


class _Call(EngineTask[object], Waiter):
    """A call that the hub answers under the id of the action that made it."""

    __slots__ = ("_result_type", "_retries")

    _result_type: object
    _retries: _Retries | None

    @property
    @abstractmethod
    def action(self) -> ScheduleTask | CreateSubOrchestration:
        """The action of the present attempt."""

    @abstractmethod
    def attach(self, action: OrchestratorAction) -> None: ...

    @abstractmethod
    def open_calls(self) -> dict[int, OpenCall]:
        """The table of open calls of this kind."""

    def failed(self, failure: FailureDetails | None) -> None:
        """An attempt failed: wait for the next one, or end."""
        failure = failure or _NO_DETAILS
        retries = self._retries
        if retries is not None:
            try:
                due = retries.next_attempt(failure, self.sink.execution.clock)
            except Exception as error:  # noqa: BLE001 - the predicate is user code
                self.settle(FAILURE, error)
                return
            if due is not None:
                retries.timer = Timer(self.sink, due, self.code, self.lasti, owner=self)
                retries.timer.subscribe(self)
                return
        self.settle(RAW_FAILURE, failure)

    def wake(self, task: EngineTask[object]) -> None:
        """The delay is over: try again under a new id."""
        retries = self._retries
        if retries is not None:
            retries.timer = None
            if retries.first_id is None:
                retries.first_id = self.action.id
        work = self.sink.work
        work.withdraw(
            self.action.id
        )  # in case the history has a failure of an attempt that it does not confirm
        number = work.next_id()
        self.attach(self.retry(number))
        work.pending[number] = self.open_calls()[number] = self

    def retry(self, number: int) -> OrchestratorAction:
        """The action of the next attempt."""
        return msgspec.structs.replace(self.action, id=number, trace_context=None)

    def withdraw(self) -> None:
        self.sink.work.withdraw(self.action.id)
        self.open_calls().pop(self.action.id, None)
        if self._retries is not None and self._retries.timer is not None:
            self._retries.timer.unsubscribe(self)
            self._retries.timer.cancel()

    def decode(self, raw: object) -> object:
        return self.deserialize(raw, self._result_type)

    def explain(self, raw: object) -> BaseException:
        return task_failure(raw, self.describe(), self.action.name, self.action.id)

    def _open_task(
        self, kind: Literal["activity", "sub-orchestration"], target: str | None = None
    ) -> OpenTask:
        action, retries = self.action, self._retries
        timer = retries.timer if retries is not None else None
        return OpenTask(
            kind=kind,
            name=action.name,
            location=self.location,
            task_id=action.id,
            due=timer.fire_at if timer is not None else None,
            attempts=retries.attempts if retries is not None else 0,
            target=target,
            is_awaited=self.is_awaited,
        )


class ActivityTask(_Call):
    """A call of an activity."""

    __slots__ = ("_action", "_input", "_tags", "_version", "action_id", "activity_name")

    def __init__(
        self,
        sink: Sink,
        name: str,
        version: str | None,
        payload: str | None,
        tags: dict[str, str] | None,
        result_type: object,
        policy: RetryPolicy | None,
        code: CodeType | None,
        lasti: int,
    ) -> None:
        # The same as ``EngineTask.__init__``, without the call: a replay makes many of these.
        self.sink = sink
        self.code = code
        self.lasti = lasti
        self.state: int = PENDING
        self.value: object = None
        self.observed: int = UNSEEN
        self.waiter: Waiter | None = None
        self._action: ScheduleTask | None = None
        self._result_type = result_type
        self._retries = None if policy is None else _Retries(policy, sink.execution.clock)
        self.activity_name: str = name
        self._version = version
        self._input = payload
        self._tags = tags
        work = sink.work
        work.last_id = number = work.last_id + 1
        self.action_id: int = number
        work.pending[number] = work.activities[number] = self

    def read(self) -> object:
        # Like ``decode``, without three calls.
        if self.state != RAW_RESULT:
            return super().read()
        try:
            # Text, as every answer of an activity has it. (``cast`` would be one more call.)
            value = self.sink.converter.deserialize(self.value, self._result_type)  # type: ignore[arg-type]
        except SerializationError:
            return super().read()  # raises the same error, with the name of the activity
        self.value = value
        self.state = RESULT
        return value

    @property
    def action(self) -> ScheduleTask:
        made = self._action
        if made is None:
            made = ScheduleTask(self.action_id, self.activity_name, self._version, self._input, self._tags)
            self._action = made
        return made

    def attach(self, action: OrchestratorAction) -> None:
        self._action = cast("ScheduleTask", action)
        self.action_id = action.id

    def retry(self, number: int) -> OrchestratorAction:
        action, retries = super().retry(number), self._retries
        if retries is None or retries.first_id is None or self.sink.execution.execution_id is None:
            return action  # without an execution id the key of the call could not tell executions apart
        tags = tags_of_retry(self._tags, attempt=retries.attempts + 1, first_task_id=retries.first_id)
        return msgspec.structs.replace(action, tags=tags)

    def open_calls(self) -> dict[int, OpenCall]:
        return self.sink.work.activities

    def describe(self) -> str:
        return f"activity {self.activity_name!r}, id {self.action_id}"

    def open_task(self) -> OpenTask:
        return self._open_task("activity")


class ChildTask(_Call):
    """A call of a sub-orchestration."""

    __slots__ = ("_action",)

    def __init__(
        self,
        sink: Sink,
        action: CreateSubOrchestration,
        result_type: object,
        policy: RetryPolicy | None,
        code: CodeType | None,
        lasti: int,
    ) -> None:
        super().__init__(sink, code, lasti)
        self._action = action
        self._result_type = result_type
        self._retries = None if policy is None else _Retries(policy, sink.execution.clock)
        sink.work.pending[action.id] = sink.work.children[action.id] = self

    @property
    def action(self) -> CreateSubOrchestration:
        return self._action

    def attach(self, action: OrchestratorAction) -> None:
        self._action = cast("CreateSubOrchestration", action)

    def open_calls(self) -> dict[int, OpenCall]:
        return self.sink.work.children

    def confirmed(self, event: HistoryEvent) -> None:
        """Keep to the id that the history records: the next attempt starts the same child."""
        recorded = event.instance_id if isinstance(event, SubOrchestrationInstanceCreated) else None
        if recorded and self._action.instance_id != recorded:
            self._action = msgspec.structs.replace(self._action, instance_id=recorded)

    def describe(self) -> str:
        return f"sub-orchestration {self._action.name!r}, id {self._action.id}"

    def open_task(self) -> OpenTask:
        return self._open_task("sub-orchestration", self._action.instance_id)


def task_failure(raw: object, what: str, name: str, action_id: int) -> TaskFailedError:
    """The exception for a failure that the history records."""
    details = raw if isinstance(raw, FailureDetails) else _NO_DETAILS
    return TaskFailedError.of(details, what, name=name, task_id=action_id)
