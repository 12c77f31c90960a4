"""The pytest plugin: fixtures for tests of orchestrations, seeds for chaos, the conformance report.

Every test run of a project that has the package installed loads this module, so it imports nothing of the
project before a fixture asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from typing_extensions import Unpack

    from .clock import VirtualClock
    from .conformance import ConformanceReport
    from .environment import OrchestrationTestEnvironment
    from .hub import InMemoryBackend
    from .options import EnvironmentOptions
    from .sync import OrchestrationTestEnvironment as BlockingEnvironment

__all__ = ["DurableEnv", "durable_env", "task_hub", "virtual_clock"]

pytest.register_assert_rewrite("durabletask.testing.conformance")

_CONFORMANCE_PROPERTY = "durabletask_conformance"  # the same as conformance.spec.RESULT_PROPERTY


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    group = parser.getgroup("durabletask")
    group.addoption(
        "--conformance-report",
        metavar="FILE",
        default=None,
        help="write the report of the transport conformance kit to FILE, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers of the plugin."""
    config.addinivalue_line(
        "markers", "chaos(seeds): run a test that uses the fixture 'durable_env' once per chaos seed"
    )
    config.pluginmanager.register(_ConformanceCollector(), "durabletask-conformance")


# --- fixtures ---------------------------------------------------------------------------------------------


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A virtual clock that jumps to the next due time when nothing else can happen."""
    from .clock import VirtualClock  # noqa: PLC0415 - see the head of the module

    return VirtualClock()


@pytest.fixture
def task_hub(virtual_clock: VirtualClock) -> InMemoryBackend:
    """An empty in-memory task hub on the virtual clock: a transport for clients and workers."""
    from .hub import InMemoryBackend  # noqa: PLC0415

    return InMemoryBackend("test", clock=virtual_clock)


@pytest.fixture
def durable_env(request: pytest.FixtureRequest) -> DurableEnv:
    """A maker of test environments that are shown when a test fails.

    ``async with durable_env(orchestrators=[...]) as env``; in a plain test, ``with durable_env.blocking(...) as env``.
    When the test fails, its output shows the timeline of every orchestration that ran. Under ``@pytest.mark.chaos(seeds=N)`` the environments inject
    faults.
    """
    env = DurableEnv(getattr(request, "param", None))
    request.node.stash[_ENVIRONMENTS] = env
    return env


class DurableEnv:
    """The type of the fixture ``durable_env``: makes test environments and remembers them.

    Attributes:
        chaos_seed: the seed of ``@pytest.mark.chaos``, if the test has that marker.
    """

    def __init__(self, chaos_seed: int | None = None) -> None:
        self.chaos_seed: int | None = chaos_seed
        self._made: list[OrchestrationTestEnvironment | BlockingEnvironment] = []

    def __call__(self, **options: Unpack[EnvironmentOptions]) -> OrchestrationTestEnvironment:
        """A new environment; use it with ``async with``. Arguments as for ``OrchestrationTestEnvironment``."""
        from .environment import OrchestrationTestEnvironment  # noqa: PLC0415

        env = OrchestrationTestEnvironment(**self._with_chaos(options))
        self._made.append(env)
        return env

    def blocking(self, **options: Unpack[EnvironmentOptions]) -> BlockingEnvironment:
        """The same for plain tests; use it with ``with``."""
        from .sync import OrchestrationTestEnvironment  # noqa: PLC0415

        env = OrchestrationTestEnvironment(**self._with_chaos(options))
        self._made.append(env)
        return env

    def _with_chaos(self, options: EnvironmentOptions) -> EnvironmentOptions:
        if self.chaos_seed is None:
            return options
        from .faults import Chaos  # noqa: PLC0415

        return {"chaos": Chaos(seed=self.chaos_seed), **options}

    def timelines(self) -> str:
        """What every orchestration did, for people; under chaos also the seed and the faults that happened."""
        head = ""
        if self.chaos_seed is not None:
            faults = "; ".join(str(env.faults) for env in self._made)
            head = f"Chaos(seed={self.chaos_seed}), faults that happened: {faults or 'none'}\n"
        return head + "\n\n".join(run.timeline() for env in self._made for run in env.runs)


_ENVIRONMENTS = pytest.StashKey[DurableEnv]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of ``@pytest.mark.chaos(seeds=N)`` under N seeds."""
    marker = metafunc.definition.get_closest_marker("chaos")
    if marker is None or "durable_env" not in metafunc.fixturenames:
        return
    seeds = marker.kwargs.get("seeds", marker.args[0] if marker.args else 10)
    chosen = range(seeds) if isinstance(seeds, int) else list(seeds)
    metafunc.parametrize("durable_env", chosen, indirect=True, ids=[f"seed{seed}" for seed in chosen])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - part of the hook
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the timelines of a test that failed."""
    report = yield
    env = item.stash.get(_ENVIRONMENTS, None)
    if env is not None and report.when == "call" and report.failed and (text := env.timelines()):
        report.sections.append(("orchestrations", text))
    return report


# --- conformance report -------------------------------------------------------------------------------------


class _ConformanceCollector:
    """Collects the outcomes of spec tests; works in the controlling process of xdist too."""

    def __init__(self) -> None:
        self._report: ConformanceReport | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        label = dict(report.user_properties).get(_CONFORMANCE_PROPERTY)
        if not isinstance(label, dict) or (report.when != "call" and report.passed):
            return
        if self._report is None:
            from .conformance.report import ConformanceReport  # noqa: PLC0415

            self._report = ConformanceReport()
        outcome: Literal["passed", "failed", "skipped"] = (
            # A test that is expected to fail and passes proves nothing either.
            "failed"
            if report.failed
            else "skipped"
            if report.skipped or hasattr(report, "wasxfail")
            else "passed"
        )
        self._report.add(label, outcome, report.nodeid.partition("::")[2])

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        target: str | None = config.getoption("--conformance-report")
        if self._report is None and not target:
            return
        terminalreporter.section("transport conformance")
        text = "no test of the kit ran" if self._report is None else self._report.as_text()
        for line in text.splitlines():
            terminalreporter.write_line(line)
        if target:
            Path(target).write_bytes(b"{}" if self._report is None else self._report.as_json())
            terminalreporter.write_line(f"report written to {target}")
