"""Why is this instance not finished? The explanation names what is missing, where, and what to do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    EntityId,
    InstanceNotFoundError,
    OrchestrationContext,
    RetryPolicy,
    TaskFailedError,
)
from durabletask.core.diagnosis import diagnose
from durabletask.core.history import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EventRaised,
    ExecutionStarted,
    OrchestratorCompleted,
    OrchestratorStarted,
)
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.registry import Registry
from durabletask.core.serialization import DEFAULT_CONVERTER
from durabletask.testing import InMemoryBackend, OrchestrationTestEnvironment


async def order(ctx: OrchestrationContext, amount: int) -> str:
    timer = ctx.create_timer(timedelta(days=2))
    await ctx.task_any([timer, ctx.wait_for_external_event("Approved")])
    return await ctx.call_activity("charge", amount)


async def test_events_timers_and_the_lines_that_wait_are_named() -> None:
    """A running orchestration shows both of its waits, with file and line, and how to go on."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5, instance_id="order-1")
        await env.advance(hours=5)
        diagnosis = run.explain()
        assert [(task.kind, task.is_awaited) for task in diagnosis.waits] == [
            ("timer", True),
            ("event", True),
        ]
        assert diagnosis.age == timedelta(hours=5)
        text = str(diagnosis)
        assert "Instance 'order-1' (order) is RUNNING; created 5:00:00 ago" in text
        line = order.__code__.co_firstlineno + 1
        assert f"{__file__}:{line}" in text
        assert "client.raise_orchestration_event('order-1', 'Approved', data)" in text


async def test_a_misspelt_event_is_noticed() -> None:
    """An event that arrived under a similar name is pointed at."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        await run.raise_event("Aproved", True)
        assert any(isinstance(event, EventRaised) for event in run.history)
        assert "'Aproved' did arrive" in str(run.explain())


async def test_a_suspended_instance_says_so_with_its_reason() -> None:
    """The first advice for a suspended instance is to resume it."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        await run.suspend("audit")
        assert "suspended (reason: audit)" in run.explain().advice[0]


async def test_a_failed_instance_says_why() -> None:
    """What has ended has no waits; its failure is repeated."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        env.fake("charge", side_effect=ValueError("declined"))
        run = await env.start(order, 5)
        await env.advance(days=3)
        diagnosis = run.explain()
        assert not diagnosis.waits
        assert "declined" in diagnosis.advice[0]


async def test_a_pending_instance_names_the_nearest_orchestrators() -> None:
    """No worker has taken it: the names that are registered and look alike are listed."""
    client = DurableTaskClient(InMemoryBackend())
    await client.schedule_new_orchestration("ordre", 5, instance_id="lost")
    diagnosis = await client.explain("lost", orchestrators=[order])
    assert "'ordre' is not among those that were given. The nearest names are 'order'" in diagnosis.advice[0]
    await client.transport.close()


async def test_without_code_the_history_tells_what_it_can() -> None:
    """Open timers and activities are found from the history alone."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        diagnosis = await env.client.explain(run.instance_id)
        assert [task.kind for task in diagnosis.waits] == ["timer"]
        assert "an unknown place" not in str(diagnosis)
        with_code = await env.client.explain(run.instance_id, orchestrators=[order])
        assert [task.kind for task in with_code.waits] == ["timer", "event"]


async def test_code_that_does_not_fit_is_a_finding() -> None:
    """If the given code leaves the history, the explanation says where."""

    async def edited(ctx: OrchestrationContext, amount: int) -> str:
        return await ctx.call_activity("charge", amount)

    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        diagnosis = await env.client.explain(run.instance_id, orchestrators={"order": edited})
        assert "'charge'" in diagnosis.problem
        assert isinstance(run.history[0], OrchestratorStarted)


async def test_an_unknown_instance_is_an_error() -> None:
    """There is nothing to explain."""
    client = DurableTaskClient(InMemoryBackend())
    with pytest.raises(InstanceNotFoundError, match="'missing'"):
        await client.explain("missing")
    await client.transport.close()


# --- every kind of wait -------------------------------------------------------------------------------------


async def leaf(ctx: OrchestrationContext) -> None:
    await ctx.wait_for_external_event("Go")


async def many_waits(ctx: OrchestrationContext) -> None:
    policy = RetryPolicy(first_retry_interval=timedelta(hours=1), max_number_of_attempts=3)
    await ctx.task_all(
        [
            ctx.call_activity("slow"),
            ctx.call_activity("flaky", retry_policy=policy),
            ctx.wait_for_external_event("Answer", timeout=timedelta(days=2)),
            ctx.call_sub_orchestrator(leaf),
        ]
    )


async def test_each_kind_of_wait_has_its_words_its_line_and_its_advice() -> None:
    """An activity under way, a retry that is due later, an event with a time-out, a child: each in one line."""

    async def slow(ctx: ActivityContext) -> None:
        await asyncio.Event().wait()

    async with OrchestrationTestEnvironment(orchestrators=[many_waits, leaf], activities=[slow]) as env:
        env.fake("flaky", side_effect=OSError("down"))
        run = await env.start(many_waits, instance_id="many")
        diagnosis = run.explain()
        answer = await env.client.explain("many", orchestrators=[many_waits])
    (child,) = [task.target for task in diagnosis.waits if task.kind == "sub-orchestration"]
    shown = [str(task).partition(", asked for at ") for task in diagnosis.waits]
    assert [text for text, _, _ in shown] == [
        "activity 'slow'",
        "activity 'flaky' after 1 failed attempt due again at 2026-01-01T01:00:00+00:00",
        f"sub-orchestration 'leaf' with the id {child!r}",
        "event 'Answer' until 2026-01-03T00:00:00+00:00",
    ]
    first = many_waits.__code__.co_firstlineno + 4
    assert [place for _, _, place in shown] == [f"{__file__}:{first + n}" for n in (0, 1, 3, 2)]
    assert diagnosis.advice == [
        "Activity 'slow' is queued or running: check the workers that have it.",
        f"Explain its child: client.explain({child!r}).",
        "Raise it: client.raise_orchestration_event('many', 'Answer', data).",
    ]
    assert answer.age == timedelta(0)  # on the clock of the hub


async def test_an_activity_that_nobody_has_names_the_nearest() -> None:
    """An activity that is queued under a name which the given code does not know is told apart."""

    async def charge_kard(ctx: ActivityContext) -> None:
        await asyncio.Event().wait()

    async def charge_card(ctx: ActivityContext) -> None: ...

    async def pays(ctx: OrchestrationContext) -> None:
        await ctx.call_activity("charge_kard")

    async with OrchestrationTestEnvironment(orchestrators=[pays], activities=[charge_kard]) as env:
        run = await env.start(pays)
        diagnosis = await env.client.explain(run.instance_id, orchestrators=[pays], activities=[charge_card])
    assert "'charge_kard' is not among those that were given" in diagnosis.advice[0]
    assert "'charge_card'" in diagnosis.advice[0]


async def test_a_later_start_a_timer_and_the_end_are_no_trouble() -> None:
    """What only takes time says until when; what has ended says so."""

    async def sleeps(ctx: OrchestrationContext) -> None:
        await ctx.create_timer(timedelta(days=30))

    async with OrchestrationTestEnvironment(orchestrators=[sleeps]) as env:
        run = await env.start(sleeps, start_at=timedelta(days=3))
        assert run.explain().advice == ["It starts at 2026-01-04T00:00:00+00:00, in 3 days, 0:00:00."]
        await env.advance(days=4)
        assert run.explain().advice == [
            "Nothing: it goes on at 2026-02-03T00:00:00+00:00, in 29 days, 0:00:00."
        ]
        await run.result()
        assert str(run.explain()).endswith("It has ended: it waits for nothing.")


async def holds(ctx: OrchestrationContext) -> None:
    async with await ctx.lock_entities([EntityId("counter", "a")]):
        await ctx.call_entity(EntityId("counter", "a"), "add", 1)


@pytest.mark.parametrize("registry", [None, Registry(orchestrators=[holds])], ids=["history", "code"])
def test_locks_and_entities_are_waited_for(registry: Registry | None) -> None:
    """A lock that was not granted and an operation that was not answered are told, with and without the code."""
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    head = {"event_id": -1, "timestamp": start}
    section = "0aad26fb-d727-5eae-9607-40bb3082cc9d"
    history = [
        OrchestratorStarted(**head),
        ExecutionStarted(**head, name="holds", instance_id="e1", execution_id="x"),
        EntityLockRequested(
            event_id=1, timestamp=start, critical_section_id=section, lock_set=("@counter@a",)
        ),
        OrchestratorCompleted(**head),
    ]
    state = OrchestrationState(
        instance_id="e1",
        name="holds",
        runtime_status=OrchestrationStatus.RUNNING,
        created_at=start,
        last_updated_at=start,
    )
    diagnosis = diagnose(state, history, now=start, converter=DEFAULT_CONVERTER, registry=registry)
    assert [(task.kind, task.name) for task in diagnosis.waits] == [("lock", "@counter@a")]
    assert "Another orchestration may hold" in diagnosis.advice[0]
    history += [
        OrchestratorStarted(**head),
        EntityLockGranted(**head, critical_section_id=section),
        EntityOperationCalled(
            event_id=2,
            timestamp=start,
            request_id="call-1",
            operation="add",
            target_instance_id="@counter@a",
            input="1",
        ),
        OrchestratorCompleted(**head),
    ]
    diagnosis = diagnose(state, history, now=start, converter=DEFAULT_CONVERTER, registry=registry)
    assert [(task.kind, task.name, task.target) for task in diagnosis.waits] == [
        ("entity", "add", "@counter@a")
    ]
    assert "operation 'add' of entity '@counter@a'" in str(diagnosis)


# --- from history and state alone ---------------------------------------------------------------------------


async def test_without_code_a_wait_for_an_event_is_inferred() -> None:
    """Nothing open means an event: no word of workers, but how to raise it, what came, and what the code would add."""

    async def confirmed(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_external_event("Started")
        await ctx.wait_for_external_event("Confirmed")

    async with OrchestrationTestEnvironment(orchestrators=[confirmed]) as env:
        run = await env.start(confirmed, instance_id="c1")
        await run.raise_event("Started")
        text = str(await env.client.explain("c1"))
    assert "waits for an external event, which leaves no trace" in text
    assert "Events that came so far: 'Started'." in text
    assert "client.raise_orchestration_event('c1', name, data)" in text
    assert "explain('c1', orchestrators=[...]) also shows the events" in text
    assert "worker is connected" not in text


async def test_without_code_a_timer_may_be_the_time_out_of_an_event() -> None:
    """The time-out is all that the history has of such a wait."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        text = str(await env.client.explain(run.instance_id))
    assert "may also be the time-out of a wait for an external event" in text


async def test_code_of_another_name_is_not_taken_for_the_code() -> None:
    """The names that were given and look alike are listed, beside what follows from the history."""
    async with OrchestrationTestEnvironment(orchestrators=[order]) as env:
        run = await env.start(order, 5)
        diagnosis = await env.client.explain(run.instance_id, orchestrators={"ordre": order})
    assert [task.kind for task in diagnosis.waits] == ["timer"]
    assert "'order' is not among those that were given. The nearest names are 'ordre'" in diagnosis.advice[-1]


async def flaky_order(ctx: OrchestrationContext) -> None:
    policy = RetryPolicy(first_retry_interval=timedelta(hours=1), max_number_of_attempts=3)
    await ctx.call_activity("charge", 5, retry_policy=policy)


@pytest.mark.parametrize("has_code", [False, True])
async def test_the_timer_of_a_retry_names_the_activity_and_its_last_error(has_code: bool) -> None:
    """An operator sees what is retried, how often it failed and why, with and without the code."""
    async with OrchestrationTestEnvironment(orchestrators=[flaky_order]) as env:
        env.fake("charge", side_effect=[OSError("down"), ValueError("declined"), None])
        run = await env.start(flaky_order)
        await env.advance(hours=1)
        given = [flaky_order] if has_code else ()
        diagnosis = await env.client.explain(run.instance_id, orchestrators=given)
    (attempt,) = diagnosis.attempts.values()
    assert (attempt.kind, attempt.name, attempt.attempts) == ("activity", "charge", 2)
    assert "builtins.ValueError: declined" in str(diagnosis)
    assert "'charge'" in str(diagnosis)
    assert ("failed 2 times" in str(diagnosis)) is not has_code
    assert "OSError" not in str(diagnosis)


async def test_a_failed_instance_names_the_line_the_child_and_the_way_back() -> None:
    """FAILED: where the code failed, which child with its id, and rewind and restart; the child points to its parent."""

    async def child(ctx: OrchestrationContext) -> None:
        raise ValueError("out of stock")

    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.call_activity("greet")
        await ctx.call_sub_orchestrator(child, instance_id="c9")

    async with OrchestrationTestEnvironment(orchestrators=[parent, child]) as env:
        env.fake("greet")
        run = await env.start(parent, instance_id="p9")
        above = str(await env.client.explain("p9"))
        below = str(await env.client.explain("c9"))
    assert run.status is OrchestrationStatus.FAILED
    assert f"It failed at {__file__}:{parent.__code__.co_firstlineno + 2}: " in above
    assert "Sub-orchestration 'child' ('c9') failed with builtins.ValueError: out of stock" in above
    assert "client.explain('c9')" in above
    assert "client.rewind_orchestration('p9')" in above
    assert "client.restart_orchestration('p9')" in above
    assert f"It failed at {__file__}:{child.__code__.co_firstlineno + 1}: out of stock" in below
    assert "child of 'p9'" in below


async def test_a_failure_that_was_handled_is_not_the_cause() -> None:
    """An activity that failed earlier and was caught is left out of the explanation."""

    async def careful(ctx: OrchestrationContext) -> None:
        with suppress(TaskFailedError):
            await ctx.call_activity("charge")
        raise KeyError("bug")

    async with OrchestrationTestEnvironment(orchestrators=[careful]) as env:
        env.fake("charge", side_effect=ValueError("declined"))
        run = await env.start(careful)
        text = str(run.explain())
    assert "'bug'" in text
    assert "charge" not in text
