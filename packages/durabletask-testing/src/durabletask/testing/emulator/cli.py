"""The command ``durabletask-emulator``: its arguments, and what they start.

``durabletask-emulator`` serves until SIGINT or SIGTERM. ``durabletask-emulator exec -- CMD ARGS`` serves on
a free port while CMD runs, and ends with its exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

from durabletask.core.errors import ConfigurationError, DurableTaskError, MissingPackageError

__all__ = ["main"]

_DEFAULT_PORT: Final = 8080
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_EXIT_FAILED: Final = 1
_POLLING_SWITCH: Final = "-event_engine_listener"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if options.action == "serve":
        _read_sockets_where_we_wait()
    try:
        return _runner(options.action)(_run(options))
    except KeyboardInterrupt:
        return 130
    except DurableTaskError as error:
        sys.stderr.write(f"durabletask-emulator: {error}\n")
        return _EXIT_FAILED


def _read_sockets_where_we_wait() -> None:
    """Keep gRPC from reading in threads of its own, before it is imported.

    These threads save work in servers that have many. This server has one thread that waits for gRPC anyway, and
    without the others a call needs a sixth less of CPU time. A value that the user has set stands. gRPC removes such
    switches some day and then logs an error about them, so it is used only with the versions that the tests cover.
    """
    with contextlib.suppress(ImportError):  # reported with advice when the server is imported
        from durabletask.grpc.grpc_core import is_tested_grpcio  # noqa: PLC0415 - needs the extra

        if is_tested_grpcio():
            os.environ.setdefault("GRPC_EXPERIMENTS", _POLLING_SWITCH)


def _runner(action: str) -> Callable[[Coroutine[object, object, int]], int]:
    """What runs the event loop: uvloop where it is installed, because it costs less for each call.

    Not with ``exec``: it starts the command in a way that gRPC comments on, on the stderr of the command.
    """
    if action == "exec":
        return asyncio.run
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _run(options: argparse.Namespace) -> int:
    try:
        from .serving import run_command, serve  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"grpc", "google", "durabletask"}:
            raise
        raise MissingPackageError(
            f"The emulator needs a package that is not installed ({error.name}). "
            "Run: pip install 'durabletask-testing[emulator]'"
        ) from error
    store: Path | None = options.store
    if options.action == "exec":
        command: list[str] = options.command
        if command[:1] == ["--"]:
            command = command[1:]
        if not command:
            raise ConfigurationError(
                "exec needs a command, for instance: durabletask-emulator exec -- python app.py"
            )
        return await run_command(command, host=options.host, port=options.port or 0, store=store)
    return await serve(
        host=options.host, port=_DEFAULT_PORT if options.port is None else options.port, store=store
    )


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    shared.add_argument("--port", type=_port, help="port to listen on; 0 takes a free one")
    shared.add_argument(
        "--log-level", choices=_LEVELS, type=str.lower, help="how much to log (default: warning)"
    )
    shared.add_argument(
        "--store", type=Path, metavar="PATH", help="keep everything in this SQLite file (default: in memory)"
    )
    parser = argparse.ArgumentParser(
        prog="durabletask-emulator",
        parents=[shared],
        description="A local task hub server for development and tests, with any number of task hubs.",
        epilog="The port is 8080, and with exec a free one, when --port is not given.",
    )
    parser.set_defaults(host="127.0.0.1", port=None, log_level="warning", store=None, action="serve")
    actions = parser.add_subparsers(dest="action", metavar="exec")
    run = actions.add_parser(
        "exec",
        parents=[shared],
        help="serve while a command runs, and end with its exit code",
        usage="durabletask-emulator exec [options] -- CMD [ARGS ...]",
        description="Sets DURABLETASK_CONNECTION_STRING and DURABLETASK_TASK_HUB_NAME for the command, and "
        "DURABLETASK_LINT=1 (unless set), with which workers run the linter at start.",
    )
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD [ARGS ...]")
    parser.set_defaults(action="serve")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port; ports are 0 to 65535")
    return port
