"""One token per connection: lazy, fetched once for all that wait, renewed before it expires (section 2.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from durabletask.core.connection import AccessToken, CredentialProvider
from durabletask.core.errors import TransportError, TransportUnavailableError
from durabletask.core.logs import get_logger

from .sources import TokenSource, failure_of

__all__ = ["SCHEDULER_OPTIONS", "AzureCredentialProvider"]

_LOGGER = get_logger("durabletask.azuremanaged")
_SECOND = timedelta(seconds=1)

SCHEDULER_OPTIONS: Mapping[str, object] = {"maximum_timer_interval": None, "maximum_instance_id_length": 100}
"""What the scheduler is known to take, its local emulator included, as options of a transport."""


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class AzureCredentialProvider(CredentialProvider):
    """Caches the token of a source.

    * The first token is fetched when it is first needed; concurrent calls wait for one request.
    * ``refresh_margin`` before it expires, or when its source hinted to, a newer one is fetched in the
      background while the present one is still in use.
    * An outage of the source is retried with back-off for ``patience``; a refusal is raised at once, unless
      the source has given tokens before: then it is an outage too.
    * A token that seems expired when it arrives is used all the same, with a warning: then the clock of this
      machine is wrong, and it is the hub's clock that decides.

    Args:
        source: where tokens come from.
        what: which credential this is, for messages.
        hint: what to do when the credential itself is at fault, for messages.
        refresh_margin: how long before its end a token is renewed.
        patience: how long to retry during an outage before the error is raised.
        clock: the present time, aware UTC.
        sleep: waits a number of seconds.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        what: str,
        hint: str,
        refresh_margin: timedelta = timedelta(minutes=10),
        patience: timedelta = timedelta(seconds=60),
        clock: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._what = what
        self._hint = hint
        self._margin = refresh_margin
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._token: AccessToken | None = None
        self._usable_until = self._renew_from = self._forced_at = datetime.min.replace(tzinfo=timezone.utc)
        self._background_failures = 0
        self._flight: asyncio.Task[AccessToken] | None = None
        self._renewal: asyncio.Task[AccessToken] | None = None
        self._is_flight_forced = False

    def __repr__(self) -> str:
        return f"AzureCredentialProvider({self._what})"

    @property
    def transport_options(self) -> Mapping[str, object]:
        """The scheduler takes timers of any length and instance ids of up to 100 characters."""
        return SCHEDULER_OPTIONS

    async def get_token(self, *, force_new: bool = False) -> AccessToken:
        """A token that is valid now.

        Raises:
            UnauthenticatedError: the source refuses.
            TransportUnavailableError: the source has not answered for ``patience``.
        """
        now = self._clock()
        token = self._token
        if force_new and token is not None and now - self._forced_at < 5 * _SECOND:
            return token  # another call that was refused with this token has fetched a new one
        if token is not None and not force_new and now < self._usable_until:
            if now >= self._renew_from:
                self._start(forced=False, is_background=True)
            return token
        flight = self._start(forced=force_new, is_background=False)
        try:
            return await asyncio.shield(flight)
        except TransportError:
            if flight is not self._renewal:
                raise
        # What was under way was a renewal in the background, which does not try again.
        return await asyncio.shield(self._start(forced=force_new, is_background=False))

    async def close(self) -> None:
        """Forget the token and close the source; may be used again."""
        flight, self._flight, self._token = self._flight, None, None
        if flight is not None and flight.get_loop() is asyncio.get_running_loop():
            flight.cancel()
            await asyncio.wait([flight])
        await self._source.close()

    def _start(self, *, forced: bool, is_background: bool) -> asyncio.Task[AccessToken]:
        """The request that is under way, or a new one."""
        loop = asyncio.get_running_loop()
        flight = self._flight
        is_usable = flight is not None and not flight.done() and flight.get_loop() is loop
        if flight is not None and is_usable and (self._is_flight_forced or not forced):
            return flight
        fetch = self._renew() if is_background else self._acquire(forced=forced)
        flight = self._flight = loop.create_task(fetch, name="durabletask-token")
        self._is_flight_forced = forced
        if is_background:
            self._renewal = flight
        flight.add_done_callback(_observe)
        return flight

    async def _renew(self) -> AccessToken:
        """Replace a token that is still valid; a failure only moves the next attempt."""
        try:
            token = await self._fetch(force_new=False)
        except TransportError as error:
            delay = min(2**self._background_failures, 30)
            self._background_failures += 1
            self._renew_from = self._clock() + delay * _SECOND
            _LOGGER.warning("%s The present token is valid until %s.", error, self._usable_until.isoformat())
            raise
        self._background_failures = 0
        return token

    async def _acquire(self, *, forced: bool) -> AccessToken:
        """A token for a call that waits for it; outages are retried."""
        deadline = self._clock() + self._patience
        has_worked = self._token is not None
        delay = 1
        while True:
            try:
                token = await self._fetch(force_new=forced)
            except TransportError as error:
                may_pass = has_worked or isinstance(error, TransportUnavailableError)
                if not may_pass or self._clock() + delay * _SECOND > deadline:
                    raise
                _LOGGER.warning("%s Trying again in %d s.", error, delay)
            else:
                if forced:
                    self._forced_at = self._clock()
                return token
            await self._sleep(delay)
            delay = min(delay * 2, 30)

    async def _fetch(self, *, force_new: bool) -> AccessToken:
        failure: TransportError
        try:
            return self._keep(await self._source.fetch(force_new=force_new))
        except TransportError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - credentials raise what they like
            failure = failure_of(error, what=self._what, hint=self._hint)
        # Outside of the handler: the original carries the request and the answer, with what is secret in them.
        raise failure

    def _keep(self, found: AccessToken) -> AccessToken:
        """Remember a token, and when it is to be renewed."""
        now = self._clock()
        previous = self._token
        if found.expires_at <= now:
            _LOGGER.warning(
                "The token from %s expired at %s, before it arrived: check the clock of this machine, which says "
                "%s. The token is used all the same.",
                self._what,
                found.expires_at.isoformat(),
                now.isoformat(),
            )
        due = found.expires_at - self._margin
        if found.refresh_at is not None:
            due = min(due, found.refresh_at)
        # Not at once again: short-lived tokens, wrong clocks, and sources that give the same token until later.
        is_same = previous is not None and previous.value == found.value
        pause = (60 if is_same else 30) * _SECOND
        self._renew_from = max(due, now + pause)
        self._usable_until = found.expires_at if found.expires_at > now else now + pause
        self._token = replace(found, refresh_at=self._renew_from)
        return self._token


def _observe(flight: asyncio.Task[AccessToken]) -> None:
    """A renewal in the background that failed has been logged; its exception is not needed again."""
    if not flight.cancelled():
        flight.exception()
