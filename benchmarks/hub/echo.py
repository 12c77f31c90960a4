"""The wire's floor: a raw grpc.aio server that answers bytes with bytes and streams bytes.

python echo.py serve            prints its address and serves until killed
python echo.py unary ADDR N     N unary calls, 64 in flight
python echo.py stream ADDR N    one stream of N messages
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import grpc.aio

PAYLOAD = b"x" * 400


async def unary(request: bytes, context: object) -> bytes:
    return request


async def stream(request: bytes, context: object) -> AsyncIterator[bytes]:
    for _ in range(int(request)):
        yield PAYLOAD


async def serve() -> None:
    server = grpc.aio.server()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def load(kind: str, address: str, count: int) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        if kind == "stream":
            received = 0
            async for _ in channel.unary_stream("/Echo/Stream")(str(count).encode()):
                received += 1
            assert received == count
            return
        call = channel.unary_unary("/Echo/Unary")

        async def some(share: int) -> None:
            for _ in range(share):
                await call(PAYLOAD)

        await asyncio.gather(*[some(count // 64) for _ in range(64)])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        asyncio.run(load(sys.argv[1], sys.argv[2], int(sys.argv[3])))
