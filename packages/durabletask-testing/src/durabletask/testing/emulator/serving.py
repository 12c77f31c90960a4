"""What the emulator does: serve until it receives a signal, or while a command runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from durabletask.core.connection_string import (
    CONNECTION_STRING_VARIABLE,
    TASK_HUB_VARIABLE,
    ConnectionString,
)
from durabletask.core.logs import get_logger
from durabletask.core.options import LINT_VARIABLE
from durabletask.grpc.server import TaskHubServer
from durabletask.testing.hub import HubRegistry

__all__ = ["run_command", "running_server", "serve", "warn_if_open"]

_LOGGER: Final = get_logger("durabletask.emulator")

_GRACE: Final = 2.0  # seconds that calls under way have when the emulator stops
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_NOT_FOUND: Final = 127  # exit codes as of a shell
_NOT_EXECUTABLE: Final = 126


@asynccontextmanager
async def running_server(*, host: str, port: int, store: Path | None = None) -> AsyncIterator[TaskHubServer]:
    """A server with its task hubs, for as long as the block runs.

    Raises:
        ConfigurationError: the address cannot be listened on.
        TransportError: the store cannot be opened.
    """
    hubs = HubRegistry(store)
    server = TaskHubServer(hubs.hub, host=host, port=port, direct=True)
    try:
        await hubs.hub(
            "default"
        ).connect()  # a store that cannot be opened fails the start and not the first client
        await server.start()
        warn_if_open(host)
        yield server
    finally:
        await server.stop(_GRACE)
        await hubs.close()


def warn_if_open(host: str) -> None:
    """Log a warning if the address can be reached from other machines: the emulator has no sign-in."""
    if not ConnectionString(endpoint=f"http://[{host}]" if ":" in host else f"http://{host}").is_loopback:
        _LOGGER.warning(
            "The emulator listens on %s without sign-in and encryption: every machine that can reach it can read and "
            "change all task hubs. Leave --host out unless the network is trusted.",
            host,
        )


async def serve(*, host: str, port: int, store: Path | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit code."""
    stop = asyncio.Event()
    with _on_signals(lambda _: stop.set()):
        async with running_server(host=host, port=port, store=store) as server:
            sys.stdout.write(
                f"Serving task hubs at {server.endpoint} ({'in memory' if store is None else store}). "
                "Stop with Ctrl-C.\n"
                f'  {CONNECTION_STRING_VARIABLE}="{_connection_string(server)}"\n'
            )
            sys.stdout.flush()
            await stop.wait()
    return 0


async def run_command(command: Sequence[str], *, host: str, port: int, store: Path | None = None) -> int:
    """Serve while a command runs. SIGINT and SIGTERM are forwarded to it; its exit code."""
    async with running_server(host=host, port=port, store=store) as server:
        environment = {
            LINT_VARIABLE: "1",
            **os.environ,
            CONNECTION_STRING_VARIABLE: _connection_string(server),
            TASK_HUB_VARIABLE: "default",
        }
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environment)
        except FileNotFoundError:
            sys.stderr.write(f"durabletask-emulator: there is no command {command[0]!r}\n")
            return _NOT_FOUND
        except PermissionError:
            sys.stderr.write(f"durabletask-emulator: {command[0]!r} may not be executed\n")
            return _NOT_EXECUTABLE

        def forward(number: int) -> None:
            # Ctrl-C in a terminal reaches the command by itself; a second one does no harm there.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

        with _on_signals(forward):
            code = await process.wait()
    return 128 - code if code < 0 else code


def _connection_string(server: TaskHubServer) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host)  # noqa: S104 - compared, not bound
    endpoint = f"http://{host}:{server.port}" if host else server.endpoint
    return f"Endpoint={endpoint};Authentication=None"


@contextmanager
def _on_signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Call ``handle`` for the signals that ask to stop, on every platform."""
    loop = asyncio.get_running_loop()
    if os.name != "posix":
        previous = {
            number: signal.signal(number, lambda got, _: loop.call_soon_threadsafe(handle, got))
            for number in _STOP_SIGNALS
        }
        try:
            yield
        finally:
            for number, old in previous.items():
                signal.signal(number, old)
        return
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
