"""Spans and trace contexts, with OpenTelemetry and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from durabletask import (
    ActivityContext,
    DurableTaskClient,
    DurableTaskWorker,
    OrchestrationContext,
    TaskEntity,
    Transport,
)
from durabletask.core import telemetry
from durabletask.core.actions import ScheduleTask
from durabletask.core.history import (
    EntityOperationSignaled,
    ExecutionStarted,
    OrchestratorStarted,
    TraceContext,
)
from durabletask.core.work_items import (
    EntityBatchResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
)
from durabletask.grpc.server import TaskHubServer
from durabletask.grpc.transport import GrpcTransport
from durabletask.testing.hub import InMemoryBackend
from fake_transport import NOON, FakeTransport

PARENT = TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-01", None, "b" * 16)


async def greet(ctx: ActivityContext, name: str) -> str:
    return f"Hello, {name}!"


async def broken(ctx: ActivityContext, name: str) -> str:
    raise ValueError("no")


async def order(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.call_activity(greet, name)


async def failing(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.call_activity(broken, name)


async def two_steps(ctx: OrchestrationContext, name: str) -> str:
    first = await ctx.call_activity(greet, name)
    await ctx.create_timer(timedelta(milliseconds=1))
    return await ctx.call_activity(greet, first)


class Counter(TaskEntity[int]):
    def add(self, amount: int) -> int:
        self.state = (self.state or 0) + amount
        self.context.schedule_new_orchestration(order, "from the entity")
        return self.state


class Spans:
    """What was exported, by kind and name."""

    def __init__(self, exporter: object) -> None:
        self.all = {f"{span.kind.name} {span.name}": span for span in exporter.get_finished_spans()}  # type: ignore[attr-defined]

    def id_of(self, name: str) -> int:
        return int(self.all[name].context.span_id)

    def parent_of(self, name: str) -> int | None:
        parent = self.all[name].parent
        return None if parent is None else int(parent.span_id)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    found = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield found
    provider.shutdown()


async def run(orchestrator: object, *, cached: bool = True, over_grpc: bool = False) -> None:
    async with AsyncExitStack() as stack:
        hub: Transport = InMemoryBackend("test")
        stack.push_async_callback(hub.close)
        if over_grpc:
            server = TaskHubServer(hub)
            port = await server.start()
            stack.push_async_callback(server.stop, 0)
            hub = GrpcTransport(f"http://127.0.0.1:{port}", "test")
            stack.push_async_callback(hub.close)
        client = DurableTaskClient(hub)
        worker = DurableTaskWorker(
            hub,
            orchestrators=[orchestrator],
            activities=[greet, broken],
            entities=[Counter],
            session_cache_size=100 if cached else 0,
        )
        async with worker:
            instance_id = await client.schedule_new_orchestration(orchestrator, "x", version="1")  # type: ignore[call-overload]
            assert await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)


async def test_one_trace_tells_the_whole_story(exporter: object) -> None:
    """Request > orchestration > call > activity, each with the protocol's name and kind."""
    await run(order)

    spans = Spans(exporter)
    request = "PRODUCER create_orchestration:order@(1)"
    orchestration = "SERVER orchestration:order@(1)"
    call, activity = "CLIENT activity:greet@(1)", "SERVER activity:greet@(1)"
    assert set(spans.all) == {request, orchestration, call, activity}
    assert spans.parent_of(request) is None
    assert spans.parent_of(orchestration) == spans.id_of(request)
    assert spans.parent_of(call) == spans.id_of(orchestration)
    assert spans.parent_of(activity) == spans.id_of(call)
    assert len({span.context.trace_id for span in spans.all.values()}) == 1
    assert spans.all[orchestration].attributes["durabletask.task.status"] == "Completed"


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "replayed"])
@pytest.mark.parametrize(
    "over_grpc", [False, pytest.param(True, marks=pytest.mark.process)], ids=["memory", "grpc"]
)
async def test_each_call_is_told_once_with_lasting_ids(
    exporter: object, cached: bool, over_grpc: bool
) -> None:
    """Several episodes, with a cache or by replay, in the process or over the wire: the same tree."""
    await run(two_steps, cached=cached, over_grpc=over_grpc)

    spans = exporter.get_finished_spans()  # type: ignore[attr-defined]
    names = sorted(f"{span.kind.name} {span.name}" for span in spans)
    assert names == [
        "CLIENT activity:greet@(1)",
        "CLIENT activity:greet@(1)",
        "INTERNAL orchestration:two_steps:timer",
        "PRODUCER create_orchestration:two_steps@(1)",
        "SERVER activity:greet@(1)",
        "SERVER activity:greet@(1)",
        "SERVER orchestration:two_steps@(1)",
    ]
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert len({span.context.trace_id for span in spans}) == 1
    (orchestration,) = (span for span in spans if span.name == "orchestration:two_steps@(1)")
    for span in spans:
        if span.kind.name == "SERVER" and span.name.startswith("activity"):
            assert by_id[span.parent.span_id].kind.name == "CLIENT"
            assert span.attributes["durabletask.task.task_id"] in {"1", "3"}
        elif span.kind.name in {"CLIENT", "INTERNAL"}:
            assert span.parent.span_id == orchestration.context.span_id
            assert orchestration.start_time <= span.start_time <= span.end_time <= orchestration.end_time
        assert "durabletask.type" in span.attributes


async def test_an_entity_operation_has_a_span_whose_context_goes_on(exporter: object) -> None:
    """What the operation starts belongs to its trace."""
    transport = FakeTransport()
    operation = EntityOperationSignaled(-1, NOON, "r1", "add", input="2")
    async with DurableTaskWorker(transport, entities=[Counter]):
        transport.put(EntityWorkItem(instance_id="@counter@x", operations=[operation]))
        await transport.wait_for(1)

    (result,) = transport.completed
    assert isinstance(result, EntityBatchResult)
    (action,) = result.actions
    spans = Spans(exporter)
    assert action.trace_context is not None
    assert int(action.trace_context.span_id, 16) == spans.id_of("SERVER entity:counter:add")
    assert dict(spans.all["SERVER entity:counter:add"].attributes) == {
        "durabletask.type": "entity",
        "durabletask.task.name": "counter",
        "durabletask.task.instance_id": "@counter@x",
        "durabletask.entity.operation": "add",
    }


async def test_failures_show_in_the_spans(exporter: object) -> None:
    """Call and orchestration have the status ERROR."""
    await run(failing)

    spans = Spans(exporter)
    for name in (
        "CLIENT activity:broken@(1)",
        "SERVER activity:broken@(1)",
        "SERVER orchestration:failing@(1)",
    ):
        assert spans.all[name].status.status_code.name == "ERROR"


def first_episode() -> OrchestratorWorkItem:
    started = ExecutionStarted(-1, NOON, "order", "i1", input='"x"', trace_context=PARENT)
    return OrchestratorWorkItem(instance_id="i1", new_events=[OrchestratorStarted(-1, NOON), started])


async def answer() -> OrchestratorResult:
    transport = FakeTransport()
    async with DurableTaskWorker(transport, orchestrators=[order], activities=[greet]):
        transport.put(first_episode())
        await transport.wait_for(1)
    (result,) = transport.completed
    assert isinstance(result, OrchestratorResult)
    return result


def trace_of(result: OrchestratorResult) -> TraceContext | None:
    (action,) = result.actions
    assert isinstance(action, ScheduleTask)
    return action.trace_context


async def test_without_opentelemetry_the_trace_is_carried_on() -> None:
    """Activities elsewhere still belong to the trace of the request."""
    result = await answer()

    assert trace_of(result) == PARENT
    assert result.trace_context is None


async def test_the_first_episode_invents_the_span_of_the_orchestration(exporter: object) -> None:
    """The hub gets it with the answer and hands it back with every later episode."""
    result = await answer()

    trace = trace_of(result)
    assert trace is not None
    assert trace.trace_parent.split("-")[1] == "a" * 32
    assert trace.span_id not in {"", PARENT.span_id}
    assert result.trace_context is not None
    assert result.trace_context.span_id not in {None, trace.span_id}


def test_text_that_is_no_trace_parent_is_ignored(exporter: object) -> None:
    """A foreign client cannot break a worker with it."""
    assert telemetry._span_context(TraceContext("nonsense")) is None
    assert telemetry.with_span(TraceContext("nonsense"), "1" * 16) == TraceContext("nonsense")
