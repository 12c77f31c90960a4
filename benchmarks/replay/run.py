"""Replay speed: our codec and engine against the peer's executor, on the same bytes, in one command.

    python benchmarks/replay/run.py [--peer-python PATH] [--runs 7] [--no-peer]

Two processes, ours and the peer's, are asked in turn to replay the same work items; each measures its own
CPU time from the bytes of the item to the bytes of the answer. Then a chain of 1,000 activities goes
through a session that is kept, and the cost of its episodes is compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from histories import SHAPES, chain_turns
from typing_extensions import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from other_products import PEER, python_of

_HERE = Path(__file__).resolve().parent
_COUNTS = (1_000, 5_000, 10_000)
_TARGET_RATIO = 5.0
_TARGET_GROWTH = 2.0


class Side:
    """A process that replays files and says how long it took."""

    def __init__(self, python: str, script: str) -> None:
        self._process = subprocess.Popen(
            [python, "-X", "utf8", str(_HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version: str = self._answer()["version"]

    def _answer(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("A side of the benchmark ended without an answer; its error is above.")
        answer: dict[str, str] = json.loads(line)
        return answer

    def replay(self, path: Path) -> tuple[float, str]:
        """Seconds of CPU, and the result of the orchestration."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return float(answer["seconds"]), answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def _median_of(side: Side, path: Path, runs: int, other: Side | None) -> tuple[float, float | None]:
    ours: list[float] = []
    theirs: list[float] = []
    side.replay(path)
    if other is not None:
        other.replay(path)
    for _ in range(runs):
        seconds, result = side.replay(path)
        ours.append(seconds)
        if other is not None:
            peer_seconds, peer_result = other.replay(path)
            theirs.append(peer_seconds)
            assert json.loads(result) == json.loads(peer_result), "the two sides disagree about the result"
    return statistics.median(ours), statistics.median(theirs) if theirs else None


def compare(ours: Side, theirs: Side | None, runs: int, folder: Path) -> float:
    """Print one row per history; the lowest ratio."""
    print(
        f"ours {ours.version}" + (f", peer {theirs.version}" if theirs else "") + f"; medians of {runs} runs"
    )
    print(
        f"{'history':<18}{'events':>8}{'ours ms':>10}{'events/s':>12}{'peer ms':>10}{'events/s':>12}{'ratio':>8}"
    )
    lowest = float("inf")
    for shape, make in SHAPES.items():
        for count in _COUNTS:
            data, events = make(count)
            path = folder / f"{shape}-{count}.bin"
            path.write_bytes(data)
            own, peer = _median_of(ours, path, runs, theirs)
            row = (
                f"{shape + ' ' + format(count, ','):<18}{events:>8,}{own * 1e3:>10.1f}{events / own:>12,.0f}"
            )
            if peer is not None:
                lowest = min(lowest, peer / own)
                row += f"{peer * 1e3:>10.1f}{events / peer:>12,.0f}{peer / own:>8.2f}"
            print(row, flush=True)
    return lowest


def cached_chain(python: str, turns: int, folder: Path) -> float:
    """Print the cost of the episodes of a chain in a kept session; step 1,000 over step 10."""
    for index, data in enumerate(chain_turns(turns)):
        (folder / f"turn-{index:05d}.bin").write_bytes(data)
    answer = subprocess.run(
        [python, str(_HERE / "serve_ours.py"), "--turns", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    windows: dict[str, float] = json.loads(answer.stdout)
    print(
        f"\nchain of {turns:,} activities in a kept session, microseconds of CPU per episode (median of a window):"
    )
    for label, microseconds in windows.items():
        print(f"  around episode {label:>6}: {microseconds:8.1f}")
    steps = list(windows.values())
    return steps[-1] / steps[0]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", help="interpreter of an environment that has the peer")
    parser.add_argument("--no-peer", action="store_true", help="measure ours only")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--turns", type=int, default=1_000, help="length of the chain in a kept session")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Side(sys.executable, "serve_ours.py") as ours:
            if options.no_peer:
                compare(ours, None, options.runs, folder)
            else:
                with Side(options.peer_python or str(python_of(PEER)), "serve_peer.py") as theirs:
                    lowest = compare(ours, theirs, options.runs, folder)
                print(f"lowest ratio {lowest:.2f} (wanted: at least {_TARGET_RATIO:.0f})")
                failed = lowest < _TARGET_RATIO
        growth = cached_chain(sys.executable, options.turns, folder)
    print(f"last window over first: {growth:.2f} (wanted: at most {_TARGET_GROWTH:.0f})")
    return 1 if failed or growth > _TARGET_GROWTH else 0


if __name__ == "__main__":
    raise SystemExit(main())
