"""The wire's floor: a raw grpc.aio server that does nothing but pass bytes.

python echo.py serve               prints its address and serves until killed
python echo.py load ADDR N RATE    the bare messages of N three-activity orchestrations

The load has the form of the real one, because the price of a message depends on it: grpc.aio has several
threads that wake each other for what has arrived, so that calls that arrive together are much cheaper than
calls that arrive one by one. The client of the comparison is synchronous, so this one is too: threads that
each make one call at a time, and one thread that reads the stream. As with real work, a message on the stream
is the consequence of a call. RATE is how many orchestrations a second the threads aim at, with pauses between
calls; 0 is as many as they can. A floor for a real server is one at the rate that it was measured at; the one
without pauses is lower, because a client that does nothing else keeps the threads of gRPC awake. The server
runs on plain asyncio and has the default options.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio

PAYLOAD = b"x" * 400
ANSWER, ANSWER_AND_SEND = b"a" + PAYLOAD, b"s" + PAYLOAD
CALLS = 9  # of a three-activity orchestration: create, wait, four episodes, three activities
STREAM_MESSAGES = 7  # four episodes, three activities
THREADS = 16


class Echo:
    """Answers a call with its bytes, and sends them on the stream too if the first of them says so."""

    def __init__(self) -> None:
        self._to_send: asyncio.Queue[bytes] = asyncio.Queue()

    async def unary(self, request: bytes, context: object) -> bytes:
        """Answer."""
        if request[:1] == b"s":
            self._to_send.put_nowait(request)
        return request

    async def stream(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        """Send as many messages as the request says, when calls ask for them."""
        for _ in range(int(request)):
            yield await self._to_send.get()


async def serve() -> None:
    server, echo = grpc.aio.server(), Echo()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Stream": grpc.unary_stream_rpc_method_handler(echo.stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def load(address: str, orchestrations: int, rate: float) -> None:
    pause = THREADS / CALLS / rate if rate else 0.0  # between the calls of one thread, on average
    shares = [len(range(first, orchestrations, THREADS)) for first in range(THREADS)]
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/Echo/Unary")
        messages = channel.unary_stream("/Echo/Stream")(str(orchestrations * STREAM_MESSAGES).encode())
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.extend(messages))
        reader.start()

        def some(number: int, share: int) -> None:
            pauses, due = random.Random(number), time.monotonic()
            for turn in range(share * CALLS):
                call(ANSWER_AND_SEND if turn % CALLS < STREAM_MESSAGES else ANSWER)
                due += pauses.uniform(0, 2 * pause)
                time.sleep(max(due - time.monotonic(), 0))

        threads = [threading.Thread(target=some, args=pair) for pair in enumerate(shares)]
        for thread in threads:
            thread.start()
        for thread in [*threads, reader]:
            thread.join()
        assert len(received) == orchestrations * STREAM_MESSAGES


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        load(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
