"""Task hubs inside the process of their users: ``Endpoint=memory://`` and ``Endpoint=sqlite:///path``.

A client and a worker that are built separately share a hub by endpoint and hub name; the last one that closes closes
it. All embedded hubs of a process belong to one event loop in a thread of its own, because the loops of their users
end at times that the hub does not know: a request thread may have one for a few milliseconds. That loop is shared (see
``shared_loop``): a call acts as the loop in the thread of its caller, also where the caller's loop is the only one.

After a fork the child has no such thread: its transports enter new hubs. A hub in memory is then empty, and a file is
refused while the parent owns it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import ParamSpec, TypeVar

from durabletask.core.connection import ConnectionString, CredentialProvider
from durabletask.core.errors import ConfigurationError
from durabletask.core.forwarding import ForwardingTransport, StreamMethod, UnaryMethod, method_of
from durabletask.core.logs import get_logger
from durabletask.core.portal import LoopThread
from durabletask.core.transport import Transport
from durabletask.testing.clock import Clock

from .local import LocalTaskHub
from .residency import InMemory
from .shared_loop import SharedLoop, start_generator
from .storage.sqlite import Sqlite

__all__ = ["EmbeddedTransport", "from_connection_string"]

_logger = get_logger("durabletask.hub")

P = ParamSpec("P")
T = TypeVar("T")


class _Shared:
    """One embedded hub and its users."""

    def __init__(self, backend: LocalTaskHub) -> None:
        self.backend = backend
        self.users = 0
        self.pid = os.getpid()
        self._loop: SharedLoop | None = None

    @property
    def loop(self) -> SharedLoop:
        """The loop of the hubs."""
        if self._loop is None:
            self._loop = _thread.loop_of(self)
        return self._loop


def _warn_about_siblings(endpoint: str, task_hub: str) -> None:
    """Log where this process looks like one of several of a server, each of which would have a hub of its own."""
    server = os.environ.get("SERVER_SOFTWARE", "")  # gunicorn forks without multiprocessing
    if multiprocessing.parent_process() is None and not server.startswith("gunicorn") and not _of_parents:
        return
    _logger.warning(
        "Task hub %r at %s lives in this process (%d), which was started or forked by another one, as the processes of a "
        "server with several workers are. Its siblings do not share the hub%s. Run 'durabletask-emulator --store "
        "flows.db' and give all of them Endpoint=http://localhost:8080, or run one process.",
        task_hub,
        endpoint,
        os.getpid(),
        ": each has one of its own" if endpoint.startswith("memory") else ", and cannot open its file",
    )


_thread = LoopThread("durabletask-embedded-hubs", SharedLoop)
_guard = threading.Lock()
_hubs: dict[tuple[str, str], _Shared] = {}
_stores: dict[Path, Sqlite] = {}
_of_parents: list[object] = []


def _begin_anew() -> None:
    """A forked process leaves the hubs of its parent alone; they stay referenced, so that nothing closes them."""
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    _of_parents.append((dict(_hubs), dict(_stores)))
    _hubs.clear()
    _stores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def from_connection_string(
    connection_string: ConnectionString,
    task_hub: str,
    *,
    credential: CredentialProvider | None = None,  # noqa: ARG001 - part of the factory's form
    **options: object,
) -> Transport:
    """A transport to the hub of an embedded endpoint (the entry points ``memory`` and ``sqlite``).

    Options: ``clock``, used when this call makes the hub.

    Raises:
        ConfigurationError: an option is unknown.
    """
    clock = options.pop("clock", None)
    if options or not (clock is None or isinstance(clock, Clock)):
        raise ConfigurationError(
            f"An embedded hub takes the option clock (a Clock) only; got {sorted(options) or ['clock']}."
        )
    path = Path(connection_string.path).resolve() if connection_string.scheme == "sqlite" else None
    return EmbeddedTransport(connection_string.endpoint, task_hub, path, clock)


class EmbeddedTransport(ForwardingTransport):
    """One user of an embedded hub.

    Args:
        endpoint: ``memory://``, ``memory://name`` or ``sqlite:///path``.
        task_hub: name of the hub.
        path: the file of a ``sqlite`` endpoint.
        clock: the clock of the hub, if this is its first user.
    """

    def __init__(self, endpoint: str, task_hub: str, path: Path | None, clock: Clock | None) -> None:
        self._endpoint = endpoint
        self._task_hub = task_hub
        self._path = path
        self._clock = clock
        self._shared: _Shared | None = None
        self._enter()

    @property
    def endpoint(self) -> str:
        return self._endpoint

    @property
    def task_hub(self) -> str:
        return self._task_hub

    @property
    def backend(self) -> LocalTaskHub:
        """The hub itself."""
        return self._enter().backend

    def _enter(self) -> _Shared:
        if self._shared is None or self._shared.pid != os.getpid():
            key = (str(self._path) if self._path is not None else self._endpoint, self._task_hub)
            with _guard:
                shared = _hubs.get(key)
                if shared is None:
                    path = self._path
                    storage = InMemory() if path is None else _stores.setdefault(path, Sqlite(path))
                    backend = LocalTaskHub(self._task_hub, storage=storage, clock=self._clock)
                    shared = _hubs[key] = _Shared(backend)
                    _warn_about_siblings(self._endpoint, self._task_hub)
                shared.users += 1
            self._shared = shared
        return self._shared

    async def close(self) -> None:
        """Leave the hub; the last user closes it. Using the transport again enters it again."""
        shared, self._shared = self._shared, None
        if shared is None:
            return
        with _guard:
            shared.users -= 1
            if shared.users:
                return
            for key in [key for key, one in _hubs.items() if one is shared]:
                del _hubs[key]
        try:
            await shared.loop.run(shared.backend.close())
        finally:
            await asyncio.to_thread(_thread.leave, shared)  # it waits for the thread

    async def forward(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        shared = self._enter()
        return await shared.loop.run(method_of(shared.backend, method)(*args, **kwargs))

    async def forward_stream(
        self, method: StreamMethod[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        shared = self._enter()
        run, stream = shared.loop.run, method_of(shared.backend, method)(*args, **kwargs)
        if not isinstance(stream, AsyncGenerator):
            raise TypeError(f"{method.__name__} of a hub must be an async generator.")
        following = start_generator(stream)
        try:
            while True:
                yield await run(following)
                following = stream.__anext__()
        except StopAsyncIteration:
            return
        finally:
            await run(stream.aclose())
