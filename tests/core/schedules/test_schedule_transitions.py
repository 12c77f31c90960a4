"""What the operations of a schedule do: new states and effects, on a clock that the test holds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import count
from zoneinfo import ZoneInfo

import msgspec
import pytest
from durabletask.core.errors import InvalidOperationError, InvalidRequestError
from durabletask.core.schedules import transitions
from durabletask.core.schedules.state import (
    ScheduleConfiguration,
    ScheduleOptions,
    ScheduleState,
    ScheduleStatus,
    read_state,
    to_timedelta,
    to_timespan,
    write_state,
)
from durabletask.core.schedules.transitions import CheckRun, DeleteSelf, Effect, RunAt, StartRun
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


class Driven:
    """A schedule with the clock of the test; ``started`` are the times of its runs."""

    def __init__(self, now: datetime = NOON, **changes: object) -> None:
        options = {key: changes.pop(key) for key in list(changes) if key in ScheduleOptions.__struct_fields__}
        interval = None if "cron" in options else "01:00:00"
        self.configuration = msgspec.structs.replace(
            ScheduleConfiguration(
                schedule_id="nightly",
                orchestration_name="report",
                interval=interval,
                options=ScheduleOptions(**options),  # type: ignore[arg-type]
            ),
            **changes,
        )
        self.now = now
        self.tokens = (f"t{number}" for number in count(1))
        self.state = ScheduleState()
        self.effects: list[Effect] = []
        self.signals: list[RunAt] = []
        self.apply(transitions.create(self.state, self.configuration, now, self.token))

    def token(self) -> str:
        return next(self.tokens)

    def apply(self, outcome: transitions.ScheduleChange) -> None:
        assert outcome.state is not None
        self.state = read_state(msgspec.json.decode(msgspec.json.encode(write_state(outcome.state))))
        self.effects += outcome.effects
        self.signals += [effect for effect in outcome.effects if isinstance(effect, RunAt)]

    def advance(self, span: timedelta) -> None:
        """Let time pass, delivering signals when they are due."""
        end = self.now + span
        while True:
            due = sorted(
                (signal.at or self.now, index)
                for index, signal in enumerate(self.signals)
                if (signal.at or self.now) <= end
            )
            if not due:
                break
            at, index = due[0]
            self.now = max(self.now, at)
            self.apply(transitions.run(self.state, self.signals.pop(index).token, self.now, self.token))
        self.now = end

    def sleep(self, span: timedelta) -> None:
        """Let time pass with nothing running."""
        self.now += span

    @property
    def starts(self) -> list[StartRun]:
        return [effect for effect in self.effects if isinstance(effect, StartRun)]

    @property
    def started(self) -> list[str]:
        return [start.instance_id for start in self.starts]

    def end(self, instance_id: str, *, succeeded: bool = True) -> None:
        """Report the end of a run."""
        helper_id = self.state.progress.running[instance_id]
        self.apply(
            transitions.run_ended(self.state, helper_id, succeeded=succeeded, now=self.now, new_id=self.token)
        )


def test_an_interval_runs_first_one_interval_after_its_creation() -> None:
    """As in the other SDKs; ``start_immediately_if_late`` starts at once."""
    plain, eager = Driven(), Driven(start_immediately_if_late=True)

    for schedule in (plain, eager):
        schedule.advance(2 * HOUR)

    assert plain.started == ["nightly-2026-01-01T13:00:00+00:00", "nightly-2026-01-01T14:00:00+00:00"]
    assert eager.started == ["nightly-2026-01-01T12:00:00+00:00", *plain.started]


def test_a_year_of_a_nightly_job_has_365_runs() -> None:
    """In a time zone with daylight saving; no night is lost or doubled."""
    schedule = Driven(cron="30 2 * * *", time_zone="Europe/Berlin")

    schedule.advance(timedelta(days=365))

    berlin = ZoneInfo("Europe/Berlin")
    days = [
        datetime.fromisoformat(each.removeprefix("nightly-")).astimezone(berlin).date()
        for each in schedule.started
    ]
    assert len(days) == len(set(days)) == 365


def test_a_schedule_that_slept_starts_one_run() -> None:
    """The latest; the others are missed."""
    schedule = Driven(cron="0 * * * *")
    schedule.advance(timedelta(minutes=30))

    schedule.sleep(40 * HOUR)
    schedule.advance(timedelta())

    assert schedule.started == ["nightly-2026-01-03T04:00:00+00:00"]


def test_catch_up_starts_what_was_missed_within_its_window() -> None:
    """And nothing that is older."""
    schedule = Driven(cron="0 * * * *", catch_up=3 * 3600.0)
    schedule.advance(timedelta(minutes=30))

    schedule.sleep(40 * HOUR)
    schedule.advance(timedelta())

    assert [each[-14:-9] for each in schedule.started] == ["02:00", "03:00", "04:00"]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", ["13:00"]),
        ("buffer_one", ["13:00"]),
        ("allow", ["13:00", "14:00", "15:00"]),
        ("terminate_other", ["13:00", "14:00", "15:00"]),
    ],
)
def test_overlap_decides_what_a_long_run_does_to_the_next(overlap: str, expected: list[str]) -> None:
    """The first run never ends here."""
    schedule = Driven(overlap=overlap)

    schedule.advance(3 * HOUR)

    assert [each[-14:-9] for each in schedule.started] == expected
    stopped = [start.stopped for start in schedule.starts]
    first, *_ = helpers = [start.helper_id for start in schedule.starts]
    if overlap == "terminate_other":
        assert stopped == [(), (first,), (helpers[1],)]
    else:
        assert set(stopped) == {()}


def test_a_buffered_run_starts_when_the_one_before_has_ended() -> None:
    """One is kept, not two."""
    schedule = Driven(overlap="buffer_one")
    schedule.advance(3 * HOUR)

    schedule.end(schedule.started[0])

    assert [each[-14:-9] for each in schedule.started] == ["13:00", "14:00"]
    assert schedule.state.progress.skipped == 1


def test_a_failure_pauses_where_that_is_asked_for() -> None:
    """The signal that is on its way starts nothing any more; resume goes on."""
    schedule = Driven(pause_on_failure=True)
    schedule.advance(HOUR)

    schedule.end(schedule.started[0], succeeded=False)
    schedule.advance(2 * HOUR)
    assert schedule.state.status == ScheduleStatus.PAUSED
    assert len(schedule.started) == 1
    assert schedule.state.progress.last_failure == schedule.started[0]

    schedule.apply(transitions.resume(schedule.state, schedule.now, schedule.token))
    schedule.advance(HOUR)
    assert schedule.state.status == ScheduleStatus.ACTIVE
    assert len(schedule.started) == 2


def test_a_limit_ends_the_runs() -> None:
    """No signal is left."""
    schedule = Driven(limit=2)

    schedule.advance(10 * HOUR)

    assert len(schedule.started) == 2
    assert schedule.state.next_run_at is None


def test_a_schedule_past_its_end_deletes_itself() -> None:
    """And starts nothing that would be later."""
    schedule = Driven(end_at=NOON + 2 * HOUR + timedelta(minutes=30))
    schedule.advance(5 * HOUR)

    assert len(schedule.started) == 2
    assert schedule.effects[-1] == DeleteSelf()
    assert not schedule.signals


def test_jitter_delays_the_start_and_not_the_name() -> None:
    """The same run is delayed by the same time, however often it is asked for."""
    schedule, again = Driven(jitter=600.0), Driven(jitter=600.0)
    for each in (schedule, again):
        each.advance(HOUR)

    (start,) = schedule.starts
    assert again.starts == [start]
    assert start.instance_id.endswith("13:00:00+00:00")
    assert start.at is not None
    assert timedelta() < start.at - (NOON + HOUR) <= timedelta(minutes=10)


def test_update_resets_the_next_run_only_where_the_times_change() -> None:
    """And does nothing without a change."""
    schedule = Driven()
    schedule.advance(timedelta(minutes=30))
    token, due = schedule.state.execution_token, schedule.state.next_run_at

    same = transitions.update(schedule.state, schedule.configuration, schedule.now, schedule.token)
    assert same.state == schedule.state
    assert same.effects == ()

    renamed = msgspec.structs.replace(schedule.configuration, orchestration_name="other")
    schedule.apply(transitions.update(schedule.state, renamed, schedule.now, schedule.token))
    assert schedule.state.next_run_at == due
    assert schedule.state.execution_token != token

    faster = msgspec.structs.replace(renamed, interval="00:10:00")
    schedule.apply(transitions.update(schedule.state, faster, schedule.now, schedule.token))
    schedule.advance(timedelta(minutes=30))
    assert len(schedule.started) == 3


def test_what_does_not_fit_the_status_is_refused_and_changes_nothing() -> None:
    """Each message names schedule and status."""
    schedule = Driven()
    nothing = ScheduleState()

    with pytest.raises(
        InvalidOperationError, match="'nightly' is ACTIVE and cannot be resumed: it must be PAUSED"
    ):
        transitions.resume(schedule.state, NOON, schedule.token)
    for call in (
        lambda: transitions.pause(nothing, NOON, schedule.token),
        lambda: transitions.trigger(nothing, NOON, schedule.token),
        lambda: transitions.backfill(nothing, NOON, NOON, NOON, schedule.token),
        lambda: transitions.update(nothing, schedule.configuration, NOON, schedule.token),
    ):
        with pytest.raises(InvalidOperationError, match="does not exist"):
            call()


def test_create_again_without_a_change_changes_nothing() -> None:
    """Programs create their schedules whenever they start; a run that is due meanwhile is not lost."""
    schedule = Driven(cron="0 * * * *")
    schedule.sleep(40 * HOUR)

    before = schedule.state
    schedule.apply(transitions.create(before, schedule.configuration, schedule.now, schedule.token))
    assert schedule.state == before
    schedule.advance(timedelta())

    assert len(schedule.started) == 1


def test_create_of_a_paused_schedule_leaves_it_paused() -> None:
    """With its new configuration; resume starts the next run."""
    schedule = Driven()
    schedule.apply(transitions.pause(schedule.state, schedule.now, schedule.token))
    faster = msgspec.structs.replace(schedule.configuration, interval="00:10:00")

    schedule.apply(transitions.create(schedule.state, faster, schedule.now, schedule.token))
    schedule.advance(HOUR)
    assert schedule.state.status == ScheduleStatus.PAUSED
    assert schedule.started == []

    schedule.apply(transitions.resume(schedule.state, schedule.now, schedule.token))
    schedule.advance(timedelta(minutes=25))
    assert len(schedule.started) == 2


def test_trigger_and_backfill_start_runs_of_their_own_time() -> None:
    """They leave the next run and the limit as they are."""
    schedule = Driven(cron="0 * * * *", limit=5)
    schedule.advance(timedelta(minutes=10))
    due = schedule.state.next_run_at

    outcome, run_id = transitions.trigger(schedule.state, schedule.now, schedule.token)
    schedule.apply(outcome)
    outcome, run_ids = transitions.backfill(
        schedule.state, NOON - 2 * HOUR, NOON, schedule.now, schedule.token
    )
    schedule.apply(outcome)

    assert [each[-14:-9] for each in schedule.started] == ["12:10", "10:00", "11:00", "12:00"]
    assert [run_id, *run_ids] == schedule.started
    assert schedule.state.next_run_at == due
    assert schedule.state.progress.started == 0


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (NOON - 2000 * HOUR, NOON, "more than 1000 runs"),
        (NOON, NOON - HOUR, "is before first="),
        (NOON, NOON + HOUR, "is in the future"),
    ],
)
def test_a_backfill_that_makes_no_sense_is_refused(first: datetime, last: datetime, message: str) -> None:
    """Nothing is started."""
    schedule = Driven(cron="0 * * * *")

    with pytest.raises(InvalidRequestError, match=message):
        transitions.backfill(schedule.state, first, last, schedule.now, schedule.token)


def test_every_trigger_is_a_run_of_its_own() -> None:
    """Also at the time of a scheduled run, and twice at the same time."""
    schedule = Driven()
    schedule.advance(HOUR)

    for _ in range(2):
        outcome, _run_id = transitions.trigger(schedule.state, schedule.now, schedule.token)
        schedule.apply(outcome)

    assert len(set(schedule.started)) == 3


def test_trigger_follows_the_overlap() -> None:
    """A run that is skipped has no id."""
    schedule = Driven(overlap="skip")
    schedule.advance(HOUR)

    outcome, run_id = transitions.trigger(schedule.state, schedule.now, schedule.token)

    assert run_id is None
    assert [type(effect) for effect in outcome.effects] == [CheckRun]


def test_a_run_is_watched_where_its_end_matters() -> None:
    """Without overlap and pause_on_failure it is started directly, as by the other SDKs."""
    watched, careful, free = Driven(overlap="skip"), Driven(pause_on_failure=True), Driven()
    for each in (watched, careful, free):
        each.advance(HOUR)

    assert watched.starts[0].helper_id == watched.state.progress.running[watched.started[0]]
    assert careful.starts[0].helper_id is not None
    assert free.starts[0].helper_id is None
    assert free.state.progress.running == {}


def test_reports_of_forgotten_runs_are_ignored() -> None:
    """For example of runs that were terminated for the next one."""
    schedule = Driven(overlap="terminate_other", pause_on_failure=True)
    schedule.advance(HOUR)
    helper_id = schedule.state.progress.running[schedule.started[0]]
    schedule.advance(HOUR)

    schedule.apply(
        transitions.run_ended(
            schedule.state, helper_id, succeeded=False, now=schedule.now, new_id=schedule.token
        )
    )

    assert schedule.state.status == ScheduleStatus.ACTIVE
    assert list(schedule.state.progress.running) == [schedule.started[1]]


def test_a_signal_may_arrive_a_little_early() -> None:
    """The clock of the hub may be ahead of the worker's; the run is started once."""
    schedule = Driven()
    (signal,) = schedule.signals
    early = NOON + HOUR - timedelta(seconds=0.5)

    for _ in range(2):
        schedule.apply(transitions.run(schedule.state, signal.token, early, schedule.token))

    assert schedule.started == ["nightly-2026-01-01T13:00:00+00:00"]
    assert schedule.state.next_run_at == NOON + 2 * HOUR


@pytest.mark.parametrize("early", [timedelta(milliseconds=500), timedelta(minutes=1)])
def test_a_run_that_started_early_is_not_started_again(early: timedelta) -> None:
    """Its id would be the same, and hubs replace an instance that has ended when an entity starts it."""
    driven = Driven(overlap="allow")
    driven.advance(HOUR)
    driven.now -= early  # the next worker's clock is behind

    driven.apply(transitions.pause(driven.state, driven.now, driven.token))
    driven.apply(transitions.resume(driven.state, driven.now, driven.token))
    driven.apply(
        transitions.update(
            driven.state,
            msgspec.structs.replace(driven.configuration, start_at=NOON),
            driven.now,
            driven.token,
        )
    )
    driven.advance(HOUR)

    assert driven.started == ["nightly-2026-01-01T13:00:00+00:00"]
    driven.advance(HOUR)
    assert driven.started[1:] == ["nightly-2026-01-01T14:00:00+00:00"]


def test_a_trigger_takes_the_id_of_no_scheduled_run() -> None:
    """Also at the very time of one, before its signal has arrived."""
    driven = Driven(overlap="allow")
    driven.sleep(HOUR)

    change, triggered = transitions.trigger(driven.state, driven.now, driven.token)
    driven.apply(change)
    driven.advance(timedelta())

    assert triggered == "nightly-2026-01-01T13:00:00.000001+00:00"
    assert driven.started == [triggered, "nightly-2026-01-01T13:00:00+00:00"]


def test_a_backfill_takes_over_the_run_that_is_due() -> None:
    """Its signal may arrive later, when the run of the backfill has ended."""
    driven = Driven(overlap="allow")
    driven.sleep(3 * HOUR)

    change, ids = transitions.backfill(
        driven.state, driven.now - 2 * HOUR, driven.now, driven.now, driven.token
    )
    driven.apply(change)
    driven.advance(HOUR)

    assert len(set(ids)) == len(ids) == 3
    assert driven.started == [*ids, "nightly-2026-01-01T16:00:00+00:00"]


def test_a_hub_with_a_fast_clock_is_asked_for_a_later_time() -> None:
    """And not again and again until the time of the worker has come."""
    schedule = Driven()
    (signal,) = schedule.signals

    change = transitions.run(
        schedule.state, signal.token, NOON + HOUR - timedelta(seconds=20), schedule.token
    )

    assert change.state == schedule.state
    assert change.effects == (RunAt(signal.token, NOON + HOUR + timedelta(seconds=20)),)


def test_missed_runs_follow_the_overlap() -> None:
    """With ``skip``, the first of the missed runs that catch_up covers still runs when the others are looked at."""
    schedule = Driven(cron="0 * * * *", catch_up=3 * 3600.0, overlap="skip")

    schedule.sleep(40 * HOUR)
    schedule.advance(timedelta())

    assert len(schedule.started) == 1
    assert schedule.state.progress.skipped == 3


def test_a_state_of_another_sdk_is_read() -> None:
    """In PascalCase, and in the snake_case of older ones; unknown members are ignored."""
    configuration = {
        "ScheduleId": "s", "OrchestrationName": "report", "Interval": "1.02:03:04.5000000", "OrchestrationInput": '{"a": 1}',
        "OrchestrationInstanceId": None, "StartAt": "2026-01-01T00:00:00", "EndAt": None, "StartImmediatelyIfLate": True,
        "Something": 1,
    }  # fmt: skip
    pascal = read_state(
        {
            "Status": 1,
            "ExecutionToken": "t",
            "NextRunAt": "2026-01-02T00:00:00+00:00",
            "ScheduleConfiguration": configuration,
        }
    )
    snake = read_state(
        {
            "status": "Active",
            "execution_token": "t",
            "schedule_configuration": {"schedule_id": "s", "orchestration_name": "report"},
        }
    )

    found = pascal.schedule_configuration
    assert found is not None
    assert found.interval is not None
    assert to_timedelta(found.interval) == timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=500)
    assert found.start_at == datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert found.options.overlap == "allow"
    assert (snake.status, snake.execution_token) == (ScheduleStatus.ACTIVE, "t")
    assert f"{ScheduleStatus.ACTIVE}" == "ACTIVE"
    assert "Options" not in write_state(pascal)["ScheduleConfiguration"]
    assert "Progress" not in write_state(pascal)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (5, "is an object, not int"),
        ({"Status": {}}, "The state of the schedule cannot be read: Expected `int`"),
    ],
)
def test_what_is_no_state_is_refused(plain: object, message: str) -> None:
    """Without a word of its content."""
    with pytest.raises(ValueError, match=message):
        read_state(plain)


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_intervals_survive_their_text(interval: timedelta) -> None:
    """Microseconds included."""
    assert to_timedelta(to_timespan(interval)) == interval
