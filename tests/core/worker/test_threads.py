"""The threads of plain functions: bounded, in order, and never in the way of the end of a process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError

import pytest
from durabletask.core.execution.threads import DaemonThreads

HANGING = """
import asyncio, time
from durabletask import DurableTaskClient, DurableTaskWorker
from durabletask.testing.hub import InMemoryBackend

begun = asyncio.Event()

def hang(ctx):
    loop.call_soon_threadsafe(begun.set)
    time.sleep(600)

async def parent(ctx):
    await ctx.call_activity(hang)

async def main():
    global loop
    loop = asyncio.get_running_loop()
    hub = InMemoryBackend("test")
    async with DurableTaskWorker(hub, orchestrators=[parent], activities=[hang], drain_timeout=0):
        await DurableTaskClient(hub).schedule_new_orchestration(parent)
        await begun.wait()
    await hub.close()
    print("stopped")

asyncio.run(main())
"""


@pytest.mark.process
def test_a_function_that_hangs_does_not_keep_the_process_from_ending() -> None:
    """The worker gives its activity back, and the interpreter waits for no thread."""
    ended = subprocess.run(
        [sys.executable, "-c", HANGING], check=False, capture_output=True, text=True, timeout=100
    )

    assert (ended.stdout, ended.returncode) == ("stopped\n", 0)


def test_no_more_threads_than_allowed_and_calls_in_order() -> None:
    """Two threads run four calls, the earlier ones first."""
    pool, gate, begun = DaemonThreads(2, "some"), threading.Event(), []

    def call(number: int) -> str:
        begun.append(number)
        gate.wait(10)
        return threading.current_thread().name

    futures = [pool.submit(lambda n=n: call(n)) for n in range(4)]
    while len(begun) < 2:
        time.sleep(0)
    assert sorted(begun) == [0, 1]
    gate.set()
    names = {future.result(10) for future in futures}
    pool.close()

    assert names <= {"some_0", "some_1"}
    assert sorted(begun[2:]) == [2, 3]


def test_an_idle_thread_is_used_again() -> None:
    """One call after the other needs one thread."""
    pool = DaemonThreads(8, "again")
    names = set()
    for _ in range(20):
        names.add(pool.submit(lambda: threading.current_thread().name).result(10))
    pool.close()

    assert len(names) <= 2  # the thread may just not have come back when the next call is made


def test_closing_cancels_what_waits_and_ends_the_threads() -> None:
    """A call in progress still gives its result."""
    pool, gate, begun = DaemonThreads(1, "closing"), threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        gate.wait(10)
        return "done"

    running = pool.submit(call)
    waiting = pool.submit(call)
    begun.wait(10)
    pool.close()
    gate.set()

    assert running.result(10) == "done"
    with pytest.raises(CancelledError):
        waiting.result(10)
    for thread in threading.enumerate():
        if thread.name.startswith("closing"):
            thread.join(10)
            assert not thread.is_alive()


def test_an_error_reaches_whoever_waits_and_is_held_by_nobody_else() -> None:
    """Also one that is no ``Exception``; its thread goes on."""

    class Held:
        pass

    pool, held = DaemonThreads(1), Held()
    seen = weakref.ref(held)

    def fail(_: object = held) -> None:
        raise SystemExit(3)

    future = pool.submit(fail)
    with pytest.raises(SystemExit):
        future.result(10)
    assert pool.submit(lambda: 5).result(10) == 5
    del fail, held, future
    gc.collect()
    pool.close()

    assert seen() is None
