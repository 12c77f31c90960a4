"""The engine of one task hub: carries out what transitions decide.

It owns the state, the ready work, the timers and the waiting clients, and is what the clock wakes. It
knows nothing of ``Transport``; the façade does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from durabletask.core.errors import (
    ConfigurationError,
    InstanceNotFoundError,
    InvalidRequestError,
    TransportError,
)
from durabletask.core.execution.runner import running_item
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    OrchestratorResult,
    WorkItem,
    WorkItemStreamOptions,
)
from durabletask.testing.clock import Clock, running_loop

from .delivery import Delivery, Dispatcher, Kind, Stream
from .effects import Transition
from .journal import Journal
from .paging import Position, microseconds
from .queries import OrderedIndex
from .state import Activity, DurableTimer, HubState, Instance, snapshot
from .store.codec import restore_flags
from .timers import Call, TimerQueue
from .transitions.creation import start_scheduled
from .transitions.ending import remove
from .transitions.episodes import begin_episode, complete_episode
from .transitions.messages import answer_activity, fire_timer
from .transitions.rewinding import restore_open_tasks

__all__ = ["Engine", "EngineLimits", "Waiter", "later"]

_FIRST_BACKOFF = timedelta(milliseconds=100)
_LONGEST_BACKOFF = timedelta(seconds=30)
_SWEEP_PAUSE = timedelta(seconds=1)
_SUSPICION = timedelta(seconds=5)


class EngineLimits:
    """Numbers that an owner may choose.

    Attributes:
        orchestration_lock: after this time without an answer an episode is delivered again.
        activity_lock: the same for activities. It doubles with every delivery, so that an activity that
            takes longer than the lock ends some time.
        max_finished_instances: how many finished instances are kept in memory; ``None``: all.
    """

    __slots__ = ("activity_lock", "max_finished_instances", "orchestration_lock")

    def __init__(
        self,
        orchestration_lock: timedelta,
        activity_lock: timedelta,
        max_finished_instances: int | None,
    ) -> None:
        self.orchestration_lock: timedelta = orchestration_lock
        self.activity_lock: timedelta = activity_lock
        self.max_finished_instances: int | None = max_finished_instances


class Waiter:
    """A client that waits for an instance to start or to end."""

    __slots__ = ("future", "include_payloads", "wants_completion")

    def __init__(
        self,
        future: asyncio.Future[OrchestrationState | None],
        *,
        wants_completion: bool,
        include_payloads: bool,
    ) -> None:
        self.future: asyncio.Future[OrchestrationState | None] = future
        self.wants_completion: bool = wants_completion
        self.include_payloads: bool = include_payloads

    def is_satisfied_by(self, instance: Instance) -> bool:
        """Whether the instance is where the client wants it."""
        if self.wants_completion:
            return instance.is_terminal
        return instance.status is not OrchestrationStatus.PENDING

    def answer(self, instance: Instance) -> Callable[[], None]:
        """Take the state as it is now; the returned function sends it."""
        state = snapshot(instance, include_payloads=self.include_payloads)
        return partial(self.resolve, state)

    def resolve(self, state: OrchestrationState | None) -> None:
        """Send an answer, unless the client has gone."""
        if not self.future.done():
            self.future.set_result(state)

    def fail(self, error: Exception) -> None:
        """Send an error, unless the client has gone."""
        if not self.future.done():
            self.future.set_exception(error)


class Engine:
    """One task hub at work. All methods run in one event loop and never wait."""

    def __init__(self, task_hub: str, clock: Clock, limits: EngineLimits) -> None:
        self.task_hub: str = task_hub
        self.clock: Clock = clock
        self.limits: EngineLimits = limits
        self.state: HubState = HubState(_new_id)
        self.journal: Journal | None = None
        self.reads: int = 0
        self.work: Dispatcher = Dispatcher()
        self.by_creation: OrderedIndex = OrderedIndex(_creation)
        self.by_completion: OrderedIndex = OrderedIndex(_completion)
        self._timers = TimerQueue()
        self._waiters: dict[str, list[Waiter]] = {}
        self._finished: deque[Instance] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._prefix = secrets.token_hex(8)
        self._tokens = 0
        self._is_waking = False
        self._sweeps_at: datetime | None = None

    # --- clock -------------------------------------------------------------------------------------------

    def next_due(self) -> datetime | None:
        """When the earliest timer is due, or the earliest lock on an item that a worker has may expire."""
        due, sweep = self._timers.next_due(), self._sweeps_at
        if sweep is None or not self.work.is_running:
            return due
        return sweep if due is None else min(due, sweep)

    def is_busy(self) -> bool:
        """Whether work is ready or in flight, or something is not yet on disk."""
        return self.work.is_busy or self.is_using_disk()

    def is_using_disk(self) -> bool:
        """Whether something is being read from the store, or not yet written to it."""
        return self.reads > 0 or (self.journal is not None and self.journal.is_busy)

    def wake(self, now: datetime) -> None:
        """Run what is due."""
        self._is_waking = True
        try:
            for entry in self._timers.take_due(now):
                if entry.is_cancelled:  # perhaps by one before it
                    continue
                if isinstance(entry, DurableTimer):
                    self._fire(entry)
                else:
                    entry.action()
            if self._sweeps_at is not None and self._sweeps_at <= now:
                self._sweep_locks(now)
        finally:
            self._is_waking = False
        self.notify_clock()

    def notify_clock(self) -> None:
        """Tell the clock that something has changed."""
        if not self._is_waking:
            self.clock.notify(self)

    def call_at(
        self, due: datetime, action: Callable[[], None], is_live: Callable[[], bool] | None = None
    ) -> None:
        """Call ``action`` on the hub's clock."""
        self._timers.add(due, Call(action, is_live))

    # --- transitions ---------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Make the running event loop the engine's own.

        Raises:
            ConfigurationError: the engine belongs to another loop that is still running.
        """
        loop = running_loop("A task hub in this process")
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise ConfigurationError(
                f"Task hub {self.task_hub!r} is in use by another event loop that is still running; use one loop "
                "for all clients and workers of an in-process hub, or separate hubs."
            )
        self._loop = loop
        self.clock.detach(self)
        for stream in list(self.work.streams):  # their readers died with the old loop
            self.close_stream(stream)
        self._waiters.clear()
        self.clock.notify(self)

    def begin(self) -> Transition:
        """Start a command."""
        self.bind()
        return Transition(self.state, self.clock.now())

    def apply(self, tx: Transition) -> None:
        """Carry out the effects of a command."""
        work = self.work
        if tx.clears_hub:
            work.forget_work()
        for token in tx.revoked:
            work.settle(token)
        for instance in tx.runnable:
            work.add(Kind.ORCHESTRATION, instance)
        for timer in tx.timers:
            self._timers.add(timer.fire_at, timer)
        for instance in tx.held:
            if instance.scheduled_start_at is not None:
                self.call_at(instance.scheduled_start_at, partial(self._start_scheduled, instance))
        if tx.created or tx.reached or tx.removed:
            self._note_lives(tx)
        answers = self._answers(tx)
        if self.journal is None or not (
            tx.changed or tx.removed or tx.detached or tx.attended or tx.clears_hub
        ):
            self._release(tx.activities, answers)
        else:
            # Nobody outside waits for a mere episode: its turn may share the commit.
            urgent = bool(tx.activities or answers or not tx.runnable or not work.streams)
            self.journal.add(tx, partial(self._release, tx.activities, answers), urgent=urgent)
            work.share()
            self.notify_clock()

    def _release(self, activities: list[Activity], answers: list[Callable[[], None]]) -> None:
        """What may leave after the commit; without a store that is at once."""
        for activity in activities:
            if not activity.is_cancelled:
                self.work.add(Kind.ACTIVITY, activity)
        for send in answers:
            send()
        self.work.share()
        self.notify_clock()

    def restore(self, instances: list[Instance], detached: list[Activity]) -> None:
        """Go on with what a store remembers."""
        tx = self.begin()
        for instance in instances:
            self.state.instances[instance.instance_id] = instance
            restore_flags(instance, tx.now)
            restore_open_tasks(tx, instance)
            tx.created.append(instance)
            if instance.is_held:
                tx.held.append(instance)
            else:
                tx.make_runnable(instance)
        tx.activities += detached
        self.apply(tx)

    def reset(self, keys: Iterator[int] | None = None) -> None:
        """Forget everything. The store, if there is one, remembers."""
        self.journal = None
        self.work.clear()
        self._timers.clear()
        self._finished.clear()
        self._sweeps_at = None
        self.state = HubState(_new_id, keys or self.state.keys)
        self.by_creation.invalidate()
        self.by_completion.invalidate()

    def _note_lives(self, tx: Transition) -> None:
        self.by_creation.invalidate()
        self.by_completion.invalidate()
        cap = self.limits.max_finished_instances
        if cap is None:
            return
        finished = self._finished
        finished.extend(instance for instance in tx.reached if instance.is_terminal)
        while len(finished) > cap:
            oldest = finished.popleft()
            if oldest.is_terminal and self.state.instances.get(oldest.instance_id) is oldest:
                remove(tx, oldest, tell_waiting=False)

    def _answers(self, tx: Transition) -> list[Callable[[], None]]:
        """The answers that waiting clients get from this command, as functions that send them."""
        if not self._waiters:
            return []
        answers: list[Callable[[], None]] = []
        for instance in tx.reached:
            waiting = self._waiters.get(instance.instance_id, ())
            answers += [waiter.answer(instance) for waiter in waiting if waiter.is_satisfied_by(instance)]
        for instance, tell_waiting in tx.removed:
            if tell_waiting:
                for waiter in self._waiters.get(instance.instance_id, ()):
                    error = InstanceNotFoundError(
                        f"Orchestration instance {instance.instance_id!r} was purged while it was waited for."
                    )
                    answers.append(partial(waiter.fail, error))
        return answers

    def _fire(self, timer: DurableTimer) -> None:
        tx = self.begin()
        fire_timer(tx, timer)
        self.apply(tx)

    def _start_scheduled(self, instance: Instance) -> None:
        tx = self.begin()
        start_scheduled(tx, instance)
        self.apply(tx)

    # --- waiting clients ------------------------------------------------------------------------------------

    async def wait(
        self, instance_id: str, waiter: Waiter, timeout: timedelta | None
    ) -> OrchestrationState | None:
        """Wait for the answer of a waiter, or its time-out on the hub's clock."""
        future = waiter.future
        self._waiters.setdefault(instance_id, []).append(waiter)
        if timeout is not None:
            due = later(self.clock.now(), timeout)
            self.call_at(due, partial(waiter.resolve, None), lambda: not future.done())
        try:
            with self.work.waits(running_item.get()):
                self.notify_clock()
                return await future
        finally:
            waiting = self._waiters.get(instance_id)
            if waiting is not None and waiter in waiting:
                waiting.remove(waiter)
                if not waiting:
                    del self._waiters[instance_id]

    # --- workers ---------------------------------------------------------------------------------------------

    def open_stream(self, options: WorkItemStreamOptions) -> Stream:
        """A worker has come."""
        self.bind()
        stream = Stream(options)
        self.work.open(stream)
        self.notify_clock()
        return stream

    def close_stream(self, stream: Stream) -> None:
        """A worker has gone: everything it had goes to the others."""
        now = self.clock.now()
        for delivery in reversed(self.work.close(stream)):  # each goes to the front: the oldest last
            self._lose(delivery, now)
        self.work.share()
        if self._loop is not None and not self._loop.is_closed() and self._loop.is_running():
            self.notify_clock()

    def next_item(self, stream: Stream) -> WorkItem | None:
        """Build the next work item of a stream; ``None`` if what was to be done is not to be done any more."""
        kind, work = stream.buffer.popleft()
        now = self.clock.now()
        if isinstance(work, Instance):
            work.is_queued = False
            if not work.is_runnable:
                stream.outstanding[kind] -= 1
                return None
            delivery = self._deliver(kind, work, stream, now, self.limits.orchestration_lock)
            return begin_episode(work, delivery.token, now)
        if work.is_cancelled:
            stream.outstanding[kind] -= 1
            return None
        lock = self.limits.activity_lock * 2 ** min(work.deliveries, 20)
        delivery = self._deliver(kind, work, stream, now, lock)
        work.deliveries += 1
        work.token = delivery.token
        return ActivityWorkItem(
            name=work.name,
            instance_id=work.instance_id,
            task_id=work.task_id,
            execution_id=work.execution_id,
            version=work.version,
            input=work.input,
            tags=work.tags,
            trace_context=work.trace_context,
            completion_token=delivery.token,
        )

    def _deliver(
        self, kind: Kind, work: Instance | Activity, stream: Stream, now: datetime, lock: timedelta
    ) -> Delivery:
        self._tokens += 1
        deadline = later(now, lock)
        token = f"{self._prefix}-{self._tokens:x}"
        delivery = Delivery(token, kind, work, stream, since=now, deadline=deadline)
        self.work.deliver(delivery)
        if self._sweeps_at is None or deadline < self._sweeps_at:
            self._sweeps_at = deadline
        return delivery

    def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode; a token that is not outstanding changes nothing."""
        delivery = self._find(result.completion_token, result.instance_id, None)
        if delivery is None or not isinstance(delivery.work, Instance):
            return
        if result.requires_history:  # it gets the whole history every time; try again a little later
            self.abandon(delivery.token)
            return
        tx = self.begin()
        complete_episode(tx, delivery.work, result)
        self.work.settle(delivery.token)
        self.apply(tx)

    def complete_activity(self, result: ActivityResult) -> None:
        """Answer an activity; a token that is not outstanding changes nothing."""
        delivery = self._find(result.completion_token, result.instance_id, result.task_id)
        if delivery is None or not isinstance(delivery.work, Activity):
            return
        tx = self.begin()
        delivery.work.token = None
        self.work.settle(delivery.token)
        answer_activity(tx, delivery.work, result)
        self.apply(tx)

    def _find(self, token: str, instance_id: str, task_id: int | None) -> Delivery | None:
        """The delivery that a result belongs to. Some workers send no token: then the ids decide."""
        if not token:
            token = self._token_of(instance_id, task_id)
        delivery = self.work.find(token)
        if delivery is None:
            return None
        work = delivery.work
        own_task = work.task_id if isinstance(work, Activity) else None
        if work.instance_id != instance_id or own_task != task_id:
            raise InvalidRequestError(
                f"The completion token belongs to another work item than {instance_id!r}; send back the token, the "
                "instance id and the task id of the item together."
            )
        return delivery

    def _token_of(self, instance_id: str, task_id: int | None) -> str:
        instance = self.state.instances.get(instance_id)
        if instance is None:
            return "" if task_id is None else self._token_of_detached(instance_id, task_id)
        if task_id is None:
            return instance.episode.token if instance.episode is not None else ""
        activity = instance.activities.get(task_id)
        if activity is not None:
            return activity.token or ""
        return self._token_of_detached(instance_id, task_id)

    def _token_of_detached(self, instance_id: str, task_id: int) -> str:
        """Of an activity whose execution is over; rare, so it is searched for."""
        for token, delivery in self.work.deliveries.items():
            work = delivery.work
            if isinstance(work, Activity) and (work.instance_id, work.task_id) == (instance_id, task_id):
                return token
        return ""

    # --- work that comes back ----------------------------------------------------------------------------------

    def abandon(self, token: str) -> None:
        """Give an item back; it becomes visible again after a pause that grows with every time."""
        self.bind()
        delivery = self.work.settle(token)
        if delivery is None:
            return
        self._put_off(delivery)
        self.work.share()
        self.notify_clock()

    def _put_off(self, delivery: Delivery) -> None:
        """Hand an item out again, after a pause that grows with every time."""
        work = delivery.work
        pause = min(_FIRST_BACKOFF * 2 ** min(work.abandons, 10), _LONGEST_BACKOFF)
        work.abandons += 1
        if isinstance(work, Instance):
            work.episode = None
            work.is_queued = True  # stays out of the queue, whatever arrives, until the pause is over
        else:
            work.token = None
        self.call_at(self.clock.now() + pause, partial(self._bring_back, delivery.kind, work))

    def _bring_back(self, kind: Kind, work: Instance | Activity) -> None:
        self.work.add(kind, work)
        self.work.share()
        self.notify_clock()

    def _lose(self, delivery: Delivery, now: datetime) -> None:
        """The stream of an item ended. Twice in a row soon after it was handed out, and it may be the cause."""
        work = delivery.work
        if now - delivery.since >= _SUSPICION:
            self._take_back(delivery)
        elif work.abandons:
            self._put_off(delivery)
        else:
            work.abandons = 1
            self._take_back(delivery)

    def _take_back(self, delivery: Delivery) -> None:
        """A worker is lost: its item is the next to be handed out."""
        work = delivery.work
        if isinstance(work, Instance):
            work.episode = None
            work.is_queued = True
        else:
            work.token = None
        self.work.add(delivery.kind, work, first=True)

    def _sweep_locks(self, now: datetime) -> None:
        expired = [one for one in self.work.deliveries.values() if one.deadline <= now]
        for delivery in reversed(expired):
            if delivery.token in self.work.waiting:  # it waits for this hub, so its worker is alive
                delivery.deadline = later(now, now - delivery.since)
                continue
            self.work.settle(delivery.token)
            self._take_back(delivery)
        rest = min((one.deadline for one in self.work.deliveries.values()), default=None)
        self._sweeps_at = None if rest is None else max(rest, now + _SWEEP_PAUSE)
        self.work.share()

    # --- the end -------------------------------------------------------------------------------------------------

    def stop(self, error: TransportError) -> None:
        """End every stream and every wait with an error. The state stays."""
        is_alive = self._loop is not None and self._loop.is_running()
        for stream in list(self.work.streams):
            if is_alive:
                stream.fail(error)
            self.close_stream(stream)
        for waiters in list(self._waiters.values()) if is_alive else ():
            for waiter in waiters:
                waiter.fail(error)
        self._waiters.clear()
        self.clock.detach(self)


def _new_id() -> str:
    return secrets.token_hex(16)


def _creation(instance: Instance) -> Position | None:
    return Position(microseconds(instance.created_at), instance.instance_id)


def _completion(instance: Instance) -> Position | None:
    if instance.completed_at is None:
        return None
    return Position(microseconds(instance.completed_at), instance.instance_id)


def later(now: datetime, delta: timedelta) -> datetime:
    """A time that is later by ``delta``, or the last there is."""
    try:
        return now + delta
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)
