"""What user code does to an engine that trusts it: each of these once hung it, escaped it or leaked."""

# ruff: noqa: PERF203 - catching in a loop is what is tested

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from durabletask.core.actions import CreateTimer, RequestEntityLock
from durabletask.core.context import OrchestrationContext
from durabletask.core.entities import EntityId
from durabletask.core.errors import TaskCancelledError
from durabletask.core.history import ExecutionTerminated
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.replay import observed
from durabletask.core.tasks import Task
from replay_story import T0, Story


@pytest.fixture
def _collected() -> Iterator[None]:
    """Collect what such code leaves behind while its complaints are expected."""
    yield
    gc.collect()


def _swallowed_exit(test: Any) -> Any:
    ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return ignored(pytest.mark.usefixtures("_collected")(test))


async def _catches_everything(ctx: OrchestrationContext) -> None:
    is_started = False
    while True:
        try:
            if is_started:
                ctx.set_custom_status("went on")
            is_started = True
            await ctx.call_activity("A")
        except BaseException:
            continue


async def _catches_everything_while_it_waits(ctx: OrchestrationContext) -> None:
    task = ctx.call_activity("A")
    while True:
        try:
            await task
        except BaseException:
            continue


def _generator_that_catches_everything(ctx: OrchestrationContext) -> Iterator[Task[Any]]:
    while True:
        try:
            yield ctx.call_activity("A")
        except BaseException:
            continue


_STUBBORN = [_catches_everything, _catches_everything_while_it_waits, _generator_that_catches_everything]


@_swallowed_exit
@pytest.mark.parametrize("orchestrator", _STUBBORN)
def test_code_that_catches_everything_can_be_closed(
    orchestrator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A bare 'except' around every wait cannot hang the worker when the session is dropped; a log line says why."""
    story = Story(orchestrator)
    story.start()

    story.kept.close()

    assert "except Exception" in caplog.text


@_swallowed_exit
@pytest.mark.parametrize("orchestrator", _STUBBORN)
def test_code_that_catches_everything_can_be_terminated(orchestrator: Any) -> None:
    """What such code still does after its termination has no effect on what is sent."""
    story = Story(orchestrator)
    story.start()

    actions = story.advance(ExecutionTerminated(-1, T0, '"stop"'))

    assert [(a.id, a.status, a.result) for a in actions] == [(2, OrchestrationStatus.TERMINATED, '"stop"')]
    assert story.result is not None
    assert story.result.custom_status is None


@_swallowed_exit
def test_code_that_catches_everything_can_continue_as_new() -> None:
    """Neither input nor unread events of the next execution are touched by code that will not end."""

    async def orchestrator(ctx: OrchestrationContext) -> None:
        ctx.continue_as_new(1)
        while True:
            try:
                await ctx.wait_for_external_event("keep")
            except BaseException:
                ctx.continue_as_new(2)

    story = Story(orchestrator)
    story.start(story.event("other", 5))

    assert story.completion.result == "1"
    assert [event.name for event in story.completion.carryover_events] == ["other"]


def test_exception_whose_text_raises_is_an_ordinary_failure() -> None:
    """An exception with a broken __str__ fails the orchestration under its own type."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise ValueError

    async def orchestrator(ctx: OrchestrationContext) -> None:
        raise BrokenError

    story = Story(orchestrator)
    story.start()

    assert story.error_name == "BrokenError"
    assert "ValueError" in story.error.message


def test_text_that_cannot_travel_is_escaped_in_failures() -> None:
    """A lone surrogate in a message does not make the completion unsendable."""

    async def orchestrator(ctx: OrchestrationContext) -> None:
        raise ValueError("\ud800")

    story = Story(orchestrator)
    story.start()

    assert story.error.message == "\\ud800"
    assert (story.error.stack_trace or "").encode()


def test_iterable_that_exits_fails_its_group() -> None:
    """SystemExit out of a lazily pulled iterable is the outcome of the orchestration, not of the worker."""

    def members(ctx: OrchestrationContext) -> Iterator[Task[Any]]:
        yield ctx.call_activity("A")
        raise SystemExit(3)

    async def orchestrator(ctx: OrchestrationContext) -> None:
        await ctx.task_all(members(ctx), limit=1)

    story = Story(orchestrator)
    story.start()
    story.complete(1)

    assert story.error_name == "SystemExit"


@pytest.mark.parametrize("kind", ["task_all", "task_any"])
def test_groups_nested_beyond_all_measure_fail_the_orchestration(kind: str) -> None:
    """Nesting deeper than the stack is a failure, not an error of the engine."""

    async def orchestrator(ctx: OrchestrationContext) -> None:
        task: Task[Any] = ctx.call_activity("A")
        for _ in range(3000):
            task = getattr(ctx, kind)([task])
        await task

    story = Story(orchestrator)
    story.start()
    story.complete(1)

    assert story.error_name == "RecursionError"


def test_context_variables_stay_with_their_instance() -> None:
    """What one orchestration sets is visible to itself in later episodes, and to no other."""
    variable = contextvars.ContextVar("variable", default=0)

    async def orchestrator(ctx: OrchestrationContext) -> int:
        variable.set(variable.get() + 1)
        await ctx.call_activity("A")
        return variable.get()

    stories = [Story(orchestrator), Story(orchestrator)]
    for story in stories:
        story.start()
    for story in stories:
        story.complete(1)

    assert [story.output for story in stories] == [1, 1]
    assert variable.get() == 0


async def test_async_generators_are_closed_by_the_engine_not_by_the_event_loop() -> None:
    """A generator that a session leaves behind runs its clean-up at once, and no task of asyncio is made for it."""
    log: list[str] = []

    async def numbers(ctx: OrchestrationContext) -> AsyncIterator[int]:
        try:
            while True:
                yield await ctx.call_activity("A")
        finally:
            log.append("closed")

    async def orchestrator(ctx: OrchestrationContext) -> None:
        async for _ in numbers(ctx):
            pass

    story = Story(orchestrator, twice=False)
    story.start()
    story.complete(1, 5)
    tasks = asyncio.all_tasks()

    story.kept.close()
    del story
    gc.collect()

    assert log == ["closed"]
    assert asyncio.all_tasks() == tasks


def test_async_context_managers_wait_in_their_exits() -> None:
    """Nested async context managers await durable tasks on the way in and, after an error, on the way out."""

    @asynccontextmanager
    async def held(ctx: OrchestrationContext, name: str) -> AsyncIterator[None]:
        await ctx.call_activity("acquire", name)
        try:
            yield
        finally:
            await ctx.call_activity("release", name)

    async def orchestrator(ctx: OrchestrationContext) -> None:
        async with AsyncExitStack() as stack:
            for name in "ab":
                await stack.enter_async_context(held(ctx, name))
            raise ValueError

    story = Story(orchestrator)
    made = [story.start()[0], *[story.complete(task_id)[0] for task_id in (1, 2, 3)]]
    story.complete(4)

    assert [(a.name, a.input) for a in made] == [
        ("acquire", '"a"'),
        ("acquire", '"b"'),
        ("release", '"b"'),
        ("release", '"a"'),
    ]
    assert story.error_name == "ValueError"


async def _activity(ctx: object, value: int) -> int:
    return value


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda ctx: ctx.call_activity(None), "call_activity takes a function"),
        (lambda ctx: ctx.call_activity(5), "builtins.int"),
        (lambda ctx: ctx.call_activity(""), "empty name"),
        (lambda ctx: ctx.call_activity(ctx.call_activity("A")), "the task"),
        (lambda ctx: ctx.call_sub_orchestrator({}), "call_sub_orchestrator takes a function"),
        (lambda ctx: ctx.call_sub_orchestrator("A", instance_id=5), "instance id"),
        (lambda ctx: ctx.call_activity("A", version=5), "version"),
        (lambda ctx: ctx.call_activity("A", tags={"a": 5}), "map str to str"),
        (lambda ctx: ctx.call_activity("A", tags=5), "map str to str"),
        (lambda ctx: ctx.call_activity("A", retry_policy=5), "RetryPolicy"),
        (lambda ctx: ctx.wait_for_external_event(None), "name of an event"),
        (lambda ctx: ctx.send_event(None, "e"), "instance id"),
        (lambda ctx: ctx.send_event("abc", None), "name of an event"),
        (lambda ctx: ctx.call_entity("@a@b", None), "operation"),
        (lambda ctx: ctx.signal_entity("@a@b", None), "operation"),
        (lambda ctx: ctx.create_timer("soon"), "number of seconds"),
        (lambda ctx: ctx.continue_as_new(1, new_version=2), "version"),
    ],
)
def test_arguments_that_no_hub_could_take_are_refused_at_the_call(call: Any, said: str) -> None:
    """A wrong argument is told at the line of the call, and makes no action."""
    seen: list[str] = []

    async def orchestrator(ctx: OrchestrationContext) -> None:
        try:
            call(ctx)
        except (TypeError, ValueError) as error:
            seen.append(str(error))
        await ctx.create_timer(1)

    story = Story(orchestrator)
    story.start()

    assert seen
    assert said in seen[0]


def test_coroutine_in_place_of_a_function_is_told_how_to_be_called() -> None:
    """call_activity(fn(ctx, 1)) would otherwise schedule an activity of that name without its input."""

    async def orchestrator(ctx: OrchestrationContext) -> None:
        coroutine = _activity(ctx, 1)
        try:
            ctx.call_activity(coroutine)  # type: ignore[call-overload]
        finally:
            coroutine.close()

    story = Story(orchestrator)
    story.start()

    assert story.error_name == "TypeError"
    assert "(function, input)" in story.error.message


@pytest.mark.parametrize("entity", ["@counter@a", EntityId("counter", "a")])
def test_one_entity_can_be_locked_without_a_list(entity: Any) -> None:
    """lock_entities of a single id locks that entity, and does not take its text for a list of letters."""

    async def orchestrator(ctx: OrchestrationContext) -> None:
        async with ctx.lock_entities(entity):
            await ctx.create_timer(1)

    actions = Story(orchestrator).start()

    assert [type(a) for a in actions] == [RequestEntityLock]
    assert actions[0].lock_set == ("@counter@a",)
    assert not any(isinstance(a, CreateTimer) for a in actions)


def test_cancelling_reaches_members_and_not_what_they_wait_for() -> None:
    """Cancelling a group raises in its members, once; groups that they wait for are left to them, five levels deep."""
    log: list[str] = []

    async def level(ctx: OrchestrationContext, depth: int) -> None:
        inner = ctx.task_all([level(ctx, depth - 1)]) if depth else ctx.call_activity("A")
        try:
            await inner
        except TaskCancelledError:
            log.append(f"cancelled {depth}")
            if depth > 3:
                inner.cancel()
            raise

    async def orchestrator(ctx: OrchestrationContext) -> str:
        group = ctx.task_all([level(ctx, 5)])
        await ctx.task_any([group, ctx.create_timer(1)])
        group.cancel()
        await ctx.create_timer(1)
        return "done"

    story = Story(orchestrator, twice=False)
    actions = story.start()
    after = story.fire(next(a.id for a in actions if isinstance(a, CreateTimer)))
    story.fire(after[-1].id)

    assert log == ["cancelled 5", "cancelled 4", "cancelled 3"]
    assert story.output == "done"


@pytest.mark.parametrize("kind", ["answers", "groups"])
def test_what_nobody_looked_at_yet_costs_the_same_each(kind: str) -> None:
    """Bookkeeping for warnings looks at each task a few times, however many there are."""
    looked: dict[int, int] = {}

    async def answers(ctx: OrchestrationContext, count: int) -> None:
        tasks = [ctx.call_activity("A") for _ in range(count)]
        await ctx.create_timer(1)
        await ctx.task_all(tasks)

    async def groups(ctx: OrchestrationContext, count: int) -> None:
        await ctx.task_all([ctx.task_all([ctx.call_activity("A")]) for _ in range(count)])

    for count in (1000, 10000):
        story = Story(answers if kind == "answers" else groups, count, twice=False)
        comparisons = _Comparisons()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(observed, "UNSEEN", comparisons)
            story.start()
            story.advance(*[story.completed(i + 1) for i in range(count)])
        assert not story.kept.is_complete or kind == "groups"
        looked[count] = comparisons.count

    assert 0 < looked[1000] < 3 * 1000
    assert looked[10000] < 3 * 10000


class _Comparisons:
    """Equal to 0, and counts the comparisons."""

    def __init__(self) -> None:
        self.count = 0

    def __eq__(self, other: object) -> bool:
        self.count += 1
        return other == 0

    def __hash__(self) -> int:
        return 0
