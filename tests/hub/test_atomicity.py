"""A command that fails, wherever it fails, changes nothing: not in memory, not on disk, not in any queue."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from durabletask.core.actions import (
    CallEntity,
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    RequestEntityLock,
    RewindOrchestration,
    ScheduleTask,
    SendEvent,
    SignalEntity,
    TerminateOrchestration,
    UnlockEntity,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EventRaised, ExecutionStarted
from durabletask.core.instances import (
    CreateInstanceRequest,
    OrchestrationStatus,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
    ReusePolicy,
)
from durabletask.core.work_items import (
    ActivityResult,
    EntitySendSignal,
    EntityStartOrchestration,
    OrchestratorResult,
    WorkItemStreamOptions,
)
from durabletask.testing import InMemory, LocalTaskHub, Sqlite, VirtualClock
from durabletask.testing.hub import journal as journal_module
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.entity_state import Entity
from durabletask.testing.hub.events import EventLog, OpenTasks
from durabletask.testing.hub.state import HubState, Instance
from entity_worker import EntityReader
from scripted_worker import complete, settle

S = OrchestrationStatus
EFFECTS = [
    (EventLog, ("append", "extend", "drop")),
    (Entity, ("draft", "accept", "withdraw")),
    (OpenTasks, ("add", "discard", "values")),
    (Instance, ("draft", "summarize")),
    (
        Transition,
        ("edit", "add", "remove", "children_of", "edit_entity", "add_entity", "drop_void_entities"),
    ),
    (HubState, ("take_key",)),
    (journal_module, ("encode_commit",)),
]


class Injected(Exception):
    """An error that the code does not expect."""


class Countdown:
    """Raises after so many effects."""

    def __init__(self) -> None:
        self.left: int | None = None

    def count(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Injected

    @contextmanager
    def after(self, effects: int) -> Iterator[None]:
        self.left = effects
        try:
            yield
        finally:
            self.left = None


@pytest.fixture
def countdown(monkeypatch: pytest.MonkeyPatch) -> Countdown:
    """Every change that a command can make counts."""
    found = Countdown()
    for owner, names in EFFECTS:
        for name in names:
            original = getattr(owner, name)

            def counting(
                *arguments: object, original: Callable[..., object] = original, **more: object
            ) -> object:
                result = original(*arguments, **more)
                found.count()
                return result

            monkeypatch.setattr(owner, name, counting)
    return found


class Scene:
    """A hub with something of everything, and the items that a worker has of it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.clock = VirtualClock(auto_advance=False)
        storage = InMemory() if path is None else Sqlite(path)
        self.hub = LocalTaskHub("h", storage=storage, clock=self.clock)
        self.reader = EntityReader(self.hub, WorkItemStreamOptions())
        self.items: dict[str, object] = {}

    async def build(self) -> None:
        hub, reader = self.hub, self.reader
        for name in ("done", "failed", "p"):
            await hub.create_instance(CreateInstanceRequest(name="O", instance_id=name, input='"in"'))
            item = await reader.episode()
            if name == "done":
                await reader.answer(item, complete('"out"'))
            elif name == "failed":
                await reader.answer(item, complete(status=S.FAILED))
            else:
                due = self.clock.now() + timedelta(hours=1)
                await reader.answer(
                    item, ScheduleTask(1, "A"), CreateTimer(2, due), CreateSubOrchestration(3, "C", "c")
                )
        for _ in range(2):
            taken = await reader.take()
            self.items["a" if hasattr(taken, "task_id") else "c"] = taken
        await hub.raise_event("p", "go", "1")
        self.items["p"] = await reader.episode()
        await self.build_entities()
        await hub.create_instance(CreateInstanceRequest(name="O", instance_id="suspended"))
        await hub.suspend_instance("suspended")
        later = self.clock.now() + timedelta(days=1)
        await hub.create_instance(
            CreateInstanceRequest(name="O", instance_id="held", scheduled_start_at=later)
        )
        await settle(hub)

    async def build_entities(self) -> None:
        """A batch in flight, a lock that is held and one that is waited for, a call, a message that waits for its time."""
        hub, reader = self.hub, self.reader
        await hub.signal_entity("@e@stored", "set")
        await reader.run(await reader.batch(), state='"stored"')
        await hub.signal_entity("@e@batch", "op", input="1", request_id="seen")
        self.items["@e@batch"] = await reader.batch()
        due = self.clock.now() + timedelta(hours=3)
        await hub.signal_entity("@e@late", "op", scheduled_time=due)
        for name, targets in (("holder", ("@e@a", "@e@b")), ("waiter", ("@e@free", "@e@b", "@e@c"))):
            await hub.create_instance(CreateInstanceRequest(name="O", instance_id=name))
            item = await reader.episode()
            await reader.answer(item, RequestEntityLock(1, name, targets))
            if name == "holder":
                await reader.answer(await reader.episode(), CallEntity(2, "call", "op", "@e@a"))
                self.items["@e@a"] = await reader.batch()
                await hub.raise_event("holder", "go")
                self.items["holder"] = await reader.episode()
            else:
                await hub.raise_event("waiter", "go")
                self.items["waiter"] = await reader.episode()

    def picture(self) -> object:
        """Everything that the hub knows, in memory and on disk."""
        engine = self.hub._engine
        instances = {
            one.instance_id: (
                one.key,
                msgspec.to_builtins(one.execution),
                msgspec.to_builtins(one.summary),
                one.updated_at,
                list(one.history),
                list(one.inbox),
                [(number, id(task)) for number, task in one.open.items()],
                (one.is_held, one.wants_episode, one.is_suspended, one.is_paused, one.terminates_children),
            )
            for one in engine.state.instances.values()
        }
        work = engine.workers.work
        queued = [
            [(lane, [id(job) for job in jobs]) for lane, jobs in queue.lanes.items()]
            for queue in work._queues
        ]
        streams = [
            ([id(job) for job in one.buffer], list(one.leases), one.outstanding) for one in work.streams
        ]
        timers = sorted(
            (due, number) for due, number, entry in engine._timers._heap if engine._timers.is_live(entry)
        )
        waits = {name: [id(one) for one in waiting] for name, waiting in engine._waiting._waits.items()}
        memory = (instances, self.entities(), engine.state.detached, queued, streams, timers, waits)
        return memory, list(engine.state.by_creation.after(None)), self.rows()

    def entities(self) -> object:
        state = self.hub._engine.state
        return (
            {
                one.entity_id: (
                    one.key,
                    one.state,
                    one.lock and (one.lock.holder, one.lock.section_id),
                    one.modified_at,
                    (one.urgent.first, list(one.urgent), one.queue.first, list(one.queue)),
                    [(number, id(task)) for number, task in one.delayed.items()],
                )
                for one in state.entities.values()
                if not one.is_idle or self.path is None  # an idle one may be in memory or not
            },
            {one.instance_id: dict(one.sections) for one in state.instances.values() if one.sections},
            list(state.request_ids._known),
        )

    def rows(self) -> object:
        if self.path is None:
            return None
        connection = sqlite3.connect(self.path)
        try:
            tables = ("instances", "history", "inbox", "detached", "entities", "request_ids")
            return [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]
        finally:
            connection.close()


def answer(scene: Scene, *actions: object, to: str = "p") -> Awaitable[None]:
    item = scene.items[to]
    result = OrchestratorResult(
        instance_id=item.instance_id,  # type: ignore[attr-defined]
        actions=actions,  # type: ignore[arg-type]
        custom_status='"status"',
        completion_token=item.completion_token,  # type: ignore[attr-defined]
    )
    return scene.hub.complete_orchestrator(result)


def everything(scene: Scene) -> Awaitable[None]:
    now = scene.clock.now()
    return answer(
        scene,
        ScheduleTask(4, "B"),
        CreateTimer(5, now + timedelta(hours=2)),
        CreateTimer(6, now),
        CreateSubOrchestration(7, "C", "c2"),
        CreateSubOrchestration(8, "C", "done"),
        SendEvent(9, "suspended", "e", "1"),
        TerminateOrchestration(10, "suspended", '"why"', True),
        CallEntity(11, "r", "op", "@e@k"),
        SignalEntity(12, "r", "op", "@e@k"),
        complete('"end"', id=13, status=S.TERMINATED),
    )


def rewritten(scene: Scene) -> Awaitable[None]:
    started = ExecutionStarted(-1, scene.clock.now(), name="O", instance_id="p", execution_id="new")
    return answer(scene, RewindOrchestration(-1, (started,)))


def activity(scene: Scene) -> Awaitable[None]:
    item = scene.items["a"]
    token = item.completion_token  # type: ignore[attr-defined]
    return scene.hub.complete_activity(
        ActivityResult(instance_id="p", task_id=1, result="1", completion_token=token)
    )


def continued(scene: Scene) -> Awaitable[None]:
    carried = (EventRaised(-1, scene.clock.now(), "kept", "1"),)
    return answer(
        scene,
        CompleteOrchestration(4, S.CONTINUED_AS_NEW, '"again"', carryover_events=carried),
        ScheduleTask(5, "B"),
    )


def run_batch(scene: Scene, entity_id: str, **more: object) -> Awaitable[None]:
    return scene.reader.run(scene.items[entity_id], **more)  # type: ignore[arg-type]


def batch(scene: Scene) -> Awaitable[None]:
    now = scene.clock.now()
    actions = (
        EntitySendSignal(id=0, instance_id="@e@stored", name="op"),
        EntitySendSignal(id=1, instance_id="@e@batch", name="op"),
        EntitySendSignal(id=2, instance_id="@e@later", name="op", scheduled_time=now + timedelta(days=1)),
        EntityStartOrchestration(id=3, instance_id="started", name="O"),
        EntityStartOrchestration(id=4, instance_id="done", name="O"),
        EntityStartOrchestration(id=5, instance_id="p", name="O"),
    )
    return run_batch(scene, "@e@batch", state='"new"', actions=actions)


COMMANDS: dict[str, Callable[[Scene], Awaitable[object]]] = {
    "create": lambda s: s.hub.create_instance(CreateInstanceRequest(name="O", instance_id="new")),
    "replace": lambda s: s.hub.create_instance(
        CreateInstanceRequest(name="O", instance_id="p", reuse_policy=ReusePolicy.replace_any())
    ),
    "raise": lambda s: s.hub.raise_event("p", "e", "1"),
    "terminate": lambda s: s.hub.terminate_instance("p", output='"x"'),
    "suspend": lambda s: s.hub.suspend_instance("p"),
    "resume": lambda s: s.hub.resume_instance("suspended"),
    "restart": lambda s: s.hub.restart_instance("done"),
    "restart anew": lambda s: s.hub.restart_instance("p", with_new_instance_id=True),
    "rewind": lambda s: s.hub.rewind_instance("failed"),
    "force terminate": lambda s: s.hub.force_terminate_instances(["p", "held"]),
    "purge": lambda s: s.hub.purge_instances(PurgeInstance(instance_id="done", recursive=True)),
    "purge many": lambda s: s.hub.purge_instances(PurgeBatch(instance_ids=["done", "failed"])),
    "purge by filter": lambda s: s.hub.purge_instances(PurgeFilter()),
    "delete the hub": lambda s: s.hub.delete_task_hub(),
    "episode": everything,
    "continue as new": continued,
    "rewritten history": rewritten,
    "signal": lambda s: s.hub.signal_entity("@e@new", "op", request_id="r"),
    "signal to a stored entity": lambda s: s.hub.signal_entity("@e@stored", "op", request_id="r"),
    "delayed signal": lambda s: s.hub.signal_entity(
        "@e@stored", "op", scheduled_time=s.clock.now() + timedelta(days=1)
    ),
    "batch": batch,
    "failed batch": lambda s: run_batch(s, "@e@a", failure_of_all=FailureDetails("app.Broken", "no")),
    "call in flight": lambda s: run_batch(s, "@e@a", state="1"),
    "purge of entities": lambda s: s.hub.purge_instances(PurgeBatch(instance_ids=["@e@stored", "done"])),
    "unlock": lambda s: answer(
        s, UnlockEntity(7, "holder", "@e@a"), UnlockEntity(8, "holder", "@e@b"), to="holder"
    ),
    "request taken back": lambda s: answer(
        s,
        *(UnlockEntity(7 + n, "waiter", f"@e@{key}") for n, key in enumerate(["free", "b", "c"])),
        to="waiter",
    ),
    "lock request": lambda s: answer(s, RequestEntityLock(11, "new", ("@e@stored", "@e@late", "@e@a"))),
    "end of a holder": lambda s: answer(s, complete(), to="holder"),
    "holder continues as new": lambda s: answer(s, complete(status=S.CONTINUED_AS_NEW), to="holder"),
    "force terminate a holder": lambda s: s.hub.force_terminate_instances(["holder", "waiter"]),
    "replace a holder": lambda s: s.hub.create_instance(
        CreateInstanceRequest(name="O", instance_id="holder", reuse_policy=ReusePolicy.replace_any())
    ),
    "end of a child": lambda s: answer(s, complete('"child"'), to="c"),
    "activity": activity,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
async def test_a_command_that_fails_after_any_effect_changes_nothing(
    command: str, storage: str, tmp_path: Path, countdown: Countdown
) -> None:
    """For every command and every n: an error after the n-th effect leaves all as it was; then the command works."""
    scene = Scene(tmp_path / "a.db" if storage == "sqlite" else None)
    await scene.build()
    waiting = asyncio.ensure_future(scene.hub.wait_for_instance_completion("p"))
    await settle(scene.hub)
    run, before = COMMANDS[command], scene.picture()
    effects = 0
    while True:
        effects += 1
        with countdown.after(effects):
            try:
                await run(scene)
            except Injected:
                pass
            else:
                break
        await settle(scene.hub)
        assert scene.picture() == before, f"after effect {effects}"
        assert not waiting.done()
    assert effects > 1 or command == "delete the hub", "nothing was counted"
    await settle(scene.hub)
    assert scene.picture() != before
    waiting.cancel()
    await scene.reader.close()
    await scene.hub.close()


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
async def test_a_timer_that_fails_is_tried_again(storage: str, tmp_path: Path, countdown: Countdown) -> None:
    """A defect while one timer fires leaves the instance as it was and does not stop the others."""
    scene = Scene(tmp_path / "a.db" if storage == "sqlite" else None)
    await scene.build()
    before = scene.hub._engine.state.instances["p"].inbox.end
    with countdown.after(1):
        await scene.clock.advance(timedelta(hours=1))
    assert scene.hub._engine.state.instances["p"].inbox.end == before
    await scene.clock.advance(timedelta(minutes=1))
    assert scene.hub._engine.state.instances["p"].inbox.end == before + 1
    await scene.reader.close()
    await scene.hub.close()
