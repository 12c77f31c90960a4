"""The base of the conformance kit cannot be left out: whatever an adopter does, the report notices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

pytestmark = pytest.mark.process

ADOPTION = """
from datetime import timedelta

import pytest
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

OVERRIDDEN = """
class TestTokens(TestTokens):
    def test_a_late_episode_changes_nothing(self):
        pass
"""
EXPECTED_TO_FAIL = """
class TestTokens(TestTokens):
    test_a_late_episode_changes_nothing = pytest.mark.xfail(TestTokens.test_a_late_episode_changes_nothing)
"""
LATE = "TestTokens.test_a_late_episode_changes_nothing"
NO_TOKENS = "del TestTokens\n"
SKIPPED = "TestTokens = pytest.mark.skip(TestTokens)\n"


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
        [*command, *options], capture_output=True, text=True, timeout=60, cwd=folder, check=False
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


@pytest.mark.parametrize("trick", [OVERRIDDEN, EXPECTED_TO_FAIL], ids=["override", "xfail"])
def test_no_test_of_the_base_can_be_left_out(tmp_path: Path, trick: str) -> None:
    """A base test that is overridden or expected to fail is missing in the report, which has no level."""
    _, report = adopt(tmp_path, trick, "-k", "TestTokens")
    assert report["level"] == "none"
    assert LATE in report["capabilities"]["tokens"]["missing"]


@pytest.mark.parametrize("trick", [NO_TOKENS, SKIPPED], ids=["delete", "skip"])
def test_a_class_that_is_left_out_is_not_run(tmp_path: Path, trick: str) -> None:
    """A capability of which no test ran is no capability."""
    output, report = adopt(tmp_path, trick, "-k", "TestTokens or TestTimers")
    assert report["level"] == "none"
    assert "tokens" not in report["capabilities"]
    assert "tokens                  not run" in output


def test_a_selection_is_told_as_one(tmp_path: Path) -> None:
    """With ``-k`` the report names what was not run."""
    output, report = adopt(tmp_path, "", "-k", "TestTokens and not test_a_late_episode_changes_nothing")
    assert report["level"] == "none"
    assert report["capabilities"]["tokens"]["missing"] == [LATE]
    assert f"not passed: {LATE}" in output
