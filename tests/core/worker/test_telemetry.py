"""Spans and trace contexts, with OpenTelemetry and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext
from durabletask.core import telemetry
from durabletask.core.actions import ScheduleTask
from durabletask.core.history import ExecutionStarted, OrchestratorStarted, TraceContext
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem
from durabletask.testing.backend import InMemoryBackend
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


async def run(orchestrator: object) -> None:
    hub = InMemoryBackend("test")
    client = DurableTaskClient(hub)
    async with DurableTaskWorker(hub, orchestrators=[orchestrator], activities=[greet, broken]):
        instance_id = await client.schedule_new_orchestration(orchestrator, "x", version="1")  # type: ignore[call-overload]
        assert await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=10)
    await hub.close()


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
