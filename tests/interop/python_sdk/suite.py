"""Scenarios for the other Python SDK of the protocol, run in its own virtual environment.

    python suite.py HOST:PORT [SCENARIO...]

Prints one JSON object a line: {"name": ..., "ok": ..., "detail": ...}. Client and worker are that SDK's;
the server is whatever listens at the address. Knows nothing of the packages of this repository.
"""

import json
import sys
import threading
import time
import traceback
import uuid
from datetime import datetime, timedelta, timezone

from durabletask import client as dtc
from durabletask import task
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.worker import (
    ConcurrencyOptions,
    TaskHubGrpcWorker,
    VersionFailureStrategy,
    VersioningOptions,
    VersionMatchStrategy,
)

ADDRESS = sys.argv[1]
SCENARIOS = {}
Status = dtc.OrchestrationStatus


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def check(condition, what):
    if not condition:
        raise AssertionError(what)


# --- what the worker runs --------------------------------------------------------------------------------

attempts = {}
attempts_lock = threading.Lock()
gates = {"broken": True}


def plus_one(ctx, number):
    return number + 1


def echo(ctx, value):
    return value


def flaky(ctx, key):
    with attempts_lock:
        attempts[key] = attempts.get(key, 0) + 1
        count = attempts[key]
    if count < 3:
        raise RuntimeError(f"attempt {count}")
    return count


def broken_until_mended(ctx, value):
    if gates["broken"]:
        raise ValueError("still broken")
    return value


def chain(ctx, number):
    for _ in range(3):
        number = yield ctx.call_activity(plus_one, input=number)
    return number


def fan_out(ctx, count):
    results = yield task.when_all([ctx.call_activity(plus_one, input=n) for n in range(count)])
    return sum(results)


def parent(ctx, number):
    first = yield ctx.call_sub_orchestrator(chain, input=number)
    second = yield ctx.call_sub_orchestrator(chain, input=first, instance_id=f"{ctx.instance_id}-second")
    return second


def failing_child(ctx, _):
    raise ValueError("the child fails")


def parent_of_failing(ctx, _):
    try:
        yield ctx.call_sub_orchestrator(failing_child)
    except task.TaskFailedError as error:
        return str(error.details.message)


def timer(ctx, seconds):
    started = ctx.current_utc_datetime
    yield ctx.create_timer(timedelta(seconds=seconds))
    return (ctx.current_utc_datetime - started).total_seconds()


def wait_for_two(ctx, _):
    first = yield ctx.wait_for_external_event("first")
    second = yield ctx.wait_for_external_event("second")
    return [first, second]


def approval(ctx, seconds):
    event = ctx.wait_for_external_event("approval")
    deadline = ctx.create_timer(timedelta(seconds=seconds))
    winner = yield task.when_any([event, deadline])
    return "approved" if winner is event else "timed out"


def counter(ctx, number):
    if number < 5:
        number = yield ctx.call_activity(plus_one, input=number)
        ctx.continue_as_new(number, save_events=True)
        return None
    event = yield ctx.wait_for_external_event("done")
    return [number, event]


def retrying(ctx, key):
    policy = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=4)
    return (yield ctx.call_activity(flaky, input=key, retry_policy=policy))


def rewindable(ctx, value):
    first = yield ctx.call_activity(echo, input=value)
    second = yield ctx.call_activity(broken_until_mended, input=first)
    return second


def rewindable_parent(ctx, value):
    return (yield ctx.call_sub_orchestrator(rewindable, input=value))


def sender(ctx, target):
    ctx.send_event(target, "first", data="sent")
    ctx.send_event(target, "second", data={"n": 2})
    ctx.set_custom_status("sent")
    yield ctx.create_timer(timedelta(milliseconds=10))
    return "ok"


def waiting_parent(ctx, child_id):
    yield ctx.call_sub_orchestrator(wait_for_two, instance_id=child_id)


def version_of(ctx, _):
    return ctx.version


ORCHESTRATORS = [
    chain,
    fan_out,
    parent,
    failing_child,
    parent_of_failing,
    timer,
    wait_for_two,
    approval,
    counter,
    retrying,
    rewindable,
    rewindable_parent,
    sender,
    waiting_parent,
    version_of,
]
ACTIVITIES = [plus_one, echo, flaky, broken_until_mended]


def make_worker(orchestrators=ORCHESTRATORS, activities=ACTIVITIES, **options):
    worker = TaskHubGrpcWorker(host_address=ADDRESS, **options)
    for function in orchestrators:
        worker.add_orchestrator(function)
    for function in activities:
        worker.add_activity(function)
    return worker


def client():
    return dtc.TaskHubGrpcClient(host_address=ADDRESS)


def finish(c, instance_id, status=Status.COMPLETED, timeout=20):
    state = c.wait_for_orchestration_completion(instance_id, timeout=timeout)
    check(state is not None, "no state")
    check(state.runtime_status == status, f"{state.runtime_status}, {state.failure_details}")
    return state


def until(probe, what, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if probe():
            return
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


def run(c, orchestrator, value, **options):
    return finish(c, c.schedule_new_orchestration(orchestrator, input=value, **options)).get_output()


# --- scenarios ---------------------------------------------------------------------------------------------


@scenario
def chaining(c):
    check(run(c, chain, 4) == 7, "4 + 3")


@scenario
def fanning_out(c):
    check(run(c, fan_out, 30) == sum(range(1, 31)), "sum of 30")


@scenario
def sub_orchestrations(c):
    check(run(c, parent, 0) == 6, "two children")
    check("the child fails" in run(c, parent_of_failing, None), "failure of the child reaches the parent")


@scenario
def timers(c):
    check(run(c, timer, 0.3) >= 0.3, "the orchestration clock moved")


@scenario
def external_events(c):
    instance_id = c.schedule_new_orchestration(wait_for_two)
    c.raise_orchestration_event(instance_id, "SECOND", data={"b": 2})
    c.raise_orchestration_event(instance_id, "First", data="a")
    check(finish(c, instance_id).get_output() == ["a", {"b": 2}], "events in either order, any case")


@scenario
def event_against_timer(c):
    check(run(c, approval, 0.2) == "timed out", "the timer wins")
    instance_id = c.schedule_new_orchestration(approval, input=60)
    c.raise_orchestration_event(instance_id, "approval")
    check(finish(c, instance_id).get_output() == "approved", "the event wins")


@scenario
def continue_as_new(c):
    instance_id = c.schedule_new_orchestration(counter, input=0)
    c.raise_orchestration_event(instance_id, "done", data="fin")
    check(finish(c, instance_id).get_output() == [5, "fin"], "five generations keep the event")


@scenario
def retries(c):
    check(run(c, retrying, uuid.uuid4().hex) == 3, "third attempt")


@scenario
def suspend_and_resume(c):
    instance_id = c.schedule_new_orchestration(wait_for_two)
    c.wait_for_orchestration_start(instance_id, timeout=10)
    c.suspend_orchestration(instance_id, reason="pause")
    c.suspend_orchestration(instance_id, reason="again")
    until(lambda: c.get_orchestration_state(instance_id).runtime_status == Status.SUSPENDED, "suspended")
    c.raise_orchestration_event(instance_id, "first", data=1)
    c.raise_orchestration_event(instance_id, "second", data=2)
    time.sleep(0.2)
    check(c.get_orchestration_state(instance_id).runtime_status == Status.SUSPENDED, "stays suspended")
    c.resume_orchestration(instance_id)
    c.resume_orchestration(instance_id)
    check(finish(c, instance_id).get_output() == [1, 2], "goes on")


@scenario
def terminate(c):
    instance_id = c.schedule_new_orchestration(wait_for_two)
    c.wait_for_orchestration_start(instance_id, timeout=10)
    c.terminate_orchestration(instance_id, output={"why": "enough"})
    state = finish(c, instance_id, Status.TERMINATED)
    check(state.get_output() == {"why": "enough"}, "the output of the request")


@scenario
def terminate_recursively(c):
    child_id = uuid.uuid4().hex
    instance_id = c.schedule_new_orchestration(waiting_parent, input=child_id)
    until(lambda: c.get_orchestration_state(child_id) is not None, "child exists")
    c.terminate_orchestration(instance_id, recursive=True)
    finish(c, instance_id, Status.TERMINATED)
    finish(c, child_id, Status.TERMINATED)


@scenario
def query(c):
    prefix = f"q-{uuid.uuid4().hex}-"
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    for n in range(7):
        finish(c, c.schedule_new_orchestration(chain, input=n, instance_id=f"{prefix}{n}"))
    found = c.get_all_orchestration_states(
        dtc.OrchestrationQuery(
            instance_id_prefix=prefix,
            runtime_status=[Status.COMPLETED],
            created_time_from=before,
            max_instance_count=3,
            fetch_inputs_and_outputs=True,
        )
    )
    check([s.instance_id for s in found] == [f"{prefix}{n}" for n in range(7)], "paged, by creation")
    check([s.get_output() for s in found] == [n + 3 for n in range(7)], "outputs")
    bare = c.get_all_orchestration_states(dtc.OrchestrationQuery(instance_id_prefix=prefix))
    check(all(s.serialized_output is None for s in bare), "payloads only when asked for")


@scenario
def list_ids(c):
    prefix = f"l-{uuid.uuid4().hex}-"
    start = datetime.now(timezone.utc) - timedelta(seconds=1)
    for n in range(5):
        finish(c, c.schedule_new_orchestration(chain, input=n, instance_id=f"{prefix}{n}"))
    ids, token = [], None
    while True:
        page = c.list_instance_ids(completed_time_from=start, page_size=2, continuation_token=token)
        ids += page.items
        token = page.continuation_token
        if not token:
            break
    check([i for i in ids if i.startswith(prefix)] == [f"{prefix}{n}" for n in range(5)], f"{ids}")


@scenario
def purge(c):
    instance_id = c.schedule_new_orchestration(parent, input=0)
    finish(c, instance_id)
    result = c.purge_orchestration(instance_id, recursive=True)
    check(result.deleted_instance_count == 3, f"parent and two children: {result}")
    check(c.get_orchestration_state(instance_id) is None, "gone")
    check(c.purge_orchestration(instance_id).deleted_instance_count == 0, "nothing left")
    start = datetime.now(timezone.utc)
    ids = [c.schedule_new_orchestration(chain, input=n) for n in range(3)]
    for one in ids:
        finish(c, one)
    result = c.purge_orchestrations_by(
        created_time_from=start, runtime_status=[Status.COMPLETED], recursive=False
    )
    check(result.deleted_instance_count >= 3, f"by filter: {result}")
    check(all(c.get_orchestration_state(one) is None for one in ids), "all gone")


@scenario
def rewind(c):
    gates["broken"] = True
    instance_id = c.schedule_new_orchestration(rewindable, input="v")
    finish(c, instance_id, Status.FAILED)
    gates["broken"] = False
    c.rewind_orchestration(instance_id, reason="mended")
    check(finish(c, instance_id).get_output() == "v", "goes on after the failure")


@scenario
def rewind_children(c):
    gates["broken"] = True
    instance_id = c.schedule_new_orchestration(rewindable_parent, input="v")
    finish(c, instance_id, Status.FAILED)
    gates["broken"] = False
    c.rewind_orchestration(instance_id, reason="mended")
    check(finish(c, instance_id).get_output() == "v", "parent and child go on")


@scenario
def restart(c):
    instance_id = c.schedule_new_orchestration(chain, input=1)
    finish(c, instance_id)
    check(c.restart_orchestration(instance_id) == instance_id, "same id")
    check(finish(c, instance_id).get_output() == 4, "same input")
    other = c.restart_orchestration(instance_id, restart_with_new_instance_id=True)
    check(other != instance_id, "new id")
    check(finish(c, other).get_output() == 4, "same input under the new id")


@scenario
def history(c):
    instance_id = c.schedule_new_orchestration(chain, input=1)
    finish(c, instance_id)
    kinds = [type(event).__name__ for event in c.get_orchestration_history(instance_id)]
    check(kinds[:2] == ["OrchestratorStartedEvent", "ExecutionStartedEvent"], f"{kinds}")
    check(kinds.count("TaskScheduledEvent") == 3 and kinds.count("TaskCompletedEvent") == 3, f"{kinds}")
    check("ExecutionCompletedEvent" in kinds, f"{kinds}")


@scenario
def long_history(c):
    instance_id = c.schedule_new_orchestration(fan_out, input=1500)
    finish(c, instance_id, timeout=40)
    check(len(c.get_orchestration_history(instance_id)) >= 3000, "streamed in chunks")


@scenario
def tags_and_custom_status(c):
    instance_id = c.schedule_new_orchestration(wait_for_two, tags={"team": "red"})
    c.wait_for_orchestration_start(instance_id, timeout=10)
    other = c.schedule_new_orchestration(sender, input=instance_id)
    check(finish(c, other).get_custom_status() == "sent", "custom status")
    check(finish(c, instance_id).get_output() == ["sent", {"n": 2}], "events from an orchestration")


@scenario
def reuse_of_ids(c):
    instance_id = uuid.uuid4().hex
    finish(c, c.schedule_new_orchestration(chain, input=1, instance_id=instance_id))
    try:
        c.schedule_new_orchestration(chain, input=2, instance_id=instance_id)
    except Exception as error:  # noqa: BLE001
        check("ALREADY_EXISTS" in str(error), str(error))
    else:
        raise AssertionError("the id was taken")
    policy = pb.OrchestrationIdReusePolicy(replaceableStatus=[pb.ORCHESTRATION_STATUS_COMPLETED])
    c.schedule_new_orchestration(chain, input=5, instance_id=instance_id, reuse_id_policy=policy)
    check(finish(c, instance_id).get_output() == 8, "replaced")


@scenario
def scheduled_start(c):
    at = datetime.now(timezone.utc) + timedelta(seconds=0.6)
    instance_id = c.schedule_new_orchestration(chain, input=1, start_at=at)
    check(c.get_orchestration_state(instance_id).runtime_status == Status.PENDING, "not yet")
    finish(c, instance_id)
    check(datetime.now(timezone.utc) >= at, "not before its time")


@scenario
def large_messages(c):
    text = "x" * 600_000
    check(run(c, passing_on, text) == text, "0.6 MB in and out")


def passing_on(ctx, text):
    return (yield ctx.call_activity(echo, input=text))


ORCHESTRATORS.append(passing_on)


@scenario
def versioning(c):
    other = make_worker([version_of], [])
    other.use_versioning(
        VersioningOptions(
            version="2.0",
            match_strategy=VersionMatchStrategy.STRICT,
            failure_strategy=VersionFailureStrategy.REJECT,
        )
    )
    check(run(c, version_of, None, version="1.5") == "1.5", "the version travels")
    worker.stop()
    try:
        other.start()
        old = c.schedule_new_orchestration(version_of, version="1.0")
        new = c.schedule_new_orchestration(version_of, version="2.0")
        check(finish(c, new).get_output() == "2.0", "accepted")
        check(not c.get_orchestration_state(old).runtime_status == Status.FAILED, "left to another worker")
    finally:
        other.stop()
        restart_worker()
    check(finish(c, old).get_output() == "1.0", "taken by another worker")


@scenario
def filters(c):
    worker.stop()
    other = make_worker([version_of], [])
    other.use_work_item_filters()
    try:
        other.start()
        foreign = c.schedule_new_orchestration(chain, input=1)
        own = c.schedule_new_orchestration(version_of)
        finish(c, own)
        check(c.get_orchestration_state(foreign).runtime_status == Status.PENDING, "not delivered")
    finally:
        other.stop()
        restart_worker()
    check(finish(c, foreign).get_output() == 4, "delivered to a worker that takes it")


@scenario
def worker_lost_in_the_middle(c):
    instance_id = c.schedule_new_orchestration(timer, input=0.4)
    c.wait_for_orchestration_start(instance_id, timeout=10)
    worker.stop()
    time.sleep(0.6)
    restart_worker()
    finish(c, instance_id)


# --- scenarios at the edges --------------------------------------------------------------------------------


def orchestrator(function):
    ORCHESTRATORS.append(function)
    return function


@orchestrator
def flaky_child(ctx, key):
    number = yield ctx.call_activity(count_up, input=key)
    if number < 3:
        raise RuntimeError(f"attempt {number}")
    return number


def count_up(ctx, key):
    with attempts_lock:
        attempts[key] = attempts.get(key, 0) + 1
        return attempts[key]


ACTIVITIES.append(count_up)


@orchestrator
def retrying_a_child(ctx, key):
    policy = task.RetryPolicy(first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=4)
    return (yield ctx.call_sub_orchestrator(flaky_child, input=key, retry_policy=policy))


@orchestrator
def race(ctx, count):
    tasks = [ctx.call_activity(plus_one, input=n) for n in range(count)]
    late = ctx.create_timer(timedelta(hours=1))
    event = ctx.wait_for_external_event("never")
    winner = yield task.when_any([late, event, *tasks])
    return winner.get_result()


@orchestrator
def tree(ctx, depth):
    if depth:
        yield task.when_all(
            [
                ctx.call_sub_orchestrator(tree, input=depth - 1, instance_id=f"{ctx.instance_id}.{n}")
                for n in range(2)
            ]
        )
    else:
        yield ctx.wait_for_external_event("leave")


@orchestrator
def finished_tree(ctx, depth):
    if depth:
        for n in range(2):
            child_id = f"{ctx.instance_id}.{n}"
            yield ctx.call_sub_orchestrator(finished_tree, input=depth - 1, instance_id=child_id)
    return ctx.parent_instance_id


@orchestrator
def status_over_generations(ctx, number):
    ctx.set_custom_status(f"generation {number}")
    if number < 3:
        ctx.continue_as_new(number + 1)
        return None
    yield ctx.wait_for_external_event("end")
    return number


@orchestrator
def collecting(ctx, seen):
    event = yield ctx.wait_for_external_event("item")
    seen = [*(seen or []), event]
    if len(seen) < 10:
        ctx.continue_as_new(seen, save_events=True)
        return None
    return seen


@orchestrator
def child_versions(ctx, _):
    inherited = yield ctx.call_sub_orchestrator(version_of)
    chosen = yield ctx.call_sub_orchestrator(version_of, version="7.1")
    return [inherited, chosen]


@orchestrator
def nothing_known(ctx, _):
    try:
        yield ctx.call_activity("not registered")
    except task.TaskFailedError as error:
        return str(error.details.message)


@orchestrator
def failing_deeply(ctx, _):
    yield ctx.call_sub_orchestrator(parent_that_lets_fail)


@orchestrator
def parent_that_lets_fail(ctx, _):
    yield ctx.call_sub_orchestrator(failing_child)


@scenario
def retries_of_children(c):
    check(run(c, retrying_a_child, uuid.uuid4().hex) == 3, "third attempt")


@scenario
def losers_of_a_race(c):
    check(run(c, race, 5) in range(1, 6), "an activity wins")


@scenario
def large_fan_out(c):
    check(run(c, fan_out, 500) == sum(range(1, 501)), "sum of 500")


@scenario
def terminate_a_tree(c):
    root = f"t-{uuid.uuid4().hex}"
    c.schedule_new_orchestration(tree, input=3, instance_id=root)
    everything = dtc.OrchestrationQuery(instance_id_prefix=root)

    def under_way():
        states = c.get_all_orchestration_states(everything)
        return [state.runtime_status for state in states].count(Status.RUNNING) == 15

    until(under_way, "15 instances under way")
    c.terminate_orchestration(f"{root}.0", recursive=False)
    finish(c, f"{root}.0", Status.TERMINATED)
    check(c.get_orchestration_state(f"{root}.0.0").runtime_status == Status.RUNNING, "left alone")
    c.terminate_orchestration(f"{root}.1", recursive=True)
    for name in ("1", "1.0", "1.1", "1.0.0", "1.0.1", "1.1.0", "1.1.1"):
        finish(c, f"{root}.{name}", Status.TERMINATED)
    finish(c, root, Status.FAILED)  # both of its children were terminated


@scenario
def purge_a_tree(c):
    root = f"p-{uuid.uuid4().hex}"
    finish(c, c.schedule_new_orchestration(finished_tree, input=3, instance_id=root))
    check(c.get_orchestration_state(f"{root}.1").get_output() == root, "children know their parent")
    result = c.purge_orchestration(f"{root}.0", recursive=False)
    check(result.deleted_instance_count == 1, f"only itself: {result}")
    result = c.purge_orchestration(root, recursive=True)
    check(result.deleted_instance_count == 8, f"what can be reached: {result}")


@scenario
def custom_status_over_generations(c):
    instance_id = c.schedule_new_orchestration(status_over_generations, input=0)
    until(
        lambda: c.get_orchestration_state(instance_id).get_custom_status() == "generation 3",
        "last generation",
    )
    c.raise_orchestration_event(instance_id, "end")
    state = finish(c, instance_id)
    check((state.get_output(), state.get_custom_status()) == (3, "generation 3"), "kept to the end")


@scenario
def events_over_generations(c):
    instance_id = c.schedule_new_orchestration(collecting)
    for n in range(10):
        c.raise_orchestration_event(instance_id, "item", data=n)
    check(finish(c, instance_id).get_output() == list(range(10)), "every event, in order")


@scenario
def versions_of_children(c):
    check(run(c, child_versions, None, version="3.0") in ([None, "7.1"], ["3.0", "7.1"]), "own versions")


@scenario
def suspended_before_the_start(c):
    at = datetime.now(timezone.utc) + timedelta(seconds=0.4)
    instance_id = c.schedule_new_orchestration(wait_for_two, start_at=at)
    c.suspend_orchestration(instance_id)
    c.raise_orchestration_event(instance_id, "first", data=1)
    c.raise_orchestration_event(instance_id, "second", data=2)
    until(lambda: c.get_orchestration_state(instance_id).runtime_status == Status.SUSPENDED, "suspended")
    time.sleep(0.2)
    check(c.get_orchestration_state(instance_id).runtime_status == Status.SUSPENDED, "events wait")
    c.resume_orchestration(instance_id)
    check(finish(c, instance_id).get_output() == [1, 2], "events were kept")


@scenario
def terminated_while_suspended(c):
    instance_id = c.schedule_new_orchestration(wait_for_two)
    c.wait_for_orchestration_start(instance_id, timeout=10)
    c.suspend_orchestration(instance_id)
    until(lambda: c.get_orchestration_state(instance_id).runtime_status == Status.SUSPENDED, "suspended")
    c.terminate_orchestration(instance_id, output="gone")
    check(finish(c, instance_id, Status.TERMINATED).get_output() == "gone", "output")


@scenario
def missing_instances(c):
    check(c.get_orchestration_state("missing") is None, "no state")
    for timeout in (1, 20):  # the server answers shortly before the deadline, on a busy machine too late
        try:
            check(c.wait_for_orchestration_start("missing", timeout=timeout) is None, "nothing has started")
            break
        except TimeoutError:
            check(timeout == 1, "an answer before the deadline")
    check(c.purge_orchestration("missing").deleted_instance_count == 0, "nothing to purge")
    c.terminate_orchestration("missing")
    for call in (
        lambda: c.raise_orchestration_event("missing", "e"),
        lambda: c.suspend_orchestration("missing"),
        lambda: c.resume_orchestration("missing"),
        lambda: c.restart_orchestration("missing"),
        lambda: c.rewind_orchestration("missing"),
    ):
        try:
            call()
        except Exception as error:  # noqa: BLE001
            check("NOT_FOUND" in str(error) or "no such" in str(error), repr(error))
        else:
            raise AssertionError("it is missing")


@scenario
def timeouts_of_waits(c):
    instance_id = c.schedule_new_orchestration(wait_for_two)
    c.wait_for_orchestration_start(instance_id, timeout=10)
    try:
        c.wait_for_orchestration_completion(instance_id, timeout=1)
    except TimeoutError:
        pass
    else:
        raise AssertionError("it is still running")
    for call in (c.restart_orchestration, c.rewind_orchestration):
        try:
            call(instance_id)
        except Exception as error:  # noqa: BLE001
            check("FAILED_PRECONDITION" in str(error) or "status" in str(error), repr(error))
        else:
            raise AssertionError("it is still running")
    c.terminate_orchestration(instance_id)
    finish(c, instance_id, Status.TERMINATED)


@scenario
def names_nobody_registered(c):
    check("not registered" in run(c, nothing_known, None), "an activity")
    state = finish(c, c.schedule_new_orchestration("unheard of"), Status.FAILED)
    check("unheard of" in state.failure_details.message, "an orchestrator")


@scenario
def failures_of_grandchildren(c):
    state = finish(c, c.schedule_new_orchestration(failing_deeply), Status.FAILED)
    check("the child fails" in str(state.failure_details), f"{state.failure_details}")


@scenario
def timers_beyond_what_a_worker_takes(c):
    worker.stop()
    other = make_worker(maximum_timer_interval=timedelta(milliseconds=150))
    try:
        other.start()
        check(run(c, timer, 0.6) >= 0.6, "in several pieces")
    finally:
        other.stop()
        restart_worker()


@scenario
def concurrency_limits(c):
    worker.stop()
    other = make_worker(
        concurrency_options=ConcurrencyOptions(
            maximum_concurrent_activity_work_items=2, maximum_concurrent_orchestration_work_items=2
        )
    )
    try:
        other.start()
        ids = [c.schedule_new_orchestration(fan_out, input=20) for _ in range(10)]
        for one in ids:
            finish(c, one)
    finally:
        other.stop()
        restart_worker()


@scenario
def two_workers(c):
    other = make_worker()
    other.start()
    try:
        ids = [c.schedule_new_orchestration(chain, input=n) for n in range(40)]
        check([finish(c, one).get_output() for one in ids] == [n + 3 for n in range(40)], "all done")
    finally:
        other.stop()


worker = make_worker()


def restart_worker():
    global worker
    worker = make_worker()
    worker.start()


def main():
    wanted = sys.argv[2:] or list(SCENARIOS)
    worker.start()
    c = client()
    failed = 0
    for name in wanted:
        begun = time.monotonic()
        try:
            SCENARIOS[name](c)
            ok, detail = True, f"{time.monotonic() - begun:.2f} s"
        except Exception:  # noqa: BLE001
            ok, detail = False, traceback.format_exc()
            failed += 1
        print(json.dumps({"name": name, "ok": ok, "detail": detail}), flush=True)
    worker.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    import os

    os._exit(code)
