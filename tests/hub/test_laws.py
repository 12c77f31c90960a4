"""Laws of the hub over random programs: what no order of calls, losses and reopenings may break."""

from __future__ import annotations

import os
from datetime import timedelta

import hypothesis.strategies as st
from durabletask.core.actions import (
    CreateSubOrchestration,
    CreateTimer,
    OrchestratorAction,
    ScheduleTask,
    SendEvent,
)
from durabletask.core.errors import InstanceAlreadyExistsError, InstanceNotFoundError, InvalidOperationError
from durabletask.core.history import (
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
    OrchestratorCompleted,
    OrchestratorStarted,
    SubOrchestrationInstanceCompleted,
    SubOrchestrationInstanceFailed,
    TaskCompleted,
    TimerFired,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceQuery,
    OrchestrationStatus,
    PurgeInstance,
    ReusePolicy,
)
from durabletask.core.work_items import (
    ActivityResult,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
)
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, invariant, precondition, rule
from law_machine import LawMachine
from scripted_worker import complete, everything

IDS = st.sampled_from(["a", "b", "c|d"])
STEPS = ["nothing", "task", "timer", "child", "event", "complete", "fail", "again"]


class HubMachine(LawMachine):
    """Clients and one worker, in random order."""

    def __init__(self) -> None:
        super().__init__()
        self.pasts: dict[str, list[HistoryEvent]] = {}
        self.next_id = 0

    # --- clients ---------------------------------------------------------------------------------------

    @rule(instance_id=IDS, replace=st.booleans())
    def create(self, instance_id: str, replace: bool) -> None:
        policy = ReusePolicy.replace_any() if replace else None
        request = CreateInstanceRequest(name="O", instance_id=instance_id, reuse_policy=policy)
        try:
            self.run(self.hub.create_instance(request))
        except InstanceAlreadyExistsError:
            assert not replace

    @rule(
        instance_id=IDS,
        verb=st.sampled_from(["suspend", "resume", "event", "terminate", "restart", "purge", "force"]),
        times=st.integers(1, 2),
    )
    def steer(self, instance_id: str, verb: str, times: int) -> None:
        hub = self.hub
        calls = {
            "event": lambda: hub.raise_event(instance_id, "e", "1"),
            "suspend": lambda: hub.suspend_instance(instance_id),
            "resume": lambda: hub.resume_instance(instance_id),
            "terminate": lambda: hub.terminate_instance(instance_id),
            "restart": lambda: hub.restart_instance(instance_id),
            "purge": lambda: hub.purge_instances(PurgeInstance(instance_id=instance_id, recursive=True)),
            "force": lambda: hub.force_terminate_instances([instance_id]),
        }
        try:
            for _ in range(times):
                self.run(calls[verb]())  # type: ignore[arg-type]
        except (InstanceNotFoundError, InvalidOperationError):
            return

    @rule(minutes=st.integers(1, 3))
    def wait(self, minutes: int) -> None:
        self.run(self.clock.advance(timedelta(seconds=45 * minutes)))

    # --- the worker -----------------------------------------------------------------------------------

    async def _check_item(self, item: WorkItem) -> None:
        if not isinstance(item, OrchestratorWorkItem):
            return
        events = everything(item)
        assert isinstance(item.new_events[0], OrchestratorStarted)
        execution = item.execution_id or ""
        past = self.pasts.get(execution, [])
        assert list(item.past_events)[: len(past)] == past  # a history only grows
        self.pasts[execution] = list(item.past_events)
        assert sum(isinstance(event, ExecutionStarted) for event in events) == 1
        assert not any(isinstance(event, ExecutionCompleted) for event in events)
        for kind, name in (
            (TaskCompleted, "task_scheduled_id"),
            (TimerFired, "timer_id"),
            ((SubOrchestrationInstanceCompleted, SubOrchestrationInstanceFailed), "task_scheduled_id"),
        ):
            answered = [getattr(event, name) for event in events if isinstance(event, kind)]
            assert len(answered) == len(set(answered))
            assert set(answered) <= {event.event_id for event in events}
        pauses = [event for event in events if isinstance(event, (ExecutionSuspended, ExecutionResumed))]
        assert all(isinstance(one, ExecutionSuspended) == (n % 2 == 0) for n, one in enumerate(pauses))
        starts = [event.timestamp for event in events if isinstance(event, OrchestratorStarted)]
        assert starts == sorted(starts)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), step=st.lists(st.sampled_from(STEPS), max_size=3))
    def answer(self, data: st.DataObject, step: list[str]) -> None:
        item = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.run(self._answer(item, step))

    async def _answer(self, item: WorkItem, steps: list[str]) -> None:
        token = item.completion_token
        if isinstance(item, OrchestratorWorkItem):
            actions = [self._action(step, item) for step in steps if step != "nothing"]
            await self.hub.complete_orchestrator(
                OrchestratorResult(instance_id=item.instance_id, actions=actions, completion_token=token)
            )
        else:
            task_id = item.task_id  # type: ignore[union-attr]
            await self.hub.complete_activity(
                ActivityResult(instance_id=item.instance_id, task_id=task_id, completion_token=token)
            )

    def _action(self, step: str, item: OrchestratorWorkItem) -> OrchestratorAction:
        self.next_id += 1
        number = self.next_id
        return {
            "task": ScheduleTask(number, "A"),
            "timer": CreateTimer(number, self.clock.now() + timedelta(minutes=1)),
            "child": CreateSubOrchestration(number, "O", f"{item.instance_id}/{number % 2}"),
            "event": SendEvent(number, "a", "sent"),
            "complete": complete(id=number),
            "fail": complete(id=number, status=OrchestrationStatus.FAILED),
            "again": complete(id=number, status=OrchestrationStatus.CONTINUED_AS_NEW),
        }[step]

    @precondition(lambda self: self.held)
    @rule()
    def abandon(self) -> None:
        item = self.held.pop()
        if isinstance(item, OrchestratorWorkItem):
            self.run(self.hub.abandon_orchestrator(item))
        else:
            self.run(self.hub.abandon_activity(item))  # type: ignore[arg-type]

    @rule()
    def reopen(self) -> None:
        if not self.durable:
            return

        self.run(self._reopen())

    # --- laws -------------------------------------------------------------------------------------------

    @invariant()
    def one_episode_at_a_time(self) -> None:
        live = [
            item.instance_id
            for item in self.held
            if isinstance(item, OrchestratorWorkItem)
            and item.completion_token in self.hub._engine.workers.work.leases
        ]
        assert len(live) == len(set(live))

    @invariant()
    def pages_cover_everything(self) -> None:
        async def pages(size: int) -> list[str]:
            found, token = [], None
            while True:
                page = await self.hub.query_instances(InstanceQuery(page_size=size, continuation_token=token))
                found += [state.instance_id for state in page.states]
                token = page.continuation_token
                if token is None:
                    return found

        found = self.run(pages(2))
        assert len(found) == len(set(found))
        assert found == self.run(pages(100))

    def teardown(self) -> None:
        """At the end everything drains: nothing was lost on the way."""
        self.run(self._drain())
        self._close()

    async def _drain(self) -> None:
        await self._hang_up()
        self.held.clear()
        for _ in range(200):
            await self._take()
            while self.held:
                item = self.held.pop()
                await self._answer(item, ["complete"])
            live = [OrchestrationStatus.RUNNING, OrchestrationStatus.PENDING, OrchestrationStatus.SUSPENDED]
            page = await self.hub.query_instances(InstanceQuery(runtime_statuses=live))
            for state in page.states:
                await self.hub.raise_event(state.instance_id, "wake")
            await self.clock.advance(timedelta(seconds=10))
            if not page.states and not self.hub._engine.workers.work.is_busy:
                break
        else:
            raise AssertionError("the hub does not drain")
        for state in (await self.hub.query_instances(InstanceQuery())).states:
            events = [e async for chunk in self.hub.stream_history(state.instance_id) for e in chunk]
            assert isinstance(events[-1], ExecutionCompleted)
            assert not any(isinstance(event, OrchestratorCompleted) for event in events)
            assert not any(isinstance(event, EventRaised) and event.name == "" for event in events)
        await self._hang_up()


class DurableHubMachine(HubMachine):
    """The same on a SQLite file, closed and opened again at random."""

    durable = True

    @initialize()
    def begin(self) -> None:
        self.run(self.hub.connect())


# The fast suite runs the same programs every time; DURABLETASK_LAW_EXAMPLES=1000 looks for new ones.
_EXAMPLES = int(os.environ.get("DURABLETASK_LAW_EXAMPLES", "0"))
_COMMON = settings(
    stateful_step_count=50 if _EXAMPLES else 25,
    derandomize=not _EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMemoryLaws = HubMachine.TestCase
TestMemoryLaws.settings = settings(_COMMON, max_examples=_EXAMPLES or 60)
TestDurableLaws = DurableHubMachine.TestCase
TestDurableLaws.settings = settings(_COMMON, max_examples=_EXAMPLES // 4 or 15)
