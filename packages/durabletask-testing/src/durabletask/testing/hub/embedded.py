"""Task hubs inside the process of their users: ``Endpoint=memory://`` and ``Endpoint=sqlite:///path``.

A client and a worker that are built separately share a hub by endpoint and hub name; the last one that
closes closes it. The hub lives in the event loop that used it first; users in other loops of the process
(the blocking facade runs one in a thread) are served across threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from durabletask.core.connection import ConnectionString, CredentialProvider
from durabletask.core.errors import ConfigurationError, TransportUnavailableError
from durabletask.core.forwarding import ForwardingTransport, StreamMethod, UnaryMethod, method_of
from durabletask.core.transport import Transport
from durabletask.testing.clock import Clock

from .local import InMemoryBackend
from .storage.sqlite import Sqlite as SqliteStore

__all__ = ["EmbeddedTransport", "from_connection_string"]

P = ParamSpec("P")
T = TypeVar("T")


class _Shared:
    """One embedded hub and its users."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self.backend = backend
        self.users = 0
        self.home: asyncio.AbstractEventLoop | None = None

    def is_elsewhere(self) -> bool:
        """Whether the hub lives in another loop that is running; otherwise it lives here from now on."""
        here = asyncio.get_running_loop()
        if self.home is not here and self.home is not None and self.home.is_running():
            return True
        self.home = here
        return False


_guard = threading.Lock()
_hubs: dict[tuple[str, str], _Shared] = {}
_stores: dict[Path, SqliteStore] = {}


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
        """The endpoint of the connection string."""
        return self._endpoint

    @property
    def task_hub(self) -> str:
        """Name of the task hub."""
        return self._task_hub

    @property
    def backend(self) -> InMemoryBackend:
        """The hub itself."""
        return self._enter().backend

    def _enter(self) -> _Shared:
        if self._shared is None:
            key = (str(self._path) if self._path is not None else self._endpoint, self._task_hub)
            with _guard:
                shared = _hubs.get(key)
                if shared is None:
                    store = _stores.setdefault(self._path, SqliteStore(self._path)) if self._path else None
                    backend = InMemoryBackend(self._task_hub, clock=self._clock, store=store)
                    shared = _hubs[key] = _Shared(backend)
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
        await _call(shared, shared.backend.close)

    async def forward(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make the call on the hub, in the loop that the hub lives in."""
        shared = self._enter()
        call = method_of(shared.backend, method)
        if not shared.is_elsewhere():
            return await call(*args, **kwargs)
        return await _call(shared, lambda: call(*args, **kwargs))

    async def forward_stream(
        self, method: StreamMethod[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """Open the stream on the hub, in the loop that the hub lives in."""
        shared = self._enter()
        stream = method_of(shared.backend, method)(*args, **kwargs)
        reading: asyncio.Task[object] | None = None

        async def following() -> list[T]:
            nonlocal reading
            reading = asyncio.current_task()
            try:
                async for answer in stream:
                    return [answer]
                return []
            finally:
                reading = None

        async def close() -> None:
            task = reading
            if task is not None:  # a read in the other loop, which may not have been cancelled yet
                task.cancel()
                await asyncio.wait([task])
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

        try:
            while answers := await _call(shared, following):
                yield answers[0]
        finally:
            await _call(shared, close)


async def _call(shared: _Shared, request: Callable[[], Awaitable[T]]) -> T:
    """Run a request in the loop of the hub."""
    home = shared.home
    if not shared.is_elsewhere() or home is None:
        return await request()

    async def run() -> T:
        return await request()

    asked = asyncio.run_coroutine_threadsafe(cast("Coroutine[object, object, T]", run()), home)
    try:
        return await asyncio.wrap_future(asked)
    except asyncio.CancelledError:
        if home.is_running():
            raise
        raise TransportUnavailableError(
            f"The event loop that task hub {shared.backend.task_hub!r} lived in has ended; call again."
        ) from None
