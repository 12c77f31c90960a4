"""Calls of activities and sub-orchestrations, with their retries (protocol section 8.8, decisions row 4)."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Generator
from datetime import datetime
from types import CodeType
from typing import TYPE_CHECKING, Any

import msgspec

from durabletask.core.actions import CreateSubOrchestration, ScheduleTask
from durabletask.core.errors import SerializationError, TaskFailedError
from durabletask.core.failures import FailureDetails

from .tasks import (
    FAILURE,
    PENDING,
    RAW_FAILURE,
    RAW_RESULT,
    RESULT,
    UNSEEN,
    WAITED_FOR,
    EngineTask,
    Waiter,
)
from .timers import Timer

if TYPE_CHECKING:
    from durabletask.core.retry import RetryPolicy

    from .ledger import Ledger

__all__ = ["ActivityCall", "Call", "ChildCall", "Retries", "call_activity", "task_failure"]

_NO_DETAILS = FailureDetails("durabletask.UnknownFailure", "The hub recorded no details of the failure.")


class Retries:
    """How often a call has failed so far, and what its policy says."""

    __slots__ = ("attempts", "policy", "started_at", "timer")

    def __init__(self, policy: RetryPolicy, started_at: datetime) -> None:
        self.policy: RetryPolicy = policy
        self.started_at: datetime = started_at
        self.attempts: int = 0
        self.timer: Timer | None = None


class Call(EngineTask[object], Waiter):
    """A call that the hub answers under the id of the action that made it."""

    __slots__ = ("_made", "_open", "_result_type", "_retries")

    sink: Ledger

    _made: ScheduleTask | CreateSubOrchestration | None
    _open: dict[int, Call]
    _result_type: object
    _retries: Retries | None

    @property
    def action(self) -> ScheduleTask | CreateSubOrchestration:
        made = self._made
        return self._make() if made is None else made

    @action.setter
    def action(self, action: ScheduleTask | CreateSubOrchestration) -> None:
        self._made = action

    def _make(self) -> ScheduleTask | CreateSubOrchestration:
        """The action, when it is first asked for; most are of the past, and nobody asks."""
        raise NotImplementedError

    def failed(self, failure: FailureDetails | None) -> None:
        """An attempt failed: wait for the next one, or end."""
        failure = failure or _NO_DETAILS
        retries = self._retries
        if retries is not None:
            retries.attempts += 1
            ledger = self.sink
            try:
                due = retries.policy.next_attempt(
                    failure, attempts=retries.attempts, started_at=retries.started_at, now=ledger.clock
                )
            except Exception as error:  # noqa: BLE001 - the predicate is user code
                self.settle(FAILURE, error)
                return
            if due is not None:
                retries.timer = Timer(ledger, due, self.code, self.lasti)
                retries.timer.subscribe(self)
                return
        self.settle(RAW_FAILURE, failure)

    def wake(self, task: EngineTask[object]) -> None:
        """The delay is over: try again under a new id."""
        if self._retries is not None:
            self._retries.timer = None
        ledger = self.sink
        # A history may tell of a failure before it confirms the attempt.
        ledger.pending.pop(self.action.id, None)
        self.action = msgspec.structs.replace(self.action, id=ledger.next_id(), trace_context=None)
        ledger.pending[self.action.id] = self._open[self.action.id] = self

    def withdraw(self) -> None:
        self.sink.pending.pop(self.action.id, None)
        self._open.pop(self.action.id, None)
        if self._retries is not None and self._retries.timer is not None:
            self._retries.timer.unsubscribe(self)
            self._retries.timer.cancel()

    def read(self) -> object:
        if self.state != RAW_RESULT:
            return super().read()
        raw = self.value  # text, as every answer of an activity or child has it
        self.value = value = self.sink.decode(raw, self._result_type, f"Result of {self.describe()}")
        self.state = RESULT
        return value

    def explain(self, raw: object) -> BaseException:
        return task_failure(raw, self.describe(), self.action.name, self.action.id)


class ActivityCall(Call):
    """A call of an activity; ``call_activity`` makes it."""

    __slots__ = ("_id", "_input", "_name", "_tags", "_version")

    _id: int
    _input: str | None
    _name: str
    _tags: dict[str, str] | None
    _version: str | None

    def __await__(self) -> Generator[EngineTask[object], object, object]:
        # As in ``Task.__await__`` and ``_read``, spelled out: no call but that of the converter.
        scope = self.sink
        if scope.thread != get_ident() and not scope.gives_in():
            raise self.foreign()
        if self.state == PENDING:
            yield self
        self.observed = WAITED_FOR
        if self.state != RAW_RESULT:
            return self.read()
        raw: Any = self.value
        try:
            value = scope.converter.deserialize(raw, self._result_type)
        except SerializationError:
            return self.read()  # raises the same error, with the name
        self.value = value
        self.state = RESULT
        return value

    def _make(self) -> ScheduleTask:
        self._made = made = ScheduleTask(self._id, self._name, self._version, self._input, self._tags)
        return made

    def describe(self) -> str:
        return f"activity {self.action.name!r}, id {self.action.id}"


_new = ActivityCall.__new__


def call_activity(
    ledger: Ledger,
    name: str,
    version: str | None,
    payload: str | None,
    tags: dict[str, str] | None,
    result_type: object,
    policy: RetryPolicy | None,
    code: CodeType | None,
    lasti: int,
) -> ActivityCall:
    """Make a call and ask for its action.

    This is ``ActivityCall.__init__`` in all but name, with ``Task.__init__`` spelled out: a function is called with
    less ado than a class, and there may be a hundred thousand calls to replay.
    """
    call = _new(ActivityCall)
    call.sink = ledger
    call.code = code
    call.lasti = lasti
    call.state = PENDING
    call.value = None
    call.observed = UNSEEN
    call.waiter = None
    call.others = None
    call._made = None
    call._open = activities = ledger.activities
    call._result_type = result_type
    call._retries = None if policy is None else Retries(policy, ledger.clock)
    call._name = name
    call._version = version
    call._input = payload
    call._tags = tags
    ledger.last_id = call._id = number = ledger.last_id + 1
    ledger.pending[number] = activities[number] = call
    return call


class ChildCall(Call):
    """A call of a sub-orchestration."""

    __slots__ = ()

    def __init__(
        self,
        ledger: Ledger,
        action: CreateSubOrchestration,
        result_type: object,
        policy: RetryPolicy | None,
        code: CodeType | None,
        lasti: int,
    ) -> None:
        super().__init__(ledger, code, lasti)
        self._made = action
        self._open = ledger.children
        self._result_type = result_type
        self._retries = None if policy is None else Retries(policy, ledger.clock)
        ledger.pending[action.id] = ledger.children[action.id] = self

    def use_instance_id(self, instance_id: str) -> None:
        """Keep to the id that the history records: the next attempt starts the same child."""
        action = self.action
        if isinstance(action, CreateSubOrchestration) and action.instance_id != instance_id:
            self.action = msgspec.structs.replace(action, instance_id=instance_id)

    def describe(self) -> str:
        return f"sub-orchestration {self.action.name!r}, id {self.action.id}"


def task_failure(raw: object, what: str, name: str, action_id: int) -> TaskFailedError:
    """The exception for a failure that the history records."""
    details = raw if isinstance(raw, FailureDetails) else _NO_DETAILS
    return TaskFailedError.of(details, what, name=name, task_id=action_id)
