"""When schedules are due, on the wall clock of their time zone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from durabletask.core.schedules.timing import CronTiming, IntervalTiming
from hypothesis import given
from hypothesis import strategies as st

BERLIN = ZoneInfo("Europe/Berlin")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[misc,arg-type]


def test_a_time_that_does_not_exist_runs_right_after_the_gap() -> None:
    """02:30 on the day on which clocks go from 02:00 to 03:00 is 03:00, and it is one run."""
    runs = CronTiming("30 2 * * *", "Europe/Berlin").take(utc(2026, 3, 28, 12), 2)

    assert [run.astimezone(BERLIN).strftime("%d. %H:%M") for run in runs] == ["29. 03:00", "30. 02:30"]


def test_a_time_that_exists_twice_runs_once_at_the_first() -> None:
    """02:30 on the day on which clocks go from 03:00 back to 02:00."""
    runs = CronTiming("30 2 * * *", "Europe/Berlin").take(utc(2026, 10, 24, 12), 2)

    assert runs == [utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)]


def test_a_wildcard_is_evenly_spaced_over_both_changes() -> None:
    """Every half hour is every half hour."""
    for day in (utc(2026, 3, 28, 22), utc(2026, 10, 24, 22)):
        runs = CronTiming("*/30 * * * *", "Europe/Berlin").take(day, 12)

        assert {later - earlier for earlier, later in pairwise(runs)} == {timedelta(minutes=30)}


@pytest.mark.parametrize(
    "expression", ["*/20 9 * * *", "* 2 * * *", "0 */6 * * *", "*/60 5 * * *", "0 */6 * * SUN"]
)
@pytest.mark.parametrize(
    "change",
    [datetime(2026, 4, 4, 15, tzinfo=timezone.utc), datetime(2026, 10, 3, 15, 30, tzinfo=timezone.utc)],
)
def test_a_wildcard_matches_the_wall_clock_where_clocks_change_by_half_an_hour(
    expression: str, change: datetime
) -> None:
    """CronSim alone steps over such a change by whole hours, and loses runs of the rest of the day."""
    zone = ZoneInfo("Australia/Lord_Howe")
    fields = CronSim(expression, change)
    first, last = change - timedelta(hours=30), change + timedelta(hours=30)

    runs = list(CronTiming(expression, "Australia/Lord_Howe").between(first, last))

    minutes = (first + timedelta(minutes=number) for number in range(60 * 60 + 1))
    local = ((minute, minute.astimezone(zone)) for minute in minutes)
    assert runs == [
        minute
        for minute, wall in local
        if wall.minute in fields.minutes and wall.hour in fields.hours and fields.match_day(wall.date())
    ]


def test_a_daily_run_is_one_on_each_day_of_a_year() -> None:
    """Neither change of daylight saving loses or doubles a day."""
    runs = list(CronTiming("30 2 * * *", "Europe/Berlin").between(utc(2026, 1, 1), utc(2026, 12, 31, 22)))

    assert len(runs) == 365
    assert len({run.astimezone(BERLIN).date() for run in runs}) == 365


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("61 * * * *",), r"cron='61 \* \* \* \*' is not a cron expression: Bad minute"),
        (("0 0 31 2 *",), "is not a cron expression"),
        (("@daily",), "is not a cron expression: Wrong number of fields. Its fields are: minute, hour"),
        (("0 0 * * *", "Mars/Olympus"), "time_zone='Mars/Olympus' is not known"),
        (("0 0 * * *", ""), "time_zone='' is not known"),
        (("0 0 * * *", "../etc/passwd"), "is not known"),
    ],
)
def test_what_is_not_valid_is_refused_by_name(arguments: tuple[str, ...], message: str) -> None:
    """Expression and time zone each have their own message."""
    with pytest.raises(ValueError, match=message):
        CronTiming(*arguments)


def test_an_interval_counts_from_its_anchor() -> None:
    """Not from the moment that is asked about."""
    timing = IntervalTiming(utc(2026, 1, 1), timedelta(hours=1))

    assert timing.next_after(utc(2025, 1, 1)) == utc(2026, 1, 1)
    assert timing.next_after(utc(2026, 1, 1)) == utc(2026, 1, 1, 1)
    assert timing.latest_until(utc(2026, 1, 1, 5, 30)) == utc(2026, 1, 1, 5)
    assert timing.latest_until(utc(2025, 1, 1)) is None


def test_an_interval_below_a_second_is_refused() -> None:
    """The message names the argument."""
    with pytest.raises(ValueError, match=r"every=0:00:00\.500000 is too short"):
        IntervalTiming(utc(2026, 1, 1), timedelta(seconds=0.5))


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */6 * * 1-5", "15 10 1 * *"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001
)
def test_the_latest_run_is_the_one_after_which_none_comes_until_then(expression: str, when: datetime) -> None:
    """``latest_until`` and ``next_after`` agree."""
    timing, moment = CronTiming(expression, "America/New_York"), when.replace(tzinfo=timezone.utc)

    latest = timing.latest_until(moment)

    assert latest is not None
    assert latest <= moment
    following = timing.next_after(latest)
    assert following is not None
    assert following > moment
