"""Open work: what the code has asked for and the hub has not confirmed or answered yet.

An action is *pending* from the moment the code makes it until the history confirms it. What is still pending at the
end of an episode is sent to the hub. A task is *open* until the hub answers it; a task is usually pending first,
but the two tables are independent, because a history may answer a task before it confirms it.

User code writes here through the sink, event handlers write here directly, and nothing else does. The tables know
their entries by the protocols below and no class of tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from types import CodeType
from typing import Protocol

import msgspec

from durabletask.core.actions import OrchestratorAction
from durabletask.core.failures import FailureDetails
from durabletask.core.history import HistoryEvent
from durabletask.core.open_tasks import OpenTask

from .locations import locate
from .mailbox import Mailbox, OpenEntry

__all__ = ["OneWay", "OpenCall", "OpenEntry", "OpenLock", "OpenTimer", "OpenWork", "PendingAction", "Restart"]


class PendingAction(Protocol):
    """Something with an action that the history has not confirmed yet."""

    @property
    def action(self) -> OrchestratorAction:
        """The action."""

    @property
    def location(self) -> str:
        """``file:line`` of the user code that asked for it."""

    @property
    def is_answered(self) -> bool:
        """Whether an answer follows the confirmation."""

    def confirmed(self, event: HistoryEvent) -> None:
        """The history confirms the action; ids that the event records replace the action's own."""

    def attach(self, action: OrchestratorAction) -> None:
        """Replace the action by a copy that carries a trace context."""


class OpenCall(OpenEntry, Protocol):
    """A call of an activity, child or entity."""

    @property
    def action(self) -> OrchestratorAction:
        """The action that made the call."""

    def settle(self, state: int, value: object) -> None:
        """End in a state of ``tasks``, with a result or failure as the history has it."""

    def complete(self, raw: object) -> None:
        """End with a result, as the history has it."""

    def failed(self, failure: FailureDetails | None) -> None:
        """The hub reports a failure: end with it, or wait for the next attempt."""


class OpenTimer(OpenEntry, Protocol):
    """A timer."""

    def fired(self, fire_at: datetime) -> None:
        """The hub's timer fired."""


class OpenLock(OpenEntry, Protocol):
    """A request for the locks of a critical section."""

    def granted(self) -> None:
        """All entities are locked."""


class OneWay:
    """A pending action that no answer follows."""

    __slots__ = ("_code", "_lasti", "action")

    is_answered = False

    def __init__(self, action: OrchestratorAction, code: CodeType | None = None, lasti: int = 0) -> None:
        self.action: OrchestratorAction = action
        self._code = code
        self._lasti = lasti

    @property
    def location(self) -> str:
        return locate(self._code, self._lasti)

    def confirmed(self, event: HistoryEvent) -> None:
        """Nothing changes: no answer has to find this action."""

    def attach(self, action: OrchestratorAction) -> None:
        self.action = action


class Restart(msgspec.Struct, frozen=True):
    """What ``continue_as_new`` asked for."""

    input: str | None
    save_events: bool
    new_version: str | None


class OpenWork:
    """See the module. ``restart`` and ``custom_status`` leave with the result of an episode."""

    __slots__ = (
        "activities",
        "children",
        "custom_status",
        "entity_calls",
        "last_id",
        "lock_requests",
        "mailbox",
        "pending",
        "restart",
        "timers",
    )

    def __init__(self) -> None:
        self.last_id: int = 0
        self.pending: dict[int, PendingAction] = {}
        self.activities: dict[int, OpenCall] = {}
        self.children: dict[int, OpenCall] = {}
        self.timers: dict[int, OpenTimer] = {}
        self.entity_calls: dict[str, OpenCall] = {}
        self.lock_requests: dict[str, OpenLock] = {}
        self.mailbox: Mailbox = Mailbox()
        self.restart: Restart | None = None
        self.custom_status: str | None = None

    def next_id(self) -> int:
        """The id of the next action: its place in the order in which the code makes them."""
        self.last_id += 1
        return self.last_id

    def add(self, pending: PendingAction) -> None:
        """An action waits for its confirmation."""
        self.pending[pending.action.id] = pending

    def withdraw(self, action_id: int) -> bool:
        """Take back an action; ``False`` when the history has confirmed it already."""
        return self.pending.pop(action_id, None) is not None

    def unfinished(self) -> Iterator[OpenEntry]:
        """Every open task, those that are parts of others included."""
        yield from self.activities.values()
        yield from self.children.values()
        yield from self.timers.values()
        yield from self.entity_calls.values()
        yield from self.lock_requests.values()
        yield from self.mailbox.open_waits()

    def open_tasks(self) -> list[OpenTask]:
        """What is open, in the order in which it was asked for; events come last."""
        open_entries = {id(entry.whole): entry.whole for entry in self.unfinished() if entry.is_open}
        found = [task for entry in open_entries.values() if (task := entry.open_task()) is not None]
        return sorted(found, key=lambda task: (task.task_id is None, task.task_id or 0))
