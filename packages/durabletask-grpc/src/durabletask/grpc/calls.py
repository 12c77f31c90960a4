"""One call to a hub: headers, tokens, deadlines, and errors in core's terms.

Everything that a transport does goes through ``Caller``: it adds the headers of protocol section 1.3,
asks for a new token once when the hub does not accept the present one, and turns a status into an error.
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

from durabletask.core.errors import InvalidRequestError, RemoteError, TransportUnavailableError
from google.protobuf.message import DecodeError, Message

import grpc
import grpc.aio

from .address import Address, ChannelOptions
from .channel import ChannelHolder, Metadata
from .status import error_of

if TYPE_CHECKING:
    from durabletask.core.connection import AccessToken, CredentialProvider

__all__ = ["SERVER_HEADER", "Caller", "default_user_agent"]

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

_M = TypeVar("_M", bound=Message)


@cache
def default_user_agent() -> str:
    """What calls say about who makes them, ``durabletask-python/<version>``."""
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
        worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
        self._worker_headers: Metadata = (*self._headers, ("workerid", worker_id))

    @property
    def has_credential(self) -> bool:
        """Whether calls carry a token."""
        return self._credential is not None

    async def headers(self, rpc: str, *, force_new: bool = False) -> Metadata:
        """The headers of a call, with a token if there is a credential."""
        token = None if self._credential is None else await self.token(force_new=force_new)
        return self.headers_with(rpc, token)

    async def token(self, *, force_new: bool = False) -> AccessToken:
        """A token; only if there is a credential."""
        assert self._credential is not None  # noqa: S101 - asked for by whoever looked at `has_credential`
        return await self._credential.get_token(force_new=force_new)

    def headers_with(self, rpc: str, token: AccessToken | None) -> Metadata:
        """The headers of a call with a given token."""
        headers = self._worker_headers if rpc in _WORKER_CALLS else self._headers
        return headers if token is None else (*headers, ("authorization", f"Bearer {token.value}"))

    async def unary(self, rpc: str, request: Message, answer: type[_M], *, timeout: float | None) -> _M:
        """Make a call with one answer.

        Raises:
            TransportError: of the kind that the status stands for.
        """
        data = await self.send(rpc, encode(rpc, request), timeout=timeout)
        try:
            return answer.FromString(data)
        except DecodeError as error:
            raise self.unreadable(rpc, error) from None

    async def send(self, rpc: str, request: bytes, *, timeout: float | None) -> bytes:
        """Make a call with one answer, bytes in and bytes out."""
        return (await self.exchange(rpc, request, timeout=timeout))[0]

    async def exchange(
        self, rpc: str, request: bytes, *, timeout: float | None
    ) -> tuple[bytes, grpc.aio.UnaryUnaryCall[bytes, bytes]]:
        """Like ``send``, with the call, for its headers."""
        force_new = False
        while True:
            metadata = await self.headers(rpc, force_new=force_new)
            generation = self.channels.generation
            call = self.channels.unary(rpc)(request, timeout=timeout, metadata=metadata)
            self.channels.under_way.add(call)
            try:
                data = await call
            except grpc.aio.AioRpcError as error:
                if self._may_retry(error.code(), retried=force_new):
                    force_new = True
                    continue
                raise self.failure(rpc, error) from None
            except asyncio.CancelledError:
                raise self.interruption(rpc, generation) from None
            except grpc.aio.UsageError:  # the channel was closed between the two lines above
                raise self._closed(rpc) from None
            finally:
                self.channels.under_way.discard(call)
            self.channels.succeeded()
            return data, call

    def _may_retry(self, code: grpc.StatusCode, *, retried: bool) -> bool:
        return code is grpc.StatusCode.UNAUTHENTICATED and self.has_credential and not retried

    def failure(self, rpc: str, error: grpc.aio.AioRpcError) -> Exception:
        """The error to raise for a failed call."""
        code = error.code()
        self.channels.failed(code)
        return error_of(
            code,
            error.details() or "",
            rpc=rpc,
            endpoint=self.address.endpoint,
            task_hub=self.task_hub,
        )

    def interruption(self, rpc: str, generation: int) -> BaseException:
        """What to raise when a call was cancelled: by us from outside, or because its channel was closed."""
        if self.channels.generation == generation or _is_being_cancelled():
            return asyncio.CancelledError()
        return self._closed(rpc)

    def unreadable(self, rpc: str, error: DecodeError) -> Exception:
        """The error to raise for an answer that is no message of the protocol."""
        return RemoteError(f"{self.address.endpoint} answered {rpc} with what cannot be parsed: {error}")

    def _closed(self, rpc: str) -> TransportUnavailableError:
        return TransportUnavailableError(
            f"The transport to {self.address.endpoint} was closed while {rpc} was under way."
        )


def _is_being_cancelled() -> bool:
    """Whether somebody asked the current task to end; before Python 3.11 nobody can tell."""
    cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is not None and cancelling() > 0


def encode(rpc: str, request: Message) -> bytes:
    """The bytes of a request.

    Raises:
        InvalidRequestError: it contains text that is no Unicode.
    """
    try:
        return request.SerializeToString()
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"The request for {rpc} cannot be encoded: {error}") from None
