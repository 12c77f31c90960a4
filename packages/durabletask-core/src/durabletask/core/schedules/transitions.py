"""What each operation does to a schedule. Pure functions: state, input and time give a new state and effects.

States::

    UNINITIALIZED ──create──> ACTIVE ──pause──> PAUSED ──resume──> ACTIVE

``create`` and ``update`` of a schedule that exists keep its status.

``run`` starts what is due and signals itself at the time of the next run, with the execution token of the state. An
operation that makes such a signal stale (update, pause, resume) gives the state another token, so a schedule never
has two live signals. The id of a run is made from its time, so a run that is asked for twice (by ``run`` and by
``backfill``) is started once.

A run whose end matters is started by a helper, which reports ``run_ended``. Until then the run is in
``progress.running``. A helper can be lost, for example because a user terminates it. A run that is skipped or buffered
therefore has the one before it checked, so that a lost helper cannot hold up the schedule for ever.

``run`` must never raise for a state that exists: a failed operation undoes its signal, and the schedule would stop.
Other operations raise ``InvalidOperationError`` when the status does not allow them, and change nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeAlias, Union

import msgspec

from durabletask.core.errors import InvalidOperationError, InvalidRequestError

from .state import ScheduleConfiguration, ScheduleProgress, ScheduleState, ScheduleStatus
from .timing import Timing

__all__ = [
    "CheckRun",
    "DeleteSelf",
    "Effect",
    "RunAt",
    "ScheduleChange",
    "StartRun",
    "backfill",
    "create",
    "pause",
    "resume",
    "run",
    "run_ended",
    "trigger",
    "update",
]

_MOST_STARTED_AT_ONCE: Final = 1000
_EARLY: Final = timedelta(seconds=1)
"""How much before its time a signal may arrive: clocks of hub and worker differ, and hubs deliver a little early."""

_TICK: Final = timedelta(microseconds=1)
_MOST_DIFFERENCE: Final = timedelta(minutes=1)


class RunAt(msgspec.Struct, frozen=True):
    """Signal ``run`` to the schedule itself; ``at=None``: at once."""

    token: str
    at: datetime | None = None


class StartRun(msgspec.Struct, frozen=True, kw_only=True):
    """Start an orchestration.

    Attributes:
        instance_id: its id.
        at: not before this time.
        helper_id: id of the helper that starts it and reports its end; ``None``: it is started directly.
        stopped: ids of the helpers whose runs are terminated first.
        ended: ids of the helpers that are purged.
    """

    instance_id: str
    at: datetime | None = None
    helper_id: str | None = None
    stopped: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


class CheckRun(msgspec.Struct, frozen=True, kw_only=True):
    """Report ``run_ended`` if a run has ended and its helper as well, which then has failed to report it."""

    instance_id: str
    helper_id: str


class DeleteSelf(msgspec.Struct, frozen=True):
    """Signal ``delete`` to the schedule itself."""


Effect: TypeAlias = Union[RunAt, StartRun, CheckRun, DeleteSelf]


class ScheduleChange(msgspec.Struct, frozen=True):
    """The new state, ``None`` for none, and what is to be done."""

    state: ScheduleState | None
    effects: tuple[Effect, ...] = ()


def create(
    state: ScheduleState, configuration: ScheduleConfiguration, now: datetime, new_id: Callable[[], str]
) -> ScheduleChange:
    """Create a schedule; for one that exists, the same as ``update``."""
    if state.status != ScheduleStatus.UNINITIALIZED and state.schedule_configuration is not None:
        return update(state, configuration, now, new_id)
    created = ScheduleState(
        status=ScheduleStatus.ACTIVE,
        execution_token=new_id(),
        schedule_created_at=now,
        schedule_last_modified_at=now,
        schedule_configuration=configuration,
    )
    draft = _Draft(created, configuration, now, new_id)
    draft.arm()
    return draft.outcome()


def update(
    state: ScheduleState, configuration: ScheduleConfiguration, now: datetime, new_id: Callable[[], str]
) -> ScheduleChange:
    """Replace the configuration. Without a change, nothing happens; the next run stays unless its time changes."""
    old = _existing(state, "updated")
    if configuration == old:
        return ScheduleChange(state)
    keeps_next_run = _times_of(configuration) == _times_of(old)
    changed = msgspec.structs.replace(
        state,
        execution_token=new_id(),
        schedule_last_modified_at=now,
        next_run_at=state.next_run_at if keeps_next_run else None,
        schedule_configuration=configuration,
    )
    draft = _Draft(changed, configuration, now, new_id)
    if not configuration.options.watches_runs:
        draft.note(running={}, buffered=None)
    if state.status == ScheduleStatus.ACTIVE:
        draft.arm()
    return draft.outcome()


def pause(state: ScheduleState, now: datetime, new_id: Callable[[], str]) -> ScheduleChange:
    """Start no more runs until ``resume``; a buffered run is dropped."""
    draft = _Draft(state, _existing(state, "paused", ScheduleStatus.ACTIVE), now, new_id)
    draft.pause()
    return draft.outcome()


def resume(state: ScheduleState, now: datetime, new_id: Callable[[], str]) -> ScheduleChange:
    """Go on with the next run. Runs that were due meanwhile are not made up for."""
    configuration = _existing(state, "resumed", ScheduleStatus.PAUSED)
    resumed = msgspec.structs.replace(
        state,
        status=ScheduleStatus.ACTIVE,
        execution_token=new_id(),
        schedule_last_modified_at=now,
        next_run_at=None,
    )
    draft = _Draft(resumed, configuration, now, new_id)
    draft.arm()
    return draft.outcome()


def run(state: ScheduleState, token: str, now: datetime, new_id: Callable[[], str]) -> ScheduleChange:
    """Start what is due, and come back at the time of the next run."""
    configuration = state.schedule_configuration
    if state.status == ScheduleStatus.UNINITIALIZED or configuration is None:
        return ScheduleChange(None)
    if token != state.execution_token or state.status != ScheduleStatus.ACTIVE:
        return ScheduleChange(state)  # a later operation has made the signal stale
    if configuration.end_at is not None and now > configuration.end_at:
        return ScheduleChange(msgspec.structs.replace(state, next_run_at=None), (DeleteSelf(),))
    draft = _Draft(state, configuration, now, new_id)
    due = draft.next_run()
    if due is not None and due <= now + _EARLY:
        draft.start_due(due)
    elif due is not None and due == state.next_run_at:
        # The clock of the hub is ahead of this one. Asked for the same time again, it would deliver at once.
        return ScheduleChange(state, (RunAt(token, due + min(due - now, _MOST_DIFFERENCE)),))
    draft.arm()
    return draft.outcome()


def trigger(
    state: ScheduleState, now: datetime, new_id: Callable[[], str]
) -> tuple[ScheduleChange, str | None]:
    """Start a run now, besides those that the schedule asks for, and return its id.

    ``overlap`` applies: the id is ``None`` if the run is skipped or buffered.
    """
    draft = _Draft(state, _existing(state, "triggered"), now, new_id)
    draft.start(draft.unused_moment())
    started = [effect.instance_id for effect in draft.effects if isinstance(effect, StartRun)]
    return draft.outcome(), started[0] if started else None


def backfill(
    state: ScheduleState, first: datetime, last: datetime, now: datetime, new_id: Callable[[], str]
) -> tuple[ScheduleChange, list[str]]:
    """Start the runs of a time that has passed, whatever the overlap, and return their ids.

    Raises:
        InvalidRequestError: the time has not passed, ends before it begins, or has too many runs.
    """
    configuration = _existing(state, "backfilled")
    if last < first:
        raise InvalidRequestError(
            f"last={last.isoformat()} is before first={first.isoformat()}. Give the earlier time first."
        )
    if last > now:
        raise InvalidRequestError(
            f"last={last.isoformat()} is in the future. Backfill runs of the past; the schedule starts the others."
        )
    draft = _Draft(state, configuration, now, new_id)
    runs = list(islice(draft.timing.between(first, last), _MOST_STARTED_AT_ONCE + 1))
    if len(runs) > _MOST_STARTED_AT_ONCE:
        raise InvalidRequestError(
            f"Schedule {configuration.schedule_id!r} has more than {_MOST_STARTED_AT_ONCE} runs from "
            f"{first.isoformat()} to {last.isoformat()}. Backfill a shorter time."
        )
    for moment in runs:
        draft.begin(moment, is_by_helper=True)
    due = state.next_run_at
    if due is not None and first <= due <= last:  # it is among the runs that were just started
        draft.state = msgspec.structs.replace(
            draft.state, execution_token=new_id(), last_run_at=max(due, *runs), next_run_at=None
        )
        draft.arm()
    return draft.outcome(), [configuration.run_id(moment) for moment in runs]


def run_ended(
    state: ScheduleState, helper_id: str, *, succeeded: bool, now: datetime, new_id: Callable[[], str]
) -> ScheduleChange:
    """A run of a helper has ended. Of runs that the schedule no longer knows, only the helper matters."""
    configuration, progress = state.schedule_configuration, state.progress
    if configuration is None:
        return ScheduleChange(None)
    draft = _Draft(state, configuration, now, new_id)
    if helper_id not in progress.ended:
        draft.note(ended=(*progress.ended, helper_id))
    ended = next((run_id for run_id, helper in progress.running.items() if helper == helper_id), None)
    if ended is None:
        return draft.outcome()
    draft.note(running={run_id: helper for run_id, helper in progress.running.items() if run_id != ended})
    is_active = state.status == ScheduleStatus.ACTIVE
    if not succeeded:
        draft.note(last_failure=ended)
    if not succeeded and configuration.options.pause_on_failure and is_active:
        draft.pause()
    elif progress.buffered is not None and not draft.progress.running and is_active:
        draft.note(buffered=None)
        draft.begin(progress.buffered)
    return draft.outcome()


# --- parts ---------------------------------------------------------------------------------------------------


def _existing(state: ScheduleState, what: str, needed: ScheduleStatus | None = None) -> ScheduleConfiguration:
    configuration = state.schedule_configuration
    if state.status == ScheduleStatus.UNINITIALIZED or configuration is None:
        raise InvalidOperationError(f"The schedule does not exist and cannot be {what}. Create it first.")
    if needed is not None and state.status != needed:
        status = ScheduleStatus(state.status).name
        raise InvalidOperationError(
            f"Schedule {configuration.schedule_id!r} is {status} and cannot be {what}: it must be {needed.name}."
        )
    return configuration


def _times_of(configuration: ScheduleConfiguration) -> tuple[object, ...]:
    """The members that decide when runs are due."""
    options = configuration.options
    return (
        configuration.start_at,
        configuration.interval,
        configuration.start_immediately_if_late,
        options.cron,
        options.time_zone,
    )


class _Draft:
    """The state and the effects that one operation builds up."""

    __slots__ = ("configuration", "effects", "new_id", "now", "state", "timing")

    def __init__(
        self,
        state: ScheduleState,
        configuration: ScheduleConfiguration,
        now: datetime,
        new_id: Callable[[], str],
    ) -> None:
        self.state: ScheduleState = state
        self.configuration: ScheduleConfiguration = configuration
        self.now: datetime = now
        self.new_id: Callable[[], str] = new_id
        self.effects: list[Effect] = []
        self.timing: Timing = configuration.timing(state.schedule_created_at or now)

    def outcome(self) -> ScheduleChange:
        return ScheduleChange(self.state, tuple(self.effects))

    @property
    def progress(self) -> ScheduleProgress:
        return self.state.progress

    def note(self, **changes: object) -> None:
        """Change members of the progress."""
        self.state = msgspec.structs.replace(
            self.state, progress=msgspec.structs.replace(self.progress, **changes)
        )

    def pause(self) -> None:
        self.note(buffered=None)
        self.state = msgspec.structs.replace(
            self.state,
            status=ScheduleStatus.PAUSED,
            execution_token=self.new_id(),
            next_run_at=None,
            schedule_last_modified_at=self.now,
        )

    def arm(self) -> None:
        """Set the time of the next run and signal ``run`` for then; a schedule deletes itself after its end."""
        due, ends_at = self.next_run(), self.configuration.end_at
        if ends_at is not None and (due is None or due > ends_at):
            due = None
            self.effects.append(RunAt(self.state.execution_token, max(ends_at + _EARLY, self.now)))
        elif due is not None:
            self.effects.append(RunAt(self.state.execution_token, due))
        self.state = msgspec.structs.replace(self.state, next_run_at=due)

    def next_run(self) -> datetime | None:
        """The time of the next run, which may have passed; ``None`` when there is none."""
        if self._is_used_up:
            return None
        if self.state.next_run_at is not None:
            return self.state.next_run_at
        starts_at, last_run_at = self.configuration.start_at, self.state.last_run_at
        # A run may have been started a little early, or by a worker whose clock is ahead of this one.
        after = self.now if last_run_at is None else max(self.now, last_run_at)
        if self.configuration.options.cron is not None:
            return self.timing.next_after(after if starts_at is None else max(after, starts_at - _TICK))
        if starts_at is not None and starts_at > after:
            return starts_at
        if last_run_at is None and self.configuration.start_immediately_if_late:
            return self.now
        return self.timing.next_after(after)

    def start_due(self, due: datetime) -> None:
        """Start the runs that were due from ``due`` until now: all that ``catch_up`` covers, at least the latest."""
        now = max(self.now, due)
        earliest = now - timedelta(seconds=self.configuration.options.catch_up)
        just_after = due + _TICK  # `due` itself need not be a time of the timing
        runs = self.timing.latest(max(just_after, earliest), now, _MOST_STARTED_AT_ONCE)
        if due >= earliest:
            runs.insert(0, due)
        if not runs:
            runs.append(max(due, self.timing.latest_until(now) or due))
        for moment in runs:
            if not self._is_used_up:
                skipped = self.progress.skipped
                self.start(moment)
                self.note(started=self.progress.started + (self.progress.skipped == skipped))
        self.state = msgspec.structs.replace(
            self.state, last_run_at=runs[-1], next_run_at=self.timing.next_after(now)
        )

    def start(self, moment: datetime) -> None:
        """Start a run, or do what ``overlap`` says if the one before has not ended."""
        running, overlap = self.progress.running, self.configuration.options.overlap
        if not running or overlap == "allow":
            self.begin(moment)
        elif overlap == "terminate_other":
            stopped = tuple(running.values())
            self.note(running={})
            self.begin(moment, stopped=stopped)
            self.note(ended=(*self.progress.ended, *stopped))
        else:
            self.effects.extend(
                CheckRun(instance_id=run_id, helper_id=helper_id) for run_id, helper_id in running.items()
            )
            if overlap == "buffer_one" and self.progress.buffered is None:
                self.note(buffered=moment)
            else:
                self.note(skipped=self.progress.skipped + 1)

    def unused_moment(self) -> datetime:
        """The present, moved on so that the id of its run is that of no other."""
        moment, last = self.now, self.progress.last_trigger
        if last is not None and last >= moment:
            moment = last + _TICK
        while moment == self.state.last_run_at or moment == self.timing.next_after(moment - _TICK):
            moment += _TICK
        self.note(last_trigger=moment)
        return moment

    def begin(self, moment: datetime, *, stopped: tuple[str, ...] = (), is_by_helper: bool = False) -> None:
        """Start a run whatever the overlap.

        A helper starts it as its child. Hubs refuse a child whose id is in use, whereas an entity that starts an
        orchestration replaces one that has ended. The latter is enough for scheduled times, which come once.
        """
        options, running = self.configuration.options, self.progress.running
        run_id = self.configuration.run_id(moment)
        if run_id in running:
            return
        # The delay is a function of the id, so a run that is asked for twice is delayed by the same time.
        delay = random.Random(run_id).uniform(0, options.jitter)  # noqa: S311
        at = moment + timedelta(seconds=delay) if delay else None
        helper_id = self.new_id() if options.watches_runs or is_by_helper else None
        ended = self.progress.ended if helper_id is not None else ()
        self.effects.append(
            StartRun(instance_id=run_id, at=at, helper_id=helper_id, stopped=stopped, ended=ended)
        )
        if ended:
            self.note(ended=())
        if options.watches_runs:
            self.note(running={**running, run_id: helper_id})

    @property
    def _is_used_up(self) -> bool:
        limit = self.configuration.options.limit
        return limit is not None and self.progress.started >= limit
