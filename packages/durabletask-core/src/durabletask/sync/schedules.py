"""The blocking twin of ``client.schedules``."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from typing_extensions import Unpack

from durabletask.core.paging import Pages
from durabletask.core.portal import Call
from durabletask.core.schedules import client as _client
from durabletask.core.schedules.client import Schedule, ScheduleChanges, ScheduleSpec
from durabletask.core.schedules.configuration import ScheduleArguments
from durabletask.core.schedules.state import ScheduleStatus

if TYPE_CHECKING:
    from durabletask.core.schedules.client import TakesInput, TakesNone

__all__ = ["Schedules"]

InputT = TypeVar("InputT")


class Schedules:
    """The blocking twin of ``durabletask.core.schedules.client.Schedules``; ``client.schedules``."""

    def __init__(self, inner: _client.Schedules, call: Call) -> None:
        self._inner = inner
        self._call = call

    # <generated from durabletask.core.schedules.client.Schedules>

    @overload
    def create(
        self,
        schedule_id: str,
        orchestrator: TakesInput[InputT],
        input: InputT,
        **arguments: Unpack[ScheduleArguments],
    ) -> Schedule: ...

    @overload
    def create(
        self,
        schedule_id: str,
        orchestrator: str | TakesNone,
        input: object = None,
        **arguments: Unpack[ScheduleArguments],
    ) -> Schedule: ...

    def create(
        self,
        schedule_id: str,
        orchestrator: object,
        input: object = None,
        **arguments: Unpack[ScheduleArguments],
    ) -> Schedule:
        """Create a schedule, or give one that exists this configuration.

        A schedule that has this configuration stays as it is, so a program may create its schedules at every start.

        Args:
            schedule_id: id of the schedule.
            orchestrator: the orchestrator to start, or its name.
            input: input of every run.
            **arguments: when and how it runs, see ``ScheduleArguments``. One of ``cron`` and ``every`` is needed.

        Raises:
            InvalidRequestError: an argument is not valid; the message names it, and nothing has changed.
            TransportTimeoutError: no worker has answered within a minute.
        """
        any_orchestrator: Any = orchestrator  # checked by the overloads
        return self._call(lambda: self._inner.create(schedule_id, any_orchestrator, input, **arguments))

    def update(self, schedule_id: str, **changes: Unpack[ScheduleChanges]) -> Schedule:
        """Change what is given of a schedule and leave the rest. The next run stays unless its time changes.

        Args:
            schedule_id: id of the schedule.
            **changes: see ``ScheduleChanges``. ``None`` for no ``start_at``, ``end_at``, ``limit``, ...

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidRequestError: a change is not valid; the message names it, and nothing has changed.
            TransportTimeoutError: no worker has answered within a minute.
        """
        return self._call(lambda: self._inner.update(schedule_id, **changes))

    def apply(self, specs: Iterable[ScheduleSpec], *, delete_others: bool = False) -> Sequence[Schedule]:
        """Make the schedules of the hub what ``specs`` says: create what is missing, change what differs.

        All are checked before any is changed. Specs whose ``end_at`` has passed are left out.

        Args:
            specs: the schedules.
            delete_others: also delete every schedule that is not among them.
        """
        return self._call(lambda: self._inner.apply(specs, delete_others=delete_others))

    def pause(self, schedule_id: str) -> None:
        """Start no more runs until ``resume``. Runs that have begun go on.

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidOperationError: it is paused.
        """
        self._call(lambda: self._inner.pause(schedule_id))

    def resume(self, schedule_id: str) -> None:
        """Go on with the next run. Runs that were due meanwhile are not made up for; see ``backfill``.

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidOperationError: it is not paused.
        """
        self._call(lambda: self._inner.resume(schedule_id))

    def delete(self, schedule_id: str) -> None:
        """Delete a schedule. Runs that have begun go on.

        Raises:
            InstanceNotFoundError: there is no such schedule.
        """
        self._call(lambda: self._inner.delete(schedule_id))

    def trigger(self, schedule_id: str) -> str | None:
        """Start a run now, besides the scheduled ones, and return its instance id.

        ``overlap`` applies: the result is ``None`` if the run is skipped, or buffered until the one before it ends.

        Raises:
            InstanceNotFoundError: there is no such schedule.
        """
        return self._call(lambda: self._inner.trigger(schedule_id))

    def backfill(self, schedule_id: str, first: datetime, last: datetime) -> Sequence[str]:
        """Start the runs of a time that has passed and return their instance ids.

        They start at once, whatever ``overlap`` says. A run whose id is in use, because it was started before, is not
        started again.

        Args:
            schedule_id: id of the schedule.
            first: beginning of the time, included.
            last: end of the time, included; not in the future.

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidRequestError: the times make no sense, or ask for more than 1,000 runs.
        """
        return self._call(lambda: self._inner.backfill(schedule_id, first, last))

    def get(self, schedule_id: str) -> Schedule | None:
        """A schedule, or ``None`` if there is none of that id."""
        return self._call(lambda: self._inner.get(schedule_id))

    def list(
        self, *, prefix: str = "", status: ScheduleStatus | Literal["active", "paused"] | None = None
    ) -> Pages[Schedule]:
        """All schedules: ``for schedule in client.schedules.list()``.

        One whose state cannot be read is left out, with a warning in the log.

        Args:
            prefix: only ids that begin with this text.
            status: only schedules with this status.
        """
        return Pages(self._inner.list(prefix=prefix, status=status), self._call)

    def next(self, schedule_id: str, count: int = 5) -> Sequence[datetime]:
        """The scheduled times of the next runs; none while the schedule is paused.

        Raises:
            InstanceNotFoundError: there is no such schedule.
        """
        return self._call(lambda: self._inner.next(schedule_id, count))

    # </generated>
