"""Entities from the orchestrator's side, and what the context tells."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from durabletask.core.entities import EntityId
from durabletask.core.entity_context import EntityContext, TaskEntity
from durabletask.core.errors import EntityLockError, InvalidArgumentError, TaskFailedError
from durabletask.core.history import (
    EventRaised,
    EventSent,
    ExecutionTerminated,
    ParentInstance,
    SubOrchestrationInstanceCompleted,
)
from durabletask.core.instances import OrchestrationStatus
from durabletask.core.operations import operation
from replay_story import T0, Story, failure

A, B = EntityId("acct", "a"), EntityId("acct", "b")


def test_call_and_signal_an_entity() -> None:
    """A call is answered under its request id; a signal is not."""

    async def main(ctx, _):
        ctx.signal_entity(A, "note", 1, at=datetime(2025, 1, 2, tzinfo=timezone.utc))
        return await ctx.call_entity("@acct@b", "get", {"k": 1}, return_type=list)

    story = Story(main, started={"execution_id": "run"})
    signal, call = story.start()
    assert (signal.operation, signal.scheduled_time.day) == ("note", 2)
    assert (call.parent_instance_id, call.parent_execution_id) == ("abc", "run")
    story.advance(story.entity_completed(call.request_id, [1]))
    assert story.output == [1]


def test_the_time_of_a_signal_has_a_second_name() -> None:
    """``signal_time``, as in other SDKs, is ``at``."""

    async def main(ctx, _):
        ctx.signal_entity(A, "note", 1, signal_time=timedelta(days=1))

    (signal, _) = Story(main).start()
    assert signal.scheduled_time == T0 + timedelta(days=1)


def test_failure_of_an_operation_names_entity_and_operation() -> None:
    """With and without details."""

    async def main(ctx, _):
        found = []
        for name in ("x", "y"):
            try:
                await ctx.call_entity(A, name)
            except TaskFailedError as error:  # noqa: PERF203
                found.append(str(error))
        return found

    story = Story(main)
    (call,) = story.start()
    (call,) = story.advance(story.entity_failed(call.request_id, failure()))
    story.advance(story.entity_failed(call.request_id))
    first, second = story.output
    assert first == "boom (app.Boom in operation 'x' of entity '@acct@a')"
    assert "operation 'y'" in second


@pytest.mark.parametrize("form", ["async", "async without await", "generator"])
def test_critical_section_unlocks_every_entity_at_its_end(form: str) -> None:
    """Locks are sorted and free of duplicates; leaving the block releases them, also after an error."""

    async def awaited(ctx, _):
        async with await ctx.lock_entities([B, A, B]) as lock:
            assert lock.entities == (A, B)
            return await ctx.call_entity(A, "op")

    async def direct(ctx, _):
        async with ctx.lock_entities([B, A, B]):
            return await ctx.call_entity(A, "op")

    def yielding(ctx, _):
        with (yield ctx.lock_entities([B, A, B])) as lock:
            found = yield ctx.call_entity(A, "op")
        lock.release()
        return found

    story = Story({"async": awaited, "async without await": direct, "generator": yielding}[form])
    (request,) = story.start()
    assert request.lock_set == (str(A), str(B))
    (call,) = story.advance(story.granted(request.critical_section_id))
    first, second, _ = story.advance(story.entity_completed(call.request_id, 3))
    assert [first.target_instance_id, second.target_instance_id] == [str(A), str(B)]
    assert story.output == 3


def test_rules_of_a_critical_section() -> None:
    """Each rule is refused with its own words; the section stays usable."""

    async def main(ctx, _):
        texts = []

        def refused(do) -> None:
            try:
                do()
            except EntityLockError as error:
                texts.append(str(error))

        request = ctx.lock_entities([A])
        refused(lambda: ctx.call_entity(A, "early"))
        lock = await request
        refused(lambda: ctx.lock_entities([B]))
        refused(lambda: ctx.call_entity(B, "op"))
        refused(lambda: ctx.signal_entity(A, "op"))
        first = ctx.call_entity(A, "one")
        refused(lambda: ctx.call_entity(A, "two"))
        ctx.signal_entity(B, "fine")
        await first
        await ctx.call_entity(A, "three")
        lock.release()
        lock.release()
        return texts

    story = Story(main)
    (request,) = story.start()
    first, _ = story.advance(story.granted(request.critical_section_id))
    (third,) = story.advance(story.entity_completed(first.request_id))
    story.advance(story.entity_completed(third.request_id))
    words = [
        "before its lock was granted",
        "inside a critical section",
        "does not lock it",
        "signalled",
        "in flight",
    ]
    for text, word in zip(story.output, words, strict=True):
        assert word in text
        assert "test_entities_and_context.py:" in text


def test_a_sub_orchestration_in_a_section_is_refused() -> None:
    """It could call what the section locks; once the section is left, it starts."""

    async def main(ctx, _):
        async with ctx.lock_entities(A):
            try:
                ctx.call_sub_orchestrator("Child")
            except EntityLockError as error:
                text = str(error)
        await ctx.call_sub_orchestrator("Child")
        return text

    story = Story(main)
    (request,) = story.start()
    unlock, child = story.advance(story.granted(request.critical_section_id))
    assert (unlock.target_instance_id, child.name) == (str(A), "Child")
    story.advance(SubOrchestrationInstanceCompleted(-1, T0, child.id))
    assert "A sub-orchestration was started at" in story.output
    assert "test_entities_and_context.py:" in story.output


@pytest.mark.parametrize("form", ["async", "generator"])
def test_a_section_that_is_entered_without_waiting_is_refused(form: str) -> None:
    """The block would run before the locks are granted."""

    async def awaited(ctx, _):
        with ctx.lock_entities(A):
            pass

    def yielding(ctx, _):
        with ctx.lock_entities(A):
            yield ctx.call_entity(A, "op")

    story = Story({"async": awaited, "generator": yielding}[form])
    story.start()
    assert story.error_name == "EntityLockError"


class Counter(TaskEntity):
    value: int = 0

    @operation
    def add(self, amount: int, /) -> Decimal:
        return Decimal(amount)

    async def note(self, text: str = "none") -> None: ...

    def delete_all(self) -> None: ...


def test_a_proxy_calls_and_signals_operations_of_its_class() -> None:
    """Arguments become the input, results have the type of the method, errors name the user's line."""

    async def main(ctx, _):
        counter = ctx.entity(Counter, "k")
        counter.signal.note(text="hello")
        counter.signal.note()
        added = await counter.add(3)
        removed = await ctx.call_entity("@counter@k", Counter.add, -3)
        ctx.signal_entity(counter.entity_id, Counter.note, "bye", at=timedelta(hours=1))
        return [type(added).__name__, added + removed, repr(counter)]

    story = Story(main)
    *signals, call = story.start()
    assert [(each.target_instance_id, each.operation, each.input) for each in [*signals, call]] == [
        ("@counter@k", "note", '"hello"'),
        ("@counter@k", "note", None),
        ("@counter@k", "add", "3"),
    ]
    (call,) = story.advance(story.entity_completed(call.request_id, "3.5"))
    (signal, _) = story.advance(story.entity_completed(call.request_id, "-3"))
    assert (signal.operation, signal.input) == ("note", '"bye"')
    assert signal.scheduled_time == T0 + timedelta(hours=1, seconds=2)
    assert story.output == ["Decimal", "0.5", "<proxy of entity @counter@k>"]


def test_generators_yield_calls_of_proxies_and_lock_them() -> None:
    """Proxies stand for their ids in a lock set; ids, texts and iterables mix."""

    def main(ctx, _):
        counter = ctx.entity(Counter, "k")
        with (yield ctx.lock_entities(counter, [A, str(B)], counter.entity_id)) as lock:
            added = yield counter.add(1)
        return [str(each) for each in lock.entities], added

    story = Story(main)
    (request,) = story.start()
    assert request.lock_set == (str(A), str(B), "@counter@k")
    (call,) = story.advance(story.granted(request.critical_section_id))
    story.advance(story.entity_completed(call.request_id, "1"))
    assert story.output == [["@acct@a", "@acct@b", "@counter@k"], "1"]


def test_a_proxy_of_a_name_or_function_takes_every_operation() -> None:
    """Nothing is known about its operations, so results are plain values."""

    def ledger(ctx: EntityContext, value: object) -> object: ...

    async def main(ctx, _):
        ctx.entity("Ledger", "k").signal.anything([1])
        return await ctx.entity(ledger, "k").other()

    story = Story(main)
    signal, call = story.start()
    assert (signal.target_instance_id, signal.operation, signal.input) == ("@ledger@k", "anything", "[1]")
    assert (call.target_instance_id, call.operation, call.input) == ("@ledger@k", "other", None)


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (
            lambda p: p.ad(1),
            AttributeError,
            "Counter has no operation 'ad'. Its operations are: add, delete, ",
        ),
        (lambda p: p.value, AttributeError, "Counter has no operation 'value'"),
        (lambda p: p.initial_state(), AttributeError, "Counter has no operation 'initial_state'"),
        (lambda p: p._context, AttributeError, "do not begin with an underscore"),
        (lambda p: p.signal.signal, AttributeError, "Counter has no operation 'signal'"),
        (lambda p: p.add(), TypeError, r"Counter.add\(\): missing a required"),
        (lambda p: p.add(1, 2), TypeError, "Counter.add.*too many"),
        (lambda p: p.note(txt=1), TypeError, "unexpected keyword argument 'txt'"),
    ],
)
def test_a_wrong_use_of_a_proxy_is_refused_where_it_is_written(use, kind, message: str) -> None:
    """Nothing is sent."""

    async def main(ctx, _):
        with pytest.raises(kind, match=message):
            use(ctx.entity(Counter, "k"))
        with pytest.raises(TypeError, match="takes its input as a positional argument"):
            ctx.entity("counter", "k").add(amount=1)
        with pytest.raises(TypeError, match="was given 2 arguments; it takes one input"):
            ctx.entity("counter", "k").add(1, 2)
        with pytest.raises(InvalidArgumentError, match="Decimal is no entity class"):
            ctx.entity(Decimal, "k")

    story = Story(main)
    (done,) = story.start()
    assert done.status is OrchestrationStatus.COMPLETED


def test_the_rules_of_sections_hold_for_proxies() -> None:
    """And their errors name the line that used the proxy."""

    async def main(ctx, _):
        async with ctx.lock_entities(A):
            ctx.entity(Counter, "k").add(1)

    story = Story(main)
    (request,) = story.start()
    *_, done = story.advance(story.granted(request.critical_section_id))
    assert "Entity '@counter@k' was called at" in done.failure.message
    assert "test_entities_and_context.py:" in done.failure.message


def test_locks_of_nothing_are_refused() -> None:
    """An empty set is a mistake."""

    async def main(ctx, _):
        ctx.lock_entities()

    story = Story(main)
    story.start()
    assert story.error_name == "ValueError"


def test_termination_releases_locks_that_are_held_or_asked_for() -> None:
    """Also a request without a grant is taken back; one that was never sent is withdrawn."""

    async def main(ctx, _):
        await ctx.lock_entities([A, B])

    story = Story(main)
    story.start()
    *unlocks, done = story.advance(ExecutionTerminated(-1, T0))
    assert [u.target_instance_id for u in unlocks] == [str(A), str(B)]
    assert done.status is OrchestrationStatus.TERMINATED
    story = Story(main)
    (done,) = story.start(ExecutionTerminated(-1, T0))
    assert done.status is OrchestrationStatus.TERMINATED


def test_cancelled_lock_request_is_taken_back() -> None:
    """Cancelling a request that was sent unlocks; a late grant is ignored."""

    async def main(ctx, _):
        request = ctx.lock_entities([A])
        await ctx.task_any([request, ctx.create_timer(1)])
        request.cancel()
        await ctx.wait_for_external_event("end")

    story = Story(main)
    request, _ = story.start()
    (unlock,) = story.fire(2)
    assert unlock.critical_section_id == request.critical_section_id
    assert story.advance(story.granted(request.critical_section_id)) == []


def _legacy(story: Story, action_id: int, target: str, message: str) -> None:
    """Confirm the last entity action in the legacy shape."""
    index = next(i for i, e in enumerate(story.past) if e.event_id == action_id)
    story.past[index] = EventSent(action_id, T0, target, "op", message)
    session = story.session()
    session.replay(story.past)
    story.kept = session


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"result": "5"}', 5),
        ('{"result": "\\"bad\\"", "exceptionType": "System.X"}', "bad (System.X"),
        ('{"exceptionType": "E", "failureDetails": {"ErrorType": "F", "ErrorMessage": "m"}}', "m (F"),
        ('{"exceptionType": "E", "failureDetails": 7}', "E (E"),
        ("not json", None),
    ],
)
def test_legacy_answers(answer: str, expected: object) -> None:
    """Answers of the legacy shape arrive as events named by the request id."""

    async def main(ctx, _):
        try:
            return await ctx.call_entity(A, "get")
        except TaskFailedError as error:
            return str(error)

    story = Story(main)
    story.start()
    _legacy(story, 1, str(A), '{"id": "req"}')
    story.advance(EventRaised(-1, T0, "req", answer))
    if isinstance(expected, str):
        assert story.output.startswith(expected)
    else:
        assert story.output == expected


def test_legacy_lock_is_granted_by_an_event() -> None:
    """The grant is an event named by the id of the section."""

    async def main(ctx, _):
        async with await ctx.lock_entities([A]):
            return 1

    story = Story(main)
    story.start()
    _legacy(story, 1, str(A), '{"id": "section"}')
    story.advance(EventRaised(-1, T0, "section", "{}"))
    assert story.output == 1
    assert story.result.actions[0].critical_section_id == "section"


def test_legacy_confirmation_without_an_id_keeps_ours() -> None:
    """A message that tells no id leaves the call under its own."""

    async def main(ctx, _):
        return await ctx.call_entity(A, "get")

    story = Story(main)
    (call,) = story.start()
    _legacy(story, 1, str(A), "no json")
    story.advance(EventRaised(-1, T0, call.request_id, '{"result": "1"}'))
    assert story.output == 1


def test_context_tells_who_and_when() -> None:
    """Identity, tags, version, parent and clock."""

    async def main(ctx, _):
        return [
            ctx.instance_id,
            ctx.execution_id,
            ctx.parent_instance_id,
            ctx.name,
            ctx.version,
            dict(ctx.tags),
            ctx.current_utc_datetime.isoformat(),
        ]

    started = {
        "execution_id": "run",
        "version": "1.2",
        "tags": {"a": "b"},
        "parent": ParentInstance(3, "parent-1"),
    }
    story = Story(main, started=started)
    story.start()
    assert story.output == ["abc", "run", "parent-1", "Main", "1.2", {"a": "b"}, "2025-01-01T00:00:00+00:00"]
    story = Story(main)
    story.start()
    assert story.output == ["abc", None, None, "Main", None, {}, "2025-01-01T00:00:00+00:00"]


def test_random_and_uuids_are_the_same_on_replay_and_differ_between_executions() -> None:
    """Seeded by instance and execution."""

    async def main(ctx, _):
        first = ctx.random.random()
        await ctx.create_timer(timedelta(seconds=1))
        return [first, ctx.random.random(), ctx.new_uuid()]

    outputs = []
    for execution in (1, 2):
        story = Story(main, execution)
        story.start()
        story.fire(1)
        outputs.append(story.output)
    assert outputs[0][0] != outputs[1][0]
    assert outputs[0][0] != outputs[0][1]
    assert outputs[0][2] == outputs[1][2]


def test_logger_is_silent_during_replay(caplog: pytest.LogCaptureFixture) -> None:
    """Records pass once, in the live episode, through the filters of the logger they go to."""
    own = logging.getLogger("shop")
    own.setLevel(logging.INFO)

    class NoSecrets(logging.Filter):
        def filter(self, record):
            return "secret" not in record.getMessage()

    own.addFilter(NoSecrets())

    async def main(ctx, _):
        safe = ctx.create_replay_safe_logger(own)
        assert ctx.logger is ctx.logger
        safe.info("started, replaying: %s", ctx.is_replaying)
        safe.info("secret")
        safe.debug("too fine")
        await ctx.call_activity("A")
        safe.info("resumed")
        ctx.logger.warning("default")

    story = Story(main, twice=False)
    story.start()
    story.complete(1)
    fresh = story.session()
    fresh.replay(story.past)
    assert [r.getMessage() for r in caplog.records] == ["started, replaying: False", "resumed", "default"]
    assert caplog.records[0].funcName == "main"


def test_children_of_a_replay_safe_logger_are_as_safe(caplog: pytest.LogCaptureFixture) -> None:
    """They log under their own name, once; a logger that is disabled stays silent."""
    own = logging.getLogger("shop.children")
    silenced = logging.getLogger("shop.silenced")

    async def main(ctx, _):
        child = ctx.create_replay_safe_logger(own).getChild("till")
        child.warning("opened")
        ctx.create_replay_safe_logger(silenced).warning("never")
        await ctx.call_activity("A")
        child.getChild("drawer").warning("closed")

    silenced.disabled = True
    try:
        story = Story(main, twice=False)
        story.start()
        story.complete(1)
        story.session().replay(story.past)
    finally:
        silenced.disabled = False
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("shop.children.till", "opened"),
        ("shop.children.till.drawer", "closed"),
    ]


def test_custom_status_can_be_cleared() -> None:
    """The latest value counts; None clears it."""

    async def main(ctx, _):
        ctx.set_custom_status({"step": 1})
        await ctx.call_activity("A")
        ctx.set_custom_status(None)
        await ctx.call_activity("B")

    story = Story(main)
    story.start()
    assert story.result.custom_status == '{"step":1}'
    story.complete(1)
    assert story.result.custom_status is None
