"""Work that is ready, and its way to the workers: lanes, streams, fair shares, outstanding deliveries."""

from __future__ import annotations

import asyncio
import enum
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from durabletask.core.work_items import WorkItemFilters, WorkItemStreamOptions

from .state import Activity, Instance

__all__ = ["Delivery", "Dispatcher", "Kind", "Stream"]

_BUFFER = 32  # items a stream may have in hand before it is asked for: enough to fill a turn of the loop
_Lane = tuple[str, str]
_Work = Instance | Activity


class Kind(enum.IntEnum):
    """Kinds of work items; entities will be the third."""

    ORCHESTRATION = 0
    ACTIVITY = 1


class Delivery:
    """One item in the hands of a worker, known by its token, from ``since`` to ``deadline`` at most."""

    __slots__ = ("deadline", "kind", "since", "stream", "token", "work")

    def __init__(
        self, token: str, kind: Kind, work: _Work, stream: Stream, *, since: datetime, deadline: datetime
    ) -> None:
        self.token: str = token
        self.kind: Kind = kind
        self.work: _Work = work
        self.stream: Stream = stream
        self.since: datetime = since
        self.deadline: datetime = deadline


class Stream:
    """The hub's end of one worker's stream. ``is_away``: its reader has an item and has not come back."""

    __slots__ = ("_names", "_waiter", "buffer", "failure", "is_away", "limits", "outstanding", "tokens")

    def __init__(self, options: WorkItemStreamOptions) -> None:
        self.limits: tuple[int, int] = (max(options.max_orchestrations, 0), max(options.max_activities, 0))
        self.outstanding: list[int] = [0, 0]
        self.buffer: deque[tuple[Kind, _Work]] = deque()
        self.tokens: dict[str, Delivery] = {}
        self.failure: Exception | None = None
        self.is_away: bool = False
        self._names = _accepted(options.filters)
        self._waiter: asyncio.Future[None] | None = None

    def accepts(self, kind: Kind, lane: _Lane) -> bool:
        """Whether the filters let work of that name and version through."""
        if self._names is None:
            return True
        versions = self._names[kind].get(lane[0])
        return versions is not None and (not versions or lane[1] in versions)

    @property
    def is_unfiltered(self) -> bool:
        """Whether the stream takes everything."""
        return self._names is None

    def has_room(self, kind: Kind) -> bool:
        """Whether another item of the kind may be given to the stream now. A limit of 0 is none."""
        limit = self.limits[kind]
        return len(self.buffer) < _BUFFER and (not limit or self.outstanding[kind] < limit)

    def push(self, kind: Kind, work: _Work) -> None:
        """Give an item to the stream."""
        self.outstanding[kind] += 1
        self.buffer.append((kind, work))
        self.wake()

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
            both = entry.name in names and names[entry.name] and entry.versions
            names[entry.name] = (
                (names[entry.name] | frozenset(entry.versions))
                if both
                else _fresh(names, entry.name, entry.versions)
            )
        tables.append(names)
    return tuple(tables)


def _fresh(names: dict[str, frozenset[str]], name: str, versions: tuple[str, ...]) -> frozenset[str]:
    # Named twice, once for any version: any version it is.
    return frozenset() if name in names else frozenset(versions)


class _Queue:
    """Work of one kind, first in first out within a lane (name, version), lanes in turn."""

    __slots__ = ("kind", "lanes", "order", "size")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.lanes: dict[_Lane, deque[_Work]] = {}
        self.order: deque[_Lane] = deque()
        self.size = 0

    def add(self, work: _Work, *, first: bool = False) -> None:
        key = (work.name, work.version or "")
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = deque()
            self.order.append(key)
        if first:
            lane.appendleft(work)
        else:
            lane.append(work)
        self.size += 1

    def take(self, stream: Stream) -> _Work | None:
        """The next item that the stream accepts."""
        order = self.order
        for _ in range(len(order)):
            key = order[0]
            if stream.is_unfiltered or stream.accepts(self.kind, key):
                lane = self.lanes[key]
                work = lane.popleft()
                self.size -= 1
                if lane:
                    order.rotate(-1)
                else:
                    order.popleft()
                    del self.lanes[key]
                return work
            order.rotate(-1)
        return None

    def clear(self) -> None:
        self.lanes.clear()
        self.order.clear()
        self.size = 0


class Dispatcher:
    """Shares ready work among the streams, in turn, within their limits and filters."""

    def __init__(self) -> None:
        self._queues = (_Queue(Kind.ORCHESTRATION), _Queue(Kind.ACTIVITY))
        self._turn = 0
        self.streams: list[Stream] = []
        self.deliveries: dict[str, Delivery] = {}
        self.waiting: Counter[str] = Counter()

    @property
    def is_busy(self) -> bool:
        """Whether work waits for a worker, or is with one and does not itself wait for this hub."""
        return bool(
            self._queues[0].size
            or self._queues[1].size
            or self.is_running
            or any(stream.buffer for stream in self.streams)
        )

    @property
    def is_running(self) -> bool:
        """Whether a worker has an item that does not itself wait for this hub."""
        return len(self.deliveries) > sum(token in self.deliveries for token in self.waiting)

    def add(self, kind: Kind, work: _Work, *, first: bool = False) -> None:
        """Queue an item. ``share`` hands it on."""
        self._queues[kind].add(work, first=first)

    def share(self) -> None:
        """Hand ready work to the streams that have room."""
        streams = self.streams
        if not streams:
            return
        if len(streams) > 1:  # first to those that are waiting for it
            self._share([stream for stream in streams if not stream.is_away])
        self._share(streams)

    def _share(self, streams: list[Stream]) -> None:
        for queue in self._queues:
            kind, refused = queue.kind, 0
            while queue.size and refused < len(streams):
                self._turn = turn = (self._turn + 1) % len(streams)
                stream = streams[turn]
                work = queue.take(stream) if stream.has_room(kind) else None
                if work is None:
                    refused += 1
                else:
                    refused = 0
                    stream.push(kind, work)

    def relieve(self, idle: Stream) -> None:
        """Give an idle stream something that another has in hand while its reader is busy with an item."""
        for stream in self.streams:
            if not stream.is_away or stream is idle:
                continue
            for place, (kind, work) in enumerate(stream.buffer):
                if idle.has_room(kind) and idle.accepts(kind, (work.name, work.version or "")):
                    del stream.buffer[place]
                    stream.outstanding[kind] -= 1
                    idle.push(kind, work)
                    return

    def open(self, stream: Stream) -> None:
        """A worker has come."""
        self.streams.append(stream)
        self.share()

    def deliver(self, delivery: Delivery) -> None:
        """Note that a worker has an item."""
        self.deliveries[delivery.token] = delivery
        delivery.stream.tokens[delivery.token] = delivery

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

    def find(self, token: str) -> Delivery | None:
        """The delivery of a token, unless it is over."""
        return self.deliveries.get(token)

    def settle(self, token: str) -> Delivery | None:
        """A delivery is over; its place on the stream is free."""
        delivery = self.deliveries.pop(token, None)
        if delivery is not None:
            stream = delivery.stream
            stream.tokens.pop(token, None)
            stream.outstanding[delivery.kind] -= 1
        return delivery

    def close(self, stream: Stream) -> list[Delivery]:
        """A worker has gone: undelivered items go back to the queue, delivered ones are returned."""
        if stream in self.streams:
            self.streams.remove(stream)
        while stream.buffer:
            kind, work = stream.buffer.pop()
            self._queues[kind].add(work, first=True)
        lost = list(stream.tokens.values())
        for delivery in lost:
            self.settle(delivery.token)
        return lost

    def forget_work(self) -> None:
        """Forget all work, also what workers have: their answers come too late. The streams stay."""
        for queue in self._queues:
            queue.clear()
        for stream in self.streams:
            while stream.buffer:
                kind, _ = stream.buffer.pop()
                stream.outstanding[kind] -= 1
        for token in list(self.deliveries):
            self.settle(token)

    def clear(self) -> None:
        """Forget all work and every stream."""
        for queue in self._queues:
            queue.clear()
        self.streams.clear()
        self.deliveries.clear()
