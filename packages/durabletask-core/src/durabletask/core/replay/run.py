"""What event handlers act on: the parts of one session, wired together."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from durabletask.core.history import HistoryEvent

from .completion import Completion
from .execution import CONTINUING, Execution
from .open_work import OpenWork, PendingAction
from .scheduler import Scheduler
from .sink import Sink

if TYPE_CHECKING:
    from .options import ReplayOptions

__all__ = ["Run"]


class Run:
    """The state of one session.

    Handlers change it between two events; user code reaches it only through the sink.
    """

    __slots__ = (
        "completion",
        "execution",
        "first_unconfirmed",
        "held_events",
        "history_is_rewound",
        "matched",
        "options",
        "scheduled_events",
        "scheduler",
        "sink",
        "work",
    )

    def __init__(self, instance_id: str, options: ReplayOptions, execution_id: str | None = None) -> None:
        self.options: ReplayOptions = options
        self.execution: Execution = Execution(instance_id, execution_id)
        self.work: OpenWork = OpenWork()
        self.scheduler: Scheduler = Scheduler(instance_id)
        self.sink: Sink = Sink(self.execution, options, self.work, self.scheduler)
        self.completion: Completion = Completion(self.sink, options)
        self.held_events: list[HistoryEvent] = []  # while the instance is suspended
        self.matched: deque[PendingAction] = deque(maxlen=5)  # for reports
        self.scheduled_events: dict[int, HistoryEvent] = {}  # for the observer, until they are answered
        # For strict mode: the first action that a past episode made and the history does not confirm.
        self.first_unconfirmed: PendingAction | None = None
        self.history_is_rewound: bool = False

    def resume_code(self) -> None:
        """Run user code until all of it waits, first come, first served."""
        ready = self.scheduler.ready
        while ready:
            ready.popleft().step()
        if self.work.restart is not None and self.execution.condition < CONTINUING:
            self.completion.stop_for_restart()
