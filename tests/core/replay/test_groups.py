"""task_all, task_any and fibers."""

from __future__ import annotations

import contextvars

import pytest
from durabletask.core.errors import TaskCancelledError, TaskFailedError
from durabletask.core.tasks import Task, task_all, task_any
from replay_story import Story


def test_all_fails_at_once_with_the_first_failure_in_history_order() -> None:
    """Fail-fast names the member that failed first, not the first member."""

    async def main(ctx, _):
        try:
            await ctx.task_all([ctx.call_activity("A"), ctx.call_activity("B"), ctx.call_activity("C")])
        except TaskFailedError as error:
            return [error.task_name, error.task_id, str(error)]

    story = Story(main)
    story.start()
    story.fail(2, "second")
    assert story.output == ["B", 2, "second (app.Boom in activity 'B', id 2)"]


def test_all_over_failed_members_fails_with_the_earliest_failure() -> None:
    """Members that failed before the group was made keep their order in history."""

    async def main(ctx, _):
        a, b, gate = ctx.call_activity("A"), ctx.call_activity("B"), ctx.wait_for_external_event("go")
        await gate
        try:
            await task_all([a, b])
        except TaskFailedError as error:
            return error.task_name

    story = Story(main)
    story.start()
    story.fail(2)
    story.fail(1)
    story.send("go")
    assert story.output == "B"


def test_all_without_fail_fast_raises_the_first_member_with_every_failure() -> None:
    """fail_fast=False waits for all and lists the failures in member order, also those of coroutines."""

    async def broken(ctx):
        await ctx.create_timer(1)
        raise KeyError("k")

    async def main(ctx, _):
        try:
            await ctx.task_all([ctx.call_activity("A"), ctx.call_activity("B"), broken(ctx)], fail_fast=False)
        except TaskFailedError as error:
            return [error.task_name, [f.details.error_type for f in error.failures], str(error)]

    story = Story(main)
    story.start()
    story.fail(2, "two")
    story.fire(3)
    story.fail(1, "one")
    name, types, text = story.output
    assert (name, types) == ("A", ["app.Boom", "app.Boom", "builtins.KeyError"])
    assert text.startswith("one")


def test_all_of_arguments_gives_a_tuple() -> None:
    """Members of different types, tasks and coroutines; from the context and from the function."""

    async def sub(ctx):
        return await ctx.call_activity("B")

    async def main(ctx, _):
        first = await ctx.task_all(ctx.call_activity("A"), sub(ctx), ctx.create_timer(1))
        second = await task_all(sub(ctx), sub(ctx), limit=1)
        listed = await ctx.task_all(tasks=[])
        return [repr(first), repr(second), listed]

    story = Story(main)
    story.start()
    for number, result in ((1, 1), (3, "b")):
        story.complete(number, result)
    story.fire(2)
    story.complete(4, "c")
    story.complete(5, "b")
    assert story.output == ["(1, 'b', None)", "('c', 'b')", []]


def test_all_of_arguments_fails_and_returns_failures_like_a_list() -> None:
    """The rules of groups do not depend on the form."""

    async def main(ctx, _):
        a, b = ctx.call_activity("A"), ctx.call_activity("B")
        both = await ctx.task_all(a, b, return_exceptions=True)
        try:
            await ctx.task_all(a, b)
        except TaskFailedError as error:
            return [type(both).__name__, both[0], type(both[1]).__name__, error.task_name]

    story = Story(main)
    story.start()
    story.complete(1, 1)
    story.fail(2)
    assert story.output == ["tuple", 1, "TaskFailedError", "B"]


def test_all_can_return_failures_as_values() -> None:
    """return_exceptions=True gives values and exceptions in member order."""

    async def main(ctx, _):
        found = await Task.all([ctx.call_activity("A"), ctx.call_activity("B")], return_exceptions=True)
        return [type(item).__name__ for item in found]

    story = Story(main)
    story.start()
    story.complete(2, 5)
    story.fail(1)
    assert story.output == ["TaskFailedError", "int"]


def test_all_of_nothing_completes_and_any_of_nothing_is_refused() -> None:
    """Row 2 of the decisions."""

    async def main(ctx, _):
        with pytest.raises(ValueError, match="at least one"):
            ctx.task_any([])
        with pytest.raises(ValueError, match="limit"):
            ctx.task_all([], limit=0)
        return await ctx.task_all([])

    story = Story(main)
    story.start()
    assert story.output == []


@pytest.mark.parametrize("as_list", [True, False])
def test_limit_bounds_what_runs_at_once_and_pulls_lazily(as_list: bool) -> None:
    """Members are taken as others end, from lazy iterables and from lists of coroutines alike."""

    async def one(ctx, n):
        return await ctx.call_activity("A", n)

    async def main(ctx, _):
        members = (one(ctx, n) for n in range(5)) if not as_list else [one(ctx, n) for n in range(5)]
        return await ctx.task_all(members, limit=2)

    story = Story(main)
    assert [a.input for a in story.start()] == ["0", "1"]
    assert [a.input for a in story.complete(2, "b")] == ["2"]
    assert [a.input for a in story.complete(3, "c")] == ["3"]
    assert [a.input for a in story.complete(1, "a")] == ["4"]
    story.complete(4, "d")
    story.complete(5, "e")
    assert story.output == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "members",
    [
        lambda calls: calls,
        tuple,
        set,
        lambda calls: dict.fromkeys(calls).keys(),
        iter,
        lambda calls: (call for call in calls),
        lambda calls: calls[:1],
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: ctx.call_activity("A"),
        lambda ctx: ctx.call_sub_orchestrator("C"),
        lambda ctx: ctx.call_entity("@c@k", "op"),
        lambda ctx: ctx.create_timer(1),
    ],
)
def test_a_limit_over_tasks_that_are_scheduled_already_is_refused(members, call) -> None:
    """It could bound nothing; the error shows the form that does (row 36 of the decisions)."""

    async def main(ctx, _):
        await ctx.task_all(members([call(ctx) for _ in range(3)]), limit=2)

    story = Story(main)
    story.start()
    assert story.error_name == "ValueError"
    assert "test_groups.py:" in story.error.message
    assert "ctx.task_all((ctx.call_activity(f, x) for x in xs), limit=2)" in story.error.message


def test_a_limit_bounds_generators_of_calls_and_coroutines_beside_a_task() -> None:
    """What the limit can bound stays allowed."""

    async def one(ctx):
        await ctx.call_activity("B")

    async def main(ctx, _):
        await ctx.task_all((ctx.call_activity("A") for _ in range(3)), limit=2)
        await ctx.task_all([ctx.create_timer(1), one(ctx), one(ctx)], limit=2)

    story = Story(main)
    assert len(story.start()) == 2
    assert len(story.complete(1)) == 1
    story.complete(2)
    assert len(story.complete(3)) == 2


def test_each_branch_has_a_copy_of_the_context_variables() -> None:
    """As asyncio tasks have: a branch sees what was set before it was made, and its own changes (row 48)."""
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def branch(ctx, name):
        seen.append(variable.get())
        variable.set(name)
        try:
            await ctx.call_activity("A")
            seen.append(variable.get())
            await ctx.call_activity("B")
        finally:
            seen.append(variable.get())

    async def main(ctx, _):
        variable.set("main")
        members = (branch(ctx, name) for name in ["one", "two", "three"])
        task = ctx.task_all(members, limit=2)
        variable.set("later")
        await ctx.task_any([task, ctx.wait_for_external_event("stop")])
        return variable.get()

    story = Story(main, twice=False)
    story.start()
    assert seen == ["main", "main"]
    story.complete(2)
    story.complete(1)
    story.advance(story.completed(4))  # one ends, three starts
    assert seen[2:] == ["two", "one", "one", "main"]
    story.send("stop")
    assert story.output == "later"
    assert sorted(seen[6:]) == ["three", "two"]
    assert variable.get() == "unset"


def test_lazy_iterable_that_raises_fails_the_group() -> None:
    """An error of the iterable is the error of the group."""

    def members(ctx):
        yield ctx.call_activity("A")
        raise LookupError("no more")

    async def main(ctx, _):
        await ctx.task_all(members(ctx), limit=1)

    story = Story(main)
    story.start()
    story.complete(1)
    assert story.error_name == "LookupError"


def test_limit_with_fail_fast_starts_nothing_after_a_failure() -> None:
    """After the failure no further member is started, and no coroutine is left unawaited."""

    async def one(ctx, n):
        return await ctx.call_activity("A", n)

    async def main(ctx, _):
        try:
            await ctx.task_all([one(ctx, n) for n in range(4)], limit=1)
        except TaskFailedError:
            return "failed"

    story = Story(main)
    story.start()
    assert len(story.fail(1)) == 1
    assert story.output == "failed"


def test_any_gives_the_winning_task_and_a_failed_member_can_win() -> None:
    """The failure of the winner shows when it is read."""

    async def main(ctx, _):
        a, b = ctx.call_activity("A"), ctx.call_activity("B")
        winner = await Task.any([a, b])
        assert winner is b
        assert winner.is_failed
        assert winner.is_complete
        assert isinstance(winner.exception, TaskFailedError)
        assert winner.get_exception() is winner.exception
        with pytest.raises(TaskFailedError):
            _ = winner.result
        assert a.exception is None
        late = await task_any([a, b])
        return late is b

    story = Story(main)
    story.start()
    story.fail(2)
    assert story.output is True


def test_same_task_in_several_groups_and_awaited_twice() -> None:
    """A task may have any number of waiters; each group counts it once."""

    async def main(ctx, _):
        a = ctx.call_activity("A")
        b = ctx.call_activity("B")
        everything = ctx.task_all([a, a, b])
        first = ctx.task_any([b, a, a])
        both = ctx.task_all([everything, first])
        values, winner = await both
        return [values, winner is a, await a, await a, a.get_result()]

    story = Story(main)
    story.start()
    story.complete(1, "x")
    story.complete(2, "y")
    assert story.output == [["x", "x", "y"], True, "x", "x", "x"]


def test_fibers_nest_and_each_awaits_its_own_tasks() -> None:
    """Coroutines in groups interleave by the order of events, to any depth."""

    async def leaf(ctx, name):
        first = await ctx.call_activity(name)
        return await ctx.call_activity(name + "2", first)

    async def branch(ctx, name):
        return await ctx.task_all([leaf(ctx, name + "a"), leaf(ctx, name + "b")])

    async def main(ctx, _):
        return await ctx.task_all([branch(ctx, "x"), branch(ctx, "y"), leaf(ctx, "z")])

    story = Story(main)
    assert [a.name for a in story.start()] == ["z", "xa", "xb", "ya", "yb"]
    order = [(4, 40), (1, 10), (2, 20), (3, 30), (5, 50)]
    made = [story.complete(i, v)[0].name for i, v in order]
    assert made == ["ya2", "z2", "xa2", "xb2", "yb2"]
    for task_id, value in [(6, "ya"), (7, "z"), (8, "xa"), (9, "xb"), (10, "yb")]:
        story.complete(task_id, value)
    assert story.output == [["xa", "xb"], ["ya", "yb"], "z"]


def test_same_coroutine_twice_runs_once() -> None:
    """One fiber per coroutine, however often it is a member."""

    async def one(ctx):
        return await ctx.call_activity("A")

    async def main(ctx, _):
        coroutine = one(ctx)
        return await ctx.task_all([coroutine, coroutine])

    story = Story(main)
    assert len(story.start()) == 1
    story.complete(1, 7)
    assert story.output == [7, 7]


def test_failure_of_a_fiber_is_the_exception_it_raised() -> None:
    """A fiber's exception reaches the awaiting code unchanged; other members go on."""

    async def bad(ctx):
        await ctx.create_timer(1)
        raise ZeroDivisionError("fiber")

    async def main(ctx, _):
        slow = ctx.call_activity("Slow")
        try:
            await ctx.task_all([bad(ctx), slow])
        except ZeroDivisionError as error:
            return [str(error), await slow]

    story = Story(main)
    story.start()
    story.fire(2)
    story.complete(1, "done")
    assert story.output == ["fiber", "done"]


def test_loser_that_fails_unseen_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A fiber that fails after its group has ended is not silent."""

    async def bad(ctx):
        await ctx.call_activity("A")
        raise ZeroDivisionError("late")

    async def main(ctx, _):
        await ctx.task_any([ctx.create_timer(1), bad(ctx)])
        await ctx.wait_for_external_event("end")

    story = Story(main)
    story.start()
    story.fire(1)
    story.complete(2)
    assert "no longer awaited" in caplog.text
    story.send("end")
    assert story.output is None


def test_cancel_raises_inside_the_fiber_where_it_waits() -> None:
    """A cancelled fiber may clean up, and ends as cancelled when it lets the error pass."""
    seen: list[str] = []

    async def loser(ctx):
        try:
            await ctx.wait_for_external_event("never")
        except TaskCancelledError:
            seen.append("clean")
            await ctx.call_activity("CleanUp")
            raise

    async def quick(ctx):
        return await ctx.call_activity("A")

    async def main(ctx, _):
        slow = ctx.task_all([loser(ctx)])
        await ctx.task_any([quick(ctx), slow])
        assert slow.cancel()
        assert not slow.cancel()
        assert slow.is_cancelled
        with pytest.raises(TaskCancelledError):
            await slow
        return await ctx.wait_for_external_event("end")

    story = Story(main)
    story.start()
    assert [a.name for a in story.complete(1, 1)] == ["CleanUp"]
    story.complete(2)
    story.send("end", 3)
    assert story.output == 3
    assert seen


def test_cancelling_a_fiber_that_has_not_started_never_runs_it() -> None:
    """Nothing of its body runs, and nothing warns that it was never awaited."""

    async def never(ctx):
        raise AssertionError

    async def main(ctx, _):
        group = ctx.task_any([never(ctx)])
        group.cancel()
        await ctx.create_timer(1)
        return group.is_cancelled

    story = Story(main)
    story.start()
    story.fire(1)
    assert story.output is True


def test_cancelled_call_that_was_not_sent_is_withdrawn() -> None:
    """An unsent action disappears; a sent one is only forgotten."""

    async def main(ctx, _):
        unsent, sent = ctx.call_activity("Unsent"), ctx.call_activity("Sent")
        child = ctx.call_sub_orchestrator("Child")
        timer = ctx.create_timer(5)
        entity = ctx.call_entity("@c@k", "op")
        for task in (unsent, child, entity):
            task.cancel()
        await timer
        sent.cancel()
        assert not timer.cancel()
        with pytest.raises(TaskCancelledError, match="Sent"):
            await sent
        return await ctx.call_activity("Last")

    story = Story(main)
    assert [a.id for a in story.start()] == [2, 4]
    story.fire(4)
    assert story.complete(2, "ignored") == []
    story.complete(6, "end")
    assert story.output == "end"


def test_groups_take_only_tasks_and_coroutines() -> None:
    """Anything else is named, with what to write instead."""

    async def main(ctx, _):
        await ctx.task_all([1])

    story = Story(main)
    story.start()
    assert story.error_name == "ForeignAwaitableError"
    assert "a builtins.int" not in story.error.message
    assert "builtins.int" in story.error.message
    assert "test_groups.py:" in story.error.message


def test_generator_orchestrators_use_groups_and_fibers_too() -> None:
    """Generators yield tasks, groups, coroutines and other generators."""

    def helper(ctx, n):
        found = yield ctx.call_activity("A", n)
        return found + 1

    async def coroutine(ctx):
        return await ctx.call_activity("B")

    def main(ctx, _):
        one = yield helper(ctx, 1)
        two = yield from helper(ctx, 2)
        three = yield coroutine(ctx)
        both = yield ctx.task_all([helper(ctx, 3), coroutine(ctx)])
        try:
            yield ctx.call_activity("C")
        except TaskFailedError as error:
            return [one, two, three, both, error.task_name]

    story = Story(main)
    story.start()
    story.complete(1, 10)
    story.complete(2, 20)
    story.complete(3, 30)
    story.advance(story.completed(5, 50), story.completed(4, 40))
    story.fail(6)
    assert story.output == [11, 21, 30, [41, 50], "C"]


def test_fiber_that_was_woken_can_still_be_cancelled() -> None:
    """Answer and cancellation in one episode: the cancellation wins, once."""
    seen: list[str] = []

    async def member(ctx):
        try:
            return await ctx.wait_for_external_event("x")
        except TaskCancelledError:
            seen.append("cancelled")
            return "saved"

    async def main(ctx, _):
        group = ctx.task_any([member(ctx)])
        await ctx.wait_for_external_event("go")
        group.cancel()
        again = ctx.task_all([ctx.create_timer(1)])
        await again
        again.cancel()
        return group.is_failed

    story = Story(main)
    story.start()
    assert [a.id for a in story.send("go")] == [1]
    story.send("x")
    story.fire(1)
    assert story.output is True
    assert seen[:1] == ["cancelled"]


def test_unfinished_member_of_two_waits_can_leave_one() -> None:
    """A group that ends leaves its members to their other waiters."""

    async def waits(task):
        return await task

    async def main(ctx, _):
        shared = ctx.call_activity("A")
        everything = ctx.task_all([waits(shared), waits(shared), shared])
        for _ in range(3):
            await ctx.task_any([shared, ctx.create_timer(1)])
        return await everything

    story = Story(main)
    story.start()
    for timer in (2, 3, 4):
        story.fire(timer)
    story.complete(1, 5)
    assert story.output == [5, 5, 5]


def test_interrupt_by_the_keyboard_is_not_an_outcome() -> None:
    """Ctrl-C inside user code stops the worker, it does not fail the orchestration."""

    async def awaits(ctx, _):
        raise KeyboardInterrupt

    def plain(ctx, _):
        raise KeyboardInterrupt

    def yields(ctx, _):
        try:
            yield 1
        except Exception:
            raise KeyboardInterrupt from None

    for orchestrator in (awaits, plain, yields):
        with pytest.raises(KeyboardInterrupt):
            Story(orchestrator).start()


def test_exit_and_other_base_exceptions_fail_the_orchestration() -> None:
    """sys.exit in an orchestrator must not stop the worker."""

    async def main(ctx, _):
        raise SystemExit(3)

    story = Story(main)
    story.start()
    assert story.error_name == "SystemExit"


def test_many_groups_leave_no_trace_and_forgotten_ones_are_found(caplog: pytest.LogCaptureFixture) -> None:
    """Awaited groups are forgotten, an unawaited one is reported."""

    async def main(ctx, _):
        ctx.task_all([])
        for _ in range(200):
            await ctx.task_all([])

    story = Story(main)
    story.start()
    assert caplog.text.count("task_all of 0") == 2  # once in each of the story's two sessions


def test_thousands_of_answers_nobody_awaited_yet_are_found_again() -> None:
    """Answers that come before they are awaited are kept with their tasks."""

    async def main(ctx, _):
        tasks = [ctx.call_activity("A", n) for n in range(600)]
        await ctx.wait_for_external_event("go")
        return sum([await task for task in tasks])

    story = Story(main)
    story.start()
    story.advance(*[story.completed(n + 1, 1) for n in range(600)])
    story.send("go")
    assert story.output == 600
