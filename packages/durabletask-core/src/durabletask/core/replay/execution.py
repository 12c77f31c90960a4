"""One execution of an instance: what the history has recorded of it, and the condition it is in.

Conditions::

    RUNNING     events drive user code
    SUSPENDED   inbound events are held until the instance is resumed
    CONTINUING  ``continue_as_new`` was called and the code has been closed; the completion follows at the end of the
                episode, so that events which are still to come in it are carried over and a termination wins
    ENDED       complete: no user code runs

Event handlers and ``completion`` change an execution. Contexts and tasks only read it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from durabletask.core.history import EPOCH, ExecutionStarted
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.times import as_utc

if TYPE_CHECKING:
    from durabletask.core.registry import OrchestratorDefinition

__all__ = ["CONTINUING", "ENDED", "RUNNING", "SUSPENDED", "Execution"]

# Plain integers, in the order in which user code comes to an end: the table of handlers is looked up for each event.
RUNNING: Final = 0
SUSPENDED: Final = 1
CONTINUING: Final = 2
ENDED: Final = 3


class Execution:
    """See the module."""

    __slots__ = (
        "_clock",
        "condition",
        "definition",
        "execution_id",
        "instance_id",
        "is_replaying",
        "read_time",
        "started",
        "started_at",
        "status",
        "unread_time",
        "version",
    )

    def __init__(self, instance_id: str, execution_id: str | None = None) -> None:
        self.instance_id: str = instance_id
        self.execution_id: str | None = execution_id
        self.condition: int = RUNNING
        self.status: OrchestrationStatus | None = None  # set by the completion
        self.is_replaying: bool = True
        self.started: ExecutionStarted | None = None
        self.version: str | None = None  # of the instance; calls of activities inherit it
        self.started_at: datetime = EPOCH  # on the orchestration's clock
        self.definition: OrchestratorDefinition | None = None
        self._clock: datetime = EPOCH
        # The clock as a compact history has it; read only if the code asks for it.
        self.unread_time: object | None = None
        self.read_time: Callable[[object], datetime] | None = None

    @property
    def clock(self) -> datetime:
        """The time at which the hub started the episode."""
        if self.unread_time is not None and self.read_time is not None:
            self._clock, self.unread_time = self.read_time(self.unread_time), None
        return self._clock

    @clock.setter
    def clock(self, now: datetime) -> None:
        self._clock, self.unread_time = now, None

    @property
    def name(self) -> str:
        """Name of the orchestrator; empty before the start."""
        return self.started.name if self.started is not None else ""

    def start(self, event: ExecutionStarted) -> None:
        """Take over the facts of the first event of the execution."""
        self.started = event
        self.version = event.version or None
        if event.execution_id:
            self.execution_id = event.execution_id
        if self.clock == EPOCH:
            self.clock = as_utc(event.timestamp)
        self.started_at = self.clock

    def time_of(self, when: datetime | timedelta | float) -> datetime:
        """An absolute UTC time; a delay counts from the orchestration's clock.

        Raises:
            TypeError: it is neither a time nor a delay.
            ValueError: it is outside of the years 1 to 9999, infinite or not a number.
        """
        if isinstance(when, datetime):
            return as_utc(when)
        if not isinstance(when, (timedelta, int, float)):
            raise TypeError(f"A time must be a datetime, a timedelta or a number of seconds, not {when!r}.")
        try:
            return self.clock + (when if isinstance(when, timedelta) else timedelta(seconds=when))
        except (OverflowError, ValueError):
            raise ValueError(f"A time must be in the years 1 to 9999; {when!r} from now is not.") from None

    def seed(self) -> str:
        """Text that differs between executions and survives a rewind, which assigns a new execution id."""
        started = self.started
        return (
            f"{self.instance_id}\n{self.started_at:%Y-%m-%dT%H:%M:%S.%f}\n{started.input if started else ''}"
        )
