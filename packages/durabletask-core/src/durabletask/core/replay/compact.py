"""Compact histories: how a transport hands over a past without an object for each event.

Replaying a past from its events costs more for making the events than for running the code. A transport that can
find the most frequent events of a past in the bytes that it received may offer a ``CompactHistory``. It is a sequence
of events like any other past; in addition it can be read as *segments*, which hold columns of plain values.

Three laws:

* Both ways of reading agree: expanding the segments gives the events, except that the inputs of activities may
  be missing, which replay does not look at.
* Segments are an optimisation of the transport and of ``fast_path``. No other module may depend on them, and the
  result of a replay must not.
* What a transport scanned stays in the transport. The time of an episode is opaque here; only ``read_time`` of the
  history that it came from can read it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeAlias, Union

import msgspec

from durabletask.core.history import (
    EPOCH,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    TaskCompleted,
    TaskScheduled,
)

__all__ = [
    "CompactHistory",
    "CompactRecord",
    "CompletionSegment",
    "MixedSegment",
    "SchedulingSegment",
    "Segment",
    "expand",
]

CompactRecord: TypeAlias = tuple[
    Union[Sequence[HistoryEvent], None],
    Union[object, None],
    Union[int, None],
    Union[str, None],
    Union[int, None],
    Union[str, None],
    Union[str, None],
]
"""A few events in this order, each of them optional: about what one episode of a chain of activities records.

0.  any events, as they are;
1.  the end of an episode and the start of the next: the time of the start, for ``CompactHistory.read_time``;
2.  an activity that completed: the id of the action, and in
3.  its result;
4.  an activity that was scheduled: the id of the action, in
5.  its name, and in
6.  its input, if the reader asked for inputs.
"""


class MixedSegment(msgspec.Struct, frozen=True):
    """Events of every kind, as records one after the other."""

    records: Iterable[CompactRecord]


class CompletionSegment(msgspec.Struct, frozen=True):
    """A run of activities that completed, by the ids of their actions."""

    ids: Sequence[int]
    results: Sequence[str | None]


class SchedulingSegment(msgspec.Struct, frozen=True):
    """A run of activities that were scheduled. Inputs as in a ``CompactRecord``."""

    ids: Sequence[int]
    names: Sequence[str]
    inputs: Sequence[str | None]


Segment: TypeAlias = Union[MixedSegment, CompletionSegment, SchedulingSegment]
"""A part of a compact history."""


class CompactHistory(Sequence[HistoryEvent]):
    """A past that can be read as segments, too. See the module."""

    __slots__ = ()

    @abstractmethod
    def segments(self) -> Iterable[Segment] | None:
        """The whole past as segments; ``None`` if it can only be read as events."""

    @abstractmethod
    def read_time(self, time: object) -> datetime:
        """The time at which an episode started, from a record of this history."""


_COMPLETED: Final = OrchestratorCompleted(-1, EPOCH)  # without their time they are all equal


def expand(segment: Segment, read_time: Callable[[object], datetime]) -> Iterator[HistoryEvent]:
    """The events of a segment. ``read_time`` is the one of its history."""
    if isinstance(segment, CompletionSegment):
        for number, result in zip(segment.ids, segment.results, strict=True):
            yield TaskCompleted(-1, EPOCH, number, result)
    elif isinstance(segment, SchedulingSegment):
        for number, name, given in zip(segment.ids, segment.names, segment.inputs, strict=True):
            yield TaskScheduled(number, EPOCH, name, None, given)
    else:
        for events, time, completed, answer, scheduled, activity, payload in segment.records:
            if events is not None:
                yield from events
            if time is not None:
                yield _COMPLETED
                yield OrchestratorStarted(-1, read_time(time))
            if completed is not None:
                yield TaskCompleted(-1, EPOCH, completed, answer)
            if scheduled is not None and activity is not None:
                yield TaskScheduled(scheduled, EPOCH, activity, None, payload)
