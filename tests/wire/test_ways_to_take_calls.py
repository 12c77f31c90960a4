"""The two ways in which a server takes calls, where they could differ from each other or from what gRPC promises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
import wire_server
from durabletask.grpc import grpc_core
from durabletask.grpc.aio_server import AioServer
from durabletask.grpc.direct_server import _MOST_EVENTS, DirectServer
from durabletask.grpc.incoming_call import Context, Handler
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.grpc.server import TaskHubServer
from durabletask.testing.hub import InMemoryBackend
from google.protobuf.empty_pb2 import Empty
from wire_server import RawClient, WatchedHub, serving

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("both_servers")]


async def test_a_method_that_does_not_exist_is_unimplemented() -> None:
    """A call of an unknown method ends at once, and others go on."""
    async with serving(InMemoryBackend()) as (_, client):
        error = await client.refusal("Nonsense", b"")
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        await client.call("Hello", Empty())


async def test_more_calls_at_once_than_one_round_takes_are_all_answered() -> None:
    """Bursts are worked off in several rounds of the loop."""
    async with serving(InMemoryBackend()) as (_, client):
        requests = [
            pb.CreateInstanceRequest(name="n", instanceId=f"i{number}") for number in range(3 * _MOST_EVENTS)
        ]
        answers = await asyncio.gather(
            *(client.call("StartInstance", request, pb.CreateInstanceResponse) for request in requests)
        )
        assert [answer.instanceId for answer in answers] == [request.instanceId for request in requests]


async def test_no_call_of_a_burst_is_refused_for_its_number() -> None:
    """Clients do not repeat a completion that was refused, so a burst waits for its turn."""
    async with serving(InMemoryBackend()) as (_, client):
        await client.call("StartInstance", pb.CreateInstanceRequest(name="n", instanceId="i"))
        request = pb.GetInstanceRequest(instanceId="i").SerializeToString()
        for _ in range(2):
            answers = await asyncio.gather(*(client.call("GetInstance", request) for _ in range(4000)))
            assert all(answers)


@pytest.mark.parametrize("name", ["ü" * 900, "\U0001f600" * 3000, "%" * 5000, "a" * 8000])
async def test_what_a_status_says_fits_into_a_header(name: str) -> None:
    """Texts are cut by the room that they take in a header, so that the status itself arrives."""
    async with serving(InMemoryBackend()) as (_, client):
        for rpc, request, code in (
            ("RaiseEvent", pb.RaiseEventRequest(instanceId=name, name="e"), grpc.StatusCode.NOT_FOUND),
            ("RestartInstance", pb.RestartInstanceRequest(instanceId=name), grpc.StatusCode.NOT_FOUND),
        ):
            error = await client.refusal(rpc, request)
            assert error.code() is code
            assert name[:20] in str(error.details())


async def test_a_call_without_a_request_is_refused() -> None:
    """A client that closes its side before it has sent anything gets a status (``grpc.aio`` lets it wait)."""
    async with serving(InMemoryBackend(), direct=True) as (_, client):
        call = client.channel.stream_unary("/TaskHubSidecarService/Hello")()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        await client.call("Hello", Empty())


async def test_a_caller_that_goes_away_ends_its_wait_at_the_hub() -> None:
    """A wait that is cancelled by the client leaves nothing behind in the hub."""
    hub = WatchedHub()
    async with serving(hub) as (_, client):
        waits = [
            asyncio.ensure_future(
                client.call("WaitForInstanceCompletion", pb.GetInstanceRequest(instanceId="missing"))
            )
            for _ in range(5)
        ]
        await hub.until(lambda hub: hub.begun == len(waits))
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        await hub.until(lambda hub: hub.over == len(waits))


class _Wrapping(TaskHubServer):
    """Counts calls, refuses one RPC, and breaks another."""

    def __init__(self, direct: bool) -> None:
        super().__init__(InMemoryBackend(), direct=direct)
        self.seen: list[str] = []

    def wrap_handler(self, rpc: str, handler: Handler) -> Handler:
        async def wrapped(data: bytes, context: Context) -> bytes | None:
            self.seen.append(rpc)
            if rpc == "GetInstance":
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you: ü")
            if rpc == "RaiseEvent":
                raise LookupError("broken")
            return await handler(data, context)

        return wrapped


async def test_a_subclass_can_wrap_what_serves_a_call(
    both_servers: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrapper sees every call, may refuse it, and may fail without harm to others."""
    server = _Wrapping(wire_server.DIRECT)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            client = RawClient(channel)
            await client.call("Hello", Empty())
            refusal = await client.refusal("GetInstance", b"")
            with caplog.at_level(logging.CRITICAL, logger="grpc"):
                broken = await client.refusal("RaiseEvent", b"")
            await client.call("Hello", Empty())
    finally:
        await server.stop(0)

    assert server.seen == ["Hello", "GetInstance", "RaiseEvent", "Hello"]
    assert (refusal.code(), refusal.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not for you: ü")
    assert broken.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


class _Slow(TaskHubServer):
    """Answers ``GetInstance`` when it is told to."""

    def __init__(self) -> None:
        super().__init__(InMemoryBackend(), direct=wire_server.DIRECT)
        self.entered, self.goes_on = asyncio.Event(), asyncio.Event()

    def wrap_handler(self, rpc: str, handler: Handler) -> Handler:
        async def slow(data: bytes, context: Context) -> bytes | None:
            self.entered.set()
            await self.goes_on.wait()
            return await handler(data, context)

        return slow if rpc == "GetInstance" else handler


@asynccontextmanager
async def _with_a_call_under_way() -> AsyncIterator[tuple[_Slow, RawClient, asyncio.Future[bytes]]]:
    server = _Slow()
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        client = RawClient(channel)
        call = asyncio.ensure_future(client.call("GetInstance", pb.GetInstanceRequest(instanceId="i")))
        await server.entered.wait()
        yield server, client, call


async def test_calls_under_way_have_the_grace() -> None:
    """A server that stops lets short calls end, refuses new connections, and ends what lasts longer."""
    async with _with_a_call_under_way() as (server, client, call):
        stopping = asyncio.ensure_future(server.stop(30))
        server.goes_on.set()
        assert await call == b""
        await stopping
        await server.wait_stopped()
        error = await client.refusal("Hello", Empty())
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_that_arrive_with_the_end_are_served(caplog: pytest.LogCaptureFixture) -> None:
    """Stopping in the middle of a burst ends every call with an answer or a status, and logs no error."""
    for _ in range(3):
        server = TaskHubServer(InMemoryBackend(), direct=wire_server.DIRECT)
        await server.start()
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        client = RawClient(channel)
        await client.call("StartInstance", pb.CreateInstanceRequest(name="n", instanceId="i"))
        calls = [
            asyncio.ensure_future(client.call("GetInstance", pb.GetInstanceRequest(instanceId="i")))
            for _ in range(300)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await server.stop(5)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [result for result in results if not isinstance(result, (bytes, grpc.aio.AioRpcError))] == []
        await channel.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_callers_that_vanish_while_the_server_stops_do_no_harm() -> None:
    """Requests, broken connections and the end of the server may come in any order."""
    for round_number in range(20):
        server = TaskHubServer(InMemoryBackend(), direct=wire_server.DIRECT)
        await server.start()
        channels = [
            grpc.aio.insecure_channel(
                f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(4)
        ]
        clients = [RawClient(channel) for channel in channels]
        await asyncio.gather(*(client.call("Hello", Empty()) for client in clients))
        calls = [
            asyncio.ensure_future(
                client.call("WaitForInstanceStart", pb.GetInstanceRequest(instanceId=str(number)))
            )
            for client in clients
            for number in range(20)
        ]
        for _ in range(round_number):
            await asyncio.sleep(0)
        stopping = asyncio.ensure_future(server.stop(0))
        await asyncio.gather(*(channel.close() for channel in channels), stopping)
        await asyncio.gather(*calls, return_exceptions=True)


async def test_stopping_twice_and_stopping_what_never_ran_is_harmless() -> None:
    """``stop`` may be called at any time."""
    server = TaskHubServer(InMemoryBackend())
    await server.stop()
    await server.wait_stopped()
    await server.start()
    await asyncio.gather(server.stop(0), server.stop(0))
    await server.stop(0)


@pytest.fixture
def quiet_end() -> Iterator[None]:
    """No thread of a server outlives the test."""
    yield
    for thread in threading.enumerate():
        if thread.name == "durabletask-grpc-server":
            thread.join(10)
            assert not thread.is_alive()


def test_a_loop_that_ends_without_stopping_the_server_ends_its_thread(quiet_end: None) -> None:
    """The thread that waits for gRPC notices that its loop is closed."""
    server = TaskHubServer(InMemoryBackend(), direct=True)

    async def only_start() -> None:
        await server.start()

    asyncio.run(only_start())
    with (
        socket.create_connection((server.host, server.port), timeout=5),
        grpc.insecure_channel(f"{server.host}:{server.port}") as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary("/TaskHubSidecarService/Hello")(b"", timeout=0.2)


async def _served_by(caplog: pytest.LogCaptureFixture) -> tuple[type[object], str]:
    """The kind of server that ``direct=True`` makes, and what it logs."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "durabletask.grpc.server"):
        async with serving(InMemoryBackend(), direct=True) as (server, client):
            await client.call("Hello", Empty())
            return type(server._server), caplog.text


async def test_the_library_serves_through_the_public_interface_unless_asked() -> None:
    """Without ``direct=True`` nothing of gRPC is used that is not public."""
    server = TaskHubServer(InMemoryBackend())
    await server.start()
    assert isinstance(server._server, AioServer)
    await server.stop(0)


async def test_the_direct_way_is_left_with_one_log_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An untested version, a missing part and a failed self-test each lead to ``grpc.aio``, and one line says why."""
    assert await _served_by(caplog) == (DirectServer, "")

    monkeypatch.setattr(grpc_core, "TESTED_GRPCIO", ((1, 1), (1, 2)))
    kind, text = await _served_by(caplog)
    assert kind is AioServer
    assert "not one of the tested versions 1.1 to 1.2" in text
    assert len(text.splitlines()) == 1
    monkeypatch.undo()

    monkeypatch.setattr(grpc_core, "load", lambda: None)
    kind, text = await _served_by(caplog)
    assert kind is AioServer
    assert "lacks a part" in text
    monkeypatch.undo()

    core = grpc_core.load()
    assert core is not None
    broken = core._replace(send_message=lambda message, flags: core.send_message(message + b"!", flags))
    monkeypatch.setattr(grpc_core, "load", lambda: broken)
    kind, text = await _served_by(caplog)
    assert kind is AioServer
    assert "self-test failed" in text


def test_an_extension_module_that_is_not_there_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the installed gRPC lacks is noticed before anything is used."""
    grpc_core.load.cache_clear()
    monkeypatch.setattr(grpc_core, "_MODULE", "types")
    try:
        assert grpc_core.load() is None
    finally:
        monkeypatch.undo()
        grpc_core.load.cache_clear()
    assert grpc_core.load() is not None


def _inner(without: str | None = None) -> types.ModuleType:
    """A module that has every name that is needed, but one."""
    module = types.ModuleType("inner")
    for name, members in grpc_core._NEEDED.items():
        kept = {member: None for member in members if f"{name}.{member}" != without}
        if name != without:
            setattr(module, name, type(name, (), kept))
    return module


_NAMES = [
    *grpc_core._NEEDED,
    *(f"{name}.{member}" for name, members in grpc_core._NEEDED.items() for member in members),
]


@pytest.mark.parametrize("name", _NAMES)
def test_an_inner_module_that_lacks_one_name_is_not_used(name: str) -> None:
    """Every name that is needed is looked for; with all of them the module is taken."""
    assert grpc_core._parts(_inner()) is not None
    with pytest.raises(AttributeError):
        grpc_core._parts(_inner(without=name))


async def test_a_server_goes_on_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of taking events leaves the server able to serve and to stop."""
    async with serving(InMemoryBackend(), direct=True) as (server, client):
        await client.call("Hello", Empty())
        inner = server._server
        assert isinstance(inner, DirectServer)
        take, taken, is_guarded = inner._take_some, asyncio.Event(), False

        def interrupted(first: object) -> None:
            take(first)  # type: ignore[arg-type]
            if not is_guarded:  # scheduled before the guard
                return
            monkeypatch.undo()
            taken.set()
            raise KeyboardInterrupt

        loop = asyncio.get_running_loop()

        def guarding(soon: Callable[..., object]) -> Callable[..., object]:
            def guarded(callback: Callable[..., object], *arguments: object, **more: object) -> object:
                def run() -> None:
                    nonlocal is_guarded
                    is_guarded = True
                    with contextlib.suppress(KeyboardInterrupt):  # asyncio would let it out of the loop
                        callback(*arguments)
                    is_guarded = False

                return soon(run, **more)

            return guarded

        monkeypatch.setattr(inner, "_take_some", interrupted)
        for name in ("call_soon", "call_soon_threadsafe"):
            monkeypatch.setattr(loop, name, guarding(getattr(loop, name)))
        await client.call("Hello", Empty())
        assert taken.is_set()
        await client.call("Hello", Empty())


async def test_a_stop_that_nobody_waits_for_any_more_goes_on() -> None:
    """The next call of ``stop`` or ``wait_stopped`` waits for its end."""
    async with _with_a_call_under_way() as (server, _, call):
        first = asyncio.ensure_future(server.stop(30))
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        others = [asyncio.ensure_future(server.stop(30)), asyncio.ensure_future(server.wait_stopped())]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(other.done() for other in others)
        server.goes_on.set()
        assert await call == b""
        await asyncio.gather(*others)


async def test_what_lasts_does_not_begin_while_the_server_stops() -> None:
    """A stream or a wait whose request comes after the stop is refused at once, and does not use up the grace."""
    async with serving(InMemoryBackend()) as (server, client):
        await client.call("Hello", Empty())
        server._is_stopping = True
        refusal = await client.refusal("WaitForInstanceStart", pb.GetInstanceRequest(instanceId="i"))
        assert refusal.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.stream("GetWorkItems", pb.GetWorkItemsRequest()).read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        server._is_stopping = False


async def test_a_wrapper_that_misuses_a_call_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Aborting with OK and sending headers twice are errors of the wrapper; long details are cut."""

    class Wrong(TaskHubServer):
        def wrap_handler(self, rpc: str, handler: Handler) -> Handler:
            async def wrong(data: bytes, context: Context) -> bytes | None:
                if rpc == "GetInstance":
                    await context.abort(grpc.StatusCode.OK)
                if rpc == "RaiseEvent":
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "x" * 20_000)
                await context.send_initial_metadata(())
                await context.send_initial_metadata(())
                return await handler(data, context)

            return wrong

    server = Wrong(InMemoryBackend(), direct=True)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            client = RawClient(channel)
            with caplog.at_level(logging.ERROR):
                assert (await client.refusal("GetInstance", b"")).code() is grpc.StatusCode.INTERNAL
                assert (await client.refusal("SuspendInstance", b"")).code() is grpc.StatusCode.INTERNAL
            assert (await client.refusal("RaiseEvent", b"")).code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop(0)
    assert "not aborted with the status OK" in caplog.text
    assert "were sent before" in caplog.text


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY = 4, 6, 7


async def test_frequent_pings_do_not_end_the_connection() -> None:
    """A client may ping as often as it likes; each ping is acknowledged."""
    count = 40

    def frame(kind: int, body: bytes = b"") -> bytes:
        return len(body).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + body

    async with serving(InMemoryBackend()) as (server, _):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(_PREFACE + frame(_SETTINGS))
        for number in range(count):
            writer.write(frame(_PING, number.to_bytes(8, "big")))
        acknowledged = []
        while len(acknowledged) < count:
            head = await asyncio.wait_for(reader.readexactly(9), 30)
            body = await reader.readexactly(int.from_bytes(head[:3], "big"))
            assert head[3] != _GOAWAY, body
            if head[3] == _PING and head[4] & 1:
                acknowledged.append(int.from_bytes(body, "big"))
        assert acknowledged == list(range(count))
        writer.close()
        await writer.wait_closed()
