"""Laws of entities over random programs: signals, calls, locks, lost workers, forced ends and reopened files.

* What one sender sends to one entity arrives in order, and each operation is committed exactly once.
* State and signals of an operation are committed together, or neither.
* Nothing but the holder is served while an entity is locked.
* When every orchestration has ended, no lock is held and no message waits.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from datetime import timedelta

import hypothesis.strategies as st
from durabletask.core.actions import (
    CallEntity,
    OrchestratorAction,
    RequestEntityLock,
    SignalEntity,
    UnlockEntity,
)
from durabletask.core.entities import CleanEntityStorageResult, EntityQuery
from durabletask.core.errors import InstanceAlreadyExistsError, InstanceNotFoundError, InvalidOperationError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EntityLockGranted,
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationCompleted,
    EntityOperationFailed,
    EntityUnlockSent,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceQuery,
    OrchestrationStatus,
    PurgeInstance,
    ReusePolicy,
)
from durabletask.core.work_items import (
    EntityBatchResult,
    EntityOperationResult,
    EntitySendSignal,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import precondition, rule
from law_machine import LawMachine
from scripted_worker import complete, everything

S = OrchestrationStatus
ENTITIES = [f"@e@{key}" for key in "abc"]
LOG = "@log@all"
TARGETS = st.sampled_from(ENTITIES)
IDS = st.sampled_from(["i", "j", "k"])
VERBS = ["terminate", "force", "restart", "replace", "purge", "event", "suspend", "resume", "clean"]
STEPS = ["call", "signal", "lock", "lock", "unlock", "complete", "fail", "again"]
FAILURE = FailureDetails("app.Broken", "no")


class EntityMachine(LawMachine):
    """Clients and one worker, in random order."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.sent: dict[str, list[str]] = defaultdict(
            list
        )  # by entity, in the order in which the calls returned
        self.ran: dict[str, list[str]] = defaultdict(list)  # by entity, what was committed as a success
        self.failed: set[str] = set()

    def _number(self, sender: str) -> str:
        self.numbers += 1
        return f"{sender}:{self.numbers}"

    # --- clients ---------------------------------------------------------------------------------------

    @rule(entity_id=TARGETS, sender=st.sampled_from(["x", "y"]), times=st.integers(1, 3))
    def signal(self, entity_id: str, sender: str, times: int) -> None:
        name = self._number(sender)
        for _ in range(times):  # a client that repeats itself
            self.run(self.hub.signal_entity(entity_id, "op", input=name, request_id=name))
        self.sent[entity_id].append(name)

    @rule(entity_id=TARGETS, minutes=st.integers(1, 4))
    def delayed_signal(self, entity_id: str, minutes: int) -> None:
        name, due = self._number("late"), self.clock.now() + timedelta(minutes=minutes)
        self.run(self.hub.signal_entity(entity_id, "op", input=name, scheduled_time=due))
        self.sent[entity_id].append(name)

    @rule(instance_id=IDS)
    def create(self, instance_id: str) -> None:
        try:
            self.run(self.hub.create_instance(CreateInstanceRequest(name="O", instance_id=instance_id)))
        except InstanceAlreadyExistsError:
            return

    @rule(instance_id=IDS, verb=st.sampled_from(VERBS))
    def steer(self, instance_id: str, verb: str) -> None:
        hub = self.hub
        calls = {
            "terminate": lambda: hub.terminate_instance(instance_id),
            "force": lambda: hub.force_terminate_instances([instance_id]),
            "restart": lambda: hub.restart_instance(instance_id),
            "replace": lambda: hub.create_instance(
                CreateInstanceRequest(
                    name="O", instance_id=instance_id, reuse_policy=ReusePolicy.replace_any()
                )
            ),
            "purge": lambda: hub.purge_instances(PurgeInstance(instance_id=instance_id)),
            "event": lambda: hub.raise_event(instance_id, "wake"),
            "suspend": lambda: hub.suspend_instance(instance_id),
            "resume": lambda: hub.resume_instance(instance_id),
            "clean": hub.clean_entity_storage,
        }
        try:
            self.run(calls[verb]())  # type: ignore[arg-type]
        except (InstanceNotFoundError, InvalidOperationError):
            return

    @rule(seconds=st.integers(1, 200))
    def wait(self, seconds: int) -> None:
        self.run(self.clock.advance(timedelta(seconds=seconds)))

    # --- the worker -----------------------------------------------------------------------------------

    async def _check_item(self, item: WorkItem) -> None:
        if isinstance(item, EntityWorkItem):
            await self._check_batch(item)
        else:
            self._check_episode(item)

    async def _check_batch(self, item: EntityWorkItem) -> None:
        entity = await self.hub.get_entity(item.instance_id)
        assert entity is not None
        assert json.loads(item.state or "[]") == self.ran[item.instance_id]
        if entity.locked_by is not None:
            callers = [getattr(one, "parent_instance_id", None) for one in item.operations]
            assert callers == [entity.locked_by] * len(callers)

    def _check_episode(self, item: WorkItem) -> None:
        assert isinstance(item, OrchestratorWorkItem)
        events = everything(item)
        kinds = (EntityOperationCompleted, EntityOperationFailed)
        answered = [event.request_id for event in events if isinstance(event, kinds)]
        assert len(answered) == len(set(answered))
        assert set(answered) <= {one.request_id for one in events if isinstance(one, EntityOperationCalled)}
        granted = [event.critical_section_id for event in events if isinstance(event, EntityLockGranted)]
        assert len(granted) == len(set(granted))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), steps=st.lists(st.tuples(st.sampled_from(STEPS), TARGETS), max_size=3))
    def answer(self, data: st.DataObject, steps: list[tuple[str, str]]) -> None:
        item = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if isinstance(item, EntityWorkItem):
            count = len(item.operations)
            outcome = st.just(True) if item.instance_id == LOG else st.booleans()
            outcomes = data.draw(st.lists(outcome, min_size=1, max_size=count))
            self.run(self._run_batch(item, outcomes))
        else:
            self.run(self._run_episode(item, steps))

    async def _run_batch(self, item: EntityWorkItem, outcomes: list[bool]) -> None:
        """Each success appends its input to the state and tells the log."""
        state = json.loads(item.state or "[]")
        actions, failed = [], set()
        for operation, is_success in zip(item.operations, outcomes, strict=False):
            name = operation.input or ""
            if not is_success:
                failed.add(name)
                continue
            state.append(name)
            if item.instance_id != LOG:
                actions.append(EntitySendSignal(id=len(actions), instance_id=LOG, name="op", input=name))
        counts = item.completion_token in self.hub._engine.workers.work.leases
        await self.hub.complete_entity(
            EntityBatchResult(
                instance_id=item.instance_id,
                results=[
                    EntityOperationResult(result="1") if good else EntityOperationResult(failure=FAILURE)
                    for good in outcomes
                ],
                actions=actions,
                state=json.dumps(state) if state else None,
                completion_token=item.completion_token,
            )
        )
        if counts:
            self.ran[item.instance_id] = state
            self.failed |= failed

    async def _run_episode(self, item: WorkItem, steps: list[tuple[str, str]]) -> None:
        assert isinstance(item, OrchestratorWorkItem)
        counts = item.completion_token in self.hub._engine.workers.work.leases
        actions, sent = [], []
        for step, target in steps:
            if step in {"call", "signal"} and any(isinstance(one, RequestEntityLock) for one in actions):
                continue  # against the rules of a section that is not granted yet
            action = self._action(step, target, item)
            actions += action
            sent += [
                (one.target_instance_id, one.input or "")
                for one in action
                if isinstance(one, (CallEntity, SignalEntity))
            ]
            if step in {"complete", "fail", "again"}:
                break
        await self.hub.complete_orchestrator(
            OrchestratorResult(
                instance_id=item.instance_id, actions=actions, completion_token=item.completion_token
            )
        )
        for target, name in sent if counts else ():
            self.sent[target].append(name)

    def _action(self, step: str, target: str, item: OrchestratorWorkItem) -> list[OrchestratorAction]:
        name = self._number(f"{item.instance_id}/{item.execution_id}")
        number, place = self.numbers * 10, ENTITIES.index(target)
        events = everything(item)
        requested = [event for event in events if isinstance(event, EntityLockRequested)]
        is_granted = any(isinstance(event, EntityLockGranted) for event in events)
        is_left = any(isinstance(event, EntityUnlockSent) for event in events)
        # The rules of a critical section, which engines see to: no calls before the grant, and no signals in it.
        may_signal = not requested or is_left
        return {
            "call": [CallEntity(number, name, "op", target, name)] if may_signal or is_granted else [],
            "signal": [SignalEntity(number, name, "op", target, name)] if may_signal else [],
            "lock": [RequestEntityLock(number, name, tuple(ENTITIES[place:]))] if not requested else [],
            "unlock": [
                UnlockEntity(number + n, event.critical_section_id, one)
                for event in requested[: not is_left]
                for n, one in enumerate(event.lock_set)
            ],
            "complete": [complete(id=number)],
            "fail": [complete(id=number, status=S.FAILED)],
            "again": [complete(id=number, status=S.CONTINUED_AS_NEW)],
        }[step]

    @precondition(lambda self: self.held)
    @rule()
    def abandon(self) -> None:
        item = self.held.pop()
        if isinstance(item, EntityWorkItem):
            self.run(self.hub.abandon_entity(item))
        else:
            self.run(self.hub.abandon_orchestrator(item))  # type: ignore[arg-type]

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self) -> None:
        self.run(self._reopen())

    # --- laws -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """At the end everything drains, and the laws of the module hold."""
        self.run(self._drain())
        self.run(self._check_end())
        self.run(self._hang_up())
        self._close()

    async def _drain(self) -> None:
        await self._hang_up()
        self.held.clear()
        live = [S.RUNNING, S.PENDING, S.SUSPENDED]
        for _ in range(200):
            await self._take()
            while self.held:
                item = self.held.pop()
                if isinstance(item, EntityWorkItem):
                    await self._run_batch(item, [True] * len(item.operations))
                else:
                    await self._run_episode(item, [("complete", ENTITIES[0])])
            page = await self.hub.query_instances(InstanceQuery(runtime_statuses=live))
            for state in page.states:
                await self.hub.resume_instance(state.instance_id)
                await self.hub.raise_event(state.instance_id, "wake")
            await self.clock.advance(timedelta(seconds=10))
            waiting = any(one.delayed for one in self.hub._engine.state.entities.values())
            if not page.states and not waiting and not self.hub._engine.workers.work.is_busy:
                return
        raise AssertionError("the hub does not drain")

    async def _check_end(self) -> None:
        page = await self.hub.query_entities(EntityQuery(include_transient=True))
        for entity in page.entities:
            assert (entity.locked_by, entity.backlog_queue_size) == (None, 0)
            assert json.loads(entity.serialized_state or "[]") == self.ran[entity.instance_id]
        assert await self.hub.clean_entity_storage() == CleanEntityStorageResult()
        told: list[str] = []
        for target in ENTITIES:
            ran = self.ran[target]
            told += ran
            assert sorted(ran) == sorted(name for name in self.sent[target] if name not in self.failed)
            for sender in {name.partition(":")[0] for name in ran} - {"late"}:
                own = [name for name in ran if name.startswith(f"{sender}:")]
                assert own == [name for name in self.sent[target] if name in set(own)]
        assert sorted(self.ran[LOG]) == sorted(told)


class DurableEntityMachine(EntityMachine):
    """The same on a SQLite file, closed and opened again at random."""

    durable = True


# The fast suite runs the same programs every time; DURABLETASK_LAW_EXAMPLES=1000 looks for new ones.
_EXAMPLES = int(os.environ.get("DURABLETASK_LAW_EXAMPLES", "0"))
_COMMON = settings(
    stateful_step_count=60 if _EXAMPLES else 40,
    derandomize=not _EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, *((Phase.shrink,) if _EXAMPLES else ())),
    suppress_health_check=list(HealthCheck),
)
TestMemoryEntityLaws = EntityMachine.TestCase
TestMemoryEntityLaws.settings = settings(_COMMON, max_examples=_EXAMPLES or 60)
TestDurableEntityLaws = DurableEntityMachine.TestCase
TestDurableEntityLaws.settings = settings(_COMMON, max_examples=_EXAMPLES // 4 or 15)
