"""Work that is ready, and its way to the workers.

A ``Job`` is one episode, one activity or the batch of one entity on its way, in exactly one of these places:

    queued ──> buffered ──> leased ──> gone (answered)
      ^ ^          │           │
      │ └──────────┘           │  the worker abandoned the item, the stream closed, the lease expired
      └──────────── put off <──┘  for longer each time; the first time only if it was abandoned

* queued: in its lane, by kind, name and version. Lanes are served in rotation; jobs of one lane keep their order.
* buffered: a stream has it and its reader has not asked for it. Another stream may still take it over (``relieve``).
* leased: a worker has it, under a token, until a deadline.

``Dispatcher`` moves jobs between the first three; ``Workers`` owns leases' ends and pauses. A job can become void
while it waits (its instance was purged): the code that builds an item checks that first.

The cost of a change must depend on the streams and lanes that it concerns, never on how many are connected. New work
marks its lane, a stream that has gained room marks itself, and ``share`` looks at the marks only. An index leads
from a name to the streams that accept it. A group of streams without any room is marked as full until one of them
gains room.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from durabletask.core.work_items import WorkItemFilters, WorkItemStreamOptions

from .tasks import Activity
from .transitions.entity_batches import Batch
from .transitions.episodes import Episode

__all__ = ["Dispatcher", "Job", "Kind", "Lease", "Stream"]

_BUFFER = 32  # items queued for a stream before its reader asks: enough for one iteration of the loop
_Lane = tuple[str, str]


class Kind(enum.IntEnum):
    """Kinds of work items."""

    ORCHESTRATION = 0
    ACTIVITY = 1
    ENTITY = 2


class Job:
    """An episode or a batch, of what is known by id and key, or an activity, on its way to an answer."""

    __slots__ = (
        "activity",
        "batch",
        "deliveries",
        "episode",
        "instance_id",
        "key",
        "kind",
        "lane",
        "lease",
        "returns",
    )

    def __init__(
        self, kind: Kind, lane: _Lane, instance_id: str, key: int, activity: Activity | None
    ) -> None:
        self.kind: Kind = kind
        self.lane: _Lane = lane
        self.instance_id: str = instance_id
        self.key: int = key
        self.activity: Activity | None = activity
        self.episode: Episode | None = None
        self.batch: Batch | None = None
        self.lease: Lease | None = None
        self.deliveries: int = 0
        self.returns: int = 0  # how often it came back without an answer

    @classmethod
    def of_activity(cls, activity: Activity) -> Job:
        """A job for an activity. Without a version of its own, the orchestration's decides who may run it."""
        lane = (activity.name, activity.version or activity.parent_version or "")
        return cls(Kind.ACTIVITY, lane, activity.instance_id, 0, activity)


class Lease:
    """One item in the hands of a worker, known by its token, from ``since`` to ``deadline`` at most."""

    __slots__ = ("deadline", "job", "since", "stream", "token")

    def __init__(self, token: str, job: Job, stream: Stream, since: datetime, deadline: datetime) -> None:
        self.token: str = token
        self.job: Job = job
        self.stream: Stream = stream
        self.since: datetime = since
        self.deadline: datetime = deadline


class Stream:
    """The hub's end of one worker's stream. ``is_away``: its reader has an item and has not come back."""

    __slots__ = (
        "_waiter",
        "accepted",
        "buffer",
        "failure",
        "groups",
        "is_away",
        "leases",
        "limits",
        "outstanding",
    )

    def __init__(self, options: WorkItemStreamOptions) -> None:
        self.limits: tuple[int, int, int] = (
            max(options.max_orchestrations, 0),
            max(options.max_activities, 0),
            max(options.max_entities, 0),
        )
        self.outstanding: list[int] = [0, 0, 0]
        self.buffer: deque[Job] = deque()
        self.leases: dict[str, Lease] = {}
        self.failure: Exception | None = None
        self.is_away: bool = False
        self.accepted: tuple[dict[str, frozenset[str]], ...] | None = _accepted(options.filters)
        self.groups: Sequence[_Group] = ()
        self._waiter: asyncio.Future[None] | None = None

    def accepts(self, kind: Kind, lane: _Lane) -> bool:
        """Whether the filters let work of that name and version through."""
        if self.accepted is None:
            return True
        versions = self.accepted[kind].get(lane[0])
        return versions is not None and (not versions or lane[1] in versions)

    def room(self, kind: Kind) -> int:
        """How many items of the kind may be given to the stream now. A limit of 0 is none."""
        limit, room = self.limits[kind], _BUFFER - len(self.buffer)
        return min(room, limit - self.outstanding[kind]) if limit else room

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self.failure = error
        self.wake()

    async def wait(self) -> None:
        """Wait until there is something to look at."""
        if not self.buffer and self.failure is None:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            await waiter


def _accepted(filters: WorkItemFilters | None) -> tuple[dict[str, frozenset[str]], ...] | None:
    if filters is None:
        return None
    tables: list[dict[str, frozenset[str]]] = []
    for category in (filters.orchestrations, filters.activities):
        names: dict[str, frozenset[str]] = {}
        for entry in category:
            known, versions = names.get(entry.name), frozenset(entry.versions)
            # No versions means any version, also where the same name is listed with some.
            names[entry.name] = versions if known is None else (known and versions and known | versions)
        tables.append(names)
    tables.append({entity.name.lower(): frozenset() for entity in filters.entities})
    return tuple(tables)


class _Group:
    """Streams that accept a name, or everything, in the order in which they are served."""

    __slots__ = ("is_full", "streams")

    def __init__(self) -> None:
        self.streams: OrderedDict[Stream, None] = OrderedDict()
        self.is_full = False

    def pick(self, kind: Kind, lane: _Lane) -> Stream | None:
        """A stream for work of a lane: one whose reader waits, else one that has room."""
        found, has_room = None, False
        for stream in self.streams:
            if stream.room(kind) <= 0:
                continue
            has_room = True
            if stream.accepted is None or stream.accepts(kind, lane):
                if not stream.is_away:
                    found = stream
                    break
                found = found or stream
        self.is_full = not has_room
        return found


class _Queue:
    """Work of one kind, first in first out within a lane (name, version); lanes are served in rotation."""

    __slots__ = ("_of_name", "kind", "lanes")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.lanes: OrderedDict[_Lane, OrderedDict[Job, None]] = OrderedDict()
        self._of_name: dict[str, dict[_Lane, None]] = {}

    def add(self, job: Job, *, first: bool) -> bool:
        """Add a job; whether its lane is new."""
        lane = self.lanes.get(job.lane)
        is_new = lane is None
        if lane is None:
            lane = self.lanes[job.lane] = OrderedDict()
            self._of_name.setdefault(job.lane[0], {})[job.lane] = None
        lane[job] = None
        if first:
            lane.move_to_end(job, last=False)
        return is_new

    def pop(self, key: _Lane) -> Job:
        """Take the next job of a lane, which goes behind the others."""
        lane = self.lanes[key]
        job, _ = lane.popitem(last=False)
        if lane:
            self.lanes.move_to_end(key)
        else:
            self._forget(key)
        return job

    def discard(self, job: Job) -> None:
        lane = self.lanes.get(job.lane)
        if lane is not None and job in lane:
            del lane[job]
            if not lane:
                self._forget(job.lane)

    def _forget(self, key: _Lane) -> None:
        del self.lanes[key]
        lanes = self._of_name[key[0]]
        del lanes[key]
        if not lanes:
            del self._of_name[key[0]]

    def lane_for(self, stream: Stream) -> _Lane | None:
        """The next lane that a stream accepts."""
        if stream.accepted is None:
            return next(iter(self.lanes), None)
        names = stream.accepted[self.kind]
        if len(names) < len(self.lanes):
            candidates = (lane for name in names for lane in self._of_name.get(name, ()))
        else:
            candidates = (lane for lane in self.lanes)
        return next((lane for lane in candidates if stream.accepts(self.kind, lane)), None)

    def clear(self) -> None:
        self.lanes.clear()
        self._of_name.clear()


class Dispatcher:
    """Shares ready work among the streams by rotation, within their limits and filters."""

    def __init__(self) -> None:
        self._queues = tuple(_Queue(kind) for kind in Kind)
        self._everything = tuple(_Group() for _ in Kind)
        self._named: tuple[dict[str, _Group], ...] = tuple({} for _ in Kind)
        self._fresh: dict[tuple[_Queue, _Lane], None] = {}
        self._hungry: dict[Stream, None] = {}
        self._laden: dict[Stream, None] = {}
        self.streams: dict[Stream, None] = {}
        self.leases: dict[str, Lease] = {}
        self.waiting: Counter[str] = Counter()

    @property
    def is_busy(self) -> bool:
        """Whether work waits for a worker, or is with one and does not itself wait for this hub."""
        return bool(self.has_queued or self._laden or self.is_running)

    @property
    def has_queued(self) -> bool:
        """Whether work waits for a stream that takes it."""
        episodes, activities, batches = self._queues
        return bool(episodes.lanes or activities.lanes or batches.lanes)

    @property
    def is_running(self) -> bool:
        """Whether a worker has an item that does not itself wait for this hub."""
        if not self.waiting:
            return bool(self.leases)
        return len(self.leases) > sum(token in self.leases for token in self.waiting)

    @contextmanager
    def waits(self, token: str | None) -> Iterator[None]:
        """While the body runs, the item of this token waits for the hub, so it does not hold the clock."""
        if token is None:
            yield
            return
        self.waiting[token] += 1
        try:
            yield
        finally:
            self.waiting[token] -= 1
            if not self.waiting[token]:
                del self.waiting[token]

    def add(self, job: Job, *, first: bool = False) -> None:
        """Give a job to a stream, or queue it behind work that waits already; ``share`` then hands it on."""
        queue = self._queues[job.kind]
        if not first and not queue.lanes:
            stream = self._stream_for(job.kind, job.lane)
            if stream is not None:
                self._push(stream, job)
                return
        # Work behind other work of its lane waits for a stream to gain room, as that does.
        if queue.add(job, first=first):
            self._fresh[queue, job.lane] = None

    def discard(self, job: Job) -> None:
        """Take a job out of the queue, if it is there."""
        self._queues[job.kind].discard(job)

    def share(self) -> None:
        """Hand new work to streams that have room, and waiting work to streams that have gained some."""
        fresh = self._fresh
        while fresh:
            mark = next(iter(fresh))
            del fresh[mark]
            if self._offer(*mark):
                fresh[mark] = None  # behind the other lanes
        while self._hungry:
            stream, _ = self._hungry.popitem()
            if self.has_queued:
                self._feed(stream)

    def _offer(self, queue: _Queue, lane: _Lane) -> bool:
        """Give one job of a lane to a stream; whether the lane may have more."""
        if lane not in queue.lanes:
            return False
        stream = self._stream_for(queue.kind, lane)
        if stream is None:
            return False
        self._push(stream, queue.pop(lane))
        return lane in queue.lanes

    def _stream_for(self, kind: Kind, lane: _Lane) -> Stream | None:
        """The stream whose turn it is to take work of a lane."""
        for group in (self._everything[kind], self._named[kind].get(lane[0])):
            if group is None or group.is_full or not group.streams:
                continue
            stream = group.pick(kind, lane)
            if stream is not None:
                group.streams.move_to_end(stream)
                return stream
        return None

    def _feed(self, stream: Stream) -> None:
        if stream not in self.streams:
            return
        for queue in self._queues:
            for _ in range(stream.room(queue.kind) if queue.lanes else 0):
                lane = queue.lane_for(stream)
                if lane is None:
                    break
                self._push(stream, queue.pop(lane))

    def _push(self, stream: Stream, job: Job) -> None:
        stream.outstanding[job.kind] += 1
        if not stream.buffer:
            self._laden[stream] = None
            stream.wake()
        stream.buffer.append(job)

    def take(self, stream: Stream) -> Job:
        """The next job of a stream, for its reader."""
        job = stream.buffer.popleft()
        if not stream.buffer:
            self._laden.pop(stream, None)
        return job

    def let_go(self, stream: Stream, kind: Kind) -> None:
        """An item of a stream is over; there is room for another if it had reached its limit."""
        outstanding = stream.outstanding
        if outstanding[kind] == stream.limits[kind]:
            self.has_gained_room(stream)
        outstanding[kind] -= 1

    def has_gained_room(self, stream: Stream) -> None:
        """A stream may take more than before."""
        if stream in self.streams:
            self._hungry[stream] = None
            for group in stream.groups:
                group.is_full = False

    def relieve(self, idle: Stream) -> None:
        """Move a buffered item to an idle stream from one whose reader is busy."""
        for stream in self._laden:
            if not stream.is_away or stream is idle:
                continue
            for place, job in enumerate(stream.buffer):
                if idle.room(job.kind) > 0 and idle.accepts(job.kind, job.lane):
                    del stream.buffer[place]
                    stream.outstanding[job.kind] -= 1
                    if not stream.buffer:
                        del self._laden[stream]
                    self._push(idle, job)
                    return

    def open(self, stream: Stream) -> None:
        """Serve a new stream."""
        self.streams[stream] = None
        stream.groups = self._groups(stream)
        for group in stream.groups:
            group.streams[stream] = None
        self.has_gained_room(stream)
        self.share()

    def close(self, stream: Stream) -> list[Lease]:
        """Serve a stream no longer: buffered jobs are queued again, its leases are returned."""
        if stream in self.streams:
            for group in stream.groups:
                group.streams.pop(stream, None)
            del self.streams[stream]
            for kind, names in enumerate(stream.accepted or ()):
                for name in names:
                    if not self._named[kind][name].streams:
                        del self._named[kind][name]
        self._hungry.pop(stream, None)
        self._laden.pop(stream, None)
        while stream.buffer:
            self.add(stream.buffer.pop(), first=True)
        lost = list(stream.leases.values())
        for lease in lost:
            self.settle(lease)
        return lost

    def _groups(self, stream: Stream) -> Sequence[_Group]:
        if stream.accepted is None:
            return self._everything
        named = self._named
        return [
            named[kind].setdefault(name, _Group())
            for kind, names in enumerate(stream.accepted)
            for name in names
        ]

    def lease(self, lease: Lease) -> None:
        """Note that a worker has an item."""
        lease.job.lease = lease
        self.leases[lease.token] = lease
        lease.stream.leases[lease.token] = lease

    def settle(self, lease: Lease) -> None:
        """A lease is over; its place on the stream is free."""
        if self.leases.pop(lease.token, None) is not None:
            lease.job.lease = None
            lease.stream.leases.pop(lease.token, None)
            self.let_go(lease.stream, lease.job.kind)

    def forget_work(self) -> None:
        """Forget all work, also what workers have: their answers come too late. The streams stay."""
        for queue in self._queues:
            queue.clear()
        self._fresh.clear()
        for stream in list(self._laden):
            while stream.buffer:
                self.let_go(stream, self.take(stream).kind)
            self.has_gained_room(stream)
        for lease in list(self.leases.values()):
            self.settle(lease)
