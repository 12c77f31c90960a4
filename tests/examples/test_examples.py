"""Every example runs as its reader would run it, prints what it promises, and keeps to the rules of replay."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from durabletask.core.lint import lint
from durabletask.core.lint.orchestrators import find_orchestrators
from durabletask.core.lint.source import parse

EXAMPLES = Path(__file__).parents[2] / "examples"

# Example -> the lines that it prints, as patterns, without what differs from run to run.
OUTCOMES: dict[str, list[str]] = {
    "quickstart": ["Started .+", "COMPLETED: Hello, World!"],
    "function_chaining": ["COMPLETED: Replay: durable means"],
    "fan_out_fan_in": [r"COMPLETED: 5 orders, 697\.5"],
    "human_interaction": [
        r"Please approve Laptop for 1500\.00 \(.+\)",
        r"Please approve Yacht for 900000\.00 \(.+\)",
        "COMPLETED: Laptop ordered, approved by Ada",
        "COMPLETED: Yacht cancelled: no answer",
    ],
    "monitor": ["COMPLETED: nightly-report done after 3 looks"],
    "eternal_orchestration": [r"COMPLETED: 5 readings, 107\.5 in 3 executions"],
    "sub_orchestrations": [
        "COMPLETED: flight to Lisbon booked, hotel in Lisbon booked, flight to Oslo booked, hotel in Oslo booked",
        "Oslo alone: COMPLETED",
    ],
    "counter": ["COMPLETED: 16 visitors", "With one more: 17"],
    "nightly_report": [
        "nightly is ACTIVE",
        r"Next: \d{4}-\d\d-\d\d \d\d:\d\d UTC",
        r"Next: \d{4}-\d\d-\d\d \d\d:\d\d UTC",
        "COMPLETED: Lisbon had 42 orders",
    ],
    "archive_histories": ["COMPLETED: 3 of 3 exported", *[r"[0-9a-f]{8}\.\.\.: \d+ events"] * 3],
    "bank_transfer": [
        "30 from ada to bob: done",
        "50 from bob to ada: done",
        "500 from ada to bob: refused",
        "ada has 120",
        "bob has 80",
    ],
    "rate_limiter": ["20 calls, at most 20 a second: 2470", "They took their time."],
    "semaphore": ["5 of 6 have worked", "Never more than 2 at once."],
    "retries": [
        "COMPLETED: charged at attempt 3",
        r"COMPLETED: stock released \(There is no card to charge\.\)",
    ],
}

EMULATOR = [sys.executable, "-m", "durabletask.testing.emulator", "exec", "--"]
# asyncio's debug mode reports slow callbacks, which says something about the machine and nothing about us.
_SLOW = re.compile(r"Executing <.* took [\d.]+ seconds")
# The worker tells every failure of an activity; these belong to the examples.
_MEANT = re.compile(r"Activity charge of \w+ failed: ")


def _run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DURABLETASK_")}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment | {"PYTHONUNBUFFERED": "1"} | variables,
    )


def _assert_outcome(name: str, done: subprocess.CompletedProcess[str]) -> None:
    noise = [line for line in done.stderr.splitlines() if not (_SLOW.search(line) or _MEANT.match(line))]
    lines = done.stdout.splitlines()

    assert noise == []
    assert done.returncode == 0
    assert len(lines) == len(OUTCOMES[name]), done.stdout
    # Orders are asked for in parallel, so only the set of the lines is fixed.
    for pattern in OUTCOMES[name]:
        assert any(re.fullmatch(pattern, line) for line in lines), (pattern, done.stdout)


def test_every_example_has_an_expected_outcome() -> None:
    """No example is without a test."""
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(OUTCOMES)


@pytest.mark.process
@pytest.mark.parametrize("name", OUTCOMES)
def test_an_example_runs_against_the_emulator(name: str) -> None:
    """``durabletask-emulator exec -- python examples/X.py``: the outcome, no warning, exit code 0."""
    program = [sys.executable, "-W", "error", "-X", "dev", str(EXAMPLES / f"{name}.py")]

    _assert_outcome(name, _run([*EMULATOR, *program]))


@pytest.mark.process
@pytest.mark.parametrize("name", ["quickstart", "human_interaction"])
def test_an_example_runs_inside_one_process(name: str) -> None:
    """The connection string alone decides where the hub is."""
    program = [sys.executable, "-W", "error", "-X", "dev", str(EXAMPLES / f"{name}.py")]

    _assert_outcome(name, _run(program, DURABLETASK_CONNECTION_STRING="Endpoint=memory://"))


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_example_keeps_to_the_rules_of_replay(name: str) -> None:
    """The determinism lint finds the orchestrators of the example, and nothing wrong in them."""
    file = EXAMPLES / f"{name}.py"

    assert find_orchestrators(parse(file.read_text()).scope)
    assert lint(file) == []
