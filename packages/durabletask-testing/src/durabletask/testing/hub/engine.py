"""The engine of one task hub: carries out what transitions decide.

A command runs in three steps, all in one iteration of the event loop:

1. ``begin``: a ``Transition`` over the present state; a function of ``transitions`` changes drafts in it.
2. The commit log encodes the difference (``apply`` begins with that). Up to here the hub is as it was, and an error
   of any kind ends the command without a trace.
3. The drafts take the place of the instances, then effects follow: queues, timers, and after the commit activities
   and answers. Nothing in this step may fail.

The engine owns the state, the timers and the waiting clients, and is what the clock wakes. It knows nothing of
``Transport``; ``LocalTaskHub`` does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

from durabletask.core.errors import ConfigurationError, TransportError
from durabletask.core.execution.runner import running_item
from durabletask.core.instances import OrchestrationState
from durabletask.core.logs import get_logger
from durabletask.core.portal import running_loop
from durabletask.core.work_items import WorkItemStreamOptions
from durabletask.testing.clock import Clock

from .delivery import Lease, Stream
from .effects import Transition
from .entity_state import Entity
from .journal import CommitLog
from .request_ids import RequestId
from .retention import Retention
from .state import HubState, Instance
from .tasks import Activity, DelayedMessage
from .timers import Alarm, Timer, TimerQueue
from .transitions.creation import start_scheduled
from .transitions.messages import fire_timer
from .transitions.restoring import restore_execution
from .waiting import ClientWait, WaitingClients
from .workers import EngineLimits, Workers, later

__all__ = ["Engine"]

_logger = get_logger("durabletask.testing.hub")
_RETRY_PAUSE = timedelta(seconds=30)


class Engine:
    """One task hub at work. All methods run in one event loop and never wait, ``wait`` aside."""

    def __init__(self, task_hub: str, clock: Clock, limits: EngineLimits, commits: CommitLog) -> None:
        self.task_hub: str = task_hub
        self.clock: Clock = clock
        self.limits: EngineLimits = limits
        self.commits: CommitLog = commits
        self.state: HubState = HubState(_new_id)
        self.reads: int = 0
        self._timers = TimerQueue(self.state.is_awaited)
        self.workers: Workers = Workers(self.state, clock, limits, self._timers)
        self._waiting = WaitingClients()
        self._starts: dict[int, Alarm] = {}
        self._retention = Retention(self.state, limits.max_finished_instances)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_waking = False

    # --- clock -------------------------------------------------------------------------------------------

    def next_due(self) -> datetime | None:
        """When the earliest timer is due, or the earliest lease may expire."""
        due, sweep = self._timers.next_due(), self.workers.next_due()
        if sweep is None or due is None:
            return due or sweep
        return min(due, sweep)

    def is_busy(self) -> bool:
        """Whether work is ready or in flight, or something is not yet on disk."""
        return self.workers.work.is_busy or self.is_using_disk()

    @property
    def is_unused(self) -> bool:
        """Whether there is no instance, no entity, no stream, and nothing that waits."""
        work = self.workers.work
        return not (
            self.state.instances
            or self.state.entities
            or work.streams
            or work.is_busy
            or self._waiting.is_waited
            or self.is_using_disk()
        )

    def is_using_disk(self) -> bool:
        """Whether something is being read from the storage, or not yet written to it."""
        return self.reads > 0 or self.commits.is_busy

    def wake(self, now: datetime) -> None:
        """Run what is due."""
        self._is_waking = True
        try:
            for entry in self._timers.take_due(now):
                self._run_due(entry, now)
            self.workers.sweep(now)
        finally:
            self._is_waking = False
        self.notify_clock()

    def _run_due(self, entry: Timer | Alarm, now: datetime) -> None:
        try:
            if isinstance(entry, Alarm):
                entry.ring()
            elif self.state.is_awaited(entry):
                tx = self.begin()
                fire_timer(tx, entry)
                self.apply(tx)
        except Exception:  # a defect must not stop the other timers
            _logger.exception("Task hub %r could not run what was due; it tries again.", self.task_hub)
            self._timers.add(later(now, _RETRY_PAUSE), entry)

    def notify_clock(self) -> None:
        """Notify the clock that something has changed."""
        if not self._is_waking:
            self.clock.notify(self)

    # --- commands ------------------------------------------------------------------------------------------

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
        for stream in list(self.workers.work.streams):  # their readers died with the old loop
            self.workers.close_stream(stream)
        self._waiting.clear()
        self.clock.notify(self)

    def begin(self) -> Transition:
        """Start a command. The engine must be bound."""
        return Transition(self.state, self.clock.now())

    def apply(self, tx: Transition, *, answered: Lease | None = None) -> None:
        """Put the drafts of a command in place and carry out its effects.

        Raises:
            Exception: the change cannot be encoded; nothing has happened.
        """
        if tx.entities:
            tx.drop_void_entities()
        commit = self.commits.prepare(tx)
        answers = self._waiting.left(tx.removed) if tx.removed else []
        if answered is not None:
            self.workers.finish(answered)
        has_queued = self._put_in_place(tx, answers)
        for timer in tx.timers:
            self._timers.add(timer.fire_at, timer)
        if commit is None:
            self._release(tx.activities, answers)
            self.advance()
            return
        # An episode or a batch has no effect in the hub before its result is committed: the two may share a commit.
        is_urgent = bool(tx.activities or answers or not has_queued or not self.workers.work.streams)
        self.commits.add(commit, partial(self._release, tx.activities, answers), is_urgent=is_urgent)
        self.advance()

    def _put_in_place(self, tx: Transition, answers: list[Callable[[], None]]) -> bool:
        """The drafts become the state, and answers what follows from it; whether an episode or a batch was queued."""
        state, has_queued = self.state, False
        if tx.clears_hub:
            self._forget()
        for instance_id, draft in tx.drafts.items():
            old = state.instances.get(instance_id)
            if draft is not None:
                has_queued |= self._put_instance(old, draft, answers)
            elif old is not None:
                self._stop_instance(old)
                state.drop(old)
        state.detached.update(tx.detached)
        for activity in tx.attended:
            state.detached.pop(activity, None)
        if tx.entities:
            has_queued |= self._put_entities(tx.entities)
        state.request_ids.change(tx.request_ids, tx.forgets)
        return has_queued

    def _put_instance(self, old: Instance | None, draft: Instance, answers: list[Callable[[], None]]) -> bool:
        if old is not None and (old.is_held or draft.is_terminal or draft.key != old.key):
            self._stop_instance(old)
        if old is None or old.summary is not draft.summary:  # only then may it be what a client waits for
            answers += self._waiting.reached(draft)
        self.state.put(draft)
        if draft.is_held:
            self._hold(draft)
        elif draft.is_terminal:
            self._retention.add(draft)
        else:
            return self.workers.queue_episode(draft)
        return False

    def _stop_instance(self, old: Instance) -> None:
        """Take back the episode and the scheduled start of an instance that has ended or will be queued anew."""
        self.workers.revoke(old.key)
        alarm = self._starts.pop(old.key, None)
        if alarm is not None:
            alarm.cancel()

    def _put_entities(self, drafts: Mapping[str, Entity | None]) -> bool:
        has_queued = False
        for entity_id, draft in drafts.items():
            old = self.state.entities.get(entity_id)
            if old is not None and (draft is None or draft.key != old.key):
                self.workers.revoke(old.key)
            if draft is None:
                self.state.drop_entity(entity_id)
            else:
                self.state.put_entity(draft)
                has_queued |= self.workers.queue_batch(draft)
        return has_queued

    def _release(self, activities: list[Activity], answers: list[Callable[[], None]]) -> None:
        """What may leave after the commit; without one that is at once. ``advance`` must follow."""
        if activities:
            self.workers.queue_activities(activities)
        for send in answers:
            send()

    def advance(self) -> None:
        """Hand on what was queued, and have the clock look at what has changed."""
        self.workers.work.share()
        self.notify_clock()

    def _hold(self, instance: Instance) -> None:
        start_at = instance.execution.scheduled_start_at
        if start_at is None:
            return
        instance_id, key = instance.instance_id, instance.key

        def start() -> None:
            tx = self.begin()
            start_scheduled(tx, instance_id, key)
            self.apply(tx)

        self._starts[key] = alarm = Alarm(start)
        self._timers.add(start_at, alarm)

    # --- storage ---------------------------------------------------------------------------------------------

    def restore(
        self,
        instances: Iterable[Instance],
        detached: Mapping[Activity, int],
        entities: Iterable[Entity],
        request_ids: Iterable[RequestId],
    ) -> None:
        """Go on with what a storage remembers. Nothing of this is written again."""
        self.bind()
        tx = Transition(self.state, self.clock.now())
        for entity in entities:
            self.state.put_entity(entity)
            tx.timers += [one for one in entity.delayed.values() if isinstance(one, DelayedMessage)]
            self.workers.queue_batch(entity)
        for instance in instances:
            restore_execution(tx, instance)
            self.state.put(instance)
            if instance.is_held:
                self._hold(instance)
            self.workers.queue_episode(instance)
        self.state.detached.update(detached)
        self.state.request_ids.change(request_ids)
        for timer in tx.timers:
            self._timers.add(timer.fire_at, timer)
        self._release([*tx.activities, *detached], [])
        self.advance()

    def reset(self) -> None:
        """Forget everything. The storage, if it is a file, remembers."""
        for stream in list(self.workers.work.streams):
            self.workers.work.close(stream)
        self._forget()
        self._timers.clear()

    def _forget(self) -> None:
        self.workers.forget_work()
        for alarm in self._starts.values():
            alarm.cancel()
        self._starts.clear()
        self._retention.clear()
        self.state.clear()

    # --- waiting clients ------------------------------------------------------------------------------------

    async def wait(
        self, instance_id: str, wait: ClientWait, timeout: timedelta | None
    ) -> OrchestrationState | None:
        """Wait for an instance, or the time-out on the hub's clock."""
        alarm = None
        if timeout is not None:
            alarm = Alarm(partial(wait.resolve, None))
            self._timers.add(later(self.clock.now(), timeout), alarm)
        self._waiting.add(instance_id, wait)
        try:
            with self.workers.work.waits(running_item.get()):
                self.notify_clock()
                return await wait.future
        finally:
            self._waiting.discard(instance_id, wait)
            if alarm is not None:
                alarm.cancel()

    # --- workers ---------------------------------------------------------------------------------------------

    def open_stream(self, options: WorkItemStreamOptions) -> Stream:
        """Serve a worker."""
        self.bind()
        stream = self.workers.open_stream(options)
        self.notify_clock()
        return stream

    def close_stream(self, stream: Stream) -> None:
        """Serve a worker no longer."""
        self.workers.close_stream(stream)
        if self._loop is not None and not self._loop.is_closed() and self._loop.is_running():
            self.notify_clock()

    def abandon(self, token: str) -> None:
        """Take an item back; it becomes visible again after a pause that grows with every time."""
        self.bind()
        self.workers.abandon(token)
        self.notify_clock()

    # --- the end -------------------------------------------------------------------------------------------------

    def stop(self, error: TransportError) -> None:
        """End every stream and every wait with an error. The state stays."""
        is_alive = self._loop is not None and self._loop.is_running()
        self.workers.fail_streams(error, is_loop_alive=is_alive)
        self._waiting.clear(error if is_alive else None)
        self.clock.detach(self)


def _new_id() -> str:
    return secrets.token_hex(16)
