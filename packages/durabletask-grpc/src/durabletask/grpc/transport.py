"""``GrpcTransport``: a task hub on the other side of a gRPC connection.

This module has the options and the life cycle; ``remote`` has the calls. It is imported by the first of
them, because gRPC takes a good part of a tenth of a second to import.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, ParamSpec, TypeVar, cast

from durabletask.core.connection import require_protection
from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import ConfigurationError, TransportError
from durabletask.core.forwarding import ForwardingTransport, StreamMethod, UnaryMethod, method_of
from durabletask.core.instances import OrchestrationState
from durabletask.core.portal import running_loop
from durabletask.core.work_items import OrchestratorResult

from .address import Address, ChannelOptions, check_header

if TYPE_CHECKING:
    from durabletask.core.connection import CredentialProvider

    from .remote import RemoteHub

__all__ = [
    "DEFAULT_COMPLETION_SIZE",
    "DEFAULT_MAXIMUM_TIMER_INTERVAL",
    "SILENCE_LIMIT",
    "GrpcTransport",
    "from_connection_string",
]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_COMPLETION_SIZE: Final[int] = 4_089_446
"""Bytes of a completion message up to which it is sent as one: a little under gRPC's usual 4 MiB."""

SILENCE_LIMIT: Final[timedelta] = timedelta(seconds=120)
"""A stream without any message for this long is dead; hubs send pings well below it."""

DEFAULT_MAXIMUM_TIMER_INTERVAL: Final[timedelta] = timedelta(days=3)
"""The longest timer that is asked of a hub of which nothing is known."""

_OPTIONS: Final = frozenset(
    {
        "allow_insecure_credential",
        "call_timeout",
        "completion_size",
        "decode",
        "maximum_instance_id_length",
        "maximum_timer_interval",
        "options",
        "silence_limit",
        "user_agent",
    }
)


class GrpcTransport(ForwardingTransport):
    """A connection to a task hub over gRPC. Building it opens nothing.

    Several event loops may use it, also at the same time in several threads; each opens a channel of its own.

    Args:
        endpoint: ``http://``, ``https://``, ``grpc://`` or ``grpcs://`` address; ``https``/``grpcs`` use TLS.
        task_hub: name of the task hub.
        credential: where bearer tokens come from; ``None`` sends none.
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
        call_timeout: deadline of every call that is no wait and no stream.
        maximum_timer_interval: the longest timer the hub takes. ``"auto"``: three days, any length once
            ``connect`` has found a server of this project.
        maximum_instance_id_length: the longest instance id the hub takes; ``None``: any length.
        completion_size: bytes above which the answer to an episode is sent in parts.
        silence_limit: a stream of work items without a sign of life for this long is given up.
        decode: how a worker reads histories. ``"compact"`` scans the bytes for the most frequent events, which
            replays long histories several times faster; ``"plain"`` has protobuf read every event. The results are
            the same. Use ``"plain"`` to rule the scanner out when looking for a fault.
        options: of the gRPC channel.
        user_agent: the ``x-user-agent`` header.

    Raises:
        ConfigurationError: the endpoint is no address of a hub, tokens would travel unprotected, a name cannot be
            sent in a header, or ``decode`` is no known way.
    """

    def __init__(
        self,
        endpoint: str,
        task_hub: str = "default",
        *,
        credential: CredentialProvider | None = None,
        allow_insecure_credential: bool = False,
        call_timeout: timedelta = timedelta(seconds=30),
        maximum_timer_interval: timedelta | Literal["auto"] | None = "auto",
        maximum_instance_id_length: int | None = None,
        completion_size: int = DEFAULT_COMPLETION_SIZE,
        silence_limit: timedelta = SILENCE_LIMIT,
        decode: Literal["compact", "plain"] = "compact",
        options: ChannelOptions | None = None,
        user_agent: str | None = None,
    ) -> None:
        self._address = Address.parse(endpoint)
        if credential is not None and not allow_insecure_credential:
            require_protection(ConnectionString(endpoint=endpoint))
        if decode not in ("compact", "plain"):
            raise ConfigurationError(f"decode must be 'compact' or 'plain', not {decode!r}.")
        self._task_hub = check_header(task_hub, "The task hub name")
        if user_agent is not None:
            check_header(user_agent, "The user agent")
        self._credential = credential
        self._timer_interval = maximum_timer_interval
        self._takes_any_timer = False
        self._maximum_instance_id_length = maximum_instance_id_length
        self._make_remote = partial(
            _make_remote,
            address=self._address,
            task_hub=task_hub,
            credential=credential,
            options=options or ChannelOptions(),
            user_agent=user_agent,
            call_timeout=call_timeout.total_seconds(),
            completion_size=completion_size,
            silence_limit=silence_limit,
            is_scanning=decode == "compact",
        )
        # A channel belongs to an event loop, so each loop that uses the transport has calls of its own.
        self._remotes: dict[asyncio.AbstractEventLoop, RemoteHub] = {}

    def __repr__(self) -> str:
        return f"GrpcTransport({self.endpoint!r}, {self.task_hub!r})"

    # --- what the transport is ----------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The address of the hub, with its scheme."""
        return self._address.endpoint

    @property
    def task_hub(self) -> str:
        return self._task_hub

    @property
    def maximum_timer_interval(self) -> timedelta | None:
        """The longest timer the hub takes; read it after ``connect``."""
        if self._timer_interval != "auto":
            return self._timer_interval
        return None if self._takes_any_timer else DEFAULT_MAXIMUM_TIMER_INTERVAL

    @property
    def maximum_instance_id_length(self) -> int | None:
        return self._maximum_instance_id_length

    # --- life cycle -----------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Make sure that the hub answers (Hello, with a deadline of 30 s)."""
        self._takes_any_timer = await (await self._open()).hello()

    async def close(self) -> None:
        """Close the channel and the credential. A later call opens a new channel."""
        here = asyncio.get_running_loop()
        remotes, self._remotes = self._remotes, {}
        for loop, remote in remotes.items():
            if loop is here:
                await remote.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(remote.close(), loop)
        if self._credential is not None:
            await self._credential.close()

    async def _open(self) -> RemoteHub:
        """The calls. The first one imports gRPC, in a thread: the event loop has better things to do."""
        loop = running_loop("A connection to a task hub")
        remote = self._remotes.get(loop)
        if remote is None:
            if not _is_imported():
                # Always in a thread: it may also have to wait for the thread of another transport.
                await asyncio.to_thread(importlib.import_module, "durabletask.grpc.remote")
            remote = self._remotes.get(loop)  # made by another call meanwhile
            if remote is None:
                for ended in [each for each in list(self._remotes) if each.is_closed()]:
                    self._remotes.pop(ended, None)  # another thread may do the same
                remote = self._remotes[loop] = self._make_remote()
        return remote

    # --- calls ----------------------------------------------------------------------------------------------

    async def forward(self, method: UnaryMethod[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await (await self._open()).call(method, *args, **kwargs)
        except TransportError as error:
            # Without the frames of this package: a user reads the message and the line that called.
            raise error.with_traceback(None) from error.__cause__

    async def forward_stream(
        self, method: StreamMethod[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        stream = cast("AsyncGenerator[T, None]", method_of(await self._open(), method)(*args, **kwargs))
        async with aclosing(stream) as answers:
            async for answer in answers:
                yield answer

    async def wait_for_instance_start(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        remote = await self._open()
        return await remote.wait("WaitForInstanceStart", instance_id, include_payloads, timeout)

    async def wait_for_instance_completion(
        self, instance_id: str, *, include_payloads: bool = True, timeout: timedelta | None = None
    ) -> OrchestrationState | None:
        remote = await self._open()
        return await remote.wait("WaitForInstanceCompletion", instance_id, include_payloads, timeout)

    async def wait_for_instance_change(self, state: OrchestrationState) -> OrchestrationState:
        return await super(ForwardingTransport, self).wait_for_instance_change(
            state
        )  # the protocol has no such call

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit an episode, in several messages if it is large."""
        await (await self._open()).complete_orchestrator(result)


def _is_imported() -> bool:
    """Whether the calls are imported, and not just being imported by another thread."""
    return hasattr(sys.modules.get("durabletask.grpc.remote"), "RemoteHub")


def _make_remote(
    *,
    address: Address,
    task_hub: str,
    credential: CredentialProvider | None,
    options: ChannelOptions,
    user_agent: str | None,
    call_timeout: float,
    completion_size: int,
    silence_limit: timedelta,
    is_scanning: bool,
) -> RemoteHub:
    from .calls import Caller  # noqa: PLC0415 - imports gRPC
    from .remote import RemoteHub  # noqa: PLC0415 - imports gRPC

    return RemoteHub(
        Caller(address, task_hub, credential, options, user_agent),
        call_timeout=call_timeout,
        completion_size=completion_size,
        silence_limit=silence_limit,
        is_scanning=is_scanning,
    )


def from_connection_string(
    connection_string: ConnectionString,
    task_hub: str,
    *,
    credential: CredentialProvider | None = None,
    **options: object,
) -> GrpcTransport:
    """The entry point of the schemes ``http``, ``https``, ``grpc`` and ``grpcs``.

    Imports gRPC, unless an event loop runs, which the import would block: then the first call imports it in a thread.

    Args:
        connection_string: its ``endpoint`` is used.
        task_hub: name of the task hub.
        credential: where bearer tokens come from.
        **options: as of ``GrpcTransport``.

    Raises:
        ConfigurationError: the endpoint is no address of a hub, or an option is not known.
    """
    make = cast("Callable[..., GrpcTransport]", GrpcTransport)
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"A gRPC transport has no option {unknown[0]!r}; it has {', '.join(sorted(_OPTIONS))}."
        )
    if not _is_in_event_loop():
        importlib.import_module("durabletask.grpc.remote")
    return make(connection_string.endpoint, task_hub or "default", credential=credential, **options)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
