"""The workers' side of a hub: which items are on their way, who has them, and what becomes of those that return.

``Workers`` turns jobs into work items and leases. An instance or an entity has at most one job at a time, from
the moment it becomes runnable until its episode or batch is answered; ``_single`` holds it by key, so nothing is queued
twice. Only the engine calls in here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from durabletask.core.errors import InvalidRequestError, TransportError
from durabletask.core.logs import get_logger
from durabletask.core.work_items import ActivityWorkItem, WorkItem, WorkItemStreamOptions
from durabletask.testing.clock import Clock

from .delivery import Dispatcher, Job, Kind, Lease, Stream
from .entity_state import Entity
from .state import HubState, Instance
from .tasks import Activity
from .timers import Alarm, TimerQueue
from .transitions.entity_batches import batch_item, begin_batch
from .transitions.episodes import begin_episode, work_item

__all__ = ["EngineLimits", "Workers", "later"]

_FIRST_BACKOFF = timedelta(milliseconds=100)
_LONGEST_BACKOFF = timedelta(seconds=30)
_SWEEP_PAUSE = timedelta(seconds=1)
_SUSPICION = timedelta(seconds=5)
_NOTEWORTHY_RETURNS = 3

_logger = get_logger("durabletask.testing.hub")


class EngineLimits:
    """Numbers that an owner may choose.

    Attributes:
        orchestration_lock: after this time without an answer an episode is delivered again. The same for a batch of an
            entity, where it doubles with every delivery.
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


class Workers:
    """Jobs, streams and leases of one hub."""

    def __init__(self, state: HubState, clock: Clock, limits: EngineLimits, timers: TimerQueue) -> None:
        self.work: Dispatcher = Dispatcher()
        self._state = state
        self._clock = clock
        self._limits = limits
        self._timers = timers
        self._single: dict[int, Job] = {}
        self._prefix = secrets.token_hex(8)
        self._tokens = 0
        self._sweeps_at: datetime | None = None

    def next_due(self) -> datetime | None:
        """When the earliest lease may expire."""
        work = self.work
        return self._sweeps_at if work.leases and (not work.waiting or work.is_running) else None

    # --- jobs begin and end ----------------------------------------------------------------------------------

    def queue_episode(self, instance: Instance) -> bool:
        """Queue an instance that has something to do, unless its job is on the way; whether it was queued."""
        if instance.key in self._single or not instance.is_runnable:
            return False
        execution = instance.execution
        lane = (execution.name, execution.version or "")
        job = Job(Kind.ORCHESTRATION, lane, execution.instance_id, instance.key, None)
        self._single[instance.key] = job
        self.work.add(job)
        return True

    def queue_batch(self, entity: Entity) -> bool:
        """Queue an entity that has something to do, unless its job is on the way; whether it was queued."""
        if entity.key in self._single or not entity.is_runnable:
            return False
        name = entity.entity_id[1:].partition("@")[0]
        job = Job(Kind.ENTITY, (name, ""), entity.entity_id, entity.key, None)
        self._single[entity.key] = job
        self.work.add(job)
        return True

    def queue_activities(self, activities: Iterable[Activity]) -> None:
        """Queue activities that are still wanted."""
        for activity in activities:
            if self._is_wanted(activity):
                self.work.add(Job.of_activity(activity))

    def revoke(self, key: int) -> None:
        """The execution or the entity is over: its episode or batch, wherever it is, no longer counts."""
        job = self._single.pop(key, None)
        if job is None:
            return
        if job.lease is not None:
            self.work.settle(job.lease)
        self.work.discard(job)

    def finish(self, lease: Lease) -> None:
        """An item was answered."""
        self.work.settle(lease)
        job = lease.job
        if job.activity is None and self._single.get(job.key) is job:
            del self._single[job.key]

    def _is_wanted(self, activity: Activity) -> bool:
        if activity in self._state.detached:
            return True
        instance = self._state.instances.get(activity.instance_id)
        return instance is not None and instance.open.get(activity.task_id) is activity

    def forget_work(self) -> None:
        """Forget all work. The streams stay."""
        self.work.forget_work()
        self._single.clear()
        self._sweeps_at = None

    # --- streams -----------------------------------------------------------------------------------------------

    def open_stream(self, options: WorkItemStreamOptions) -> Stream:
        """Serve a worker."""
        stream = Stream(options)
        self.work.open(stream)
        return stream

    def close_stream(self, stream: Stream) -> None:
        """Serve a worker no longer: everything it had goes to the others."""
        now = self._clock.now()
        for lease in reversed(self.work.close(stream)):  # each goes to the front: the oldest last
            # Two soon after they were handed out, and the item may be the cause; later it is the worker.
            is_soon = now - lease.since < _SUSPICION
            self._take_back(lease.job, "the stream of its worker has ended", may_delay=is_soon)
        self.work.share()

    def fail_streams(self, error: TransportError, *, is_loop_alive: bool) -> None:
        """End every stream with an error."""
        for stream in list(self.work.streams):
            if is_loop_alive:
                stream.fail(error)
            self.close_stream(stream)

    def next_item(self, stream: Stream) -> WorkItem | None:
        """Build the next work item of a stream; ``None`` if the job has become void."""
        job = self.work.take(stream)
        activity = job.activity
        if activity is not None:
            if self._is_wanted(activity):
                lock = self._limits.activity_lock * 2 ** min(job.deliveries, 20)
                return _activity_item(activity, self._lease(job, stream, lock, self._clock.now()).token)
        elif self._single.get(job.key) is job:
            item = self._batch(job, stream) if job.kind is Kind.ENTITY else self._episode(job, stream)
            if item is not None:
                return item
            del self._single[job.key]
        self.work.let_go(stream, job.kind)
        return None

    def _episode(self, job: Job, stream: Stream) -> WorkItem | None:
        instance = self._state.instances.get(job.instance_id)
        if instance is None or not instance.is_runnable:
            return None
        lease = self._lease(job, stream, self._limits.orchestration_lock, self._clock.now())
        job.episode = begin_episode(instance, lease.since)
        return work_item(instance, job.episode, lease.token)

    def _batch(self, job: Job, stream: Stream) -> WorkItem | None:
        entity = self._state.entities.get(job.instance_id)
        if entity is None or not entity.is_runnable:
            return None
        lock = self._limits.orchestration_lock * 2 ** min(job.deliveries, 20)
        lease = self._lease(job, stream, lock, self._clock.now())
        job.batch = begin_batch(entity)
        return batch_item(entity, job.batch, lease.token)

    # --- leases ------------------------------------------------------------------------------------------------

    def _lease(self, job: Job, stream: Stream, lock: timedelta, now: datetime) -> Lease:
        self._tokens += 1
        job.deliveries += 1
        lease = Lease(f"{self._prefix}-{self._tokens:x}", job, stream, now, later(now, lock))
        self.work.lease(lease)
        if self._sweeps_at is None or lease.deadline < self._sweeps_at:
            self._sweeps_at = lease.deadline
        return lease

    def find(self, token: str, instance_id: str, task_id: int | None) -> Lease | None:
        """The lease that a result belongs to; ``None`` if it is over.

        Raises:
            InvalidRequestError: there is no token, or it is that of another item.
        """
        if not token:
            raise InvalidRequestError(
                f"The result for {instance_id!r} has no completion token; send back the token of the work item."
            )
        lease = self.work.leases.get(token)
        if lease is None:
            return None
        job = lease.job
        own_task = None if job.activity is None else job.activity.task_id
        if job.kind is Kind.ENTITY or job.instance_id != instance_id or own_task != task_id:
            raise InvalidRequestError(
                f"The completion token belongs to another work item than {instance_id!r}; send back the token, the "
                "instance id and the task id of the item together."
            )
        return lease

    def find_batch(self, token: str, entity_id: str) -> Lease | None:
        """The lease that the result of a batch belongs to; ``None`` if it is over.

        On the wire a result does not name its entity.

        Raises:
            InvalidRequestError: there is no token and more or less than one batch in flight, or the token is that of
                another item.
        """
        if not token:
            return self._only_batch(entity_id)
        lease = self.work.leases.get(token)
        if lease is not None and (
            lease.job.kind is not Kind.ENTITY or entity_id not in {"", lease.job.instance_id}
        ):
            raise InvalidRequestError(
                f"The completion token belongs to another work item than a batch of entity {entity_id!r}; send back the "
                "token of the item."
            )
        return lease

    def _only_batch(self, entity_id: str) -> Lease:
        # The .NET worker sends no token with the first form of a batch: decisions row 32.
        leases = [lease for lease in self.work.leases.values() if lease.job.kind is Kind.ENTITY]
        found = [lease for lease in leases if entity_id in {"", lease.job.instance_id}]
        if len(found) == 1:
            return found[0]
        raise InvalidRequestError(
            f"The result of a batch{f' of entity {entity_id!r}' if entity_id else ''} has no completion token, and "
            f"{len(found)} batches are in flight that it may belong to; send back the token of the work item."
        )

    def abandon(self, token: str) -> None:
        """Take an item back; it becomes visible again after a pause that grows with every time."""
        lease = self.work.leases.get(token)
        if lease is not None:
            self.work.settle(lease)
            self._take_back(lease.job, "its worker abandoned it", is_refused=True)
            self.work.share()

    def _take_back(self, job: Job, reason: str, *, may_delay: bool = True, is_refused: bool = False) -> None:
        """Queue an item that comes back without an answer: every such item, whatever the reason.

        The item may be what ends its workers or its streams, so the second time it is put off, for longer each time,
        and the log names it. An item that was refused is put off the first time, too.
        """
        job.returns += 1
        pause = timedelta(0)
        if may_delay and (is_refused or job.returns > 1):
            pause = min(_FIRST_BACKOFF * 2 ** min(job.returns - 1, 10), _LONGEST_BACKOFF)
        if job.returns >= _NOTEWORTHY_RETURNS:
            _logger.warning(
                "%s %r has come back without an answer %d times, this time because %s. It is delivered "
                "again in %.1f s.",
                _name_of(job),
                job.instance_id,
                job.returns,
                reason,
                pause.total_seconds(),
            )
        if not pause:
            self.work.add(job, first=True)
            return

        def bring_back() -> None:
            if job.activity is not None or self._single.get(job.key) is job:
                self.work.add(job)
                self.work.share()

        self._timers.add(self._clock.now() + pause, Alarm(bring_back))

    def sweep(self, now: datetime) -> None:
        """Deliver items again whose workers did not answer in time."""
        if self._sweeps_at is None or self._sweeps_at > now:
            return
        expired = [lease for lease in self.work.leases.values() if lease.deadline <= now]
        for lease in reversed(expired):
            if lease.token in self.work.waiting:  # it waits for this hub, so its worker is alive
                lease.deadline = later(now, now - lease.since)
                continue
            self.work.settle(lease)
            self._take_back(lease.job, "its lock has expired")
        rest = min((lease.deadline for lease in self.work.leases.values()), default=None)
        self._sweeps_at = None if rest is None else max(rest, now + _SWEEP_PAUSE)
        self.work.share()


def _name_of(job: Job) -> str:
    if job.activity is not None:
        return f"Activity {job.activity.name!r} of instance"
    return "A batch of entity" if job.kind is Kind.ENTITY else "An episode of instance"


def _activity_item(activity: Activity, token: str) -> ActivityWorkItem:
    return ActivityWorkItem(
        name=activity.name,
        instance_id=activity.instance_id,
        task_id=activity.task_id,
        execution_id=activity.execution_id,
        version=activity.version,
        input=activity.input,
        tags=activity.tags,
        trace_context=activity.trace_context,
        completion_token=token,
    )


def later(now: datetime, delta: timedelta) -> datetime:
    """A time that is later by ``delta``, or the last there is."""
    try:
        return now + delta
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)
