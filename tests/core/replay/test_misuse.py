"""Mistakes in orchestrator code: each has its own error, with the place and what to write instead."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from contextlib import suppress

import anyio
import pytest
from durabletask.core.errors import (
    ForeignTaskError,
    SchedulingError,
    SerializationError,
    TaskCancelledError,
    UnawaitedTaskError,
)
from durabletask.core.tasks import task_all
from replay_story import Story

HERE = "test_misuse.py:"


async def _sleeps(ctx, _):
    await asyncio.sleep(1)


async def _sleeps_zero(ctx, _):
    await asyncio.sleep(0)


async def _helper(ctx):
    await asyncio.wait_for(asyncio.Event().wait(), 5)


async def _waits_deep(ctx, _):
    await _helper(ctx)


async def _gathers(ctx, _):
    await asyncio.gather(asyncio.sleep(0))


async def _awaits_future(ctx, _):
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("orchestrator", "replacement"),
    [
        (_sleeps, "create_timer"),
        (_sleeps_zero, "create_timer"),
        (_waits_deep, "timeout="),
        (_gathers, "task_all"),
        (_awaits_future, "an activity|belong in an activity"),
    ],
)
async def test_foreign_awaitable_names_the_place_and_the_replacement(orchestrator, replacement: str) -> None:
    """Awaiting asyncio fails the orchestration with file:line and what to use instead."""
    story = Story(orchestrator)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert HERE in story.error.message
    assert story.error.is_non_retriable
    assert any(part in story.error.message for part in replacement.split("|"))


def test_asyncio_without_a_running_loop_gets_the_same_error() -> None:
    """asyncio's own complaint about a missing loop is translated."""
    story = Story(_sleeps)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert HERE in story.error.message
    assert "create_timer" in story.error.message


async def test_foreign_awaitable_cannot_be_swallowed() -> None:
    """Code that catches everything and tries again still ends, after its clean-up ran once."""
    cleaned: list[int] = []

    async def main(ctx, _):
        while True:
            try:
                await asyncio.sleep(1)
            except Exception:  # noqa: PERF203
                cleaned.append(1)

    story = Story(main)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert len(cleaned) == 2  # once in each of the story's two sessions


@pytest.mark.parametrize("value", [1, None, [1]])
def test_generator_that_yields_no_task_fails(value: object) -> None:
    """A generator may yield tasks, coroutines and generators only."""

    def main(ctx, _):
        yield value

    story = Story(main)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert HERE in story.error.message


def test_task_of_another_orchestration_is_refused() -> None:
    """A task that leaked from another instance cannot be awaited, yielded or grouped."""
    leaked: list[object] = []

    async def owner(ctx, _):
        leaked.append(ctx.call_activity("A"))
        await leaked[0]

    async def awaits(ctx, _):
        await leaked[0]

    def yields(ctx, _):
        yield leaked[0]

    async def groups(ctx, _):
        await ctx.task_all([leaked[0]])

    Story(owner, twice=False).start()
    for orchestrator in (awaits, yields, groups):
        story = Story(orchestrator)
        story.start()
        assert story.error_name == ForeignTaskError.__name__
        assert "another orchestration" in story.error.message
        assert HERE in story.error.message


async def test_task_awaited_outside_its_orchestrator_is_refused() -> None:
    """Ordinary asyncio code cannot await a durable task."""
    leaked: list[object] = []

    async def main(ctx, _):
        leaked.append(ctx.call_activity("A"))
        await leaked[0]

    Story(main, twice=False).start()
    with pytest.raises(SchedulingError, match=f"{HERE}.*outside its orchestrator"):
        await leaked[0]
    assert leaked[0].cancel() is False
    with pytest.raises(SchedulingError, match="outside a running orchestrator"):
        task_all([])


def test_scheduling_from_another_thread_between_turns_and_after_completion_is_refused() -> None:
    """Each wrong moment has its own words, and the place."""
    leaked: list[object] = []
    errors: list[BaseException] = []

    def schedule(ctx) -> None:
        try:
            ctx.call_activity("X")
        except SchedulingError as error:
            errors.append(error)

    async def main(ctx, _):
        leaked.append(ctx)
        thread = threading.Thread(target=schedule, args=(ctx,))
        thread.start()
        thread.join()
        await ctx.wait_for_external_event("end")

    story = Story(main, twice=False)
    story.start()
    schedule(leaked[0])
    story.send("end")
    assert story.output is None
    schedule(leaked[0])
    texts = [str(error) for error in errors]
    assert any("another thread" in text for text in texts)
    assert any("not running" in text for text in texts)
    assert any("after the orchestration had completed" in text for text in texts)
    assert all(HERE in text for text in texts)


def test_input_is_taken_at_the_call() -> None:
    """Changing a mutable input afterwards has no effect."""

    async def main(ctx, _):
        basket = [1]
        task = ctx.call_activity("A", basket)
        basket.append(2)
        await task

    assert Story(main).start()[0].input == "[1]"


def test_unserializable_values_name_the_call_and_the_path() -> None:
    """Inputs, results and statuses say where the offending part is."""

    async def main(ctx, kind):
        if kind == "input":
            with pytest.raises(SerializationError, match=rf"input of activity 'A'.*{HERE}.*\bx\b"):
                ctx.call_activity("A", {"x": object()})
        return {"y": [object()]} if kind == "result" else 1

    story = Story(main, "input")
    story.start()
    assert story.output == 1
    story = Story(main, "result")
    story.start()
    assert story.error_name == "SerializationError"
    assert "y" in story.error.message
    assert HERE in story.error.message


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: [t], lambda t: {"k": t}, lambda t: {"k": [1, (t,)]}])
def test_forgotten_await_in_an_input_is_named(wrap) -> None:
    """A task as input: the message says which one and to await it."""

    async def main(ctx, _):
        first = ctx.call_activity("A")
        ctx.call_activity("B", wrap(first))

    story = Story(main)
    story.start()
    assert story.error_name == UnawaitedTaskError.__name__
    assert "input of activity 'B'" in story.error.message
    assert HERE in story.error.message


def test_asyncio_primitives_without_a_running_loop_get_the_same_error() -> None:
    """Queues and events complain in words of their own, about a loop that is None."""

    async def main(ctx, _):
        await asyncio.Queue().get()

    story = Story(main)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert HERE in story.error.message
    assert "wait_for_external_event" in story.error.message


async def _times_out(ctx, wait):
    async with asyncio.timeout(1):
        await wait


async def _times_out_at(ctx, wait):
    async with asyncio.timeout_at(asyncio.get_event_loop().time() + 1):
        await wait


async def _waits_for(ctx, wait):
    await asyncio.wait_for(wait, 1)


async def _anyio_times_out(ctx, wait):
    with anyio.move_on_after(1):
        await wait


async def _anyio_fails_after(ctx, wait):
    with anyio.fail_after(1):
        await wait


async def _shields(ctx, wait):
    await asyncio.shield(wait)


async def _makes_a_group(ctx, wait):
    async with asyncio.TaskGroup() as group:
        group.create_task(_helper(ctx))


async def _makes_an_anyio_group(ctx, wait):
    async with anyio.create_task_group() as group:
        group.start_soon(_helper, ctx)


async def _makes_a_task(ctx, wait):
    asyncio.create_task(_helper(ctx))  # noqa: RUF006
    await wait


async def _ensures_a_future(ctx, wait):
    asyncio.ensure_future(_helper(ctx))  # noqa: RUF006
    await wait


async def _cancels_the_worker(ctx, wait):
    asyncio.current_task().cancel()
    await wait


async def _calls_later(ctx, wait):
    asyncio.get_event_loop().call_later(1, print)
    await wait


async def _calls_soon(ctx, wait):
    asyncio.get_running_loop().call_soon(print)
    await wait


async def _starts_a_loop(ctx, wait):
    helper = _helper(ctx)
    try:
        asyncio.run(helper)
    finally:
        helper.close()


async def _moves_to_a_thread(ctx, wait):
    await asyncio.to_thread(print)


async def _takes_what_completes(ctx, wait):
    for done in asyncio.as_completed([wait]):
        await done


@pytest.mark.parametrize(
    ("body", "used", "instead"),
    [
        (_times_out, "asyncio.timeout", "wait_for_external_event(name, timeout=...)"),
        (_times_out_at, "asyncio.time", "current_utc_datetime"),
        (_waits_for, "asyncio.wait_for", "task_any([task, ctx.create_timer(delay)])"),
        (_anyio_times_out, "anyio.move_on_after", "task_any([task, ctx.create_timer(delay)])"),
        (_anyio_fails_after, "anyio.fail_after", "task_any([task, ctx.create_timer(delay)])"),
        (_shields, "asyncio.shield", "'await' of the task itself"),
        (_makes_a_group, "asyncio.TaskGroup", "task_all"),
        (_makes_an_anyio_group, r"anyio.(TaskGroup|create_task_group)", "task_all"),
        (_makes_a_task, "asyncio.create_task", "task_all"),
        (_ensures_a_future, "asyncio.ensure_future", "task_all"),
        (_cancels_the_worker, "asyncio.current_task", "ctx.instance_id"),
        (_calls_later, "asyncio.call_later", "create_timer"),
        (_calls_soon, "asyncio.call_soon", "durable task"),
        (_starts_a_loop, "asyncio.run", "'await' of the coroutine itself"),
        (_moves_to_a_thread, "asyncio.to_thread", "activity"),
        (_takes_what_completes, "asyncio.as_completed", "task_any"),
    ],
)
@pytest.mark.parametrize("has_loop", [True, False])
async def test_no_event_loop_is_within_reach_of_an_orchestrator(body, used, instead, has_loop) -> None:
    """What needs the worker's loop, or another, fails with the line and the durable form, and leaves the loop alone."""
    if body in (_times_out, _times_out_at, _makes_a_group) and sys.version_info < (3, 11):
        pytest.skip("not in this version of asyncio")

    async def main(ctx, _):
        await body(ctx, ctx.wait_for_external_event("approved"))

    def run() -> Story:
        story = Story(main)
        story.start()
        return story

    loop = asyncio.get_running_loop()
    story = run() if has_loop else await asyncio.to_thread(run)

    assert asyncio.get_running_loop() is loop
    assert not asyncio.current_task().cancelling()
    assert story.error_name == "ForeignAwaitableError"
    assert re.search(f"{used} at ", story.error.message)
    assert HERE in story.error.message
    assert instead in story.error.message
    assert story.error.is_non_retriable


async def test_code_that_catches_the_error_for_the_loop_still_fails() -> None:
    """A mistake that is caught must not pass in silence."""

    async def main(ctx, _):
        wait = ctx.wait_for_external_event("approved")
        with suppress(Exception):
            await asyncio.wait_for(wait, 1)
        return await wait

    story = Story(main)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert "asyncio.wait_for at " in story.error.message


async def test_logging_and_finalizers_do_not_fail_an_orchestration() -> None:
    """They run in the middle of the user's code, and may look for a loop."""

    class Closes:
        def __del__(self) -> None:
            with suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(print)

    class Ships(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(print)

    async def main(ctx, _):
        Closes()
        logger = logging.getLogger("test.ships")
        logger.addHandler(Ships())
        logger.warning("shipped")
        logger.handlers.clear()
        return 1

    story = Story(main)
    story.start()
    assert story.output == 1


def test_a_missing_object_of_the_users_is_no_misuse_of_asyncio() -> None:
    """The words of the complaint may be the same; the place decides."""

    async def main(ctx, _):
        shop = None
        shop.create_order("x")

    story = Story(main)
    story.start()
    assert story.error_name == "AttributeError"


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (lambda ctx: ctx.send_event("", "x"), "instance id.*not be empty"),
        (lambda ctx: ctx.send_event("i", ""), "name of an event.*not be empty"),
        (lambda ctx: ctx.send_event("@counter@1", "x"), "signal_entity"),
        (lambda ctx: ctx.call_entity("@counter@1", ""), "operation.*not be empty"),
        (lambda ctx: ctx.signal_entity("@counter@1", ""), "operation.*not be empty"),
        (lambda ctx: ctx.call_sub_orchestrator("S", instance_id=""), "instance id.*not be empty"),
    ],
)
def test_names_and_ids_that_cannot_be_meant_are_refused(misuse, words: str) -> None:
    """Empty names, and events for entities, are errors at the call; nothing was scheduled."""

    async def main(ctx, _):
        with pytest.raises(ValueError, match=words):
            misuse(ctx)
        return "fine"

    story = Story(main)
    (done,) = story.start()
    assert (done.id, story.output) == (1, "fine")


async def _returns_task(ctx, _):
    return ctx.call_activity("A")


async def _returns_coroutine(ctx, _):
    return _helper(ctx)


async def _returns_generator(ctx, _):
    def numbers():
        yield 1

    return numbers()


async def _returns_async_generator(ctx, _):
    async def numbers():
        yield 1

    return numbers()


def _plain_returns_task(ctx, _):
    return ctx.call_activity("A")


@pytest.mark.parametrize(
    ("orchestrator", "found"),
    [
        (_returns_task, "activity 'A'"),
        (_plain_returns_task, "activity 'A'"),
        (_returns_generator, "numbers"),
        (_returns_async_generator, "async generator"),
    ],
)
def test_result_that_was_never_awaited_is_an_error(orchestrator, found: str) -> None:
    """Returning a task or generator fails with the place."""
    story = Story(orchestrator)
    story.start()
    assert story.error_name == "InvalidResultError"
    assert found in story.error.message
    assert HERE in story.error.message


async def _adds_a_task(ctx, _):
    greeting = ctx.call_activity("Hello")
    return greeting + "!"


async def _reads_a_member_of_a_task(ctx, _):
    order = ctx.call_activity("Order")
    return order.price


async def _errs_elsewhere(ctx, _):
    ctx.call_activity("Hello")
    return 1 + "2"


async def _adds_a_task_that_was_awaited(ctx, _):
    greeting = ctx.call_activity("Hello", return_type=str)
    await ctx.task_any([greeting, ctx.create_timer(0)])
    return greeting + "!"


@pytest.mark.parametrize("orchestrator", [_adds_a_task, _reads_a_member_of_a_task])
def test_task_used_as_its_result_is_named(orchestrator) -> None:
    """Code that trips over a task gets the place where the ``await`` is missing."""
    story = Story(orchestrator)
    story.start()

    assert story.error.matches(UnawaitedTaskError)
    assert HERE in story.error.message
    assert "Was an 'await'" in story.error.message
    assert story.error.inner_failure is not None


@pytest.mark.parametrize(
    "use",
    [
        lambda task: f"{task}",
        lambda task: f"{task:>20}",
        str,
        lambda task: "%s" % task,  # noqa: UP031
        lambda task: "yes" if task else "no",
        lambda task: not task,
        lambda task: task and 1,
        lambda task: any([task]),
        lambda task: task == "ok",
        lambda task: task != "ok",
        lambda task: "ok" == task,  # noqa: SIM300
        lambda task: "ok" in [task, task],
        lambda task: task < 1,
        lambda task: max(task, 1),
        lambda task: task + 1,
        lambda task: 1 + task,
        lambda task: -task,
        lambda task: [*task],
        lambda task: task[0],
        lambda task: "a" in task,
        int,
        float,
        len,
        lambda task: task(),
        lambda task: "".join(["a", task]),  # noqa: FLY002
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: ctx.call_activity("A"),
        lambda ctx: ctx.call_sub_orchestrator("C"),
        lambda ctx: ctx.create_timer(1),
        lambda ctx: ctx.wait_for_external_event("e"),
        lambda ctx: ctx.call_entity("@c@k", "op"),
        lambda ctx: ctx.lock_entities(["@c@k"]),
        lambda ctx: ctx.task_all([ctx.create_timer(1)]),
        lambda ctx: ctx.task_any([ctx.create_timer(1)]),
    ],
)
def test_a_task_used_as_a_value_fails_the_orchestration_with_the_line(make, use) -> None:
    """Whatever the kind of task and of use: a forgotten ``await`` never completes an orchestration."""

    async def main(ctx, _):
        task = make(ctx)
        use(task)
        return "done"

    story = Story(main)
    story.start()

    assert story.error_name == UnawaitedTaskError.__name__
    assert HERE in story.error.message
    assert "'await'" in story.error.message


def test_a_task_used_as_a_value_fails_also_code_that_catches_the_error() -> None:
    """The orchestration fails at its next wait, or at its end; a loop that goes on is ended."""

    async def waits(ctx, _):
        task = ctx.call_activity("A")
        with suppress(Exception):
            assert task
        await task

    async def ends(ctx, _):
        task = ctx.call_activity("A")
        with suppress(Exception):
            str(task)
        return 1

    async def repeats(ctx, _):
        while True:
            with suppress(Exception):
                str(ctx.call_activity("A"))

    for orchestrator in (waits, ends, repeats):
        story = Story(orchestrator)
        story.start()
        assert story.error_name == UnawaitedTaskError.__name__
        assert story.error.is_non_retriable


def test_a_task_that_was_awaited_is_still_not_its_result() -> None:
    """The error names the task although it is not one that was never awaited."""
    story = Story(_adds_a_task_that_was_awaited)
    story.start()
    story.fire(2)

    assert story.error_name == UnawaitedTaskError.__name__
    assert "activity 'Hello'" in story.error.message
    assert HERE in story.error.message


def test_tasks_are_compared_by_identity_and_shown_by_repr() -> None:
    """What debuggers, collections and ``task_any`` need keeps working."""

    async def main(ctx, _):
        one, two = ctx.call_activity("A"), ctx.call_activity("B")
        assert one == one and one != two and one in [two, one]  # noqa: PT018
        assert {one: 1, two: 2}[two] == 2
        assert [two, one].index(one) == 1
        assert "activity 'A'" in repr(one) and f"{one!r}" in f"{[one]}"  # noqa: PT018
        winner = await ctx.task_any([one, two])
        return winner == two and winner != one and winner is two

    story = Story(main)
    story.start()
    story.advance(story.completed(2))
    assert story.output is True


def test_another_type_error_is_reported_as_it_is() -> None:
    """A task that was never awaited does not explain every error."""
    story = Story(_errs_elsewhere)
    story.start()

    assert story.error.matches(TypeError)


def test_result_that_is_a_coroutine_is_an_error() -> None:
    """Returning a coroutine fails with its name and place."""
    story = Story(_returns_coroutine)
    story.start()
    assert story.error_name == "InvalidResultError"
    assert "_helper" in story.error.message


async def _times(ctx):
    await ctx.create_timer(1)


async def _forgets(ctx, _):
    ctx.call_activity("A")
    ctx.create_timer(5)
    ctx.wait_for_external_event("e")
    ctx.task_all([])
    ctx.call_entity("@c@k", "op")
    return 1


def test_tasks_never_awaited_are_logged_with_their_places(caplog: pytest.LogCaptureFixture) -> None:
    """By default the orchestration completes, with one warning that lists the tasks."""
    story = Story(_forgets)
    assert len(story.start()) == 4
    assert story.output == 1
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2  # one in each of the story's two sessions
    assert warnings[0].getMessage().count(HERE) == 5


def test_tasks_never_awaited_fail_in_strict_mode() -> None:
    """Strict mode makes them an error; looking at a task says that it is wanted so."""
    story = Story(_forgets, strict=True)
    story.start()
    assert story.error_name == "UnawaitedTaskError"

    async def means_it(ctx, _):
        ctx.call_activity("A").detach()
        ctx.task_all([ctx.call_activity("B")]).detach()
        ctx.task_all([_times(ctx)]).detach()
        _ = ctx.call_activity("A").is_complete
        return 1

    story = Story(means_it, strict=True)
    story.start()
    assert story.output == 1


def test_answers_that_nobody_looked_at_count_as_never_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """Also a task that ended meanwhile was never awaited."""

    async def main(ctx, _):
        ctx.call_activity("A")
        await ctx.call_activity("B")

    story = Story(main)
    story.start()
    story.advance(story.completed(1), story.completed(2))
    assert "activity 'A'" in caplog.text
    assert "activity 'B'" not in caplog.text


def test_coroutine_never_awaited_fails_in_strict_mode() -> None:
    """A helper called without await is found where it was dropped."""

    async def main(ctx, _):
        _helper(ctx)
        return 1

    story = Story(main, strict=True)
    story.start()
    assert story.error_name == "UnawaitedTaskError"
    assert "_helper" in story.error.message
    assert HERE in story.error.message


def test_strict_mode_passes_other_warnings_on() -> None:
    """Warnings of user code are not swallowed."""

    async def main(ctx, _):
        import warnings

        warnings.warn("mine", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="mine"):
        Story(main, strict=True).start()


def test_fiber_that_cancels_itself_is_refused() -> None:
    """A fiber ends by returning or raising."""

    async def selfish(box):
        box[0].cancel()

    async def main(ctx, _):
        box: list[object] = []
        box.append(ctx.task_all([selfish(box)]))
        await box[0]

    story = Story(main)
    story.start()
    assert story.error_name in (SchedulingError.__name__, TaskCancelledError.__name__)


def test_result_read_before_the_end_is_refused() -> None:
    """`.result` of a pending task says to await it."""

    async def main(ctx, _):
        return ctx.call_activity("A").result

    story = Story(main)
    story.start()
    assert story.error_name == "UnawaitedTaskError"
    assert "await" in story.error.message


def test_tasks_tell_what_they_are() -> None:
    """repr names the kind, the name and the state."""

    async def main(ctx, _):
        tasks = [
            ctx.call_activity("A"),
            ctx.call_sub_orchestrator("C"),
            ctx.create_timer(1),
            ctx.wait_for_external_event("e"),
            ctx.call_entity("@c@k", "op"),
            ctx.lock_entities(["@c@k"]),
        ]
        tasks += [ctx.task_all(tasks), ctx.task_any(tasks)]
        return [repr(task) for task in tasks]

    story = Story(main)
    story.start()
    for text, word in zip(
        story.output,
        ["'A'", "'C'", "timer", "'e'", "'op'", "lock of", "task_all of 6", "task_any of 6"],
        strict=True,
    ):
        assert word in text
        assert "pending" in text
