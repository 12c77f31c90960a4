"""Clients and workers of other SDKs, as published, run unchanged against our server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
from other_sdks import emulator, node_modules, peer_python, run_suite

Report: TypeAlias = "dict[str, dict[str, object]]"

HERE = Path(__file__).parent
PYTHON_SUITE = HERE / "python_sdk" / "suite.py"
JAVASCRIPT_SUITE = HERE / "js_sdk" / "suite.js"
PYTHON_SCENARIOS = re.findall(r"^@scenario\ndef (\w+)", PYTHON_SUITE.read_text(), re.MULTILINE)
JAVASCRIPT_SCENARIOS = re.findall(
    r"^  async (\w+)\(c\) \{", JAVASCRIPT_SUITE.read_text().partition("const scenarios")[2], re.MULTILINE
)

pytestmark = [pytest.mark.process, pytest.mark.network, pytest.mark.timeout(300)]


def _python(store: Path | None) -> Report:
    with emulator(store) as address:
        return run_suite([str(peer_python()), "-E", str(PYTHON_SUITE), address])


def _javascript(store: Path | None) -> Report:
    modules = node_modules()
    if modules is None:
        pytest.skip("Node.js and npm are not installed")
    with emulator(store) as address:
        return run_suite(["node", str(JAVASCRIPT_SUITE), address], {"NODE_PATH": str(modules)})


@pytest.fixture(scope="module", params=["memory", pytest.param("sqlite", marks=pytest.mark.extended)])
def reports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Report]]]:
    """What both SDKs say, each of a server of its own. They mostly wait, so they run side by side."""
    folder = tmp_path_factory.mktemp("hubs")
    with ThreadPoolExecutor() as pool:
        yield {
            name: pool.submit(run, folder / f"{name}.db" if request.param == "sqlite" else None)
            for name, run in (("python", _python), ("javascript", _javascript))
        }


@pytest.fixture(scope="module")
def python_report(reports: dict[str, Future[Report]]) -> Report:
    """What the other Python SDK says of our server."""
    return reports["python"].result()


@pytest.fixture(scope="module")
def javascript_report(reports: dict[str, Future[Report]]) -> Report:
    """What the JavaScript SDK says of our server."""
    return reports["javascript"].result()


@pytest.mark.parametrize("scenario", PYTHON_SCENARIOS)
def test_the_other_python_sdk_works_against_our_server(python_report: Report, scenario: str) -> None:
    """Client and worker of PyPI durabletask 1.12.0 get what they expect."""
    assert python_report[scenario]["ok"], python_report[scenario]["detail"]


@pytest.mark.parametrize("scenario", JAVASCRIPT_SCENARIOS)
def test_the_javascript_sdk_works_against_our_server(javascript_report: Report, scenario: str) -> None:
    """Client and worker of npm @microsoft/durabletask-js 0.4.0 get what they expect."""
    assert javascript_report[scenario]["ok"], javascript_report[scenario]["detail"]
