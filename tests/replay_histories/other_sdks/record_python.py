"""Records histories with the other Python SDK of the protocol: ``record.py`` runs it in that SDK's environment.

python record_python.py HOST:PORT FOLDER
"""

import dataclasses
import sys
import time
from datetime import timedelta
from pathlib import Path

from durabletask import client as dtc
from durabletask import task
from durabletask.extensions.history_export.models import ExportFormat, ExportFormatKind
from durabletask.extensions.history_export.serialization import orchestration_state_to_dict, serialize_history
from durabletask.worker import TaskHubGrpcWorker

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
failures = [TimeoutError("slow"), OSError("down")]


def increment(ctx, number):
    return number + 1


def square(ctx, number):
    return number * number


def charge(ctx, amount):
    if failures:
        raise failures.pop(0)
    return "receipt"


def broken(ctx, _):
    raise ValueError("no")


def chain(ctx, number):
    for _ in range(3):
        number = yield ctx.call_activity("increment", input=number)
    return number


def fan_out(ctx, numbers):
    return sum((yield task.when_all([ctx.call_activity("square", input=n) for n in numbers])))


def retried(ctx, amount):
    policy = task.RetryPolicy(
        first_retry_interval=timedelta(seconds=5), max_number_of_attempts=3, backoff_coefficient=2
    )
    return (yield ctx.call_activity("charge", input=amount, retry_policy=policy))


def approval(ctx, amount):
    decision = ctx.wait_for_external_event("Decision")
    late = ctx.create_timer(timedelta(days=3))
    winner = yield task.when_any([decision, late])
    word = decision.get_result() if winner is decision else "nobody"
    yield ctx.create_timer(timedelta(hours=1))
    return f"{word}: {amount}"


def parent(ctx, number):
    first = yield ctx.call_sub_orchestrator("chain", input=number)
    other = ctx.call_sub_orchestrator("fan_out", input=[first, 2])
    try:
        yield ctx.call_activity("broken")
    except task.TaskFailedError:
        return [first, (yield other)]
    return []


def failing(ctx, _):
    ctx.set_custom_status("about to fail")
    yield ctx.call_activity("broken")


def without_trace(event):
    """Stack traces name the machine that recorded them."""
    failure = getattr(event, "failure_details", None)
    if failure is None:
        return event
    short = task.FailureDetails(failure.message, failure.error_type, None)
    return dataclasses.replace(event, failure_details=short)


def save(client, created, kind=ExportFormatKind.JSON):
    state = client.get_orchestration_state(created)
    content = serialize_history(
        [without_trace(event) for event in client.get_orchestration_history(created)],
        instance_id=created,
        fmt=ExportFormat(kind=kind),
        metadata=orchestration_state_to_dict(state) if state.failure_details is None else None,
    )
    suffix = "json" if kind is ExportFormatKind.JSON else "jsonl.gz"
    (FOLDER / f"{created}.{suffix}").write_bytes(content)


def main():
    worker = TaskHubGrpcWorker(host_address=ADDRESS)
    for function in (chain, fan_out, retried, approval, parent, failing):
        worker.add_orchestrator(function)
    for function in (increment, square, charge, broken):
        worker.add_activity(function)
    worker.start()
    client = dtc.TaskHubGrpcClient(host_address=ADDRESS)
    inputs = {"chain": 1, "fan_out": [1, 2, 3], "retried": 5, "parent": 1, "failing": None}
    for name, value in inputs.items():
        client.schedule_new_orchestration(name, input=value, instance_id=name)
        client.wait_for_orchestration_completion(name, timeout=60)
        save(client, name)
    client.schedule_new_orchestration("approval", input=7, instance_id="approval", tags={"team_id": "a_b"})
    client.raise_orchestration_event("approval", "Decision", data="yes")
    client.wait_for_orchestration_completion("approval", timeout=60)
    save(client, "approval", ExportFormatKind.JSONL_GZIP)
    time.sleep(0.2)
    worker.stop()


main()
