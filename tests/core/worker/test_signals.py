"""How ``run`` ends when the process is told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

PROGRAM = textwrap.dedent(
    """
    import asyncio, sys
    from fake_transport import FakeTransport
    from durabletask.core.work_items import ActivityWorkItem
    from durabletask.core.worker import DurableTaskWorker

    async def slow(ctx):
        print("started", flush=True)
        await asyncio.sleep(float(sys.argv[1]))
        return "done"

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not what is tested
        transport = FakeTransport()
        transport.put(ActivityWorkItem(name="slow", instance_id="i1", task_id=1))
        await DurableTaskWorker(transport, activities=[slow]).run()
        print("completed", len(transport.completed), "abandoned", len(transport.abandoned), flush=True)

    asyncio.run(main())
    """
)


def run_until_told(
    seconds: float, *signals: signal.Signals, program: str = PROGRAM, repeat: signal.Signals | None = None
) -> str:
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-X",
            "dev",
            "-c",
            f"import sys; sys.path[:] = {sys.path!r}\n{program}",
            str(seconds),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("started" in line for line in iter(process.stdout.readline, ""))
        for number in signals:
            process.send_signal(number)
        for _ in range(20 if repeat else 0):
            process.send_signal(repeat or signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                # Longer than an interrupted program takes to ignore the next signal, on a busy machine too.
                process.wait(timeout=2)
                break
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    # Development mode also prints what a busy machine made slow.
    return "\n".join(line for line in rest.strip().splitlines() if not line.startswith("Executing <"))


pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="event loops on Windows take no signal handlers"),
]


def test_sigterm_lets_work_in_progress_finish() -> None:
    """An orderly stop, as a container platform asks for."""
    assert run_until_told(0.3, signal.SIGTERM) == "completed 1 abandoned 0"


def test_sigint_stops_at_once() -> None:
    """Ctrl-C does not wait; the work is abandoned."""
    assert run_until_told(3600, signal.SIGINT) == "completed 0 abandoned 1"


def test_a_second_signal_does_not_wait_either() -> None:
    """The second signal ends the drain."""
    assert run_until_told(3600, signal.SIGTERM, signal.SIGINT) == "completed 0 abandoned 1"


SYNC_PROGRAM = textwrap.dedent(
    """
    import logging, sys, time
    from fake_transport import FakeTransport
    from durabletask.core.work_items import ActivityWorkItem
    from durabletask.sync import DurableTaskWorker

    def slow(ctx):
        print("started", flush=True)
        time.sleep(float(sys.argv[1]))
        return "done"

    logging.getLogger("asyncio").setLevel(logging.ERROR)  # slow callbacks: a busy machine is not what is tested
    transport = FakeTransport()
    transport.put(ActivityWorkItem(name="slow", instance_id="i1", task_id=1))
    DurableTaskWorker(transport, activities=[slow]).run()
    print("completed", len(transport.completed), "abandoned", len(transport.abandoned), flush=True)
    """
)


def test_the_blocking_twin_drains_at_sigterm() -> None:
    """``durabletask.sync`` stops in the same orderly way."""
    assert run_until_told(0.3, signal.SIGTERM, program=SYNC_PROGRAM) == "completed 1 abandoned 0"


STUCK = textwrap.dedent(
    """
    import asyncio, signal, sys
    from durabletask import DurableTaskClient, DurableTaskWorker
    from durabletask.testing import InMemoryBackend

    async def endless(ctx):
        print("started", flush=True)
        while True:
            pass

    async def main():
        hub = InMemoryBackend("default")
        await DurableTaskClient(hub).schedule_new_orchestration(endless)
        await DurableTaskWorker(hub, orchestrators=[endless]).run()

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test repeats it until the process has ended
        print("interrupted", flush=True)
    """
)


def test_signals_end_a_worker_whose_event_loop_is_blocked() -> None:
    """An orchestrator that never returns does not ignore Ctrl-C for ever."""
    output = run_until_told(0, program=STUCK, repeat=signal.SIGINT)

    assert "interrupted" in output


def test_two_signals_at_once_end_a_worker_whose_event_loop_is_blocked() -> None:
    """SIGTERM with Ctrl-C right behind it needs no third signal."""
    assert "interrupted" in run_until_told(0, signal.SIGTERM, signal.SIGINT, program=STUCK)
