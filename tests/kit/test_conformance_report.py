"""The base of the conformance kit cannot be left out: whatever an adopter does, the report notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from durabletask.testing.conformance.capabilities import BASE_CAPABILITIES

pytestmark = [pytest.mark.process, pytest.mark.extended]

ADOPTION = """
from datetime import timedelta

import pytest
from durabletask.testing.conformance.capabilities import BASE_CAPABILITIES
from durabletask.testing import InMemoryBackend, VirtualClock
from durabletask.testing.conformance import *


class Mine(Capabilities):
    restart = True
    tokens = False  # no such switch


class Hub(ConformanceHub):
    name = "mine"
    unit = timedelta(seconds=1)
    capabilities = Mine()

    def __init__(self):
        self.clock = VirtualClock(auto_advance=False)

    async def open(self):
        return InMemoryBackend("x", clock=self.clock)

    async def advance(self, by):
        await self.clock.advance(by)


@pytest.fixture
def conformance_hub():
    return Hub()
"""

TRICKS = """
class TestTokens(TestTokens):
    def test_a_late_episode_changes_nothing(self):
        pass

class TestTimers(TestTimers):
    test_a_time_in_the_past_fires_at_once = pytest.mark.xfail(TestTimers.test_a_time_in_the_past_fires_at_once)

TestPurge = pytest.mark.skip(TestPurge)
del TestConnection
"""


def adopt(folder: Path, more: str, *options: str) -> tuple[str, dict]:
    """Run the kit as an adopter in a folder of its own; the output and the JSON report."""
    (folder / "test_mine.py").write_text(ADOPTION + more)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--conformance-report=report.json",
    ]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=100, cwd=folder, check=False
    )
    return done.stdout, msgspec.json.decode((folder / "report.json").read_bytes())["mine"]


def test_an_adopter_without_tricks_reaches_the_base_level(tmp_path: Path) -> None:
    """One import and one fixture give the level, as a table and as JSON."""
    output, report = adopt(tmp_path, "")
    assert report["level"] == "base"
    assert "mine: level BASE" in output
    assert report["capabilities"]["tokens"]["missing"] == []
    assert report["capabilities"]["restart"]["passed"] > 0
    assert report["capabilities"]["rewind"]["passed"] == 0


def test_nothing_of_the_base_can_be_left_out(tmp_path: Path) -> None:
    """What is overridden, expected to fail, skipped, deleted or deselected is told, and there is no level."""
    chosen = "(TestTokens or TestTimers or TestPurge or TestConnection or TestWait) and not test_every_waiter_is_woken"
    output, report = adopt(tmp_path, TRICKS, "-k", chosen)
    assert report["level"] == "none"
    assert "mine: level NONE" in output
    assert {
        name: counts["missing"]
        for name, counts in report["capabilities"].items()
        if name in BASE_CAPABILITIES
    } == {
        "tokens": ["TestTokens.test_a_late_episode_changes_nothing"],
        "timers": ["TestTimers.test_a_time_in_the_past_fires_at_once"],
        "wait": ["TestWait.test_every_waiter_is_woken"],
    }
    assert "not passed: TestWait.test_every_waiter_is_woken" in output
    for name in ("purge", "connection"):
        assert f"base     {name:<24}not run" in output
