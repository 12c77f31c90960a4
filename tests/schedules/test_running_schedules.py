"""Schedules on the local hub, in virtual time: what runs, when, and what happens when something goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import (
    InstanceNotFoundError,
    InvalidArgumentError,
    InvalidOperationError,
    InvalidRequestError,
    RegistrationError,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.schedules.client import Schedule, ScheduleSpec
from durabletask.core.schedules.state import Overlap, ScheduleStatus
from durabletask.testing import OrchestrationTestEnvironment

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)


async def report(ctx: OrchestrationContext, value: object = None) -> object:
    return value


async def long(ctx: OrchestrationContext, hours: float = 2.5) -> None:
    await ctx.create_timer(timedelta(hours=hours))


async def needy(ctx: OrchestrationContext, value: int) -> int:
    return value


async def broken(ctx: OrchestrationContext, value: object = None) -> None:
    raise ValueError("the disk is full")


@pytest.fixture
async def env() -> AsyncIterator[OrchestrationTestEnvironment]:
    async with OrchestrationTestEnvironment(orchestrators=[report, long, broken]) as made:
        yield made


async def runs(env: OrchestrationTestEnvironment, prefix: str = "") -> dict[str, OrchestrationStatus]:
    """Every run by the part of its id behind the id of the schedule, in the order of creation."""
    listing = env.client.query_orchestrations(instance_id_prefix=prefix or None)
    return {
        state.instance_id.partition("-")[2].removesuffix("+00:00"): state.runtime_status
        async for state in listing
    }


async def existing(env: OrchestrationTestEnvironment, schedule_id: str) -> Schedule:
    schedule = await env.client.schedules.get(schedule_id)
    assert schedule is not None
    return schedule


# --- times -----------------------------------------------------------------------------------------------------


async def test_a_year_of_a_nightly_report_has_a_run_for_each_night(env: OrchestrationTestEnvironment) -> None:
    """02:30 in Berlin does not exist on 29 March, where it is 03:00, and is there twice on 25 October."""
    await env.client.schedules.create("nightly", report, cron="30 2 * * *", time_zone="Europe/Berlin")

    await env.advance(days=364, hours=23)

    started = [datetime.fromisoformat(time + "+00:00") for time in await runs(env)]
    local = [time.astimezone(BERLIN) for time in started]
    assert len(local) == len({time.date() for time in local}) == 365
    odd = {time.strftime("%m-%d %H:%M") for time in local if (time.hour, time.minute) != (2, 30)}
    assert odd == {"03-29 03:00"}
    assert [str(time) for time in started if time.month == 10 and time.day == 25] == [
        "2026-10-25 00:30:00+00:00"
    ]
    assert (await existing(env, "nightly")).started == 365


async def test_an_interval_counts_from_its_start_and_ends_at_its_end(
    env: OrchestrationTestEnvironment,
) -> None:
    """After its end, the schedule does not exist any more."""
    await env.client.schedules.create(
        "hourly",
        report,
        every=HOUR,
        start_at=NEW_YEAR + timedelta(minutes=90),
        end_at=NEW_YEAR + timedelta(hours=4),
    )

    await env.advance(hours=10)

    assert list(await runs(env)) == ["2026-01-01T01:30:00", "2026-01-01T02:30:00", "2026-01-01T03:30:00"]
    assert await env.client.schedules.get("hourly") is None


async def test_a_limit_ends_the_runs_and_leaves_the_schedule(env: OrchestrationTestEnvironment) -> None:
    """A higher limit lets it go on."""
    schedules = env.client.schedules
    await schedules.create("hourly", report, every=HOUR, limit=2)

    assert await schedules.next("hourly") == [NEW_YEAR + HOUR, NEW_YEAR + 2 * HOUR]
    await env.advance(hours=10)
    assert len(await runs(env)) == 2
    assert await schedules.next("hourly") == []

    await schedules.update("hourly", limit=3)
    await env.advance(hours=10)
    assert list(await runs(env))[-1] == "2026-01-01T11:00:00"
    assert len(await runs(env)) == 3


async def test_jitter_delays_each_run_by_its_own_time(env: OrchestrationTestEnvironment) -> None:
    """The ids keep the scheduled time, and the delay is the same whenever the run is started."""
    await env.client.schedules.create("hourly", report, every=HOUR, jitter=timedelta(minutes=30))

    await env.advance(hours=3, minutes=45)

    delays = set()
    async for state in env.client.query_orchestrations():
        scheduled = datetime.fromisoformat(state.instance_id.removeprefix("hourly-"))
        delays.add(state.created_at - scheduled)
    assert len(delays) == 3
    assert all(timedelta() <= delay <= timedelta(minutes=30) for delay in delays)


async def test_next_tells_the_coming_runs(env: OrchestrationTestEnvironment) -> None:
    """None while the schedule is paused, and none after its end."""
    schedules = env.client.schedules
    await schedules.create("daily", report, cron="0 12 * * *", end_at=datetime(2026, 1, 3, 23))  # noqa: DTZ001

    noon = NEW_YEAR + 12 * HOUR
    assert await schedules.next("daily", 2) == [noon, noon + timedelta(days=1)]
    assert len(await schedules.next("daily", 10)) == 3
    await schedules.pause("daily")
    assert await schedules.next("daily") == []
    with pytest.raises(InstanceNotFoundError, match="There is no schedule 'weekly'"):
        await schedules.next("weekly")


# --- overlap and failures ------------------------------------------------------------------------------------


async def test_skip_leaves_out_runs_while_one_goes_on(env: OrchestrationTestEnvironment) -> None:
    """The default. A run of two and a half hours costs the next two."""
    await env.client.schedules.create("hourly", long, every=HOUR)

    await env.advance(hours=5)

    assert list(await runs(env)) == ["2026-01-01T01:00:00", "2026-01-01T04:00:00"]
    schedule = await existing(env, "hourly")
    assert (schedule.started, schedule.skipped) == (2, 3)
    assert schedule.running == ("hourly-2026-01-01T04:00:00+00:00",)


async def test_buffer_one_starts_one_run_when_the_other_has_ended(env: OrchestrationTestEnvironment) -> None:
    """It has the time at which it was due."""
    await env.client.schedules.create("hourly", long, every=HOUR, overlap="buffer_one")

    await env.advance(hours=3, minutes=45)

    assert await runs(env) == {
        "2026-01-01T01:00:00": OrchestrationStatus.COMPLETED,
        "2026-01-01T02:00:00": OrchestrationStatus.RUNNING,
    }


async def test_allow_starts_runs_side_by_side(env: OrchestrationTestEnvironment) -> None:
    """Without a helper, as the other SDKs do."""
    await env.client.schedules.create("hourly", long, every=HOUR, overlap="allow")

    await env.advance(hours=3)

    assert set((await runs(env)).values()) == {OrchestrationStatus.RUNNING}
    assert len(await runs(env)) == 3
    assert await helpers(env) == []


async def test_terminate_other_ends_the_run_before(env: OrchestrationTestEnvironment) -> None:
    """Also one whose start is delayed by jitter and has not come yet."""
    await env.client.schedules.create("hourly", long, every=HOUR, overlap="terminate_other")
    await env.client.schedules.create("late", long, every=HOUR, overlap="terminate_other", jitter=3 * HOUR)

    await env.advance(hours=3)

    assert list((await runs(env, "hourly")).values()) == [
        OrchestrationStatus.TERMINATED,
        OrchestrationStatus.TERMINATED,
        OrchestrationStatus.RUNNING,
    ]
    late = await existing(env, "late")
    assert late.running == ("late-2026-01-01T03:00:00+00:00",)
    await env.advance(hours=6)
    live = [
        time for time, status in (await runs(env, "late")).items() if status is OrchestrationStatus.RUNNING
    ]
    assert len(live) <= 1


@pytest.mark.parametrize("orchestrator", [broken, "not_registered"])
async def test_pause_on_failure_pauses_at_the_first_run_that_fails(
    env: OrchestrationTestEnvironment, orchestrator: object
) -> None:
    """Also when there is no such orchestrator; resume goes on."""
    schedules = env.client.schedules
    await schedules.create("hourly", orchestrator, every=HOUR, pause_on_failure=True, overlap="allow")

    await env.advance(hours=5)

    schedule = await existing(env, "hourly")
    assert schedule.status is ScheduleStatus.PAUSED
    assert schedule.last_failure == "hourly-2026-01-01T01:00:00+00:00"
    assert len(await runs(env)) == 1
    await schedules.resume("hourly")
    await env.advance(hours=2)
    assert len(await runs(env)) == 2


async def test_a_run_that_is_terminated_does_not_hold_up_the_next(env: OrchestrationTestEnvironment) -> None:
    """The schedule learns of every end."""
    await env.client.schedules.create("hourly", long, 100.0, every=HOUR)
    await env.advance(hours=1)

    await env.client.terminate_orchestration("hourly-2026-01-01T01:00:00+00:00")
    await env.advance(hours=1)

    assert await runs(env) == {
        "2026-01-01T01:00:00": OrchestrationStatus.TERMINATED,
        "2026-01-01T02:00:00": OrchestrationStatus.RUNNING,
    }


async def test_a_lost_helper_does_not_hold_up_the_schedule(env: OrchestrationTestEnvironment) -> None:
    """It is noticed when a run is skipped, and the next one starts; a run that goes on is still waited for."""
    await env.client.schedules.create("hourly", long, 4.5, every=HOUR)
    await env.advance(hours=1)
    helpers = env.client.query_orchestrations(instance_id_prefix="durabletask~", runtime_statuses="running")
    (helper,) = await helpers.to_list()

    await env.client.terminate_orchestration(helper.instance_id, recursive=False)
    await env.advance(hours=6)

    assert await runs(env) == {
        "2026-01-01T01:00:00": OrchestrationStatus.COMPLETED,
        "2026-01-01T07:00:00": OrchestrationStatus.RUNNING,
    }
    assert (await existing(env, "hourly")).last_failure == "hourly-2026-01-01T01:00:00+00:00"


# --- operations ------------------------------------------------------------------------------------------------


async def test_runs_get_the_input_and_the_ids_that_were_asked_for(env: OrchestrationTestEnvironment) -> None:
    """And the version."""
    await env.client.schedules.create(
        "hourly", report, {"to": ["a", "b"]}, every=HOUR, instance_id="run {time} of {schedule}", version="2"
    )

    await env.advance(hours=1)

    state = await env.client.get_orchestration_state("run 2026-01-01T01:00:00+00:00 of hourly")
    assert state is not None
    assert state.output == {"to": ["a", "b"]}


async def test_trigger_starts_a_run_besides_the_others(env: OrchestrationTestEnvironment) -> None:
    """Also of a paused schedule; its id is the answer."""
    schedules = env.client.schedules
    await schedules.create("daily", report, cron="0 12 * * *")
    await schedules.pause("daily")
    await env.advance(minutes=5)

    run_id = await schedules.trigger("daily")

    assert run_id == "daily-2026-01-01T00:05:00+00:00"
    state = await env.client.wait_for_orchestration_completion(run_id)
    assert state is not None
    assert (await existing(env, "daily")).started == 0


async def test_trigger_is_skipped_while_a_run_goes_on(env: OrchestrationTestEnvironment) -> None:
    """As the overlap of the schedule says."""
    await env.client.schedules.create("hourly", long, every=HOUR)
    await env.advance(hours=1, minutes=5)

    assert await env.client.schedules.trigger("hourly") is None
    assert len(await runs(env)) == 1


@pytest.mark.parametrize("overlap", ["allow", "skip"])
async def test_backfill_starts_each_run_of_the_past_once(
    env: OrchestrationTestEnvironment, overlap: str
) -> None:
    """A run that was started before keeps its id, and the schedule goes on afterwards."""
    schedules = env.client.schedules
    await schedules.create("hourly", report, cron="0 * * * *", overlap=overlap)  # type: ignore[arg-type]
    await env.advance(hours=2, minutes=30)
    before = {state.instance_id: state.created_at async for state in env.client.query_orchestrations()}

    ids = await schedules.backfill("hourly", NEW_YEAR - 2 * HOUR, NEW_YEAR + 2 * HOUR)
    await env.settle()

    assert [run_id[-14:-9] for run_id in ids] == ["22:00", "23:00", "00:00", "01:00", "02:00"]
    after = {state.instance_id: state.created_at async for state in env.client.query_orchestrations()}
    assert set(after) == set(ids)
    assert {run_id: after[run_id] for run_id in before} == before
    await env.advance(hours=1)
    assert (await existing(env, "hourly")).started == 3
    assert (await existing(env, "hourly")).running == ()


async def test_update_changes_what_is_given(env: OrchestrationTestEnvironment) -> None:
    """Input and orchestrator included; the next run moves only if its time changes."""
    schedules = env.client.schedules
    await schedules.create("hourly", "nothing", "a", every=HOUR, limit=5)
    await env.advance(minutes=30)

    renamed = await schedules.update("hourly", orchestrator=report, input="b", limit=None)
    assert renamed.next_run_at == NEW_YEAR + HOUR
    faster = await schedules.update("hourly", every=timedelta(minutes=40))
    assert faster.next_run_at == NEW_YEAR + timedelta(minutes=40)
    await env.advance(minutes=10)

    state = await env.client.get_orchestration_state("hourly-2026-01-01T00:40:00+00:00")
    assert state is not None
    assert state.output == "b"
    assert await schedules.update("hourly", every=timedelta(minutes=40)) == await existing(env, "hourly")


async def test_pause_and_resume_leave_out_what_was_due_meanwhile(env: OrchestrationTestEnvironment) -> None:
    """Each is refused where it makes no sense."""
    schedules = env.client.schedules
    await schedules.create("hourly", report, every=HOUR, catch_up=timedelta(hours=5))
    with pytest.raises(
        InvalidOperationError, match="'hourly' is ACTIVE and cannot be resumed: it must be PAUSED"
    ):
        await schedules.resume("hourly")
    await schedules.pause("hourly")
    await env.advance(hours=3, minutes=30)
    with pytest.raises(InvalidOperationError, match="'hourly' is PAUSED and cannot be paused"):
        await schedules.pause("hourly")

    await schedules.resume("hourly")
    await env.advance(hours=1)

    assert list(await runs(env)) == ["2026-01-01T04:00:00"]


async def test_delete_ends_the_schedule_and_not_its_runs(env: OrchestrationTestEnvironment) -> None:
    """A schedule of the same id can be created again; the first time is not started twice."""
    schedules = env.client.schedules
    await schedules.create("hourly", long, every=HOUR)
    await env.advance(hours=1)

    await schedules.delete("hourly")
    await env.advance(hours=5)

    assert await schedules.get("hourly") is None
    assert await runs(env) == {"2026-01-01T01:00:00": OrchestrationStatus.COMPLETED}
    for call in (schedules.delete, schedules.pause, schedules.resume, schedules.trigger):
        with pytest.raises(InstanceNotFoundError, match="There is no schedule 'hourly' in this task hub"):
            await call("hourly")
    assert [entity async for entity in env.client.query_entities()] == []


async def test_create_again_is_an_update_and_may_change_the_kind(env: OrchestrationTestEnvironment) -> None:
    """A schedule has one id, whether it has an interval or an expression."""
    schedules = env.client.schedules
    first = await schedules.create("report", report, every=HOUR)
    assert await schedules.create("report", report, every=HOUR) == first

    second = await schedules.create("report", report, cron="0 12 * * *")

    assert await schedules.list().to_list() == [second]
    assert (second.cron, second.every) == ("0 12 * * *", None)
    with pytest.raises(InvalidRequestError, match="cannot change between cron= and every="):
        await schedules.update("report", every=HOUR)


async def test_apply_makes_the_hub_as_declared(env: OrchestrationTestEnvironment) -> None:
    """Nothing is changed if one of the specs is wrong."""
    schedules = env.client.schedules
    await schedules.create("old", report, every=HOUR)
    kept = await schedules.create("kept", report, every=HOUR)
    specs = [
        ScheduleSpec("kept", report, every=HOUR),
        ScheduleSpec("new", report, cron="0 12 * * *"),
        ScheduleSpec("over", report, every=HOUR, end_at=NEW_YEAR - HOUR),
    ]

    with pytest.raises(InvalidRequestError, match="every=0:00:00"):
        await schedules.apply([*specs, ScheduleSpec("wrong", report, every=0)], delete_others=True)
    assert len(await schedules.list().to_list()) == 2

    applied = await schedules.apply(specs, delete_others=True)

    assert [schedule.schedule_id for schedule in applied] == ["kept", "new"]
    assert applied[0] == kept
    assert {schedule.schedule_id async for schedule in schedules.list()} == {"kept", "new"}


async def test_list_finds_schedules_of_both_kinds(env: OrchestrationTestEnvironment) -> None:
    """By prefix and by status."""
    schedules = env.client.schedules
    for schedule_id in ("a1", "a2", "b1"):
        await schedules.create(schedule_id, report, every=HOUR)
    await schedules.create("a3", report, cron="0 12 * * *")
    await schedules.pause("a2")

    async def ids(**filters: object) -> set[str]:
        return {schedule.schedule_id async for schedule in schedules.list(**filters)}  # type: ignore[arg-type]

    assert await ids() == {"a1", "a2", "a3", "b1"}
    assert await ids(prefix="a", status="active") == {"a1", "a3"}
    assert await ids(status=ScheduleStatus.PAUSED) == {"a2"}
    with pytest.raises(InvalidRequestError, match="Did you mean 'PAUSED'"):
        schedules.list(status="pausd")  # type: ignore[arg-type]


async def test_what_is_refused_changes_nothing(env: OrchestrationTestEnvironment) -> None:
    """No helper is started for arguments that are wrong."""
    schedules = env.client.schedules
    created = await schedules.create("hourly", report, every=HOUR)
    helpers = env.client.query_orchestrations(instance_id_prefix="durabletask~")
    count = len(await helpers.to_list())

    for change in (
        {"every": 0},
        {"overlap": "never"},
        {"limit": 0},
        {"start_at": "noon"},
        {"orchestrator": " "},
    ):
        with pytest.raises(InvalidRequestError):
            await schedules.update("hourly", **change)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"has no option 'ever'\. Did you mean 'every'"):
        await schedules.create("other", report, ever=HOUR)  # type: ignore[call-arg]
    with pytest.raises(InvalidRequestError, match="has ended before it begins: end_at=2025-12-31T23:00:00"):
        await schedules.create("other", report, every=HOUR, end_at=NEW_YEAR - HOUR)
    with pytest.raises(InvalidRequestError, match="input"):
        await schedules.create("other", needy, every=HOUR)  # type: ignore[call-overload]
    with pytest.raises(RegistrationError, match="NoneType is neither a definition nor a name"):
        await schedules.create("other", None, every=HOUR)  # type: ignore[call-overload]
    with pytest.raises(InvalidRequestError, match="specs has two schedules 'other'"):
        await schedules.apply([ScheduleSpec("other", report, every=number) for number in (60, 61)])
    with pytest.raises(InvalidArgumentError, match="specs must be of ScheduleSpec, not str"):
        await schedules.apply(["other"])  # type: ignore[list-item]
    with pytest.raises(InvalidArgumentError, match="first must be a datetime, not None"):
        await schedules.backfill("hourly", None, NEW_YEAR)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="has 500 characters; at most 85 are allowed"):
        await schedules.create("x" * 500, report, every=HOUR)

    assert await existing(env, "hourly") == created
    assert await schedules.list().to_list() == [created]
    assert len(await helpers.to_list()) == count


async def test_a_backfill_that_the_entity_refuses_is_an_error_of_the_call(
    env: OrchestrationTestEnvironment,
) -> None:
    """With the class and the text of the entity."""
    await env.client.schedules.create("hourly", report, every=HOUR)

    with pytest.raises(InvalidRequestError, match=r"is in the future\. Backfill runs of the past"):
        await env.client.schedules.backfill("hourly", NEW_YEAR, NEW_YEAR + 5 * HOUR)


# --- what stays in the hub -------------------------------------------------------------------------------------


async def helpers(env: OrchestrationTestEnvironment) -> list[OrchestrationStatus]:
    listing = env.client.query_orchestrations(instance_id_prefix="durabletask~")
    return [state.runtime_status async for state in listing]


@pytest.mark.parametrize("overlap", ["skip", "buffer_one", "terminate_other"])
@pytest.mark.parametrize("orchestrator", [report, long])
async def test_a_schedule_leaves_no_growing_number_of_helpers(
    env: OrchestrationTestEnvironment, overlap: Overlap, orchestrator: Callable[..., object]
) -> None:
    """One for each run that goes on and the last that has ended, each with the check of its run."""
    await env.client.schedules.create("hourly", orchestrator, every=HOUR, overlap=overlap)

    await env.advance(hours=12)
    half = len(await helpers(env))
    await env.advance(hours=36)

    left = await helpers(env)
    assert len(left) <= half <= 6
    assert OrchestrationStatus.FAILED not in left


async def test_a_change_leaves_no_helper(env: OrchestrationTestEnvironment) -> None:
    """Neither does one that the entity refuses."""
    schedules = env.client.schedules
    await schedules.create("hourly", report, every=HOUR)
    await schedules.pause("hourly")
    with pytest.raises(InvalidOperationError):
        await schedules.pause("hourly")

    assert await helpers(env) == []
