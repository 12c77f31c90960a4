"""The workers' side of a hub: which items are on their way, who has them, and what becomes of those that return.

``Workers`` turns jobs into work items and leases. An instance has at most one job at a time, from the moment it
becomes runnable until its episode is answered; ``_episodes`` holds it, so an instance is never queued twice. Only the
engine calls in here.
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
from .state import HubState, Instance
from .tasks import Activity
from .timers import Alarm, TimerQueue
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


class Workers:
    """Jobs, streams and leases of one hub."""

    def __init__(self, state: HubState, clock: Clock, limits: EngineLimits, timers: TimerQueue) -> None:
        self.work: Dispatcher = Dispatcher()
        self._state = state
        self._clock = clock
        self._limits = limits
        self._timers = timers
        self._episodes: dict[int, Job] = {}
        self._prefix = secrets.token_hex(8)
        self._tokens = 0
        self._sweeps_at: datetime | None = None

    def next_due(self) -> datetime | None:
        """When the earliest lease may expire."""
        return self._sweeps_at if self.work.is_running else None

    # --- jobs begin and end ----------------------------------------------------------------------------------

    def queue_episode(self, instance: Instance) -> bool:
        """Queue an instance that has something to do, unless its job is on the way; whether it was queued."""
        if not instance.is_runnable or instance.key in self._episodes:
            return False
        execution = instance.execution
        lane = (execution.name, execution.version or "")
        job = Job(Kind.ORCHESTRATION, lane, execution.instance_id, instance.key, None)
        self._episodes[instance.key] = job
        self.work.add(job)
        return True

    def queue_activities(self, activities: Iterable[Activity]) -> None:
        """Queue activities that are still wanted."""
        for activity in activities:
            if self._is_wanted(activity):
                self.work.add(Job.of_activity(activity))

    def revoke_episode(self, key: int) -> None:
        """The execution has ended: its episode, wherever it is, no longer counts."""
        job = self._episodes.pop(key, None)
        if job is None:
            return
        if job.lease is not None:
            self.work.settle(job.lease)
        self.work.discard(job)

    def finish(self, lease: Lease) -> None:
        """An item was answered."""
        self.work.settle(lease)
        job = lease.job
        if job.activity is None and self._episodes.get(job.key) is job:
            del self._episodes[job.key]

    def _is_wanted(self, activity: Activity) -> bool:
        if activity in self._state.detached:
            return True
        instance = self._state.instances.get(activity.instance_id)
        return instance is not None and instance.open.get(activity.task_id) is activity

    def forget_work(self) -> None:
        """Forget all work. The streams stay."""
        self.work.forget_work()
        self._episodes.clear()
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
        elif self._episodes.get(job.key) is job:
            instance = self._state.instances.get(job.instance_id)
            if instance is not None and instance.is_runnable:
                lease = self._lease(job, stream, self._limits.orchestration_lock, self._clock.now())
                job.episode = begin_episode(instance, lease.since)
                return work_item(instance, job.episode, lease.token)
            del self._episodes[job.key]
        self.work.let_go(stream, job.kind)
        return None

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
        if job.instance_id != instance_id or own_task != task_id:
            raise InvalidRequestError(
                f"The completion token belongs to another work item than {instance_id!r}; send back the token, the "
                "instance id and the task id of the item together."
            )
        return lease

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
                "%s of instance %r has come back without an answer %d times, this time because %s. It is delivered "
                "again in %.1f s.",
                "An episode" if job.activity is None else f"Activity {job.activity.name!r}",
                job.instance_id,
                job.returns,
                reason,
                pause.total_seconds(),
            )
        if not pause:
            self.work.add(job, first=True)
            return

        def bring_back() -> None:
            if job.activity is not None or self._episodes.get(job.key) is job:
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
