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
        timeout=100,
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


@pytest.mark.extended
def test_a_failure_under_the_marker_tells_the_seed_and_the_faults(tmp_path: Path) -> None:
    """Each seed is a test of its own; the output of one that fails has what is needed to run it again."""
    (tmp_path / "test_it.py").write_text(
        "import itertools, pytest\n"
        "turns = itertools.count()\n"
        "async def flawed(ctx):\n"
        "    return await ctx.call_activity(f'step{next(turns)}')\n"
        "@pytest.mark.chaos(seeds=2)\n"
        "def test_flawed(durable_env):\n"
        "    with durable_env.blocking(orchestrators=[flawed]) as env:\n"
        "        for n in range(9): env.fake(f'step{n}')\n"
        "        env.run(flawed)\n"
    )
    output = run_pytest(tmp_path)
    assert "2 failed" in output
    assert "test_flawed[seed0]" in output
    assert "Chaos(seed=1), faults that happened: 1 replayed episodes" in output
    assert "Event id 1: expected (history): activity 'step" in output


@pytest.mark.extended
def test_the_plugin_minds_its_own_business(tmp_path: Path) -> None:
    """Without plugins for asynchronous tests the fixtures work, without warnings, and bring no gRPC along."""
    (tmp_path / "test_it.py").write_text(
        "def test_it(durable_env):\n"
        "    async def hello(ctx): return 'hello'\n"
        "    with durable_env.blocking(orchestrators=[hello]) as env:\n"
        "        assert env.run(hello) == 'hello'\n"
        "    import sys\n"
        "    heavy = {'grpc', 'google.protobuf', 'starlette', 'uvicorn', 'azure'} & sys.modules.keys()\n"
        "    assert not heavy, heavy\n"
    )
    output = run_pytest(tmp_path, "-p", "no:asyncio", "-p", "no:anyio", "-W", "error", "--strict-markers")
    assert "1 passed" in output
    assert "warning" not in output


def test_nothing_heavy_is_imported_without_a_fixture(tmp_path: Path) -> None:
    """The plugin alone imports neither the hub nor the engine."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    light = {'durabletask.testing', 'durabletask.testing.pytest_plugin',\n"
        "             'durabletask.core', 'durabletask.core.lazy'}\n"
        "    heavy = [n for n in sys.modules if n.startswith('durabletask.') and n not in light]\n"
        "    heavy += {'msgspec', 'grpc', 'google.protobuf', 'sqlite3', 'opentelemetry'} & sys.modules.keys()\n"
        "    assert not heavy, heavy\n"
    )
    lean = (
        "-p",
        "no:asyncio",
        "-p",
        "no:anyio",
        "-p",
        "no:hypothesispytest",
    )  # they bring modules of their own
    assert "1 passed" in run_pytest(tmp_path, *lean)
