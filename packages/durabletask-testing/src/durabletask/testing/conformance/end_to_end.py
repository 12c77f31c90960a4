"""The client and the worker of this project on the transport: the way users use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from durabletask.core.authoring import ActivityContext
from durabletask.core.client import DurableTaskClient
from durabletask.core.context import OrchestrationContext
from durabletask.core.instances import OrchestrationState, OrchestrationStatus
from durabletask.core.retry import RetryPolicy
from durabletask.core.worker import DurableTaskWorker

from .probe import Probe
from .spec import spec

__all__ = ["TestEndToEnd"]


async def _square(_ctx: ActivityContext, number: int) -> int:
    return number * number


async def _sum_of_squares(ctx: OrchestrationContext, numbers: list[int]) -> int:
    return sum(await ctx.task_all([ctx.call_activity(_square, number) for number in numbers]))


async def _parent(ctx: OrchestrationContext, numbers: list[int]) -> int:
    found = 0
    for number in numbers:
        found += await ctx.call_sub_orchestrator(_sum_of_squares, [number, found])
    return found


async def _counter(ctx: OrchestrationContext, count: int) -> int:
    if count < 5:
        ctx.continue_as_new(count + 1)
    return count


async def _approval(ctx: OrchestrationContext, amount: int) -> str:
    first = await ctx.wait_for_external_event("Decision", str)
    second = await ctx.wait_for_external_event("Decision", str)
    return f"{first}, then {second}: {amount}"


async def _broken(_ctx: ActivityContext, text: str) -> str:
    raise KeyError(text)


async def _failing(ctx: OrchestrationContext, text: str) -> str:
    return await ctx.call_activity(_broken, text)


_ORCHESTRATORS = (_sum_of_squares, _parent, _counter, _approval, _failing)


@spec("end_to_end")
class TestEndToEnd:
    """Orchestrations of users, from the client's call to the result."""

    async def test_a_fan_out_comes_together(self, probe: Probe) -> None:
        """Twenty activities run and their results are added up."""
        async with _running(probe) as client:
            state = await _result(probe, client, _sum_of_squares.__name__, list(range(20)))
        assert state.output == sum(number * number for number in range(20))

    async def test_children_run_one_after_another(self, probe: Probe) -> None:
        """A parent passes the result of one sub-orchestration to the next."""
        async with _running(probe) as client:
            state = await _result(probe, client, _parent.__name__, [1, 2])
        assert state.output == 1 + (2 * 2 + 1 * 1)

    async def test_executions_follow_each_other(self, probe: Probe) -> None:
        """An orchestration continues as new until it is done."""
        async with _running(probe) as client:
            state = await _result(probe, client, _counter.__name__, 0)
        assert state.output == 5

    async def test_events_reach_the_code_in_order(self, probe: Probe) -> None:
        """Two events of one name answer two waits in the order in which they were raised."""
        async with _running(probe) as client:
            created = await client.schedule_new_orchestration(_approval.__name__, 7)
            for word in ("yes", "no"):
                await client.raise_orchestration_event(created, "Decision", word)
            state = await _end(probe, client, created)
        assert state.output == "yes, then no: 7"

    async def test_a_timer_wakes_the_code(self, probe: Probe) -> None:
        """A durable timer ends once its time has come; a retry waits for its delay."""
        attempts: list[str] = []

        async def flaky(_ctx: ActivityContext, text: str) -> str:
            attempts.append(text)
            if len(attempts) == 1:
                raise ConnectionError("not yet")
            return text.upper()

        async def sleeper(ctx: OrchestrationContext, text: str) -> str:
            await ctx.create_timer(probe.unit * 2)
            policy = RetryPolicy(first_retry_interval=probe.unit * 2, max_number_of_attempts=2)
            return await ctx.call_activity(flaky, text, retry_policy=policy)

        worker = DurableTaskWorker(probe.transport, orchestrators=[sleeper], activities=[flaky])
        client = DurableTaskClient(probe.transport)
        async with worker:
            created = await client.schedule_new_orchestration("sleeper", "wake up")
            await probe.hub.settle()
            for _ in range(40):
                if (await probe.state(created)).is_finished:
                    break
                await probe.advance(1)
                await probe.hub.settle()
            state = await _end(probe, client, created)
        assert state.output == "WAKE UP"
        assert len(attempts) == 2

    async def test_a_failure_tells_its_cause(self, probe: Probe) -> None:
        """What an activity raises ends the orchestration and can be read from its state."""
        async with _running(probe) as client:
            state = await _result(probe, client, _failing.__name__, "boom")
        assert state.runtime_status is OrchestrationStatus.FAILED
        assert state.failure_details is not None
        assert state.failure_details.is_caused_by(KeyError)
        assert "boom" in state.failure_details.root_cause.message


@asynccontextmanager
async def _running(probe: Probe) -> AsyncIterator[DurableTaskClient]:
    worker = DurableTaskWorker(
        probe.transport, orchestrators=_ORCHESTRATORS, activities=[_square, _broken], drain_timeout=5
    )
    async with worker:
        yield DurableTaskClient(probe.transport)


async def _result(
    probe: Probe, client: DurableTaskClient, orchestrator: str, value: object
) -> OrchestrationState:
    return await _end(probe, client, await client.schedule_new_orchestration(orchestrator, value))


async def _end(probe: Probe, client: DurableTaskClient, instance_id: str) -> OrchestrationState:
    waiting = client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=None)
    state = await asyncio.wait_for(waiting, probe.hub.patience + timedelta(seconds=5).total_seconds())
    assert state is not None, "The wait ended without a state."
    return state
