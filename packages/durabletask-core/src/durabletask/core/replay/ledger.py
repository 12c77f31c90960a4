"""The ledger: open tasks, pending actions and everything else that changes while an orchestration runs.

This is the only mutable state of the engine. The handlers of ``transitions`` write into it what the history
says; the context writes into it what the user's code asks for; ``session`` reads from it what is to be sent.

Law: user code runs only inside ``drain`` (and in iterables that groups pull), which the session calls between two
events. So the order of the events, and nothing else, decides what the code sees.
"""

from __future__ import annotations

import uuid
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from types import CodeType
from typing import TYPE_CHECKING, Final, TypeAlias, Union

import msgspec

from durabletask.core.actions import (
    CompleteOrchestration,
    OrchestratorAction,
)
from durabletask.core.errors import ForeignTaskError, SchedulingError, SerializationError, UnawaitedTaskError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EPOCH, ExecutionStarted, HistoryEvent
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.logs import get_logger
from durabletask.core.tasks import Awaitables, TaskScope

from . import misuse
from .calls import Call
from .events import Mailbox
from .fibers import Body, Fiber, is_body
from .groups import AllOf, AnyOf
from .locations import here
from .locks import CriticalSection, EntityCall, LockRequest
from .tasks import FAILURE, UNSEEN, EngineTask, Waiter
from .timers import Timer

if TYPE_CHECKING:
    from durabletask.core.registry import OrchestratorDefinition, Registry
    from durabletask.core.serialization import DataConverter
    from durabletask.core.versioning import VersioningOptions

    from .options import ReplayObserver, ReplayOptions
    from .transitions import Table

__all__ = ["Ledger", "OneWay", "Proposal", "Restart"]

_logger = get_logger("durabletask.orchestration")

# Namespace of deterministic UUIDs, protocol section 8.12.
_UUID_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_OID, "9e952958-5e33-4daf-827f-2fa12937b875")


# Code that goes on after so many refusals, once it is abandoned, will never end by itself.
_MOST_REFUSALS: Final = 100

# What such code cannot be allowed to change.
_KEPT: Final = ("pending", "mailbox", "section", "restart", "custom_status", "last_id", "uuids", "thread")


class OneWay:
    """An action that nobody waits for."""

    __slots__ = ("action", "code", "lasti")

    def __init__(self, action: OrchestratorAction, code: CodeType | None = None, lasti: int = 0) -> None:
        self.action = action
        self.code = code
        self.lasti = lasti


Proposal: TypeAlias = Union[OneWay, Call, Timer, EntityCall, LockRequest]
"""Anything with an action that the history has not confirmed yet."""


class Restart(msgspec.Struct, frozen=True):
    """What ``continue_as_new`` asked for."""

    input: str | None
    save_events: bool
    new_version: str | None


class Ledger(TaskScope):
    """See the module. Attributes are the engine's own; users see the context."""

    __slots__ = (
        "_clock",
        "activities",
        "children",
        "continuing",
        "converter",
        "custom_status",
        "definition",
        "entity_calls",
        "execution_id",
        "failures",
        "fibers",
        "history_is_rewound",
        "instance_id",
        "is_abandoned",
        "is_replaying",
        "last_id",
        "lock_requests",
        "mailbox",
        "main",
        "matched",
        "maximum_timer_interval",
        "most_groups",
        "most_unseen",
        "observer",
        "pending",
        "read_time",
        "ready",
        "refusals",
        "registry",
        "restart",
        "scheduled_events",
        "section",
        "started",
        "started_at",
        "status",
        "strict",
        "surplus",
        "suspended_events",
        "table",
        "thread",
        "timers",
        "unawaited_groups",
        "unread_time",
        "unseen",
        "unstoppable",
        "uuids",
        "versioning",
    )

    def __init__(
        self,
        instance_id: str,
        options: ReplayOptions,
        *,
        table: Table,
        execution_id: str | None = None,
    ) -> None:
        self.instance_id: str = instance_id
        self.execution_id: str | None = execution_id
        self.registry: Registry = options.registry
        self.converter: DataConverter = options.converter
        self.maximum_timer_interval: timedelta | None = options.maximum_timer_interval
        self.versioning: VersioningOptions | None = options.versioning
        self.strict: bool = options.strict
        self.observer: ReplayObserver | None = options.observer
        # Where the orchestration stands.
        self.table: Table = table
        self.thread: int = 0  # the thread that may schedule at this moment; no thread has the id 0
        self._clock: datetime = EPOCH
        # The clock as a compact history has it; read only if the code asks for it.
        self.unread_time: object | None = None
        self.read_time: Callable[[object], datetime] | None = None
        self.is_replaying: bool = True
        self.started: ExecutionStarted | None = None
        self.started_at: datetime = EPOCH  # on the orchestration clock
        self.definition: OrchestratorDefinition | None = None
        self.status: OrchestrationStatus | None = None  # set by the completion
        self.restart: Restart | None = None
        self.continuing: bool = False
        self.custom_status: str | None = None
        self.last_id: int = 0
        self.uuids: int = 0
        self.failures: int = 0
        # What the hub has yet to confirm, and to answer.
        self.pending: dict[int, Proposal] = {}
        self.activities: dict[int, Call] = {}
        self.children: dict[int, Call] = {}
        self.timers: dict[int, Timer] = {}
        self.entity_calls: dict[str, EntityCall] = {}
        self.lock_requests: dict[str, LockRequest] = {}
        self.section: CriticalSection | None = None
        self.mailbox: Mailbox = Mailbox()
        self.suspended_events: list[HistoryEvent] = []
        # User code that runs.
        self.main: Fiber | None = None
        self.fibers: dict[Body, Fiber] = {}
        self.ready: deque[Fiber] = deque()
        self.is_abandoned: bool = False
        self.refusals: int = 0
        self.unstoppable: list[Fiber] = []  # kept: collecting them would let them run on
        self._prepare_messages()

    def _prepare_messages(self) -> None:
        """What messages are made of."""
        self.matched: deque[Proposal] = deque(maxlen=5)
        self.surplus: Proposal | None = None
        self.history_is_rewound: bool = False
        self.most_groups: int = 64
        self.most_unseen: int = 256
        self.unseen: list[EngineTask[object]] = []
        self.unawaited_groups: dict[EngineTask[object], None] = {}
        self.scheduled_events: dict[int, HistoryEvent] = {}

    @property
    def clock(self) -> datetime:
        """The time at which the hub started the episode."""
        if self.unread_time is not None and self.read_time is not None:
            self._clock, self.unread_time = self.read_time(self.unread_time), None
        return self._clock

    @clock.setter
    def clock(self, now: datetime) -> None:
        self._clock, self.unread_time = now, None

    # --- actions -----------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """The id of the next action."""
        self.last_id += 1
        return self.last_id

    def propose(self, action: OrchestratorAction, code: CodeType | None = None, lasti: int = 0) -> None:
        """Ask for an action that nobody waits for."""
        self.pending[action.id] = OneWay(action, code, lasti)

    def check_open(self, what: str) -> None:
        """Refuse to schedule from another thread, between turns, and after completion."""
        if self.thread == get_ident() or self.gives_in():
            return
        where = here()
        if self.status is not None:
            reason = (
                "after the orchestration had completed. Nothing that follows a completion can have an effect"
            )
        elif self.thread:
            reason = "from another thread. Only the orchestrator's own code may schedule; move threaded work into an activity"
        else:
            reason = (
                "while the orchestrator was not running. Do not hand its context to asyncio tasks, threads or other "
                "orchestrations"
            )
        raise SchedulingError(f"{what} was used at {where} {reason}.")

    def place(self) -> str:
        """``file:line`` of the user code that runs."""
        return here()

    def gives_in(self) -> bool:
        """After the end: whether abandoned code has swallowed so many refusals that only a wait can stop it.

        ``while True: try: await ctx.call_activity(...) except: pass`` swallows the ``GeneratorExit`` that should end
        it and every refusal that follows. It gets what it asks for, in tables that nobody reads, and yields.
        """
        if not self.is_abandoned:
            return False
        self.refusals += 1
        if self.refusals < _MOST_REFUSALS:
            return False
        self.thread = get_ident()
        self.pending, self.mailbox, self.section = {}, Mailbox(), None
        return True

    def new_uuid(self) -> str:
        """The next deterministic UUID."""
        name = f"{self.instance_id}_{self.clock:%Y-%m-%dT%H:%M:%S.%f}Z_{self.uuids}"
        self.uuids += 1
        return str(uuid.uuid5(_UUID_NAMESPACE, name))

    def seed(self) -> str:
        """What tells this generation from all others and stays when it is rewound, as its execution id does not."""
        started = self.started
        return (
            f"{self.instance_id}\n{self.started_at:%Y-%m-%dT%H:%M:%S.%f}\n{started.input if started else ''}"
        )

    # --- payloads ----------------------------------------------------------------------------------------

    def encode(self, value: object, what: str, where: str | None = None) -> str | None:
        """Serialize a value at once, so that later changes to it have no effect.

        Args:
            value: what to serialize.
            what: its role, for messages.
            where: ``file:line`` of the code that gave it; by default the code that runs.
        """
        try:
            return self.converter.serialize(value)
        except SerializationError as error:
            raise misuse.unserializable(value, f"{what}, given at {where or here()},", error) from error

    def decode(self, raw: object, target: object, what: str) -> object:
        """Deserialize a payload that the history recorded; ``what`` is its role, for messages."""
        try:
            return self.converter.deserialize(raw if isinstance(raw, str) else None, target)
        except SerializationError as error:
            raise SerializationError(f"{what}: {error}") from None

    # --- tasks -------------------------------------------------------------------------------------------

    def spawn(self, body: Body) -> Fiber:
        """The fiber of a coroutine or generator; one per body."""
        fiber = self.fibers.get(body)
        if fiber is None:
            fiber = self.fibers[body] = Fiber(self, body)
        return fiber

    def adopt(self, member: object) -> EngineTask[object]:
        """A member of a group as a task of this orchestration."""
        if isinstance(member, EngineTask):
            if member.sink is not self:
                raise ForeignTaskError(
                    f"The group at {here()} contains {member}, which belongs to another orchestration instance: a group "
                    "can only hold tasks of its own."
                )
            return member
        if is_body(member):
            return self.spawn(member)
        raise misuse.foreign_member(member, here())

    def make_all(
        self, members: Awaitables[object], *, return_exceptions: bool, fail_fast: bool, limit: int | None
    ) -> EngineTask[list[object]]:
        """See ``task_all``."""
        self.check_open("task_all")
        made: EngineTask[list[object]] = AllOf(  # type: ignore[assignment]
            self, members, return_exceptions=return_exceptions, fail_fast=fail_fast, limit=limit
        )
        self._watch(made)
        return made

    def make_any(self, members: Awaitables[object]) -> EngineTask[EngineTask[object]]:
        """See ``task_any``."""
        self.check_open("task_any")
        made: EngineTask[EngineTask[object]] = AnyOf(self, members)  # type: ignore[assignment]
        self._watch(made)
        return made

    def _watch(self, group: EngineTask[object]) -> None:
        if len(self.unawaited_groups) >= self.most_groups:  # forget those that somebody awaited meanwhile
            self.unawaited_groups = {g: None for g in self.unawaited_groups if g.observed == UNSEEN}
            self.most_groups = max(64, 2 * len(self.unawaited_groups))  # constant work for each, however many
        self.unawaited_groups[group] = None

    def count_failure(self) -> int:
        """Order of failures in history."""
        self.failures += 1
        return self.failures

    def note_unseen(self, task: EngineTask[object]) -> None:
        """Remember a task that ended before anybody looked at it."""
        if len(self.unseen) >= self.most_unseen:  # forget those that somebody looked at meanwhile
            self.unseen = [seen for seen in self.unseen if seen.observed == UNSEEN]
            self.most_unseen = max(256, 2 * len(self.unseen))
        self.unseen.append(task)

    # --- user code ---------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Run user code until all of it waits."""
        ready = self.ready
        while ready:
            ready.popleft().step()
        if self.restart is not None and self.status is None and not self.continuing:
            self.stop_for_restart()

    def begin(self, body: Body) -> None:
        """Start the orchestrator's own fiber."""
        self.main = self.spawn(body)
        self.main.subscribe(_MainWaiter())
        self.main.start()

    def close_fibers(self) -> None:
        """Abandon all user code that is still suspended."""
        self.ready.clear()
        self.is_abandoned = True
        fibers = list(self.fibers.values())
        self.fibers.clear()
        kept = {name: getattr(self, name) for name in _KEPT}
        for fiber in reversed(fibers):  # innermost work first
            self.refusals = 0
            fiber.close()
            if self.refusals < _MOST_REFUSALS:
                continue
            self.unstoppable.append(fiber)
            for name, value in kept.items():
                setattr(self, name, value)
            self.ready.clear()
            self.fibers.clear()
            _logger.warning(
                "Instance %r: %s catches every exception, even the GeneratorExit that ends it, and goes on. Write "
                "'except Exception' instead of a bare 'except' or 'except BaseException'.",
                self.instance_id,
                fiber.describe(),
            )

    # --- completion --------------------------------------------------------------------------------------

    def finish(self, main: Fiber) -> None:
        """The orchestrator returned or raised."""
        if main.state == FAILURE:
            self.finish_with_error(main.failure())
        else:
            self.finish_with(main.value)

    def finish_with_error(self, error: BaseException) -> None:
        """Complete with what the orchestrator raised."""
        if self.restart is None:
            explained = misuse.missing_event_loop(error) or misuse.forgotten_await(
                error, self._never_awaited()
            )
            self.fail(explained or error)
            return
        _logger.warning(
            "Orchestration %r asked to continue as new and then raised %s; the request stands.",
            self.instance_id,
            FailureDetails.from_exception(error).in_short(),
        )
        self.stop_for_restart()

    def finish_with(self, result: object) -> None:
        """Complete with the value that the orchestrator returned."""
        if self.restart is not None:
            self.stop_for_restart()
            return
        location = self.definition.location if self.definition is not None else "an unknown place"
        try:
            invalid = misuse.invalid_result(result, location)
            if invalid is not None:
                if is_body(result):
                    result.close()  # it is told now: no second warning when it is collected
                raise invalid
            text = self.encode(result, "The result of the orchestrator", location)
            self._report_unawaited()
        except Exception as error:  # noqa: BLE001 - a converter may raise anything
            self.fail(error)
            return
        self.complete(OrchestrationStatus.COMPLETED, result=text)

    def fail(self, error: BaseException, *, non_retriable: bool | None = None) -> None:
        """Complete with a failure."""
        self.complete(
            OrchestrationStatus.FAILED,
            failure=FailureDetails.from_exception(error, non_retriable=non_retriable),
        )

    def complete(
        self, status: OrchestrationStatus, *, result: str | None = None, failure: FailureDetails | None = None
    ) -> None:
        """End the generation. The first completion stands; nothing of the user's runs afterwards."""
        if self.status is not None:
            return
        self._release_section()
        self.status = status
        restart = self.restart if status is OrchestrationStatus.CONTINUED_AS_NEW else None
        action = CompleteOrchestration(
            id=self.next_id(),
            status=status,
            result=result,
            failure=failure,
            new_version=restart.new_version if restart is not None else None,
            carryover_events=self.mailbox.unread() if restart is not None and restart.save_events else (),
        )
        self.propose(action)
        self.thread = 0
        self.table = self.table.ended
        self.close_fibers()
        if self.observer is not None and not self.is_replaying:
            self.observer.completed(self.started, action)

    def stop_for_restart(self) -> None:
        """The orchestrator waits or has ended after ``continue_as_new``: nothing of it runs any more.

        The completion itself follows at the end of the batch, so that events which are still to come in it are
        carried over and a termination among them wins.
        """
        self._release_section()
        self.continuing = True
        self.thread = 0
        self.table = self.table.continuing
        self.close_fibers()

    def complete_restart(self) -> None:
        """The batch is over: continue as new if that was asked for."""
        if self.continuing and self.status is None and self.restart is not None:
            self.complete(OrchestrationStatus.CONTINUED_AS_NEW, result=self.restart.input)

    def _release_section(self) -> None:
        if self.section is not None:
            self.thread = get_ident()
            self.section.release()

    def _report_unawaited(self) -> None:
        found = self._never_awaited()
        if not found or (self.is_replaying and not self.strict):
            return
        message = (
            f"Orchestration {self.instance_id!r} completed although it never awaited:\n{misuse.never_awaited(found)}\n"
            "Was an 'await' forgotten? Work that was scheduled goes on, but its result and failures are lost. If that "
            "is wanted, say so by reading 'task.is_complete' once."
        )
        if self.strict:
            raise UnawaitedTaskError(message)
        _logger.warning("%s", message)

    def _never_awaited(self) -> list[EngineTask[object]]:
        return [task for task in dict.fromkeys(self._unfinished()) if task.observed == UNSEEN]

    def _unfinished(self) -> Iterable[EngineTask[object]]:
        yield from self.unseen
        for table in (self.activities, self.children, self.timers, self.entity_calls, self.lock_requests):
            yield from table.values()
        yield from self.mailbox.open_waits()
        yield from self.unawaited_groups


class _MainWaiter(Waiter):
    """Completes the orchestration when its own fiber ends."""

    __slots__ = ()

    def wake(self, task: EngineTask[object]) -> None:
        if isinstance(task, Fiber):
            task.sink.finish(task)
