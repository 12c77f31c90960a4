"""Entities, schedules and exports with the other Python SDK, run in its own virtual environment.

    python entities.py HOST:PORT both|worker|client [SCENARIO...]

``both`` and ``client`` print one JSON object a line, as ``suite.py`` does. ``worker`` prints "ready" and serves until
its standard input ends; ``client`` expects a worker elsewhere that runs the same names. Knows nothing of the packages
of this repository.
"""

import json
import os
import sys
import tempfile
import time
import traceback
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

from durabletask import client as dtc
from durabletask import entities, task
from durabletask.extensions import history_export
from durabletask.scheduled import models as schedules
from durabletask.scheduled.client import ScheduledTaskClient
from durabletask.worker import TaskHubGrpcWorker

ADDRESS, ROLE = sys.argv[1:3]
SCENARIOS = {}
Id = entities.EntityInstanceId
Status = dtc.OrchestrationStatus


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def new(name="counter"):
    return Id(name, uuid.uuid4().hex)


# --- what the worker runs --------------------------------------------------------------------------------


class Counter(entities.DurableEntity):
    def add(self, amount):
        value = self.get_state(int, 0) + amount
        self.set_state(value)
        return value

    def get(self, _=None):
        return self.get_state(int, 0)

    def add_and_fail(self, amount):
        self.set_state(self.get_state(int, 0) + amount)
        raise ValueError("on purpose")

    def pass_on(self, amount):
        self.signal_entity(Id("counter", self.entity_context.entity_id.key + "-next"), "add", amount)

    def start_child(self, number):
        return self.schedule_new_orchestration("echo_number", input=number)


def echo_number(ctx, number):
    return number


def report(ctx, text):
    return text


def add_twice(ctx, key):
    first = yield ctx.call_entity(Id("counter", key), "add", 2)
    second = yield ctx.call_entity(Id("counter", key), "add", 3)
    return [first, second]


def signal_then_get(ctx, key):
    for _ in range(10):
        ctx.signal_entity(Id("counter", key), "add", 1)
    value = yield ctx.call_entity(Id("counter", key), "get")
    return value


def call_what_fails(ctx, key):
    try:
        yield ctx.call_entity(Id("counter", key), "add_and_fail", 5)
    except task.TaskFailedError as error:
        value = yield ctx.call_entity(Id("counter", key), "get")
        return [str(error), value]


def transfer(ctx, input):
    source, target = (Id("counter", key) for key in input["keys"])
    with (yield ctx.lock_entities([source, target])):
        have = yield ctx.call_entity(source, "get")
        if have < input["amount"]:
            return False
        yield ctx.call_entity(source, "add", -input["amount"])
        yield ctx.call_entity(target, "add", input["amount"])
    return True


def hold_until_told(ctx, key):
    with (yield ctx.lock_entities([Id("counter", key)])):
        ctx.set_custom_status("locked")
        yield ctx.wait_for_external_event("release")
        yield ctx.call_entity(Id("counter", key), "add", 1)
    return "released"


def signal_later(ctx, key):
    at = ctx.current_utc_datetime + timedelta(milliseconds=500)
    ctx.signal_entity(Id("counter", key), "add", 7, signal_time=at)
    return None


def make_worker(export_client):
    worker = TaskHubGrpcWorker(host_address=ADDRESS)
    worker.add_entity(Counter, name="counter")
    for function in (
        echo_number,
        report,
        add_twice,
        signal_then_get,
        call_what_fails,
        transfer,
        hold_until_told,
        signal_later,
    ):
        worker.add_orchestrator(function)
    worker.configure_scheduled_tasks()
    export_client.register_worker(worker)
    return worker


class Files:
    """A writer of exports into a folder; its name is the container, so that any process agrees about it."""

    def write(self, *, container, blob_name, payload, content_encoding=None, **_):
        path = Path(tempfile.gettempdir(), container, blob_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)


# --- what the client does --------------------------------------------------------------------------------


def finish(c, instance_id, status=Status.COMPLETED):
    state = c.wait_for_orchestration_completion(instance_id, timeout=30)
    check(state is not None and state.runtime_status == status, f"{state}")
    return state


def run(c, name, value):
    return finish(c, c.schedule_new_orchestration(name, input=value)).get_output()


def state_of(c, entity_id):
    found = c.get_entity(entity_id)
    return None if found is None else found.get_typed_state()


@scenario
def signals_from_a_client(c):
    one = new()
    check(c.get_entity(one) is None, "not there yet")
    for _ in range(20):
        c.signal_entity(one, "add", 1)
    until(lambda: state_of(c, one) == 20, "twenty signals")
    found = c.get_entity(one)
    check(found.id == one and found.backlog_queue_size == 0, f"{found}")
    check(abs((datetime.now(timezone.utc) - found.last_modified).total_seconds()) < 60, "just now")
    check(found.get_locked_by() is None, "not locked")


@scenario
def calls_from_an_orchestration(c):
    one = new()
    check(run(c, "add_twice", one.key) == [2, 5], "results of operations")
    check(state_of(c, one) == 5, "state")


@scenario
def signals_come_before_a_later_call(c):
    check(run(c, "signal_then_get", new().key) == 10, "order of one sender")


@scenario
def an_operation_that_fails_changes_nothing(c):
    one = new()
    c.signal_entity(one, "add", 1)
    text, value = run(c, "call_what_fails", one.key)
    check("on purpose" in text, text)
    check(value == 1, "rolled back")


@scenario
def delayed_signals(c):
    one, two = new(), new()
    c.signal_entity(one, "add", 3, signal_time=datetime.now(timezone.utc) + timedelta(milliseconds=500))
    run(c, "signal_later", two.key)
    check(state_of(c, one) is None, "not yet")
    until(lambda: state_of(c, one) == 3, "signal of a client")
    until(lambda: state_of(c, two) == 7, "signal of an orchestration")


@scenario
def transfers_under_locks(c):
    first, second = new(), new()
    c.signal_entity(first, "add", 100)
    c.signal_entity(second, "add", 100)
    inputs = [
        {"keys": [first.key, second.key], "amount": 5},
        {"keys": [second.key, first.key], "amount": 3},
    ] * 5
    ids = [c.schedule_new_orchestration("transfer", input=each) for each in inputs]
    check(all(finish(c, one).get_output() for one in ids), "all went through")
    check((state_of(c, first), state_of(c, second)) == (90, 110), "sum")
    check(run(c, "transfer", {"keys": [first.key, second.key], "amount": 1000}) is False, "left early")
    check(run(c, "transfer", {"keys": [first.key, second.key], "amount": 1}) is True, "locks were released")


@scenario
def a_lock_holds_others_back(c):
    one = new()
    c.signal_entity(one, "add", 10)
    until(lambda: state_of(c, one) == 10, "there")
    holder = c.schedule_new_orchestration("hold_until_told", input=one.key)
    until(lambda: c.get_orchestration_state(holder).get_custom_status() == "locked", "locked")
    c.signal_entity(one, "add", 100)
    time.sleep(0.3)
    check(state_of(c, one) == 10, "the signal waits")
    c.raise_orchestration_event(holder, "release")
    check(finish(c, holder).get_output() == "released", "holder")
    until(lambda: state_of(c, one) == 111, "the signal after the section")


@scenario
def a_lock_ends_with_its_holder(c):
    one = new()
    c.signal_entity(one, "add", 1)
    holder = c.schedule_new_orchestration("hold_until_told", input=one.key)
    until(lambda: c.get_orchestration_state(holder).get_custom_status() == "locked", "locked")
    c.terminate_orchestration(holder)
    finish(c, holder, Status.TERMINATED)
    c.signal_entity(one, "add", 1)
    until(lambda: state_of(c, one) == 2, "the lock is gone")


@scenario
def entities_reach_others(c):
    one = new()
    c.signal_entity(one, "pass_on", 4)
    until(lambda: state_of(c, Id("counter", one.key + "-next")) == 4, "signal to another")
    c.signal_entity(one, "start_child", 8)

    def started():
        states = c.get_all_orchestration_states(dtc.OrchestrationQuery(fetch_inputs_and_outputs=True))
        return any(state.name == "echo_number" and state.serialized_output == "8" for state in states)

    until(started, "an orchestration")


@scenario
def deleted_entities(c):
    one = new()
    c.signal_entity(one, "add", 1)
    until(lambda: state_of(c, one) == 1, "there")
    c.signal_entity(one, "delete")
    until(lambda: state_of(c, one) is None, "gone")


@scenario
def listings(c):
    name = f"counter@{uuid.uuid4().hex[:8]}"
    ids = [Id("counter", f"{name.partition('@')[2]}-{n}") for n in range(5)]
    for one in ids:
        c.signal_entity(one, "add", 1)
    until(lambda: all(state_of(c, one) == 1 for one in ids), "five")
    query = dtc.EntityQuery(instance_id_starts_with=f"@{name}", page_size=2)
    found = list(c.get_all_entities(query))
    check([str(one.id) for one in found] == sorted(map(str, ids)), f"{found}")
    check(all(one.get_typed_state() == 1 for one in found), "with state")
    states = c.get_all_orchestration_states(dtc.OrchestrationQuery())
    check(not any(state.instance_id.startswith("@") for state in states), "no orchestrations")
    check(c.clean_entity_storage().orphaned_locks_released == 0, "nothing to clean")


@scenario
def schedules_of_its_client(c):
    key = uuid.uuid4().hex[:8]
    manager = ScheduledTaskClient(c)
    options = schedules.ScheduleCreationOptions(
        schedule_id=key,
        orchestration_name="report",
        interval=timedelta(seconds=1),
        orchestration_input="text",
        start_immediately_if_late=True,
    )
    one = manager.create_schedule(options)

    def runs():
        states = c.get_all_orchestration_states(
            dtc.OrchestrationQuery(instance_id_prefix=key, fetch_inputs_and_outputs=True)
        )
        return [state for state in states if state.name == "report"]

    until(lambda: len(runs()) >= 2, "two runs")
    check(one.describe().orchestration_name == "report", "described")
    check(
        [each.schedule_id for each in manager.list_schedules() if each.schedule_id == key] == [key], "listed"
    )
    one.pause()
    check(manager.get_schedule(key).status.name.lower() == "paused", "paused")
    one.update(schedules.ScheduleUpdateOptions(interval=timedelta(seconds=2)))
    check(manager.get_schedule(key).interval == timedelta(seconds=2), "updated")
    one.resume()
    check(manager.get_schedule(key).status.name.lower() == "active", "active")
    one.delete()
    until(lambda: manager.get_schedule(key) is None, "gone")
    check(all(finish(c, each.instance_id).get_output() == "text" for each in runs()), "inputs arrive")


@scenario
def exports_of_its_client(c):
    ids = [c.schedule_new_orchestration("report", input=f"export {n}") for n in range(5)]
    for one in ids:
        finish(c, one)
    manager = history_export.ExportHistoryClient(c, Files())
    container = f"exports-{uuid.uuid4().hex}"
    now = datetime.now(timezone.utc)
    job = manager.create_job(
        history_export.ExportJobCreationOptions(
            mode=history_export.ExportMode.BATCH,
            completed_time_from=now - timedelta(hours=1),
            completed_time_to=now,
            destination=history_export.ExportDestination(container=container, prefix="p"),
            max_instances_per_batch=2,
        )
    )
    done = manager.wait_for_job(job.job_id, timeout=60, poll_interval=0.1)
    check(done.status is history_export.ExportJobStatus.COMPLETED, f"{done}")
    check(done.exported_instances >= 5 and done.failed_instances == 0, f"{done}")
    check([each.job_id for each in manager.list_jobs()].count(job.job_id) == 1, "listed")
    manager.delete_job(job.job_id)
    until(
        lambda: manager.get_job(job.job_id) is None, "gone"
    )  # that SDK signals the entity, and does not wait


def main():
    c = dtc.TaskHubGrpcClient(host_address=ADDRESS)
    worker = None
    if ROLE != "client":
        worker = make_worker(history_export.ExportHistoryClient(c, Files()))
        worker.start()
    if ROLE == "worker":
        print("ready", flush=True)
        sys.stdin.read()
        return 0
    failed = 0
    for name in sys.argv[3:] or list(SCENARIOS):
        begun = time.monotonic()
        try:
            SCENARIOS[name](c)
            ok, detail = True, f"{time.monotonic() - begun:.2f} s"
        except Exception:  # noqa: BLE001
            ok, detail = False, traceback.format_exc()
            failed += 1
        print(json.dumps({"name": name, "ok": ok, "detail": detail}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
