"""Arguments and operation inputs become a configuration, or an error that names the argument."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from durabletask.core.errors import InvalidArgumentError, InvalidRequestError
from durabletask.core.schedules.configuration import as_request, as_schedule_id, merged
from durabletask.core.schedules.state import ScheduleConfiguration

BLANK = ScheduleConfiguration(schedule_id="nightly", orchestration_name="report")


def configured(**arguments: object) -> ScheduleConfiguration:
    request = msgspec.json.decode(msgspec.json.encode(as_request(arguments)))
    return merged(request, BLANK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither cron= nor every=. Give one of them."),
        ({"cron": "0 2 * * *", "every": 5}, "both cron= and every=. Give one of them."),
        ({"every": 0.5}, "every=0:00:00.500000 is too short. Use an interval of at least one second."),
        ({"every": "5m"}, "every must be a timedelta or a number of seconds, not str."),
        ({"cron": "61 * * * *"}, "cron='61 * * * *' is not a cron expression: Bad minute."),
        ({"cron": 5}, "cron must be a str, not 5."),
        ({"cron": "0 2 * * *", "time_zone": "Europe/Berln"}, "time_zone='Europe/Berln' is not known."),
        ({"every": 5, "time_zone": "Europe/Berlin"}, "time_zone= applies to cron= only."),
        ({"every": 5, "overlap": "skp"}, "overlap='skp' does not exist. Did you mean 'skip'?"),
        ({"every": 5, "limit": 0}, "limit must be at least 1, not 0."),
        ({"every": 5, "limit": True}, "limit must be an int, not True."),
        ({"every": 5, "jitter": -1}, "jitter=-1 is not between zero and a year, in seconds."),
        (
            {"every": 5, "catch_up": timedelta(seconds=-1)},
            "catch_up=-1 is not between zero and a year, in seconds.",
        ),
        (
            {"every": 5, "instance_id": "x"},
            "instance_id='x' is the same for every run. Put '{time}' into it.",
        ),
        ({"every": 5, "instance_id": "@{time}"}, "begins with '@', which marks entities"),
        ({"every": None}, "neither cron= nor every=. Give one of them."),
        ({"every": timedelta.max}, "The configuration of schedule 'nightly': days=1000000000"),
        ({"every": 5, "instance_id": "{time}-{zone}"}, "contains {zone}. Use {time} and {schedule}."),
        (
            {"every": 5, "instance_id": "durabletask~{time}"},
            "must not begin with 'durabletask~', which is reserved.",
        ),
        ({"every": 5, "start_at": "tomorrow"}, "start_at must be a datetime, not str."),
        ({"every": 5, "pause_on_failure": "no"}, "pause_on_failure must be a bool, not str."),
        ({"cron": "0 2 * * *", "start_immediately_if_late": True}, "To run at once, call trigger()."),
        (
            {"every": 5, "start_at": datetime(2026, 1, 2), "end_at": datetime(2026, 1, 1)},  # noqa: DTZ001
            "ends before it starts: start_at=2026-01-02T00:00:00+00:00, end_at=2026-01-01T00:00:00+00:00.",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_its_problem(arguments: dict[str, object], message: str) -> None:
    """And with what to do instead."""
    with pytest.raises(InvalidRequestError) as caught:
        configured(**arguments)

    assert message in str(caught.value)


def test_a_wrong_type_is_also_a_type_error() -> None:
    """As everywhere in the client."""
    with pytest.raises(InvalidArgumentError):
        configured(every="5m")


def test_schedule_ids_are_texts_that_all_sdks_can_read() -> None:
    """Some take the text behind a second ``@`` for a mistake."""
    assert as_schedule_id("nightly report") == "nightly report"
    for wrong in ("", "a@b", 5):
        with pytest.raises(InvalidRequestError, match="schedule_id"):
            as_schedule_id(wrong)


def test_an_update_changes_what_it_names() -> None:
    """Null clears what may be without a value."""
    old = configured(every=60, end_at=datetime(2030, 1, 1, tzinfo=timezone.utc), limit=5, jitter=3)

    new = merged(as_request({"every": timedelta(minutes=2), "limit": None, "end_at": None}), old)

    assert new == configured(every=120, jitter=3)


def test_the_inputs_of_other_sdks_are_understood() -> None:
    """Python in snake_case with the input as a value; .NET in PascalCase with the input as text."""
    python = merged(
        {
            "schedule_id": "nightly",
            "orchestration_name": "report",
            "interval_seconds": 90.5,
            "orchestration_input": {"a": 1},
            "orchestration_instance_id": None,
            "start_at": "2026-01-01T00:00:00+00:00",
            "end_at": None,
            "start_immediately_if_late": True,
        },
        BLANK,
    )
    dotnet = merged(
        {
            "ScheduleId": "nightly",
            "OrchestrationName": "report",
            "Interval": "00:01:30.5000000",
            "OrchestrationInput": '{"a":1}',
            "OrchestrationInstanceId": None,
            "StartAt": "2026-01-01T01:00:00+01:00",
            "EndAt": None,
            "StartImmediatelyIfLate": True,
        },
        BLANK,
    )

    assert python == dotnet
    assert python.interval == "00:01:30.5000000"
    assert python.options.overlap == "allow"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "is an object"),
        ({"interval_seconds": "soon"}, "Expected `float`, got `str`"),
        ({"interval_seconds": 0.25}, "is too short"),
        ({"Interval": "hourly"}, "is not an interval"),
        ({"interval_seconds": 5, "options": {"Overlap": "never"}}, "Invalid enum value 'never'"),
        ({"interval_seconds": 5, "options": {"Limit": 0}}, "limit=0 is below 1. Use None for no limit."),
        ({"interval_seconds": 5, "options": 7}, "The configuration of schedule 'nightly'"),
        ({"interval_seconds": 5, "start_at": "noon"}, "Invalid RFC3339"),
        ({"interval_seconds": 5, "cleared": ["nothing"]}, "The configuration of schedule 'nightly'"),
        ({"interval_seconds": 5, "orchestration_name": ""}, "has no orchestrator"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(given: object, message: str) -> None:
    """Whatever client it comes from."""
    with pytest.raises(InvalidRequestError, match=message):
        merged(given, BLANK)


def test_run_ids_are_made_of_schedule_and_time() -> None:
    """The pattern of another SDK, which has no placeholders, is the id of every run."""
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

    assert configured(every=5).run_id(noon) == "nightly-2026-01-01T12:00:00+00:00"
    assert (
        configured(every=5, instance_id="r/{time}/{schedule}").run_id(noon)
        == "r/2026-01-01T12:00:00+00:00/nightly"
    )
    fixed = merged({"interval_seconds": 5, "orchestration_instance_id": "one"}, BLANK)
    assert fixed.run_id(noon) == "one"
