"""Our hub against others, everything in one run: `python benchmarks/hub/run.py [--rounds 5] [PART...]`.

Parts: embedded, durable, wire, entities, scale. Every figure is the median of the rounds, the sides alternate
within a round, and what counts are the ratios. The other products live in environments of their own; see
``tools/other_products.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from processes import cpu_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from other_products import DBOS, PEER, python_of

HERE = Path(__file__).parent
CONCURRENT = 500
SIGNALS = 2000  # to a plain function, on both sides
Result = dict[str, float]


class UnfinishedError(Exception):
    """An orchestration of a load did not finish within its time."""


def measure(*command: object) -> Result:
    """Run a load to its end and read what it printed last.

    Raises:
        UnfinishedError: an orchestration does not finish.
    """
    run = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=900, check=False
    )
    if run.returncode == 3:
        raise UnfinishedError(run.stderr)
    lines = [line for line in run.stdout.splitlines() if line.startswith("{")]
    if run.returncode or not lines:
        sys.exit(f"{command} failed ({run.returncode}):\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}")
    return json.loads(lines[-1])


def until_it_ends(run: Callable[[], Result]) -> Result:
    """The first run that finishes, of the peer's with its own server. Ours has to finish every time."""
    for _ in range(5):
        try:
            return run()
        except UnfinishedError:  # noqa: PERF203 - nothing beside what is run
            print(
                "  (dropped: a run of the peer's that did not finish within 60 s, or had a call cancelled)",
                flush=True,
            )
    sys.exit("No run of the peer's finishes.")


@contextlib.contextmanager
def server(*command: object) -> Iterator[tuple[str, int]]:
    """A server process: its address and its process id."""
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if found:
                    yield f"127.0.0.1:{found[1]}", process.pid
                    return
            sys.exit(f"{command} did not start")
        finally:
            process.kill()


def compare(title: str, sides: dict[str, Callable[[], float]], rounds: int, target: str, unit: str) -> None:
    """Run the sides in turn and print their medians and the ratio of the first to the second."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            values[name].append(side())
    medians = {name: statistics.median(found) for name, found in values.items()}
    print(f"\n{title}")
    for name, found in values.items():
        print(f"  {name:<34} {medians[name]:>10.3f} {unit}   ({min(found):.3f} to {max(found):.3f})")
    first, *others = medians
    for other in others:
        print(f"  {first} / {other}: {medians[first] / medians[other]:.2f}   target {target}", flush=True)


def ours(connection: str, shape: str, size: int) -> Callable[[], float]:
    return lambda: size_per_second(
        measure(sys.executable, HERE / "our_load.py", connection, shape, size), size
    )


def size_per_second(result: Result, size: int) -> float:
    return size / result["wall"]


def embedded(rounds: int) -> None:
    """In memory, one process each: hub, worker and client together."""
    peer = python_of(PEER)

    def theirs(shape: str, size: int) -> Callable[[], float]:
        def run() -> Result:
            return measure(peer, HERE / "peer_load.py", "memory", shape, size)

        return lambda: size_per_second(until_it_ends(run), size)

    for shape, size, target in (("fan", CONCURRENT, ">= 15"), ("chain", 1000, ">= 30")):
        title = f"embedded, memory, {shape} {size}: orchestrations (steps) per second"
        sides = {"ours": ours("Endpoint=memory://", shape, size), "peer": theirs(shape, size)}
        compare(title, sides, rounds, target, "/s")


def durable(rounds: int) -> None:
    """On one SQLite file: ours with synchronous=FULL, DBOS with its defaults."""
    dbos = python_of(DBOS)
    with tempfile.TemporaryDirectory() as folder:
        counter = iter(range(10_000))

        def our_side(shape: str, size: int) -> Callable[[], float]:
            def run() -> float:
                connection = f"Endpoint=sqlite:///{folder}/ours{next(counter)}.db"
                return ours(connection, shape, size)()

            return run

        def their_side(shape: str, size: int) -> Callable[[], float]:
            def run() -> float:
                path = f"{folder}/dbos{next(counter)}.db"
                return size_per_second(measure(dbos, HERE / "dbos_load.py", path, shape, size), size)

            return run

        for shape, size, target in (
            ("fan", CONCURRENT, ">= 5"),
            ("chain", 100, ">= 1.5"),
            ("chain", 1000, ">= 1.5"),
        ):
            title = f"embedded, SQLite, {shape} {size}: orchestrations (steps) per second"
            compare(
                title, {"ours": our_side(shape, size), "DBOS": their_side(shape, size)}, rounds, target, "/s"
            )


def wire(rounds: int) -> None:
    """The peer's client and worker against our server and against its own; the raw floor beside them."""
    peer = python_of(PEER)
    emulator = [sys.executable, "-m", "durabletask.testing.emulator", "--port", "0", "--log-level", "error"]
    port = 50_982

    def load(command: list[object], shape: str, size: int) -> Result:
        # One process warms up and measures: the peer's server loses what it sends to a worker that is gone.
        with server(*command) as (address, process):
            return measure(peer, HERE / "peer_load.py", address, shape, size, process)

    theirs: list[object] = [peer, HERE / "peer_server.py", port]
    rates: list[float] = []

    def our_cost() -> float:
        result = load([*emulator], "fan", CONCURRENT)
        rates.append(size_per_second(result, CONCURRENT))
        return result["server_cpu"] / CONCURRENT * 1000

    sides = {
        "our server": our_cost,
        "peer's server": lambda: (
            until_it_ends(lambda: load(theirs, "fan", CONCURRENT))["server_cpu"] / CONCURRENT * 1000
        ),
        "floor, raw echo at our rate": lambda: floor(rates[-1]) * 1000,
        "floor, raw echo without pauses": lambda: floor(0) * 1000,
    }
    compare("gRPC, peer's worker: server CPU per orchestration", sides, rounds, "<= 0.75, floor <= 1.3", "ms")
    chains = {
        "our server": lambda: 1000 / load([*emulator], "chain", 1000)["wall"],
        "peer's server": lambda: 1000 / until_it_ends(lambda: load(theirs, "chain", 1000))["wall"],
    }
    compare("gRPC, peer's worker, chain 1000: steps per second", chains, rounds, ">= 1", "/s")
    with tempfile.TemporaryDirectory() as folder:
        counter = iter(range(10_000))

        def our_worker(*extra: object) -> float:
            with server(*emulator, *extra) as (address, _):
                connection = f"Endpoint=http://{address};Authentication=None"
                return ours(connection, "fan", CONCURRENT)()

        sides = {
            "SQLite over gRPC": lambda: our_worker("--store", f"{folder}/{next(counter)}.db"),
            "memory over gRPC": our_worker,
        }
        compare("gRPC, our worker: orchestrations per second", sides, rounds, ">= 0.8", "/s")


def entities(rounds: int) -> None:
    """Signals, each product on its own hub: in one process, and with the hub in another."""
    peer = python_of(PEER)
    emulator = [sys.executable, "-m", "durabletask.testing.emulator", "--port", "0", "--log-level", "error"]
    port = 50_983

    def our_wire(shape: str) -> float:
        with server(*emulator) as (address, _):
            return ours(f"Endpoint=http://{address};Authentication=None", shape, SIGNALS)()

    def their_wire(shape: str) -> float:
        def run() -> Result:
            with server(peer, HERE / "peer_server.py", port) as (address, process):
                return measure(peer, HERE / "peer_load.py", address, shape, SIGNALS, process)

        return size_per_second(until_it_ends(run), SIGNALS)

    def their_own(shape: str) -> float:
        run = partial(measure, peer, HERE / "peer_load.py", "memory", shape, SIGNALS)
        return size_per_second(until_it_ends(run), SIGNALS)

    for shape, title in (("signals", "to one entity"), ("spread", "20 to each of 100 entities")):
        sides = {"ours": ours("Endpoint=memory://", shape, SIGNALS), "peer": partial(their_own, shape)}
        compare(f"embedded, memory, {SIGNALS:,} signals {title}", sides, rounds, ">= 10", "/s")
        sides = {"ours": partial(our_wire, shape), "peer": partial(their_wire, shape)}
        compare(f"gRPC, memory, {SIGNALS:,} signals {title}", sides, rounds, ">= 1.3", "/s")


def floor(rate: float) -> float:
    """Server CPU of the bare messages of one orchestration, in seconds, at a rate; see ``echo.py``."""
    with server(sys.executable, HERE / "echo.py", "serve") as (address, process):

        def load(count: int) -> float:
            before = cpu_of(process)
            subprocess.run(
                [sys.executable, HERE / "echo.py", "load", address, str(count), str(rate)],
                check=True,
                timeout=300,
            )
            return (cpu_of(process) - before) / count

        load(50)  # warm up
        return load(CONCURRENT)


def scale(rounds: int) -> None:
    """Instances at rest, and a backlog before the first worker."""
    del rounds
    print("\n20,000 waiting instances with timers")
    for name, extra in (("memory", []), ("SQLite", [tempfile.mkdtemp() + "/scale.db"])):
        idle = measure(sys.executable, HERE / "scale.py", "timers", 20_000, *extra)
        print(
            f"  {name}: idle CPU {idle['idle_cpu']:.2%} of one core (target < 2%), "
            f"RSS {idle['rss_mb']:.0f} MB (target < 300)",
            flush=True,
        )
    for name, extra in (("memory", []), ("SQLite", [tempfile.mkdtemp() + "/scale.db"])):
        done = measure(sys.executable, HERE / "scale.py", "backlog", 10_000, *extra)
        print(
            f"  backlog, {name}: {done['completed']:.0f} of 10,000 completed in {done['wall']:.1f} s",
            flush=True,
        )


PARTS = {"embedded": embedded, "durable": durable, "wire": wire, "entities": entities, "scale": scale}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts; all of them by default")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.parts or PARTS:
        PARTS[name](options.rounds)


if __name__ == "__main__":
    main()
