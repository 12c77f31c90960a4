"""What ``GrpcTransport`` sends, what it makes of failures, and how it keeps its connection."""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import grpc
import grpc.aio
import pytest
from durabletask.core.actions import CompleteOrchestration
from durabletask.core.connection import AccessToken, CredentialProvider
from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import (
    ConfigurationError,
    InstanceNotFoundError,
    InvalidRequestError,
    RemoteError,
    TransportError,
    TransportUnavailableError,
    UnauthenticatedError,
)
from durabletask.core.hosting.backoff import Backoff
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus
from durabletask.core.replay.compact import CompactHistory
from durabletask.core.transport import Transport
from durabletask.core.work_items import OrchestratorResult, OrchestratorWorkItem, WorkItemStreamOptions
from durabletask.grpc import calls, work_stream
from durabletask.grpc.address import Address, ChannelOptions
from durabletask.grpc.advice import explain_unavailable
from durabletask.grpc.channel import ChannelHolder
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.grpc.server import TaskHubServer
from durabletask.grpc.transport import GrpcTransport, from_connection_string
from durabletask.testing.hub import InMemoryBackend
from durabletask.testing.wrapping import WrappedTransport
from google.protobuf.empty_pb2 import Empty
from wire_server import WatchedHub

pytestmark = pytest.mark.process


class Tokens(CredentialProvider):
    """Hands out numbered tokens."""

    def __init__(self) -> None:
        self.number = 1

    async def get_token(self, *, force_new: bool = False) -> AccessToken:
        self.number += force_new
        return AccessToken(f"token{self.number}", datetime(2100, 1, 1, tzinfo=timezone.utc))

    async def close(self) -> None:
        pass


class ScriptedServer(grpc.GenericRpcHandler):
    """Answers every call by a function of its name; remembers the headers."""

    def __init__(self) -> None:
        self.headers: dict[str, dict[str, str]] = {}
        self.refusals: dict[str, list[grpc.StatusCode]] = {}
        self.answers: dict[str, bytes] = {}
        self.items: list[bytes] = []
        self.calls: list[str] = []
        self.hold = False
        self.holding = asyncio.Event()
        self.hold_history = False
        self.deadlines: list[float] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        rpc = str(details.method).rpartition("/")[2]

        async def note(context: Any) -> None:
            self.calls.append(rpc)
            self.headers[rpc] = {key: str(value) for key, value in context.invocation_metadata()}
            if self.refusals.get(rpc):
                await context.abort(self.refusals[rpc].pop(0), "as the script says")

        async def unary(_: bytes, context: Any) -> bytes:
            await note(context)
            self.deadlines.append(context.time_remaining() or -1)
            return self.answers.get(rpc, b"")

        async def stream(_: bytes, context: Any) -> None:
            await note(context)
            for item in self.items if rpc == "GetWorkItems" else [self.answers.get(rpc, b"")]:
                await context.write(item)
            if self.hold or (self.hold_history and rpc == "StreamInstanceHistory"):
                self.holding.set()
                await asyncio.Event().wait()

        if rpc in {"GetWorkItems", "StreamInstanceHistory"}:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


@asynccontextmanager
async def scripted(**options: Any) -> AsyncIterator[tuple[ScriptedServer, GrpcTransport]]:
    """A scripted server and a transport to it."""
    script = ScriptedServer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((script,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = GrpcTransport(f"http://127.0.0.1:{port}", "hub", **options)
    try:
        yield script, transport
    finally:
        await transport.close()
        await server.stop(0)


async def test_headers() -> None:
    """Every call names its hub and its maker; worker calls name the worker as well; no token without credential."""
    async with scripted() as (script, transport):
        await transport.connect()
        await transport.get_instance("i")
        hello, get = script.headers["Hello"], script.headers["GetInstance"]
        assert hello["taskhub"] == get["taskhub"] == "hub"
        assert get["x-user-agent"].startswith("durabletask-python/2.")
        host, pid, rest = hello["workerid"].split(":")
        assert host == socket.gethostname()
        assert pid.isdigit()
        assert len(rest) == 36
        assert "workerid" not in get
        assert "authorization" not in get


async def test_a_refused_token_is_renewed_once() -> None:
    """UNAUTHENTICATED asks for a new token and tries again; a second time it is an error."""
    async with scripted(credential=Tokens()) as (script, transport):
        script.refusals["RaiseEvent"] = [grpc.StatusCode.UNAUTHENTICATED]
        await transport.raise_event("i", "e")
        assert script.headers["RaiseEvent"]["authorization"] == "Bearer token2"
        assert script.calls == ["RaiseEvent"] * 2
        script.refusals["RaiseEvent"] = [grpc.StatusCode.UNAUTHENTICATED] * 2
        with pytest.raises(UnauthenticatedError):
            await transport.raise_event("i", "e")
        script.refusals["GetWorkItems"] = [grpc.StatusCode.UNAUTHENTICATED]
        script.items = [pb.WorkItem(activityRequest=pb.ActivityRequest(name="a")).SerializeToString()]
        assert [item async for item in transport.work_items(WorkItemStreamOptions())]


async def test_every_stream_renews_a_refused_token_once() -> None:
    """A history, and the past of a work item, are asked for again with a new token; a second refusal is an error."""
    async with scripted(credential=Tokens()) as (script, transport):
        script.refusals["StreamInstanceHistory"] = [grpc.StatusCode.UNAUTHENTICATED]
        assert [events async for events in transport.stream_history("i")] == [[]]
        assert script.headers["StreamInstanceHistory"]["authorization"] == "Bearer token2"
        script.refusals["StreamInstanceHistory"] = [grpc.StatusCode.UNAUTHENTICATED] * 2
        with pytest.raises(UnauthenticatedError):
            await anext(transport.stream_history("i"))
        request = pb.OrchestratorRequest(instanceId="i", requiresHistoryStreaming=True)
        script.items = [pb.WorkItem(orchestratorRequest=request, completionToken="t").SerializeToString()]
        script.refusals["StreamInstanceHistory"] = [grpc.StatusCode.UNAUTHENTICATED]
        assert [item async for item in transport.work_items(WorkItemStreamOptions())]


async def test_calls_have_deadlines() -> None:
    """Calls end after the call time-out, Hello after thirty seconds."""
    async with scripted(call_timeout=timedelta(minutes=5)) as (script, transport):
        await transport.connect()
        await transport.raise_event("i", "e")
        hello, call = script.deadlines
        assert 0 < hello < 35 < call < 305


async def test_nobody_there() -> None:
    """A connection that is refused is an error that names the endpoint and the cause, soon and in one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    transport = GrpcTransport(f"http://localhost:{port}", "hub")
    for attempt in (
        transport.connect(),
        transport.get_instance("i"),
        anext(transport.work_items(WorkItemStreamOptions())),
    ):
        with pytest.raises(TransportUnavailableError) as caught:
            await asyncio.wait_for(attempt, 30)
        assert f"http://localhost:{port}" in str(caught.value)
        assert "refused" in str(caught.value).lower()
        assert "\n" not in str(caught.value)
    await transport.close()


async def test_a_silent_stream_is_given_up() -> None:
    """Without a sign of life the stream is dead; pings are signs of life and nothing else."""
    async with scripted(silence_limit=timedelta(milliseconds=50)) as (script, transport):
        script.items = [pb.WorkItem(healthPing=pb.HealthPing()).SerializeToString()]
        script.hold = True
        with pytest.raises(TransportUnavailableError, match="silent"):
            await anext(transport.work_items(WorkItemStreamOptions()))


async def test_a_stream_that_ends_orderly_just_ends() -> None:
    """The hub may end a stream; that is no error."""
    async with scripted() as (script, transport):
        script.items = [pb.WorkItem(healthPing=pb.HealthPing()).SerializeToString()]
        assert [item async for item in transport.work_items(WorkItemStreamOptions())] == []


async def test_a_history_that_must_be_fetched_is_fetched() -> None:
    """An item whose past was left out is yielded with its past."""
    request = pb.OrchestratorRequest(instanceId="i", requiresHistoryStreaming=True)
    event = pb.HistoryEvent(eventId=3, timerCreated=pb.TimerCreatedEvent())
    async with scripted() as (script, transport):
        script.items = [pb.WorkItem(orchestratorRequest=request, completionToken="t").SerializeToString()]
        script.answers["StreamInstanceHistory"] = pb.HistoryChunk(events=[event] * 3).SerializeToString()
        (item,) = [item async for item in transport.work_items(WorkItemStreamOptions())]
        assert isinstance(item, OrchestratorWorkItem)
        assert [found.event_id for found in item.past_events] == [3, 3, 3]
        script.refusals["StreamInstanceHistory"] = [grpc.StatusCode.NOT_FOUND]
        assert [item async for item in transport.work_items(WorkItemStreamOptions())] == []
        assert script.calls[-1] == "AbandonTaskOrchestratorWorkItem"


async def test_closing_ends_what_is_under_way() -> None:
    """Calls in flight end with our error, not as if the caller had been cancelled."""
    hub = WatchedHub()
    server = TaskHubServer(hub)
    await server.start()
    transport = GrpcTransport(server.endpoint)
    await transport.connect()
    waiting = asyncio.ensure_future(transport.wait_for_instance_completion("missing"))
    stream = asyncio.ensure_future(anext(transport.work_items(WorkItemStreamOptions())))
    await hub.until(lambda hub: hub.begun == 2)
    await transport.close()
    for task in (waiting, stream):
        with pytest.raises(TransportUnavailableError):
            await asyncio.wait_for(task, 30)
    await transport.connect()  # a closed transport may be used again
    await transport.close()
    await server.stop(0)


async def test_cancelling_a_caller_cancels_it() -> None:
    """A cancelled task ends as cancelled, whatever it was doing on the wire."""
    async with scripted() as (script, transport):
        script.hold = True
        await transport.connect()
        for work in (
            anext(transport.work_items(WorkItemStreamOptions())),
            _drain(transport.stream_history("i")),
        ):
            script.holding.clear()
            task = asyncio.ensure_future(work)
            await asyncio.wait_for(script.holding.wait(), 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def _drain(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_waits() -> None:
    """``None`` at the time-out, an error when the instance is gone, and deadlines of the hub are waited through."""
    async with scripted() as (script, transport):
        script.refusals["WaitForInstanceStart"] = [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
        script.answers["WaitForInstanceStart"] = pb.GetInstanceResponse(
            exists=True, orchestrationState=pb.OrchestrationState(instanceId="i")
        ).SerializeToString()
        found = await transport.wait_for_instance_start("i", timeout=timedelta(seconds=20))
        assert found is not None
        assert script.calls == ["WaitForInstanceStart"] * 3
        with pytest.raises(InstanceNotFoundError, match="'i'"):
            await transport.wait_for_instance_completion("i", timeout=timedelta(seconds=20))
        assert await transport.wait_for_instance_completion("i", timeout=timedelta(0)) is None
    server = TaskHubServer(InMemoryBackend())
    await server.start()
    transport = GrpcTransport(server.endpoint)
    for milliseconds in (50, 500):  # our server answers for a missing instance shortly before the deadline
        timeout = timedelta(milliseconds=milliseconds)
        assert await transport.wait_for_instance_completion("i", timeout=timeout) is None
    await transport.close()
    await server.stop(0)


async def test_timers_are_split_for_strangers_only() -> None:
    """Three days for a hub of which nothing is known; any length for our own server; options decide."""
    server = TaskHubServer(InMemoryBackend())
    await server.start()
    ours = GrpcTransport(server.endpoint)
    assert ours.maximum_timer_interval == timedelta(days=3)
    await ours.connect()
    assert ours.maximum_timer_interval is None
    await ours.close()
    await server.stop(0)
    async with scripted() as (_, stranger):
        await stranger.connect()
        assert stranger.maximum_timer_interval == timedelta(days=3)
    assert GrpcTransport("http://h", maximum_timer_interval=None).maximum_timer_interval is None


async def test_text_that_is_no_unicode_is_refused_here() -> None:
    """A lone surrogate cannot travel; the error says so before anything is sent."""
    async with scripted() as (script, transport):
        with pytest.raises(InvalidRequestError):
            await transport.raise_event("i", "e", "\ud800")
        assert script.calls == []


def test_one_transport_serves_one_loop_after_the_other() -> None:
    """A transport built outside of a loop works in any, one at a time."""
    transport: GrpcTransport | None = None

    async def use() -> None:
        nonlocal transport
        server = TaskHubServer(InMemoryBackend(), port=port)
        await server.start()
        transport = transport or GrpcTransport(server.endpoint)
        await transport.connect()
        await server.stop(0)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asyncio.run(use())
    asyncio.run(use())


async def test_one_transport_serves_several_loops_at_once() -> None:
    """Interleaved calls from two threads; a channel of one loop used to be replaced under the other."""
    server = TaskHubServer(InMemoryBackend(), port=0)
    await server.start()
    transport = GrpcTransport(server.endpoint)

    async def use(kind: str) -> None:
        for n in range(20):
            await transport.create_instance(CreateInstanceRequest(name="O", instance_id=f"{kind}-{n}"))
            assert await transport.get_instance(f"{kind}-{n}") is not None

    async def use_often(kind: str) -> None:
        await asyncio.gather(*(use(f"{kind}-{n}") for n in range(3)))

    await asyncio.gather(use_often("here"), asyncio.to_thread(asyncio.run, use_often("there")))
    await transport.close()
    await server.stop(0)


async def test_a_new_channel_after_failures_in_a_row() -> None:
    """Five connection failures in a row make a new channel, not more often than allowed; answers start the count anew."""
    holder = ChannelHolder(Address.parse("http://127.0.0.1:1"), ChannelOptions(), grace=0)
    first = holder.unary("Hello")
    for _ in range(4):
        holder.failed(grpc.StatusCode.UNAVAILABLE)
    holder.succeeded()
    for _ in range(4):
        holder.failed(grpc.StatusCode.UNAVAILABLE)
    holder.failed(grpc.StatusCode.NOT_FOUND)
    for _ in range(4):
        holder.failed(grpc.StatusCode.UNAVAILABLE)
    assert holder.unary("Hello") is first
    holder.failed(grpc.StatusCode.UNAVAILABLE)
    second = holder.unary("Hello")
    assert second is not first
    for _ in range(9):
        holder.failed(grpc.StatusCode.UNAVAILABLE)
    assert holder.unary("Hello") is second
    await holder.close()


@pytest.mark.parametrize(
    ("endpoint", "target", "is_secure"),
    [
        ("http://localhost:8080", "localhost:8080", False),
        ("https://x.durabletask.io", "x.durabletask.io:443", True),
        ("x.durabletask.io", "x.durabletask.io:443", True),
        ("GRPC://[::1]:4001/", "[::1]:4001", False),
        ("grpcs://h:1", "h:1", True),
    ],
)
def test_addresses(endpoint: str, target: str, is_secure: bool) -> None:
    """TLS by the scheme, ports by the scheme when none is given."""
    address = Address.parse(endpoint)
    assert (address.target, address.is_secure) == (target, is_secure)


@pytest.mark.parametrize(
    "endpoint", ["", "http://", "ftp://h", "http://h:99999", "sqlite:///x", "http://h/path"]
)
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    """The error is one of configuration."""
    with pytest.raises(ConfigurationError):
        Address.parse(endpoint)


def test_unknown_options_are_refused() -> None:
    """A misspelt option is named, with what there is."""
    found = ConnectionString(endpoint="http://h:1")
    with pytest.raises(ConfigurationError, match=r"'timeout'.*call_timeout"):
        from_connection_string(found, "hub", timeout=3)
    transport = from_connection_string(found, "hub", call_timeout=timedelta(seconds=3))
    assert (transport.endpoint, transport.task_hub) == ("http://h:1", "hub")


def test_empty_answers_are_empty() -> None:
    """The server answers with no bytes where the protocol has an empty message."""
    assert Empty().SerializeToString() == pb.CompleteTaskResponse().SerializeToString() == b""


async def test_a_past_that_never_comes_costs_its_item_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A past that is silent, endless or too slow is given up: its episode is abandoned with a log line, the next item comes."""
    request = pb.OrchestratorRequest(instanceId="i\n", requiresHistoryStreaming=True)
    activity = pb.WorkItem(activityRequest=pb.ActivityRequest(name="a"), completionToken="u")
    for limit, value, words in (
        ("_PAST_SILENCE", 0.05, "silent"),
        ("_PAST_BYTES", 10, "exceeds 10 bytes"),
        ("_PAST_TIME", -1.0, "did not arrive within"),
    ):
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(work_stream, limit, value)
            async with scripted() as (script, transport):
                script.hold_history = True
                script.answers["StreamInstanceHistory"] = pb.HistoryChunk(
                    events=[pb.HistoryEvent(eventId=number) for number in range(20)]
                ).SerializeToString()
                item = pb.WorkItem(orchestratorRequest=request, completionToken="t")
                script.items = [item.SerializeToString(), activity.SerializeToString()]
                (found,) = [item async for item in transport.work_items(WorkItemStreamOptions())]
                assert found.completion_token == "u"
                assert script.calls[-1] == "AbandonTaskOrchestratorWorkItem"
        assert words in caplog.text
        assert len(caplog.text.splitlines()) == 1


@pytest.mark.parametrize(
    ("item", "rpc"),
    [
        (pb.WorkItem(orchestratorRequest=pb.OrchestratorRequest(instanceId="xx")), "Orchestrator"),
        (pb.WorkItem(activityRequest=pb.ActivityRequest(name="xx")), "Activity"),
        (pb.WorkItem(entityRequest=pb.EntityBatchRequest(instanceId="xx")), "Entity"),
        (pb.WorkItem(entityRequestV2=pb.EntityRequest(instanceId="xx")), "Entity"),
    ],
)
async def test_an_item_that_cannot_be_read_is_abandoned(
    item: pb.WorkItem, rpc: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Text that is no Unicode in one item costs that item only."""
    item.completionToken = "t"
    good = pb.WorkItem(activityRequest=pb.ActivityRequest(name="a"), completionToken="u")
    async with scripted() as (script, transport):
        script.items = [item.SerializeToString().replace(b"xx", b"\xff\xff"), good.SerializeToString()]
        (found,) = [item async for item in transport.work_items(WorkItemStreamOptions())]
        assert found.completion_token == "u"
        assert script.calls[-1] == f"AbandonTask{rpc}WorkItem"
        assert "cannot be read" in caplog.text


async def test_an_item_without_even_a_token_ends_the_stream() -> None:
    """There is nothing to abandon, and nothing more to expect of that hub."""
    async with scripted() as (script, transport):
        script.items = [b"\x0a\xff"]
        with pytest.raises(RemoteError, match="cannot be parsed"):
            await anext(transport.work_items(WorkItemStreamOptions()))


async def test_a_machine_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker id that is made of it is ASCII, as a header has to be."""
    monkeypatch.setattr(socket, "gethostname", lambda: "Jürgens-PC\n")
    async with scripted() as (script, transport):
        await transport.connect()
        assert script.headers["Hello"]["workerid"].startswith("J%C3%BCrgens-PC%0A:")


@pytest.mark.parametrize("text", ["hübe", "a\nb", "\0", "\x7f", "\ud800"])
async def test_a_text_that_no_header_can_carry_is_refused_by_name(text: str) -> None:
    """Names are refused when the transport is built, a token before it is sent; the token is not quoted."""
    with pytest.raises(ConfigurationError, match="The task hub name"):
        GrpcTransport("http://h", text)
    with pytest.raises(ConfigurationError, match="The user agent"):
        GrpcTransport("http://h", user_agent=text)

    class Wrong(Tokens):
        async def get_token(self, *, force_new: bool = False) -> AccessToken:
            return AccessToken(f"secret{text}", datetime(2100, 1, 1, tzinfo=timezone.utc))

    async with scripted(credential=Wrong()) as (script, transport):
        for call in (transport.get_instance("i"), anext(transport.work_items(WorkItemStreamOptions()))):
            with pytest.raises(UnauthenticatedError, match="token that cannot be sent") as caught:
                await call
            assert "secret" not in str(caught.value)
        assert script.calls == []


@pytest.mark.parametrize("refused", [True, False])
async def test_tokens_are_in_no_local_variable_of_a_failed_call(refused: bool) -> None:
    """Crash reporters record the variables of every frame."""
    async with scripted(credential=Tokens()) as (script, answered):
        for rpc in ("GetInstance", "StreamInstanceHistory", "GetWorkItems"):
            script.refusals[rpc] = [grpc.StatusCode.PERMISSION_DENIED]
        transport = answered if refused else GrpcTransport("http://127.0.0.1:1", credential=Tokens())
        for call in (
            transport.get_instance("i"),
            anext(transport.stream_history("i")),
            anext(transport.work_items(WorkItemStreamOptions())),
        ):
            with pytest.raises(TransportError) as caught:
                await call
            error: BaseException | None = caught.value
            while error is not None:
                for frame, _ in traceback.walk_tb(error.__traceback__):
                    found = [name for name, value in frame.f_locals.items() if "token1" in repr(value)]
                    assert (frame.f_code.co_name, found) == (frame.f_code.co_name, [])
                error = error.__context__
        await transport.close()


@pytest.mark.parametrize(
    ("endpoint", "details", "environment", "words"),
    [
        ("https://h:1", "SSL_ERROR_SSL: WRONG_VERSION_NUMBER: x", {}, ["does not speak TLS", "http://h:1."]),
        ("https://h:1", "CERTIFICATE_VERIFY_FAILED: x", {}, ["not trusted", "root_certificates"]),
        (
            "http://localhost:8081",
            "refused",
            {},
            ["refused", "Is durabletask-emulator running, and at port 8081?"],
        ),
        (
            "http://localhost:1",
            "refused",
            {"http_proxy": "http://u:pw@p"},
            ["Is durabletask-emulator running"],
        ),
        ("http://h:1", "refused", {"http_proxy": "http://u:pw@p"}, ["variable http_proxy names", "no_proxy"]),
        ("https://h:1", "refused", {"grpc_proxy": "p", "https_proxy": "q"}, ["variable grpc_proxy names"]),
        ("http://h.x:1", "refused", {"http_proxy": "p", "no_proxy": "y, .x"}, ["running there."]),
    ],
)
def test_what_to_do_about_a_hub_that_does_not_answer(
    endpoint: str, details: str, environment: dict[str, str], words: list[str]
) -> None:
    """The usual causes are named, and what a proxy variable holds (a password, perhaps) is not."""
    text = " ".join(explain_unavailable(Address.parse(endpoint), details, environment))
    for expected in words:
        assert expected in text
    assert "pw" not in text
    assert ("proxy" in text) == any("_proxy" in word for word in words)


async def test_plaintext_is_recognised_where_tls_was_expected() -> None:
    """The message proposes the scheme that works."""
    async with scripted() as (_, plain):
        transport = GrpcTransport(plain.endpoint.replace("http:", "https:"))
        with pytest.raises(TransportUnavailableError, match=f"TLS.*{plain.endpoint}"):
            await transport.connect()
        await transport.close()


async def test_a_wait_goes_on_across_a_restart_of_the_hub() -> None:
    """Asking again is safe; but a hub that never answered, or a closed transport, ends the wait."""
    asked = asyncio.Event()

    class Noting(WrappedTransport):
        async def forward(self, method: Any, *args: Any, **kwargs: Any) -> Any:
            if method is Transport.wait_for_instance_completion:
                asked.set()
            return await super().forward(method, *args, **kwargs)

    hub = Noting(InMemoryBackend())
    server = TaskHubServer(hub)
    port = await server.start()
    transport = GrpcTransport(server.endpoint)
    await transport.create_instance(CreateInstanceRequest(name="n", instance_id="i"))
    waiting = asyncio.ensure_future(transport.wait_for_instance_completion("i"))
    await asked.wait()
    await server.stop(0)
    server = TaskHubServer(hub, port=port)
    await server.start()
    item = await anext(hub.work_items(WorkItemStreamOptions()))
    end = CompleteOrchestration(1, OrchestrationStatus.COMPLETED)
    await hub.complete_orchestrator(
        OrchestratorResult(instance_id="i", actions=[end], completion_token=item.completion_token)
    )
    state = await asyncio.wait_for(waiting, 30)
    assert state is not None
    await transport.close()
    await server.stop(0)
    stranger = GrpcTransport(server.endpoint)
    with pytest.raises(TransportUnavailableError):
        await stranger.wait_for_instance_completion("i")
    await stranger.close()


async def test_a_wait_that_is_refused_at_once_is_not_a_hot_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that ends waits early is asked again after growing pauses."""
    paused: list[float] = []

    async def wait(self: Backoff, seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(Backoff, "delay", lambda self, failures: self.first * 2**failures)
    monkeypatch.setattr(Backoff, "wait", wait)
    async with scripted() as (script, transport):
        script.refusals["WaitForInstanceStart"] = [grpc.StatusCode.DEADLINE_EXCEEDED] * 4
        script.answers["WaitForInstanceStart"] = pb.GetInstanceResponse(
            exists=True, orchestrationState=pb.OrchestrationState(instanceId="i")
        ).SerializeToString()
        assert await transport.wait_for_instance_start("i")
    assert paused == [0.2, 0.4, 0.8, 1.6]


def _long_item() -> bytes:
    past = [
        pb.HistoryEvent(eventId=-1, taskCompleted=pb.TaskCompletedEvent(taskScheduledId=number))
        for number in range(1, 9)
    ]
    request = pb.OrchestratorRequest(instanceId="i", pastEvents=past)
    return pb.WorkItem(orchestratorRequest=request, completionToken="t").SerializeToString()


@pytest.mark.parametrize(("decode", "is_scanned"), [("compact", True), ("plain", False)])
async def test_decode_says_whether_histories_are_scanned(decode: str, is_scanned: bool) -> None:
    """Both give the same events; only the compact way offers segments."""
    async with scripted(decode=decode) as (script, transport):
        script.items = [_long_item()]
        (item,) = [item async for item in transport.work_items(WorkItemStreamOptions())]

    assert isinstance(item, OrchestratorWorkItem)
    past = item.past_events
    assert isinstance(past, CompactHistory)
    assert (past.segments() is not None) is is_scanned
    assert [getattr(event, "task_scheduled_id", None) for event in past] == [*range(1, 9)]


def test_an_unknown_way_to_decode_is_refused() -> None:
    """Also through a connection string, and with the values that there are."""
    with pytest.raises(ConfigurationError, match="'compact' or 'plain', not 'fast'"):
        GrpcTransport("http://localhost:1", decode="fast")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'compact' or 'plain'"):
        from_connection_string(ConnectionString.parse("Endpoint=http://localhost:1"), "hub", decode="fast")


async def test_a_credential_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call does not wait for a token for ever, and a cancelled one cancels the question."""
    cancelled = 0

    class Silent(Tokens):
        async def get_token(self, *, force_new: bool = False) -> AccessToken:
            nonlocal cancelled
            try:
                return await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled += 1
                raise

    transport = GrpcTransport("http://127.0.0.1:1", credential=Silent())
    await transport._open()
    asking = asyncio.ensure_future(transport.get_instance("i"))
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    monkeypatch.setattr(calls, "_TOKEN_TIMEOUT", 0.01)
    with pytest.raises(UnauthenticatedError, match="no token within"):
        await transport.get_instance("i")
    await transport.close()
    await asyncio.sleep(0)
    assert cancelled == 2
