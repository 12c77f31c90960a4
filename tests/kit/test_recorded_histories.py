"""Histories that released versions wrote must replay forever; so must those that other SDKs exported.

To record a version: ``python tests/kit/test_recorded_histories.py VERSION`` in the development environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

HISTORIES = Path(__file__).parents[1] / "replay_histories"
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from durabletask.testing import assert_replays  # noqa: E402
from durabletask.testing.replay_check import history_files  # noqa: E402
from durabletask.testing.sync import OrchestrationTestEnvironment  # noqa: E402
from recorded_orchestrators import ORCHESTRATORS, RECORDED  # noqa: E402


@pytest.mark.parametrize("path", history_files(HISTORIES), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_recorded_history_replays(path: Path) -> None:
    """Code of today takes the same path as the code that wrote the history."""
    (report,) = assert_replays(path, ORCHESTRATORS)
    assert report.events > 0


def test_every_recorded_orchestrator_has_a_history() -> None:
    """Nothing is left out of the recording of 2.0.0, finished or in flight."""
    names = {path.stem for path in (HISTORIES / "2.0.0").glob("*.json")}
    assert names >= set(RECORDED) | {"approval-in-flight"}


@pytest.mark.parametrize("sdk", ["python-1.12.0", "javascript-0.4.0"])
def test_the_exports_of_other_sdks_cover_the_common_ways(sdk: str) -> None:
    """Chains, fan-outs, retries, events, timers, children and failures were recorded with their own tools."""
    names = {path.name.partition(".")[0] for path in history_files(HISTORIES / "other_sdks" / sdk)}
    assert names >= set(RECORDED) - {"generator", "fibers"}


def record(version: str) -> None:
    folder = HISTORIES / version
    folder.mkdir(parents=True, exist_ok=True)
    with OrchestrationTestEnvironment(orchestrators=ORCHESTRATORS) as env:
        env.fake("increment", side_effect=lambda n: n + 1)
        env.fake("square", side_effect=lambda n: n * n)
        env.fake("charge", side_effect=[TimeoutError("slow"), OSError("down"), "receipt"])
        env.fake("broken", side_effect=ValueError("no"))
        for name, (orchestrator, value) in RECORDED.items():
            run = env.start(orchestrator, value, instance_id=name)
            if name == "approval":
                write(folder / "approval-in-flight.json", run.history)
                run.raise_event("Decision", "yes")
            run.completion()
            write(folder / f"{name}.json", run.history)


def without_traces(event):
    """Stack traces name the machine that recorded them."""
    failure = getattr(event, "failure", None)
    if failure is None:
        return event
    return msgspec.structs.replace(event, failure=msgspec.structs.replace(failure, stack_trace=None))


def write(path: Path, history: list) -> None:
    from durabletask.core.history import encode_history

    lines = [encode_history([without_traces(event)])[1:-1].decode() for event in history]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1])
