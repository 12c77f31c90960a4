"""The sources of tokens: azure-identity, or any other ``TokenCredential``.

Blocking credentials run in a thread of their own, a daemon: a program that is asked to stop does not wait for
a token endpoint that does not answer. They need no HTTP client beside the one that azure-core brings, which is
why the classes of azure-identity are used in their blocking form.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Protocol, TypeVar, cast

from durabletask.core.connection import AccessToken
from durabletask.core.errors import TransportUnavailableError, UnauthenticatedError

__all__ = ["AsyncSource", "BlockingSource", "TokenSource", "failure_of", "redacted"]

_T = TypeVar("_T")
# A JSON web token, or anything else that is long and has no spaces: secrets look like that, sentences do not.
_SECRETS = re.compile(r"eyJ[\w-]+\.[\w.-]+|[A-Za-z0-9+_=~-]{48,}")
_OUTAGE_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_REASON = 600


class TokenSource(ABC):
    """A source of tokens. This package caches what it returns."""

    @abstractmethod
    async def fetch(self, *, force_new: bool) -> AccessToken:
        """A token.

        Args:
            force_new: forget what the source itself may have cached, if that is possible.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release the resources of the source; it may be used again."""


class _TokenInfo(Protocol):
    token: str
    expires_on: int


class _Credential(Protocol):
    def get_token(self, *scopes: str) -> _TokenInfo: ...


class _AsyncCredential(Protocol):
    async def get_token(self, *scopes: str) -> _TokenInfo: ...


class BlockingSource(TokenSource):
    """Gets tokens from a blocking credential.

    Args:
        make: gives the credential; called in the thread, since importing azure-identity takes a while.
        scope: what the token is for.
        is_owner: whether the credential is ours: closed by ``close``, and made anew to get past its own cache.
    """

    def __init__(self, make: Callable[[], object], scope: str, *, is_owner: bool) -> None:
        self._make = make
        self._scope = scope
        self._is_owner = is_owner
        self._credential: object | None = None

    async def fetch(self, *, force_new: bool) -> AccessToken:
        """A token, from a new credential if that is the only way to a new token."""
        if force_new:
            await self.close()
        return await _in_thread(self._fetch)

    def _fetch(self) -> AccessToken:
        if self._credential is None:
            self._credential = self._make()
        credential = cast("_Credential", self._credential)
        return _access_token(getattr(credential, "get_token_info", credential.get_token)(self._scope))

    async def close(self) -> None:
        """Close the credential if it is ours."""
        credential, self._credential = self._credential, None
        close = getattr(credential, "close", None)
        if self._is_owner and callable(close):
            await _in_thread(close)


class AsyncSource(TokenSource):
    """Gets tokens from an async credential, which stays the caller's."""

    def __init__(self, credential: object, scope: str) -> None:
        self._credential = cast("_AsyncCredential", credential)
        self._scope = scope

    async def fetch(self, *, force_new: bool) -> AccessToken:
        """A token."""
        get = getattr(self._credential, "get_token_info", self._credential.get_token)
        return _access_token(await get(self._scope))

    async def close(self) -> None:
        """Nothing: the credential belongs to the program."""


def is_async(credential: object) -> bool:
    """Whether a credential is of the async kind."""
    return inspect.iscoroutinefunction(getattr(credential, "get_token", None)) or hasattr(
        credential, "__aenter__"
    )


def _access_token(found: _TokenInfo) -> AccessToken:
    refresh_on = getattr(found, "refresh_on", None)
    return AccessToken(
        found.token, _time(found.expires_on), None if refresh_on is None else _time(refresh_on)
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


async def _in_thread(function: Callable[[], _T]) -> _T:
    """Run a blocking function in a daemon thread, so that leaving the program does not wait for it."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def succeed(result: _T) -> None:
        if not outcome.done():  # else the waiting call was cancelled
            outcome.set_result(result)

    def fail(error: BaseException) -> None:
        if not outcome.done():
            outcome.set_exception(error)

    def run() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised in the waiting call
            # A future cannot carry a StopIteration.
            failure = RuntimeError(str(error)) if isinstance(error, StopIteration) else error
            _tell(loop, lambda: fail(failure))
        else:
            _tell(loop, lambda: succeed(result))

    threading.Thread(target=run, name="durabletask-token", daemon=True).start()
    return await outcome


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(callback)


# --- failures ---------------------------------------------------------------------------------------------------------


def redacted(text: str) -> str:
    """Text without anything that could be a secret, on one line."""
    shown = _SECRETS.sub("***", " ".join(text.split()))
    return shown if len(shown) <= _LONGEST_REASON else shown[: _LONGEST_REASON - 3] + "..."


def failure_of(error: Exception, *, what: str, hint: str) -> UnauthenticatedError | TransportUnavailableError:
    """The error to raise when a source gave no token.

    Args:
        error: what the source raised.
        what: which credential it was, for the message.
        hint: what to do when the credential itself is at fault.

    Returns:
        ``TransportUnavailableError`` for an outage, which may pass; ``UnauthenticatedError`` otherwise.
    """
    reason = redacted(str(error)).rstrip(".") or type(error).__name__
    if _is_outage(error):
        return TransportUnavailableError(
            f"No token from {what}: the place that issues tokens does not answer ({reason}). Check the network "
            "and the proxy; nothing is lost, the work goes on when it answers again."
        )
    return UnauthenticatedError(f"No token from {what}: {reason}. {hint}")


def _is_outage(error: Exception) -> bool:
    """Whether it is the network or the service that failed, not the credential."""
    status = getattr(error, "status_code", None)
    if status in _OUTAGE_STATUS:
        return True
    # By name: azure-core is not imported here, and these names are the same in all its versions.
    names = {base.__name__ for base in type(error).__mro__}
    if names & {"ServiceRequestError", "ServiceResponseError", "IncompleteReadError"}:
        return True
    return isinstance(error, (TimeoutError, asyncio.TimeoutError, ConnectionError))
