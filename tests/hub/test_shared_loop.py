"""A shared loop: callers of other threads act as the loop, and nothing is lost between the threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator

import pytest
from durabletask.core.portal import LoopThread
from durabletask.testing.hub.shared_loop import SharedLoop, start_generator

_LIMIT = 5.0  # seconds; only a failing test waits so long


@pytest.fixture
def shared() -> Iterator[SharedLoop]:
    """A running loop."""
    thread, user = LoopThread("shared", SharedLoop), type("User", (), {})()
    yield thread.loop_of(user)
    thread.leave(user)


async def test_a_step_that_does_not_wait_runs_in_the_thread_of_its_caller(shared: SharedLoop) -> None:
    """It sees the shared loop as the running one, the caller sees its own again."""

    async def where() -> tuple[int, asyncio.AbstractEventLoop]:
        return threading.get_ident(), asyncio.get_running_loop()

    assert await shared.run(where()) == (threading.get_ident(), shared)
    assert asyncio.get_running_loop() is not shared


async def test_a_timer_of_another_thread_rings_in_the_thread_of_the_loop(shared: SharedLoop) -> None:
    """The loop wakes up for it although it was waiting for something later."""

    async def set_timer() -> int:
        loop = asyncio.get_running_loop()
        rang: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.001, lambda: rang.set_result(threading.get_ident()))
        return await rang

    assert await asyncio.wait_for(shared.run(set_timer()), _LIMIT) != threading.get_ident()


async def test_a_wait_ends_when_a_caller_of_another_thread_ends_it(shared: SharedLoop) -> None:
    """In whichever order the two come."""
    futures: list[asyncio.Future[str]] = []

    async def wait() -> str:
        futures.append(asyncio.get_running_loop().create_future())
        return await futures[0]

    async def answer() -> None:
        futures[0].set_result("done")

    async def ask() -> None:
        await shared.run(answer())

    waiting = asyncio.ensure_future(shared.run(wait()))
    await asyncio.sleep(0)
    await asyncio.to_thread(asyncio.run, ask())
    assert await asyncio.wait_for(waiting, _LIMIT) == "done"


async def test_a_cancelled_call_cancels_its_coroutine_and_what_that_waits_for(shared: SharedLoop) -> None:
    """The coroutine cleans up as the shared loop."""
    futures: list[asyncio.Future[None]] = []
    cleaned_up_by: list[object] = []

    async def wait() -> None:
        futures.append(asyncio.get_running_loop().create_future())
        try:
            await futures[0]
        finally:
            cleaned_up_by.append(asyncio.get_running_loop())

    waiting = asyncio.ensure_future(shared.run(wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cleaned_up_by == [shared]
    assert futures[0].cancelled()


async def test_an_error_of_the_coroutine_reaches_the_caller(shared: SharedLoop) -> None:
    """Also after it has waited for a task of the shared loop."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("wanted")

    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.gather(fail())

    with pytest.raises(LookupError, match="wanted"):
        await shared.run(work())


async def test_the_loop_of_a_caller_that_ends_leaves_generators_alone(shared: SharedLoop) -> None:
    """They belong to the shared loop, and may go on."""

    async def count() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    numbers: AsyncIterator[int] = count()

    async def following(number: Awaitable[int]) -> int:
        return await number

    async def read() -> int:
        return await shared.run(following(start_generator(numbers)))

    assert await asyncio.to_thread(asyncio.run, read()) == 0
    gc.collect()
    assert await shared.run(following(anext(numbers))) == 1


async def test_many_threads_change_one_state_without_losing_a_change(shared: SharedLoop) -> None:
    """Steps exclude each other."""
    total = 0

    async def add() -> None:
        nonlocal total
        before = total
        for _ in range(50):
            pass
        total = before + 1
        await asyncio.sleep(0)

    async def add_many() -> None:
        for _ in range(200):
            await shared.run(add())

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, add_many()) for _ in range(4)))
    assert total == 800
