"""When a token is fetched, kept, renewed and given up; on a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from durabletask.azuremanaged.sources import TokenSource, redacted
from durabletask.azuremanaged.token_cache import AzureCredentialProvider
from durabletask.core.connection import AccessToken
from durabletask.core.errors import TransportUnavailableError, UnauthenticatedError

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class ServiceRequestError(Exception):
    """Named like the error of azure-core for a service that does not answer."""


class Time:
    """A clock; sleeping moves it."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class Source(TokenSource):
    """Gives numbered tokens that live an hour, or fails."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.asked: list[bool] = []
        self.fails: Callable[[], Exception | None] = lambda: None
        self.lifetime = HOUR
        self.hint: timedelta | None = None
        self.gate: asyncio.Event | None = None

    async def fetch(self, *, force_new: bool) -> AccessToken:
        self.asked.append(force_new)
        if self.gate is not None:
            await self.gate.wait()
        error = self.fails()
        if error is not None:
            raise error
        refresh_at = None if self.hint is None else self.time.now + self.hint
        return AccessToken(f"token-{len(self.asked)}", self.time.now + self.lifetime, refresh_at)

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def source(time: Time) -> Source:
    return Source(time)


@pytest.fixture
def provider(time: Time, source: Source) -> AzureCredentialProvider:
    return AzureCredentialProvider(source, what="test", hint="Do this.", clock=time, sleep=time.sleep)


async def settle() -> None:
    """Let what runs in the background run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_first_token_is_fetched_when_it_is_needed(
    provider: AzureCredentialProvider, source: Source
) -> None:
    """Nothing is asked for before; one token serves all later calls."""
    assert source.asked == []
    assert [(await provider.get_token()).value for _ in range(3)] == ["token-1"] * 3


async def test_all_who_wait_share_one_request(provider: AzureCredentialProvider, source: Source) -> None:
    """Fifty calls at once ask once, and the one that is cancelled takes nothing from the others."""
    source.gate = asyncio.Event()
    calls = [asyncio.ensure_future(provider.get_token()) for _ in range(50)]
    await settle()
    calls[0].cancel()
    source.gate.set()
    found = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert {"token-1"} == {token.value for token in found[1:] if isinstance(token, AccessToken)}
    assert source.asked == [False]


@pytest.mark.parametrize(
    ("hint", "before", "after"),
    [(None, 49 * MINUTE, 51 * MINUTE), (30 * MINUTE, 29 * MINUTE, 31 * MINUTE)],
    ids=["ten minutes before it expires", "at the hint of its source"],
)
async def test_a_token_is_renewed_ahead_of_its_end(
    provider: AzureCredentialProvider,
    source: Source,
    time: Time,
    hint: timedelta | None,
    before: timedelta,
    after: timedelta,
) -> None:
    """The present token is still given out while the next one is fetched."""
    source.hint = hint
    await provider.get_token()
    time.now = START + before
    await provider.get_token()
    await settle()
    assert len(source.asked) == 1

    time.now = START + after
    assert (await provider.get_token()).value == "token-1"
    await settle()
    assert (await provider.get_token()).value == "token-2"


async def test_a_source_that_gives_the_same_token_again_is_not_asked_at_every_call(
    provider: AzureCredentialProvider, source: Source, time: Time
) -> None:
    """Credentials have caches of their own; a minute passes between two attempts."""
    token = AccessToken("same", START + HOUR)

    async def fetch(*, force_new: bool) -> AccessToken:
        source.asked.append(force_new)
        return token

    source.fetch = fetch  # type: ignore[method-assign]
    await provider.get_token()
    time.now = START + 52 * MINUTE
    for _ in range(10):
        await provider.get_token()
        await settle()

    assert len(source.asked) == 2


async def test_an_outage_while_the_token_is_valid_is_not_noticed_by_calls(
    provider: AzureCredentialProvider, source: Source, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """Renewal fails and is tried again with growing pauses; calls go on with the present token."""
    await provider.get_token()
    source.fails = lambda: ServiceRequestError("name or service not known")
    for second in range(30):
        time.now = START + 51 * MINUTE + timedelta(seconds=second)
        assert (await provider.get_token()).value == "token-1"
        await settle()
    source.fails = lambda: None
    time.now += timedelta(seconds=30)
    await provider.get_token()
    await settle()

    assert len(source.asked) == 1 + 5 + 1  # after 0, 1, 3, 7 and 15 seconds, and when it was back
    assert (await provider.get_token()).value == "token-7"
    assert "does not answer" in caplog.text


async def test_an_outage_of_thirty_seconds_without_a_token_is_waited_for(
    provider: AzureCredentialProvider, source: Source, time: Time
) -> None:
    """A caller without any token waits and then gets one."""
    source.fails = lambda: ServiceRequestError("down") if time.now < START + timedelta(seconds=30) else None

    assert (await provider.get_token()).value == "token-6"
    assert time.slept == [1, 2, 4, 8, 16]


async def test_an_outage_that_lasts_is_told(
    provider: AzureCredentialProvider, source: Source, time: Time
) -> None:
    """After a minute the caller gets an error that says who does not answer."""
    source.fails = lambda: ServiceRequestError("name or service not known")

    with pytest.raises(
        TransportUnavailableError, match=r"test: the place that issues tokens does not answer"
    ):
        await provider.get_token()
    assert time.now - START <= MINUTE


async def test_a_refusal_is_told_at_once(
    provider: AzureCredentialProvider, source: Source, time: Time
) -> None:
    """What the credential itself refuses is not retried; the message ends with what to do."""
    source.fails = lambda: ValueError("no tenant")

    with pytest.raises(UnauthenticatedError, match=r"No token from test: no tenant\. Do this\."):
        await provider.get_token()
    assert time.slept == []


async def test_a_refusal_of_a_source_that_has_worked_is_taken_for_an_outage(
    provider: AzureCredentialProvider, source: Source, time: Time
) -> None:
    """Credentials report their outages as refusals, too; what has worked will work again."""
    await provider.get_token()
    time.now = START + 2 * HOUR
    source.fails = lambda: ValueError("unavailable") if len(time.slept) < 3 else None

    assert (await provider.get_token()).value == "token-5"


async def test_a_token_that_the_hub_refused_is_replaced_once_for_all_calls(
    provider: AzureCredentialProvider, source: Source
) -> None:
    """Many calls that were refused together cause one request for a new token."""
    await provider.get_token()
    tokens = [(await provider.get_token(force_new=True)).value for _ in range(5)]
    tokens += [t.value for t in await asyncio.gather(*(provider.get_token(force_new=True) for _ in range(5)))]

    assert {"token-2"} == set(tokens)
    assert source.asked == [False, True]


@pytest.mark.parametrize("skew", [-3 * HOUR, 3 * HOUR], ids=["slow clock", "fast clock"])
async def test_a_wrong_clock_does_not_keep_the_token_from_the_hub(
    provider: AzureCredentialProvider,
    source: Source,
    time: Time,
    skew: timedelta,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The hub decides about tokens, not this clock; there is neither a loop nor silence."""
    source.lifetime = HOUR - skew
    for _ in range(20):
        assert (await provider.get_token()).value == "token-1"
        await settle()

    assert len(source.asked) == 1
    assert ("check the clock of this machine" in caplog.text) == (skew > HOUR)


async def test_a_closed_provider_begins_anew(provider: AzureCredentialProvider, source: Source) -> None:
    """Closing forgets the token and ends a request under way; a later call asks again."""
    source.gate = asyncio.Event()
    waiting = asyncio.ensure_future(provider.get_token())
    await settle()
    await provider.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.gate = None

    assert (await provider.get_token()).value == "token-2"


async def test_tokens_are_in_no_log_and_no_text(
    provider: AzureCredentialProvider, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a credential puts into its error, tokens do not come out."""
    caplog.set_level(logging.DEBUG)
    secret = "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2lnbmF0dXJl"
    source.fails = lambda: ValueError(f'answer was {{"access_token": "{secret}"}} {"s" * 60}')

    with pytest.raises(UnauthenticatedError) as raised:
        await provider.get_token()
    shown = f"{raised.value!r} {provider!r} {caplog.text}"
    assert secret not in shown
    assert "s" * 60 not in shown
    assert raised.value.__context__ is None
    assert "aka.ms/azsdk/python/identity/managedidentitycredential/troubleshoot" in redacted(
        "see https://aka.ms/azsdk/python/identity/managedidentitycredential/troubleshoot"
    )
