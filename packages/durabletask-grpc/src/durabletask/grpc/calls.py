"""One call to a hub: headers, tokens, deadlines, and errors in core's terms.

Every call of a transport goes through ``Caller``: it adds the headers, asks for a new token once when the hub does
not accept the present one, and turns a status into an error. ``exchange`` makes the calls with one answer;
``stream`` makes those with many, see ``message_stream``.

Tokens are secrets. Crash reporters record the local variables of every frame of a failed call, so no function here
binds a token, or headers that contain one, to a name while it waits for the network.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import socket
import uuid
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from durabletask.core.errors import (
    InvalidRequestError,
    RemoteError,
    TransportUnavailableError,
    UnauthenticatedError,
)
from google.protobuf.message import DecodeError, Message

import grpc
import grpc.aio

from .address import Address, ChannelOptions
from .advice import explain_unavailable
from .channel import ChannelHolder, Metadata
from .interruption import CallEndedError, unless_ended
from .message_stream import MessageStream
from .status import error_of

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken, CredentialProvider

__all__ = ["SERVER_HEADER", "Caller", "default_user_agent", "encode"]

SERVER_HEADER: Final[str] = "x-durabletask-server"
"""Header by which our own server names itself in the answer to Hello."""

_WORKER_CALLS: Final = frozenset(
    {
        "Hello",
        "GetWorkItems",
        "CompleteOrchestratorTask",
        "CompleteActivityTask",
        "CompleteEntityTask",
        "AbandonTaskOrchestratorWorkItem",
        "AbandonTaskActivityWorkItem",
        "AbandonTaskEntityWorkItem",
    }
)

_TOKEN_TIMEOUT: Final = 120.0  # seconds; a command line tool or a chain of sources may take a while
_T = TypeVar("_T")


@cache
def default_user_agent() -> str:
    """The ``x-user-agent`` header that is sent unless another one is given: ``durabletask-python/<version>``."""
    return f"durabletask-python/{importlib.metadata.version('durabletask-grpc')}"


class Caller:
    """Makes calls to one task hub.

    Args:
        address: where the hub is.
        task_hub: its name.
        credential: where tokens come from; ``None``: calls carry none.
        options: of the channel.
        user_agent: the ``x-user-agent`` header.
    """

    def __init__(
        self,
        address: Address,
        task_hub: str,
        credential: CredentialProvider | None,
        options: ChannelOptions,
        user_agent: str | None,
    ) -> None:
        self.address = address
        self.task_hub = task_hub
        self.channels: ChannelHolder = ChannelHolder(address, options)
        self._credential = credential
        agent = user_agent or default_user_agent()
        self._headers: Metadata = (("taskhub", task_hub), ("x-user-agent", agent))
        # Machines may be named in any script; a header is ASCII.
        worker_id = f"{quote(socket.gethostname(), safe=' ')}:{os.getpid()}:{uuid.uuid4()}"
        self._worker_headers: Metadata = (*self._headers, ("workerid", worker_id))

    @property
    def has_credential(self) -> bool:
        """Whether calls carry a token."""
        return self._credential is not None

    async def token(self, *, force_new: bool = False) -> AccessToken | None:
        """A token; ``None`` without a credential.

        Raises:
            UnauthenticatedError: the credential gives none, or not in time.
        """
        if self._credential is None:
            return None
        asking = asyncio.ensure_future(self._credential.get_token(force_new=force_new))
        try:
            await asyncio.wait([asking], timeout=_TOKEN_TIMEOUT)
        finally:
            if not asking.done():
                asking.cancel()
        if asking.cancelled() or not asking.done():
            raise UnauthenticatedError(
                f"The credential gave no token within {_TOKEN_TIMEOUT:g} s. Check that this machine can reach the "
                "service that issues tokens."
            )
        return asking.result()

    def headers(self, rpc: str, token: AccessToken | None) -> Metadata:
        """The headers of a call.

        Raises:
            UnauthenticatedError: the token has a character that a header cannot carry.
        """
        headers = self._worker_headers if rpc in _WORKER_CALLS else self._headers
        if token is None:
            return headers
        if not (token.value.isascii() and token.value.isprintable()):
            raise UnauthenticatedError(
                "The credential gave a token that cannot be sent: it has a line break or another character that a "
                "header cannot carry. Strip what surrounds the token where it is read."
            )
        return (*headers, ("authorization", f"Bearer {token.value}"))

    async def call(
        self, rpc: str, request: Message, decode: Callable[[bytes], _T], *, timeout: float | None
    ) -> _T:
        """Make a call with one answer.

        Raises:
            TransportError: of the kind that the status stands for.
        """
        data, _ = await self.exchange(rpc, encode(rpc, request), timeout=timeout)
        try:
            return decode(data)
        except DecodeError as error:
            raise self.unreadable(rpc, error) from None

    async def exchange(
        self, rpc: str, request: bytes, *, timeout: float | None
    ) -> tuple[bytes, grpc.aio.UnaryUnaryCall[bytes, bytes]]:
        """Make a call with one answer, bytes in and bytes out; the answer, and the call for its headers."""
        is_renewed = False
        while True:
            start = self.channels.unary(rpc)
            call = start(
                request,
                timeout=timeout,
                metadata=self.headers(rpc, await self.token(force_new=is_renewed)),
            )
            self.channels.under_way.add(call)
            try:
                data = await unless_ended(call, call)
            except grpc.aio.AioRpcError as error:
                if self.may_renew_token(error.code()) and not is_renewed:
                    is_renewed = True
                    continue
                raise self.failure(rpc, error) from None
            except (
                CallEndedError,
                grpc.aio.UsageError,
            ):  # UsageError: the channel was closed before the start
                raise self.closed(rpc) from None
            finally:
                self.channels.under_way.discard(call)
            self.channels.succeeded()
            return data, call

    def stream(
        self,
        rpc: str,
        request: bytes,
        *,
        silence_limit: float,
        token: AccessToken | None = None,
        is_resumable: bool = False,
    ) -> MessageStream:
        """A call with a stream of answers: ``async with caller.stream(...) as answers: async for data in answers``.

        Args:
            rpc: name of the call.
            request: its request.
            silence_limit: seconds without a message after which the call is given up.
            token: the token to open it with, if one was asked for before.
            is_resumable: each message stands for itself, so the call may be opened again between two of them.
        """
        return MessageStream(
            self, rpc, request, silence_limit=silence_limit, token=token, is_resumable=is_resumable
        )

    def may_renew_token(self, code: grpc.StatusCode) -> bool:
        """Whether a call that failed with this status is made again with a new token."""
        return code is grpc.StatusCode.UNAUTHENTICATED and self.has_credential

    def failure(self, rpc: str, error: grpc.aio.AioRpcError) -> Exception:
        """The error to raise for a failed call."""
        code = error.code()
        self.channels.failed(code)
        details, advice = error.details() or "", ""
        if code is grpc.StatusCode.UNAVAILABLE:
            details, advice = explain_unavailable(self.address, details)
        return error_of(
            code,
            details,
            rpc=rpc,
            endpoint=self.address.endpoint,
            task_hub=self.task_hub,
            advice=advice,
        )

    def unreadable(self, rpc: str, error: DecodeError) -> Exception:
        """The error to raise for an answer that is no message of the protocol."""
        return RemoteError(f"{self.address.endpoint} answered {rpc} with what cannot be parsed: {error}")

    def closed(self, rpc: str) -> Exception:
        """The error to raise for a call that ended because its channel was closed."""
        return TransportUnavailableError(
            f"The transport to {self.address.endpoint} was closed while {rpc} was under way."
        )


def encode(rpc: str, request: Message) -> bytes:
    """The bytes of a request.

    Raises:
        InvalidRequestError: it contains text that is no Unicode.
    """
    try:
        return request.SerializeToString()
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"The request for {rpc} cannot be encoded: {error}") from None
