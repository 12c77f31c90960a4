"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

FAILING = """
import pytest
from durabletask import OrchestrationContext

async def waiting(ctx: OrchestrationContext) -> str:
    return await ctx.call_activity("charge", 1)

{decorator}
async def test_async(durable_env):
    async with durable_env(orchestrators=[waiting]) as env:
        env.fake("charge", returns="receipt")
        assert await env.run(waiting) == "something else"

def test_plain(durable_env):
    with durable_env.blocking(orchestrators=[waiting]) as env:
        env.fake("charge", returns="receipt")
        assert env.run(waiting) == "receipt"

def test_hub_and_clock(task_hub, virtual_clock):
    assert task_hub.clock is virtual_clock
"""


def run_pytest(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=folder,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("decorator", "options"),
    [("@pytest.mark.asyncio", ("-p", "no:anyio")), ("@pytest.mark.anyio", ("-p", "no:asyncio"))],
    ids=["pytest-asyncio", "anyio"],
)
def test_fixtures_work_with_both_plugins_and_failures_show_the_timeline(
    tmp_path: Path, decorator: str, options: tuple[str, ...]
) -> None:
    """A failing test prints what its orchestrations did, under pytest-asyncio and under anyio."""
    (tmp_path / "test_it.py").write_text(FAILING.format(decorator=decorator))
    (tmp_path / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    )
    output = run_pytest(tmp_path, *options)
    assert "1 failed, 2 passed" in output
    assert "orchestrations" in output
    assert "TaskScheduled name=charge input=1" in output


def test_nothing_heavy_is_imported_without_a_fixture(tmp_path: Path) -> None:
    """The plugin alone imports neither the hub nor the engine."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    heavy = [n for n in sys.modules if n.startswith('durabletask.') and n != 'durabletask.testing'\n"
        "             and n != 'durabletask.testing.pytest_plugin']\n"
        "    assert not heavy, heavy\n"
    )
    assert "1 passed" in run_pytest(tmp_path)


def test_a_conformance_report_is_written(tmp_path: Path) -> None:
    """An adopter's run prints a table and writes the JSON report."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from datetime import timedelta\n"
        "from durabletask.testing.backend import InMemoryBackend\n"
        "from durabletask.testing.clock import VirtualClock\n"
        "from durabletask.testing.conformance import *\n"
        "class Hub(ConformanceHub):\n"
        "    name = 'mine'\n"
        "    unit = timedelta(seconds=1)\n"
        "    def __init__(self): self.clock = VirtualClock(auto_advance=False)\n"
        "    async def open(self): return InMemoryBackend('x', clock=self.clock)\n"
        "    async def advance(self, by): await self.clock.advance(by)\n"
        "@pytest.fixture\n"
        "def conformance_hub(): return Hub()\n"
    )
    output = run_pytest(tmp_path, "--conformance-report=report.json", "-k", "TestTokens or TestTimers")
    assert "mine: level NONE" in output  # most of the base was not run
    assert '"tokens"' in (tmp_path / "report.json").read_text()
