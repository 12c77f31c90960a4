"""An orchestrator that does not return is named while it runs."""

from __future__ import annotations

import logging
import threading

import pytest
from durabletask import OrchestrationContext
from durabletask.core.history import EPOCH, ExecutionStarted, OrchestratorStarted
from durabletask.core.hosting import handlers
from durabletask.core.hosting.watchdog import Watchdog
from durabletask.core.work_items import OrchestratorWorkItem
from durabletask.core.worker import DurableTaskWorker
from fake_transport import FakeTransport

_LOGGER = logging.getLogger("durabletask.test")


def test_an_episode_that_takes_long_is_logged_with_instance_and_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the limit, then at each doubling of it; the next episode starts anew."""
    now = 0.0
    watchdog = Watchdog(_LOGGER, limit=3600, clock=lambda: now)
    watchdog.begin("i1")
    logged: list[float] = []
    for minutes in range(0, 300, 10):
        now = minutes * 60.0
        watchdog.check()
        if len(caplog.records) > len(logged):
            logged.append(minutes)
    watchdog.end()
    watchdog.begin("i2")
    watchdog.check()
    watchdog.close()

    assert logged == [60, 120, 240]
    assert "'i1'" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert "'i2'" not in caplog.text


async def test_a_worker_names_the_line_of_an_orchestrator_that_does_not_return(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The watching thread logs while the loop is blocked, and ends with the worker."""
    logged = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "without waiting" in record.getMessage():
                logged.set()

    def blocks(ctx: OrchestrationContext) -> None:
        assert logged.wait(30)

    monkeypatch.setattr(handlers, "Watchdog", lambda logger: Watchdog(logger, limit=0.01))
    handler = Told()
    logging.getLogger("durabletask").addHandler(handler)
    started = ExecutionStarted(-1, EPOCH, "blocks", "i1")
    transport = FakeTransport()
    try:
        async with DurableTaskWorker(transport, orchestrators=[blocks]):
            transport.put(
                OrchestratorWorkItem(instance_id="i1", new_events=[OrchestratorStarted(-1, EPOCH), started])
            )
            await transport.wait_for(1)
    finally:
        logging.getLogger("durabletask").removeHandler(handler)
    for thread in threading.enumerate():
        if thread.name == "durabletask-watchdog":
            thread.join(5)

    assert "'i1'" in caplog.text
    assert len(transport.completed) == 1
    assert "durabletask-watchdog" not in {thread.name for thread in threading.enumerate()}
